package identity

import (
	"crypto/ed25519"
	"fmt"
)

// SignatureSize is the length of a signature; a signed object is the signature followed by
// the exact message bytes.
const SignatureSize = ed25519.SignatureSize

// SignObject signs context || msg and returns the signed object: signature || msg.
func SignObject(priv ed25519.PrivateKey, context string, msg []byte) []byte {
	signed := make([]byte, 0, SignatureSize+len(msg))
	signed = append(signed, sign(priv, context, msg)...)
	return append(signed, msg...)
}

// OpenObject checks the length of a signed object, then its signature, and returns the
// message, which shares memory with signed. Signatures are over the bytes received, never
// over a re-encoding.
func OpenObject(pub PublicKey, context string, signed []byte, max int) ([]byte, error) {
	sig, msg, err := splitObject(signed, max)
	if err != nil {
		return nil, err
	}
	if err := VerifySignature(pub, context, msg, sig); err != nil {
		return nil, err
	}
	return msg, nil
}

// VerifySignature checks sig over context || msg. There is no second try in another mode
// and no batch: all verifiers must give the same answer.
func VerifySignature(pub PublicKey, context string, msg, sig []byte) error {
	if pub.IsZero() || len(sig) != SignatureSize {
		return ErrSignature
	}
	if !ed25519.Verify(pub[:], withContext(context, msg), sig) {
		return ErrSignature
	}
	return nil
}

// splitObject is the first step of every parser of a signed object.
func splitObject(signed []byte, max int) (sig, msg []byte, err error) {
	if len(signed) > max {
		return nil, nil, fmt.Errorf("signed object of %d bytes, at most %d", len(signed), max)
	}
	if len(signed) <= SignatureSize {
		return nil, nil, fmt.Errorf("signed object of %d bytes", len(signed))
	}
	return signed[:SignatureSize:SignatureSize], signed[SignatureSize:], nil
}

func sign(priv ed25519.PrivateKey, context string, msg []byte) []byte {
	return ed25519.Sign(priv, withContext(context, msg))
}

func withContext(context string, msg []byte) []byte {
	b := make([]byte, 0, len(context)+len(msg))
	b = append(b, context...)
	return append(b, msg...)
}
