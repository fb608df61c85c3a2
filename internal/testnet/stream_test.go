package testnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// streams is the network between clients and nodes: connections that behave as TCP does. What
// was written arrives in order or not at all; a cut line delays it; an end that lost its
// power is noticed late.
type streams struct {
	tap func(from, to string, conn uint64, b []byte) // sees every byte that is sent
	// meddle, if set, changes what nodes write: what a broken node would have said.
	meddle func(c *conn, b []byte) []byte

	mu        sync.Mutex // guards all below
	rng       *rand.Rand
	listeners map[string]*listener // by "tcp 127.0.0.1:7001" or "unix PATH"
	conns     map[*conn]struct{}
	cuts      map[direction]int // how many faults hold a direction
	delay     map[string]time.Duration
	next      uint64
	// roomy are clients whose writes never wait: package client holds a mutex over them, and
	// virtual time stands still while somebody waits for a mutex.
	roomy map[string]bool
}

// direction is one way between two names.
type direction struct{ from, to string }

// window is how much is under way in one direction before a writer has to wait.
const window = 64 << 10

func newStreams(rng *rand.Rand) *streams {
	return &streams{rng: rng, listeners: map[string]*listener{}, conns: map[*conn]struct{}{},
		cuts: map[direction]int{}, delay: map[string]time.Duration{}, roomy: map[string]bool{}}
}

// listener is where a node takes connections.
type listener struct {
	s       *streams
	owner   string
	key     string
	network string
	address string
	backlog chan *conn
	once    sync.Once
	closed  chan struct{}
}

type address struct{ network, text string }

func (a address) Network() string { return a.network }
func (a address) String() string  { return a.text }

// listen opens an address for a node.
func (s *streams) listen(owner, network, at string) (net.Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := network + " " + at
	if s.listeners[key] != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: syscall.EADDRINUSE}
	}
	l := &listener{s: s, owner: owner, key: key, network: network, address: at, backlog: make(chan *conn, 64), closed: make(chan struct{})}
	s.listeners[key] = l
	return l, nil
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.backlog:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.s.mu.Lock()
		if l.s.listeners[l.key] == l {
			delete(l.s.listeners, l.key)
		}
		l.s.mu.Unlock()
		close(l.closed)
	})
	return nil
}

func (l *listener) Addr() net.Addr { return address{l.network, l.address} }

// dial connects a client to a node.
func (s *streams) dial(ctx context.Context, from, network, at string) (net.Conn, error) {
	s.mu.Lock()
	rtt := 2 * s.lagLocked(from)
	s.mu.Unlock()
	refused := &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	wait := time.NewTimer(rtt)
	defer wait.Stop()
	tick := time.NewTicker(500 * time.Millisecond) // as TCP sends its SYN again
	defer tick.Stop()
	for {
		select {
		case <-wait.C:
		case <-tick.C:
		case <-ctx.Done():
			return nil, &net.OpError{Op: "dial", Net: network, Err: os.ErrDeadlineExceeded}
		}
		s.mu.Lock()
		l := s.listeners[network+" "+at]
		if l == nil {
			s.mu.Unlock()
			return nil, refused
		}
		if s.cuts[direction{from, l.owner}]+s.cuts[direction{l.owner, from}] > 0 {
			s.mu.Unlock()
			continue
		}
		near, far := s.pairLocked(from, l)
		s.mu.Unlock()
		select {
		case l.backlog <- far:
			return near, nil
		default:
			s.forget(near)
			return nil, refused
		}
	}
}

func (s *streams) lagLocked(client string) time.Duration {
	d := s.delay[client]
	if d == 0 {
		d = time.Duration(1+s.rng.IntN(40)) * time.Millisecond
		s.delay[client] = d
	}
	return d
}

func (s *streams) pairLocked(client string, l *listener) (near, far *conn) {
	s.next++
	up, down := newPipe(s, direction{client, l.owner}, s.next), newPipe(s, direction{l.owner, client}, s.next)
	from := "127.0.0.1"
	if client == "vandal" {
		from = "192.0.2.7" // a stranger is counted by its address
	}
	a, b := address{"tcp", fmt.Sprintf("%s:%d", from, 20000+s.next%30000)}, address{l.network, l.address}
	near = &conn{s: s, in: down, out: up, local: a, remote: b, client: client, node: l.owner}
	far = &conn{s: s, in: up, out: down, local: b, remote: a, client: client, node: l.owner}
	near.other, far.other = far, near
	near.near, far.near = near, near
	if s.roomy[client] {
		up.window = 1 << 30
	}
	s.conns[near] = struct{}{}
	for _, p := range []*pipe{up, down} {
		p.cut = s.cuts[p.dir] > 0
	}
	return near, far
}

func (s *streams) forget(near *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, near)
}

// cut stops (or lets go again) what flows from one name to another.
func (s *streams) cut(from, to string, on bool) {
	s.mu.Lock()
	d := direction{from, to}
	if on {
		s.cuts[d]++
	} else {
		s.cuts[d]--
	}
	cut := s.cuts[d] > 0
	var pipes []*pipe
	for c := range s.conns {
		for _, p := range []*pipe{c.in, c.out} {
			if p.dir == d {
				pipes = append(pipes, p)
			}
		}
	}
	s.mu.Unlock()
	for _, p := range pipes {
		p.mu.Lock()
		p.cut = cut
		p.cond.Broadcast()
		p.mu.Unlock()
	}
}

