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
	mu              sync.Mutex     // guards all below
	busy            marks[*parcel] // those that came again meanwhile, by next
	current, former marks[envelopepb.Fate]
}

// begin says what to do with a parcel: deliver it (first), nothing because it ends with a
// delivery of the same that is under way (waits), or give it the outcome it already had.
func (d *dedupe) begin(p *parcel) (known Outcome, first, waits bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if under := d.busy.get(p.mark); under != nil {
		p.next, *under = *under, p
		return Outcome{}, false, true
	}
	fate := d.current.get(p.mark)
	if fate == nil {
		fate = d.former.get(p.mark)
	}
	if fate != nil {
		return Outcome{Fate: *fate}, false, false
	}
	d.busy.put(p.mark, nil)
	return Outcome{}, true, false
}

// finish records how the first delivery ended and returns those that end with it, as a list.
func (d *dedupe) finish(m mark, o Outcome) (waiting *parcel) {
	d.mu.Lock()
	defer d.mu.Unlock()
	waiting = *d.busy.get(m)
	d.busy.remove(m)
	if o.Fate == envelopepb.Fate_FATE_DELIVERED || o.Fate == envelopepb.Fate_FATE_STORED {
		if d.current.n >= dedupeSet {
			d.former, d.current = d.current, d.former
			d.current.clear()
		}
		d.current.put(m, o.Fate)
	}
	return waiting
}
