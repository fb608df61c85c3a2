package policy

import (
	"context"
	"math"
	"sync"
	"time"
)

// Buckets are token buckets, one for each key (a domain, a link, an address block: the caller
// says). They enforce the rates of a decision: Limits.PerSecond, BytesPerSecond and Total.
// Concurrent is a count of what is held and belongs to [Slots].
//
// A bucket holds one second's worth of its rate, at least one request, and for Total one
// day's worth, and starts full. A request larger than the bucket passes when the bucket is
// full and leaves it in debt, so that one large envelope is slow under a small limit and not
// impossible.
//
// The number of buckets is bounded. A bucket that has filled up again is the same as no
// bucket, so such ones are dropped first, the longest unused before the others, and nothing
// is lost by it. When there is no such bucket, a new key is not given room: all new keys then
// share one bucket until room comes, so that making up keys neither costs memory nor wins
// anything, and keys that are known keep their own account.
//
// The caller passes the time; buckets read no clock. A time before the last one counts as the
// last one.
type Buckets struct {
	max int

	mu       sync.Mutex // guards everything below
	byKey    map[string]*bucket
	oldest   *bucket // doubly linked by last use
	newest   *bucket
	overflow bucket // shared by the keys that found no room
}

type bucket struct {
	key                    string
	last                   time.Time
	requests, bytes, total account
	older, newer           *bucket
}

// account is what is left of one kind: a size of zero means that it was never limited. An
// account stays when a limit goes away for a while, so that asking under two kinds of limits
// in turn does not fill it.
type account struct {
	left float64 // negative is debt
	rate float64 // a second
	size float64
}

// NewBuckets makes buckets for at most so many keys; below 1 counts as 1.
func NewBuckets(keys int) *Buckets {
	return &Buckets{max: max(keys, 1), byKey: make(map[string]*bucket)}
}

const day = 24 * 60 * 60 // seconds

// Take asks for n requests of together so many bytes under the limits. When they are not
// available it takes nothing and says after how long asking again can succeed. A zero limit
// is unlimited; without any rate it always succeeds and keeps nothing. Negative n or bytes
// count as zero.
func (b *Buckets) Take(now time.Time, key string, l Limits, n int, bytes int64) (ok bool, retryAfter time.Duration) {
	if l.PerSecond <= 0 && l.BytesPerSecond <= 0 && l.Total <= 0 {
		return true, 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.filledLocked(now, key, l)
	return k.take(l, n, bytes)
}

// TakeEach is a Take of one request after the other, of so many bytes each, until one is
// refused: n have passed, and the next can succeed after retryAfter.
func (b *Buckets) TakeEach(now time.Time, key string, l Limits, bytes []int64) (n int, retryAfter time.Duration) {
	if l.PerSecond <= 0 && l.BytesPerSecond <= 0 && l.Total <= 0 {
		return len(bytes), 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.filledLocked(now, key, l)
	for n, size := range bytes {
		if ok, retryAfter := k.take(l, 1, size); !ok {
			return n, retryAfter
		}
	}
	return len(bytes), 0
}

// filledLocked is the key's bucket with all that has come in until now.
func (b *Buckets) filledLocked(now time.Time, key string, l Limits) *bucket {
	k := b.findLocked(now, key)
	elapsed := k.advance(now)
	k.requests.refill(elapsed, l.PerSecond, burst(l.PerSecond))
	k.bytes.refill(elapsed, float64(l.BytesPerSecond), float64(l.BytesPerSecond))
	k.total.refill(elapsed, float64(l.Total)/day, float64(l.Total))
	return k
}

func (k *bucket) take(l Limits, n int, bytes int64) (ok bool, retryAfter time.Duration) {
	requests, size := float64(max(n, 0)), float64(max(bytes, 0))
	var wait float64 // seconds
	if l.PerSecond > 0 {
		wait = max(wait, k.requests.wait(requests))
	}
	if l.BytesPerSecond > 0 {
		wait = max(wait, k.bytes.wait(size))
	}
	if l.Total > 0 {
		wait = max(wait, k.total.wait(requests))
	}
	if wait > 0 {
		return false, seconds(wait)
	}
	k.requests.left -= requests
	k.bytes.left -= size
	k.total.left -= requests
	return true, 0
}

// Len is how many keys have a bucket of their own.
func (b *Buckets) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.byKey)
}

// burst is the size of a request bucket: a second's worth, but never less than one request,
// or a rate of one in ten seconds would pass nothing at all.
func burst(perSecond float64) float64 { return max(1, perSecond) }

// seconds rounds up to a millisecond, so that who waits exactly as long as told is served.
func seconds(s float64) time.Duration {
	if s >= 1e9 { // thirty years
		return 1e9 * time.Second
	}
	return time.Duration(math.Ceil(s*1000-1e-6)) * time.Millisecond
}

