// Package federation carries envelopes and queries between the nodes of different domains
// over libp2p (docs/spec/federation.md). Call New and Run; then Send an envelope for another
// node, and be called back as Deliverer for what arrives.
//
// It promises that an envelope it took is never lost in silence: each ends with an Outcome,
// or waits in the durable outbox for the next start. It never opens a payload or a hop, never
// logs who talks to whom, keeps what a peer can make it hold within the credit it granted,
// and speaks with nobody whom the policy does not allow.
package federation

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/policy"
)

// Federation is one node's place in the network.
type Federation struct {
	cfg      Config
	self     identity.PeerID
	log      *slog.Logger
	listen   []ma.Multiaddr
	announce []ma.Multiaddr
	probe    *envelope.RoutingKey
	probeKey [32]byte

	domains  *domains
	refusals refusals
	buckets  *policy.Buckets
	feeder   *feeder
	taker    Taker
	reload   chan struct{}
	ready    chan struct{}
	wg       sync.WaitGroup // every goroutine, and Run waits for it

	// Set by Run before ready is closed, then only read.
	ctx   context.Context
	host  host.Host
	addrs []string

	mu       sync.Mutex // guards all below; never held together with a link's
	state    runState
	draining bool
	links    map[identity.PeerID]*link
	sessions map[[16]byte]*session // shaking hands or running
	shakes   map[identity.PeerID]*shake
	unnamed  map[identity.PeerID]int // streams that have not said yet what they are
	inbound  int                     // handshakes of others under way
	nonces   wire.Nonces
	seeking  map[string]*seek
}

type runState int

const (
	isNew runState = iota
	isRunning
	isStopping
)

// New checks the configuration and allocates. It starts nothing.
func New(cfg Config) (*Federation, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	key, err := identity.CheckKey(cfg.HostKey.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("federation: host key: %w", err)
	}
	f := &Federation{
		cfg: cfg, self: key.PeerID(), log: cfg.Logger,
		buckets: policy.NewBuckets(16 * cfg.MaxPeers),
		feeder:  newFeeder(),
		reload:  make(chan struct{}, 1), ready: make(chan struct{}),
		links: make(map[identity.PeerID]*link), sessions: make(map[[16]byte]*session),
		shakes: make(map[identity.PeerID]*shake), unnamed: make(map[identity.PeerID]int),
		seeking: make(map[string]*seek),
	}
	f.domains = newDomains(&f.cfg)
	var ok bool
	if f.taker, ok = cfg.Deliverer.(Taker); !ok {
		f.taker = blocking{cfg.Deliverer}
	}
	if f.listen, err = parseAddrs(cfg.Listen, false); err != nil {
		return nil, fmt.Errorf("federation: listen: %w", err)
	}
	if f.announce, err = parseAddrs(cfg.Announce, true); err != nil {
		return nil, fmt.Errorf("federation: announce: %w", err)
	}
	if f.probe, err = envelope.GenerateRoutingKey(); err != nil {
		return nil, err
	}
	f.probeKey = f.probe.Public()
	return f, nil
}

// Run carries the federation until ctx ends, and returns when the last goroutine has ended.
// What waits in memory then goes to the durable outbox. It can run once.
func (f *Federation) Run(ctx context.Context) error {
	f.mu.Lock()
	if f.state != isNew {
		f.mu.Unlock()
		return errors.New("federation: it ran already")
	}
	runCtx, cancel := context.WithCancelCause(ctx)
	f.ctx = runCtx
	f.mu.Unlock()
	defer cancel(nil)

	if err := f.domains.load(); err != nil {
		return fmt.Errorf("federation: domain pins: %w", err)
	}
	h, err := newHost(f)
	if err != nil {
		return fmt.Errorf("federation: %w", err)
	}
	f.host = h
	f.addrs = f.ownAddrs()
	f.mu.Lock()
	f.state = isRunning
	f.mu.Unlock()
	if err := f.restore(); err != nil {
		cancel(errStopped)
		return errors.Join(fmt.Errorf("federation: outbox: %w", err), f.stop())
	}
	close(f.ready)
	h.SetStreamHandler(protocol.ID(wire.Protocol), f.serve)
	f.goWith(func() { f.feeder.run(f.ctx) })
	f.goWith(f.watchLoop)

	<-ctx.Done()
	cancel(errStopped)
	return f.stop()
}

// stop ends everything that Run started. The context has ended.
func (f *Federation) stop() error {
	f.mu.Lock()
	f.state = isStopping
	links := slices.Collect(maps.Values(f.links))
	f.mu.Unlock()
	f.host.RemoveStreamHandler(protocol.ID(wire.Protocol))
	f.wg.Wait()
	for _, l := range links {
		l.flush()
	}
	return f.host.Close()
}

