package turn

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/media"
)

// clock is a clock that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: noon} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const testRealm = "relay.example"

// loopbackRule lets the tests' own sockets be peers, the way the demo does.
const loopbackRule = "127.0.0.1/32"

// start runs a server on loopback until the test ends.
func start(t testing.TB, change ...func(*Config)) *Server {
	t.Helper()
	c := Config{
		Listen: "127.0.0.1:0", Realm: testRealm,
		Interfaces: func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil },
	}
	for _, f := range change {
		f(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if st := s.Stats(); st.Allocations != 0 || st.Connections != 0 {
			t.Errorf("after Run %d allocations and %d connections are left", st.Allocations, st.Connections)
		}
	})
	return s
}

func allowing(rules ...string) func(*Config) {
	return func(c *Config) {
		for _, text := range rules {
			r, err := ParsePeerRule(text)
			if err != nil {
				panic(err)
			}
			c.AllowPeers = append(c.AllowPeers, r)
		}
	}
}

func onClock(c *clock) func(*Config) { return func(cfg *Config) { cfg.Clock = c.Now } }

func logTo(w io.Writer) func(*Config) {
	return func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
}

func mint(t testing.TB, s *Server, owner byte) media.Credentials {
	t.Helper()
	creds, err := s.Mint(media.Owner{owner}, media.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return creds
}

// rawClient speaks STUN byte by byte.
type rawClient struct {
	t     testing.TB
	conn  net.Conn
	tcp   bool
	creds media.Credentials
	realm string
	nonce string
	long  bool // sign with SHA-256
	rest  []byte
}

func dial(t testing.TB, s *Server, network string) *rawClient {
	t.Helper()
	conn, err := net.Dial(network, s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &rawClient{t: t, conn: conn, tcp: network == "tcp"}
}

// login gets realm and nonce, and will sign as creds.
func (c *rawClient) login(creds media.Credentials) *rawClient {
	c.t.Helper()
	c.creds = creds
	got := c.ask(newWriter(nil, methodAllocate, classRequest, newID()).attr(attrTransport, []byte{17, 0, 0, 0}).bytes())
	got.wantCode(401)
	c.realm, c.nonce = string(attribute(got.b, attrRealm)), string(attribute(got.b, attrNonce))
	if c.realm != testRealm || c.nonce == "" {
		c.t.Fatalf("challenged with realm %q and nonce %q", c.realm, c.nonce)
	}
	return c
}

func newID() (id [12]byte) { rand.Read(id[:]); return id }

func (c *rawClient) send(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

const patience = 20 * time.Second // for what must come; nothing is measured with it

// recv reads one datagram or frame.
func (c *rawClient) recv() []byte {
	c.t.Helper()
	b, err := c.tryRecv()
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

func (c *rawClient) tryRecv() ([]byte, error) {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	buffer := make([]byte, 1<<16)
	if !c.tcp {
		n, err := c.conn.Read(buffer)
		return buffer[:n], err
	}
	for {
		if size, err := frameSize(c.rest); err != nil {
			return nil, err
		} else if size > 0 && len(c.rest) >= size {
			frame := c.rest[:size]
			c.rest = c.rest[size:]
			return frame, nil
		}
		n, err := c.conn.Read(buffer)
		if err != nil {
			return nil, err
		}
		c.rest = append(c.rest, buffer[:n]...)
	}
}

type reply struct {
	t testing.TB
	m message
	b []byte
}

// ask sends a request and reads answers until the one to it.
func (c *rawClient) ask(b []byte) *reply {
	c.t.Helper()
	c.send(b)
	for {
		got := c.recv()
		r := &reply{t: c.t, b: got}
		if len(got) >= stunHeader && bytes.Equal(got[8:20], b[8:20]) {
			if err := r.m.parse(got); err != nil {
				c.t.Fatalf("the answer cannot be read: %v: %x", err, got)
			}
			if want := binary.BigEndian.Uint16(b) & 0x3EEF; binary.BigEndian.Uint16(got)&0x3EEF != want {
				c.t.Fatalf("the answer is to another method: %x", got[:2])
			}
			return r
		}
	}
}

func (c *rawClient) key() []byte {
	k := longTermKey([]byte(c.creds.Username), c.realm, c.creds.Password)
	return k[:]
}

// signed builds a request as the logged-in user.
func (c *rawClient) signed(method uint16, build func(w *writer)) []byte {
	w := newWriter(nil, method, classRequest, newID())
	if build != nil {
		build(w)
	}
	return w.text(attrUsername, c.creds.Username).text(attrRealm, c.realm).text(attrNonce, c.nonce).sign(c.key(), c.long).bytes()
}

func (c *rawClient) request(method uint16, build func(w *writer)) *reply {
	c.t.Helper()
	r := c.ask(c.signed(method, build))
	if code := r.code(); code != 401 && code != 438 {
		// Everything an authenticated user is told is protected, and with what the user chose.
		if !r.m.verify(c.key()) || (r.m.integrity256 != 0) != c.long {
			c.t.Fatalf("the answer %x is not protected as it should be", r.b)
		}
	}
	return r
}

func (r *reply) code() int {
	if r.m.class == classSuccess {
		return 0
	}
	return errorCodeOf(r.b)
}

func (r *reply) wantCode(want int) *reply {
	r.t.Helper()
	if got := r.code(); got != want {
		r.t.Fatalf("answered with %d, want %d", got, want)
	}
	return r
}

func (r *reply) address(kind uint16) netip.AddrPort {
	r.t.Helper()
	a, ok := r.m.unxor(attribute(r.b, kind))
	if !ok {
		r.t.Fatalf("no address %x in %x", kind, r.b)
	}
	return a
}

func udpTransport(w *writer) { w.attr(attrTransport, []byte{transportUDP, 0, 0, 0}) }

func (c *rawClient) allocate() netip.AddrPort {
	c.t.Helper()
	return c.request(methodAllocate, udpTransport).wantCode(0).address(attrXORRelayedAddress)
}

func (c *rawClient) permit(peers ...netip.AddrPort) *reply {
	c.t.Helper()
	return c.request(methodCreatePermission, func(w *writer) {
		for _, p := range peers {
			w.address(attrXORPeerAddress, p)
		}
	})
}

func (c *rawClient) bind(number uint16, peer netip.AddrPort) *reply {
	c.t.Helper()
	return c.request(methodChannelBind, func(w *writer) {
		w.attr(attrChannelNumber, []byte{byte(number >> 8), byte(number), 0, 0}).address(attrXORPeerAddress, peer)
	})
}

func (c *rawClient) refresh(seconds uint32) *reply {
	c.t.Helper()
	return c.request(methodRefresh, func(w *writer) { w.uint32(attrLifetime, seconds) })
}

func channelData(number uint16, payload []byte, padded bool) []byte {
	b := binary.BigEndian.AppendUint16(nil, number)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	b = append(b, payload...)
	for padded && len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func (c *rawClient) sendChannel(number uint16, payload []byte) {
	c.t.Helper()
	c.send(channelData(number, payload, c.tcp))
}

func (c *rawClient) sendTo(peer netip.AddrPort, payload []byte) {
	c.t.Helper()
	c.send(newWriter(nil, methodSend, classIndication, newID()).address(attrXORPeerAddress, peer).attr(attrData, payload).bytes())
}

// recvPayload reads the next relayed payload, and says by which way it came.
func (c *rawClient) recvPayload() (payload []byte, from netip.AddrPort, channel uint16) {
	c.t.Helper()
	b := c.recv()
	if b[0]&0xC0 != 0 {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if len(b) < 4+n || (c.tcp && len(b) != 4+(n+3)&^3) || (!c.tcp && len(b) != 4+n) {
			c.t.Fatalf("channel data of %d bytes says %d", len(b), n)
		}
		return b[4 : 4+n], netip.AddrPort{}, binary.BigEndian.Uint16(b)
	}
	var m message
	if err := m.parse(b); err != nil || m.method != methodData || m.class != classIndication || len(m.peers) != 1 || m.data == nil {
		c.t.Fatalf("want data, got %x (%v)", b, err)
	}
	return m.data, m.peers[0], 0
}

// nothing proves that nothing was sent to the client: the next thing it reads is the answer to a later question.
func (c *rawClient) nothing(why string) {
	c.t.Helper()
	id := newID()
	c.send(newWriter(nil, methodBinding, classRequest, id).bytes())
	if got := c.recv(); len(got) < stunHeader || !bytes.Equal(got[8:20], id[:]) {
		c.t.Fatalf("%s: got %x, want silence", why, got)
	}
}

// peer is a UDP socket on loopback that a client wants to reach.
type peer struct {
	t    testing.TB
	conn *net.UDPConn
	at   netip.AddrPort
}

func newPeer(t testing.TB) *peer {
	t.Helper()
	return newPeerAt(t, "127.0.0.1")
}

func newPeerAt(t testing.TB, host string) *peer {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(host)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &peer{t, conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()}
}

func (p *peer) recv() ([]byte, netip.AddrPort) {
	p.t.Helper()
	p.conn.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 1<<16)
	n, from, err := p.conn.ReadFromUDPAddrPort(b)
	if err != nil {
		p.t.Fatal(err)
	}
	return b[:n], from
}

func (p *peer) send(b []byte, to netip.AddrPort) {
	p.t.Helper()
	if _, err := p.conn.WriteToUDPAddrPort(b, to); err != nil {
		p.t.Fatal(err)
	}
}

// want reads one datagram and compares it; whatever should not have come would be read first.
func (p *peer) want(b []byte) {
	p.t.Helper()
	if got, _ := p.recv(); !bytes.Equal(got, b) {
		p.t.Fatalf("the peer got %q, want %q", got, b)
	}
}

func eachTransport(t *testing.T, f func(t *testing.T, network string)) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) { f(t, network) })
	}
}

// handled returns when the relay socket has read everything that was sent to it so far: a datagram of this
// permitted peer, sent after them, has reached the client first.
func (p *peer) handled(c *rawClient, relayed netip.AddrPort) {
	p.t.Helper()
	p.send([]byte("sentinel"), relayed)
	if got, _, _ := c.recvPayload(); string(got) != "sentinel" {
		p.t.Fatalf("the client got %q before the sentinel", got)
	}
}
