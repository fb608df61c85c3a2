package node

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

func TestRoutingKeysRotateWeeklyAndOldSecretsGo(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, "acme.example", openPolicy)
	bob, _ := join(t, r)
	_, alices := join(t, r)
	old := to(t, r, bob, envelope.Live, payload(1024)) // sealed to the key of the first week
	first, err := identity.ParseDescriptor(r.routing.descriptor())
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := r.routing.rotate(t.Context()); changed || err != nil {
		t.Fatalf("rotated on the first day: %v", err)
	}

	r.clock.move(routingRotation + time.Hour)
	r.renewKeys()
	second, err := identity.ParseDescriptor(r.routing.descriptor())
	if err != nil || second.RoutingKey == first.RoutingKey || second.Follows(first) != nil || second.ValidAt(r.clock.Now()) != nil {
		t.Fatalf("after a week: %v", err)
	}
	if second.NotAfter.Sub(second.NotBefore) > identity.DescriptorLifetime {
		t.Error("the descriptor lives too long")
	}
	if receipt := alices.submit(old); receipt.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
		t.Errorf("to the key before, while it is kept: %v", receipt)
	}
	if n := len(r.routing.keys.Load().list); n != 2 {
		t.Errorf("%d keys are kept", n)
	}

	// The first descriptor ended on day 8; 48 hours later its secret is gone.
	r.clock.move(first.NotAfter.Add(identity.RoutingKeyKept+time.Minute).Sub(r.clock.Now()) + time.Second)
	r.renewKeys()
	if n := len(r.routing.keys.Load().list); n != 1 {
		t.Errorf("%d keys are kept after the end", n)
	}
	late, err := envelope.NewEnvelope(first.RoutingKey, r.self, envelope.Live, envelope.Hop{Tag: bob.tag, Token: bob.token}, payload(1024))
	if err != nil {
		t.Fatal(err)
	}
	if receipt := alices.submit(late); receipt.Class != pb.ReceiptClass_RECEIPT_REFUSED {
		t.Errorf("to a key that is gone: %v", receipt)
	}
	r.stopped()
	// A restart keeps the key.
	now := r.clock.Now()
	c := &clock{now: now}
	n, err := NewOn(testConfig(dir, "acme.example"), nil, Ground{Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := identity.ParseDescriptor(n.routing.descriptor()); err != nil || d.RoutingKey != second.RoutingKey {
		t.Errorf("a restart changed the routing key: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheDomainDocumentGrowsByEpochs(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, "acme.example", openPolicy)
	first := r.documents.current.Load()
	if first.Epoch != 1 || first.ValidAt(r.clock.Now()) != nil {
		t.Fatalf("the first document: %+v", first)
	}
	status, body, header := get1(t, "http://"+r.httpAddr+"/.well-known/trunkline/domain")
	if status != http.StatusOK || body != string(first.Bytes()) || !strings.Contains(header.Get("Cache-Control"), "max-age") || header.Get("ETag") == "" {
		t.Errorf("served as %d, %v", status, header)
	}
	req, err := http.NewRequest(http.MethodGet, "http://"+r.httpAddr+"/.well-known/trunkline/domain", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("If-None-Match", header.Get("ETag"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusNotModified {
		t.Errorf("asked again: %v, %v", resp, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	r.clock.move(documentRenewal + time.Hour)
	r.renewKeys()
	second := r.documents.current.Load()
	if second.Epoch != 2 || second.Previous != first.Hash() || second.Key != first.Key {
		t.Errorf("the second document: epoch %d", second.Epoch)
	}
	r.stopped()

	// The key may be kept elsewhere: the document is served as it is, and never another key.
	if err := os.Rename(filepath.Join(dir, fileDomainKey), filepath.Join(t.TempDir(), "safe")); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir, "acme.example", "", func(c *Config) { c.Federation.Listen = []string{"127.0.0.1:0"} })
	if doc := again.documents.current.Load(); doc.Hash() != second.Hash() {
		t.Error("without the key the document changed")
	}
	if _, err := os.Stat(filepath.Join(dir, fileDomainKey)); !errors.Is(err, os.ErrNotExist) {
		t.Error("a new domain key was made")
	}
	again.stopped()

	if _, err := New(testConfig(dir, "other.example"), nil); err == nil || !strings.Contains(err.Error(), "acme.example") {
		t.Errorf("the folder of another domain: %v", err)
	}
}

func TestEveryListenerAnswersForItselfAlone(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", registerPolicy("invitation"))
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/nothing": 404, "/metrics": 404, "/admin/v1/status": 404} {
		if status, _, _ := get1(t, "http://"+r.httpAddr+path); status != want {
			t.Errorf("%s: %d", path, status)
		}
	}
	status, body, _ := get1(t, r.Facts().Metrics)
	for _, name := range []string{"trunkline_links", "trunkline_envelopes_total", "trunkline_turn_allocations", "trunkline_federation_queue_bytes"} {
		if !strings.Contains(body, name) {
			t.Errorf("/metrics (%d) lacks %s", status, name)
		}
	}
}
