package node

import (
	"testing"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/policy"
)

// ends collects how envelopes from another node ended.
func ends(n int) (federation.Waiter, chan federation.Outcome) {
	c := make(chan federation.Outcome, n)
	return federation.WaiterFunc(func(out federation.Outcome) { c <- out }), c
}

func TestWhatSeveralEnvelopesLeaveOnALinkLeavesWithTheFlush(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, bobs := join(t, r)
	l := r.hub.device(bob.device.ID())
	to5, ended := ends(5)
	for range 5 {
		r.Take(t.Context(), r.local, to(t, r, bob, envelope.Live, payload(1024)), to5)
	}
	r.Flush()
	for range 5 {
		if out := <-ended; out != outcomeDelivered {
			t.Errorf("got %v", out)
		}
		bobs.deliver()
	}
	if len(r.touched.links) != 0 || l.touched.Load() {
		t.Error("the link is still to be flushed")
	}
	// An envelope for the disk does not let those before it wait for the disk.
	toLive, live := ends(1)
	toStored, stored := ends(1)
	r.Take(t.Context(), r.local, to(t, r, bob, envelope.Live, payload(1024)), toLive)
	r.Take(t.Context(), r.local, to(t, r, bob, envelope.Day, payload(1024)), toStored)
	if len(live) != 1 || len(stored) != 1 {
		t.Errorf("%d live and %d stored have ended", len(live), len(stored))
	}
}

// One goroutine takes several envelopes before it flushes. Where the policy lets only one be
// at work, the second must not wait for a flush that only its own goroutine would do.
func TestAPlaceIsNotWaitedForByWhoHoldsIt(t *testing.T) {
	const partner = `
[[domain]]
name = "globex.example"
level = "partner"
[[rule]]
name = "one at a time"
level = "partner"
direction = "in"
actions = ["federate", "signal"]
limit = { concurrent = 1 }
`
	r := start(t, t.TempDir(), "acme.example", openPolicy+partner)
	bob, bobs := join(t, r)
	globex := federation.Source{Peer: newPerson(t, r).root.Public().PeerID(), Domain: "globex.example"}
	to3, ended := ends(3)
	for range 3 {
		r.Take(t.Context(), globex, to(t, r, bob, envelope.Live, payload(1024)), to3)
	}
	r.Flush()
	for range 3 {
		if out := <-ended; out != outcomeDelivered {
			t.Errorf("got %v", out)
		}
		bobs.deliver()
	}
	if n := r.atWork.Held(r.bucketKeys.key("globex.example", policy.ActionSignal, policy.In)); n != 0 {
		t.Errorf("%d places are held", n)
	}
}
