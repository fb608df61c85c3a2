package identity

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"
)

const (
	idPrefix  = "tl"
	idVersion = 0
	idLength  = 62 // "tl1", 53 symbols for 33 bytes, 6 of checksum
)

// ID returns the text that people copy, scan and read: "tl1…", 62 characters, Bech32m over
// a version byte and the key.
func (k PublicKey) ID() string {
	return bech32mEncode(idPrefix, append([]byte{idVersion}, k[:]...))
}

// ParseID reads a text id in lower or upper case and checks the key in it.
func ParseID(s string) (PublicKey, error) {
	if len(s) != idLength {
		return PublicKey{}, fmt.Errorf("id of %d characters: an id begins with tl1 and has %d", len(s), idLength)
	}
	payload, err := bech32mDecode(idPrefix, s, 33)
	if err != nil {
		return PublicKey{}, fmt.Errorf("id: %w; copy it again in full", err)
	}
	if payload[0] != idVersion {
		return PublicKey{}, fmt.Errorf("id: version %d is not known here", payload[0])
	}
	key, err := CheckKey(payload[1:])
	if err != nil {
		return PublicKey{}, fmt.Errorf("id: %w", err)
	}
	return key, nil
}

var fingerprintBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Fingerprint returns the short display: eight groups of four.
func (k PublicKey) Fingerprint() string {
	sum := sha256.Sum256(withContext(ContextFingerprint, k[:]))
	text := fingerprintBase32.EncodeToString(sum[:20])
	groups := make([]string, 0, 8)
	for i := 0; i < len(text); i += 4 {
		groups = append(groups, text[i:i+4])
	}
	return strings.Join(groups, "-")
}

const safetyRounds = 5200

// SafetyNumber returns the 60 digits, in groups of five, that two people compare. It is
// the same on both sides. It costs milliseconds on purpose: whoever looks for a key whose
// number resembles another's pays that for each try.
func SafetyNumber(a, b PublicKey) string {
	x, y := safetyHalf(a), safetyHalf(b)
	if y < x {
		x, y = y, x
	}
	return x + " " + y
}

// safetyHalf is six groups of five digits. Sorting the halves with or without the spaces
// gives the same order, because the spaces stand at the same places.
func safetyHalf(k PublicKey) string {
	buf := make([]byte, 0, sha512.Size+len(k))
	buf = append(append(buf, ContextSafety...), k[:]...)
	for range safetyRounds {
		buf = append(buf, k[:]...)
		sum := sha512.Sum512(buf)
		buf = append(buf[:0], sum[:]...)
	}
	groups := make([]string, 6)
	for i := range groups {
		var v [8]byte
		copy(v[3:], buf[5*i:5*i+5])
		groups[i] = fmt.Sprintf("%05d", binary.BigEndian.Uint64(v[:])%100000)
	}
	return strings.Join(groups, " ")
}

// RecoveryCommitment is what a device list carries of the recovery key on the second
// paper: a hash, so that the key itself stays unseen until it is needed.
func RecoveryCommitment(recovery PublicKey) [32]byte {
	return sha256.Sum256(withContext(ContextRecovery, recovery[:]))
}
