// Package pion carries a peer over pion/webrtc: its PeerConnection does ICE, DTLS and SRTP, and nothing else. No
// interceptor is registered; retransmission, reports and congestion control are the SFU's own. Packets that come are
// taken at the SRTP session's buffer, before the library makes streams and tracks of them, and packets that go are
// collected behind SRTP and leave with one system call (package udp).
//
// A [Port] is one UDP and TCP port for all peers; [Port.New] makes one peer on it.
package pion

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/media/sfu/udp"
)

const (
	// A TCP client that does not read loses what exceeds this, as a full router queue would drop it.
	tcpWriteBuffer = 256 << 10
	tcpReadBuffer  = 64
	// A TCP connection without a first check goes after this.
	tcpFirstCheck = 5 * time.Second
	// tcpMost bounds the TCP connections of all clients together; a further one waits in the kernel's queue.
	tcpMost = 4096
	// What is not heard of for brokenAfter is broken, and may come back until the room gives its seat up.
	brokenAfter = 5 * time.Second
	failedAfter = 10 * time.Minute
	keepalive   = 2 * time.Second
	// replayWindow is how late a packet may come.
	replayWindow = 1024
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
	udpMux      *ice.UDPMuxDefault
	tcpMux      *ice.TCPMuxDefault
	certificate webrtc.Certificate
	silent      logging.LoggerFactory
	loopback    bool
}

// Listen binds both and starts nothing. The caller closes the port after every peer on it.
func Listen(cfg Config) (*Port, error) {
	p := &Port{cfg: cfg}
	// The library's log lines hold addresses and descriptions.
	p.silent = &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
	// One certificate for all peers of the port: making one costs more than a whole handshake. It is new with every
	// start, and clients compare it with the answer that came over their authenticated link.
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("sfu: certificate: %w", err)
	}
	c, err := webrtc.GenerateCertificate(key)
	if err != nil {
		return nil, fmt.Errorf("sfu: certificate: %w", err)
	}
	p.certificate = *c
	if err := p.bind(); err != nil {
		return nil, err
	}
	return p, nil
}

// Start begins to serve.
func (p *Port) Start() {
	p.udpMux = ice.NewUDPMuxDefault(ice.UDPMuxParams{Logger: p.silent.NewLogger("ice"), UDPConn: p.socket})
	p.tcpMux = ice.NewTCPMuxDefault(ice.TCPMuxParams{
		Logger: p.silent.NewLogger("ice"), Listener: p.tcp, ReadBufferSize: tcpReadBuffer, WriteBufferSize: tcpWriteBuffer,
		FirstStunBindTimeout: tcpFirstCheck, AliveDurationForConnFromStun: tcpFirstCheck,
	})
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
			p.socket, p.tcp, p.loopback = socket, &bounded{Listener: l, free: make(chan struct{}, tcpMost)}, at.IP.IsLoopback()
			return nil
		}
		last = errors.Join(fmt.Errorf("sfu: %w", err), socket.Close())
		if _, port, err := net.SplitHostPort(p.cfg.Listen); err != nil || port != "0" && port != "" {
			return last
		}
	}
	return last
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

// Counts of datagrams.
func (p *Port) Counts() udp.Counts { return p.socket.Counts() }

// Close ends all connections.
func (p *Port) Close() error {
	if p.udpMux == nil {
		return errors.Join(p.tcp.Close(), p.socket.Close())
	}
	return errors.Join(p.tcpMux.Close(), p.udpMux.Close())
}

func (p *Port) settings(lane *udp.Lane) (s webrtc.SettingEngine, err error) {
	s.LoggerFactory = p.silent
	// The server has one public address and waits for the clients' checks: it never sends to an address that it was
	// only told of.
	s.SetLite(true)
	s.SetICEUDPMux(&laneMux{UDPMux: p.udpMux, lane: lane})
	s.SetICETCPMux(p.tcpMux)
	s.SetNetworkTypes([]webrtc.NetworkType{
		webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6, webrtc.NetworkTypeTCP4, webrtc.NetworkTypeTCP6,
	})
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetIncludeLoopbackCandidate(p.loopback)
	if p.loopback {
		at := p.Addr().Addr()
		s.SetIPFilter(func(ip net.IP) bool { a, ok := netip.AddrFromSlice(ip); return ok && a.Unmap() == at.Unmap() })
	}
	s.SetICETimeouts(brokenAfter, failedAfter, keepalive)
	s.SetHostAcceptanceMinWait(0)
	s.SetPrflxAcceptanceMinWait(0)
	// The server is DTLS server, and chooses among the client's offers in this order: GCM costs a sixth of the other.
	if err := s.SetAnsweringDTLSRole(webrtc.DTLSRoleServer); err != nil {
		return s, fmt.Errorf("sfu: %w", err)
	}
	s.SetSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80)
	// ICE has proven the client's address with a password from the answer: a cookie would prove it again for one
	// more round trip.
	s.SetDTLSInsecureSkipHelloVerify(true)
	s.SetSRTPReplayProtectionWindow(replayWindow)
	if len(p.cfg.External) > 0 {
		rule := webrtc.ICEAddressRewriteRule{AsCandidateType: webrtc.ICECandidateTypeHost, Mode: webrtc.ICEAddressRewriteReplace}
		for _, a := range p.cfg.External {
			rule.External = append(rule.External, a.String())
		}
		if err := s.SetICEAddressRewriteRules(rule); err != nil {
			return s, fmt.Errorf("sfu: external addresses: %w", err)
		}
	}
	return s, nil
}

// laneMux gives out the port's connections with their media in the room's lane. STUN and DTLS, which come from other
// goroutines, go out by themselves.
type laneMux struct {
	ice.UDPMux
	lane *udp.Lane
}

func (m *laneMux) GetConn(ufrag string, addr net.Addr) (net.PacketConn, error) {
	c, err := m.UDPMux.GetConn(ufrag, addr)
	if err != nil {
		return nil, err
	}
	rw, ok := c.(ice.AddrPortReaderWriter)
	if !ok {
		return nil, errors.Join(errors.New("sfu: the library gives no address-less connections"), c.Close())
	}
	return &laneConn{PacketConn: c, AddrPortReaderWriter: rw, lane: m.lane}, nil
}

type laneConn struct {
	net.PacketConn
	ice.AddrPortReaderWriter
	lane *udp.Lane
}

func (c *laneConn) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if len(b) > 0 && b[0] >= 128 && b[0] <= 191 { // RTP and RTCP, RFC 7983
		return len(b), c.lane.Put(b, to)
	}
	return c.AddrPortReaderWriter.WriteToAddrPort(b, to)
}

// bounded accepts so many connections at once and no more.
type bounded struct {
	net.Listener
	free chan struct{}
}

func (l *bounded) Accept() (net.Conn, error) {
	l.free <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.free
		return nil, err
	}
	return &boundedConn{Conn: c, release: sync.OnceFunc(func() { <-l.free })}, nil
}

type boundedConn struct {
	net.Conn
	release func()
}

func (c *boundedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
