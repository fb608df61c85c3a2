package rtc

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/media/sframe"
)

// sendMany sends n audio and n video frames of random bytes and returns them.
func sendMany(t *testing.T, s *side, codec sframe.Codec, n int, seed uint64) (audio, video [][]byte) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	fill := func(b []byte) {
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
	}
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for i := range n {
		<-pace.C // a burst of everything at once would overrun the socket's buffer, as it should
		a := make([]byte, 1+rng.IntN(300))
		fill(a)
		if err := s.SendAudio(a, 20*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		v := videoFrame(codec, i, 10+rng.IntN(6000), fill)
		if err := s.SendVideo(v, 33*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		audio, video = append(audio, a), append(video, v)
	}
	if err := s.SendMediaEnd(context.Background()); err != nil {
		t.Fatal(err)
	}
	return audio, video
}

// checkFrames checks that s received just these, in order.
func checkFrames(t *testing.T, s *side, codec sframe.Codec, audio, video [][]byte) {
	t.Helper()
	end := wait(t, s.end, "media end")
	if end.AudioFrames != uint64(len(audio)) || end.VideoFrames != uint64(len(video)) {
		t.Fatalf("announced %+v, sent %d and %d", end, len(audio), len(video))
	}
	gotAudio, gotVideo := s.frames(len(audio), len(video))
	for i, f := range gotAudio {
		if !bytes.Equal(f.Data, audio[i]) || f.Codec != sframe.Opus {
			t.Fatalf("audio frame %d is another one", i)
		}
	}
	for i, f := range gotVideo {
		if !bytes.Equal(f.Data, video[i]) || f.Codec != codec || f.Key != (i%30 == 0) {
			t.Fatalf("video frame %d is another one: codec %v, key %v", i, f.Codec, f.Key)
		}
	}
	st := s.Stats()
	if st.SFrameFailed != 0 || st.FramesLost != 0 || st.AudioReceived != uint64(len(audio)) || st.VideoReceived != uint64(len(video)) {
		t.Errorf("stats %+v", st)
	}
}

// Random bytes of every codec survive both ways, byte for byte.
func TestCallCarriesFramesBothWays(t *testing.T) {
	for name, c := range map[string]struct{ alice, bob sframe.Codec }{
		"VP8":             {sframe.VP8, sframe.VP8},
		"VP9":             {sframe.VP9, sframe.VP9},
		"VP8 against VP9": {sframe.VP8, sframe.VP9},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := testConfig(Initiator), testConfig(Responder)
			a.VideoCodec, b.VideoCodec = c.alice, c.bob
			alice, bob := connect(t, a, b)
			if err := alice.SendMediaStart(context.Background(), MediaStart{Audio: true, Video: true, VideoCodec: c.alice}); err != nil {
				t.Fatal(err)
			}
			if m := wait(t, bob.start, "media start"); !m.Audio || !m.Video || m.VideoCodec != c.alice {
				t.Errorf("media start says %+v", m)
			}
			audio, video := sendMany(t, alice, c.alice, 150, 1)
			checkFrames(t, bob, c.alice, audio, video)
			audio, video = sendMany(t, bob, c.bob, 150, 2)
			checkFrames(t, alice, c.bob, audio, video)

			if codeA, codeB := wait(t, alice.code, "call code"), wait(t, bob.code, "call code"); codeA != codeB || len(codeA) != 6 {
				t.Errorf("call codes %s and %s", codeA, codeB)
			}
			for _, s := range []*side{alice, bob} {
				for r := s.Route(); r.Remote == ""; r = wait(t, s.route, "route") {
				}
				if r := s.Route(); r != (Route{Path: "lan", Local: "lan", Remote: "lan"}) {
					t.Errorf("route is %+v", r)
				}
			}
			hangUp(t, alice, bob)
			wait(t, bob.bye, "goodbye")
			noGoroutines(t)
		})
	}
}

func TestNothingFlowsBeforeBinding(t *testing.T) {
	alice, bob := pairUp(t, testConfig(Initiator), testConfig(Responder))
	if err := alice.await(context.Background()); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"audio":        alice.SendAudio([]byte("x"), time.Millisecond),
		"video":        alice.SendVideo([]byte{1}, time.Millisecond),
		"file data":    alice.SendData(context.Background(), []byte("x")),
		"file control": alice.SendControl(context.Background(), []byte("x")),
		"media start":  alice.SendMediaStart(context.Background(), MediaStart{}),
		"key frame":    alice.RequestKeyframe(),
	} {
		if !errors.Is(err, ErrNotBound) {
			t.Errorf("%s before binding: %v", name, err)
		}
	}
	alice.Close()
	bob.Close()
	if err := errors.Join(alice.result(), bob.result()); err != nil {
		t.Error(err)
	}
	noGoroutines(t)
}

