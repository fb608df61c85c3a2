package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The receiver does not want it: the sender hears why, and nothing is kept.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bob     func(*Config)
		want    error
		reports int
	}{
		"the person says no": {func(c *Config) { c.Accept = func(context.Context, Offer) bool { return false } }, ErrRefused, 0},
		"nobody to ask":      {func(c *Config) { c.Accept = nil }, ErrRefused, 0},
		"no folder":          {func(c *Config) { c.Dir = "" }, ErrRefused, 0},
		"too large there":    {func(c *Config) { c.MaxSize = 99 }, ErrTooLarge, 0},
		"folder is gone":     {func(c *Config) { c.Dir = filepath.Join(c.Dir, "not", "there") }, ErrPeerDisk, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alice, bob := newPerson(t), newPerson(t)
			s := connect(t, alice, bob, options{bob: c.bob})
			path := write(t, "a.bin", content(100, 1))
			for range 2 { // the second one is judged anew
				if _, err := s.alice.Send(context.Background(), path, ""); !errors.Is(err, c.want) {
					t.Errorf("%v, not %v", err, c.want)
				}
				// Bob had agreed, so he is told what went wrong.
				for range c.reports {
					if r := <-bob.received; !errors.Is(r.Err, os.ErrNotExist) {
						t.Errorf("told %+v", r)
					}
				}
			}
			s.kill()
			shown, hidden := bob.files(t)
			if len(shown)+len(hidden)+len(bob.received) != 0 {
				t.Errorf("shown %q, hidden %q, %d reports", shown, hidden, len(bob.received))
			}
		})
	}
}

// What cannot be sent is not even offered.
func TestCannotBeSent(t *testing.T) {
	t.Parallel()
	alice, bob := newPerson(t), newPerson(t)
	s := connect(t, alice, bob, options{alice: func(c *Config) { c.MaxSize = 99 }})
	if _, err := s.alice.Send(context.Background(), write(t, "a.bin", content(100, 1)), ""); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if _, err := s.alice.Send(context.Background(), alice.dir, ""); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("folder: %v", err)
	}
	if _, err := s.alice.Send(context.Background(), filepath.Join(alice.dir, "none"), ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if len(bob.offers) != 0 {
		t.Error("something was offered")
	}
}

// held is a session whose sender is stopped in the middle of the third unit: stuck is closed
// when it is, and the two units before are recorded at Bob.
func held(t *testing.T, alice, bob *person) (s *session, stuck <-chan struct{}, release func()) {
	t.Helper()
	reached, gate := make(chan struct{}), make(chan struct{})
	var both sync.WaitGroup
	both.Add(2)
	go func() {
		both.Wait()
		close(reached)
	}()
	s = connect(t, alice, bob, options{
		fromAlice: func(l *line) {
			l.onData = func(msg []byte) bool {
				if c, err := parseChunk(msg); err == nil && c.index == 2*chunksPerUnit+3 {
					both.Done()
					<-gate
				}
				return true
			}
		},
		bob: func(c *Config) {
			tell, once := c.Progress, sync.OnceFunc(both.Done)
			c.Progress = func(p Progress) {
				if tell(p); p.Done == 2*unitSize {
					once()
				}
			}
		},
	})
	return s, reached, func() { close(gate) }
}

// The sender's person stops: the receiver hears it, keeps what it has, and the next file can
// follow at once.
func TestCanceledBySender(t *testing.T) {
	t.Parallel()
	alice, bob := newPerson(t), newPerson(t)
	s, stuck, release := held(t, alice, bob)
	b := content(4*unitSize, 1)
	path := write(t, "film.mkv", b)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := s.alice.Send(ctx, path, "")
		ended <- err
	}()
	<-stuck
	cancel()
	release()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the sender says %v", err)
	}
	if r := <-bob.received; !errors.Is(r.Err, ErrCanceled) {
		t.Errorf("the receiver says %+v", r)
	}
	other := content(unitSize, 2)
	if _, err := s.alice.Send(context.Background(), write(t, "other", other), ""); err != nil {
		t.Fatal(err)
	}
	whole(t, <-bob.received, other)
	s.fromAlice.onData = nil // the pump has taken everything; Send below is ordered after this
	sent, err := s.alice.Send(context.Background(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	whole(t, <-bob.received, b)
	if sent.Resumed != 2*unitSize {
		t.Errorf("%d bytes were kept", sent.Resumed)
	}
	if err := bob.said(); err != nil {
		t.Errorf("Bob's engine accuses Alice: %v", err)
	}
}

// The sender's program gives an attempt up for a reason of its own: that is no end of the
// file, and the receiver is not told of one.
func TestPausedBySender(t *testing.T) {
	t.Parallel()
	alice, bob := newPerson(t), newPerson(t)
	s, stuck, release := held(t, alice, bob)
	b := content(4*unitSize, 1)
	path := write(t, "film.mkv", b)
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := s.alice.Send(ctx, path, "")
		ended <- err
	}()
	<-stuck
	cancel(errors.New("the line is slow"))
	release()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the sender says %v", err)
	}
	s.fromAlice.onData = nil
	if _, err := s.alice.Send(context.Background(), path, ""); err != nil {
		t.Fatal(err)
	}
	whole(t, <-bob.received, b)
}

