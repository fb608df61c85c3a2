// Package node puts the parts of a signaling node together: the client link, mailboxes,
// the directory, the federation, the relay, the trust policy and the administrator's side.
//
// Call LoadConfig (or DefaultConfig) and New, then Run until its context ends. Ready says
// when the node takes envelopes and Facts where. An administrator's program calls Dial.
//
// The package promises never to read what it routes, never to store a sender beside an
// envelope, and never to log an identity, an address, a tag, a token, or who talks to whom.
package node

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/localca"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/bolt"
	"github.com/trunkline-net/trunkline/internal/store/kv"
	"github.com/trunkline-net/trunkline/media/sfu"
	"github.com/trunkline-net/trunkline/media/turn"
	"github.com/trunkline-net/trunkline/policy"
)

// Node is one signaling node. Its methods may be called from many goroutines.
type Node struct {
	cfg    Config
	ground Ground
	log    *slog.Logger
	now    func() time.Time
	coarse atomic.Int64 // now in seconds, moved by tickLoop
	// storeSaid is when the log was told last that the store is unavailable, on that clock.
	storeSaid atomic.Int64

	folder    *folder
	self      identity.PeerID
	local     federation.Source // what this node's own clients are to the delivery code
	db        *bolt.DB
	policy    *policy.Current
	buckets   *policy.Buckets
	routing   *routing
	documents *documents
	mailboxes *mailboxes
	rooms     *rooms
	hops      *hopMemory
	touched   touched
	hub       *hub
	app       *appFiles
	fed       *federation.Federation
	turn      *turn.Server
	sfu       *sfu.Server // nil: none
	metrics   *metrics
	views     views

	bucketKeys bucketKeys
	atWork     policy.Slots // requests of and to other domains
	strangers  policy.Slots
	large      atomic.Int64 // messages of strangers that are counted by hold
	turnGrants *turnGrants
	turnSecret [32]byte

	httpListener    net.Listener
	metricsListener net.Listener
	httpAddr        string // host:port that is listened on
	publicURL       string // without a slash at the end
	publicHost      string // host or host:port of it
	turnHost        string
	upgrader        websocket.Upgrader
	certificate     atomic.Pointer[tls.Certificate]
	authority       *localca.Authority // nil unless http.tls is local
	certified       []string           // what its certificate names; the start's, then the clock's and the reload's under reloading

	guard       *guard
	maxLinks    int
	handshaking atomic.Int64
	answering   atomic.Int64 // submits that will be answered soon; the drain waits for them
	line        line
	draining    atomic.Bool
	liveTimeout time.Duration // liveTimeout but in tests

	// background is the context of everything that runs; it ends when the drain is over.
	background context.Context
	stop       context.CancelFunc
	group      sync.WaitGroup // goroutines of links
	shutdown   chan struct{}  // closed by Shutdown
	stopOnce   sync.Once
	ready      chan struct{}

	reloading sync.Mutex // orders reloads

	mu    sync.Mutex // guards facts, started
	facts Facts
	start time.Time
}

// Facts is what `serve --json` prints when the node is ready.
type Facts struct {
	Ready      bool     `json:"ready"`
	Domain     string   `json:"domain"`
	PeerID     string   `json:"peer_id"`
	HTTP       string   `json:"http"`
	Federation []string `json:"federation"`
	TURN       string   `json:"turn"`
	SFU        string   `json:"sfu,omitempty"`
	Metrics    string   `json:"metrics,omitempty"`
	Invite     string   `json:"invite,omitempty"`
	Setup      string   `json:"setup,omitempty"`
	// Authority is set when http.tls is local.
	Authority *Authority `json:"authority,omitempty"`
}

// ErrRunning means that another process has the data folder's store: a node, or for a moment
// one that ends or a check of the store.
var ErrRunning = errors.New("a node runs with this data folder already")

// maxBuckets bounds the token buckets of other domains.
const maxBuckets = 1 << 14

// New reads the data folder, makes what is missing in it, and binds the listeners, so that
// whatever is wrong is said before anything runs. A node that is not run has to be closed.
func New(cfg Config, log *slog.Logger) (*Node, error) { return NewOn(cfg, log, Ground{}) }

