package federation

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/x/simlibp2p"
	"github.com/marcopolo/simnet"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation/proof"
	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/identity"
)

// rawPeer speaks the protocol by hand, well or badly.
type rawPeer struct {
	*testNode // its keys and documents; it does not run
	host      host.Host
	streams   chan network.Stream // opened by the other side
	victim    *testNode
	probe     *envelope.RoutingKey
}

func (s *simulation) raw(domain string, victim *testNode) *rawPeer {
	return s.rawNode(domain, "host "+domain, victim)
}

// rawNode is one of several nodes of a domain.
func (s *simulation) rawNode(domain, host string, victim *testNode) *rawPeer {
	s.n++
	n := newTestNode(s.t, domain, "version = 1")
	n.hostKey = seed(host)
	n.addrs = []string{fmt.Sprintf("/ip4/1.0.0.%d/udp/8000/quic-v1", s.n)}
	key, err := crypto.UnmarshalEd25519PrivateKey(n.hostKey)
	if err != nil {
		s.t.Fatal(err)
	}
	p := &rawPeer{testNode: n, host: s.rawHost(key, n.addrs[0]), streams: make(chan network.Stream, 16), victim: victim}
	if p.probe, err = envelope.GenerateRoutingKey(); err != nil {
		s.t.Fatal(err)
	}
	p.host.SetStreamHandler(protocol.ID(wire.Protocol), func(st network.Stream) { p.streams <- st })
	return p
}

func (s *simulation) rawHost(key crypto.PrivKey, addr string) host.Host {
	link := simnet.LinkSettings{BitsPerSecond: 100 * simlibp2p.OneMbps}
	h, err := libp2p.New(libp2p.NoTransports, libp2p.Identity(key), libp2p.ListenAddrStrings(addr),
		libp2p.Transport(libp2pquic.NewTransport), libp2p.DisableIdentifyAddressDiscovery(), libp2p.DisableRelay(),
		libp2p.ForceReachabilityPublic(), libp2p.DisableMetrics(),
		simlibp2p.QUICSimnet(s.net, simnet.NodeBiDiLinkSettings{Downlink: link, Uplink: link}))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { h.Close() })
	return h
}

func (p *rawPeer) open() network.Stream {
	p.t.Helper()
	id := p.victim.id()
	a, err := ma.NewMultiaddr(p.victim.cfg.Listen[0])
	if err != nil {
		p.t.Fatal(err)
	}
	p.host.Peerstore().AddAddrs(peer.ID(id[:]), []ma.Multiaddr{a}, peerstore.PermanentAddrTTL)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	st, err := p.host.NewStream(ctx, peer.ID(id[:]), protocol.ID(wire.Protocol))
	if err != nil {
		p.t.Fatal(err)
	}
	return st
}

func (p *rawPeer) hello() wire.Hello {
	from, to, key := p.id(), p.victim.id(), p.probe.Public()
	nonce := make([]byte, 32)
	rand.Read(nonce)
	return wire.Hello{Versions: []uint32{1}, Document: p.document(), Nonce: nonce, From: from[:], To: to[:],
		WindowFrames: 16, WindowBytes: 1 << 20, Descriptor: p.descriptor(), ProbeKey: key[:]}
}

func (p *rawPeer) write(st network.Stream, frames ...wire.Frame) {
	p.t.Helper()
	var b []byte
	for i := range frames {
		b = wire.Append(b, &frames[i])
	}
	if _, err := st.Write(b); err != nil {
		p.t.Logf("write: %v", err) // the victim may have cut already; the test looks at the end
	}
}

// verdict reads what a Hello is answered with: "" for a Hello back, a code, or "reset".
func (p *rawPeer) verdict(st network.Stream) string {
	p.t.Helper()
	var f wire.Frame
	st.SetReadDeadline(time.Now().Add(time.Minute))
	if err := wire.NewReader(st, wire.MaxFirst).Next(&f); err != nil {
		return "reset"
	}
	switch f.Kind {
	case wire.KindRefuse:
		return f.Code
	case wire.KindHello:
		return ""
	}
	return fmt.Sprintf("kind %d", f.Kind)
}

