// Package express carries a peer by the shortest way: one reader for the whole port, a table from addresses to peers,
// and SRTP that is opened where it came and sealed into what one system call sends. ICE is the lite half of RFC 8445,
// which only answers; DTLS is pion's and is used for nothing but its keys.
//
// A [Port] is one UDP and TCP port for all peers; [Port.New] makes one peer on it.
package express

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/peer"
	"github.com/trunkline-net/trunkline/media/sfu/udp"
)

// Config of a port.
type Config struct {
	Listen   string       // host:port, for UDP and TCP; port 0 picks one that is free for both
	External []netip.Addr // under which clients reach it; empty: its own
}

// Port is one UDP and one TCP port, of one number, for all peers.
type Port struct {
	cfg         Config
	socket      *udp.Socket
	tcp         net.Listener
	certificate tls.Certificate
	print       string
	firstCheck  time.Duration
	done        chan struct{}
	loops       sync.WaitGroup

	mu      sync.RWMutex // guards all below
	closed  bool
	peers   map[*Transport]struct{}
	users   map[string]*Transport
	addrs   map[netip.AddrPort]*Transport
	streams map[*stream]struct{}

	// Of strangers, who are not told.
	unknown, badChecks, badMedia atomic.Uint64
	// Of clients that take nothing.
	unread atomic.Uint64
}

// Counts are of datagrams, and of what was dropped before anybody could be asked whose it is.
type Counts struct {
	udp.Counts
	Unknown   uint64 // from an address that no check came from, or of no known kind
	BadChecks uint64 // STUN without valid credentials
	BadMedia  uint64 // not authentic, replayed, or beyond what waits for the keys
	Unread    uint64 // for a TCP client that does not read as fast as it is sent to
}

// Listen binds both and starts nothing. The caller closes the port after every peer on it.
func Listen(cfg Config) (*Port, error) {
	p := &Port{cfg: cfg, firstCheck: tcpFirstCheck, done: make(chan struct{}), peers: map[*Transport]struct{}{},
		users: map[string]*Transport{}, addrs: map[netip.AddrPort]*Transport{}, streams: map[*stream]struct{}{}}
	var err error
	// One certificate for all peers of the port: making one costs more than a whole handshake. It is new with every
	// start, and clients compare it with the answer that came over their authenticated link.
	if p.certificate, err = newCertificate(); err != nil {
		return nil, fmt.Errorf("sfu: certificate: %w", err)
	}
	p.print = peer.PrintOf(p.certificate.Certificate[0])
	if err := p.bind(); err != nil {
		return nil, err
	}
	return p, nil
}

func newCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	// Nobody looks at what it says: its digest is in the answer. It has a name since RFC 5280 allows none without.
	name := pkix.Name{CommonName: "sfu"}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: name, Issuer: name, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// bind finds one port number for UDP and TCP. A number that is free for one may be taken for the other, so a few are
// tried if any will do.
func (p *Port) bind() error {
	var last error
	for range 16 {
		socket, err := udp.Listen(p.cfg.Listen)
		if err != nil {
			return fmt.Errorf("sfu: %w", err)
		}
		at, ok := socket.LocalAddr().(*net.UDPAddr)
		if !ok {
			return errors.Join(fmt.Errorf("sfu: bound to %T", socket.LocalAddr()), socket.Close())
		}
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: at.IP, Port: at.Port, Zone: at.Zone})
		if err == nil {
			p.socket, p.tcp = socket, &bounded{Listener: l, free: make(chan struct{}, tcpMost), done: p.done}
			return nil
		}
		last = errors.Join(fmt.Errorf("sfu: %w", err), socket.Close())
		if _, port, err := net.SplitHostPort(p.cfg.Listen); err != nil || port != "0" && port != "" {
			return last
		}
	}
	return last
}

// Start begins to serve.
func (p *Port) Start() {
	p.loops.Go(p.readLoop)
	p.loops.Go(p.acceptLoop)
	p.loops.Go(p.consentLoop)
}

// Addr is where the port is bound, UDP and TCP alike.
func (p *Port) Addr() netip.AddrPort {
	a, ok := p.socket.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return a.AddrPort()
}

// Lane is for one room's goroutine: what it writes to its peers goes through it, and leaves when it is flushed.
func (p *Port) Lane() *udp.Lane { return p.socket.Lane() }

