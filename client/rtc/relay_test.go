package rtc

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/pion/logging"
	"github.com/pion/turn/v4"

	"github.com/trunkline-net/trunkline/client/sdp"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// relay starts a TURN server on loopback, UDP and TCP, and returns its URLs.
func relay(t *testing.T) (udp, tcp ICEServer) {
	t.Helper()
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	generator := &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"}
	server, err := turn.NewServer(turn.ServerConfig{
		Realm: "test", LoggerFactory: &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled, Writer: testWriter{t}},
		AuthHandler: func(user, realm string, _ net.Addr) ([]byte, bool) {
			return turn.GenerateAuthKey(user, realm, "secret"), user == "user"
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: packets, RelayAddressGenerator: generator}},
		ListenerConfigs:   []turn.ListenerConfig{{Listener: listener, RelayAddressGenerator: generator}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	server1 := ICEServer{URLs: []string{"turn:" + packets.LocalAddr().String()}, Username: "user", Credential: "secret"}
	server2 := ICEServer{URLs: []string{"turn:" + listener.Addr().String() + "?transport=tcp"}, Username: "user", Credential: "secret"}
	return server1, server2
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(string(b))
	return len(b), nil
}

// recordLines keeps all candidate lines that a side gives out, on their way to the other.
func recordLines(cfg *Config, to func() *side) (lines func() []string) {
	trickle(cfg, to)
	forward := cfg.OnLocalCandidate
	var mu sync.Mutex
	var all []string
	cfg.OnLocalCandidate = func(c Candidate) {
		mu.Lock()
		all = append(all, c.Line)
		mu.Unlock()
		forward(c)
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), all...)
	}
}

// Hide my address: only relayed candidates leave, none of them names what is behind it, direct
// ones of the other side are not used, and the call runs through the relay.
func TestRelayOnly(t *testing.T) {
	udp, tcp := relay(t)
	for name, c := range map[string]struct {
		alice, bob ICEServer
		bobHides   bool
		pathA      string
		pathB      string
	}{
		"both over UDP":             {udp, udp, true, "relay/udp", "relay/udp"},
		"Alice over TCP":            {tcp, udp, true, "relay/tcp", "relay/udp"},
		"both over TCP":             {tcp, tcp, true, "relay/tcp", "relay/tcp"},
		"Bob does not hide himself": {udp, udp, false, "relay/udp", "relay/udp"},
	} {
		t.Run(name, func(t *testing.T) {
			var alice, bob *side
			a, b := testConfig(Initiator), testConfig(Responder)
			a.RelayOnly, b.RelayOnly = true, c.bobHides
			a.ICEServers, b.ICEServers = []ICEServer{c.alice}, []ICEServer{c.bob}
			linesA := recordLines(&a, func() *side { return bob })
			trickle(&b, func() *side { return alice })
			alice, bob = newSide(t, a), newSide(t, b)
			alice.run()
			bob.run()
			ctx := context.Background()
			offer, err := alice.CreateOffer(ctx)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := bob.AcceptOffer(ctx, offer)
			if err != nil {
				t.Fatal(err)
			}
			// Bob's answer tries to bring a direct candidate along.
			answer.SDP = append(bytes.Clone(answer.SDP), "a=candidate:77 1 udp 2130706431 127.0.0.1 9 typ host\r\n"...)
			if err := alice.AcceptAnswer(ctx, answer); err != nil {
				t.Fatal(err)
			}
			if err := alice.AddCandidate(ctx, Candidate{Line: "candidate:78 1 udp 2130706431 127.0.0.1 9 typ host"}); err != nil {
				t.Fatal(err)
			}
			wait(t, alice.Peer.bound, "binding at Alice's")
			wait(t, bob.Peer.bound, "binding at Bob's")

			audio, video := sendMany(t, alice, sframe.VP8, 30, 5)
			checkFrames(t, bob, sframe.VP8, audio, video)
			if alice.Stats().CandidatesRefused == 0 {
				t.Error("Alice took Bob's direct candidate")
			}
			if strings.Contains(alice.pc.RemoteDescription().SDP, "typ host") {
				t.Error("the library was given a direct candidate")
			}
			relayed := 0
			for _, line := range linesA() {
				if line == "" {
					continue
				}
				cand, err := sdp.ParseCandidate(line)
				if err != nil || cand.Type != sdp.Relay || !cand.Related.Addr().IsUnspecified() {
					t.Errorf("Alice gave out %q, %v", line, err)
				}
				relayed++
			}
			if relayed == 0 || strings.Contains(string(offer.SDP), "a=candidate") {
				t.Errorf("%d relayed candidates; offer:\n%s", relayed, offer.SDP)
			}
			for _, pair := range []struct {
				s    *side
				path string
			}{{alice, c.pathA}, {bob, c.pathB}} {
				for r := pair.s.Route(); r.Remote == ""; r = wait(t, pair.s.route, "route") {
				}
				if r := pair.s.Route(); r.Local != pair.path && c.bobHides || pair.s == alice && r.Path != pair.path {
					t.Errorf("route is %+v, want %s", r, pair.path)
				}
			}
			if r := bob.Route(); r.Remote != c.pathA || !strings.HasPrefix(r.Path, "relay/") {
				t.Errorf("Bob's route is %+v", r)
			}
			hangUp(t, alice, bob)
			noGoroutines(t)
		})
	}
}

