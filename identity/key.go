package identity

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"

	"filippo.io/edwards25519"
)

// PublicKey is an Ed25519 public key that passed the key check: a canonical encoding of a
// point that is not of small order and has no small-order part. Make one with CheckKey or
// one of the parsers. The zero value is not a key.
//
// It prints as the first group of its fingerprint, because logs must not hold identities;
// ID and Fingerprint give the full texts.
type PublicKey [32]byte

// CheckKey is the door through which every public key enters, whatever it came in.
//
// The check exists because verifiers disagree about bad keys: under a key of small order
// there are signatures that the standard library accepts for every message, and under a
// key with a small-order part implementations give different answers, so that a signer
// could show one message to some clients and not to others
// (docs/spec/identity.md, "Key check").
func CheckKey(b []byte) (PublicKey, error) {
	if len(b) != len(PublicKey{}) {
		return PublicKey{}, fmt.Errorf("%w: %d bytes", ErrKey, len(b))
	}
	key := PublicKey(b)
	if goodKeys.has(key) {
		return key, nil
	}
	if err := checkPoint(b); err != nil {
		return PublicKey{}, err
	}
	goodKeys.add(key)
	return key, nil
}

// minusOne is the scalar L-1.
var minusOne = func() *edwards25519.Scalar {
	one := make([]byte, 32)
	one[0] = 1
	s, err := edwards25519.NewScalar().SetCanonicalBytes(one)
	if err != nil {
		panic(err)
	}
	return s.Negate(s)
}()

func checkPoint(b []byte) error {
	p, err := new(edwards25519.Point).SetBytes(b)
	if err != nil {
		return fmt.Errorf("%w: not a point", ErrKey)
	}
	if !bytes.Equal(p.Bytes(), b) {
		return fmt.Errorf("%w: not the canonical encoding", ErrKey)
	}
	if new(edwards25519.Point).MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return fmt.Errorf("%w: small order", ErrKey)
	}
	// No small-order part means L*P = 0, which is (L-1)*P = -P. The scalar type cannot
	// hold L itself. Public keys are public, so variable time is fine.
	q := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(minusOne, p, edwards25519.NewScalar())
	if q.Equal(new(edwards25519.Point).Negate(p)) != 1 {
		return fmt.Errorf("%w: small-order part", ErrKey)
	}
	return nil
}

// goodKeys remembers keys that passed, because the check costs some 50 microseconds and
// the same contact's keys come with every message. It changes no answer, so it is safe as
// a package variable; it is bounded, because strangers choose what enters.
var goodKeys = recent{most: 4096}

// IsZero reports whether k is the zero value, which is no key.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// Bytes returns a copy of the 32 bytes.
func (k PublicKey) Bytes() []byte { return k[:] }

// Ed25519 returns the key for the standard library.
func (k PublicKey) Ed25519() ed25519.PublicKey { return ed25519.PublicKey(k.Bytes()) }

// String returns the first group of the fingerprint: enough to tell keys apart in a log of
// one's own, not enough to find the person.
func (k PublicKey) String() string {
	if k.IsZero() {
		return "none"
	}
	return k.Fingerprint()[:4]
}

// Format prints String for every verb, also where the key is a part of something else.
func (k PublicKey) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, k.String()) }

// LogValue keeps the key out of structured logs.
func (k PublicKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText does the same for what a JSON handler makes of a value that holds keys.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// publicOf is the checked public key of a private key that we hold.
func publicOf(priv ed25519.PrivateKey) PublicKey {
	return PublicKey(priv.Public().(ed25519.PublicKey))
}

// probe is a fixed X25519 key whose only use is CheckX25519.
var probe = func() *ecdh.PrivateKey {
	k, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{0x40}, 32))
	if err != nil {
		panic(err)
	}
	return k
}()

// CheckX25519 refuses an X25519 public key that is of low order, whose shared secret would
// be known to everyone, or that is not the canonical encoding (top bit set, or 2^255-19
// and above). Every X25519 key is checked when it is received, not only when it is used.
func CheckX25519(b []byte) error {
	pub, err := ecdh.X25519().NewPublicKey(b)
	if err != nil {
		return fmt.Errorf("%w: X25519: %d bytes", ErrKey, len(b))
	}
	if !belowP(b) {
		return fmt.Errorf("%w: X25519: not the canonical encoding", ErrKey)
	}
	if _, err := probe.ECDH(pub); err != nil {
		return fmt.Errorf("%w: X25519: low order", ErrKey)
	}
	return nil
}

// belowP reports whether the little-endian b is below 2^255-19.
func belowP(b []byte) bool {
	if b[31] != 0x7f {
		return b[31] < 0x7f
	}
	for _, x := range b[1:31] {
		if x != 0xff {
			return true
		}
	}
	return b[0] < 0xed
}
