package turn

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// How much a single unauthenticated answer may weigh against its request, in bytes on the wire with IP and UDP
// headers. These are promises of docs/spec/turn.md.
const (
	bindingRatio  = 1.25 // (28+32) / (28+20), for IPv4
	allocateRatio = 2.2  // (28+92) / (28+28), for a realm of 31 bytes and the shortest valid request
)

func TestA5Case29OneAnswerToAStrangerIsSmall(t *testing.T) {
	s := start(t, func(c *Config) { c.Realm = "a-realm-of-thirty-one.example.x" })
	var sc scratch
	who := tuple{addr: netip.MustParseAddrPort("192.0.2.1:1000")}
	for name, c := range map[string]struct {
		request []byte
		most    float64
	}{
		"Binding":          {newWriter(nil, methodBinding, classRequest, newID()).bytes(), bindingRatio},
		"Allocate":         {newWriter(nil, methodAllocate, classRequest, newID()).attr(attrTransport, []byte{17, 0, 0, 0}).bytes(), allocateRatio},
		"unknown":          {newWriter(nil, methodBinding, classRequest, newID()).uint32(0x7FFF, 0).bytes(), bindingRatio},
		"many unknown":     {newWriter(nil, methodBinding, classRequest, newID()).attr(0x7FFF, nil).attr(0x7FFE, nil).attr(0x7FFD, nil).bytes(), bindingRatio},
		"bare ChannelBind": {newWriter(nil, methodChannelBind, classRequest, newID()).bytes(), 2.55},
	} {
		out := s.datagram(c.request, who, &sc, time.Now())
		if out == nil {
			t.Fatalf("%s: no answer", name)
		}
		ratio := float64(len(out)+ipUDPHeader) / float64(len(c.request)+ipUDPHeader)
		t.Logf("%s: %d bytes in, %d bytes out, %.2f with headers", name, len(c.request), len(out), ratio)
		if ratio > c.most {
			t.Errorf("%s: ratio %.2f, promised %.2f", name, ratio, c.most)
		}
	}
}

// A5 case 29: a flood from one prefix gets back at most what it sent, beyond a fixed allowance; others are served.
func TestA5Case29AFloodIsNotAmplified(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk))
	var sc scratch
	requests := [][]byte{
		newWriter(nil, methodBinding, classRequest, newID()).bytes(),
		newWriter(nil, methodAllocate, classRequest, newID()).attr(attrTransport, []byte{17, 0, 0, 0}).bytes(),
		newWriter(nil, methodRefresh, classRequest, newID()).bytes(),
		newWriter(nil, methodAllocate, classRequest, newID()).text(attrUsername, "x").text(attrRealm, "x").
			text(attrNonce, "AAAAAAAAAAAAAAAA").sign([]byte("x"), false).bytes(),
	}
	in, out, answered := 0, 0, 0
	const seconds, perSecond = 10, 5000
	for i := range seconds * perSecond {
		b := requests[i%len(requests)]
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), uint16(i))
		in += len(b) + ipUDPHeader
		if a := s.datagram(b, tuple{addr: from}, &sc, clk.Now()); a != nil {
			out += len(a) + ipUDPHeader
			answered++
		}
		if i%perSecond == perSecond-1 {
			clk.add(time.Second)
		}
	}
	t.Logf("%d bytes in, %d bytes out, ratio %.3f, %d answers", in, out, float64(out)/float64(in), answered)
	if most := in + allowance*(seconds+1); out > most {
		t.Errorf("%d bytes out for %d in, want at most %d", out, in, most)
	}
	if float64(out) > 1.05*float64(in) {
		t.Errorf("ratio %.3f under flood", float64(out)/float64(in))
	}
	if answered == 0 || s.Stats().Counters["dropped/flood"] == 0 {
		t.Error("the limit was not reached, or nobody was answered")
	}
	served := 0
	for i := range 100 { // clients elsewhere; a few may share a balance with the flood by their hash
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i), 1}), 1000)
		if s.datagram(requests[1], tuple{addr: from}, &sc, clk.Now()) != nil {
			served++
		}
	}
	if served < 99 {
		t.Errorf("%d of 100 clients from other prefixes were answered", served)
	}
}

// Who has authenticated is not subject to the strangers' balance, however its neighbours behave.
func TestAFloodFromTheNeighbourhoodDoesNotStopACall(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk))
	c := dial(t, s, "udp").login(mint(t, s, 1))
	c.allocate()
	for s.strangers.mayAnswer(netip.MustParseAddr("127.0.0.99"), 0, 100, clk.Now()) {
	}
	c.refresh(600).wantCode(0)
	c.permit(public).wantCode(0)
}

// idle opens a connection that never authenticates.
func idle(t *testing.T, s *Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// admitted opens a connection and says whether the server took it in: it answers a Binding then. A refused one may
// be reset as early as in the dial.
func admitted(t *testing.T, s *Server) (net.Conn, bool) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		return nil, false
	}
	t.Cleanup(func() { conn.Close() })
	conn.Write(newWriter(nil, methodBinding, classRequest, newID()).bytes())
	conn.SetReadDeadline(time.Now().Add(patience))
	_, err = io.ReadFull(conn, make([]byte, 32))
	return conn, err == nil
}

