// Package peertest is the conformance suite of peer.Transport. Whatever carries packets has to pass it.
package peertest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/peer"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// Client is the far end of a transport; light.Client is one.
type Client interface {
	SetSections([]light.Section)
	Offer() string
	Connect(ctx context.Context, answer string) error
	Update(answer string) error
	Restart()
	Move(ctx context.Context, answer string) error
	Source(mid string) (ssrc, repair uint32)
	WriteRTP(packet []byte) error
	WriteRTCP(compound []byte) error
	Close() error
}

// Harness makes both ends.
type Harness interface {
	// Transport makes one; flush sends what was written.
	Transport(t *testing.T, r peer.Receiver) (transport peer.Transport, flush func() error)
	// Client makes a far end that gives what it receives to the functions.
	Client(t *testing.T, sections []light.Section, rtp, rtcp func([]byte)) Client
}

// Far is a receiver that keeps what it was told.
type Far struct {
	mu      sync.Mutex // guards all below
	rtp     [][]byte
	rtcp    [][]byte
	states  []peer.State
	strange []string
	changed chan struct{}
}

// NewFar makes one.
func NewFar() *Far { return &Far{changed: make(chan struct{}, 1)} }

func (f *Far) note(change func()) {
	f.mu.Lock()
	change()
	f.mu.Unlock()
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// RTP implements peer.Receiver.
func (f *Far) RTP(b []byte) { f.note(func() { f.rtp = append(f.rtp, bytes.Clone(b)) }) }

// RTCP implements peer.Receiver.
func (f *Far) RTCP(b []byte) { f.note(func() { f.rtcp = append(f.rtcp, bytes.Clone(b)) }) }

// State implements peer.Receiver.
func (f *Far) State(s peer.State) { f.note(func() { f.states = append(f.states, s) }) }

// Strange implements peer.Receiver.
func (f *Far) Strange(what string) { f.note(func() { f.strange = append(f.strange, what) }) }

// limit is only there to end a test that hangs.
const limit = 20 * time.Second

// wait until what was kept satisfies ok.
func (f *Far) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		f.mu.Lock()
		done := ok()
		f.mu.Unlock()
		if done {
			return
		}
		select {
		case <-f.changed:
		case <-ctx.Done():
			t.Fatalf("there was no %s", what)
		}
	}
}

// both ends, connected.
type pair struct {
	transport peer.Transport
	flush     func() error
	client    Client
	server    *Far // what the transport gave
	far       *Far // what the client got
	out       []peer.Outgoing
}

func sections() []light.Section {
	return []light.Section{
		{Audio: true, Sends: true, SSRC: 11}, {Sends: true, RIDs: []string{"q", "h"}},
		{Audio: true}, {}, {},
	}
}

