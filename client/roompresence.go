package client

import (
	"context"
	"errors"
	"time"

	"github.com/trunkline-net/trunkline/envelope/room"
	roompb "github.com/trunkline-net/trunkline/envelope/room/pb"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// What members say that they send and do (docs/spec/rooms.md, section 10).

// RoomPresence is a member's word, and relied upon for nothing. Zero: it sends nothing, or has not said.
type RoomPresence struct {
	Microphone, Camera, Screen, ScreenAudio bool
	Hand                                    time.Time // since when it is raised, by its own clock; zero: it is not
	Recording                               bool
}

// presenceTells is how often in a second a change of one member's presence is told: whoever changes it more often
// fills nobody's queue of events, and what counts in the end is told a second later.
const presenceTells = 4

// begins and ends are what a line of the source does with its slot. Everybody is told, before the first frame goes.
func (f *roomFlow) begins(ctx context.Context, slots ...sframe.Slot) { f.sends(ctx, true, slots) }
func (f *roomFlow) ends(ctx context.Context, slots ...sframe.Slot)   { f.sends(ctx, false, slots) }

func (f *roomFlow) sends(ctx context.Context, on bool, slots []sframe.Slot) {
	f.mu.Lock()
	for _, slot := range slots {
		f.sending[slot] = on
	}
	f.mu.Unlock()
	// Between two stays nobody is there to be told; in the next one everybody is.
	err := f.r.do(ctx, func(s *stay) error { return s.sayPresence(nil) })
	if err != nil && !errors.Is(err, ErrRoomOver) && ctx.Err() == nil {
		f.r.log.Debug("the others were not told what is sent", "error", errorKind(err))
	}
}

// presence is ours.
func (s *stay) presence() RoomPresence {
	f := s.r.flow
	f.mu.Lock()
	p := RoomPresence{Microphone: f.sending[sframe.Microphone], Camera: f.sending[sframe.Camera], Hand: f.hand}
	f.mu.Unlock()
	for _, m := range s.members {
		p.Recording = p.Recording || m.in && m.media != nil && m.media.records
	}
	return p
}

// sayPresence tells who came what we send and do, and everybody if that has changed.
func (s *stay) sayPresence(came []*member) error {
	now := s.presence()
	changed := now != s.presented
	s.presented = now
	for _, m := range sortedMembers(s.members) {
		if !m.in || !changed && !contains(came, m) {
			continue
		}
		if err := s.say(m, &roompb.Message{Kind: &roompb.Message_Presence{Presence: &roompb.Presence{
			Microphone: now.Microphone, Camera: now.Camera, Hand: handMillis(now.Hand), Recording: now.Recording,
		}}}); err != nil {
			return err
		}
	}
	return nil
}

func handMillis(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixMilli())
}

// gotPresence is what a member sends and does from now on.
func (s *stay) gotPresence(m *member, p *roompb.Presence) {
	now := RoomPresence{Microphone: p.Microphone, Camera: p.Camera, Screen: p.Screen, ScreenAudio: p.ScreenAudio, Recording: p.Recording}
	if p.Hand > 0 {
		now.Hand = time.UnixMilli(int64(p.Hand))
	}
	m.mu.Lock()
	m.presence = now
	m.mu.Unlock()
	s.showPresence(m)
}

// showPresence tells of a change. Of whoever is not in yet it is told when it is.
func (s *stay) showPresence(m *member) {
	facts := m.facts()
	if s.r.member(m.Index) != m || facts.Presence == m.shown || m.shows == presenceTells {
		return
	}
	m.shown = facts.Presence
	m.shows++
	s.r.tell(MemberPresence{facts})
}

// showPresences begins a second anew, and tells what of presence was not told for there being too much of it.
func (s *stay) showPresences() {
	for _, m := range sortedMembers(s.members) {
		m.shows, m.talks = 0, 0
		s.showPresence(m)
	}
}

// member is who is in under a number; nil: nobody.
func (r *Room) member(i room.Index) *member {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.members[i]
}
