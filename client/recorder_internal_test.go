package client

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/internal/demo/clip"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// Somebody in a room shows a camera and a screen at once, over the mesh and then over the SFU: each
// is a file of its own, whole and in order, and only the camera counts as what was said to be sent.
func TestARecordingHasAFileForEachSlot(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "rec")
	sink, err := NewRecorder(dir)
	if err != nil {
		t.Fatal(err)
	}
	flow := newRoomFlow(&Room{opts: RoomOptions{Media: Video}})
	tile := &roomTile{f: flow, sink: sink}
	var mesh rtc.Config
	flow.configure(&mesh, tile)
	source, err := NewClipSource(clip.Ogg, clip.IVF)
	if err != nil {
		t.Fatal(err)
	}
	sound, pictures := all(t, source.NextAudio), all(t, source.NextVideo)
	// The screen shows the same pictures backwards, behind a key frame.
	screen := [][]byte{pictures[0]}
	for i := len(pictures) - 1; i > 0; i-- {
		screen = append(screen, pictures[i])
	}
	at := func(slot sframe.Slot, codec sframe.Codec, i int, data []byte) rtc.Frame {
		return rtc.Frame{Slot: slot, Codec: codec, Timestamp: uint32(3000 * i), Key: i == 0, Order: uint64(i), Data: data}
	}
	for i := range pictures {
		camera, shown := at(sframe.Camera, source.VideoCodec, i, pictures[i]), at(sframe.Screen, source.VideoCodec, i, screen[i])
		if i%2 == 0 {
			mesh.OnVideo(camera)
			mesh.OnScreen(shown)
		} else {
			tile.frame(camera, true)
			tile.frame(shown, true)
		}
	}
	for i := range sound {
		mesh.OnAudio(at(sframe.Microphone, sframe.Opus, i, sound[i]))
		mesh.OnScreen(at(sframe.ScreenAudio, sframe.Opus, i, sound[len(sound)-1-i]))
	}
	if _, sum, frames := tile.stats(); len(sum.VideoReceivedHash) != len(pictures) || sum.AudioReceived != len(sound) || len(frames) != 4 {
		t.Errorf("counted are %d pictures, %d of sound and %d slots", len(sum.VideoReceivedHash), sum.AudioReceived, len(frames))
	}
	tile.end()
	if err := flow.err; err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		audio, video string
		want         func(i int) []byte
		n            int
	}{
		{video: "video.ivf", n: len(pictures), want: func(i int) []byte { return pictures[i] }},
		{video: "screen.ivf", n: len(screen), want: func(i int) []byte { return screen[i] }},
		{audio: "audio.ogg", n: len(sound), want: func(i int) []byte { return sound[i] }},
		{audio: "screen-audio.ogg", n: len(sound), want: func(i int) []byte { return sound[len(sound)-1-i] }},
	} {
		file, err := os.ReadFile(filepath.Join(dir, c.audio+c.video))
		if err != nil {
			t.Fatal(err)
		}
		var got [][]byte
		if c.audio != "" {
			again, err := NewSource(bytes.NewReader(file), nil)
			if err != nil {
				t.Fatal(err)
			}
			got = all(t, again.NextAudio)
		} else {
			again, err := NewSource(nil, bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			got = all(t, again.NextVideo)
		}
		if len(got) != c.n {
			t.Fatalf("%s%s has %d frames of %d", c.audio, c.video, len(got), c.n)
		}
		for i := range got {
			if !bytes.Equal(got[i], c.want(i)) {
				t.Fatalf("%s%s: frame %d is another one", c.audio, c.video, i)
			}
		}
	}
	if _, err := NewRecorder(dir); err == nil {
		t.Error("a second recording in the same folder")
	}
}

// all are the frames of a source's line.
func all(t *testing.T, next nextFrame) (out [][]byte) {
	t.Helper()
	for {
		frame, _, err := next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, frame)
	}
}