// restart carries a restart offer from a to b and the answer back.
func restart(t *testing.T, alice, bob *side, servers []ICEServer) (offer, answer Description) {
	t.Helper()
	ctx := context.Background()
	offer, err := alice.Restart(ctx, servers)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := alice.Restart(ctx, nil); err != nil || !bytes.Equal(again.SDP, offer.SDP) {
		t.Errorf("the open offer is not the same again: %v", err)
	}
	answer, err = bob.AcceptOffer(ctx, offer)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := bob.AcceptOffer(ctx, offer); err != nil || !bytes.Equal(again.SDP, answer.SDP) {
		t.Errorf("a repeated offer gave another answer: %v", err)
	}
	if err := alice.AcceptAnswer(ctx, answer); err != nil {
		t.Fatal(err)
	}
	if err := alice.AcceptAnswer(ctx, answer); err != nil {
		t.Errorf("a repeated answer: %v", err)
	}
	return offer, answer
}

// ICE restart: new user names, the same certificates, frames go on, from direct to relayed.
func TestRestartKeepsTheCertificate(t *testing.T) {
	udp, _ := relay(t)
	alice, bob := connect(t, testConfig(Initiator), testConfig(Responder))
	audio, video := sendMany(t, alice, sframe.VP8, 10, 1)
	checkFrames(t, bob, sframe.VP8, audio, video)
	// Bob's stream begins before, so that what is lost while the path changes is repaired.
	if err := errors.Join(bob.SendAudio([]byte("first"), 0), bob.SendVideo([]byte{1}, 0)); err != nil {
		t.Fatal(err)
	}
	alice.frames(1, 1)
	first := alice.pc.LocalDescription().SDP
	for generation := uint32(1); generation <= 2; generation++ {
		offer, answer := restart(t, alice, bob, []ICEServer{udp})
		if offer.Fingerprint != alice.Fingerprint() || answer.Fingerprint != bob.Fingerprint() {
			t.Error("a fingerprint changed")
		}
		if offer.Generation != generation || answer.Generation != generation {
			t.Errorf("generations %d and %d, want %d", offer.Generation, answer.Generation, generation)
		}
		if strings.Contains(first, "a=ice-ufrag:"+offer.Ufrag) {
			t.Error("the ICE user name is the old one")
		}
	}
	more, _ := sendMany(t, bob, sframe.VP8, 10, 2)
	got, _ := alice.frames(11, 11)
	for i := range more {
		if !bytes.Equal(got[i+1].Data, more[i]) {
			t.Fatalf("audio frame %d after the restart is another one", i)
		}
	}
	if s := alice.State(); s != StateBound {
		t.Errorf("state is %v", s)
	}
	if _, err := bob.Restart(context.Background(), nil); !errors.Is(err, ErrNotOfferer) {
		t.Errorf("the answering side restarts: %v", err)
	}
	hangUp(t, alice, bob)
	noGoroutines(t)
}

