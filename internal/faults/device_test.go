//go:build linux

package faults

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"

	"crypto/sha256"
)

// line is one link to a node: a WebSocket and internal/link, and nothing that helps.
type line struct {
	ws   *websocket.Conn
	node *link.Node
	host string

	mu   sync.Mutex // one writer at a time
	next atomic.Uint64

	waiting sync.Map // frame id to chan *pb.NodeFrame, for calls
}

var errEnded = errors.New("the link ended")

// refusal is an Error frame.
type refusal struct {
	code  string
	retry time.Duration
}

func (r *refusal) Error() string { return "the node said " + r.code }

// dialLine opens a link and authenticates; without a device it is a stranger's.
func dialLine(ctx context.Context, host string, device *identity.Device, cert *identity.DeviceCert) (*line, error) {
	d := websocket.Dialer{Subprotocols: []string{link.Subprotocol}, HandshakeTimeout: wait}
	ws, resp, err := d.DialContext(ctx, "ws://"+host+link.Path, nil)
	if err != nil {
		if resp != nil && resp.StatusCode == http.StatusServiceUnavailable {
			return nil, &refusal{code: "not now"}
		}
		return nil, err
	}
	l := &line{ws: ws, host: host}
	f, err := l.read()
	if err == nil {
		l.node, err = link.VerifyChallenge(f.GetChallenge())
	}
	if err != nil {
		return nil, errors.Join(err, ws.Close())
	}
	a, err := link.Authenticate(f.GetChallenge(), host, device, cert)
	if err == nil {
		err = l.send(&pb.ClientFrame{Id: l.id(), Kind: &pb.ClientFrame_Authenticate{Authenticate: a}})
	}
	if err == nil {
		f, err = l.read()
	}
	if err == nil && f.GetAuthenticated() == nil {
		err = answered(f)
	}
	if err != nil {
		return nil, errors.Join(err, ws.Close())
	}
	return l, nil
}

// dialStranger opens a link without a device, and sees whether it may stay.
func dialStranger(ctx context.Context, host string) (*line, error) {
	l, err := dialLine(ctx, host, nil, nil)
	if err != nil {
		return nil, err
	}
	f := new(pb.NodeFrame)
	if err = l.send(&pb.ClientFrame{Id: l.id(), Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: 1}}}); err == nil {
		f, err = l.read()
	}
	if err == nil && f.GetPong() == nil {
		err = answered(f)
	}
	if err != nil {
		return nil, errors.Join(err, l.ws.Close())
	}
	return l, nil
}

func answered(f *pb.NodeFrame) error {
	if e := f.GetError(); e != nil {
		return &refusal{code: e.Code, retry: time.Duration(e.RetryAfterMs) * time.Millisecond}
	}
	if f.GetDrain() != nil {
		return &refusal{code: link.CodeDraining}
	}
	return fmt.Errorf("an answer that does not fit: %T", f.GetKind())
}

func (l *line) id() uint64 { return l.next.Add(1) }

func (l *line) read() (*pb.NodeFrame, error) {
	_, b, err := l.ws.ReadMessage()
	if err != nil {
		return nil, errEnded
	}
	return link.ParseNode(b)
}

func (l *line) send(f *pb.ClientFrame) error {
	b, err := link.MarshalClient(f)
	if err != nil {
		return err
	}
	return l.sendBytes(b)
}

func (l *line) sendBytes(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ws.WriteMessage(websocket.BinaryMessage, b)
}

