package turn

import (
	"net/netip"
	"strings"
	"testing"
)

func addrs(t *testing.T, texts ...string) []netip.Addr {
	t.Helper()
	list := make([]netip.Addr, len(texts))
	for i, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		list[i] = a
	}
	return list
}

func mustRules(t *testing.T, texts ...string) []PeerRule {
	t.Helper()
	rules := make([]PeerRule, len(texts))
	for i, text := range texts {
		r, err := ParsePeerRule(text)
		if err != nil {
			t.Fatal(err)
		}
		rules[i] = r
	}
	return rules
}

// defaultRules is a node on 198.51.99.7 and 2600:1::7 with a private second interface.
func defaultRules(t *testing.T, allow ...string) *peerRules {
	r := &peerRules{
		allow: mustRules(t, allow...), denyPorts: map[uint16]bool{},
		own:      map[netip.Addr]bool{},
		ownPorts: map[uint16]bool{3478: true, 7420: true, 7421: true, 7422: true, 7423: true},
		nat64:    []netip.Prefix{netip.MustParsePrefix("2600:64:64::/96")},
	}
	for _, a := range addrs(t, "127.0.0.1", "::1", "198.51.99.7", "2600:1::7", "10.1.0.5") {
		r.own[a] = true
	}
	for _, port := range defaultDenyPorts {
		r.denyPorts[port] = true
	}
	return r
}

// The IPv4 addresses of media.md A5 cases 1 to 5.
var deniedIPv4 = []string{
	"127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", // 1
	"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "100.127.255.254", // 2
	"169.254.0.1", "169.254.169.254", // 3
	"192.0.0.1", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "192.88.99.1", // 4
	"224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", // 5
	"168.63.129.16", // a cloud's metadata service on a public address
}

// A5 cases 3, 5, 6.
var deniedIPv6 = []string{
	"fd00:ec2::254", "ff02::1", "::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd12::1", "2001:db8::1", "100::1",
	"2001::1", "2001:0:53aa:64c::1", "2600:1::5efe:10.0.0.1", "2600:1::200:5efe:10.0.0.1", "fe80::5efe:8.8.8.8",
	"2001:2::1", "2001:10::1", "2001:20::1", "3fff::1", "3ffe::1", "4000::1", "5f00::1", "1fff:ffff::1", "64:ff9b:2::1",
}

func TestA5Cases1To6NonPublicPeersAreDenied(t *testing.T) {
	r := defaultRules(t)
	for _, a := range addrs(t, append(append([]string{}, deniedIPv4...), deniedIPv6...)...) {
		if v := r.decide(netip.AddrPortFrom(a, 50000), false); v.ok() {
			t.Errorf("%s: %s, want a denial", a, v)
		}
	}
}

// embeddedForms are all the ways to write an IPv4 address into an IPv6 one (A5 case 7).
func embeddedForms(t *testing.T, a netip.Addr) []netip.Addr {
	t.Helper()
	v4 := a.As4()
	at := func(prefix string, bytes ...int) netip.Addr {
		b := netip.MustParseAddr(prefix).As16()
		for i, to := range bytes {
			b[to] = v4[i]
		}
		return netip.AddrFrom16(b)
	}
	not := func(prefix string) netip.Addr { // Teredo
		b := netip.MustParseAddr(prefix).As16()
		for i := range v4 {
			b[12+i] = ^v4[i]
		}
		return netip.AddrFrom16(b)
	}
	return []netip.Addr{
		at("::ffff:0:0", 12, 13, 14, 15),
		at("::", 12, 13, 14, 15),
		at("64:ff9b::", 12, 13, 14, 15),
		at("64:ff9b:1::", 12, 13, 14, 15),
		at("64:ff9b:1::", 6, 7, 9, 10),
		at("2002::", 2, 3, 4, 5),
		at("2600:64:64::", 12, 13, 14, 15), // the configured local NAT64 prefix
		at("2600:1::5efe:0:0", 12, 13, 14, 15),
		at("2600:1::200:5efe:0:0", 12, 13, 14, 15),
		at("::ffff:0:0:0", 12, 13, 14, 15), // RFC 2765's IPv4-translated
		not("2001::"),
	}
}

func TestA5Case7EveryEmbeddedFormIsDenied(t *testing.T) {
	closed := defaultRules(t)
	// Rules that open the outer forms widely must not open what is inside.
	wide := defaultRules(t, "64::/16", "2002::/16", "2600::/16", "2001::/16")
	for _, a := range addrs(t, deniedIPv4...) {
		for _, form := range embeddedForms(t, a) {
			for name, r := range map[string]*peerRules{"default": closed, "wide rules": wide} {
				if v := r.decide(netip.AddrPortFrom(form, 50000), false); v.ok() {
					t.Errorf("%s inside %s with %s: %s, want a denial", a, form, name, v)
				}
			}
		}
	}
}

