package client

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/trunkline-net/trunkline/client/clip"
	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// OpenSource plays files: Opus in an Ogg file, VP8 or VP9 in an IVF file. Either path may be
// empty.
func OpenSource(audio, video string) (*Source, error) { return openSource(audio, video, false) }

// OpenLoop plays files like OpenSource, and each from its beginning again when it ends.
func OpenLoop(audio, video string) (*Source, error) { return openSource(audio, video, true) }

func openSource(audio, video string, loop bool) (*Source, error) {
	var files []io.Closer
	open := func(path string) (*os.File, error) {
		f, err := os.Open(path)
		if err == nil {
			files = append(files, f)
		}
		return f, err
	}
	var a, v io.Reader // nil interfaces: a nil file in one would be a medium
	var fa, fv *os.File
	var err error
	if audio != "" {
		if fa, err = open(audio); err != nil {
			return nil, err
		}
		a = fa
	}
	if video != "" {
		if fv, err = open(video); err != nil {
			return nil, errors.Join(err, closeAll(files))
		}
		v = fv
	}
	s, err := NewSource(a, v)
	if err != nil {
		return nil, errors.Join(err, closeAll(files))
	}
	if loop {
		s.NextAudio = again(s.NextAudio, fa, func(f *os.File) (*Source, error) { return NewSource(f, nil) }, func(s *Source) nextFrame { return s.NextAudio })
		s.NextVideo = again(s.NextVideo, fv, func(f *os.File) (*Source, error) { return NewSource(nil, f) }, func(s *Source) nextFrame { return s.NextVideo })
	}
	s.Close = func() error { return closeAll(files) }
	return s, nil
}

type nextFrame = func() ([]byte, time.Duration, error)

// again is next, and at the end of its file the same from the beginning. A file without a frame
// ends in any case.
func again(next nextFrame, f *os.File, open func(*os.File) (*Source, error), of func(*Source) nextFrame) nextFrame {
	if next == nil {
		return nil
	}
	return func() ([]byte, time.Duration, error) {
		frame, d, err := next()
		if !errors.Is(err, io.EOF) {
			return frame, d, err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, 0, err
		}
		s, err := open(f)
		if err != nil {
			return nil, 0, err
		}
		next = of(s)
		return next()
	}
}

func closeAll(files []io.Closer) (err error) {
	for _, f := range files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// NewSource plays from readers. Either may be nil.
func NewSource(audio, video io.Reader) (*Source, error) {
	s := new(Source)
	if audio != nil {
		r, err := clip.NewOggReader(audio)
		if err != nil {
			return nil, fmt.Errorf("audio: %w", err)
		}
		s.NextAudio = func() ([]byte, time.Duration, error) {
			f, err := r.Next()
			return f.Data, f.Duration, err
		}
	}
	if video != nil {
		r, err := clip.NewIVFReader(video)
		if err != nil {
			return nil, fmt.Errorf("video: %w", err)
		}
		s.VideoCodec = sframe.VP8
		if r.Codec == clip.VP9 {
			s.VideoCodec = sframe.VP9
		}
		s.NextVideo = func() ([]byte, time.Duration, error) {
			f, err := r.Next()
			return f.Data, f.Duration, err
		}
	}
	return s, nil
}

// NewClipSource plays clips that are in memory.
func NewClipSource(ogg, ivf []byte) (*Source, error) {
	return NewSource(bytes.NewReader(ogg), bytes.NewReader(ivf))
}

// recorder writes each slot that comes in to a file of its own in a folder: two pictures in one
// file would be neither. A file is made when its first frame comes.
type recorder struct {
	dir string
	// By slot. Frames of one slot come one at a time; those of two may come at once.
	slots [len(recordings)]recording
}

// recordings are the names of the files, by slot.
var recordings = [sframe.ScreenAudio + 1]string{
	sframe.Microphone: "audio.ogg", sframe.Camera: "video.ivf", sframe.Screen: "screen.ivf", sframe.ScreenAudio: "screen-audio.ogg",
}

// Recordings are the names of the files that NewRecorder may make.
func Recordings() []string { return slices.Clone(recordings[:]) }

// recording is one slot's file.
type recording struct {
	file  *os.File // nil until it is made
	audio *clip.OggWriter
	video *clip.IVFWriter

	codec     sframe.Codec
	lastStamp uint32
	clock     uint64
}

// NewRecorder is a Sink that records into a folder, which it makes: the microphone in audio.ogg,
// the camera in video.ivf, a shared screen in screen.ivf and its sound in screen-audio.ogg. It
// never writes over an earlier recording.
func NewRecorder(dir string) (Sink, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, name := range recordings {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return nil, fmt.Errorf("there is a recording in %s already: name another folder", dir)
		}
	}
	return &recorder{dir: dir}, nil
}

// Records says to a room that its members are to be told.
func (r *recorder) Records() bool { return true }

// of is the recording of a frame's slot, whose file is made if first.
func (r *recorder) of(f rtc.Frame, first bool) (*recording, error) {
	if int(f.Slot) >= len(r.slots) {
		return nil, fmt.Errorf("slot %d is none that is recorded", f.Slot)
	}
	c := &r.slots[f.Slot]
	if c.file == nil && first {
		file, err := os.OpenFile(filepath.Join(r.dir, recordings[f.Slot]), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		c.file = file
	}
	return c, nil
}

func (r *recorder) Audio(f rtc.Frame) error {
	c, err := r.of(f, true)
	if err != nil {
		return err
	}
	if c.audio == nil {
		var serial [4]byte
		_, _ = rand.Read(serial[:]) // never fails on supported systems
		channels := 1
		if len(f.Data) > 0 && f.Data[0]&4 != 0 { // the stereo bit, RFC 6716 section 3.1
			channels = 2
		}
		if c.audio, err = clip.NewOggWriter(c.file, channels, binary.LittleEndian.Uint32(serial[:])); err != nil {
			return err
		}
	}
	return c.audio.Write(f.Data)
}

func (r *recorder) Video(f rtc.Frame) error {
	c, err := r.of(f, f.Key)
	if err != nil {
		return err
	}
	if c.file == nil {
		return nil // a file that begins with half a picture plays nowhere
	}
	if c.video == nil {
		c.codec, c.lastStamp = f.Codec, f.Timestamp
		codec := clip.VP8
		if f.Codec == sframe.VP9 {
			codec = clip.VP9
		}
		width, height, _ := clip.KeyframeSize(codec, f.Data)
		if c.video, err = clip.NewIVFWriter(c.file, codec, width, height); err != nil {
			return err
		}
	}
	if f.Codec != c.codec {
		return errors.New("the other side changed the video codec in the middle of a recording")
	}
	c.clock += uint64(f.Timestamp - c.lastStamp) // the RTP clock wraps, the difference does not
	c.lastStamp = f.Timestamp
	return c.video.Write(f.Data, c.clock)
}

func (r *recorder) Close() (err error) {
	for i := range r.slots {
		c := &r.slots[i]
		if c.audio != nil {
			err = errors.Join(err, c.audio.Close())
		}
		if c.video != nil {
			err = errors.Join(err, c.video.Close())
		}
		if c.file != nil {
			err = errors.Join(err, c.file.Close())
		}
	}
	return err
}