// Ground is what a node stands on: the clock, the network, the disk. The zero value is the
// machine. The simulation (internal/testnet) puts its own there.
type Ground struct {
	Now func() time.Time
	// Listen opens the listeners of HTTP and metrics ("tcp") and of the admin socket ("unix").
	Listen func(network, address string) (net.Listener, error)
	// Federation changes the configuration that the federation is about to get.
	Federation func(*federation.Config)
	// Commit carries out every commit of the store (kv.Options).
	Commit func(path string, commit func() error) error
	// NoRelay keeps the relay from serving: media does not run in virtual time.
	NoRelay bool
}

// NewOn is New on another ground than the machine.
func NewOn(cfg Config, log *slog.Logger, ground Ground) (_ *Node, err error) {
	now := ground.Now
	if now == nil {
		now = time.Now
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f, err := openFolder(cfg)
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, ground: ground, log: log, now: now, folder: f, self: f.self,
		local:    federation.Source{Peer: f.self, Domain: cfg.Domain},
		hops:     newHopMemory(),
		hub:      newHub(),
		buckets:  policy.NewBuckets(maxBuckets),
		metrics:  newMetrics(),
		shutdown: make(chan struct{}),
		ready:    make(chan struct{}),
		start:    now(),

		liveTimeout: liveTimeout, maxLinks: linksWithin(fileLimit()),
		upgrader: websocket.Upgrader{
			HandshakeTimeout: link.HandshakeTimeout,
			// Small on purpose: an idle link keeps this buffer. Large reads bypass it.
			ReadBufferSize:  1 << 10,
			WriteBufferSize: 4 << 10,
			WriteBufferPool: new(sync.Pool),
			Subprotocols:    []string{link.Subprotocol},
		},
	}
	n.upgrader.CheckOrigin = n.originAllowed
	if n.app, err = builtApp(); err != nil {
		return nil, err
	}
	n.guard = newGuard(n.metrics.turnedAway.Inc)
	n.coarse.Store(now().Unix())
	rand.Read(n.turnSecret[:])
	n.background, n.stop = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if n.policy, err = loadPolicy(f.policyAt); err != nil {
		return nil, err
	}
	if n.documents, err = openDocuments(f, now); err != nil {
		return nil, err
	}
	n.db, err = bolt.Open(f.path(fileStore), bolt.Options{
		Quotas: store.Quotas{MaxEnvelopes: cfg.Mailbox.MaxEnvelopes, MaxBytes: int64(cfg.Mailbox.MaxBytes)},
		Logger: log, Now: now, Commit: ground.Commit,
	})
	if err != nil {
		if errors.Is(err, kv.ErrInUse) {
			return nil, fmt.Errorf("%w: %s: stop it first, or use another folder", ErrRunning, f.dir)
		}
		return nil, fmt.Errorf("open the store: %w", err)
	}
	if n.routing, err = openRouting(n.background, n.db.Blobs(), f.hostKey, cfg.Domain, now); err != nil {
		return nil, err
	}
	if n.rooms, err = openRooms(n.background, n.db.Blobs(), now, n.seatAllowed); err != nil {
		return nil, err
	}
	n.mailboxes = newMailboxes(n.db, log)
	if err = n.listen(); err != nil {
		return nil, err
	}
	if err = n.newPlanes(); err != nil {
		return nil, err
	}
	n.watch()
	return n, nil
}

func loadPolicy(path string) (*policy.Current, error) {
	data, err := readLimited(path, maxConfig)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	p, err := policy.Parse(path, data)
	if err != nil {
		return nil, err
	}
	if err := p.Test(); err != nil {
		return nil, err
	}
	return policy.NewCurrent(p), nil
}

