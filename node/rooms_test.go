package node

import (
	"bytes"
	"crypto/ed25519"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/leak"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// meeting is a room as far as a node can see it.
type meeting struct {
	id            [32]byte
	gate, steward ed25519.PrivateKey
	card          []byte
}

func newMeeting(n byte) *meeting {
	return &meeting{
		id:   [32]byte(bytes.Repeat([]byte{n}, 32)),
		gate: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n, 1}, 16)), steward: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n, 2}, 16)),
		card: bytes.Repeat([]byte{n, 3}, link.RoomCardSize/2),
	}
}

func (m *meeting) create(expires time.Time) *pb.RoomCreate {
	return &pb.RoomCreate{
		Room: m.id[:], GateKey: m.gate.Public().(ed25519.PublicKey), StewardKey: m.steward.Public().(ed25519.PublicKey),
		Card: m.card, Seats: 3, Expires: uint64(expires.Unix()),
	}
}

func (c *raw) makeRoom(m *meeting, expires time.Time, change ...func(*pb.RoomCreate)) *pb.NodeFrame {
	c.t.Helper()
	create := m.create(expires)
	for _, f := range change {
		f(create)
	}
	return c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_RoomCreate{RoomCreate: create}})
}

// stranger is a link without a device that remembers its challenge.
type stranger struct {
	*raw
	challenge *pb.Challenge
	index     uint32
}

func (r *running) stranger() *stranger {
	r.t.Helper()
	c := dial(r.t, r, nil)
	return &stranger{raw: c, challenge: c.asked}
}

func (s *stranger) join(m *meeting, steward bool, change ...func(*pb.RoomJoin)) *pb.NodeFrame {
	s.t.Helper()
	join := [16]byte(bytes.Repeat([]byte{9}, 16))
	j := &pb.RoomJoin{Room: m.id[:], JoinId: join[:], GateSignature: link.SignGate(m.gate, s.challenge, m.id, join)}
	if steward {
		j.StewardSignature = link.SignSteward(m.steward, s.challenge, m.id, join)
	}
	for _, f := range change {
		f(j)
	}
	f := s.call(&pb.ClientFrame{Kind: &pb.ClientFrame_RoomJoin{RoomJoin: j}})
	s.index = f.GetRoomJoined().GetIndex()
	return f
}

func (s *stranger) command(m *meeting, cmd *pb.RoomCommand) *pb.NodeFrame {
	s.t.Helper()
	control, err := link.SignCommand(m.steward, s.challenge, m.id, cmd)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.call(&pb.ClientFrame{Kind: &pb.ClientFrame_RoomControl{RoomControl: control}})
}

// event waits for the next event of a room.
func (c *raw) event(kind pb.RoomEventKind) *pb.RoomEvent {
	c.t.Helper()
	f := c.await(func(f *pb.NodeFrame) bool { return f.GetRoomEvent() != nil })
	if got := f.GetRoomEvent(); got.Kind != kind {
		c.t.Fatalf("event %v came where %v should", got.Kind, kind)
	}
	return f.GetRoomEvent()
}

func (c *raw) say(to uint32, payload []byte) {
	c.t.Helper()
	c.send(&pb.ClientFrame{Kind: &pb.ClientFrame_RoomSend{RoomSend: &pb.RoomSend{To: to, Payload: payload}}})
}

// said is say that says what became of it: a code, or nothing.
func (c *raw) said(to uint32, payload []byte) string {
	c.t.Helper()
	id := c.id()
	c.send(&pb.ClientFrame{Id: id, Kind: &pb.ClientFrame_RoomSend{RoomSend: &pb.RoomSend{To: to, Payload: payload}}})
	ping := c.id()
	c.send(&pb.ClientFrame{Id: ping, Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: 5}}})
	f := c.await(func(f *pb.NodeFrame) bool { return f.Id == id || f.Id == ping })
	return errorCode(f)
}

// barrier waits until the node has worked off what this link sent before.
func (c *raw) barrier() {
	c.t.Helper()
	c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: 5}}})
}

// host is a node with a member who has made a room.
func host(t *testing.T, m *meeting, change ...func(*pb.RoomCreate)) (*running, *raw) {
	t.Helper()
	r := start(t, filepath.Join(t.TempDir(), "acme"), "acme.example", openPolicy)
	a := member(t, r)
	if f := a.makeRoom(m, r.clock.Now().Add(time.Hour), change...); f.GetRoomCreated() == nil {
		t.Fatalf("no room: %v", f)
	}
	return r, a
}