// restore makes links for what an earlier process left in the durable outbox.
func (f *Federation) restore() error {
	if f.cfg.Outbox == nil {
		return nil
	}
	dests, err := f.cfg.Outbox.Destinations()
	if err != nil {
		return err
	}
	for _, dest := range dests {
		n, bytes, err := f.cfg.Outbox.Usage(dest)
		if err != nil {
			return err
		}
		domain, _ := f.domains.domainOf(dest)
		f.mu.Lock()
		l := newLink(f, dest, domain)
		l.queue.unread, l.queue.boot, l.queue.unreadBytes = n, n, bytes
		f.links[dest] = l
		f.mu.Unlock()
		f.goWith(func() { l.loop(f.ctx) })
	}
	return nil
}

// goWith starts a goroutine that Run waits for. It says no when Run is about to return.
func (f *Federation) goWith(fn func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != isRunning {
		return false
	}
	f.wg.Go(fn)
	return true
}

// Ready is closed when the federation listens: Addrs is good then, and Document is asked
// for from then on.
func (f *Federation) Ready() <-chan struct{} { return f.ready }

// PeerID is this node's own.
func (f *Federation) PeerID() identity.PeerID { return f.self }

// Addrs are the multiaddresses for the domain document: the announced ones, else those that
// are listened on. Before Ready there are none.
func (f *Federation) Addrs() []string {
	select {
	case <-f.ready:
		return slices.Clone(f.addrs)
	default:
		return nil
	}
}

func (f *Federation) ownAddrs() []string {
	if len(f.announce) > 0 {
		var out []string
		for _, a := range f.announce {
			out = append(out, a.String())
		}
		return out
	}
	addrs, err := f.host.Network().InterfaceListenAddresses()
	if err != nil {
		addrs = f.host.Network().ListenAddresses()
	}
	return reachable(addrs)
}

// Send takes an envelope for another node; it keeps nothing of e. When it returns without an
// error, done is told exactly once, unless durable is true or becomes true at shutdown and
// the process ends first; then the next process sends it and tells Config.Outcome. That can
// be before Send has returned. done may be nil. The error's Code says why an envelope was not
// taken.
func (f *Federation) Send(e *envelope.Envelope, done Waiter) (durable bool, err error) {
	f.mu.Lock()
	err, l := f.openLocked(), f.links[e.Destination]
	f.mu.Unlock()
	if err != nil {
		return false, err
	}
	domain, ok := f.domains.domainOf(e.Destination)
	if !ok || e.Destination == f.self {
		return false, ErrUnknownDestination
	}
	now := f.cfg.Now()
	d := f.cfg.Decide(policy.Request{Domain: domain, Action: policy.ActionFederate, Direction: policy.Out, At: now})
	if !d.Allow {
		return false, fmt.Errorf("%w (rule %q)", ErrPolicy, d.Rule)
	}
	if l == nil {
		if l = f.linkTo(e.Destination, domain); l == nil {
			return false, ErrDraining
		}
	}
	return l.send(e, now, done)
}

// Query sends a sealed query to another node and returns the sealed answer. It waits for a
// link if there is none.
func (f *Federation) Query(ctx context.Context, dest identity.PeerID, box []byte) ([]byte, error) {
	if err := f.open(); err != nil {
		return nil, err
	}
	if len(box) != wire.QueryBox {
		return nil, ErrTooLarge
	}
	domain, ok := f.domains.domainOf(dest)
	if !ok || dest == f.self {
		return nil, ErrUnknownDestination
	}
	for _, a := range []policy.Action{policy.ActionFederate, policy.ActionQuery} {
		if d := f.decide(domain, a, policy.Out); !d.Allow {
			return nil, fmt.Errorf("%w (rule %q)", ErrPolicy, d.Rule)
		}
	}
	l := f.linkTo(dest, domain)
	if l == nil {
		return nil, ErrDraining
	}
	s, err := l.connected(ctx)
	if err != nil {
		return nil, err
	}
	return s.query(ctx, box)
}

// DomainOf says which domain a node speaks for: the one that its live link has proven, else
// the most trusted one whose believed document names it.
func (f *Federation) DomainOf(p identity.PeerID) (domain string, ok bool) {
	if l := f.lookup(p); l != nil {
		domain = f.domainName(l)
		return domain, domain != ""
	}
	return f.domains.domainOf(p)
}

