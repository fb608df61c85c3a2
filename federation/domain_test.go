package federation

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation/proof"
	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/identity"
)

func TestDomainIsFoundProvenPinnedAndConnected(t *testing.T) {
	t.Parallel()
	a := newTestNode(t, "acme.example", partnerOf("globex.example"))
	b := newTestNode(t, "globex.example", partnerOf("acme.example"))
	web(t, a, b)
	b.start()
	a.start()
	doc, descriptors, err := a.Domain(context.Background(), "globex.example")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(doc, b.document()) || len(descriptors) != 1 || !bytes.Equal(descriptors[0], b.descriptor()) {
		t.Fatal("not the partner's document and descriptor")
	}
	for _, n := range []*testNode{a, b} { // the one who was dialled has proven the other too
		n.pins.mu.Lock()
		if len(n.pins.docs) != 1 {
			t.Errorf("%s pinned %d domains", n.domain, len(n.pins.docs))
		}
		n.pins.mu.Unlock()
	}
	own, ownDescriptors, err := a.Domain(context.Background(), "acme.example")
	if err != nil || !bytes.Equal(own, a.document()) || len(ownDescriptors) != 1 {
		t.Errorf("the own domain: %v", err)
	}
	if _, _, err := a.Domain(context.Background(), "not a domain"); Code(err) != "unknown_destination" {
		t.Errorf("no domain: %v", err)
	}
	if _, _, err := a.Domain(context.Background(), "nobody.example"); Code(err) != wire.CodePolicy {
		t.Errorf("a domain that no policy names: %v", err)
	}
}

func TestDomainWithoutAWebServerIsUnreachable(t *testing.T) {
	t.Parallel()
	a := newTestNode(t, "acme.example", partnerOf("nowhere.example"))
	web(t, a)
	a.start()
	if _, _, err := a.Domain(context.Background(), "nowhere.example"); Code(err) != "unreachable" {
		t.Errorf("%v", err)
	}
}

// The demo and air-gapped networks: a plain URL, and a key that both policies pin.
func TestPinnedKeyTakesThePlaceOfTheWeb(t *testing.T) {
	t.Parallel()
	a := newTestNode(t, "acme.example", "version = 1")
	b := newTestNode(t, "globex.example", "version = 1")
	a.setPolicy(pinnedPartner(b))
	b.setPolicy(pinnedPartner(a))
	serve := func(n *testNode) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(n.document()) }))
		t.Cleanup(s.Close)
		return s.URL + proof.WellKnown
	}
	a.cfg.Sources["globex.example"] = serve(b)
	b.cfg.Sources["acme.example"] = serve(a)
	b.start()
	a.start()
	connected(t, a, b) // nobody asked: a source is a partner to look for

	// Without the key the same place is worth nothing.
	c := newTestNode(t, "third.example", partnerOf("globex.example"))
	c.cfg.Sources["globex.example"] = a.cfg.Sources["globex.example"]
	c.start()
	if _, _, err := c.Domain(context.Background(), "globex.example"); Code(err) != "unreachable" || !strings.Contains(err.Error(), "pin") {
		t.Errorf("http:// without a pinned key: %v", err)
	}
}

func TestKeyChangesOnlyByHandover(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.start()
		b.start()
		connected(t, a, b)
		old := b.domainKey
		change := func(handover bool) {
			if err := b.stop(); err != nil {
				t.Fatal(err)
			}
			b.mu.Lock()
			b.domainKey = seed("another key")
			b.epoch++
			b.handover = nil
			if handover {
				h, err := identity.SignHandover(old, b.domain, keyOf(t, b.domainKey), b.epoch)
				if err != nil {
					t.Fatal(err)
				}
				b.handover = []*identity.Handover{h}
			}
			b.mu.Unlock()
			b.start()
		}
		change(false)
		eventually(t, "the new key is refused", func() bool {
			st := b.stateOf(a)
			return st.State == StateRefused && st.Why == wire.CodeUnproven
		})
		change(true)
		connected(t, a, b)
		if doc, err := proof.Parse(a.pins.docs[b.domain]); err != nil || doc.Key != keyOf(t, b.domainKey) {
			t.Errorf("the new key is not pinned: %v", err)
		}
	})
}

func TestLinkEndsWithItsDocumentAndComesBackWithTheNext(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.node("acme.example", partnerOf("globex.example")), s.node("globex.example", partnerOf("acme.example"))
		b.lifetime = time.Hour
		introduce(t, a, b)
		a.start()
		b.start()
		connected(t, a, b)
		time.Sleep(50 * time.Minute)
		began := a.stateOf(b).Since
		b.mu.Lock()
		b.epoch, b.lifetime = 2, 48*time.Hour
		b.mu.Unlock()
		time.Sleep(11 * time.Minute)
		connected(t, a, b)
		if !a.stateOf(b).Since.After(began) {
			t.Error("the link outlived its document")
		}
		if doc, err := proof.Parse(a.pins.docs[b.domain]); err != nil || doc.Epoch != 2 {
			t.Errorf("the next document is not pinned: %v", err)
		}
	})
}

