package turn

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/media"
)

// A5 case 36.
func TestA5Case36DrainLetsCallsEndAndStartsNone(t *testing.T) {
	s := start(t, allowing(loopbackRule))
	c, p := dial(t, s, "udp").login(mint(t, s, 1)), newPeer(t)
	c.allocate()
	late := dial(t, s, "udp").login(mint(t, s, 1))
	short, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Drain(short); !errors.Is(err, context.Canceled) {
		t.Fatalf("drained with an allocation: %v", err)
	}
	late.request(methodAllocate, udpTransport).wantCode(508)
	if _, err := s.Mint(media.Owner{}, media.Limits{}); !errors.Is(err, ErrBusy) {
		t.Errorf("minted while draining: %v", err)
	}
	c.bind(0x4000, p.at).wantCode(0)
	c.sendChannel(0x4000, []byte("still here"))
	p.want([]byte("still here"))
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(context.Background()) }()
	c.refresh(0).wantCode(0)
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestRunEndsEverythingItStarted(t *testing.T) {
	before := runtime.NumGoroutine()
	s, err := New(Config{Listen: "127.0.0.1:0", Realm: testRealm, AllowPeers: mustRules(t, loopbackRule)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	for _, network := range []string{"udp", "tcp"} {
		c, p := dial(t, s, network).login(mint(t, s, 1)), newPeer(t)
		c.allocate()
		c.bind(0x4000, p.at).wantCode(0)
		c.sendChannel(0x4000, []byte("x"))
		p.want([]byte("x"))
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := s.Run(context.Background()); err == nil {
		t.Error("a second Run served")
	}
	// pion's own goroutine returns a moment after it has told us that it will.
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("goroutines are left:\n%s", stacks[:runtime.Stack(stacks, true)])
		}
	}
	// The address is free again, for both transports.
	l, err := net.Listen("tcp4", s.Addr().String())
	if err != nil {
		t.Error(err)
	} else {
		l.Close()
	}
	u, err := net.ListenPacket("udp4", s.Addr().String())
	if err != nil {
		t.Error(err)
	} else {
		u.Close()
	}
}

func TestAServerThatNeverRanIsClosed(t *testing.T) {
	s, err := New(Config{Listen: "127.0.0.1:0", Realm: testRealm})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	u, err := net.ListenPacket("udp4", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	u.Close()
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	taken := newPeer(t)
	for name, change := range map[string]func(c *Config){
		"no port":             func(c *Config) { c.Listen = "127.0.0.1" },
		"a name":              func(c *Config) { c.Listen = "localhost:0" },
		"port in use":         func(c *Config) { c.Listen = taken.at.String() },
		"no realm":            func(c *Config) { c.Realm = "" },
		"a long realm":        func(c *Config) { c.Realm = strings.Repeat("a", 128) },
		"a realm with quotes": func(c *Config) { c.Realm = `a"b` },
		"ports turned round":  func(c *Config) { c.PortMin, c.PortMax = 2, 1 },
		"no first port":       func(c *Config) { c.PortMax = 5 },
		"an open proxy":       func(c *Config) { c.AllowPeers = []PeerRule{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}} },
		"no rule":             func(c *Config) { c.AllowPeers = []PeerRule{{}} },
		"NAT64 of IPv4":       func(c *Config) { c.NAT64 = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} },
		"NAT64 of a length":   func(c *Config) { c.NAT64 = []netip.Prefix{netip.MustParsePrefix("2600::/33")} },
		"external of nothing": func(c *Config) { c.ExternalIP = netip.IPv4Unspecified() },
		"external6 of IPv4":   func(c *Config) { c.ExternalIP6 = netip.MustParseAddr("8.8.8.8") },
		"interfaces unknown":  func(c *Config) { c.Interfaces = func() ([]netip.Addr, error) { return nil, errors.New("x") } },
	} {
		c := Config{Listen: "127.0.0.1:0", Realm: testRealm}
		change(&c)
		if s, err := New(c); err == nil {
			s.Close()
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: the error takes more than a line: %v", name, err)
		}
	}
}

