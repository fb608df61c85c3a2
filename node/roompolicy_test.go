package node

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// roomsRule lets the people of the node into rooms, within a limit if there is one.
func roomsRule(limit string) string {
	return roomsForSome + `
[[rule]]
name = "rooms"
level = "internal"
direction = "in"
actions = ["sfu"]
` + limit + "\n"
}

func (r *running) reloadTo(policy string) {
	r.t.Helper()
	writePolicy(r.t, r.dir, policy)
	if err := r.Reload(); err != nil {
		r.t.Fatal(err)
	}
}

// leg makes the seat's leg to the SFU, with one section that sends sound and, if there is somebody to tell of it,
// places for the sound of others.
func (s *stranger) leg(places int, heard func(packet []byte)) *light.Client {
	s.t.Helper()
	sections := append([]light.Section{{Audio: true, Sends: true, SSRC: 11}}, slices.Repeat([]light.Section{{Audio: true}}, places)...)
	c, err := light.New(light.Options{Sections: sections, OnRTP: heard})
	if err != nil {
		s.t.Fatal(err)
	}
	f := s.call(&pb.ClientFrame{Kind: &pb.ClientFrame_RoomLeg{RoomLeg: &pb.RoomLeg{Kind: pb.RoomLegKind_ROOM_LEG_OFFER, Sdp: c.Offer()}}})
	if f.GetRoomLeg() == nil {
		s.t.Fatalf("no leg: %v", f)
	}
	if err := c.Connect(s.t.Context(), f.GetRoomLeg().Sdp); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return c
}

// sound is what a leg sends, one packet after the other.
type sound struct {
	t       *testing.T
	leg     *light.Client
	header  wire.Header
	payload []byte
}

func newSound(t *testing.T, leg *light.Client, size int) *sound {
	return &sound{t: t, leg: leg, payload: make([]byte, size), header: wire.Header{
		PayloadType: light.Opus, SSRC: 11, Extensions: [4]wire.Extension{{ID: light.Extensions.MID, Value: []byte("0")}},
	}}
}

func (s *sound) send() {
	s.t.Helper()
	s.header.Sequence++
	s.header.Timestamp += 960
	if err := s.leg.WriteRTP(append(s.header.Append(nil), s.payload...)); err != nil {
		s.t.Fatal(err)
	}
}

func (n *Node) policySeats(t *testing.T, what string) float64 {
	return count(t, n.metrics.policySeats.WithLabelValues(what))
}

func count(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// What a reload allows no more is over before the reload is, for those who sit, those who wait and
// those who come; and is open again with the policy.
func TestAReloadThatAllowsNoRoomsEndsSeatsAndLegs(t *testing.T) {
	t.Parallel()
	r := start(t, filepath.Join(t.TempDir(), "acme"), "acme.example", roomsRule(""))
	a, m := member(t, r), newMeeting(1)
	end := r.clock.Now().Add(time.Hour)
	if f := a.makeRoom(m, end, func(c *pb.RoomCreate) { c.Lobby = true }); f.GetRoomCreated() == nil {
		t.Fatal(f)
	}
	chair, waits := r.stranger(), r.stranger()
	chair.join(m, true)
	waits.join(m, false)
	chair.event(pb.RoomEventKind_ROOM_EVENT_WAITING)
	chair.leg(0, nil)

	r.reloadTo(roomsForSome)
	if rooms, seats := r.rooms.count(); rooms != 1 || seats != 0 {
		t.Fatalf("after the reload: %d rooms, %d seats", rooms, seats)
	}
	if got := r.policySeats(t, "ended"); got != 2 {
		t.Errorf("%v ended seats are counted", got)
	}
	for _, s := range []*stranger{chair, waits} {
		if e := s.event(pb.RoomEventKind_ROOM_EVENT_CLOSED); e.Code != link.CodePolicy || e.Index != s.index {
			t.Errorf("who was in was told %v", e)
		}
	}
	f := chair.await(func(f *pb.NodeFrame) bool {
		return f.GetRoomLeg().GetEvent().GetKind() == pb.RoomLegEventKind_ROOM_LEG_EVENT_CLOSED
	})
	if why := f.GetRoomLeg().Event.Reason; why != "policy" {
		t.Errorf("the leg ended with %q", why)
	}
	if f := chair.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Turn{Turn: &pb.TurnRequest{Purpose: "call"}}}); f.GetTurn().GetCode() != link.CodeNotRegistered {
		t.Errorf("a relay without a seat: %v", f)
	}
	late := r.stranger()
	if f := late.join(m, true); errorCode(f) != link.CodePolicy {
		t.Errorf("who comes now: %v", f)
	}
	if f := a.makeRoom(newMeeting(2), end); errorCode(f) != link.CodePolicy {
		t.Errorf("another room: %v", f)
	}

	r.reloadTo(roomsRule(""))
	if f := late.join(m, true); f.GetRoomJoined() == nil {
		t.Errorf("once it is allowed again: %v", f)
	}
}

