package client

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"slices"

	"github.com/trunkline-net/trunkline/envelope/room"
	roompb "github.com/trunkline-net/trunkline/envelope/room/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// Rosters, and what those who run a room do (docs/spec/rooms.md, sections 7 and 9).

// ErrNotChair means that another one has the chair now.
var ErrNotChair = errors.New("the owner or another moderator has the chair")

// ErrNoMember means that nobody is at that index.
var ErrNoMember = errors.New("there is nobody with that number in the room")

// haveChair reports whether it is ours.
func (s *stay) haveChair() bool {
	if s.lobby || !s.settled || s.awaitsRoster() {
		return false
	}
	here := []*room.Member{&s.own}
	for _, m := range s.members {
		if m.session != nil {
			here = append(here, &m.Member)
		}
	}
	return s.card.Chair(here) == &s.own
}

// awaitsRoster: somebody who was there before us may hold a roster, and has not told it yet. One that
// we sign without it would contradict it, if both are a chair's first.
func (s *stay) awaitsRoster() bool {
	if s.waited || s.rosters.Current() != nil {
		return false
	}
	for i, m := range s.members {
		if s.before[i] && m.session != nil {
			return true
		}
	}
	return false
}

// seats are those that our roster names: ourselves, and whoever may be in.
func (s *stay) seats() []room.Seat {
	out := []room.Seat{s.own.Seat()}
	for _, m := range sortedMembers(s.members) {
		approved, ok := s.approved[m.Index]
		ok = ok && approved.Root == m.Root() && approved.Device == m.Device()
		if ok || s.rosters.Admits(&m.Member) {
			out = append(out, m.Seat())
		}
	}
	slices.SortFunc(out, func(a, b room.Seat) int { return cmp.Compare(a.Index, b.Index) })
	return out
}

// chair signs a roster if the chair is ours and the one that is held is not what it should be.
func (s *stay) chair() error {
	if !s.haveChair() {
		return nil
	}
	var banned []identity.PublicKey
	if r := s.rosters.Current(); r != nil {
		if banned = r.Banned; r.Chair.Root == s.own.Root() && slices.Equal(r.Seats, s.seats()) {
			return nil
		}
	}
	return s.sign(banned)
}

// sign makes the next roster and gives it to everybody.
func (s *stay) sign(banned []identity.PublicKey) error {
	seats := slices.DeleteFunc(s.seats(), func(x room.Seat) bool { return slices.Contains(banned, x.Root) })
	r, err := room.SignRoster(s.r.a.self, s.room, s.rosters.Current(), seats, banned, s.r.a.now())
	if err != nil {
		return err
	}
	if _, err := s.rosters.Take(r, s.r.a.now()); err != nil {
		return err
	}
	return s.spread()
}

