package sfu_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"github.com/trunkline-net/trunkline/media/sfu"
	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
	"github.com/trunkline-net/trunkline/media/sfu/wire/scalable"
)

const (
	roundTime  = 20 * time.Millisecond // the fastest that rounds follow each other
	roundsMin  = 300
	joinTime   = 2 * time.Minute // only there to end a test that hangs
	pieceSize  = 400
	pieces     = 3       // of a round: sound, and a picture in two sizes
	greedRate  = 200_000 // bit/s that the greedy one is granted
	greedBurst = 128 << 10
	// unreadSections makes the sound of a few seconds more than the buffers of a TCP connection hold.
	unreadSections = 60
)

// house is a server with everybody who sits in one room of it.
type house struct {
	t   *testing.T
	s   *sfu.Server
	ctx context.Context
}

// guest is a client on its own socket.
type guest struct {
	h    *house
	c    *light.Client
	seat *sfu.Seat
	sent atomic.Uint64 // of what it is here to send

	mu     sync.Mutex // guards allocated, closed, later
	newest map[string]sfu.Allocated
	closed bool
	later  []string // what changed after settled
	still  bool
}

func (h *house) seat(index uint16, g sfu.Grant, o light.Options) *guest {
	h.t.Helper()
	x := &guest{h: h, newest: map[string]sfu.Allocated{}}
	var err error
	if x.c, err = light.New(o); err != nil {
		h.t.Fatal(err)
	}
	g.Index = index
	var answer sfu.Description
	if x.seat, answer, err = h.s.Join(h.ctx, sfu.RoomKey{1}, g, sfu.Description{SDP: x.c.Offer()}); err != nil {
		h.t.Fatal(err)
	}
	go func() { // until the seat ends
		for e := range x.seat.Events() {
			x.event(e)
		}
	}()
	if err := x.c.Connect(h.ctx, answer.SDP); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := x.c.Close(); err != nil {
			h.t.Error(err)
		}
	})
	return x
}

func (x *guest) event(e sfu.Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch e := e.(type) {
	case sfu.Allocated:
		x.newest[e.Mid] = e
	case sfu.Closed:
		x.closed = true
	default:
		return
	}
	if x.still {
		x.later = append(x.later, fmt.Sprintf("%+v", e))
	}
}

func (x *guest) want(subs ...sfu.Subscription) {
	x.h.t.Helper()
	if err := x.seat.Want(sfu.Wants{Subscriptions: subs}); err != nil {
		x.h.t.Fatal(err)
	}
}

func (x *guest) rtp(b []byte) {
	x.sent.Add(1)
	if err := x.c.WriteRTP(b); err != nil {
		x.h.t.Error(err)
	}
}

func (x *guest) rtcp(b []byte) {
	x.sent.Add(1)
	if err := x.c.WriteRTCP(b); err != nil {
		x.h.t.Error(err)
	}
}

// listener gets all that the speaker sends, and asks again for what it lacks. It tells nothing of when packets came:
// on a busy machine a queue that grows is the machine's own.
type listener struct {
	*guest
	news chan struct{} // holds one token if something came

	inMu sync.Mutex                    // guards all below
	came [2]map[uint16][]byte          // of the section, by number
	got  map[[2]uint32]struct{}        // round and piece
	last [2]struct{ begun, to uint16 } // the numbers that came, one behind the highest
}

func (h *house) listener(index uint16) *listener {
	l := &listener{news: make(chan struct{}, 1), came: [2]map[uint16][]byte{{}, {}}, got: map[[2]uint32]struct{}{}}
	l.guest = h.seat(index, sfu.Grant{}, light.Options{Sections: []light.Section{{Audio: true}, {}}, OnRTP: l.take})
	l.want(sfu.Subscription{Mid: "0", Publisher: 1, Slot: sfu.Microphone}, sfu.Subscription{Mid: "1", Publisher: 1, Slot: sfu.Camera})
	return l
}

