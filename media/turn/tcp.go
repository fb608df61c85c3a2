package turn

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// TCP: the same messages one behind the other (RFC 8656 section 3.1). pion's framing would let a stranger hold
// megabytes and recurses, so ours stands alone: a stranger has one buffer of maxFrame bytes, strangerTime in all, and
// strangerAnswers answers; then it has an allocation, or the connection is closed. Trickling bytes buys no time.

const (
	strangerTime    = 5 * time.Second
	strangerAnswers = 8
	trustedBuffer   = 4 * maxFrame // fewer system calls once there is media
	writeTime       = 10 * time.Second
	writeQueue      = 128 // frames; what does not fit is dropped, as a congested path would
	writeBatch      = 16
)

type tcpSide struct {
	s        *Server
	listener *net.TCPListener

	mu        sync.Mutex // guards what follows
	closed    bool
	conns     map[*tcpConn]struct{}
	byPrefix  map[netip.Prefix]int
	strangers map[netip.Prefix]int // without an allocation so far
	strange   int                  // the sum of strangers
}

type tcpConn struct {
	tuple
	side    *tcpSide
	net     *net.TCPConn
	prefix  netip.Prefix
	trusted atomic.Bool // had an allocation

	arm sync.Mutex // serialises read deadlines with what they are derived from

	queue chan *[]byte
	gone  chan struct{}
	once  sync.Once
}

func newTCPSide(s *Server, l *net.TCPListener) *tcpSide {
	return &tcpSide{
		s: s, listener: l, conns: map[*tcpConn]struct{}{},
		byPrefix: map[netip.Prefix]int{}, strangers: map[netip.Prefix]int{},
	}
}

func (t *tcpSide) open() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.conns)
}

// acceptLoop runs until the listener is closed, and waits for its connections.
func (t *tcpSide) acceptLoop() {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		nc, err := t.listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors, mostly. Others give theirs back within strangerTime.
			t.s.count.inc(connectionsRefused)
			select {
			case <-time.After(50 * time.Millisecond):
			case <-t.s.stopping:
				return
			}
			continue
		}
		c := t.admit(nc)
		if c == nil {
			t.s.count.inc(connectionsRefused)
			_ = nc.SetLinger(0) // nothing of a refused connection stays behind, not even TIME_WAIT
			nc.Close()
			continue
		}
		conns.Go(c.serve)
	}
}

// admit takes the connection in if every bound leaves room for it.
func (t *tcpSide) admit(nc *net.TCPConn) *tcpConn {
	remote, ok := nc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return nil
	}
	at := remote.AddrPort()
	c := &tcpConn{
		tuple: tuple{addr: netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()), tcp: true},
		side:  t, net: nc, gone: make(chan struct{}),
	}
	c.prefix = clientPrefix(c.addr.Addr())
	q := t.s.quotas
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.conns) >= q.Connections || t.byPrefix[c.prefix] >= q.ConnectionsPerPrefix ||
		t.strange >= q.Unauthenticated || t.strangers[c.prefix] >= q.UnauthenticatedPer {
		return nil
	}
	t.conns[c] = struct{}{}
	t.byPrefix[c.prefix]++
	t.strangers[c.prefix]++
	t.strange++
	return c
}

func (t *tcpSide) leave(c *tcpConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
	decrement(t.byPrefix, c.prefix)
	if !c.trusted.Load() {
		t.trustLocked(c)
	}
}

func (t *tcpSide) trustLocked(c *tcpConn) {
	decrement(t.strangers, c.prefix)
	t.strange--
}

// shut closes the listener and every connection.
func (t *tcpSide) shut() {
	t.listener.Close()
	t.mu.Lock()
	t.closed = true
	open := make([]*tcpConn, 0, len(t.conns))
	for c := range t.conns {
		open = append(open, c)
	}
	t.mu.Unlock()
	for _, c := range open {
		c.close()
	}
}

var errFraming = errors.New("framing")

// frameSize says how many bytes the frame at the start of b takes; 0: too early to say.
func frameSize(b []byte) (int, error) {
	if len(b) < channelHead {
		if len(b) > 0 && b[0] >= 0x50 {
			return 0, errFraming
		}
		return 0, nil
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case b[0] < 0x40:
		if n%4 != 0 || n > maxFrame-stunHeader {
			return 0, errFraming
		}
		if len(b) >= 8 && binary.BigEndian.Uint32(b[4:]) != stunCookie {
			return 0, errFraming
		}
		return stunHeader + n, nil
	case b[0] < 0x50:
		return channelHead + (n+3)&^3, nil
	}
	return 0, errFraming
}

