package envelope

import (
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/identity"
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

// unlistedRate is how many messages of devices that our list of a known root does not name
// have room outside the strangers' pool: 64 at once and one in ten minutes, about a thousand
// in the week for which the replay store keeps them.
var unlistedRate = Rate{PerSecond: 1.0 / 600, Burst: 64}

// rootBuckets is one bucket for each root key. It is asked only for roots that the client
// knows, which bounds it.
type rootBuckets struct {
	mu sync.Mutex // guards m
	m  map[identity.PublicKey]*bucket
}

func (r *rootBuckets) take(root identity.PublicKey, now time.Time) bool {
	r.mu.Lock()
	b := r.m[root]
	if b == nil {
		if r.m == nil {
			r.m = make(map[identity.PublicKey]*bucket)
		}
		b = newBucket(unlistedRate)
		r.m[root] = b
	}
	r.mu.Unlock()
	return b.take(now)
}
