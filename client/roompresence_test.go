package client_test

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/envelope/room"
	roompb "github.com/trunkline-net/trunkline/envelope/room/pb"
)

// keeper is a sink that says that it records, and when its first frame came.
type keeper struct {
	mu    sync.Mutex // guards first
	first chan struct{}
}

func (k *keeper) came() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-k.first:
	default:
		close(k.first)
	}
	return nil
}
func (k *keeper) Audio(rtc.Frame) error { return k.came() }
func (k *keeper) Video(rtc.Frame) error { return k.came() }
func (k *keeper) Close() error          { return nil }
func (k *keeper) Records() bool         { return true }

func (in *inRoom) presence(other *inRoom) client.RoomPresence {
	for _, m := range in.Members() {
		if m.Index == other.Index() {
			return m.Presence
		}
	}
	return client.RoomPresence{}
}

// Everybody is told what each sends, as long as it does, and who records, before it has anything: also whoever comes later.
func TestMembersSayWhatTheySendAndThatTheyRecord(t *testing.T) {
	t.Parallel()
	alice := newHuman(t, "alice", startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme")))
	text := newRoom(t, alice, client.RoomSettings{}).Link.Text()
	records := &keeper{first: make(chan struct{})}
	a := goIn(t, alice, text, client.RoomOptions{Media: client.Video, Source: loop(t)})
	b := guest(t, "bob", text, client.RoomOptions{Media: client.Video, Source: aClip(t), Sink: func(client.RoomMember) (client.Sink, error) { return records, nil }})
	heard(t, a, func(e client.MemberPresence) bool {
		return e.Index == b.Index() && e.Presence == client.RoomPresence{Recording: true}
	})
	select {
	case <-records.first:
	case <-within(t).Done():
		t.Fatal("nothing came to who records")
	}
	both := client.RoomPresence{Microphone: true, Camera: true}
	heard(t, b, func(e client.MemberPresence) bool { return e.Index == a.Index() && e.Presence == both })
	heard(t, a, func(e client.MemberPresence) bool {
		return e.Presence == client.RoomPresence{Microphone: true, Camera: true, Recording: true}
	})
	// The clip ends, and that it records goes on.
	heard(t, a, func(e client.MemberPresence) bool { return e.Presence == client.RoomPresence{Recording: true} })
	c := guest(t, "carol", text, client.RoomOptions{Media: client.Audio})
	heard(t, c, func(e client.MemberPresence) bool {
		return e.Index == b.Index() && e.Presence == client.RoomPresence{Recording: true}
	})
	heard(t, c, func(e client.MemberPresence) bool { return e.Index == a.Index() && e.Presence == both })
	if p := a.presence(c); p != (client.RoomPresence{}) {
		t.Errorf("who only listens is said to send or to do something: %+v", p)
	}
	if p := c.presence(b); p != (client.RoomPresence{Recording: true}) {
		t.Errorf("among the members bob's presence is %+v", p)
	}
}

// stranger is somebody in the room who speaks the protocol by hand.
func stranger(t *testing.T, in *inRoom, info client.RoomInfo) (*intruder, *envelope.Session) {
	t.Helper()
	x := breakIn(t, info.Link, someSelf(t, newRoot(t)))
	x.post(0, x.join.Payload)
	s := x.meet(in.Index())
	heard(t, in, func(e client.MemberCame) bool { return e.Index == x.index })
	return x, s
}

// count is how many events of a kind were told and not taken.
func count[E client.RoomEvent](in *inRoom) (n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, e := range in.kept {
		if _, is := e.(E); is {
			n++
		}
	}
	return n
}

// Whoever changes what it says all the time is told of a few times a second, with the newest in the end; what says
// nothing that can be is dropped.
func TestWhoChangesItsPresenceAllTheTimeFillsNoQueue(t *testing.T) {
	t.Parallel()
	alice := newHuman(t, "alice", startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme")))
	info := newRoom(t, alice, client.RoomSettings{})
	a := goIn(t, alice, info.Link.Text(), client.RoomOptions{})
	x, s := stranger(t, a, info)
	say := func(p *roompb.Presence) {
		t.Helper()
		x.say(a.Index(), s, &roompb.Message{Kind: &roompb.Message_Presence{Presence: p}})
	}
	const changes = 100
	began := time.Now()
	for i := range changes {
		say(&roompb.Presence{Microphone: i%2 == 0})
	}
	raised := time.UnixMilli(1_700_000_000_000)
	say(&roompb.Presence{Screen: true, ScreenAudio: true, Hand: uint64(raised.UnixMilli()), Recording: true})
	want := client.RoomPresence{Screen: true, ScreenAudio: true, Hand: raised, Recording: true}
	heard(t, a, func(e client.MemberPresence) bool { return e.Index == x.index && e.Presence == want })
	if m := a.Members(); len(m) != 1 || m[0].Presence != want {
		t.Errorf("among the members: %+v", m)
	}
	// Four in a second, the one that is under way and the one that follows included; heard has taken one of them.
	if told, most := count[client.MemberPresence](a)+1, 4*(int(time.Since(began)/time.Second)+2); told > most {
		t.Errorf("%d of %d changes were told, at most %d are", told, changes+1, most)
	}

	// A hand that is raised in a year that no clock has is no message; the one behind it counts.
	bad := []byte{0x52, 0x0b, 0x28, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}
	if _, err := room.ParseMessage(bad); err == nil {
		t.Fatal("a hand of all times is taken")
	}
	x.raw(a.Index(), s, bad)
	say(&roompb.Presence{Camera: true})
	heard(t, a, func(e client.MemberPresence) bool { return e.Presence == client.RoomPresence{Camera: true} })
}

// raw says what no writer of messages writes.
func (x *intruder) raw(to room.Index, s *envelope.Session, body []byte) {
	x.t.Helper()
	frame, err := s.Seal(body)
	if err != nil {
		x.t.Fatal(err)
	}
	x.post(to, frame)
}
