//go:build linux

package faults

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/link"
)

// TestAPartnerIsDownForAWhile: notes for it wait at the sender's node, over a restart of that
// node too, and arrive when it is back.
func TestAPartnerIsDownForAWhile(t *testing.T) {
	t.Parallel()
	tr, acme, globex := startTraffic(t, 6)
	tr.exchange(200)
	tr.reckon(acme, globex)
	globex.kill()
	down := time.NewTimer(*away)
	defer down.Stop()
	// Two in three of these are for the partner, more than its node keeps in memory.
	tr.mu.Lock()
	tr.window, tr.local = 100, 20
	tr.mu.Unlock()
	first := tr.made()
	tr.exchange(600)
	until(t, "they wait for the partner", func() bool {
		p, err := acme.partner(t.Context())
		return err == nil && p.Queue >= 400
	})
	tr.durable(first)
	acme.kill()
	acme.start()
	<-down.C
	p, err := acme.partner(t.Context())
	if err != nil || p.Queue == 0 || p.State == "connected" {
		t.Errorf("the partner is down, and acme sees %+v, %v", p, err)
	}
	tr.mu.Lock()
	tr.window = 24
	tr.mu.Unlock()
	globex.start()
	tr.reckon(acme, globex)
	for _, s := range []*server{acme, globex} {
		s.checkStore()
	}
}

// durable waits until some of the notes from a number on are durably accepted, and none is lost.
func (tr *traffic) durable(from int) {
	until(tr.t, "notes are durably accepted", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		n := 0
		for _, note := range tr.notes[from:] {
			if note.durable {
				n++
			}
		}
		return n >= 100
	})
}

// TestAFullOutboxIsAnAnswer: the partner is down until nothing more may wait for it. Senders
// hear the code for that, everything else goes on, and all that was taken arrives later.
func TestAFullOutboxIsAnAnswer(t *testing.T) {
	t.Parallel()
	tr, acme, globex := startTraffic(t, 6)
	tr.exchange(50)
	tr.reckon(acme, globex)
	globex.kill()
	until(t, "its partner sees that", func() bool {
		p, err := acme.partner(t.Context())
		return err == nil && p.State != "connected"
	})
	tr.large()
	tr.mu.Lock()
	tr.local, tr.window = 0, 1<<20
	tr.mu.Unlock()
	// 64 MiB may wait for one node; members may submit 200 stored envelopes a second each.
	tr.exchange(64<<20/envelope.MaxPayload + 60)
	until(t, "senders hear that too much waits", func() bool { return tr.refusals(link.CodeQueueFull) >= 30 })
	p, err := acme.partner(t.Context())
	if err != nil || p.QueueBytes < 60<<20 {
		t.Errorf("acme sees %+v, %v", p, err)
	}
	// Notes within the node and live envelopes for others do not wait behind it.
	if r, err := tr.live(tr.at(acme)[0], tr.at(acme)[1]); err != nil || r.Code != "" {
		t.Errorf("live, within the node: %v, %v", r, err)
	}
	globex.start()
	tr.reckon(acme, globex)
	tr.toldOnly(link.CodeQueueFull, link.CodeRate, link.CodeQuota)
	// And there is room for the next.
	tr.mu.Lock()
	tr.sizes = func(*rand.Rand) int { return 1024 }
	tr.window = 24
	tr.mu.Unlock()
	tr.exchange(100)
	tr.reckon(acme, globex)
}

// TestARollingRestartLosesNothing: first one node is restarted as an administrator does, then
// the other, with traffic all the while. Clients are told when to come back and do.
func TestARollingRestartLosesNothing(t *testing.T) {
	t.Parallel()
	dice := dice(t)
	acme, globex := twoServers(t)
	tr := newTrafficOf(t, dice, 6, true, acme, globex)
	for _, s := range []*server{acme, globex} {
		tr.exchange(500)
		tr.after(100 + tr.draw(500))
		s.signal(syscall.SIGTERM)
		s.stopped()
		s.start()
		tr.connected()
	}
	tr.exchange(200)
	tr.reckon(acme, globex)
	told, cut := 0, 0
	for _, d := range tr.devices {
		d.mu.Lock()
		told, cut = told+d.drains, cut+d.cuts
		d.mu.Unlock()
	}
	if told != len(tr.devices) || cut != 0 {
		t.Errorf("of %d clients %d were told when to come back, and %d cut off", len(tr.devices), told, cut)
	}
	tr.toldOnly(link.CodeDraining, link.CodeUnavailable, link.CodeUnreachable, link.CodeQuota)
}
