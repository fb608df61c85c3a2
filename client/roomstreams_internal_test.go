package client

import (
	"testing"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope/room"
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

// Whatever is published is asked for, of a full room as much as one leg takes: everybody's voice, then screens, then faces.
func TestEverySlotIsWantedOfTheSFU(t *testing.T) {
	t.Parallel()
	slots := []sframe.Slot{sframe.Microphone, sframe.Camera, sframe.Screen, sframe.ScreenAudio}
	for name, c := range map[string]struct {
		members int
		sends   func(index, slot int) bool
		want    [4]int // by slot
	}{
		"one shares a screen with its sound": {2, func(i, slot int) bool { return i == 2 }, [4]int{1, 1, 1, 1}},
		"a screen alone":                     {3, func(i, slot int) bool { return i == 2 && slot == 2 }, [4]int{2: 1}},
		"a full room and one screen":         {49, func(i, slot int) bool { return slot < 2 || i == 49 }, [4]int{49, 31, 1, 1}},
		"a full room of screens":             {49, func(int, int) bool { return true }, [4]int{49, 0, 32, 4}},
	} {
		s := &stay{r: &Room{}, members: map[room.Index]*member{}}
		for i := 1; i <= c.members; i++ {
			s.members[room.Index(i)] = &member{Member: room.Member{Index: room.Index(i)}, in: true}
			for slot := range slots {
				if c.sends(i, slot) {
					s.r.streams.took(&pb.RoomLegEvent{Kind: pb.RoomLegEventKind_ROOM_LEG_EVENT_PUBLISHED, Publisher: uint32(i), Slot: uint32(slot), Codec: "any"}, nil)
				}
			}
		}
		var got [4]int
		for _, x := range s.streams() {
			got[x.Slot]++
		}
		if got != c.want {
			t.Errorf("%s: %v are wanted, not %v", name, got, c.want)
		}
	}
}