func connect(t *testing.T, h Harness) *pair {
	t.Helper()
	p := &pair{server: NewFar(), far: NewFar()}
	p.transport, p.flush = h.Transport(t, p.server)
	p.client = h.Client(t, sections(), p.far.RTP, p.far.RTCP)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	answer := p.answer(t, ctx)
	if err := p.client.Connect(ctx, answer); err != nil {
		t.Fatal(err)
	}
	p.server.wait(t, "connection", func() bool { return len(p.server.states) > 0 && p.server.states[0] == peer.Connected })
	t.Cleanup(func() {
		if err := errors.Join(p.client.Close(), p.transport.Close()); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *pair) answer(t *testing.T, ctx context.Context) string {
	t.Helper()
	o, err := peer.ParseOffer(p.client.Offer())
	if err != nil {
		t.Fatal(err)
	}
	answer, out, err := p.transport.Answer(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	p.out = out
	return answer
}

func packet(ssrc uint32, seq uint16, payload string, extensions ...wire.Extension) []byte {
	h := wire.Header{PayloadType: light.VP8, Sequence: seq, Timestamp: uint32(seq) * 3000, SSRC: ssrc}
	copy(h.Extensions[:], extensions)
	return append(h.Append(nil), payload...)
}

// arrives writes packets until the far end has one that is equal to the first: a datagram may be lost, and a path
// begins to carry at its own time. Each attempt has another sequence number.
func (p *pair) arrives(t *testing.T, out peer.Outgoing, first uint16, payload string) {
	t.Helper()
	stop := time.NewTicker(20 * time.Millisecond)
	defer stop.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for seq := first; ; seq++ {
		if err := errors.Join(p.transport.WriteRTP(packet(out.SSRC, seq, payload)), p.flush()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.far.changed:
		case <-stop.C:
		case <-ctx.Done():
			t.Fatal("nothing arrived at the client")
		}
		p.far.mu.Lock()
		for _, b := range p.far.rtp {
			var v wire.Packet
			if v.Parse(b) == nil && v.SSRC() == out.SSRC && string(v.Payload()) == payload && v.Sequence() >= first {
				p.far.mu.Unlock()
				return
			}
		}
		p.far.mu.Unlock()
	}
}

// comes writes from the client until the receiver has the packet.
func (p *pair) comes(t *testing.T, ssrc uint32, first uint16, payload string) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for seq := first; ; seq++ {
		if err := p.client.WriteRTP(packet(ssrc, seq, payload)); err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.server.changed:
		case <-again.C:
		case <-ctx.Done():
			t.Fatal("nothing came to the receiver")
		}
		p.server.mu.Lock()
		for _, b := range p.server.rtp {
			if bytes.HasSuffix(b, []byte(payload)) {
				p.server.mu.Unlock()
				return
			}
		}
		p.server.mu.Unlock()
	}
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	t.Run("an answer names a source for every section that receives", func(t *testing.T) {
		p := connect(t, h)
		if len(p.out) != 3 {
			t.Fatalf("%d sources for three sections: %+v", len(p.out), p.out)
		}
		seen := map[uint32]bool{}
		for i, o := range p.out {
			ssrc, repair := p.client.Source(o.Mid)
			if o.Mid != []string{"2", "3", "4"}[i] || o.SSRC == 0 || ssrc != o.SSRC || repair != o.Repair || seen[o.SSRC] {
				t.Errorf("%+v, the client knows %d and %d", o, ssrc, repair)
			}
			if (o.Repair != 0) != (i > 0) {
				t.Errorf("section %s has the repair %d; pictures have one, sound has none", o.Mid, o.Repair)
			}
			seen[o.SSRC], seen[o.Repair] = true, o.Repair != 0
		}
	})
	t.Run("packets of any source come as they were sent", func(t *testing.T) {
		p := connect(t, h)
		p.comes(t, 11, 1, "announced")
		p.comes(t, 4_000_000_000, 1, "not announced")
		p.comes(t, 77, 1, "another")
		want := packet(77, 900, "with extensions", wire.Extension{ID: 1, Value: []byte("1")}, wire.Extension{ID: 5, Value: bytes.Repeat([]byte{3}, 60)})
		if err := p.client.WriteRTP(want); err != nil {
			t.Fatal(err)
		}
		p.server.wait(t, "packet with long extensions", func() bool {
			for _, b := range p.server.rtp {
				if bytes.Equal(b, want) {
					return true
				}
			}
			return false
		})
	})
	t.Run("what is written arrives byte for byte", func(t *testing.T) {
		p := connect(t, h)
		for i, o := range p.out {
			p.arrives(t, o, 100, "payload of "+o.Mid)
			want := packet(o.SSRC, 2000, "whole", wire.Extension{ID: 4, Value: []byte{byte(i), 9}})
			if o.Repair != 0 {
				p.arrives(t, peer.Outgoing{SSRC: o.Repair}, 100, "repair of "+o.Mid)
				want = packet(o.SSRC, 2000, "whole", wire.Extension{ID: 4, Value: []byte{byte(i), 9}}, wire.Extension{ID: 5, Value: bytes.Repeat([]byte{3}, 60)})
			}
			if err := errors.Join(p.transport.WriteRTP(want), p.flush()); err != nil {
				t.Fatal(err)
			}
			p.far.wait(t, "packet as it was written", func() bool {
				for _, b := range p.far.rtp {
					if bytes.Equal(b, want) {
						return true
					}
				}
				return false
			})
		}
	})
	t.Run("padding stays padding", func(t *testing.T) {
		p := connect(t, h)
		o := p.out[1]
		p.arrives(t, o, 1, "path")
		want := packet(o.Repair, 7, "", wire.Extension{ID: 4, Value: []byte{1, 2}})
		want[0] |= 0x20
		want = append(want, make([]byte, 254)...)
		want = append(want, 255)
		if err := errors.Join(p.transport.WriteRTP(want), p.flush()); err != nil {
			t.Fatal(err)
		}
		// What stands in padding but for its length means nothing, and may change on the way.
		p.far.wait(t, "padding", func() bool {
			for _, b := range p.far.rtp {
				var v wire.Packet
				if v.Parse(b) == nil && v.SSRC() == o.Repair && v.Sequence() == 7 && len(v.Payload()) == 0 && len(b) == len(want) {
					return true
				}
			}
			return false
		})
	})
	t.Run("packets keep their order and none is lost on loopback", func(t *testing.T) {
		p := connect(t, h)
		o := p.out[1]
		p.arrives(t, o, 1, "path")
		p.far.mu.Lock()
		before := len(p.far.rtp)
		p.far.mu.Unlock()
		payload := string(make([]byte, 1100)) // 64 of them fit into a socket's buffer
		for seq := range uint16(64) {
			if err := p.transport.WriteRTP(packet(o.SSRC, 5000+seq, payload)); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.flush(); err != nil {
			t.Fatal(err)
		}
		p.far.wait(t, "64 packets", func() bool { return len(p.far.rtp) >= before+64 })
		p.far.mu.Lock()
		defer p.far.mu.Unlock()
		for i, b := range p.far.rtp[before:] {
			if seq := binary.BigEndian.Uint16(b[2:]); seq != 5000+uint16(i) {
				t.Fatalf("packet %d has the number %d", i, seq)
			}
		}
	})
	t.Run("reports go both ways", func(t *testing.T) {
		p := connect(t, h)
		up := wire.AppendPLI(wire.AppendRR(nil, 1, nil), 1, p.out[1].SSRC)
		if err := p.client.WriteRTCP(up); err != nil {
			t.Fatal(err)
		}
		p.server.wait(t, "request for a key frame", func() bool {
			for _, b := range p.server.rtcp {
				c := wire.NewCompound(b)
				for q, ok := c.Next(); ok; q, ok = c.Next() {
					if media, _, ok := q.Feedback(); ok && q.Type == wire.TypePayload && media == p.out[1].SSRC {
						return true
					}
				}
			}
			return false
		})
		down := wire.AppendPLI(wire.AppendRR(nil, 1, nil), 1, 11)
		if err := errors.Join(p.transport.WriteRTCP(down), p.flush()); err != nil {
			t.Fatal(err)
		}
		p.far.wait(t, "compound at the client", func() bool { return len(p.far.rtcp) > 0 && bytes.Equal(p.far.rtcp[0], down) })
	})
	t.Run("a later offer adds sections and changes none", func(t *testing.T) {
		p := connect(t, h)
		before := p.out
		p.client.SetSections(append(sections(), light.Section{}, light.Section{Audio: true}))
		answer := p.answer(t, t.Context())
		if err := p.client.Update(answer); err != nil {
			t.Fatal(err)
		}
		if len(p.out) != 5 {
			t.Fatalf("%d sources for five sections", len(p.out))
		}
		for i, o := range before {
			if p.out[i] != o {
				t.Errorf("%+v became %+v", o, p.out[i])
			}
		}
		for _, o := range p.out {
			p.arrives(t, o, 1, "after of "+o.Mid)
		}
	})
	t.Run("an ICE restart keeps sources and keys", func(t *testing.T) {
		p := connect(t, h)
		before := p.out
		p.arrives(t, before[1], 1, "before")
		p.client.Restart()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		if err := p.client.Move(ctx, p.answer(t, ctx)); err != nil {
			t.Fatal(err)
		}
		for i, o := range before {
			if p.out[i] != o {
				t.Errorf("%+v became %+v", o, p.out[i])
			}
		}
		p.comes(t, 11, 500, "there after the restart")
		p.arrives(t, before[1], 500, "back after the restart")
	})
	t.Run("what is written before there is a path is lost and holds nobody up", func(t *testing.T) {
		server := NewFar()
		transport, flush := h.Transport(t, server)
		client := h.Client(t, sections(), func([]byte) {}, func([]byte) {})
		o, err := peer.ParseOffer(client.Offer())
		if err != nil {
			t.Fatal(err)
		}
		_, out, err := transport.Answer(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(transport.WriteRTP(packet(out[0].SSRC, 1, "early")), flush()); err != nil {
			t.Error(err)
		}
		if err := errors.Join(client.Close(), transport.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Run("nothing is given after Close, which may be called twice", func(t *testing.T) {
		p := connect(t, h)
		p.comes(t, 11, 1, "while open")
		if err := p.transport.Close(); err != nil {
			t.Fatal(err)
		}
		p.server.mu.Lock()
		before := len(p.server.rtp)
		p.server.mu.Unlock()
		for seq := range uint16(50) {
			// The client does not know.
			_ = p.client.WriteRTP(packet(11, 100+seq, "late"))
		}
		if err := errors.Join(p.transport.WriteRTP(packet(p.out[0].SSRC, 1, "late")), p.flush(), p.transport.Close()); err != nil {
			t.Error(err)
		}
		p.server.mu.Lock()
		defer p.server.mu.Unlock()
		if len(p.server.rtp) != before {
			t.Errorf("%d packets were given after Close", len(p.server.rtp)-before)
		}
	})
	t.Run("a client of thousands of sources is called strange", func(t *testing.T) {
		p := connect(t, h)
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		again := time.NewTicker(time.Millisecond)
		defer again.Stop()
		for ssrc := uint32(100); ; ssrc++ {
			if err := p.client.WriteRTP(packet(ssrc, 1, "one of many")); err != nil {
				t.Fatal(err)
			}
			if ssrc%16 != 0 {
				continue
			}
			p.server.mu.Lock()
			told := len(p.server.strange)
			p.server.mu.Unlock()
			if told > 0 {
				return
			}
			select {
			case <-again.C: // sixteen a millisecond, so that a socket's buffer holds them
			case <-ctx.Done():
				t.Fatal("nobody minded")
			}
		}
	})
}
