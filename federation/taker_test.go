package federation

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
)

// late ends what it has taken only at the flush behind it, as a node does whose devices get
// several envelopes with one write.
type late struct {
	mu     sync.Mutex
	taken  []Waiter
	most   int                        // not ended at once
	counts map[envelope.Handle]uint32 // the last number of each session of devices
	fault  string
	twice  map[envelope.ID]int
}

func (*late) Deliver(context.Context, Source, *envelope.Envelope) Outcome {
	panic("a Taker is not waited for")
}

func (n *late) Take(_ context.Context, _ Source, e *envelope.Envelope, to Waiter) {
	n.mu.Lock()
	defer n.mu.Unlock()
	handle, count := envelope.Handle(e.Payload[:8]), binary.BigEndian.Uint32(e.Payload[8:])
	if count != n.counts[handle]+1 {
		n.fault = "the frames of one session came in another order"
	}
	n.counts[handle] = count
	if n.twice[e.ID()]++; n.twice[e.ID()] > 1 {
		n.fault = "an envelope was given twice"
	}
	n.taken = append(n.taken, to)
	n.most = max(n.most, len(n.taken))
	clear(e.Payload) // it is this call's, and nobody may look at it later
}

func (n *late) Flush() {
	n.mu.Lock()
	ended := n.taken
	n.taken = nil
	n.mu.Unlock()
	for _, to := range ended {
		to.Ended(Outcome{Fate: envelopepb.Fate_FATE_STORED})
	}
}

func TestATakerGetsAllInOrderAndIsFlushed(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		taker := &late{counts: make(map[envelope.Handle]uint32), twice: make(map[envelope.ID]int)}
		b.cfg.Deliverer = taker
		a.start()
		b.start()
		connected(t, a, b)
		out := newOutcomes()
		var ids []envelope.ID
		for i := range 2000 {
			e := envelopeTo(t, b, envelope.Day, 1024)
			// Forty sessions of devices, each with its own count.
			binary.BigEndian.PutUint64(e.Payload, uint64(i%40)*0x9e3779b97f4a7c15)
			binary.BigEndian.PutUint32(e.Payload[8:], uint32(i/40)+1)
			ids = append(ids, e.ID())
			if _, err := a.Send(e, out.of(e.ID())); err != nil {
				t.Fatal(err)
			}
		}
		await(t, "outcomes", out.c, len(ids))
		out.each(t, ids, Outcome{Fate: envelopepb.Fate_FATE_STORED})
		taker.mu.Lock()
		defer taker.mu.Unlock()
		if taker.fault != "" {
			t.Error(taker.fault)
		}
		if taker.most < 2 || taker.most > lanes {
			t.Errorf("%d had not ended at once", taker.most)
		}
	})
}

// held keeps all until it is let go.
type held struct {
	late
	letGo chan struct{}
}

func (n *held) Flush() {
	select {
	case <-n.letGo:
		n.late.Flush()
	default:
	}
}

// What is sent again over the next session, while the node still has it from the last one,
// ends with the first and is not given again.
func TestASecondComingEndsWithTheFirst(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		taker := &held{late: late{counts: make(map[envelope.Handle]uint32), twice: make(map[envelope.ID]int)}, letGo: make(chan struct{})}
		b.cfg.Deliverer = taker
		a.start()
		b.start()
		connected(t, a, b)
		out := newOutcomes()
		var ids []envelope.ID
		for i := range 20 {
			e := envelopeTo(t, b, envelope.Day, 1024)
			binary.BigEndian.PutUint64(e.Payload, uint64(i))
			binary.BigEndian.PutUint32(e.Payload[8:], 1)
			ids = append(ids, e.ID())
			if _, err := a.Send(e, out.of(e.ID())); err != nil {
				t.Fatal(err)
			}
		}
		has := func() bool {
			taker.mu.Lock()
			defer taker.mu.Unlock()
			return len(taker.taken) == len(ids)
		}
		eventually(t, "the node has them", has)
		lookup := func(n *testNode) *session {
			l := n.lookup(map[*testNode]*testNode{a: b, b: a}[n].id())
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.session
		}
		first := lookup(b)
		first.end(errStopped)
		<-first.ended
		var second *session
		eventually(t, "they came again over the next session", func() bool {
			second = lookup(b)
			if second == nil {
				return false
			}
			second.in.mu.Lock()
			defer second.in.mu.Unlock()
			return second.in.taken == len(ids)
		})
		if !has() {
			t.Error("the node has been given some again")
		}
		close(taker.letGo)
		taker.Flush()
		await(t, "outcomes", out.c, len(ids))
		out.each(t, ids, Outcome{Fate: envelopepb.Fate_FATE_STORED})
		if taker.fault != "" {
			t.Error(taker.fault)
		}
	})
}
