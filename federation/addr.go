package federation

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/trunkline-net/trunkline/identity"
)

// parseAddrs reads configured addresses: a multiaddress as it is, host:port as TCP and QUIC.
func parseAddrs(in []string, names bool) ([]ma.Multiaddr, error) {
	var out []ma.Multiaddr
	for _, s := range in {
		texts := []string{s}
		if !strings.HasPrefix(s, "/") {
			host, port, err := net.SplitHostPort(s)
			if err != nil {
				return nil, fmt.Errorf("address %q: host:port or a multiaddress: %w", s, err)
			}
			if n, err := strconv.ParseUint(port, 10, 16); err != nil {
				return nil, fmt.Errorf("address %q: port %q: 0 to 65535", s, port)
			} else if names && n == 0 {
				return nil, fmt.Errorf("address %q: a port to be reached at cannot be 0", s)
			}
			proto := "dns"
			if host == "" && !names {
				host = "0.0.0.0"
			}
			if ip, err := netip.ParseAddr(host); err == nil {
				proto = "ip4"
				if ip.Is6() {
					proto = "ip6"
				}
			} else if !names {
				return nil, fmt.Errorf("address %q: listen on an IP address", s)
			} else if err := identity.CheckDomain(host); err != nil {
				return nil, fmt.Errorf("address %q: %w", s, err)
			}
			texts = []string{
				fmt.Sprintf("/%s/%s/tcp/%s", proto, host, port),
				fmt.Sprintf("/%s/%s/udp/%s/quic-v1", proto, host, port),
			}
		}
		for _, text := range texts {
			a, err := ma.NewMultiaddr(text)
			if err != nil {
				return nil, fmt.Errorf("address %q: %w", s, err)
			}
			if !ours(a) {
				return nil, fmt.Errorf("address %q: /…/tcp/PORT or /…/udp/PORT/quic-v1", s)
			}
			out = append(out, a)
		}
	}
	return out, nil
}

// ours says whether a is of a transport that this host speaks.
func ours(a ma.Multiaddr) bool {
	var names []string
	for _, c := range a {
		names = append(names, c.Protocol().Name)
	}
	switch strings.Join(names, "/") {
	case "ip4/tcp", "ip6/tcp", "dns/tcp", "dns4/tcp", "dns6/tcp",
		"ip4/udp/quic-v1", "ip6/udp/quic-v1", "dns/udp/quic-v1", "dns4/udp/quic-v1", "dns6/udp/quic-v1":
		return true
	}
	return false
}

// dialable reads the addresses of a document and leaves out what this host does not speak.
func dialable(in []string) []ma.Multiaddr {
	var out []ma.Multiaddr
	for _, s := range in {
		if a, err := ma.NewMultiaddr(s); err == nil && ours(a) {
			out = append(out, a)
		}
	}
	return out
}

// reachable are the addresses for the domain document where none are announced: what is
// listened on, with a wildcard replaced by the machine's addresses, without loopback unless
// that is all there is. Their order says nothing and is always the same: libp2p's is not, and
// another order would be another document.
func reachable(addrs []ma.Multiaddr) []string {
	addrs = slices.SortedFunc(slices.Values(addrs), func(a, b ma.Multiaddr) int { return cmp.Compare(a.String(), b.String()) })
	var all, notLoopback []string
	for _, a := range addrs {
		all = append(all, a.String())
		if !manet.IsIPLoopback(a) && !manet.IsIP6LinkLocal(a) {
			notLoopback = append(notLoopback, a.String())
		}
	}
	if len(notLoopback) > 0 {
		return notLoopback
	}
	return all
}