func keyOf(t testing.TB, k ed25519.PrivateKey) identity.PublicKey {
	t.Helper()
	p, err := identity.CheckKey(k.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A document of an approved stranger may name any address; this node does not follow it into
// its own network. Those of a partner it does follow.
func TestPublicDomainsCannotSendThisNodeToPrivateAddresses(t *testing.T) {
	t.Parallel()
	a := newTestNode(t, "acme.example", publicPolicy)
	b := newTestNode(t, "globex.example", partnerOf("acme.example"))
	web(t, a, b)
	b.start() // on loopback
	a.start()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for a.stateOf(b).State != StateWaiting {
			runtime.Gosched()
		}
		cancel()
	}()
	if _, _, err := a.Domain(ctx, "globex.example"); Code(err) != "unreachable" {
		t.Fatalf("a public domain on loopback: %v", err)
	}
	if n := len(b.host.Network().Conns()); n != 0 {
		t.Errorf("%d connections came", n)
	}
	a.setPolicy(partnerOf("globex.example"))
	a.Reload()
	if _, _, err := a.Domain(context.Background(), "globex.example"); err != nil {
		t.Errorf("a partner on loopback: %v", err)
	}
}

// Somebody else's document cannot take over a partner's node by naming it.
func TestNamingAPartnersNodeDoesNotMakeItYours(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.setPolicy(partnerOf("globex.example") + `
[[domain]]
name = "mallory.example"
level = "public"
[[rule]]
name = "public"
level = "public"
direction = "both"
actions = ["federate"]
`)
		mallory := s.node("mallory.example", "version = 1")
		p := &rawPeer{testNode: mallory}
		mallory.addrs = mallory.cfg.Listen
		a.pins.docs["mallory.example"] = p.signed(mallory.domainKey, func(d *identity.DomainDocument) {
			d.Nodes = append(d.Nodes, identity.DomainNode{PeerID: b.id(), Addresses: mallory.cfg.Listen})
		})
		a.start()
		b.start()
		connected(t, a, b)
		out := newOutcomes()
		e := envelopeTo(t, b, envelope.Live, 1024)
		if _, err := a.Send(e, out.of(e.ID())); err != nil {
			t.Fatal(err)
		}
		await(t, "outcome", out.c, 1)
		if domain, ok := a.DomainOf(b.id()); !ok || domain != "globex.example" {
			t.Errorf("the partner's node is taken for one of %q", domain)
		}
		if _, ok := a.DomainOf(a.id()); ok {
			t.Error("our own node is one of another domain")
		}
		if st := a.stateOf(b); st.Domain != "globex.example" {
			t.Errorf("the partner's node is listed under %s", st.Domain)
		}
	})
}

func TestBrokenPinsStopTheStart(t *testing.T) {
	t.Parallel()
	for name, doc := range map[string][]byte{"not a document": {1, 2, 3}, "of another domain": newDoc(t)} {
		a := newTestNode(t, "acme.example", "version = 1")
		a.pins.docs["globex.example"] = doc
		f, err := New(a.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Run(context.Background()); err == nil {
			t.Errorf("%s: it runs", name)
		}
	}
}

func newDoc(t *testing.T) []byte {
	n := newTestNode(t, "other.example", "version = 1")
	n.addrs = []string{"/ip4/192.0.2.1/tcp/1"}
	return n.document()
}

func TestAReloadLooksForDocumentsAtOnce(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a := s.node("acme.example", partnerOf("globex.example"))
		b := s.node("globex.example", partnerOf("acme.example"))
		a.addrs, b.addrs = a.cfg.Listen, b.cfg.Listen
		b.pins.docs[a.domain] = a.document()
		path := filepath.Join(t.TempDir(), "globex")
		a.cfg.Sources[b.domain] = path
		b.cfg.Sources[a.domain] = "/nowhere"
		a.start()
		b.start()
		time.Sleep(time.Hour + 2*time.Minute) // virtual time: the search has come to its longest pauses, and the partner dials every five minutes
		if err := os.WriteFile(path, b.document(), 0o600); err != nil {
			t.Fatal(err)
		}
		a.Reload()
		time.Sleep(time.Second) // of virtual time
		if st := a.stateOf(b); st.State != StateConnected {
			t.Errorf("a second after the reload: %+v", st)
		}
	})
}
