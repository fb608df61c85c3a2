package sfu_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/media/sfu"
	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// limit is only there to end a test that hangs.
const limit = 30 * time.Second

func serve(t *testing.T) *sfu.Server {
	t.Helper()
	s, err := sfu.New(sfu.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// browser is a whole WebRTC stack with its defaults, as a browser has.
func browser(t *testing.T) *webrtc.PeerConnection {
	t.Helper()
	m := &webrtc.MediaEngine{}
	r := &interceptor.Registry{}
	var s webrtc.SettingEngine
	s.LoggerFactory = &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
	s.SetIncludeLoopbackCandidate(true)
	if err := m.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	if err := webrtc.RegisterDefaultInterceptors(m, r); err != nil {
		t.Fatal(err)
	}
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithInterceptorRegistry(r), webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pc.GracefulClose(); err != nil {
			t.Error(err)
		}
	})
	return pc
}

// drain takes events until there are none.
func drain(seat *sfu.Seat) {
	go func() {
		for range seat.Events() { // until it is closed
		}
	}()
}

func seat(t *testing.T, s *sfu.Server, pc *webrtc.PeerConnection, g sfu.Grant) *sfu.Seat {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	connected := make(chan struct{})
	var once sync.Once
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(connected) })
		}
	})
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := pc.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	seat, answer, err := s.Join(ctx, sfu.RoomKey{1}, g, sfu.Description{SDP: offer.SDP})
	if err != nil {
		t.Fatal(err)
	}
	drain(seat)
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer.SDP}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-connected:
	case <-ctx.Done():
		t.Fatal("no connection")
	}
	return seat
}

// Whole stacks on both ends, and payloads of random bytes for every codec: what arrives is what was sent.
func TestEveryCodecGoesThroughBlindly(t *testing.T) {
	for _, codec := range []struct {
		mime string
		slot sfu.Slot
		mid  string
	}{
		{webrtc.MimeTypeOpus, sfu.Microphone, "0"}, {webrtc.MimeTypeVP8, sfu.Camera, "1"},
		{webrtc.MimeTypeVP9, sfu.Camera, "1"}, {webrtc.MimeTypeAV1, sfu.Camera, "1"},
	} {
		t.Run(codec.mime, func(t *testing.T) {
			s := serve(t)
			from, to := browser(t), browser(t)
			clock := uint32(90000)
			if codec.slot == sfu.Microphone {
				clock = 48000
			}
			track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: codec.mime, ClockRate: clock}, "a", "b")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := from.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
				t.Fatal(err)
			}
			came := make(chan []byte, 1024)
			to.OnTrack(func(r *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
				go func() {
					for {
						p, _, err := r.ReadRTP()
						if err != nil {
							return
						}
						select {
						case came <- bytes.Clone(p.Payload):
						default:
						}
					}
				}()
			})
			for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
				if _, err := to.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
					t.Fatal(err)
				}
			}
			seat(t, s, from, sfu.Grant{Index: 1, Publish: true})
			b := seat(t, s, to, sfu.Grant{Index: 2})
			if err := b.Want(sfu.Wants{Subscriptions: []sfu.Subscription{{Mid: codec.mid, Publisher: 1, Slot: codec.slot}}}); err != nil {
				t.Fatal(err)
			}
			sent := map[string]bool{}
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			end := time.NewTimer(limit)
			defer end.Stop()
			right := 0
			for n := 0; right < 200; {
				select {
				case <-tick.C:
					payload := make([]byte, 100+n%900)
					_, _ = rand.Read(payload)
					sent[string(payload)] = true
					n++
					if err := track.WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: uint16(n), Timestamp: uint32(n) * 3000, Marker: true}, Payload: payload}); err != nil {
						t.Fatal(err)
					}
				case b := <-came:
					if !sent[string(b)] {
						t.Fatalf("%d bytes came that nobody sent", len(b))
					}
					right++
				case <-end.C:
					t.Fatalf("%d packets came; the server counts %+v", right, s.Stats())
				}
			}
		})
	}
}

// A client over TCP that stops reading loses its own packets, and nobody else's.
func TestWhoNeverReadsHoldsNobodyUp(t *testing.T) {
	s := serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	join := func(o light.Options, g sfu.Grant, wants bool) *light.Client {
		c, err := light.New(o)
		if err != nil {
			t.Fatal(err)
		}
		seat, answer, err := s.Join(ctx, sfu.RoomKey{1}, g, sfu.Description{SDP: c.Offer()})
		if err != nil {
			t.Fatal(err)
		}
		drain(seat)
		if err := c.Connect(ctx, answer.SDP); err != nil {
			t.Fatal(err)
		}
		if wants {
			if err := seat.Want(sfu.Wants{Subscriptions: []sfu.Subscription{{Mid: "0", Publisher: 1, Slot: sfu.Microphone}}}); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		return c
	}
	alice := join(light.Options{Sections: []light.Section{{Audio: true, Sends: true, SSRC: 11}}}, sfu.Grant{Index: 1, Publish: true, MaxBitrate: 100_000_000}, false)
	came := make(chan uint16, 1<<16)
	join(light.Options{Sections: []light.Section{{Audio: true}}, OnRTP: func(b []byte) { came <- binary.BigEndian.Uint16(b[2:]) }}, sfu.Grant{Index: 2}, true)
	stuck, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	join(light.Options{Sections: []light.Section{{Audio: true}}, TCP: true, OnRTP: func([]byte) {
		once.Do(func() { close(stuck) })
		<-release // it reads nothing more
	}}, sfu.Grant{Index: 3}, true)
	t.Cleanup(func() { close(release) }) // before it is closed

	h := wire.Header{PayloadType: light.Opus, SSRC: 11, Extensions: [4]wire.Extension{{ID: light.Extensions.MID, Value: []byte("0")}}}
	payload := make([]byte, 1000)
	send := func() {
		h.Sequence++
		h.Timestamp += 960
		if err := alice.WriteRTP(append(h.Append(nil), payload...)); err != nil {
			t.Fatal(err)
		}
	}
	// Until both have something.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for waiting := true; waiting; {
		send()
		select {
		case <-stuck:
			waiting = len(came) == 0
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("nothing came")
		}
	}
	// Now 8 MB, far more than any buffer on the way; each waits for the last one, so that nothing is lost on loopback.
	for len(came) > 0 {
		<-came
	}
	again := time.NewTicker(200 * time.Millisecond) // what goes over the grant is dropped, on a fast machine
	defer again.Stop()
	for got := 0; got < 8000; {
		send()
		select {
		case <-came:
			got++
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("the one who reads gets nothing any more; %+v", s.Stats())
		}
	}
}

func TestStrangersOnThePortGetNothing(t *testing.T) {
	s := serve(t)
	c, err := net.Dial("udp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	for i := range 2000 {
		b := make([]byte, i%1400)
		_, _ = rand.Read(b)
		if len(b) > 0 {
			b[0] = byte(i) // every class of packet
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats(); st.Seats != 0 || st.PacketsIn != 0 || st.PacketsOut != 0 {
		t.Errorf("%+v", st)
	}
}