func TestAWideRuleOpensANAT64PrefixForPublicAddressesOnly(t *testing.T) {
	r := defaultRules(t, "64:ff9b::/96")
	if v := r.decide(netip.MustParseAddrPort("[64:ff9b::8.8.8.8]:50000"), false); v != peerAllowed {
		t.Errorf("a public address behind an opened NAT64 prefix: %s", v)
	}
	if v := r.decide(netip.MustParseAddrPort("[64:ff9b::10.0.0.1]:50000"), false); v != peerTransition {
		t.Errorf("a private address behind an opened NAT64 prefix: %s", v)
	}
}

func TestRFC6052PositionsOfEveryPrefixLength(t *testing.T) {
	// RFC 6052 section 2.4.
	for text, bits := range map[string]int{
		"2001:db8:c000:221::": 32, "2001:db8:1c0:2:21::": 40, "2001:db8:122:c000:2:2100::": 48,
		"2001:db8:122:3c0:0:221::": 56, "2001:db8:122:344:c0:2:2100::": 64, "2001:db8:122:344::192.0.2.33": 96,
	} {
		if got := rfc6052(netip.MustParseAddr(text).As16(), bits); got != netip.MustParseAddr("192.0.2.33") {
			t.Errorf("/%d %s: %s", bits, text, got)
		}
	}
}

func TestA5Case8NeighboursOfTheRangesAreAllowed(t *testing.T) {
	r := defaultRules(t)
	for _, a := range addrs(t,
		"1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0",
		"192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
		"198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255", "168.63.129.15", "8.8.8.8",
		"2000::1", "2001:200::1", "2001:db7:ffff::1", "2001:db9::1", "2003::1", "2a00:1450::1", "3ffd::1", "3fff:1000::1",
		"2600:1::8", "2600:1::5eff:10.0.0.1", "2600:1::100:5efe:10.0.0.1",
	) {
		if v := r.decide(netip.AddrPortFrom(a, 50000), false); v != peerAllowed {
			t.Errorf("%s: %s, want allowed", a, v)
		}
	}
}

func TestA5Case9OwnListenersAreDeniedEverywhereAndUnderEveryRule(t *testing.T) {
	r := defaultRules(t, "127.0.0.1/32", "10.1.0.5/32:1-65535", "198.51.99.7/32", "2600:1::7/128", "127.0.0.2/32:7000-8000")
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "10.1.0.5", "198.51.99.7", "2600:1::7"} {
		for _, port := range []uint16{3478, 7420, 7421, 7422, 7423} {
			if v := r.decide(netip.AddrPortFrom(netip.MustParseAddr(host), port), false); v != peerListener {
				t.Errorf("%s port %d: %s, want %s", host, port, v, peerListener)
			}
		}
	}
}

func TestA5Case9TheRelayAddressIsOpenForLiveAllocationsOnly(t *testing.T) {
	r := defaultRules(t)
	peer := netip.MustParseAddrPort("198.51.99.7:50000")
	if v := r.decide(peer, true); v != peerInternal {
		t.Errorf("a live allocation: %s", v)
	}
	if v := r.decide(peer, false); v != peerOwnAddress {
		t.Errorf("no live allocation: %s", v)
	}
}

func TestA5Case11AnAllowRuleOpensItsHostsOnly(t *testing.T) {
	for _, c := range []struct {
		rule, peer string
		want       verdict
	}{
		{"10.1.2.3/32", "10.1.2.3:50000", peerAllowed},
		{"10.1.2.3", "10.1.2.3:50000", peerAllowed},
		{"10.1.2.3/32", "10.1.2.4:50000", peerSpecial},
		{"10.1.0.0/16", "10.1.255.255:50000", peerAllowed},
		{"10.1.0.0/16", "10.2.0.0:50000", peerSpecial},
		{"10.1.0.0/16", "10.1.0.5:50000", peerOwnAddress}, // this machine needs its own line
		{"10.1.0.5/32", "10.1.0.5:50000", peerAllowed},
		{"127.0.0.1/32:49152-65535", "127.0.0.1:49152", peerAllowed},
		{"127.0.0.1/32:49152-65535", "127.0.0.1:65535", peerAllowed},
		{"127.0.0.1/32:49152-65535", "127.0.0.1:49151", peerOwnAddress},
		{"127.0.0.0/8", "127.0.0.1:50000", peerOwnAddress},
		{"fd00::/8", "[fd12::1]:50000", peerAllowed},
		{"fd00::/8", "[fc00::1]:50000", peerSpecial},
		{"fd00::/8:5000-6000", "[fd12::1]:50000", peerSpecial},
		// Metadata services: a wide rule does not open them, one host on purpose does.
		{"169.254.0.0/16", "169.254.169.254:80", peerMetadata},
		{"169.254.0.0/16", "169.254.1.1:50000", peerAllowed},
		{"169.254.169.254/31", "169.254.169.254:80", peerMetadata},
		{"169.254.169.254/32", "169.254.169.254:80", peerAllowed},
		{"fd00::/8", "[fd00:ec2::254]:80", peerMetadata},
		{"fd00:ec2::254/128", "[fd00:ec2::254]:80", peerAllowed},
		{"168.0.0.0/8", "168.63.129.16:80", peerMetadata},
		{"100.64.0.0/10", "100.100.100.200:80", peerMetadata},
		// No rule makes a datagram to everybody out of one to somebody.
		{"224.0.0.1/32", "224.0.0.1:50000", peerNever},
		{"255.255.255.255/32", "255.255.255.255:50000", peerNever},
		{"0.0.0.0/32", "0.0.0.0:50000", peerNever},
		{"ff02::1/128", "[ff02::1]:50000", peerNever},
		{"10.0.0.0/8", "[::ffff:10.0.0.1]:50000", peerNever},
	} {
		if got := defaultRules(t, c.rule).decide(netip.MustParseAddrPort(c.peer), false); got != c.want {
			t.Errorf("rule %s, peer %s: %s, want %s", c.rule, c.peer, got, c.want)
		}
	}
}

