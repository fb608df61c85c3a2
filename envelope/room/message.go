package room

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/envelope/room/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
)

const (
	// MaxNote is how many bytes a line of chat has at most.
	MaxNote   = 4096
	reactions = 6
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
	case *pb.Message_Presence:
		ok = k.Presence.GetHand() <= maxUnix*1000
	case *pb.Message_Reaction:
		ok = k.Reaction.GetKind() >= 1 && k.Reaction.GetKind() <= reactions
	case *pb.Message_Pointer:
		p := k.Pointer
		ok = p.GetScreen() > 0 && p.GetScreen() < 1<<16 && p.GetX() < 1<<16 && p.GetY() < 1<<16 && (p.GetHere() || p.GetX() == 0 && p.GetY() == 0)
	case *pb.Message_Note:
		n := len(k.Note.GetText())
		ok = len(k.Note.GetId()) == 16 && n > 0 && n <= MaxNote && utf8.ValidString(k.Note.GetText()) && !strings.ContainsRune(k.Note.GetText(), 0)
	case *pb.Message_MuteAsk:
		ok = k.MuteAsk.GetSlot() <= 2
	case *pb.Message_Card:
		n := len(k.Card.GetSigned())
		ok = n > 0 && n <= maxCard
	case *pb.Message_Need:
		c, with := k.Need.GetCause(), k.Need.GetWith()
		ok = c >= pb.NeedCause_NEED_NOTHING && c <= pb.NeedCause_NEED_PAIR && (with != 0) == (c == pb.NeedCause_NEED_PAIR) && with < 1<<16
	case *pb.Message_Way:
		ok = k.Way.GetKind() == pb.WayKind_WAY_MESH || k.Way.GetKind() == pb.WayKind_WAY_SFU
	}
	if !ok {
		return fmt.Errorf("%w: message", ErrMalformed)
	}
	return nil
}
