package client_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/internal/demo/clip"
)

// TestALoopPlaysEachFileFromItsBeginningAgain, with the same frames as the first time.
func TestALoopPlaysEachFileFromItsBeginningAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ogg, ivf := filepath.Join(dir, "a.ogg"), filepath.Join(dir, "v.ivf")
	if err := errors.Join(os.WriteFile(ogg, clip.Ogg, 0o600), os.WriteFile(ivf, clip.IVF, 0o600)); err != nil {
		t.Fatal(err)
	}
	once, err := client.OpenSource(ogg, ivf)
	if err != nil {
		t.Fatal(err)
	}
	loop, err := client.OpenLoop(ogg, ivf)
	if err != nil {
		t.Fatal(err)
	}
	if loop.VideoCodec != once.VideoCodec {
		t.Errorf("the loop is of codec %v", loop.VideoCodec)
	}
	type next = func() ([]byte, time.Duration, error)
	for name, lines := range map[string][2]next{"audio": {once.NextAudio, loop.NextAudio}, "video": {once.NextVideo, loop.NextVideo}} {
		var frames [][]byte
		for {
			frame, _, err := lines[0]()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			frames = append(frames, frame)
		}
		if len(frames) == 0 {
			t.Fatalf("%s: no frame", name)
		}
		for i := range 3 * len(frames) {
			frame, d, err := lines[1]()
			if err != nil || d <= 0 || !bytes.Equal(frame, frames[i%len(frames)]) {
				t.Fatalf("%s: frame %d of the loop is another one, or %v", name, i, err)
			}
		}
	}
	if err := errors.Join(once.Close(), loop.Close()); err != nil {
		t.Fatal(err)
	}
	sound, err := client.OpenLoop(ogg, "")
	if err != nil || sound.NextVideo != nil || sound.NextAudio == nil {
		t.Fatalf("a loop of sound alone: %v", err)
	}
	if err := sound.Close(); err != nil {
		t.Fatal(err)
	}
}
