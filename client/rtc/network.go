package rtc

import (
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/stdnet"
)

const (
	// udpHeadStart is how long the relay's TCP ports wait for an answer of its UDP ports. A
	// path over TCP stalls with each lost packet, and ICE nominates whatever connects first.
	udpHeadStart = time.Second
	// relaySilence is how long a relay may keep silent on a fresh socket. The library would ask
	// for eight seconds (RFC 8489 section 6.2.1), and neither a new generation nor the end of
	// the call can pass it meanwhile. It ends with the fourth request, 1.4 s after the first.
	relaySilence = 1200 * time.Millisecond
	// reflexiveWait is the same for the server's view of this side's address.
	reflexiveWait = 1500 * time.Millisecond
)

var (
	errUDPAnswers  = errors.New("rtc: the relay answers over UDP, TCP is not needed")
	errRelaySilent = errors.New("rtc: the relay does not answer")
)

// network is what the library sees of the machine's network: larger queues, relays that are
// tried over UDP before TCP, and relays that are reached over IPv6 where there is no IPv4.
// The library opens packet sockets and TCP connections for relays only.
type network struct {
	roomyNet
	closing <-chan struct{}
	hasIPv4 func() bool

	mu       sync.Mutex // guards what follows
	overUDP  bool       // some relay has a UDP port
	answered time.Time  // when a relay last answered on a socket that had never heard of it
	changed  chan struct{}
}

func newNetwork(servers []ICEServer, closing <-chan struct{}) (*network, error) {
	roomy, err := newRoomyNet()
	if err != nil {
		return nil, err
	}
	n := &network{roomyNet: roomy, closing: closing, hasIPv4: routesIPv4, changed: make(chan struct{})}
	n.use(servers)
	return n, nil
}

// use takes note of other relays.
func (n *network) use(servers []ICEServer) {
	overUDP := false
	for _, s := range servers {
		for _, u := range s.URLs {
			overUDP = overUDP || strings.HasPrefix(u, "turn:") && !strings.Contains(u, "transport=tcp")
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.overUDP = overUDP
}

// routesIPv4 asks the system for a way to an address that nobody has (RFC 5737). Nothing is
// sent.
func routesIPv4() bool {
	c, err := net.Dial("udp4", "192.0.2.1:9")
	if err != nil {
		return false
	}
	return c.Close() == nil
}

// Interfaces are those of now, not of when the call began: a new generation looks for a path
// on the network that the machine has been taken to.
func (n *network) Interfaces() ([]*transport.Interface, error) {
	now, err := stdnet.NewNet()
	if err != nil {
		return nil, err
	}
	return now.Interfaces()
}

// ListenPacket opens the socket to a relay.
func (n *network) ListenPacket(network, address string) (net.PacketConn, error) {
	family := network
	if network == "udp4" && !n.hasIPv4() {
		// The library asks for IPv4 relays only, and means the address that they lend. How they
		// are reached is another matter.
		family, address = "udp", strings.Replace(address, "0.0.0.0", "[::]", 1)
	}
	c, err := n.roomyNet.ListenPacket(family, address)
	if err != nil {
		return nil, err
	}
	return &relaySocket{PacketConn: c, n: n, lends4: network == "udp4"}, nil
}

// relaySocket is a UDP socket to a relay.
type relaySocket struct {
	net.PacketConn
	n      *network
	lends4 bool

	mu    sync.Mutex // guards what follows
	asked time.Time  // first, zero: never
	heard bool
}

// LocalAddr is what the library takes the wanted family of the relayed address from.
func (s *relaySocket) LocalAddr() net.Addr {
	own := s.PacketConn.LocalAddr()
	if at, ok := own.(*net.UDPAddr); ok && s.lends4 && at.IP.To4() == nil {
		return &net.UDPAddr{IP: net.IPv4zero, Port: at.Port}
	}
	return own
}

func (s *relaySocket) ReadFrom(b []byte) (int, net.Addr, error) {
	size, from, err := s.PacketConn.ReadFrom(b)
	if err == nil {
		s.mu.Lock()
		first := !s.heard
		s.heard = true
		s.mu.Unlock()
		if first {
			s.n.relayAnswered()
		}
	}
	return size, from, err
}

// WriteTo fails where a relay has not answered in time, and where the call ends before it did:
// that is how the library learns that there is no use in asking again.
func (s *relaySocket) WriteTo(b []byte, to net.Addr) (int, error) {
	s.mu.Lock()
	now := time.Now()
	if s.asked.IsZero() {
		s.asked = now
	}
	silent := !s.heard && (now.Sub(s.asked) > relaySilence || isClosed(s.n.closing))
	s.mu.Unlock()
	if silent {
		return 0, errRelaySilent
	}
	return s.PacketConn.WriteTo(b, to)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (n *network) relayAnswered() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answered = time.Now()
	close(n.changed)
	n.changed = make(chan struct{})
}

// DialTCP connects to a relay, unless one answers over UDP meanwhile.
func (n *network) DialTCP(network string, local, remote *net.TCPAddr) (transport.TCPConn, error) {
	if err := n.letUDPFirst(); err != nil {
		return nil, err
	}
	family := network
	if remote != nil && remote.IP.To4() == nil {
		family = "tcp6"
	}
	c, err := n.roomyNet.DialTCP(family, local, remote)
	if err != nil {
		return nil, err
	}
	return relayConn{c, network == "tcp4"}, nil
}

func (n *network) letUDPFirst() error {
	timer := time.NewTimer(udpHeadStart)
	defer timer.Stop()
	// Both are asked in the same gathering, and UDP may have been quicker than this call.
	since := time.Now().Add(-udpHeadStart)
	for {
		n.mu.Lock()
		wanted, answered, changed := n.overUDP, n.answered.After(since), n.changed
		n.mu.Unlock()
		switch {
		case !wanted:
			return nil
		case answered:
			return errUDPAnswers
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil
		case <-n.closing:
			return ErrClosed
		}
	}
}

// relayConn is a TCP connection to a relay.
type relayConn struct {
	transport.TCPConn
	lends4 bool
}

// LocalAddr is as a relaySocket's.
func (c relayConn) LocalAddr() net.Addr {
	own := c.TCPConn.LocalAddr()
	if at, ok := own.(*net.TCPAddr); ok && c.lends4 && at.IP.To4() == nil {
		return &net.TCPAddr{IP: net.IPv4zero, Port: at.Port}
	}
	return own
}

// ResolveUDPAddr finds a relay. Without IPv4 its IPv6 address counts, whatever was asked for;
// for the server's view of an IPv4 address there is nothing to find then.
func (n *network) ResolveUDPAddr(network, address string) (*net.UDPAddr, error) {
	if network == "udp" && !n.hasIPv4() {
		if at, err := n.roomyNet.ResolveUDPAddr("udp6", address); err == nil {
			return at, nil
		}
	}
	return n.roomyNet.ResolveUDPAddr(network, address)
}

// ResolveTCPAddr is the same for TCP.
func (n *network) ResolveTCPAddr(network, address string) (*net.TCPAddr, error) {
	if !n.hasIPv4() {
		if at, err := n.roomyNet.ResolveTCPAddr("tcp6", address); err == nil {
			return at, nil
		}
	}
	return n.roomyNet.ResolveTCPAddr(network, address)
}
