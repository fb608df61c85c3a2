package envelope

import (
	"bytes"
	"fmt"

	"filippo.io/age"

	"github.com/trunkline-net/trunkline/identity"
)

// ageOverhead is what age adds to a plaintext of up to 64 KiB with exactly one hybrid
// stanza: the header 1627, a nonce 16 and the tag of one chunk 16. A file that is larger
// than its plaintext by any other amount has another reader, or none that is post-quantum.
const ageOverhead = 1659

// SealedBody is how many bytes a signed message may have in a payload of the given size;
// negative if no message fits.
func SealedBody(size int) int { return size - ageOverhead - 4 }

// SealMessage signs m by device, whose certificate is cert, and seals it to one device. The
// payload is the smallest bucket that holds it, 4,096 at least. Signed is what was signed,
// signature included: its SHA-256 is the hash of a RING. A sender that seals the same
// message again to a newer prekey sets m.ID to that of the first time.
func SealMessage(device *identity.Device, cert *identity.DeviceCert, to *Bundle, m Message) (payload, signed []byte, err error) {
	m.SenderCert = cert
	m.RecipientRoot = to.Root
	m.RecipientDevice = to.DeviceID()
	m.PrekeyID = to.PrekeyID
	m.RouteTag = to.Route.Tag
	if isRingAnswer(m.Type) {
		return nil, nil, fmt.Errorf("%w: a ring answer is not a sealed message", ErrMalformed)
	}
	signed, err = m.sign(device)
	if err != nil {
		return nil, nil, err
	}
	payload, err = sealSigned(signed, to.recipient)
	return payload, signed, err
}

// sealSigned pads signed to the smallest bucket and encrypts it to recipients; there is
// never more than one of them outside tests.
func sealSigned(signed []byte, recipients ...age.Recipient) ([]byte, error) {
	for _, size := range buckets {
		if len(signed) <= SealedBody(size) {
			return sealTo(size, signed, recipients...)
		}
	}
	return nil, ErrTooLarge
}

func sealTo(size int, signed []byte, recipients ...age.Recipient) ([]byte, error) {
	plain := make([]byte, size-ageOverhead)
	if err := Pad(plain, signed); err != nil {
		return nil, err
	}
	out := bytes.NewBuffer(make([]byte, 0, size))
	w, err := age.Encrypt(out, recipients...)
	if err != nil {
		return nil, fmt.Errorf("seal message: %w", err)
	}
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("seal message: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("seal message: %w", err)
	}
	return out.Bytes(), nil
}
