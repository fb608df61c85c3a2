package client

import (
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope/room"
)

func TestARoomGoesToTheSFUAtOnceAndComesBackAfterAWhile(t *testing.T) {
	start := time.Date(2026, 11, 3, 10, 0, 0, 0, time.UTC)
	uplink, pair := RoomNeed{Cause: CauseUplink, Member: 3}, RoomNeed{Cause: CausePair, Member: 2, With: 1}
	type ask struct {
		after time.Duration // since the one before
		count int
		need  RoomNeed
		up    bool
		why   RoomCause
	}
	none := RoomNeed{}
	for name, c := range map[string]struct {
		p    promotion
		asks []ask
	}{
		"by count": {promotion{limit: 4, sfu: true}, []ask{
			{0, 4, none, false, ""}, {0, 5, none, true, CauseCount}, {time.Hour, 5, none, true, CauseCount}, // over the limit
			{0, 4, none, true, CauseCount}, {promotionBack - 1, 4, none, true, CauseCount}, {1, 4, none, false, ""}, // back after the whole time
			{0, 5, none, true, CauseCount}, {0, 4, none, true, CauseCount}, {promotionBack - 1, 4, none, true, CauseCount}, {0, 5, none, true, CauseCount}, // somebody came in between
			{0, 4, none, true, CauseCount}, {promotionBack - 1, 4, none, true, CauseCount}, {1, 3, none, false, ""},
		}},
		"by need": {promotion{limit: 4, sfu: true}, []ask{
			{0, 3, none, false, ""}, {0, 3, uplink, true, CauseUplink}, {time.Hour, 3, uplink, true, CauseUplink},
			{0, 5, uplink, true, CauseCount}, {0, 4, uplink, true, CauseUplink}, {0, 4, pair, true, CausePair}, // the first that holds is told
			{0, 3, none, true, CausePair}, {promotionBack - 1, 3, none, true, CausePair}, {0, 3, uplink, true, CauseUplink}, // again, in between
			{0, 2, none, true, CauseUplink}, {promotionBack, 2, none, false, ""},
		}},
		"pinned to a mesh": {promotion{limit: 2, sfu: true, topology: room.Mesh}, []ask{
			{0, 2, none, false, ""}, {0, 9, none, false, ""}, {0, 2, uplink, false, CausePinned}, {0, 2, none, false, ""},
		}},
		"pinned to the SFU": {promotion{limit: 4, sfu: true, topology: room.SFU}, []ask{
			{0, 1, none, true, CausePinned}, {time.Hour, 2, uplink, true, CausePinned},
		}},
		"without an SFU": {promotion{limit: 2}, []ask{{0, 2, none, false, ""}, {0, 9, none, false, CauseNoSFU}, {0, 2, pair, false, CauseNoSFU}}},
	} {
		now := start
		for i, a := range c.asks {
			now = now.Add(a.after)
			if got := c.p.decide(now, a.count, a.need); got != (RoomWay{a.up, a.why, a.need}) {
				t.Errorf("%s, %d: %+v with %d and %+v", name, i, got, a.count, a.need)
			}
		}
	}
}