// advance moves the bucket's time and says how many seconds have passed.
func (k *bucket) advance(now time.Time) float64 {
	elapsed := now.Sub(k.last).Seconds()
	if elapsed <= 0 {
		return 0
	}
	k.last = now
	return elapsed
}

// refill adds what has come in. A rate of zero leaves an account at the rate it had, if it
// had one; a limit that was not there before starts full; a limit that has changed (the
// policy was reloaded) keeps what is left, cut to the new size.
func (a *account) refill(elapsed, rate, size float64) {
	switch {
	case rate <= 0 && a.size == 0:
		a.left = 0
		return
	case rate > 0:
		if a.size == 0 {
			a.left = size
		}
		a.rate, a.size = rate, size
	}
	a.left = min(a.left+elapsed*a.rate, a.size)
}

// wait is how many seconds it takes until so much can be taken. What a bucket can never hold
// is given when it is full. A millionth is forgiven: sums of fractions do not come out even,
// and who waited as long as told must be served.
func (a *account) wait(need float64) float64 {
	missing := min(need, a.size) - a.left
	if missing < 1e-6 {
		return 0
	}
	return missing / a.rate
}

func (a *account) full(elapsed float64) bool {
	return a.size == 0 || a.left+elapsed*a.rate >= a.size
}

// full says whether the bucket would be the same as a new one at the time now.
func (k *bucket) full(now time.Time) bool {
	s := max(0, now.Sub(k.last).Seconds())
	return k.requests.full(s) && k.bytes.full(s) && k.total.full(s)
}

// findLocked is the key's bucket, made if there is room and the shared one if not.
func (b *Buckets) findLocked(now time.Time, key string) *bucket {
	if k := b.byKey[key]; k != nil {
		b.unlinkLocked(k)
		b.linkNewestLocked(k)
		return k
	}
	if len(b.byKey) >= b.max {
		// The longest unused is most likely full. A few are looked at, so that one slow
		// bucket in front does not hide the others; a scan of all would be work that a
		// stranger can cause.
		const look = 8
		k := b.oldest
		for i := 0; i < look && k != nil; i++ {
			next := k.newer
			if k.full(now) {
				b.unlinkLocked(k)
				delete(b.byKey, k.key)
				break
			}
			k = next
		}
		if len(b.byKey) >= b.max {
			return &b.overflow
		}
	}
	k := &bucket{key: key, last: now}
	b.byKey[key] = k
	b.linkNewestLocked(k)
	return k
}

func (b *Buckets) linkNewestLocked(k *bucket) {
	k.older, k.newer = b.newest, nil
	if b.newest != nil {
		b.newest.newer = k
	} else {
		b.oldest = k
	}
	b.newest = k
}

func (b *Buckets) unlinkLocked(k *bucket) {
	if k.older != nil {
		k.older.newer = k.newer
	} else {
		b.oldest = k.newer
	}
	if k.newer != nil {
		k.newer.older = k.older
	} else {
		b.newest = k.older
	}
	k.older, k.newer = nil, nil
}

// Slots count what is held at the same time under each key: Limits.Concurrent. A key costs
// memory only while something is held, so the number of keys is bounded by the things that
// exist. The zero value is ready.
type Slots struct {
	mu    sync.Mutex // guards all below
	held  map[string]int
	freed chan struct{} // closed at the next Release; nil: nobody waits
}

// Acquire takes one slot of the key unless limit are held already; a limit of zero or less is
// unlimited. Each success has to be given back by one Release.
func (s *Slots) Acquire(key string, limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if limit > 0 && s.held[key] >= limit {
		return false
	}
	if s.held == nil {
		s.held = make(map[string]int)
	}
	s.held[key]++
	return true
}

// Wait is Acquire that waits for its turn, or until ctx ends. Who waits holds nothing; the
// order of those who wait is not kept.
func (s *Slots) Wait(ctx context.Context, key string, limit int) error {
	for !s.Acquire(key, limit) {
		s.mu.Lock()
		if s.held[key] < limit { // given back meanwhile
			s.mu.Unlock()
			continue
		}
		if s.freed == nil {
			s.freed = make(chan struct{})
		}
		freed := s.freed
		s.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Release gives back one slot of the key. It panics when none is held, since that is a bug of
// the caller that would make the limit a lie.
func (s *Slots) Release(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch n := s.held[key]; {
	case n <= 0:
		panic("policy: Release without Acquire")
	case n == 1:
		delete(s.held, key)
	default:
		s.held[key] = n - 1
	}
	if s.freed != nil {
		close(s.freed)
		s.freed = nil
	}
}

// Held is how many slots of the key are taken.
func (s *Slots) Held(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[key]
}
