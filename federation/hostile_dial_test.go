package federation

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/identity"
)

// answerWith lets the raw peer be dialled: it reads the victim's Hello and lets the test answer.
func (p *rawPeer) answerWith(t *testing.T, answer func(st network.Stream, theirs wire.Hello)) {
	t.Helper()
	go func() {
		for st := range p.streams {
			var f wire.Frame
			if err := wire.NewReader(st, wire.MaxFirst).Next(&f); err != nil || f.Kind != wire.KindHello {
				st.Reset()
				continue
			}
			answer(st, f.Hello.Clone())
		}
	}()
	t.Cleanup(func() {
		p.host.RemoveStreamHandler(wire.Protocol)
		close(p.streams)
	})
}

func TestDialledPeersThatCheatGetNoSession(t *testing.T) {
	other := newTestNode(t, "globex.example", "version = 1")
	other.addrs = []string{"/ip4/1.0.0.99/udp/8000/quic-v1"}
	welcome := func(nonce []byte) wire.Frame {
		return wire.Frame{Kind: wire.KindWelcome, Welcome: wire.Welcome{Version: 1, Session: make([]byte, 16), CreditFrames: 16, CreditBytes: 1 << 20, Nonce: nonce}}
	}
	for name, c := range map[string]struct {
		answer func(p *rawPeer, st network.Stream, theirs wire.Hello)
		why    string
	}{
		"refuses": {func(p *rawPeer, st network.Stream, _ wire.Hello) {
			p.write(st, wire.Frame{Kind: wire.KindRefuse, Code: "policy"})
		}, "policy"},
		"refuses with a code of its own": {func(p *rawPeer, st network.Stream, _ wire.Hello) {
			p.write(st, wire.Frame{Kind: wire.KindRefuse, Code: "because_i_say_so"})
		}, "because_i_say_so"},
		"speaks for another domain": {func(p *rawPeer, st network.Stream, _ wire.Hello) {
			h := p.hello()
			h.Document = p.signed(p.domainKey, func(d *identity.DomainDocument) { d.Domain = "globex.example" })
			p.write(st, wire.Frame{Kind: wire.KindHello, Hello: h})
		}, "unproven"},
		"shows another's document": {func(p *rawPeer, st network.Stream, _ wire.Hello) {
			h := p.hello()
			h.Document = other.document()
			p.write(st, wire.Frame{Kind: wire.KindHello, Hello: h})
		}, "not_listed"},
		"repeats our Hello": {func(p *rawPeer, st network.Stream, theirs wire.Hello) {
			p.write(st, wire.Frame{Kind: wire.KindHello, Hello: theirs})
		}, "wrong_peer"},
		"welcomes another nonce": {func(p *rawPeer, st network.Stream, _ wire.Hello) {
			p.write(st, wire.Frame{Kind: wire.KindHello, Hello: p.hello()}, welcome(make([]byte, 32)))
		}, "protocol"},
		"welcomes with more than it offered": {func(p *rawPeer, st network.Stream, theirs wire.Hello) {
			w := welcome(theirs.Nonce)
			w.Welcome.CreditFrames = 17
			p.write(st, wire.Frame{Kind: wire.KindHello, Hello: p.hello()}, w)
		}, "protocol"},
		"welcomes before it says who it is": {func(p *rawPeer, st network.Stream, theirs wire.Hello) {
			p.write(st, welcome(theirs.Nonce))
		}, "protocol"},
		"sends a large frame": {func(_ *rawPeer, st network.Stream, _ wire.Hello) {
			st.Write([]byte{0xff, 0xff, 0x03, 1})
		}, "protocol"},
		"says nothing": {func(*rawPeer, network.Stream, wire.Hello) {}, "timeout"},
		"says Hello and no more": {func(p *rawPeer, st network.Stream, _ wire.Hello) {
			p.write(st, wire.Frame{Kind: wire.KindHello, Hello: p.hello()})
		}, "timeout"},
		"hangs up": {func(_ *rawPeer, st network.Stream, _ wire.Hello) { st.Reset() }, "closed"},
	} {
		t.Run(name, func(t *testing.T) {
			hostile(t, func(t *testing.T, _ *simulation, v *testNode, p *rawPeer) {
				other.t = t
				p.answerWith(t, func(st network.Stream, theirs wire.Hello) { c.answer(p, st, theirs) })
				if _, err := v.Send(envelopeTo(t, p.testNode, envelope.Day, 1024), WaiterFunc(func(Outcome) { t.Error("an outcome without a session") })); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the dial has ended", func() bool {
					st := v.stateOf(p.testNode)
					return st.State == StateWaiting || st.State == StateRefused
				})
				if st := v.stateOf(p.testNode); st.Why != c.why || st.QueueLen != 1 {
					t.Errorf("afterwards %+v, want %q", st, c.why)
				}
			})
		})
	}
}