// A cancel reaches a person who is still being asked.
func TestCanceledWhileAsked(t *testing.T) {
	t.Parallel()
	alice, bob := newPerson(t), newPerson(t)
	asked := make(chan struct{})
	s := connect(t, alice, bob, options{bob: func(c *Config) {
		again := c.Accept
		c.Accept = func(ctx context.Context, o Offer) bool {
			if o.Name == "second" {
				return again(ctx, o)
			}
			close(asked)
			<-ctx.Done()
			return true
		}
	}})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := s.alice.Send(ctx, write(t, "first", content(10, 1)), ""); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	b := content(20, 2)
	if _, err := s.alice.Send(context.Background(), write(t, "second", b), ""); err != nil {
		t.Fatal(err)
	}
	r := <-bob.received
	whole(t, r, b)
	if shown, hidden := bob.files(t); len(shown) != 1 || len(hidden) != 0 {
		t.Errorf("shown %q, hidden %q", shown, hidden)
	}
}

// The file changes between the pass that hashes it and the moment it is read to be sent.
func TestChangedWhileSent(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(f *os.File) error{
		"other content": func(f *os.File) error { _, err := f.WriteAt([]byte("x"), 3*unitSize+5); return err },
		"shorter":       func(f *os.File) error { return f.Truncate(3*unitSize + 5) },
		"longer":        func(f *os.File) error { _, err := f.WriteAt([]byte("x"), 4*unitSize); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alice, bob := newPerson(t), newPerson(t)
			s, stuck, release := held(t, alice, bob)
			b := content(4*unitSize, 1)
			path := write(t, "film.mkv", b)
			ended := make(chan error, 1)
			go func() {
				_, err := s.alice.Send(context.Background(), path, "")
				ended <- err
			}()
			<-stuck
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err == nil {
				err = errors.Join(harm(f), f.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			release()
			if err := <-ended; !errors.Is(err, ErrChanged) {
				t.Errorf("the sender says %v", err)
			}
			if r := <-bob.received; !errors.Is(r.Err, ErrChanged) || r.Path != "" {
				t.Errorf("the receiver says %+v", r)
			}
			s.kill()
			if shown, hidden := bob.files(t); len(shown)+len(hidden) != 0 {
				t.Errorf("shown %q, hidden %q", shown, hidden)
			}
		})
	}
}

// A file never takes another one's place, whoever put that there.
func TestExistingNames(t *testing.T) {
	t.Parallel()
	alice, bob := newPerson(t), newPerson(t)
	s := connect(t, alice, bob, options{})
	if err := os.WriteFile(filepath.Join(bob.dir, "a.txt"), []byte("Bob's own"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(bob.dir, "a (3).txt")); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"a (2).txt", "a (4).txt", "a (5).txt"} {
		b := content(1000, uint64(i+1))
		if _, err := s.alice.Send(context.Background(), write(t, "x", b), "../a.txt"); err != nil {
			t.Fatal(err)
		}
		r := <-bob.received
		whole(t, r, b)
		if filepath.Base(r.Path) != want || r.Name != "a.txt" {
			t.Errorf("%q lies at %q", r.Name, r.Path)
		}
	}
	if own, err := os.ReadFile(filepath.Join(bob.dir, "a.txt")); err != nil || string(own) != "Bob's own" {
		t.Errorf("Bob's file is %q now, %v", own, err)
	}
	if bob.offers[0].Name != "a.txt" {
		t.Errorf("asked about %q", bob.offers[0].Name)
	}
}

// Another session of the same contact takes the file up while the old one still breathes: the
// old one stops writing.
func TestAnotherSessionTakesOver(t *testing.T) {
	t.Parallel()
	alice, bob := newPerson(t), newPerson(t)
	old, stuck, release := held(t, alice, bob)
	b := content(4*unitSize, 1)
	path := write(t, "film.mkv", b)
	ended := make(chan error, 1)
	go func() {
		_, err := old.alice.Send(context.Background(), path, "")
		ended <- err
	}()
	<-stuck
	fresh := connect(t, newPerson(t), bob, options{})
	if _, err := fresh.alice.Send(context.Background(), path, ""); err != nil {
		t.Fatal(err)
	}
	whole(t, <-bob.received, b)
	release()
	if err := <-ended; err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("the old session's sender says %v", err)
	}
	old.kill()
	if shown, hidden := bob.files(t); len(shown) != 1 || len(hidden) != 0 || len(bob.received) != 0 {
		t.Errorf("shown %q, hidden %q, %d reports", shown, hidden, len(bob.received))
	}
}

