package client

import (
	"context"
	"crypto/ed25519"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/envelope/room"
	roompb "github.com/trunkline-net/trunkline/envelope/room/pb"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
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
	waited   bool                // who was there had time to tell us the roster
	waiting  map[room.Index]*waiter
	approved map[room.Index]room.Seat // out of the lobby, by us
	joins    map[room.JoinID]bool
	used     map[room.Index]bool
	members  map[room.Index]*member
	handles  map[envelope.Handle]*member
	rosters  *room.Rosters

	sending roomKeys

	promotion promotion
	needs     ownNeed
	need      RoomNeed     // what we have said that we need
	presented RoomPresence // what we have said that we send and do
	up        bool         // media goes over the SFU, as far as it does already
	leg       *roomLeg     // nil: none
}

// member is somebody else.
type member struct {
	room.Member
	s        *stay
	join     *room.Join        // until it is welcomed
	session  *envelope.Session // nil until then
	receiver *sframe.GroupReceiver
	in       bool    // it gets our keys, and is connected with
	gave     int     // Keys that were sent and not answered
	held     bool    // it holds our newest key
	told     telling // the last Key to it
	roster   telling // and the last roster
	pair     *pair

	need    RoomNeed     // what it has said that it needs
	shown   RoomPresence // of presence, what was told
	shows   int          // how often in this second
	talks   int          // notes and reactions told in this second
	viaSFU  bool         // we get its media over the SFU, and have said so
	getsSFU bool         // it gets ours over the SFU
	overSFU atomic.Bool  // a frame of it came over the SFU; of any goroutine

	mu        sync.Mutex // guards the rest
	connected bool
	route     rtc.Route // in the mesh
	leg       *rtc.Leg  // over which its media comes; nil: over the mesh
	media     *roomTile
	presence  RoomPresence
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

// take is called by the wire's read loop. More than fits ends the link: what was missed cannot
// be had again.
func (s *stay) take(f *pb.NodeFrame) {
	select {
	case s.frames <- f:
	default:
		s.w.close()
	}
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
		case <-look.C:
			s.showPresences()
			err = errors.Join(s.renew(), s.remind(), s.measureMesh(), s.topology())
		case <-settle.C:
			s.settled, s.waited = true, true
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

// leave ends what the room shows of a stay. gone, if there is one, tells of everybody who was in.
func (r *Room) leave(s *stay, gone func(RoomMember)) {
	r.mu.Lock()
	members := sortedMembers(r.members)
	r.mu.Unlock()
	were := make([]RoomMember, 0, len(members)) // the stay has ended: nobody comes or goes meanwhile
	for _, m := range members {
		were = append(were, m.facts())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now == s {
		r.now = nil
	}
	r.streams.forget()
	clear(r.members)
	if gone == nil {
		return
	}
	for _, m := range were {
		gone(m)
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
		m.roster = telling{}
		return s.giveRoster(m)
	case *roompb.Message_NewLink:
		return s.newLink(m, room.Secret(k.NewLink.Secret))
	case *roompb.Message_Stewardship:
		return s.stewardship(m, [32]byte(k.Stewardship.Seed))
	case *roompb.Message_Way:
		return s.gotWay(m, k.Way.Kind)
	case *roompb.Message_Need:
		return s.gotNeed(m, k.Need)
	case *roompb.Message_Presence:
		s.gotPresence(m, k.Presence)
	case *roompb.Message_Reaction:
		s.tellOf(m, func(f RoomMember) RoomEvent { return MemberReaction{f, rtc.Reaction(k.Reaction.Kind)} })
	case *roompb.Message_Note:
		s.tellOf(m, func(f RoomMember) RoomEvent { return MemberNote{f, [16]byte(k.Note.Id), k.Note.Text} })
	case *roompb.Message_Card:
		return s.gotCard(k.Card.Signed)
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
