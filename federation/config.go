package federation

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/libp2p/go-libp2p"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/policy"
)

// Source is where an envelope or a query came from: a proven peer that speaks for a proven
// domain. No user stands in it, because none is known here.
type Source struct {
	Peer   identity.PeerID
	Domain string
}

// Outcome is how an envelope ended. Code says why when it was refused.
type Outcome struct {
	Fate envelopepb.Fate
	Code string
}

// Waiter is told once how an envelope ended. Ended is called without a lock held, by any
// goroutine, and should not block: the outcomes behind it wait.
type Waiter interface{ Ended(Outcome) }

// WaiterFunc is a function as a Waiter.
type WaiterFunc func(Outcome)

// Ended calls the function.
func (f WaiterFunc) Ended(o Outcome) { f(o) }

// Deliverer takes what arrives for this node. The envelope and its payload are good until
// Deliver returns; then they become another one. Deliver may be slow: it is called off the
// read loop, several at a time, and credit is given back only when it returns. Envelopes that
// begin with the same 8 bytes (the frames of one session) are given one after the other, in
// order. The federation cannot open the hop, so Deliver applies the policy's signal, knock
// and store actions. The context ends when the federation stops, not when the link does: an
// envelope that was taken is finished.
type Deliverer interface {
	Deliver(ctx context.Context, from Source, e *envelope.Envelope) Outcome
}

// Taker is a Deliverer that is not waited for: a few goroutines then give it many envelopes,
// and what it writes for several can be written together.
type Taker interface {
	Deliverer
	// Take is Deliver whose outcome is told to to, once, by any goroutine, before Take
	// returns or later. The envelope is good until Take returns. Of one session at most 32
	// have not ended at once.
	Take(ctx context.Context, from Source, e *envelope.Envelope, to Waiter)
	// Flush is called behind some calls of Take, and behind some of Waiter.Ended: what they
	// have left to be written should be written now. It may be called by several goroutines.
	Flush()
}

// blocking makes a Taker of a Deliverer.
type blocking struct{ Deliverer }

func (b blocking) Take(ctx context.Context, from Source, e *envelope.Envelope, to Waiter) {
	to.Ended(b.Deliver(ctx, from, e))
}

func (blocking) Flush() {}

// Answerer answers oblivious queries. Exactly one of answer and code is set; answer is a box
// of 4,096 or 16,384 bytes.
type Answerer interface {
	Answer(ctx context.Context, from Source, box []byte) (answer []byte, code string)
}

// Queued is an envelope in the durable outbox.
type Queued struct {
	Seq      uint64
	Envelope []byte
	ID       envelope.ID
	Expires  time.Time
}

// Outbox keeps envelopes for destinations that cannot be reached now. Enqueue is durable on
// return and answers ErrQueueFull when the destination has its share; one that waits already
// keeps its number and is called one again. Next returns entries
// above after in ascending order. Done is durable and idempotent.
type Outbox interface {
	Enqueue(dest identity.PeerID, e []byte, id envelope.ID, expires time.Time) (seq uint64, again bool, err error)
	Next(dest identity.PeerID, after uint64, max int) ([]Queued, error)
	Done(dest identity.PeerID, seqs []uint64) error
	Destinations() ([]identity.PeerID, error)
	Usage(dest identity.PeerID) (n int, bytes int64, err error)
}

// Pins keeps the newest domain document seen of each domain. Save is durable on return.
type Pins interface {
	Load() (map[string][]byte, error)
	Save(domain string, signedDocument []byte) error
}

// Errors of Send, Query and Domain. Code gives the word for the wire.
var (
	ErrUnknownDestination = errors.New("no domain document names this node")
	ErrPolicy             = errors.New("the policy denies it")
	ErrQueueFull          = errors.New("the queue to this node is full")
	ErrDraining           = errors.New("this node is shutting down")
	ErrUnreachable        = errors.New("the node cannot be reached now")
	ErrRate               = errors.New("too much at once")
	ErrUnavailable        = errors.New("cannot be stored now")
	ErrTooLarge           = errors.New("too large")
)

// Code is the reply code (docs/spec/client-link.md) for an error of this package; "internal"
// for any other.
func Code(err error) string {
	var remote *RemoteError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &remote):
		return remote.Code
	case errors.Is(err, ErrUnknownDestination):
		return "unknown_destination"
	case errors.Is(err, ErrPolicy):
		return wire.CodePolicy
	case errors.Is(err, ErrQueueFull):
		return "queue_full"
	case errors.Is(err, ErrDraining):
		return wire.CodeDraining
	case errors.Is(err, ErrUnreachable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "unreachable"
	case errors.Is(err, ErrRate):
		return wire.CodeRate
	case errors.Is(err, ErrUnavailable):
		return wire.CodeUnavailable
	case errors.Is(err, ErrTooLarge):
		return "too_large"
	}
	return wire.CodeInternal
}