// Counts since the port was bound.
func (p *Port) Counts() Counts {
	return Counts{Counts: p.socket.Counts(), Unknown: p.unknown.Load(), BadChecks: p.badChecks.Load(), BadMedia: p.badMedia.Load(), Unread: p.unread.Load()}
}

// Close ends all connections, and returns when everything that Start began has ended.
func (p *Port) Close() error {
	close(p.done)
	err := errors.Join(p.tcp.Close(), p.socket.Close())
	p.mu.Lock()
	p.closed = true
	for s := range p.streams {
		s.close()
	}
	p.mu.Unlock()
	p.loops.Wait()
	return err
}

// candidates are what clients are told: UDP first, TCP behind it.
func (p *Port) candidates() ([]string, error) {
	addrs := p.cfg.External
	at := p.Addr()
	if len(addrs) == 0 {
		addrs = []netip.Addr{at.Addr().Unmap()}
		if at.Addr().IsUnspecified() {
			var err error
			if addrs, err = own(at.Addr()); err != nil {
				return nil, fmt.Errorf("sfu: own addresses: %w", err)
			}
		}
	}
	var out []string
	for i, a := range addrs {
		out = append(out, fmt.Sprintf("candidate:%d 1 udp %d %s %d typ host", 2*i+1, priority(126, i), a, at.Port()))
	}
	for i, a := range addrs {
		out = append(out, fmt.Sprintf("candidate:%d 1 tcp %d %s %d typ host tcptype passive", 2*i+2, priority(90, i), a, at.Port()))
	}
	return out, nil
}

// priority is RFC 8445, 5.1.2.1, with one local preference for each address.
func priority(kind, i int) uint32 { return uint32(kind)<<24 | uint32(65535-i)<<8 | 255 }

// addressesMost bounds the addresses that an answer names.
const addressesMost = 16

// own are the machine's addresses that others can reach it under, for a socket bound to all of them.
func own(bound netip.Addr) ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, x := range all {
		prefix, err := netip.ParsePrefix(x.String())
		if err != nil {
			continue // no address of IP
		}
		a := prefix.Addr().Unmap()
		if a.IsLoopback() || a.IsLinkLocalUnicast() || bound.Is4() && !a.Is4() || len(out) == addressesMost {
			continue
		}
		out = append(out, a)
	}
	return out, nil
}

func (p *Port) readLoop() {
	b := make([]byte, udp.Size)
	var c checker
	for {
		n, from, err := p.socket.ReadFromAddrPort(b)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || !p.pause() {
				return
			}
			continue // the system had no memory for a moment
		}
		if n == 0 {
			continue
		}
		if b[0] < firstDTLS {
			c.check(p, b[:n], &path{addr: from})
			continue
		}
		p.mu.RLock()
		t := p.addrs[from]
		p.mu.RUnlock()
		if t == nil {
			p.unknown.Add(1)
			continue
		}
		t.came(b[:n])
	}
}

// consentLoop counts, each second, for how long nothing authentic came.
func (p *Port) consentLoop() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var all []*Transport
	for {
		select {
		case <-tick.C:
		case <-p.done:
			return
		}
		all = all[:0]
		p.mu.RLock()
		for t := range p.peers {
			all = append(all, t)
		}
		p.mu.RUnlock()
		for _, t := range all {
			t.second()
		}
	}
}

// pause lets a moment pass after an error that may be over then; false: the port is closed.
func (p *Port) pause() bool {
	select {
	case <-time.After(10 * time.Millisecond):
		return true
	case <-p.done:
		return false
	}
}

// opens counts a connection, and closes takes it out. A port that is closed has none.
func (p *Port) opens(s *stream) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.streams[s] = struct{}{}
	}
	return !p.closed
}

func (p *Port) closes(s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.streams, s)
}

// know lets a peer be found by its name in checks.
func (p *Port) know(ufrag string, t *Transport) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users[ufrag] = t
	p.peers[t] = struct{}{}
}

// at lets a peer be found by an address that an authentic check came from, and takes the address from whoever had it.
func (p *Port) at(addr netip.AddrPort, t *Transport) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addrs[addr] = t
}

// leave forgets a peer.
func (p *Port) leave(t *Transport) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.peers, t)
}

// forget takes a peer's names and addresses away.
func (p *Port) forget(t *Transport, ufrags []string, addrs []netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range ufrags {
		if p.users[u] == t {
			delete(p.users, u)
		}
	}
	for _, a := range addrs {
		if p.addrs[a] == t {
			delete(p.addrs, a)
		}
	}
}
