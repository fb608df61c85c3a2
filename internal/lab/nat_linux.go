package lab

import (
	"fmt"
	"net/netip"
	"strings"
)

// Kind is how a router treats what passes it, in the words of RFC 4787.
type Kind uint8

const (
	// FullCone maps independent of the endpoint and lets everybody in whom the mapping is
	// known to; it hairpins (RFC 4787, REQ-9).
	FullCone Kind = iota
	// PortRestricted maps independent of the endpoint and lets in who was sent to, address and
	// port.
	PortRestricted
	// Symmetric gives every destination a mapping of its own and lets in who was sent to.
	Symmetric
	// UDPBlocked lets TCP out and nothing else.
	UDPBlocked
	// IPv6Only has no IPv4 and no translation: a firewall that lets in who was sent to.
	IPv6Only
)

func (k Kind) String() string {
	return [...]string{"full cone", "port-restricted", "symmetric", "UDP blocked", "IPv6 only"}[k]
}

// Behind makes a private network behind a router of the given kind, which is a host of n.
func (n *Net) Behind(kind Kind) *Net {
	n.l.t.Helper()
	return n.behind(kind, "192.168.%d.0/24")
}

func (n *Net) behind(kind Kind, range4 string) *Net {
	n.l.t.Helper()
	n.l.mu.Lock()
	n.l.lans++
	k := n.l.lans
	n.l.mu.Unlock()
	if k > 250 {
		n.l.t.Fatal("a lab has room for 250 private networks")
	}
	s, err := n.l.space(fmt.Sprintf("router %d", k))
	n.l.must(err)
	var p4, p6 netip.Prefix
	if kind == IPv6Only {
		p6 = netip.MustParsePrefix(fmt.Sprintf("2a00:aa00:0:%x::/64", k))
	} else {
		p4 = netip.MustParsePrefix(fmt.Sprintf(range4, k))
	}
	lan, err := n.l.newNet(s, p4, p6)
	n.l.must(err)
	lan.kind, lan.up = kind, n
	v4, v6, err := n.attach(s, "wan", families{four: kind != IPv6Only, six: kind == IPv6Only})
	n.l.must(err)
	lan.wan = v4
	if kind == IPv6Only {
		lan.wan = v6
		n.l.must(n.router.ip(fmt.Sprintf("route add %s via %s", p6, v6)))
	}
	n.l.must(s.tool(lan.rules(), "nft", "-f", "-"))
	return lan
}

// rules are the router's, in the language of nft(8). "lan" is the bridge, "wan" the way out.
// Masquerading keeps the port of the inner host where it is free, which makes the mapping
// independent of the endpoint.
func (n *Net) rules() string {
	const closed = `iifname "wan" ct state new drop`
	nat := func(how string) string {
		return `chain out { type nat hook postrouting priority srcnat; oifname "wan" ` + how + "; }\n"
	}
	filter := func(forward ...string) string {
		return "chain pass { type filter hook forward priority filter; " + strings.Join(forward, "; ") + "; }\n" +
			`chain self { type filter hook input priority filter; iifname "wan" ct state new meta l4proto { tcp, udp } drop; }` + "\n"
	}
	switch n.kind {
	case FullCone:
		// Each port that somebody inside sends from is remembered with its owner, and what comes
		// to it from anywhere, from inside as well, is the owner's. That rests on the masquerade
		// keeping the port, which it does while two hosts do not use the same.
		return `table ip lab {
map owners { type inet_service : ipv4_addr . inet_service; flags dynamic, timeout; timeout 10m; }
chain come { type nat hook prerouting priority dstnat; ` + fmt.Sprintf("ip daddr %s dnat to udp dport map @owners; }\n", n.wan) +
			fmt.Sprintf(`chain out { type nat hook postrouting priority srcnat; oifname "wan" masquerade; ip saddr %s oifname "lan" ct status dnat snat to %s; }`+"\n", n.p4, n.wan) +
			filter(`iifname "lan" meta l4proto udp update @owners { udp sport : ip saddr . udp sport }`, `iifname "wan" ct status dnat accept`, closed) + "}\n"
	case PortRestricted:
		return "table ip lab {\n" + nat("masquerade") + filter(closed) + "}\n"
	case Symmetric:
		return "table ip lab {\n" + nat("masquerade fully-random") + filter(closed) + "}\n"
	case UDPBlocked:
		return "table ip lab {\n" + nat("masquerade") + filter(`oifname "wan" meta l4proto != tcp drop`, closed) + "}\n"
	case IPv6Only:
		// Neighbour discovery is no connection, and must pass.
		return "table ip6 lab {\n" + filter(`meta l4proto { tcp, udp } iifname "wan" ct state new drop`) + "}\n"
	}
	panic("unknown kind")
}

// Kind is how the network's router treats what passes it.
func (n *Net) Kind() Kind { return n.kind }

// Wan is the address that the network shows outside.
func (n *Net) Wan() netip.Addr { return n.wan }

// Router is the router as a host: for captures, and for what only it can do.
func (n *Net) Router() *Host { return &Host{space: n.router, l: n.l, v4: n.wan} }

// Rebind makes the router forget every mapping, and gives it another outer address, as a
// line that was cut and came back. What is sent from inside after it comes from elsewhere.
func (n *Net) Rebind() {
	n.l.t.Helper()
	if n.kind == IPv6Only {
		n.l.t.Fatal("a network without translation has no mappings")
	}
	n.up.mu.Lock()
	old := n.wan
	n.wan, _ = n.up.nextLocked(families{four: true})
	bits, gate := n.up.p4.Bits(), n.up.p4.Addr().Next()
	n.up.mu.Unlock()
	n.l.must(n.router.ip(
		fmt.Sprintf("addr del %s/%d dev wan", old, bits),
		fmt.Sprintf("addr add %s/%d dev wan", n.wan, bits),
		fmt.Sprintf("route replace default via %s", gate),
	))
	n.l.must(n.router.tool("flush ruleset\n"+n.rules(), "nft", "-f", "-"))
	n.l.must(n.router.tool("", "conntrack", "-F"))
}

// Forget makes the router forget every mapping, as one that was switched off and on. Its rules
// and addresses stay.
func (n *Net) Forget() {
	n.l.t.Helper()
	n.l.must(n.router.tool("", "conntrack", "-F"))
}

// Close ends the network's router. Its hosts stay and reach nobody any more.
func (n *Net) Close() { n.router.close() }
