package node

import (
	"bytes"
	"sync"
	"testing"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// TestAStormOfClientsIsRoutableWhenItIsRegistered lets many clients come back at once and
// each write to the next the moment it is registered there.
func TestAStormOfClientsIsRoutableWhenItIsRegistered(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	const many = 64
	people, links := make([]*person, many), make([]*raw, many)
	for i := range people {
		people[i], links[i] = join(t, r)
	}
	for _, l := range r.hub.all() {
		l.close()
	}
	until(t, "all are gone", func() bool { links, _ := r.hub.count(); return links == 0 })

	var storm sync.WaitGroup
	for i := range people {
		storm.Go(func() {
			c := dial(t, r, people[i])
			if f := c.register(people[i], 0); f.GetRegistered() == nil {
				t.Errorf("client %d: %v", i, f)
			}
			links[i] = c
		})
	}
	storm.Wait()
	bodies := make([][]byte, many)
	for i := range people {
		storm.Go(func() {
			next := (i + 1) % many
			bodies[next] = payload(1024)
			if receipt := links[i].submit(to(t, r, people[next], envelope.Live, bodies[next])); receipt.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
				t.Errorf("live to client %d: %v", next, receipt)
			}
			if receipt := links[i].submit(to(t, r, people[next], envelope.Week, bodies[next])); receipt.Class != pb.ReceiptClass_RECEIPT_STORED {
				t.Errorf("note to client %d: %v", next, receipt)
			}
		})
	}
	storm.Wait()
	for i := range people {
		storm.Go(func() {
			for range 2 {
				d := links[i].deliver()
				if !bytes.Equal(d.Payload, bodies[i]) {
					t.Errorf("client %d got another's envelope", i)
				}
				if d.StoredId != 0 {
					links[i].ack(d.StoredId)
				}
			}
			links[i].settle(r, people[i].device.ID())
		})
	}
	storm.Wait()
	for _, p := range people {
		expectWaiting(t, r, p, 0)
	}
	if v := r.Views(); v.Envelopes != 2*many || v.Links != many {
		t.Errorf("the node saw %+v", v)
	}
}
