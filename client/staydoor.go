package client

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/envelope/room"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store/keep"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// Coming in: a seat at the node, the card, and the JOINs and WELCOMEs by which those who are in and
// those who come get to know each other (docs/spec/rooms.md, section 6).

// enter takes a seat at the node and opens the card.
func (r *Room) enter(ctx context.Context) (*stay, error) {
	l := r.Link()
	s := &stay{
		r: r, room: l.Room, keys: l.Secret.Keys(), joinID: room.NewJoinID(),
		frames: make(chan *pb.NodeFrame, stayFrames), asks: make(chan func()), over: make(chan struct{}),
		present: map[room.Index]bool{}, before: map[room.Index]bool{}, unknown: map[room.Index]bool{}, waiting: map[room.Index]*waiter{}, approved: map[room.Index]room.Seat{},
		joins: map[room.JoinID]bool{}, used: map[room.Index]bool{}, members: map[room.Index]*member{}, handles: map[envelope.Handle]*member{},
	}
	seed, err := r.a.steward(l.Room)
	if err != nil {
		return nil, err
	}
	if seed != ([32]byte{}) {
		s.steward = stewardKey(seed)
	}
	if s.w, s.stop, err = r.a.dial(ctx, l.Base, s.take); err != nil {
		return nil, err
	}
	if err := s.join(ctx, l); err != nil {
		s.stop()
		return nil, err
	}
	r.mu.Lock()
	r.now, r.index = s, s.own.Index
	r.mu.Unlock()
	return s, nil
}

func (s *stay) join(ctx context.Context, l room.Link) error {
	join := &pb.RoomJoin{Room: l.Room[:], JoinId: s.joinID[:], GateSignature: link.SignGate(s.keys.Gate(), s.w.challenge, l.Room, s.joinID)}
	if s.steward != nil {
		join.StewardSignature = link.SignSteward(s.steward, s.w.challenge, l.Room, s.joinID)
	}
	answer, err := s.w.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_RoomJoin{RoomJoin: join}})
	if s.wantsPass(err) {
		// Without it the node of the room learns nothing of where we are at home, and ours not that we come.
		if perr := s.showPass(ctx, join, l.Room); perr != nil {
			return errors.Join(err, perr)
		}
		answer, err = s.w.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_RoomJoin{RoomJoin: join}})
	}
	if err != nil {
		return err
	}
	joined := answer.GetRoomJoined()
	if joined == nil || joined.Index == 0 {
		return errors.New("the node answered a join with something else")
	}
	card, err := s.keys.OpenCard(l.Room, joined.Card)
	if err != nil {
		return fmt.Errorf("%w: the room's card: %w", ErrVerification, err)
	}
	if old := s.r.card.Load(); old != nil && card.Serial < old.Serial {
		return fmt.Errorf("%w: the node has an older card of the room than it had", ErrVerification)
	}
	if card.Entry == room.Members && !card.MayEnter(s.r.a.self.Cert.Root) {
		return ErrNotListed // nobody there would say a word to us
	}
	s.card, s.rosters, s.lobby = card, room.NewRosters(card), joined.Waiting
	s.r.card.Store(card)
	s.own = room.Member{Index: room.Index(joined.Index), Cert: s.r.a.self.Cert, Name: s.r.a.self.Name}
	s.found(joined.Present)
	s.sending = newRoomKeys(s.own.Index, s.r.a.now())
	s.promotion = promotion{topology: card.Topology, limit: card.MeshLimit(), sfu: joined.Sfu}
	if err := s.r.a.remember(func(k *keep.Room) {
		k.Base, k.Secret, k.Card, k.Expires = l.Base, l.Secret, card.Bytes(), time.Unix(int64(joined.Expires), 0)
	}, l.Room); err != nil {
		return err
	}
	if !s.lobby {
		s.enterInside()
	}
	return s.announce()
}

// wantsPass says whether the word of our own node may open what was refused.
func (s *stay) wantsPass(err error) bool {
	var refused *RefusedError
	return s.r.a.pass != nil && errors.As(err, &refused) && (refused.Code == link.CodePass || refused.Code == link.CodePolicy)
}

