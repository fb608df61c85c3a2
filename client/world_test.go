package client_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/node"
)

// wait is how long a test waits for something that must come. It is never a measure.
const wait = 30 * time.Second

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	t.Cleanup(cancel)
	return ctx
}

// exchange is a real node in this process.
type exchange struct {
	*node.Node
	domain, dir string
	end         context.CancelFunc
	done        chan error
}

const openRegistration = `version = 1
[register]
mode = "open"
`

// startExchange runs a node on a data folder, new or used.
func startExchange(t testing.TB, domain, dir string, change ...func(*node.Config)) *exchange {
	t.Helper()
	return startLoggedExchange(t, slog.New(slog.DiscardHandler), domain, dir, change...)
}

func startLoggedExchange(t testing.TB, log *slog.Logger, domain, dir string, change ...func(*node.Config)) *exchange {
	t.Helper()
	cfg, err := exchangeConfig(domain, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(&cfg)
	}
	n, err := node.New(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	e := &exchange{Node: n, domain: domain, dir: dir, end: end, done: make(chan error, 1)}
	go func() { e.done <- n.Run(ctx) }()
	t.Cleanup(func() { e.stop(t) })
	select {
	case <-n.Ready():
	case err := <-e.done:
		t.Fatalf("the node of %s ended before it was ready: %v", domain, err)
	case <-time.After(wait):
		t.Fatalf("the node of %s is not ready", domain)
	}
	return e
}

// exchangeConfig is that of a node on loopback, with a policy that lets everybody register where
// there is none yet.
func exchangeConfig(domain, dir string) (node.Config, error) {
	cfg := node.DefaultConfig()
	cfg.Domain, cfg.Data = domain, dir
	cfg.HTTP.Listen, cfg.Metrics.Listen, cfg.TURN.Listen = "127.0.0.1:0", "", "127.0.0.1:0"
	cfg.SFU.Listen = "127.0.0.1:0"
	cfg.Federation.Listen = []string{"127.0.0.1:0"}
	cfg.TURN.ExternalIP, cfg.TURN.AllowPeers = "127.0.0.1", []string{"127.0.0.1/32:1024-65535"}
	for _, partner := range []string{"acme.example", "globex.example", "initech.example"} {
		if partner != domain {
			cfg.Federation.Peers = append(cfg.Federation.Peers, node.PeerConfig{
				Domain: partner, Document: filepath.Join(dir, partner+".document"),
			})
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "policy.toml")); err == nil {
		return cfg, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return cfg, err
	}
	return cfg, os.WriteFile(filepath.Join(dir, "policy.toml"), []byte(openRegistration), 0o600)
}

func (e *exchange) stop(t testing.TB) {
	t.Helper()
	if e.end == nil {
		return
	}
	e.end()
	e.end = nil
	select {
	case err := <-e.done:
		if err != nil {
			t.Errorf("the node of %s ended with %v", e.domain, err)
		}
	case <-time.After(wait):
		t.Errorf("the node of %s does not end", e.domain)
	}
}

func (e *exchange) document(t testing.TB) []byte {
	t.Helper()
	resp, err := http.Get(e.Facts().HTTP + "/.well-known/trunkline/domain")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("domain document: %s, %v", resp.Status, err)
	}
	return b
}

