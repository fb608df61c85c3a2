package federation

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/x/rate"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/trunkline-net/trunkline/federation/proof"
	"github.com/trunkline-net/trunkline/identity"
)

// newHost makes the libp2p host: TCP (Noise or TLS) and QUIC and nothing else. No relay, no
// hole punching, no AutoNAT, no mDNS, no ping service, no metrics, and no address in
// identify: addresses travel in the signed domain document.
func newHost(f *Federation) (host.Host, error) {
	key, err := crypto.UnmarshalEd25519PrivateKey(f.cfg.HostKey)
	if err != nil {
		return nil, err
	}
	limits, err := newResources(f)
	if err != nil {
		return nil, err
	}
	conns, err := connmgr.NewConnManager(f.cfg.MaxPeers, 2*f.cfg.MaxPeers, connmgr.WithGracePeriod(20*time.Second))
	if err != nil {
		return nil, err
	}
	transports := f.cfg.Transports
	if transports == nil {
		transports = []libp2p.Option{
			// With SO_REUSEPORT two nodes would share a port and each get half of the callers.
			libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
			libp2p.Transport(libp2pquic.NewTransport),
		}
	}
	opts := append([]libp2p.Option{
		libp2p.NoTransports,
		libp2p.Identity(key),
		libp2p.ListenAddrs(f.listen...),
		// TLS before Noise: its key exchange is hybrid (X25519 and ML-KEM-768), so that who
		// records a link today cannot read it with a quantum computer later, and where the
		// processor has AES it costs a fifth of ChaCha20.
		libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.Security(noise.ID, noise.New),
		libp2p.SwarmOpts(swarm.WithDialRanker(rankAddrs)),
		libp2p.ResourceManager(limits),
		libp2p.ConnectionManager(conns),
		libp2p.ConnectionGater(&gater{f}),
		libp2p.AddrsFactory(func([]ma.Multiaddr) []ma.Multiaddr { return f.announce }),
		libp2p.NonPublicAddrPublishing(false),
		libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.DisableRelay(),
		libp2p.ForceReachabilityPublic(), // a fixed answer: AutoNAT then asks nobody
		libp2p.Ping(false),
		libp2p.DisableMetrics(),
		libp2p.UserAgent("trunkline"),
		libp2p.ProtocolVersion("trunkline/1"),
		libp2p.WithDialTimeout(10 * time.Second),
		// A node whose few partners are away would take its own UDP for broken.
		libp2p.UDPBlackHoleSuccessCounter(nil),
		libp2p.IPv6BlackHoleSuccessCounter(nil),
	}, transports...)
	h, err := libp2p.New(opts...)
	if err != nil {
		return nil, err
	}
	// Listening succeeds in libp2p when one of the addresses does; an administrator who named
	// two wants two.
	if got := len(h.Network().ListenAddresses()); got < len(f.listen) {
		h.Close()
		return nil, fmt.Errorf("only %d of %d federation addresses could be listened on: is another program using a port?", got, len(f.listen))
	}
	return h, nil
}

// newResources sizes libp2p's resource manager for this node. Its defaults let 8 connections
// in from one address and one more every five seconds, which breaks a partner behind one
// NAT, and except loopback, so that tests do not see it; here loopback is like any address.
func newResources(f *Federation) (network.ResourceManager, error) {
	n := f.cfg.MaxPeers
	some := func(conns, streams int, memory int64) rcmgr.ResourceLimits {
		return rcmgr.ResourceLimits{
			Conns: rcmgr.LimitVal(conns), ConnsInbound: rcmgr.LimitVal(conns), ConnsOutbound: rcmgr.LimitVal(conns),
			Streams: rcmgr.LimitVal(streams), StreamsInbound: rcmgr.LimitVal(streams), StreamsOutbound: rcmgr.LimitVal(streams),
			FD: rcmgr.LimitVal(conns), Memory: rcmgr.LimitVal64(memory),
		}
	}
	partial := rcmgr.PartialLimitConfig{
		// Two connections and eight streams of each peer, and as much again while they change.
		System:              some(4*n+128, 16*n+512, 256<<20+int64(n)*(4<<20)),
		Transient:           some(128+n/2, 256+n, 64<<20+int64(n)*(128<<10)),
		ServiceDefault:      some(4*n+128, 16*n+512, 64<<20+int64(n)*(1<<20)),
		ServicePeerDefault:  some(8, 32, 16<<20),
		ProtocolDefault:     some(4*n+128, 16*n+512, 256<<20+int64(n)*(4<<20)),
		ProtocolPeerDefault: some(16, 32, 64<<20),
		PeerDefault:         some(4, 16, 16<<20), // a stranger
		Conn:                some(1, 64, 32<<20),
		Stream:              some(1, 1, 16<<20),
	}
	// Build fills what is not set from a default; everything is set.
	limiter := &limiter{Limiter: rcmgr.NewFixedLimiter(partial.Build(rcmgr.ConcreteLimitConfig{})), f: f}
	subnets := func(prefixes ...int) (conns []rcmgr.ConnLimitPerSubnet, rates []rate.SubnetLimit) {
		for i, p := range prefixes {
			conns = append(conns, rcmgr.ConnLimitPerSubnet{PrefixLength: p, ConnCount: 64 << (3 * i)})
			rates = append(rates, rate.SubnetLimit{PrefixLength: p, Limit: rate.Limit{RPS: 5 * float64(int(1)<<(3*i)), Burst: 64 << (3 * i)}})
		}
		return conns, rates
	}
	conns4, rates4 := subnets(32)
	conns6, rates6 := subnets(64, 48)
	return rcmgr.NewResourceManager(limiter,
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(conns4, conns6),
		rcmgr.WithNetworkPrefixLimit([]rcmgr.NetworkPrefixLimit{}, []rcmgr.NetworkPrefixLimit{}),
		rcmgr.WithConnRateLimiters(&rate.Limiter{SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: rates4, IPv6SubnetLimits: rates6, GracePeriod: time.Minute}}),
	)
}