func TestResolveExternalIP(t *testing.T) {
	lan := addrs(t, "127.0.0.1", "169.254.1.1", "192.168.1.7", "10.0.0.7", "fe80::1", "fd00::7")
	hosted := append(addrs(t, "10.0.0.7", "fd00::7"), addrs(t, "8.8.8.7", "2a00::7")...)
	for _, c := range []struct {
		listen     string
		interfaces []netip.Addr
		six        bool
		want       string
	}{
		{"192.0.2.1", lan, false, "192.0.2.1"}, {"192.0.2.1", lan, true, ""}, {"::1", lan, true, "::1"}, {"::1", lan, false, ""},
		{"0.0.0.0", lan, false, "192.168.1.7"}, {"0.0.0.0", hosted, false, "8.8.8.7"}, {"::", hosted, true, "2a00::7"},
		{"::", lan, true, ""}, {"0.0.0.0", nil, false, "127.0.0.1"}, {"0.0.0.0", addrs(t, "127.0.0.1", "::1"), false, "127.0.0.1"},
	} {
		var want netip.Addr
		if c.want != "" {
			want = netip.MustParseAddr(c.want)
		}
		if got := ResolveExternalIP(netip.MustParseAddr(c.listen), c.interfaces, c.six); got != want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// Behind a 1:1 NAT the advertised address is none of this machine's: relay sockets bind elsewhere, and two clients
// are joined all the same.
func TestAnExternalAddressThatIsNotLocal(t *testing.T) {
	external := netip.MustParseAddr("8.8.4.4")
	s := start(t, func(c *Config) { c.ExternalIP = external })
	a, b := dial(t, s, "udp").login(mint(t, s, 1)), dial(t, s, "udp").login(mint(t, s, 2))
	relayA, relayB := a.allocate(), b.allocate()
	if relayA.Addr() != external {
		t.Fatalf("advertised %s", relayA)
	}
	a.permit(relayB).wantCode(0)
	b.permit(relayA).wantCode(0)
	a.sendTo(relayB, []byte("joined"))
	if got, from, _ := b.recvPayload(); string(got) != "joined" || from != relayA {
		t.Errorf("got %q from %s", got, from)
	}
	a.permit(netip.AddrPortFrom(external, 22)).wantCode(403)
}

// A5 case 23, and the rule of the house: nothing that says who talks to whom is logged or counted by name.
func TestA5Case23NoLogAndNoCounterNamesAnybody(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	s := start(t, allowing(loopbackRule), logTo(lockedWriter{&mu, &log}))
	var secrets []string
	for _, network := range []string{"udp", "tcp"} {
		c, p := dial(t, s, network).login(mint(t, s, 1)), newPeer(t)
		relayed := c.allocate()
		c.bind(0x4000, p.at).wantCode(0)
		c.permit(netip.MustParseAddrPort("10.9.8.7:50000")).wantCode(403)
		c.sendChannel(0x4000, []byte("content"))
		p.want([]byte("content"))
		secrets = append(secrets, c.creds.Username, c.creds.Password, c.nonce, "10.9.8.7", "content",
			c.conn.LocalAddr().String(), p.at.String(), relayed.String(), "127.0.0.1", c.creds.Username[11:])
		wrong := dial(t, s, network).login(media.Credentials{Username: "alice@acme", Password: "hunter2"})
		wrong.request(methodAllocate, udpTransport).wantCode(401)
		wrong.send([]byte{0, 1, 0xFF, 0xFF, 1, 2, 3, 4, 5, 6, 7, 8})
		s.Release(c.creds.Handle)
	}
	secrets = append(secrets, "alice", "hunter2")
	if err := s.Reload(nil); err != nil {
		t.Fatal(err)
	}
	s.tick()
	st := s.Stats()
	mu.Lock()
	text := log.String()
	mu.Unlock()
	if !strings.Contains(text, "relay is up") {
		t.Fatal("the log was not captured")
	}
	for name := range st.Counters {
		text += " " + name
	}
	for name := range st.Peers {
		text += " " + name
	}
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in the log or the counters: %s", secret, text)
		}
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

func TestEveryCounterHasAName(t *testing.T) {
	seen := map[string]bool{}
	for i, name := range counterNames {
		if name == "" || seen[name] || strings.Count(name, "/") != 1 {
			t.Errorf("counter %d is named %q", i, name)
		}
		seen[name] = true
	}
}

// pion's nonce lives an hour of the real clock; the control plane must get a new one by itself.
func TestTheControlPlaneRenewsItsNonce(t *testing.T) {
	s := start(t)
	dial(t, s, "udp").login(mint(t, s, 1)).allocate()
	a, control := s.allocations()[0], s.control
	// The state belongs to pion's goroutine, and so does the building of a request.
	refresh := func(inside func()) {
		t.Helper()
		var once sync.Once
		code := control.do(a, methodRefresh, newID(), func(w *writer) {
			once.Do(inside)
			w.uint32(attrLifetime, 600)
		})
		if code != 0 {
			t.Errorf("pion answered with %d", code)
		}
	}
	var before, after time.Time
	refresh(func() { control.nonceAt = time.Now().Add(-2 * pionNonceLife) })
	refresh(func() { before = control.nonceAt })
	if time.Since(before) > pionNonceLife {
		t.Error("the old nonce was kept")
	}
	refresh(func() { control.nonce = []byte("forged") }) // it goes out with this one, and pion refuses it
	refresh(func() { after = control.nonceAt })
	if !after.After(before) {
		t.Error("the nonce that pion refused was kept")
	}
}
