package client_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope/room"
	roompb "github.com/trunkline-net/trunkline/envelope/room/pb"
)

func TestPeopleOfARoomTellEachOtherThings(t *testing.T) {
	t.Parallel()
	alice := newHuman(t, "alice", startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme")))
	text := newRoom(t, alice, client.RoomSettings{}).Link.Text()
	a := goIn(t, alice, text, client.RoomOptions{})
	b := guest(t, "bob", text, client.RoomOptions{})
	c := guest(t, "carol", text, client.RoomOptions{})
	for _, who := range []*inRoom{a, c} {
		heard(t, b, func(e client.MemberCame) bool { return e.Index == who.Index() })
		heard(t, who, func(e client.MemberCame) bool { return e.Index == b.Index() })
	}
	ctx := within(t)
	line := strings.Repeat("é", room.MaxNote/2)
	if err := errors.Join(b.Note(ctx, line), b.React(ctx, rtc.ReactionHeart), b.SetHand(ctx, true)); err != nil {
		t.Fatal(err)
	}
	for _, in := range []*inRoom{a, c} {
		heard(t, in, func(e client.MemberNote) bool {
			return e.Index == b.Index() && e.Name == "bob" && e.Text == line && e.ID != [16]byte{}
		})
		heard(t, in, func(e client.MemberReaction) bool { return e.Index == b.Index() && e.Reaction == rtc.ReactionHeart })
		heard(t, in, func(e client.MemberPresence) bool { return e.Index == b.Index() && !e.Presence.Hand.IsZero() })
	}
	raised := a.presence(b).Hand
	if err := b.SetHand(ctx, true); err != nil { // it is up
		t.Fatal(err)
	}
	d := guest(t, "dave", text, client.RoomOptions{})
	heard(t, d, func(e client.MemberPresence) bool { return e.Index == b.Index() && e.Presence.Hand.Equal(raised) })
	if err := b.SetHand(ctx, false); err != nil {
		t.Fatal(err)
	}
	heard(t, d, func(e client.MemberPresence) bool { return e.Index == b.Index() && e.Presence.Hand.IsZero() })

	for what, text := range map[string]string{"nothing": "", "too long": line + "x", "a NUL": "a\x00b", "no UTF-8": "\xff"} {
		if err := b.Note(ctx, text); !errors.Is(err, client.ErrNoText) {
			t.Errorf("%s as a line: %v", what, err)
		}
	}
	for _, sign := range []rtc.Reaction{0, rtc.ReactionSurprise + 1} {
		if b.React(ctx, sign) == nil {
			t.Errorf("the sign %d is given", sign)
		}
	}
}

func TestWhoWaitsInTheLobbyTellsNobodyAnything(t *testing.T) {
	t.Parallel()
	alice := newHuman(t, "alice", startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme")))
	text := newRoom(t, alice, client.RoomSettings{Entry: room.Lobby}).Link.Text()
	a := goIn(t, alice, text, client.RoomOptions{})
	b := guest(t, "bob", text, client.RoomOptions{})
	heard(t, a, func(e client.MemberWaits) bool { return e.Index == b.Index() })
	if err := b.Note(within(t), "let me in"); !errors.Is(err, client.ErrNotInside) {
		t.Errorf("a line from the lobby: %v", err)
	}
	if err := b.React(within(t), rtc.ReactionYes); !errors.Is(err, client.ErrNotInside) {
		t.Errorf("a sign from the lobby: %v", err)
	}
}

// Whoever says more than people do fills nobody's queue; what comes later is heard again.
func TestWhoTalksAllTheTimeFillsNoQueue(t *testing.T) {
	t.Parallel()
	alice := newHuman(t, "alice", startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme")))
	info := newRoom(t, alice, client.RoomSettings{})
	a := goIn(t, alice, info.Link.Text(), client.RoomOptions{})
	x, s := stranger(t, a, info)
	note := func(text string) {
		t.Helper()
		x.say(a.Index(), s, &roompb.Message{Kind: &roompb.Message_Note{Note: &roompb.Note{Id: make([]byte, 16), Text: text}}})
	}
	const lines = 300 // as many as a queue of events does not hold
	began := time.Now()
	for range lines {
		note("me me me")
	}
	// In the next second or the one after it one is heard again.
	ctx := within(t)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for again := false; !again; {
		note("and now")
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("nothing is heard any more")
		}
		again = a.was(func(e client.RoomEvent) bool {
			said, is := e.(client.MemberNote)
			return is && said.Text == "and now"
		})
	}
	// Ten in a second, the one that is under way and the one that follows included.
	if told, most := count[client.MemberNote](a), 10*(int(time.Since(began)/time.Second)+2); told > most {
		t.Errorf("%d notes were told, at most %d are", told, most)
	}
}

func TestTheSFUHearsWhoSaysThatItSpeaks(t *testing.T) {
	t.Parallel()
	alice := newHuman(t, "alice", startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme")))
	text := newRoom(t, alice, client.RoomSettings{Topology: room.SFU}).Link.Text()
	a := goIn(t, alice, text, client.RoomOptions{Media: client.Audio})
	b := guest(t, "bob", text, client.RoomOptions{Media: client.Audio})
	c := guest(t, "carol", text, client.RoomOptions{Media: client.Audio})
	first := func(who *inRoom) func(client.RoomSpeakers) bool {
		return func(e client.RoomSpeakers) bool { return len(e.Order) > 0 && e.Order[0] == who.Index() }
	}
	if err := c.SetSpeaking(within(t), true); err != nil { // perhaps before it has a leg
		t.Fatal(err)
	}
	heard(t, a, first(c))
	if err := errors.Join(c.SetSpeaking(within(t), false), b.SetSpeaking(within(t), true)); err != nil {
		t.Fatal(err)
	}
	heard(t, a, first(b))
}
