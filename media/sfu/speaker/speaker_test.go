package speaker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/speaker"
)

type room struct {
	t   *testing.T
	o   *speaker.Order
	now time.Time
}

func newRoom(t *testing.T) *room {
	r := &room{t: t, o: speaker.New(), now: time.Unix(1_800_000_000, 0)}
	for who := range uint16(3) {
		r.o.Join(who)
	}
	return r
}

// talk gives levels for d, in packets of 20 ms, and counts how often the order changed.
func (r *room) talk(d time.Duration, levels map[uint16]uint8) (changes int) {
	for end := r.now.Add(d); r.now.Before(end); r.now = r.now.Add(20 * time.Millisecond) {
		for who, l := range levels {
			r.o.Level(who, l, r.now)
		}
		if r.o.Tick(r.now) {
			changes++
		}
	}
	return changes
}

func (r *room) order(want ...uint16) {
	r.t.Helper()
	if got := r.o.Last(); !slices.Equal(got, want) {
		r.t.Errorf("the order is %v, want %v", got, want)
	}
}

func TestWhoSpeaksComesFirst(t *testing.T) {
	r := newRoom(t)
	r.talk(time.Second, map[uint16]uint8{0: 90, 1: 90, 2: 90})
	r.order(0, 1, 2)
	r.talk(time.Second, map[uint16]uint8{2: 30, 1: 90})
	r.order(2, 0, 1)
	r.talk(2*time.Second, map[uint16]uint8{2: 90, 1: 25})
	r.order(1, 2, 0)
}

func TestACoughChangesNothing(t *testing.T) {
	r := newRoom(t)
	r.talk(time.Second, map[uint16]uint8{0: 30})
	if n := r.talk(200*time.Millisecond, map[uint16]uint8{0: 30, 1: 5}); n != 0 {
		t.Error("200 ms made another speaker")
	}
	if n := r.talk(2*time.Second, map[uint16]uint8{0: 30, 1: 30}); n != 0 {
		t.Errorf("two who speak alike took turns %d times", n)
	}
	r.order(0, 1, 2)
}

func TestWhoIsGoneIsNotDominant(t *testing.T) {
	r := newRoom(t)
	r.talk(time.Second, map[uint16]uint8{1: 30})
	r.order(1, 0, 2)
	r.o.Leave(1)
	r.talk(time.Second, map[uint16]uint8{2: 40})
	r.order(2, 0)
}

func TestClientsMaySayItThemselves(t *testing.T) {
	r := newRoom(t)
	r.o.Report(2, true, r.now)
	r.talk(time.Second, nil)
	r.order(2, 0, 1)
	r.o.Report(2, false, r.now)
	r.o.Report(1, true, r.now)
	r.talk(2*time.Second, nil)
	r.order(1, 2, 0)
}
