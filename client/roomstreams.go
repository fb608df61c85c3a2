package client

import (
	"slices"
	"sync"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope/room"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// RoomStream is what the node's SFU says of one slot of another member. It explains why a picture
// is not there; whose a frame is and what it shows is said by its key alone.
type RoomStream struct {
	Slot   sframe.Slot
	Codec  string // empty: not told yet
	Sent   bool   // to this side, as far as it asked for it
	Reason string // why nothing or less than asked for is sent, as docs/spec/sfu.md says it
}

// roomStreams is what the SFU has said of a leg. It ends with the leg.
type roomStreams struct {
	mu      sync.Mutex // guards the rest
	all     map[rtc.Stream]RoomStream
	speaker []room.Index
}

// took writes down an event of the leg whose sections are mids, and says what to tell of it; nil:
// nothing has changed.
func (s *roomStreams) took(e *pb.RoomLegEvent, mids map[string]rtc.Stream) RoomEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := rtc.Stream{Publisher: uint16(e.Publisher), Slot: sframe.Slot(e.Slot)}
	switch e.Kind {
	case pb.RoomLegEventKind_ROOM_LEG_EVENT_SPEAKER:
		order := make([]room.Index, 0, len(e.Order))
		for _, i := range e.Order {
			order = append(order, room.Index(i))
		}
		if slices.Equal(order, s.speaker) {
			return nil
		}
		s.speaker = order
		return RoomSpeakers{slices.Clone(order)}
	case pb.RoomLegEventKind_ROOM_LEG_EVENT_UNPUBLISHED:
		was, known := s.all[of]
		if !known {
			return nil
		}
		delete(s.all, of)
		was.Sent, was.Reason = false, ""
		return MemberStream{Index: room.Index(of.Publisher), RoomStream: was, Ended: true}
	case pb.RoomLegEventKind_ROOM_LEG_EVENT_PUBLISHED:
		return s.putLocked(of, func(x *RoomStream) { x.Codec = e.Codec })
	case pb.RoomLegEventKind_ROOM_LEG_EVENT_ALLOCATED:
		// A section that is on its way to something else has no stream, and nothing to tell.
		if of, wanted := mids[e.Mid]; wanted {
			return s.putLocked(of, func(x *RoomStream) { x.Sent, x.Reason = e.Sent, e.Reason })
		}
	}
	return nil
}

func (s *roomStreams) putLocked(of rtc.Stream, change func(*RoomStream)) RoomEvent {
	was, known := s.all[of]
	if of.Slot > sframe.ScreenAudio || !known && len(s.all) >= link.MaxRoomSeats*(int(sframe.ScreenAudio)+1) {
		return nil // more than a room has: the node makes it up
	}
	now := was
	now.Slot = of.Slot
	change(&now)
	if known && now == was {
		return nil
	}
	if s.all == nil {
		s.all = map[rtc.Stream]RoomStream{}
	}
	s.all[of] = now
	return MemberStream{Index: room.Index(of.Publisher), RoomStream: now}
}

// published says whether the SFU has told of a stream that it has it.
func (s *roomStreams) published(of rtc.Stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[of].Codec != ""
}

// of are the streams of one member, by slot.
func (s *roomStreams) of(index room.Index) (out []RoomStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for slot := sframe.Microphone; slot <= sframe.ScreenAudio; slot++ {
		if x, known := s.all[rtc.Stream{Publisher: uint16(index), Slot: slot}]; known {
			out = append(out, x)
		}
	}
	return out
}

func (s *roomStreams) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all, s.speaker = nil, nil
}

// Speakers are who spoke last, the last one first, as the SFU heard it. Empty in a mesh.
func (r *Room) Speakers() []room.Index {
	r.streams.mu.Lock()
	defer r.streams.mu.Unlock()
	return slices.Clone(r.streams.speaker)
}