// lose ends the connections of somebody whose power is gone, or whose kernel has reset them.
// Of what it had sent an arbitrary part still arrives; the other end notices only later.
func (s *streams) lose(name string, most time.Duration) {
	s.mu.Lock()
	var lost []*conn
	for c := range s.conns {
		if c.client == name || c.node == name {
			lost = append(lost, c)
		}
	}
	slices.SortFunc(lost, func(a, b *conn) int { return int(a.in.id) - int(b.in.id) })
	late := make([]time.Duration, len(lost))
	keep := make([]float64, len(lost))
	for i := range lost {
		late[i], keep[i] = time.Duration(s.rng.Int64N(int64(most)+1)), s.rng.Float64()
	}
	s.mu.Unlock()
	for i, c := range lost {
		dead, alive := c, c.other
		if c.node == name {
			dead, alive = c.other, c
		}
		// The dead end: neither reads nor writes any more.
		dead.in.reset()
		dead.out.sever(keep[i])
		time.AfterFunc(late[i], func() {
			alive.in.reset()
			alive.out.reset()
			s.forget(c)
		})
	}
}

// conn is one end of a connection.
type conn struct {
	s             *streams
	in, out       *pipe
	local, remote net.Addr
	client, node  string
	other, near   *conn
	once          sync.Once
	ends          int // of the near end: how many are closed; guarded by s.mu
}

func (c *conn) Read(b []byte) (int, error) { return c.in.read(b) }

func (c *conn) Write(b []byte) (int, error) {
	if c.s.meddle != nil && c.out.dir.from == c.node {
		if _, err := c.out.write(c.s.meddle(c, b)); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	n, err := c.out.write(b)
	if n > 0 && c.s.tap != nil {
		c.s.tap(c.out.dir.from, c.out.dir.to, c.out.id, b[:n])
	}
	return n, err
}

func (c *conn) Close() error {
	c.once.Do(func() {
		c.out.finish()
		c.in.reset()
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if c.near.ends++; c.near.ends == 2 {
			delete(c.s.conns, c.near)
		}
	})
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.in.readBy.set(t, c.in)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.writeBy.set(t, c.out)
	return nil
}

// pipe is one direction of a connection.
type pipe struct {
	s   *streams
	dir direction
	id  uint64

	window int

	mu       sync.Mutex // guards all below
	cond     *sync.Cond
	segments []segment
	size     int
	last     time.Time // when the last segment arrives
	cut      bool
	severed  bool // what is written goes nowhere
	finished bool // the writer has closed
	broken   bool // a reset

	readBy, writeBy deadline
}

type segment struct {
	at time.Time
	b  []byte
}

func newPipe(s *streams, d direction, id uint64) *pipe {
	p := &pipe{s: s, dir: d, id: id, window: window}
	p.cond = sync.NewCond(&p.mu)
	return p
}

// deadline wakes those who wait on a pipe when it passes.
type deadline struct {
	t     time.Time
	timer *time.Timer
}

func (d *deadline) set(t time.Time, p *pipe) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.t = t
	p.cond.Broadcast()
	if left := time.Until(t); !t.IsZero() && left > 0 {
		d.timer = time.AfterFunc(left, p.wake)
	}
}

func (d *deadline) over() bool { return !d.t.IsZero() && !time.Now().Before(d.t) }

func (p *pipe) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cond.Broadcast()
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.readBy.over():
			return 0, os.ErrDeadlineExceeded
		case p.cut && !p.broken:
		case len(p.segments) > 0 && !time.Now().Before(p.segments[0].at):
			if len(b) == 0 {
				return 0, nil
			}
			n := copy(b, p.segments[0].b)
			if p.segments[0].b = p.segments[0].b[n:]; len(p.segments[0].b) == 0 {
				p.segments = p.segments[1:]
			}
			p.size -= n
			p.cond.Broadcast()
			return n, nil
		case p.broken:
			return 0, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
		case len(p.segments) == 0 && p.finished:
			return 0, io.EOF
		}
		p.cond.Wait()
	}
}

func (p *pipe) write(b []byte) (int, error) {
	p.s.mu.Lock()
	client := p.dir.from
	if _, ok := p.s.delay[client]; !ok {
		client = p.dir.to
	}
	lag := p.s.lagLocked(client)
	if p.s.rng.IntN(8) == 0 {
		lag += time.Duration(p.s.rng.IntN(50)) * time.Millisecond
	}
	p.s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	done := 0
	for {
		switch {
		case p.broken || p.finished:
			return done, &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
		case p.writeBy.over():
			return done, os.ErrDeadlineExceeded
		case p.severed:
			return len(b), nil
		case p.size < p.window:
			n := min(p.window-p.size, len(b)-done)
			at := time.Now().Add(lag)
			if at.Before(p.last) {
				at = p.last
			}
			p.last = at
			p.segments = append(p.segments, segment{at, slices.Clone(b[done : done+n])})
			p.size += n
			time.AfterFunc(time.Until(at), p.wake)
			if done += n; done == len(b) {
				return done, nil
			}
			continue
		}
		p.cond.Wait()
	}
}

func (p *pipe) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finished = true
	p.cond.Broadcast()
}

func (p *pipe) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = true
	p.segments, p.size = nil, 0
	p.cond.Broadcast()
}

// sever loses a part of what is on the way, and everything that is written from now on.
func (p *pipe) sever(keep float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.severed = true
	left := int(keep * float64(p.size))
	for i := range p.segments {
		if n := len(p.segments[i].b); n <= left {
			left -= n
			continue
		}
		p.segments[i].b = p.segments[i].b[:left]
		p.segments = p.segments[:i+1]
		if left == 0 {
			p.segments = p.segments[:i]
		}
		break
	}
	p.size = 0
	for _, s := range p.segments {
		p.size += len(s.b)
	}
	p.cond.Broadcast()
}