// spread gives the roster that is held to everybody it names.
func (s *stay) spread() error {
	for _, m := range sortedMembers(s.members) {
		if m.session != nil && s.rosters.Admits(&m.Member) {
			if err := s.giveRoster(m); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *stay) giveRoster(m *member) error {
	r := s.rosters.Current()
	if r == nil || !s.rosters.Admits(&m.Member) {
		return nil
	}
	given := telling{at: s.r.a.now(), epoch: r.Epoch}
	if m.roster.covers(given) {
		return nil
	}
	m.roster = given
	return s.say(m, &roompb.Message{Kind: &roompb.Message_Roster{Roster: &roompb.RosterUpdate{Signed: r.Bytes()}}})
}

// gotRoster takes a roster that a member has passed on.
func (s *stay) gotRoster(m *member, signed []byte) error {
	r, err := room.ParseRoster(signed)
	if err != nil {
		return nil
	}
	taken, err := s.rosters.Take(r, s.r.a.now())
	switch {
	case errors.Is(err, room.ErrFork):
		s.r.log.Warn("a moderator of a room has signed two rosters of one epoch")
		s.r.tell(RoomAlarm{"a moderator has signed two lists of members that contradict each other"})
		return nil
	case errors.Is(err, room.ErrOlder), taken == room.Lost:
		return s.giveRoster(m) // whoever sent it does not have the newest
	case err != nil, taken == room.Unchanged:
		s.sending.stale = false
		return s.tellAgain()
	}
	s.sending.stale = false
	if r.Bans(s.own.Root()) {
		return &RoomOverError{link.CodeRemoved}
	}
	// The other chair's is held now; if the chair is ours it lacks what we knew.
	if err := s.changed(); err != nil {
		return err
	}
	return s.tellAgain()
}

// greet is what somebody who comes is told before our key.
func (s *stay) greet(m *member) error {
	if s.haveChair() {
		if err := s.giveRoster(m); err != nil {
			return err
		}
	}
	owner := s.card.Owner
	if at, moderator := s.card.Position(m.Root()); moderator && at > 0 && s.steward != nil &&
		s.own.Root() == owner.Root && s.own.Cert.Device == owner.Device {
		return s.say(m, &roompb.Message{Kind: &roompb.Message_Stewardship{Stewardship: &roompb.Stewardship{Seed: s.steward.Seed()}}})
	}
	return nil
}

// stewardship comes from the owner's device to a moderator.
func (s *stay) stewardship(m *member, seed [32]byte) error {
	owner := s.card.Owner
	if m.Root() != owner.Root || m.Cert.Device != owner.Device || s.steward != nil {
		return nil
	}
	if _, moderator := s.card.Position(s.own.Root()); !moderator {
		return nil
	}
	s.steward = stewardKey(seed)
	return s.r.a.remember(func(k *keep.Room) { k.Steward = seed }, s.room)
}

// newLink comes from a moderator who has replaced the gate.
func (s *stay) newLink(m *member, secret room.Secret) error {
	if _, moderator := s.card.Position(m.Root()); !moderator {
		return nil
	}
	return s.useLink(secret)
}

func (s *stay) useLink(secret room.Secret) error {
	s.keys = secret.Keys()
	s.r.mu.Lock()
	s.r.link.Secret = secret
	s.r.mu.Unlock()
	s.r.tell(RoomLinkReplaced{})
	return s.r.a.remember(func(k *keep.Room) { k.Secret = secret }, s.room)
}

// command asks the node for something as a steward.
func (s *stay) command(ctx context.Context, cmd *pb.RoomCommand) error {
	if s.steward == nil {
		return ErrNotSteward
	}
	control, err := link.SignCommand(s.steward, s.w.challenge, s.room, cmd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	_, err = s.w.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_RoomControl{RoomControl: control}})
	return err
}

func (s *stay) whoWaits() []RoomMember {
	var out []RoomMember
	for _, w := range s.waiting {
		if w.shown {
			out = append(out, s.describe(&w.Member))
		}
	}
	slices.SortFunc(out, func(a, b RoomMember) int { return cmp.Compare(a.Index, b.Index) })
	return out
}

// admit approves of somebody who waits, for this device and this place in the lobby, and has
// the node let it in. Its keys follow once it has shown itself to all.
func (s *stay) admit(ctx context.Context, index room.Index) error {
	w := s.waiting[index]
	if w == nil || !w.shown {
		return ErrNoMember
	}
	s.approved[index] = w.Seat()
	if err := s.command(ctx, &pb.RoomCommand{Kind: &pb.RoomCommand_Admit{Admit: &pb.RoomAdmit{Index: uint32(index)}}}); err != nil {
		delete(s.approved, index)
		return err
	}
	return nil
}

func (s *stay) refuse(ctx context.Context, index room.Index) error {
	if s.waiting[index] == nil {
		return ErrNoMember
	}
	return s.command(ctx, &pb.RoomCommand{Kind: &pb.RoomCommand_Remove{Remove: &pb.RoomRemove{Index: uint32(index)}}})
}

// remove sends a member away. The roster first: from then on nobody gives it a key, whatever
// the node does. Then the node takes the seat and gets another gate, and those who remain get
// the new link.
func (s *stay) remove(ctx context.Context, index room.Index) error {
	m := s.members[index]
	if m == nil {
		return ErrNoMember
	}
	if !s.haveChair() {
		return ErrNotChair
	}
	if _, moderator := s.card.Position(m.Root()); moderator && m.Root() == s.card.Owner.Root {
		return ErrNotChair
	}
	var banned []identity.PublicKey
	if r := s.rosters.Current(); r != nil {
		banned = r.Banned
	}
	if len(banned) >= room.MaxBanned {
		return errors.New("as many were sent away from this room as it can remember: close it and make another")
	}
	if err := s.sign(append(slices.Clone(banned), m.Root())); err != nil {
		return err
	}
	if err := s.review(); err != nil {
		return err
	}
	if s.steward == nil {
		return nil // it hears nothing more; the seat at the node is not ours to take
	}
	err := s.command(ctx, &pb.RoomCommand{Kind: &pb.RoomCommand_Remove{Remove: &pb.RoomRemove{Index: uint32(index)}}})
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Code == link.CodeUnreachable {
		err = nil // it has gone by itself
	}
	if err != nil {
		return err
	}
	return s.replaceLink(ctx)
}

// replaceLink draws a new secret for the same room. Everybody who is in stays.
func (s *stay) replaceLink(ctx context.Context) error {
	secret := room.NewSecret()
	keys := secret.Keys()
	box, err := keys.SealCard(s.card)
	if err != nil {
		return err
	}
	stays := []uint32{uint32(s.own.Index)}
	for _, m := range sortedMembers(s.members) {
		if m.in {
			stays = append(stays, uint32(m.Index))
		}
	}
	slices.Sort(stays)
	err = s.command(ctx, &pb.RoomCommand{Kind: &pb.RoomCommand_Gate{Gate: &pb.RoomGate{
		GateKey: keys.Gate().Public().(ed25519.PublicKey), Card: box, Keep: stays,
	}}})
	if err != nil {
		return err
	}
	for _, m := range sortedMembers(s.members) {
		if m.in {
			if err := s.say(m, &roompb.Message{Kind: &roompb.Message_NewLink{NewLink: &roompb.NewLink{Secret: secret[:]}}}); err != nil {
				return err
			}
		}
	}
	return s.useLink(secret)
}

func (s *stay) close(ctx context.Context) error {
	return s.command(ctx, &pb.RoomCommand{Kind: &pb.RoomCommand_Close{Close: &pb.RoomClose{}}})
}
