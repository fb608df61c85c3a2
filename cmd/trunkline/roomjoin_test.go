package main

import (
	"bytes"
	"testing"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/envelope/room"
)

// People are told once that somebody begins to record, and once that it is over.
func TestPeopleAreToldWhoRecords(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	j := &joining{a: &app{err: &said}, media: &mediaFlags{}, members: map[room.Index]memberFacts{}, recording: map[room.Index]bool{}}
	for _, p := range []client.RoomPresence{{Microphone: true}, {Recording: true}, {Recording: true, Camera: true}, {Camera: true}, {}} {
		if err := j.event(t.Context(), client.MemberPresence{RoomMember: client.RoomMember{Index: 7, Name: "Vera\n", Presence: p}}); err != nil {
			t.Fatal(err)
		}
	}
	if want := "Vera records what you say and show.\nVera records no more.\n"; said.String() != want {
		t.Errorf("said is %q, not %q", said.String(), want)
	}
	if j.members[7].Recording {
		t.Error("the last word says that it still records")
	}
}
