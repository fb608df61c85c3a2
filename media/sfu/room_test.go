package sfu

import (
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
	"github.com/trunkline-net/trunkline/media/sfu/wire/scalable"
)

var (
	publishes  = []light.Section{{Audio: true, Sends: true, SSRC: 11}, {Sends: true, SSRC: 12, RTX: 13}}
	subscribes = []light.Section{{Audio: true}, {}}
	speaker1   = Grant{Publish: true}
)

// whole checks that packets are one stream without a hole.
func whole(t *testing.T, packets [][]byte) {
	t.Helper()
	broken(t, packets, 0)
}

// broken checks that packets are one stream with so many holes of one number.
func broken(t *testing.T, packets [][]byte, holes int) {
	t.Helper()
	found := 0
	for i := 1; i < len(packets); i++ {
		a, b := binary.BigEndian.Uint16(packets[i-1][2:]), binary.BigEndian.Uint16(packets[i][2:])
		if b == a+2 {
			found++
		} else if b != a+1 {
			t.Fatalf("number %d follows %d", b, a)
		}
	}
	if found != holes {
		t.Fatalf("%d holes, want %d", found, holes)
	}
}

func TestWhatIsPublishedReachesWhoWantsIt(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		alice := w.join(1, speaker1, publishes...)
		bob := w.join(2, Grant{}, subscribes...)
		must(t, bob.seat.Want(Wants{Subscriptions: []Subscription{{Mid: "0", Publisher: 1, Slot: Microphone}, {Mid: "1", Publisher: 1, Slot: Camera}}}))
		synctest.Wait()
		if a := bob.allocated("1"); a.Layer != -1 || a.Reason != ReasonNoTrack {
			t.Errorf("before anything is published: %+v", a)
		}
		w.run(2*time.Second, []*member{alice, bob}, alice.microphone("0", 11), alice.camera("1", 12))
		if n := len(bob.got("0")); n != 100 {
			t.Errorf("%d packets of sound of 100", n)
		}
		if n := len(bob.got("1")); n != 100 {
			t.Errorf("%d packets of pictures of 100", n)
		}
		whole(t, bob.got("0"))
		whole(t, bob.got("1"))
		if e, ok := last[Published](bob); !ok || e.Publisher != 1 || e.Slot != Camera || e.Codec != "VP8" {
			t.Errorf("%+v", e)
		}
		if a := bob.allocated("1"); a.Layer != 0 || a.Reason != "" {
			t.Errorf("%+v", a)
		}
		if _, ok := last[Published](alice); ok {
			t.Error("a publisher is told of itself")
		}
		alice.seat.Close(ReasonLeft)
		synctest.Wait()
		if e, ok := last[Unpublished](bob); !ok || e.Publisher != 1 {
			t.Errorf("%+v", e)
		}
		if e, ok := last[Closed](alice); !ok || e.Reason != ReasonLeft {
			t.Errorf("%+v", e)
		}
		if st := w.s.Stats(); st.Seats != 1 || st.PacketsOut != 200 || st.PacketsIn != 200 {
			t.Errorf("%+v", st)
		}
	})
}

func TestAJoinerGetsAKeyFrameAndManyJoinersOne(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		alice := w.join(1, speaker1, publishes...)
		cam := alice.camera("1", 12)
		w.run(3*time.Second, []*member{alice}, cam)
		before, _ := alice.requests()
		var all []*member
		for i := range uint16(20) {
			m := w.join(10+i, Grant{}, subscribes...)
			must(t, m.seat.Want(Wants{Subscriptions: []Subscription{{Mid: "1", Publisher: 1, Slot: Camera}}}))
			all = append(all, m)
		}
		time.Sleep(15 * time.Millisecond)
		synctest.Wait()
		if after, _ := alice.requests(); after != before+1 {
			t.Errorf("%d requests for twenty joiners", after-before)
		}
		cam.one(true)
		synctest.Wait()
		for i, m := range all {
			if len(m.got("1")) == 0 {
				t.Errorf("joiner %d has no picture", i)
			}
		}
		// Who joins right after it is shown the kept one.
		late := w.join(90, Grant{}, subscribes...)
		must(t, late.seat.Want(Wants{Subscriptions: []Subscription{{Mid: "1", Publisher: 1, Slot: Camera}}}))
		synctest.Wait()
		if len(late.got("1")) == 0 {
			t.Error("a joiner after the key frame has no picture at once")
		}
	})
}

