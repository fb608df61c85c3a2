package turn

import (
	"net/netip"
	"sync"
	"testing"
)

// A5 case 1, to the end: a listener on loopback receives nothing.
func TestA5Case1ALoopbackListenerReceivesNothing(t *testing.T) {
	s := start(t)
	eachTransport(t, func(t *testing.T, network string) {
		c, victim := dial(t, s, network).login(mint(t, s, 1)), newPeer(t)
		c.allocate()
		for _, host := range []string{"127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3"} {
			at := netip.AddrPortFrom(netip.MustParseAddr(host), victim.at.Port())
			c.permit(at).wantCode(403)
			c.bind(0x4000, at).wantCode(403)
			c.sendTo(at, []byte("through the relay"))
			c.sendChannel(0x4000, []byte("through the relay"))
		}
		c.nothing("denied peers") // by now the relay has handled all of it
		newPeer(t).send([]byte("directly"), victim.at)
		victim.want([]byte("directly"))
	})
}

// A5 cases 1 to 6 and 15 through the wire, one representative each.
func TestA5DeniedPeersAreAnsweredWith403(t *testing.T) {
	s := start(t)
	c := dial(t, s, "udp").login(mint(t, s, 1))
	c.allocate()
	for _, host := range deniedIPv4 {
		at := netip.AddrPortFrom(netip.MustParseAddr(host), 50000)
		c.permit(at).wantCode(403)
		c.bind(0x4000, at).wantCode(403)
	}
	for _, port := range []uint16{0, 53, 25, 11211} {
		c.permit(netip.AddrPortFrom(public.Addr(), port)).wantCode(403)
		c.bind(0x4000, netip.AddrPortFrom(public.Addr(), port)).wantCode(403)
	}
	if n := s.Stats().Peers["port"]; n != 8 {
		t.Errorf("%d denied ports counted, want 8", n)
	}
}

// A5 case 7 on allocations of either family.
func TestA5Case7EmbeddedFormsOnBothFamilies(t *testing.T) {
	s := start(t, func(c *Config) { c.ExternalIP6 = netip.MustParseAddr("::1") })
	four := dial(t, s, "udp").login(mint(t, s, 1))
	four.allocate()
	six := dial(t, s, "udp").login(mint(t, s, 1))
	relayed := six.request(methodAllocate, func(w *writer) {
		udpTransport(w)
		w.attr(attrAddressFamily, []byte{family6, 0, 0, 0})
	}).wantCode(0).address(attrXORRelayedAddress)
	if relayed.Addr() != netip.IPv6Loopback() {
		t.Errorf("the IPv6 relayed address is %s", relayed)
	}
	for _, host := range []string{"127.0.0.1", "10.0.0.1", "169.254.169.254", "224.0.0.1"} {
		for _, form := range embeddedForms(t, netip.MustParseAddr(host)) {
			at := netip.AddrPortFrom(form, 50000)
			four.permit(at).wantCode(443)
			if form == netip.MustParseAddr("2600:64:64::"+host) {
				continue // the local NAT64 prefix of the table test; not configured here
			}
			six.permit(at).wantCode(403)
			six.bind(0x4000, at).wantCode(403)
		}
	}
	six.permit(public).wantCode(443)
	six.permit(netip.MustParseAddrPort("[2a00::1]:50000")).wantCode(0)
}

func TestA5Case7AConfiguredNAT64PrefixIsDenied(t *testing.T) {
	s := start(t, func(c *Config) {
		c.ExternalIP6 = netip.MustParseAddr("::1")
		c.NAT64 = []netip.Prefix{netip.MustParsePrefix("2600:64:64::/96")}
	})
	c := dial(t, s, "udp").login(mint(t, s, 1))
	c.request(methodAllocate, func(w *writer) { udpTransport(w); w.attr(attrAddressFamily, []byte{family6, 0, 0, 0}) }).wantCode(0)
	c.permit(netip.MustParseAddrPort("[2600:64:64::10.0.0.1]:50000")).wantCode(403)
	c.permit(netip.MustParseAddrPort("[2600:64:65::10.0.0.1]:50000")).wantCode(0)
}

// A5 case 9.
func TestA5Case9TheNodesOwnListenersAreNoPeers(t *testing.T) {
	http := newPeer(t)
	s := start(t, allowing(loopbackRule), func(c *Config) {
		c.OwnAddrs = func() []netip.AddrPort {
			return []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), http.at.Port())}
		}
	})
	c := dial(t, s, "udp").login(mint(t, s, 1))
	c.allocate()
	for _, at := range []netip.AddrPort{s.Addr(), http.at} {
		c.permit(at).wantCode(403)
		c.bind(0x4000, at).wantCode(403)
	}
	if n := s.Stats().Peers["own-listener"]; n != 4 {
		t.Errorf("%d counted, want 4", n)
	}
	// With a permission for the host the ports stay closed, datagram by datagram.
	other := newPeer(t)
	c.permit(other.at).wantCode(0)
	c.sendTo(http.at, []byte("no"))
	c.sendTo(other.at, []byte("yes"))
	other.want([]byte("yes"))
	newPeer(t).send([]byte("directly"), http.at)
	http.want([]byte("directly"))
}