// limiter gives peers with a link more room than strangers.
type limiter struct {
	rcmgr.Limiter
	f *Federation
}

var federated = rcmgr.BaseLimit{
	Conns: 8, ConnsInbound: 8, ConnsOutbound: 8, Streams: 64, StreamsInbound: 64, StreamsOutbound: 64, FD: 8, Memory: 64 << 20,
}

func (l *limiter) GetPeerLimits(p peer.ID) rcmgr.Limit {
	if id, ok := peerIDOf(p); ok && l.f.lookup(id) != nil {
		return &federated
	}
	return l.Limiter.GetPeerLimits(p)
}

// peerIDOf is the checked form of a libp2p peer id. RSA and other keys have none.
func peerIDOf(p peer.ID) (identity.PeerID, bool) {
	id, err := identity.PeerIDFromBytes([]byte(p))
	return id, err == nil
}

// gater says which connections may be.
type gater struct{ f *Federation }

// InterceptPeerDial lets only our own dials out: libp2p has no business of its own.
func (g *gater) InterceptPeerDial(p peer.ID) bool {
	id, ok := peerIDOf(p)
	return ok && g.f.lookup(id) != nil
}

// InterceptAddrDial keeps a stranger's document from sending this node to its own network.
// Partners may well share one, so for them every address is good.
func (g *gater) InterceptAddrDial(p peer.ID, a ma.Multiaddr) bool {
	id, ok := peerIDOf(p)
	if !ok {
		return false
	}
	return g.f.trusted(id) || publicAddr(a)
}

func (g *gater) InterceptAccept(network.ConnMultiaddrs) bool { return true }

// InterceptSecured refuses every key but Ed25519: a peer id here is the key itself.
func (g *gater) InterceptSecured(_ network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	if _, ok := peerIDOf(p); !ok {
		g.f.refusals.add(g.f.cfg.Now(), "", "key_type", "")
		return false
	}
	return true
}

func (g *gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// publicAddr says whether a multiaddress leads to a public IP address. A name is resolved
// before it gets here.
func publicAddr(a ma.Multiaddr) bool {
	ip, err := manet.ToIP(a)
	if err != nil {
		return false
	}
	addr, ok := netip.AddrFromSlice(ip)
	return ok && proof.Public(addr)
}

// quicDelay is how long a dial over TCP is alone.
const quicDelay = 250 * time.Millisecond

// rankAddrs dials TCP first and QUIC when that takes too long, the other way round than
// libp2p. Between two nodes there is one connection for days: that QUIC shakes hands in one
// round trip less is nothing to it, and that each packet is encrypted and handed to the
// kernel by itself is more than twice the processor time of a frame.
func rankAddrs(addrs []ma.Multiaddr) []network.AddrDelay {
	var tcp, other []ma.Multiaddr
	for _, a := range addrs {
		if _, err := a.ValueForProtocol(ma.P_TCP); err == nil {
			tcp = append(tcp, a)
		} else {
			other = append(other, a)
		}
	}
	first, second := swarm.DefaultDialRanker(tcp), swarm.DefaultDialRanker(other)
	var last time.Duration
	for _, d := range first {
		last = max(last, d.Delay+quicDelay)
	}
	for i := range second {
		second[i].Delay += last
	}
	return append(first, second...)
}

// clearBackoff makes the swarm forget that dials failed: the link has its own, better pauses.
func clearBackoff(h host.Host, p peer.ID) {
	if s, ok := h.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(p)
	}
}
