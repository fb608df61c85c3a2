package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// roomFlow is the media of a room: what this side plays goes, sealed once, to every way that
// leads to somebody; what each other member sends goes to a tile of its own, whichever way it came.
type roomFlow struct {
	r *Room

	// soundAlone goes over the mesh: it is too much for this side, whose way out of it has to fit on the
	// same line.
	soundAlone atomic.Bool

	mu       sync.Mutex // guards the rest
	sender   *sframe.GroupSender
	ways     []way                   // that lead to somebody; replaced, never changed
	tiles    []*roomTile             // of the members that are here
	sending  [sframe.Camera + 1]bool // by slot: the source does now
	hand     time.Time               // since when ours is raised; zero: it is not
	speaking bool                    // our person speaks
	ended    bool                    // the source has
	sent     int                     // audio frames
	frames   int                     // that left since lateness was asked for, and of them late
	late     int
	hashes   [][32]byte // of the video frames sent
	err      error      // of source or sinks, the first one
	changed  chan struct{}
}

// way is how sealed frames get to one other member, or over the SFU to all.
type way interface {
	SendSealed(frame sframe.Sealed, d time.Duration) error
}

// roomTile is what one other member sends. It may come two ways at once, from two goroutines:
// the first copy of a frame counts.
type roomTile struct {
	f       *roomFlow
	sinks   sync.Mutex // held while a frame is given to the sink, so that it gets one at a time
	sink    Sink
	records bool                           // the sink does
	last    [sframe.ScreenAudio + 1]uint64 // by slot: 1 + the place of the newest frame; under sinks

	mu       sync.Mutex // guards the rest
	sum      MediaInfo
	frames   [sframe.ScreenAudio + 1]RoomFrames
	failed   uint64    // frames that came over the SFU and did not open
	peer     *rtc.Peer // of the mesh; nil without
	before   rtc.Stats // of the connections before it
	base     [2]int    // what had come when it began: sound, pictures
	expected *rtc.MediaEnd
	overMesh [sframe.ScreenAudio + 1]bool // by slot: a frame came first over the mesh since the leg to the SFU began,
	overSFU  [sframe.ScreenAudio + 1]bool // and one over the SFU
	began    time.Time                    // when the first one did
	live     bool                         // a way leads there and back
	said     bool                         // it has said that nothing more comes
	closed   bool
}

func newRoomFlow(r *Room) *roomFlow { return &roomFlow{r: r, changed: make(chan struct{})} }

// notifyLocked wakes whoever waits for something to change.
func (f *roomFlow) notifyLocked() {
	close(f.changed)
	f.changed = make(chan struct{})
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
		keeps, can := sink.(interface{ Records() bool })
		t.records = can && keeps.Records()
	}
	m.mu.Lock()
	m.media = t
	m.mu.Unlock()
	f.mu.Lock()
	f.tiles = append(slices.Clone(f.tiles), t)
	f.notifyLocked()
	f.mu.Unlock()
	return t, nil
}

// over is a connection of the mesh that begins.
func (t *roomTile) over(p *rtc.Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.peer != nil {
		t.before = t.before.Plus(t.peer.Stats())
	}
	t.peer, t.expected = p, nil
	t.base = [2]int{t.sum.AudioReceived, len(t.sum.VideoReceivedHash)}
}

func (f *roomFlow) directions() (audio, video rtc.Direction) {
	switch f.r.opts.Media {
	case Audio:
		// Pictures of others are taken; and the place of a section tells its slot.
		return rtc.SendReceive, rtc.ReceiveOnly
	case Video:
		return rtc.SendReceive, rtc.SendReceive
	}
	return rtc.Inactive, rtc.Inactive
}

func (f *roomFlow) codec() sframe.Codec {
	if s := f.r.opts.Source; s != nil {
		return s.VideoCodec
	}
	return sframe.VP8
}

func (f *roomFlow) configure(cfg *rtc.Config, t *roomTile) {
	cfg.Audio, cfg.Video = f.directions()
	cfg.Screen, cfg.VideoCodec = rtc.ReceiveOnly, f.codec()
	over := func(frame rtc.Frame) { t.frame(frame, false) }
	cfg.OnAudio, cfg.OnVideo, cfg.OnScreen, cfg.OnMediaEnd = over, over, over, t.onMediaEnd
}

// begin sends over a connection of the mesh from now on.
func (f *roomFlow) begin(ctx context.Context, p *pair) error {
	start := rtc.MediaStart{}
	if s := f.r.opts.Source; s != nil {
		start = rtc.MediaStart{Audio: s.NextAudio != nil, Video: s.NextVideo != nil && f.r.opts.Media == Video, VideoCodec: s.VideoCodec}
	}
	if err := p.peer.SendMediaStart(ctx, start); err != nil {
		return endOf(ctx, err)
	}
	p.sends.Store(p.peer)
	if f.open(p, p.m.media) {
		return endOf(ctx, p.sayEnd(ctx))
	}
	return nil
}

