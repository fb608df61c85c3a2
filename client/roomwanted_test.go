package client_test

import (
	"path/filepath"
	"testing"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/envelope/room"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// Of a room in which one sends and many listen each takes the streams of the one, and the one takes none: what a place on
// the leg costs is paid for those who send.
func TestWhoOnlyListensTakesNoPlaceOnTheSFU(t *testing.T) {
	t.Parallel()
	alice := newHuman(t, "alice", startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme")))
	info := newRoom(t, alice, client.RoomSettings{Topology: room.SFU})
	sends := goIn(t, alice, info.Link.Text(), client.RoomOptions{Media: client.Video, Source: loop(t)})
	all := []*inRoom{sends}
	for _, name := range []string{"bob", "carol", "dave"} {
		all = append(all, guest(t, name, info.Link.Text(), client.RoomOptions{Media: client.Audio}))
	}
	for _, in := range all[1:] {
		for _, slot := range []sframe.Slot{sframe.Microphone, sframe.Camera} {
			waitFor(t, in.name+" gets what is sent", func() bool { _, sfu := in.opened(sends, slot); return sfu > 0 })
		}
	}
	for i, in := range all {
		want := 2
		if i == 0 {
			want = 0
		}
		if n, err := in.Wanted(within(t)); err != nil || n != want {
			t.Errorf("%s wants %d streams, %v; %d are sent to it", in.name, n, err, want)
		}
	}
}

// In a room that is on the SFU from the beginning nobody is heard before somebody begins: whoever waits for others begins
// when they are in.
func TestWhoWaitsForOthersOnTheSFUBegins(t *testing.T) {
	t.Parallel()
	alice := newHuman(t, "alice", startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme")))
	text := newRoom(t, alice, client.RoomSettings{Topology: room.SFU}).Link.Text()
	talks := func() client.RoomOptions { return client.RoomOptions{Media: client.Audio, Source: loop(t), Wait: 2} }
	all := []*inRoom{goIn(t, alice, text, talks())}
	for _, name := range []string{"bob", "carol"} {
		waitFor(t, "those before "+name+" want the SFU", all[len(all)-1].OverSFU)
		all = append(all, guest(t, name, text, talks()))
	}
	for _, in := range all {
		for _, other := range all {
			if in != other {
				waitFor(t, in.name+" hears "+other.name, func() bool { _, sfu := in.opened(other, sframe.Microphone); return sfu > 0 })
			}
		}
	}
}
