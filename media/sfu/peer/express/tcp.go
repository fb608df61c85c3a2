package express

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/udp"
)

const (
	// A TCP client that does not read loses what exceeds this, as a full router queue would drop it.
	tcpWriteBuffer = 256 << 10
	// A TCP connection without a first check goes after this.
	tcpFirstCheck = 5 * time.Second
	// tcpMost bounds the TCP connections of all clients together; a further one waits in the kernel's queue.
	tcpMost = 4096
	// tcpOfOne bounds those of one client; the oldest one goes first.
	tcpOfOne = 4
)

// path is a way to a client: an address for datagrams, or a connection.
type path struct {
	addr netip.AddrPort
	tcp  *stream
}

func (a *path) same(b *path) bool { return a.addr == b.addr && a.tcp == b.tcp }

// send writes what is no media. What cannot be sent is lost.
func (p *Port) send(to *path, b []byte) {
	switch {
	case len(b) == 0:
	case to.tcp != nil:
		to.tcp.put(b)
	default:
		if _, err := p.socket.WriteToAddrPort(b, to.addr); err != nil {
			return // lost, as on any network
		}
	}
}

// acceptLoop takes connections (RFC 6544: the server is passive).
func (p *Port) acceptLoop() {
	for {
		c, err := p.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors, or one connection that ended at once. The kernel keeps the others.
			if !p.pause() {
				return
			}
			continue
		}
		p.loops.Go(func() { p.serve(c) })
	}
}

// serve reads a connection until it ends. Until a check has said whose it is, it may bring nothing else.
func (p *Port) serve(c net.Conn) {
	from, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok || c.SetReadDeadline(time.Now().Add(p.firstCheck)) != nil {
		_ = c.Close() // never used
		return
	}
	s := &stream{c: c, unread: &p.unread, ready: make(chan struct{}, 1), done: make(chan struct{})}
	at := &path{addr: from.AddrPort(), tcp: s}
	defer s.close()
	if !p.opens(s) {
		return
	}
	defer p.closes(s)
	p.loops.Go(s.writeLoop)
	var owner *Transport
	var check checker
	b := make([]byte, udp.Size)
	for {
		n, err := readFrame(c, b)
		if err != nil {
			break
		}
		if n == 0 {
			continue
		}
		if b[0] < firstDTLS {
			t := check.check(p, b[:n], at)
			if t == nil || owner != nil && t != owner {
				break
			}
			if owner == nil && (!t.join(s) || c.SetReadDeadline(time.Time{}) != nil) {
				break
			}
			owner = t
			continue
		}
		if owner == nil {
			break
		}
		owner.came(b[:n])
	}
	if owner != nil {
		owner.part(s)
	}
}

// readFrame reads one datagram of RFC 4571: its length in two bytes, and itself. A longer one than b is an error.
func readFrame(r io.Reader, b []byte) (int, error) {
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > len(b) {
		return 0, io.ErrShortBuffer
	}
	return io.ReadFull(r, b[:n])
}

// stream is one TCP connection. Whoever writes never waits for it.
type stream struct {
	c      net.Conn
	unread *atomic.Uint64
	ready  chan struct{}
	done   chan struct{}
	once   sync.Once

	mu      sync.Mutex // guards waiting, spare
	waiting []byte
	spare   []byte
}

// put takes a datagram to be written; what does not fit is lost, and counted.
func (s *stream) put(b []byte) {
	s.mu.Lock()
	if len(s.waiting)+2+len(b) > tcpWriteBuffer {
		s.mu.Unlock()
		s.unread.Add(1)
		return
	}
	s.waiting = append(binary.BigEndian.AppendUint16(s.waiting, uint16(len(b))), b...)
	s.mu.Unlock()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (s *stream) writeLoop() {
	for {
		select {
		case <-s.ready:
		case <-s.done:
			return
		}
		s.mu.Lock()
		b := s.waiting
		s.waiting, s.spare = s.spare[:0], nil
		s.mu.Unlock()
		if _, err := s.c.Write(b); err != nil {
			s.close()
			return
		}
		s.mu.Lock()
		s.spare = b
		s.mu.Unlock()
	}
}

func (s *stream) close() {
	s.once.Do(func() {
		close(s.done)
		_ = s.c.Close() // what was not sent is lost
	})
}

// bounded accepts so many connections at once and no more.
type bounded struct {
	net.Listener
	free chan struct{}
	done chan struct{}
}

func (l *bounded) Accept() (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
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