// serve reads frames until the connection ends, whoever ends it.
func (c *tcpConn) serve() {
	defer c.finish()
	c.rearm()
	var (
		buffer = make([]byte, maxFrame)
		have   int // bytes in buffer
		skip   int // bytes still to come of a frame that is too long
		asked  int // by a stranger
	)
	for {
		n, err := c.net.Read(buffer[have:])
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.side.s.count.inc(connectionsTimeout)
			}
			return
		}
		have += n
		at := 0
		for at < have {
			if skip > 0 {
				step := min(skip, have-at)
				skip, at = skip-step, at+step
				continue
			}
			size, err := frameSize(buffer[at:have])
			channel := buffer[at]&0xC0 != 0
			if err != nil || (channel && !c.trusted.Load()) {
				c.side.s.count.inc(connectionsBroken)
				return
			}
			if size > maxFrame { // channel data nobody relays: passed over without being kept
				c.side.s.count.inc(droppedOversize)
				skip = size
				continue
			}
			if size == 0 || at+size > have {
				break
			}
			frame := buffer[at : at+size]
			at += size
			if channel {
				c.side.s.handleChannel(frame, c.tuple, c.side.s.now())
				continue
			}
			stranger, ok := c.message(frame)
			if stranger {
				asked++
			}
			if !ok || asked > strangerAnswers {
				c.side.s.count.inc(connectionsBroken)
				return
			}
		}
		have = copy(buffer, buffer[at:have])
		if c.trusted.Load() && len(buffer) < trustedBuffer {
			larger := make([]byte, trustedBuffer)
			copy(larger, buffer[:have])
			buffer, asked = larger, 0
		}
	}
}

// scratch is what handling one message needs; a silent connection holds none.
type scratch struct {
	m     message
	space [512]byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// message handles one STUN message. Not ok: the connection is not worth keeping.
func (c *tcpConn) message(frame []byte) (stranger, ok bool) {
	s := c.side.s
	sc := scratches.Get().(*scratch)
	defer scratches.Put(sc)
	if err := sc.m.parse(frame); err != nil {
		s.count.inc(droppedMalformed)
		return true, false
	}
	now := s.now()
	out := s.handleMessage(&sc.m, asker{tuple: c.tuple, conn: c, space: sc.space[:]}, now)
	if out.failed && !s.strangers.failed(c.addr.Addr(), now) {
		s.count.inc(droppedFailures)
		return true, false
	}
	return out.stranger, len(out.bytes) == 0 || c.reply(out.bytes)
}

// reply sends a control answer. A stranger's goes out at once; later the queue keeps the order.
func (c *tcpConn) reply(b []byte) bool {
	if !c.trusted.Load() {
		if err := c.net.SetWriteDeadline(time.Now().Add(c.side.s.strangerTime)); err != nil {
			return false
		}
		_, err := c.net.Write(b)
		return err == nil
	}
	frame := frames.Get().(*[]byte)
	*frame = append((*frame)[:0], b...)
	select {
	case c.queue <- frame:
		return true
	case <-c.gone:
		return false
	}
}

var frames = sync.Pool{New: func() any { b := make([]byte, 0, maxFrame); return &b }}

// enqueue sends media without ever waiting: another client's goroutine may be the caller.
func (c *tcpConn) enqueue(b []byte) bool {
	frame := frames.Get().(*[]byte)
	*frame = append((*frame)[:0], b...)
	select {
	case c.queue <- frame:
		return true
	default:
		frames.Put(frame)
		return false
	}
}

// trust is called when the connection gets its first allocation, by its own reading goroutine.
func (c *tcpConn) trust() {
	if c.trusted.Load() {
		return
	}
	c.queue = make(chan *[]byte, writeQueue)
	c.side.mu.Lock()
	c.side.trustLocked(c)
	c.trusted.Store(true)
	c.side.mu.Unlock()
	c.side.s.running.Go(c.writeLoop)
}

// writeLoop writes what is queued, several frames with one system call where they are there.
func (c *tcpConn) writeLoop() {
	batch := make([]*[]byte, 0, writeBatch)
	vectors := make(net.Buffers, 0, writeBatch)
	for {
		select {
		case frame := <-c.queue:
			batch = append(batch[:0], frame)
		case <-c.gone:
			return
		}
	more:
		for len(batch) < writeBatch {
			select {
			case frame := <-c.queue:
				batch = append(batch, frame)
			default:
				break more
			}
		}
		vectors = vectors[:0]
		for _, frame := range batch {
			vectors = append(vectors, *frame)
		}
		err := c.net.SetWriteDeadline(time.Now().Add(writeTime))
		if err == nil {
			out := vectors // WriteTo consumes what it is given
			_, err = out.WriteTo(c.net)
		}
		for _, frame := range batch {
			frames.Put(frame)
		}
		if err != nil {
			c.close()
			return
		}
	}
}

// rearm gives a connection without an allocation its time, and one with an allocation all time: then the
// allocation's lifetime rules.
func (c *tcpConn) rearm() {
	c.arm.Lock()
	defer c.arm.Unlock()
	var deadline time.Time
	if c.side.s.allocationOf(c.tuple) == nil {
		deadline = time.Now().Add(c.side.s.strangerTime)
	}
	if err := c.net.SetReadDeadline(deadline); err != nil {
		c.close()
	}
}

// allocationEnded is called when the connection's allocation ended. After a release nothing more may be had here.
func (c *tcpConn) allocationEnded(reason counter) {
	if reason == endedByClient || reason == endedByExpiry {
		c.rearm()
		return
	}
	c.close()
}

func (c *tcpConn) close() {
	c.once.Do(func() {
		close(c.gone)
		c.net.Close()
	})
}

// finish runs when reading has ended: the allocation of a closed connection is gone (RFC 8656 section 3.1).
func (c *tcpConn) finish() {
	if a := c.side.s.allocationOf(c.tuple); a != nil && a.conn == c {
		a.end(endedByDisconnect)
	}
	c.side.leave(c) // before the close: who sees the connection closed finds its place free
	c.close()
}