func TestLossTowardsAndFromTheServerIsMended(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		alice := w.join(1, speaker1, publishes...)
		bob := w.join(2, Grant{}, subscribes...)
		must(t, bob.seat.Want(Wants{Subscriptions: []Subscription{{Mid: "1", Publisher: 1, Slot: Camera}}}))
		cam := alice.camera("1", 12)
		w.run(200*time.Millisecond, []*member{alice, bob}, cam)
		cam.seq++ // lost on the way to the server
		lost := cam.seq - 1
		w.run(100*time.Millisecond, []*member{alice, bob}, cam)
		if _, nacks := alice.requests(); !slices.Contains(nacks, lost) {
			t.Fatalf("the publisher was asked for %v, not %d", nacks, lost)
		}
		// It comes on the repair stream.
		h := wire.Header{PayloadType: light.VP8 + 1, Sequence: 1, Timestamp: 5, SSRC: 13, Extensions: [4]wire.Extension{
			{ID: light.Extensions.Descriptor, Value: cam.mode.Append(nil, scalable.Frame{}, false, false, 3)}}}
		must(t, alice.c.WriteRTP(append(binary.BigEndian.AppendUint16(h.Append(nil), lost), "repaired"...)))
		synctest.Wait()
		seen := false
		for _, b := range bob.got("1") {
			seen = seen || string(b[len(b)-8:]) == "repaired"
		}
		if !seen {
			t.Error("what the publisher repaired was not sent on")
		}
		// And what is lost on the way to the client is repeated.
		missing := bob.got("1")[4]
		ssrc, _ := bob.c.Source("1")
		must(t, bob.c.WriteRTCP(wire.AppendNACK(nil, 9, ssrc, []uint16{binary.BigEndian.Uint16(missing[2:])})))
		synctest.Wait()
		again := bob.got("1r")
		if len(again) == 0 {
			t.Fatal("nothing was repeated")
		}
		var p, q wire.Packet
		if p.Parse(missing) != nil || q.Parse(again[len(again)-1]) != nil || string(q.Payload()[2:]) != string(p.Payload()) {
			t.Error("another packet was repeated")
		}
	})
}

func TestAPathIsDividedByPriority(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		alice := w.join(1, speaker1, publishes...)
		carol := w.join(2, speaker1, publishes...)
		bob := w.join(3, Grant{Receive: 700_000}, light.Section{Audio: true}, light.Section{}, light.Section{})
		must(t, bob.seat.Want(Wants{Subscriptions: []Subscription{
			{Mid: "0", Publisher: 1, Slot: Microphone}, {Mid: "1", Publisher: 1, Slot: Camera}, {Mid: "2", Publisher: 2, Slot: Camera, Priority: 3},
		}}))
		members := []*member{alice, bob, carol}
		senders := []*sender{alice.microphone("0", 11), alice.camera("1", 12), carol.camera("1", 12)} // 400 kbit/s each
		w.run(3*time.Second, members, senders...)
		if a, b := bob.allocated("1"), bob.allocated("2"); a.Layer != -1 || a.Reason != ReasonBandwidth || b.Layer != 0 {
			t.Errorf("of two that do not fit: %+v, %+v", a, b)
		}
		bob.forget()
		w.run(time.Second, members, senders...)
		if len(bob.got("1")) != 0 || len(bob.got("2")) == 0 || len(bob.got("0")) != 50 {
			t.Errorf("%d, %d packets of pictures, %d of sound", len(bob.got("1")), len(bob.got("2")), len(bob.got("0")))
		}
		// The order changes, and so does who is paused; sound never is.
		must(t, bob.seat.Want(Wants{Subscriptions: []Subscription{
			{Mid: "0", Publisher: 1, Slot: Microphone}, {Mid: "1", Publisher: 1, Slot: Camera, Priority: 9}, {Mid: "2", Publisher: 2, Slot: Camera},
		}}))
		bob.forget()
		w.run(2*time.Second, members, senders...)
		if len(bob.got("1")) == 0 || len(bob.got("2")) != 0 || len(bob.got("0")) != 100 {
			t.Errorf("%d, %d packets of pictures, %d of sound", len(bob.got("1")), len(bob.got("2")), len(bob.got("0")))
		}
	})
}

