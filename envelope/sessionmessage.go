package envelope

import (
	"fmt"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// Limits of what a session frame carries, in bytes.
const (
	MaxSDP        = 16000
	MaxUfrag      = 256 // RFC 8839 section 5.4
	MaxCandidates = 16
	MaxCandidate  = 256
)

// MarshalSessionMessage writes what a session frame carries, or says which limit it breaks.
func MarshalSessionMessage(m *pb.SessionMessage) ([]byte, error) {
	if err := checkSessionMessage(m); err != nil {
		return nil, err
	}
	b, err := canon.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("marshal session message: %w", err)
	}
	if len(b) > MaxFrameBody {
		return nil, ErrTooLarge
	}
	return b, nil
}

// ParseSessionMessage reads the body of an opened session frame. Whether it fits the state of
// the call is for the caller.
func ParseSessionMessage(b []byte) (*pb.SessionMessage, error) {
	m := new(pb.SessionMessage)
	if err := canon.Unmarshal(b, MaxFrameBody, m); err != nil {
		return nil, fmt.Errorf("parse session message: %w", err)
	}
	return m, checkSessionMessage(m)
}

// ByeReason is what the reason of a goodbye means here: one of a later version ends the call as
// every goodbye does, and says no more than that something failed.
func ByeReason(r pb.Reason) pb.Reason {
	if r > pb.Reason_REASON_ALARM {
		return pb.Reason_REASON_FAILED
	}
	return r
}

// checkSessionMessage holds a message to its type: a field that the type does not have is
// refused, so that there is one way to say a thing.
func checkSessionMessage(m *pb.SessionMessage) error {
	describes, ice, bye := false, false, false
	switch m.Type {
	case pb.SessionType_SESSION_OFFER, pb.SessionType_SESSION_ANSWER:
		describes = true
	case pb.SessionType_SESSION_ICE:
		ice = true
	case pb.SessionType_SESSION_BYE:
		bye = true
	case pb.SessionType_SESSION_CONFIRM, pb.SessionType_SESSION_ICE_END, pb.SessionType_SESSION_RESTART:
	default:
		return fmt.Errorf("%w: session message type %d", ErrMalformed, m.Type)
	}
	switch {
	case describes != (len(m.Sdp) > 0), describes != (len(m.Fingerprint) == 32), !describes && len(m.Fingerprint) != 0,
		describes != (m.Ufrag != ""), describes != (m.Setup >= 1 && m.Setup <= 3), !describes && m.Setup != 0:
		return fmt.Errorf("%w: description", ErrMalformed)
	case len(m.Sdp) > MaxSDP, len(m.Ufrag) > MaxUfrag:
		return fmt.Errorf("%w: description", ErrTooLarge)
	case ice != (len(m.Candidates) > 0):
		return fmt.Errorf("%w: candidates", ErrMalformed)
	case len(m.Candidates) > MaxCandidates:
		return fmt.Errorf("%w: %d candidates", ErrTooLarge, len(m.Candidates))
	case !bye && m.Reason != pb.Reason_REASON_UNSPECIFIED, bye && m.Reason < pb.Reason_REASON_ENDED:
		return fmt.Errorf("%w: reason %d", ErrMalformed, m.Reason)
	}
	for _, line := range m.Candidates {
		if err := checkText("candidate", line, MaxCandidate); err != nil {
			return err
		}
		if line == "" {
			return fmt.Errorf("%w: empty candidate", ErrMalformed)
		}
	}
	return nil
}