func member(t *testing.T, r *running) *raw {
	t.Helper()
	p := newPerson(t, r)
	a := dial(t, r, p)
	if f := a.publish(r, p, ""); f.GetPublished() == nil {
		t.Fatalf("not published: %v", f)
	}
	return a
}

func TestThoseInARoomSeeEachOtherComeSpeakAndGo(t *testing.T) {
	t.Parallel()
	m := newMeeting(1)
	r, _ := host(t, m)
	a, b := r.stranger(), r.stranger()
	if j := a.join(m, true).GetRoomJoined(); j == nil || j.Index != 1 || len(j.Present) != 0 || !bytes.Equal(j.Card, m.card) || j.Seats != 3 {
		t.Fatalf("the first got %v", j)
	}
	if j := b.join(m, false).GetRoomJoined(); j == nil || j.Index != 2 || !slices.Equal(j.Present, []uint32{1}) {
		t.Fatalf("the second got %v", j)
	}
	if e := a.event(pb.RoomEventKind_ROOM_EVENT_JOINED); e.Index != 2 {
		t.Fatalf("%v joined", e)
	}
	all, one := bytes.Repeat([]byte{7}, 4096), bytes.Repeat([]byte{8}, 1024)
	b.say(0, all)
	b.say(1, one)
	for _, want := range [][]byte{all, one} {
		if e := a.event(pb.RoomEventKind_ROOM_EVENT_FRAME); e.Index != 2 || !bytes.Equal(e.Payload, want) {
			t.Fatal("another frame came than was sent")
		}
	}
	if code := b.said(9, one); code != link.CodeUnreachable {
		t.Errorf("to nobody: %q", code)
	}
	if code := b.said(2, one); code != link.CodeUnreachable {
		t.Errorf("to oneself: %q", code)
	}
	_ = b.ws.Close()
	if e := a.event(pb.RoomEventKind_ROOM_EVENT_LEFT); e.Index != 2 || e.Code != "" {
		t.Fatalf("left: %v", e)
	}
	// A number is never given again, also after a restart.
	c := r.stranger()
	if c.join(m, false); c.index != 3 {
		t.Fatalf("the third got index %d", c.index)
	}
	r.stopped()
	again := start(t, r.dir, "acme.example", "")
	d := again.stranger()
	if f := d.join(m, false); f.GetRoomJoined() == nil || d.index <= 3 {
		t.Fatalf("after the restart: %v", f)
	}
}

func TestTheGateOpensForNobodyWithoutTheRoomsLink(t *testing.T) {
	t.Parallel()
	m, other := newMeeting(1), newMeeting(2)
	r, a := host(t, m)
	if f := a.makeRoom(other, r.clock.Now().Add(time.Hour)); f.GetRoomCreated() == nil {
		t.Fatal(f)
	}
	seen := r.stranger()
	var spent []byte
	seen.join(m, false, func(j *pb.RoomJoin) { spent = j.GateSignature })
	for name, c := range map[string]struct {
		change func(s *stranger, j *pb.RoomJoin)
		code   string
	}{
		"no such room":           {func(_ *stranger, j *pb.RoomJoin) { j.Room = bytes.Repeat([]byte{5}, 32) }, link.CodeNoRoom},
		"without the secret":     {func(_ *stranger, j *pb.RoomJoin) { j.GateSignature = bytes.Repeat([]byte{1}, 64) }, link.CodeGate},
		"with a spent signature": {func(_ *stranger, j *pb.RoomJoin) { j.GateSignature = spent }, link.CodeGate},
		"with another room's key": {func(s *stranger, j *pb.RoomJoin) {
			j.GateSignature = link.SignGate(other.gate, s.challenge, m.id, [16]byte(j.JoinId))
		}, link.CodeGate},
		"for another room": {func(s *stranger, j *pb.RoomJoin) {
			j.GateSignature = link.SignGate(m.gate, s.challenge, other.id, [16]byte(j.JoinId))
		}, link.CodeGate},
		"for another join": {func(_ *stranger, j *pb.RoomJoin) { j.JoinId = bytes.Repeat([]byte{4}, 16) }, link.CodeGate},
		"as a steward of elsewhere": {func(s *stranger, j *pb.RoomJoin) {
			j.StewardSignature = link.SignSteward(other.steward, s.challenge, m.id, [16]byte(j.JoinId))
		}, link.CodeBadSignature},
	} {
		s := r.stranger()
		if f := s.join(m, false, func(j *pb.RoomJoin) { c.change(s, j) }); errorCode(f) != c.code {
			t.Errorf("%s: %v, not %s", name, f, c.code)
		}
	}
	// A link joins once, so that nothing that was seen on it is of use again.
	if f := seen.call(&pb.ClientFrame{Kind: &pb.ClientFrame_RoomLeave{RoomLeave: &pb.RoomLeave{}}}); f.GetRoomDone() == nil {
		t.Fatal(f)
	}
	if f := seen.join(m, false); errorCode(f) != link.CodeGate {
		t.Errorf("the same signature on the same link: %v", f)
	}
	// A device's link is no way in: it would tell who is in the room.
	b := member(t, r)
	b.send(&pb.ClientFrame{Id: b.id(), Kind: &pb.ClientFrame_RoomJoin{RoomJoin: &pb.RoomJoin{Room: m.id[:], JoinId: bytes.Repeat([]byte{4}, 16), GateSignature: spent}}})
	if last := b.ends(); errorCode(last) != link.CodeBadFrame {
		t.Errorf("over a device's link: %v", last)
	}
}

