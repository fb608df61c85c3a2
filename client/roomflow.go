package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// roomFlow is the media of a room: what this side plays goes, sealed once, to every connection
// that is bound; what each other member sends goes to a tile of its own.
type roomFlow struct {
	r *Room

	mu      sync.Mutex // guards the rest
	sender  *sframe.GroupSender
	tiles   []*roomTile // bound ones
	all     []*roomTile // of every connection there was, for what is said at the end
	ended   bool        // the source has
	sent    int         // audio frames
	hashes  [][32]byte  // of the video frames sent
	err     error       // of source or sinks, the first one
	changed chan struct{}
}

// roomTile is what one other member sends.
type roomTile struct {
	f    *roomFlow
	peer *rtc.Peer // set before anything comes
	sink Sink

	mu       sync.Mutex // guards the rest
	sum      MediaInfo
	expected *rtc.MediaEnd
	closed   bool
}

func newRoomFlow(r *Room) *roomFlow { return &roomFlow{r: r, changed: make(chan struct{})} }

// notifyLocked wakes whoever waits for something to change.
func (f *roomFlow) notifyLocked() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *roomFlow) notify() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notifyLocked()
}

// use makes a stay's sender the one that seals.
func (f *roomFlow) use(s *sframe.GroupSender) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sender = s
}

// tile is where the media of a member goes.
func (f *roomFlow) tile(m *member) (*roomTile, error) {
	t := &roomTile{f: f}
	if f.r.opts.Sink != nil {
		sink, err := f.r.opts.Sink(m.facts())
		if err != nil {
			return nil, err
		}
		t.sink = sink
	}
	m.mu.Lock()
	m.media = t
	m.mu.Unlock()
	f.mu.Lock()
	f.all = append(f.all, t)
	f.mu.Unlock()
	return t, nil
}

func (t *roomTile) of(p *rtc.Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.peer = p
}

func (f *roomFlow) configure(cfg *rtc.Config, t *roomTile) {
	switch f.r.opts.Media {
	case Audio:
		cfg.Audio, cfg.Video, cfg.Screen = rtc.SendReceive, rtc.ReceiveOnly, rtc.ReceiveOnly
	case Video:
		cfg.Audio, cfg.Video, cfg.Screen = rtc.SendReceive, rtc.SendReceive, rtc.ReceiveOnly
	}
	if s := f.r.opts.Source; s != nil {
		cfg.VideoCodec = s.VideoCodec
	}
	cfg.OnAudio, cfg.OnVideo, cfg.OnMediaEnd = t.onAudio, t.onVideo, t.onMediaEnd
}

// begin sends to a connection from now on.
func (f *roomFlow) begin(ctx context.Context, t *roomTile) error {
	start := rtc.MediaStart{}
	if s := f.r.opts.Source; s != nil {
		start = rtc.MediaStart{Audio: s.NextAudio != nil, Video: s.NextVideo != nil && f.r.opts.Media == Video, VideoCodec: s.VideoCodec}
	}
	if err := t.peer.SendMediaStart(ctx, start); err != nil {
		return endOf(ctx, err)
	}
	f.mu.Lock()
	f.tiles = append(slices.Clone(f.tiles), t) // a snapshot of it may be in use
	ended := f.ended
	f.notifyLocked()
	f.mu.Unlock()
	if ended {
		return endOf(ctx, t.peer.SendMediaEnd(ctx))
	}
	return nil
}

func (f *roomFlow) remove(t *roomTile) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tiles = slices.DeleteFunc(slices.Clone(f.tiles), func(o *roomTile) bool { return o == t })
	f.notifyLocked()
}

// bound are the connections that media can flow on.
func (f *roomFlow) bound() []*roomTile {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tiles
}

// play sends the source once enough others are connected, and closes it at the end.
func (f *roomFlow) play(ctx context.Context) {
	source := f.r.opts.Source
	if source == nil {
		f.finish(nil)
		return
	}
	err := f.playSource(ctx, source)
	if source.Close != nil {
		err = errors.Join(err, source.Close())
	}
	f.finish(err)
}

func (f *roomFlow) playSource(ctx context.Context, source *Source) error {
	if f.r.opts.Media == DataOnly || !f.enough(ctx) {
		return nil
	}
	video := source.NextVideo
	if f.r.opts.Media != Video {
		video = nil
	}
	var lines sync.WaitGroup
	errs := make([]error, 2)
	if source.NextAudio != nil {
		lines.Go(func() { errs[0] = f.line(ctx, sframe.Microphone, sframe.Opus, source.NextAudio) })
	}
	if video != nil {
		lines.Go(func() { errs[1] = f.line(ctx, sframe.Camera, source.VideoCodec, video) })
	}
	lines.Wait()
	return endOf(ctx, errors.Join(errs...))
}

