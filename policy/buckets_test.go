package policy_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/policy"
)

// take asks for one small request at noon plus so much.
func take(b *policy.Buckets, after time.Duration, key string, l policy.Limits) (bool, time.Duration) {
	return b.Take(noon.Add(after), key, l, 1, 0)
}

func TestARateAllowsASecondsWorthAndThenItsPace(t *testing.T) {
	b := policy.NewBuckets(10)
	l := policy.Limits{PerSecond: 5}
	for i := range 5 {
		if ok, _ := take(b, 0, "a", l); !ok {
			t.Fatalf("request %d of the burst was refused", i)
		}
	}
	ok, wait := take(b, 0, "a", l)
	if ok || wait != 200*time.Millisecond {
		t.Fatalf("the sixth: %v, wait %v", ok, wait)
	}
	if ok, _ := take(b, wait-time.Millisecond, "a", l); ok {
		t.Error("served before the time it was told")
	}
	if ok, _ := take(b, wait, "a", l); !ok {
		t.Error("refused at the time it was told")
	}
	if ok, _ := take(b, 0, "b", l); !ok {
		t.Error("another key pays for this one")
	}
	// An hour of silence saves up one second's worth, not an hour's.
	for i := range 5 {
		if ok, _ := take(b, time.Hour, "a", l); !ok {
			t.Fatalf("request %d after silence", i)
		}
	}
	if ok, _ := take(b, time.Hour, "a", l); ok {
		t.Error("silence was saved up")
	}
}

func TestWaitingAsToldIsAlwaysServed(t *testing.T) {
	// Rates whose refills do not come out even in binary fractions.
	for _, rate := range []float64{0.1, 0.3, 1, 3, 7, 11, 1000.0 / 3} {
		b := policy.NewBuckets(1)
		at := time.Duration(0)
		for i := range 200 {
			ok, wait := take(b, at, "k", policy.Limits{PerSecond: rate})
			if ok {
				continue
			}
			at += wait
			if ok, again := take(b, at, "k", policy.Limits{PerSecond: rate}); !ok {
				t.Fatalf("rate %v, request %d: waited %v and was told %v again", rate, i, wait, again)
			}
		}
	}
}

func TestSlowRatesPassSomething(t *testing.T) {
	b := policy.NewBuckets(10)
	l := policy.Limits{PerSecond: 0.1}
	if ok, _ := take(b, 0, "a", l); !ok {
		t.Fatal("one in ten seconds passes nothing")
	}
	if ok, wait := take(b, 0, "a", l); ok || wait != 10*time.Second {
		t.Errorf("%v %v", ok, wait)
	}
}

func TestBytesAndTheDaysTotal(t *testing.T) {
	b := policy.NewBuckets(10)
	l := policy.Limits{BytesPerSecond: 1000}
	if ok, _ := b.Take(noon, "bytes", l, 1, 800); !ok {
		t.Fatal("within the rate")
	}
	if ok, wait := b.Take(noon, "bytes", l, 1, 300); ok || wait != 100*time.Millisecond {
		t.Errorf("%v %v", ok, wait)
	}
	// Refusing takes nothing: the smaller one still passes.
	if ok, _ := b.Take(noon, "bytes", l, 1, 200); !ok {
		t.Error("a refusal used up what was left")
	}
	// One that is larger than the bucket passes when it is full, and is paid for afterwards.
	if ok, _ := b.Take(noon.Add(time.Second), "bytes", l, 1, 5000); !ok {
		t.Error("a large one never passes")
	}
	if ok, wait := b.Take(noon.Add(time.Second), "bytes", l, 1, 1); ok || wait != 4001*time.Millisecond {
		t.Errorf("%v %v", ok, wait)
	}

	total := policy.Limits{Total: 24}
	if ok, _ := b.Take(noon, "total", total, 24, 0); !ok {
		t.Fatal("a day's worth")
	}
	if ok, wait := b.Take(noon, "total", total, 1, 0); ok || wait != time.Hour {
		t.Errorf("%v %v", ok, wait)
	}
}

func TestAllLimitsHoldAtOnce(t *testing.T) {
	b := policy.NewBuckets(10)
	l := policy.Limits{PerSecond: 100, BytesPerSecond: 100, Total: 3}
	if ok, _ := b.Take(noon, "k", l, 1, 100); !ok {
		t.Fatal("first")
	}
	if ok, wait := b.Take(noon, "k", l, 1, 50); ok || wait != 500*time.Millisecond {
		t.Errorf("bytes: %v %v", ok, wait)
	}
	for range 2 {
		if ok, _ := b.Take(noon, "k", l, 1, 0); !ok {
			t.Fatal("within the total")
		}
	}
	if ok, wait := b.Take(noon, "k", l, 1, 0); ok || wait != 8*time.Hour {
		t.Errorf("total: %v %v", ok, wait)
	}
}

func TestAReloadedLimitKeepsTheAccount(t *testing.T) {
	b := policy.NewBuckets(10)
	if ok, _ := b.Take(noon, "k", policy.Limits{PerSecond: 10}, 10, 0); !ok {
		t.Fatal("burst")
	}
	if ok, _ := take(b, 0, "k", policy.Limits{PerSecond: 20}); ok {
		t.Error("a higher limit filled the bucket")
	}
	// Nor does asking under another kind of limit in between, or under none.
	if ok, _ := b.Take(noon, "k", policy.Limits{BytesPerSecond: 10}, 1, 1); !ok {
		t.Error("bytes were not limited before")
	}
	take(b, 0, "k", policy.Limits{})
	if ok, _ := take(b, 0, "k", policy.Limits{PerSecond: 10}); ok {
		t.Error("a detour filled the bucket")
	}
}