func TestARoomTakesNoMoreThanItsSeats(t *testing.T) {
	t.Parallel()
	m := newMeeting(1)
	r, _ := host(t, m)
	for range 3 {
		if f := r.stranger().join(m, false); f.GetRoomJoined() == nil {
			t.Fatal(f)
		}
	}
	late := r.stranger()
	if f := late.join(m, false); errorCode(f) != link.CodeRoomFull {
		t.Fatalf("the fourth: %v", f)
	}
	// It may try again on the same link when somebody has gone.
	s := r.stranger()
	if f := s.command(m, &pb.RoomCommand{Kind: &pb.RoomCommand_Remove{Remove: &pb.RoomRemove{Index: 2}}}); f.GetRoomDone() == nil {
		t.Fatal(f)
	}
	if f := late.join(m, false); f.GetRoomJoined() == nil {
		t.Errorf("with a free seat: %v", f)
	}
}

func TestAStewardRunsTheRoomAndNobodyElseDoes(t *testing.T) {
	t.Parallel()
	m := newMeeting(1)
	r, _ := host(t, m)
	chair, b, c := r.stranger(), r.stranger(), r.stranger()
	chair.join(m, true)
	b.join(m, false)
	c.join(m, false)
	foreign := newMeeting(1)
	foreign.steward = newMeeting(2).steward
	remove := func(i uint32) *pb.RoomCommand {
		return &pb.RoomCommand{Kind: &pb.RoomCommand_Remove{Remove: &pb.RoomRemove{Index: i}}}
	}
	if f := b.command(foreign, remove(3)); errorCode(f) != link.CodeBadSignature {
		t.Errorf("a foreign steward: %v", f)
	}
	if f := chair.command(m, remove(2)); f.GetRoomDone() == nil {
		t.Fatal(f)
	}
	if e := b.event(pb.RoomEventKind_ROOM_EVENT_JOINED); e.Index != 3 {
		t.Fatal(e)
	}
	if e := b.event(pb.RoomEventKind_ROOM_EVENT_CLOSED); e.Code != link.CodeRemoved {
		t.Errorf("the one who was removed was told %v", e)
	}
	if e := c.event(pb.RoomEventKind_ROOM_EVENT_LEFT); e.Index != 2 || e.Code != link.CodeRemoved {
		t.Errorf("the others were told %v", e)
	}
	b.say(3, bytes.Repeat([]byte{1}, 1024))
	b.barrier()

	// Another gate: those who are kept stay, the old link opens nothing.
	next := newMeeting(7)
	gate := next.gate.Public().(ed25519.PublicKey)
	if f := chair.command(m, &pb.RoomCommand{Kind: &pb.RoomCommand_Gate{Gate: &pb.RoomGate{GateKey: gate, Card: next.card, Keep: []uint32{1}}}}); f.GetRoomDone() == nil {
		t.Fatal(f)
	}
	if e := c.event(pb.RoomEventKind_ROOM_EVENT_CLOSED); e.Code != link.CodeGate {
		t.Errorf("who was not kept was told %v", e)
	}
	if f := r.stranger().join(m, false); errorCode(f) != link.CodeGate {
		t.Errorf("the old link: %v", f)
	}
	changed := &meeting{id: m.id, gate: next.gate, steward: m.steward}
	d := r.stranger()
	if f := d.join(changed, false); !bytes.Equal(f.GetRoomJoined().GetCard(), next.card) {
		t.Fatalf("the new link: %v", f)
	}

	// It lasts longer if a steward says so, within what a room may last.
	longer := func(d time.Duration) *pb.RoomCommand {
		return &pb.RoomCommand{Kind: &pb.RoomCommand_Extend{Extend: &pb.RoomExtend{Expires: uint64(r.clock.Now().Add(d).Unix())}}}
	}
	if f := chair.command(m, longer(2*link.MaxRoomLife)); errorCode(f) != link.CodeTooLarge {
		t.Errorf("for two years: %v", f)
	}
	if f := chair.command(m, longer(48*time.Hour)); f.GetRoomDone() == nil {
		t.Fatal(f)
	}
	r.clock.move(2 * time.Hour)
	r.expireRooms(r.clock.Now())
	if f := chair.command(m, &pb.RoomCommand{Kind: &pb.RoomCommand_Close{Close: &pb.RoomClose{}}}); f.GetRoomDone() == nil {
		t.Fatalf("close: %v", f)
	}
	if e := d.event(pb.RoomEventKind_ROOM_EVENT_CLOSED); e.Code != link.CodeClosed {
		t.Errorf("closed: %v", e)
	}
	if f := r.stranger().join(changed, false); errorCode(f) != link.CodeNoRoom {
		t.Errorf("after the end: %v", f)
	}
}

