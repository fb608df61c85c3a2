// Package udp is the SFU's one port: datagrams come in many at a time, and go out many at a time. What is sent for
// one received packet, or for a row of them, is collected in a [Lane] and leaves with one system call. There is no
// timer: whoever fills a lane flushes it when it has nothing more to do.
package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	// Size is the largest datagram that is read or sent; a longer one is cut off and refused by its parser.
	Size = 1500
	// readBatch is how many datagrams one call brings in. Eight cover a burst of one client; a larger number costs
	// 1.5 KB each and was not faster.
	readBatch = 16
	// laneSize is how many datagrams a lane holds before it sends by itself.
	laneSize = 64
	// buffers of the socket in the kernel: 25 ms of a gigabit.
	kernelBuffer = 4 << 20
)

// Socket is a bound UDP port. Reading is for one goroutine; writing for any.
type Socket struct {
	conn  *net.UDPConn
	batch *ipv4.PacketConn

	messages []ipv4.Message
	have, at int

	dropped atomic.Uint64
	calls   atomic.Uint64
	sent    atomic.Uint64
}

// Listen binds host:port.
func Listen(address string) (*Socket, error) {
	a, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	conn, err := net.ListenUDP("udp", a)
	if err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	// The kernel caps both at its own limit; less is slower, not wrong.
	if err := errors.Join(conn.SetReadBuffer(kernelBuffer), conn.SetWriteBuffer(kernelBuffer)); err != nil {
		return nil, errors.Join(fmt.Errorf("udp: %w", err), conn.Close())
	}
	s := &Socket{conn: conn, batch: ipv4.NewPacketConn(conn), messages: make([]ipv4.Message, readBatch)}
	for i := range s.messages {
		s.messages[i].Buffers = [][]byte{make([]byte, Size)}
	}
	return s, nil
}

// ReadFromAddrPort gives the next datagram. A longer one than Size is given with that many bytes.
func (s *Socket) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		if s.at == s.have {
			n, err := s.batch.ReadBatch(s.messages, 0)
			if err != nil {
				return 0, netip.AddrPort{}, err
			}
			s.have, s.at = n, 0
			if n == 0 {
				continue
			}
		}
		m := &s.messages[s.at]
		s.at++
		from, ok := m.Addr.(*net.UDPAddr)
		if !ok {
			continue
		}
		return copy(b, m.Buffers[0][:m.N]), from.AddrPort(), nil
	}
}

// WriteToAddrPort sends one datagram at once.
func (s *Socket) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	s.calls.Add(1)
	s.sent.Add(1)
	return s.conn.WriteToUDPAddrPort(b, to)
}

// ReadFrom is ReadFromAddrPort for net.PacketConn.
func (s *Socket) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := s.ReadFromAddrPort(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// WriteTo is WriteToAddrPort for net.PacketConn.
func (s *Socket) WriteTo(b []byte, to net.Addr) (int, error) { return s.conn.WriteTo(b, to) }

// LocalAddr is where the socket is bound.
func (s *Socket) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// SetDeadline is for net.PacketConn.
func (s *Socket) SetDeadline(t time.Time) error { return s.conn.SetDeadline(t) }

// SetReadDeadline is for net.PacketConn.
func (s *Socket) SetReadDeadline(t time.Time) error { return s.conn.SetReadDeadline(t) }

// SetWriteDeadline is for net.PacketConn.
func (s *Socket) SetWriteDeadline(t time.Time) error { return s.conn.SetWriteDeadline(t) }

// Close ends reading and writing.
func (s *Socket) Close() error { return s.conn.Close() }

// Counts are of all lanes and of WriteToAddrPort.
type Counts struct{ Sent, Calls, Dropped uint64 }

// Counts since the socket was bound.
func (s *Socket) Counts() Counts {
	return Counts{Sent: s.sent.Load(), Calls: s.calls.Load(), Dropped: s.dropped.Load()}
}

// Lane collects datagrams. It belongs to one goroutine.
type Lane struct {
	socket   *Socket
	messages []ipv4.Message
	buffers  []byte
	addrs    []net.UDPAddr
	ips      [][16]byte
	n        int
}

// lanes are given back, since each holds 100 KB.
var lanes = sync.Pool{New: func() any {
	l := &Lane{
		messages: make([]ipv4.Message, laneSize), buffers: make([]byte, laneSize*Size),
		addrs: make([]net.UDPAddr, laneSize), ips: make([][16]byte, laneSize),
	}
	for i := range l.messages {
		l.messages[i].Buffers = make([][]byte, 1)
		l.messages[i].Addr = &l.addrs[i]
	}
	return l
}}

// Lane gives an empty one.
func (s *Socket) Lane() *Lane {
	l := lanes.Get().(*Lane)
	l.socket, l.n = s, 0
	return l
}

// Release gives the lane back. What was not flushed is dropped.
func (l *Lane) Release() {
	l.socket, l.n = nil, 0
	lanes.Put(l)
}

// Next is where the next datagram may be written; Commit takes it from there.
func (l *Lane) Next() []byte { return l.buffers[l.n*Size : (l.n+1)*Size : (l.n+1)*Size] }

// Commit takes the datagram that was written to the first n bytes of Next. The lane sends by itself only when it is full.
func (l *Lane) Commit(n int, to netip.AddrPort) error {
	l.messages[l.n].Buffers[0] = l.buffers[l.n*Size : l.n*Size+n]
	a := &l.addrs[l.n]
	l.ips[l.n] = to.Addr().As16()
	if to.Addr().Is4() {
		a.IP = l.ips[l.n][12:16]
		a.Zone = ""
	} else {
		a.IP = l.ips[l.n][:]
		a.Zone = to.Addr().Zone()
	}
	a.Port = int(to.Port())
	l.n++
	if l.n == laneSize {
		return l.Flush()
	}
	return nil
}

// Put copies one datagram into the lane.
func (l *Lane) Put(b []byte, to netip.AddrPort) error {
	if len(b) > Size {
		return fmt.Errorf("udp: a datagram of %d bytes", len(b))
	}
	return l.Commit(copy(l.Next(), b), to)
}

// Flush sends everything. A datagram that the system refuses is dropped and counted, as the network would drop it;
// an error means that the socket is closed.
func (l *Lane) Flush() error {
	rest := l.messages[:l.n]
	l.n = 0
	for len(rest) > 0 {
		n, err := l.socket.batch.WriteBatch(rest, 0)
		l.socket.calls.Add(1)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
				return err
			}
			l.socket.dropped.Add(1)
			n = 1 // the first one was refused
		} else {
			l.socket.sent.Add(uint64(n))
			if n == 0 {
				n = 1
			}
		}
		rest = rest[n:]
	}
	return nil
}
