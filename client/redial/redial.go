// Package redial says when a client whose link has ended comes back to its node. It is apart
// from the client so that the benchmark's reconnect storm keeps to the same rule.
package redial

import (
	"math/rand/v2"
	"time"
)

// Pauses between attempts.
const (
	First = 300 * time.Millisecond
	Last  = 30 * time.Second
)

// Pauses grow from one attempt to the next. The zero value is ready for use.
type Pauses struct{ next time.Duration }

// After is how long to wait once a link has ended that lasted so long from its dial. hint is
// what the node asked for, or 0. The pause is drawn at random, so that the clients of a node
// that restarts do not all come at once.
func (p *Pauses) After(lasted, hint time.Duration) time.Duration {
	if p.next == 0 || lasted > Last {
		p.next = First
	}
	wait := max(hint, time.Duration(rand.Int64N(int64(p.next)))+p.next/2)
	p.next = min(2*p.next, Last)
	return wait
}
