//go:build linux

package faults

import (
	"syscall"
	"testing"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// TestAStoppedNodeLosesNothing: a node stands still and its connections stay, as when its
// machine is suspended. Its partner notices, keeps what is for it, and goes on when it does.
func TestAStoppedNodeLosesNothing(t *testing.T) {
	t.Parallel()
	tr, acme, globex := startTraffic(t, 4)
	victims := []*server{acme, globex}
	if tr.draw(2) == 0 {
		victims[0], victims[1] = victims[1], victims[0]
	}
	if *kills < 50 { // the short form
		victims = victims[:1]
	}
	for _, stopped := range victims {
		partner := acme
		if stopped == acme {
			partner = globex
		}
		tr.exchange(400)
		tr.after(200 + tr.draw(300))
		stopped.signal(syscall.SIGSTOP)
		from, to := tr.at(partner)[0], tr.at(stopped)[0]
		until(t, "its partner takes the link for dead", func() bool {
			p, err := partner.partner(t.Context())
			return err == nil && p.State != "connected"
		})
		tr.exchange(100)
		until(t, "something waits for it", func() bool {
			p, err := partner.partner(t.Context())
			return err == nil && p.Queue > 0
		})
		// Live envelopes have an end too, and those between others go on.
		if r, err := tr.live(from, to); err != nil || r.Class == pb.ReceiptClass_RECEIPT_DELIVERED || r.Class == pb.ReceiptClass_RECEIPT_REFUSED && !retried[r.Code] {
			t.Errorf("live, to a node that stands still: %v, %v", r, err)
		}
		if r, err := tr.live(from, tr.at(partner)[1]); err != nil || r.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
			t.Errorf("live, within the other node: %v, %v", r, err)
		}
		stopped.signal(syscall.SIGCONT)
		stopped.linked(t)
		tr.reckon(acme, globex)
		if r, err := tr.live(from, to); err != nil || r.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
			t.Errorf("live, when it goes on: %v, %v", r, err)
		}
	}
	tr.toldOnly(link.CodeQuota, link.CodeUnavailable, link.CodeUnreachable)
	for _, s := range victims {
		s.checkStore()
	}
}
