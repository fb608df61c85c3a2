package testnet

import (
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/marcopolo/simnet"
	"github.com/quic-go/quic-go"
	"go.uber.org/fx"
)

// packets is the network between nodes: datagrams that are lost, doubled, late, and overtake
// each other.
type packets struct {
	net *simnet.Simnet
	tap func(from, to string, b []byte)

	mu    sync.Mutex // guards all below
	rng   *rand.Rand
	names map[string]string // by IP address
	cuts  map[direction]int
	dead  map[string]bool // without power: sends nothing and gets nothing
	moods map[direction]mood
	base  map[direction]time.Duration

	dropped, doubled, delayed, sent int
}

// mood is how one direction between two nodes is at the moment.
type mood struct {
	loss, double float64
	jitter       time.Duration
}

func newPackets(rng *rand.Rand) *packets {
	p := &packets{rng: rng, names: map[string]string{}, cuts: map[direction]int{}, dead: map[string]bool{},
		moods: map[direction]mood{}, base: map[direction]time.Duration{}}
	p.net = &simnet.Simnet{Logger: slog.New(slog.DiscardHandler), LatencyFunc: p.latency}
	p.net.Start()
	return p
}

func (p *packets) nameOf(a net.Addr) string {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return a.String()
	}
	return p.names[u.IP.String()]
}

// latency is asked once for each packet that goes on the way.
func (p *packets) latency(packet *simnet.Packet) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := direction{p.nameOf(packet.From), p.nameOf(packet.To)}
	base, ok := p.base[d]
	if !ok {
		base = time.Duration(1+p.rng.IntN(40)) * time.Millisecond
		p.base[d] = base
	}
	if m := p.moods[d]; m.jitter > 0 {
		p.delayed++
		base += time.Duration(p.rng.Int64N(int64(m.jitter)))
	}
	return base
}

// copies says how often a packet arrives.
func (p *packets) copies(from, to net.Addr) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent++
	d := direction{p.nameOf(from), p.nameOf(to)}
	m := p.moods[d]
	switch {
	case p.dead[d.from] || p.dead[d.to] || p.cuts[d] > 0, m.loss > 0 && p.rng.Float64() < m.loss:
		p.dropped++
		return 0
	case m.double > 0 && p.rng.Float64() < m.double:
		p.doubled++
		return 2
	}
	return 1
}

func (p *packets) cut(from, to string, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if on {
		p.cuts[direction{from, to}]++
	} else {
		p.cuts[direction{from, to}]--
	}
}

func (p *packets) setMood(from, to string, m mood) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moods[direction{from, to}] = m
}

func (p *packets) setDead(name string, dead bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead[name] = dead
}

// transports are libp2p's options for a node on this network. It is what simlibp2p makes,
// with an endpoint that may lose and double.
func (p *packets) transports() []libp2p.Option {
	var self source
	return []libp2p.Option{
		libp2p.Transport(libp2pquic.NewTransport),
		libp2p.QUICReuse(func(l fx.Lifecycle, reset quic.StatelessResetKey, token quic.TokenGeneratorKey, opts ...quicreuse.Option) (*quicreuse.ConnManager, error) {
			m, err := quicreuse.NewConnManager(reset, token, opts...)
			if err != nil {
				return nil, err
			}
			l.Append(fx.StopHook(func() error { return m.Close() }))
			return m, nil
		},
			quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) { return &self, nil }),
			quicreuse.OverrideListenUDP(func(_ string, a *net.UDPAddr) (net.PacketConn, error) {
				self.set(a.IP)
				link := simnet.LinkSettings{BitsPerSecond: 1_000_000_000}
				return &endpoint{p.net.NewEndpoint(a, simnet.NodeBiDiLinkSettings{Downlink: link, Uplink: link}), p}, nil
			})),
	}
}

type source struct {
	mu sync.Mutex
	ip net.IP
}

func (s *source) set(ip net.IP) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ip = ip
}

func (s *source) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ip, nil
}

type endpoint struct {
	*simnet.SimConn
	p *packets
}

func (e *endpoint) WriteTo(b []byte, to net.Addr) (int, error) {
	e.p.mu.Lock()
	from, dest := e.p.nameOf(e.UnicastAddr()), e.p.nameOf(to)
	e.p.mu.Unlock()
	if e.p.tap != nil {
		e.p.tap(from, dest, b)
	}
	for range e.p.copies(e.UnicastAddr(), to) {
		if n, err := e.SimConn.WriteTo(b, to); err != nil {
			return n, err
		}
	}
	return len(b), nil
}
