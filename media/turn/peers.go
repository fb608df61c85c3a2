package turn

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Which peer address may a client reach through this relay? A TURN server that answers "any" is an open proxy into
// its own machine, its LAN and its cloud's metadata service. The default is: public unicast addresses only. All of
// it is decided here, by one pure function, (*peerRules).decide, from one immutable value.

// PeerRule opens a range of addresses that is closed by default, for example "10.1.0.0/16" or
// "127.0.0.1/32:49152-65535". A rule without ports opens every port but the denied ones.
type PeerRule struct {
	Prefix           netip.Prefix
	PortMin, PortMax uint16 // inclusive; both zero: no range was named
}

// The widest prefixes a rule may name. One size shorter and a slip of the pen opens the whole address space.
const (
	minRuleBits4 = 8
	minRuleBits6 = 7 // fc00::/7
	maxRuleText  = 64
)

// ParsePeerRule reads PREFIX or PREFIX:PORT or PREFIX:MIN-MAX. A bare address is one host.
func ParsePeerRule(s string) (PeerRule, error) {
	bad := func(why string) (PeerRule, error) {
		return PeerRule{}, fmt.Errorf("allow_peers %q: %s; write for example 10.1.0.0/16 or 127.0.0.1/32:49152-65535", clip(s), why)
	}
	if len(s) > maxRuleText {
		return bad("too long")
	}
	var r PeerRule
	text, bits, hasBits := strings.Cut(s, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return bad("no IP address")
	}
	if addr.Is4In6() {
		return bad("an IPv4 address in IPv6 form; write the IPv4 address")
	}
	if !hasBits {
		r.Prefix = netip.PrefixFrom(addr, addr.BitLen())
		return r, nil
	}
	bits, ports, hasPorts := strings.Cut(bits, ":")
	n, ok := parseDecimal(bits, addr.BitLen())
	if !ok {
		return bad("no prefix length")
	}
	r.Prefix = netip.PrefixFrom(addr, n)
	if r.Prefix != r.Prefix.Masked() {
		return bad("bits are set behind the prefix, did you mean " + r.Prefix.Masked().String() + "?")
	}
	if (addr.Is4() && n < minRuleBits4) || (addr.Is6() && n < minRuleBits6) {
		return bad("the range is so wide that the relay would be an open proxy")
	}
	if !hasPorts {
		return r, nil
	}
	low, high, ranged := strings.Cut(ports, "-")
	if !ranged {
		high = low
	}
	lo, okLow := parseDecimal(low, 65535)
	hi, okHigh := parseDecimal(high, 65535)
	if !okLow || !okHigh || lo == 0 || hi < lo {
		return bad("no port range between 1 and 65535")
	}
	r.PortMin, r.PortMax = uint16(lo), uint16(hi)
	return r, nil
}

// parseDecimal reads one canonical decimal number: digits only, no leading zero, no sign.
func parseDecimal(s string, limit int) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0 && n <= limit && strconv.Itoa(n) == s
}

func clip(s string) string {
	if len(s) > maxRuleText {
		return s[:maxRuleText] + "…"
	}
	return s
}

// String is the text ParsePeerRule reads.
func (r PeerRule) String() string {
	switch {
	case r.PortMin == 0 && r.PortMax == 0:
		return r.Prefix.String()
	case r.PortMin == r.PortMax:
		return fmt.Sprintf("%s:%d", r.Prefix, r.PortMin)
	}
	return fmt.Sprintf("%s:%d-%d", r.Prefix, r.PortMin, r.PortMax)
}

func (r PeerRule) check() error {
	if _, err := ParsePeerRule(r.String()); err != nil {
		return err
	}
	return nil
}

func (r PeerRule) namesPorts() bool { return r.PortMin != 0 }
func (r PeerRule) oneHost() bool    { return r.Prefix.IsSingleIP() }

func (r PeerRule) covers(peer netip.AddrPort) bool {
	return r.Prefix.Contains(peer.Addr()) && (!r.namesPorts() || (peer.Port() >= r.PortMin && peer.Port() <= r.PortMax))
}

// verdict is the answer about one peer address, and the reason that is counted.
type verdict uint8

const (
	peerAllowed    verdict = iota
	peerInternal           // a live allocation of this relay: joined inside the process, no socket
	peerPort               // port 0, or a port whose services amplify
	peerNever              // unspecified, multicast, broadcast, reserved, IPv4-mapped: no rule opens these
	peerListener           // one of the node's own listeners: no rule opens these
	peerMetadata           // a cloud's metadata service
	peerOwnAddress         // this machine, or the relay address without a live allocation
	peerTransition         // an IPv6 form that carries an IPv4 address
	peerSpecial            // private, shared, link-local, documentation, benchmarking, not global
	verdictCount
)

var verdictNames = [verdictCount]string{
	"allowed", "internal", "port", "never", "own-listener", "metadata", "own-address", "transition", "special",
}

func (v verdict) String() string { return verdictNames[v] }
func (v verdict) ok() bool       { return v == peerAllowed || v == peerInternal }

// peerRules is everything the decision depends on besides the peer itself. It is never changed: a reload or a new
// interface address makes a new one and swaps it.
type peerRules struct {
	allow     []PeerRule
	denyPorts map[uint16]bool
	own       map[netip.Addr]bool // interface addresses, listen addresses, advertised relay addresses
	ownPorts  map[uint16]bool     // of the node's listeners, whatever address they are bound to
	nat64     []netip.Prefix      // the local network's own NAT64 prefixes (RFC 6052)
}

