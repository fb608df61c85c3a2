package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/client/redial"
	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope/room"
	roompb "github.com/trunkline-net/trunkline/envelope/room/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// RoomOptions say how this side takes part in a room.
type RoomOptions struct {
	// Name is what the others are shown: one's own word, no proof.
	Name string
	// RelayOnly hides this side's addresses from the others: only the node's relay is used.
	RelayOnly bool
	// Media is what this side can send and receive; DataOnly: nothing.
	Media Media
	// Source is what this side sends; nil: nothing. It belongs to the room, which closes it
	// whatever becomes of it. It begins when Wait others are connected, or are in and this side
	// has its leg to the SFU; 0: one.
	Source *Source
	Wait   int
	// Sink gets what one other member sends; nil, or a nil Sink: it is counted and dropped. The
	// room closes it. As long as one that records is there everybody is told that this side does.
	Sink func(RoomMember) (Sink, error)
}

// RoomMember is somebody else in a room.
type RoomMember struct {
	Index     room.Index
	Root      identity.PublicKey
	Device    identity.DeviceID
	Name      string
	Owner     bool
	Moderator bool
	Connected bool // media can flow
	Route     rtc.Route
	Presence  RoomPresence
	Stats     rtc.Stats
	Media     MediaInfo
	Frames    []RoomFrames // of each slot from which something came
	Streams   []RoomStream // what the SFU says of it; empty in a mesh
}

// RoomFrames counts the frames of one slot that opened, by the way on which the first copy of
// each came.
type RoomFrames struct {
	Slot      sframe.Slot
	Mesh, SFU uint64
}

// RoomEvent is something that happened in a room. The concrete types below are all there are.
type RoomEvent interface{ roomEvent() }

type (
	// MemberCame: somebody is in who has shown the link, and gets our keys.
	MemberCame struct{ RoomMember }
	// MemberConnected: media can flow between us.
	MemberConnected struct{ RoomMember }
	// MemberWent: somebody is in no more; Code is the node's word why, empty for by itself. It is told of
	// everybody when the room ends, or the link to its node: nobody is in for us then.
	MemberWent struct {
		RoomMember
		Code string
	}
	// MemberPresence: what a member says that it sends and does is another thing now; after MemberCame
	// also if it had said so before.
	MemberPresence struct{ RoomMember }
	// MemberWaits: somebody is in the lobby; Admit or Refuse.
	MemberWaits struct{ RoomMember }
	// RoomAdmitted: we are out of the lobby.
	RoomAdmitted struct{}
	// RoomLinkReplaced: the room has another link from now on, see Room.Link.
	RoomLinkReplaced struct{}
	// RoomRekeyed: this side seals under another key that was drawn because somebody went.
	RoomRekeyed struct{ Generation uint32 }
	// RoomAgain: the link to the node was lost, and this side came in again under another index.
	RoomAgain struct{ Index room.Index }
	// RoomTopology: media begins to go over the node's SFU, or back over the mesh, or the reason
	// for the way it goes is another one.
	RoomTopology struct{ RoomWay }
	// MemberStream: the SFU says that a slot of a member has begun, changed for this side or ended.
	MemberStream struct {
		Index room.Index
		RoomStream
		Ended bool
	}
	// RoomSpeakers: who spoke last, the last one first, as the SFU heard it.
	RoomSpeakers struct{ Order []room.Index }
	// RoomAlarm: a moderator contradicts itself, and nothing is changed; or the connection with a member is not what it
	// must be, by what was noticed here or by that member's word, and is not tried again.
	RoomAlarm struct{ What string }
)

func (MemberCame) roomEvent()       {}
func (MemberConnected) roomEvent()  {}
func (MemberWent) roomEvent()       {}
func (MemberPresence) roomEvent()   {}
func (MemberWaits) roomEvent()      {}
func (RoomAdmitted) roomEvent()     {}
func (RoomLinkReplaced) roomEvent() {}
func (RoomRekeyed) roomEvent()      {}
func (RoomAgain) roomEvent()        {}
func (RoomTopology) roomEvent()     {}
func (MemberStream) roomEvent()     {}
func (RoomSpeakers) roomEvent()     {}
func (RoomAlarm) roomEvent()        {}

