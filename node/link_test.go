package node

import (
	"encoding/binary"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

func TestOnlyTheSubprotocolAndTheOwnOriginsOpenALink(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy, func(c *Config) { c.HTTP.Origins = []string{"https://app.example"} })
	for name, c := range map[string]struct {
		protocol string
		origin   string
		host     string
		status   int
	}{
		"a program":                {link.Subprotocol, "", "", http.StatusSwitchingProtocols},
		"the own page":             {link.Subprotocol, "http://" + r.httpAddr, "", http.StatusSwitchingProtocols},
		"a page that is listed":    {link.Subprotocol, "https://app.example", "", http.StatusSwitchingProtocols},
		"a page of somebody else":  {link.Subprotocol, "https://evil.example", "", http.StatusForbidden},
		"a rebound name":           {link.Subprotocol, "http://evil.example", "evil.example", http.StatusForbidden},
		"no origin to speak of":    {link.Subprotocol, "null", "", http.StatusForbidden},
		"no subprotocol":           {"", "", "", http.StatusBadRequest},
		"another subprotocol":      {"trunkline.v2", "", "", http.StatusBadRequest},
		"another one beside ours ": {"chat, " + link.Subprotocol, "", "", http.StatusSwitchingProtocols},
	} {
		h := http.Header{}
		if c.origin != "" {
			h.Set("Origin", c.origin)
		}
		if c.protocol != "" {
			h.Set("Sec-WebSocket-Protocol", c.protocol)
		}
		if c.host != "" {
			h.Set("Host", c.host)
		}
		ws, resp, err := websocket.DefaultDialer.Dial(dialURL(r), h)
		if resp == nil || resp.StatusCode != c.status {
			t.Errorf("%s: %v, %v", name, resp, err)
		}
		if err == nil {
			_ = ws.Close()
		}
	}
}

// The people of a partner come into rooms in the app of their own node, as long as the policy lets them.
func TestTheAppOfAPartnerOpensALinkAsLongAsItsPeopleMayMeetHere(t *testing.T) {
	partners := openPolicy + `
[[domain]]
name = "globex.example"
level = "partner"

[[domain]]
name = "initech.example"
level = "partner"
`
	r := start(t, t.TempDir(), "acme.example", partners+`
[[rule]]
domain = "globex.example"
direction = "in"
actions = ["sfu"]

[[rule]]
domain = "initech.example"
direction = "out"
actions = ["sfu"]
`)
	opens := func(origin string) bool {
		t.Helper()
		ws, resp, err := websocket.DefaultDialer.Dial(dialURL(r), http.Header{"Sec-Websocket-Protocol": {link.Subprotocol}, "Origin": {origin}})
		if err == nil {
			return ws.Close() == nil
		}
		if resp == nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %v, %v", origin, resp, err)
		}
		return false
	}
	if !opens("https://globex.example") {
		t.Error("the app of the partner opens no link")
	}
	for _, origin := range []string{
		"http://globex.example", "https://globex.example:8443", "https://globex.example/", "https://app.globex.example", "https://GLOBEX.example",
		"https://globex.example.", "https://initech.example", "https://evil.example", "https://acme.example",
	} {
		if opens(origin) {
			t.Errorf("a page of %s opens a link", origin)
		}
	}
	r.reloadTo(partners)
	if opens("https://globex.example") {
		t.Error("the app of the partner opens a link although its people may not come any more")
	}
}

// challenged opens a link up to the node's challenge.
func challenged(t *testing.T, r *running) *raw {
	t.Helper()
	ws, _, err := dialRaw(t, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.Close() })
	c := &raw{t: t, ws: ws, frames: make(chan *pb.NodeFrame, 16)}
	go c.readLoop()
	if c.read().GetChallenge() == nil {
		t.Fatal("no challenge")
	}
	return c
}