// Domain finds a domain: its believed document, and the newest descriptor of each of its
// nodes that could be reached, now or before. It connects where there is no link yet; one
// reachable node is enough. Clients verify both themselves.
func (f *Federation) Domain(ctx context.Context, name string) (document []byte, descriptors [][]byte, err error) {
	if err := identity.CheckDomain(name); err != nil {
		return nil, nil, fmt.Errorf("%w: %v", ErrUnknownDestination, err)
	}
	if err := f.open(); err != nil {
		return nil, nil, err
	}
	if name == f.cfg.Domain {
		return f.cfg.Document(), [][]byte{f.cfg.Descriptor()}, nil
	}
	if d := f.decide(name, policy.ActionFederate, policy.Out); !d.Allow {
		return nil, nil, fmt.Errorf("%w (rule %q)", ErrPolicy, d.Rule)
	}
	doc, err := f.domains.current(ctx, name, false)
	if err != nil {
		f.log.Info("a domain's document could not be had", "domain", name, "err", err)
		return nil, nil, fmt.Errorf("%w: %v", ErrUnreachable, err)
	}
	var links []*link
	for _, n := range doc.Nodes {
		if n.PeerID == f.self {
			continue
		}
		if l := f.linkTo(n.PeerID, name); l != nil {
			links = append(links, l)
		}
	}
	worst := f.connectAny(ctx, links)
	if Code(worst) == wire.CodePolicy {
		return nil, nil, worst // what was known from before leads nowhere now
	}
	now := f.cfg.Now()
	for _, l := range links {
		l.mu.Lock()
		d := l.descriptor
		l.mu.Unlock()
		if d != nil && d.ValidAt(now) == nil {
			descriptors = append(descriptors, d.Bytes())
		}
	}
	if len(descriptors) == 0 {
		if worst == nil {
			worst = ErrUnreachable
		}
		return nil, nil, worst
	}
	return doc.Bytes(), descriptors, nil
}

// connectAny waits until one of the links has a session. The error is the most telling one of
// those that could not.
func (f *Federation) connectAny(ctx context.Context, links []*link) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(links))
	waiting := 0
	for _, l := range links {
		if f.goWith(func() {
			_, err := l.connected(ctx)
			results <- err
		}) {
			waiting++
		}
	}
	var worst error
	for range waiting {
		err := <-results
		if err == nil {
			return nil
		}
		worst = moreTelling(worst, err)
	}
	return worst
}

// moreTelling is the error that says more about why none of a domain's nodes took us: that a
// policy does not want it before any other refusal, and a refusal before silence.
func moreTelling(a, b error) error {
	rank := func(err error) int {
		var remote *RemoteError
		switch {
		case err == nil:
			return 0
		case Code(err) == wire.CodePolicy:
			return 3
		case errors.As(err, &remote):
			return 2
		}
		return 1
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// open says whether the federation takes anything now.
func (f *Federation) open() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.openLocked()
}

func (f *Federation) openLocked() error {
	switch {
	case f.state == isNew:
		return ErrUnavailable
	case f.draining || f.state == isStopping:
		return ErrDraining
	}
	return nil
}

// Peers are the links, by domain and peer id.
func (f *Federation) Peers() []PeerStatus {
	f.mu.Lock()
	links := slices.Collect(maps.Values(f.links))
	f.mu.Unlock()
	out := make([]PeerStatus, 0, len(links))
	for _, l := range links {
		out = append(out, l.status())
	}
	slices.SortFunc(out, comparePeers)
	return out
}

// Refusals are the domains that were refused here and why, the newest first.
func (f *Federation) Refusals() []Refusal { return f.refusals.list() }

// RefusalCounts are all refusals here since the start, by code. Unlike Refusals it forgets
// nothing, so that it can be a counter.
func (f *Federation) RefusalCounts() map[string]uint64 { return f.refusals.counts() }

// Reload asks the policy again about every link: denied ones are closed at once, and those
// that it may allow now are tried at once.
func (f *Federation) Reload() { signal(f.reload) }

// Drain tells the peers that this node goes away, takes nothing new, and waits until what is
// under way has its outcome or ctx ends. Then end Run's context.
func (f *Federation) Drain(ctx context.Context) {
	f.mu.Lock()
	if f.state != isRunning {
		f.mu.Unlock()
		return
	}
	f.draining = true
	sessions := slices.Collect(maps.Values(f.sessions))
	f.mu.Unlock()
	for _, s := range sessions {
		s.sayDrain()
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for slices.ContainsFunc(sessions, (*session).busy) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-f.ctx.Done():
			return
		}
	}
}
