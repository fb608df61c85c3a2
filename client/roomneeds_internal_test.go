package client

import (
	"testing"

	"github.com/trunkline-net/trunkline/envelope/room"
)

func TestWhatTheMeshDoesNotCarryIsNeededUntilThereAreFewerCopies(t *testing.T) {
	here := map[room.Index]bool{2: true, 3: true, 4: true}
	in := func(i room.Index) bool { return here[i] }
	good := meshSecond{others: 3, slots: 2, paths: 3, takes: 900, sent: 900, frames: 80, late: 40, in: in}
	change := func(f func(*meshSecond)) meshSecond {
		s := good
		f(&s)
		return s
	}
	tight := change(func(s *meshSecond) { s.takes = 899 })
	late := change(func(s *meshSecond) { s.late = 41 })
	uplink, processor := RoomNeed{Cause: CauseUplink}, RoomNeed{Cause: CauseProcessor}
	for name, seconds := range map[string][]struct {
		s    meshSecond
		want RoomNeed
	}{
		"an uplink, three seconds in a row": {
			{tight, RoomNeed{}}, {tight, RoomNeed{}}, {good, RoomNeed{}}, {tight, RoomNeed{}}, {tight, RoomNeed{}}, {tight, uplink}, {good, uplink},
			// On the SFU nothing is measured, and it ends with the copies alone.
			{change(func(s *meshSecond) { s.up, s.paths = true, 0 }), uplink},
			{change(func(s *meshSecond) { s.up, s.others = true, 4 }), uplink},
			{change(func(s *meshSecond) { s.up, s.others = true, 2 }), RoomNeed{}},
			{tight, RoomNeed{}}, {tight, RoomNeed{}}, {tight, uplink},
			{change(func(s *meshSecond) { s.up, s.slots = true, 1 }), RoomNeed{}},
		},
		"a processor, and then an uplink, which is told": {
			{late, RoomNeed{}}, {late, RoomNeed{}}, {late, processor}, {tight, processor}, {tight, processor}, {tight, uplink},
		},
		"not with one copy, in the beginning, or without a measure": {
			{change(func(s *meshSecond) { s.takes, s.paths = 1, 1 }), RoomNeed{}}, {change(func(s *meshSecond) { s.takes, s.paths = 1, 1 }), RoomNeed{}},
			{change(func(s *meshSecond) { s.takes, s.paths = 1, 1 }), RoomNeed{}}, {tight, RoomNeed{}}, {tight, RoomNeed{}},
			{change(func(s *meshSecond) { s.takes, s.settling = 1, true }), RoomNeed{}}, {tight, RoomNeed{}}, {tight, RoomNeed{}},
			{change(func(s *meshSecond) { s.takes = 0 }), RoomNeed{}}, {tight, RoomNeed{}},
			{change(func(s *meshSecond) { s.frames, s.late = 0, 0 }), RoomNeed{}},
		},
		"a pair, as long as the other one is in": {
			{good, RoomNeed{}}, {change(func(s *meshSecond) { s.broken = []room.Index{4, 3} }), RoomNeed{Cause: CausePair, With: 3}},
			{good, RoomNeed{Cause: CausePair, With: 3}},
			{change(func(s *meshSecond) { s.in = func(i room.Index) bool { return i == 4 } }), RoomNeed{Cause: CausePair, With: 4}},
			{change(func(s *meshSecond) { s.in = func(room.Index) bool { return false } }), RoomNeed{}}, {good, RoomNeed{}},
		},
	} {
		var n ownNeed
		for i, c := range seconds {
			if got := n.second(c.s); got != c.want {
				t.Fatalf("%s, second %d: %+v, not %+v", name, i, got, c.want)
			}
		}
	}
}
