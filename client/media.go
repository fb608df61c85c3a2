package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// Source is what a call sends: encoded frames, each with how long it lasts. Next functions
// return io.EOF at the end. A nil function: this medium is not sent.
type Source struct {
	NextAudio  func() (frame []byte, d time.Duration, err error)
	NextVideo  func() (frame []byte, d time.Duration, err error)
	VideoCodec sframe.Codec
	Close      func() error // called when the call ends; may be nil
}

// Sink takes what a call receives: decrypted frames, those of each slot in order and from one
// goroutine. Frame.Slot says whether a picture is the camera's or a shared screen's, and a sound
// the microphone's or the screen's. Close is called when no more come. One that keeps what it
// gets has a method Records() bool that says so: a room's members are told before it gets anything.
type Sink interface {
	Audio(rtc.Frame) error
	Video(rtc.Frame) error
	Close() error
}

// MediaInfo counts what went each way. Hashes are SHA-256 of whole encoded frames.
type MediaInfo struct {
	AudioSent, AudioReceived           int
	VideoSentHashes, VideoReceivedHash [][32]byte
	SourceEnded, PeerEnded             bool
}

// mediaFlow moves frames between a source, a peer connection and a sink.
type mediaFlow struct {
	call *Call
	peer *rtc.Peer

	changed chan struct{} // holds one hint that info has changed

	mu       sync.Mutex // guards the rest
	sum      MediaInfo
	expected *rtc.MediaEnd
	sinkErr  error
}

// maxHashes bounds what is remembered for comparing: two hours of video at 30 frames.
const maxHashes = 216_000

func newMediaFlow(call *Call) *mediaFlow {
	return &mediaFlow{call: call, changed: make(chan struct{}, 1)}
}

func (f *mediaFlow) configure(cfg *rtc.Config) {
	switch f.call.kind {
	case Audio:
		// A camera may be switched on later; and the place of a section tells its slot, so the
		// camera's must be there before the screen's (docs/spec/media.md, section 3).
		cfg.Audio, cfg.Video, cfg.Screen = rtc.SendReceive, rtc.ReceiveOnly, rtc.ReceiveOnly
	case Video:
		cfg.Audio, cfg.Video, cfg.Screen = rtc.SendReceive, rtc.SendReceive, rtc.ReceiveOnly
	}
	if s := f.call.opts.Source; s != nil {
		cfg.VideoCodec = s.VideoCodec
	}
	cfg.OnAudio, cfg.OnVideo, cfg.OnScreen, cfg.OnMediaEnd = f.onAudio, f.onVideo, f.onScreen, f.onMediaEnd
}

// run plays the source once the connection is bound, and closes source and sink at the end.
func (f *mediaFlow) run(ctx context.Context) (err error) {
	source, sink := f.call.opts.Source, f.call.opts.Sink
	defer func() { // what goes wrong here is said at the call's end, however it came
		if source != nil && source.Close != nil {
			err = errors.Join(err, source.Close())
		}
		if sink != nil {
			<-f.peer.Done() // its callbacks write into the sink until then
			err = errors.Join(err, sink.Close())
			f.mu.Lock()
			err = errors.Join(f.sinkErr, err)
			f.mu.Unlock()
		}
		if err != nil && ctx.Err() != nil {
			f.call.setErr(err)
		}
	}()
	select {
	case <-ctx.Done():
		return nil
	case <-f.call.bound:
	}
	if source != nil && f.call.kind != DataOnly {
		if err := f.play(ctx, source); err != nil {
			return err
		}
	}
	f.update(func() { f.sum.SourceEnded = true })
	<-ctx.Done()
	return nil
}