func TestUnlimitedAndOddArguments(t *testing.T) {
	b := policy.NewBuckets(0)
	for range 1000 {
		if ok, wait := b.Take(noon, "k", policy.Limits{Concurrent: 1}, 1000, 1<<40); !ok || wait != 0 {
			t.Fatal("no rate is no limit")
		}
	}
	if b.Len() != 0 {
		t.Error("unlimited keys cost memory")
	}
	l := policy.Limits{PerSecond: 1, BytesPerSecond: 1}
	b.Take(noon, "k", l, 1, 1)
	b.Take(noon, "k", l, -1000, -1000)
	if ok, _ := b.Take(noon, "k", l, 1, 1); ok {
		t.Error("negative requests gave something back")
	}
	if ok, _ := b.Take(noon.Add(-time.Hour), "k", l, 1, 1); ok {
		t.Error("a clock that went back gave something")
	}
	if ok, wait := b.Take(noon, "k", policy.Limits{PerSecond: 1e-300}, 1, 0); ok || wait <= 0 {
		t.Errorf("a wait that has no duration: %v %v", ok, wait)
	}
}

func TestBucketsAreBoundedAndDropOnlyFullOnes(t *testing.T) {
	b := policy.NewBuckets(100)
	l := policy.Limits{PerSecond: 1}
	take(b, 0, "partner", l) // is now empty for a second
	for i := range 10_000 {
		take(b, time.Millisecond, fmt.Sprint("made up ", i), l)
	}
	if n := b.Len(); n != 100 {
		t.Fatalf("%d buckets", n)
	}
	if ok, _ := take(b, 2*time.Millisecond, "partner", l); ok {
		t.Error("a flood of keys washed away a known key's account")
	}
	if ok, _ := take(b, 2*time.Millisecond, "made up 9999", l); ok {
		t.Error("keys that found no room are free")
	}
	// Later all are full again, and their room goes to new keys.
	for i := range 100 {
		if ok, _ := take(b, time.Minute, fmt.Sprint("new ", i), l); !ok {
			t.Fatalf("key %d found no room", i)
		}
	}
	if n := b.Len(); n != 100 {
		t.Errorf("%d buckets", n)
	}
	if ok, _ := take(b, time.Minute, "new 0", l); ok {
		t.Error("a bucket in use was dropped")
	}
}

func TestBucketsFromManyGoroutines(t *testing.T) {
	b := policy.NewBuckets(64)
	l := policy.Limits{PerSecond: 1000}
	var mu sync.Mutex
	passed := 0
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				ok, _ := take(b, 0, "shared", l)
				take(b, 0, fmt.Sprint(g, i%100), l)
				if ok {
					mu.Lock()
					passed++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if passed != 1000 {
		t.Errorf("%d passed, of a bucket of 1000", passed)
	}
}

func TestSlots(t *testing.T) {
	var s policy.Slots
	for i, want := range []bool{true, true, false} {
		if s.Acquire("a", 2) != want {
			t.Fatalf("slot %d of two: %v", i+1, !want)
		}
	}
	if !s.Acquire("b", 2) || !s.Acquire("a", 0) {
		t.Error("another key, and no limit")
	}
	s.Release("a")
	s.Release("a")
	if s.Held("a") != 1 || !s.Acquire("a", 2) {
		t.Errorf("held %d", s.Held("a"))
	}
	defer func() {
		if recover() == nil {
			t.Error("releasing what nobody holds went unnoticed")
		}
	}()
	s.Release("nobody")
}

func TestSlotsAreWaitedFor(t *testing.T) {
	var s policy.Slots
	const limit, many = 3, 50
	var most, now atomic.Int32
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			if err := s.Wait(t.Context(), "a", limit); err != nil {
				t.Error(err)
				return
			}
			n := now.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			runtime.Gosched()
			now.Add(-1)
			s.Release("a")
		})
	}
	all.Wait()
	if most.Load() > limit || s.Held("a") != 0 {
		t.Errorf("%d at once, %d left", most.Load(), s.Held("a"))
	}
	for range limit {
		s.Acquire("a", limit)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Wait(ctx, "a", limit) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || s.Held("a") != limit {
		t.Errorf("a wait that was given up: %v, %d held", err, s.Held("a"))
	}
	if err := s.Wait(ctx, "a", 0); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}

// Whatever is asked for, TakeEach gives what so many Takes at the same time give.
func TestTakeEachIsTakeAfterTake(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 11))
		one, each := policy.NewBuckets(3), policy.NewBuckets(3)
		l := policy.Limits{PerSecond: float64(rng.IntN(20)), BytesPerSecond: int64(rng.IntN(3)) * 4000, Total: int64(rng.IntN(2)) * 500}
		now := noon
		for step := range 200 {
			now = now.Add(time.Duration(rng.IntN(700)) * time.Millisecond)
			key := []string{"a", "b", "c", "d"}[rng.IntN(4)]
			sizes := make([]int64, rng.IntN(12))
			for i := range sizes {
				sizes[i] = int64(rng.IntN(6000))
			}
			passed, wait := 0, time.Duration(0)
			for _, size := range sizes {
				ok, after := one.Take(now, key, l, 1, size)
				if !ok {
					wait = after
					break
				}
				passed++
			}
			if n, after := each.TakeEach(now, key, l, sizes); n != passed || after != wait {
				t.Fatalf("seed %d, step %d: %d passed and the next after %v, want %d and %v", seed, step, n, after, passed, wait)
			}
		}
	}
}