// A rule that ends by itself is a reload that nobody makes.
func TestARuleThatEndsEndsTheSeats(t *testing.T) {
	t.Parallel()
	r := start(t, filepath.Join(t.TempDir(), "acme"), "acme.example", roomsForSome)
	r.reloadTo(roomsRule("expires = " + r.clock.Now().Add(time.Minute).UTC().Format(time.RFC3339)))
	a, m := member(t, r), newMeeting(1)
	if f := a.makeRoom(m, r.clock.Now().Add(time.Hour)); f.GetRoomCreated() == nil {
		t.Fatal(f)
	}
	s := r.stranger()
	s.join(m, false)
	r.clock.move(2 * time.Minute)
	r.endDenied()
	if e := s.event(pb.RoomEventKind_ROOM_EVENT_CLOSED); e.Code != link.CodePolicy {
		t.Errorf("who was in was told %v", e)
	}
}

// The rate of a rule holds for those who sit already, downwards and upwards.
func TestAReloadChangesWhatASeatMaySend(t *testing.T) {
	t.Parallel()
	r := start(t, filepath.Join(t.TempDir(), "acme"), "acme.example", roomsRule(""))
	a, m := member(t, r), newMeeting(1)
	if f := a.makeRoom(m, r.clock.Now().Add(time.Hour)); f.GetRoomCreated() == nil {
		t.Fatal(f)
	}
	s := r.stranger()
	s.join(m, false)
	c := s.leg(0, nil)
	sound := newSound(t, c, 1000)
	// send passes a number of packets and waits until each has come or was dropped.
	send := func(packets int) (came, dropped uint64) {
		t.Helper()
		before := r.sfu.Stats()
		for n := range packets {
			sound.send()
			until(t, "the packet is seen", func() bool {
				st := r.sfu.Stats()
				came, dropped = st.PacketsIn-before.PacketsIn, st.OverGrant-before.OverGrant
				return came+dropped == uint64(n+1)
			})
		}
		return came, dropped
	}
	// Half a second of 8 Mbit/s at once is allowed, as the rule has no rate.
	if _, dropped := send(200); dropped != 0 {
		t.Fatalf("%d packets were dropped without a limit", dropped)
	}
	r.reloadTo(roomsRule(`limit = { bytes_per_second = 1000 }`))
	// 128 KiB at once whatever the rate, and then one packet in a second.
	if came, dropped := send(400); dropped == 0 {
		t.Errorf("of 400 kB at 1 kB/s %d packets came and %d were dropped", came, dropped)
	}
	r.reloadTo(roomsRule(`limit = { bytes_per_second = "1GB" }`))
	if r.policySeats(t, "limited") != 2 || r.policySeats(t, "ended") != 0 {
		t.Errorf("%v limited and %v ended seats are counted", r.policySeats(t, "limited"), r.policySeats(t, "ended"))
	}
	// What was overdrawn is there again at once, at this rate.
	until(t, "packets pass again", func() bool { _, dropped := send(1); return dropped == 0 })
	if _, dropped := send(200); dropped != 0 {
		t.Errorf("%d packets were dropped at 1 GB/s", dropped)
	}
}
