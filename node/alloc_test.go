//go:build !race

package node

import "testing"

// The race detector allocates on its own, so this is built without it.
func TestRoutingALiveEnvelopeCostsNoAllocation(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	alice, _ := join(t, r)
	bob, _ := join(t, r)
	from := drained(t, r, alice)
	to := drained(t, r, bob)
	const runs = 512
	all := submits(t, r, bob, 9*8+runs*8, 1024)
	next := 0
	// As a read loop does it: what one read brought, then the flush.
	eight := func() {
		for range 8 {
			if !from.frame(all[next]) {
				t.Fatal("the link ended")
			}
			next++
		}
		from.flushDirty()
	}
	for range 8 {
		eight()
	}
	if n := testing.AllocsPerRun(runs, eight); n != 0 {
		t.Errorf("%v allocations for eight envelopes", n)
	}
	if n := r.answering.Load(); n != 0 {
		t.Errorf("%d are not answered", n)
	}
	if to.out.len() != 0 || from.out.len() != 0 {
		t.Error("something has not left")
	}
}
