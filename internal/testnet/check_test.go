package testnet

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/bolt"
)

// tally is what the checker counts on its way through a history.
type tally struct {
	fates   map[string]int
	besides map[string]int
	notes   int
	wrong   []string
}

// grace is how long something may be on the way: a frame on a slow line, a node that ends
// what it began.
const grace = 45 * time.Second

// record is what the history says of one letter.
type record struct {
	*letter
	accepted, durable, stored bool
	down                      bool // its destination has refused it at least once
	echoed                    bool // its bytes were handed in besides
	ends                      []event
	arrivals                  []event
	acks                      []event
	known                     time.Time // when its sender knew that the device has it
}

// tally reads the whole history and holds it to the promises:
//
//   - every letter has one end that its sender knows;
//   - what was acknowledged has arrived, or ended in its time, or was refused with notice;
//   - nothing arrives at another device than its own, and nothing changed on the way;
//   - nothing arrives twice on one line, or again after its sender knew that it was fetched.
func (w *world) tally() tally {
	h := w.history
	h.mu.Lock()
	defer h.mu.Unlock()
	t := tally{fates: map[string]int{}, besides: map[string]int{}}
	bad := func(l *letter, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		if l != nil {
			text = fmt.Sprintf("#%d, %v from %s to %s: %s", l.n, l.ttl, l.from, l.to, text)
		}
		t.wrong = append(t.wrong, text)
	}
	records := make(map[envelope.ID]*record, len(h.letters))
	for id, l := range h.letters {
		records[id] = &record{letter: l}
	}
	lines := map[string][]time.Time{} // when somebody's connections ended
	for _, e := range h.events {
		r := records[e.id]
		switch e.kind {
		case lineLost:
			lines[e.who] = append(lines[e.who], e.at)
		case echoed:
			if r != nil {
				r.echoed = true
			}
		case turnedDown:
			if r != nil {
				r.down = true
			}
		case pressed:
			// Nobody knew of it. That it was refused while its sender's line was down is the
			// one good reason.
			if !r.down && w.jumps(r.letter) == 0 {
				bad(r.letter, "its own node had it on its disk, and it has gone nowhere")
			}
		case written:
			t.notes++
		case accepted:
			r.accepted = true
			r.durable = r.durable || e.text == "durably"
		case stored:
			r.stored = r.stored || len(r.ends) == 0 // it may come a moment after its sender gave it up
		case ended:
			r.ends = append(r.ends, e)
			if e.text == fateDelivered && r.known.IsZero() {
				r.known = e.at
			}
		case ack:
			if r != nil {
				r.acks = append(r.acks, e)
			}
		case arrived:
			switch {
			case r == nil:
				bad(nil, "%s got an envelope at %.3f that nobody made", e.who, e.at.Sub(h.start).Seconds())
			case r.to != e.who:
				bad(r.letter, "it was brought to %s", e.who)
			case r.hash != e.hash:
				bad(r.letter, "it arrived as something else")
			case r.bait:
				bad(r.letter, "it arrived, and no node should have taken it")
			default:
				for _, a := range r.arrivals {
					if a.link == e.link {
						bad(r.letter, "it arrived twice on line %d", e.link)
					}
				}
				if r.ttl != envelope.Live && !r.known.IsZero() && e.at.Sub(r.known) > grace {
					bad(r.letter, "it arrived again %v after it was known to have been fetched", e.at.Sub(r.known))
				}
				r.arrivals = append(r.arrivals, e)
				if len(r.arrivals) == 2 {
					t.besides["brought again on another line"]++
				}
			}
		}
	}
	near := func(who string, from, to time.Time) bool {
		for _, at := range lines[who] {
			if at.After(from.Add(-time.Second)) && at.Before(to.Add(grace)) {
				return true
			}
		}
		return false
	}
	for _, l := range h.order {
		r := records[idOf(h, l)]
		if len(r.ends) != 1 {
			t.fates["unknown"]++
			bad(l, "its sender knows of %d ends", len(r.ends))
			continue
		}
		end := r.ends[0]
		name := end.text
		if end.text == fateRefused {
			name += " " + end.code
		}
		t.fates[name]++
		if l.liar {
			continue
		}
		if l.bait {
			if end.text == fateDelivered || r.stored {
				bad(l, "no node should have taken it, and its sender was told %s", end.text)
			}
			continue
		}
		if l.knock {
			continue // what becomes of it is nobody's business
		}
		switch end.text {
		case fateDelivered:
			if len(r.arrivals) > 0 {
				break
			}
			if l.ttl == envelope.Live && near(l.to, l.at, end.at) {
				// A connection took it and broke before its other end had it.
				t.besides["live, taken by a line that broke"]++
				break
			}
			bad(l, "delivered, says its sender's node, and it never arrived")
		case fateExpired:
			if least := w.life(l); end.at.Sub(l.at)+w.jumps(l) < least {
				bad(l, "expired after %v of %v", end.at.Sub(l.at), least)
			}
			if len(r.arrivals) > 0 {
				t.besides["expired and arrived"]++
				if r.arrivals[0].at.Before(end.at.Add(-grace)) && l.ttl != envelope.Live && len(r.acks) > 0 && r.acks[0].at.Before(end.at.Add(-grace)) && !near(l.to, r.acks[0].at, r.acks[0].at) {
					bad(l, "expired at %.3f, and it was fetched and acknowledged at %.3f", end.at.Sub(h.start).Seconds(), r.acks[0].at.Sub(h.start).Seconds())
				}
			}
		case fateGivenUp:
			if r.stored || r.durable && l.ttl != envelope.Live && end.at.Sub(l.at)+w.jumps(l) < w.life(l) {
				bad(l, "its sender gave it up, and a node had acknowledged it")
			}
		case fateRefused:
			if r.stored && end.code != "asked" {
				bad(l, "stored, and then refused with %q", end.code)
			}
			if len(r.arrivals) > 0 {
				t.besides["refused "+end.code+" and arrived, "+l.ttl.String()]++
				if l.ttl != envelope.Live && !r.echoed {
					bad(l, "its sender was told that it was refused (%s), and it arrived", end.code)
				}
			}
		}
	}
	return t
}