// Directions: Alice only sends video, Bob only takes it; there is no audio.
func TestOneWayVideoOnly(t *testing.T) {
	a, b := testConfig(Initiator), testConfig(Responder)
	a.Audio, b.Audio = Inactive, Inactive
	a.Video, b.Video = SendOnly, ReceiveOnly
	alice, bob := connect(t, a, b)
	for i := range 5 {
		if err := alice.SendVideo([]byte{1, byte(i)}, 33*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	if err := alice.SendMediaEnd(context.Background()); err != nil {
		t.Fatal(err)
	}
	_, video := bob.frames(0, 5)
	for i, f := range video {
		if !bytes.Equal(f.Data, []byte{1, byte(i)}) {
			t.Errorf("frame %d is %x", i, f.Data)
		}
	}
	if err := bob.SendVideo([]byte{1}, time.Millisecond); !errors.Is(err, ErrNotSending) {
		t.Errorf("receiver sends: %v", err)
	}
	if err := alice.SendAudio([]byte{1}, time.Millisecond); !errors.Is(err, ErrNotSending) {
		t.Errorf("audio in a call without: %v", err)
	}
	hangUp(t, alice, bob)
	noGoroutines(t)
}

func TestBadFramesAreNotSent(t *testing.T) {
	alice, bob := connect(t, testConfig(Initiator), testConfig(Responder))
	for name, err := range map[string]error{
		"empty":                alice.SendAudio(nil, time.Millisecond),
		"too large":            alice.SendVideo(make([]byte, maxSent+1), time.Millisecond),
		"negative time":        alice.SendAudio([]byte("x"), -1),
		"short VP8 key frame":  alice.SendVideo([]byte{0, 1}, time.Millisecond),
		"empty file message":   alice.SendData(context.Background(), nil),
		"65,536 bytes of file": alice.SendData(context.Background(), make([]byte, maxMessage+1)),
		"long file control":    alice.SendControl(context.Background(), make([]byte, maxFileControl+1)),
	} {
		if err == nil {
			t.Errorf("%s was sent", name)
		}
	}
	hangUp(t, alice, bob)
}

func TestKeyframeRequestReachesTheSender(t *testing.T) {
	asked := make(chan struct{}, 4)
	a := testConfig(Initiator)
	a.OnKeyframeRequest = func() { asked <- struct{}{} }
	alice, bob := connect(t, a, testConfig(Responder))
	if err := alice.SendVideo([]byte{1, 2}, 33*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	bob.frames(0, 1)
	if err := bob.RequestKeyframe(); err != nil {
		t.Fatal(err)
	}
	wait(t, asked, "key frame request")
	hangUp(t, alice, bob)
}

// TestWhoHearsOfTheBindingMaySend sends from OnBound itself: what hears of it there may hand the
// news to another goroutine that sends at once.
func TestWhoHearsOfTheBindingMaySend(t *testing.T) {
	var alice, bob *side
	a, b := testConfig(Initiator), testConfig(Responder)
	var ofAlice, ofBob error // each side has a goroutine of its own
	a.OnBound = func() { ofAlice = alice.SendAudio([]byte("x"), 20*time.Millisecond) }
	b.OnBound = func() { ofBob = bob.SendAudio([]byte("x"), 20*time.Millisecond) }
	trickle(&a, func() *side { return bob })
	trickle(&b, func() *side { return alice })
	alice, bob = newSide(t, a), newSide(t, b)
	alice.run()
	bob.run()
	exchange(t, alice, bob)
	wait(t, alice.bound, "binding at Alice's")
	wait(t, bob.bound, "binding at Bob's")
	hangUp(t, alice, bob)
	if err := errors.Join(ofAlice, ofBob); err != nil {
		t.Error(err)
	}
}

func TestAnAbortedConnectionSaysNoGoodbye(t *testing.T) {
	alice, bob := connect(t, testConfig(Initiator), testConfig(Responder))
	alice.Abort()
	if err := bob.result(); err != nil {
		t.Errorf("Bob's Run: %v", err)
	}
	if err := alice.result(); !errors.Is(err, ErrAborted) {
		t.Errorf("Alice's Run: %v", err)
	}
	if bob.SaidGoodbye() || alice.SaidGoodbye() {
		t.Error("a goodbye was said")
	}
}

func TestCloseFromACallbackAndByContext(t *testing.T) {
	var alice *side
	a := testConfig(Initiator)
	a.OnBound = func() { alice.Close() }
	var bob *side
	b := testConfig(Responder)
	trickle(&a, func() *side { return bob })
	trickle(&b, func() *side { return alice })
	alice, bob = newSide(t, a), newSide(t, b)
	alice.run()
	bob.run()
	exchange(t, alice, bob)
	if err := errors.Join(alice.result(), bob.result()); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	carol := newSide(t, testConfig(Initiator))
	go func() { carol.done <- carol.Run(ctx) }()
	if _, err := carol.CreateOffer(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := carol.result(); err != nil {
		t.Fatal(err)
	}
	if err := carol.Run(context.Background()); err == nil {
		t.Error("Run ran twice")
	}
	if _, err := carol.CreateOffer(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("offer after the end: %v", err)
	}
	noGoroutines(t)
}

func TestBadConfigs(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no binding":             func(c *Config) { c.Binding = nil },
		"role":                   func(c *Config) { c.Role = 7 },
		"same keys":              func(c *Config) { c.ReceiveKey = c.SendKey },
		"audio codec for video":  func(c *Config) { c.VideoCodec = sframe.Opus },
		"relay-only, no servers": func(c *Config) { c.RelayOnly = true },
	} {
		cfg := testConfig(Initiator)
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
