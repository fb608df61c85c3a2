package client

import (
	"testing"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// What a node says twice is told once, and what it makes up takes no memory.
func TestWhatTheSFUSaysIsBoundedAndToldOnce(t *testing.T) {
	t.Parallel()
	var s roomStreams
	mids := map[string]rtc.Stream{"3": {Publisher: 7, Slot: sframe.Screen}}
	event := func(kind pb.RoomLegEventKind, change func(*pb.RoomLegEvent)) RoomEvent {
		e := &pb.RoomLegEvent{Kind: kind, Publisher: 7, Slot: uint32(sframe.Screen)}
		if change != nil {
			change(e)
		}
		return s.took(e, mids)
	}
	published, unpublished := pb.RoomLegEventKind_ROOM_LEG_EVENT_PUBLISHED, pb.RoomLegEventKind_ROOM_LEG_EVENT_UNPUBLISHED
	allocated, speaker := pb.RoomLegEventKind_ROOM_LEG_EVENT_ALLOCATED, pb.RoomLegEventKind_ROOM_LEG_EVENT_SPEAKER
	paused := RoomStream{Slot: sframe.Screen, Codec: "VP9", Reason: "bandwidth"}
	for i, c := range []struct {
		kind   pb.RoomLegEventKind
		change func(*pb.RoomLegEvent)
		want   RoomEvent
	}{
		{unpublished, nil, nil},
		{published, func(e *pb.RoomLegEvent) { e.Codec = "VP9" }, MemberStream{Index: 7, RoomStream: RoomStream{Slot: sframe.Screen, Codec: "VP9"}}},
		{published, func(e *pb.RoomLegEvent) { e.Codec = "VP9" }, nil},
		{allocated, func(e *pb.RoomLegEvent) { e.Mid, e.Reason = "3", "bandwidth" }, MemberStream{Index: 7, RoomStream: paused}},
		{allocated, func(e *pb.RoomLegEvent) { e.Mid, e.Reason = "3", "bandwidth" }, nil},
		{allocated, func(e *pb.RoomLegEvent) { e.Mid, e.Sent = "9", true }, nil}, // no section of ours
		{published, func(e *pb.RoomLegEvent) { e.Slot = 5 }, nil},
		{unpublished, nil, MemberStream{Index: 7, RoomStream: RoomStream{Slot: sframe.Screen, Codec: "VP9"}, Ended: true}},
	} {
		if got := event(c.kind, c.change); got != c.want {
			t.Errorf("event %d told %+v, not %+v", i, got, c.want)
		}
	}
	order := func(e *pb.RoomLegEvent) { e.Order = []uint32{7, 2} }
	if got, ok := event(speaker, order).(RoomSpeakers); !ok || len(got.Order) != 2 || got.Order[0] != 7 {
		t.Errorf("speakers: %+v", got)
	}
	if got := event(speaker, order); got != nil {
		t.Errorf("the same speakers again: %+v", got)
	}
	for i := range uint32(60_000) {
		event(published, func(e *pb.RoomLegEvent) { e.Publisher = i + 1 })
	}
	if most := 4 * link.MaxRoomSeats; len(s.all) != most {
		t.Errorf("%d streams are kept, %d are the most", len(s.all), most)
	}
	if s.forget(); len(s.all) != 0 || s.of(7) != nil {
		t.Error("something is left")
	}
}