func idOf(h *history, l *letter) envelope.ID {
	e, err := envelope.Parse(l.raw)
	if err != nil {
		panic(err)
	}
	return e.ID()
}

// life is how long a letter may wait at least.
func (w *world) life(l *letter) time.Duration {
	if l.ttl == envelope.Live {
		return liveDeadline - time.Second
	}
	return min(l.ttl.Duration(), 24*time.Hour) - time.Second
}

// jumps is by how much the clocks that a letter passed may have run ahead of ours.
func (w *world) jumps(l *letter) (sum time.Duration) {
	for _, s := range w.stations {
		if s.name == l.home || s.name == l.origin {
			sum += time.Duration(s.forward.Load())
		}
	}
	return sum
}

// look reads the disks of the nodes after they have ended.
func (w *world) look() {
	for _, s := range w.stations {
		r, err := bolt.Verify(filepath.Join(s.dir, "node.db"))
		if err != nil {
			w.fail("the store of %s: %v", s.name, err)
			continue
		}
		for _, p := range r.Problems {
			w.fail("the store of %s: %s", s.name, p)
		}
		if r.Envelopes > 0 || r.Outgoing > 0 {
			w.fail("on the disk of %s %d envelopes wait in mailboxes and %d in the outbox, and everybody was there: %s", s.name, r.Envelopes, r.Outgoing, w.waiting(s))
		}
	}
	for _, h := range w.humans {
		h.look()
	}
	for _, text := range w.leaks.found(w) {
		w.fail("%s", text)
	}
}

// waiting says what waits on a disk.
func (w *world) waiting(s *station) string {
	db, err := bolt.Open(filepath.Join(s.dir, "node.db"), bolt.Options{})
	if err != nil {
		return err.Error()
	}
	defer func() { _ = db.Close() }() // it was only read
	devices := map[string]identity.DeviceID{}
	for _, p := range w.people {
		if p.home == s {
			devices[p.name] = p.device.ID()
		}
	}
	for _, h := range w.humans {
		if h.home == s {
			devices[h.name] = h.device
		}
	}
	var out []string
	for _, name := range sorted(devices) {
		for after := store.Seq(0); ; {
			some, err := db.Peek(context.Background(), devices[name], after, 16)
			if err != nil {
				return err.Error()
			}
			if len(some) == 0 {
				break
			}
			for _, e := range some {
				after = e.Seq
				text := fmt.Sprintf("stored %d for %s, %v", e.Seq, name, e.TTL)
				if l := w.history.letters[e.ID]; l != nil {
					text += fmt.Sprintf(" (#%d, from %s)", l.n, l.from)
				}
				out = append(out, text)
			}
		}
	}
	return strings.Join(out, "; ")
}

// verdict is everything that was wrong.
func (w *world) verdict() []string {
	t := w.tally()
	w.mu.Lock()
	defer w.mu.Unlock()
	return append(append([]string(nil), w.wrong...), t.wrong...)
}
