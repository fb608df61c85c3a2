package rtc

import (
	"fmt"
	"net/netip"

	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/client/rtc/pb"
)

// legs are the words for one end of the path.
var legs = map[pb.LegKind]string{
	pb.LegKind_LEG_LAN:       "lan",
	pb.LegKind_LEG_DIRECT:    "direct",
	pb.LegKind_LEG_RELAY_UDP: "relay/udp",
	pb.LegKind_LEG_RELAY_TCP: "relay/tcp",
	pb.LegKind_LEG_RELAY_TLS: "relay/tls",
}

// Route is the way that packets take now.
func (p *Peer) Route() Route {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.route
}

// updateRoute reads the selected pair and, once bound, tells the other side about this end. It
// runs on the Peer's goroutine.
func (p *Peer) updateRoute() {
	ice := p.pc.SCTP().Transport().ICETransport()
	pair, err := ice.GetSelectedCandidatePair()
	if err != nil || pair == nil {
		return
	}
	kind := p.localLeg(ice, pair)
	if kind == pb.LegKind_LEG_UNSPECIFIED {
		return
	}
	p.changeRoute(func(r *Route) {
		r.Local = legs[kind]
		r.Path = r.Local
		if p.remoteRelayed(pair) && kind < pb.LegKind_LEG_RELAY_UDP {
			// The other side's relay carries it; over what it reaches that, only it knows.
			r.Path = r.Remote
			if len(r.Path) < len("relay/") {
				r.Path = legs[pb.LegKind_LEG_RELAY_UDP]
			}
		}
	})
	if p.binding.ready {
		p.tell(&pb.Control{Kind: &pb.Control_Leg{Leg: &pb.Leg{Kind: kind}}})
	}
}

// peerLeg is what the other side says of its end.
func (p *Peer) peerLeg(kind pb.LegKind) error {
	word, ok := legs[kind]
	if !ok {
		return fmt.Errorf("%w: leg", ErrControl)
	}
	p.changeRoute(func(r *Route) {
		r.Remote = word
		if kind >= pb.LegKind_LEG_RELAY_UDP && (r.Local == "lan" || r.Local == "direct") {
			r.Path = word
		}
	})
	return nil
}

func (p *Peer) changeRoute(change func(*Route)) {
	p.mu.Lock()
	old := p.route
	change(&p.route)
	now := p.route
	p.mu.Unlock()
	if now != old && p.cfg.OnRoute != nil {
		p.cfg.OnRoute(now)
	}
}

func (p *Peer) localLeg(ice *webrtc.ICETransport, pair *webrtc.ICECandidatePair) pb.LegKind {
	if pair.Local.Typ != webrtc.ICECandidateTypeRelay {
		if p.remoteRelayed(pair) {
			return pb.LegKind_LEG_DIRECT
		}
		if pair.Local.Typ == webrtc.ICECandidateTypeHost && near(pair.Remote.Address) && near(pair.Local.Address) {
			return pb.LegKind_LEG_LAN
		}
		return pb.LegKind_LEG_DIRECT
	}
	// The candidate itself does not say how the relay is reached; the statistics do.
	stats, ok := ice.GetSelectedCandidatePairStats()
	if !ok {
		return pb.LegKind_LEG_UNSPECIFIED
	}
	local, ok := p.pc.GetStats()[stats.LocalCandidateID].(webrtc.ICECandidateStats)
	if !ok {
		return pb.LegKind_LEG_UNSPECIFIED
	}
	switch local.RelayProtocol {
	case "tcp":
		return pb.LegKind_LEG_RELAY_TCP
	case "tls", "dtls":
		return pb.LegKind_LEG_RELAY_TLS
	}
	return pb.LegKind_LEG_RELAY_UDP
}

func (p *Peer) remoteRelayed(pair *webrtc.ICECandidatePair) bool {
	return pair.Remote.Typ == webrtc.ICECandidateTypeRelay
}

// near reports whether the address is of a local network.
func near(address string) bool {
	a, err := netip.ParseAddr(address)
	return err == nil && (a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast())
}
