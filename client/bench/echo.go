package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// The bare relay: what passing a message from one WebSocket to another costs when nothing is
// checked, sealed, promised or reported. It is the library with its defaults and one goroutine
// for each connection, which reads a binary message into a buffer that it keeps and writes it
// to the partner's connection.

// relay passes messages between the connections 2n and 2n+1.
type relay struct {
	upgrader websocket.Upgrader
	over     <-chan struct{}

	mu    sync.Mutex // guards conns
	conns map[int]*relayed
}

type relayed struct {
	there chan struct{} // closed when conn is set
	mu    sync.Mutex    // guards writes on conn
	conn  *websocket.Conn
}

func (r *relay) end(number int) *relayed {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns[number] == nil {
		r.conns[number] = &relayed{there: make(chan struct{})}
	}
	return r.conns[number]
}

// ServeRelay runs the bare relay on a free port of this machine until the context ends. ready
// is called once, with host:port. It serves one set of clients, each number once.
func ServeRelay(ctx context.Context, ready func(address string) error) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	r := &relay{conns: make(map[int]*relayed), over: ctx.Done()}
	server := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	if err := ready(l.Addr().String()); err != nil {
		return errors.Join(err, server.Close(), <-ended)
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	err = server.Close() // not of the connections: they end with the process
	<-ended              // says that it was closed
	return err
}

func (r *relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	number, err := strconv.Atoi(req.URL.Query().Get("n"))
	if err != nil {
		http.Error(w, "no number", http.StatusBadRequest)
		return
	}
	conn, err := r.upgrader.Upgrade(w, req, nil)
	if err != nil {
		return // Upgrade has answered
	}
	defer conn.Close() //nolint:errcheck // its client sees the end
	me := r.end(number)
	me.conn = conn
	close(me.there)
	partner := r.end(number ^ 1)
	select {
	case <-partner.there:
	case <-r.over:
		return
	}
	var b []byte
	for {
		_, in, err := conn.NextReader()
		if err != nil {
			return
		}
		if b, err = readAll(in, b); err != nil {
			return
		}
		partner.mu.Lock()
		err = partner.conn.WriteMessage(websocket.BinaryMessage, b)
		partner.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Echo is pairs of clients of the bare relay. Each keeps so many messages of its own on the
// way; its partner sends each back, and a message that has come back makes place for the next.
// So the relay passes on two messages for each that comes back.
type Echo struct {
	conns   []*echoEnd
	window  int
	pace    time.Duration // between an answer and the next message
	stopped atomic.Bool

	sent, passed, back, wrong atomic.Int64

	readers sync.WaitGroup
	mu      sync.Mutex // guards failed
	failed  error
}

type echoEnd struct {
	e    *Echo
	conn *websocket.Conn
	mu   sync.Mutex // guards writes on conn
}

// First bytes of a message.
const (
	echoQuestion = 'q'
	echoAnswer   = 'a'
)

// NewEcho connects so many clients to the bare relay, from an even number on that no other
// Echo uses.
func NewEcho(ctx context.Context, address string, from, clients, window int, pace time.Duration) (*Echo, error) {
	e := &Echo{window: window, pace: pace}
	e.stopped.Store(true)
	for i := range clients {
		// The same as Dial, so that the driver is the same to both.
		dialer := websocket.Dialer{ReadBufferSize: 1 << 10, WriteBufferSize: 4 << 10, WriteBufferPool: &writeBuffers}
		conn, _, err := dialer.DialContext(ctx, fmt.Sprintf("ws://%s/?n=%d", address, from+i), nil)
		if err != nil {
			e.Close()
			return nil, err
		}
		e.conns = append(e.conns, &echoEnd{e: e, conn: conn})
	}
	for _, c := range e.conns {
		e.readers.Go(func() {
			if err := c.readLoop(); err != nil {
				e.fail(err)
			}
		})
	}
	return e, nil
}

func (c *echoEnd) readLoop() error {
	var b []byte
	for {
		_, r, err := c.conn.NextReader()
		if err != nil {
			return err
		}
		if b, err = readAll(r, b); err != nil {
			return err
		}
		if len(b) == 0 {
			c.e.wrong.Add(1)
			continue
		}
		c.e.passed.Add(1)
		switch b[0] {
		case echoQuestion:
			b[0] = echoAnswer
			err = c.write(b)
		case echoAnswer:
			c.e.back.Add(1)
			if c.e.pace > 0 {
				c.later(bytes.Clone(b))
			} else {
				err = c.send(b)
			}
		default:
			c.e.wrong.Add(1)
		}
		if err != nil {
			return err
		}
	}
}

func (c *echoEnd) later(b []byte) {
	time.AfterFunc(c.e.pace, func() {
		if err := c.send(b); err != nil {
			c.e.fail(err)
		}
	})
}

func (c *echoEnd) send(b []byte) error {
	if c.e.stopped.Load() {
		return nil
	}
	c.e.sent.Add(1)
	b[0] = echoQuestion
	return c.write(b)
}

func (c *echoEnd) write(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return c.conn.WriteMessage(websocket.BinaryMessage, b)
}

// Start lets all clients send messages of one size until Stop.
func (e *Echo) Start(size int) error {
	body := make([]byte, size)
	_, _ = rand.Read(body)
	e.stopped.Store(false)
	for _, c := range e.conns {
		for range e.window {
			if err := c.send(append([]byte(nil), body...)); err != nil {
				return err
			}
		}
	}
	return e.Err()
}

func (e *Echo) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failed == nil {
		e.failed = err
	}
}

// Err is what ended the echo before its time.
func (e *Echo) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failed
}

// Done is how many messages the relay has passed on so far.
func (e *Echo) Done() int64 { return e.passed.Load() }

// Stop ends a run as that of Traffic does. Delivered are the messages that the relay passed
// on, Receipts those that came back.
func (e *Echo) Stop(ctx context.Context) (Counts, error) {
	e.stopped.Store(true)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for e.Err() == nil && e.back.Load() < e.sent.Load() && ctx.Err() == nil {
		<-tick.C
	}
	c := Counts{Sent: e.sent.Swap(0), Receipts: e.back.Swap(0), Delivered: e.passed.Swap(0), Misdelivered: e.wrong.Swap(0)}
	c.Lost = c.Sent - c.Receipts
	return c, e.Err()
}

// Close ends the connections and waits for their readers.
func (e *Echo) Close() {
	for _, c := range e.conns {
		_ = c.conn.Close() // its reader sees the end
	}
	e.readers.Wait()
}