// Firefox sends no descriptors: streams of simulcast are told apart by their sources, and a key frame by its size.
func TestSimulcastWithoutDescriptorsIsForwardedAndSwitched(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		alice := w.join(1, speaker1, light.Section{Sends: true, RIDs: []string{"q", "h"}})
		bob := w.join(2, Grant{}, light.Section{})
		must(t, bob.seat.Want(Wants{Subscriptions: []Subscription{{Mid: "0", Publisher: 1, Slot: Camera}}}))
		shared := new(uint16)
		var senders []*sender
		for i, rid := range []string{"q", "h"} {
			x := alice.camera("0", uint32(100+i))
			x.rid, x.packets, x.tseq, x.plain, x.ts = rid, 1+i, shared, true, uint32(i)*1e9
			senders = append(senders, x)
		}
		w.run(5*time.Second, []*member{alice, bob}, senders...)
		if a := bob.allocated("0"); a.Layer != 1 || a.Reason != "" {
			t.Errorf("%+v", a)
		}
		broken(t, bob.got("0"), 1) // before the larger stream: it must not seem to go on from the smaller one
		bob.forget()
		w.run(time.Second, []*member{alice, bob}, senders...)
		if n := len(bob.got("0")); n != 50 {
			t.Errorf("%d packets of the larger stream, want 50", n)
		}
	})
}

// A path whose estimate has fallen below the only quality that there is must be found again when it is back.
func TestAPausedPictureComesBackWhenThePathDoes(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		alice := w.join(1, speaker1, publishes...)
		bob := w.join(2, Grant{}, subscribes...)
		must(t, bob.seat.Want(Wants{Subscriptions: []Subscription{{Mid: "1", Publisher: 1, Slot: Camera}}}))
		cam := alice.camera("1", 12)
		cam.packets = 6 // 1.2 Mbit/s
		members := []*member{alice, bob}
		w.run(2*time.Second, members, cam)
		if a := bob.allocated("1"); a.Layer != 0 {
			t.Fatalf("at first: %+v", a)
		}
		n := 0
		bob.mu.Lock()
		bob.lose = func(uint32, uint16) bool { n++; return n%2 == 0 }
		bob.mu.Unlock()
		w.run(8*time.Second, members, cam)
		if a := bob.allocated("1"); a.Layer != -1 || a.Reason != ReasonBandwidth {
			t.Fatalf("at half of everything lost: %+v", a)
		}
		bob.mu.Lock()
		bob.lose = nil
		bob.mu.Unlock()
		w.run(5*time.Second, members, cam)
		if a := bob.allocated("1"); a.Layer != 0 {
			t.Errorf("when the path is back: %+v", a)
		}
	})
}

// A picture whose larger stream fits now and then is not switched now and then: each time would be a key frame for all.
func TestAPictureThatDoesNotFitStaysSmallForAWhile(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		alice := w.join(1, speaker1, light.Section{Sends: true, RIDs: []string{"q", "h"}})
		bob := w.join(2, Grant{Receive: 1_000_000}, light.Section{})
		must(t, bob.seat.Want(Wants{Subscriptions: []Subscription{{Mid: "0", Publisher: 1, Slot: Camera}}}))
		shared := new(uint16)
		var senders []*sender
		for i, rid := range []string{"q", "h"} {
			x := alice.camera("0", uint32(100+i))
			x.rid, x.tseq, x.ts, x.packets = rid, shared, uint32(i)*1e9, 1
			senders = append(senders, x)
		}
		members := []*member{alice, bob}
		layer, changes, larger := -1, 0, false
		for i := range 30 {
			senders[1].packets = 3 + 4*(i%2) // 0.6 or 1.4 Mbit/s
			w.run(1500*time.Millisecond, members, senders...)
			if a := bob.allocated("0"); a.Layer != layer {
				layer, changes = a.Layer, changes+1
			}
			larger = larger || layer == 1
		}
		if changes > 12 || !larger {
			t.Errorf("it changed %d times in 45 s, and the larger one was sent: %v", changes, larger)
		}
		senders[1].packets = 3
		w.run(raiseMost+2*time.Second, members, senders...)
		if a := bob.allocated("0"); a.Layer != 1 || a.Reason != "" {
			t.Errorf("when it fits for good: %+v", a)
		}
	})
}

