package store

import (
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
)

// Queued is an envelope that waits for the way to another node.
type Queued struct {
	Seq      uint64
	Envelope []byte // exactly the bytes that were submitted
	ID       envelope.ID
	Expires  time.Time
}

// OutboxLimits per destination. Zero fields take the default.
type OutboxLimits struct {
	MaxBytes int64         // 64 MiB of envelopes
	MaxAge   time.Duration // 24 h; a later expiry is brought forward to this
}

// WithDefaults returns l with its zero fields set.
func (l OutboxLimits) WithDefaults() OutboxLimits {
	if l.MaxBytes <= 0 {
		l.MaxBytes = 64 << 20
	}
	if l.MaxAge <= 0 {
		l.MaxAge = 24 * time.Hour
	}
	return l
}

// Outbox holds what is on its way to other nodes, first in first out per destination. Its
// methods are those that package federation asks for.
type Outbox interface {
	// Enqueue is durable on return. An id that waits already keeps its place and its number, and
	// again says so.
	Enqueue(dest identity.PeerID, e []byte, id envelope.ID, expires time.Time) (seq uint64, again bool, err error)
	// Next returns at most max after a number, oldest first. What has expired is returned as
	// well: its sender has to be told before it is Done.
	Next(dest identity.PeerID, after uint64, max int) ([]Queued, error)
	Done(dest identity.PeerID, seqs []uint64) error
	// Destinations returns those with something waiting.
	Destinations() ([]identity.PeerID, error)
	Usage(dest identity.PeerID) (n int, bytes int64, err error)
}
