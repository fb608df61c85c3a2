package turn

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Where the peer rules come from while the server runs: the configuration, this machine's addresses, and the node's
// listeners. What they say is in peers.go.

// Reload replaces the peer rules. Permissions and channels that they no longer allow are gone when it returns.
func (s *Server) Reload(allow []PeerRule) error {
	for _, rule := range allow {
		if err := rule.check(); err != nil {
			return err
		}
	}
	local, err := s.interfaces()
	if err != nil {
		return fmt.Errorf("read this machine's addresses: %w", err)
	}
	s.reload.Lock()
	defer s.reload.Unlock()
	s.rules.Store(s.buildRules(slices.Clone(allow), local))
	s.reviewAll(s.now(), true)
	return nil
}

func (s *Server) buildRules(allow []PeerRule, local []netip.Addr) *peerRules {
	r := &peerRules{
		allow: allow, denyPorts: s.denyPorts, nat64: s.nat64,
		own: map[netip.Addr]bool{}, ownPorts: map[uint16]bool{s.addr.Port(): true},
	}
	own := func(addr netip.Addr) {
		if addr = addr.Unmap().WithZone(""); addr.IsValid() && !addr.IsUnspecified() {
			r.own[addr] = true
		}
	}
	for _, addr := range local {
		own(addr)
	}
	for _, addr := range []netip.Addr{s.external4, s.external6, s.addr.Addr()} {
		own(addr)
	}
	for _, at := range s.ownAddrs() {
		own(at.Addr())
		r.ownPorts[at.Port()] = true
	}
	return r
}

// refreshRules follows interface addresses and listeners that came or went.
func (s *Server) refreshRules(now time.Time) {
	local, err := s.interfaces()
	if err != nil {
		s.log.Warn("turn: this machine's addresses cannot be read; the last known ones stay denied")
		return
	}
	s.reload.Lock()
	defer s.reload.Unlock()
	old := s.rules.Load()
	next := s.buildRules(old.allow, local)
	if !maps.Equal(old.own, next.own) || !maps.Equal(old.ownPorts, next.ownPorts) {
		s.rules.Store(next)
		s.reviewAll(now, false)
	}
}

func (s *Server) reviewAll(now time.Time, reloaded bool) {
	for _, a := range s.allocations() {
		a.review(now, reloaded)
	}
}