// rawSession is a session that the raw peer dialled.
type rawSession struct {
	p             *rawPeer
	id            []byte
	control       network.Stream
	controlIn     *wire.Reader
	data, theirs  network.Stream
	dataIn, ackIn *wire.Reader
}

// join shakes hands as it should be.
func (p *rawPeer) join() *rawSession {
	p.t.Helper()
	st := p.open()
	in := wire.NewReader(st, wire.MaxFirst)
	h := p.hello()
	p.write(st, wire.Frame{Kind: wire.KindHello, Hello: h})
	var f wire.Frame
	if err := in.Next(&f); err != nil || f.Kind != wire.KindHello {
		p.t.Fatalf("instead of a Hello: %+v, %v", f, err)
	}
	nonce := bytes.Clone(f.Hello.Nonce)
	if err := in.Next(&f); err != nil || f.Kind != wire.KindWelcome {
		p.t.Fatalf("instead of a Welcome: %+v, %v", f, err)
	}
	s := &rawSession{p: p, id: bytes.Clone(f.Welcome.Session), control: st, controlIn: in}
	p.write(st, wire.Frame{Kind: wire.KindWelcome, Welcome: wire.Welcome{Version: 1, Session: s.id,
		CreditFrames: 16, CreditBytes: 1 << 20, Nonce: nonce}})
	s.controlIn.Max = wire.MaxControl
	s.data = p.open()
	p.write(s.data, wire.Frame{Kind: wire.KindOpen, Session: s.id})
	s.ackIn = wire.NewReader(s.data, wire.MaxAckFrame)
	s.theirs = <-p.streams
	s.dataIn = wire.NewReader(s.theirs, wire.MaxData)
	if err := s.dataIn.Next(&f); err != nil || f.Kind != wire.KindOpen || !bytes.Equal(f.Session, s.id) {
		p.t.Fatalf("instead of Open: %+v, %v", f, err)
	}
	return s
}

// cut waits until the victim has ended the session.
func (s *rawSession) cut(what string) {
	s.p.t.Helper()
	var f wire.Frame
	s.control.SetReadDeadline(time.Now().Add(5 * time.Second))
	for {
		if err := s.controlIn.Next(&f); err != nil {
			if reason(err) == "timeout" {
				s.p.t.Errorf("%s: the link was not cut", what)
			}
			return
		}
	}
}

// publicPolicy lets proven domains in and dials them only when there is something to send,
// so that the raw peer decides who speaks first.
const publicPolicy = `version = 1
[[domain]]
name = "mallory.example"
level = "public"
[[domain]]
name = "globex.example"
level = "public"
[[rule]]
name = "public"
level = "public"
direction = "both"
actions = ["federate", "query"]
`

// hostile runs a test with a victim that knows the peer's document.
func hostile(t *testing.T, test func(t *testing.T, s *simulation, victim *testNode, p *rawPeer)) {
	t.Helper()
	simulate(t, func(t *testing.T, s *simulation) {
		v := s.node("acme.example", publicPolicy)
		for _, name := range []string{"mallory.example", "globex.example"} {
			v.cfg.Sources[name] = "/nowhere" // the web would leave the bubble
		}
		p := s.raw("mallory.example", v)
		v.addrs = v.cfg.Listen
		v.pins.docs[p.domain] = p.document()
		v.start()
		test(t, s, v, p)
	})
}

// signed makes a document of the peer's domain with changes.
func (p *rawPeer) signed(key ed25519.PrivateKey, change func(*identity.DomainDocument)) []byte {
	p.t.Helper()
	old, err := proof.Parse(p.document())
	if err != nil {
		p.t.Fatal(err)
	}
	d := identity.DomainDocument{Domain: old.Domain, Epoch: old.Epoch, Issued: old.Issued, Expires: old.Expires, Nodes: old.Nodes}
	change(&d)
	out, err := identity.SignDomain(key, d)
	if err != nil {
		p.t.Fatal(err)
	}
	return out.Bytes()
}