func TestClientThatWaitsLearnsARefusalAtOnce(t *testing.T) {
	hostile(t, func(t *testing.T, _ *simulation, v *testNode, p *rawPeer) {
		dials := 0
		p.answerWith(t, func(st network.Stream, _ wire.Hello) {
			dials++
			p.write(st, wire.Frame{Kind: wire.KindRefuse, Code: "policy"})
		})
		for range 5 {
			began := time.Now()
			if _, err := v.Query(context.Background(), p.id(), make([]byte, wire.QueryBox)); Code(err) != "policy" {
				t.Fatalf("%v", err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("it took %v", took)
			}
		}
		if dials != 1 {
			t.Errorf("five clients made %d dials", dials)
		}
		time.Sleep(2 * askAgain) // later it is worth another try, five minutes early
		if _, err := v.Query(context.Background(), p.id(), make([]byte, wire.QueryBox)); Code(err) != "policy" || dials != 2 {
			t.Errorf("later: %v, %d dials", err, dials)
		}
	})
}

func TestFirstSessionSaysBack(t *testing.T) {
	hostile(t, func(t *testing.T, _ *simulation, v *testNode, p *rawPeer) {
		for i, want := range []bool{true, false} {
			s := p.join()
			var f wire.Frame
			if err := s.controlIn.Next(&f); err != nil {
				t.Fatal(err)
			}
			if (f.Kind == wire.KindBack) != want {
				t.Errorf("session %d begins with kind %d", i+1, f.Kind)
			}
		}
	})
}

func TestDrainingPeerGetsNothingMoreUntilItIsBack(t *testing.T) {
	hostile(t, func(t *testing.T, _ *simulation, v *testNode, p *rawPeer) {
		s := p.join()
		p.write(s.control, wire.Frame{Kind: wire.KindDrain, Millis: 2000})
		time.Sleep(time.Second)
		if _, err := v.Send(envelopeTo(t, p.testNode, envelope.Day, 1024), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if st := v.stateOf(p.testNode); st.QueueLen != 1 {
			t.Errorf("queue %d", st.QueueLen)
		}
		p.write(s.control, wire.Frame{Kind: wire.KindBack})
		var f wire.Frame
		for f.Kind != wire.KindBatch {
			if err := s.dataIn.Next(&f); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestEchoShowsAStuckDelivery(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.start()
		b.start()
		connected(t, a, b)
		eventually(t, "the first echo", func() bool { return a.stateOf(b).EchoRTT > 0 && b.stateOf(a).EchoRTT > 0 })
		release := make(chan struct{})
		b.mu.Lock()
		b.deliver = func(*envelope.Envelope) Outcome {
			<-release
			return delivered
		}
		b.mu.Unlock()
		for range 3 * lanes { // more than are delivered at once
			if _, err := a.Send(envelopeTo(t, b, envelope.Day, 1024), nil); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "the echo is missed while pings go on", func() bool { return a.stateOf(b).EchoMissed >= 2 })
		if st := a.stateOf(b); st.State != StateConnected {
			t.Errorf("the link is %s", st.State)
		}
		if st := b.stateOf(a); st.EchoMissed != 0 {
			t.Errorf("the other direction misses %d", st.EchoMissed)
		}
		close(release)
		eventually(t, "it is well again", func() bool { return a.stateOf(b).EchoMissed == 0 })
	})
}

func TestEchoComesBackByteForByte(t *testing.T) {
	hostile(t, func(t *testing.T, _ *simulation, v *testNode, p *rawPeer) {
		s := p.join()
		var f wire.Frame
		for f.Kind != wire.KindEcho {
			if err := s.dataIn.Next(&f); err != nil {
				t.Fatal(err)
			}
		}
		// The canary opens with our probe key, and with the routing key it does not.
		e, err := envelope.Parse(f.Box)
		if err != nil {
			t.Fatal(err)
		}
		if hop, err := p.probe.OpenHop(e, p.id()); err != nil || hop.Tag != probeTag {
			t.Errorf("our probe: %v", err)
		}
		if _, err := p.routing.OpenHop(e, p.id()); err == nil {
			t.Error("the routing key opens a canary")
		}
		box := bytes.Clone(f.Box)
		box[len(box)-1] ^= 1
		p.write(s.data, wire.Frame{Kind: wire.KindEcho, ID: f.ID, Box: box, Reply: true})
		s.cut("a changed canary")
	})
}

func TestPublicPeersAreTurnedAwayWhenFullAndPartnersAreNot(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		v := s.node("acme.example", publicPolicy+"[[domain]]\nname = \"partner.example\"\nlevel = \"partner\"\n[[rule]]\nlevel = \"partner\"\nname = \"p\"\ndirection = \"in\"\nactions = [\"federate\"]\n")
		v.cfg.MaxPeers = 1
		v.addrs = v.cfg.Listen
		var peers []*rawPeer
		for _, name := range []string{"mallory.example", "globex.example", "partner.example"} {
			v.cfg.Sources[name] = "/nowhere"
			p := s.raw(name, v)
			v.pins.docs[name] = p.document()
			peers = append(peers, p)
		}
		v.start()
		peers[0].join()
		for i, want := range []string{"busy", ""} {
			p := peers[i+1]
			st := p.open()
			p.write(st, wire.Frame{Kind: wire.KindHello, Hello: p.hello()})
			if got := p.verdict(st); got != want {
				t.Errorf("%s is answered with %q, want %q", p.domain, got, want)
			}
			st.Reset()
		}
	})
}

func TestADialThatGivesWayIsNoFailure(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		v := s.node("acme.example", publicPolicy)
		for _, name := range []string{"mallory.example", "globex.example"} {
			v.cfg.Sources[name] = "/nowhere"
		}
		p := s.rawNode("mallory.example", lowerThan(v.id()), v)
		v.addrs = v.cfg.Listen
		v.pins.docs[p.domain] = p.document()
		v.start()

		// The peer answers no Hello and says its own: of two dials that of the lower id counts.
		said := make(chan network.Stream, 1)
		p.answerWith(t, func(network.Stream, wire.Hello) {
			st := p.open()
			p.write(st, wire.Frame{Kind: wire.KindHello, Hello: p.hello()})
			said <- st
		})
		if _, err := v.Send(envelopeTo(t, p.testNode, envelope.Day, 1024), WaiterFunc(func(Outcome) { t.Error("an outcome without a session") })); err != nil {
			t.Fatal(err)
		}
		if got := p.verdict(<-said); got != "" {
			t.Fatalf("the Hello is answered with %q", got)
		}
		synctest.Wait() // nobody has more to do before the Welcome
		if st := v.stateOf(p.testNode); st.State != StateConnecting {
			t.Errorf("while the other dial goes on: %+v", st)
		}
	})
}