// call sends a frame and waits for its answer, which the reader of the link passes on.
func (l *line) call(ctx context.Context, f *pb.ClientFrame) (*pb.NodeFrame, error) {
	f.Id = l.id()
	answer := make(chan *pb.NodeFrame, 1)
	l.waiting.Store(f.Id, answer)
	defer l.waiting.Delete(f.Id)
	if err := l.send(f); err != nil {
		return nil, errEnded
	}
	select {
	case a := <-answer:
		if a == nil {
			return nil, errEnded
		}
		if a.GetError() != nil {
			return nil, answered(a)
		}
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pass gives a frame to the call that waits for it.
func (l *line) pass(f *pb.NodeFrame) {
	if c, ok := l.waiting.LoadAndDelete(f.Id); ok {
		c.(chan *pb.NodeFrame) <- f
	}
}

// over ends all calls.
func (l *line) over() {
	l.waiting.Range(func(k, c any) bool {
		if _, there := l.waiting.LoadAndDelete(k); there {
			c.(chan *pb.NodeFrame) <- nil
		}
		return true
	})
	_ = l.ws.Close() // it has ended
}

// device is one mailbox at one node, and the client that it belongs to.
type device struct {
	name   string
	number int
	home   *server
	root   *identity.Root
	key    *identity.Device
	list   *identity.DeviceList
	tag    envelope.RouteTag
	token  envelope.Token
	hints  bool // comes back when the Drain says, not when it sees the node again

	published bool // the client loop's

	mu     sync.Mutex // guards all below
	line   *line      // when it is registered
	drains int        // links that ended with a Drain
	cuts   int        // links that ended without one
}

func newDevice(t *testing.T, name string, number int, home *server) *device {
	t.Helper()
	var random [32]byte
	rand.Read(random[:])
	d := &device{name: name, number: number, home: home, root: identity.RootFromSeed(random), tag: envelope.NewRouteTag(), token: envelope.Token(envelope.NewMessageID())}
	var err error
	if d.key, err = identity.GenerateDevice(); err == nil {
		d.list, err = d.root.NewList(d.key.Public(), []identity.Home{{PeerID: home.self, Domain: home.domain}}, [32]byte{}, time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *device) cert() *identity.DeviceCert {
	c, _ := d.list.Device(d.key.ID())
	return c
}

// open makes a link, publishes once and registers. The reader of the link must run.
func (d *device) open(ctx context.Context, l *line) error {
	if !d.published {
		k, err := envelope.GeneratePrekey(time.Now())
		if err != nil {
			return err
		}
		b, err := k.Bundle(d.key, d.root.Public(), d.list.Epoch, envelope.Route{
			Home: identity.Home{PeerID: d.home.self, Domain: d.home.domain}, Tag: d.tag, TokenEpoch: 1,
		})
		if err != nil {
			return err
		}
		if _, err := l.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_Publish{Publish: &pb.Publish{List: d.list.Bytes(), Bundles: [][]byte{b.Bytes()}}}}); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		d.published = true
	}
	hash := sha256.Sum256(d.token[:])
	_, err := l.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_Register{Register: &pb.Register{RouteTag: d.tag[:], TokenHash: hash[:], TokenEpoch: 1}}})
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	return nil
}

// seal makes an envelope for the device. The node's key is what its process told last.
func (d *device) seal(routing [32]byte, ttl envelope.TTL, body []byte) (*envelope.Envelope, error) {
	return envelope.NewEnvelope(routing, d.home.self, ttl, envelope.Hop{Tag: d.tag, Token: d.token}, body)
}

// current is the device's registered link, nil while there is none.
func (d *device) current() *line {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.line
}

// outcome asks a node what became of an envelope, through the device's own node.
func (d *device) outcome(ctx context.Context, at *server, routing [32]byte, id envelope.ID) (envelopepb.Fate, error) {
	l := d.current()
	if l == nil {
		return 0, errEnded
	}
	box, pending, err := envelope.SealQuery(routing, at.self, envelopepb.Operation_OPERATION_OUTCOME, id[:])
	if err != nil {
		return 0, err
	}
	f, err := l.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_Query{Query: &pb.Query{Destination: at.self[:], Box: box}}})
	if err != nil {
		return 0, err
	}
	if code := f.GetAnswer().GetCode(); code != "" {
		return 0, &refusal{code: code}
	}
	a, err := pending.OpenAnswer(f.GetAnswer().GetBox())
	if err != nil {
		return 0, err
	}
	return a.Fate, nil
}
