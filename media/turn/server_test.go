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

// A5 case 32: each quota by itself, and its return on each way an allocation can end.
func TestA5Case32QuotasPerHandleOwnerPrefixAndNode(t *testing.T) {
	for name, c := range map[string]struct {
		quotas  Quotas
		owners  [3]byte // of the three allocations
		oneCred bool
		why     string
	}{
		"handle": {Quotas{PerHandle: 2}, [3]byte{1, 1, 1}, true, "refused/quota-handle"},
		"owner":  {Quotas{PerOwner: 2}, [3]byte{1, 1, 1}, false, "refused/quota-owner"},
		"prefix": {Quotas{PerPrefix: 2}, [3]byte{1, 2, 3}, false, "refused/quota-prefix"},
		"node":   {Quotas{Total: 2}, [3]byte{1, 2, 3}, false, "refused/quota-total"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, func(cfg *Config) { cfg.Quotas = c.quotas })
			creds := [3]media.Credentials{mint(t, s, c.owners[0])}
			for i := 1; i < 3; i++ {
				creds[i] = creds[0]
				if !c.oneCred {
					creds[i] = mint(t, s, c.owners[i])
				}
			}
			one := dial(t, s, "udp").login(creds[0])
			one.allocate()
			two := dial(t, s, "tcp").login(creds[1])
			two.allocate()
			three := dial(t, s, "udp").login(creds[2])
			three.request(methodAllocate, udpTransport).wantCode(486)
			if n := s.Stats().Counters[c.why]; n != 1 {
				t.Errorf("%s counted %d times", c.why, n)
			}
			one.refresh(0).wantCode(0)
			three.allocate()
		})
	}
}

func TestA5Case32QuotasComeBackOnEveryWayAnAllocationEnds(t *testing.T) {
	for name, c := range map[string]struct {
		network string
		end     func(t *testing.T, s *Server, c *rawClient)
		why     string
	}{
		"the client ends it":          {"udp", func(t *testing.T, _ *Server, c *rawClient) { c.refresh(0).wantCode(0) }, "ended/client"},
		"the client ends it over TCP": {"tcp", func(t *testing.T, _ *Server, c *rawClient) { c.refresh(0).wantCode(0) }, "ended/client"},
		"its lifetime passes":         {"udp", func(t *testing.T, s *Server, c *rawClient) { c.refresh(1).wantCode(0) }, "ended/expiry"},
		"its connection closes":       {"tcp", func(t *testing.T, _ *Server, c *rawClient) { c.conn.Close() }, "ended/disconnect"},
		"its handle is released":      {"udp", func(t *testing.T, s *Server, c *rawClient) { s.Release(c.creds.Handle) }, "ended/release"},
		"its handle is released, TCP": {"tcp", func(t *testing.T, s *Server, c *rawClient) { s.Release(c.creds.Handle) }, "ended/release"},
		"its owner is killed":         {"tcp", func(t *testing.T, s *Server, c *rawClient) { s.ReleaseOwner(media.Owner{1}) }, "ended/release"},
		"its connection breaks":       {"tcp", func(t *testing.T, _ *Server, c *rawClient) { c.send([]byte("POST / HTTP/1.1\r\n\r\n")) }, "ended/disconnect"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, func(cfg *Config) { cfg.leastLifetime = time.Second })
			client := dial(t, s, c.network).login(mint(t, s, 1))
			relayed := client.allocate()
			c.end(t, s, client)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := s.Drain(ctx); err != nil {
				t.Fatal(err)
			}
			if n := s.Stats().Counters[c.why]; n != 1 {
				t.Errorf("%s counted %d times, want once: %v", c.why, n, s.Stats().Counters)
			}
			s.ledger.mu.Lock()
			defer s.ledger.mu.Unlock()
			if s.ledger.total != 0 || len(s.ledger.byOwner) != 0 || len(s.ledger.byPrefix) != 0 {
				t.Errorf("still taken: %d, %v, %v", s.ledger.total, s.ledger.byOwner, s.ledger.byPrefix)
			}
			// A5 case 35: the port rests.
			if s.ports.take(relayed.Port(), time.Now()) {
				t.Error("the port could be had again at once")
			}
			if !s.ports.take(relayed.Port(), time.Now().Add(2*portRest)) {
				t.Error("the port is lost")
			}
		})
	}
}

// A5 case 19: the credential works from elsewhere up to its quota, and not at all once the call was revoked.
func TestA5Case19ReleaseEndsAllAllocationsOfTheCallAtOnce(t *testing.T) {
	s := start(t, allowing(loopbackRule))
	creds, p := mint(t, s, 1), newPeer(t)
	udp, tcp, bystander := dial(t, s, "udp").login(creds), dial(t, s, "tcp").login(creds), dial(t, s, "udp").login(mint(t, s, 1))
	udp.allocate()
	tcp.allocate()
	bystander.allocate()
	for _, c := range []*rawClient{udp, tcp, bystander} {
		c.bind(0x4000, p.at).wantCode(0)
	}
	s.Release(creds.Handle)
	if n := s.Stats().Allocations; n != 1 {
		t.Fatalf("%d allocations are left, want the bystander's", n)
	}
	udp.sendChannel(0x4000, []byte("released"))
	udp.refresh(600).wantCode(401)
	udp.request(methodAllocate, udpTransport).wantCode(401)
	if _, err := tcp.tryRecv(); err == nil {
		t.Error("the TCP connection of a released handle is open")
	}
	bystander.sendChannel(0x4000, []byte("bystander"))
	p.want([]byte("bystander"))
	s.Release(creds.Handle) // again: nothing happens
}

