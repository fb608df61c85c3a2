package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/trunkline-net/trunkline/client/redial"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// wire is one WebSocket to a node, from the dial to its end. It matches answers with
// questions and hands everything else to its owner.
type wire struct {
	conn *websocket.Conn
	node *link.Node

	onDeliver func(*pb.Deliver) bool // false: the owner cannot take it; the wire ends
	onDrain   func(*pb.Drain)
	onRoom    func(*pb.NodeFrame) // events of the room that the wire has a seat in; nil: there is none

	challenge *pb.Challenge // what the signatures of a room cover
	ended     chan struct{} // of a wire to a room: closed when run has returned
	why       error         // what it returned

	writeMu sync.Mutex // guards writes on conn

	// early counts what was acknowledged before the wire became the link. Guarded by the
	// client's mu.
	early int

	mu      sync.Mutex // guards next, waiting, closed
	next    uint64
	waiting map[uint64]func(*pb.NodeFrame, error) (more bool)
	closed  error
}

const writeTimeout = 10 * time.Second

// answerTimeout is how long a node may take to answer a question. Its own limit for what
// other nodes have to answer is 15 seconds; a node that keeps silent longer must not hold up
// a call or a background task.
const answerTimeout = 20 * time.Second

// linkURL turns the address of a node into that of its link. Plain HTTP is for loopback
// only: off the machine it would show the network who is connected.
func linkURL(base string) (ws, host string, err error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return "", "", fmt.Errorf("%q is not the address of a node: it looks like https://node.example", base)
	}
	switch u.Scheme {
	case "https":
		u.Scheme = "wss"
	case "http":
		if !loopbackHost(u.Hostname()) {
			return "", "", fmt.Errorf("%s is not on this machine: use https", u.Hostname())
		}
		u.Scheme = "ws"
	default:
		return "", "", fmt.Errorf("%q is not an address of the web: it starts with https://", base)
	}
	u.Path, u.RawQuery, u.Fragment = link.Path, "", ""
	return u.String(), u.Host, nil
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// dialWire connects, checks that the node is the one that is meant and proves the device.
// With a zero pin the node's name decides (see link.CheckHost), with a pin its key.
func dialWire(ctx context.Context, dial dialer, roots *x509.CertPool, base string, pin identity.PeerID, device *identity.Device, cert *identity.DeviceCert) (*wire, error) {
	address, host, err := linkURL(base)
	if err != nil {
		return nil, err
	}
	d := websocket.Dialer{
		HandshakeTimeout: link.HandshakeTimeout,
		Subprotocols:     []string{link.Subprotocol},
		ReadBufferSize:   4 << 10,
		WriteBufferSize:  4 << 10,
		NetDialContext:   dial,
		TLSClientConfig:  &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}
	conn, resp, err := d.DialContext(ctx, address, http.Header{})
	if err != nil {
		if resp != nil && errors.Is(err, websocket.ErrBadHandshake) {
			return nil, &UnreachableError{What: fmt.Sprintf("%s does not answer as a Trunkline node (%s)", host, resp.Status), err: err, retryAfter: redial.Hint(resp.Header)}
		}
		var unknown x509.UnknownAuthorityError
		if errors.As(err, &unknown) {
			return nil, &UnreachableError{What: fmt.Sprintf("the certificate of %s comes from an authority that this machine does not know; if it is the node's own, give its ca.crt with --ca", host), err: err}
		}
		return nil, &UnreachableError{What: fmt.Sprintf("%s cannot be reached", host), err: err}
	}
	w := &wire{conn: conn, waiting: make(map[uint64]func(*pb.NodeFrame, error) bool)}
	conn.SetReadLimit(link.MaxFrame)
	if err := w.handshake(host, pin, device, cert); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return w, nil
}

func (w *wire) handshake(host string, pin identity.PeerID, device *identity.Device, cert *identity.DeviceCert) error {
	if err := w.conn.SetReadDeadline(time.Now().Add(link.HandshakeTimeout)); err != nil {
		return err
	}
	first, err := w.read()
	if err != nil {
		return err
	}
	challenge := first.GetChallenge()
	if challenge == nil {
		return refusedFrame(first, "the node did not begin with a challenge")
	}
	if w.node, err = link.VerifyChallenge(challenge); err != nil {
		return fmt.Errorf("%w: %w", ErrVerification, err)
	}
	if pin.IsZero() {
		err = link.CheckHost(w.node.Domain, host)
	} else if w.node.PeerID != pin {
		err = fmt.Errorf("another node answers at %s than the one this identity is registered at", host)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrVerification, err)
	}
	w.challenge = challenge
	answer, err := link.Authenticate(challenge, host, device, cert)
	if err != nil {
		return err
	}
	if err := w.send(&pb.ClientFrame{Kind: &pb.ClientFrame_Authenticate{Authenticate: answer}}); err != nil {
		return err
	}
	second, err := w.read()
	if err != nil {
		return err
	}
	if second.GetAuthenticated() == nil {
		return refusedFrame(second, "the node did not accept the device")
	}
	return w.conn.SetReadDeadline(time.Time{})
}