func TestSimulcastIsChosenBySizeAndByWhatThePathTakes(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		alice := w.join(1, speaker1, light.Section{Sends: true, RIDs: []string{"q", "h", "f"}})
		bob := w.join(2, Grant{}, light.Section{}, light.Section{})
		var senders []*sender
		shared := new(uint16)
		for i, rid := range []string{"q", "h", "f"} {
			x := alice.camera("0", uint32(100+i))
			x.rid, x.packets, x.tseq, x.ts = rid, 1+2*i, shared, uint32(i)*1e9
			senders = append(senders, x)
		}
		members := []*member{alice, bob}
		want := func(height uint16) {
			must(t, bob.seat.Want(Wants{Subscriptions: []Subscription{{Mid: "0", Publisher: 1, Slot: Camera, Height: height}}}))
		}
		want(0)
		w.run(8*time.Second, members, senders...)
		if a := bob.allocated("0"); a.Layer != 2 || a.Reason != "" {
			t.Errorf("on a path that takes everything: %+v", a)
		}
		e, _ := last[LayersChanged](bob)
		if len(e.Layers) != 3 || e.Layers[0].RID != "q" || e.Layers[2].RID != "f" || e.Layers[2].BitsPerSecond < 800_000 {
			t.Errorf("%+v", e)
		}
		bob.forget()
		w.run(time.Second, members, senders...)
		if n := len(bob.got("0")); n != 125 {
			t.Errorf("%d packets of the largest stream, want 125", n)
		}
		// The descriptors say that all have 720 lines, so the smallest is tall enough.
		want(360)
		w.run(2*time.Second, members, senders...)
		if a := bob.allocated("0"); a.Layer != 0 {
			t.Errorf("for a small tile: %+v", a)
		}
		whole(t, bob.got("0"))
	})
}

func TestOfManyCamerasTheLastWhoSpokeAreSent(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		var members []*member
		var senders []*sender
		for i := range uint16(4) {
			m := w.join(1+i, speaker1, publishes...)
			members = append(members, m)
			senders = append(senders, m.camera("1", 12))
		}
		bob := w.join(9, Grant{}, light.Section{}, light.Section{}, light.Section{}, light.Section{})
		var wants Wants
		for i := range uint16(4) {
			wants.Subscriptions = append(wants.Subscriptions, Subscription{Mid: string(rune('0' + i)), Publisher: 1 + i, Slot: Camera})
		}
		wants.LastN = 2
		must(t, bob.seat.Want(wants))
		members = append(members, bob)
		w.run(2*time.Second, members, senders...)
		members[3].seat.Speaking(true)
		w.run(2*time.Second, members, senders...)
		sent := func() (out []uint16) {
			for i := range uint16(4) {
				switch a := bob.allocated(string(rune('0' + i))); {
				case a.Layer >= 0:
					out = append(out, 1+i)
				case a.Reason != ReasonLastN:
					t.Errorf("%+v", a)
				}
			}
			return out
		}
		if got := sent(); !slices.Equal(got, []uint16{1, 4}) {
			t.Errorf("cameras of %v are sent", got)
		}
		if e, _ := last[SpeakerChanged](bob); len(e.Order) == 0 || e.Order[0] != 4 {
			t.Errorf("%+v", e)
		}
		members[3].seat.Speaking(false)
		members[1].seat.Speaking(true)
		w.run(3*time.Second, members, senders...)
		if got := sent(); !slices.Equal(got, []uint16{2, 4}) {
			t.Errorf("then cameras of %v are sent", got)
		}
	})
}

