package client_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/internal/demo/clip"
)

func aClip(t testing.TB) *client.Source {
	t.Helper()
	s, err := client.NewClipSource(clip.Ogg, clip.IVF)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestARelayedCallCarriesAudioAndVideoBothWays(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", globex)
	meet(t, alice, bob)

	folder := filepath.Join(t.TempDir(), "bob")
	answered := make(chan *client.Call, 1)
	go func() {
		defer close(answered)
		ring := told(t, bob, always[client.Ringing])
		sink, err := client.NewRecorder(folder)
		if err != nil {
			t.Error(err)
			return
		}
		call, err := ring.Answer(within(t), client.CallOptions{RelayOnly: true, Source: aClip(t), Sink: sink})
		if err != nil {
			t.Errorf("bob answers: %v", err)
			return
		}
		answered <- call
	}()
	call, err := alice.Ring(within(t), bob.id(), client.CallOptions{RelayOnly: true, Media: client.Video, Source: aClip(t)})
	if err != nil {
		t.Fatalf("alice rings: %v", err)
	}
	theirs := <-answered
	if theirs == nil {
		t.FailNow()
	}
	for name, c := range map[string]*client.Call{"alice": call, "bob": theirs} {
		if err := c.Played(within(t)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	ours, his := call.Info(), theirs.Info()
	for name, i := range map[string]client.CallInfo{"alice": ours, "bob": his} {
		if !i.Connected || !i.ChannelBinding || !i.SFrame || i.Route.Local != "relay/udp" {
			t.Errorf("%s: connected %v, bound %v, sframe %v, route %+v, stats %+v", name, i.Connected, i.ChannelBinding, i.SFrame, i.Route, i.Stats)
		}
		if i.Media.AudioSent == 0 || i.Media.AudioReceived == 0 || len(i.Media.VideoReceivedHash) == 0 {
			t.Errorf("%s: media did not flow: %d audio sent, %d received, %d video received", name, i.Media.AudioSent, i.Media.AudioReceived, len(i.Media.VideoReceivedHash))
		}
	}
	for _, h := range his.Media.VideoReceivedHash {
		if !slices.Contains(ours.Media.VideoSentHashes, h) {
			t.Error("bob received a video frame that alice did not send")
		}
	}
	t.Logf("set up in %v; alice sent %d audio and %d video frames, bob received %d and %d", ours.Setup,
		ours.Media.AudioSent, len(ours.Media.VideoSentHashes), his.Media.AudioReceived, len(his.Media.VideoReceivedHash))
	if err := call.Hangup(within(t)); err != nil {
		t.Errorf("alice hangs up: %v", err)
	}
	<-theirs.Done()
	for _, name := range []string{"audio.ogg", "video.ivf"} {
		if st, err := os.Stat(filepath.Join(folder, name)); err != nil || st.Size() < 10_000 {
			t.Errorf("the recording %s: %v, %v", name, st, err)
		}
	}
}

func TestADeclinedRingIsDeclined(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", globex)
	meet(t, alice, bob)
	go func() { told(t, bob, always[client.Ringing]).Decline() }()
	if _, err := alice.Ring(within(t), bob.id(), client.CallOptions{Media: client.Audio}); !errors.Is(err, client.ErrDeclined) {
		t.Errorf("the ring ended with %v", err)
	}
}
