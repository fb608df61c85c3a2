package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// interrupted runs a session that is cut when Bob has recorded so many units, and ends it the
// way a kill does: nothing polite crosses, nothing is finished.
func interrupted(t *testing.T, alice, bob *person, path string, units int64) {
	t.Helper()
	var s *session
	ready := make(chan struct{})
	s = connect(t, alice, bob, options{bob: func(c *Config) {
		c.Progress = func(p Progress) {
			<-ready
			if p.Incoming && p.Done >= min(units*unitSize, p.Size) && p.Done > 0 {
				s.fromAlice.break_()
				s.fromBob.break_()
			}
		}
		if units == 0 { // before the first unit is whole
			accept := c.Accept
			c.Accept = func(ctx context.Context, o Offer) bool {
				<-ready
				s.fromBob.break_()
				return accept(ctx, o)
			}
		}
	}})
	close(ready)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := s.alice.Send(ctx, path, "")
		ended <- err
	}()
	<-s.fromBob.cut
	s.kill()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Fatalf("the interrupted sender says %v", err)
	}
	cancel()
	select {
	case r := <-bob.received:
		t.Fatalf("an interrupted file is reported: %+v", r)
	default:
	}
	if shown, _ := bob.files(t); len(shown) != 0 {
		t.Fatalf("an unfinished file is shown: %q", shown)
	}
}

// counted counts the plaintext of the chunks on a line.
func counted(n *int64) func(*line) {
	return func(l *line) {
		l.onData = func(msg []byte) bool {
			*n += int64(len(msg) - chunkHeader - tagSize)
			return true
		}
	}
}

// Killed at any unit border, on both sides, with all keys gone: the next session goes on with
// the unit that was not finished, and sends nothing before it again.
func TestResumeAtEveryUnitBorder(t *testing.T) {
	t.Parallel()
	for _, size := range []int{4 * unitSize, 3*unitSize + 1000, 2*unitSize + unitSize - 7} {
		l := layoutOf(int64(size))
		for units := range l.units + 1 {
			t.Run(fmt.Sprintf("%d bytes after %d units", size, units), func(t *testing.T) {
				t.Parallel()
				alice, bob := newPerson(t), newPerson(t)
				b := content(size, 2)
				path := write(t, "film.mkv", b)
				interrupted(t, alice, bob, path, units)

				var again int64
				s := connect(t, alice, bob, options{fromAlice: counted(&again)})
				sent, err := s.alice.Send(context.Background(), path, "")
				if err != nil {
					t.Fatal(err)
				}
				r := <-bob.received
				whole(t, r, b)
				have := l.contentAt(units)
				if sent.Resumed != have || r.Resumed != have || bob.offers[len(bob.offers)-1].Resume != have {
					t.Errorf("resumed %d and %d, have %d", sent.Resumed, r.Resumed, have)
				}
				s.kill() // counting has ended
				if want := l.length - have - hashSize*units; again != want {
					t.Errorf("%d bytes were sent in the second session, %d were left", again, want)
				}
				if _, hidden := bob.files(t); len(hidden) != 0 {
					t.Errorf("left over: %q", hidden)
				}
			})
		}
	}
}

// One session after the other breaks; each brings one more unit.
func TestManyInterruptions(t *testing.T) {
	t.Parallel()
	alice, bob := newPerson(t), newPerson(t)
	b := content(5*unitSize+99, 3)
	path := write(t, "film.mkv", b)
	for units := int64(1); units <= 5; units++ {
		interrupted(t, alice, bob, path, units)
	}
	s := connect(t, alice, bob, options{})
	if _, err := s.alice.Send(context.Background(), path, ""); err != nil {
		t.Fatal(err)
	}
	r := <-bob.received
	whole(t, r, b)
	if r.Resumed != 5*unitSize {
		t.Errorf("resumed %d", r.Resumed)
	}
}

// What lies on the disk is read back: a unit that was damaged, and all behind it, come again.
func TestDamagedPartComesAgain(t *testing.T) {
	t.Parallel()
	damage := map[string]func(f *os.File) error{
		"flipped byte in the second unit": func(f *os.File) error { _, err := f.WriteAt([]byte{0xee}, unitSize+5); return err },
		"cut inside the second unit":      func(f *os.File) error { return f.Truncate(unitSize + 5) },
		"longer than recorded":            func(f *os.File) error { _, err := f.WriteAt(make([]byte, 9999), 3*unitSize); return err },
	}
	want := map[string]int64{"longer than recorded": 3 * unitSize}
	for name, harm := range damage {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alice, bob := newPerson(t), newPerson(t)
			b := content(4*unitSize, 4)
			b[unitSize+5] = 1
			path := write(t, "film.mkv", b)
			interrupted(t, alice, bob, path, 3)
			_, hidden := bob.files(t)
			f, err := os.OpenFile(filepath.Join(bob.dir, hidden[0]), os.O_RDWR, 0)
			if err == nil {
				err = errors.Join(harm(f), f.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			// Interrupted again at once: what is known of the units must have been cut as well.
			resumed, ok := want[name]
			if !ok {
				resumed = unitSize
				interrupted(t, alice, bob, path, 2)
				resumed = 2 * unitSize
			}
			s := connect(t, alice, bob, options{})
			if _, err := s.alice.Send(context.Background(), path, ""); err != nil {
				t.Fatal(err)
			}
			r := <-bob.received
			whole(t, r, b)
			if r.Resumed != resumed {
				t.Errorf("resumed %d, not %d", r.Resumed, resumed)
			}
		})
	}
}

