package client_test

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/client/sdp"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// What happens to a call when the way that it takes changes.

// counter is a sink that tells when frames come.
type counter struct {
	audio, video chan struct{}
}

func newCounter() *counter {
	return &counter{audio: make(chan struct{}, 1), video: make(chan struct{}, 1)}
}

func (c *counter) Audio(rtc.Frame) error { return hint(c.audio) }
func (c *counter) Video(rtc.Frame) error { return hint(c.video) }
func (c *counter) Close() error          { return nil }

func hint(c chan struct{}) error {
	select {
	case c <- struct{}{}:
	default:
	}
	return nil
}

// flows waits for fresh frames of both media.
func (c *counter) flows(t *testing.T) {
	t.Helper()
	for _, kind := range []chan struct{}{c.audio, c.video} {
		for range 3 { // the first may be of before
			select {
			case <-kind:
			case <-within(t).Done():
				t.Fatal("no media flows")
			}
		}
	}
}

func TestARelayOnlyCallShowsNoOtherAddress(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", globex)
	meet(t, alice, bob)
	call, theirs := connected(t, alice, bob, client.CallOptions{Media: client.Video, RelayOnly: true}, client.CallOptions{RelayOnly: true})
	candidates := 0
	for _, text := range theirs.Secrets() {
		for _, line := range strings.Split(text, "\n") {
			line = strings.TrimPrefix(strings.TrimSpace(line), "a=")
			switch {
			case strings.HasPrefix(line, "candidate:"):
				candidates++
				if !strings.Contains(line, " typ relay") {
					t.Errorf("bob was shown another address than the relay's: %s", line)
				}
				if i := strings.Index(line, " raddr "); i >= 0 && !strings.HasPrefix(line[i:], " raddr 0.0.0.0") && !strings.HasPrefix(line[i:], " raddr ::") {
					t.Errorf("the relay's candidate names the address behind it: %s", line)
				}
			case strings.HasPrefix(line, "c=IN"):
				if line != "c=IN IP4 0.0.0.0" && line != "c=IN IP4 127.0.0.1" {
					t.Errorf("the description names an address: %s", line)
				}
			}
		}
	}
	if candidates < 2 {
		t.Errorf("%d candidates were seen; the test looks at nothing", candidates)
	}
	for name, i := range map[string]client.CallInfo{"alice": call.Info(), "bob": theirs.Info()} {
		if i.Route.Local != "relay/udp" {
			t.Errorf("%s is reached over %q", name, i.Route.Local)
		}
	}
}

