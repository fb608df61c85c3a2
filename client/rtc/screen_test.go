package rtc

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client/rtc/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// TestEachSlotHasItsSection: a screen is not taken for a camera, whichever side shares which.
func TestEachSlotHasItsSection(t *testing.T) {
	for name, c := range map[string]struct{ alice, bob Direction }{
		"both share":               {SendReceive, SendReceive},
		"the offerer shares":       {SendOnly, ReceiveOnly},
		"the answerer shares":      {ReceiveOnly, SendOnly},
		"nobody asked for screens": {SendReceive, Inactive},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := testConfig(Initiator), testConfig(Responder)
			a.Screen, b.Screen = c.alice, c.bob
			toAlice, toBob := make(chan Frame, 8), make(chan Frame, 8)
			a.OnScreen = func(f Frame) { toAlice <- f }
			b.OnScreen = func(f Frame) { toBob <- f }
			alice, bob := connect(t, a, b)
			camera, screen := []byte{0x10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, []byte{0x10, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9}
			send := func(from, to *side, screens chan Frame, sends, receives bool) {
				t.Helper()
				if err := from.SendVideo(camera, 33*time.Millisecond); err != nil {
					t.Fatal(err)
				}
				err := from.SendScreen(screen, 33*time.Millisecond)
				switch {
				case !sends || !receives:
					if sends == (err == nil) {
						return // not negotiated, or negotiated with nobody who looks
					}
					if !errors.Is(err, ErrNotSending) {
						t.Fatal(err)
					}
					return
				case err != nil:
					t.Fatal(err)
				}
				if _, v := to.frames(0, 1); !bytes.Equal(v[0].Data, camera) || v[0].Slot != sframe.Camera {
					t.Errorf("the camera's frame is another one: %v", v[0].Slot)
				}
				if f := wait(t, screens, "screen"); !bytes.Equal(f.Data, screen) || f.Slot != sframe.Screen {
					t.Errorf("the screen's frame is another one: %v", f.Slot)
				}
			}
			may := func(d Direction, want Direction) bool { return d == SendReceive || d == want }
			send(alice, bob, toBob, may(c.alice, SendOnly), may(c.bob, ReceiveOnly))
			send(bob, alice, toAlice, may(c.bob, SendOnly), may(c.alice, ReceiveOnly))
			for _, s := range []*side{alice, bob} {
				if st := s.Stats(); st.SFrameFailed != 0 {
					t.Errorf("%d frames did not open", st.SFrameFailed)
				}
			}
			hangUp(t, alice, bob)
		})
	}
}

func TestWhatIsShownBesideTheMedia(t *testing.T) {
	a, b := testConfig(Initiator), testConfig(Responder)
	sending, reactions, pointers := make(chan Sending, 1), make(chan Reaction, 1), make(chan Pointer, 1)
	b.OnSending = func(s Sending) { sending <- s }
	b.OnReaction = func(r Reaction) { reactions <- r }
	b.OnPointer = func(p Pointer) { pointers <- p }
	alice, bob := connect(t, a, b)
	ctx := context.Background()
	for _, want := range []Sending{{Microphone: true, Camera: true}, {Screen: true, ScreenAudio: true, Hand: true}, {}} {
		if err := alice.SendSending(ctx, want); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, sending, "flags"); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	for r := ReactionYes; r <= ReactionSurprise; r++ {
		if err := alice.SendReaction(ctx, r); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, reactions, "reaction"); got != r {
			t.Errorf("got %v, want %v", got, r)
		}
	}
	if err := alice.SendReaction(ctx, ReactionSurprise+1); err == nil {
		t.Error("a reaction that there is not was sent")
	}
	for _, want := range []Pointer{{Here: true}, {Own: true, Here: true, X: 65535, Y: 1}, {Own: true}} {
		if err := alice.SendPointer(ctx, want); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, pointers, "pointer"); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	hangUp(t, alice, bob)
}

func TestWhatMakesNoSenseBesideTheMediaEndsTheCall(t *testing.T) {
	for name, m := range map[string]*pb.Control{
		"no reaction":            {Kind: &pb.Control_Reaction{Reaction: &pb.Reaction{}}},
		"an unknown reaction":    {Kind: &pb.Control_Reaction{Reaction: &pb.Reaction{Kind: 7}}},
		"beside the screen":      {Kind: &pb.Control_Pointer{Pointer: &pb.Pointer{Here: true, X: 65536}}},
		"nowhere and at a place": {Kind: &pb.Control_Pointer{Pointer: &pb.Pointer{Y: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			alice, bob := connect(t, testConfig(Initiator), testConfig(Responder))
			b, err := canon.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if err := alice.send(context.Background(), alice.control, b); err != nil {
				t.Fatal(err)
			}
			if err := bob.result(); !errors.Is(err, ErrControl) {
				t.Errorf("Bob's end: %v", err)
			}
			alice.Close()
			_ = alice.result()
		})
	}
}
