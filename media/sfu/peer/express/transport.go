package express

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/trunkline-net/trunkline/media/sfu/peer"
	"github.com/trunkline-net/trunkline/media/sfu/srtp"
	"github.com/trunkline-net/trunkline/media/sfu/udp"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

const (
	// sourcesMost bounds the sources of one client. Something is kept of each one until the connection ends, and an
	// honest client has a few for every section.
	sourcesMost = 1024
	// Who is not heard of for so many seconds is broken, and may come back until the room gives its seat up. Who
	// never came has longer: its offer was answered before it could begin.
	brokenAfter = 5
	lateAfter   = 30
	// sessionsMost is the ICE session that is used and the one that a restart began.
	sessionsMost = 2
	// earlyMost bounds what waits for the keys of a client that finished the handshake first: a large key frame, or
	// half a second of sound.
	earlyMost = 32
)

// Transport is one client's connection.
type Transport struct {
	port     *Port
	lane     *udp.Lane
	receiver peer.Receiver
	levels   bool
	session  uint64
	tie      [8]byte

	heard  atomic.Bool          // something authentic came in this second
	path   atomic.Pointer[path] // where media goes; nil: nowhere yet, or no more
	sealer atomic.Pointer[srtp.Sealer]
	dtls   *handshake

	in      sync.Mutex // guards all below, and holds the receiver off once the transport is closed
	closed  bool
	state   peer.State
	opener  *srtp.Opener
	early   [][]byte // media that came before the opener
	silent  int      // seconds
	strange bool

	mu       sync.Mutex // guards all below; never taken with in held, nor the other way round
	ended    bool
	sessions []credentials // the newest one last
	version  uint64
	out      map[string]peer.Outgoing
	ssrcs    map[uint32]bool
	addrs    []netip.AddrPort
	streams  []*stream
	probe    probe

	sealed []byte // of the writing goroutine
}

// New makes a peer whose media goes out through lane, and whose packets go to r.
func (p *Port) New(lane *udp.Lane, r peer.Receiver, audioLevels bool) *Transport {
	t := &Transport{port: p, lane: lane, receiver: r, levels: audioLevels, out: map[string]peer.Outgoing{}, ssrcs: map[uint32]bool{0: true, 1: true}}
	_, _ = rand.Read(t.tie[:]) // never fails
	t.session = binary.BigEndian.Uint64(t.tie[:]) >> 2
	return t
}

// Answer implements peer.Transport.
func (t *Transport) Answer(_ context.Context, o *peer.Offer) (string, []peer.Outgoing, error) {
	candidates, err := t.port.candidates()
	if err != nil {
		return "", nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return "", nil, errors.New("sfu: the connection is closed")
	}
	if t.dtls == nil {
		t.dtls = newHandshake(t, o.Terms.Print)
	} else if t.dtls.print != o.Terms.Print {
		return "", nil, fmt.Errorf("%w: another fingerprint than before", peer.ErrOffer)
	}
	n := len(t.sessions)
	if n == 0 || t.sessions[n-1].farUfrag != o.Terms.Ufrag || t.sessions[n-1].farPwd != o.Terms.Pwd {
		t.restart(o.Terms)
	}
	t.version++
	answer := &peer.Answer{
		Session: t.session, Version: t.version, Print: t.port.print, Candidates: candidates, AudioLevels: t.levels,
		Ufrag: t.sessions[len(t.sessions)-1].ufrag, Pwd: t.sessions[len(t.sessions)-1].pwd,
	}
	for i := range o.Sections {
		if s := &o.Sections[i]; s.Taken() && s.Direction == peer.Receives {
			answer.Out = append(answer.Out, t.outgoing(s))
		}
	}
	text := o.Answer(answer)
	t.dtls.start()
	return text, answer.Out, nil
}

// restart begins an ICE session beside the one that is used, which goes with the first check of the new one.
func (t *Transport) restart(far peer.Terms) {
	if len(t.sessions) == sessionsMost {
		old := t.sessions[sessionsMost-1].ufrag // never used
		t.sessions = t.sessions[:sessionsMost-1]
		t.port.forget(t, []string{old}, nil)
	}
	c := newCredentials(far.Ufrag, far.Pwd)
	t.sessions = append(t.sessions, c)
	t.port.know(c.ufrag, t)
}

// outgoing is where a section's packets come from, the same in all answers.
func (t *Transport) outgoing(s *peer.Section) peer.Outgoing {
	x, known := t.out[s.Mid]
	if known {
		return x
	}
	x = peer.Outgoing{Mid: s.Mid, SSRC: t.ssrc()}
	if !s.Audio {
		x.Repair = t.ssrc()
	}
	t.out[s.Mid] = x
	return x
}

func (t *Transport) ssrc() uint32 {
	var b [4]byte
	for {
		_, _ = rand.Read(b[:]) // never fails
		if n := binary.BigEndian.Uint32(b[:]); !t.ssrcs[n] {
			t.ssrcs[n] = true
			return n
		}
	}
}

// came takes a datagram that is no STUN, from a path on which an authentic check came.
func (t *Transport) came(b []byte) {
	switch first := b[0]; {
	case first >= firstRTP && first <= lastRTP:
		t.media(b)
	case first >= firstDTLS && first <= lastDTLS:
		t.mu.Lock()
		d := t.dtls
		t.mu.Unlock()
		d.came(b)
	default:
		t.port.unknown.Add(1)
	}
}

// media opens a packet in place and gives it to the receiver. A client has its keys before the server has, and what
// it sends at once, the first key frame among it, waits for them.
func (t *Transport) media(b []byte) {
	t.in.Lock()
	defer t.in.Unlock()
	switch {
	case t.opener != nil:
		t.open(b)
	case t.closed:
	case len(t.early) == earlyMost:
		t.port.badMedia.Add(1)
	default:
		t.early = append(t.early, bytes.Clone(b))
	}
}

