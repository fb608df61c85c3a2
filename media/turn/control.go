package turn

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/pion/logging"
	pion "github.com/pion/turn/v4"
)

// control puts pion/turn behind a function call. pion believes to serve one UDP socket; what it reads from there
// are requests that the guard has authenticated, checked and written anew, under an invented client address and an
// invented user name per allocation. So pion never sees bytes, names or addresses of a client, and nothing it does
// or logs can depend on them.
//
// It keeps allocations and their lifetimes, and gets Allocate and Refresh only. Permissions and channels live with the
// data plane that enforces them (relay.go): pion 4.1.4 publishes one before it has set its timer, and dereferences
// nil when the allocation is closed at that moment, which a release at any time would sooner or later bring about.
//
// pion handles one request at a time, and answers (or does not) before it reads the next. All state here except
// the queue therefore belongs to pion's reading goroutine.
type control struct {
	queue chan *order
	done  chan struct{} // closed by stop
	ended chan struct{} // closed when pion has stopped reading
	close sync.Once

	current *order
	nonce   []byte // pion wants its own in every request
	nonceAt time.Time
	priming bool // the request pion holds is ours, to get a nonce
}

// order is one request to pion and, once ready is closed, its outcome.
type order struct {
	build  func(w *writer) // writes the attributes
	method uint16
	id     [12]byte
	a      *allocation // whose invented address is used; for Allocate its relay socket, too
	ready  chan struct{}
	code   int // 0: success; else the error code
	sent   bool
	retry  bool
}

const (
	pionUser  = "relay"
	pionRealm = "relay"
	// pion's nonces live an hour of the real clock.
	pionNonceLife = 30 * time.Minute
	// pion takes a requested lifetime of a whole hour for too long and falls back to ten minutes.
	maxLifetime     = 3599 * time.Second
	defaultLifetime = 600 * time.Second

	codeInternal = 500
)

var pionKey = func() []byte {
	// It protects nothing: whoever can write to this channel is this package.
	return pion.GenerateAuthKey(pionUser, pionRealm, "relay")
}()

func newControl() *control {
	return &control{queue: make(chan *order), done: make(chan struct{}), ended: make(chan struct{})}
}

// serve starts pion. Its goroutines end after stop.
func (c *control) serve() (*pion.Server, error) {
	return pion.NewServer(pion.ServerConfig{
		Realm:         pionRealm,
		AuthHandler:   func(string, string, net.Addr) ([]byte, bool) { return pionKey, true },
		LoggerFactory: silence{},
		InboundMTU:    maxFrame + 1,
		PacketConnConfigs: []pion.PacketConnConfig{{
			PacketConn: c, RelayAddressGenerator: c,
			// It is never asked; if it were, the answer is no.
			PermissionHandler: func(net.Addr, net.IP) bool { return false },
		}},
	})
}

func (c *control) stop() { c.close.Do(func() { close(c.done) }) }

// do passes one request to pion and returns the error code of its answer, 0 for success.
func (c *control) do(a *allocation, method uint16, id [12]byte, build func(w *writer)) int {
	o := &order{build: build, method: method, id: id, a: a, ready: make(chan struct{})}
	select {
	case c.queue <- o:
	case <-c.done:
		return codeInternal
	}
	<-o.ready // pion's goroutine settles whatever it has taken, also while stopping
	return o.code
}

// ReadFrom hands pion its next request. An order that it has read and not answered is over.
func (c *control) ReadFrom(b []byte) (int, net.Addr, error) {
	if c.priming {
		c.priming = false
		c.settle(codeInternal)
	}
	if c.current != nil && c.current.sent {
		c.settle(codeInternal)
	}
	if c.current == nil {
		select {
		case c.current = <-c.queue:
		case <-c.done:
			close(c.ended) // pion reads no more after an error
			return 0, nil, net.ErrClosed
		}
	}
	o := c.current
	if c.nonce == nil || time.Since(c.nonceAt) > pionNonceLife {
		c.priming = true
		w := newWriter(b, methodAllocate, classRequest, o.id)
		return len(w.bytes()), inventedAddr(0), nil
	}
	w := newWriter(b, o.method, classRequest, o.id)
	o.build(w)
	w.text(attrUsername, pionUser).text(attrRealm, pionRealm).attr(attrNonce, c.nonce).sign(pionKey, false)
	o.sent = true
	return len(w.bytes()), inventedAddr(o.a.id), nil
}

// WriteTo takes pion's answer.
func (c *control) WriteTo(b []byte, _ net.Addr) (int, error) {
	code := errorCodeOf(b)
	nonce := attribute(b, attrNonce)
	switch o := c.current; {
	case c.priming:
		if nonce == nil { // pion did not challenge; ReadFrom settles the order
			return len(b), nil
		}
		c.priming = false
		c.nonce, c.nonceAt = append([]byte(nil), nonce...), time.Now()
	case o == nil || !o.sent:
		// Nobody waits for this.
	case code == 438 && !o.retry: // the clock jumped
		o.retry, o.sent, c.nonce = true, false, nil
	case code == 0 && !isSuccess(b):
		c.settle(codeInternal)
	default:
		c.settle(code)
	}
	return len(b), nil
}

func (c *control) settle(code int) {
	if o := c.current; o != nil {
		c.current = nil
		o.code = code
		close(o.ready)
	}
}

func isSuccess(b []byte) bool { return len(b) >= stunHeader && b[0]&1 == 1 && b[1]&0x10 == 0 }

// inventedAddr is the client address under which pion knows an allocation: unique, and nobody's.
func inventedAddr(id uint64) net.Addr {
	ip := make(net.IP, 16)
	ip[0] = 0xfd
	binary.BigEndian.PutUint64(ip[8:], id)
	return &net.UDPAddr{IP: ip, Port: 1}
}

// AllocatePacketConn gives pion the relay socket that the guard has bound for the request pion is working on.
func (c *control) AllocatePacketConn(string, int) (net.PacketConn, net.Addr, error) {
	if c.current == nil || c.current.a == nil || c.current.method != methodAllocate {
		return nil, nil, errors.New("no allocation was asked for")
	}
	c.current.a.s.running.Add(1) // pion now starts the goroutine that runs ReadFrom
	return c.current.a, c.current.a.LocalAddr(), nil
}

// AllocateConn would serve RFC 6062, which this relay does not offer.
func (c *control) AllocateConn(string, int) (net.Conn, net.Addr, error) {
	return nil, nil, errors.New("TCP allocations are not offered")
}

// Validate is part of pion's RelayAddressGenerator.
func (c *control) Validate() error { return nil }

// The rest of net.PacketConn.

func (c *control) Close() error                     { c.stop(); return nil }
func (c *control) LocalAddr() net.Addr              { return inventedAddr(0) }
func (c *control) SetDeadline(time.Time) error      { return nil }
func (c *control) SetReadDeadline(time.Time) error  { return nil }
func (c *control) SetWriteDeadline(time.Time) error { return nil }

// silence is pion's logger. pion logs addresses, and errors that contain them; what is worth knowing is counted.
type silence struct{}

func (silence) NewLogger(string) logging.LeveledLogger { return silence{} }

func (silence) Trace(string)          {}
func (silence) Tracef(string, ...any) {}
func (silence) Debug(string)          {}
func (silence) Debugf(string, ...any) {}
func (silence) Info(string)           {}
func (silence) Infof(string, ...any)  {}
func (silence) Warn(string)           {}
func (silence) Warnf(string, ...any)  {}
func (silence) Error(string)          {}
func (silence) Errorf(string, ...any) {}