func TestWhoWaitsInALobbySpeaksToStewardsAlone(t *testing.T) {
	t.Parallel()
	m := newMeeting(1)
	r, _ := host(t, m, func(c *pb.RoomCreate) { c.Lobby = true })
	chair := r.stranger()
	chair.join(m, true)
	early := r.stranger()
	if j := early.join(m, false).GetRoomJoined(); !j.GetWaiting() || len(j.Present) != 0 {
		t.Fatalf("before anybody admitted: %v", j)
	}
	if e := chair.event(pb.RoomEventKind_ROOM_EVENT_WAITING); e.Index != early.index {
		t.Fatal(e)
	}
	admit := func(i uint32) {
		t.Helper()
		if f := chair.command(m, &pb.RoomCommand{Kind: &pb.RoomCommand_Admit{Admit: &pb.RoomAdmit{Index: i}}}); f.GetRoomDone() == nil {
			t.Fatal(f)
		}
	}
	admit(early.index)
	if e := chair.event(pb.RoomEventKind_ROOM_EVENT_JOINED); e.Index != early.index {
		t.Fatal(e)
	}
	if e := early.event(pb.RoomEventKind_ROOM_EVENT_ADMITTED); !slices.Equal(e.Present, []uint32{chair.index}) {
		t.Fatal(e)
	}

	waits := r.stranger()
	waits.join(m, false)
	hello, private := bytes.Repeat([]byte{1}, 4096), bytes.Repeat([]byte{2}, 1024)
	waits.say(0, hello)
	if code := waits.said(early.index, private); code != link.CodeUnreachable {
		t.Errorf("from the lobby to a member: %q", code)
	}
	if e := chair.event(pb.RoomEventKind_ROOM_EVENT_WAITING); e.Index != waits.index {
		t.Fatal(e)
	}
	if e := chair.event(pb.RoomEventKind_ROOM_EVENT_FRAME); !bytes.Equal(e.Payload, hello) {
		t.Fatal("the steward got something else")
	}
	// What is said to all is not for the lobby, and a member does not reach into it.
	early.say(0, private)
	if code := early.said(waits.index, private); code != link.CodeUnreachable {
		t.Errorf("from a member to the lobby: %q", code)
	}
	chair.say(waits.index, private)
	if e := waits.event(pb.RoomEventKind_ROOM_EVENT_FRAME); e.Index != chair.index {
		t.Fatalf("the lobby heard %v", e)
	}
	// The steward says no.
	if f := chair.command(m, &pb.RoomCommand{Kind: &pb.RoomCommand_Remove{Remove: &pb.RoomRemove{Index: waits.index}}}); f.GetRoomDone() == nil {
		t.Fatal(f)
	}
	if e := waits.event(pb.RoomEventKind_ROOM_EVENT_CLOSED); e.Code != link.CodeRemoved {
		t.Fatal(e)
	}
	// A steward who comes later hears of who waits.
	last := r.stranger()
	last.join(m, false)
	second := r.stranger()
	second.join(m, true)
	if e := second.event(pb.RoomEventKind_ROOM_EVENT_WAITING); e.Index != last.index {
		t.Fatal(e)
	}
}

