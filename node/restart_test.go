package node

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// wellKnown asks a node for its document without a socket in between.
func wellKnown(n *Node) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	n.handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/.well-known/trunkline/domain", nil))
	return rec
}

func TestTheDocumentIsShownWhenItsAddressesAreThoseOfThisStart(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, "acme.example", openPolicy)
	first := r.documents.current.Load()
	if got := wellKnown(r.Node); got.Code != http.StatusOK || !bytes.Equal(got.Body.Bytes(), first.Bytes()) {
		t.Fatalf("while it runs: %d", got.Code)
	}
	r.stopped()

	// It has a document from before, with addresses at which nobody listens any more.
	n, err := New(testConfig(dir, "acme.example"), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := wellKnown(n)
	if got.Code != http.StatusNotFound || got.Header().Get("Cache-Control") != "no-store" || got.Header().Get("Retry-After") == "" {
		t.Errorf("before it is ready: %d, %v", got.Code, got.Header())
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	again := start(t, dir, "acme.example", "")
	second := again.documents.current.Load()
	if second.Epoch != first.Epoch+1 || second.Previous != first.Hash() || second.Key != first.Key {
		t.Errorf("epoch %d after %d", second.Epoch, first.Epoch)
	}
	if !sameNode(second, second.Nodes[0]) || strings.Join(second.Nodes[0].Addresses, " ") != strings.Join(again.Facts().Federation, " ") {
		t.Errorf("it names %v and listens on %v", second.Nodes, again.Facts().Federation)
	}
	again.stopped()

	// At the same addresses it is the same document.
	at := sameAddress(t, again.Facts().Federation)
	fixed := func() *identity.DomainDocument {
		r := start(t, dir, "acme.example", "", func(c *Config) { c.Federation.Listen = []string{at} })
		defer r.stopped()
		return r.documents.current.Load()
	}
	if a, b := fixed(), fixed(); a.Hash() != b.Hash() {
		t.Errorf("a start that changed nothing made epoch %d after %d", b.Epoch, a.Epoch)
	}
}

// TestADocumentThatCannotBeRenewedIsSaid: its key is elsewhere and the addresses are others.
func TestADocumentThatCannotBeRenewedIsSaid(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, "acme.example", openPolicy).stopped()
	safe := filepath.Join(t.TempDir(), "safe")
	if err := os.Rename(filepath.Join(dir, fileDomainKey), safe); err != nil {
		t.Fatal(err)
	}
	r := start(t, dir, "acme.example", "")
	if !strings.Contains(r.log.String(), "level=WARN") || !strings.Contains(r.log.String(), fileDomainKey) {
		t.Errorf("the log says\n%s", r.log)
	}
}

// TestARestartedNodeIsAcceptedByItsPartner: it comes back at other addresses with the next
// epoch of its document, and nobody does anything by hand but what refreshes a file.
func TestARestartedNodeIsAcceptedByItsPartner(t *testing.T) {
	for name, c := range map[string]struct {
		dials string // which side may make the link
		web   bool   // where acme finds the document of globex
	}{
		"both may dial, a file":          {"both", false},
		"the other side dials, a file":   {"in", false},
		"both may dial, plain HTTP":      {"both", true},
		"the other side dials, over web": {"in", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex // guards current
			var current *running
			// A web server whose address stays, in front of a node whose address does not.
			front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				if current == nil {
					w.WriteHeader(http.StatusBadGateway)
					return
				}
				got := wellKnown(current.Node)
				w.WriteHeader(got.Code)
				_, _ = io.Copy(w, got.Body)
			}))
			defer front.Close()
			show := func(r *running) {
				mu.Lock()
				defer mu.Unlock()
				current = r
			}
			acmeDir, globexDir := t.TempDir(), t.TempDir()
			acmeMade, err := Init(testConfig(acmeDir, "acme.example"))
			if err != nil {
				t.Fatal(err)
			}
			globexMade, err := Init(testConfig(globexDir, "globex.example"))
			if err != nil {
				t.Fatal(err)
			}
			source := filepath.Join(acmeDir, "globex.example.document")
			if c.web {
				source = front.URL
			}
			p := &pair{
				acme: start(t, acmeDir, "acme.example", partnerPolicy("globex.example", globexMade.DomainKey), func(cfg *Config) {
					cfg.Federation.Peers = []PeerConfig{{Domain: "globex.example", Document: source}}
				}),
				globex: startPartner(t, globexDir, "globex.example", "acme.example", acmeMade.DomainKey),
			}
			writePolicy(t, globexDir, strings.Replace(readPolicy(t, globexDir), `direction = "both"`, `direction = "`+c.dials+`"`, 1)+`
[[rule]]
name = "answers"
level = "partner"
direction = "both"
actions = ["signal", "store", "query"]
`)
			if err := p.globex.Reload(); err != nil {
				t.Fatal(err)
			}
			show(p.globex)
			tell(t, p.globex, p.acme)
			tell(t, p.acme, p.globex)
			until(t, "they have a link", func() bool { return p.state() == federation.StateConnected })
			bob, bobs := join(t, p.globex)
			_, alices := join(t, p.acme)
			if receipt := alices.submit(to(t, p.globex, bob, envelope.Live, payload(1024))); receipt.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
				t.Fatalf("before the restart: %v", receipt)
			}
			bobs.deliver()
			epoch, at := p.globex.documents.current.Load().Epoch, p.globex.Facts().Federation
			e := to(t, p.globex, bob, envelope.Week, payload(1024))

			show(nil)
			p.globex.stopped()
			until(t, "acme sees it go", func() bool { return p.state() != federation.StateConnected })
			id := alices.id()
			alices.sendBytes(link.AppendSubmit(nil, id, e.Marshal()))
			p.globex = start(t, globexDir, "globex.example", "", func(cfg *Config) {
				cfg.Federation.Peers = []PeerConfig{{Domain: "acme.example", Document: filepath.Join(cfg.Data, "acme.example.document")}}
			})
			if now := p.globex.documents.current.Load(); now.Epoch != epoch+1 || strings.Join(at, " ") == strings.Join(p.globex.Facts().Federation, " ") {
				t.Fatalf("epoch %d after %d, at %v", now.Epoch, epoch, p.globex.Facts().Federation)
			}
			show(p.globex)
			tell(t, p.acme, p.globex)
			if receipt := alices.receipt(id); receipt.Class != pb.ReceiptClass_RECEIPT_STORED {
				t.Fatalf("what was submitted in between: %v", receipt)
			}
			if p.state() != federation.StateConnected {
				t.Errorf("the link is %s", p.state())
			}
		})
	}
}
