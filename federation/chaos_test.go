package federation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

// Whatever happens to the line, to the two nodes and to their policies: in the end each
// envelope has exactly one outcome, none is lost, none is delivered twice by one process, and
// none that was delivered is called refused.
func TestNothingIsLostInAnHourOfTrouble(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			simulate(t, func(t *testing.T, s *simulation) { trouble(t, s, rand.New(rand.NewPCG(seed, 7))) })
		})
	}
}

// side is one node's sending and what became of it.
type side struct {
	*testNode
	mu       sync.Mutex
	ids      []envelope.ID
	outcomes map[envelope.ID][]Outcome
	restarts int
}

func (s *side) ended(id envelope.ID, o Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes[id] = append(s.outcomes[id], o)
}

func trouble(t *testing.T, s *simulation, rng *rand.Rand) {
	a, b := s.pair()
	sides := []*side{{testNode: a, outcomes: make(map[envelope.ID][]Outcome)}, {testNode: b, outcomes: make(map[envelope.ID][]Outcome)}}
	for _, n := range sides {
		delay := time.Duration(rng.IntN(40)) * time.Millisecond
		n.deliver = func(*envelope.Envelope) Outcome {
			time.Sleep(delay)
			return Outcome{Fate: envelopepb.Fate_FATE_STORED}
		}
		n.cfg.Outcome = func(_ identity.PeerID, id envelope.ID, o Outcome) { n.ended(id, o) }
		n.start()
	}
	for range 40 {
		n := rng.IntN(2)
		from, to := sides[n], sides[1-n]
		for range rng.IntN(120) {
			e := envelopeTo(t, to.testNode, envelope.Week, 1024)
			id := e.ID()
			from.mu.Lock()
			from.ids = append(from.ids, id)
			from.mu.Unlock()
			if _, err := from.Send(e, WaiterFunc(func(o Outcome) { from.ended(id, o) })); err != nil {
				if Code(err) != "policy" {
					t.Fatal(err)
				}
				from.mu.Lock()
				from.ids = from.ids[:len(from.ids)-1]
				from.mu.Unlock()
			}
		}
		switch rng.IntN(6) {
		case 0:
			s.cut.Store(true)
		case 1:
			s.cut.Store(false)
		case 2: // a restart, with or without a goodbye
			if rng.IntN(2) == 0 {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				from.Drain(ctx)
				cancel()
			}
			if err := from.stop(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(rng.IntN(60)) * time.Second)
			from.restarts++
			from.start()
		case 3:
			from.setPolicy("version = 1")
			from.Reload()
		case 4:
			from.setPolicy(partnerOf(to.domain))
			from.Reload()
		}
		time.Sleep(time.Duration(rng.IntN(90_000)) * time.Millisecond)
	}
	s.cut.Store(false)
	for i, n := range sides {
		n.setPolicy(partnerOf(sides[1-i].domain))
		n.Reload()
	}
	bounced := 0
	for i, n := range sides {
		other := sides[1-i]
		eventually(t, "every envelope has an outcome", func() bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			return len(n.outcomes) >= len(n.ids)
		})
		for k, id := range n.ids {
			other.testNode.mu.Lock()
			times := other.delivered[id]
			other.testNode.mu.Unlock()
			got := n.outcomes[id]
			switch {
			case len(got) == 1 && got[0] == refusedByPolicy && times == 0:
				bounced++
			case len(got) != 1 || got[0].Fate != envelopepb.Fate_FATE_STORED:
				t.Fatalf("%s: envelope %d of %d: outcomes %v, delivered %d times", n.domain, k, len(n.ids), got, times)
			case times < 1 || times > 1+other.restarts:
				t.Fatalf("%s: envelope %d was delivered %d times with %d restarts", n.domain, k, times, other.restarts)
			}
		}
		if left := n.outbox.len(); left != 0 {
			t.Errorf("%s: %d envelopes are left in the outbox", n.domain, left)
		}
	}
	if sent := len(sides[0].ids) + len(sides[1].ids); bounced == sent {
		t.Errorf("all %d envelopes were refused", sent)
	}
}
