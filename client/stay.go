package client

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/envelope/room"
	roompb "github.com/trunkline-net/trunkline/envelope/room/pb"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store/keep"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// stay is one join of a room, from the node's answer to the end of the link. All of it but what
// is said otherwise belongs to one goroutine, drive.
type stay struct {
	r    *Room
	w    *wire
	stop func()
	room room.ID
	own  room.Member

	frames chan *pb.NodeFrame // from the node; what does not fit ends the link
	asks   chan func()
	over   chan struct{} // closed when drive has returned
	parts  sync.WaitGroup
	ctx    context.Context // of what runs for the stay

	card    *room.Card
	keys    *room.Keys
	joining *room.Joining
	joinID  room.JoinID
	steward ed25519.PrivateKey // nil: not ours
	lobby   bool               // we wait

	present  map[room.Index]bool // as the node says
	before   map[room.Index]bool // who was in when we came: they welcome us, and whoever comes later is welcomed by us
	unknown  map[room.Index]bool // of those who were there when we came, who has not shown itself
	settled  bool                // we know who else is here, and may take the chair
	waiting  map[room.Index]*waiter
	approved map[room.Index]room.Seat // out of the lobby, by us
	joins    map[room.JoinID]bool
	used     map[room.Index]bool
	members  map[room.Index]*member
	handles  map[envelope.Handle]*member
	rosters  *room.Rosters

	sending roomKeys

	promotion promotion
	up        bool     // media goes over the SFU, as far as it does already
	leg       *roomLeg // nil: none
}

// member is somebody else.
type member struct {
	room.Member
	s        *stay
	join     *room.Join        // until it is welcomed
	session  *envelope.Session // nil until then
	receiver *sframe.GroupReceiver
	in       bool // it gets our keys, and is connected with
	gave     int  // Keys that were sent and not answered
	held     bool // it holds our newest key
	pair     *pair

	viaSFU  bool        // we get its media over the SFU, and have said so
	getsSFU bool        // it gets ours over the SFU
	overSFU atomic.Bool // a frame of it came over the SFU; of any goroutine

	mu        sync.Mutex // guards the rest
	connected bool
	route     rtc.Route // in the mesh
	leg       *rtc.Leg  // over which its media comes; nil: over the mesh
	media     *roomTile
}

// waiter is somebody in the lobby, once it has said who it is.
type waiter struct {
	room.Member
	shown bool
}

const (
	// stayFrames is how many frames of the node may wait: a full room where everybody makes keys
	// and connections at once.
	stayFrames = 8192
	// settleTime is how long who was there when we came has to show itself before we take the
	// chair.
	settleTime = 3 * time.Second
	// commandTime is how long the node may take for a steward's command.
	commandTime = 5 * time.Second
	// keyLife is how long a sender's key is used (docs/spec/rooms.md, section 8).
	keyLife = 24 * time.Hour
)

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
	r.now = s
	r.mu.Unlock()
	return s, nil
}

// take is called by the wire's read loop. More than fits ends the link: what was missed cannot
// be had again.
func (s *stay) take(f *pb.NodeFrame) {
	select {
	case s.frames <- f:
	default:
		s.w.close()
	}
}

func (s *stay) join(ctx context.Context, l room.Link) error {
	join := &pb.RoomJoin{Room: l.Room[:], JoinId: s.joinID[:], GateSignature: link.SignGate(s.keys.Gate(), s.w.challenge, l.Room, s.joinID)}
	if s.steward != nil {
		join.StewardSignature = link.SignSteward(s.steward, s.w.challenge, l.Room, s.joinID)
	}
	answer, err := s.w.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_RoomJoin{RoomJoin: join}})
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
	s.sending = newRoomKeys(s.own.Index)
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
	s.own = s.joining.Own
	return s.post(0, s.joining.Payload)
}

// post sends a payload to one member, or to all.
func (s *stay) post(to room.Index, payload []byte) error {
	return s.w.send(&pb.ClientFrame{Kind: &pb.ClientFrame_RoomSend{RoomSend: &pb.RoomSend{To: uint32(to), Payload: payload}}})
}

// say seals a message for one member. It may be called from any goroutine; that the other side
// has gone meanwhile is no error.
func (s *stay) say(m *member, msg *roompb.Message) error {
	body, err := room.MarshalMessage(msg)
	if err != nil {
		return err
	}
	frame, err := m.session.Seal(body)
	if errors.Is(err, envelope.ErrClosed) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.post(m.Index, frame)
}