func (f *mediaFlow) play(ctx context.Context, s *Source) error {
	video := s.NextVideo
	if f.call.kind != Video {
		video = nil
	}
	start := rtc.MediaStart{Audio: s.NextAudio != nil, Video: video != nil, VideoCodec: s.VideoCodec}
	if err := f.peer.SendMediaStart(ctx, start); err != nil {
		return endOf(ctx, err)
	}
	var lines sync.WaitGroup
	errs := make([]error, 2)
	for i, line := range []struct {
		next func() ([]byte, time.Duration, error)
		send func([]byte, time.Duration) error
		sent func([]byte)
	}{
		{s.NextAudio, f.peer.SendAudio, func([]byte) { f.sum.AudioSent++ }},
		{video, f.peer.SendVideo, func(b []byte) {
			if len(f.sum.VideoSentHashes) < maxHashes {
				f.sum.VideoSentHashes = append(f.sum.VideoSentHashes, sha256.Sum256(b))
			}
		}},
	} {
		if line.next == nil {
			continue
		}
		lines.Add(1)
		go func() {
			defer lines.Done()
			errs[i] = f.playLine(ctx, line.next, line.send, line.sent)
		}()
	}
	lines.Wait()
	if err := errors.Join(errs...); err != nil {
		return endOf(ctx, err)
	}
	return endOf(ctx, f.peer.SendMediaEnd(ctx))
}

// endOf hides the errors of a call that is over anyway.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, rtc.ErrClosed) {
		return nil
	}
	return err
}

// playLine sends frames at the pace at which they were recorded. The schedule is absolute,
// so that a late frame does not make all others late.
func (f *mediaFlow) playLine(ctx context.Context, next func() ([]byte, time.Duration, error), send func([]byte, time.Duration) error, sent func([]byte)) error {
	due := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		frame, d, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		if err := send(frame, d); err != nil {
			return err
		}
		f.update(func() { sent(frame) })
		due = due.Add(d)
	}
}

func (f *mediaFlow) update(change func()) {
	f.mu.Lock()
	change()
	f.mu.Unlock()
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *mediaFlow) onAudio(frame rtc.Frame) {
	var err error
	if s := f.call.opts.Sink; s != nil {
		err = s.Audio(frame)
	}
	f.update(func() {
		f.sum.AudioReceived++
		f.sinkFailed(err)
	})
}

func (f *mediaFlow) onVideo(frame rtc.Frame) {
	var err error
	if s := f.call.opts.Sink; s != nil {
		err = s.Video(frame)
	}
	f.update(func() {
		if len(f.sum.VideoReceivedHash) < maxHashes {
			f.sum.VideoReceivedHash = append(f.sum.VideoReceivedHash, sha256.Sum256(frame.Data))
		}
		f.sinkFailed(err)
	})
}

// onScreen takes a shared screen and its sound. What a side says it has sent does not count them.
func (f *mediaFlow) onScreen(frame rtc.Frame) {
	s := f.call.opts.Sink
	if s == nil {
		return
	}
	take := s.Video
	if frame.Codec == sframe.Opus {
		take = s.Audio
	}
	if err := take(frame); err != nil {
		f.update(func() { f.sinkFailed(err) })
	}
}

// sinkFailed keeps the first error of a sink; the call goes on without it.
func (f *mediaFlow) sinkFailed(err error) {
	if f.sinkErr == nil {
		f.sinkErr = err
	}
}

func (f *mediaFlow) onMediaEnd(e rtc.MediaEnd) {
	f.update(func() { f.expected, f.sum.PeerEnded = &e, true })
}

func (f *mediaFlow) info() MediaInfo {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sum
}

// complete: both sides have said all, and all of it is here.
func (f *mediaFlow) complete() (ended, whole bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ended = f.sum.SourceEnded && f.expected != nil
	whole = ended && uint64(f.sum.AudioReceived) >= f.expected.AudioFrames &&
		uint64(len(f.sum.VideoReceivedHash)) >= f.expected.VideoFrames
	return ended, whole
}

// lastFrames is how long retransmissions may take after both sides have ended.
const lastFrames = 1500 * time.Millisecond

// Played waits until both sides have sent what they had and it has arrived, or until the
// call is over.
func (call *Call) Played(ctx context.Context) error {
	if err := call.Connected(ctx); err != nil {
		return err
	}
	call.mu.Lock()
	f := call.media
	call.mu.Unlock()
	grace := time.NewTimer(time.Hour)
	defer grace.Stop()
	waiting := false
	for {
		ended, whole := f.complete()
		if whole {
			return nil
		}
		if ended && !waiting {
			waiting = true
			grace.Reset(lastFrames)
		}
		select {
		case <-f.changed:
		case <-grace.C:
			return nil
		case <-call.done:
			return call.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