func TestARoomEndsInItsTimeAndLeavesNothing(t *testing.T) {
	t.Parallel()
	m := newMeeting(1)
	r, a := host(t, m)
	s := r.stranger()
	s.join(m, false)
	r.clock.move(59 * time.Minute)
	r.expireRooms(r.clock.Now())
	if f := r.stranger().join(m, false); f.GetRoomJoined() == nil {
		t.Fatalf("a minute before its end: %v", f)
	}
	s.event(pb.RoomEventKind_ROOM_EVENT_JOINED)
	r.clock.move(time.Minute)
	if f := r.stranger().join(m, false); errorCode(f) != link.CodeNoRoom {
		t.Errorf("at its end, before it was swept: %v", f)
	}
	r.expireRooms(r.clock.Now())
	if e := s.event(pb.RoomEventKind_ROOM_EVENT_CLOSED); e.Code != link.CodeExpired {
		t.Errorf("who was in was told %v", e)
	}
	if rooms, seats := r.rooms.count(); rooms != 0 || seats != 0 {
		t.Errorf("%d rooms and %d seats are left", rooms, seats)
	}
	if names, err := r.db.Blobs().Names(t.Context(), blobRoom); err != nil || len(names) != 0 {
		t.Errorf("on the disk: %v, %v", names, err)
	}
	for name, c := range map[string]struct {
		change func(*pb.RoomCreate)
		code   string
	}{
		"that is over":        {func(c *pb.RoomCreate) { c.Expires = uint64(r.clock.Now().Unix()) }, link.CodeExpired},
		"without an end":      {func(c *pb.RoomCreate) { c.Expires = 0 }, link.CodeExpired},
		"for ten years":       {func(c *pb.RoomCreate) { c.Expires = uint64(r.clock.Now().AddDate(10, 0, 0).Unix()) }, link.CodeTooLarge},
		"of 51 seats":         {func(c *pb.RoomCreate) { c.Seats = 51 }, link.CodeTooLarge},
		"of one seat":         {func(c *pb.RoomCreate) { c.Seats = 1 }, link.CodeTooLarge},
		"with a weak key":     {func(c *pb.RoomCreate) { c.GateKey = make([]byte, 32); c.GateKey[0] = 1 }, link.CodeBadSignature},
		"with one key twice":  {func(c *pb.RoomCreate) { c.StewardKey = c.GateKey }, link.CodeBadSignature},
		"with another's card": {func(c *pb.RoomCreate) { c.Card = nil }, link.CodeBadFrame},
	} {
		if f := a.makeRoom(newMeeting(3), r.clock.Now().Add(time.Hour), c.change); errorCode(f) != c.code {
			t.Errorf("a room %s: %v, not %s", name, f, c.code)
		}
	}
}

const roomsForSome = openPolicy + `
[[domain]]
name = "acme.example"
level = "internal"

[[rule]]
name = "calls"
level = "internal"
direction = "both"
actions = ["signal", "turn"]
`

func TestThePolicySaysWhoMakesRooms(t *testing.T) {
	t.Parallel()
	r := start(t, filepath.Join(t.TempDir(), "acme"), "acme.example", roomsForSome)
	a, m := member(t, r), newMeeting(1)
	end := r.clock.Now().Add(time.Hour)
	if f := a.makeRoom(m, end); errorCode(f) != link.CodePolicy {
		t.Fatalf("without a rule for it: %v", f)
	}
	writePolicy(t, r.dir, roomsForSome+`
[[rule]]
name = "rooms"
level = "internal"
direction = "in"
actions = ["sfu"]
limit = { concurrent = 2 }
`)
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	for _, other := range []*meeting{m, newMeeting(2), m} { // the same one is the same one
		if f := a.makeRoom(other, end); f.GetRoomCreated() == nil {
			t.Fatalf("with a rule for it: %v", f)
		}
	}
	if f := a.makeRoom(newMeeting(3), end); errorCode(f) != link.CodeQuota {
		t.Errorf("the third of two: %v", f)
	}
	stolen := newMeeting(2)
	stolen.gate = newMeeting(9).gate
	if f := a.makeRoom(stolen, end); errorCode(f) != link.CodeRefused {
		t.Errorf("with the id of another: %v", f)
	}
	stranger := r.stranger()
	if f := stranger.makeRoom(newMeeting(4), end); errorCode(f) != link.CodeNotRegistered {
		t.Errorf("by a stranger: %v", f)
	}
	// A node that takes no strangers still lets them into its rooms, and does nothing else for them.
	writePolicy(t, r.dir, registerPolicy("closed"))
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	s := r.stranger()
	if f := s.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Domain{Domain: &pb.DomainRequest{Domain: "acme.example"}}}); errorCode(f) != link.CodePolicy {
		t.Errorf("a stranger asks: %v", f)
	}
	if f := s.join(m, false); f.GetRoomJoined() == nil {
		t.Fatalf("a stranger joins: %v", f)
	}
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	s.barrier()
}