func (w *wire) read() (*pb.NodeFrame, error) {
	kind, b, err := w.conn.ReadMessage()
	if err != nil {
		return nil, &UnreachableError{What: "the link to the node ended", err: err}
	}
	if kind != websocket.BinaryMessage {
		return nil, errors.New("the node sent text where the protocol has none")
	}
	return link.ParseNode(b)
}

func (w *wire) send(f *pb.ClientFrame) error {
	b, err := link.MarshalClient(f)
	if err != nil {
		return err
	}
	w.writeMu.Lock()
	defer w.writeMu.Unlock()
	if err := w.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if err := w.conn.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return &UnreachableError{What: "the link to the node ended", err: err}
	}
	return nil
}

// ask sends a frame and calls got with what the node answers to it, until got wants no
// more or the wire ends. got runs on the read loop and must not block.
func (w *wire) ask(f *pb.ClientFrame, got func(*pb.NodeFrame, error) (more bool)) error {
	w.mu.Lock()
	if w.closed != nil {
		w.mu.Unlock()
		return w.closed
	}
	w.next++
	f.Id = w.next
	w.waiting[f.Id] = got
	w.mu.Unlock()
	if err := w.send(f); err != nil {
		w.forget(f.Id)
		return err
	}
	return nil
}

// call is ask for one answer, with errors of the node as errors.
func (w *wire) call(ctx context.Context, f *pb.ClientFrame) (*pb.NodeFrame, error) {
	type answer struct {
		frame *pb.NodeFrame
		err   error
	}
	c := make(chan answer, 1)
	err := w.ask(f, func(f *pb.NodeFrame, err error) bool {
		c <- answer{f, err}
		return false
	})
	if err != nil {
		return nil, err
	}
	late := time.NewTimer(answerTimeout)
	defer late.Stop()
	select {
	case <-ctx.Done():
		w.forget(f.Id)
		return nil, ctx.Err()
	case <-late.C:
		w.forget(f.Id)
		return nil, &UnreachableError{What: "the own node does not answer"}
	case a := <-c:
		if a.err != nil {
			return nil, a.err
		}
		if e := a.frame.GetError(); e != nil {
			return nil, refusedFrame(a.frame, "")
		}
		return a.frame, nil
	}
}

// forget drops a question whose answer nobody waits for any more.
func (w *wire) forget(id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiting, id)
}

// close ends the wire from this side; run returns.
func (w *wire) close() { _ = w.conn.Close() } // the reading side reports the end

// run reads until the wire ends, then tells all who still wait. It sends a ping when the
// node was silent, so that a dead path is noticed.
func (w *wire) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = w.conn.Close() })
	defer stop()
	pinging, stopPing := context.WithCancel(ctx)
	var pings sync.WaitGroup
	pings.Add(1)
	go func() {
		defer pings.Done()
		w.pingLoop(pinging)
	}()
	err := w.readLoop()
	stopPing()
	pings.Wait()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	w.mu.Lock()
	w.closed = err
	waiting := w.waiting
	w.waiting = nil
	w.mu.Unlock()
	for _, got := range waiting {
		got(nil, err)
	}
	_ = w.conn.Close() // the error that matters is the one that ended the reading
	return err
}

func (w *wire) readLoop() error {
	for {
		if err := w.conn.SetReadDeadline(time.Now().Add(3 * link.PingInterval)); err != nil {
			return err
		}
		f, err := w.read()
		if err != nil {
			return err
		}
		switch k := f.Kind.(type) {
		case *pb.NodeFrame_Deliver:
			if !w.onDeliver(k.Deliver) {
				return errors.New("more came than could be taken; what is stored will come again")
			}
			continue
		case *pb.NodeFrame_Drain:
			w.onDrain(k.Drain)
			return &UnreachableError{What: "the node is going down or restarting", err: errDrained}
		case *pb.NodeFrame_RoomEvent, *pb.NodeFrame_RoomLeg:
			if f.Id == 0 {
				if w.onRoom != nil {
					w.onRoom(f)
				}
				continue
			}
		case *pb.NodeFrame_Error:
			if f.Id == 0 {
				return refusedFrame(f, "")
			}
		}
		w.mu.Lock()
		got := w.waiting[f.Id]
		w.mu.Unlock()
		if got != nil && !got(f, nil) {
			w.forget(f.Id)
		}
	}
}

func (w *wire) pingLoop(ctx context.Context) {
	tick := time.NewTicker(link.PingInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			// An error shows in the read loop, which owns the wire's end.
			_ = w.send(&pb.ClientFrame{Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: 1}}})
		}
	}
}
