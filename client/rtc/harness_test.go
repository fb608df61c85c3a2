package rtc

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// testTime bounds every wait in these tests. It is only reached when something is broken.
const testTime = 30 * time.Second

var (
	keyI2R  = [32]byte{1}
	keyR2I  = [32]byte{2}
	keyCode = [32]byte{3}
	errMAC  = errors.New("MAC differs")
)

// testBinding is the session's channel binding: HMAC over role and both fingerprints.
type testBinding struct {
	role Role
	key  byte
}

func (b testBinding) mac(role Role, own, peer [32]byte) (out [32]byte) {
	h := hmac.New(sha256.New, []byte{b.key})
	h.Write([]byte{byte(role)})
	h.Write(own[:])
	h.Write(peer[:])
	h.Sum(out[:0])
	return out
}

func (b testBinding) Binding(own, peer [32]byte) ([32]byte, error) {
	return b.mac(b.role, own, peer), nil
}

func (b testBinding) CheckBinding(mac []byte, own, peer [32]byte) error {
	want := b.mac(1-b.role, peer, own)
	if !hmac.Equal(mac, want[:]) {
		return errMAC
	}
	return nil
}

// testClock moves only when a test says so.
type testClock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[*testTimer]struct{}
	set    chan struct{} // one token for each timer that was set
}

type testTimer struct {
	at time.Time
	f  func()
}

func newTestClock() *testClock {
	return &testClock{now: time.Unix(1_800_000_000, 0), timers: map[*testTimer]struct{}{}, set: make(chan struct{}, 64)}
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &testTimer{at: c.now.Add(d), f: f}
	c.timers[t] = struct{}{}
	select {
	case c.set <- struct{}{}:
	default:
	}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, live := c.timers[t]
		delete(c.timers, t)
		return live
	}
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	var due []*testTimer
	for t := range c.timers {
		if !t.at.After(c.now) {
			due = append(due, t)
			delete(c.timers, t)
		}
	}
	c.mu.Unlock()
	for _, t := range due {
		t.f()
	}
}

// side is one Peer with what it reported.
type side struct {
	*Peer
	t     *testing.T
	bound chan struct{}
	code  chan string
	end   chan MediaEnd
	start chan MediaStart
	bye   chan struct{}
	route chan Route
	done  chan error // Run's result

	mu       sync.Mutex
	states   []State
	gotAudio []Frame
	gotVideo []Frame
	got      chan struct{} // a token when frames came
}

// testConfig is an audio and video call on loopback.
func testConfig(role Role) Config {
	cfg := Config{
		Role: role, Audio: SendReceive, Video: SendReceive,
		SendKey: keyI2R, ReceiveKey: keyR2I, CallCode: envelope.CallCodeOf(envelope.Role(role), keyCode),
		Binding:         testBinding{role: role},
		IncludeLoopback: true,
		InterfaceFilter: func(name string) bool { return name == "lo" },
	}
	if role == Responder {
		cfg.SendKey, cfg.ReceiveKey = keyR2I, keyI2R
	}
	return cfg
}

// newSide fills in the callbacks that cfg does not have.
func newSide(t *testing.T, cfg Config) *side {
	t.Helper()
	s := &side{t: t, bound: make(chan struct{}), code: make(chan string, 1), end: make(chan MediaEnd, 1),
		start: make(chan MediaStart, 1), bye: make(chan struct{}, 1), route: make(chan Route, 16),
		done: make(chan error, 1), got: make(chan struct{}, 1)}
	user := cfg.OnBound
	cfg.OnBound = func() {
		if user != nil {
			user()
		}
		close(s.bound)
	}
	cfg.OnCallCode = func(c string) { s.code <- c }
	cfg.OnMediaEnd = func(m MediaEnd) { s.end <- m }
	cfg.OnMediaStart = func(m MediaStart) { s.start <- m }
	cfg.OnBye = func() { s.bye <- struct{}{} }
	cfg.OnRoute = func(r Route) {
		select {
		case s.route <- r:
		default:
		}
	}
	cfg.OnState = func(st State) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.states = append(s.states, st)
	}
	cfg.OnAudio = func(f Frame) { s.keep(&s.gotAudio, f) }
	cfg.OnVideo = func(f Frame) { s.keep(&s.gotVideo, f) }
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Peer = p
	return s
}