// The hidden file or the record is gone: the file comes from its beginning.
func TestPartOrRecordIsGone(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, p *person) error{
		"part": func(t *testing.T, p *person) error {
			_, hidden := p.files(t)
			return os.Remove(filepath.Join(p.dir, hidden[0]))
		},
		"state": func(_ *testing.T, p *person) error {
			err := os.RemoveAll(p.state.dir)
			return errors.Join(err, os.Mkdir(p.state.dir, 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alice, bob := newPerson(t), newPerson(t)
			b := content(2*unitSize+1, 5)
			path := write(t, "film.mkv", b)
			interrupted(t, alice, bob, path, 2)
			if err := lose(t, bob); err != nil {
				t.Fatal(err)
			}
			s := connect(t, alice, bob, options{})
			if _, err := s.alice.Send(context.Background(), path, ""); err != nil {
				t.Fatal(err)
			}
			r := <-bob.received
			whole(t, r, b)
			if r.Resumed != 0 {
				t.Errorf("resumed %d", r.Resumed)
			}
		})
	}
}

// Bob was killed after the file had its name and before Alice heard of it. Offered again, it is
// done at once: nobody is asked, no chunk is sent, nothing is written.
func TestDoneBeforeAcknowledgement(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(t *testing.T, p *person, r Received){
		"record says done": func(*testing.T, *person, Received) {},
		"touched since": func(t *testing.T, p *person, r Received) {
			info, err := os.Stat(r.Path)
			if err == nil {
				err = os.Chtimes(r.Path, info.ModTime(), info.ModTime().AddDate(-1, 0, 0))
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		"killed between showing it and writing that down": func(t *testing.T, p *person, r Received) {
			rec, err := books{p.state}.load(r.ID)
			if err != nil {
				t.Fatal(err)
			}
			rec.done = false
			err = errors.Join(books{p.state}.save(r.ID, rec), os.Link(r.Path, filepath.Join(p.dir, rec.part)))
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alice, bob := newPerson(t), newPerson(t)
			b := content(unitSize+1, 6)
			path := write(t, "film.mkv", b)
			s := connect(t, alice, bob, options{fromBob: func(l *line) {
				l.onControl = func(msg []byte) bool {
					m, _, err := parseControl(msg)
					if err == nil && m.GetDone() != nil {
						l.break_()
						return false
					}
					return true
				}
			}})
			ended := make(chan error, 1)
			go func() {
				_, err := s.alice.Send(context.Background(), path, "")
				ended <- err
			}()
			first := <-bob.received
			s.kill()
			if err := <-ended; !errors.Is(err, ErrClosed) {
				t.Fatalf("the sender that heard nothing says %v", err)
			}
			whole(t, first, b)
			harm(t, bob, first)

			var n int64
			s = connect(t, alice, bob, options{fromAlice: counted(&n)})
			sent, err := s.alice.Send(context.Background(), path, "")
			if err != nil {
				t.Fatal(err)
			}
			second := <-bob.received
			whole(t, second, b)
			s.kill()
			shown, hidden := bob.files(t)
			if n != 0 || sent.Resumed != int64(len(b)) || second.Path != first.Path || len(bob.offers) != 1 ||
				!slices.Equal(shown, []string{"film.mkv"}) || len(hidden) != 0 {
				t.Errorf("%d bytes sent, %+v, %+v, asked %d times, folder %q and %q", n, sent, second, len(bob.offers), shown, hidden)
			}
		})
	}
}

// A file that was shown and is gone, or is another one now, comes again.
func TestShownFileIsGone(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(path string) error{
		"removed": os.Remove,
		"changed": func(path string) error { return os.WriteFile(path, content(unitSize, 8), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alice, bob := newPerson(t), newPerson(t)
			b := content(unitSize, 7)
			path := write(t, "film.mkv", b)
			s := connect(t, alice, bob, options{})
			for i := range 2 {
				sent, err := s.alice.Send(context.Background(), path, "")
				if err != nil {
					t.Fatal(err)
				}
				r := <-bob.received
				whole(t, r, b)
				if sent.Resumed != 0 {
					t.Errorf("resumed %d", sent.Resumed)
				}
				if i == 0 {
					if err := harm(r.Path); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}
