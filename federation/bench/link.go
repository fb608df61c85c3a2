package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/policy"
)

const (
	senderDomain   = "acme.example"
	receiverDomain = "globex.example"
)

// end is one node's federation without the node.
type end struct {
	fed      *federation.Federation
	self     identity.PeerID
	routing  *envelope.RoutingKey
	key      ed25519.PrivateKey // of the domain
	domain   string
	document atomic.Pointer[[]byte] // once the addresses are known

	delivered atomic.Int64
}

func keyOf(seed, what string) ed25519.PrivateKey {
	sum := sha256.Sum256([]byte(what + "\x00" + seed))
	return ed25519.NewKeyFromSeed(sum[:])
}

// policyText allows the partner everything that a federation asks about, within limits that
// are counted and never met.
const policyText = `version = 1

[[domain]]
name  = %q
level = "partner"
key   = "ed25519:%s"

[[rule]]
name      = "partners call"
level     = "partner"
direction = "both"
actions   = ["federate", "signal", "knock", "store", "query"]
limit     = { per_second = 10000000, bytes_per_second = "64GiB", concurrent = 100000 }
`

func newEnd(setup Setup, domain, partner string) (*end, error) {
	e := &end{domain: domain, key: keyOf(setup.Seed, "domain "+domain)}
	host := keyOf(setup.Seed, "host "+domain)
	key, err := identity.CheckKey(host.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	e.self = key.PeerID()
	// Both ends know the seed, so the sender can seal to the receiver.
	sum := sha256.Sum256([]byte("routing " + receiverDomain + "\x00" + setup.Seed))
	if e.routing, err = envelope.RoutingKeyFromSeed(sum); err != nil {
		return nil, err
	}
	var current policy.Current
	theirs := keyOf(setup.Seed, "domain "+partner).Public().(ed25519.PublicKey)
	if err := current.Reload("policy.toml", fmt.Appendf(nil, policyText, partner, base64.StdEncoding.EncodeToString(theirs))); err != nil {
		return nil, err
	}
	day := time.Now().UTC().Truncate(24 * time.Hour)
	descriptor, err := identity.SignDescriptor(host, identity.NodeDescriptor{
		Domain: domain, RoutingKey: e.routing.Public(), NotBefore: day, NotAfter: day.Add(7 * 24 * time.Hour)})
	if err != nil {
		return nil, err
	}
	cfg := federation.Config{
		HostKey: host, Domain: domain, Listen: []string{"/ip4/127.0.0.1/tcp/0"},
		Document:   e.signed,
		Descriptor: descriptor.Bytes,
		Decide:     current.Decide, DomainPolicy: current.Domain, Deliverer: e,
		WindowFrames: Window,
	}
	if domain == senderDomain {
		cfg.Sources = map[string]string{partner: setup.Document}
	}
	if e.fed, err = federation.New(cfg); err != nil {
		return nil, err
	}
	return e, nil
}

// Deliver implements federation.Deliverer.
func (e *end) Deliver(context.Context, federation.Source, *envelope.Envelope) federation.Outcome {
	e.delivered.Add(1)
	return federation.Outcome{Fate: envelopepb.Fate_FATE_DELIVERED}
}

// signed is the domain document; there is none before the federation is ready.
func (e *end) signed() []byte {
	if d := e.document.Load(); d != nil {
		return *d
	}
	return nil
}

// sign makes the domain document, which names the addresses that the federation got.
func (e *end) sign() error {
	day := time.Now().UTC().Truncate(24 * time.Hour)
	document, err := identity.SignDomain(e.key, identity.DomainDocument{
		Domain: e.domain, Epoch: 1, Issued: day, Expires: day.Add(30 * 24 * time.Hour),
		Nodes: []identity.DomainNode{{PeerID: e.self, Addresses: e.fed.Addrs()}},
	})
	if err == nil {
		b := document.Bytes()
		e.document.Store(&b)
	}
	return err
}

// run runs the federation around do.
func (e *end) run(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- e.fed.Run(ctx) }()
	var err error
	select {
	case <-e.fed.Ready():
		if err = e.sign(); err == nil {
			err = do(ctx)
		}
	case err = <-ended:
		cancel()
		return err
	}
	cancel()
	return errors.Join(err, <-ended)
}

