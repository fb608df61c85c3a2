//go:build !race

package federation

import (
	"context"
	"encoding/binary"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation/wire"
)

// pipe is one way of a stream, without a network and without allocations of its own.
type pipe struct {
	mu     sync.Mutex // guards all below
	moved  *sync.Cond
	b      []byte
	closed bool
}

func newPipe() *pipe {
	p := &pipe{b: make([]byte, 0, 1<<20)}
	p.moved = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.b)+len(b) > cap(p.b) && !p.closed {
		p.moved.Wait()
	}
	if p.closed {
		return 0, io.ErrClosedPipe
	}
	p.b = append(p.b, b...)
	p.moved.Broadcast()
	return len(b), nil
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.b) == 0 && !p.closed {
		p.moved.Wait()
	}
	if p.closed {
		return 0, io.ErrClosedPipe
	}
	n := copy(b, p.b)
	p.b = p.b[:copy(p.b, p.b[n:])]
	p.moved.Broadcast()
	return n, nil
}

func (p *pipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.moved.Broadcast()
}

// end is one end of a stream. Only what a session calls on its data streams is there.
type end struct {
	network.Stream
	in, out *pipe
}

func (e end) Read(b []byte) (int, error)       { return e.in.Read(b) }
func (e end) Write(b []byte) (int, error)      { return e.out.Write(b) }
func (end) SetWriteDeadline(t time.Time) error { return nil }

// From Send to the outcome, over both nodes: nothing of it may allocate for an envelope, nor
// for a batch. libp2p's part is left out, which has its own ways. The race detector allocates,
// so this is built without it.
func TestAnEnvelopeBetweenNodesCostsNoAllocation(t *testing.T) {
	from, to := newTestNode(t, "acme.example", partnerOf("globex.example")), newTestNode(t, "globex.example", partnerOf("acme.example"))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	sessionOf := func(n, other *testNode) *session {
		n.cfg.Deliverer = &takes{}
		f, err := New(n.cfg)
		if err != nil {
			t.Fatal(err)
		}
		n.Federation = f
		f.ctx, f.state = ctx, isRunning
		l := newLink(f, other.id(), other.domain)
		f.links[other.id()] = l
		s := newSession(f, l, &party{domain: other.domain}, nil, nil, true, [16]byte{1})
		l.session, l.soon = s, true // as its loop, which does not run here, would say
		s.credit(benchWindow, 4<<20)
		return s
	}
	out, in := sessionOf(from, to), sessionOf(to, from)
	to.addrs = []string{"/ip4/127.0.0.1/tcp/7421"}
	from.knows(to)
	there, back := newPipe(), newPipe()
	ours, theirs := end{in: back, out: there}, end{in: there, out: back}
	stop := func() {
		cancel()
		there.close()
		back.close()
	}
	defer stop()
	for _, loop := range []func() error{
		func() error { return out.out.sendLoop(ours) },
		func() error { return out.out.ackLoop(ours) },
		func() error { return in.in.readLoop(wire.NewReader(theirs, wire.MaxData)) },
		func() error { return in.in.ackLoop(theirs) },
		in.in.paceLoop,
	} {
		running.Go(func() {
			if err := loop(); err != nil && ctx.Err() == nil {
				t.Errorf("a loop ended: %v", err)
			}
		})
	}
	e := envelopeTo(t, to, envelope.Live, 1024)
	flow := &flow{most: 128, free: make(chan struct{}, 1)}
	next := 0
	const frames = 512
	run := func() {
		for range frames {
			next++
			binary.BigEndian.PutUint64(e.Payload, rotate(next))
			flow.enter()
			if _, err := from.Send(e, flow); err != nil {
				t.Fatal(err)
			}
		}
		flow.drain()
	}
	for range 2 * 2 * dedupeSet / frames { // until its two sets have their size
		run()
	}
	if n := testing.AllocsPerRun(50, run); n != 0 {
		t.Errorf("%v allocations for %d envelopes", n, frames)
	}
	if flow.other.Load() {
		t.Error("not all were delivered")
	}
}
