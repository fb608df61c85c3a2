package turn

import (
	"errors"
	"net"
	"net/netip"
	"slices"
)

func systemInterfaces() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.Addr, 0, len(list))
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				addrs = append(addrs, addr.Unmap())
			}
		}
	}
	return addrs, nil
}

// ResolveExternalIP finds the address to advertise when none was configured ("auto"): the listen address if it is
// a specific one, else the first public address of an interface, else the first private one, else loopback, with
// which only clients on this machine can do anything. Behind a 1:1 NAT the address has to be configured: it cannot
// be learned without asking a foreign server, and none is ever asked.
func ResolveExternalIP(listen netip.Addr, interfaces []netip.Addr, six bool) netip.Addr {
	if listen.IsValid() && !listen.IsUnspecified() {
		if listen.Is6() == six {
			return listen
		}
		return netip.Addr{}
	}
	var private netip.Addr
	for _, addr := range interfaces {
		if addr.Is6() != six || !addr.IsGlobalUnicast() {
			continue
		}
		if (&peerRules{}).decide(netip.AddrPortFrom(addr, 1), false).ok() {
			return addr
		}
		if !private.IsValid() {
			private = addr
		}
	}
	switch {
	case six: // a unique local address is of no use to a peer outside, and its IPv4 sibling serves those inside
		return netip.Addr{}
	case private.IsValid():
		return private
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// choose settles the advertised addresses, and the local ones that relay sockets are bound to.
func (s *Server) choose(c Config, local []netip.Addr) error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return err
	}
	listen := netip.IPv6Unspecified() // an empty host listens on both families
	if host != "" {
		if listen, err = netip.ParseAddr(host); err != nil {
			return err
		}
		listen = listen.Unmap().WithZone("")
	}
	external := c.ExternalIP.Unmap()
	switch {
	case external.Is4():
		s.external4, s.external6 = external, c.ExternalIP6
	case external.Is6():
		s.external6 = external
	default:
		s.external4 = ResolveExternalIP(listen, local, false)
		if s.external4.IsLoopback() && listen.IsUnspecified() {
			s.log.Warn("turn: no interface has an address, so calls are relayed on this machine only; set external_ip")
		}
		s.external6 = c.ExternalIP6
		if !s.external6.IsValid() && listen.Is6() {
			s.external6 = ResolveExternalIP(listen, local, true)
		}
	}
	if s.external4.IsUnspecified() || s.external6.IsUnspecified() || (!s.external4.IsValid() && !s.external6.IsValid()) {
		return errors.New("turn: no address to advertise; set external_ip")
	}
	bind := func(advertised, wildcard netip.Addr) netip.Addr {
		switch {
		case slices.Contains(local, advertised), advertised.IsLoopback():
			return advertised
		case !listen.IsUnspecified() && listen.Is4() == wildcard.Is4():
			return listen
		}
		return wildcard
	}
	s.bind4 = bind(s.external4, netip.IPv4Unspecified())
	s.bind6 = bind(s.external6, netip.IPv6Unspecified())
	return nil
}
