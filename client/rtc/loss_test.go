package rtc

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/transport/v4/vnet"
	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/media/sframe"
)

// stillClock stands still: no missing packet is ever given up, so that what arrives does not
// depend on how busy the machine is.
type stillClock struct {
	machineClock
	at time.Time
}

func (c stillClock) Now() time.Time { return c.at }

// loss loses one packet in twenty of each stream, and one in a hundred twice.
type loss struct {
	on   atomic.Bool
	lost atomic.Int64

	mu    sync.Mutex         // guards all below
	sent  map[uint32]int     // packets of a stream, without those that were sent again
	again map[[2]uint32]bool // by stream and number: to be lost once more
	seen  map[[2]uint32]bool
}

func newLoss() *loss {
	return &loss{sent: map[uint32]int{}, again: map[[2]uint32]bool{}, seen: map[[2]uint32]bool{}}
}

func (l *loss) passes(c vnet.Chunk) bool {
	data := c.UserData()
	// RTP alone (RFC 7983), so that the losses are the media's.
	if !l.on.Load() || len(data) < 12 || data[0] < 128 || data[0] > 191 || data[1] >= 192 && data[1] <= 223 {
		return true
	}
	stream := binary.BigEndian.Uint32(data[8:])
	packet := [2]uint32{stream, uint32(binary.BigEndian.Uint16(data[2:]))}
	l.mu.Lock()
	defer l.mu.Unlock()
	lose := l.again[packet]
	if lose {
		delete(l.again, packet)
	} else if !l.seen[packet] {
		l.seen[packet] = true
		n := l.sent[stream]
		l.sent[stream]++
		lose = n%20 == 7
		if n%100 == 7 {
			l.again[packet] = true
		}
	}
	if lose {
		l.lost.Add(1)
	}
	return !lose
}

// On a network that loses one packet in twenty every frame still arrives, whole and in order:
// lost packets are asked for again, the very last one too.
func TestLossIsRepaired(t *testing.T) {
	router, err := vnet.NewRouter(&vnet.RouterConfig{
		CIDR: "10.0.0.0/24", LoggerFactory: &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled, Writer: testWriter{t}},
	})
	if err != nil {
		t.Fatal(err)
	}
	losses := newLoss()
	router.AddChunkFilter(losses.passes)
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
	b.Clock = stillClock{at: time.Now()}
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
	losses.on.Store(true)
	// No further ahead of what has arrived than what is kept for being sent again.
	const frames, ahead = 300, 40
	rng := rand.New(rand.NewPCG(9, 1))
	fill := func(b []byte) {
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
	}
	var audio, video [][]byte
	for i := range frames {
		bob.frames(max(i-ahead, 0), max(i-ahead, 0))
		audio = append(audio, make([]byte, 1+rng.IntN(300)))
		fill(audio[i])
		if err := alice.SendAudio(audio[i], 20*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		video = append(video, videoFrame(sframe.VP8, i, 10+rng.IntN(6000), fill))
		if err := alice.SendVideo(video[i], 33*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	if err := alice.SendMediaEnd(context.Background()); err != nil {
		t.Fatal(err)
	}
	gotAudio, gotVideo := bob.frames(1+len(audio), 1+len(video))
	for i := range audio {
		if string(gotAudio[i+1].Data) != string(audio[i]) || string(gotVideo[i+1].Data) != string(video[i]) {
			t.Fatalf("frame %d is another one", i)
		}
	}
	if losses.lost.Load() < 20 {
		t.Errorf("only %d packets were lost", losses.lost.Load())
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
