package room

import (
	"fmt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/envelope/room/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// MarshalMessage writes what a frame between two members carries.
func MarshalMessage(m *pb.Message) ([]byte, error) {
	if err := checkMessage(m); err != nil {
		return nil, err
	}
	b, err := canon.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("room message: %w", err)
	}
	if len(b) > envelope.MaxFrameBody {
		return nil, envelope.ErrTooLarge
	}
	return b, nil
}

// ParseMessage reads the body of an opened frame.
func ParseMessage(b []byte) (*pb.Message, error) {
	m := new(pb.Message)
	if err := canon.Unmarshal(b, envelope.MaxFrameBody, m); err != nil {
		return nil, fmt.Errorf("room message: %w", err)
	}
	return m, checkMessage(m)
}

func checkMessage(m *pb.Message) error {
	ok := false
	switch k := m.GetKind().(type) {
	case *pb.Message_Key:
		k32 := len(k.Key.GetKey())
		named := len(k.Key.GetRosterHash())
		ok = (k32 == 0 || k32 == 32) && (named == 0) == (k.Key.GetRosterEpoch() == 0) && (named == 0 || named == 32) &&
			(k32 == 32 || k.Key.GetGeneration() > 0)
	case *pb.Message_KeyHeld, *pb.Message_RosterWanted, *pb.Message_Ended:
		ok = true
	case *pb.Message_Roster:
		n := len(k.Roster.GetSigned())
		ok = n > 0 && n <= maxRoster
	case *pb.Message_NewLink:
		ok = len(k.NewLink.GetSecret()) == 32
	case *pb.Message_Stewardship:
		ok = len(k.Stewardship.GetSeed()) == 32
	case *pb.Message_Connection:
		_, err := envelope.ParseSessionMessage(k.Connection.GetMessage())
		return err
	case *pb.Message_Way:
		ok = k.Way.GetKind() == pb.WayKind_WAY_MESH || k.Way.GetKind() == pb.WayKind_WAY_SFU
	}
	if !ok {
		return fmt.Errorf("%w: message", ErrMalformed)
	}
	return nil
}
