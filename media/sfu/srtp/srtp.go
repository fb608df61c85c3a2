// Package srtp seals and opens the packets of one client (RFC 3711, RFC 7714) on the server's hot path: GCM without an
// allocation, into memory that the caller names. Keys come from the DTLS handshake ([Split]).
//
// Make one [Sealer] for what goes and one [Opener] for what comes. Neither locks. An opener keeps nothing of a source
// before a packet of it was authentic, and opens no packet twice.
package srtp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
)

// Profile is a protection profile by its number in the registry of DTLS-SRTP.
type Profile uint16

// The profiles, in the order in which the server prefers them.
const (
	GCM128  Profile = 0x0007 // AEAD_AES_128_GCM
	GCM256  Profile = 0x0008 // AEAD_AES_256_GCM
	Counter Profile = 0x0001 // AES128_CM_SHA1_80, for clients without GCM
)

// Overhead is the most that sealing makes a packet longer: a tag of 16 bytes, and for RTCP the index.
const Overhead = 20

const (
	tagGCM     = 16
	tagCounter = 10
	indexSize  = 4
	fixedRTCP  = 8 // header and source, which stay in clear
)

// Errors of opening and sealing.
var (
	ErrShort     = errors.New("srtp: cut short")
	ErrProfile   = errors.New("srtp: unknown profile")
	ErrAuthentic = errors.New("srtp: not authentic")
	ErrReplayed  = errors.New("srtp: came before, or is too old")
	ErrSources   = errors.New("srtp: too many sources")
	ErrExhausted = errors.New("srtp: the key has sealed as much as it may")
)

func (p Profile) sizes() (key, salt int, err error) {
	switch p {
	case GCM128:
		return 16, 12, nil
	case GCM256:
		return 32, 12, nil
	case Counter:
		return 16, 14, nil
	}
	return 0, 0, fmt.Errorf("%w %#x", ErrProfile, uint16(p))
}

// Material is how many bytes both directions need from the handshake.
func (p Profile) Material() (int, error) {
	key, salt, err := p.sizes()
	return 2 * (key + salt), err
}

// Key is the master key and salt of one direction.
type Key struct {
	profile   Profile
	key, salt []byte
}

const redacted = "[redacted]"

// String hides the key.
func (Key) String() string { return redacted }

// GoString hides the key from %#v.
func (Key) GoString() string { return redacted }

// Split cuts exported keying material (RFC 5764, 4.2: client key, server key, client salt, server salt).
func Split(p Profile, material []byte) (client, server Key, err error) {
	k, s, err := p.sizes()
	if err != nil {
		return Key{}, Key{}, err
	}
	if len(material) != 2*(k+s) {
		return Key{}, Key{}, fmt.Errorf("srtp: %d bytes of keying material", len(material))
	}
	return Key{p, material[:k], material[2*k : 2*k+s]}, Key{p, material[k : 2*k], material[2*k+s:]}, nil
}

// The labels of session keys (RFC 3711, 4.3.2); those of RTCP are three higher.
const (
	labelKey = iota
	labelTag
	labelSalt
	labelRTCP
)

// derive is the key derivation of RFC 3711, 4.3.1, at a rate of zero: a key stream of the master key whose counter
// begins at the salt with the label in its eighth byte.
func (k Key) derive(label byte, n int) ([]byte, error) {
	block, err := aes.NewCipher(k.key)
	if err != nil {
		return nil, err
	}
	var counter [aes.BlockSize]byte
	copy(counter[:14], k.salt)
	counter[7] ^= label
	out := make([]byte, n)
	cipher.NewCTR(block, counter[:]).XORKeyStream(out, out)
	return out, nil
}

// half is the transform of RTP or of RTCP under the session keys of one direction.
type half struct {
	aead  cipher.AEAD // GCM
	block cipher.Block
	mac   hash.Hash
	salt  [14]byte
	tag   int

	iv   [aes.BlockSize]byte // kept here, since what is passed through an interface would be allocated
	word [4]byte
	aad  [fixedRTCP + indexSize]byte
	sum  [sha1.Size]byte
}

func (h *half) init(k Key, first byte) error {
	session, err := k.derive(first+labelKey, len(k.key))
	if err != nil {
		return err
	}
	salt, err := k.derive(first+labelSalt, len(k.salt))
	if err != nil {
		return err
	}
	copy(h.salt[:], salt)
	if h.block, err = aes.NewCipher(session); err != nil {
		return err
	}
	if k.profile != Counter {
		h.tag = tagGCM
		h.aead, err = cipher.NewGCM(h.block)
		return err
	}
	h.tag = tagCounter
	secret, err := k.derive(first+labelTag, sha1.Size)
	h.mac = hmac.New(sha1.New, secret)
	return err
}

// nonceRTP is RFC 7714, 8.1: two zeros, source, rollover counter, sequence number, and the salt over all.
func (h *half) nonceRTP(ssrc uint32, index uint64) []byte {
	iv := h.iv[:12]
	iv[0], iv[1] = 0, 0
	binary.BigEndian.PutUint32(iv[2:], ssrc)
	binary.BigEndian.PutUint32(iv[6:], uint32(index>>16))
	binary.BigEndian.PutUint16(iv[10:], uint16(index))
	for i := range iv {
		iv[i] ^= h.salt[i]
	}
	return iv
}

// nonceRTCP is RFC 7714, 9.1: two zeros, source, two zeros, index.
func (h *half) nonceRTCP(ssrc, index uint32) []byte {
	iv := h.iv[:12]
	clear(iv)
	binary.BigEndian.PutUint32(iv[2:], ssrc)
	binary.BigEndian.PutUint32(iv[8:], index)
	for i := range iv {
		iv[i] ^= h.salt[i]
	}
	return iv
}

// stream crypts b in counter mode (RFC 3711, 4.1.1). It allocates; who wants speed has GCM.
func (h *half) stream(b []byte, ssrc uint32, index uint64) {
	clear(h.iv[:])
	binary.BigEndian.PutUint32(h.iv[4:], ssrc)
	binary.BigEndian.PutUint16(h.iv[8:], uint16(index>>32))
	binary.BigEndian.PutUint32(h.iv[10:], uint32(index))
	for i, s := range h.salt {
		h.iv[i] ^= s
	}
	cipher.NewCTR(h.block, h.iv[:]).XORKeyStream(b, b)
}

// digest is the tag of counter mode over b and a word: the rollover counter of RTP, nothing for RTCP, which has its
// index in b.
func (h *half) digest(b []byte, word []byte) []byte {
	h.mac.Reset()
	_, _ = h.mac.Write(b) // never fails
	_, _ = h.mac.Write(word)
	return h.mac.Sum(h.sum[:0])[:tagCounter]
}

func (h *half) rollover(index uint64) []byte {
	binary.BigEndian.PutUint32(h.word[:], uint32(index>>16))
	return h.word[:]
}
