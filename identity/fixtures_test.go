package identity

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/identity/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// The cast of the tests. All keys come from fixed seeds, all times from t0.

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

func seed(n byte) [32]byte { return [32]byte(bytes.Repeat([]byte{n}, 32)) }

func testRoot(n byte) *Root     { return RootFromSeed(seed(n)) }
func testDevice(n byte) *Device { return DeviceFromSeed(seed(100 + n)) }
func testHost(n byte) ed25519.PrivateKey {
	s := seed(200 + n)
	return ed25519.NewKeyFromSeed(s[:])
}

func testHomes(n ...byte) []Home {
	var homes []Home
	for _, i := range n {
		homes = append(homes, Home{PeerID: publicOf(testHost(i)).PeerID(), Domain: string('a'+rune(i)) + ".example"})
	}
	return homes
}

// must makes setup readable; a setup that fails is a bug in the test.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// forge signs any message, canonical or not by the rules of its type.
func forge(t testing.TB, key ed25519.PrivateKey, context string, m proto.Message) []byte {
	t.Helper()
	b, err := canon.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return SignObject(key, context, b)
}

// open decodes a signed object of ours for a test to change.
func open[M proto.Message](t testing.TB, signed []byte, m M) M {
	t.Helper()
	if err := canon.Unmarshal(signed[SignatureSize:], len(signed), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// testDescriptor is the descriptor of node n, whose routing key changes with its begin.
func testDescriptor(n byte, begin time.Time) *NodeDescriptor {
	secret := sha256.Sum256([]byte{n, byte(begin.Unix() / 86400)})
	key := must(ecdh.X25519().NewPrivateKey(secret[:]))
	return must(SignDescriptor(testHost(n), NodeDescriptor{
		Domain:     string('a'+rune(n)) + ".example",
		RoutingKey: [32]byte(key.PublicKey().Bytes()),
		NotBefore:  begin,
		NotAfter:   begin.Add(DescriptorLifetime),
	}))
}

// testDomain is the first document of a.example with n nodes, not signed yet.
func testDomain(n byte) DomainDocument {
	d := DomainDocument{Domain: "a.example", Epoch: 1, Issued: t0, Expires: t0.Add(DomainLifetime)}
	for i := range n {
		d.Nodes = append(d.Nodes, DomainNode{
			PeerID:    publicOf(testHost(i)).PeerID(),
			Addresses: []string{"/dns4/a.example/tcp/7421", "/dns4/a.example/udp/7421/quic-v1"},
		})
	}
	return d
}

// certsOf is n certificates of different devices of epoch 1, as a message holds them.
func certsOf(r *Root, n byte) [][]byte {
	var certs [][]byte
	for i := range n {
		certs = append(certs, must(r.CertifyDevice(testDevice(20+i).Public(), 1, t0, t0.Add(day))).signed)
	}
	return certs
}

// homesOf is testHomes as a message holds them.
func homesOf(n ...byte) []*pb.Home {
	var homes []*pb.Home
	for _, h := range testHomes(n...) {
		homes = append(homes, &pb.Home{PeerId: h.PeerID.Bytes(), Domain: h.Domain})
	}
	return homes
}