// A restart that brings another certificate, or comes out of turn, is refused and changes nothing.
func TestRestartWithAnotherCertificateIsRefused(t *testing.T) {
	alice, bob := connect(t, testConfig(Initiator), testConfig(Responder))
	ctx := context.Background()
	offer, err := alice.Restart(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	mallory := offer
	mallory.Fingerprint = [32]byte{66}
	mallory.SDP = bytes.ReplaceAll(offer.SDP, []byte(sdp.FormatFingerprint(offer.Fingerprint)), []byte(sdp.FormatFingerprint(mallory.Fingerprint)))
	if _, err := bob.AcceptOffer(ctx, mallory); !errors.Is(err, ErrFingerprint) {
		t.Errorf("another certificate in a restart: %v", err)
	}
	for _, g := range []uint32{0, 2, 7} {
		late := offer
		late.Generation = g
		if _, err := bob.AcceptOffer(ctx, late); err == nil {
			t.Errorf("an offer of generation %d was taken after 0", g)
		}
	}
	if err := bob.AcceptAnswer(ctx, offer); err == nil {
		t.Error("an answer without an offer was taken")
	}
	answer, err := bob.AcceptOffer(ctx, offer)
	if err != nil {
		t.Fatal(err)
	}
	actpass := answer
	actpass.Setup = sdp.SetupActpass
	actpass.SDP = bytes.ReplaceAll(answer.SDP, []byte("a=setup:"+answer.Setup.String()), []byte("a=setup:actpass"))
	if err := alice.AcceptAnswer(ctx, actpass); err == nil {
		t.Error("an answer that leaves the role open was taken")
	}
	if err := alice.AcceptAnswer(ctx, answer); err != nil {
		t.Error(err)
	}
	if err := alice.SendMediaEnd(ctx); err != nil {
		t.Error(err)
	}
	wait(t, bob.end, "message over the new path")
	hangUp(t, alice, bob)
}

// Candidates that overtake their description are kept, a flood of them is not.
func TestCandidatesBeforeTheirDescription(t *testing.T) {
	var alice, bob *side
	a, b := testConfig(Initiator), testConfig(Responder)
	var lines []Candidate
	done := make(chan struct{})
	a.OnLocalCandidate = func(c Candidate) {
		lines = append(lines, c)
		if c.Line == "" {
			close(done)
		}
	}
	alice = newSide(t, a)
	trickle(&b, func() *side { return alice })
	bob = newSide(t, b)
	alice.run()
	bob.run()
	ctx := context.Background()
	offer, err := alice.CreateOffer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, done, "end of candidates")
	for _, c := range lines {
		if err := bob.AddCandidate(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 {
		if err := bob.AddCandidate(ctx, Candidate{Line: "candidate:1 1 udp 1 127.0.0.1 1 typ host", Generation: 9}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(bob.neg.early); n != maxEarly {
		t.Errorf("%d early candidates are held", n)
	}
	answer, err := bob.AcceptOffer(ctx, offer)
	if err != nil {
		t.Fatal(err)
	}
	if err := alice.AcceptAnswer(ctx, answer); err != nil {
		t.Fatal(err)
	}
	wait(t, alice.Peer.bound, "binding at Alice's")
	wait(t, bob.Peer.bound, "binding at Bob's")
	for _, line := range []string{"nonsense", "candidate:1 1 udp 1 host.example 1 typ host", "candidate:1 1 udp 1 x.local 1 typ host"} {
		before := bob.Stats().CandidatesRefused
		if err := bob.AddCandidate(ctx, Candidate{Line: line}); err != nil || bob.Stats().CandidatesRefused != before+1 {
			t.Errorf("%q: %v", line, err)
		}
	}
	hangUp(t, alice, bob)
}
