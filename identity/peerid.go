package identity

import (
	"errors"
	"fmt"
	"strings"
)

// PeerID is a libp2p peer id: the identity multihash of the protobuf form of an Ed25519
// public key. It is computed here without libp2p, because clients and browsers need it and
// must not carry a network stack for it. The zero value means unknown.
type PeerID [38]byte

// The bytes before the key: identity hash (00), length 36 (24), then the protobuf
// {type: Ed25519 (08 01), data: 32 bytes (12 20)}.
var peerIDPrefix = [6]byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}

// PeerID returns the peer id of a node whose host key is k, or the form in which libp2p
// tools show k.
func (k PublicKey) PeerID() PeerID {
	var p PeerID
	copy(p[:], peerIDPrefix[:])
	copy(p[6:], k[:])
	return p
}

// Key returns the key inside; for the zero PeerID it is the zero key.
func (p PeerID) Key() PublicKey {
	if p.IsZero() {
		return PublicKey{}
	}
	return PublicKey(p[6:])
}

// IsZero reports whether p is unknown.
func (p PeerID) IsZero() bool { return p == PeerID{} }

// Bytes returns a copy of the 38 bytes.
func (p PeerID) Bytes() []byte { return p[:] }

// String returns the text form, "12D3KooW…", which has no checksum and is case sensitive.
func (p PeerID) String() string {
	if p.IsZero() {
		return ""
	}
	return base58Encode(p[:])
}

// PeerIDFromBytes reads the 38 bytes and checks the key in them. Other kinds of keys that
// libp2p knows are refused.
func PeerIDFromBytes(b []byte) (PeerID, error) {
	if len(b) != len(PeerID{}) || [6]byte(b[:6]) != peerIDPrefix {
		return PeerID{}, errors.New("peer id: not that of an Ed25519 key")
	}
	if _, err := CheckKey(b[6:]); err != nil {
		return PeerID{}, fmt.Errorf("peer id: %w", err)
	}
	return PeerID(b), nil
}

// ParsePeerID reads the text form.
func ParsePeerID(s string) (PeerID, error) {
	// 38 bytes that begin 00 24 08 01 12 20 always have 52 characters.
	if len(s) != 52 {
		return PeerID{}, fmt.Errorf("peer id of %d characters: it begins with 12D3KooW and has 52", len(s))
	}
	b, err := base58Decode(s)
	if err != nil {
		return PeerID{}, fmt.Errorf("peer id: %w", err)
	}
	return PeerIDFromBytes(b)
}

const base58Alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// base58Encode is the usual base58: big-endian number, one '1' for each leading zero byte.
func base58Encode(b []byte) string {
	var digits []byte // little endian
	zeros := 0
	for zeros < len(b) && b[zeros] == 0 {
		zeros++
	}
	for _, x := range b[zeros:] {
		carry := int(x)
		for i := range digits {
			carry += int(digits[i]) << 8
			digits[i] = byte(carry % 58)
			carry /= 58
		}
		for ; carry > 0; carry /= 58 {
			digits = append(digits, byte(carry%58))
		}
	}
	out := make([]byte, 0, zeros+len(digits))
	for range zeros {
		out = append(out, '1')
	}
	for i := len(digits) - 1; i >= 0; i-- {
		out = append(out, base58Alphabet[digits[i]])
	}
	return string(out)
}

// base58Decode is quadratic; callers bound the length first.
func base58Decode(s string) ([]byte, error) {
	var digits []byte // little endian
	zeros := 0
	for zeros < len(s) && s[zeros] == '1' {
		zeros++
	}
	for i := zeros; i < len(s); i++ {
		carry := strings.IndexByte(base58Alphabet, s[i])
		if carry < 0 {
			return nil, fmt.Errorf("character %q is not base58", s[i])
		}
		for j := range digits {
			carry += int(digits[j]) * 58
			digits[j] = byte(carry)
			carry >>= 8
		}
		for ; carry > 0; carry >>= 8 {
			digits = append(digits, byte(carry))
		}
	}
	out := make([]byte, zeros, zeros+len(digits))
	for i := len(digits) - 1; i >= 0; i-- {
		out = append(out, digits[i])
	}
	return out, nil
}