// enough waits until as many are connected as were asked for.
func (f *roomFlow) enough(ctx context.Context) bool {
	want := max(1, f.r.opts.Wait)
	for {
		f.mu.Lock()
		have, changed := len(f.tiles), f.changed
		f.mu.Unlock()
		if have >= want {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// line sends the frames of one medium at the pace at which they were recorded.
func (f *roomFlow) line(ctx context.Context, slot sframe.Slot, c sframe.Codec, next func() ([]byte, time.Duration, error)) error {
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
			return nil
		case <-timer.C:
		}
		if err := f.send(slot, c, frame, d); err != nil {
			return err
		}
		due = due.Add(d)
	}
}

// send seals a frame once and gives the same bytes to everybody.
func (f *roomFlow) send(slot sframe.Slot, c sframe.Codec, frame []byte, d time.Duration) error {
	f.mu.Lock()
	sender, tiles := f.sender, f.tiles
	if slot == sframe.Microphone {
		f.sent++
	} else if len(f.hashes) < maxHashes {
		f.hashes = append(f.hashes, sha256.Sum256(frame))
	}
	f.mu.Unlock()
	if sender == nil || len(tiles) == 0 {
		return nil // nobody is there to hear it
	}
	sealed, err := sender.Seal(slot, c, frame)
	if err != nil {
		return err
	}
	for _, t := range tiles {
		// A connection that breaks ends by itself; the others go on.
		if err := t.peer.SendSealed(sealed, d); err != nil && !errors.Is(err, rtc.ErrClosed) && !errors.Is(err, rtc.ErrNotSending) {
			f.r.log.Debug("a frame was not sent to one member", "error", errorKind(err))
		}
	}
	return nil
}

// finish tells the others that nothing more comes.
func (f *roomFlow) finish(err error) {
	f.mu.Lock()
	f.ended = true
	if f.err == nil {
		f.err = err
	}
	tiles := f.tiles
	f.notifyLocked()
	f.mu.Unlock()
	bounded, cancel := context.WithTimeout(context.Background(), farewellTime)
	defer cancel()
	for _, t := range tiles {
		if err := t.peer.SendMediaEnd(bounded); err != nil {
			f.r.log.Debug("a member was not told of the end", "error", errorKind(err))
		}
	}
}

func (t *roomTile) onAudio(frame rtc.Frame) {
	var err error
	if t.sink != nil {
		err = t.sink.Audio(frame)
	}
	t.update(func() { t.sum.AudioReceived++ }, err)
}

func (t *roomTile) onVideo(frame rtc.Frame) {
	var err error
	if t.sink != nil {
		err = t.sink.Video(frame)
	}
	t.update(func() {
		if len(t.sum.VideoReceivedHash) < maxHashes {
			t.sum.VideoReceivedHash = append(t.sum.VideoReceivedHash, sha256.Sum256(frame.Data))
		}
	}, err)
}

func (t *roomTile) onMediaEnd(e rtc.MediaEnd) {
	t.update(func() { t.expected, t.sum.PeerEnded = &e, true }, nil)
}

func (t *roomTile) update(change func(), err error) {
	t.mu.Lock()
	change()
	t.mu.Unlock()
	t.f.mu.Lock()
	if t.f.err == nil {
		t.f.err = err
	}
	t.f.notifyLocked()
	t.f.mu.Unlock()
}

// stats of the connection and of what came.
func (t *roomTile) stats() (rtc.Stats, MediaInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.peer == nil {
		return rtc.Stats{}, t.sum
	}
	return t.peer.Stats(), t.sum
}

// complete: the member has said all, and all of it is here.
func (t *roomTile) complete() (ended, whole bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return true, true
	}
	ended = t.expected != nil
	whole = ended && uint64(t.sum.AudioReceived) >= t.expected.AudioFrames && uint64(len(t.sum.VideoReceivedHash)) >= t.expected.VideoFrames
	return ended, whole
}

// close ends the tile behind its connection.
func (t *roomTile) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	var err error
	if t.sink != nil {
		err = t.sink.Close()
	}
	t.update(func() {}, err)
}

// Played waits until this side has sent what it had and everybody who is connected has as well,
// and it is here; or until the room is over.
func (r *Room) Played(ctx context.Context) error {
	grace := time.NewTimer(time.Hour)
	defer grace.Stop()
	waiting := false
	for {
		r.flow.mu.Lock()
		ended, tiles, changed, err := r.flow.ended, r.flow.tiles, r.flow.changed, r.flow.err
		r.flow.mu.Unlock()
		if err != nil {
			return err
		}
		all, whole := ended && len(tiles) > 0, true
		for _, t := range tiles {
			e, w := t.complete()
			all, whole = all && e, whole && w
		}
		if all && whole {
			return nil
		}
		if all && !waiting {
			waiting = true
			grace.Reset(lastFrames)
		}
		select {
		case <-changed:
		case <-grace.C:
			return nil
		case <-r.done:
			return r.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// RoomMedia is what this side has sent.
type RoomMedia struct {
	AudioSent       int
	VideoSentHashes [][32]byte
	SourceEnded     bool
}

// Sent counts what this side has sent.
func (r *Room) Sent() RoomMedia {
	r.flow.mu.Lock()
	defer r.flow.mu.Unlock()
	return RoomMedia{r.flow.sent, slices.Clone(r.flow.hashes), r.flow.ended}
}

// Err of the media: a source that cannot be read, a sink that cannot be written.
func (r *Room) MediaErr() error {
	r.flow.mu.Lock()
	defer r.flow.mu.Unlock()
	return r.flow.err
}
