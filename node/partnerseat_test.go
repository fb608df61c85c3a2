package node

import (
	"crypto/ed25519"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/media/sfu"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// meetRule lets a partner's people into rooms, or ours into a partner's.
func meetRule(direction, limit string) string {
	return fmt.Sprintf("\n[[rule]]\nname = \"meet\"\nlevel = \"partner\"\ndirection = %q\nactions = [\"sfu\"]\n%s\n", direction, limit)
}

// joinFrom joins with the word of the node at which a is at home.
func (s *stranger) joinFrom(m *meeting, a *raw) *pb.NodeFrame {
	s.t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	f := a.call(&pb.ClientFrame{Kind: &pb.ClientFrame_RoomPass{RoomPass: &pb.RoomPass{Node: s.challenge.Node, Key: public}}})
	if f.GetRoomPassed() == nil {
		s.t.Fatalf("no pass: %v", f)
	}
	return s.join(m, false, func(j *pb.RoomJoin) {
		j.Pass = f.GetRoomPassed().Pass
		j.PassSignature = link.SignHolder(private, s.challenge, m.id, [16]byte(j.JoinId))
	})
}

// heard are the packets that a leg got, by the number that their payloads begin with.
type heard struct {
	mu   sync.Mutex // guards from
	from map[byte]int
}

func (h *heard) take(packet []byte) {
	var p wire.Packet
	if p.Parse(packet) != nil || len(p.Payload()) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.from[p.Payload()[0]]++
}

func (h *heard) of(who byte) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.from[who]
}

// What a partner's seat sends beyond the rule for its domain is dropped before the room, and counted. A seat of our
// own beside it loses nothing, and neither does who hears both. With the rule the seat ends, and nobody else's.
func TestAPartnersSeatIsHeldToItsRuleAndNobodyElseIs(t *testing.T) {
	t.Parallel()
	const partners, own = 1, 2
	p := startPair(t)
	acmes := readPolicy(t, p.acme.dir)
	p.globex.reloadTo(readPolicy(t, p.globex.dir) + meetRule("out", ""))
	p.acme.reloadTo(acmes + meetRule("in", "limit = { bytes_per_second = 1000 }"))
	m := newMeeting(1)
	if f := member(t, p.acme).makeRoom(m, p.acme.clock.Now().Add(time.Hour)); f.GetRoomCreated() == nil {
		t.Fatal(f)
	}
	listener, ours, theirs := p.acme.stranger(), p.acme.stranger(), p.acme.stranger()
	listener.join(m, false)
	ours.join(m, false)
	if f := theirs.joinFrom(m, member(t, p.globex)); f.GetRoomJoined() == nil {
		t.Fatal(f)
	}
	ears := &heard{from: map[byte]int{}}
	listener.leg(2, ears.take)
	a, b := newSound(t, ours.leg(0, nil), 100), newSound(t, theirs.leg(0, nil), 1000)
	stats := p.acme.sfu.Stats
	// Both send something, so that there is something to want. What comes before the server has the keys is lost.
	for _, s := range []*sound{a, b} {
		before := stats().PacketsIn
		until(t, "a first packet is seen", func() bool {
			s.send()
			return stats().PacketsIn > before
		})
		listener.await(func(f *pb.NodeFrame) bool {
			return f.GetRoomLeg().GetEvent().GetKind() == pb.RoomLegEventKind_ROOM_LEG_EVENT_PUBLISHED
		})
	}
	want := &pb.RoomLeg{Kind: pb.RoomLegKind_ROOM_LEG_WANT, Wants: []*pb.RoomWant{
		{Mid: "1", Publisher: ours.index, Slot: uint32(sfu.Microphone)}, {Mid: "2", Publisher: theirs.index, Slot: uint32(sfu.Microphone)},
	}}
	if f := listener.call(&pb.ClientFrame{Kind: &pb.ClientFrame_RoomLeg{RoomLeg: want}}); errorCode(f) != "" {
		t.Fatal(f)
	}

	for i, s := range []*sound{a, b} {
		s.payload[0] = byte(10 + i)
		until(t, "what is wanted is heard", func() bool {
			s.send()
			return ears.of(s.payload[0]) > 0
		})
	}
	a.payload[0], b.payload[0] = own, partners

	const packets = 400
	before := stats().OverGrant
	var dropped int
	for n := range packets {
		a.send()
		b.send()
		until(t, "all that passes is heard, and the rest is counted", func() bool {
			dropped = int(stats().OverGrant - before)
			return ears.of(own) == n+1 && ears.of(partners) == n+1-dropped
		})
	}
	// 128 KiB at once whatever the rate, and then one packet in a second.
	if dropped == 0 || dropped == packets {
		t.Errorf("of %d kB at 1 kB/s %d were dropped", packets, dropped)
	}

	p.acme.reloadTo(acmes)
	if e := theirs.await(func(f *pb.NodeFrame) bool { return f.GetRoomEvent().GetKind() == pb.RoomEventKind_ROOM_EVENT_CLOSED }).GetRoomEvent(); e.Code != link.CodePolicy || e.Index != theirs.index {
		t.Errorf("the partner's was told %v", e)
	}
	f := theirs.await(func(f *pb.NodeFrame) bool {
		return f.GetRoomLeg().GetEvent().GetKind() == pb.RoomLegEventKind_ROOM_LEG_EVENT_CLOSED
	})
	if why := f.GetRoomLeg().Event.Reason; why != "policy" {
		t.Errorf("its leg ended with %q", why)
	}
	if e := listener.await(func(f *pb.NodeFrame) bool { return f.GetRoomEvent().GetKind() == pb.RoomEventKind_ROOM_EVENT_LEFT }).GetRoomEvent(); e.Code != link.CodePolicy || e.Index != theirs.index {
		t.Errorf("who stays was told %v", e)
	}
	if ended := p.acme.policySeats(t, "ended"); ended != 1 {
		t.Errorf("%v ended seats are counted", ended)
	}
	a.send()
	until(t, "those who stay hear each other", func() bool { return ears.of(own) == packets+1 })
}
