package node

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/media/sfu"
	"github.com/trunkline-net/trunkline/policy"
)

// What the frames of rooms do on a link. A room is made on the link of a registered device,
// because it is the policy that says who may; everything else happens on links without a
// device.

// queueFrame puts a frame on the link without flushing it.
func (l *clientLink) queueFrame(f *pb.NodeFrame) {
	b, err := link.MarshalNode(f)
	if err != nil {
		l.n.log.Error("node frame cannot be written", "error", err)
		return
	}
	buf := message(len(b))
	buf.b = append(buf.b, b...)
	l.push(buf)
}

// drawDevice names a seat where a device's id names a device. It leads to nobody.
func drawDevice() (id identity.DeviceID) {
	_, _ = rand.Read(id[:]) // never fails on supported systems
	return id
}

// roomsFor decides on rooms for somebody with a mailbox here, as relayFor does on relays: the
// mailbox is enough, unless the policy names this node's own domain.
func (n *Node) roomsFor(root identity.PublicKey) (d policy.Decision, ok bool) {
	if n.deniedRoot(root) {
		return d, false
	}
	if own, named := n.policy.Domain(n.cfg.Domain); !named || own.Name != n.cfg.Domain {
		return policy.Decision{Allow: true}, true
	}
	d = n.policy.Decide(policy.Request{Domain: n.cfg.Domain, Action: policy.ActionSFU, Direction: policy.In, User: root.ID(), At: n.now()})
	return d, d.Allow
}

func (l *clientLink) roomCreate(id uint64, c *pb.RoomCreate) {
	kept, code := l.createRoom(l.n.background, c)
	l.n.metrics.roomsMade.WithLabelValues(resultOf(code)).Inc()
	if code != "" {
		l.refuse(id, code, 0)
		return
	}
	l.sendFrame(&pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_RoomCreated{RoomCreated: &pb.RoomCreated{
		Seats: uint32(kept.seats), Expires: uint64(kept.expires.Unix()),
	}}})
}

func resultOf(code string) string {
	if code == "" {
		return "ok"
	}
	return code
}

func (l *clientLink) createRoom(ctx context.Context, c *pb.RoomCreate) (kept roomRecord, code string) {
	n := l.n
	if !l.hasID || !l.member {
		return kept, link.CodeNotRegistered
	}
	d, ok := n.roomsFor(l.root)
	if !ok {
		n.metrics.policyDenials.WithLabelValues(policy.ActionSFU.String()).Inc()
		return kept, link.CodePolicy
	}
	if d.Limits != (policy.Limits{}) {
		rate := policy.Limits{PerSecond: d.Limits.PerSecond, Total: d.Limits.Total}
		if ok, _ := n.buckets.Take(n.now(), n.bucketKeys.key(n.cfg.Domain, policy.ActionSFU, policy.In), rate, 1, 0); !ok {
			return kept, link.CodeRate
		}
	}
	gate, err := identity.CheckKey(c.GateKey)
	if err != nil {
		return kept, link.CodeBadSignature
	}
	steward, err := identity.CheckKey(c.StewardKey)
	if err != nil || steward == gate {
		return kept, link.CodeBadSignature
	}
	if len(c.Room) != 32 || len(c.Card) != link.RoomCardSize {
		return kept, link.CodeBadFrame
	}
	expires, code := n.roomEnd(c.Expires)
	if code != "" {
		return kept, code
	}
	seats := int(c.Seats)
	if seats == 0 {
		seats = link.MaxRoomSeats
	}
	if seats < 2 || seats > link.MaxRoomSeats {
		return kept, link.CodeTooLarge
	}
	kept = roomRecord{gate: gate, steward: steward, card: c.Card, seats: seats, expires: expires, lobby: c.Lobby}
	most := maxRooms
	if d.Limits.Concurrent > 0 {
		most = min(most, d.Limits.Concurrent)
	}
	code, err = n.rooms.create(ctx, [32]byte(c.Room), n.turnOwner(l.root), kept, most)
	if err != nil {
		n.storeError("room not stored", err)
	}
	return kept, code
}

