package testnet

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
)

// what is a kind of event.
type what uint8

const (
	// submitted: a person made an envelope and is about to hand it in for the first time.
	submitted  what = iota
	accepted        // its own node has it; text says whether durably
	stored          // the destination keeps it
	ended           // the sender knows how it ended; text is the fate, code why it was refused
	arrived         // a node brought an envelope to somebody; link is which connection
	ack             // whom it was brought to has said so
	lineLost        // a connection of somebody ended
	pressed         // a person hands in again what its own node has on its disk
	turnedDown      // a node refuses what another brought; code says why
	echoed          // the same bytes are handed in besides: twice, or by somebody else
	written         // a note is on its writer's disk
	shown           // a note is in its reader's history
	seen            // the writer knows that the note was read
	fault           // something was done to the network, a node, a disk
	remark
)

var whatNames = [...]string{"submits", "accepted", "stored", "ended", "gets", "acks", "line lost", "presses", "refuses", "echoes", "writes", "has", "seen", "FAULT", "remark"}

// The ways in which an envelope ends for its sender.
const (
	fateDelivered = "delivered"
	fateExpired   = "expired"
	fateGivenUp   = "expired by its own clock"
	fateRefused   = "refused"
)

// event is one line of the history.
type event struct {
	at   time.Time
	who  string
	kind what
	id   envelope.ID // of the envelope it is about
	link uint64
	text string
	code string
	hash [32]byte // of the payload
}

// letter is what an envelope was made as. Only the simulation knows all of it.
type letter struct {
	n        int
	from, to string
	home     string // the node of the recipient
	origin   string // and of the sender
	ttl      envelope.TTL
	at       time.Time
	hash     [32]byte
	raw      []byte
	// bait must not be delivered to anybody: a wrong token, another payload under a hop.
	bait bool
	// liar: the destination is a node that says what it likes.
	liar bool
	// knock ends as stored whatever becomes of it.
	knock bool
}

// history is what happened, seen from outside. It only grows.
type history struct {
	start time.Time

	mu      sync.Mutex // guards all below
	events  []event
	letters map[envelope.ID]*letter
	order   []*letter
	faults  map[string]int
}

func newHistory() *history {
	return &history{start: time.Now(), letters: map[envelope.ID]*letter{}, faults: map[string]int{}}
}

func (h *history) add(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e.at = time.Now()
	h.events = append(h.events, e)
}

func (h *history) letter(id envelope.ID, l *letter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.n, l.at = len(h.order), time.Now()
	h.letters[id] = l
	h.order = append(h.order, l)
	h.events = append(h.events, event{at: l.at, who: l.from, kind: submitted, id: id, text: fmt.Sprintf("%v for %s", l.ttl, l.to)})
}

func (h *history) fault(kind, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults[kind]++
	h.events = append(h.events, event{at: time.Now(), kind: fault, text: kind + " " + text})
}

// pick is a random letter from before, or nil.
func (h *history) pick(n int) *letter {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.order) == 0 {
		return nil
	}
	return h.order[n%len(h.order)]
}

func (h *history) line(e *event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%10.3f  %-8s %-9s", e.at.Sub(h.start).Seconds(), e.who, whatNames[e.kind])
	if l := h.letters[e.id]; l != nil {
		fmt.Fprintf(&b, " #%d", l.n)
	} else if e.id != (envelope.ID{}) {
		fmt.Fprintf(&b, " ?%x", e.id[:3])
	}
	if e.link != 0 {
		fmt.Fprintf(&b, " link %d", e.link)
	}
	fmt.Fprintf(&b, " %s %s", e.text, e.code)
	return strings.TrimRight(b.String(), " ")
}

// story is what happened to one letter, and which faults there were around it.
func (h *history) story(l *letter, most int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var id envelope.ID
	for k, v := range h.letters {
		if v == l {
			id = k
		}
	}
	from, to := l.at, l.at
	for _, e := range h.events {
		if e.id == id && e.at.After(to) {
			to = e.at
		}
	}
	var out []string
	for i := range h.events {
		e := &h.events[i]
		mine := e.id == id
		near := (e.kind == fault || e.kind == lineLost && (e.who == l.from || e.who == l.to)) &&
			e.at.After(from.Add(-20*time.Second)) && e.at.Before(to.Add(5*time.Second))
		if mine || near {
			out = append(out, h.line(e))
		}
	}
	if len(out) > most {
		out = append(slices.Clip(out[:most/2]), append([]string{"          …"}, out[len(out)-most/2:]...)...)
	}
	return strings.Join(out, "\n")
}

// tail is the end of the history.
func (h *history) tail(most int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for i := max(0, len(h.events)-most); i < len(h.events); i++ {
		out = append(out, h.line(&h.events[i]))
	}
	return strings.Join(out, "\n")
}