func TestHellosThatAreNotBelieved(t *testing.T) {
	other := newTestNode(t, "globex.example", "version = 1")
	other.addrs = []string{"/ip4/1.0.0.99/udp/8000/quic-v1"}
	for name, c := range map[string]struct {
		change func(p *rawPeer, h *wire.Hello)
		code   string
	}{
		"as it should be":           {func(*rawPeer, *wire.Hello) {}, ""},
		"version 2":                 {func(_ *rawPeer, h *wire.Hello) { h.Versions = []uint32{2} }, "version"},
		"from another":              {func(_ *rawPeer, h *wire.Hello) { id := other.id(); h.From = id[:] }, "wrong_peer"},
		"to another":                {func(_ *rawPeer, h *wire.Hello) { id := other.id(); h.To = id[:] }, "wrong_peer"},
		"no window":                 {func(_ *rawPeer, h *wire.Hello) { h.WindowBytes = 1 }, "bad_hello"},
		"no document":               {func(_ *rawPeer, h *wire.Hello) { h.Document = []byte{1} }, "bad_document"},
		"flipped bit":               {func(_ *rawPeer, h *wire.Hello) { h.Document[70] ^= 1 }, "bad_document"},
		"another domain's document": {func(_ *rawPeer, h *wire.Hello) { h.Document = other.document() }, "not_listed"},
		"a domain nobody named": {func(p *rawPeer, h *wire.Hello) {
			h.Document = p.signed(p.domainKey, func(d *identity.DomainDocument) { d.Domain = "evil.example" })
		}, "policy"},
		"a partner's domain with an own key": {func(p *rawPeer, h *wire.Hello) {
			h.Document = p.signed(seed("mallory"), func(d *identity.DomainDocument) { d.Domain = "globex.example" })
		}, "unproven"},
		"another key for its domain": {func(p *rawPeer, h *wire.Hello) {
			h.Document = p.signed(seed("new"), func(d *identity.DomainDocument) { d.Epoch = 2; d.Previous = [32]byte{1} })
		}, "unproven"},
		"expired": {func(p *rawPeer, h *wire.Hello) {
			h.Document = p.signed(p.domainKey, func(d *identity.DomainDocument) {
				d.Epoch, d.Previous = 2, [32]byte{1}
				d.Issued, d.Expires = time.Now().Add(-48*time.Hour), time.Now().Add(-time.Minute)
			})
		}, "expired"},
		"two of one epoch": {func(p *rawPeer, h *wire.Hello) {
			h.Document = p.signed(p.domainKey, func(d *identity.DomainDocument) { d.Contact = "somebody else" })
		}, "equivocation"},
		"another's descriptor":   {func(_ *rawPeer, h *wire.Hello) { h.Descriptor = other.descriptor() }, "bad_descriptor"},
		"probe key of low order": {func(_ *rawPeer, h *wire.Hello) { h.ProbeKey = make([]byte, 32) }, "bad_hello"},
	} {
		t.Run(name, func(t *testing.T) {
			hostile(t, func(t *testing.T, s *simulation, v *testNode, p *rawPeer) {
				h := p.hello()
				other.t = t
				c.change(p, &h)
				st := p.open()
				p.write(st, wire.Frame{Kind: wire.KindHello, Hello: h})
				if got := p.verdict(st); got != c.code {
					t.Errorf("answered with %q, want %q", got, c.code)
				}
				st.Reset()
				if c.code == "" {
					return
				}
				var found bool
				for _, r := range v.Refusals() {
					found = found || r.Code == c.code && r.Count == 1 && !r.Last.IsZero()
				}
				if !found {
					t.Errorf("the administrator sees %+v", v.Refusals())
				}
			})
		})
	}
}

func TestOldEpochIsRefusedForever(t *testing.T) {
	hostile(t, func(t *testing.T, s *simulation, v *testNode, p *rawPeer) {
		first := p.document()
		p.mu.Lock()
		p.epoch = 3
		p.mu.Unlock()
		p.join()
		connected := func() bool { return v.stateOf(p.testNode).State == StateConnected }
		eventually(t, "the new document is taken", connected)
		for range 2 { // also by the next process
			st := p.open()
			h := p.hello()
			h.Document = first
			p.write(st, wire.Frame{Kind: wire.KindHello, Hello: h})
			if got := p.verdict(st); got != "epoch" {
				t.Fatalf("an old document is answered with %q", got)
			}
			st.Reset()
			if err := v.stop(); err != nil {
				t.Fatal(err)
			}
			id := v.id()
			p.host.Network().ClosePeer(peer.ID(id[:]))
			v.start()
		}
	})
}

