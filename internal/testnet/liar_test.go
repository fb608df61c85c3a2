package testnet

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/policy"
)

const liarDomain = "liar.example"

// liar is a node that everybody has for a partner and that says what it likes of what it is
// sent, answers queries with noise, and sends on what it has seen of others.
type liar struct {
	w         *world
	hostKey   ed25519.PrivateKey
	domainKey ed25519.PrivateKey
	routing   *envelope.RoutingKey
	peer      identity.PeerID
	policy    policy.Current
	fed       *federation.Federation
	end       context.CancelFunc
	done      chan error

	mu  sync.Mutex // guards rng
	rng *rand.Rand
}

func newLiar(w *world) (*liar, error) {
	l := &liar{w: w, rng: stream(w.seed, "liar")}
	key := func() ed25519.PrivateKey {
		seed := make([]byte, ed25519.SeedSize)
		for i := range seed {
			seed[i] = byte(l.rng.Uint32())
		}
		return ed25519.NewKeyFromSeed(seed)
	}
	l.hostKey, l.domainKey = key(), key()
	pub, err := identity.CheckKey(l.hostKey.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	l.peer = pub.PeerID()
	if l.routing, err = envelope.GenerateRoutingKey(); err != nil {
		return nil, err
	}
	w.packets.names[net.IPv4(1, 0, 0, 200).String()] = "liar"
	return l, nil
}

const liarAt = "/ip4/1.0.0.200/udp/8000/quic-v1"

func (l *liar) keyText() string { return keyText(l.domainKey.Public().(ed25519.PublicKey)) }

func (l *liar) document() []byte {
	day := l.w.history.start.Truncate(24 * time.Hour)
	doc, err := identity.SignDomain(l.domainKey, identity.DomainDocument{Domain: liarDomain, Epoch: 1, Issued: day, Expires: day.Add(30 * 24 * time.Hour),
		Nodes: []identity.DomainNode{{PeerID: l.peer, Addresses: []string{liarAt}}}})
	if err != nil {
		l.w.fail("the liar's document: %v", err)
		return nil
	}
	return doc.Bytes()
}

func (l *liar) descriptor() []byte {
	day := l.w.history.start.Truncate(24 * time.Hour)
	d, err := identity.SignDescriptor(l.hostKey, identity.NodeDescriptor{Domain: liarDomain, RoutingKey: l.routing.Public(), NotBefore: day, NotAfter: day.Add(7 * 24 * time.Hour)})
	if err != nil {
		l.w.fail("the liar's descriptor: %v", err)
		return nil
	}
	return d.Bytes()
}

func (l *liar) start() error {
	keys := map[string]string{}
	for _, s := range l.w.stations {
		keys[s.domain] = ""
	}
	text := "version = 1\n"
	sources := map[string]string{}
	for _, d := range sorted(keys) {
		text += fmt.Sprintf("[[domain]]\nname = %q\nlevel = \"partner\"\n", d)
		sources[d] = l.w.documentOf(d)
	}
	text += "[[rule]]\nname = \"all\"\nlevel = \"partner\"\ndirection = \"both\"\nactions = [\"federate\", \"signal\", \"knock\", \"store\", \"query\"]\n"
	if err := l.policy.Reload("policy.toml", []byte(text)); err != nil {
		return err
	}
	var err error
	l.fed, err = federation.New(federation.Config{
		HostKey: l.hostKey, Domain: liarDomain, Document: l.document, Descriptor: l.descriptor,
		Listen: []string{liarAt}, Transports: l.w.packets.transports(),
		Decide: l.policy.Decide, DomainPolicy: func(name string) (policy.Domain, bool) { return l.policy.Policy().Domain(name) },
		Sources: sources, Deliverer: l, Answerer: l,
	})
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(context.Background())
	l.end, l.done = end, make(chan error, 1)
	go func() { l.done <- l.fed.Run(ctx) }()
	<-l.fed.Ready()
	return nil
}

func (l *liar) stop() {
	l.end()
	if err := <-l.done; err != nil {
		l.w.fail("the liar ends with %v", err)
	}
}

func (l *liar) draw(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rng.IntN(n)
}

// Deliver says anything.
func (l *liar) Deliver(ctx context.Context, _ federation.Source, _ *envelope.Envelope) federation.Outcome {
	l.w.count("lies told")
	if l.draw(10) == 0 {
		l.w.wait(ctx, time.Duration(l.draw(20))*time.Second)
	}
	return federation.Outcome{Fate: envelopepb.Fate(l.draw(7)), Code: []string{"", "refused", "quota", "unavailable", "expired", "never heard of"}[l.draw(6)]}
}

// Answer answers noise of a right or a wrong size.
func (l *liar) Answer(context.Context, federation.Source, []byte) ([]byte, string) {
	b := make([]byte, []int{4096, 16384}[l.draw(2)])
	for i := range b {
		b[i] = byte(l.draw(256))
	}
	return b, ""
}

// work sends on what others have sent, as if it had seen it, and bends some of it.
func (l *liar) work(ctx context.Context) {
	for ctx.Err() == nil {
		l.w.wait(ctx, time.Duration(200+l.draw(3000))*time.Millisecond)
		seen := l.w.history.pick(l.draw(1 << 30))
		if seen == nil || l.w.healed.Load() {
			continue
		}
		e, err := envelope.Parse(seen.raw)
		if err != nil {
			continue
		}
		switch l.draw(5) {
		case 4: // to a node that it is not for
			e.Destination = l.w.stations[l.draw(len(l.w.stations))].peer
		case 0:
			e.Payload[l.draw(len(e.Payload))] ^= 1
		case 1:
			e.TTL = (e.TTL + 1) % 4
		case 2:
			e.Hop[l.draw(len(e.Hop))] ^= 1
		}
		for range 1 + l.draw(3) {
			l.w.count("sent on by the liar")
			l.w.history.add(event{who: "liar", kind: echoed, id: e.ID()})
			// Whatever becomes of it.
			_, _ = l.fed.Send(e, nil)
		}
	}
}
