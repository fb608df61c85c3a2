package rtc

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/trunkline-net/trunkline/client/rtc/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// The messages of docs/spec/vectors/media.json, which the SDK reads too.
func TestControlVectors(t *testing.T) {
	file, err := os.ReadFile("../../docs/spec/vectors/media.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Control []struct {
			Name, Case, Bytes string
			Value             json.RawMessage
		}
		Refused []struct{ Name, Bytes string } `json:"control_refused"`
	}
	if err := json.Unmarshal(file, &v); err != nil {
		t.Fatal(err)
	}
	for _, c := range v.Control {
		t.Run(c.Name, func(t *testing.T) {
			var want value
			if err := json.Unmarshal(c.Value, &want); err != nil {
				t.Fatal(err)
			}
			var m pb.Control
			wire := fromHex(t, c.Bytes)
			if err := canon.Unmarshal(wire, maxControl, &m); err != nil {
				t.Fatal(err)
			}
			kind, got := hear(t, &m)
			if kind != c.Case || got != want {
				t.Errorf("understood as %s %+v, want %s %+v", kind, got, c.Case, want)
			}
			if again, err := canon.Marshal(&m); err != nil || !bytes.Equal(again, wire) {
				t.Errorf("written as %x, %v", again, err)
			}
		})
	}
	for _, c := range v.Refused {
		t.Run(c.Name, func(t *testing.T) {
			var m pb.Control
			if err := canon.Unmarshal(fromHex(t, c.Bytes), maxControl, &m); err != nil {
				return
			}
			if err := (&Peer{}).dispatch(&m); err == nil {
				t.Error("taken")
			}
		})
	}
}

func fromHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// value is all that a vector's message can say.
type value struct {
	Microphone, Camera, Screen, Hand bool
	ScreenAudio                      bool `json:"screen_audio"`
	Own, Here                        bool
	Kind, X, Y, Audio, Video, Slot   int
	AudioFrames                      uint64 `json:"audio_frames"`
	VideoFrames                      uint64 `json:"video_frames"`
}

// hear gives a bound call's message to a Peer and returns what its owner is told.
func hear(t *testing.T, m *pb.Control) (kind string, got value) {
	t.Helper()
	video := map[sframe.Codec]int{sframe.VP8: 2, sframe.VP9: 3}
	p := &Peer{cfg: Config{
		OnSending: func(s Sending) {
			kind, got = "sending", value{Microphone: s.Microphone, Camera: s.Camera, Screen: s.Screen, ScreenAudio: s.ScreenAudio, Hand: s.Hand}
		},
		OnReaction: func(r Reaction) { kind, got = "reaction", value{Kind: int(r)} },
		OnPointer: func(p Pointer) {
			kind, got = "pointer", value{Own: p.Own, Here: p.Here, X: int(p.X), Y: int(p.Y)}
		},
		OnMediaStart: func(m MediaStart) {
			kind = "media_start"
			if m.Audio {
				got.Audio = 1
			}
			if m.Video {
				got.Video = video[m.VideoCodec]
			}
		},
		OnMediaEnd: func(m MediaEnd) {
			kind, got = "media_end", value{AudioFrames: m.AudioFrames, VideoFrames: m.VideoFrames}
		},
	}}
	p.audio, p.video, p.screen, p.neg.offerer = &sending{}, &sending{}, &sending{}, true
	p.cfg.OnFresh = func() {
		kind, got = "fresh", value{Slot: slices.Index([]*sending{p.audio, p.video, p.screen}, p.neg.due[0])}
	}
	if err := p.dispatch(m); err != nil {
		t.Fatal(err)
	}
	for leg, word := range legs {
		if p.Route().Remote == word {
			kind, got = "leg", value{Kind: int(leg)}
		}
	}
	return kind, got
}