// roomEnd checks when a room is to end.
func (n *Node) roomEnd(seconds uint64) (time.Time, string) {
	now := n.now()
	if seconds > uint64(now.Add(link.MaxRoomLife).Unix()) {
		return time.Time{}, link.CodeTooLarge
	}
	expires := time.Unix(int64(seconds), 0)
	if !expires.After(now) {
		return time.Time{}, link.CodeExpired
	}
	return expires, ""
}

// challenged is what the signatures of rooms cover of this link's handshake.
func (l *clientLink) challenged() *pb.Challenge {
	return &pb.Challenge{Node: l.n.self[:], Nonce: l.nonce}
}

// roomJoin gives the link a seat. One join to a link: the signature of another one would cover
// the same challenge, and could be one that was seen before. False ends the link.
func (l *clientLink) roomJoin(id uint64, j *pb.RoomJoin) bool {
	n := l.n
	if l.hasID || len(j.Room) != 32 || len(j.JoinId) != 16 {
		l.goodbye(link.CodeBadFrame, 0)
		return false
	}
	if ok, wait := l.budget.other.take(n.coarse.Load(), l.rates().other, 1); !ok {
		l.rateLimited(id, wait)
		return true
	}
	code := l.takeSeat(id, j)
	n.metrics.roomJoins.WithLabelValues(resultOf(code)).Inc()
	if code != "" {
		l.refuse(id, code, 0)
	}
	return true
}

func (l *clientLink) takeSeat(id uint64, j *pb.RoomJoin) (code string) {
	n := l.n
	if l.tried {
		return link.CodeGate
	}
	r := n.rooms.get([32]byte(j.Room))
	if r == nil {
		return link.CodeNoRoom
	}
	r.mu.Lock()
	gate, steward := r.kept.gate, r.kept.steward
	r.mu.Unlock()
	join := [16]byte(j.JoinId)
	if !link.VerifyGate(gate, l.challenged(), r.id, join, j.GateSignature) {
		return link.CodeGate
	}
	stewards := len(j.StewardSignature) > 0
	if stewards && !link.VerifySteward(steward, l.challenged(), r.id, join, j.StewardSignature) {
		return link.CodeBadSignature
	}
	v, code := l.whose(r, j)
	if code != "" {
		return code
	}
	l.tried = true
	s, sent, code, err := n.rooms.join(n.background, r, l, stewards, v, func(s *seat, present []uint32) *pb.NodeFrame {
		return &pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_RoomJoined{RoomJoined: &pb.RoomJoined{
			Index: uint32(s.index), Present: present, Card: r.kept.card, Expires: uint64(r.kept.expires.Unix()),
			Seats: uint32(r.kept.seats), Waiting: s.waiting, Sfu: n.hasSFU(),
		}}}
	})
	if err != nil {
		n.storeError("room not stored", err)
	}
	if code != "" {
		l.tried = false
		return code
	}
	// Whoever is in a room is let in by somebody of ours, and counts no more as a stranger.
	admitConn(l.sock.Conn)
	l.joined()
	l.seat.Store(s)
	flushed(l, sent)
	return ""
}

// roomSend passes a payload on. False ends the link.
func (l *clientLink) roomSend(id uint64, m *pb.RoomSend) bool {
	if !link.RoomPayload(len(m.Payload)) {
		l.goodbye(link.CodeBadFrame, 0)
		return false
	}
	// Who gave it no number does not want to hear what became of it.
	refuse := func(code string, retry time.Duration) bool {
		return id == 0 || l.refuse(id, code, retry)
	}
	s := l.seat.Load()
	if s == nil {
		refuse(link.CodeNoRoom, 0)
		return true
	}
	cost := 1.0
	if m.To == 0 {
		cost = roomBroadcastCost
	}
	if ok, wait := l.budget.room.take(l.n.coarse.Load(), roomRate, cost); !ok {
		refuse(link.CodeRate, wait)
		return true
	}
	sent, ok := s.send(uint16(m.To), m.Payload)
	if !ok {
		refuse(link.CodeUnreachable, 0)
		return true
	}
	l.n.metrics.roomFrames.Add(float64(len(sent)))
	flushed(l, sent)
	return true
}

