package rtc

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pion/logging"
	"github.com/pion/transport/v4/vnet"
	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/media/sframe"
)

// On a network that loses one packet in twenty every frame still arrives, whole and in order:
// lost packets are asked for again, the very last one too.
func TestLossIsRepaired(t *testing.T) {
	router, err := vnet.NewRouter(&vnet.RouterConfig{
		CIDR: "10.0.0.0/24", LoggerFactory: &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled, Writer: testWriter{t}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var lossy atomic.Bool
	var lost atomic.Int64
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(8, 8))
	router.AddChunkFilter(func(c vnet.Chunk) bool {
		data := c.UserData()
		// RTP alone (RFC 7983), so that the losses are the media's.
		if !lossy.Load() || len(data) == 0 || data[0] < 128 || data[0] > 191 {
			return true
		}
		mu.Lock()
		defer mu.Unlock()
		if rng.IntN(20) == 0 {
			lost.Add(1)
			return false
		}
		return true
	})
	tune := func(ip string) func(*webrtc.SettingEngine) {
		n, err := vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{ip}})
		if err != nil {
			t.Fatal(err)
		}
		if err := router.AddNet(n); err != nil {
			t.Fatal(err)
		}
		return func(s *webrtc.SettingEngine) { s.SetNet(n) }
	}
	tuneA, tuneB := tune("10.0.0.1"), tune("10.0.0.2")
	if err := router.Start(); err != nil {
		t.Fatal(err)
	}

	var alice, bob *side
	a, b := testConfig(Initiator), testConfig(Responder)
	a.InterfaceFilter, b.InterfaceFilter = nil, nil
	private := func(ip net.IP) bool { return ip.IsPrivate() }
	a.IPFilter, b.IPFilter = private, private
	trickle(&a, func() *side { return bob })
	trickle(&b, func() *side { return alice })
	alice, bob = newSide(t, a), newSide(t, b)
	alice.tune, bob.tune = tuneA, tuneB
	alice.run()
	bob.run()
	exchange(t, alice, bob)
	wait(t, alice.Peer.bound, "binding at Alice's")
	wait(t, bob.Peer.bound, "binding at Bob's")

	// The first packets must arrive: a receiver cannot know of one before the first.
	if err := alice.SendAudio([]byte("first"), 0); err != nil {
		t.Fatal(err)
	}
	if err := alice.SendVideo([]byte{0x11, 0}, 0); err != nil {
		t.Fatal(err)
	}
	bob.frames(1, 1)
	lossy.Store(true)
	audio, video := sendMany(t, alice, sframe.VP8, 300, 9)
	gotAudio, gotVideo := bob.frames(1+len(audio), 1+len(video))
	for i := range audio {
		if string(gotAudio[i+1].Data) != string(audio[i]) || string(gotVideo[i+1].Data) != string(video[i]) {
			t.Fatalf("frame %d is another one", i)
		}
	}
	if lost.Load() < 20 {
		t.Errorf("only %d packets were lost", lost.Load())
	}
	if st := bob.Stats(); st.FramesLost != 0 || st.SFrameFailed != 0 {
		t.Errorf("stats %+v", st)
	}
	if end := wait(t, bob.end, "media end"); end.VideoFrames != uint64(1+len(video)) {
		t.Errorf("announced %+v", end)
	}
	alice.Close()
	if err := alice.result(); err != nil {
		t.Error(err)
	}
	if err := bob.result(); err != nil {
		t.Error(err)
	}
	if err := router.Stop(); err != nil {
		t.Error(err)
	}
	noGoroutines(t)
}
