package proof

import (
	"crypto/ed25519"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/identity"
)

var now = time.Unix(1_800_000_000, 0).UTC()

func key(text string) ed25519.PrivateKey {
	sum := sha256.Sum256([]byte(text))
	return ed25519.NewKeyFromSeed(sum[:])
}

func public(t testing.TB, k ed25519.PrivateKey) identity.PublicKey {
	t.Helper()
	p, err := identity.CheckKey(k.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// doc makes a document of partner.example.
func doc(t testing.TB, k ed25519.PrivateKey, epoch uint64, change func(*identity.DomainDocument)) *identity.DomainDocument {
	t.Helper()
	d := identity.DomainDocument{Domain: "partner.example", Epoch: epoch, Issued: now.Add(-time.Hour), Expires: now.Add(24 * time.Hour),
		Nodes: []identity.DomainNode{{PeerID: public(t, key("host")).PeerID(), Addresses: []string{"/ip4/192.0.2.1/tcp/7421"}}}}
	if epoch > 1 {
		d.Previous = [32]byte{byte(epoch)}
	}
	if change != nil {
		change(&d)
	}
	out, err := identity.SignDomain(k, d)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestJudge(t *testing.T) {
	a, b := key("a"), key("b")
	handover := func(d *identity.DomainDocument) {
		h, err := identity.SignHandover(a, "partner.example", public(t, b), 2)
		if err != nil {
			t.Fatal(err)
		}
		d.Handovers = []*identity.Handover{h}
	}
	none := identity.PublicKey{}
	for name, c := range map[string]struct {
		policy  identity.PublicKey
		pinned  *identity.DomainDocument
		doc     *identity.DomainDocument
		verdict Verdict
		code    string
	}{
		"nothing known":                       {none, nil, doc(t, a, 1, nil), NeedsProof, ""},
		"key in the policy":                   {public(t, a), nil, doc(t, a, 1, nil), Newer, ""},
		"another key in the policy":           {public(t, b), nil, doc(t, a, 1, nil), 0, "unproven"},
		"the pinned one":                      {none, doc(t, a, 1, nil), doc(t, a, 1, nil), Same, ""},
		"newer":                               {none, doc(t, a, 1, nil), doc(t, a, 2, nil), Newer, ""},
		"older":                               {none, doc(t, a, 3, nil), doc(t, a, 2, nil), 0, "epoch"},
		"older, although the policy pins":     {public(t, a), doc(t, a, 3, nil), doc(t, a, 2, nil), 0, "epoch"},
		"another of the same epoch":           {none, doc(t, a, 1, nil), doc(t, a, 1, func(d *identity.DomainDocument) { d.Contact = "x" }), 0, "equivocation"},
		"another key":                         {none, doc(t, a, 1, nil), doc(t, b, 2, nil), 0, "unproven"},
		"another key, handed over":            {none, doc(t, a, 1, nil), doc(t, b, 2, handover), Newer, ""},
		"handed over long ago":                {none, doc(t, a, 5, nil), doc(t, b, 6, handover), 0, "unproven"},
		"first seen after a handover":         {public(t, a), nil, doc(t, b, 2, handover), Newer, ""},
		"another key by the administrator":    {public(t, b), doc(t, a, 7, nil), doc(t, b, 1, nil), Newer, ""},
		"the old key after the administrator": {public(t, b), doc(t, a, 7, nil), doc(t, a, 8, nil), 0, "unproven"},
		"expired": {none, doc(t, a, 1, nil), doc(t, a, 2, func(d *identity.DomainDocument) {
			d.Issued, d.Expires = now.Add(-2*time.Hour), now.Add(-time.Second)
		}), 0, "expired"},
		"of next week": {none, doc(t, a, 1, nil), doc(t, a, 2, func(d *identity.DomainDocument) {
			d.Issued, d.Expires = now.Add(100*time.Hour), now.Add(200*time.Hour)
		}), 0, "expired"},
		"another domain's": {none, nil, doc(t, a, 1, func(d *identity.DomainDocument) { d.Domain = "other.example" }), 0, "bad_document"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := Known{Domain: "partner.example", Policy: c.policy, Pinned: c.pinned}.Judge(c.doc, now)
			switch {
			case c.code != "" && (err == nil || Code(err) != c.code):
				t.Errorf("%v (%v), want %s", err, v, c.code)
			case c.code == "" && (err != nil || v != c.verdict):
				t.Errorf("%v, %v, want %v", v, err, c.verdict)
			}
		})
	}
}

// FuzzParse holds that whatever a web server or a peer sends is judged without a panic, and
// that only what nothing speaks against is believed.
func FuzzParse(f *testing.F) {
	a := key("a")
	f.Add(doc(f, a, 1, nil).Bytes())
	f.Add(doc(f, a, 2, nil).Bytes())
	f.Add([]byte("<html>"))
	pinned := doc(f, a, 1, nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Parse(b)
		if err != nil {
			if Code(err) != "bad_document" {
				t.Fatalf("code %q", Code(err))
			}
			return
		}
		v, err := Known{Domain: "partner.example", Pinned: pinned}.Judge(d, now)
		if err == nil && (d.Key != pinned.Key || d.Epoch < pinned.Epoch || v == NeedsProof) {
			t.Fatalf("believed: %v, epoch %d", v, d.Epoch)
		}
	})
}
