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
	// On a busy machine the other end reads late, and the last frames leave in a goroutine.
	until(t, "all are answered", func() bool { return r.answering.Load() == 0 })
	for _, l := range []*clientLink{from, to} {
		until(t, "everything has left", func() bool {
			l.wmu.Lock()
			defer l.wmu.Unlock()
			return l.out.len() == 0
		})
	}
}
