package federation

import (
	"sync"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
)

// dedupeSet is how many finished envelopes one of the two sets of an origin holds. A link
// resends at most one window after a break, so two sets of this size cover many windows; it
// is a count and not a time, because a link may be down for a day before it resends.
const dedupeSet = 8192

// dedupe remembers, for one origin node, the envelopes that were taken, so that one which
// is sent again after a break is answered with what became of it and not delivered twice.
// A refused one is forgotten: when the sender tries it again, it is a new try.
type dedupe struct {
	mu              sync.Mutex // guards all below
	busy            map[envelope.ID]*delivery
	current, former map[envelope.ID]envelopepb.Fate
}

// delivery is an envelope in the Deliverer's hands.
type delivery struct {
	done    chan struct{}
	outcome Outcome // good when done is closed
}

// begin says what to do with an envelope: deliver it (first), wait for the delivery that is
// under way, or answer with the outcome it already had.
func (d *dedupe) begin(id envelope.ID) (del *delivery, first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if del := d.busy[id]; del != nil {
		return del, false
	}
	fate, ok := d.current[id]
	if !ok {
		fate, ok = d.former[id]
	}
	if ok {
		del := &delivery{done: make(chan struct{}), outcome: Outcome{Fate: fate}}
		close(del.done)
		return del, false
	}
	if d.busy == nil {
		d.busy = make(map[envelope.ID]*delivery)
	}
	del = &delivery{done: make(chan struct{})}
	d.busy[id] = del
	return del, true
}

// finish records how the first delivery ended and lets those who wait go on.
func (d *dedupe) finish(id envelope.ID, del *delivery, o Outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.busy, id)
	if o.Fate == envelopepb.Fate_FATE_DELIVERED || o.Fate == envelopepb.Fate_FATE_STORED {
		if d.current == nil || len(d.current) >= dedupeSet {
			d.former, d.current = d.current, make(map[envelope.ID]envelopepb.Fate)
		}
		d.current[id] = o.Fate
	}
	del.outcome = o
	close(del.done)
}