// open makes a way one that frames go, and its tiles ones that are talked with. It reports
// whether the source has ended already.
func (f *roomFlow) open(w way, tiles ...*roomTile) (ended bool) {
	for _, t := range tiles {
		t.setLive(true)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.ways, w) {
		f.ways = append(slices.Clone(f.ways), w) // a snapshot of it may be in use
	}
	f.notifyLocked()
	return f.ended
}

// close ends a way.
func (f *roomFlow) close(w way) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ways = slices.DeleteFunc(slices.Clone(f.ways), func(o way) bool { return o == w })
	f.notifyLocked()
}

func (t *roomTile) setLive(live bool) {
	t.mu.Lock()
	t.live = live
	t.mu.Unlock()
	t.f.notify()
}

func (f *roomFlow) hasEnded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

func (f *roomFlow) notify() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notifyLocked()
}

// talking are the tiles of those whom a way leads to.
func (f *roomFlow) talking() (out []*roomTile) {
	f.mu.Lock()
	tiles := f.tiles
	f.mu.Unlock()
	for _, t := range tiles {
		t.mu.Lock()
		if t.live && !t.closed {
			out = append(out, t)
		}
		t.mu.Unlock()
	}
	return out
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
	var slots []sframe.Slot
	if source.NextAudio != nil {
		slots = append(slots, sframe.Microphone)
	}
	if video != nil {
		slots = append(slots, sframe.Camera)
	}
	f.begins(ctx, slots...)
	for _, slot := range slots {
		lines.Go(func() {
			if slot == sframe.Microphone {
				errs[0] = f.line(ctx, slot, sframe.Opus, source.NextAudio)
			} else {
				errs[1] = f.line(ctx, slot, source.VideoCodec, video)
			}
			f.ends(ctx, slot)
		})
	}
	lines.Wait()
	return endOf(ctx, errors.Join(errs...))
}

