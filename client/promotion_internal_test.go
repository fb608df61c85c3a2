package client

import (
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope/room"
)

func TestARoomGoesToTheSFUAtOnceAndComesBackAfterAWhile(t *testing.T) {
	start := time.Date(2026, 11, 3, 10, 0, 0, 0, time.UTC)
	type ask struct {
		after time.Duration // since the one before
		count int
		up    bool
	}
	for name, c := range map[string]struct {
		p    promotion
		asks []ask
	}{
		"by count": {promotion{limit: 4, sfu: true}, []ask{
			{0, 4, false}, {0, 5, true}, {time.Hour, 5, true}, // over the limit
			{0, 4, true}, {promotionBack - 1, 4, true}, {1, 4, false}, // back after the whole time
			{0, 5, true}, {0, 4, true}, {promotionBack - 1, 4, true}, {0, 5, true}, // somebody came in between
			{0, 4, true}, {promotionBack - 1, 4, true}, {1, 3, false},
		}},
		"pinned to a mesh":  {promotion{limit: 2, sfu: true, topology: room.Mesh}, []ask{{0, 2, false}, {0, 9, false}}},
		"pinned to the SFU": {promotion{limit: 4, sfu: true, topology: room.SFU}, []ask{{0, 1, true}, {time.Hour, 2, true}}},
		"without an SFU":    {promotion{limit: 2}, []ask{{0, 9, false}}},
	} {
		now := start
		for i, a := range c.asks {
			now = now.Add(a.after)
			if got := c.p.decide(now, a.count); got != a.up {
				t.Errorf("%s, %d: up is %v with %d", name, i, got, a.count)
			}
		}
	}
}
