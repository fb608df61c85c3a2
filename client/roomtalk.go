package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope/room"
	roompb "github.com/trunkline-net/trunkline/envelope/room/pb"
)

// What people of a room tell each other beside media (docs/spec/rooms.md, section 10). It goes to everybody who is in,
// and nobody says that it came.

type (
	// MemberNote: a member wrote a line of chat.
	MemberNote struct {
		RoomMember
		ID   [16]byte
		Text string // 1 to 4,096 bytes of UTF-8; its own word, which may look like anything
	}
	// MemberReaction: a member gave a sign.
	MemberReaction struct {
		RoomMember
		Reaction rtc.Reaction
	}
)

func (MemberNote) roomEvent()     {}
func (MemberReaction) roomEvent() {}

// memberTells is how many notes and reactions of one member are told in a second; the rest are dropped. People write
// and wave less, and whoever does more fills nobody's queue of events.
const memberTells = 10

// ErrNoText means that something is no line of chat.
var ErrNoText = fmt.Errorf("a line has 1 to %d bytes of UTF-8 without NUL", room.MaxNote)

// Note writes a line of chat to everybody who is in now.
func (r *Room) Note(ctx context.Context, text string) error {
	if text == "" || len(text) > room.MaxNote || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return ErrNoText
	}
	id := make([]byte, 16)
	rand.Read(id)
	return r.sayAll(ctx, &roompb.Message{Kind: &roompb.Message_Note{Note: &roompb.Note{Id: id, Text: text}}})
}

// React gives a sign to everybody who is in now.
func (r *Room) React(ctx context.Context, sign rtc.Reaction) error {
	if sign < rtc.ReactionYes || sign > rtc.ReactionSurprise {
		return errors.New("there is no such sign")
	}
	return r.sayAll(ctx, &roompb.Message{Kind: &roompb.Message_Reaction{Reaction: &roompb.Reaction{Kind: uint32(sign)}}})
}

// SetHand raises the hand or lowers it. Whoever comes later sees it too.
func (r *Room) SetHand(ctx context.Context, up bool) error {
	return r.do(ctx, func(s *stay) error {
		f := r.flow
		f.mu.Lock()
		switch {
		case !up:
			f.hand = time.Time{}
		case f.hand.IsZero():
			f.hand = time.UnixMilli(r.a.now().UnixMilli()) // as the others get it
		}
		f.mu.Unlock()
		return s.sayPresence(nil)
	})
}

// SetSpeaking says that this side's person speaks now, or has stopped. The node's SFU puts those who spoke last first,
// and cannot hear it. Nothing is said by itself: what a Source plays may be anything.
func (r *Room) SetSpeaking(ctx context.Context, on bool) error {
	f := r.flow
	f.mu.Lock()
	f.speaking = on
	f.mu.Unlock()
	return r.do(ctx, func(s *stay) error {
		if s.leg != nil {
			s.leg.speaks()
		}
		return nil
	})
}

// sayAll says something to everybody who is in.
func (r *Room) sayAll(ctx context.Context, msg *roompb.Message) error {
	if !r.Inside() {
		return ErrNotInside
	}
	return r.do(ctx, func(s *stay) error {
		for _, m := range sortedMembers(s.members) {
			if m.in {
				if err := s.say(m, msg); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// tellOf tells something that a member said, unless it says too much.
func (s *stay) tellOf(m *member, e func(RoomMember) RoomEvent) {
	if !m.in || s.r.member(m.Index) != m || m.talks == memberTells {
		return
	}
	m.talks++
	s.r.tell(e(m.facts()))
}
