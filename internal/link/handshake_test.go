package link

import (
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

type testNode struct {
	key  ed25519.PrivateKey
	peer identity.PeerID
}

func newTestNode(t *testing.T, seed byte) testNode {
	t.Helper()
	key := ed25519.NewKeyFromSeed(fill(32, seed))
	pub, err := identity.CheckKey(key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return testNode{key, pub.PeerID()}
}

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func (n testNode) descriptor(t *testing.T, domain string) []byte {
	t.Helper()
	// The X25519 base point is a public key like any other.
	d, err := identity.SignDescriptor(n.key, identity.NodeDescriptor{
		Domain: domain, RoutingKey: [32]byte{9}, NotBefore: noon, NotAfter: noon.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return d.Bytes()
}

func (n testNode) challenge(t *testing.T, domain string) *pb.Challenge {
	return NewChallenge(n.key, n.peer, domain, n.descriptor(t, domain), noon)
}

func testDevice(t *testing.T, seed byte) (*identity.Device, *identity.DeviceCert) {
	t.Helper()
	root := identity.RootFromSeed([32]byte{seed})
	device := identity.DeviceFromSeed([32]byte{seed, 1})
	cert, err := root.CertifyDevice(device.Public(), 1, noon.Add(-time.Hour), noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return device, cert
}

func TestAChallengeProvesTheNodeAndSurvivesTheWire(t *testing.T) {
	n := newTestNode(t, 1)
	b, err := MarshalNode(&pb.NodeFrame{Kind: &pb.NodeFrame_Challenge{Challenge: n.challenge(t, "acme.example")}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := ParseNode(b)
	if err != nil {
		t.Fatal(err)
	}
	node, err := VerifyChallenge(f.GetChallenge())
	if err != nil {
		t.Fatal(err)
	}
	if node.PeerID != n.peer || node.Domain != "acme.example" || !node.Time.Equal(noon) || node.Descriptor.RoutingKey != [32]byte{9} {
		t.Errorf("read as %+v", node)
	}
}

func TestAChallengeThatWasTouchedDoesNotVerify(t *testing.T) {
	n, other := newTestNode(t, 1), newTestNode(t, 2)
	for name, touch := range map[string]func(*pb.Challenge){
		"version":            func(c *pb.Challenge) { c.Version = 2 },
		"nonce":              func(c *pb.Challenge) { c.Nonce[0] ^= 1 },
		"short nonce":        func(c *pb.Challenge) { c.Nonce = c.Nonce[:31] },
		"time":               func(c *pb.Challenge) { c.TimeMs++ },
		"domain":             func(c *pb.Challenge) { c.Domain = "evil.example" },
		"domain of no form":  func(c *pb.Challenge) { c.Domain = "Acme.example" },
		"node":               func(c *pb.Challenge) { c.Node = other.peer[:] },
		"node that is none":  func(c *pb.Challenge) { c.Node = fill(38, 1) },
		"descriptor":         func(c *pb.Challenge) { c.Descriptor_[70] ^= 1 },
		"other's descriptor": func(c *pb.Challenge) { c.Descriptor_ = other.descriptor(t, "acme.example") },
		"signature":          func(c *pb.Challenge) { c.Signature[5] ^= 1 },
		"no signature":       func(c *pb.Challenge) { c.Signature = nil },
		"other's descriptor, signed": func(c *pb.Challenge) {
			*c = pb.Challenge{}
			proto.Merge(c, NewChallenge(n.key, n.peer, "acme.example", other.descriptor(t, "acme.example"), noon))
		},
		"descriptor of another domain, signed": func(c *pb.Challenge) {
			*c = pb.Challenge{}
			proto.Merge(c, NewChallenge(n.key, n.peer, "acme.example", n.descriptor(t, "globex.example"), noon))
		},
	} {
		c := n.challenge(t, "acme.example")
		touch(c)
		if _, err := VerifyChallenge(c); !errors.Is(err, ErrHandshake) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := VerifyChallenge(nil); !errors.Is(err, ErrHandshake) {
		t.Error("no challenge at all was taken")
	}
}

func TestADeviceAnswersOnlyTheChallengeItGotAndTheHostItDialled(t *testing.T) {
	n := newTestNode(t, 1)
	c := n.challenge(t, "acme.example")
	device, cert := testDevice(t, 3)
	a, err := Authenticate(c, "acme.example", device, cert)
	if err != nil {
		t.Fatal(err)
	}
	got, err := VerifyAuthenticate(c, a, noon)
	if err != nil || got.DeviceID() != device.ID() {
		t.Fatalf("an honest answer: %v", err)
	}
	another, _ := testDevice(t, 4)
	for name, touch := range map[string]func(c *pb.Challenge, a *pb.Authenticate) time.Time{
		"another challenge":    func(c *pb.Challenge, _ *pb.Authenticate) time.Time { c.Nonce[3] ^= 1; return noon },
		"another host":         func(_ *pb.Challenge, a *pb.Authenticate) time.Time { a.Host = "evil.example"; return noon },
		"a broken signature":   func(_ *pb.Challenge, a *pb.Authenticate) time.Time { a.Signature[0] ^= 1; return noon },
		"a broken certificate": func(_ *pb.Challenge, a *pb.Authenticate) time.Time { a.Cert[80] ^= 1; return noon },
		"an ended certificate": func(*pb.Challenge, *pb.Authenticate) time.Time { return noon.Add(2 * time.Hour) },
		"a signature, no cert": func(_ *pb.Challenge, a *pb.Authenticate) time.Time { a.Cert = nil; return noon },
		"another device's sign": func(c *pb.Challenge, a *pb.Authenticate) time.Time {
			m, err := linkMessage(c, a.Host)
			if err != nil {
				t.Fatal(err)
			}
			a.Signature = another.Sign(identity.ContextLink, m)
			return noon
		},
		"a signature for another purpose": func(c *pb.Challenge, a *pb.Authenticate) time.Time {
			m, err := linkMessage(c, a.Host)
			if err != nil {
				t.Fatal(err)
			}
			a.Signature = device.Sign(identity.ContextChallenge, m)
			return noon
		},
	} {
		c2, a2 := proto.CloneOf(c), proto.CloneOf(a)
		now := touch(c2, a2)
		if _, err := VerifyAuthenticate(c2, a2, now); !errors.Is(err, ErrHandshake) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestALinkWithoutADeviceProvesNothing(t *testing.T) {
	c := newTestNode(t, 1).challenge(t, "acme.example")
	a, err := Authenticate(c, "acme.example", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err := VerifyAuthenticate(c, a, noon); cert != nil || err != nil {
		t.Errorf("got %v, %v", cert, err)
	}
}

func TestAClientAbortsWhenAnotherDomainAnswers(t *testing.T) {
	for _, c := range []struct {
		domain, dialled string
		ok              bool
	}{
		{"acme.example", "acme.example", true},
		{"acme.example", "ACME.example:443", true},
		{"acme.example", "node1.acme.example:8443", true},
		{"acme.example", "127.0.0.1:7420", true},
		{"acme.example", "[::1]:7420", true},
		{"acme.example", "localhost:7420", true},
		{"acme.example", "evil.example", false},
		{"acme.example", "notacme.example", false},
		{"acme.example", "acme.example.evil.example", false},
		{"acme.example", "10.0.0.1:7420", false},
		{"acme.example", "", false},
	} {
		err := CheckHost(c.domain, c.dialled)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrHost) {
			t.Errorf("%s at %q: %v", c.domain, c.dialled, err)
		}
	}
}

func TestTheCodeTableIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Codes() {
		if seen[c.Name] || c.Name == "" || c.Means == "" || len(c.Name) > maxCode {
			t.Errorf("code %q", c.Name)
		}
		seen[c.Name] = true
		if !KnownCode(c.Name) || LookupCode(c.Name) != c {
			t.Errorf("code %q is not found", c.Name)
		}
	}
	if later := LookupCode("a_later_one"); later.Retry || later.Closes || later.Name != "a_later_one" {
		t.Errorf("an unknown code is described as %+v", later)
	}
	var err error = &Refusal{Code: CodeQuota}
	var refusal *Refusal
	if !errors.As(err, &refusal) || err.Error() == "" {
		t.Error("a refusal is no error")
	}
}
