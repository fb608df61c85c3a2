package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope/room"
	roompb "github.com/trunkline-net/trunkline/envelope/room/pb"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// Mesh, SFU and back. Nothing is taken away before the other way works: a member publishes to
// the SFU beside the mesh, hears each other member from where its frames open first, and says so;
// who has said SFU gets nothing over the mesh any more. The frames are the same ones, sealed once,
// so no key changes and a copy that comes twice is seen to be one.

const (
	// legPause is between an attempt at the SFU and the next.
	legPause = 2 * time.Second
	// legSettle is between a description and the next: of many who come at once there is one.
	legSettle = 250 * time.Millisecond
	// legMending is how long a leg whose path broke may take to find another one, before a leg is
	// made anew. The SFU keeps the seat for 30 s.
	legMending = 15 * time.Second
	// legSounds and legPictures are how many streams are wanted at once: the sound of a full room and of four screens, and as many
	// pictures as then have room in the 65,536 bytes that an answer of the SFU may have. With one more there is no leg at
	// all. A section stays in the descriptions that follow.
	legSounds, legPictures = link.MaxRoomSeats - 1 + 4, 32
)

// roomLeg is this side's connection to the SFU. But for what is said otherwise it belongs to its
// own loop.
type roomLeg struct {
	s      *stay
	stop   context.CancelFunc
	done   chan struct{}
	wanted chan []rtc.Stream // the newest wish; one waits at most
	heard  chan *pb.RoomLegEvent
	rtc    *rtc.Leg
	on     map[string]rtc.Stream // by section, what was asked for last
	asked  []rtc.Stream          // the wish before; of the stay's loop
	voice  chan struct{}
	voiced bool // we have said that our person speaks
}

// topology is asked when somebody came or went, and each second.
func (s *stay) topology() error {
	if s.lobby || s.r.opts.Media == DataOnly {
		return nil
	}
	in := s.count()
	if !s.settled {
		// Who comes into a large room makes no mesh with the first that it gets to know.
		in = max(in, len(s.present)+1)
	}
	way := s.promotion.decide(s.r.a.now(), in, s.needed())
	was := s.up
	s.up = way.SFU
	// First, so that what asks for the leg finds room on the same line.
	s.r.flow.soundAlone.Store(s.up && (s.need.Cause == CauseUplink || s.need.Cause == CauseProcessor))
	if way != s.r.Way() {
		s.r.way.Store(&way)
		s.r.tell(RoomTopology{way})
	}
	switch {
	case s.up && s.leg == nil:
		s.leg = s.newLeg()
	case !s.up && was:
		// The mesh first; the leg ends when everybody has it.
		for _, m := range sortedMembers(s.members) {
			switch {
			case !m.in:
			case m.pair == nil:
				s.connect(m)
			case m.pair.sends.Load() != nil:
				// The other one noticed first, and its connection works already.
				if err := s.meshBound(m); err != nil {
					return err
				}
			}
		}
	}
	if s.leg != nil {
		s.leg.want(s.streams())
	}
	return s.maybeEndLeg()
}

// count is how many are in, ourselves among them.
func (s *stay) count() int {
	in := 1
	for _, m := range s.members {
		if m.in {
			in++
		}
	}
	return in
}

// streams are what is wanted of the SFU: of everybody every slot that it sends, by what came over the mesh and by the SFU's
// word. Whoever only listens takes no section, and nobody a description when it comes. What there is no section for is
// the last ones' cameras, and the sound of their screens.
func (s *stay) streams() (out []rtc.Stream) {
	members := sortedMembers(s.members)
	sounds, pictures := legSounds, legPictures
	for _, slot := range []sframe.Slot{sframe.Microphone, sframe.Screen, sframe.Camera, sframe.ScreenAudio} {
		left := &pictures
		if slot == sframe.Microphone || slot == sframe.ScreenAudio {
			left = &sounds
		}
		for _, m := range members {
			stream := rtc.Stream{Publisher: uint16(m.Index), Slot: slot}
			if m.in && *left > 0 && (s.r.streams.published(stream) || m.sendsSlot(slot)) {
				*left--
				out = append(out, stream)
			}
		}
	}
	return out
}