// decide says whether a client may reach peer. live says that the peer is the relayed address of a live allocation
// of this very relay; the caller looks that up.
func (r *peerRules) decide(peer netip.AddrPort, live bool) verdict {
	addr := peer.Addr()
	if peer.Port() == 0 {
		return peerPort
	}
	if !addr.IsValid() || addr.Zone() != "" || addr.Is4In6() || within(neverRanges, addr) {
		return peerNever
	}
	if live {
		return peerInternal
	}
	local := r.own[addr] || addr.IsLoopback()
	if local && r.ownPorts[peer.Port()] {
		return peerListener
	}

	// An administrator's rule. Naming the port outranks the list of denied ports; naming exactly one host outranks
	// the two classes where a wide rule is more likely a slip than a wish: the metadata services and this machine.
	var oneHost, covered, portNamed bool
	for _, rule := range r.allow {
		if rule.covers(peer) {
			covered = true
			oneHost = oneHost || rule.oneHost()
			portNamed = portNamed || rule.namesPorts()
		}
	}
	if r.denyPorts[peer.Port()] && !portNamed {
		return peerPort
	}
	if oneHost {
		return peerAllowed
	}
	if slices.Contains(metadataAddrs, addr) {
		return peerMetadata
	}
	if local {
		return peerOwnAddress
	}
	if inner, carries := r.embedded(addr); carries {
		// A wide rule opens the outer form; the IPv4 address inside must stand on its own feet.
		if covered && inner.IsValid() && r.decide(netip.AddrPortFrom(inner, peer.Port()), false).ok() {
			return peerAllowed
		}
		return peerTransition
	}
	if covered {
		return peerAllowed
	}
	if within(specialRanges, addr) || (addr.Is6() && !globalUnicast6.Contains(addr)) {
		return peerSpecial
	}
	return peerAllowed
}

// embedded finds an IPv4 address inside an IPv6 one. The second result says that the form carries one; the first is
// invalid where the position cannot be known.
func (r *peerRules) embedded(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() {
		return netip.Addr{}, false
	}
	b := addr.As16()
	last := netip.AddrFrom4([4]byte(b[12:16]))
	for _, prefix := range r.nat64 {
		if prefix.Contains(addr) {
			return rfc6052(b, prefix.Bits()), true
		}
	}
	switch {
	case prefixCompatible.Contains(addr), prefixNAT64.Contains(addr):
		return last, true
	case prefixLocalNAT64.Contains(addr): // RFC 8215: the length of the prefix in use is the network's own affair
		return netip.Addr{}, true
	case prefix6to4.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case prefixTeredo.Contains(addr): // RFC 4380: the client's address, every bit turned over
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), true
	case b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP, RFC 5214 section 6.1
		return last, true
	}
	return netip.Addr{}, false
}

// rfc6052 reads the IPv4 address behind a NAT64 prefix; octet 8 is always skipped (RFC 6052 section 2.2).
func rfc6052(b [16]byte, bits int) netip.Addr {
	var v4 [4]byte
	for i, at := 0, bits/8; i < 4; at++ {
		if at == 8 {
			continue
		}
		if at > 15 {
			return netip.Addr{}
		}
		v4[i] = b[at]
		i++
	}
	return netip.AddrFrom4(v4)
}

func within(ranges []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

// The tables follow the IANA special-purpose address registries (RFC 6890 and its updates). Everything outside
// 2000::/3 is closed without being listed.
var (
	neverRanges = prefixes(
		"0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", // "this network", multicast, reserved with the broadcast address
		"::/128", "ff00::/8",
	)
	specialRanges = prefixes(
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", // private, RFC 1918
		"100.64.0.0/10",                                     // shared, RFC 6598
		"127.0.0.0/8",                                       // loopback
		"169.254.0.0/16",                                    // link-local
		"192.0.0.0/24",                                      // IETF protocol assignments
		"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", // documentation
		"192.88.99.0/24",             // 6to4 relay anycast, withdrawn
		"198.18.0.0/15",              // benchmarking
		"2001::/23",                  // IETF protocol assignments: Teredo, ORCHID, benchmarking
		"2001:db8::/32", "3fff::/20", // documentation
		"2002::/16", // 6to4
		"3ffe::/16", // 6bone, withdrawn
	)
	globalUnicast6 = netip.MustParsePrefix("2000::/3")

	prefixCompatible = netip.MustParsePrefix("::/96")
	prefixNAT64      = netip.MustParsePrefix("64:ff9b::/96")
	prefixLocalNAT64 = netip.MustParsePrefix("64:ff9b:1::/48")
	prefix6to4       = netip.MustParsePrefix("2002::/16")
	prefixTeredo     = netip.MustParsePrefix("2001::/32")

	// Whoever reaches one of these from inside a cloud can often read the machine's own keys. Azure's is a public
	// address, which no range covers.
	metadataAddrs = []netip.Addr{
		netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("169.254.170.2"), netip.MustParseAddr("169.254.169.253"),
		netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("168.63.129.16"), netip.MustParseAddr("192.0.0.192"),
		netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd00:ec2::253"), netip.MustParseAddr("fd20:ce::254"),
		netip.MustParseAddr("fe80::a9fe:a9fe"), netip.MustParseAddr("fd00:42::42"),
	}

	// defaultDenyPorts are UDP services known to answer a small datagram with a large one, and mail. No WebRTC peer
	// listens there on purpose.
	defaultDenyPorts = []uint16{
		7, 13, 17, 19, 25, 53, 69, 111, 123, 137, 138, 161, 389, 427, 520, 1900, 3702, 5353, 11211,
	}
)