// While a person thinks, the sender is told that somebody is there.
func TestSenderHearsThatItHasToWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		alice, bob := newPerson(t), newPerson(t)
		s := connect(t, alice, bob, options{bob: func(c *Config) {
			c.Accept = func(ctx context.Context, _ Offer) bool {
				select {
				case <-time.After(3*waitEvery + time.Millisecond):
					return true
				case <-ctx.Done():
					return false
				}
			}
		}})
		if _, err := s.alice.Send(t.Context(), write(t, "a", content(10, 1)), ""); err != nil {
			t.Fatal(err)
		}
		<-bob.received
		alive := 0
		for _, p := range alice.steps {
			if p.Done == 0 {
				alive++
			}
		}
		if alive != 3+1 { // one more when sending begins
			t.Errorf("heard %d times: %+v", alive, alice.steps)
		}
		s.kill()
	})
}

// One file after the other, from both sides at the same time, several asked for at once.
func TestManyFilesBothWays(t *testing.T) {
	t.Parallel()
	alice, bob := newPerson(t), newPerson(t)
	s := connect(t, alice, bob, options{})
	const files = 5
	results := make(chan error, 2*files)
	for i := range files {
		for n, e := range []*Engine{s.alice, s.bob} {
			path := write(t, fmt.Sprintf("%d-%d", n, i), content(unitSize+i, uint64(10*n+i)))
			go func() {
				_, err := e.Send(context.Background(), path, "")
				results <- err
			}()
		}
	}
	for range 2 * files {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	for range files {
		for n, p := range []*person{bob, alice} {
			r := <-p.received
			var from, i int
			if _, err := fmt.Sscanf(r.Name, "%d-%d", &from, &i); err != nil || from != n {
				t.Fatalf("%q came to the wrong side: %v", r.Name, err)
			}
			whole(t, r, content(unitSize+i, uint64(10*n+i)))
		}
	}
	if err := errors.Join(alice.said(), bob.said()); err != nil {
		t.Error(err)
	}
}

// Nothing waits for a unit's acknowledgement before the window is full; then everything does,
// and a Wait from a person who has paused is told as a sign of life.
func TestWindow(t *testing.T) {
	t.Parallel()
	alice, bob := newPerson(t), newPerson(t)
	var mu sync.Mutex // guards held, lost
	var lost []byte   // the newest Kept that did not arrive
	held := true
	full := make(chan struct{})
	var once sync.Once
	s := connect(t, alice, bob, options{
		fromBob: func(l *line) {
			l.onControl = func(msg []byte) bool {
				m, _, err := parseControl(msg)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if m.GetKept() == nil || !held {
					return true
				}
				lost = bytes.Clone(msg)
				if m.GetKept().GetUnit() == window {
					once.Do(func() { close(full) })
				}
				return false
			}
		},
	})
	data := content((window+3)*unitSize, 1)
	ended := make(chan error, 1)
	path := write(t, "a", data)
	go func() {
		_, err := s.alice.Send(context.Background(), path, "")
		ended <- err
	}()
	<-full // the whole window came without a word arriving
	s.alice.mu.Lock()
	attempt := s.alice.out.attempt
	s.alice.mu.Unlock()
	told := func() (n int) {
		alice.mu.Lock()
		defer alice.mu.Unlock()
		for _, p := range alice.steps {
			if p.Done > window*unitSize {
				t.Fatalf("%d bytes were sent ahead of the other side's disk", p.Done)
			}
			if p.Done == window*unitSize {
				n++
			}
		}
		return n
	}
	for told() < 2 { // once when it was sent, once for a Wait
		if err := s.alice.HandleControl(must(waitMessage(attempt))); err != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
	mu.Lock()
	held = false
	last := lost
	mu.Unlock()
	if err := s.alice.HandleControl(last); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	whole(t, <-bob.received, data)
}

// The sender is held when nobody takes its chunks, and waits in memory for no more than the
// channel holds.
func TestBackPressure(t *testing.T) {
	t.Parallel()
	alice, bob := newPerson(t), newPerson(t)
	gate, full := make(chan struct{}), make(chan struct{})
	var highest uint64
	// Bob is stuck in the chunk that ends his first unit; the line holds the next four, and the
	// one after them waits in SendData.
	const waits = chunksPerUnit - 1 + 4 + 1
	s := connect(t, alice, bob, options{
		bob: func(c *Config) { c.Progress = func(Progress) { <-gate } },
		fromAlice: func(l *line) {
			l.onData = func(msg []byte) bool {
				if c, err := parseChunk(msg); err == nil {
					highest = c.index
				}
				if highest == waits {
					close(full)
				}
				return true
			}
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	path := write(t, "a", content(6*unitSize, 1))
	go func() {
		_, err := s.alice.Send(ctx, path, "")
		ended <- err
	}()
	<-full
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if highest != waits {
		t.Errorf("chunk %d was sent to somebody who does not read", highest)
	}
	close(gate)
}