func (l *listener) take(b []byte) {
	var p wire.Packet
	if err := p.Parse(b); err != nil {
		l.h.t.Error(err)
		return
	}
	seq, payload := p.Sequence(), p.Payload()
	if p.PayloadType() == light.VP8+1 { // a repair: the number that it had, and the payload
		if len(payload) < 2 {
			return
		}
		seq, payload = binary.BigEndian.Uint16(payload), payload[2:]
	}
	if len(payload) != pieceSize {
		return // padding
	}
	of := 0
	if p.PayloadType() != light.Opus {
		of = 1
	}
	l.inMu.Lock()
	defer l.inMu.Unlock()
	if len(l.came[of]) == 0 {
		l.last[of].begun, l.last[of].to = seq, seq
	}
	if !wire.Newer(l.last[of].begun, seq) {
		l.came[of][seq] = slices.Clone(payload[:8])
		if !wire.Newer(l.last[of].to, seq) {
			l.last[of].to = seq + 1
		}
	}
	l.got[[2]uint32{binary.BigEndian.Uint32(payload), binary.BigEndian.Uint32(payload[4:])}] = struct{}{}
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// has reports whether everything of a round came.
func (l *listener) has(round uint32) bool {
	l.inMu.Lock()
	defer l.inMu.Unlock()
	for i := range uint32(pieces) {
		if _, ok := l.got[[2]uint32{round, i}]; !ok {
			return false
		}
	}
	return true
}

// complain asks for every number that is missing, and the next few: the end of a row has nothing behind it.
func (l *listener) complain() {
	for of, mid := range []string{"0", "1"} {
		ssrc, _ := l.c.Source(mid)
		var missing []uint16
		l.inMu.Lock()
		for seq := l.last[of].begun; seq != l.last[of].to+2; seq++ {
			if l.came[of][seq] == nil {
				missing = append(missing, seq)
			}
		}
		l.inMu.Unlock()
		if err := l.c.WriteRTCP(wire.AppendNACK(nil, 9, ssrc, missing[:min(len(missing), 100)])); err != nil {
			l.h.t.Error(err)
		}
	}
}

// settled reports whether it gets everything at its best, and from then on every change is written down.
func (l *listener) settled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.still = l.newest["0"] == sfu.Allocated{Mid: "0"} && l.newest["1"] == sfu.Allocated{Mid: "1", Layer: 1}
	return l.still
}