// drive does what the node and the others cause until the stay is over.
func (s *stay) drive(ctx context.Context) error {
	defer close(s.over)
	var end context.CancelFunc
	s.ctx, end = context.WithCancel(ctx)
	defer func() {
		end()
		s.closeDown(ctx.Err() != nil)
	}()
	settle := time.NewTimer(settleTime)
	defer settle.Stop()
	s.sending.timer = time.NewTimer(time.Hour)
	defer s.sending.timer.Stop()
	renew := time.NewTicker(keyLife)
	defer renew.Stop()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		var err error
		select {
		case f := <-s.frames:
			err = s.handle(f)
		case ask := <-s.asks:
			ask()
		case <-s.sending.timer.C:
			err = s.switchKey()
		case <-renew.C:
			err = s.rekey()
		case <-look.C:
			err = s.topology()
		case <-settle.C:
			s.settled = true
			err = s.chair()
		case <-s.w.ended:
			// What the node said last explains more than the closed connection.
			for len(s.frames) > 0 && err == nil {
				err = s.handle(<-s.frames)
			}
			if err == nil {
				err = s.w.why
			}
			return err
		case <-ctx.Done():
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *stay) closeDown(goodbye bool) {
	if goodbye {
		bye, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), commandTime)
		// The seat goes with the link in any case.
		_, _ = s.w.call(bye, &pb.ClientFrame{Kind: &pb.ClientFrame_RoomLeave{RoomLeave: &pb.RoomLeave{}}})
		cancel()
	}
	if s.leg != nil {
		s.leg.stop()
	}
	for _, m := range sortedMembers(s.members) {
		s.end(m)
	}
	s.parts.Wait()
	if s.joining != nil {
		s.joining.Close()
	}
	s.stop()
}

// leave ends what the room shows of a stay.
func (r *Room) leave(s *stay) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now == s {
		r.now = nil
	}
	clear(r.members)
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

func (s *stay) handle(f *pb.NodeFrame) error {
	if e := f.GetRoomLeg().GetEvent(); e != nil && s.leg != nil {
		s.leg.event(e)
	}
	e := f.GetRoomEvent()
	if e == nil {
		return nil
	}
	i := room.Index(e.Index)
	switch e.Kind {
	case pb.RoomEventKind_ROOM_EVENT_JOINED:
		s.present[i] = true
		delete(s.waiting, i)
	case pb.RoomEventKind_ROOM_EVENT_LEFT:
		return s.left(i, e.Code)
	case pb.RoomEventKind_ROOM_EVENT_WAITING:
		s.waiting[i] = &waiter{Member: room.Member{Index: i}}
	case pb.RoomEventKind_ROOM_EVENT_ADMITTED:
		if !s.lobby {
			return nil
		}
		s.found(e.Present)
		s.enterInside()
		s.r.tell(RoomAdmitted{})
		return s.announce()
	case pb.RoomEventKind_ROOM_EVENT_CLOSED:
		return &RoomOverError{e.Code}
	case pb.RoomEventKind_ROOM_EVENT_FRAME:
		return s.frame(i, e.Payload)
	}
	return nil
}

// frame is a payload of another seat. One that cannot be used is dropped without an answer.
func (s *stay) frame(from room.Index, payload []byte) error {
	if !link.RoomPayload(len(payload)) {
		return nil
	}
	switch h := envelope.Handle(payload[:8]); {
	case h == s.keys.Door():
		return s.joined(from, payload)
	case h == s.joining.Handle():
		return s.welcomed(from, payload)
	default:
		m := s.handles[h]
		if m == nil || m.Index != from || m.session == nil {
			return nil
		}
		body, err := m.session.Open(payload)
		if err != nil {
			s.r.log.Debug("a frame of a room was dropped", "reason", envelope.DropReason(err))
			return nil
		}
		msg, err := room.ParseMessage(body)
		if err != nil {
			return nil
		}
		return s.message(m, msg)
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
		return nil
	}
	for _, m := range came {
		m.in = true
		if err := s.greet(m); err != nil {
			return err
		}
	}
	if err := s.giveKey(came); err != nil {
		return err
	}
	for _, m := range came {
		if _, err := s.r.flow.tile(m); err != nil {
			return err
		}
		s.r.mu.Lock()
		s.r.members[m.Index] = m
		s.r.mu.Unlock()
		s.r.tell(MemberCame{m.facts()})
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
	s.r.mu.Lock()
	delete(s.r.members, m.Index)
	s.r.mu.Unlock()
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

// message is what a member says over the pair's own keys.
func (s *stay) message(m *member, msg *roompb.Message) error {
	switch k := msg.Kind.(type) {
	case *roompb.Message_Key:
		return s.gotKey(m, k.Key)
	case *roompb.Message_KeyHeld:
		return s.keyHeld(m, k.KeyHeld.Generation)
	case *roompb.Message_Roster:
		return s.gotRoster(m, k.Roster.Signed)
	case *roompb.Message_RosterWanted:
		return s.giveRoster(m)
	case *roompb.Message_NewLink:
		return s.newLink(m, room.Secret(k.NewLink.Secret))
	case *roompb.Message_Stewardship:
		return s.stewardship(m, [32]byte(k.Stewardship.Seed))
	case *roompb.Message_Way:
		return s.gotWay(m, k.Way.Kind)
	case *roompb.Message_Ended:
		if m.media != nil {
			m.media.hasEnded()
		}
	case *roompb.Message_Connection:
		if m.in && m.pair == nil && offersAnew(k.Connection.Message) {
			s.connect(m) // the other side wants the mesh, and noticed first
		}
		if m.in && m.pair != nil {
			m.pair.heard(k.Connection.Message)
		}
	}
	return nil
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
	m.mu.Lock()
	defer m.mu.Unlock()
	if out.Connected, out.Route = m.connected, m.route; m.leg != nil {
		out.Route = rtc.Route{Path: "sfu/" + m.leg.Route()}
	}
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
