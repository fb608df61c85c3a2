package envelope

import (
	"sync"
	"time"
)

// Rate is a token bucket: so many a second, and so many at once.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Rates of opening when none are given. A person's contacts send a few messages a second
// at most; a mailbox that is drained holds 128. Strangers knock.
var (
	defaultContactRate  = Rate{PerSecond: 50, Burst: 256}
	defaultStrangerRate = Rate{PerSecond: 4, Burst: 16}
)

type bucket struct {
	mu   sync.Mutex // guards the rest
	rate Rate
	left float64
	last time.Time
}

func newBucket(r Rate) *bucket { return &bucket{rate: r, left: float64(r.Burst)} }

func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d := now.Sub(b.last); d > 0 {
		if !b.last.IsZero() {
			b.left = min(b.left+d.Seconds()*b.rate.PerSecond, float64(b.rate.Burst))
		}
		b.last = now
	}
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
