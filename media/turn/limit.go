package turn

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// bucket is a token bucket. Its owner serialises access.
type bucket struct {
	level float64
	last  time.Time
}

// take refills at rate up to depth, and takes n if they are there. A fresh bucket is full.
func (b *bucket) take(now time.Time, n, rate, depth float64) bool {
	if b.last.IsZero() {
		b.level, b.last = depth, now
	}
	if d := now.Sub(b.last); d > 0 {
		b.level = min(depth, b.level+d.Seconds()*rate)
		b.last = now
	}
	if b.level < n {
		return false
	}
	b.level -= n
	return true
}

// meter limits packets and bytes of one direction of one allocation. A quarter of a second may come at once: a key
// frame, or what a wireless link held back.
type meter struct {
	packetsPerSecond, bytesPerSecond float64

	mu      sync.Mutex // guards packets, bytes
	packets bucket
	bytes   bucket
}

func (m *meter) take(now time.Time, size int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	depth := max(m.bytesPerSecond/4, 2*maxFrame)
	if !m.bytes.take(now, float64(size), m.bytesPerSecond, depth) {
		return false
	}
	return m.packets.take(now, 1, m.packetsPerSecond, max(m.packetsPerSecond/4, 8))
}

// strangers limits what is sent to, and done for, sources that have not authenticated. Over UDP the source may be
// forged, so every answer is a chance to make this relay hit a third party. Each prefix has a balance in bytes: what
// it sends is added, what it is sent is taken away, and a small allowance refills by itself, so that a client whose
// request is shorter than the answer gets its answer. Over any time, answers to a prefix therefore weigh at most
// what came from it plus allowance per second plus one allowance.
//
// The table has a fixed size and is indexed by a keyed hash: a flood from a million prefixes makes no state. Two
// prefixes that fall together share a balance.
type strangers struct {
	seed maphash.Seed

	mu       sync.Mutex // guards what follows
	answers  [strangerSlots]balance
	failures [strangerSlots]bucket
}

type balance struct {
	bytes float64
	last  time.Time
}

const (
	strangerSlots = 1 << 12
	allowance     = 4096 // bytes per second and prefix, and the most that can be saved up
	ipUDPHeader   = 28

	failureBurst = 20       // wrong passwords from one prefix before silence
	failureRate  = 1.0 / 10 // per second after that
)

func newStrangers() *strangers { return &strangers{seed: maphash.MakeSeed()} }

// floodPrefix is the aggregate over which a spoofed flood is counted: /24, and /48 of IPv6.
func floodPrefix(a netip.Addr) netip.Addr {
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}

func (s *strangers) slot(a netip.Addr) int {
	return int(maphash.Comparable(s.seed, a) % strangerSlots)
}

// mayAnswer books a request of in bytes and says whether an answer of out bytes may leave.
func (s *strangers) mayAnswer(from netip.Addr, in, out int, now time.Time) bool {
	at := s.slot(floodPrefix(from))
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &s.answers[at]
	if b.last.IsZero() {
		b.bytes, b.last = allowance, now
	}
	if d := now.Sub(b.last); d > 0 {
		b.bytes += d.Seconds() * allowance
		b.last = now
	}
	b.bytes = min(b.bytes+float64(in+ipUDPHeader), allowance)
	if cost := float64(out + ipUDPHeader); cost <= b.bytes {
		b.bytes -= cost
		return true
	}
	return false
}

// failed books a wrong credential and says whether the source still deserves an answer to one.
func (s *strangers) failed(from netip.Addr, now time.Time) bool {
	at := s.slot(clientPrefix(from).Addr())
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failures[at].take(now, 1, failureRate, failureBurst)
}
