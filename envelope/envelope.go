package envelope

import (
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

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

// The canonical form has one layout, which [View] reads and [Envelope.Append] writes without
// a decoder: a node does it for every envelope that passes.
//
//	08 01 | 12 26 destination 38 | 1a 65 hop 101 | [20 ttl] | 2a length payload
const (
	tagVersion     = 0x08
	tagDestination = 0x12
	tagHop         = 0x1a
	tagTTL         = 0x20
	tagPayload     = 0x2a

	sizePeerID = len(identity.PeerID{})
	headSize   = 2 + 2 + sizePeerID + 2 + HopSize
)

// View reads a marshalled envelope without allocating: e.Payload is a part of b. It accepts
// what [Parse] accepts, but for one thing: the destination is not checked to be a peer id,
// because a router only compares it with those that it knows.
func View(b []byte, e *Envelope) error {
	if len(b) < headSize || len(b) > MaxEnvelope ||
		b[0] != tagVersion || b[1] != version ||
		b[2] != tagDestination || int(b[3]) != sizePeerID ||
		b[4+sizePeerID] != tagHop || b[5+sizePeerID] != HopSize {
		return ErrMalformed
	}
	e.Destination = identity.PeerID(b[4:])
	e.Hop = [HopSize]byte(b[6+sizePeerID:])
	e.TTL = Live
	b = b[headSize:]
	if len(b) >= 2 && b[0] == tagTTL {
		// Live is written by leaving it out.
		if e.TTL = TTL(b[1]); e.TTL == Live || !e.TTL.Valid() {
			return ErrMalformed
		}
		b = b[2:]
	}
	if len(b) == 0 || b[0] != tagPayload {
		return ErrMalformed
	}
	size, n := protowire.ConsumeVarint(b[1:])
	if n < 0 || n != protowire.SizeVarint(size) || size != uint64(len(b)-1-n) || !Bucket(int(size)) {
		return ErrMalformed
	}
	e.Payload = b[1+n : len(b) : len(b)]
	return nil
}

// Size is how many bytes [Envelope.Append] writes.
func (e *Envelope) Size() int {
	n := headSize
	if e.TTL != Live {
		n += 1 + protowire.SizeVarint(uint64(e.TTL))
	}
	if len(e.Payload) > 0 {
		n += 1 + protowire.SizeBytes(len(e.Payload))
	}
	return n
}

// Append writes the marshalled envelope behind dst and returns the longer slice.
func (e *Envelope) Append(dst []byte) []byte {
	dst = append(dst, tagVersion, version, tagDestination, byte(sizePeerID))
	dst = append(dst, e.Destination[:]...)
	dst = append(dst, tagHop, HopSize)
	dst = append(dst, e.Hop[:]...)
	if e.TTL != Live {
		dst = protowire.AppendVarint(append(dst, tagTTL), uint64(e.TTL))
	}
	if len(e.Payload) > 0 {
		dst = protowire.AppendBytes(append(dst, tagPayload), e.Payload)
	}
	return dst
}

// Marshal is the inverse of [Parse]. An envelope that was made by hand with a field out of
// range gives bytes that Parse refuses.
func (e *Envelope) Marshal() []byte { return e.Append(make([]byte, 0, e.Size())) }

// PayloadSum is SHA-256 of the payload. Who both opens an envelope's hop and asks for its id
// takes it once, since it is most of the work of either.
func (e *Envelope) PayloadSum() [sha256.Size]byte { return sha256.Sum256(e.Payload) }

// ID is the same for identical bytes and different for any others.
func (e *Envelope) ID() ID { return e.IDWith(e.PayloadSum()) }

// IDWith is ID for an envelope whose PayloadSum is known.
func (e *Envelope) IDWith(payload [sha256.Size]byte) ID {
	var b [len(identity.ContextEnvelopeID) + sizePeerID + 1 + HopSize + len(payload)]byte
	head := append(b[:0], identity.ContextEnvelopeID...)
	head = append(head, e.Destination[:]...)
	head = append(head, byte(e.TTL))
	head = append(head, e.Hop[:]...)
	head = append(head, payload[:]...)
	sum := sha256.Sum256(head)
	return ID(sum[:16])
}