func receiveLink(ctx context.Context, setup Setup, t *talk) error {
	e, err := newEnd(setup, receiverDomain, senderDomain)
	if err != nil {
		return err
	}
	return e.run(ctx, func(ctx context.Context) error {
		if err := os.WriteFile(setup.Document, e.signed(), 0o600); err != nil {
			return err
		}
		return t.serve(ctx, Ready{}, func(context.Context, time.Duration) (Told, error) {
			return Told{Frames: e.delivered.Load()}, nil
		})
	})
}

// linkTime is how long the two may take to link up.
const linkTime = time.Minute

func sendLink(ctx context.Context, setup Setup, t *talk) error {
	e, err := newEnd(setup, senderDomain, receiverDomain)
	if err != nil {
		return err
	}
	to, err := identity.CheckKey(keyOf(setup.Seed, "host "+receiverDomain).Public().(ed25519.PublicKey))
	if err != nil {
		return err
	}
	sample, err := envelope.NewEnvelope(e.routing.Public(), to.PeerID(), envelope.Live, envelope.Hop{Tag: envelope.NewRouteTag()}, make([]byte, Size))
	if err != nil {
		return err
	}
	return e.run(ctx, func(ctx context.Context) error {
		if err := e.linked(ctx); err != nil {
			return err
		}
		s := &linkSender{fed: e.fed, sample: sample, ended: make(chan struct{}, 1)}
		return t.serve(ctx, Ready{}, s.run)
	})
}

func (e *end) linked(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, linkTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, p := range e.fed.Peers() {
			if p.State == federation.StateConnected {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the two ends did not link up: %w", ctx.Err())
		}
	}
}

// linkSender keeps the link's window full and half a window behind it.
type linkSender struct {
	fed    *federation.Federation
	sample *envelope.Envelope
	next   uint64

	onTheWay, frames, refused atomic.Int64
	ended                     chan struct{} // wakes the sender when some have ended
}

const (
	mostOnTheWay = Window + Window/2
	wakeEvery    = 32
)

// Ended implements federation.Waiter.
func (s *linkSender) Ended(o federation.Outcome) {
	if o.Fate == envelopepb.Fate_FATE_DELIVERED {
		s.frames.Add(1)
	} else {
		s.refused.Add(1)
	}
	if s.onTheWay.Add(-1)%wakeEvery == 0 {
		select {
		case s.ended <- struct{}{}:
		default:
		}
	}
}

func (s *linkSender) wait(ctx context.Context) error {
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *linkSender) run(ctx context.Context, d time.Duration) (Told, error) {
	frames, refused := s.frames.Load(), s.refused.Load()
	var sent int64
	began := time.Now()
	for time.Since(began) < d {
		for s.onTheWay.Load() >= mostOnTheWay {
			if err := s.wait(ctx); err != nil {
				return Told{}, err
			}
		}
		s.onTheWay.Add(1)
		// Each is another envelope; sealing a hop for each would measure HPKE. The counter is
		// spread because the first byte chooses among the link's lanes.
		s.next++
		binary.BigEndian.PutUint64(s.sample.Payload, s.next*0x9e3779b97f4a7c15)
		_, err := s.fed.Send(s.sample, s)
		for errors.Is(err, federation.ErrQueueFull) { // the link's memory is smaller than the window
			if err := s.wait(ctx); err != nil {
				return Told{}, err
			}
			_, err = s.fed.Send(s.sample, s)
		}
		if err != nil {
			return Told{}, err
		}
		sent++
	}
	for s.onTheWay.Load() > 0 {
		if err := s.wait(ctx); err != nil {
			return Told{}, err
		}
	}
	return Told{Sent: sent, Frames: s.frames.Load() - frames, Refused: s.refused.Load() - refused, Seconds: time.Since(began).Seconds()}, nil
}
