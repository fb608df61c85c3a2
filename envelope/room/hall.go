package room

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/trunkline-net/trunkline/envelope"
)

// What everybody with the link may read, and nobody else, is sealed under the hall key:
//
//	salt 32 | ChaCha20-Poly1305( length 4 | content | zeros ) | tag 16
//	key = HKDF-SHA256(hall key, salt, label, 32), nonce zero, associated data = room id 32
//
// The key is another one for each salt, which is why the nonce may be zero.
const (
	saltSize = 32
	tagSize  = 16

	// CardBoxSize is the size of a sealed card.
	CardBoxSize = 4096
	// PayloadSize is the size of announcements and welcomes.
	PayloadSize = 4096
	handleSize  = 8
)

func (k *Keys) seal(dst []byte, room ID, label string, salt [saltSize]byte, content []byte) error {
	copy(dst, salt[:])
	plain := dst[saltSize : len(dst)-tagSize]
	if err := envelope.Pad(plain, content); err != nil {
		return err
	}
	aead, err := k.aead(salt[:], label)
	if err != nil {
		return err
	}
	var nonce [chacha20poly1305.NonceSize]byte
	aead.Seal(plain[:0], nonce[:], plain, room[:])
	return nil
}

func (k *Keys) open(room ID, label string, box []byte) ([]byte, error) {
	if len(box) < saltSize+tagSize {
		return nil, ErrMalformed
	}
	aead, err := k.aead(box[:saltSize], label)
	if err != nil {
		return nil, err
	}
	var nonce [chacha20poly1305.NonceSize]byte
	plain, err := aead.Open(nil, nonce[:], box[saltSize:], room[:])
	if err != nil {
		return nil, ErrSecret
	}
	content, err := envelope.Unpad(plain)
	if err != nil {
		return nil, ErrMalformed
	}
	return content, nil
}

func (k *Keys) aead(salt []byte, label string) (interface {
	Seal(dst, nonce, plaintext, additionalData []byte) []byte
	Open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error)
}, error) {
	var key [chacha20poly1305.KeySize]byte
	derive(key[:], k.hall[:], salt, label)
	return chacha20poly1305.New(key[:])
}

func newSalt() (s [saltSize]byte) { _, _ = rand.Read(s[:]); return }

// mac shows that whoever made a signed object has the link: a signature alone, anybody can make.
func (k *Keys) mac(signed []byte) (sum [32]byte) {
	h := hmac.New(sha256.New, k.join[:])
	h.Write([]byte(labelMAC))
	h.Write(signed)
	h.Sum(sum[:0])
	return sum
}

// withMAC is what is sealed of a JOIN or WELCOME: its MAC, then the signed object.
func (k *Keys) withMAC(signed []byte) []byte {
	sum := k.mac(signed)
	return append(sum[:], signed...)
}

// checkMAC is its inverse.
func (k *Keys) checkMAC(b []byte) (signed []byte, err error) {
	if len(b) <= 32 {
		return nil, ErrMalformed
	}
	want := k.mac(b[32:])
	if !hmac.Equal(b[:32], want[:]) {
		return nil, ErrSecret
	}
	return b[32:], nil
}