// whole compares what came since a round with what was sent: every number, once, in the order of sending.
func (l *listener) whole(first, end uint32) {
	l.h.t.Helper()
	l.inMu.Lock()
	defer l.inMu.Unlock()
	for of, expected := range [][]uint32{{0}, {1, 2}} {
		round, at := first, 0
		began := false
		for seq := l.last[of].begun; seq != l.last[of].to && round < end; seq++ {
			b := l.came[of][seq]
			if b == nil {
				if began {
					l.h.t.Errorf("participant %d: number %d of section %d never came", l.seat.ID(), seq, of)
					return
				}
				continue
			}
			if began = began || binary.BigEndian.Uint32(b) >= first; !began {
				continue
			}
			if binary.BigEndian.Uint32(b) != round || binary.BigEndian.Uint32(b[4:]) != expected[at] {
				l.h.t.Errorf("participant %d: number %d of section %d is piece %x, not %d of round %d", l.seat.ID(), seq, of, b, expected[at], round)
				return
			}
			if at++; at == len(expected) {
				at = 0
				round++
			}
		}
		if round != end {
			l.h.t.Errorf("participant %d: section %d ends with round %d, not %d", l.seat.ID(), of, round, end)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.later) > 0 {
		l.h.t.Errorf("participant %d: its quality changed: %v", l.seat.ID(), l.later)
	}
}

// speaker sends one round after the other: sound, and a picture in two sizes.
type speaker struct {
	*guest
	asked atomic.Bool   // for a key frame, and it has not come through yet
	asks  atomic.Uint64 // how often that began

	keptMu sync.Mutex // guards kept
	kept   map[uint32]map[uint16][]byte

	sound, image, frame uint16
	number              uint16
	round               uint32
}

func (h *house) speaker() *speaker {
	a := &speaker{kept: map[uint32]map[uint16][]byte{11: {}, 12: {}}}
	a.guest = h.seat(1, sfu.Grant{Publish: true}, light.Options{
		Sections: []light.Section{{Audio: true, Sends: true, SSRC: 11}, {Sends: true, SSRC: 12, RTX: 13, Codec: light.VP8}}, OnRTCP: a.control})
	return a
}

func (a *speaker) control(b []byte) {
	c := wire.NewCompound(b)
	for q, ok := c.Next(); ok; q, ok = c.Next() {
		media, fci, ok := q.Feedback()
		switch {
		case !ok:
		case q.Type == wire.TypePayload && q.Format == wire.FormatPLI:
			if !a.asked.Swap(true) {
				a.asks.Add(1)
			}
		case q.Type == wire.TypeTransport && q.Format == wire.FormatNACK:
			wire.NACKs(fci, func(seq uint16) {
				a.keptMu.Lock()
				b := a.kept[media][seq]
				a.keptMu.Unlock()
				if b != nil {
					a.again(b)
				}
			})
		}
	}
}

// again sends a packet as it was: one that came is dropped as a copy, one that did not is taken.
func (a *speaker) again(b []byte) {
	if err := a.c.WriteRTP(b); err != nil {
		a.h.t.Error(err)
	}
}

// speak sends a round, and gives what it sent.
func (a *speaker) speak(key bool) (out [pieces][]byte) {
	mode := scalable.Mode{Spatial: 2, Temporal: 1}
	if key {
		a.frame = 0
	}
	for i := range pieces {
		h := wire.Header{PayloadType: light.Opus, Sequence: a.sound, Timestamp: a.round * 960, SSRC: 11}
		h.Extensions[0] = wire.Extension{ID: light.Extensions.Transport, Value: binary.BigEndian.AppendUint16(nil, a.number)}
		if i > 0 {
			h.PayloadType, h.Sequence, h.Timestamp, h.SSRC, h.Marker = light.VP8, a.image, a.round*1800, 12, i == pieces-1
			h.Extensions[1] = wire.Extension{ID: light.Extensions.Descriptor, Value: mode.Append(nil, scalable.Frame{Spatial: i - 1, Key: key && i == 1}, true, true, a.frame)}
			a.image++
		} else {
			a.sound++
		}
		a.number++
		payload := make([]byte, pieceSize)
		binary.BigEndian.PutUint32(payload, a.round)
		binary.BigEndian.PutUint32(payload[4:], uint32(i))
		out[i] = append(h.Append(nil), payload...)
		a.keptMu.Lock()
		a.kept[h.SSRC][h.Sequence] = out[i]
		a.keptMu.Unlock()
		a.again(out[i])
	}
	a.frame++
	a.round++
	return out
}

// attack is one kind of bad input: f sends one of it, so many in a second.
type attack struct {
	*guest
	rate float64
	done float64
	f    func(n int)
}

// catchUp sends what is due, but not more in one round than the sockets on the way hold.
func (a *attack) catchUp(since time.Duration) {
	due := since.Seconds()*a.rate - a.done
	for range min(int(due), 300) {
		a.f(int(a.sent.Load()))
	}
	a.done += max(due, 0) // what was too much is not made up for
}

// Everything that a client can send wrong, at once and on real sockets, while a speaker and two listeners have a
// conversation in the same room: each kind is counted and bounded to who sends it, and the listeners get every packet
// of the speaker, in its order and at its best.
//
// The conversation goes in rounds. What was bad in a round was sent before what is good, and the server takes what
// comes in its order: a round that came through says that the server has had to do with all of it.
func TestStrangersOnSocketsAreTheirOwnTrouble(t *testing.T) {
	s, err := sfu.New(sfu.Config{Listen: "127.0.0.1:0", Limits: sfu.Limits{NewRooms: 100, Joins: 100}}) // a busy machine is no reason
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), joinTime)
	defer cancel()
	h := &house{t: t, s: s, ctx: ctx}
	alice := h.speaker()
	listeners := []*listener{h.listener(2), h.listener(3)}
	began := time.Now()
	attacks, bounds := h.attacks()
	release, stuck := h.unread()
	defer release()
	// Each round's sound goes to it sixty times, and each second as many reports and a few answers.
	bounds = append(bounds, bound{"datagrams for the one who does not read", func(s sfu.Stats) uint64 { return s.Unread },
		func(span float64) float64 { return unreadSections*(float64(alice.round)+span+1) + 10*(span+1) }})

	round := func() {
		t.Helper()
		key := alice.asked.Load() || alice.round == 0
		for _, a := range attacks {
			a.catchUp(time.Since(began))
		}
		n := alice.round
		sent := alice.speak(key)
		again := time.NewTicker(100 * time.Millisecond) // on loopback next to nothing is lost, and this is for that
		defer again.Stop()
		for _, l := range listeners {
			for !l.has(n) {
				select {
				case <-l.news:
				case <-again.C:
					for _, b := range sent {
						alice.again(b)
					}
					l.complain()
				case <-ctx.Done():
					t.Fatalf("participant %d waits for round %d; %+v", l.seat.ID(), n, s.Stats())
				}
			}
		}
		if key {
			alice.asked.Store(false)
		}
	}
	pace := time.NewTicker(roundTime)
	defer pace.Stop()

	// Until the listeners get everything at its best. What of the first rounds did not come is not asked for.
	again := time.NewTicker(roundTime)
	defer again.Stop()
	for settled := false; !settled; {
		key := alice.asked.Swap(false) || alice.round == 0
		n := alice.round
		alice.speak(key)
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("nobody gets anything; %+v", s.Stats())
		}
		settled = true
		for _, l := range listeners {
			settled = l.has(n) && l.settled() && settled
		}
	}
	select {
	case <-stuck:
	case <-ctx.Done():
		t.Fatal("the client that does not read got nothing")
	}
	first, asksBefore := alice.round, alice.asks.Load()

	for n := 0; n < roundsMin || bounds.silent(s.Stats()) != ""; n++ {
		round()
		select {
		case <-pace.C:
		case <-ctx.Done():
			t.Fatalf("never counted: %s; %+v", bounds.silent(s.Stats()), s.Stats())
		}
	}
	for _, l := range listeners {
		l.whole(first, alice.round)
	}
	span := time.Since(began).Seconds()
	st := s.Stats()
	bounds.check(t, st, span)
	if st.Queue != 0 || st.Strangers != 0 || st.Slow != 0 {
		t.Errorf("the room had no time for %d packets, and cut off %d and %d", st.Queue, st.Strangers, st.Slow)
	}
	// Four key frames at once and one in five seconds are the budget of the one who wants nothing else. One more may
	// be for a listener that settled late.
	if asks, most := alice.asks.Load()-asksBefore, 4+span/5+2; float64(asks) > most {
		t.Errorf("the speaker was asked for %d key frames, at most %.0f are right", asks, most)
	}
	for _, b := range bounds {
		t.Logf("%s: %d of at most %.0f", b.what, b.n(st), b.most(span))
	}
	t.Logf("%d rounds in %.1f s; %+v", alice.round-first, span, st)
}