// open is media with the keys. in is held.
func (t *Transport) open(b []byte) {
	if t.closed || t.strange {
		return
	}
	var plain []byte
	var err error
	control := wire.IsRTCP(b)
	if control {
		plain, err = t.opener.RTCP(b)
	} else {
		plain, err = t.opener.RTP(b)
	}
	if err != nil {
		t.port.badMedia.Add(1)
		if errors.Is(err, srtp.ErrSources) {
			t.strange = true
			t.receiver.Strange("sources")
		}
		return
	}
	t.heard.Store(true)
	t.mended()
	if control {
		t.receiver.RTCP(plain)
	} else {
		t.receiver.RTP(plain)
	}
}

// mended tells that a broken path carries again. in is held.
func (t *Transport) mended() {
	if t.state == peer.Broken && t.opener != nil {
		t.become(peer.Connected)
	}
}

// alive is told of an authentic check.
func (t *Transport) alive() {
	t.heard.Store(true)
	t.in.Lock()
	defer t.in.Unlock()
	t.mended()
}

// become changes the state. in is held.
func (t *Transport) become(s peer.State) {
	if t.closed || t.state == s || t.state == peer.Closed {
		return
	}
	t.state = s
	t.receiver.State(s)
}

// second notices silence: consent to send to a client is that something authentic comes from it (RFC 7675; a lite agent
// does not ask itself).
func (t *Transport) second() {
	t.in.Lock()
	defer t.in.Unlock()
	if t.heard.Swap(false) {
		t.silent = 0
		t.mended()
		return
	}
	t.silent++
	if t.state == peer.Connected && t.silent >= brokenAfter || t.state == peer.New && t.silent >= lateAfter {
		t.become(peer.Broken)
	}
}

// secured takes the keys.
func (t *Transport) secured(s *srtp.Sealer, o *srtp.Opener) {
	t.sealer.Store(s)
	t.in.Lock()
	defer t.in.Unlock()
	t.opener = o
	t.silent = 0
	t.become(peer.Connected)
	for _, b := range t.early {
		t.open(b)
	}
	t.early = nil
}

// over is told that the client ended the connection, or that it could not be secured.
func (t *Transport) over() {
	t.in.Lock()
	defer t.in.Unlock()
	t.become(peer.Closed)
}

// WriteRTP implements peer.Transport.
func (t *Transport) WriteRTP(packet []byte) error {
	s, to := t.sealer.Load(), t.path.Load()
	if s == nil || to == nil {
		return nil // lost
	}
	if len(packet)+srtp.Overhead > udp.Size {
		return fmt.Errorf("sfu: a packet of %d bytes: %w", len(packet), wire.ErrTooLong)
	}
	if to.tcp == nil {
		b, err := s.RTP(t.lane.Next()[:0], packet)
		if err != nil {
			return err
		}
		return t.lane.Commit(len(b), to.addr)
	}
	b, err := s.RTP(t.sealed[:0], packet)
	if err != nil {
		return err
	}
	t.sealed = b
	to.tcp.put(b)
	return nil
}

// WriteRTCP implements peer.Transport.
func (t *Transport) WriteRTCP(compound []byte) error {
	s, to := t.sealer.Load(), t.path.Load()
	if s == nil || to == nil {
		return nil // lost
	}
	if len(compound)+srtp.Overhead > udp.Size {
		return fmt.Errorf("sfu: a compound of %d bytes: %w", len(compound), wire.ErrTooLong)
	}
	if to.tcp == nil {
		b, err := s.RTCP(t.lane.Next()[:0], compound)
		if err != nil {
			return err
		}
		return t.lane.Commit(len(b), to.addr)
	}
	b, err := s.RTCP(t.sealed[:0], compound)
	if err != nil {
		return err
	}
	t.sealed = b
	to.tcp.put(b)
	return nil
}

// join takes a connection that a check came on. It reports whether it may stay.
func (t *Transport) join(s *stream) bool {
	t.mu.Lock()
	if t.ended {
		t.mu.Unlock()
		return false
	}
	t.streams = append(t.streams, s)
	var oldest *stream
	if len(t.streams) > tcpOfOne {
		i := 0
		if now := t.path.Load(); now != nil && now.tcp == t.streams[0] {
			i = 1
		}
		oldest = t.streams[i]
		t.streams = slices.Delete(t.streams, i, i+1)
	}
	t.mu.Unlock()
	if oldest != nil {
		oldest.close()
	}
	return true
}

// part takes leave of a connection that has ended.
func (t *Transport) part(s *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.streams = slices.DeleteFunc(t.streams, func(o *stream) bool { return o == s })
	if now := t.path.Load(); now != nil && now.tcp == s {
		t.path.CompareAndSwap(now, nil) // the next check gives another one
	}
}

// Close implements peer.Transport.
func (t *Transport) Close() error {
	t.in.Lock()
	t.closed, t.early = true, nil
	t.in.Unlock()
	t.mu.Lock()
	ended, d := t.ended, t.dtls
	t.ended = true
	t.mu.Unlock()
	if ended {
		return nil
	}
	var err error
	if d != nil {
		err = d.close() // says so to the client, while there is a path
	}
	t.mu.Lock()
	t.path.Store(nil)
	var names []string
	for _, c := range t.sessions {
		names = append(names, c.ufrag)
	}
	streams := t.streams
	t.streams, t.sessions = nil, nil
	t.port.forget(t, names, t.addrs)
	t.port.leave(t)
	t.mu.Unlock()
	for _, s := range streams {
		s.close()
	}
	return err
}