// befriend makes each node the other's partner, as two administrators would.
func befriend(t testing.TB, a, b *exchange) {
	t.Helper()
	for _, pair := range [][2]*exchange{{a, b}, {b, a}} {
		to, about := pair[0], pair[1]
		raw := about.document(t)
		doc, err := identity.ParseDomain(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to.dir, about.domain+".document"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		policy := openRegistration + fmt.Sprintf(`
[[domain]]
name = %q
level = "partner"
key = "ed25519:%s"

[[rule]]
name = "partners"
level = "partner"
direction = "both"
actions = ["federate", "signal", "knock", "store", "query", "turn"]
`, about.domain, base64.StdEncoding.EncodeToString(doc.Key[:]))
		if err := os.WriteFile(filepath.Join(to.dir, "policy.toml"), []byte(policy), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := to.Reload(); err != nil {
			t.Fatal(err)
		}
	}
}

// two starts acme.example and globex.example as partners.
func two(t testing.TB, change ...func(*node.Config)) (acme, globex *exchange) {
	t.Helper()
	acme = startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"), change...)
	globex = startExchange(t, "globex.example", filepath.Join(t.TempDir(), "globex"), change...)
	befriend(t, acme, globex)
	return acme, globex
}

// human is a participant and what it was told.
type human struct {
	*client.Client
	name string
	dir  string
	root *identity.Root
	log  *slog.Logger     // nil: the test's
	now  func() time.Time // nil: the machine's
	end  context.CancelFunc
	over chan struct{} // closed when Run has returned
	why  error         // what it returned

	mu      sync.Mutex // guards kept, changed
	kept    []client.Event
	changed chan struct{}
}

func logger(t testing.TB, name string) *slog.Logger {
	if os.Getenv("TRUNKLINE_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("who", name)
}

func (h *human) config(t testing.TB) client.Config {
	log := h.log
	if log == nil {
		log = logger(t, h.name)
	}
	return client.Config{Dir: h.dir, Logger: log, Loopback: true, Now: h.now}
}

// newHuman makes an identity, registers it and keeps it running.
func newHuman(t testing.TB, name string, at *exchange) *human {
	t.Helper()
	return newHumanAt(t, name, at.Facts().HTTP)
}

func newHumanAt(t testing.TB, name, url string, change ...func(*human)) *human {
	t.Helper()
	h := createHuman(t, name, change...)
	if _, err := h.Register(within(t), url); err != nil {
		t.Fatalf("%s registers: %v", name, err)
	}
	h.start(t)
	return h
}

// createHuman makes an identity that no node knows yet.
func createHuman(t testing.TB, name string, change ...func(*human)) *human {
	t.Helper()
	words, err := identity.GenerateMnemonic(12)
	if err != nil {
		t.Fatal(err)
	}
	root, err := identity.DeriveRoot(words, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	h := &human{name: name, dir: filepath.Join(t.TempDir(), name), root: root}
	for _, f := range change {
		f(h)
	}
	if h.Client, err = client.Create(h.config(t), root); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.leave(t) })
	return h
}

// secondDevice joins another device to the identity of h and runs it.
func secondDevice(t testing.TB, h *human) *human {
	t.Helper()
	request, err := client.NewDeviceRequest()
	if err != nil {
		t.Fatal(err)
	}
	approval, err := h.ApproveDevice(within(t), request.Text)
	if err != nil {
		t.Fatalf("%s approves a device: %v", h.name, err)
	}
	second := &human{name: h.name + "'s second", dir: filepath.Join(t.TempDir(), "second"), root: h.root}
	if second.Client, err = client.Join(second.config(t), request, approval); err != nil {
		t.Fatalf("%s joins: %v", second.name, err)
	}
	second.start(t)
	return second
}

// start runs the client; again after leave.
func (h *human) start(t testing.TB) {
	t.Helper()
	if h.Client == nil {
		c, err := client.Open(h.config(t))
		if err != nil {
			t.Fatal(err)
		}
		h.Client = c
	}
	h.run()
	t.Cleanup(func() { h.leave(t) })
	if err := h.Ready(within(t)); err != nil {
		t.Fatalf("%s is not ready: %v", h.name, err)
	}
}

// run lets the client run without waiting until it is ready.
func (h *human) run() {
	ctx, end := context.WithCancel(context.Background())
	h.end, h.over = end, make(chan struct{})
	h.mu.Lock()
	h.changed = make(chan struct{})
	h.mu.Unlock()
	c, over := h.Client, h.over
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		h.pump(c.Events())
	}()
	go func() {
		defer close(over)
		h.why = c.Run(ctx)
		<-pumped
	}()
}

// ended waits until Run has returned by itself and says why.
func (h *human) ended(t testing.TB) error {
	t.Helper()
	select {
	case <-h.over:
		return h.why
	case <-time.After(wait):
		t.Fatalf("%s goes on", h.name)
		return nil
	}
}

func (h *human) leave(t testing.TB) {
	t.Helper()
	if h.Client == nil {
		return
	}
	if h.end != nil {
		h.end()
		select {
		case <-h.over:
		case <-time.After(wait):
			t.Errorf("%s does not end", h.name)
		}
	}
	if err := h.Close(); err != nil {
		t.Errorf("close %s: %v", h.name, err)
	}
	h.Client, h.end = nil, nil
}

func (h *human) pump(events <-chan client.Event) {
	for e := range events {
		h.mu.Lock()
		h.kept = append(h.kept, e)
		close(h.changed)
		h.changed = make(chan struct{})
		h.mu.Unlock()
	}
}

func (h *human) address(t testing.TB) identity.Address {
	t.Helper()
	self, err := h.Self()
	if err != nil {
		t.Fatal(err)
	}
	a, err := identity.ParseAddress(self.Address)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// wasTold reports whether an event has come already.
func wasTold[E client.Event](h *human, fits func(E) bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.kept {
		if typed, ok := e.(E); ok && fits(typed) {
			return true
		}
	}
	return false
}

func (h *human) id() identity.PublicKey { return h.root.Public() }

// told waits for an event and takes it.
func told[E client.Event](t testing.TB, h *human, fits func(E) bool) E {
	t.Helper()
	ctx := within(t)
	for {
		h.mu.Lock()
		for i, e := range h.kept {
			if typed, ok := e.(E); ok && fits(typed) {
				h.kept = slices.Delete(h.kept, i, i+1)
				h.mu.Unlock()
				return typed
			}
		}
		changed := h.changed
		h.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			var none E
			t.Fatalf("%s was not told of a %T", h.name, none)
		}
	}
}

func always[E any](E) bool { return true }

// meet makes two people contacts of each other.
func meet(t testing.TB, a, b *human) {
	t.Helper()
	if _, err := a.Knock(within(t), b.address(t), "hello", a.name); err != nil {
		t.Fatalf("%s knocks: %v", a.name, err)
	}
	knock := told(t, b, always[client.KnockReceived])
	if knock.From != a.id() || knock.Text != "hello" {
		t.Fatalf("%s saw another knock than %s made", b.name, a.name)
	}
	if err := b.Accept(within(t), a.id()); err != nil {
		t.Fatalf("%s accepts: %v", b.name, err)
	}
	told(t, a, func(e client.KnockAccepted) bool { return e.From == b.id() })
}

// waitFor waits for a state that no event tells of. It asks often and fails late; how long
// it took is no part of the test.
func waitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := within(t)
	for !holds() {
		select {
		case <-tick.C:
		case <-late.Done():
			t.Fatalf("%s did not come", what)
		}
	}
}

// clock runs like the machine's, and can be held and moved ahead.
type clock struct {
	mu    sync.Mutex // guards the rest
	ahead time.Duration
	held  time.Time // zero: it runs
}

func newClock() *clock { return new(clock) }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.held.IsZero() {
		return c.held.Add(c.ahead)
	}
	return time.Now().Add(c.ahead)
}

// hold stops it: from now on it is the test alone that moves it.
func (c *clock) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = time.Now()
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}