func TestA5Case15PortsThatAreNeverRelayedTo(t *testing.T) {
	r := defaultRules(t, "10.1.0.0/16", "10.2.0.0/16:50-60", "10.3.3.3/32")
	for _, c := range []struct {
		peer string
		want verdict
	}{
		{"8.8.8.8:0", peerPort}, {"8.8.8.8:53", peerPort}, {"8.8.8.8:25", peerPort}, {"8.8.8.8:11211", peerPort},
		{"8.8.8.8:54", peerAllowed}, {"[2a00::1]:53", peerPort}, {"[2a00::1]:443", peerAllowed},
		{"10.1.2.3:53", peerPort},    // opened, but the port was not named
		{"10.2.2.3:53", peerAllowed}, // named
		{"10.2.2.3:0", peerPort},     // never
		{"10.3.3.3:53", peerPort},
	} {
		if got := r.decide(netip.MustParseAddrPort(c.peer), false); got != c.want {
			t.Errorf("%s: %s, want %s", c.peer, got, c.want)
		}
	}
}

func TestParsePeerRule(t *testing.T) {
	for in, want := range map[string]string{
		"10.1.0.0/16": "10.1.0.0/16", "127.0.0.1/32:49152-65535": "127.0.0.1/32:49152-65535", "10.1.2.3": "10.1.2.3/32",
		"10.1.0.0/16:5000": "10.1.0.0/16:5000", "fd00::/8": "fd00::/8", "fd00::/8:1-2": "fd00::/8:1-2", "::1": "::1/128",
		"fc00::/7": "fc00::/7", "10.1.0.0/16:7-7": "10.1.0.0/16:7",
	} {
		r, err := ParsePeerRule(in)
		if err != nil || r.String() != want {
			t.Errorf("%q: %v, %v; want %s", in, r, err, want)
		}
	}
	for _, bad := range []string{
		"", "x", "/16", "10.1.0.0/", "10.1.0.0/33", "10.1.0.0/-1", "10.1.0.0/016", "10.1.0.1/16", "0.0.0.0/0",
		"10.0.0.0/7", "::/0", "8000::/1", "10.1.0.0/16:", "10.1.0.0/16:0", "10.1.0.0/16:5-4", "10.1.0.0/16:1-65536",
		"10.1.0.0/16:1-2-3", "10.1.0.0/16:+1", "10.1.0.0/16: 1", " 10.1.0.0/16", "fe80::1%eth0/128", "fe80::1%eth0",
		"::ffff:10.0.0.1/128", "example.org/32", strings.Repeat("1", 1000),
	} {
		r, err := ParsePeerRule(bad)
		if err == nil {
			t.Errorf("%q was read as %s", bad, r)
		} else if len(err.Error()) > 300 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: the error is no short line: %s", bad, err)
		}
	}
}

func FuzzParsePeerRule(f *testing.F) {
	for _, seed := range []string{"10.1.0.0/16", "127.0.0.1/32:49152-65535", "fd00::/8:1-2", "::1", "10.1.0.0/16:", "%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParsePeerRule(s)
		if err != nil {
			return
		}
		again, err := ParsePeerRule(r.String())
		if err != nil || again != r {
			t.Fatalf("%q became %s and then %v, %v", s, r, again, err)
		}
	})
}

// What is inside an embedded form must never be reachable when it is not reachable by itself.
func FuzzDecide(f *testing.F) {
	f.Add([]byte(netip.MustParseAddr("64:ff9b::10.0.0.1").AsSlice()), uint16(50000))
	f.Add([]byte(netip.MustParseAddr("2002:a00:1::").AsSlice()), uint16(53))
	f.Add([]byte{10, 0, 0, 1}, uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, port uint16) {
		addr, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		r := defaultRules(t)
		v := r.decide(netip.AddrPortFrom(addr, port), false)
		if inner, carries := r.embedded(addr); carries && v.ok() {
			t.Fatalf("%s carries %s and is %s", addr, inner, v)
		}
		if v.ok() && (addr.IsPrivate() || addr.IsLoopback() || addr.IsMulticast() || addr.IsLinkLocalUnicast() || addr.IsUnspecified()) {
			t.Fatalf("%s is %s", addr, v)
		}
	})
}
