// Package client is Trunkline's Go SDK: a headless participant that registers at a node,
// keeps contacts, leaves notes, rings, talks and moves files.
//
// Start with [Create] or [Open], then [Client.Register] once, then [Client.Run] for as long
// as the participant is there; [Client.Events] tells what happens. The package never sends
// an address or a description before a call was accepted, never shows media that was not
// sealed, never starts a call whose certificate is not the signed one, and never logs an
// identity, a key or a text.
package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// Config of a client.
type Config struct {
	Dir        string // data folder, of this client alone
	Passphrase string // opens the root key where it is wrapped; needed to register and to change devices
	Logger     *slog.Logger
	Now        func() time.Time // nil: the machine's clock
	// Loopback gathers 127.0.0.1 for calls: two participants on one machine without a network.
	Loopback bool
	// RootCAs are the authorities that a node's certificate may come from: those of the system
	// when nil. A node with a local authority says where its certificate is.
	RootCAs *x509.CertPool
	// Dial makes the connections to the home node; nil: the machine's network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Alone is for meetings by cards where there is no node: Run keeps no link to one.
	Alone bool
	// Commit carries out every write to the data folder in tests (kv.Options).
	Commit func(path string, commit func() error) error
}

func (c *Config) keep() keep.Options {
	return keep.Options{Now: c.Now, Logger: c.Logger, Commit: c.Commit}
}

// Client is one device of an identity. Its methods may be called from any goroutine.
type Client struct {
	cfg    Config
	log    *slog.Logger
	keep   *keep.Keep
	device *identity.Device
	self   identity.PublicKey

	prekeys *envelope.Prekeys

	directory *directory
	ledger    *ledger
	calls     *calls
	replay    *replayLog
	inbound   chan delivery
	wake      chan struct{} // a hint to the retry loop; one waiting is enough

	answering seldom[identity.PublicKey] // knocks of accepted contacts that were answered
	giving    seldom[identity.DeviceID]  // tokens given again
	acking    seldom[envelope.MessageID] // notes acknowledged again
	asking    seldom[identity.PublicKey] // look-ups of the own list
	knocking  seldom[identity.DeviceID]  // contacts' devices that were asked for their token
	reminding seldom[identity.PublicKey]
	refused   refusedGrants
	attempts  attempts    // of notes
	writing   underway    // notes that are being sealed
	owing     atomic.Bool // a receipt of a note could not go out

	homeMu  sync.Mutex // one change of the mailbox's token at a time
	giveMu  sync.Mutex // one round of handing it out at a time
	greetMu sync.Mutex // one greeting of own devices at a time

	eventMu sync.Mutex // guards events, over
	events  chan Event
	over    bool // events is closed

	mu      sync.Mutex // guards the rest
	opener  *envelope.Opener
	wire    *wire
	up      chan struct{} // closed while a link is registered
	running context.Context
	ran     bool
	ended   error // why Run returned
	backlog int   // stored deliveries of before the link that have not been taken yet
	shown   published
	tasks   sync.WaitGroup
}

// delivery is what came, and the link it came over, which is the one to acknowledge it on.
type delivery struct {
	*pb.Deliver
	over *wire
}

// inboundBound is how many deliveries may wait to be opened. A mailbox holds 128 envelopes
// and a call a few dozen frames; what does not fit ends the link, and stored envelopes
// come again with the next one.
const inboundBound = 1024

// Create makes a new participant in an empty folder. The root key is kept under the
// passphrase, or, with an empty one, protected by file permissions alone.
func Create(cfg Config, root *identity.Root) (*Client, error) {
	device, err := identity.GenerateDevice()
	if err != nil {
		return nil, err
	}
	k, err := keep.Create(cfg.Dir, keep.NewProfile{
		Root: root.Public(), Device: device, RootSeed: root, Passphrase: cfg.Passphrase,
	}, cfg.keep())
	if err != nil {
		return nil, err
	}
	return newClient(cfg, k)
}

// Open opens the participant of a folder.
func Open(cfg Config) (*Client, error) {
	k, err := keep.Open(cfg.Dir, cfg.keep())
	if err != nil {
		return nil, err
	}
	return newClient(cfg, k)
}

