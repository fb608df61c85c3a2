package light

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipe is the handshake's share of the client's path.
type pipe struct {
	in   chan []byte
	done chan struct{}
	once sync.Once
	send func([]byte) error

	mu       sync.Mutex // guards deadline
	deadline time.Time
	changed  chan struct{}
}

func newPipe() *pipe {
	return &pipe{in: make(chan []byte, 64), done: make(chan struct{}), changed: make(chan struct{}, 1)}
}

func (p *pipe) put(b []byte) {
	select {
	case p.in <- append([]byte(nil), b...):
	default: // lost; DTLS sends again
	}
}

func (p *pipe) end() { p.once.Do(func() { close(p.done) }) }

func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		p.mu.Lock()
		var expired <-chan time.Time
		if !p.deadline.IsZero() {
			t := time.NewTimer(time.Until(p.deadline))
			defer t.Stop()
			expired = t.C
		}
		p.mu.Unlock()
		select {
		case m := <-p.in:
			return copy(b, m), &net.UDPAddr{}, nil
		case <-expired:
			return 0, nil, os.ErrDeadlineExceeded
		case <-p.changed:
		case <-p.done:
			return 0, nil, io.EOF
		}
	}
}

func (p *pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	if err := p.send(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (p *pipe) Close() error        { p.end(); return nil }
func (p *pipe) LocalAddr() net.Addr { return &net.UDPAddr{} }

func (p *pipe) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	p.deadline = t
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
	return nil
}

func (p *pipe) SetDeadline(t time.Time) error    { return p.SetReadDeadline(t) }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

// framed is RFC 4571 over TCP: each datagram behind its length in two bytes.
type framed struct {
	net.Conn
	out []byte
}

func (f *framed) Read(b []byte) (int, error) {
	var head [2]byte
	if _, err := io.ReadFull(f.Conn, head[:]); err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if n > len(b) {
		return 0, io.ErrShortBuffer
	}
	return io.ReadFull(f.Conn, b[:n])
}

func (f *framed) Write(b []byte) (int, error) {
	f.out = append(binary.BigEndian.AppendUint16(f.out[:0], uint16(len(b))), b...)
	if _, err := f.Conn.Write(f.out); err != nil {
		return 0, err
	}
	return len(b), nil
}
