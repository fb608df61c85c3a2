//go:build !race

package node

import (
	"io"
	"testing"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/ws"
)

// The race detector allocates on its own, so this is built without it.
func TestRoutingALiveEnvelopeCostsNoAllocation(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	alice, _ := join(t, r)
	bob, _ := join(t, r)
	from, atAlice := wired(t, r, alice)
	_, atBob := wired(t, r, bob)
	const runs, atOnce, size = 512, 8, 1024
	all := submits(t, r, bob, (9+runs)*atOnce, size)
	framed := func(n int) int { return ws.HeaderSize(n) + n }
	delivered := make([]byte, atOnce*framed(link.DeliverSize(0, false, size)))
	answered := make([]byte, len(delivered))
	next := 0
	// As a read loop does it: what one read brought, then the flush. The other ends take it
	// before the next, or a busy machine would fill the connections, and what waits for a
	// connection may allocate.
	eight := func() {
		receipts := 0
		for range atOnce {
			if !from.frame(all[next]) {
				t.Fatal("the link ended")
			}
			next++
			for _, class := range []pb.ReceiptClass{pb.ReceiptClass_RECEIPT_ACCEPTED, pb.ReceiptClass_RECEIPT_DELIVERED} {
				receipts += framed(link.ReceiptSize(uint64(next), class, false, "", 0))
			}
		}
		from.flushDirty()
		if _, err := io.ReadFull(atBob, delivered); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(atAlice, answered[:receipts]); err != nil {
			t.Fatal(err)
		}
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
}