func TestAnICERestartInTheMiddleOfACallKeepsMediaFlowing(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", globex)
	meet(t, alice, bob)
	ours, his := newCounter(), newCounter()
	call, theirs := connected(t, alice, bob,
		client.CallOptions{Media: client.Video, Source: aClip(t), Sink: ours}, client.CallOptions{Source: aClip(t), Sink: his})
	ours.flows(t)
	his.flows(t)
	code := call.Info().Code
	if err := call.Restart(within(t)); err != nil {
		t.Fatal(err)
	}
	// The second generation's candidates have come: the restart went through both ways.
	for name, c := range map[string]*client.Call{"alice": call, "bob": theirs} {
		waitFor(t, "two descriptions of each side at "+name, func() bool {
			descriptions := 0
			for _, text := range c.Secrets() {
				if strings.Contains(text, "ice-ufrag") {
					descriptions++
				}
			}
			return descriptions >= 4
		})
	}
	ours.flows(t)
	his.flows(t)
	for name, c := range map[string]*client.Call{"alice": call, "bob": theirs} {
		if err := c.Played(within(t)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if i := c.Info(); i.Code != code || !i.SFrame || i.Stats.SFrameFailed != 0 {
			t.Errorf("%s after the restart: %+v", name, i.Stats)
		}
	}
	if err := theirs.Restart(within(t)); err == nil {
		t.Error("the side that was rung restarted: two restarts could cross")
	}
	if err := call.Hangup(within(t)); err != nil {
		t.Errorf("alice hangs up: %v", err)
	}
	if err := over(t, theirs); err != nil {
		t.Errorf("bob's call ended as %v", err)
	}
}

func TestACallGoesOnWhileItsNodeRestarts(t *testing.T) {
	t.Parallel()
	for _, relay := range []bool{false, true} {
		t.Run(map[bool]string{false: "direct", true: "through the relay of the node"}[relay], func(t *testing.T) {
			t.Parallel()
			m := newMiddle(t)
			dir := filepath.Join(t.TempDir(), "acme")
			acme := m.exchange(t, "acme.example", dir)
			alice, bob := newHumanAt(t, "alice", m.server.URL), newHumanAt(t, "bob", m.server.URL)
			meet(t, alice, bob)
			ours, his := newCounter(), newCounter()
			call, theirs := connected(t, alice, bob,
				client.CallOptions{Media: client.Video, RelayOnly: relay, Source: endless(t), Sink: ours},
				client.CallOptions{RelayOnly: relay, Source: endless(t), Sink: his})
			ours.flows(t)
			his.flows(t)
			for _, h := range []*human{alice, bob} {
				told(t, h, always[client.LinkUp])
			}

			drained := func() (n int) {
				for _, f := range m.seen {
					if f.GetDrain() != nil {
						n++
					}
				}
				return n
			}
			acme.stop(t)
			m.until("the drain", func([]*pb.ClientFrame, []*pb.NodeFrame) bool { return drained() >= 2 })
			m.exchange(t, "acme.example", dir)
			for _, h := range []*human{alice, bob} {
				told(t, h, always[client.LinkDown])
				told(t, h, always[client.LinkUp])
			}
			ours.flows(t)
			his.flows(t)
			if _, err := alice.SendNote(within(t), bob.id(), "still there?"); err != nil {
				t.Fatal(err)
			}
			told(t, bob, func(e client.NoteReceived) bool { return e.Text == "still there?" })
			if err := call.Hangup(within(t)); err != nil {
				t.Errorf("alice hangs up: %v", err)
			}
			if err := over(t, theirs); err != nil {
				t.Errorf("bob's call ended as %v", err)
			}
		})
	}
}

// endless plays the clip again and again.
func endless(t *testing.T) *client.Source {
	t.Helper()
	first := aClip(t)
	s := *first
	again := func(next func(*client.Source) frames, current *client.Source) frames {
		return func() (frame []byte, d time.Duration, err error) {
			frame, d, err = next(current)()
			if err != nil {
				*current = *aClip(t)
				frame, d, err = next(current)()
			}
			return frame, d, err
		}
	}
	audio, video := *first, *first
	s.NextAudio = again(func(s *client.Source) frames { return s.NextAudio }, &audio)
	s.NextVideo = again(func(s *client.Source) frames { return s.NextVideo }, &video)
	return &s
}

type frames = func() ([]byte, time.Duration, error)

// A path can be broken for the side that does not offer alone. It asks for another one, and
// gets it once for each generation, however often and late it asks.
func TestTheAnsweringSideAsksForANewPath(t *testing.T) {
	t.Parallel()
	alice, h := alone(t)
	p := befriended(t, h, alice)
	ringing := make(chan *client.Call, 1)
	go func() {
		call, err := alice.Ring(within(t), p.id(), client.CallOptions{Media: client.Audio})
		if err != nil {
			t.Errorf("alice rings: %v", err)
		}
		ringing <- call
	}()
	payload, session := p.accept(p.opened(envelopepb.Type_TYPE_RING), envelopepb.Type_TYPE_ACCEPT)
	p.deliver(payload, false)
	call := <-ringing
	if call == nil {
		t.FailNow()
	}
	i := p.connect(session, session)
	var offers []uint32
	// answerOffer follows the client's frames up to its next offer, and answers it.
	answerOffer := func() {
		t.Helper()
		for {
			m := p.frame(session)
			switch m.Type {
			case envelopepb.SessionType_SESSION_OFFER:
				if n := len(offers); n > 0 && offers[n-1] == m.Generation {
					continue // the same again
				}
				offers = append(offers, m.Generation)
				d := rtc.Description{SDP: m.Sdp, Fingerprint: [32]byte(m.Fingerprint), Ufrag: m.Ufrag, Setup: sdp.Setup(m.Setup), Generation: m.Generation}
				answer, err := i.AcceptOffer(within(t), d)
				if err != nil {
					t.Fatal(err)
				}
				p.describe(session, envelopepb.SessionType_SESSION_ANSWER, answer)
				return
			case envelopepb.SessionType_SESSION_ICE:
				for _, line := range m.Candidates {
					if err := i.AddCandidate(within(t), rtc.Candidate{Line: line, Generation: m.Generation}); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	answerOffer()
	var following sync.WaitGroup
	bound := make(chan struct{})
	following.Go(func() {
		for {
			m, ok := p.frameUntil(bound, session)
			if !ok {
				return
			}
			for _, line := range m.Candidates {
				if err := i.AddCandidate(within(t), rtc.Candidate{Line: line, Generation: m.Generation}); err != nil {
					t.Error(err)
				}
			}
		}
	})
	if err := call.Connected(within(t)); err != nil {
		t.Fatal(err)
	}
	close(bound)
	following.Wait()
	session.Step()
	lost := func(generation uint32) {
		p.say(session, &envelopepb.SessionMessage{Type: envelopepb.SessionType_SESSION_RESTART, Generation: generation})
	}
	lost(0)
	answerOffer()
	for range 3 {
		lost(0) // late: that generation is over
	}
	lost(1)
	answerOffer()
	if want := []uint32{0, 1, 2}; !slices.Equal(offers, want) {
		t.Errorf("offers of the generations %v, want %v", offers, want)
	}
	if err := call.Hangup(within(t)); err != nil {
		t.Error(err)
	}
}
