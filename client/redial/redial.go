// Package redial says when a client whose link has ended comes back to its node. It is apart
// from the client so that the benchmark's reconnect storm keeps to the same rule.
package redial

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Pauses between attempts, and what is added to what a node asked for: nodes speak in whole
// seconds, and those who were told the same should not all come at once.
const (
	First  = 300 * time.Millisecond
	Last   = 30 * time.Second
	Spread = time.Second
)

// Pauses grow from one attempt to the next. The zero value is ready for use.
type Pauses struct{ next time.Duration }

// After is how long to wait once a link has ended, or was not to be had, that lasted so long
// from its dial. The pause is drawn at random, so that the clients of a node that restarts do
// not all come at once. hint is what the node asked for, or 0; a node that asks is there, so
// the pauses do not grow.
func (p *Pauses) After(lasted, hint time.Duration) time.Duration {
	if p.next == 0 || lasted > Last {
		p.next = First
	}
	if hint > 0 {
		return hint + time.Duration(rand.Int64N(int64(Spread)))
	}
	wait := time.Duration(rand.Int64N(int64(p.next))) + p.next/2
	p.next = min(2*p.next, Last)
	return wait
}

// maxHint bounds what a node can ask of those who come back.
const maxHint = 10 * time.Minute

// Hint reads the Retry-After of a node that takes no link now; 0 is none. It is a number of
// seconds: a date would need two clocks that agree.
func Hint(h http.Header) time.Duration {
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxHint)
}