// maybeEndLeg leaves the SFU when nobody needs it: we hear all others over the mesh, and they us.
func (s *stay) maybeEndLeg() error {
	if s.up || s.leg == nil {
		return nil
	}
	for _, m := range s.members {
		if !m.in {
			continue
		}
		// Of whom nothing came and who gets nothing, as one with data alone, no connection comes
		// either: nobody waits for it.
		if m.viaSFU || m.getsSFU || m.sends() && !m.bound() {
			return nil
		}
	}
	s.leg.stop()
	s.leg = nil
	s.r.streams.forget()
	return s.w.send(&pb.ClientFrame{Kind: &pb.ClientFrame_RoomLeg{RoomLeg: &pb.RoomLeg{Kind: pb.RoomLegKind_ROOM_LEG_END}}})
}

// sends says whether anything of a member has come.
func (m *member) sends() bool {
	m.mu.Lock()
	media := m.media
	m.mu.Unlock()
	return media != nil && media.came()
}

// sendsSlot says whether anything of one of its slots has come over the mesh.
func (m *member) sendsSlot(slot sframe.Slot) bool {
	m.mu.Lock()
	media := m.media
	m.mu.Unlock()
	return media != nil && media.cameOverMesh(slot)
}

func (m *member) bound() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.connected
}

// gotWay is how a member gets what we send.
func (s *stay) gotWay(m *member, kind roompb.WayKind) error {
	m.getsSFU = kind == roompb.WayKind_WAY_SFU
	if m.pair != nil {
		m.pair.mute(m.getsSFU)
	}
	s.maybeEndPair(m)
	return s.maybeEndLeg()
}

// maybeEndPair ends a connection of the mesh over which neither side gets anything.
func (s *stay) maybeEndPair(m *member) {
	if !s.up || m.pair == nil || !m.getsSFU || !m.viaSFU {
		return
	}
	m.pair.stop()
	m.pair = nil
}

// sayWay tells a member how we get its media.
func (s *stay) sayWay(m *member, kind roompb.WayKind) error {
	return s.say(m, &roompb.Message{Kind: &roompb.Message_Way{Way: &roompb.Way{Kind: kind}}})
}

// meshBound is called when a connection of the mesh works.
func (s *stay) meshBound(m *member) error {
	if s.members[m.Index] != m || s.up || !m.viaSFU {
		return s.maybeEndLeg()
	}
	if err := s.hearsOverMesh(m); err != nil {
		return err
	}
	return s.maybeEndLeg()
}

// hearsOverMesh: what a member sends is to come over the mesh.
func (s *stay) hearsOverMesh(m *member) error {
	m.viaSFU = false
	m.media.legBegins()
	m.overSFU.Store(false)
	m.mu.Lock()
	m.leg = nil
	m.connected = m.pair != nil && m.pair.sends.Load() != nil
	m.mu.Unlock()
	return s.sayWay(m, roompb.WayKind_WAY_MESH)
}

func (s *stay) newLeg() *roomLeg {
	ctx, stop := context.WithCancel(s.ctx)
	g := &roomLeg{s: s, stop: stop, done: make(chan struct{}), wanted: make(chan []rtc.Stream, 1), heard: make(chan *pb.RoomLegEvent, 256), voice: make(chan struct{}, 1)}
	s.parts.Go(func() {
		defer close(g.done)
		g.run(ctx)
	})
	return g
}

// want replaces what is wanted.
func (g *roomLeg) want(streams []rtc.Stream) {
	if slices.Equal(streams, g.asked) {
		return
	}
	g.asked = streams
	select {
	case <-g.wanted:
	default:
	}
	g.wanted <- streams
}

// speaks makes the leg say whether our person speaks.
func (g *roomLeg) speaks() {
	select {
	case g.voice <- struct{}{}:
	default:
	}
}

// sayVoice says whether our person speaks, unless it has. A leg begins as one of which nobody does.
func (g *roomLeg) sayVoice(ctx context.Context) error {
	f := g.s.r.flow
	f.mu.Lock()
	speaking := f.speaking
	f.mu.Unlock()
	if speaking == g.voiced {
		return nil
	}
	g.voiced = speaking
	_, err := g.ask(ctx, &pb.RoomLeg{Kind: pb.RoomLegKind_ROOM_LEG_SPEAKING, Speaking: speaking})
	return err
}

// event takes what the node says of the leg, on the stay's loop. What is published is asked for.
func (g *roomLeg) event(e *pb.RoomLegEvent) {
	if e.Kind == pb.RoomLegEventKind_ROOM_LEG_EVENT_PUBLISHED || e.Kind == pb.RoomLegEventKind_ROOM_LEG_EVENT_UNPUBLISHED {
		if tell := g.s.r.streams.took(e, nil); tell != nil {
			g.s.r.tell(tell)
		}
		g.want(g.s.streams())
		return
	}
	select {
	case g.heard <- e:
	default: // the end of the leg shows in the connection as well, and the rest only explains
	}
}