func newClient(cfg Config, k *keep.Keep) (*Client, error) {
	c := &Client{
		cfg:     cfg,
		log:     cfg.Logger,
		keep:    k,
		device:  k.Device(),
		self:    k.Profile().Root,
		events:  make(chan Event, eventBound),
		inbound: make(chan delivery, inboundBound),
		wake:    make(chan struct{}, 1),
		up:      make(chan struct{}),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if c.replay, err = openReplayLog(k); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	c.directory = newDirectory(c)
	c.ledger = newLedger(c)
	c.calls = newCalls(c)
	if err := c.prepareOpening(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return c, nil
}

// Close gives the folder free. Call it after Run has returned.
func (c *Client) Close() error { return c.keep.Close() }

// farewellTime is how long the end of a client waits for its calls to say goodbye.
const farewellTime = 2 * time.Second

// Run keeps the link to the home node, takes what comes, retries what did not go out and
// renews what grows old. It returns when ctx ends or when going on makes no sense, for
// example because the same device connected elsewhere; calls say goodbye before the link
// goes. A client runs once: open the folder again to go on.
func (c *Client) Run(ctx context.Context) error {
	going, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	c.mu.Lock()
	if c.ran {
		c.mu.Unlock()
		return errors.New("a client runs once: open the folder again")
	}
	c.running, c.ran = life, true
	c.mu.Unlock()

	var loops sync.WaitGroup
	work := []func(context.Context) error{c.linkLoop, c.receiveLoop, c.retryLoop, c.upkeepLoop}
	if c.cfg.Alone {
		work = nil
	}
	for _, loop := range work {
		loops.Go(func() {
			if err := loop(life); err != nil {
				stop(err)
			}
		})
	}
	<-going.Done()
	c.calls.farewell(farewellTime)
	why := context.Cause(going)
	c.mu.Lock()
	end(why)
	c.running, c.ended = nil, why
	c.mu.Unlock()
	loops.Wait()
	c.tasks.Wait()
	c.eventMu.Lock()
	defer c.eventMu.Unlock()
	c.over = true
	close(c.events)
	return why
}

// later runs work that a message caused, for example its receipt. It ends with Run; false:
// the client does not run.
func (c *Client) later(what string, do func(context.Context) error) bool {
	c.mu.Lock()
	ctx := c.running
	if ctx == nil || ctx.Err() != nil {
		c.mu.Unlock()
		return false
	}
	c.tasks.Add(1)
	c.mu.Unlock()
	go func() {
		defer c.tasks.Done()
		if err := do(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("work in the background did not succeed", "what", what, "error", errorKind(err))
		}
	}()
	return true
}

// errorKind is what of an error may stand in a log: never a name, an address or an id.
func errorKind(err error) string {
	var refused *RefusedError
	var unreachable *UnreachableError
	switch {
	case errors.As(err, &refused):
		return "refused " + refused.Code
	case errors.As(err, &unreachable):
		return "unreachable"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, ErrVerification), errors.Is(err, ErrAlarm):
		return "verification"
	case errors.Is(err, ErrPeerAlarm):
		return "alarm at the other side"
	case errors.Is(err, ErrRemoved):
		return "removed"
	}
	return fmt.Sprintf("%T", err)
}

// Ready waits until the own node takes and delivers envelopes.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.link(ctx)
	return err
}

// link waits for a registered link.
func (c *Client) link(ctx context.Context) (*wire, error) {
	for {
		c.mu.Lock()
		w, up, running, ended := c.wire, c.up, c.running, c.ended
		c.mu.Unlock()
		switch {
		case ended != nil:
			return nil, ended
		case w != nil:
			return w, nil
		}
		var end <-chan struct{}
		if running != nil {
			end = running.Done()
		}
		select {
		case <-up:
		case <-end:
			return nil, context.Cause(running)
		case <-ctx.Done():
			return nil, &UnreachableError{What: "the own node cannot be reached", err: ctx.Err()}
		}
	}
}

// linked is the link of this moment, or nil.
func (c *Client) linked() *wire {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wire
}

// call asks the own node one question, over this link or the next one.
func (c *Client) call(ctx context.Context, f *pb.ClientFrame) (*pb.NodeFrame, error) {
	w, err := c.link(ctx)
	if err != nil {
		return nil, err
	}
	return w.call(ctx, f)
}

// Self is what a person may tell others about itself.
type Self struct {
	ID          string
	PeerID      identity.PeerID
	PublicKey   identity.PublicKey
	Fingerprint string
	Address     string // empty before registration
	Custody     keep.Custody
	Devices     []DeviceInfo
}

// DeviceInfo is one device of the own list.
type DeviceInfo struct {
	ID      identity.DeviceID
	This    bool
	Expires time.Time
}

// Self describes the own identity.
func (c *Client) Self() (Self, error) {
	s := Self{
		ID: c.self.ID(), PeerID: c.self.PeerID(), PublicKey: c.self,
		Fingerprint: c.self.Fingerprint(), Custody: c.keep.Profile().Custody,
	}
	list, err := c.keep.OwnList()
	switch {
	case errors.Is(err, keep.ErrNotFound):
		s.Devices = []DeviceInfo{{ID: c.device.ID(), This: true}}
		return s, nil
	case err != nil:
		return s, err
	}
	for _, d := range list.Devices {
		s.Devices = append(s.Devices, DeviceInfo{ID: d.DeviceID(), This: d.DeviceID() == c.device.ID(), Expires: d.NotAfter})
	}
	home, err := c.home()
	switch {
	case errors.Is(err, ErrNotRegistered):
	case err != nil:
		return s, err
	default:
		s.Address = c.address(home).String()
	}
	return s, nil
}

func (c *Client) address(h keep.Home) identity.Address {
	return identity.Address{Root: c.self, Domain: h.Domain, Home: h.PeerID}
}

// home is the node at which this device has its mailbox: of those it knows, the one that the
// own device list names.
func (c *Client) home() (keep.Home, error) {
	homes, err := c.keep.Homes()
	if err != nil {
		return keep.Home{}, err
	}
	if len(homes) == 0 {
		return keep.Home{}, ErrNotRegistered
	}
	if len(homes) > 1 {
		list, err := c.keep.OwnList()
		if err != nil {
			return keep.Home{}, err
		}
		for _, h := range homes {
			if list.HasHome(h.PeerID) {
				return h, nil
			}
		}
	}
	return homes[0], nil
}
