package client_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/node"
)

// middle stands between clients and their node and does what a hostile node would do. The
// real node behind it signs the challenge; its public address is the middle's, so that the
// device's signature fits.
type middle struct {
	t      *testing.T
	server *httptest.Server
	conns  sync.WaitGroup

	mu     sync.Mutex // guards the rest
	target string     // the real node
	// up and down see each frame of the client and of the node and may change it; false: it
	// is not passed on. They run under the middle's lock.
	up   func(*pb.ClientFrame) bool
	down func(*pb.NodeFrame) bool
	// answer, if it returns a frame, answers in the node's place.
	answer func(*pb.ClientFrame) *pb.NodeFrame
	last   *midLink
	open   map[*midLink]bool
	seen   []*pb.NodeFrame   // what went to clients
	sent   []*pb.ClientFrame // what came from clients
	news   chan struct{}
}

type midLink struct {
	client, node *websocket.Conn
	mu           sync.Mutex // guards writes on client
}

func newMiddle(t *testing.T) *middle {
	t.Helper()
	m := &middle{t: t, open: make(map[*midLink]bool), news: make(chan struct{})}
	m.server = httptest.NewServer(http.HandlerFunc(m.serve))
	t.Cleanup(func() {
		m.cut()
		m.server.Close()
		m.conns.Wait()
	})
	return m
}

// exchange starts a node behind the middle.
func (m *middle) exchange(t *testing.T, domain, dir string) *exchange {
	t.Helper()
	e := startExchange(t, domain, dir, func(c *node.Config) { c.HTTP.PublicURL = m.server.URL })
	m.mu.Lock()
	m.target = e.Facts().HTTP
	m.mu.Unlock()
	return e
}

func (m *middle) serve(w http.ResponseWriter, r *http.Request) {
	m.conns.Add(1)
	defer m.conns.Done()
	m.mu.Lock()
	target, err := url.Parse(m.target)
	m.mu.Unlock()
	if err != nil || target.Host == "" {
		http.Error(w, "no node", http.StatusBadGateway)
		return
	}
	target.Scheme, target.Path = "ws", link.Path
	dialer := websocket.Dialer{Subprotocols: []string{link.Subprotocol}}
	toNode, _, err := dialer.Dial(target.String(), nil)
	if err != nil {
		http.Error(w, "the node does not answer", http.StatusBadGateway)
		return
	}
	defer toNode.Close()
	upgrader := websocket.Upgrader{Subprotocols: []string{link.Subprotocol}}
	toClient, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer toClient.Close()
	l := &midLink{client: toClient, node: toNode}
	m.mu.Lock()
	m.last = l
	m.open[l] = true
	m.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { m.upLoop(l) })
	both.Go(func() { m.downLoop(l) })
	both.Wait()
	m.mu.Lock()
	delete(m.open, l)
	m.mu.Unlock()
}

func (m *middle) upLoop(l *midLink) {
	defer l.node.Close()
	for {
		_, b, err := l.client.ReadMessage()
		if err != nil {
			return
		}
		f, err := link.ParseClient(b)
		if err != nil {
			m.t.Errorf("the client wrote a bad frame: %v", err)
			return
		}
		m.mu.Lock()
		m.sent = append(m.sent, f)
		pass := m.up == nil || m.up(f)
		var own *pb.NodeFrame
		if m.answer != nil {
			own = m.answer(f)
		}
		b, err = link.MarshalClient(f)
		m.tellLocked()
		m.mu.Unlock()
		if own != nil {
			own.Id = f.Id
			l.give(m.t, own)
			continue
		}
		if !pass {
			continue
		}
		if err != nil {
			m.t.Errorf("a client's frame cannot be written: %v", err)
			return
		}
		if l.node.WriteMessage(websocket.BinaryMessage, b) != nil {
			return
		}
	}
}

func (m *middle) downLoop(l *midLink) {
	defer l.client.Close()
	for {
		_, b, err := l.node.ReadMessage()
		if err != nil {
			return
		}
		f, err := link.ParseNode(b)
		if err != nil {
			m.t.Errorf("the node wrote a bad frame: %v", err)
			return
		}
		m.mu.Lock()
		pass := m.down == nil || m.down(f)
		m.seen = append(m.seen, f)
		m.tellLocked()
		m.mu.Unlock()
		if pass {
			l.give(m.t, f)
		}
	}
}

func (l *midLink) give(t *testing.T, f *pb.NodeFrame) {
	b, err := link.MarshalNode(f)
	if err != nil {
		t.Errorf("a node's frame cannot be written: %v", err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.client.WriteMessage(websocket.BinaryMessage, b) // a link that ended shows in its loop
}

func (m *middle) tellLocked() {
	close(m.news)
	m.news = make(chan struct{})
}

// inject gives the newest link a frame that the node never wrote.
func (m *middle) inject(f *pb.NodeFrame) {
	m.mu.Lock()
	l := m.last
	m.mu.Unlock()
	l.give(m.t, f)
}

// cut ends all links.
func (m *middle) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for l := range m.open {
		l.client.Close()
		l.node.Close()
	}
}

// rule changes how the middle behaves.
func (m *middle) rule(change func(*middle)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

// until waits until what has gone through satisfies done.
func (m *middle) until(what string, done func(sent []*pb.ClientFrame, seen []*pb.NodeFrame) bool) {
	m.t.Helper()
	late := time.After(wait)
	for {
		m.mu.Lock()
		ok, news := done(m.sent, m.seen), m.news
		m.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-news:
		case <-late:
			m.t.Fatalf("%s did not happen", what)
		}
	}
}

// delivered returns the deliveries that went to clients.
func (m *middle) delivered() (out []*pb.Deliver) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.seen {
		if d := f.GetDeliver(); d != nil {
			out = append(out, d)
		}
	}
	return out
}

// submitted counts the envelopes that clients gave.
func (m *middle) submitted() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return countSubmits(m.sent)
}

func countSubmits(sent []*pb.ClientFrame) (n int) {
	for _, f := range sent {
		if f.GetSubmit() != nil {
			n++
		}
	}
	return n
}

// settled lets everything that was injected before be worked through: a delivery that is
// acknowledged was handled, and deliveries are handled in order.
func (m *middle) settled() {
	m.t.Helper()
	const marker = 1<<62 - 1
	m.rule(func(m *middle) {
		up := m.up
		m.up = func(f *pb.ClientFrame) bool {
			if a := f.GetAck(); a != nil && slices.Contains(a.StoredIds, marker) {
				a.StoredIds = slices.DeleteFunc(a.StoredIds, func(id uint64) bool { return id == marker })
				f.Id = marker
				return len(a.StoredIds) > 0
			}
			return up == nil || up(f)
		}
	})
	m.inject(&pb.NodeFrame{Kind: &pb.NodeFrame_Deliver{Deliver: &pb.Deliver{
		StoredId: marker, Hint: []byte{0xff, 0xff}, Payload: []byte(ageStart + strings.Repeat("x", 1024-len(ageStart))), EnvelopeId: make([]byte, 16),
	}}})
	m.until("the acknowledgement of the marker", func(sent []*pb.ClientFrame, _ []*pb.NodeFrame) bool {
		for _, f := range sent {
			if f.GetAck() != nil && f.Id == marker {
				f.Id = 0
				return true
			}
		}
		return false
	})
}

const ageStart = "age-encryption.org/v1\n"
