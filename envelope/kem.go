package envelope

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/mlkem"
	"fmt"

	"github.com/trunkline-net/trunkline/identity"
)

const (
	x25519Size  = 32
	aeadTag     = 16
	xwingPublic = mlkem.EncapsulationKeySize768 + x25519Size // 1216
	xwingEnc    = mlkem.CiphertextSize768 + x25519Size       // 1120
)

// suiteX25519 is what hops and queries are sealed with: KEM 0x0020, KDF 1, AEAD 3.
func suiteX25519() (hpke.KEM, hpke.KDF, hpke.AEAD) {
	return hpke.DHKEM(ecdh.X25519()), hpke.HKDFSHA256(), hpke.ChaCha20Poly1305()
}

// suiteXWing is what sessions are made with: KEM 0x647a, KDF 1, AEAD 3.
func suiteXWing() (hpke.KEM, hpke.KDF, hpke.AEAD) {
	return hpke.MLKEM768X25519(), hpke.HKDFSHA256(), hpke.ChaCha20Poly1305()
}

// CheckXWing refuses an X-Wing public key (ML-KEM-768 1184 bytes, then X25519 32) whose
// length is wrong, whose ML-KEM coefficients are out of range or whose X25519 part has low
// order. It is asked when the key is received, so that a bad one is never stored.
func CheckXWing(b []byte) error {
	if len(b) != xwingPublic {
		return fmt.Errorf("%w: X-Wing key of %d bytes", ErrMalformed, len(b))
	}
	if _, err := mlkem.NewEncapsulationKey768(b[:mlkem.EncapsulationKeySize768]); err != nil {
		return fmt.Errorf("%w: ML-KEM key out of range", ErrMalformed)
	}
	return identity.CheckX25519(b[mlkem.EncapsulationKeySize768:])
}

// CheckXWingEnc is CheckXWing for an encapsulation: ML-KEM 1088 bytes, then X25519 32. Every
// ML-KEM ciphertext of the right length is valid.
func CheckXWingEnc(b []byte) error {
	if len(b) != xwingEnc {
		return fmt.Errorf("%w: encapsulation of %d bytes", ErrMalformed, len(b))
	}
	return identity.CheckX25519(b[mlkem.CiphertextSize768:])
}