func (n *Node) listen() error {
	var err error
	listen := n.ground.Listen
	if listen == nil {
		listen = net.Listen
	}
	if n.httpListener, err = listen("tcp", n.cfg.HTTP.Listen); err != nil {
		return fmt.Errorf("http.listen: %w", err)
	}
	if l, ok := n.httpListener.(*net.TCPListener); ok {
		n.httpListener = &guardedListener{l, n.guard}
	}
	n.httpAddr = n.httpListener.Addr().String()
	if n.cfg.Metrics.Listen != "" {
		if n.metricsListener, err = listen("tcp", n.cfg.Metrics.Listen); err != nil {
			return fmt.Errorf("metrics.listen: %w", err)
		}
	}
	n.publicURL = n.publicAddress()
	if n.cfg.HTTP.PublicURL != "" {
		n.publicURL = n.cfg.HTTP.PublicURL
	}
	u, err := url.Parse(n.publicURL)
	if err != nil {
		return fmt.Errorf("http.public_url: %w", err)
	}
	n.publicURL, n.publicHost = u.Scheme+"://"+u.Host, u.Host
	if err := n.openAuthority(); err != nil {
		return err
	}
	return n.certify()
}

// newPlanes makes the federation and the relay.
func (n *Node) newPlanes() error {
	sources := make(map[string]string, len(n.cfg.Federation.Peers))
	for _, p := range n.cfg.Federation.Peers {
		sources[p.Domain] = p.Document
	}
	fed := federation.Config{
		HostKey: n.folder.hostKey, Domain: n.cfg.Domain,
		Document: n.document, Descriptor: n.routing.descriptor,
		Listen: n.cfg.Federation.Listen, Announce: n.cfg.Federation.Announce,
		Decide:       n.policy.Decide,
		DomainPolicy: func(name string) (policy.Domain, bool) { return n.policy.Policy().Domain(name) },
		Sources:      sources,
		Deliverer:    n, Answerer: n,
		Outbox: outbox{n.db.Outbox(), n.storeError}, Pins: pins{n.background, n.db.Blobs()},
		Outcome: n.lateOutcome,
		Logger:  n.log, Now: n.now,
	}
	if n.ground.Federation != nil {
		n.ground.Federation(&fed)
	}
	var err error
	if n.fed, err = federation.New(fed); err != nil {
		return err
	}
	cfg := turn.Config{Listen: n.cfg.TURN.Listen, Realm: n.cfg.Domain, OwnAddrs: n.ownAddrs, Logger: n.log, Clock: n.now}
	if cfg.PortMin, cfg.PortMax, err = n.cfg.TURN.Ports(); err != nil {
		return err
	}
	if cfg.AllowPeers, err = n.cfg.TURN.peerRules(); err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(n.cfg.TURN.ExternalIP); err == nil {
		cfg.ExternalIP, n.turnHost = ip, ip.String()
	}
	if n.turn, err = turn.New(cfg); err != nil {
		return err
	}
	if n.turnHost == "" {
		if ip := n.turn.Addr().Addr(); !ip.IsUnspecified() {
			n.turnHost = ip.String()
		} else {
			n.turnHost = link.Hostname(n.publicHost)
		}
	}
	n.turnGrants = newTurnGrants(n.turn.Release, n.turn.Holds)
	return n.newSFU()
}

// document is the domain document for other nodes. The federation asks first when it
// listens, and only then are the addresses known.
func (n *Node) document() []byte {
	select {
	case <-n.fed.Ready():
		if _, err := n.documents.renew(documentAddresses(n.fed.Addrs())); err != nil {
			n.log.Error("domain document not renewed", "error", err)
		}
	default:
	}
	return n.documents.bytes()
}

// Ready is closed when the node takes envelopes from clients and other nodes.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Facts says where the node is reached. Before Ready it says Ready false.
func (n *Node) Facts() Facts {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.facts
}

// Made says which files New had to make.
func (n *Node) Made() Made { return n.folder.made() }

func (n *Node) isReady() bool {
	select {
	case <-n.ready:
		return true
	default:
		return false
	}
}

// Close gives back what New took, for a node that is not run.
func (n *Node) Close() error {
	n.stop()
	var errs []error
	for _, l := range []net.Listener{n.httpListener, n.metricsListener} {
		if l != nil {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	if n.turn != nil {
		n.turn.Close()
	}
	if n.sfu != nil {
		errs = append(errs, n.sfu.Close())
	}
	if n.db != nil {
		errs = append(errs, n.db.Close())
	}
	return errors.Join(errs...)
}