func TestAudioLevelsTellWhoSpeaksWhereTheyAreAllowed(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		inWorld(t, Config{}, func(w *world) {
			alice := w.join(1, speaker1, publishes...)
			bob := w.join(2, Grant{Publish: true, AudioLevels: allowed}, publishes...)
			loud := bob.microphone("0", 11)
			loud.level = 20
			w.run(2*time.Second, []*member{alice, bob}, alice.microphone("0", 11), loud)
			e, ok := last[SpeakerChanged](alice)
			if got := ok && e.Order[0] == 2; got != allowed {
				t.Errorf("allowed %v: %+v, %v", allowed, e, ok)
			}
		})
	}
}

func TestABrokenPathIsWaitedForAndResumed(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		alice := w.join(1, speaker1, publishes...)
		bob := w.join(2, Grant{}, subscribes...)
		must(t, bob.seat.Want(Wants{Subscriptions: []Subscription{{Mid: "1", Publisher: 1, Slot: Camera}}}))
		cam := alice.camera("1", 12)
		w.run(time.Second, []*member{alice, bob}, cam)
		bob.c.Break()
		w.run(10*time.Second, []*member{alice, bob}, cam)
		bob.forget()
		before, _ := alice.requests()
		// The client restarts ICE; its subscription is still there.
		bob.c.Restart()
		answer, err := bob.seat.Renegotiate(w.t.Context(), Description{SDP: bob.c.Offer()})
		must(t, err, bob.c.Move(w.t.Context(), answer.SDP))
		bob.c.Mend()
		w.run(time.Second, []*member{alice, bob}, cam)
		if len(bob.got("1")) == 0 {
			t.Error("nothing comes after the restart")
		}
		if after, _ := alice.requests(); after == before {
			t.Error("no key frame was asked for after the restart")
		}
		bob.c.Break()
		w.run(35*time.Second, []*member{alice}, cam)
		if e, ok := last[Closed](bob); !ok || e.Reason != ReasonGone {
			t.Errorf("%+v", e)
		}
		if st := w.s.Stats(); st.Seats != 1 {
			t.Errorf("%d seats", st.Seats)
		}
	})
}

func TestASecondSeatOfOneParticipantTakesThePlaceOfTheFirst(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		first := w.join(1, speaker1, publishes...)
		w.join(1, speaker1, publishes...)
		if e, ok := last[Closed](first); !ok || e.Reason != ReasonReplaced {
			t.Errorf("%+v", e)
		}
		if st := w.s.Stats(); st.Seats != 1 || st.Rooms != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestSectionsComeAndGoByRenegotiation(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		alice := w.join(1, speaker1, publishes...)
		bob := w.join(2, Grant{}, light.Section{})
		cam := alice.camera("1", 12)
		w.run(200*time.Millisecond, []*member{alice, bob}, cam)
		bob.c.SetSections([]light.Section{{}, {}})
		answer, err := bob.seat.Renegotiate(w.t.Context(), Description{SDP: bob.c.Offer()})
		must(t, err, bob.c.Update(answer.SDP), bob.seat.Want(Wants{Subscriptions: []Subscription{{Mid: "1", Publisher: 1, Slot: Camera}}}))
		w.run(time.Second, []*member{alice, bob}, cam)
		if len(bob.got("1")) == 0 {
			t.Error("nothing comes on the section that was added")
		}
		off := slices.Clone(publishes)
		off[1].Off = true
		alice.c.SetSections(off)
		if _, err := alice.seat.Renegotiate(w.t.Context(), Description{SDP: alice.c.Offer()}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if e, ok := last[Unpublished](bob); !ok || e.Slot != Camera {
			t.Errorf("%+v", e)
		}
	})
}