// lowerThan names a host whose peer id is lower than another's.
func lowerThan(id identity.PeerID) string {
	for i := 0; ; i++ {
		name := fmt.Sprintf("host %d", i)
		key, err := crypto.UnmarshalEd25519PrivateKey(seed(name))
		if err != nil {
			panic(err)
		}
		if p, err := peer.IDFromPrivateKey(key); err == nil && string(p) < string(id[:]) {
			return name
		}
	}
}

func TestNewsOfAnOldDialDoesNotTouchASession(t *testing.T) {
	hostile(t, func(t *testing.T, _ *simulation, v *testNode, p *rawPeer) {
		s := p.join()
		eventually(t, "the link is up", func() bool { return v.stateOf(p.testNode).State == StateConnected })
		l := v.lookup(p.id())
		l.failed(StateWaiting, "closed", 0)
		l.refusedBy(&refusedError{code: wire.CodePolicy})
		if st := v.stateOf(p.testNode); st.State != StateConnected || st.Why != "" {
			t.Errorf("with a session: %+v", st)
		}
		// Nor does it keep anybody away once the session is over.
		s.control.Reset()
		eventually(t, "the link is down", func() bool { return v.stateOf(p.testNode).State != StateConnected })
		if _, err := v.Send(envelopeTo(t, p.testNode, envelope.Day, 1024), nil); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}
