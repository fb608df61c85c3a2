package sframe

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

func open(r *GroupReceiver, s Sealed) ([]byte, error) {
	frame, _, err := r.Open(nil, s.Slot, s.Codec, s.Bytes())
	return frame, err
}

func mustSeal(t testing.TB, s *GroupSender, slot Slot, c Codec, text string) Sealed {
	t.Helper()
	sealed, err := s.Seal(slot, c, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func opens(t testing.TB, r *GroupReceiver, s Sealed, want string) {
	t.Helper()
	if got, err := open(r, s); err != nil || string(got) != want {
		t.Fatalf("%q, %v; want %q", got, err, want)
	}
}

func stays(t testing.TB, r *GroupReceiver, s Sealed) {
	t.Helper()
	if got, err := open(r, s); err == nil {
		t.Fatalf("%q opened", got)
	}
}

func TestEverySlotOfASenderHasItsOwnCountersAndKeys(t *testing.T) {
	key := NewGroupKey()
	s, r := NewGroupSender(300, key), NewGroupReceiver(300)
	if err := r.Give(key); err != nil {
		t.Fatal(err)
	}
	for slot := Microphone; slot <= ScreenAudio; slot++ {
		codec := Opus
		if slot == Camera || slot == Screen {
			codec = VP9
		}
		for i := range 3 {
			text := fmt.Sprintf("slot %d frame %d", slot, i)
			sealed := mustSeal(t, s, slot, codec, text)
			if bytes.Contains(sealed.Bytes(), []byte("frame")) {
				t.Fatal("it is not sealed")
			}
			// Under another slot's name nothing opens, whatever the SFU calls it.
			if _, _, err := r.Open(nil, (slot+1)%4, codec, sealed.Bytes()); !errors.Is(err, ErrKID) {
				t.Errorf("slot %d opens as another one: %v", slot, err)
			}
			opens(t, r, sealed, text)
			if _, err := open(r, sealed); !errors.Is(err, ErrReplay) {
				t.Errorf("twice: %v", err)
			}
		}
	}
	other := NewGroupReceiver(301)
	if err := other.Give(key); err != nil {
		t.Fatal(err)
	}
	stays(t, other, mustSeal(t, s, Microphone, Opus, "x"))
	if _, err := s.Seal(4, Opus, []byte("x")); err == nil {
		t.Error("there is a fifth slot")
	}
}

func TestTheOrderOfFramesIsThatOfTheirSealing(t *testing.T) {
	key := NewGroupKey()
	s, r := NewGroupSender(1, key), NewGroupReceiver(1)
	if err := r.Give(key); err != nil {
		t.Fatal(err)
	}
	var sealed []Sealed
	for i := range 6 {
		if i == 3 {
			if err := s.Use(key.Ratchet()); err != nil {
				t.Fatal(err)
			}
		}
		sealed = append(sealed, mustSeal(t, s, Camera, VP9, fmt.Sprint(i)))
	}
	last := uint64(0)
	for i, f := range sealed {
		_, order, err := r.Open(nil, Camera, VP9, f.Bytes())
		if err != nil || i > 0 && order <= last {
			t.Fatalf("frame %d has place %d after %d, %v", i, order, last, err)
		}
		last = order
	}
}

func TestWhoComesReadsNothingOfBefore(t *testing.T) {
	first := NewGroupKey()
	s, old := NewGroupSender(1, first), NewGroupReceiver(1)
	if err := old.Give(first); err != nil {
		t.Fatal(err)
	}
	before := mustSeal(t, s, Microphone, Opus, "before")
	step := first.Ratchet()
	if err := s.Use(step); err != nil {
		t.Fatal(err)
	}
	after := mustSeal(t, s, Microphone, Opus, "after")
	comes := NewGroupReceiver(1)
	if err := comes.Give(step); err != nil {
		t.Fatal(err)
	}
	stays(t, comes, before)
	opens(t, comes, after, "after")
	// Who was there follows without a word, and still takes what was on its way.
	opens(t, old, after, "after")
	opens(t, old, before, "before")
	if g, _ := old.Generation(); g != 1 {
		t.Errorf("generation %d", g)
	}
	if err := old.Step(1); err != nil {
		t.Errorf("the word that comes later: %v", err)
	}
	if err := old.Step(3); err == nil {
		t.Error("a step over one is taken")
	}
}

// Test 67: frames under keys that somebody who was sent away knows.
func Test14_67_AFrameOfARemovedMemberAfterTheSwitchIsDropped(t *testing.T) {
	key := NewGroupKey()
	s, stay, gone := NewGroupSender(1, key), NewGroupReceiver(1), NewGroupReceiver(1)
	for _, r := range []*GroupReceiver{stay, gone} {
		if err := r.Give(key); err != nil {
			t.Fatal(err)
		}
	}
	// Whoever goes knows the key and every step of it.
	forger := NewGroupSender(1, key)
	forged := mustSeal(t, forger, Microphone, Opus, "forged")
	if err := forger.Use(key.Ratchet()); err != nil {
		t.Fatal(err)
	}
	stepped := mustSeal(t, forger, Microphone, Opus, "forged a step on")

	fresh := key.Fresh()
	stay.Expect() // the roster says that somebody has gone
	stays(t, stay, stepped)
	if err := stay.Give(fresh); err != nil {
		t.Fatal(err)
	}
	inFlight := mustSeal(t, s, Microphone, Opus, "in flight")
	opens(t, stay, inFlight, "in flight")
	if err := s.Use(fresh); err != nil {
		t.Fatal(err)
	}
	opens(t, stay, mustSeal(t, s, Microphone, Opus, "among us"), "among us")
	stays(t, gone, mustSeal(t, s, Microphone, Opus, "still"))
	stays(t, stay, stepped)
	stay.Forget() // the switch is over
	stays(t, stay, forged)
}

func TestAKeyThatWasGivenCountsMoreThanOneThatWasGuessed(t *testing.T) {
	key := NewGroupKey()
	r := NewGroupReceiver(1)
	if err := r.Give(key); err != nil {
		t.Fatal(err)
	}
	forger := NewGroupSender(1, key)
	if err := forger.Use(key.Ratchet()); err != nil {
		t.Fatal(err)
	}
	// Somebody who left has made the receiver believe in a step before the sender's word came.
	opens(t, r, mustSeal(t, forger, Microphone, Opus, "forged"), "forged")
	fresh := key.Fresh()
	if err := r.Give(fresh); err != nil {
		t.Fatal(err)
	}
	stays(t, r, mustSeal(t, forger, Microphone, Opus, "again"))
	s := NewGroupSender(1, key)
	if err := s.Use(fresh); err != nil {
		t.Fatal(err)
	}
	opens(t, r, mustSeal(t, s, Microphone, Opus, "real"), "real")
	if err := r.Give(key); !errors.Is(err, errBackwards) {
		t.Errorf("an older key: %v", err)
	}
}

func TestNoGenerationOfAKeyIsUsedTwice(t *testing.T) {
	key := NewGroupKey()
	s := NewGroupSender(1, key)
	for _, again := range []GroupKey{key, {Generation: 0, Base: [32]byte{1}}} {
		if err := s.Use(again); !errors.Is(err, errBackwards) {
			t.Errorf("generation %d again: %v", again.Generation, err)
		}
	}
	// Over the sixteen values that a key id has for it, in both ways of going on.
	r := NewGroupReceiver(1)
	if err := r.Give(key); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if i%3 == 0 {
			key = key.Fresh()
			if err := r.Give(key); err != nil {
				t.Fatal(err)
			}
		} else {
			key = key.Ratchet()
		}
		if err := s.Use(key); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(i)
		opens(t, r, mustSeal(t, s, Camera, VP9, text), text)
	}
}

func TestADroppedSenderIsNotHeard(t *testing.T) {
	key := NewGroupKey()
	s, r := NewGroupSender(1, key), NewGroupReceiver(1)
	if err := r.Give(key); err != nil {
		t.Fatal(err)
	}
	r.Drop()
	stays(t, r, mustSeal(t, s, Microphone, Opus, "x"))
	if _, have := r.Generation(); have {
		t.Error("it still has a key")
	}
	if err := r.Step(1); err == nil {
		t.Error("a step from nothing is taken")
	}
}

func TestKeysOfGroupsArePrintedNowhere(t *testing.T) {
	key := NewGroupKey()
	s, r := NewGroupSender(1, key), NewGroupReceiver(1)
	if err := r.Give(key); err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{key, s, r} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
			if got := fmt.Sprintf(format, v); got != "[redacted]" {
				t.Errorf("%s prints %s", format, got)
			}
		}
	}
}

// FuzzGroupOpen: what nobody sealed never opens, and never moves the receiver.
func FuzzGroupOpen(f *testing.F) {
	key := GroupKey{Generation: 7, Base: [32]byte{1}}
	s := NewGroupSender(3, key)
	var good []Sealed
	for _, c := range []Codec{Opus, VP8, VP9} {
		sealed, err := s.Seal(Camera, c, bytes.Repeat([]byte{1}, 40))
		if err != nil {
			f.Fatal(err)
		}
		good = append(good, sealed)
		f.Add(byte(c), sealed.Bytes())
	}
	f.Fuzz(func(t *testing.T, codec byte, b []byte) {
		r := NewGroupReceiver(3)
		if err := r.Give(key); err != nil {
			t.Fatal(err)
		}
		c := Codec(codec % 3)
		if _, _, err := r.Open(nil, Camera, c, b); err != nil {
			if g, _ := r.Generation(); g != 7 {
				t.Fatal("a frame that did not open moved the key")
			}
			return
		}
		for _, g := range good {
			if bytes.Equal(g.Bytes(), b) {
				return
			}
		}
		t.Fatal("a frame that nobody sealed opened")
	})
}
