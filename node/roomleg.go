package node

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/media/sfu"
	"github.com/trunkline-net/trunkline/policy"
)

// The media leg of a seat: what a room that has outgrown its mesh sends through the node's SFU.
// The link carries descriptions, wishes and events; the SFU knows a room by its id and a
// participant by its number.

// leg is a seat's place at the SFU.
type leg struct {
	mu    sync.Mutex // guards the rest; held while the SFU answers an offer, so that one is answered at a time
	at    *sfu.Seat
	rate  int64 // what the policy lets it send, in bytes a second; 0: any
	ended bool  // the seat in the room is over
}

// newSFU makes the SFU that the configuration asks for; nil: none.
func (n *Node) newSFU() (err error) {
	if n.cfg.SFU.Listen == "" || n.ground.NoRelay {
		return nil
	}
	cfg := sfu.Config{Listen: n.cfg.SFU.Listen, Limits: sfu.Limits{Rooms: maxRooms, SeatsPerRoom: link.MaxRoomSeats, Seats: maxSeats}}
	if ip, err := netip.ParseAddr(n.cfg.TURN.ExternalIP); err == nil {
		cfg.External = []netip.Addr{ip}
	}
	n.sfu, err = sfu.New(cfg)
	return err
}

// hasSFU says whether rooms can outgrow their mesh here.
func (n *Node) hasSFU() bool { return n.sfu != nil }

// roomLeg does what a client asks of its leg. An offer takes its time and is answered beside the
// read loop; the rest keeps its order, and is answered if it has a number: an error without one
// would end the link.
func (l *clientLink) roomLeg(id uint64, m *pb.RoomLeg) {
	s := l.seat.Load()
	answer := func(code string, retry time.Duration) {
		switch {
		case id == 0:
		case code != "":
			l.refuse(id, code, retry)
		default:
			l.sendFrame(&pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_RoomLeg{RoomLeg: &pb.RoomLegAnswer{}}})
		}
	}
	if s == nil {
		answer(link.CodeNoRoom, 0)
		return
	}
	if m.Kind == pb.RoomLegKind_ROOM_LEG_OFFER {
		l.request(id, &l.budget.room, roomRate, func() {
			answer, code := l.n.legOffer(l.n.background, s, m.Sdp)
			l.n.metrics.roomLegs.WithLabelValues(resultOf(code)).Inc()
			if code != "" {
				l.refuse(id, code, 0)
				return
			}
			l.sendFrame(&pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_RoomLeg{RoomLeg: &pb.RoomLegAnswer{Sdp: answer}}})
		})
		return
	}
	if ok, wait := l.budget.room.take(l.n.coarse.Load(), roomRate, 1); !ok {
		answer(link.CodeRate, wait)
		return
	}
	answer(s.leg.do(m), 0)
}

// do is everything but an offer.
func (g *leg) do(m *pb.RoomLeg) (code string) {
	g.mu.Lock()
	at := g.at
	g.mu.Unlock()
	if at == nil {
		return link.CodeRefused
	}
	switch m.Kind {
	case pb.RoomLegKind_ROOM_LEG_WANT:
		w := sfu.Wants{LastN: int(m.LastN)}
		for _, x := range m.Wants {
			w.Subscriptions = append(w.Subscriptions, sfu.Subscription{
				Mid: x.Mid, Publisher: uint16(x.Publisher), Slot: sfu.Slot(x.Slot), Priority: uint8(x.Priority), Height: uint16(x.Height), Paused: x.Paused,
			})
		}
		return legCode(at.Want(w))
	case pb.RoomLegKind_ROOM_LEG_SPEAKING:
		at.Speaking(m.Speaking)
		return ""
	case pb.RoomLegKind_ROOM_LEG_END:
		at.Close(sfu.ReasonLeft)
		g.forget(at)
		return ""
	}
	return link.CodeBadFrame
}

func (g *leg) forget(at *sfu.Seat) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.at == at {
		g.at = nil
	}
}

// end closes the leg with the seat.
func (g *leg) end(why sfu.Reason) {
	g.mu.Lock()
	at := g.at
	g.at, g.ended = nil, true
	g.mu.Unlock()
	if at != nil {
		at.Close(why)
	}
}

// limit holds a leg to what the policy lets a seat send now. Whoever is just being given a leg was
// decided on under the same lock, by this policy or by the one before. False: there is nothing to change.
func (g *leg) limit(bytesPerSecond int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.at == nil || g.rate == bytesPerSecond {
		return false
	}
	g.rate = bytesPerSecond
	g.at.Limit(8 * bytesPerSecond)
	return true
}

// legReason is why a leg ends with its seat, from the code that its holder is told.
func legReason(code string) sfu.Reason {
	if code == link.CodePolicy {
		return sfu.ReasonPolicy
	}
	return sfu.ReasonRemoved
}

