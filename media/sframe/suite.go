package sframe

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
)

const (
	// KeySize is the length of a base key.
	KeySize = 32
	// Overhead is the most that sealing adds to a frame.
	Overhead  = maxHeader + tagSize
	tagSize   = 16
	nonceSize = 12
)

// suite is a cipher suite of RFC 9605, 4.5. The product knows one; the tests bring the others,
// so that the published vectors of every suite prove the key schedule and the nonces.
type suite struct {
	id      uint16
	hash    func() hash.Hash
	keySize int
	newAEAD func(key []byte) (cipher.AEAD, error)
}

// aes256GCM is suite 5, AES_256_GCM_SHA512_128.
var aes256GCM = suite{id: 5, hash: sha512.New, keySize: 32, newAEAD: newGCM}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// key is what a base key becomes for one KID.
type key struct {
	aead cipher.AEAD
	salt [nonceSize]byte
}

// derive runs the key schedule of RFC 9605, 4.4.2. The labels hold the KID, so one base key
// gives every slot and generation a key of its own.
func (s suite) derive(kid uint64, base []byte) (key, error) {
	secret, err := hkdf.Extract(s.hash, base, nil)
	if err != nil {
		return key{}, fmt.Errorf("sframe: derive: %w", err)
	}
	enc, err := hkdf.Expand(s.hash, secret, s.label("SFrame 1.0 Secret key ", kid), s.keySize)
	if err != nil {
		return key{}, fmt.Errorf("sframe: derive: %w", err)
	}
	salt, err := hkdf.Expand(s.hash, secret, s.label("SFrame 1.0 Secret salt ", kid), nonceSize)
	if err != nil {
		return key{}, fmt.Errorf("sframe: derive: %w", err)
	}
	aead, err := s.newAEAD(enc)
	if err != nil {
		return key{}, fmt.Errorf("sframe: derive: %w", err)
	}
	k := key{aead: aead}
	copy(k.salt[:], salt)
	return k, nil
}

func (s suite) label(name string, kid uint64) string {
	b := binary.BigEndian.AppendUint64([]byte(name), kid)
	return string(binary.BigEndian.AppendUint16(b, s.id))
}

// nonce writes salt XOR counter into n.
func (k *key) nonce(n *[nonceSize]byte, ctr uint64) {
	*n = k.salt
	for i := range 8 {
		n[nonceSize-1-i] ^= byte(ctr >> (8 * i))
	}
}
