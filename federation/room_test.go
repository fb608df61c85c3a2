package federation

import (
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/identity"
)

// sisters are several nodes of one domain, and the document that names them all.
func (s *simulation) sisters(domain string, n int, victim *testNode) (peers []*rawPeer, document []byte) {
	for i := range n {
		peers = append(peers, s.rawNode(domain, domain+string(rune('a'+i)), victim))
	}
	return peers, peers[0].signed(peers[0].domainKey, func(d *identity.DomainDocument) {
		d.Nodes = nil
		for _, p := range peers {
			d.Nodes = append(d.Nodes, identity.DomainNode{PeerID: p.id(), Addresses: p.addrs})
		}
	})
}

func (p *rawPeer) knocks(document []byte) string {
	p.t.Helper()
	st := p.open()
	p.t.Cleanup(func() { st.Reset() })
	h := p.hello()
	h.Document = document
	p.write(st, wire.Frame{Kind: wire.KindHello, Hello: h})
	return p.verdict(st)
}

func TestADomainHasAsManyLinksAsItsPolicyGivesIt(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		v := s.node("acme.example", limited("globex.example", "concurrent = 2")+"[[domain]]\nname = \"other.example\"\nlevel = \"partner\"\n")
		v.addrs = v.cfg.Listen
		v.cfg.Sources["globex.example"], v.cfg.Sources["other.example"] = "/nowhere", "/nowhere"
		peers, doc := s.sisters("globex.example", 3, v)
		v.pins.docs["globex.example"] = doc
		other := s.raw("other.example", v)
		v.pins.docs["other.example"] = other.document()
		v.start()
		// Each answers nothing when it is dialled, so that only its own dials count here.
		for _, p := range append(peers, other) {
			p.host.RemoveStreamHandler(wire.Protocol)
		}
		for i, want := range []string{"", "", "busy"} {
			if got := peers[i].knocks(doc); got != want {
				t.Errorf("node %d of the domain is answered with %q, want %q", i, got, want)
			}
		}
		if got := peers[1].knocks(doc); got != "" {
			t.Errorf("one that comes again is answered with %q", got)
		}
		if got := other.knocks(other.document()); got != "" {
			t.Errorf("another domain's node is answered with %q", got)
		}
		// The handshakes were not finished: their places come back.
		time.Sleep(time.Minute)
		if got := peers[2].knocks(doc); got != "" {
			t.Errorf("when there is room again: %q", got)
		}
	})
}

func TestNoMoreNodesOfADomainAreDialledThanItsPolicyAllows(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		v := s.node("acme.example", limited("globex.example", "concurrent = 1"))
		v.addrs = v.cfg.Listen
		v.cfg.Sources["globex.example"] = "/nowhere"
		first := s.node("globex.example", partnerOf("acme.example"))
		first.addrs = first.cfg.Listen
		second := s.rawNode("globex.example", "second", v)
		doc := second.signed(second.domainKey, func(d *identity.DomainDocument) {
			d.Nodes = []identity.DomainNode{{PeerID: first.id(), Addresses: first.addrs}, {PeerID: second.id(), Addresses: second.addrs}}
		})
		first.cfg.Document = func() []byte { return doc }
		first.cfg.Sources["acme.example"] = "/nowhere"
		first.pins.docs["acme.example"] = v.document()
		v.pins.docs["globex.example"] = doc
		first.start()
		v.start()
		connected(t, v, first)
		time.Sleep(10 * time.Minute)
		connected(t, v, first)
		if st := v.stateOf(second.testNode); st.State != StateRefused || st.Why != wire.CodeBusy {
			t.Errorf("the second node: %+v", st)
		}
		if n := v.sessionCount(); n != 1 {
			t.Errorf("%d sessions", n)
		}
		// When the first is gone the second one is tried.
		if err := first.stop(); err != nil {
			t.Fatal(err)
		}
		select {
		case st := <-second.streams:
			st.Reset()
		case <-time.After(5 * time.Minute):
			t.Error("the other node is not dialled")
		}
	})
}

func TestStrangersDoNotTakeThePlacesOfPartners(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		v := s.node("acme.example", publicPolicy+"[[domain]]\nname = \"partner.example\"\nlevel = \"partner\"\n[[rule]]\nlevel = \"partner\"\nname = \"p\"\ndirection = \"in\"\nactions = [\"federate\"]\n")
		v.addrs = v.cfg.Listen
		peers := make(map[string]*rawPeer)
		for _, name := range []string{"mallory.example", "partner.example"} {
			v.cfg.Sources[name] = "/nowhere"
			peers[name] = s.raw(name, v)
			v.pins.docs[name] = peers[name].document()
		}
		v.start()
		v.Federation.mu.Lock()
		v.inbound = maxHandshakes // as if so many strangers waited for their documents to be fetched
		v.Federation.mu.Unlock()
		for name, want := range map[string]string{"mallory.example": "busy", "partner.example": ""} {
			p := peers[name]
			if got := p.knocks(p.document()); got != want {
				t.Errorf("%s is answered with %q, want %q", name, got, want)
			}
		}
	})
}