// RemoteError is a refusal by the other side, of which only the code is known.
type RemoteError struct{ Code string }

func (e *RemoteError) Error() string { return "refused by the other node: " + e.Code }

// Config is everything a Federation needs. Zero means a good default where none is named
// as required.
type Config struct {
	HostKey ed25519.PrivateKey // required: the node's own libp2p key
	Domain  string             // required

	// Document returns this domain's signed document and Descriptor this node's signed
	// descriptor, as they are now; both required. They are first called after Ready, so the
	// document may name the addresses that Addrs reports.
	Document   func() []byte
	Descriptor func() []byte

	// Listen takes host:port (TCP and QUIC both) or multiaddresses; default 127.0.0.1:7421.
	// Announce takes the same, with DNS names too: what Addrs reports instead of the
	// addresses listened on.
	Listen   []string
	Announce []string

	Decide       func(policy.Request) policy.Decision      // required
	DomainPolicy func(domain string) (policy.Domain, bool) // required
	// Sources says where the signed document of a domain is found when it is not at
	// https://DOMAIN/.well-known/trunkline/domain: an https:// or http:// URL or a file. The
	// administrator wrote it down, so private addresses are allowed; http:// and only
	// http:// needs a key pinned in the policy.
	Sources map[string]string
	// Partners names domains to look for at their own place from the start; those in Sources
	// and those known from before need not be named. It may be nil.
	Partners func() []string

	Deliverer Deliverer // required; better a Taker
	Answerer  Answerer  // without one every query is answered "unavailable"
	Outbox    Outbox    // without one nothing is kept beyond memory
	Pins      Pins      // without one every start is a first contact

	// Outcome is told how envelopes ended that have no done function any more, because they
	// were taken from the durable outbox after a restart.
	Outcome func(dest identity.PeerID, id envelope.ID, o Outcome)

	MaxPeers     int    // peers with a live link at once, default 256
	WindowFrames uint32 // envelopes a peer may send unacknowledged, default 256
	WindowBytes  uint64 // and their bytes, default 4 MiB

	RootCAs *x509.CertPool   // authorities for fetching documents, default the system's
	Logger  *slog.Logger     // default: none
	Now     func() time.Time // clock for expiry, default time.Now; timers are real ones

	// Transports replaces TCP and QUIC: tests run on a simulated network.
	Transports []libp2p.Option

	// fetchDial makes the document fetcher's connections in tests.
	fetchDial func(ctx context.Context, host string) (net.Conn, error)
}

func (c *Config) validate() error {
	if len(c.HostKey) != ed25519.PrivateKeySize {
		return errors.New("federation: HostKey is not an Ed25519 private key")
	}
	if err := identity.CheckDomain(c.Domain); err != nil {
		return fmt.Errorf("federation: domain: %w", err)
	}
	if c.Document == nil || c.Descriptor == nil || c.Decide == nil || c.DomainPolicy == nil || c.Deliverer == nil {
		return errors.New("federation: Document, Descriptor, Decide, DomainPolicy and Deliverer are required")
	}
	if len(c.Listen) == 0 {
		c.Listen = []string{"127.0.0.1:7421"}
	}
	if c.MaxPeers == 0 {
		c.MaxPeers = 256
	}
	if c.MaxPeers < 1 || c.MaxPeers > 65536 {
		return fmt.Errorf("federation: MaxPeers %d: 1 to 65536", c.MaxPeers)
	}
	if c.WindowFrames == 0 {
		c.WindowFrames = 256
	}
	if c.WindowBytes == 0 {
		c.WindowBytes = 4 << 20
	}
	if c.WindowFrames > wire.MaxWindowFrames || c.WindowBytes < wire.MinWindowBytes || c.WindowBytes > wire.MaxWindowBytes {
		return fmt.Errorf("federation: window of %d envelopes and %d bytes: at most %d, and %d to %d",
			c.WindowFrames, c.WindowBytes, wire.MaxWindowFrames, wire.MinWindowBytes, wire.MaxWindowBytes)
	}
	for domain := range c.Sources {
		if err := identity.CheckDomain(domain); err != nil {
			return fmt.Errorf("federation: source for %q: %w", domain, err)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}
