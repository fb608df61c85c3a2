package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope/room"
)

// What others write and show is said to people in a line each, whatever stands in it.
func TestPeopleAreToldWhatOthersTellThem(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	j := &joining{a: &app{err: &said}, media: &mediaFlags{}, members: map[room.Index]memberFacts{}, recording: map[room.Index]bool{}, hands: map[room.Index]bool{}}
	vera := client.RoomMember{Index: 7, Name: "Vera"}
	raised := vera
	raised.Presence.Hand = time.UnixMilli(1)
	for _, e := range []client.RoomEvent{
		client.MemberNote{RoomMember: vera, Text: "one\ntwo\x1b[2J"}, client.MemberReaction{RoomMember: vera, Reaction: rtc.ReactionApplause},
		client.MemberPresence{RoomMember: raised}, client.MemberPresence{RoomMember: raised}, client.MemberPresence{RoomMember: vera},
	} {
		if err := j.event(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	want := "Vera: " + oneLine("one\ntwo\x1b[2J") + "\nVera: (applause)\nVera raises a hand.\nVera takes the hand down.\n"
	if said.String() != want || strings.ContainsRune(said.String(), 0x1b) {
		t.Errorf("said is %q, not %q", said.String(), want)
	}
}

// People are told once that somebody begins to record, and once that it is over.
func TestPeopleAreToldWhoRecords(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	j := &joining{a: &app{err: &said}, media: &mediaFlags{}, members: map[room.Index]memberFacts{}, recording: map[room.Index]bool{}, hands: map[room.Index]bool{}}
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
