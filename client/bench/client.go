package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/trunkline-net/trunkline/client/redial"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// Client is one link of one person. Until Listen it belongs to the goroutine that dialled.
type Client struct {
	*Person
	conn *websocket.Conn
	node *link.Node
	next uint64

	wmu sync.Mutex // guards writes on conn
}

// BusyError is a node that turned a connection away and told when to come back.
type BusyError struct{ RetryAfter time.Duration }

func (e *BusyError) Error() string {
	return fmt.Sprintf("the node is busy; it asks for %s", e.RetryAfter)
}

const writeTimeout = 10 * time.Second

// Thousands of idle clients share these; a link has its own only while it writes.
var writeBuffers sync.Pool

// Dial connects to the node at host:port and proves the device, as every link begins.
func Dial(ctx context.Context, host string, p *Person) (*Client, error) {
	dialer := websocket.Dialer{
		HandshakeTimeout: link.HandshakeTimeout,
		Subprotocols:     []string{link.Subprotocol},
		ReadBufferSize:   1 << 10,
		WriteBufferSize:  4 << 10,
		WriteBufferPool:  &writeBuffers,
	}
	conn, resp, err := dialer.DialContext(ctx, "ws://"+host+link.Path, nil)
	if err != nil {
		if resp != nil && resp.StatusCode == http.StatusServiceUnavailable {
			return nil, &BusyError{RetryAfter: redial.Hint(resp.Header)}
		}
		return nil, err
	}
	c := &Client{Person: p, conn: conn}
	conn.SetReadLimit(link.MaxFrame)
	if err := c.handshake(host); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

func (c *Client) handshake(host string) error {
	if err := c.conn.SetReadDeadline(time.Now().Add(link.HandshakeTimeout)); err != nil {
		return err
	}
	first, err := c.read()
	if err != nil {
		return err
	}
	if c.node, err = link.VerifyChallenge(first.GetChallenge()); err != nil {
		return err
	}
	if c.node.PeerID != c.home.PeerID {
		return errors.New("another node answers than the home")
	}
	c.key = c.node.Descriptor.RoutingKey
	answer, err := link.Authenticate(first.GetChallenge(), host, c.device, c.cert)
	if err != nil {
		return err
	}
	f, err := c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Authenticate{Authenticate: answer}})
	if err != nil {
		return err
	}
	if f.GetAuthenticated() == nil {
		return errors.New("the node did not accept the device")
	}
	return c.conn.SetReadDeadline(time.Time{})
}

func (c *Client) read() (*pb.NodeFrame, error) {
	kind, b, err := c.conn.ReadMessage()
	if err != nil {
		return nil, err
	}
	if kind != websocket.BinaryMessage {
		return nil, errors.New("the node sent text where the protocol has none")
	}
	return link.ParseNode(b)
}

// call asks and reads until the answer is there. Only before Listen.
func (c *Client) call(f *pb.ClientFrame) (*pb.NodeFrame, error) {
	c.next++
	f.Id = c.next
	b, err := link.MarshalClient(f)
	if err != nil {
		return nil, err
	}
	if err := c.write(b); err != nil {
		return nil, err
	}
	for {
		answer, err := c.read()
		if err != nil {
			return nil, err
		}
		if e := answer.GetError(); e != nil {
			return nil, fmt.Errorf("the node refused: %s", e.Code)
		}
		if answer.Id == f.Id {
			return answer, nil
		}
	}
}

func (c *Client) write(b []byte) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return c.conn.WriteMessage(websocket.BinaryMessage, b)
}

// Publish shows the node the person's device list and prekey bundle. Once is enough.
func (c *Client) Publish() error {
	f, err := c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Publish{Publish: &pb.Publish{
		List: c.list.Bytes(), Bundles: [][]byte{c.bundle},
	}}})
	if err == nil && f.GetPublished() == nil {
		err = errors.New("the node answered a device list with something else")
	}
	return err
}

// Register opens the mailbox: from its answer on, envelopes are taken.
func (c *Client) Register() error {
	hash := c.tokenHash()
	f, err := c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Register{Register: &pb.Register{
		RouteTag: c.tag[:], TokenHash: hash[:], TokenEpoch: 1,
	}}})
	if err == nil && f.GetRegistered() == nil {
		err = errors.New("the node answered a registration with something else")
	}
	return err
}

// Ping keeps an idle link alive; the answer is read like any frame.
func (c *Client) Ping() error {
	b, err := link.MarshalClient(&pb.ClientFrame{Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: 1}}})
	if err != nil {
		return err
	}
	return c.write(b)
}

// Close ends the link at once.
func (c *Client) Close() { _ = c.conn.Close() } // whoever reads sees the end

// Listen reads what comes until the link ends, and hands live envelopes and receipts on. The
// bytes are valid during the call only.
func (c *Client) Listen(got func(*Frame) error) error {
	var f Frame
	var b []byte
	for {
		var err error
		if b, err = c.readInto(b); err != nil {
			return err
		}
		if err := f.parse(b); err != nil {
			return err
		}
		if err := got(&f); err != nil {
			return err
		}
	}
}

// readInto reads a message into b, which grows once to what comes.
func (c *Client) readInto(b []byte) ([]byte, error) {
	kind, r, err := c.conn.NextReader()
	if err != nil {
		return b, err
	}
	if kind != websocket.BinaryMessage {
		return b, errors.New("the node sent text where the protocol has none")
	}
	return readAll(r, b)
}