// On loopback another program, for example another node's relay, may sit on the relay's own address. It is reached
// with an explicit rule, and only with one.
func TestAnotherProgramOnTheRelaysAddressNeedsARule(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk), allowing("127.0.0.1/32:1024-65535", "127.0.0.2/32"))
	c, p, sentinel := dial(t, s, "udp").login(mint(t, s, 1)), newPeer(t), newPeerAt(t, "127.0.0.2")
	relayed := c.allocate()
	c.permit(sentinel.at).wantCode(0)
	c.bind(0x4000, p.at).wantCode(0)
	c.sendChannel(0x4000, []byte("hello"))
	p.want([]byte("hello"))
	p.send([]byte("hello back"), relayed)
	if got, _, _ := c.recvPayload(); string(got) != "hello back" {
		t.Fatalf("got %q", got)
	}
	// A5 case 13: the rule is taken away; both directions stop at once.
	if err := s.Reload(mustRules(t, "127.0.0.2/32")); err != nil {
		t.Fatal(err)
	}
	c.sendChannel(0x4000, []byte("denied"))
	c.sendTo(p.at, []byte("denied"))
	p.send([]byte("denied"), relayed)
	sentinel.handled(c, relayed)
	c.bind(0x4000, p.at).wantCode(403)
	c.permit(p.at).wantCode(403)
	if err := s.Reload(mustRules(t, "127.0.0.1/32:1024-65535")); err != nil {
		t.Fatal(err)
	}
	c.bind(0x4000, p.at).wantCode(0)
	c.sendChannel(0x4000, []byte("allowed again"))
	p.want([]byte("allowed again"))
}

// The demo: two nodes on one loopback address, and a call relayed by both, with the rule that opens exactly that.
func TestTwoNodesOnOneHostRelayToEachOther(t *testing.T) {
	const rule = "127.0.0.1/32:49152-65535"
	acme, globex := start(t, allowing(rule)), start(t, allowing(rule))
	a, b := dial(t, acme, "udp").login(mint(t, acme, 1)), dial(t, globex, "tcp").login(mint(t, globex, 1))
	relayA, relayB := a.allocate(), b.allocate()
	a.bind(0x4000, relayB).wantCode(0)
	b.permit(relayA).wantCode(0)
	a.sendChannel(0x4000, []byte("from acme"))
	if got, from, _ := b.recvPayload(); string(got) != "from acme" || from != relayA {
		t.Fatalf("got %q from %s", got, from)
	}
	b.sendTo(relayA, []byte("from globex"))
	if got, _, channel := a.recvPayload(); string(got) != "from globex" || channel != 0x4000 {
		t.Fatalf("got %q on channel %x", got, channel)
	}
	// Without the rule each is as closed to the other as to anybody.
	if err := acme.Reload(nil); err != nil {
		t.Fatal(err)
	}
	a.bind(0x4000, relayB).wantCode(403)
}

// A5 case 13, for a peer on an address of its own: permission and channel are gone, not only silent.
func TestA5Case13ATighterPolicyEndsPermissionsAndChannels(t *testing.T) {
	s := start(t, allowing("127.0.0.2/32", "127.0.0.3/32"))
	denied := newPeerAt(t, "127.0.0.2")
	kept := netip.MustParseAddrPort("127.0.0.3:50000")
	c := dial(t, s, "udp").login(mint(t, s, 1))
	c.allocate()
	c.bind(0x4000, denied.at).wantCode(0)
	c.bind(0x4001, kept).wantCode(0)
	c.sendChannel(0x4000, []byte("before"))
	denied.want([]byte("before"))
	if err := s.Reload(mustRules(t, "127.0.0.3/32")); err != nil {
		t.Fatal(err)
	}
	a := s.allocations()[0]
	table := a.tables.Load()
	if len(table.permissions) != 1 || len(table.channels) != 1 || table.channels[0x4001].peer != kept {
		t.Errorf("after the reload %v and %v are left", table.permissions, table.channels)
	}
	c.sendChannel(0x4000, []byte("after"))
	c.sendTo(denied.at, []byte("after"))
	c.nothing("sending")
	newPeer(t).send([]byte("directly"), denied.at)
	denied.want([]byte("directly"))
}

// A5 case 10.
func TestA5Case10AnInterfaceAddressThatAppearsIsDeniedAtTheNextTick(t *testing.T) {
	var mu sync.Mutex
	local := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	s := start(t, func(c *Config) {
		c.Interfaces = func() ([]netip.Addr, error) {
			mu.Lock()
			defer mu.Unlock()
			return local, nil
		}
	})
	c := dial(t, s, "udp").login(mint(t, s, 1))
	c.allocate()
	c.permit(public).wantCode(0)
	mu.Lock()
	local = append(local, public.Addr())
	mu.Unlock()
	s.tick() // twice a second while running
	c.permit(public).wantCode(403)
	if n := len(s.allocations()[0].tables.Load().permissions); n != 0 {
		t.Errorf("%d permissions are left", n)
	}
}

// A5 case 12.
func TestA5Case12PermissionsAreAllOrNothing(t *testing.T) {
	s := start(t, allowing(loopbackRule, "127.0.0.2/32"))
	c, p, sentinel := dial(t, s, "udp").login(mint(t, s, 1)), newPeer(t), newPeerAt(t, "127.0.0.2")
	relayed := c.allocate()
	c.permit(sentinel.at).wantCode(0)
	c.permit(p.at, netip.MustParseAddrPort("10.0.0.1:50000")).wantCode(403)
	c.permit(netip.MustParseAddrPort("10.0.0.1:50000"), p.at).wantCode(403)
	p.send([]byte("unpermitted"), relayed)
	c.sendTo(p.at, []byte("unpermitted"))
	sentinel.handled(c, relayed)
	c.permit(p.at, public).wantCode(0)
	c.sendTo(p.at, []byte("permitted"))
	p.want([]byte("permitted"))
	p.send([]byte("permitted"), relayed)
	if got, _, _ := c.recvPayload(); string(got) != "permitted" {
		t.Errorf("got %q", got)
	}
}