func (g *roomLeg) run(ctx context.Context) {
	for {
		err := g.attempt(ctx)
		if ctx.Err() != nil {
			return
		}
		g.s.r.log.Info("the connection to the room's SFU ended", "error", errorKind(err))
		g.s.onLoop(func() { g.s.legLost() })
		timer := time.NewTimer(legPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (g *roomLeg) attempt(ctx context.Context) error {
	r := g.s.r
	audio, video := r.flow.directions()
	changed := make(chan struct{}, 1)
	leg, err := rtc.NewLeg(rtc.LegConfig{
		Audio: audio == rtc.SendReceive, Video: video == rtc.SendReceive, VideoCodec: r.flow.codec(),
		Opener: g.opener, OnFrame: g.frame, OnCopy: g.copied, OnUnopened: g.unopened, IncludeLoopback: r.a.cfg.Loopback, Logger: r.log,
		OnState: func(rtc.State) {
			select {
			case changed <- struct{}{}:
			default:
			}
		},
	})
	if err != nil {
		return err
	}
	g.rtc, g.on = leg, nil
	r.flow.legBegins()
	defer func() {
		r.flow.close(leg)
		if err := leg.Close(); err != nil {
			r.log.Debug("the connection to the SFU was not closed cleanly", "error", errorKind(err))
		}
	}()
	return g.follow(ctx, changed)
}

// follow keeps the leg at what is wanted until it ends. A path that breaks is looked for anew on
// the same leg, with everything on it.
func (g *roomLeg) follow(ctx context.Context, changed <-chan struct{}) error {
	leg, streams := g.rtc, g.begins()
	if err := g.negotiate(ctx, streams, false); err != nil {
		return err
	}
	g.voiced = false
	if err := g.sayVoice(ctx); err != nil {
		return err
	}
	settle := time.NewTimer(legSettle)
	defer settle.Stop()
	mending := time.NewTimer(time.Hour)
	defer mending.Stop()
	var wanted <-chan []rtc.Stream // nil until the description before has settled
	broken := false
	for {
		select {
		case <-settle.C:
			wanted = g.wanted
		case streams = <-wanted:
			if err := g.negotiate(ctx, streams, false); err != nil {
				return err
			}
			wanted = nil
			settle.Reset(legSettle)
		case <-g.voice:
			if err := g.sayVoice(ctx); err != nil {
				return err
			}
		case e := <-g.heard:
			if e.Kind == pb.RoomLegEventKind_ROOM_LEG_EVENT_CLOSED {
				return &UnreachableError{What: "the SFU ended this side's leg: " + e.Reason}
			}
			if tell := g.s.r.streams.took(e, g.on); tell != nil {
				g.s.r.tell(tell)
			}
		case <-mending.C:
			return &UnreachableError{What: "the path to the SFU broke"}
		case <-changed:
			switch leg.State() {
			case rtc.StateBound:
				broken = false
				mending.Reset(time.Hour)
				g.s.r.flow.open(leg)
			case rtc.StateDisconnected, rtc.StateFailed:
				if !broken {
					broken = true
					mending.Reset(legMending)
				}
				if err := g.negotiate(ctx, streams, true); err != nil {
					return err
				}
			case rtc.StateClosed:
				return &UnreachableError{What: "the path to the SFU broke"}
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// negotiate describes the sections that are wanted and says what is to come on them; with restart
// it looks for a path anew.
func (g *roomLeg) negotiate(ctx context.Context, streams []rtc.Stream, restart bool) error {
	offer, err := g.rtc.Offer(streams, restart)
	if err != nil {
		return err
	}
	if offer != "" {
		answer, err := g.ask(ctx, &pb.RoomLeg{Kind: pb.RoomLegKind_ROOM_LEG_OFFER, Sdp: offer})
		if err != nil {
			return err
		}
		if err := g.rtc.Answer(answer.Sdp); err != nil {
			return err
		}
	}
	mids := g.rtc.Sections()
	want := &pb.RoomLeg{Kind: pb.RoomLegKind_ROOM_LEG_WANT}
	g.on = make(map[string]rtc.Stream, len(mids))
	for s, mid := range mids {
		g.on[mid] = s
	}
	for _, s := range streams {
		if mid := mids[s]; mid != "" && len(want.Wants) < link.MaxWants {
			want.Wants = append(want.Wants, &pb.RoomWant{Mid: mid, Publisher: uint32(s.Publisher), Slot: uint32(s.Slot)})
		}
	}
	_, err = g.ask(ctx, want)
	return err
}

// ask is one request of the leg. Where many come at once the node asks for patience.
func (g *roomLeg) ask(ctx context.Context, f *pb.RoomLeg) (*pb.RoomLegAnswer, error) {
	for {
		answer, err := g.s.w.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_RoomLeg{RoomLeg: f}})
		var refused *RefusedError
		switch {
		case errors.As(err, &refused) && refused.Code == link.CodeRate:
			timer := time.NewTimer(max(retryHint(err), legSettle))
			select {
			case <-timer.C:
				continue
			case <-ctx.Done():
				timer.Stop()
				return nil, ctx.Err()
			}
		case err != nil:
			return nil, err
		case answer.GetRoomLeg() == nil:
			return nil, errors.New("the node answered an offer with something else")
		}
		return answer.GetRoomLeg(), nil
	}
}

// member finds whom a frame names. It is called from the streams' goroutines.
func (g *roomLeg) member(index uint64) *member {
	if index == 0 || index > 1<<16-1 {
		return nil
	}
	return g.s.r.member(room.Index(index))
}

func (g *roomLeg) opener(index uint64) rtc.Opener {
	if m := g.member(index); m != nil {
		return m.receiver
	}
	return nil
}

// frame is one that opened.
func (g *roomLeg) frame(index uint64, f rtc.Frame) {
	if m := g.member(index); m != nil {
		m.media.frame(f, true)
		g.came(m, f.Slot)
	}
}

// copied is one that had come over the mesh already: the SFU may well be the slower way.
func (g *roomLeg) copied(index uint64, slot sframe.Slot) {
	if m := g.member(index); m != nil {
		g.came(m, slot)
	}
}

// came tells a member that the SFU works as soon as everything that it sends comes that way.
func (g *roomLeg) came(m *member, slot sframe.Slot) {
	if m.media.overLeg(slot, time.Now()) && m.overSFU.CompareAndSwap(false, true) {
		leg := g.rtc
		g.s.onLoop(func() { g.s.hearsOverSFU(m, leg) })
	}
}

func (g *roomLeg) unopened(index uint64) {
	if m := g.member(index); m != nil {
		m.media.unopened()
	}
}

// hearsOverSFU: what a member sends reaches us over the SFU.
func (s *stay) hearsOverSFU(m *member, leg *rtc.Leg) {
	if s.members[m.Index] != m || !s.up {
		m.overSFU.Store(false)
		return
	}
	m.viaSFU = true
	m.mu.Lock()
	was := m.connected
	m.connected, m.leg = true, leg
	m.mu.Unlock()
	m.media.setLive(true)
	if !was {
		s.r.tell(MemberConnected{m.facts()})
	}
	if err := s.sayWay(m, roompb.WayKind_WAY_SFU); err != nil {
		s.w.close() // the read loop reports the end
		return
	}
	s.maybeEndPair(m)
}

// legLost goes back to the mesh for as long as there is no leg, unless more are here than any
// mesh is for: they wait for the next leg.
func (s *stay) legLost() {
	s.r.streams.forget()
	if s.count() > room.MeshMost {
		for _, m := range s.members {
			m.overSFU.Store(false) // what comes over the next leg is told anew
		}
		return
	}
	for _, m := range sortedMembers(s.members) {
		if !m.in {
			continue
		}
		if m.viaSFU {
			if err := s.hearsOverMesh(m); err != nil {
				s.w.close() // the read loop reports the end
				return
			}
			m.media.setLive(m.bound())
		}
		if m.pair == nil {
			s.connect(m)
		}
	}
}

// onLoop runs f on the stay's goroutine; not after its end.
func (s *stay) onLoop(f func()) {
	select {
	case s.asks <- f:
	case <-s.over:
	case <-s.ctx.Done():
	}
}

// begins forgets what the SFU said of an earlier leg, on the stay's loop, where what it says of this one comes later; and
// says what is wanted from the beginning.
func (g *roomLeg) begins() (out []rtc.Stream) {
	got := make(chan []rtc.Stream, 1)
	g.s.onLoop(func() {
		g.s.r.streams.forget()
		g.asked = g.s.streams()
		got <- g.asked
	})
	select {
	case out = <-got:
	case <-g.s.ctx.Done():
	}
	return out
}
