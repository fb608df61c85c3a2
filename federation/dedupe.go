package federation

import (
	"sync"

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
	busy            marks[*delivery]
	current, former marks[envelopepb.Fate]
}

// delivery is an envelope in the Deliverer's hands that somebody else waits for.
type delivery struct {
	done    chan struct{}
	outcome Outcome // good when done is closed
}

// begin says what to do with an envelope: deliver it (first), wait for the delivery that is
// under way (wait is not nil), or answer with the outcome it already had.
func (d *dedupe) begin(m mark) (known Outcome, wait *delivery, first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if under := d.busy.get(m); under != nil {
		if *under == nil {
			*under = &delivery{done: make(chan struct{})}
		}
		return Outcome{}, *under, false
	}
	fate := d.current.get(m)
	if fate == nil {
		fate = d.former.get(m)
	}
	if fate != nil {
		return Outcome{Fate: *fate}, nil, false
	}
	d.busy.put(m, nil)
	return Outcome{}, nil, true
}

// finish records how the first delivery ended and lets those who wait go on.
func (d *dedupe) finish(m mark, o Outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	wait := *d.busy.get(m)
	d.busy.remove(m)
	if o.Fate == envelopepb.Fate_FATE_DELIVERED || o.Fate == envelopepb.Fate_FATE_STORED {
		if d.current.n >= dedupeSet {
			d.former, d.current = d.current, d.former
			d.current.clear()
		}
		d.current.put(m, o.Fate)
	}
	if wait != nil {
		wait.outcome = o
		close(wait.done)
	}
}
