package node

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// pair is two nodes that name each other as partners.
type pair struct{ acme, globex *running }

func partnerPolicy(domain, key string) string {
	return openPolicy + fmt.Sprintf(`
[[domain]]
name = %q
level = "partner"
key = %q

[[rule]]
name = "partners"
level = "partner"
direction = "both"
actions = ["federate", "signal", "knock", "store", "query"]
`, domain, key)
}

// startPair makes both data folders first, because each policy holds the other's key.
func startPair(t *testing.T) *pair {
	t.Helper()
	dirs := map[string]string{"acme.example": t.TempDir(), "globex.example": t.TempDir()}
	keys := map[string]string{}
	for domain, dir := range dirs {
		made, err := Init(testConfig(dir, domain))
		if err != nil {
			t.Fatal(err)
		}
		keys[domain] = made.DomainKey
	}
	p := &pair{
		acme:   startPartner(t, dirs["acme.example"], "acme.example", "globex.example", keys["globex.example"]),
		globex: startPartner(t, dirs["globex.example"], "globex.example", "acme.example", keys["acme.example"]),
	}
	p.introduce(t)
	return p
}

func startPartner(t *testing.T, dir, domain, other, key string) *running {
	t.Helper()
	return start(t, dir, domain, partnerPolicy(other, key), func(c *Config) {
		c.Federation.Peers = []PeerConfig{{Domain: other, Document: filepath.Join(dir, other+".document")}}
	})
}

// introduce gives each node the other's document, as two administrators would.
func (p *pair) introduce(t *testing.T) {
	t.Helper()
	for _, x := range []struct{ to, about *running }{{p.acme, p.globex}, {p.globex, p.acme}} {
		tell(t, x.to, x.about)
		// The document was looked for before it was there; it is looked for again.
		until(t, "the partner is known", func() bool {
			_, _, err := x.to.fed.Domain(t.Context(), x.about.cfg.Domain)
			return err == nil
		})
	}
}

// tell puts a node's document where the other looks for it.
func tell(t *testing.T, to, about *running) {
	t.Helper()
	status, body, _ := get1(t, "http://"+about.httpAddr+"/.well-known/trunkline/domain")
	if status != http.StatusOK {
		t.Fatalf("the document of %s: %d", about.cfg.Domain, status)
	}
	if err := os.WriteFile(filepath.Join(to.dir, about.cfg.Domain+".document"), []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestEnvelopesOfAllClassesCrossBetweenTwoDomains(t *testing.T) {
	p := startPair(t)
	bob, bobs := join(t, p.globex)
	_, alices := join(t, p.acme)

	f := alices.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Domain{Domain: &pb.DomainRequest{Domain: "globex.example"}}})
	doc, err := identity.ParseDomain(f.GetDomain().GetDocument())
	if err != nil || !doc.HasNode(p.globex.self) || len(f.GetDomain().Descriptors) == 0 {
		t.Fatalf("the partner's domain: %v (%v)", f, err)
	}
	a, size, code := alices.ask(p.globex, envelopepb.Operation_OPERATION_LOOKUP, bob.root.Public().Bytes())
	if code != "" || a.Status != envelopepb.AnswerStatus_ANSWER_FOUND || size != 16384 {
		t.Fatalf("the oblivious lookup: %v, %d, %q", a.GetStatus(), size, code)
	}

	for _, ttl := range []envelope.TTL{envelope.Live, envelope.Ring, envelope.Day, envelope.Week} {
		body := payload(4096)
		e := to(t, p.globex, bob, ttl, body)
		want := pb.ReceiptClass_RECEIPT_STORED
		if ttl == envelope.Live {
			want = pb.ReceiptClass_RECEIPT_DELIVERED
		}
		if receipt := alices.submit(e); receipt.Class != want {
			t.Fatalf("class %v: %v", ttl, receipt)
		}
		d := bobs.deliver()
		if !bytes.Equal(d.Payload, body) {
			t.Fatalf("class %v: another payload", ttl)
		}
		if ttl == envelope.Live {
			continue
		}
		bobs.ack(d.StoredId)
		bobs.settle(p.globex, bob.device.ID())
		if fate := alices.fate(p.globex, e); fate != envelopepb.Fate_FATE_DELIVERED {
			t.Errorf("class %v: its fate is %v", ttl, fate)
		}
	}
	knock := sealed(t, p.globex, envelope.Hop{Tag: bob.tag, Knock: true}, envelope.Week, payload(4096))
	if receipt := alices.submit(knock); receipt.Class != pb.ReceiptClass_RECEIPT_STORED {
		t.Errorf("a knock: %v", receipt)
	}
	if d := bobs.deliver(); !d.Knock {
		t.Error("the knock arrived as something else")
	}
	wrong := sealed(t, p.globex, envelope.Hop{Tag: bob.tag, Token: envelope.Token{3}}, envelope.Week, payload(1024))
	if receipt := alices.submit(wrong); receipt.Code != link.CodeRefused {
		t.Errorf("a wrong token: %v", receipt)
	}

	// Each node saw sizes and classes; neither saw who.
	for _, r := range []*running{p.acme, p.globex} {
		v := r.Views()
		if v.Envelopes != 6 || len(v.Sizes) != 2 || v.Sizes[0] != 1024 || v.Sizes[1] != 4096 {
			t.Errorf("%s saw %+v", v.Domain, v)
		}
	}
	unknown := to(t, p.globex, bob, envelope.Week, payload(1024))
	unknown.Destination = newPerson(t, p.acme).root.Public().PeerID()
	if receipt := alices.submit(unknown); receipt.Code != link.CodeUnknownDestination {
		t.Errorf("a node that nobody knows: %v", receipt)
	}
}

