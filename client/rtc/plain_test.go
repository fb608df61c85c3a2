package rtc

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/media/sframe"
)

// sendPlain writes a frame that was not sealed, as a hostile or careless sender would.
func sendPlain(t *testing.T, s *sending, frame []byte) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, packet := range s.cutter.Packetize(frame, 960) {
		packet.SSRC, packet.PayloadType = s.ssrc, s.ptype
		if _, err := s.writer.WriteRTP(&packet.Header, packet.Payload); err != nil {
			t.Fatal(err)
		}
	}
}

// Test 65 where it is used: whatever a bound peer sends in plain, or seals with the wrong key,
// is counted and never handed out; after a second of it a key frame is asked for.
func Test14_65_PlainFramesAreNeverDelivered(t *testing.T) {
	clock := newTestClock()
	asked := make(chan struct{}, 4)
	a, b := testConfig(Initiator), testConfig(Responder)
	a.Clock = clock
	b.OnKeyframeRequest = func() { asked <- struct{}{} }
	alice, bob := connect(t, a, b)

	plain := [][]byte{{0xf8, 0xff, 0xfe}, {0x78, 1, 2, 3, 4, 5, 6, 7}, bytes.Repeat([]byte{0x80}, 200)}
	for _, f := range plain {
		sendPlain(t, bob.audio, f)
	}
	sendPlain(t, bob.video, append([]byte{0x10, 2, 0, 0x9d, 1, 0x2a, 64, 1, 240, 0}, bytes.Repeat([]byte{7}, 3000)...))
	sendPlain(t, bob.video, []byte{0x31, 5, 6, 7})
	// Sealed with another key, and with the key of the other slot.
	for _, wrong := range []struct {
		kid  uint64
		base [32]byte
	}{{128, keyI2R}, {144, keyR2I}, {0, keyI2R}} {
		s, err := sframe.NewSender(wrong.kid, wrong.base)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := s.Seal(nil, sframe.Opus, []byte("hello"))
		if err != nil {
			t.Fatal(err)
		}
		sendPlain(t, bob.audio, sealed)
	}
	failed := func(n uint64) {
		t.Helper()
		deadline := time.After(testTime)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for alice.Stats().SFrameFailed < n {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("%d frames failed, want %d", alice.Stats().SFrameFailed, n)
			}
		}
	}
	failed(8)
	select {
	case <-asked:
		t.Error("a key frame was asked for at once")
	default:
	}
	clock.advance(failingTime)
	sendPlain(t, bob.video, []byte{0x31, 5, 6, 7})
	failed(9)
	wait(t, asked, "wish for a key frame")

	// Sealed frames of the same stream still come through, and only they.
	if err := bob.SendAudio([]byte("sealed"), 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := bob.SendVideo([]byte{1, 2, 3}, 33*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	audio, video := alice.frames(1, 1)
	if len(audio) != 1 || string(audio[0].Data) != "sealed" || len(video) != 1 || !bytes.Equal(video[0].Data, []byte{1, 2, 3}) {
		t.Errorf("Alice was handed %v and %v", audio, video)
	}
	if st := alice.Stats(); st.SFrameFailed != 9 || st.AudioReceived != 1 || st.VideoReceived != 1 {
		t.Errorf("stats %+v", st)
	}
	bob.Close() // Alice's goodbye would wait for her own clock
	if err := bob.result(); err != nil {
		t.Error(err)
	}
	if err := alice.result(); err != nil {
		t.Error(err)
	}
	noGoroutines(t)
}

// A replayed packet of the other side's frame is not played twice, not even under a new
// sequence number.
func Test14_66_ReplayedFrameIsNotDeliveredTwice(t *testing.T) {
	alice, bob := connect(t, testConfig(Initiator), testConfig(Responder))
	sealed, err := bob.audio.sealer.Seal(nil, sframe.Opus, []byte("once"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		sendPlain(t, bob.audio, sealed)
	}
	if err := bob.SendAudio([]byte("last"), 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	audio, _ := alice.frames(2, 0)
	if len(audio) != 2 || string(audio[0].Data) != "once" || string(audio[1].Data) != "last" {
		t.Errorf("Alice was handed %v", audio)
	}
	if st := alice.Stats(); st.SFrameFailed != 2 {
		t.Errorf("stats %+v", st)
	}
	hangUp(t, alice, bob)
}

// No description of ours offers an audio level or another way around SFrame.
func TestDescriptionsOfferNothingElse(t *testing.T) {
	alice, bob := pairUp(t, testConfig(Initiator), testConfig(Responder))
	ctx := context.Background()
	offer, err := alice.CreateOffer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// Bob is offered an audio level and must not take it.
	withLevel := offer
	withLevel.SDP = bytes.Replace(offer.SDP, []byte("a=rtpmap:111"), []byte("a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=rtpmap:111"), 1)
	answer, err := bob.AcceptOffer(ctx, withLevel)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []Description{offer, answer} {
		for _, word := range []string{"audio-level", "H264", "AV1", "PCMU", "extmap:"} {
			if bytes.Contains(d.SDP, []byte(word)) {
				t.Errorf("%s in\n%s", word, d.SDP)
			}
		}
		if !bytes.Contains(d.SDP, []byte("a=max-message-size:65535")) {
			t.Errorf("message size is not 65,535 in\n%s", d.SDP)
		}
	}
	alice.Close()
	bob.Close()
	wait(t, alice.done, "end")
	wait(t, bob.done, "end")
}
