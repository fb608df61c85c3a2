package client_test

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/envelope/room"
	roompb "github.com/trunkline-net/trunkline/envelope/room/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// intruder is somebody in a seat who keeps to no rule: a WebSocket, the room's formats, and what
// it was given of the room's link.
type intruder struct {
	t      *testing.T
	ws     *websocket.Conn
	gate   *room.Keys // what opens the node's gate
	keys   *room.Keys // what it shows the members
	room   room.ID
	self   room.Self
	index  room.Index
	join   *room.Joining
	frames chan *pb.NodeFrame
	got    []*pb.RoomEvent // frames that came, in order
}

func someSelf(t *testing.T, root *identity.Root) room.Self {
	t.Helper()
	device, err := identity.GenerateDevice()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := root.CertifyDevice(device.Public(), 1, time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return room.Self{Device: device, Cert: cert, Name: "intruder"}
}

// breakIn takes a seat at the node.
func breakIn(t *testing.T, l room.Link, self room.Self) *intruder {
	t.Helper()
	d := websocket.Dialer{Subprotocols: []string{link.Subprotocol}}
	ws, _, err := d.Dial(strings.Replace(l.Base, "http", "ws", 1)+link.Path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.Close() })
	x := &intruder{t: t, ws: ws, gate: l.Secret.Keys(), keys: l.Secret.Keys(), room: l.Room, self: self, frames: make(chan *pb.NodeFrame, 1024)}
	go func() {
		defer close(x.frames)
		for {
			_, b, err := ws.ReadMessage()
			if err != nil {
				return
			}
			f, err := link.ParseNode(b)
			if err != nil {
				t.Errorf("the node wrote a frame that does not parse: %v", err)
				return
			}
			x.frames <- f
		}
	}()
	challenge := x.next().GetChallenge()
	answer, err := link.Authenticate(challenge, strings.TrimPrefix(l.Base, "http://"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	x.send(&pb.ClientFrame{Id: 1, Kind: &pb.ClientFrame_Authenticate{Authenticate: answer}})
	x.next()
	id := room.NewJoinID()
	x.send(&pb.ClientFrame{Id: 2, Kind: &pb.ClientFrame_RoomJoin{RoomJoin: &pb.RoomJoin{
		Room: l.Room[:], JoinId: id[:], GateSignature: link.SignGate(x.gate.Gate(), challenge, l.Room, id),
	}}})
	joined := x.next().GetRoomJoined()
	if joined == nil {
		t.Fatal("the node gave no seat")
	}
	x.index = room.Index(joined.Index)
	if x.join, err = room.NewJoin(self, x.keys, l.Room, id, x.index, time.Now()); err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *intruder) next() *pb.NodeFrame {
	x.t.Helper()
	select {
	case f, ok := <-x.frames:
		if !ok {
			x.t.Fatal("the intruder's link ended")
		}
		return f
	case <-time.After(wait):
		x.t.Fatal("nothing came to the intruder")
	}
	return nil
}

func (x *intruder) send(f *pb.ClientFrame) {
	x.t.Helper()
	b, err := link.MarshalClient(f)
	if err == nil {
		err = x.ws.WriteMessage(websocket.BinaryMessage, b)
	}
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *intruder) post(to room.Index, payload []byte) {
	x.t.Helper()
	x.send(&pb.ClientFrame{Kind: &pb.ClientFrame_RoomSend{RoomSend: &pb.RoomSend{To: uint32(to), Payload: payload}}})
}

// frame waits for a frame that fits, and keeps all that came.
func (x *intruder) frame(fits func(*pb.RoomEvent) bool) *pb.RoomEvent {
	x.t.Helper()
	for {
		e := x.next().GetRoomEvent()
		if e.GetKind() != pb.RoomEventKind_ROOM_EVENT_FRAME {
			continue
		}
		x.got = append(x.got, e)
		if fits(e) {
			return e
		}
	}
}

// isFor reports whether a frame is for the intruder alone: everything that is not an
// announcement to all.
func (x *intruder) isFor(e *pb.RoomEvent) bool {
	return envelope.Handle(e.Payload[:8]) != x.gate.Door()
}

// meet waits for a member's welcome.
func (x *intruder) meet(from room.Index) *envelope.Session {
	x.t.Helper()
	e := x.frame(func(e *pb.RoomEvent) bool { return room.Index(e.Index) == from && x.isFor(e) })
	_, session, err := x.join.Finish(e.Payload, time.Now())
	if err != nil {
		x.t.Fatalf("no welcome: %v", err)
	}
	return session
}

func (x *intruder) say(to room.Index, s *envelope.Session, m *roompb.Message) {
	x.t.Helper()
	body, err := room.MarshalMessage(m)
	if err != nil {
		x.t.Fatal(err)
	}
	frame, err := s.Seal(body)
	if err != nil {
		x.t.Fatal(err)
	}
	x.post(to, frame)
}

// message waits for the next message of a member.
func (x *intruder) message(from room.Index, s *envelope.Session) *roompb.Message {
	x.t.Helper()
	e := x.frame(func(e *pb.RoomEvent) bool { return room.Index(e.Index) == from && x.isFor(e) })
	body, err := s.Open(e.Payload)
	if err != nil {
		x.t.Fatal(err)
	}
	m, err := room.ParseMessage(body)
	if err != nil {
		x.t.Fatal(err)
	}
	return m
}

// told waits for the next message of a member that is about keys or rosters.
func (x *intruder) told(from room.Index, s *envelope.Session) *roompb.Message {
	x.t.Helper()
	for {
		m := x.message(from, s)
		if m.GetConnection() == nil && m.GetEnded() == nil && m.GetPresence() == nil {
			return m
		}
	}
}

// A seat is no membership: whoever the node puts into one, without the link, without a good
// JOIN, or with a device that its identity does not have, is welcomed by nobody.
func TestAGhostInARoomIsNeverEncryptedTo(t *testing.T) {
	t.Parallel()
	acme := startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", acme)
	meet(t, alice, bob)
	info := newRoom(t, alice, client.RoomSettings{})
	a := goIn(t, alice, info.Link.Text(), client.RoomOptions{Media: client.Audio})

	silent := breakIn(t, info.Link, someSelf(t, newRoot(t)))
	foreign := breakIn(t, info.Link, someSelf(t, newRoot(t)))
	wrong := info.Link.Secret
	wrong[0]++
	foreign.keys = wrong.Keys()
	var err error
	if foreign.join, err = room.NewJoin(foreign.self, foreign.keys, info.Link.Room, room.NewJoinID(), foreign.index, time.Now()); err != nil {
		t.Fatal(err)
	}
	// Under the right door, so that it is looked at.
	door := foreign.gate.Door()
	foreign.post(0, append(door[:], foreign.join.Payload[8:]...))
	// Somebody's good JOIN from another seat is not its seat's.
	borrowed := breakIn(t, info.Link, someSelf(t, newRoot(t)))
	if borrowed.join, err = room.NewJoin(borrowed.self, borrowed.keys, info.Link.Room, room.NewJoinID(), borrowed.index+100, time.Now()); err != nil {
		t.Fatal(err)
	}
	borrowed.post(0, borrowed.join.Payload)
	// A device that Bob's own list, which Alice has, does not name.
	ghost := breakIn(t, info.Link, someSelf(t, bob.root))
	ghost.post(0, ghost.join.Payload)

	b := goIn(t, bob, info.Link.Text(), client.RoomOptions{Media: client.Audio})
	a.meets(t, b)
	b.meets(t, a)
	if n := len(a.Members()); n != 1 {
		t.Errorf("alice is with %d others", n)
	}
	// Bob has come and everything that his coming caused has happened: nothing of it went to them.
	for name, x := range map[string]*intruder{"a silent seat": silent, "one without the link": foreign, "one with another's index": borrowed, "a ghost device": ghost} {
		x.send(&pb.ClientFrame{Id: 9, Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: 1}}})
		for f := x.next(); f.GetPong() == nil; f = x.next() {
			if e := f.GetRoomEvent(); e.GetKind() == pb.RoomEventKind_ROOM_EVENT_FRAME && x.isFor(e) && room.Index(e.Index) == a.Index() {
				t.Errorf("%s was written to", name)
			}
		}
	}
}