// enough waits until as many are connected as were asked for.
func (f *roomFlow) enough(ctx context.Context) bool {
	want := max(1, f.r.opts.Wait)
	for {
		f.mu.Lock()
		changed, reached := f.changed, 0
		if slices.ContainsFunc(f.ways, func(w way) bool { _, leg := w.(*rtc.Leg); return leg }) {
			// Over the SFU nobody is heard before somebody begins. Everybody who is in is reached.
			reached = len(f.tiles)
		}
		f.mu.Unlock()
		if max(reached, len(f.talking())) >= want {
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
	behind := due // when the frame before had gone everywhere
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
		late := behind.Sub(due) > d
		if err := f.send(slot, c, frame, d); err != nil {
			return err
		}
		behind, due = time.Now(), due.Add(d)
		f.left(late)
	}
}

func (f *roomFlow) left(late bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frames++
	if late {
		f.late++
	}
}

// lateness says how many frames have left since it was asked for last, and how many of them more
// than their own duration after they were due, because those before them were still on their way
// to everybody.
func (f *roomFlow) lateness() (frames, late int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	frames, late = f.frames, f.late
	f.frames, f.late = 0, 0
	return frames, late
}

// slots are how many we send.
func (f *roomFlow) slots() (n int) {
	s := f.r.opts.Source
	if s == nil || f.hasEnded() {
		return 0
	}
	if s.NextAudio != nil && f.r.opts.Media != DataOnly {
		n++
	}
	if s.NextVideo != nil && f.r.opts.Media == Video {
		n++
	}
	return n
}

// send seals a frame once and gives the same bytes to every way.
func (f *roomFlow) send(slot sframe.Slot, c sframe.Codec, frame []byte, d time.Duration) error {
	f.mu.Lock()
	sender, ways := f.sender, f.ways
	if slot == sframe.Microphone {
		f.sent++
	} else if len(f.hashes) < maxHashes {
		f.hashes = append(f.hashes, sha256.Sum256(frame))
	}
	f.mu.Unlock()
	if sender == nil || len(ways) == 0 {
		return nil // nobody is there to hear it
	}
	sealed, err := sender.Seal(slot, c, frame)
	if err != nil {
		return err
	}
	for _, w := range ways {
		// A connection that breaks ends by itself; the others go on.
		if err := w.SendSealed(sealed, d); err != nil && !errors.Is(err, rtc.ErrClosed) && !errors.Is(err, rtc.ErrNotSending) {
			f.r.log.Debug("a frame was not sent one way", "error", errorKind(err))
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
	ways := f.ways
	f.notifyLocked()
	f.mu.Unlock()
	bounded, cancel := context.WithTimeout(context.Background(), farewellTime)
	defer cancel()
	for _, w := range ways {
		if p, mesh := w.(*pair); mesh {
			if err := p.sayEnd(bounded); err != nil {
				f.r.log.Debug("a member was not told of the end", "error", errorKind(err))
			}
		}
	}
	f.r.sayEnded(bounded)
}

// frame takes one frame that opened, over the SFU or the mesh.
func (t *roomTile) frame(frame rtc.Frame, sfu bool) {
	t.sinks.Lock()
	if frame.Slot > sframe.ScreenAudio || frame.Order+1 <= t.last[frame.Slot] {
		t.sinks.Unlock()
		return // a later one has been shown
	}
	t.last[frame.Slot] = frame.Order + 1
	var err error
	video := frame.Codec != sframe.Opus
	if t.sink != nil && !t.isClosed() {
		if video {
			err = t.sink.Video(frame)
		} else {
			err = t.sink.Audio(frame)
		}
	}
	t.sinks.Unlock()
	t.update(func() {
		if counts := &t.frames[frame.Slot]; sfu {
			counts.SFU++
		} else {
			counts.Mesh++
			t.overMesh[frame.Slot] = true
		}
		// What a member says it has sent is its microphone and its camera.
		switch {
		case frame.Slot == sframe.Microphone:
			t.sum.AudioReceived++
		case frame.Slot == sframe.Camera && len(t.sum.VideoReceivedHash) < maxHashes:
			t.sum.VideoReceivedHash = append(t.sum.VideoReceivedHash, sha256.Sum256(frame.Data))
		}
	}, err)
}

func (t *roomTile) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

func (t *roomTile) onMediaEnd(e rtc.MediaEnd) {
	t.update(func() { t.expected, t.sum.PeerEnded = &e, true }, nil)
}

// hasEnded is the member's word over the pair's own keys, whatever way its media comes.
func (t *roomTile) hasEnded() { t.update(func() { t.said, t.sum.PeerEnded = true, true }, nil) }

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

// stats of the connections, and what came any way.
func (t *roomTile) stats() (rtc.Stats, MediaInfo, []RoomFrames) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var frames []RoomFrames
	for slot, f := range t.frames {
		if f != (RoomFrames{}) {
			f.Slot = sframe.Slot(slot)
			frames = append(frames, f)
		}
	}
	stats := t.before.Plus(rtc.Stats{SFrameFailed: t.failed})
	if t.peer != nil {
		stats = stats.Plus(t.peer.Stats())
	}
	return stats, t.sum, frames
}

// legSlots is how long the SFU may take to bring every slot of a member that the mesh brings, before
// what it brings is enough: a path may not take more, or a camera may just have been switched off.
const legSlots = 3 * time.Second

// overLeg takes note that a frame of a slot came over the SFU, and says whether the mesh is needed no
// more: sound comes over the SFU at once, a picture not before there is room for it.
func (t *roomTile) overLeg(slot sframe.Slot, now time.Time) (enough bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if slot > sframe.ScreenAudio {
		return false
	}
	if t.began.IsZero() {
		t.began = now
	}
	t.overSFU[slot] = true
	for s, mesh := range t.overMesh {
		if mesh && !t.overSFU[s] {
			return now.Sub(t.began) >= legSlots
		}
	}
	return true
}

// legBegins forgets which slots come which way.
func (f *roomFlow) legBegins() {
	f.mu.Lock()
	tiles := f.tiles
	f.mu.Unlock()
	for _, t := range tiles {
		t.legBegins()
	}
}

func (t *roomTile) legBegins() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.overMesh, t.overSFU, t.began = [sframe.ScreenAudio + 1]bool{}, [sframe.ScreenAudio + 1]bool{}, time.Time{}
}

// came says whether any frame has opened, whichever way it came.
func (t *roomTile) came() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.frames {
		if f.Mesh+f.SFU > 0 {
			return true
		}
	}
	return false
}

// cameOverMesh says whether any frame of a slot has come that way.
func (t *roomTile) cameOverMesh(slot sframe.Slot) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.frames[slot].Mesh > 0
}

// unopened counts a frame over the SFU.
func (t *roomTile) unopened() {
	t.mu.Lock()
	t.failed++
	t.mu.Unlock()
}

// complete: the member has said all, and all of it is here. What came over the SFU is not
// counted by its sender; there the last frames get a moment.
func (t *roomTile) complete() (ended, whole bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ended = t.expected != nil || t.said
	whole = t.expected != nil && uint64(t.sum.AudioReceived-t.base[0]) >= t.expected.AudioFrames &&
		uint64(len(t.sum.VideoReceivedHash)-t.base[1]) >= t.expected.VideoFrames
	return ended, whole
}

// end closes the tile of a member that has gone. Nothing of its ways is left.
func (t *roomTile) end() {
	t.mu.Lock()
	t.closed, t.live = true, false
	t.mu.Unlock()
	t.sinks.Lock()
	var err error
	if t.sink != nil {
		err = t.sink.Close()
	}
	t.sinks.Unlock()
	t.f.mu.Lock()
	t.f.tiles = slices.DeleteFunc(slices.Clone(t.f.tiles), func(o *roomTile) bool { return o == t })
	t.f.mu.Unlock()
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
		ended, changed, err := r.flow.ended, r.flow.changed, r.flow.err
		r.flow.mu.Unlock()
		tiles := r.flow.talking()
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
