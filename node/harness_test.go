package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// wait is how long a test waits for something that must come. It is never a measure.
const wait = 20 * time.Second

// clock is a node's time in tests: it stands still until it is moved, or until it is let
// run because something else than the node waits for it.
type clock struct {
	mu      sync.Mutex
	now     time.Time
	started time.Time // zero: stands still
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.started.IsZero() {
		return c.now.Add(time.Since(c.started))
	}
	return c.now
}

func (c *clock) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started = time.Now()
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// logBuffer collects a node's log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const openPolicy = `version = 1
[register]
mode = "open"
`

// running is a node in this process.
type running struct {
	*Node
	t     testing.TB
	clock *clock
	log   *logBuffer
	dir   string
	end   context.CancelFunc
	done  chan error
	ended bool
}

type option func(*Config)

func testConfig(dir, domain string) Config {
	cfg := DefaultConfig()
	cfg.Domain, cfg.Data = domain, dir
	cfg.HTTP.Listen, cfg.TURN.Listen, cfg.Metrics.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.SFU.Listen = "127.0.0.1:0"
	cfg.Federation.Listen = []string{"127.0.0.1:0"}
	cfg.TURN.ExternalIP = "127.0.0.1"
	return cfg
}

// start runs a node on a data folder and waits until it is ready.
func start(t testing.TB, dir, domain, policy string, options ...option) *running {
	t.Helper()
	cfg := testConfig(dir, domain)
	for _, o := range options {
		o(&cfg)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if policy != "" {
		writePolicy(t, dir, policy)
	}
	r := &running{t: t, clock: newClock(), log: new(logBuffer), dir: dir, done: make(chan error, 1)}
	log := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if r.Node, err = NewOn(cfg, log, Ground{Now: r.clock.Now}); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.end = context.WithCancel(context.Background())
	go func() { r.done <- r.Run(ctx) }()
	t.Cleanup(func() { r.stopped() })
	select {
	case <-r.Ready():
	case err := <-r.done:
		r.ended = true
		t.Fatalf("the node ended before it was ready: %v\n%s", err, r.log)
	case <-time.After(wait):
		t.Fatalf("the node is not ready\n%s", r.log)
	}
	return r
}

// stopped ends the node as SIGTERM does and waits for the end.
func (r *running) stopped() {
	r.t.Helper()
	if r.ended {
		return
	}
	r.ended = true
	r.end()
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Errorf("the node ended with %v", err)
		}
	case <-time.After(wait):
		r.t.Errorf("the node does not end\n%s", r.log)
	}
}

func writePolicy(t testing.TB, dir, policy string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, filePolicy), []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readPolicy(t testing.TB, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, filePolicy))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// person is an identity with one device, as far as a node can see it.
type person struct {
	root   *identity.Root
	device *identity.Device
	list   *identity.DeviceList
	tag    envelope.RouteTag
	token  envelope.Token
}

func newPerson(t testing.TB, home *running) *person {
	t.Helper()
	var seed [32]byte
	m, err := identity.GenerateMnemonic(24)
	if err != nil {
		t.Fatal(err)
	}
	seed = sha256.Sum256([]byte(m))
	p := &person{root: identity.RootFromSeed(seed), tag: envelope.NewRouteTag()}
	p.token = envelope.Token(envelope.NewMessageID())
	if p.device, err = identity.GenerateDevice(); err != nil {
		t.Fatal(err)
	}
	p.list, err = p.root.NewList(p.device.Public(), []identity.Home{{PeerID: home.self, Domain: home.cfg.Domain}}, [32]byte{}, home.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *person) cert() *identity.DeviceCert {
	c, _ := p.list.Device(p.device.ID())
	return c
}

func (p *person) bundle(t testing.TB, home *running) []byte {
	t.Helper()
	k, err := envelope.GeneratePrekey(home.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	b, err := k.Bundle(p.device, p.root.Public(), p.list.Epoch, envelope.Route{
		Home: identity.Home{PeerID: home.self, Domain: home.cfg.Domain}, Tag: p.tag, TokenEpoch: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// raw is a client made of nothing but a WebSocket and internal/link.
type raw struct {
	t      testing.TB
	ws     *websocket.Conn
	node   *link.Node
	asked  *pb.Challenge
	frames chan *pb.NodeFrame
	next   uint64
	later  []*pb.NodeFrame // read while something else was awaited
}

func dialURL(r *running) string { return "ws://" + r.httpAddr + link.Path }

// dialRaw opens a WebSocket and reads nothing.
func dialRaw(t testing.TB, r *running, header http.Header) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	d := websocket.Dialer{Subprotocols: []string{link.Subprotocol}, HandshakeTimeout: wait}
	return d.Dial(dialURL(r), header)
}

// dial makes a link and authenticates; with a nil person it is one without a device.
func dial(t testing.TB, r *running, p *person) *raw {
	t.Helper()
	ws, resp, err := dialRaw(t, r, nil)
	if err != nil {
		t.Fatalf("dial: %v (%v)", err, resp)
	}
	t.Cleanup(func() { _ = ws.Close() })
	c := &raw{t: t, ws: ws, frames: make(chan *pb.NodeFrame, 1024)}
	go c.readLoop()
	challenge := c.read().GetChallenge()
	c.asked = challenge
	if c.node, err = link.VerifyChallenge(challenge); err != nil {
		t.Fatal(err)
	}
	var device *identity.Device
	var cert *identity.DeviceCert
	if p != nil {
		device, cert = p.device, p.cert()
	}
	a, err := link.Authenticate(challenge, r.httpAddr, device, cert)
	if err != nil {
		t.Fatal(err)
	}
	c.send(&pb.ClientFrame{Id: c.id(), Kind: &pb.ClientFrame_Authenticate{Authenticate: a}})
	if f := c.read(); f.GetAuthenticated() == nil {
		t.Fatalf("not authenticated: %v", f)
	}
	return c
}

func (c *raw) readLoop() {
	defer close(c.frames)
	for {
		_, b, err := c.ws.ReadMessage()
		if err != nil {
			return
		}
		f, err := link.ParseNode(b)
		if err != nil {
			c.t.Errorf("the node wrote a frame that does not parse: %v", err)
			return
		}
		c.frames <- f
	}
}

func (c *raw) id() uint64 { c.next++; return c.next }

func (c *raw) send(f *pb.ClientFrame) {
	c.t.Helper()
	b, err := link.MarshalClient(f)
	if err != nil {
		c.t.Fatal(err)
	}
	c.sendBytes(b)
}

func (c *raw) sendBytes(b []byte) {
	c.t.Helper()
	if err := c.ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
		c.t.Fatal(err)
	}
}

// read waits for the next frame that no other wait has taken.
func (c *raw) read() *pb.NodeFrame {
	c.t.Helper()
	if len(c.later) > 0 {
		f := c.later[0]
		c.later = c.later[1:]
		return f
	}
	return c.fresh()
}

func (c *raw) fresh() *pb.NodeFrame {
	c.t.Helper()
	select {
	case f, ok := <-c.frames:
		if !ok {
			c.t.Fatal("the link ended")
		}
		return f
	case <-time.After(wait):
		c.t.Fatal("no frame came")
	}
	return nil
}

// await returns the first frame that fits and keeps the others for later.
func (c *raw) await(fits func(*pb.NodeFrame) bool) *pb.NodeFrame {
	c.t.Helper()
	for i, f := range c.later {
		if fits(f) {
			c.later = append(c.later[:i:i], c.later[i+1:]...)
			return f
		}
	}
	for {
		f := c.fresh()
		if fits(f) {
			return f
		}
		c.later = append(c.later, f)
	}
}

// call sends a frame with an id and waits for its first answer.
func (c *raw) call(f *pb.ClientFrame) *pb.NodeFrame {
	c.t.Helper()
	f.Id = c.id()
	c.send(f)
	return c.await(func(a *pb.NodeFrame) bool { return a.Id == f.Id })
}

// ends waits for the end of the link and returns its last words.
func (c *raw) ends() *pb.NodeFrame {
	c.t.Helper()
	var last *pb.NodeFrame
	if len(c.later) > 0 {
		last = c.later[len(c.later)-1]
	}
	for {
		select {
		case f, ok := <-c.frames:
			if !ok {
				return last
			}
			last = f
		case <-time.After(wait):
			c.t.Fatal("the link does not end")
		}
	}
}

func (c *raw) publish(r *running, p *person, invitation string) *pb.NodeFrame {
	c.t.Helper()
	return c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Publish{Publish: &pb.Publish{
		List: p.list.Bytes(), Bundles: [][]byte{p.bundle(c.t, r)}, Invitation: invitation,
	}}})
}

func (c *raw) register(p *person, after uint64) *pb.NodeFrame {
	c.t.Helper()
	hash := sha256.Sum256(p.token[:])
	return c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Register{Register: &pb.Register{
		RouteTag: p.tag[:], TokenHash: hash[:], TokenEpoch: 1, After: after,
	}}})
}

// join makes a person known at a node and opens its mailbox.
func join(t testing.TB, r *running) (*person, *raw) {
	t.Helper()
	p := newPerson(t, r)
	c := dial(t, r, p)
	if f := c.publish(r, p, ""); f.GetPublished() == nil {
		t.Fatalf("not published: %v", f)
	}
	if f := c.register(p, 0); f.GetRegistered() == nil {
		t.Fatalf("not registered: %v", f)
	}
	return p, c
}

func payload(size int) []byte {
	b := make([]byte, size)
	copy(b, fmt.Sprintf("payload %x", envelope.NewMessageID()))
	id := envelope.NewMessageID()
	copy(b[64:], id[:])
	return b
}

// to makes an envelope for a person at a node.
func to(t testing.TB, r *running, p *person, ttl envelope.TTL, body []byte) *envelope.Envelope {
	t.Helper()
	return sealed(t, r, envelope.Hop{Tag: p.tag, Token: p.token}, ttl, body)
}

func sealed(t testing.TB, r *running, h envelope.Hop, ttl envelope.TTL, body []byte) *envelope.Envelope {
	t.Helper()
	d, err := identity.ParseDescriptor(r.routing.descriptor())
	if err != nil {
		t.Fatal(err)
	}
	e, err := envelope.NewEnvelope(d.RoutingKey, r.self, ttl, h, body)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// submit hands an envelope in and returns its last receipt.
func (c *raw) submit(e *envelope.Envelope) *pb.Receipt {
	c.t.Helper()
	id := c.id()
	c.sendBytes(link.AppendSubmit(nil, id, e.Marshal()))
	return c.receipt(id)
}

func (c *raw) receipt(id uint64) *pb.Receipt {
	c.t.Helper()
	for {
		f := c.await(func(f *pb.NodeFrame) bool { return f.Id == id })
		if f.GetError() != nil {
			return &pb.Receipt{Class: pb.ReceiptClass_RECEIPT_REFUSED, Code: f.GetError().Code}
		}
		if f.GetReceipt() == nil {
			c.t.Fatalf("Submit was answered by %v", f)
		}
		if f.GetReceipt().Class != pb.ReceiptClass_RECEIPT_ACCEPTED {
			return f.GetReceipt()
		}
	}
}

// awaitReceipt waits for the first answer to a Submit and leaves it to be read.
func (c *raw) awaitReceipt(id uint64) {
	c.t.Helper()
	f := c.await(func(f *pb.NodeFrame) bool { return f.Id == id })
	c.later = append([]*pb.NodeFrame{f}, c.later...)
}

func (c *raw) deliver() *pb.Deliver {
	c.t.Helper()
	return c.await(func(f *pb.NodeFrame) bool { return f.GetDeliver() != nil }).GetDeliver()
}

func (c *raw) ack(ids ...uint64) {
	c.t.Helper()
	c.send(&pb.ClientFrame{Kind: &pb.ClientFrame_Ack{Ack: &pb.Ack{StoredIds: ids}}})
}

// settle returns when the node has done everything that this link asked of its disk.
func (c *raw) settle(r *running, device identity.DeviceID) {
	c.t.Helper()
	c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: 1}}})
	until(c.t, "the link's disk work is done", func() bool {
		l := r.hub.device(device)
		if l == nil {
			return true
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.work == nil
	})
}

// until polls what nothing announces.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(wait)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// ask sends an oblivious query through a link.
func (c *raw) ask(to *running, op envelopepb.Operation, argument []byte) (*envelopepb.Answer, int, string) {
	c.t.Helper()
	d, err := identity.ParseDescriptor(to.routing.descriptor())
	if err != nil {
		c.t.Fatal(err)
	}
	box, pending, err := envelope.SealQuery(d.RoutingKey, to.self, op, argument)
	if err != nil {
		c.t.Fatal(err)
	}
	f := c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Query{Query: &pb.Query{Destination: to.self[:], Box: box}}})
	if f.GetError() != nil {
		return nil, 0, f.GetError().Code
	}
	answer := f.GetAnswer()
	if answer.Code != "" {
		return nil, 0, answer.Code
	}
	opened, err := pending.OpenAnswer(answer.Box)
	if err != nil {
		c.t.Fatal(err)
	}
	return opened, len(answer.Box), ""
}

func (c *raw) fate(at *running, e *envelope.Envelope) envelopepb.Fate {
	c.t.Helper()
	id := e.ID()
	a, _, code := c.ask(at, envelopepb.Operation_OPERATION_OUTCOME, id[:])
	if code != "" {
		c.t.Fatalf("outcome: %s", code)
	}
	return a.Fate
}

func errorCode(f *pb.NodeFrame) string { return f.GetError().GetCode() }

func get1(t testing.TB, url string) (int, string, http.Header) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	var buf [1 << 16]byte
	for {
		n, err := resp.Body.Read(buf[:])
		b.Write(buf[:n])
		if err != nil {
			break
		}
	}
	return resp.StatusCode, b.String(), resp.Header
}