// Room is this side's place in a room, from JoinRoom to Leave or the end of the room.
type Room struct {
	a    *attendee
	opts RoomOptions
	log  *slog.Logger
	card atomic.Pointer[room.Card] // the newest seen
	flow *roomFlow

	streams roomStreams
	way     atomic.Pointer[RoomWay] // of media, as far as it goes there already; nil: the mesh, for no reason

	lobby  bool // the first place was one in the lobby
	cancel context.CancelFunc
	done   chan struct{} // closed when all is over
	events chan RoomEvent

	mu      sync.Mutex // guards the rest
	link    room.Link
	now     *stay      // nil between two
	index   room.Index // in it, or in the one before
	err     error
	inside  chan struct{} // closed when we are out of the lobby
	members map[room.Index]*member
}

// JoinRoom goes into the room of a link. It returns when the node has given a seat, which in a
// room with a lobby is a place to wait (see Admitted). The client need not run.
func (c *Client) JoinRoom(ctx context.Context, text string, o RoomOptions) (*Room, error) {
	a, err := c.attendee(o.Name)
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	return joinRoom(ctx, a, text, o)
}

// JoinRoomAsGuest goes in with an identity that is made on the spot and ends with it. Of cfg it
// uses what has to do with the network, the clock and the log.
func JoinRoomAsGuest(ctx context.Context, cfg Config, text string, o RoomOptions) (*Room, error) {
	a, err := newGuest(cfg, o.Name)
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	return joinRoom(ctx, a, text, o)
}

func (o RoomOptions) close() error {
	if o.Source != nil && o.Source.Close != nil {
		return o.Source.Close()
	}
	return nil
}

