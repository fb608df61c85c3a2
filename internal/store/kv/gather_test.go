package kv

import (
	"testing"
	"time"
)

// TestThoseWhoWereAnsweredTogetherAreWaitedFor: but for no longer than is worth it, and nobody
// waits for company that there was not.
func TestThoseWhoWereAnsweredTogetherAreWaitedFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		expect   int
		patience time.Duration
		come     int // later, one after the other
		want     int
	}{
		"all come back":                  {3, time.Hour, 2, 3},
		"nobody comes back":              {3, leastPatience, 0, 1},
		"one was alone":                  {1, time.Hour, 0, 1},
		"the first commit":               {0, time.Hour, 0, 1},
		"a disk faster than the waiting": {3, leastPatience - 1, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ops := make(chan *op)
			g := gathering{timer: time.NewTimer(time.Hour), expect: c.expect, patience: c.patience}
			go func() {
				for range c.come {
					ops <- &op{}
				}
			}()
			g.gather(ops, &op{})
			if len(g.batch) != c.want || g.carry != nil {
				t.Errorf("%d are committed together, want %d", len(g.batch), c.want)
			}
		})
	}
}

func TestWhatDoesNotFitIsCarriedOver(t *testing.T) {
	t.Parallel()
	ops := make(chan *op, 2)
	ops <- &op{size: maxBatchBytes}
	ops <- &op{size: 1}
	g := gathering{timer: time.NewTimer(time.Hour)}
	g.gather(ops, &op{size: 1})
	if len(g.batch) != 1 || g.carry == nil || g.carry.size != maxBatchBytes {
		t.Fatalf("%d in the batch, carried %v", len(g.batch), g.carry)
	}
	close(ops)
	g.gather(ops, g.carry)
	if len(g.batch) != 1 {
		t.Errorf("%d in the next batch", len(g.batch))
	}
}