func TestTheHandshakeTakesOnlyAnHonestAnswer(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	other := start(t, t.TempDir(), "globex.example", openPolicy)
	p := newPerson(t, r)
	answer := func(host string, touch func(*pb.Authenticate)) string {
		t.Helper()
		ws, _, err := dialRaw(t, r, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ws.Close() })
		c := &raw{t: t, ws: ws, frames: make(chan *pb.NodeFrame, 16)}
		go c.readLoop()
		a, err := link.Authenticate(c.read().GetChallenge(), host, p.device, p.cert())
		if err != nil {
			t.Fatal(err)
		}
		touch(a)
		c.send(&pb.ClientFrame{Id: 1, Kind: &pb.ClientFrame_Authenticate{Authenticate: a}})
		return errorCode(c.ends())
	}
	nothing := func(*pb.Authenticate) {}
	if code := answer(other.httpAddr, nothing); code != link.CodeBadSignature {
		t.Errorf("a challenge that another node passed on: %q", code)
	}
	if code := answer("evil.example", nothing); code != link.CodeBadSignature {
		t.Errorf("a challenge that another host passed on: %q", code)
	}
	if code := answer(r.httpAddr, func(a *pb.Authenticate) { a.Signature[0] ^= 1 }); code != link.CodeBadSignature {
		t.Errorf("a broken signature: %q", code)
	}
	if code := answer("acme.example", func(a *pb.Authenticate) { a.Host = r.httpAddr }); code != link.CodeBadSignature {
		t.Errorf("a signature over another host: %q", code)
	}
	r.clock.move(200 * 24 * time.Hour)
	if code := answer(r.httpAddr, nothing); code != link.CodeBadSignature {
		t.Errorf("an ended certificate: %q", code)
	}
}

func TestMalformedAndMisplacedFramesEndTheLink(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, _ := join(t, r)
	for name, b := range map[string][]byte{
		"nonsense":            []byte("GET / HTTP/1.1"),
		"empty":               {},
		"ping before hello":   {0x5a, 0},
		"unknown field":       {0x7a, 1, 0},
		"submit before hello": link.AppendSubmit(nil, 1, to(t, r, bob, envelope.Live, payload(1024)).Marshal()[:500]),
	} {
		c := challenged(t, r)
		c.sendBytes(b)
		if last := c.ends(); errorCode(last) != link.CodeBadFrame {
			t.Errorf("%s: %v", name, last)
		}
	}
	for name, b := range map[string][]byte{
		"nonsense":                []byte("nonsense"),
		"empty":                   {},
		"a second hello":          mustMarshal(t, &pb.ClientFrame{Kind: &pb.ClientFrame_Authenticate{Authenticate: &pb.Authenticate{Host: r.httpAddr}}}),
		"an ack with no mailbox":  mustMarshal(t, &pb.ClientFrame{Kind: &pb.ClientFrame_Ack{Ack: &pb.Ack{StoredIds: []uint64{1}}}}),
		"an envelope that's none": link.AppendSubmit(nil, 1, []byte("nonsense")),
		"an off-size payload":     link.AppendSubmit(nil, 1, (&envelope.Envelope{Destination: r.self, Payload: payload(1024)[:1023]}).Marshal()),
		"two submits in one": append(link.AppendSubmit(nil, 1, to(t, r, bob, envelope.Live, payload(1024)).Marshal()),
			link.AppendSubmit(nil, 2, to(t, r, bob, envelope.Live, payload(1024)).Marshal())...),
	} {
		c := dial(t, r, nil)
		c.sendBytes(b)
		if last := c.ends(); errorCode(last) != link.CodeBadFrame {
			t.Errorf("%s after the handshake: %v", name, last)
		}
	}
	c := dial(t, r, nil)
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	c.ends()
	until(t, "every hostile link is gone", func() bool { links, _ := r.hub.count(); return links == 1 })
}