// Whoever is in a room gets a relay, which the account of the room's members is not told of.
func TestASeatGetsARelayWhichGoesWithIt(t *testing.T) {
	t.Parallel()
	m := newMeeting(1)
	r, _ := host(t, m)
	s := r.stranger()
	turn := func() *pb.TurnCredentials {
		return s.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Turn{Turn: &pb.TurnRequest{Purpose: "call"}}}).GetTurn()
	}
	if c := turn(); c.GetCode() != link.CodeNotRegistered {
		t.Fatalf("without a seat: %v", c)
	}
	s.join(m, false)
	c := turn()
	if c.GetCode() != "" || len(c.Urls) == 0 || r.turnGrants.count() != 1 {
		t.Fatalf("with a seat: %v", c)
	}
	_ = s.ws.Close()
	until(t, "the seat is free", func() bool { _, seats := r.rooms.count(); return seats == 0 })
	r.clock.move(link.TurnGrace)
	r.turnGrants.expire(r.clock.Now())
	if n := r.turnGrants.count(); n != 0 {
		t.Errorf("%d handles are left", n)
	}
}

func TestMalformedRoomFramesEndTheLink(t *testing.T) {
	t.Parallel()
	m := newMeeting(1)
	r, _ := host(t, m)
	for name, f := range map[string]*pb.ClientFrame{
		"a payload off a size": {Kind: &pb.ClientFrame_RoomSend{RoomSend: &pb.RoomSend{Payload: make([]byte, 1000)}}},
		"an empty payload":     {Kind: &pb.ClientFrame_RoomSend{RoomSend: &pb.RoomSend{To: 1}}},
		"a join of nothing":    {Kind: &pb.ClientFrame_RoomJoin{RoomJoin: &pb.RoomJoin{}}},
		"a command of nothing": {Kind: &pb.ClientFrame_RoomControl{RoomControl: &pb.RoomControl{}}},
	} {
		s := r.stranger()
		s.join(m, false)
		s.send(proto.Clone(f).(*pb.ClientFrame))
		if last := s.ends(); errorCode(last) != link.CodeBadFrame {
			t.Errorf("%s: %v", name, last)
		}
	}
	until(t, "nobody is in", func() bool { _, seats := r.rooms.count(); return seats == 0 })
}

// A room's record has nothing in it that a person has written or is.
func TestWhatIsKeptOfARoomNamesNobody(t *testing.T) {
	t.Parallel()
	m := newMeeting(1)
	r := start(t, filepath.Join(t.TempDir(), "acme"), "acme.example", openPolicy)
	p := newPerson(t, r)
	a := dial(t, r, p)
	a.publish(r, p, "")
	if f := a.makeRoom(m, r.clock.Now().Add(time.Hour)); f.GetRoomCreated() == nil {
		t.Fatal(f)
	}
	record, err := r.db.Blobs().Get(t.Context(), blobOfRoom(m.id))
	if err != nil {
		t.Fatal(err)
	}
	root, device := p.root.Public(), p.device.Public()
	id := p.device.ID()
	leak.NewHunt(t, leak.Secret("owner", root[:]), leak.Secret("device", device[:]), leak.Secret("device id", id[:])).
		Bytes("the room's record", record, leak.Secret("control", m.gate.Public().(ed25519.PublicKey)))
	if got, err := decodeRoom(record); err != nil || !bytes.Equal(got.encode(), record) {
		t.Errorf("the record comes back as something else: %v", err)
	}
}

func FuzzDecodeRoom(f *testing.F) {
	key := identity.PublicKey(newMeeting(1).gate.Public().(ed25519.PublicKey))
	kept := roomRecord{gate: key, steward: key, card: newMeeting(1).card, seats: 4, expires: time.Unix(1_800_000_000, 0), lobby: true, reserved: 64}
	f.Add(kept.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRoom(b)
		if err != nil {
			return
		}
		if !bytes.Equal(r.encode(), b) {
			t.Fatal("a record has two forms")
		}
	})
}