func TestReplayedNonceIsRefused(t *testing.T) {
	hostile(t, func(t *testing.T, s *simulation, v *testNode, p *rawPeer) {
		h := p.hello()
		for i, want := range []string{"", "replay"} {
			st := p.open()
			p.write(st, wire.Frame{Kind: wire.KindHello, Hello: h})
			if got := p.verdict(st); got != want {
				t.Errorf("time %d: answered with %q, want %q", i+1, got, want)
			}
			st.Reset()
			time.Sleep(time.Second)
		}
	})
}

func TestStrangersHaveOneStreamEightKiBAndFiveSeconds(t *testing.T) {
	hostile(t, func(t *testing.T, s *simulation, v *testNode, p *rawPeer) {
		// Too large: refused by the length alone.
		st := p.open()
		st.Write([]byte{0x81, 0x40, 0x0a}) // 8,193
		if got := p.verdict(st); got != "reset" {
			t.Errorf("an oversized Hello is answered with %q", got)
		}
		// Trickled: a byte a second keeps no stream open.
		st = p.open()
		b := wire.Append(nil, &wire.Frame{Kind: wire.KindHello, Hello: p.hello()})
		began := time.Now()
		for i := range b {
			if _, err := st.Write(b[i : i+1]); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if took := time.Since(began); took > helloTime+3*time.Second {
			t.Errorf("a trickled Hello held its stream for %v", took)
		}
		// A second stream beside one that says nothing.
		first := p.open()
		first.Write([]byte{1})
		time.Sleep(100 * time.Millisecond)
		second := p.open()
		second.Write([]byte{1})
		if got := p.verdict(second); got != "reset" {
			t.Errorf("a second stream is answered with %q", got)
		}
		if got := p.verdict(first); got != "reset" {
			t.Errorf("a silent stream is answered with %q", got)
		}
		// Something else than Hello, and a data stream of no session.
		for _, f := range []wire.Frame{{Kind: wire.KindPing, ID: 1}, {Kind: wire.KindOpen, Session: make([]byte, 16)},
			{Kind: wire.KindBatch, First: 1, Envelopes: [][]byte{{1}}}} {
			st := p.open()
			p.write(st, f)
			if got := p.verdict(st); got != "reset" {
				t.Errorf("kind %d first is answered with %q", f.Kind, got)
			}
		}
		eventually(t, "nothing is kept of them", func() bool {
			v.Federation.mu.Lock()
			defer v.Federation.mu.Unlock()
			return len(v.unnamed) == 0 && v.inbound == 0 && len(v.Federation.sessions) == 0
		})
	})
}

func TestConnectionWithoutASessionIsClosed(t *testing.T) {
	hostile(t, func(t *testing.T, s *simulation, v *testNode, p *rawPeer) {
		p.open()
		if n := len(v.host.Network().Conns()); n == 0 {
			t.Fatal("no connection to begin with")
		}
		time.Sleep(strangerTime + 2*watchEvery)
		eventually(t, "it is closed", func() bool { return len(v.host.Network().Conns()) == 0 })
	})
}

func TestRSAKeyIsRefused(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		v := s.node("acme.example", partnerOf("mallory.example"))
		v.addrs = v.cfg.Listen
		v.start()
		key, _, err := crypto.GenerateRSAKeyPair(2048, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		h := s.rawHost(key, "/ip4/1.0.0.77/udp/8000/quic-v1")
		id := v.id()
		a, err := ma.NewMultiaddr(v.cfg.Listen[0])
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		h.Peerstore().AddAddrs(peer.ID(id[:]), []ma.Multiaddr{a}, peerstore.PermanentAddrTTL)
		if st, err := h.NewStream(ctx, peer.ID(id[:]), protocol.ID(wire.Protocol)); err == nil {
			if _, err = st.Write([]byte{1}); err == nil {
				_, err = st.Read(make([]byte, 1))
			}
			if err == nil {
				t.Fatal("an RSA peer has a stream")
			}
		}
		if r := v.Refusals(); len(r) != 1 || r[0].Code != "key_type" {
			t.Fatalf("refusals %+v", r)
		}
	})
}