func (s *side) keep(to *[]Frame, f Frame) {
	s.mu.Lock()
	*to = append(*to, f)
	s.mu.Unlock()
	select {
	case s.got <- struct{}{}:
	default:
	}
}

// frames waits until so many came and returns them.
func (s *side) frames(audio, video int) (a, v []Frame) {
	s.t.Helper()
	deadline := time.After(testTime)
	for {
		s.mu.Lock()
		a, v = s.gotAudio, s.gotVideo
		s.mu.Unlock()
		if len(a) >= audio && len(v) >= video {
			return a, v
		}
		select {
		case <-s.got:
		case <-deadline:
			s.t.Fatalf("%d audio and %d video frames came, want %d and %d; %+v", len(a), len(v), audio, video, s.Stats())
		}
	}
}

// run starts the side; its end is checked by finish.
func (s *side) run() {
	ctx, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(cancel)
	go func() { s.done <- s.Run(ctx) }()
}

func (s *side) result() error {
	s.t.Helper()
	return wait(s.t, s.done, "the end of Run")
}

func wait[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(testTime):
		t.Fatalf("no %s", what)
	}
	return v
}

// trickle connects the candidates of one side to the other.
func trickle(from *Config, to func() *side) {
	from.OnLocalCandidate = func(c Candidate) {
		// From the Peer's goroutine into the other Peer; never the same lock twice.
		go func() {
			if err := to().AddCandidate(context.Background(), c); err != nil && !errors.Is(err, ErrClosed) {
				to().t.Errorf("candidate %q: %v", c.Line, err)
			}
		}()
	}
}

// pairUp makes two running sides that trickle to each other.
func pairUp(t *testing.T, a, b Config) (alice, bob *side) {
	t.Helper()
	trickle(&a, func() *side { return bob })
	trickle(&b, func() *side { return alice })
	alice, bob = newSide(t, a), newSide(t, b)
	alice.run()
	bob.run()
	return alice, bob
}

// negotiate carries offer and answer.
func exchange(t *testing.T, alice, bob *side) {
	t.Helper()
	ctx := context.Background()
	offer, err := alice.CreateOffer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := bob.AcceptOffer(ctx, offer)
	if err != nil {
		t.Fatal(err)
	}
	if err := alice.AcceptAnswer(ctx, answer); err != nil {
		t.Fatal(err)
	}
}

// connect makes a bound call.
func connect(t *testing.T, a, b Config) (alice, bob *side) {
	t.Helper()
	alice, bob = pairUp(t, a, b)
	exchange(t, alice, bob)
	wait(t, alice.bound, "binding at Alice's")
	wait(t, bob.bound, "binding at Bob's")
	return alice, bob
}

// hangUp ends a call from Alice's side and checks that it ended well everywhere.
func hangUp(t *testing.T, alice, bob *side) {
	t.Helper()
	alice.Close()
	if err := alice.result(); err != nil {
		t.Errorf("Alice's Run: %v", err)
	}
	if err := bob.result(); err != nil {
		t.Errorf("Bob's Run: %v", err)
	}
	for _, s := range []*side{alice, bob} {
		if s.State() != StateClosed {
			t.Errorf("state after the end is %v", s.State())
		}
		if err := s.SendData(context.Background(), []byte("x")); err == nil {
			t.Error("sent after the end")
		}
	}
}

// noGoroutines checks that nothing of this package or of the library still runs.
func noGoroutines(t *testing.T) {
	t.Helper()
	buf := make([]byte, 1<<20)
	var left []string
	// A goroutine whose last statement has run may still be listed for an instant.
	for range 1000 {
		left = nil
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			// The relay of a test (turn/v4; the library itself uses v5) lives as long as the test.
			ours := strings.Contains(g, "pion/") || strings.Contains(g, "rtc.(*")
			if ours && !strings.Contains(g, "testing.tRunner") && !strings.Contains(g, "pion/turn/v4") {
				left = append(left, g)
			}
		}
		if len(left) == 0 {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d goroutines are left, the first is\n%s", len(left), left[0])
}

// videoFrame makes frame n of size bytes: a key frame each thirty.
func videoFrame(codec sframe.Codec, n, size int, random func([]byte)) []byte {
	b := make([]byte, size)
	random(b)
	key := n%30 == 0
	switch {
	case codec == sframe.VP8 && key:
		b[0] &^= 1
	case codec == sframe.VP8:
		b[0] |= 1
	case key:
		b[0] = 0x82
	default:
		b[0] = 0x86
	}
	return b
}