func joinRoom(ctx context.Context, a *attendee, text string, o RoomOptions) (*Room, error) {
	l, err := room.ParseLink(text)
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	r := &Room{
		a: a, opts: o, log: a.cfg.Logger, link: l,
		done: make(chan struct{}), events: make(chan RoomEvent, eventBound), inside: make(chan struct{}), members: map[room.Index]*member{},
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.flow = newRoomFlow(r)
	first, err := r.enter(ctx)
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.cancel, r.lobby = cancel, first.lobby
	go r.run(life, first)
	return r, nil
}

// run is one stay after the other, until the room or our place in it is over.
func (r *Room) run(ctx context.Context, s *stay) {
	defer close(r.done)
	var playing sync.WaitGroup
	playing.Go(func() { r.flow.play(ctx) })
	defer playing.Wait()
	defer r.cancel()
	var pauses redial.Pauses
	for {
		began := time.Now()
		err := s.drive(ctx)
		if ctx.Err() != nil {
			r.leave(s, nil)
			return
		}
		r.leave(s, func(m RoomMember) { r.tell(MemberWent{m, codeOfEnd(err)}) })
		if comesToNothing(err) {
			r.fail(err)
			return
		}
		r.log.Info("the link to the room's node ended; trying again", "error", errorKind(err))
		if s = r.again(ctx, &pauses, time.Since(began), err); s == nil {
			return
		}
		r.tell(RoomAgain{s.own.Index})
	}
}

// again comes in anew after the link was lost. Nil: it was said why in Err, or ctx has ended.
func (r *Room) again(ctx context.Context, pauses *redial.Pauses, lasted time.Duration, err error) *stay {
	for {
		timer := time.NewTimer(pauses.After(lasted, retryHint(err)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		began := time.Now()
		bounded, stop := context.WithTimeout(ctx, answerTimeout)
		var s *stay
		s, err = r.enter(bounded)
		stop()
		if err == nil {
			return s
		}
		if ctx.Err() != nil {
			return nil
		}
		if comesToNothing(err) {
			r.fail(err)
			return nil
		}
		lasted = time.Since(began)
	}
}

// codeOfEnd is the node's word why a stay ended.
func codeOfEnd(err error) string {
	var over *RoomOverError
	if errors.As(err, &over) {
		return over.Code
	}
	return link.CodeUnavailable
}

// RoomOverError says why the room, or our place in it, is over.
type RoomOverError struct{ Code string }

func (e *RoomOverError) Error() string { return "the room is over: " + link.LookupCode(e.Code).Means }
func (e *RoomOverError) Unwrap() error { return ErrRoomOver }

// comesToNothing reports whether coming again makes no sense.
func comesToNothing(err error) bool {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return !refused.Temporary()
	}
	var away *UnreachableError
	return !errors.As(err, &away)
}

func (r *Room) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

func (r *Room) tell(e RoomEvent) {
	select {
	case r.events <- e:
	default:
		r.log.Warn("an event of a room was dropped: nobody reads them")
	}
}

// Events tells what happens. Nothing waits for a reader: when 256 are unread the newest are
// dropped, and what they spoke of stands in the room.
func (r *Room) Events() <-chan RoomEvent { return r.events }

// Done is closed when it is over.
func (r *Room) Done() <-chan struct{} { return r.done }

// Err says why it is over; nil after Leave.
func (r *Room) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Card says what the room is.
func (r *Room) Card() *room.Card { return r.card.Load() }

// Link is the room's link as it is now: a moderator may have replaced it.
func (r *Room) Link() room.Link {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.link
}

// Index is our number, which changes when we come in again; once we are out, the one that we had.
func (r *Room) Index() room.Index {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.index
}

// Lobby reports whether the node gave a place in the lobby at first: RoomAdmitted is told then once we are let in.
func (r *Room) Lobby() bool { return r.lobby }

// Inside reports whether we are in, and not in a lobby.
func (r *Room) Inside() bool { return isClosed(r.inside) }

// OverSFU reports whether media goes over the node's SFU, as far as it does already.
func (r *Room) OverSFU() bool { return r.Way().SFU }

// Way says how media goes, as far as it does already, and why.
func (r *Room) Way() RoomWay {
	if w := r.way.Load(); w != nil {
		return *w
	}
	return RoomWay{}
}

// Admitted waits until we are in: at once, but in a lobby.
func (r *Room) Admitted(ctx context.Context) error {
	select {
	case <-r.inside:
		return nil
	case <-r.done:
		if err := r.Err(); err != nil {
			return err
		}
		return ErrRoomOver
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Members are the others who are in and have shown the link.
func (r *Room) Members() []RoomMember {
	r.mu.Lock()
	members := sortedMembers(r.members)
	r.mu.Unlock()
	out := make([]RoomMember, 0, len(members))
	for _, m := range members {
		out = append(out, m.facts())
	}
	return out
}

// sayEnded tells everybody who is in that nothing more comes from us.
func (r *Room) sayEnded(ctx context.Context) {
	err := r.do(ctx, func(s *stay) error {
		for _, m := range sortedMembers(s.members) {
			if m.in {
				if err := s.say(m, endedMessage()); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrRoomOver) && ctx.Err() == nil {
		r.log.Debug("the others were not told of the end", "error", errorKind(err))
	}
}

func endedMessage() *roompb.Message {
	return &roompb.Message{Kind: &roompb.Message_Ended{Ended: &roompb.Ended{}}}
}

// Leave says goodbye and waits for the end.
func (r *Room) Leave(ctx context.Context) error {
	r.cancel()
	select {
	case <-r.done:
		return r.Err()
	case <-ctx.Done():
		return fmt.Errorf("leave the room: %w", ctx.Err())
	}
}

// do runs f on the goroutine of the present stay.
func (r *Room) do(ctx context.Context, f func(*stay) error) error {
	r.mu.Lock()
	s := r.now
	r.mu.Unlock()
	if s == nil {
		return &UnreachableError{What: "the room's node cannot be reached at the moment"}
	}
	c := make(chan error, 1)
	select {
	case s.asks <- func() { c <- f(s) }:
	case <-s.over:
		return ErrRoomOver
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-c:
		return err
	case <-s.over:
		return ErrRoomOver
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Waiting are those in the lobby, as far as this side is told.
func (r *Room) Waiting(ctx context.Context) (out []RoomMember, err error) {
	err = r.do(ctx, func(s *stay) error { out = s.whoWaits(); return nil })
	return out, err
}

// Admit lets somebody out of the lobby in; for whoever runs the room.
func (r *Room) Admit(ctx context.Context, index room.Index) error {
	return r.do(ctx, func(s *stay) error { return s.admit(ctx, index) })
}

// Refuse sends somebody out of the lobby away; for whoever runs the room.
func (r *Room) Refuse(ctx context.Context, index room.Index) error {
	return r.do(ctx, func(s *stay) error { return s.refuse(ctx, index) })
}

// Remove sends a member away: it is banned, the room gets another link and everybody another
// key. For the chair.
func (r *Room) Remove(ctx context.Context, index room.Index) error {
	return r.do(ctx, func(s *stay) error { return s.remove(ctx, index) })
}

// Close ends the room for all; for whoever runs it.
func (r *Room) Close(ctx context.Context) error {
	return r.do(ctx, func(s *stay) error { return s.close(ctx) })
}