// closed reads until the other side closes; the test's own deadline fails it otherwise.
func closed(t *testing.T, conn net.Conn, what string) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Errorf("%s: the connection stays open", what)
		}
	}
}

// A5 cases 25 and 30: a connection without an allocation is closed, whatever it does meanwhile.
func TestA5Case30TCPStrangersAreClosedInTime(t *testing.T) {
	s := start(t, func(c *Config) { c.strangerTime = 200 * time.Millisecond })
	silent, half := idle(t, s), idle(t, s)
	half.Write([]byte{0, 3, 0, 8, 0x21})

	trickle := idle(t, s)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		// Bytes of one long but correct message: each arrives before any idle timer would end.
		for _, b := range newWriter(nil, methodAllocate, classRequest, newID()).attr(0x8022, make([]byte, 1500)).bytes() {
			if _, err := trickle.Write([]byte{b}); err != nil {
				return
			}
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	closed(t, silent, "silent")
	closed(t, half, "half a message")
	closed(t, trickle, "one byte at a time")
	close(stop)
	<-done
	if n := s.Stats().Counters["connections/timeout"]; n != 3 {
		t.Errorf("%d closed for their time, want 3", n)
	}

	// Authentication alone buys nothing: it is the allocation that does, and it ends with it.
	c := dial(t, s, "tcp").login(mint(t, s, 1))
	c.allocate()
	c.permit(public).wantCode(0)
	c.refresh(0).wantCode(0)
	closed(t, c.conn, "after the allocation")
}

func TestTCPGarbageEndsTheConnectionAtOnce(t *testing.T) {
	s := start(t) // with the full five seconds
	for name, b := range map[string][]byte{
		"HTTP GET":           []byte("GET / HTTP/1.1\r\n\r\n"),
		"HTTP POST":          []byte("POST / HTTP/1.1\r\n\r\n"),
		"HTTP/2":             []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		"PROXY":              []byte("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"), // A5 case 39
		"TLS":                {0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC},
		"channel data":       channelData(0x4000, []byte("x"), true),
		"0xFFFF channel":     {0x40, 0, 0xFF, 0xFF, 1, 2, 3, 4},
		"a message of 64 kB": {0, 1, 0xFF, 0xFC, 0x21, 0x12, 0xa4, 0x42},
		"a length not of 4":  {0, 1, 0, 3, 0x21, 0x12, 0xa4, 0x42},
		"RFC 3489":           {0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
		"a lying attribute":  raw(0x0003, attr(attrTransport, 5, 17, 0, 0, 0)),
		"too many questions": bytes.Repeat(newWriter(nil, methodAllocate, classRequest, newID()).bytes(), strangerAnswers+1),
	} {
		conn := idle(t, s)
		conn.Write(b)
		closed(t, conn, name)
	}
	if n := s.Stats().Counters["connections/timeout"]; n != 0 {
		t.Errorf("%d connections lived until their time was over", n)
	}
}

// A flood of TCP connections: bounded in number per address and in all, and in memory each.
func TestA5Case30AFloodOfTCPStrangersStaysBounded(t *testing.T) {
	const most, tries = 32, 300
	s := start(t, func(c *Config) {
		c.Quotas.UnauthenticatedPer = most
		c.strangerTime = time.Minute // so that only the bounds can close anything here
	})
	trusted := dial(t, s, "tcp").login(mint(t, s, 1))
	trusted.allocate()

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	kept, refused := []net.Conn{}, 0
	part := make([]byte, maxFrame-1) // nearly a whole message, of the largest size
	copy(part, newWriter(nil, methodAllocate, classRequest, newID()).bytes())
	part[2], part[3] = byte((maxFrame-stunHeader)>>8), byte((maxFrame-stunHeader)&0xFF)
	for range tries {
		conn, ok := admitted(t, s)
		if !ok {
			refused++
			continue
		}
		conn.Write(part)
		kept = append(kept, conn)
	}
	if len(kept) != most || refused != tries-most {
		t.Errorf("%d connections kept and %d refused, want %d and %d", len(kept), refused, most, tries-most)
	}
	if n := s.Stats().Connections; n != most+1 {
		t.Errorf("%d connections are open, want %d", n, most+1)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := (int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse)) / most
	t.Logf("%d bytes per connection, both ends and the test's own included", per)
	if per > 32<<10 {
		t.Errorf("%d bytes per stranger", per)
	}
	// Whoever is in goes on, and a place that becomes free is given to the next.
	trusted.refresh(600).wantCode(0)
	kept[0].(*net.TCPConn).CloseWrite()
	closed(t, kept[0], "after its end")
	if _, ok := admitted(t, s); !ok {
		t.Error("the free place was not given to the next")
	}
}

func TestTCPConnectionsAreBoundedInAll(t *testing.T) {
	s := start(t, func(c *Config) { c.Quotas.Connections = 3; c.strangerTime = time.Minute })
	for range 3 {
		if _, ok := admitted(t, s); !ok {
			t.Fatal("one of three was refused")
		}
	}
	if _, ok := admitted(t, s); ok {
		t.Error("a fourth was admitted")
	}
	if n := s.Stats().Counters["connections/refused"]; n != 1 {
		t.Errorf("%d refused, want 1", n)
	}
}

// A client that does not read loses packets; it does not stop anybody else, nor make the relay remember.
func TestASlowTCPClientLosesPacketsAndHoldsNobodyUp(t *testing.T) {
	s := start(t, func(c *Config) { c.Quotas.PacketsPerSecond, c.Quotas.BytesPerSecond = 1e9, 1e12 })
	slow, fast, other := dial(t, s, "tcp").login(mint(t, s, 1)), dial(t, s, "udp").login(mint(t, s, 2)), dial(t, s, "udp").login(mint(t, s, 3))
	slow.conn.(*net.TCPConn).SetReadBuffer(4096)
	relaySlow, relayFast, relayOther := slow.allocate(), fast.allocate(), other.allocate()
	slow.permit(relayFast).wantCode(0)
	fast.bind(0x4000, relaySlow).wantCode(0)
	other.permit(relayFast).wantCode(0)
	fast.bind(0x4001, relayOther).wantCode(0)
	payload := bytes.Repeat([]byte{1}, 1200)
	for range 100000 {
		fast.sendChannel(0x4000, payload)
		if s.count.get(droppedSlowClient) > 0 {
			break
		}
	}
	if s.count.get(droppedSlowClient) == 0 {
		t.Fatal("nothing was dropped for the slow client")
	}
	fast.sendChannel(0x4001, []byte("past the slow one"))
	if got, _, _ := other.recvPayload(); string(got) != "past the slow one" {
		t.Errorf("got %d bytes", len(got))
	}
	fast.refresh(600).wantCode(0)
}

// Whatever arrives, from a stranger or from an authenticated client, nothing breaks, and a stranger is told little.
func FuzzGuard(f *testing.F) {
	clk := newClock()
	s := start(f, onClock(clk))
	creds := mint(f, s, 1)
	c := dial(f, s, "udp").login(creds)
	c.allocate()
	c.permit(public).wantCode(0)
	own := tuple{addr: netip.MustParseAddrPort(c.conn.LocalAddr().String())}
	f.Add([]byte{}, uint8(0))
	f.Add(c.signed(methodCreatePermission, func(w *writer) { w.address(attrXORPeerAddress, public) }), uint8(1))
	f.Add(attr(attrXORPeerAddress, 8, 0, 1, 2, 3, 4, 5, 6, 7), uint8(methodCreatePermission))
	f.Add(attr(attrChannelNumber, 4, 0x40, 0, 0, 0), uint8(methodChannelBind))
	f.Add(attr(attrLifetime, 4, 0, 0, 2, 0), uint8(methodRefresh))
	f.Add(attr(attrTransport, 4, 17, 0, 0, 0), uint8(methodAllocate))
	f.Add(channelData(0x4000, []byte("x"), false), uint8(0))
	f.Add(newWriter(nil, methodSend, classIndication, newID()).address(attrXORPeerAddress, public).attr(attrData, []byte("x")).bytes(), uint8(0))
	var sc scratch
	f.Fuzz(func(t *testing.T, b []byte, method uint8) {
		for _, who := range []tuple{own, {addr: netip.MustParseAddrPort("192.0.2.1:1")}, {addr: own.addr, tcp: true}} {
			in := bytes.Clone(b) // what comes from a socket may be written to while it is relayed
			out := s.datagram(in, who, &sc, clk.Now())
			if who != own && len(out) > len(b)+80+len(testRealm) {
				t.Fatalf("a stranger's %d bytes were answered with %d", len(b), len(out))
			}
		}
		// The same bytes as attributes of a correctly signed request.
		if len(b) > 1500 {
			return
		}
		clk.add(time.Second / requestRate)
		w := newWriter(nil, uint16(method&0xF), classRequest, newID())
		w.text(attrUsername, creds.Username).text(attrRealm, testRealm).text(attrNonce, s.nonces.make(own, clk.Now()))
		w.b = append(w.b, b...)
		for len(w.b)%4 != 0 {
			w.b = append(w.b, 0)
		}
		signed := w.sign(c.key(), false).bytes()
		if method&0xF == methodRefresh && bytes.Contains(b, []byte{0, attrLifetime}) {
			return // an end of the allocation would end the test's purpose
		}
		out := s.datagram(signed, own, &sc, clk.Now())
		var m message
		if out != nil && m.parse(out) != nil {
			t.Fatalf("an answer that cannot be read: %x", out)
		}
	})
}
