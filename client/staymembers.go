package client

import (
	"cmp"
	"slices"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope/room"
	"github.com/trunkline-net/trunkline/internal/link"
)

// Who is in: those who may be are brought in, and what was theirs ends when they go.

// changed is called when somebody came or went, or a roster did: the chair signs, and whoever
// may be brought in is.
func (s *stay) changed() error {
	if err := s.chair(); err != nil {
		return err
	}
	if err := s.review(); err != nil {
		return err
	}
	return s.topology()
}

// review brings those in who may be and are not yet, and ends those who may not be any more.
func (s *stay) review() error {
	var came []*member
	gone := false
	for _, m := range sortedMembers(s.members) {
		admitted := s.rosters.Admits(&m.Member)
		switch {
		case m.in && !admitted:
			s.drop(m, link.CodeRemoved)
			gone = true
		case admitted && !m.in:
			if m.session == nil {
				if err := s.welcome(m); err != nil {
					return err
				}
			}
			came = append(came, m)
		}
	}
	if gone {
		if err := s.rekey(); err != nil {
			return err
		}
	}
	if len(came) == 0 {
		return s.sayPresence(nil)
	}
	for _, m := range came {
		m.in = true
		if err := s.greet(m); err != nil {
			return err
		}
		if s.need.Cause != "" {
			if err := s.sayNeed(m); err != nil {
				return err
			}
		}
	}
	if err := s.giveKey(came); err != nil {
		return err
	}
	for _, m := range came {
		if _, err := s.r.flow.tile(m); err != nil {
			return err
		}
	}
	// Nothing of them can come before they are among the members: a recording is announced before it begins.
	if err := s.sayPresence(came); err != nil {
		return err
	}
	for _, m := range came {
		s.r.mu.Lock()
		s.r.members[m.Index] = m
		s.r.mu.Unlock()
		s.r.tell(MemberCame{m.facts()})
		s.showPresence(m)
		if s.r.flow.hasEnded() {
			if err := s.say(m, endedMessage()); err != nil {
				return err
			}
		}
		if !s.up {
			s.connect(m)
		}
	}
	return nil
}

// left is the node's word that a seat is free.
func (s *stay) left(i room.Index, code string) error {
	delete(s.present, i)
	delete(s.waiting, i)
	delete(s.approved, i)
	delete(s.unknown, i)
	if len(s.unknown) == 0 && !s.lobby {
		s.settled = true
	}
	m := s.members[i]
	if m == nil {
		return s.chair()
	}
	was := m.in
	s.drop(m, code)
	if was {
		if err := s.rekey(); err != nil {
			return err
		}
	}
	return s.changed()
}

// drop ends everything with a member.
func (s *stay) drop(m *member, code string) {
	facts := m.facts()
	s.end(m)
	delete(s.members, m.Index)
	// Whoever is in Members no more is in an event that was told before.
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	delete(s.r.members, m.Index)
	if m.in {
		s.r.tell(MemberWent{facts, code})
	}
}

func (s *stay) end(m *member) {
	m.receiver.Drop()
	if m.session != nil {
		for _, h := range m.session.Handles() {
			delete(s.handles, h)
		}
		m.session.Close()
	}
	if m.media == nil {
		return
	}
	if m.pair != nil {
		m.pair.stop()
	}
	// Its goodbye takes a moment, and nobody here waits for it.
	s.parts.Go(func() {
		if m.pair != nil {
			<-m.pair.done
		}
		m.media.end()
	})
}

func (s *stay) describe(m *room.Member) RoomMember {
	at, moderator := s.card.Position(m.Root())
	return RoomMember{
		Index: m.Index, Root: m.Root(), Device: m.Device(), Name: m.Name,
		Owner: moderator && at == 0, Moderator: moderator && at > 0,
	}
}

// facts may be called from any goroutine.
func (m *member) facts() RoomMember {
	out := m.s.describe(&m.Member)
	out.Streams = m.s.r.streams.of(m.Index)
	m.mu.Lock()
	defer m.mu.Unlock()
	if out.Connected, out.Route = m.connected, m.route; m.leg != nil {
		out.Route = rtc.Route{Path: "sfu/" + m.leg.Route()}
	}
	out.Presence = m.presence
	if m.media != nil {
		out.Stats, out.Media, out.Frames = m.media.stats()
	}
	return out
}

func sortedMembers(all map[room.Index]*member) []*member {
	out := make([]*member, 0, len(all))
	for _, m := range all {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *member) int { return cmp.Compare(a.Index, b.Index) })
	return out
}