func run(t *testing.T, s *sfu.Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// unread seats a client over TCP that wants the same sound on sixty sections and reads none of it.
func (h *house) unread() (release func(), stuck <-chan struct{}) {
	var sections []light.Section
	var wants []sfu.Subscription
	for i := range unreadSections {
		sections = append(sections, light.Section{Audio: true})
		wants = append(wants, sfu.Subscription{Mid: fmt.Sprint(i), Publisher: 1, Slot: sfu.Microphone})
	}
	began, let := make(chan struct{}), make(chan struct{})
	var once sync.Once
	x := h.seat(30, sfu.Grant{}, light.Options{Sections: sections, TCP: true, OnRTP: func([]byte) {
		once.Do(func() { close(began) })
		<-let
	}})
	x.want(wants...)
	return func() { close(let) }, began
}

// bounds says for each counter that has to move how far it may.
type bounds []bound

type bound struct {
	what string
	n    func(sfu.Stats) uint64
	most func(span float64) float64
}

func (all bounds) silent(st sfu.Stats) string {
	for _, b := range all {
		if b.n(st) == 0 {
			return b.what
		}
	}
	return ""
}

func (all bounds) check(t *testing.T, st sfu.Stats, span float64) {
	t.Helper()
	for _, b := range all {
		if n, most := b.n(st), b.most(span); n == 0 || float64(n) > most {
			t.Errorf("%s: %d, and there may be 1 to %.0f", b.what, n, most)
		}
	}
}

// attacks seats a client for each kind of bad input.
func (h *house) attacks() (all []*attack, limits bounds) {
	const stormy = 14
	random := rand.New(rand.NewPCG(1, 2))
	bytes := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	sections := []light.Section{{Audio: true, Sends: true, SSRC: 11}, {Sends: true, RIDs: []string{"q", "h"}}, {Audio: true}, {}}
	var repeats atomic.Uint64
	var newest atomic.Uint32 // number that the one who asks for everything again got
	seat := func(index uint16, rate float64, f func(x *guest, n int)) *guest {
		var from, repair atomic.Uint32
		x := h.seat(index, sfu.Grant{Publish: true}, light.Options{Sections: sections, OnRTP: func(b []byte) {
			switch ssrc := binary.BigEndian.Uint32(b[8:]); {
			case ssrc == repair.Load():
				repeats.Add(1) // only the one who asks for them gets any
			case ssrc == from.Load() && index == stormy:
				newest.Store(uint32(binary.BigEndian.Uint16(b[2:])))
			}
		}})
		ssrc, again := x.c.Source("3")
		from.Store(ssrc)
		repair.Store(again)
		x.want(sfu.Subscription{Mid: "2", Publisher: 1, Slot: sfu.Microphone}, sfu.Subscription{Mid: "3", Publisher: 1, Slot: sfu.Camera})
		all = append(all, &attack{guest: x, rate: rate, f: func(n int) { f(x, n) }})
		return x
	}
	counted := func(what string, n func(sfu.Stats) uint64, by ...*guest) {
		limits = append(limits, bound{what, n, func(float64) (most float64) {
			for _, x := range by {
				most += float64(x.sent.Load())
			}
			return most
		}})
	}
	packet := func(ssrc uint32, n int, rid string, extensions ...wire.Extension) []byte {
		p := wire.Header{PayloadType: light.VP8, Sequence: uint16(n), Timestamp: uint32(n) * 3000, SSRC: ssrc}
		if rid != "" {
			p.Extensions[0] = wire.Extension{ID: light.Extensions.MID, Value: []byte("1")}
			p.Extensions[1] = wire.Extension{ID: light.Extensions.RID, Value: []byte(rid)}
		}
		copy(p.Extensions[2:], extensions)
		return append(p.Append(nil), bytes(200)...)
	}

	wrong := seat(10, 500, func(x *guest, n int) { x.rtp(packet(0xdead, n, "")) })
	counted("packets of a source that nothing announces", func(s sfu.Stats) uint64 { return s.UnknownSource }, wrong)

	cut := seat(11, 200, func(x *guest, n int) {
		b := packet(50, n, "q", wire.Extension{ID: 20, Value: []byte{1}})
		// The two-byte form with application bits, into which the library that seals does not look. The last extension
		// says that it is longer than what is there.
		b[13] |= 1
		words := int(binary.BigEndian.Uint16(b[14:]))
		at := 16 + words*4
		b = slices.Insert(b, at, 21, 200, 0, 0)
		binary.BigEndian.PutUint16(b[14:], uint16(words+1))
		x.rtp(b)
	})
	counted("extensions cut short", func(s sfu.Stats) uint64 { return s.BadExtensions }, cut)

	liar := seat(12, 200, func(x *guest, n int) {
		x.rtp(packet(51, n, "q", wire.Extension{ID: light.Extensions.Descriptor, Value: bytes(1 + random.IntN(60))}))
	})
	counted("descriptors that lie", func(s sfu.Stats) uint64 { return s.BadDescriptors }, liar)

	rid := seat(13, 200, func(x *guest, n int) { x.rtp(packet(52, n, "zz")) })
	counted("packets of a RID that was never announced", func(s sfu.Stats) uint64 { return s.UnknownRID }, rid)

	storm := seat(stormy, 800, func(x *guest, _ int) {
		ssrc, _ := x.c.Source("3")
		var seqs []uint16
		for i := range uint16(300) {
			seqs = append(seqs, uint16(newest.Load())-i)
		}
		x.rtcp(wire.AppendNACK(nil, 9, ssrc, seqs))
	})
	counted("repeats beyond the budget", func(s sfu.Stats) uint64 { return s.RepeatFlood }, storm)
	// 64 KiB at once, and a quarter of the 1.5 Mbit/s that the path is thought to take; each counts as 1,200 bytes.
	limits = append(limits, bound{"packets repeated to the one who asks for all", func(sfu.Stats) uint64 { return repeats.Load() },
		func(span float64) float64 { return (64<<10+1_500_000*0.25/8*span)/1200 + 1 }})

	keys := seat(15, 800, func(x *guest, _ int) {
		ssrc, _ := x.c.Source("3")
		x.rtcp(wire.AppendPLI(nil, 9, ssrc))
	})
	counted("requests for key frames beyond the budget", func(s sfu.Stats) uint64 { return s.KeyFlood }, keys)

	zero := seat(16, 50, func(x *guest, _ int) {
		ssrc, _ := x.c.Source("3")
		b, err := (&rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: 0, SSRCs: []uint32{ssrc}}).Marshal()
		if err != nil {
			h.t.Error(err)
		}
		x.rtcp(b)
	})
	counted("REMBs of zero", func(s sfu.Stats) uint64 { return s.REMB }, zero)

	garbage := seat(17, 200, func(x *guest, _ int) {
		b := append(wire.AppendRR(nil, 9, []wire.Report{{SSRC: 9}}), bytes(4*random.IntN(100))...)
		if random.IntN(2) == 0 {
			b = append([]byte{0x80 | byte(random.UintN(64)), 192 + byte(random.UintN(32)), byte(random.UintN(2)), byte(random.Uint32()), 0, 0, 0, 9}, bytes(random.IntN(400))...)
		}
		x.rtcp(b)
	})
	// One compound may be wrong in each of its parts, of which none is shorter than four bytes.
	limits = append(limits, bound{"RTCP that makes no sense", func(s sfu.Stats) uint64 { return s.BadControl },
		func(float64) float64 { return float64(garbage.sent.Load()) * 110 }})
	counted("RTCP beyond the rate", func(s sfu.Stats) uint64 { return s.ControlFlood }, storm, keys, garbage)

	greed := h.seat(18, sfu.Grant{Publish: true, MaxBitrate: greedRate}, light.Options{Sections: []light.Section{{Sends: true, SSRC: 60, Codec: light.VP8}}})
	const flood = 1100
	all = append(all, &attack{guest: greed, rate: 10 * greedRate / 8 / flood, f: func(n int) {
		p := wire.Header{PayloadType: light.VP8, Sequence: uint16(n), Timestamp: uint32(n) * 300, SSRC: 60, Marker: true}
		d := scalable.Mode{Spatial: 1, Temporal: 1}.Append(nil, scalable.Frame{Key: true}, true, true, uint16(n)) // whoever looks sees all that passes
		p.Extensions[0] = wire.Extension{ID: light.Extensions.Descriptor, Value: d}
		greed.rtp(append(p.Append(nil), bytes(flood)...))
	}})
	counted("packets beyond the grant", func(s sfu.Stats) uint64 { return s.OverGrant }, greed)
	// Somebody looks at what passes: the grant and 15 %, and a burst.
	var passed atomic.Uint64
	witness := h.seat(19, sfu.Grant{}, light.Options{Sections: []light.Section{{}}, OnRTP: func(b []byte) {
		if len(b) >= flood && b[1]&0x7f == light.VP8 {
			passed.Add(flood)
		}
	}})
	witness.want(sfu.Subscription{Mid: "0", Publisher: 18, Slot: sfu.Camera})
	limits = append(limits, bound{"bytes that pass a grant", func(sfu.Stats) uint64 { return passed.Load() },
		func(span float64) float64 { return greedBurst + greedRate*1.15/8*span }})
	return all, limits
}