// showPass gets the word of our own node for a key that is drawn for this join, and signs with it.
func (s *stay) showPass(ctx context.Context, join *pb.RoomJoin, id room.ID) error {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	if join.Pass, err = s.r.a.pass(ctx, s.w.challenge, public); err != nil {
		return err
	}
	join.PassSignature = link.SignHolder(private, s.w.challenge, id, s.joinID)
	return nil
}

// found are those who were in before us.
func (s *stay) found(present []uint32) {
	for _, p := range present {
		i := room.Index(p)
		s.present[i], s.before[i], s.unknown[i] = true, true, true
	}
}

// announce shows the others, or in the lobby the stewards, who we are.
func (s *stay) announce() error {
	if s.joining != nil {
		s.joining.Close()
	}
	var err error
	if s.joining, err = room.NewJoin(s.r.a.self, s.keys, s.room, s.joinID, s.own.Index, s.r.a.now()); err != nil {
		return err
	}
	s.r.mu.Lock() // Index reads it
	s.own = s.joining.Own
	s.r.mu.Unlock()
	return s.post(0, s.joining.Payload)
}

func (s *stay) enterInside() {
	s.lobby = false
	s.r.mu.Lock()
	if !isClosed(s.r.inside) {
		close(s.r.inside)
	}
	s.r.mu.Unlock()
	s.r.flow.use(s.sending.sender)
	if len(s.unknown) == 0 {
		s.settled = true
	}
}

// joined takes somebody's JOIN.
func (s *stay) joined(from room.Index, payload []byte) error {
	if s.lobby {
		return nil
	}
	j, err := s.keys.OpenJoin(s.room, payload, s.r.a.now())
	if err != nil || j.Index != from || from == s.own.Index || j.Device() == s.own.Device() {
		return nil
	}
	if err := s.mayBeHere(&j.Member); err != nil {
		s.r.log.Info("somebody who came was not taken", "error", errorKind(err))
		return nil
	}
	if w := s.waiting[from]; w != nil {
		if !w.shown {
			w.Member, w.shown = j.Member, true
			s.r.tell(MemberWaits{s.describe(&j.Member)})
		}
		return nil
	}
	// Of two who came at once each may see the other's JOIN: the one who was in first welcomes.
	if !s.present[from] || s.before[from] || s.used[from] || s.joins[j.ID] || len(s.members) >= room.MaxSeats {
		return nil
	}
	s.used[from], s.joins[j.ID] = true, true
	m := &member{Member: j.Member, s: s, join: j, receiver: sframe.NewGroupReceiver(uint32(from))}
	s.members[from] = m
	return s.changed()
}

// mayBeHere is what is asked of everybody before anything else: it was not sent away, and its
// device is one of those that its identity is known to have.
func (s *stay) mayBeHere(m *room.Member) error {
	if r := s.rosters.Current(); r != nil && r.Bans(m.Root()) {
		return errBanned
	}
	return s.r.a.knows(m.Cert)
}

var errBanned = errors.New("it was sent away from this room")

// welcomed takes the answer of somebody who was there.
func (s *stay) welcomed(from room.Index, payload []byte) error {
	who, session, err := s.joining.Finish(payload, s.r.a.now())
	if err != nil {
		s.r.log.Debug("a welcome was not taken", "error", errorKind(err))
		return nil
	}
	if who.Index != from || !s.present[from] || !s.before[from] || s.used[from] || s.mayBeHere(who) != nil {
		session.Close()
		return nil
	}
	s.used[from] = true
	m := &member{Member: *who, s: s, receiver: sframe.NewGroupReceiver(uint32(from))}
	s.members[from] = m
	s.adopt(m, session)
	return s.changed()
}

func (s *stay) adopt(m *member, session *envelope.Session) {
	m.session = session
	for _, h := range session.Handles() {
		s.handles[h] = m
	}
	delete(s.unknown, m.Index)
	if len(s.unknown) == 0 {
		s.settled = true
	}
}

// welcome answers a JOIN.
func (s *stay) welcome(m *member) error {
	payload, session, err := m.join.Welcome(s.r.a.self, s.keys, s.room, s.own, s.r.a.now())
	if err != nil {
		return err
	}
	m.join = nil
	s.adopt(m, session)
	return s.post(m.Index, payload)
}