// Test 68: keys of somebody who may not be there, of another room, under an older roster, of a
// lower generation; and rosters of somebody who is no moderator.
func Test14_68_KeysThatDoNotBelongAreRefused(t *testing.T) {
	t.Parallel()
	acme := startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	alice := newHuman(t, "alice", acme)
	info := newRoom(t, alice, client.RoomSettings{})
	a := goIn(t, alice, info.Link.Text(), client.RoomOptions{})
	x := breakIn(t, info.Link, someSelf(t, newRoot(t)))
	x.post(0, x.join.Payload)
	at := a.Index()
	s := x.meet(at)
	roster := x.told(at, s).GetRoster()
	given := x.told(at, s).GetKey()
	if roster == nil || given == nil {
		t.Fatal("the chair gave no roster, or no key behind it")
	}
	// Who does not answer is told again, which would come between the answers here.
	x.say(at, s, &roompb.Message{Kind: &roompb.Message_KeyHeld{KeyHeld: &roompb.KeyHeld{Generation: given.Generation}}})
	newest, err := room.ParseRoster(roster.Signed)
	if err != nil || !newest.Has(&x.join.Own) {
		t.Fatalf("the roster does not name who came: %v", err)
	}
	key := func(generation uint32, epoch uint64, hash []byte) *roompb.Message {
		return &roompb.Message{Kind: &roompb.Message_Key{Key: &roompb.Key{Generation: generation, Key: bytes.Repeat([]byte{1}, 32), RosterEpoch: epoch, RosterHash: hash}}}
	}
	held := func(what string, want uint32) {
		t.Helper()
		if m := x.told(at, s); m.GetKeyHeld() == nil || m.GetKeyHeld().Generation != want {
			t.Fatalf("%s: %v", what, m)
		}
	}
	// The roster was given a moment ago and is not given again for this, so it is asked for: that nothing else comes
	// first shows that the key was dropped.
	x.say(at, s, key(5, 0, nil))
	x.say(at, s, &roompb.Message{Kind: &roompb.Message_RosterWanted{RosterWanted: &roompb.RosterWanted{}}})
	if m := x.told(at, s); m.GetRoster() == nil || !bytes.Equal(m.GetRoster().Signed, roster.Signed) {
		t.Fatalf("a key under no roster was answered with %v", m)
	}
	x.say(at, s, key(5, newest.Epoch, newest.Hash[:]))
	held("a key under the newest roster", 5)
	x.say(at, s, key(4, newest.Epoch, newest.Hash[:]))
	held("a key of a lower generation", 5)
	x.say(at, s, &roompb.Message{Kind: &roompb.Message_Key{Key: &roompb.Key{Generation: 9, RosterEpoch: newest.Epoch, RosterHash: newest.Hash[:]}}})
	held("a step over three", 5)

	// A frame that was seen, one of another room's session, one that says nothing.
	other := newRoom(t, alice, client.RoomSettings{})
	elsewhere, err := room.NewJoin(x.self, other.Link.Secret.Keys(), other.Link.Room, room.NewJoinID(), x.index, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	x.post(at, elsewhere.Payload)
	x.post(at, bytes.Repeat([]byte{7}, 1024))
	x.post(at, x.join.Payload) // its own JOIN once more
	forged, err := room.SignRoster(x.self, info.Link.Room, newest, nil, []identity.PublicKey{alice.id()}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	x.say(at, s, &roompb.Message{Kind: &roompb.Message_Roster{Roster: &roompb.RosterUpdate{Signed: forged.Bytes()}}})
	x.say(at, s, &roompb.Message{Kind: &roompb.Message_NewLink{NewLink: &roompb.NewLink{Secret: bytes.Repeat([]byte{3}, 32)}}})
	x.say(at, s, &roompb.Message{Kind: &roompb.Message_Stewardship{Stewardship: &roompb.Stewardship{Seed: bytes.Repeat([]byte{3}, 32)}}})
	x.say(at, s, &roompb.Message{Kind: &roompb.Message_RosterWanted{RosterWanted: &roompb.RosterWanted{}}})
	for m := x.told(at, s); ; m = x.told(at, s) {
		if m.GetRoster() != nil {
			if !bytes.Equal(m.GetRoster().Signed, roster.Signed) {
				t.Error("the forged roster counts")
			}
			break
		}
	}
	if a.Link() != info.Link || len(a.Members()) != 1 {
		t.Error("a guest changed the link or the members")
	}
	// Sent away, it is answered no more, whatever it knows.
	if err := a.Remove(within(t), x.index); err != nil {
		t.Fatal(err)
	}
	late := guest(t, "late", a.Link().Text(), client.RoomOptions{})
	heard(t, a, func(e client.MemberCame) bool { return e.Index == late.Index() })
	for f := range x.frames {
		if e := f.GetRoomEvent(); e.GetKind() == pb.RoomEventKind_ROOM_EVENT_FRAME {
			if body, err := s.Open(e.Payload); err == nil {
				if m, err := room.ParseMessage(body); err == nil && m.GetKey() != nil && m.GetKey().Generation > 0 {
					t.Error("who was sent away got a key")
				}
			}
		} else if e.GetKind() == pb.RoomEventKind_ROOM_EVENT_CLOSED {
			if e.Code != link.CodeRemoved {
				t.Errorf("it was told %s", e.Code)
			}
			break
		}
	}
}

// connection waits for the next message of a member about the connection with it.
func (x *intruder) connection(from room.Index, s *envelope.Session) *envelopepb.SessionMessage {
	x.t.Helper()
	for {
		m := x.message(from, s)
		if c := m.GetConnection(); c != nil {
			said, err := envelope.ParseSessionMessage(c.Message)
			if err != nil {
				x.t.Fatal(err)
			}
			return said
		}
	}
}

// connect says something about the connection with a member.
func (x *intruder) connect(to room.Index, s *envelope.Session, m *envelopepb.SessionMessage) {
	x.t.Helper()
	body, err := envelope.MarshalSessionMessage(m)
	if err != nil {
		x.t.Fatal(err)
	}
	x.say(to, s, &roompb.Message{Kind: &roompb.Message_Connection{Connection: &roompb.Connection{Message: body}}})
}

// An alarm about the connection of two members is told to the other one, and what the other one
// tells is its word; afterwards neither offer nor answer brings the connection back.
func TestAnAlarmInAMeshIsToldAndNothingIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		alarm func(x *intruder, at room.Index, s *envelope.Session, offer *envelopepb.SessionMessage)
		says  string
		tells bool // the honest side tells us
	}{
		"another certificate than the signed one": {
			alarm: func(x *intruder, at room.Index, s *envelope.Session, offer *envelopepb.SessionMessage) {
				bent := proto.CloneOf(offer)
				bent.Fingerprint = bytes.Repeat([]byte{9}, 32)
				x.connect(at, s, bent)
			},
			says: "is not the one that it signed", tells: true,
		},
		"the other side's word": {
			alarm: func(x *intruder, at room.Index, s *envelope.Session, offer *envelopepb.SessionMessage) {
				x.connect(at, s, offer)
				for x.connection(at, s).Type != envelopepb.SessionType_SESSION_ANSWER {
				}
				x.connect(at, s, &envelopepb.SessionMessage{Type: envelopepb.SessionType_SESSION_BYE, Reason: envelopepb.Reason_REASON_ALARM})
			},
			says: "it says that",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			acme := startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
			alice := newHuman(t, "alice", acme)
			info := newRoom(t, alice, client.RoomSettings{})
			a := goIn(t, alice, info.Link.Text(), client.RoomOptions{Media: client.Audio})
			x := breakIn(t, info.Link, someSelf(t, newRoot(t)))
			x.post(0, x.join.Payload)
			at := a.Index()
			s := x.meet(at)
			if s.Role != envelope.Initiator {
				t.Fatal("who comes does not offer")
			}
			for x.told(at, s).GetKey() == nil {
			}
			heard(t, a, func(e client.MemberCame) bool { return e.Index == x.index })
			peer, err := rtc.New(rtc.Config{
				Role: rtc.Initiator, Audio: rtc.SendReceive, SendKey: [32]byte{1}, ReceiveKey: [32]byte{2}, Binding: s, IncludeLoopback: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, end := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- peer.Run(ctx) }()
			t.Cleanup(func() { end(); <-done })
			d, err := peer.CreateOffer(within(t))
			if err != nil {
				t.Fatal(err)
			}
			offer := &envelopepb.SessionMessage{Type: envelopepb.SessionType_SESSION_OFFER, Sdp: d.SDP, Fingerprint: d.Fingerprint[:], Ufrag: d.Ufrag, Setup: uint32(d.Setup)}
			c.alarm(x, at, s, offer)
			heard(t, a, func(e client.RoomAlarm) bool { return strings.Contains(e.What, c.says) })
			if c.tells {
				m := x.connection(at, s)
				for ; m.Type != envelopepb.SessionType_SESSION_BYE; m = x.connection(at, s) {
				}
				if m.Reason != envelopepb.Reason_REASON_ALARM {
					t.Errorf("the other side was told %v", m.Reason)
				}
			}
			// A good offer gets no answer any more: not in the time after which a key is told again to whoever has not
			// said that it holds it, which is longer than the pause between two connections.
			x.connect(at, s, offer)
			x.frame(func(e *pb.RoomEvent) bool {
				if room.Index(e.Index) != at || !x.isFor(e) {
					return false
				}
				body, err := s.Open(e.Payload)
				if err != nil {
					t.Fatal(err)
				}
				m, err := room.ParseMessage(body)
				if err != nil {
					t.Fatal(err)
				}
				if c := m.GetConnection(); c != nil {
					said, err := envelope.ParseSessionMessage(c.Message)
					if err != nil || said.Type == envelopepb.SessionType_SESSION_ANSWER {
						t.Errorf("the connection goes on: %v, %v", said, err)
					}
				}
				return m.GetKey() != nil
			})
		})
	}
}
