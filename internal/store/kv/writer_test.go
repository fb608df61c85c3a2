package kv

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/bbolt"
)

// held keeps the writer busy until it is released, and queues behind it what is meant to
// share a batch.
type held struct {
	t       *testing.T
	f       *File
	first   *op
	release chan struct{}
}

func hold(t *testing.T, f *File) *held {
	h := &held{t: t, f: f, release: make(chan struct{})}
	entered := make(chan struct{})
	h.first = h.queue(0, func(*bbolt.Tx) error { close(entered); <-h.release; return NoChange })
	<-entered
	return h
}

func (h *held) queue(size int, apply func(tx *bbolt.Tx) error) *op {
	o := &op{apply: apply, size: size, answer: make(chan error, 1)}
	h.f.ops <- o
	return o
}

func (h *held) put(k, v string) *op {
	return h.queue(len(v), func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put([]byte(k), []byte(v)) })
}

func (h *held) let() {
	h.t.Helper()
	close(h.release)
	if err := <-h.first.answer; err != nil {
		h.t.Fatal(err)
	}
}

func TestOperationsThatWaitTogetherAreCommittedTogether(t *testing.T) {
	f := mustOpen(t, filepath.Join(t.TempDir(), "x.db"), options())
	h := hold(t, f)
	before := txID(t, f)
	var ops []*op
	for i := range 200 {
		ops = append(ops, h.put(fmt.Sprint(i), "v"))
	}
	h.let()
	for _, o := range ops {
		if err := <-o.answer; err != nil {
			t.Fatal(err)
		}
	}
	if commits := txID(t, f) - before; commits != 1 {
		t.Fatalf("%d commits for %d operations", commits, len(ops))
	}
}

func txID(t testing.TB, f *File) int {
	t.Helper()
	id := 0
	if err := f.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestABatchIsBoundedInBytesAndInNumber(t *testing.T) {
	f := mustOpen(t, filepath.Join(t.TempDir(), "x.db"), options())
	for _, c := range []struct{ ops, size, commits int }{
		{6, maxBatchBytes / 2, 3},
		{maxBatchOps, 1, 1},
		{1, 2 * maxBatchBytes, 1}, // larger than a batch, and taken all the same
	} {
		h := hold(t, f)
		before := txID(t, f)
		var ops []*op
		for i := range c.ops {
			ops = append(ops, h.queue(c.size, func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put([]byte(fmt.Sprint(i)), nil) }))
		}
		h.let()
		for _, o := range ops {
			if err := <-o.answer; err != nil {
				t.Fatal(err)
			}
		}
		if commits := txID(t, f) - before; commits != c.commits {
			t.Errorf("%d operations of %d bytes: %d commits, want %d", c.ops, c.size, commits, c.commits)
		}
	}
}

func TestNothingChangedCostsNoCommit(t *testing.T) {
	f := mustOpen(t, filepath.Join(t.TempDir(), "x.db"), options())
	before := txID(t, f)
	for range 10 {
		if err := f.Do(context.Background(), 0, func(*bbolt.Tx) error { return NoChange }); err != nil {
			t.Fatal(err)
		}
	}
	if after := txID(t, f); after != before {
		t.Fatalf("%d commits", after-before)
	}
}

func TestAnOperationThatFailsTakesNoOtherWithIt(t *testing.T) {
	reloads := 0
	o := options()
	o.Reload = func(*bbolt.Tx) error { reloads++; return nil }
	f := mustOpen(t, filepath.Join(t.TempDir(), "x.db"), o)
	h := hold(t, f)
	mine := errors.New("mine")
	var ops []*op
	for i := range 20 {
		ops = append(ops, h.queue(0, func(tx *bbolt.Tx) error {
			if err := tx.Bucket(bucket).Put([]byte(fmt.Sprint(i)), []byte("v")); err != nil {
				return err
			}
			switch i {
			case 7:
				return mine
			case 13:
				panic("a damaged page")
			}
			return nil
		}))
	}
	h.let()
	for i, o := range ops {
		err := <-o.answer
		switch {
		case i == 7 && !errors.Is(err, mine), i == 13 && !errors.Is(err, ErrDamaged), i != 7 && i != 13 && err != nil:
			t.Errorf("operation %d: %v", i, err)
		}
	}
	for i := range 20 {
		want := "v"
		if i == 7 || i == 13 {
			want = ""
		}
		if got := get(t, f, fmt.Sprint(i)); got != want {
			t.Errorf("value %d: %q", i, got)
		}
	}
	if reloads < 2 {
		t.Errorf("memory was read %d times: not again after a rollback", reloads)
	}
}

