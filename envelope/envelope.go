package envelope

import (
	"crypto/sha256"
	"fmt"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// version is the first field of every object and the first byte of associated data.
const version = 1

// Envelope is what nodes carry. Nothing else about the message stands outside the payload:
// no time, no type, no sender, no id.
type Envelope struct {
	redact
	Destination identity.PeerID // the recipient's home node
	Hop         [HopSize]byte
	TTL         TTL
	Payload     []byte // exactly one of the buckets
}

// NewEnvelope seals h and puts the envelope around payload. It keeps payload.
func NewEnvelope(routingKey [32]byte, dest identity.PeerID, ttl TTL, h Hop, payload []byte) (*Envelope, error) {
	box, err := SealHop(routingKey, dest, ttl, payload, h)
	if err != nil {
		return nil, err
	}
	return &Envelope{Destination: dest, Hop: box, TTL: ttl, Payload: payload}, nil
}

// Parse reads a marshalled envelope. The result shares no memory with b.
func Parse(b []byte) (*Envelope, error) {
	var m pb.Envelope
	if err := canon.Unmarshal(b, MaxEnvelope, &m); err != nil {
		return nil, fmt.Errorf("parse envelope: %w", err)
	}
	if m.Version != version {
		return nil, fmt.Errorf("%w: version %d", ErrMalformed, m.Version)
	}
	if len(m.Hop) != HopSize {
		return nil, fmt.Errorf("%w: hop of %d bytes", ErrMalformed, len(m.Hop))
	}
	if m.Ttl > uint32(Week) {
		return nil, fmt.Errorf("%w: ttl class %d", ErrMalformed, m.Ttl)
	}
	if !Bucket(len(m.Payload)) {
		return nil, ErrSize
	}
	dest, err := identity.PeerIDFromBytes(m.Destination)
	if err != nil {
		return nil, fmt.Errorf("parse envelope: %w", err)
	}
	return &Envelope{Destination: dest, Hop: [HopSize]byte(m.Hop), TTL: TTL(m.Ttl), Payload: m.Payload}, nil
}

// Marshal is the inverse of [Parse]. An envelope that was made by hand with a field out of
// range gives bytes that Parse refuses.
func (e *Envelope) Marshal() []byte {
	b, err := canon.Marshal(&pb.Envelope{
		Version:     version,
		Destination: e.Destination[:],
		Hop:         e.Hop[:],
		Ttl:         uint32(e.TTL),
		Payload:     e.Payload,
	})
	if err != nil {
		panic(fmt.Sprintf("envelope: marshal: %v", err)) // no string fields: it cannot fail
	}
	return b
}

// ID is the same for identical bytes and different for any others.
func (e *Envelope) ID() ID {
	payload := sha256.Sum256(e.Payload)
	h := sha256.New()
	h.Write([]byte(identity.ContextEnvelopeID))
	h.Write(e.Destination[:])
	h.Write([]byte{byte(e.TTL)})
	h.Write(e.Hop[:])
	h.Write(payload[:])
	return ID(h.Sum(nil)[:16])
}