func mustMarshal(t *testing.T, f *pb.ClientFrame) []byte {
	t.Helper()
	b, err := link.MarshalClient(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wsHeader is the head of a masked binary WebSocket frame.
func wsHeader(opcode byte, length uint64) []byte {
	h := []byte{opcode, 0x80}
	switch {
	case length < 126:
		h[1] |= byte(length)
	case length < 1<<16:
		h[1] |= 126
		h = binary.BigEndian.AppendUint16(h, uint16(length))
	default:
		h[1] |= 127
		h = binary.BigEndian.AppendUint64(h, length)
	}
	return append(h, 0, 0, 0, 0) // mask
}

func TestAnOversizedFrameIsRefusedBeforeItIsRead(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	for name, c := range map[string]struct {
		link *raw
		head []byte
	}{
		"a gigabyte before the handshake": {challenged(t, r), wsHeader(0x82, 1<<30)},
		"two kilobytes before it":         {challenged(t, r), wsHeader(0x82, 2048)},
		"a gigabyte after it":             {dial(t, r, nil), wsHeader(0x82, 1<<30)},
		"one byte too much":               {dial(t, r, nil), wsHeader(0x82, link.MaxFrame+1)},
		"a negative length":               {dial(t, r, nil), wsHeader(0x82, 1<<63)},
	} {
		if _, err := c.link.ws.NetConn().Write(c.head); err != nil {
			t.Fatal(err)
		}
		// Not one byte of the frame was sent, and the link ends all the same.
		c.link.ends()
		_ = name
	}
	// A message in many pieces has the same limit.
	c := dial(t, r, nil)
	piece := append(wsHeader(0x02, 32<<10), make([]byte, 32<<10)...)
	more := append(wsHeader(0x00, 32<<10), make([]byte, 32<<10)...)
	for _, b := range [][]byte{piece, more, more, more} {
		if _, err := c.ws.NetConn().Write(b); err != nil {
			break // closed already
		}
	}
	c.ends()
}

func TestATrickledFrameHoldsWhatItSentAndIsSwept(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	const slow = 200
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	links := make([]*raw, slow)
	for i := range links {
		links[i] = dial(t, r, nil)
		// The head promises 96 KiB; ten bytes come.
		if _, err := links[i].ws.NetConn().Write(append(wsHeader(0x82, link.MaxFrame), make([]byte, 10)...)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all of them have begun", func() bool {
		begun := 0
		for _, l := range r.hub.all() {
			if l.began.Load() != 0 {
				begun++
			}
		}
		return begun == slow
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	// 96 KiB for each would be 19 MB; both ends of 200 links are counted here.
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > slow*48<<10 {
		t.Errorf("%d trickled frames hold %d bytes", slow, grown)
	}
	r.sweep(r.clock.Now().Add(link.FrameTimeout + 2*time.Second))
	for _, c := range links {
		c.ends()
	}
	until(t, "they are gone", func() bool { links, _ := r.hub.count(); return links == 0 })
}

func TestSilentLinksAreAskedAndThenClosed(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	c := dial(t, r, nil)
	asked := make(chan struct{}, 1)
	answers := make(chan bool, 1)
	answers <- true
	c.ws.SetPingHandler(func(data string) error {
		asked <- struct{}{}
		if <-answers {
			return c.ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(time.Second))
		}
		return nil
	})
	l := r.hub.all()[0]
	now := r.clock.Now()
	r.coarse.Store(now.Add(link.PingInterval + 2*time.Second).Unix())
	r.sweep(now.Add(link.PingInterval + 2*time.Second))
	select {
	case <-asked:
	case <-time.After(wait):
		t.Fatal("the node did not ask")
	}
	until(t, "the answer counts", func() bool { return l.heard.Load() >= now.Add(link.PingInterval).Unix() })
	answers <- false
	r.sweep(now.Add(link.PingInterval + link.IdleTimeout + 5*time.Second))
	c.ends()
}

// An idle link goes on with a fresh goroutine. What it has read of a frame stays.
func TestALinkThatGoesOnWithAFreshStackLosesNothing(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, bobs := join(t, r)
	l := r.hub.device(bob.device.ID())
	ping := func(nonce uint64) []byte {
		b, err := link.MarshalClient(&pb.ClientFrame{Id: nonce, Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: nonce}}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	answered := func(nonce uint64) {
		t.Helper()
		if f := bobs.await(func(f *pb.NodeFrame) bool { return f.Id == nonce }); f.GetPong().GetNonce() != nonce {
			t.Fatalf("answer %v", f)
		}
	}
	socket := bobs.ws.NetConn()
	for round := range uint64(20) {
		bobs.sendBytes(ping(1000 + round))
		answered(1000 + round)
		if !l.grown.Load() {
			t.Fatal("the work behind a frame is not noticed")
		}
		// Half a frame: header and mask of zeros, then a part of what it says.
		body := ping(2000 + round)
		frame := append([]byte{0x82, 0x80 | byte(len(body)), 0, 0, 0, 0}, body...)
		cut := int(round) % len(frame)
		if _, err := socket.Write(frame[:cut]); err != nil {
			t.Fatal(err)
		}
		if round%2 == 0 {
			until(t, "the half has been read", func() bool { return (l.began.Load() != 0) == (cut > 0) })
		}
		now := r.coarse.Load()
		l.heard.Store(now - settleAfter)
		r.sweep(time.Unix(now, 0))
		until(t, "the link waits on a fresh stack", func() bool { return !l.settling.Load() && !l.grown.Load() })
		if _, err := socket.Write(frame[cut:]); err != nil {
			t.Fatal(err)
		}
		answered(2000 + round)
	}
	if links, _ := r.hub.count(); links != 1 {
		t.Fatalf("%d links", links)
	}
}

func TestALinkThatDoesNotReadIsClosedAndItsMailboxKept(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	r.liveTimeout = 100 * time.Millisecond
	bob := newPerson(t, r)
	bobs := dial(t, r, bob)
	bobs.publish(r, bob, "")
	bobs.register(bob, 0)
	_, alices := join(t, r)
	note := to(t, r, bob, envelope.Week, payload(1024))
	alices.submit(note)

	// From here on Bob's end takes nothing: its reader is stopped by a full channel, and
	// the sockets between fill up.
	var stop sync.Once
	blocked := make(chan struct{})
	bobs.ws.SetPingHandler(func(string) error { stop.Do(func() {}); <-blocked; return nil })
	t.Cleanup(func() { close(blocked) })
	l := r.hub.device(bob.device.ID())
	l.ask()
	var refusal *pb.Receipt
	for range 4000 {
		receipt := alices.submit(to(t, r, bob, envelope.Live, payload(65536)))
		if receipt.Class == pb.ReceiptClass_RECEIPT_REFUSED {
			refusal = receipt
			break
		}
		if receipt.Code == link.CodeRate {
			t.Fatal("the test is limited by its own rate")
		}
	}
	if refusal == nil || refusal.Code != link.CodeUnavailable {
		t.Fatalf("a link that takes nothing took 250 MB: %v", refusal)
	}
	until(t, "the link is closed", func() bool { return !l.alive() })
	l.wmu.Lock()
	held := l.out.bytes
	l.wmu.Unlock()
	if held > maxQueuedBytes {
		t.Errorf("%d bytes wait for it", held)
	}
	expectWaiting(t, r, bob, 1)
	again := dial(t, r, bob)
	again.register(bob, 0)
	if d := again.deliver(); d.StoredId == 0 {
		t.Error("the note is not delivered to the next link")
	}
}

func TestEnvelopesOfOneLinkKeepTheirOrder(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, bobs := join(t, r)
	_, alices := join(t, r)
	var ids []uint64
	var bodies [][]byte
	for range 40 {
		body := payload(1024)
		bodies = append(bodies, body)
		id := alices.id()
		ids = append(ids, id)
		alices.sendBytes(link.AppendSubmit(nil, id, to(t, r, bob, envelope.Day, body).Marshal()))
	}
	// 32 of one source node fit; every one that did not is told.
	stored := 0
	for _, id := range ids {
		switch receipt := alices.receipt(id); receipt.Class {
		case pb.ReceiptClass_RECEIPT_STORED:
			stored++
		default:
			if receipt.Code != link.CodeQuota {
				t.Fatalf("got %v", receipt)
			}
		}
	}
	next := 0
	for i := range stored {
		d := bobs.deliver()
		for next < len(bodies) && string(bodies[next]) != string(d.Payload) {
			next++
		}
		if next == len(bodies) {
			t.Fatalf("delivery %d is out of order", i)
		}
	}
}

func TestDrainSaysGoodbyeAndKeepsWhatItPromised(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, "acme.example", openPolicy)
	bob, bobs := join(t, r)
	if err := bobs.ws.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "Bob has gone", func() bool { return r.hub.device(bob.device.ID()) == nil })
	_, alices := join(t, r)
	if receipt := alices.submit(to(t, r, bob, envelope.Week, payload(1024))); receipt.Class != pb.ReceiptClass_RECEIPT_STORED {
		t.Fatal(receipt)
	}
	r.end()
	last := alices.ends()
	if d := last.GetDrain(); d.GetReconnectAfterMs() == 0 || d.GetJitterMs() == 0 {
		t.Errorf("the last words are %v", last)
	}
	r.stopped()
	if _, err := net.DialTimeout("tcp", r.httpAddr, time.Second); err == nil {
		t.Error("somebody still listens")
	}
	r = start(t, dir, "acme.example", "")
	bobs = dial(t, r, bob)
	if f := bobs.register(bob, 0); f.GetRegistered().GetWaiting() != 1 {
		t.Errorf("after the restart: %v", f)
	}
}

func TestClientsThatComeWhileTheNodeDrainsAreToldWhen(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	r.draining.Store(true)
	_, resp, err := dialRaw(t, r, nil)
	if err == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %v, %v", resp, err)
	}
	if status, text, _ := get1(t, "http://"+r.httpAddr+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "draining") {
		t.Errorf("readyz says %d %q", status, text)
	}
	if status, _, _ := get1(t, "http://"+r.httpAddr+"/healthz"); status != http.StatusOK {
		t.Errorf("healthz says %d", status)
	}
}

func TestAConnectionThatNeverAnswersTheChallengeEnds(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	c := challenged(t, r)
	l := r.hub.all()[0]
	// The limit itself is five seconds of the system's clock; here it is brought forward.
	if err := l.sock.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	c.ends()
	until(t, "the link is gone", func() bool { links, _ := r.hub.count(); return links == 0 })
	if n := r.handshaking.Load(); n != 0 {
		t.Errorf("%d handshakes are counted", n)
	}
}

func TestStrangersOfOneAddressAreFew(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	for _, c := range []struct{ addr, class string }{
		{"127.0.0.1:5", ""}, {"[::1]:5", ""}, {"192.0.2.7:5", "192.0.2.7"}, {"[::ffff:192.0.2.7]:5", "192.0.2.7"},
		{"[2001:db8:1:2:3:4:5:6]:5", "2001:db8:1:2::/64"}, {"[2001:db8:1:2::9]:7", "2001:db8:1:2::/64"},
	} {
		a, err := net.ResolveTCPAddr("tcp", c.addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := addressClass(a); got != c.class {
			t.Errorf("%s is counted as %q", c.addr, got)
		}
	}
	var taken []*clientLink
	for range maxStrangersPerPrefix {
		l := &clientLink{n: r.Node, address: "192.0.2.7"}
		if !l.admitStranger() {
			t.Fatal("refused too early")
		}
		taken = append(taken, l)
	}
	c := dial(t, r, nil)                                                          // a link with a connection, so that it can be told
	c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: 1}}}) // the link has read its address by now
	l := r.hub.all()[0]
	l.address = "192.0.2.7"
	if l.admitStranger() {
		t.Error("one more was taken")
	}
	if last := c.ends(); errorCode(last) != link.CodeRate {
		t.Errorf("it was told %v", last)
	}
	taken[0].joined()
	if !(&clientLink{n: r.Node, address: "192.0.2.7"}).admitStranger() {
		t.Error("a place that was given back is not to be had")
	}
}