func TestANoteWaitsWhileThePartnerIsAway(t *testing.T) {
	p := startPair(t)
	bob, bobs := join(t, p.globex)
	_, alices := join(t, p.acme)
	if receipt := alices.submit(to(t, p.globex, bob, envelope.Live, payload(1024))); receipt.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
		t.Fatalf("before the outage: %v", receipt)
	}
	bobs.deliver()

	// The partner's keys and documents stay; its addresses may be others afterwards.
	descriptor := to(t, p.globex, bob, envelope.Week, payload(1024))
	listen := p.globex.fed.Addrs()
	p.globex.stopped()
	id := alices.id()
	alices.sendBytes(link.AppendSubmit(nil, id, descriptor.Marshal()))
	accepted := alices.await(func(f *pb.NodeFrame) bool { return f.Id == id }).GetReceipt()
	if accepted.GetClass() != pb.ReceiptClass_RECEIPT_ACCEPTED {
		t.Fatalf("while the partner is away: %v", accepted)
	}
	at := sameAddress(t, listen)
	p.globex = start(t, p.globex.dir, "globex.example", "", func(c *Config) {
		c.Federation.Listen = []string{at}
		c.Federation.Peers = []PeerConfig{{Domain: "acme.example", Document: filepath.Join(c.Data, "acme.example.document")}}
	})
	if receipt := alices.receipt(id); receipt.Class != pb.ReceiptClass_RECEIPT_STORED {
		t.Fatalf("when the partner is back: %v", receipt)
	}
	bobs = dial(t, p.globex, bob)
	bobs.register(bob, 0)
	if d := bobs.deliver(); !bytes.Equal(d.Payload, descriptor.Payload) {
		t.Error("another payload")
	}
}

// sameAddress is the host:port of a loopback multiaddress.
func sameAddress(t *testing.T, addrs []string) string {
	t.Helper()
	for _, a := range addrs {
		if ap, ok := multiaddrPort(a); ok {
			return ap.String()
		}
	}
	t.Fatalf("no address in %v", addrs)
	return ""
}

func TestADomainThatNoPolicyNamesIsRefusedAndTheRuleIsKnownHere(t *testing.T) {
	acme := start(t, t.TempDir(), "acme.example", openPolicy)
	dir := t.TempDir()
	made, err := Init(testConfig(acme.dir, "acme.example"))
	if err != nil {
		t.Fatal(err)
	}
	initech := startPartner(t, dir, "initech.example", "acme.example", made.DomainKey)
	tell(t, initech, acme)
	until(t, "initech has found the document and been refused", func() bool {
		_, _, err := initech.fed.Domain(t.Context(), "acme.example")
		return federation.Code(err) == link.CodePolicy
	})
	until(t, "the refusal is known to the administrator", func() bool {
		for _, r := range acme.peersNow().Refusals {
			if r.Domain == "initech.example" && r.Rule == "default" && r.Count > 0 {
				return true
			}
		}
		return false
	})
}

func TestOurPeopleSendOnlyWhereThePolicyLetsThem(t *testing.T) {
	p := startPair(t)
	bob, bobs := join(t, p.globex)
	_, alices := join(t, p.acme)
	if receipt := alices.submit(to(t, p.globex, bob, envelope.Live, payload(1024))); receipt.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
		t.Fatalf("before: %v", receipt)
	}
	bobs.deliver()
	text := readPolicy(t, p.acme.dir)
	for name, c := range map[string]struct {
		deny string
		ttl  envelope.TTL
	}{
		"no store": {`["store", "knock"]`, envelope.Week},
		"nothing":  {`["signal", "knock"]`, envelope.Live},
	} {
		writePolicy(t, p.acme.dir, text+"[[rule]]\nname = \"not now\"\nlevel = \"partner\"\ndirection = \"out\"\ndeny = true\nactions = "+c.deny+"\n")
		if err := p.acme.Reload(); err != nil {
			t.Fatal(err)
		}
		if receipt := alices.submit(to(t, p.globex, bob, c.ttl, payload(1024))); receipt.Code != link.CodePolicy {
			t.Errorf("%s: %v", name, receipt)
		}
	}
}

// TestOurPeopleSeeThatTheOtherNodeRefuses: not that it cannot be reached, and not once so and
// once otherwise.
func TestOurPeopleSeeThatTheOtherNodeRefuses(t *testing.T) {
	acme := start(t, t.TempDir(), "acme.example", openPolicy)
	made, err := Init(testConfig(acme.dir, "acme.example"))
	if err != nil {
		t.Fatal(err)
	}
	initech := startPartner(t, t.TempDir(), "initech.example", "acme.example", made.DomainKey)
	tell(t, initech, acme)
	bob, _ := join(t, acme)
	_, alices := join(t, initech)
	until(t, "the document is known", func() bool { _, known := initech.fed.DomainOf(acme.self); return known })
	for range 3 {
		for _, ttl := range []envelope.TTL{envelope.Live, envelope.Ring, envelope.Week} {
			receipt := alices.submit(to(t, acme, bob, ttl, payload(1024)))
			if receipt.Class != pb.ReceiptClass_RECEIPT_REFUSED || receipt.Code != link.CodePolicy {
				t.Fatalf("class %v: %v", ttl, receipt)
			}
		}
		f := alices.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Domain{Domain: &pb.DomainRequest{Domain: "acme.example"}}})
		if code := f.GetDomain().GetCode(); code != link.CodePolicy {
			t.Errorf("the domain: %q", code)
		}
		if _, _, code := alices.ask(acme, envelopepb.Operation_OPERATION_LOOKUP, bob.root.Public().Bytes()); code != link.CodePolicy {
			t.Errorf("a query: %q", code)
		}
	}
}