// keepRoomsToPolicy ends the seats in rooms that the policy in force does not allow any more, with
// their legs, and holds the legs of those who sit to its rate.
func (n *Node) keepRoomsToPolicy() {
	for _, r := range n.rooms.list() {
		sent, seats := n.rooms.deny(r)
		flushed(nil, sent)
		n.metrics.policySeats.WithLabelValues("ended").Add(float64(seats))
	}
	for _, s := range n.rooms.occupied() {
		d, ok := n.sfuForSeat(s.domain)
		if ok && s.leg.limit(d.Limits.BytesPerSecond) {
			n.metrics.policySeats.WithLabelValues("limited").Inc()
		}
	}
}

// legOffer answers a client's offer: the first one takes a seat at the SFU, a further one
// changes it.
func (n *Node) legOffer(ctx context.Context, s *seat, sdp string) (answer, code string) {
	if n.sfu == nil {
		return "", link.CodeUnavailable
	}
	s.room.mu.Lock()
	waiting := s.waiting || s.gone
	s.room.mu.Unlock()
	if waiting {
		return "", link.CodeRefused
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	g := &s.leg
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return "", link.CodeNoRoom
	}
	if g.at != nil {
		d, err := g.at.Renegotiate(ctx, sfu.Description{SDP: sdp})
		return d.SDP, legCode(err)
	}
	decision, ok := n.sfuForSeat(s.domain)
	if !ok {
		n.metrics.policyDenials.WithLabelValues(policy.ActionSFU.String()).Inc()
		return "", link.CodePolicy
	}
	grant := sfu.Grant{Index: s.index, Publish: true, MaxBitrate: 8 * decision.Limits.BytesPerSecond}
	at, d, err := n.sfu.Join(ctx, sfu.RoomKey(s.room.id), grant, sfu.Description{SDP: sdp})
	if err != nil {
		return "", legCode(err)
	}
	g.at, g.rate = at, decision.Limits.BytesPerSecond
	n.group.Go(func() { s.legLoop(at) })
	return d.SDP, ""
}

// legLoop passes on what happens to a leg until it is over.
func (s *seat) legLoop(at *sfu.Seat) {
	for e := range at.Events() {
		out := legEvent(e)
		if out == nil {
			continue
		}
		if out.Kind == pb.RoomLegEventKind_ROOM_LEG_EVENT_CLOSED {
			s.leg.forget(at)
		}
		s.l.sendFrame(&pb.NodeFrame{Kind: &pb.NodeFrame_RoomLeg{RoomLeg: &pb.RoomLegAnswer{Event: out}}})
	}
}

func legEvent(e sfu.Event) *pb.RoomLegEvent {
	switch e := e.(type) {
	case sfu.Published:
		return &pb.RoomLegEvent{Kind: pb.RoomLegEventKind_ROOM_LEG_EVENT_PUBLISHED, Publisher: uint32(e.Publisher), Slot: uint32(e.Slot), Codec: e.Codec}
	case sfu.Unpublished:
		return &pb.RoomLegEvent{Kind: pb.RoomLegEventKind_ROOM_LEG_EVENT_UNPUBLISHED, Publisher: uint32(e.Publisher), Slot: uint32(e.Slot)}
	case sfu.SpeakerChanged:
		out := &pb.RoomLegEvent{Kind: pb.RoomLegEventKind_ROOM_LEG_EVENT_SPEAKER}
		for _, i := range e.Order[:min(len(e.Order), link.MaxRoomSeats)] {
			out.Order = append(out.Order, uint32(i))
		}
		return out
	case sfu.Allocated:
		return &pb.RoomLegEvent{Kind: pb.RoomLegEventKind_ROOM_LEG_EVENT_ALLOCATED, Mid: e.Mid, Sent: e.Layer >= 0, Reason: string(e.Reason)}
	case sfu.Closed:
		return &pb.RoomLegEvent{Kind: pb.RoomLegEventKind_ROOM_LEG_EVENT_CLOSED, Reason: string(e.Reason)}
	}
	return nil // layers and quality are not told yet
}

// legCode is the code of a refusal of the SFU.
func legCode(err error) string {
	if err == nil {
		return ""
	}
	switch sfu.ReasonOf(err) {
	case sfu.ReasonFull:
		return link.CodeQuota
	case sfu.ReasonCeiling:
		return link.CodeRoomFull
	case sfu.ReasonDescription, sfu.ReasonGrant, sfu.ReasonSection, sfu.ReasonDuplicate, sfu.ReasonCodec:
		return link.CodeRefused
	case sfu.ReasonNotRunning, sfu.ReasonShutdown:
		return link.CodeUnavailable
	}
	return link.CodeUnavailable
}