// protocol.md 20.8, GG.
func TestALostClientLinkLeavesFiveMinutesOfGrace(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk))
	lost, back := dial(t, s, "udp").login(mint(t, s, 1)), dial(t, s, "udp").login(mint(t, s, 1))
	lost.allocate()
	back.allocate()
	s.ReleaseAfter(lost.creds.Handle, Grace)
	s.ReleaseAfter(back.creds.Handle, Grace)
	clk.add(Grace - time.Second)
	s.Keep(back.creds.Handle)
	s.tick()
	if n := s.Stats().Allocations; n != 2 {
		t.Fatalf("%d allocations during the grace, want 2", n)
	}
	clk.add(time.Second)
	s.tick()
	lost.refresh(600).wantCode(401)
	back.refresh(600).wantCode(0)
}

func TestHandlesThatNobodyUsedAreForgotten(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk), func(c *Config) { c.Quotas.GrantsPerOwner, c.Quotas.Grants = 2, 3 })
	mint(t, s, 1)
	mint(t, s, 1)
	if _, err := s.Mint(media.Owner{1}, media.Limits{}); !errors.Is(err, ErrBusy) {
		t.Errorf("a third handle of one owner: %v", err)
	}
	mint(t, s, 2)
	if _, err := s.Mint(media.Owner{3}, media.Limits{}); !errors.Is(err, ErrBusy) {
		t.Errorf("a fourth handle in all: %v", err)
	}
	clk.add(startTTL + time.Minute + time.Second)
	s.tick()
	if n := s.Stats().Grants; n != 0 {
		t.Errorf("%d handles are kept", n)
	}
	mint(t, s, 1)
}

func TestAGrantMayTightenAllocationsButNotWidenThem(t *testing.T) {
	s := start(t, func(c *Config) { c.Quotas.PerHandle = 2 })
	for limit, want := range map[int]int{1: 1, 0: 2, 100: 2} {
		creds, err := s.Mint(media.Owner{byte(limit)}, media.Limits{Allocations: limit})
		if err != nil {
			t.Fatal(err)
		}
		for range want {
			dial(t, s, "udp").login(creds).allocate()
		}
		dial(t, s, "udp").login(creds).request(methodAllocate, udpTransport).wantCode(486)
	}
}

// A5 case 32: a full range is 508, not 486.
func TestA5Case32AnExhaustedPortRangeIs508(t *testing.T) {
	clk := newClock()
	first := newPeer(t) // a port that is taken by another program, and the ones behind it
	lo := max(first.at.Port(), 2000)
	s := start(t, onClock(clk), func(c *Config) { c.PortMin, c.PortMax = lo, min(lo+3, 65535) })
	got := map[uint16]bool{}
	var last *rawClient
	for range 5 {
		c := dial(t, s, "udp").login(mint(t, s, 1))
		r := c.request(methodAllocate, udpTransport)
		if r.code() == 508 {
			break
		}
		port := r.wantCode(0).address(attrXORRelayedAddress).Port()
		if port <= lo || port > lo+3 || got[port] {
			t.Fatalf("port %d of %d-%d, after %v", port, lo, lo+3, got)
		}
		got[port], last = true, c
	}
	if len(got) == 0 || len(got) > 3 {
		t.Fatalf("%d allocations in a range of four ports, one of them taken", len(got))
	}
	c := dial(t, s, "udp").login(mint(t, s, 1))
	c.request(methodAllocate, udpTransport).wantCode(508)
	last.refresh(0).wantCode(0)
	c.request(methodAllocate, udpTransport).wantCode(508) // A5 case 35
	clk.add(portRest)
	c.allocate()
}

// A5 case 34.
func TestA5Case34PeersPerAllocationAreBounded(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk), func(c *Config) { c.Quotas.Permissions, c.Quotas.Channels = 4, 2 })
	c := dial(t, s, "udp").login(mint(t, s, 1))
	c.allocate()
	at := func(n byte) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, 8, n}), 50000) }
	c.permit(at(1), at(2), at(3), at(4), at(5)).wantCode(508)
	c.permit(at(1), at(2), at(3)).wantCode(0)
	c.bind(0x4000, at(1)).wantCode(0)
	c.bind(0x4001, at(2)).wantCode(0)
	c.bind(0x4002, at(3)).wantCode(508)
	c.permit(at(4)).wantCode(0)
	c.permit(at(5)).wantCode(508)
	c.permit(at(1), at(2), at(3), at(4)).wantCode(0) // a refresh is no new peer
	clk.add(permissionLife)
	// All have expired; new ones come at their rate only.
	c.permit(at(11), at(12), at(13), at(14)).wantCode(0)
	clk.add(permissionLife)
	c.permit(at(21), at(22), at(23), at(24)).wantCode(0)
	clk.add(time.Second / 10)
	if n := s.Stats().Counters["refused/peer-quota"]; n != 3 {
		t.Errorf("%d refused, want 3", n)
	}
}

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
	c := dial(t, s, "udp").login(mint(t, s, 1))
	c.allocate()
	c.refresh(600).wantCode(0)
	// Between two requests pion's goroutine waits in ReadFrom and touches neither field.
	s.control.nonceAt = time.Now().Add(-2 * pionNonceLife)
	c.refresh(600).wantCode(0)
	if time.Since(s.control.nonceAt) > pionNonceLife {
		t.Error("the nonce is still the old one")
	}
	s.control.nonce = []byte("forged")
	c.refresh(600).wantCode(0)
	if string(s.control.nonce) == "forged" {
		t.Error("a nonce that pion refuses was kept")
	}
}
