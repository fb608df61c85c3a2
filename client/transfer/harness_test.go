package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var errCut = errors.New("the line is cut")

// line is one direction of an ordered, reliable channel in memory: two queues with a bound,
// so that a sender has to wait for a receiver.
type line struct {
	control, data chan []byte
	cut           chan struct{}
	once          sync.Once

	// onControl and onData, when set, see each message before it is queued; false drops it.
	onControl, onData func(msg []byte) bool
}

func newLine() *line {
	return &line{control: make(chan []byte, 4), data: make(chan []byte, 4), cut: make(chan struct{})}
}

func (l *line) break_() { l.once.Do(func() { close(l.cut) }) }

func (l *line) put(ctx context.Context, queue chan []byte, limit int, look func([]byte) bool, msg []byte) error {
	if len(msg) == 0 || len(msg) > limit {
		return errors.New("a message that the channel does not take")
	}
	select {
	case <-l.cut:
		return errCut
	default:
	}
	if look != nil && !look(msg) {
		return nil
	}
	select {
	case queue <- bytes.Clone(msg):
		return nil
	case <-l.cut:
		return errCut
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *line) SendControl(ctx context.Context, msg []byte) error {
	return l.put(ctx, l.control, 8192, l.onControl, msg)
}

func (l *line) SendData(ctx context.Context, msg []byte) error {
	return l.put(ctx, l.data, 65535, l.onData, msg)
}

// pump hands the messages of one queue on until the line is cut.
func (l *line) pump(queue chan []byte, handle func([]byte) error, failed func(error)) {
	for {
		select {
		case <-l.cut:
			return
		default:
		}
		select {
		case <-l.cut:
			return
		case msg := <-queue:
			if err := handle(msg); err != nil {
				failed(err)
			}
		}
	}
}

// person is one end across sessions: a folder, a state, and what it was told.
type person struct {
	dir      string
	state    *DirState
	received chan Received

	mu     sync.Mutex // guards offers, steps, breach
	offers []Offer
	steps  []Progress
	breach error // what its engine said against the other side
}

func newPerson(t testing.TB) *person {
	t.Helper()
	state, err := NewDirState(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	return &person{dir: t.TempDir(), state: state, received: make(chan Received, 16)}
}

// shown lists what somebody sees in the folder, and hidden what is there besides.
func (p *person) files(t testing.TB) (shown, hidden []string) {
	t.Helper()
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			hidden = append(hidden, e.Name())
		} else {
			shown = append(shown, e.Name())
		}
	}
	return shown, hidden
}

func (p *person) said() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.breach
}

// session is two engines with a key of their own.
type session struct {
	alice, bob       *Engine
	fromAlice        *line
	fromBob          *line
	cancel           context.CancelFunc
	running, pumping sync.WaitGroup
}

// options change a session before it starts.
type options struct {
	alice, bob         func(*Config)
	aliceEng, bobEng   func(*Engine)
	fromAlice, fromBob func(*line)
}

func (p *person) config() Config {
	return Config{
		Dir: p.dir, State: p.state,
		Accept: func(_ context.Context, o Offer) bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.offers = append(p.offers, o)
			return true
		},
		Progress: func(s Progress) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.steps = append(p.steps, s)
		},
		Received: func(r Received) { p.received <- r },
	}
}

// connect begins a session between two people. It ends with the test at the latest.
func connect(t testing.TB, alice, bob *person, o options) *session {
	t.Helper()
	s := &session{fromAlice: newLine(), fromBob: newLine()}
	var key [32]byte
	fillRandom(key[:])
	build := func(p *person, initiator bool, l *line, change func(*Config), engine func(*Engine)) *Engine {
		cfg := p.config()
		cfg.Initiator, cfg.FileKey, cfg.Channel = initiator, key, l
		if change != nil {
			change(&cfg)
		}
		e, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if engine != nil {
			engine(e)
		}
		return e
	}
	if o.fromAlice != nil {
		o.fromAlice(s.fromAlice)
	}
	if o.fromBob != nil {
		o.fromBob(s.fromBob)
	}
	s.alice = build(alice, true, s.fromAlice, o.alice, o.aliceEng)
	s.bob = build(bob, false, s.fromBob, o.bob, o.bobEng)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	for _, side := range []struct {
		to   *Engine
		who  *person
		from *line
	}{{s.alice, alice, s.fromBob}, {s.bob, bob, s.fromAlice}} {
		failed := func(err error) {
			side.who.mu.Lock()
			side.who.breach = err
			side.who.mu.Unlock()
			s.fromAlice.break_()
			s.fromBob.break_()
		}
		s.running.Go(func() {
			if err := side.to.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		s.pumping.Go(func() { side.from.pump(side.from.control, side.to.HandleControl, failed) })
		s.pumping.Go(func() { side.from.pump(side.from.data, side.to.HandleData, failed) })
	}
	t.Cleanup(s.kill)
	return s
}

// kill cuts the line first, so that nothing polite is heard, and ends both engines.
func (s *session) kill() {
	s.fromAlice.break_()
	s.fromBob.break_()
	s.cancel()
	s.running.Wait()
	s.pumping.Wait()
}

// content is the same for the same seed.
func content(size int, seed uint64) []byte {
	b := make([]byte, size)
	var key [32]byte
	key[0] = byte(seed)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// write puts a file to send into a folder of its own.
func write(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// whole checks that r is a file that arrived, with content b.
func whole(t testing.TB, r Received, b []byte) {
	t.Helper()
	if r.Err != nil {
		t.Fatalf("received: %v", r.Err)
	}
	got, err := os.ReadFile(r.Path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b) {
		t.Fatalf("%d bytes arrived that are not the %d that were sent", len(got), len(b))
	}
	if r.SHA256 != sha256.Sum256(b) || r.Size != int64(len(b)) {
		t.Error("size or hash of the received file is not that of its content")
	}
}
