package client_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope/room"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/media/sframe"
	"github.com/trunkline-net/trunkline/media/sfu"
)

// Somebody shares a screen with its sound over the SFU: whoever is there gets both, and a recording has them.
func TestAScreenComesOverTheSFUAndIntoTheRecording(t *testing.T) {
	t.Parallel()
	alice := newHuman(t, "alice", startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme")))
	text := newRoom(t, alice, client.RoomSettings{Topology: room.SFU}).Link.Text()
	dir := filepath.Join(t.TempDir(), "rec")
	a := goIn(t, alice, text, client.RoomOptions{Media: client.Video, Sink: func(client.RoomMember) (client.Sink, error) { return client.NewRecorder(dir) }})
	b := guest(t, "bob", text, client.RoomOptions{Media: client.DataOnly})
	heard(t, a, func(e client.MemberCame) bool { return e.Index == b.Index() })
	heard(t, b, func(e client.MemberCame) bool { return e.Index == a.Index() })
	sent := sharesScreen(t, b)
	for _, slot := range []sframe.Slot{sframe.Screen, sframe.ScreenAudio} {
		waitFor(t, "what comes of the shared "+slot.String(), func() bool { _, sfu := a.opened(b, slot); return sfu > 60 })
	}
	for _, slot := range []sframe.Slot{sframe.Microphone, sframe.Camera} {
		if _, sfu := a.opened(b, slot); sfu > 0 {
			t.Errorf("%d frames of the screen were taken for the %v", sfu, slot)
		}
	}
	if err := a.Leave(within(t)); err != nil {
		t.Fatal(err)
	}
	for file, audio := range map[string]bool{"screen.ivf": false, "screen-audio.ogg": true} {
		recorded, err := os.Open(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		defer recorded.Close()
		var sound, picture io.Reader = nil, recorded
		if audio {
			sound, picture = recorded, nil
		}
		again, err := client.NewSource(sound, picture)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		next := again.NextVideo
		if audio {
			next = again.NextAudio
		}
		n := 0
		for ; ; n++ {
			frame, _, err := next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if !sent[sha256.Sum256(frame)] {
				t.Fatalf("%s: frame %d was not sent", file, n)
			}
		}
		if n == 0 {
			t.Errorf("%s is empty", file)
		}
	}
	for _, file := range []string{"audio.ogg", "video.ivf"} {
		if _, err := os.Stat(filepath.Join(dir, file)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, though nothing of it was sent", file, err)
		}
	}
}

// sharesScreen publishes a clip over and over as the screen of somebody with data alone, which the Go client does not do by
// itself: behind the sections of a microphone and a camera that send nothing. It says which frames there are.
func sharesScreen(t *testing.T, in *inRoom) (sent map[[32]byte]bool) {
	t.Helper()
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	tracks := map[sframe.Slot]*webrtc.TrackLocalStaticSample{}
	for _, slot := range []sframe.Slot{sframe.Microphone, sframe.ScreenAudio, sframe.Camera, sframe.Screen} {
		mime := webrtc.MimeTypeVP8
		if slot == sframe.Microphone || slot == sframe.ScreenAudio {
			mime = webrtc.MimeTypeOpus
		}
		track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: mime}, slot.String(), "screen")
		if err == nil {
			_, err = pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		}
		if err != nil {
			t.Fatal(err)
		}
		tracks[slot] = track
	}
	connectLeg(t, in, pc)
	clip, sent := aClip(t), map[[32]byte]bool{}
	ctx, end := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	for slot, next := range map[sframe.Slot]func() ([]byte, time.Duration, error){sframe.Screen: clip.NextVideo, sframe.ScreenAudio: clip.NextAudio} {
		codec := sframe.Opus
		if slot == sframe.Screen {
			codec = clip.VideoCodec
		}
		var frames [][]byte
		for frame, _, err := next(); !errors.Is(err, io.EOF); frame, _, err = next() {
			if err != nil {
				t.Fatal(err)
			}
			frames, sent[sha256.Sum256(frame)] = append(frames, frame), true
		}
		sending.Go(func() {
			pace := time.NewTicker(33 * time.Millisecond)
			defer pace.Stop()
			for i := 0; ; i++ {
				sealed, err := in.Seal(slot, codec, frames[i%len(frames)])
				if err == nil {
					err = tracks[slot].WriteSample(media.Sample{Data: sealed, Duration: 33 * time.Millisecond})
				}
				if err != nil {
					t.Errorf("the %v was not sent: %v", slot, err)
					return
				}
				select {
				case <-pace.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		end()
		sending.Wait()
		if err := pc.Close(); err != nil {
			t.Error(err)
		}
	})
	return sent
}

// What is wanted at most has room in a description and in its answer.
func TestAllThatIsWantedHasRoomInADescription(t *testing.T) {
	t.Parallel()
	server, err := sfu.New(sfu.Config{Listen: "127.0.0.1:0", Limits: sfu.Limits{NewRooms: 100, Joins: 100}}) // a busy machine is no reason
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(serving) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	leg, err := rtc.NewLeg(rtc.LegConfig{Audio: true, Video: true, VideoCodec: sframe.VP8, Opener: func(uint64) rtc.Opener { return nil }, IncludeLoopback: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := leg.Close(); err != nil {
			t.Error(err)
		}
	}()
	var streams []rtc.Stream
	for i := range uint16(client.LegSounds) {
		streams = append(streams, rtc.Stream{Publisher: i + 1, Slot: sframe.Microphone})
	}
	for i := range uint16(client.LegPictures) {
		streams = append(streams, rtc.Stream{Publisher: i + 1, Slot: sframe.Camera})
	}
	offer, err := leg.Offer(streams, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := link.MarshalClient(&pb.ClientFrame{Id: 1, Kind: &pb.ClientFrame_RoomLeg{RoomLeg: &pb.RoomLeg{Kind: pb.RoomLegKind_ROOM_LEG_OFFER, Sdp: offer}}}); err != nil {
		t.Errorf("a description of %d bytes: %v", len(offer), err)
	}
	seat, answer, err := server.Join(within(t), sfu.RoomKey{1}, sfu.Grant{Index: 1, Publish: true}, sfu.Description{SDP: offer})
	if err != nil {
		t.Fatal(err)
	}
	defer seat.Close(sfu.ReasonLeft)
	if _, err := link.MarshalNode(&pb.NodeFrame{Id: 1, Kind: &pb.NodeFrame_RoomLeg{RoomLeg: &pb.RoomLegAnswer{Sdp: answer.SDP}}}); err != nil {
		t.Errorf("an answer of %d bytes: %v", len(answer.SDP), err)
	}
	t.Logf("%d bytes, and %d of the answer", len(offer), len(answer.SDP))
}
