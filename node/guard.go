package node

import (
	"net"
	"sync"
)

// Bounds of connections to the HTTP listener that are no link of a member: strangers, pages,
// handshakes. A file descriptor and two buffers are all that one gets, and these say how many.
const (
	maxUnadmitted = 4096
	// maxUnadmittedPerPrefix is of one IPv4 address or IPv6 /64. An office behind one address
	// comes back after a restart in waves of this size; each wave takes less than a second.
	maxUnadmittedPerPrefix = 256
)

// guard counts the connections of strangers before anything is read from them.
type guard struct {
	most, mostPerPrefix int
	turnedAway          func()

	mu       sync.Mutex // guards all below
	total    int
	byPrefix map[string]int
}

func newGuard(turnedAway func()) *guard {
	return &guard{most: maxUnadmitted, mostPerPrefix: maxUnadmittedPerPrefix, turnedAway: turnedAway, byPrefix: map[string]int{}}
}

// enter counts a connection. This machine itself has no prefix: what serves TLS in front of
// the node would be one client otherwise.
func (g *guard) enter(prefix string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.most || prefix != "" && g.byPrefix[prefix] >= g.mostPerPrefix {
		return false
	}
	g.total++
	if prefix != "" {
		g.byPrefix[prefix]++
	}
	return true
}

func (g *guard) leave(prefix string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if prefix == "" {
		return
	}
	if g.byPrefix[prefix]--; g.byPrefix[prefix] == 0 {
		delete(g.byPrefix, prefix)
	}
}

// guardedListener turns connections over the bounds away as soon as they are accepted. A
// listener that stopped accepting would let them fill the system's line instead, and those
// behind them would wait for nothing.
type guardedListener struct {
	*net.TCPListener
	guard *guard
}

// Accept implements net.Listener.
func (l *guardedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return nil, err // the server waits and tries again when it is out of descriptors
		}
		prefix := addressClass(c.RemoteAddr())
		if l.guard.enter(prefix) {
			return &guardedConn{TCPConn: c, guard: l.guard, prefix: prefix}, nil
		}
		l.guard.turnedAway()
		// Nothing of it stays behind, not even TIME_WAIT; its errors tell nobody anything.
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

// guardedConn is counted until it is closed, or until its link turns out to be a member's. It
// stays a *net.TCPConn, whose writes of several pieces are one system call.
type guardedConn struct {
	*net.TCPConn
	guard  *guard
	prefix string
	once   sync.Once
}

func (c *guardedConn) admit() { c.once.Do(func() { c.guard.leave(c.prefix) }) }

// Close implements net.Conn.
func (c *guardedConn) Close() error {
	c.admit()
	return c.TCPConn.Close()
}

// admitConn takes a member's connection out of the count of strangers.
func admitConn(c net.Conn) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS around it
		c = t.NetConn()
	}
	if g, ok := c.(*guardedConn); ok {
		g.admit()
	}
}