// roomLeave gives the seat back.
func (l *clientLink) roomLeave(id uint64) {
	l.leaveRoom(l)
	l.sendFrame(&pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_RoomDone{RoomDone: &pb.RoomDone{}}})
}

// leaveRoom ends a link's seat, if it has one. by is the link whose read loop this is.
func (l *clientLink) leaveRoom(by *clientLink) {
	if s := l.seat.Swap(nil); s != nil {
		flushed(by, l.n.rooms.leave(s, ""))
		s.leg.end(sfu.ReasonLeft)
		l.n.turnGrants.lost(s.device, l.n.now())
	}
}

// roomControl does what a steward asks for. False ends the link.
func (l *clientLink) roomControl(id uint64, c *pb.RoomControl) bool {
	n := l.n
	if l.hasID || len(c.Room) != 32 {
		l.goodbye(link.CodeBadFrame, 0)
		return false
	}
	// A steward in a room has the room's rate; one who comes only to close it a stranger's.
	allowance, r := &l.budget.other, l.rates().other
	if s := l.seat.Load(); s != nil && s.steward {
		allowance, r = &l.budget.room, roomRate
	}
	if ok, wait := allowance.take(n.coarse.Load(), r, 1); !ok {
		l.rateLimited(id, wait)
		return true
	}
	sent, code, err := l.command(n.background, c)
	if err != nil {
		n.storeError("room not stored", err)
		code = link.CodeUnavailable
	}
	if code != "" {
		l.refuse(id, code, 0)
	} else {
		l.sendFrame(&pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_RoomDone{RoomDone: &pb.RoomDone{}}})
	}
	flushed(l, sent)
	return true
}

func (l *clientLink) command(ctx context.Context, c *pb.RoomControl) (sent []mail, code string, err error) {
	h := l.n.rooms
	r := h.get([32]byte(c.Room))
	if r == nil {
		return nil, link.CodeNoRoom, nil
	}
	r.mu.Lock()
	steward := r.kept.steward
	r.mu.Unlock()
	cmd, err := link.OpenCommand(steward, l.challenged(), c)
	if errors.Is(err, link.ErrHandshake) {
		return nil, link.CodeBadSignature, nil
	}
	if err != nil {
		return nil, link.CodeBadFrame, nil
	}
	switch k := cmd.Kind.(type) {
	case *pb.RoomCommand_Admit:
		sent, code = h.admit(r, uint16(k.Admit.Index))
	case *pb.RoomCommand_Remove:
		sent, code = h.remove(r, uint16(k.Remove.Index))
	case *pb.RoomCommand_Gate:
		gate, kerr := identity.CheckKey(k.Gate.GateKey)
		if kerr != nil || gate == steward || len(k.Gate.Card) != link.RoomCardSize {
			return nil, link.CodeBadFrame, nil
		}
		sent, err = h.replaceGate(ctx, r, gate, k.Gate.Card, k.Gate.Keep)
	case *pb.RoomCommand_Extend:
		expires, bad := l.n.roomEnd(k.Extend.Expires)
		if bad != "" {
			return nil, bad, nil
		}
		sent, err = h.change(ctx, r, func(kept *roomRecord) {
			kept.expires = expires
			if len(k.Extend.Card) == link.RoomCardSize {
				kept.card = k.Extend.Card
			}
		}, nil)
	case *pb.RoomCommand_Close:
		sent, err = h.close(ctx, r, link.CodeClosed)
	}
	return sent, code, err
}

// expireRooms ends the rooms whose time is over.
func (n *Node) expireRooms(now time.Time) {
	for _, r := range n.rooms.over(now) {
		sent, err := n.rooms.close(n.background, r, link.CodeExpired)
		if err != nil {
			if n.background.Err() == nil {
				n.storeError("a room that is over stays", err)
			}
			continue
		}
		flushed(nil, sent)
	}
}

// roomOwner groups the relay handles of a room's members for the relay's quotas.
func (n *Node) roomOwner(s *seat) (owner [16]byte) {
	sum := sha256.Sum256(append(n.turnSecret[:], s.room.id[:]...))
	copy(owner[:], sum[:])
	return owner
}
