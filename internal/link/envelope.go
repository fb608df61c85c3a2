package link

import (
	"fmt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
)

// ParseEnvelope reads a canonical envelope without allocating: e.Payload aliases b. It
// accepts and refuses exactly what envelope.Parse does, but for one thing: the destination
// is not checked to be a peer id, because a router only ever compares it with those it
// knows.
//
// The layout is fixed by the canonical form:
//
//	08 01 | 12 26 destination 38 | 1a 63 hop 99 | [20 ttl] | 2a length payload
func ParseEnvelope(b []byte, e *envelope.Envelope) error {
	const head = 2 + 2 + sizePeerID + 2 + envelope.HopSize
	if len(b) > envelope.MaxEnvelope {
		return errTooLarge
	}
	if len(b) < head || b[0] != 0x08 || b[1] != 1 || b[2] != 0x12 || b[3] != sizePeerID ||
		b[4+sizePeerID] != 0x1a || b[5+sizePeerID] != envelope.HopSize {
		return fmt.Errorf("envelope: %w", errShape)
	}
	e.Destination = identity.PeerID(b[4:])
	e.Hop = [envelope.HopSize]byte(b[6+sizePeerID:])
	e.TTL = envelope.Live
	b = b[head:]
	if len(b) > 2 && b[0] == 0x20 {
		e.TTL = envelope.TTL(b[1])
		if e.TTL == envelope.Live || !e.TTL.Valid() {
			return fmt.Errorf("envelope: %w", errShape)
		}
		b = b[2:]
	}
	payload, rest, ok := lengthDelimited(b, 5)
	if !ok || len(rest) != 0 || !envelope.Bucket(len(payload)) {
		return fmt.Errorf("envelope: %w", errShape)
	}
	e.Payload = payload
	return nil
}
