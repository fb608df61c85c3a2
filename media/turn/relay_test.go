package turn

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	pion "github.com/pion/turn/v4"
	pion5 "github.com/pion/turn/v5"
)

// stock opens an allocation with pion's own client.
func stock(t *testing.T, s *Server, network string) net.PacketConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p, err := openProbe(ctx, network, s.Addr().String(), mint(t, s, 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return &stockConn{p.relay, p.client}
}

type stockConn struct {
	net.PacketConn
	client *pion.Client
}

func TestAStockClientTalksToAPeerBothWays(t *testing.T) {
	s := start(t, allowing(loopbackRule))
	eachTransport(t, func(t *testing.T, network string) {
		c, p := stock(t, s, network), newPeer(t)
		relayed := c.LocalAddr().(*net.UDPAddr).AddrPort()
		for i := range 20 { // the first as indications, then through the channel that the client binds
			// (Over TCP this client of pion's cannot read channel data of up to four bytes; see the next test.)
			for _, size := range []int{5, 6, 7, 8, 160, 1200} {
				out := bytes.Repeat([]byte{byte(i + 1)}, size)
				if _, err := c.WriteTo(out, net.UDPAddrFromAddrPort(p.at)); err != nil {
					t.Fatal(err)
				}
				got, from := p.recv()
				if !bytes.Equal(got, out) || from != relayed {
					t.Fatalf("the peer got %d bytes from %s, want %d from %s", len(got), from, len(out), relayed)
				}
				p.send(got, relayed)
				b := make([]byte, 4096)
				c.SetReadDeadline(time.Now().Add(patience))
				n, peer, err := c.ReadFrom(b)
				if err != nil || !bytes.Equal(b[:n], out) || peer.String() != p.at.String() {
					t.Fatalf("the client got %d bytes from %v, %v", n, peer, err)
				}
			}
		}
	})
}

// The client inside pion's ICE is of another major version than the control plane here.
func TestTheClientThatICEUsesTalksToAPeerBothWays(t *testing.T) {
	eachTransport(t, func(t *testing.T, network string) {
		s := start(t, allowing(loopbackRule))
		var conn net.PacketConn
		var err error
		if network == "tcp" {
			var stream net.Conn
			if stream, err = net.Dial("tcp4", s.Addr().String()); err == nil {
				conn = pion5.NewSTUNConn(stream)
			}
		} else {
			conn, err = net.ListenPacket("udp4", "127.0.0.1:0")
		}
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		creds := mint(t, s, 1)
		client, err := pion5.NewClient(&pion5.ClientConfig{
			TURNServerAddr: s.Addr().String(), Username: creds.Username, Password: creds.Password, Conn: conn, LoggerFactory: silence{},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Listen(); err != nil {
			t.Fatal(err)
		}
		c, err := client.Allocate()
		if err != nil {
			t.Fatal(err)
		}
		p := newPeer(t)
		for i := range 30 {
			out := bytes.Repeat([]byte{byte(i)}, 40*i+9)
			if _, err := c.WriteTo(out, net.UDPAddrFromAddrPort(p.at)); err != nil {
				t.Fatal(err)
			}
			p.want(out)
			p.send(out, c.LocalAddr().(*net.UDPAddr).AddrPort())
			b := make([]byte, 4096)
			c.SetReadDeadline(time.Now().Add(patience))
			if n, _, err := c.ReadFrom(b); err != nil || !bytes.Equal(b[:n], out) {
				t.Fatalf("the client got %d bytes, %v", n, err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Drain(ctx); err != nil {
			t.Errorf("the allocation of a closed client lives on: %v", err)
		}
	})
}

func TestIndicationsAndChannelsOnTheWire(t *testing.T) {
	s := start(t, allowing(loopbackRule))
	eachTransport(t, func(t *testing.T, network string) {
		c, p := dial(t, s, network).login(mint(t, s, 1)), newPeer(t)
		relayed := c.allocate()
		c.permit(p.at).wantCode(0)
		for _, payload := range []string{"", "a", "ab", "abc", "abcd", "hello over an indication"} {
			c.sendTo(p.at, []byte(payload))
			p.want([]byte(payload))
			p.send([]byte(payload), relayed)
			if got, from, _ := c.recvPayload(); string(got) != payload || from != p.at {
				t.Errorf("got %q from %s", got, from)
			}
		}
		c.bind(0x4001, p.at).wantCode(0)
		for _, payload := range []string{"", "a", "ab", "abc", "abcd", "hello over a channel"} {
			c.sendChannel(0x4001, []byte(payload))
			p.want([]byte(payload))
			p.send([]byte(payload), relayed)
			if got, _, channel := c.recvPayload(); string(got) != payload || channel != 0x4001 {
				t.Errorf("got %q on channel %x", got, channel)
			}
		}
	})
}

// A client's message may be cut anywhere, or come with others.
func TestTCPFramesMayBeCutAnywhere(t *testing.T) {
	s := start(t, allowing(loopbackRule))
	c, p := dial(t, s, "tcp").login(mint(t, s, 1)), newPeer(t)
	allocate := c.signed(methodAllocate, udpTransport)
	for i := range allocate {
		c.send(allocate[i : i+1])
	}
	c.recv()
	c.bind(0x4001, p.at).wantCode(0)
	var stream []byte
	for i := range 100 {
		stream = append(stream, channelData(0x4001, bytes.Repeat([]byte{byte(i)}, i*13), true)...)
	}
	for len(stream) > 0 {
		n := min(len(stream), 1+len(stream)%701)
		c.send(stream[:n])
		stream = stream[n:]
	}
	for i := range 100 {
		p.want(bytes.Repeat([]byte{byte(i)}, i*13))
	}
}

// Two clients of one node are joined inside the process, in the default configuration (A5 case 9).
func TestTwoClientsOfOneRelayAreJoined(t *testing.T) {
	s := start(t)
	for _, networks := range [][2]string{{"udp", "udp"}, {"udp", "tcp"}, {"tcp", "udp"}, {"tcp", "tcp"}} {
		t.Run(networks[0]+" and "+networks[1], func(t *testing.T) {
			a, b := dial(t, s, networks[0]).login(mint(t, s, 1)), dial(t, s, networks[1]).login(mint(t, s, 2))
			relayA, relayB := a.allocate(), b.allocate()

			// Nothing passes before the other side permits it.
			a.permit(relayB).wantCode(0)
			a.sendTo(relayB, []byte("early"))
			a.nothing("sending")
			b.nothing("no permission yet")

			b.permit(relayA).wantCode(0)
			a.sendTo(relayB, []byte("ping"))
			if got, from, _ := b.recvPayload(); string(got) != "ping" || from != relayA {
				t.Fatalf("b got %q from %s", got, from)
			}
			a.bind(0x4001, relayB).wantCode(0)
			b.bind(0x4002, relayA).wantCode(0)
			for i := range 10 {
				out := bytes.Repeat([]byte{byte(i)}, 100*i+1)
				a.sendChannel(0x4001, out)
				if got, _, channel := b.recvPayload(); !bytes.Equal(got, out) || channel != 0x4002 {
					t.Fatalf("b got %d bytes on channel %x", len(got), channel)
				}
				b.sendChannel(0x4002, out)
				if got, _, channel := a.recvPayload(); !bytes.Equal(got, out) || channel != 0x4001 {
					t.Fatalf("a got %d bytes on channel %x", len(got), channel)
				}
			}
			// A5 case 31: an allocation is not its own peer.
			a.permit(relayA).wantCode(403)
			a.bind(0x4003, relayA).wantCode(403)

			// When b has gone its address is this machine's again, and closed.
			b.refresh(0).wantCode(0)
			a.sendChannel(0x4001, []byte("too late"))
			a.sendTo(relayB, []byte("too late"))
			a.nothing("sending")
			fresh := dial(t, s, networks[0]).login(mint(t, s, 3))
			fresh.allocate()
			fresh.permit(relayB).wantCode(403)
			// a's refresh still names b; that must not cost a its other permissions.
			a.permit(relayB, public).wantCode(0)
			s.ReleaseOwner([16]byte{1})
			s.ReleaseOwner([16]byte{2})
			s.ReleaseOwner([16]byte{3})
		})
	}
	if n := s.Stats().Counters["relayed/packets-joined"]; n == 0 {
		t.Error("no packet was joined inside the process")
	}
}

// A5 case 14.
func TestA5Case14PermissionsExpireAndStrangersNeverHadOne(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk), allowing(loopbackRule, "127.0.0.2/32"))
	c, p, sentinel := dial(t, s, "udp").login(mint(t, s, 1)), newPeer(t), newPeerAt(t, "127.0.0.2")
	relayed := c.allocate()
	c.permit(sentinel.at).wantCode(0)
	p.send([]byte("stranger"), relayed)
	sentinel.handled(c, relayed)

	c.bind(0x4000, p.at).wantCode(0)
	clk.add(permissionLife - time.Second)
	c.sendChannel(0x4000, []byte("in time"))
	p.want([]byte("in time"))
	p.send([]byte("in time"), relayed)
	if got, _, _ := c.recvPayload(); string(got) != "in time" {
		t.Fatalf("got %q", got)
	}
	clk.add(time.Second)
	p.send([]byte("late"), relayed)
	c.sendChannel(0x4000, []byte("late"))
	c.sendTo(p.at, []byte("late"))
	c.permit(sentinel.at).wantCode(0)
	sentinel.handled(c, relayed)
	// The channel lives twice as long: a permission alone brings it back.
	c.permit(p.at).wantCode(0)
	c.sendChannel(0x4000, []byte("renewed"))
	p.want([]byte("renewed"))
	p.send([]byte("renewed"), relayed)
	if got, _, channel := c.recvPayload(); string(got) != "renewed" || channel != 0x4000 {
		t.Fatalf("got %q on channel %x", got, channel)
	}
	clk.add(channelLife)
	c.permit(p.at).wantCode(0)
	c.sendChannel(0x4000, []byte("late"))
	c.sendTo(p.at, []byte("by indication"))
	p.want([]byte("by indication"))
	if n := s.Stats().Counters["dropped/no-permission"]; n < 3 {
		t.Errorf("%d dropped for want of a permission", n)
	}
}

// A5 case 27.
func TestA5Case27OversizeDatagramsAreDroppedWhole(t *testing.T) {
	s := start(t, allowing(loopbackRule))
	eachTransport(t, func(t *testing.T, network string) {
		c, p := dial(t, s, network).login(mint(t, s, 1)), newPeer(t)
		relayed := c.allocate()
		c.permit(p.at).wantCode(0)
		for _, bound := range []bool{false, true} {
			if bound {
				c.bind(0x4000, p.at).wantCode(0)
			}
			for _, size := range []int{maxDatagram + 1, 9000, 65000} {
				p.send(make([]byte, size), relayed)
			}
			whole := bytes.Repeat([]byte{7}, maxDatagram)
			p.send(whole, relayed)
			if got, _, _ := c.recvPayload(); !bytes.Equal(got, whole) {
				t.Errorf("bound %v: the client got %d bytes, want %d", bound, len(got), maxDatagram)
			}
		}
		// The other way.
		for _, size := range []int{maxFrame - 3, 9000, 60000} {
			c.sendChannel(0x4000, make([]byte, size))
		}
		if network == "udp" {
			c.sendTo(p.at, make([]byte, maxFrame))
		}
		whole := bytes.Repeat([]byte{8}, maxDatagram)
		c.sendChannel(0x4000, whole)
		p.want(whole)
	})
	if n := s.Stats().Counters["dropped/oversize"]; n != 2*(6+3)+1 {
		t.Errorf("%d counted, want 19", n)
	}
}

// A5 case 33, the bucket alone; the clock stands still, so what is over the depth is dropped.
func TestA5Case33RatesAreLimitedPerAllocation(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk), allowing(loopbackRule), func(c *Config) { c.Quotas.PacketsPerSecond = 40 })
	c, p := dial(t, s, "udp").login(mint(t, s, 1)), newPeer(t)
	relayed := c.allocate()
	c.bind(0x4000, p.at).wantCode(0)
	other := dial(t, s, "udp").login(mint(t, s, 2))
	other.allocate()
	other.bind(0x4000, p.at).wantCode(0)
	for i := range 30 {
		c.sendChannel(0x4000, []byte{byte(i)})
	}
	other.sendChannel(0x4000, []byte("unaffected"))
	for i := range 10 { // a quarter of a second's worth
		p.want([]byte{byte(i)})
	}
	p.want([]byte("unaffected"))
	clk.add(time.Second / 40)
	c.sendChannel(0x4000, []byte("one more"))
	p.want([]byte("one more"))
	for range 30 {
		p.send([]byte("down"), relayed)
	}
	// The other direction has a balance of its own. How many arrived is asked of the counters, once the last one was
	// dealt with: datagrams of one socket pair keep their order.
	for range 10 {
		if got, _, _ := c.recvPayload(); string(got) != "down" {
			t.Fatalf("got %q", got)
		}
	}
	if n := s.Stats().Counters["dropped/rate"]; n < 20 {
		t.Errorf("%d dropped for their rate, want at least 20", n)
	}
}

func TestByteRatesAreLimitedAndAGrantMayTightenThem(t *testing.T) {
	var m meter
	m.bytesPerSecond, m.packetsPerSecond = 40000, 1000
	at := noon
	passed := 0
	for range 100 {
		if m.take(at, 1000) {
			passed++
		}
	}
	if passed != 10 {
		t.Errorf("%d kB passed at once, want 10", passed)
	}
	for range 1000 {
		at = at.Add(time.Millisecond)
		if m.take(at, 1000) {
			passed++
		}
	}
	if passed < 49 || passed > 50 {
		t.Errorf("%d kB passed in a second with 40 kB/s and 10 kB of depth", passed)
	}
}

func TestTheRelaySaysHowItIsReached(t *testing.T) {
	s := start(t)
	port := s.Addr().Port()
	for host, want := range map[string]string{"": "127.0.0.1", "acme.example": "acme.example", "2a00::1": "[2a00::1]"} {
		urls := s.URLs(host)
		if len(urls) != 2 || urls[0] != fmt.Sprintf("turn:%s:%d?transport=udp", want, port) || urls[1] != fmt.Sprintf("turn:%s:%d?transport=tcp", want, port) {
			t.Errorf("%v", urls)
		}
	}
}

func TestSelfTestPassesAPacketThroughBothTransports(t *testing.T) {
	s := start(t)
	eachTransport(t, func(t *testing.T, network string) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		r, err := SelfTest(ctx, network, s.Addr().String(), mint(t, s, 1))
		if err != nil || r.Relayed == nil || r.RoundTrip <= 0 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestSelfTestFailsWithWrongCredentialsAndAtOnceWhenCancelled(t *testing.T) {
	s := start(t)
	creds := mint(t, s, 1)
	creds.Password = "wrong"
	if _, err := SelfTest(context.Background(), "udp", s.Addr().String(), creds); err == nil {
		t.Error("wrong credentials passed")
	}
	silent := newPeer(t)
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() {
		_, err := SelfTest(ctx, "udp", silent.at.String(), mint(t, s, 1))
		result <- err
	}()
	silent.recv()
	cancel()
	if err := <-result; err == nil {
		t.Error("a silent server passed")
	}
}
