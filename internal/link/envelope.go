package link

import (
	"fmt"

	"github.com/trunkline-net/trunkline/envelope"
)

// ParseEnvelope reads a canonical envelope without allocating: e.Payload aliases b. It is
// envelope.View with this package's errors.
func ParseEnvelope(b []byte, e *envelope.Envelope) error {
	if len(b) > envelope.MaxEnvelope {
		return errTooLarge
	}
	if envelope.View(b, e) != nil {
		return fmt.Errorf("envelope: %w", errShape)
	}
	return nil
}