func TestAQuestionIsAnsweredWithWhatIsCommitted(t *testing.T) {
	memory, o := 0, options()
	o.Reload = func(tx *bbolt.Tx) error {
		memory = tx.Bucket(bucket).Stats().KeyN
		return nil
	}
	o.MaxFile = 256 << 10
	f := mustOpen(t, filepath.Join(t.TempDir(), "x.db"), o)
	add := func(size int) error {
		return f.Do(context.Background(), size, func(tx *bbolt.Tx) error {
			memory++
			return tx.Bucket(bucket).Put([]byte(fmt.Sprint("k", memory)), make([]byte, size))
		})
	}
	if err := add(10); err != nil {
		t.Fatal(err)
	}
	if err := add(1 << 20); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("a value larger than the file may be: %v", err)
	}
	seen := -1
	if err := f.Ask(context.Background(), func() { seen = memory }); err != nil {
		t.Fatal(err)
	}
	if seen != 1 {
		t.Fatalf("memory counts %d, the file holds 1", seen)
	}
}

func TestAFullDiskIsAnAnswerAndPasses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	o := options()
	o.MaxFile = 1 << 20
	f := mustOpen(t, path, o)
	value := strings.Repeat("v", 32<<10)
	stored := 0
	var err error
	for ; err == nil; stored++ {
		err = put(f, fmt.Sprint(stored), value)
	}
	stored--
	if !errors.Is(err, ErrUnavailable) || stored < 4 {
		t.Fatalf("after %d values: %v", stored, err)
	}
	for i := range stored {
		if get(t, f, fmt.Sprint(i)) != value {
			t.Fatalf("value %d is gone", i)
		}
	}
	// Room is made, and writing works again.
	err = f.Do(context.Background(), 0, func(tx *bbolt.Tx) error {
		for i := range stored {
			if err := tx.Bucket(bucket).Delete([]byte(fmt.Sprint(i))); err != nil {
				return err
			}
		}
		return nil
	})
	for i := 0; err == nil && i < 3; i++ {
		err = put(f, fmt.Sprint("again", i), "v")
	}
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, f)
	f = mustOpen(t, path, options())
	if get(t, f, "again2") != "v" {
		t.Fatal("what was acknowledged is gone")
	}
}

func TestCloseAnswersEveryoneWhoWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	f := mustOpen(t, path, options())
	var wg sync.WaitGroup
	var mu sync.Mutex // guards acked
	acked := make(map[string]bool)
	started := make(chan struct{}, 64)
	for i := range 64 {
		wg.Go(func() {
			for j := 0; ; j++ {
				k := fmt.Sprint(i, "/", j)
				err := put(f, k, "v")
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				if j == 0 {
					started <- struct{}{}
				}
				mu.Lock()
				acked[k] = true
				mu.Unlock()
			}
		})
	}
	for range 64 {
		<-started
	}
	mustClose(t, f)
	wg.Wait()
	f = mustOpen(t, path, options())
	for k := range acked {
		if get(t, f, k) != "v" {
			t.Fatalf("%s was acknowledged and is gone", k)
		}
	}
}

func TestAQueueThatIsGivenUpOnWritesNothing(t *testing.T) {
	f := mustOpen(t, filepath.Join(t.TempDir(), "x.db"), options())
	h := hold(t, f)
	var last *op
	for range maxBatchOps { // the queue is full now
		last = h.queue(0, func(*bbolt.Tx) error { return NoChange })
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := f.Do(ctx, 0, func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put([]byte("late"), []byte("v")) })
	h.let()
	if err := <-last.answer; err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, context.Canceled) || get(t, f, "late") != "" {
		t.Fatalf("got %v", err)
	}
}

// A lone caller carries its operation out by itself, a crowd leaves it to the writer. Both
// change the same memory, without a lock of their own.
func TestALoneCallerAndACrowdTakeTurns(t *testing.T) {
	o := options()
	count := 0
	o.Reload = func(tx *bbolt.Tx) error { count = tx.Bucket(bucket).Stats().KeyN; return nil }
	f := mustOpen(t, filepath.Join(t.TempDir(), "x.db"), o)
	write := func(k string) {
		err := f.Do(context.Background(), 1, func(tx *bbolt.Tx) error {
			count++
			return tx.Bucket(bucket).Put([]byte(k), []byte("v"))
		})
		if err != nil {
			t.Errorf("%s: %v", k, err)
		}
	}
	const rounds, crowd = 30, 12
	byItself := 0
	for r := range rounds {
		for i := range 3 {
			write(fmt.Sprint("alone", r, "/", i))
		}
		if f.alone.Load() {
			byItself++
		}
		var all sync.WaitGroup
		for i := range crowd {
			all.Go(func() { write(fmt.Sprint("crowd", r, "/", i)) })
		}
		if r%2 == 0 {
			write(fmt.Sprint("beside", r))
		}
		all.Wait()
	}
	if byItself != rounds {
		t.Errorf("a lone caller was taken for a crowd in %d of %d rounds", rounds-byItself, rounds)
	}
	want, got := rounds*(3+crowd)+rounds/2, 0
	if err := f.Ask(context.Background(), func() { got = count }); err != nil || got != want {
		t.Fatalf("memory counts %d, want %d, %v", got, want, err)
	}
	if err := f.View(o.Reload); err != nil || count != want {
		t.Fatalf("the file holds %d, want %d, %v", count, want, err)
	}
}
