package envelope

import (
	"crypto/hpke"
	"crypto/sha256"
	"fmt"

	"github.com/trunkline-net/trunkline/identity"
)

// HopSize is the length of the box only the destination node opens:
//
//	encapsulation 32 | tag 16, token 16, collapse key 16, hint 2, flags 1 | AEAD tag 16
const (
	HopSize      = x25519Size + hopPlainSize + 16
	hopPlainSize = 16 + 16 + 16 + 2 + 1

	flagKnock = 1
)

// Hop is what the destination node learns: where to put the payload, and whether the sender
// may.
type Hop struct {
	redact
	Tag      RouteTag
	Token    Token // all zero in a knock
	Collapse CollapseKey
	Hint     Hint // which prekey opens the payload; zero in frames and ring answers
	Knock    bool
}

// RoutingKey is a node's X25519 key that hops and queries are sealed to. It changes weekly.
type RoutingKey struct {
	redact
	seed [32]byte
	pub  [32]byte
	priv hpke.PrivateKey
}

// GenerateRoutingKey draws a new routing key.
func GenerateRoutingKey() (*RoutingKey, error) {
	kem, _, _ := suiteX25519()
	priv, err := kem.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("generate routing key: %w", err)
	}
	b, err := priv.Bytes()
	if err != nil {
		return nil, fmt.Errorf("generate routing key: %w", err)
	}
	return RoutingKeyFromSeed([32]byte(b))
}

// RoutingKeyFromSeed is the inverse of [RoutingKey.Seed]: seed is the X25519 secret key.
func RoutingKeyFromSeed(seed [32]byte) (*RoutingKey, error) {
	kem, _, _ := suiteX25519()
	priv, err := kem.NewPrivateKey(seed[:])
	if err != nil {
		return nil, fmt.Errorf("read routing key: %w", err)
	}
	return &RoutingKey{seed: seed, pub: [32]byte(priv.PublicKey().Bytes()), priv: priv}, nil
}

// Seed is the secret, for the node's key store.
func (k *RoutingKey) Seed() [32]byte { return k.seed }

// Public is what the node's descriptor carries.
func (k *RoutingKey) Public() [32]byte { return k.pub }

// hopAAD has fixed widths, so no two inputs give the same bytes:
//
//	version 1 | destination 38 | ttl class 1 | SHA-256 of the payload 32
func hopAAD(dest identity.PeerID, ttl TTL, payloadHash [32]byte) []byte {
	b := make([]byte, 0, 1+len(dest)+1+32)
	b = append(b, version)
	b = append(b, dest[:]...)
	b = append(b, byte(ttl))
	return append(b, payloadHash[:]...)
}

// SealHop seals h to a node's routing key, bound to the payload, the destination and the
// ttl class: a node on the way cannot put it on anything else.
func SealHop(routingKey [32]byte, dest identity.PeerID, ttl TTL, payload []byte, h Hop) (box [HopSize]byte, err error) {
	if err := checkHop(ttl, len(payload), h); err != nil {
		return box, err
	}
	kem, kdf, aead := suiteX25519()
	pub, err := kem.NewPublicKey(routingKey[:])
	if err != nil {
		return box, fmt.Errorf("seal hop: %w", err)
	}
	enc, s, err := hpke.NewSender(pub, kdf, aead, []byte(identity.ContextHop))
	if err != nil {
		return box, fmt.Errorf("seal hop: %w", err)
	}
	plain := make([]byte, 0, hopPlainSize)
	plain = append(plain, h.Tag[:]...)
	plain = append(plain, h.Token[:]...)
	plain = append(plain, h.Collapse[:]...)
	plain = append(plain, h.Hint[:]...)
	var flags byte
	if h.Knock {
		flags |= flagKnock
	}
	plain = append(plain, flags)
	ct, err := s.Seal(hopAAD(dest, ttl, sha256.Sum256(payload)), plain)
	if err != nil {
		return box, fmt.Errorf("seal hop: %w", err)
	}
	copy(box[copy(box[:], enc):], ct)
	return box, nil
}

// OpenHop opens the hop of an envelope that names self as its destination. A node tries its
// present routing key, then the one before it for 48 hours.
func (k *RoutingKey) OpenHop(e *Envelope, self identity.PeerID) (Hop, error) {
	if e.Destination != self {
		return Hop{}, fmt.Errorf("%w: hop for another node", ErrMalformed)
	}
	_, kdf, aead := suiteX25519()
	r, err := hpke.NewRecipient(e.Hop[:x25519Size], k.priv, kdf, aead, []byte(identity.ContextHop))
	if err != nil {
		return Hop{}, ErrDecrypt
	}
	plain, err := r.Open(hopAAD(self, e.TTL, sha256.Sum256(e.Payload)), e.Hop[x25519Size:])
	if err != nil {
		return Hop{}, ErrDecrypt
	}
	h, err := parseHop(plain)
	if err != nil {
		return Hop{}, err
	}
	if err := checkHop(e.TTL, len(e.Payload), h); err != nil {
		return Hop{}, err
	}
	return h, nil
}

func parseHop(plain []byte) (Hop, error) {
	if len(plain) != hopPlainSize {
		return Hop{}, fmt.Errorf("%w: hop of %d bytes", ErrMalformed, len(plain))
	}
	if plain[50]&^flagKnock != 0 {
		return Hop{}, fmt.Errorf("%w: unknown hop flag", ErrMalformed)
	}
	return Hop{
		Tag:      RouteTag(plain[0:16]),
		Token:    Token(plain[16:32]),
		Collapse: CollapseKey(plain[32:48]),
		Hint:     Hint(plain[48:50]),
		Knock:    plain[50]&flagKnock != 0,
	}, nil
}

// checkHop holds for both directions. A knock costs the recipient the most, so it has one
// size and cannot carry a token beside the flag.
func checkHop(ttl TTL, size int, h Hop) error {
	if !Bucket(size) {
		return ErrSize
	}
	if !ttl.Valid() {
		return fmt.Errorf("%w: ttl class %d", ErrMalformed, ttl)
	}
	if h.Knock && (size != KnockSize || !h.Token.IsZero()) {
		return fmt.Errorf("%w: a knock has no token and a payload of %d bytes", ErrMalformed, KnockSize)
	}
	if h.Knock && ttl == Live {
		return fmt.Errorf("%w: the live class needs a token", ErrMalformed)
	}
	return nil
}