func TestWhoIsRefusedHearsWhy(t *testing.T) {
	limits := Limits{Rooms: 2, Seats: 6, SeatsPerRoom: 3, RoomBitrate: 9_000_000}
	inWorld(t, Config{Limits: limits}, func(w *world) {
		try := func(what string, want Reason, room byte, index uint16, g Grant, sections ...light.Section) {
			t.Helper()
			if err := w.client(sections).tryJoin(RoomKey{room}, index, g); ReasonOf(err) != want {
				t.Errorf("%s: %v, want %q", what, err, want)
			}
		}
		try("sending without a grant", ReasonGrant, 1, 1, Grant{}, publishes...)
		try("more tracks than granted", ReasonGrant, 1, 1, Grant{Publish: true, MaxTracks: 1}, publishes...)
		try("three cameras", ReasonDescription, 1, 1, Grant{Publish: true}, light.Section{Sends: true}, light.Section{Sends: true}, light.Section{Sends: true})
		try("no sections", ReasonDescription, 1, 1, Grant{})
		if st := w.s.Stats(); st.Rooms != 0 || st.Seats != 0 {
			t.Errorf("refusals left %+v", st)
		}
		try("the first", "", 1, 1, Grant{Publish: true}, publishes...)
		try("more than the room's publishers may send", ReasonCeiling, 1, 2, Grant{Publish: true}, publishes...)
		try("a listener", "", 1, 2, Grant{}, subscribes...)
		try("another", "", 1, 3, Grant{}, subscribes...)
		try("beyond the room's ceiling", ReasonCeiling, 1, 4, Grant{}, subscribes...)
		try("a second room", "", 2, 1, Grant{}, subscribes...)
		try("a third room", ReasonFull, 3, 1, Grant{}, subscribes...)
		bob := w.join(3, Grant{}, subscribes...)
		for what, c := range map[string]struct {
			sub  []Subscription
			want Reason
		}{
			"an unknown section":          {[]Subscription{{Mid: "9", Publisher: 1, Slot: Camera}}, ReasonSection},
			"a picture on a sound":        {[]Subscription{{Mid: "0", Publisher: 1, Slot: Camera}}, ReasonSection},
			"an unknown slot":             {[]Subscription{{Mid: "1", Publisher: 1, Slot: 77}}, ReasonSection},
			"one section for two":         {[]Subscription{{Mid: "1", Publisher: 1, Slot: Camera}, {Mid: "1", Publisher: 2, Slot: Camera}}, ReasonDuplicate},
			"more than anybody needs":     {make([]Subscription, 300), ReasonGrant},
			"nobody's slot is no mistake": {[]Subscription{{Mid: "1", Publisher: 99, Slot: Camera}}, ""},
		} {
			if err := bob.seat.Want(Wants{Subscriptions: c.sub}); ReasonOf(err) != c.want || (c.want == "") != (err == nil) {
				t.Errorf("%s: %v", what, err)
			}
		}
		w.s.CloseRoom(theRoom, ReasonRoomClosed)
		synctest.Wait()
		if e, ok := last[Closed](bob); !ok || e.Reason != ReasonRoomClosed {
			t.Errorf("%+v", e)
		}
		if err := bob.seat.Want(Wants{}); ReasonOf(err) != ReasonRoomClosed {
			t.Error(err)
		}
	})
}

func TestWhoDoesNotTakeEventsLosesTheSeat(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		alice := w.join(1, speaker1, publishes...)
		bob := w.client(subscribes)
		seat, answer, err := w.s.Join(w.t.Context(), theRoom, Grant{Index: 2}, Description{SDP: bob.c.Offer()})
		must(t, err, bob.c.Connect(w.t.Context(), answer.SDP))
		for i := range 300 { // each change is told
			if err := seat.Want(Wants{Subscriptions: []Subscription{{Mid: "1", Publisher: 1, Slot: Camera, Paused: i%2 == 0}}}); err != nil {
				break
			}
		}
		synctest.Wait()
		var end Event
		for e := range seat.Events() {
			end = e
		}
		if c, ok := end.(Closed); !ok || c.Reason != ReasonSlow {
			t.Errorf("%+v", end)
		}
		if _, ok := last[Closed](alice); ok {
			t.Error("somebody else lost a seat")
		}
	})
}
