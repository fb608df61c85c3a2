package node

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/sha256"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
)

// hostileHop seals a hop as somebody does who does not use package envelope: anything goes.
func hostileHop(t testing.TB, r *running, h envelope.Hop, ttl envelope.TTL, body []byte) *envelope.Envelope {
	t.Helper()
	d, err := identity.ParseDescriptor(r.routing.descriptor())
	if err != nil {
		t.Fatal(err)
	}
	kem := hpke.DHKEM(ecdh.X25519())
	pub, err := kem.NewPublicKey(d.RoutingKey[:])
	if err != nil {
		t.Fatal(err)
	}
	enc, s, err := hpke.NewSender(pub, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), []byte(identity.ContextHop))
	if err != nil {
		t.Fatal(err)
	}
	var plain []byte
	plain = append(plain, h.Tag[:]...)
	plain = append(plain, h.Token[:]...)
	plain = append(plain, h.Collapse[:]...)
	plain = append(plain, h.Hint[:]...)
	if h.Knock {
		plain = append(plain, 1)
	} else {
		plain = append(plain, 0)
	}
	sum := sha256.Sum256(body)
	aad := append([]byte{1}, r.self[:]...)
	aad = append(aad, byte(ttl))
	aad = append(aad, sum[:]...)
	key, err := s.Export(identity.ContextHopKey, chacha20poly1305.KeySize)
	if err != nil {
		t.Fatal(err)
	}
	box, err := chacha20poly1305.New(key)
	if err != nil {
		t.Fatal(err)
	}
	e := &envelope.Envelope{Destination: r.self, TTL: ttl, Payload: body}
	copy(e.Hop[copy(e.Hop[:], enc)+2:], box.Seal(nil, make([]byte, chacha20poly1305.NonceSize), plain, aad)) // the number is zero
	return e
}
