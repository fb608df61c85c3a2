package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/envelope/room"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/demo/clip"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/media/sframe"
	"github.com/trunkline-net/trunkline/node"
)

// inRoom is somebody in a room and what it was told there.
type inRoom struct {
	*client.Room
	name string

	mu      sync.Mutex // guards kept, changed
	kept    []client.RoomEvent
	changed chan struct{}
}

func follow(t testing.TB, name string, r *client.Room) *inRoom {
	t.Helper()
	in := &inRoom{Room: r, name: name, changed: make(chan struct{})}
	stop := make(chan struct{})
	var pump sync.WaitGroup
	pump.Go(func() {
		for {
			select {
			case e := <-r.Events():
				in.mu.Lock()
				in.kept = append(in.kept, e)
				close(in.changed)
				in.changed = make(chan struct{})
				in.mu.Unlock()
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() {
		bye, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		if err := r.Leave(bye); err != nil && !errors.Is(err, client.ErrRoomOver) {
			t.Errorf("%s leaves: %v", name, err)
		}
		close(stop)
		pump.Wait()
	})
	return in
}

// heard waits for an event of a room and takes it.
func heard[E client.RoomEvent](t testing.TB, in *inRoom, fits func(E) bool) E {
	t.Helper()
	ctx := within(t)
	for {
		in.mu.Lock()
		for i, e := range in.kept {
			if typed, ok := e.(E); ok && fits(typed) {
				in.kept = slices.Delete(in.kept, i, i+1)
				in.mu.Unlock()
				return typed
			}
		}
		changed := in.changed
		in.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			var none E
			t.Fatalf("%s was not told of a %T; it has %d members", in.name, none, len(in.Members()))
		}
	}
}

// was reports whether an event has come already.
func (in *inRoom) was(fits func(client.RoomEvent) bool) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.ContainsFunc(in.kept, fits)
}

func (in *inRoom) meets(t testing.TB, other *inRoom) client.RoomMember {
	t.Helper()
	return heard(t, in, func(e client.MemberConnected) bool { return e.Index == other.Index() }).RoomMember
}

func goIn(t testing.TB, h *human, link string, o client.RoomOptions) *inRoom {
	t.Helper()
	o.Name = h.name
	r, err := h.JoinRoom(within(t), link, o)
	if err != nil {
		t.Fatalf("%s joins: %v", h.name, err)
	}
	return follow(t, h.name, r)
}

func guest(t testing.TB, name, link string, o client.RoomOptions) *inRoom {
	t.Helper()
	o.Name = name
	r, err := client.JoinRoomAsGuest(within(t), client.Config{Loopback: true, Logger: logger(t, name)}, link, o)
	if err != nil {
		t.Fatalf("%s joins: %v", name, err)
	}
	return follow(t, name, r)
}

func newRoom(t testing.TB, owner *human, s client.RoomSettings) client.RoomInfo {
	t.Helper()
	info, err := owner.CreateRoom(within(t), s)
	if err != nil {
		t.Fatalf("%s makes a room: %v", owner.name, err)
	}
	return info
}

func audio(t testing.TB, wait int) client.RoomOptions {
	t.Helper()
	return client.RoomOptions{Media: client.Video, Source: aClip(t), Wait: wait}
}

// nearlyAll says whether what arrived was sent, in this order, and hardly any is missing: on a busy machine a frame
// may come after the second that is given to its repair.
func nearlyAll(got, sent [][32]byte) bool {
	at := 0
	for _, h := range got {
		i := slices.Index(sent[at:], h)
		if i < 0 {
			return false
		}
		at += i + 1
	}
	return len(sent) > 0 && len(got)*20 >= len(sent)*19
}

func TestThreePeopleAndAGuestHearEachOtherInARoom(t *testing.T) {
	t.Parallel()
	acme := startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", acme)
	info := newRoom(t, alice, client.RoomSettings{Title: "Plans for the mill"})
	text := info.Link.Text()
	if !strings.Contains(text, "/r/") || info.Title != "Plans for the mill" || !info.Runs {
		t.Fatal("the room is another one than was made")
	}
	all := []*inRoom{
		goIn(t, alice, text, audio(t, 3)),
		goIn(t, bob, text, audio(t, 3)),
		guest(t, "guest", text, audio(t, 3)),
	}
	all = append(all, guest(t, "another guest", text, audio(t, 3)))
	for _, a := range all {
		if a.Card().Title != "Plans for the mill" {
			t.Errorf("%s sees the title %q", a.name, a.Card().Title)
		}
		for _, b := range all {
			if a != b {
				m := a.meets(t, b)
				if m.Name != b.name || m.Owner != (b.name == "alice") || m.Moderator {
					t.Errorf("%s sees %s as %q, owner %v", a.name, b.name, m.Name, m.Owner)
				}
			}
		}
	}
	for _, a := range all {
		if err := a.Played(within(t)); err != nil {
			t.Fatalf("%s: %v", a.name, err)
		}
	}
	for _, a := range all {
		if len(a.Members()) != 3 {
			t.Fatalf("%s is with %d others", a.name, len(a.Members()))
		}
		for _, m := range a.Members() {
			i := slices.IndexFunc(all, func(b *inRoom) bool { return b.Index() == m.Index })
			sent := all[i].Sent()
			if m.Media.AudioReceived == 0 || !nearlyAll(m.Media.VideoReceivedHash, sent.VideoSentHashes) {
				t.Errorf("%s has %d of %d frames of %s, or others", a.name, len(m.Media.VideoReceivedHash), len(sent.VideoSentHashes), all[i].name)
			}
			if m.Stats.SFrameFailed != 0 || m.Route.Path == "" {
				t.Errorf("%s: %d frames of %s did not open, route %q", a.name, m.Stats.SFrameFailed, all[i].name, m.Route.Path)
			}
		}
	}
	rooms, err := bob.Rooms()
	if err != nil || len(rooms) != 1 || rooms[0].Runs || rooms[0].Title != info.Title {
		t.Errorf("bob remembers %d rooms, %v", len(rooms), err)
	}
	status := acme.Status()
	if status.Rooms != 1 || status.Seats != 4 {
		t.Errorf("the node counts %d rooms and %d seats", status.Rooms, status.Seats)
	}
}

func TestARoomRefusesWithTheReason(t *testing.T) {
	t.Parallel()
	acme := startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	alice := newHuman(t, "alice", acme)
	info := newRoom(t, alice, client.RoomSettings{Topology: room.Mesh, MeshMost: 2})
	other := newRoom(t, alice, client.RoomSettings{})
	cfg := client.Config{Loopback: true}
	refusedWith := func(name, text, code string) {
		t.Helper()
		_, err := client.JoinRoomAsGuest(within(t), cfg, text, client.RoomOptions{})
		var refused *client.RefusedError
		if !errors.As(err, &refused) || refused.Code != code {
			t.Errorf("%s: %v, not %s", name, err, code)
		}
	}
	wrong := info.Link
	wrong.Secret[0]++
	refusedWith("a wrong secret", wrong.Text(), link.CodeGate)
	mixed := info.Link
	mixed.Secret = other.Link.Secret
	refusedWith("another room's secret", mixed.Text(), link.CodeGate)
	nowhere := info.Link
	nowhere.Room[0]++
	refusedWith("a room that there is not", nowhere.Text(), link.CodeNoRoom)
	if _, err := client.JoinRoomAsGuest(within(t), cfg, info.Link.Text()[:40], client.RoomOptions{}); !errors.Is(err, room.ErrMalformed) {
		t.Errorf("half a link: %v", err)
	}
	guest(t, "first", info.Link.Text(), client.RoomOptions{})
	guest(t, "second", info.Link.Text(), client.RoomOptions{})
	refusedWith("a third in a mesh of two", info.Link.Text(), link.CodeRoomFull)

	if err := alice.CloseRoom(within(t), info.Link.Room); err != nil {
		t.Fatal(err)
	}
	refusedWith("a room that was closed", info.Link.Text(), link.CodeNoRoom)
	if err := alice.CloseRoom(within(t), info.Link.Room); !errors.Is(err, client.ErrNotSteward) {
		t.Errorf("closed twice: %v", err)
	}
	bob := newHuman(t, "bob", acme)
	if err := bob.CloseRoom(within(t), other.Link.Room); !errors.Is(err, client.ErrNotSteward) {
		t.Errorf("closed by somebody else: %v", err)
	}
}

func code(err error) string {
	var over *client.RoomOverError
	if errors.As(err, &over) {
		return over.Code
	}
	return ""
}

func (in *inRoom) isOver(t testing.TB, want string) {
	t.Helper()
	select {
	case <-in.Done():
		if code(in.Err()) != want {
			t.Errorf("it is over for %s because %v, not %s", in.name, in.Err(), want)
		}
	case <-time.After(wait):
		t.Fatalf("it is not over for %s", in.name)
	}
}

func TestARoomThatIsClosedOrWhoseTimeEndsIsOverForAll(t *testing.T) {
	t.Parallel()
	acme := startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	alice := newHuman(t, "alice", acme)
	info := newRoom(t, alice, client.RoomSettings{})
	a, g := goIn(t, alice, info.Link.Text(), client.RoomOptions{}), guest(t, "guest", info.Link.Text(), client.RoomOptions{})
	heard(t, g, always[client.MemberCame])
	if err := g.Close(within(t)); !errors.Is(err, client.ErrNotSteward) {
		t.Errorf("a guest closes the room: %v", err)
	}
	owner := a.Index()
	if err := a.Close(within(t)); err != nil && !errors.Is(err, client.ErrRoomOver) {
		t.Fatal(err)
	}
	a.isOver(t, link.CodeClosed)
	g.isOver(t, link.CodeClosed)
	heard(t, g, func(e client.MemberWent) bool { return e.Index == owner && e.Code == link.CodeClosed })
}

// Test 67, among members over real nodes: whoever is sent away hears nothing more, and what it
// still says in its own or in somebody else's name is not heard.
func Test14_67_WhoIsSentAwayHearsNothingMore(t *testing.T) {
	t.Parallel()
	acme := startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	alice := newHuman(t, "alice", acme)
	info := newRoom(t, alice, client.RoomSettings{})
	old := info.Link.Text()
	a, b, c := goIn(t, alice, old, client.RoomOptions{Media: client.Audio}), guest(t, "bob", old, client.RoomOptions{Media: client.Audio}),
		guest(t, "carol", old, client.RoomOptions{Media: client.Audio})
	for _, pair := range [][2]*inRoom{{a, b}, {a, c}, {b, a}, {b, c}, {c, a}, {c, b}} {
		pair[0].meets(t, pair[1])
	}
	if err := b.Remove(within(t), c.Index()); !errors.Is(err, client.ErrNotChair) {
		t.Errorf("a guest sends somebody away: %v", err)
	}
	gone := c.Index()
	if err := a.Remove(within(t), gone); err != nil {
		t.Fatal(err)
	}
	c.isOver(t, link.CodeRemoved)
	for _, in := range []*inRoom{a, b} {
		heard(t, in, func(e client.MemberWent) bool { return e.Index == gone && e.Code == link.CodeRemoved })
		heard(t, in, always[client.RoomRekeyed])
		heard(t, in, always[client.RoomLinkReplaced])
		if len(in.Members()) != 1 {
			t.Errorf("%s is with %d others", in.name, len(in.Members()))
		}
	}
	if a.Link() != b.Link() || a.Link().Text() == old {
		t.Fatal("the link was not replaced for all who remain")
	}
	var refused *client.RefusedError
	if _, err := client.JoinRoomAsGuest(within(t), client.Config{Loopback: true}, old, client.RoomOptions{}); !errors.As(err, &refused) || refused.Code != link.CodeGate {
		t.Errorf("over the old link: %v", err)
	}
	d := guest(t, "dave", a.Link().Text(), client.RoomOptions{Media: client.Audio})
	for _, pair := range [][2]*inRoom{{a, d}, {b, d}, {d, a}, {d, b}} {
		pair[0].meets(t, pair[1])
	}
	rooms, err := alice.Rooms()
	if err != nil || rooms[0].Link != a.Link() {
		t.Errorf("the owner remembers the old link: %v", err)
	}
}

func TestALobbyOpensForWhomTheModeratorAdmits(t *testing.T) {
	t.Parallel()
	acme := startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	alice := newHuman(t, "alice", acme)
	info := newRoom(t, alice, client.RoomSettings{Entry: room.Lobby})
	a := goIn(t, alice, info.Link.Text(), client.RoomOptions{Media: client.Audio})
	b, c := guest(t, "bob", info.Link.Text(), client.RoomOptions{Media: client.Audio}), guest(t, "carol", info.Link.Text(), client.RoomOptions{Media: client.Audio})
	waits := heard(t, a, func(e client.MemberWaits) bool { return e.Name == "bob" })
	heard(t, a, func(e client.MemberWaits) bool { return e.Name == "carol" })
	if all, err := a.Waiting(within(t)); err != nil || len(all) != 2 {
		t.Errorf("%d wait, %v", len(all), err)
	}
	if err := b.Admit(within(t), c.Index()); !errors.Is(err, client.ErrNoMember) && !errors.Is(err, client.ErrNotSteward) {
		t.Errorf("one who waits admits another: %v", err)
	}
	if err := a.Admit(within(t), waits.Index); err != nil {
		t.Fatal(err)
	}
	if err := b.Admitted(within(t)); err != nil {
		t.Fatal(err)
	}
	if a.Lobby() || !b.Lobby() || !b.Inside() || c.Inside() {
		t.Error("who waited, and who is in, is mixed up")
	}
	a.meets(t, b)
	b.meets(t, a)
	if len(c.Members()) != 0 || len(b.Members()) != 1 {
		t.Errorf("who waits sees %d, who is in %d", len(c.Members()), len(b.Members()))
	}
	if err := a.Refuse(within(t), c.Index()); err != nil {
		t.Fatal(err)
	}
	c.isOver(t, link.CodeRemoved)
	// The third comes in later and reaches both.
	d := guest(t, "dave", info.Link.Text(), client.RoomOptions{Media: client.Audio})
	waits = heard(t, a, func(e client.MemberWaits) bool { return e.Name == "dave" })
	if err := a.Admit(within(t), waits.Index); err != nil {
		t.Fatal(err)
	}
	b.meets(t, d)
	d.meets(t, b)
	d.meets(t, a)
}

func TestWhoeverWasLetInIsKnownToAnOwnerWhoComesAgain(t *testing.T) {
	t.Parallel()
	acme := startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	alice := newHuman(t, "alice", acme)
	info := newRoom(t, alice, client.RoomSettings{Entry: room.Lobby})
	a := goIn(t, alice, info.Link.Text(), client.RoomOptions{Media: client.Audio})
	b := guest(t, "bob", info.Link.Text(), client.RoomOptions{Media: client.Audio})
	waits := heard(t, a, func(e client.MemberWaits) bool { return e.Name == "bob" })
	if err := a.Admit(within(t), waits.Index); err != nil {
		t.Fatal(err)
	}
	a.meets(t, b)
	gone := a.Index()
	if err := a.Leave(within(t)); err != nil {
		t.Fatal(err)
	}
	heard(t, b, func(e client.MemberWent) bool { return e.Index == gone })
	// Meanwhile nobody had the chair, who would tell it.
	again := goIn(t, alice, info.Link.Text(), client.RoomOptions{Media: client.Audio})
	again.meets(t, b)
	b.meets(t, again)
	c := guest(t, "carol", info.Link.Text(), client.RoomOptions{Media: client.Audio})
	waits = heard(t, again, func(e client.MemberWaits) bool { return e.Name == "carol" })
	if err := again.Admit(within(t), waits.Index); err != nil {
		t.Fatal(err)
	}
	b.meets(t, c)
	c.meets(t, again)
}

func TestARoomGoesOnWithoutItsModerators(t *testing.T) {
	t.Parallel()
	acme := startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	alice := newHuman(t, "alice", acme)
	info := newRoom(t, alice, client.RoomSettings{})
	a := goIn(t, alice, info.Link.Text(), client.RoomOptions{Media: client.Audio})
	b := guest(t, "bob", info.Link.Text(), client.RoomOptions{Media: client.Audio})
	a.meets(t, b)
	gone := a.Index()
	if err := a.Leave(within(t)); err != nil {
		t.Fatal(err)
	}
	heard(t, b, func(e client.MemberWent) bool { return e.Index == gone && e.Code == "" })
	heard(t, b, always[client.RoomRekeyed])
	c := guest(t, "carol", info.Link.Text(), audio(t, 1))
	b.meets(t, c)
	c.meets(t, b)
	if err := c.Played(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(within(t), c.Index()); !errors.Is(err, client.ErrNotChair) {
		t.Errorf("a guest sends somebody away: %v", err)
	}
}

func TestAModeratorTakesTheOwnersPlace(t *testing.T) {
	t.Parallel()
	acme := startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", acme)
	info := newRoom(t, alice, client.RoomSettings{Moderators: []identity.PublicKey{bob.id()}})
	a := goIn(t, alice, info.Link.Text(), client.RoomOptions{})
	b := goIn(t, bob, info.Link.Text(), client.RoomOptions{})
	waitFor(t, "the owner, among those whom bob knows", func() bool {
		return slices.ContainsFunc(b.Members(), func(m client.RoomMember) bool { return m.Index == a.Index() })
	})
	c := guest(t, "carol", info.Link.Text(), client.RoomOptions{})
	for _, in := range []*inRoom{a, b} {
		heard(t, in, func(e client.MemberCame) bool { return e.Index == c.Index() })
	}
	if err := b.Remove(within(t), a.Index()); !errors.Is(err, client.ErrNotChair) {
		t.Errorf("the moderator sends the owner away: %v", err)
	}
	waitFor(t, "the steward's key", func() bool {
		rooms, err := bob.Rooms()
		return err == nil && len(rooms) == 1 && rooms[0].Runs
	})
	if err := a.Leave(within(t)); err != nil {
		t.Fatal(err)
	}
	heard(t, b, func(e client.MemberWent) bool { return e.Owner })
	if err := b.Remove(within(t), c.Index()); err != nil {
		t.Fatal(err)
	}
	c.isOver(t, link.CodeRemoved)
	if b.Link() == info.Link {
		t.Error("the link was not replaced")
	}
}

func TestAMembersRoomLetsInWhoStandsInItsCard(t *testing.T) {
	t.Parallel()
	acme := startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", acme)
	info := newRoom(t, alice, client.RoomSettings{Entry: room.Members, Members: []identity.PublicKey{bob.id()}})
	a := goIn(t, alice, info.Link.Text(), client.RoomOptions{Media: client.Audio})
	if _, err := client.JoinRoomAsGuest(within(t), client.Config{Loopback: true}, info.Link.Text(), client.RoomOptions{}); !errors.Is(err, client.ErrNotListed) {
		t.Errorf("somebody who does not stand in the card: %v", err)
	}
	b := goIn(t, bob, info.Link.Text(), client.RoomOptions{Media: client.Audio})
	a.meets(t, b)
	b.meets(t, a)
}

func TestWhoLosesItsNodeComesInAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "acme")
	acme := startExchange(t, "acme.example", dir)
	alice := newHuman(t, "alice", acme)
	info := newRoom(t, alice, client.RoomSettings{})
	a, b := goIn(t, alice, info.Link.Text(), client.RoomOptions{Media: client.Audio}), guest(t, "bob", info.Link.Text(), client.RoomOptions{Media: client.Audio})
	a.meets(t, b)
	b.meets(t, a)
	before := max(a.Index(), b.Index())
	address := strings.TrimPrefix(acme.Facts().HTTP, "http://")
	acme.stop(t)
	startExchange(t, "acme.example", dir, func(c *node.Config) { c.HTTP.Listen = address })
	for _, in := range []*inRoom{a, b} {
		if again := heard(t, in, always[client.RoomAgain]); again.Index <= before {
			t.Errorf("%s came in again with the number %d", in.name, again.Index)
		}
	}
	a.meets(t, b)
	b.meets(t, a)
}

// A sender's key is a day old: it draws another one, tells it, and goes over to it while people talk. It does so each day.
func TestKeysOfARoomRollEachDay(t *testing.T) {
	t.Parallel()
	acme := startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	clock := newClock()
	info := newRoom(t, newHuman(t, "alice", acme), client.RoomSettings{})
	talk := func(name string) *inRoom {
		r, err := client.JoinRoomAsGuest(within(t), client.Config{Loopback: true, Logger: logger(t, name), Now: clock.Now}, info.Link.Text(),
			client.RoomOptions{Name: name, Media: client.Video, Source: loop(t)})
		if err != nil {
			t.Fatal(err)
		}
		return follow(t, name, r)
	}
	bob, carol := talk("bob"), talk("carol")
	bob.meets(t, carol)
	carol.meets(t, bob)
	both := []*inRoom{bob, carol}
	other := map[*inRoom]*inRoom{bob: carol, carol: bob}
	grows := func(what string) {
		t.Helper()
		for _, in := range both {
			sound, pictures := in.received(other[in])
			waitFor(t, fmt.Sprintf("%s hears and sees the other %s", in.name, what), func() bool {
				s, p := in.received(other[in])
				return s > sound+10 && p > pictures+5
			})
		}
	}
	unopened := func(in *inRoom) (n uint64) {
		for _, m := range in.Members() {
			n += m.Stats.SFrameFailed
		}
		return n
	}
	grows("under the first keys")
	for _, in := range both {
		if in.was(func(e client.RoomEvent) bool { _, rekeyed := e.(client.RoomRekeyed); return rekeyed }) {
			t.Errorf("%s drew another key before its time", in.name)
		}
	}
	used := map[*inRoom]uint32{}
	for day := range 2 {
		clock.move(24 * time.Hour)
		for _, in := range both {
			e := heard(t, in, always[client.RoomRekeyed])
			if day > 0 && e.Generation != used[in]+1 {
				t.Errorf("%s went from generation %d to %d", in.name, used[in], e.Generation)
			}
			used[in] = e.Generation
		}
		// A fresh key is used after 2 s also if it is not there yet. From the first frame under it that opens on, all do.
		grows(fmt.Sprintf("after day %d", day+1))
		before := map[*inRoom]uint64{bob: unopened(bob), carol: unopened(carol)}
		grows(fmt.Sprintf("under the keys of day %d", day+1))
		for _, in := range both {
			if n := unopened(in) - before[in]; n != 0 {
				t.Errorf("day %d: %s could not open %d frames", day+1, in.name, n)
			}
		}
	}
}

// loop plays a clip again and again.
func loop(t testing.TB) *client.Source {
	t.Helper()
	var mu sync.Mutex // both media begin anew together
	s := aClip(t)
	next := func(of func(*client.Source) func() ([]byte, time.Duration, error)) func() ([]byte, time.Duration, error) {
		own := s
		return func() ([]byte, time.Duration, error) {
			frame, d, err := of(own)()
			if errors.Is(err, io.EOF) {
				mu.Lock()
				own, err = client.NewClipSource(clip.Ogg, clip.IVF)
				mu.Unlock()
				if err != nil {
					return nil, 0, err
				}
				frame, d, err = of(own)()
			}
			return frame, d, err
		}
	}
	return &client.Source{
		NextAudio:  next(func(s *client.Source) func() ([]byte, time.Duration, error) { return s.NextAudio }),
		NextVideo:  next(func(s *client.Source) func() ([]byte, time.Duration, error) { return s.NextVideo }),
		VideoCodec: s.VideoCodec,
	}
}

// received is what one has of another: sound and pictures.
func (in *inRoom) received(other *inRoom) (audio, video int) {
	for _, m := range in.Members() {
		if m.Index == other.Index() {
			return m.Media.AudioReceived, len(m.Media.VideoReceivedHash)
		}
	}
	return 0, 0
}

func (in *inRoom) route(other *inRoom) string {
	for _, m := range in.Members() {
		if m.Index == other.Index() {
			return m.Route.Path
		}
	}
	return ""
}

func TestARoomOutgrowsItsMeshAndComesBackWhilePeopleTalk(t *testing.T) {
	t.Parallel()
	acme := startExchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	clock, alices := newClock(), newClock()
	alice := newHumanAt(t, "alice", acme.Facts().HTTP, func(h *human) { h.now = alices.Now })
	info := newRoom(t, alice, client.RoomSettings{MeshMost: 3})
	text := info.Link.Text()
	talk := func(name string) *inRoom {
		r, err := client.JoinRoomAsGuest(within(t), client.Config{Loopback: true, Logger: logger(t, name), Now: clock.Now}, text,
			client.RoomOptions{Name: name, Media: client.Video, Source: loop(t)})
		if err != nil {
			t.Fatal(err)
		}
		return follow(t, name, r)
	}
	a := goIn(t, alice, text, client.RoomOptions{Media: client.Video, Source: loop(t)})
	b := talk("bob")
	a.meets(t, b)
	b.meets(t, a)
	grows := func(what string, all ...*inRoom) {
		t.Helper()
		for _, in := range all {
			for _, other := range all {
				if in == other {
					continue
				}
				sound, pictures := in.received(other)
				waitFor(t, fmt.Sprintf("%s hears and sees %s %s", in.name, other.name, what), func() bool {
					s, p := in.received(other)
					return s > sound+10 && p > pictures+5
				})
			}
		}
	}
	grows("in the mesh", a, b)
	// Who has data alone is counted, and connects with nobody.
	quiet := guest(t, "dora", text, client.RoomOptions{Media: client.DataOnly})
	heard(t, quiet, func(e client.MemberCame) bool { return e.Index == a.Index() })
	heard(t, a, func(e client.MemberCame) bool { return e.Index == quiet.Index() })
	c := talk("carol")
	for _, in := range []*inRoom{a, b, c} {
		heard(t, in, func(e client.RoomTopology) bool { return e.SFU })
	}
	for _, in := range []*inRoom{a, b, c} {
		for _, other := range []*inRoom{a, b, c} {
			if in != other {
				waitFor(t, in.name+" gets "+other.name+" over the SFU", func() bool { return strings.HasPrefix(in.route(other), "sfu/") })
			}
		}
	}
	grows("over the SFU", a, b, c)
	// What the SFU says of a picture stands in the room: it is published in its codec, and sent.
	for _, in := range []*inRoom{a, b, c} {
		for _, other := range []*inRoom{a, b, c} {
			if in == other {
				continue
			}
			waitFor(t, in.name+" is told of "+other.name+"'s camera", func() bool {
				for _, m := range in.Members() {
					if m.Index == other.Index() {
						return slices.Contains(m.Streams, client.RoomStream{Slot: sframe.Camera, Codec: "VP8", Sent: true})
					}
				}
				return false
			})
			heard(t, in, func(e client.MemberStream) bool { return e.Index == other.Index() && e.Slot == sframe.Camera && e.Sent })
		}
	}
	// The keys are those of the mesh: who came made them move a step, and nothing else happened.
	for _, in := range []*inRoom{a, b, c} {
		if in.was(func(e client.RoomEvent) bool { _, rekeyed := e.(client.RoomRekeyed); return rekeyed }) {
			t.Errorf("%s drew another key for the SFU", in.name)
		}
	}
	// However long what follows takes here, the room stays on the SFU until the clocks are moved.
	clock.hold()
	alices.hold()
	if err := c.Leave(within(t)); err != nil {
		t.Fatal(err)
	}
	failed := map[*inRoom]uint64{}
	for _, in := range []*inRoom{a, b} {
		heard(t, in, func(e client.MemberWent) bool { return e.Index != quiet.Index() })
	}
	for _, in := range []*inRoom{a, b} {
		// A fresh key is used after 2 s also if it is not there yet, and what does not open until then
		// is no fault of the ways. That it is asked also says that this side has noticed who went.
		waitFor(t, in.name+" seals under a key that the others hold", func() bool {
			settled, err := in.KeySettled(within(t))
			if err != nil {
				t.Fatal(err)
			}
			return settled
		})
	}
	grows("over the SFU, with one gone", a, b)
	for _, in := range []*inRoom{a, b} {
		if !in.OverSFU() {
			t.Errorf("%s went back too soon", in.name)
		}
		for _, m := range in.Members() {
			failed[in] += m.Stats.SFrameFailed
		}
	}
	// One of the two notices first. The other one takes part in the mesh, and comes back to it alone when
	// its own time has come.
	clock.move(20 * time.Second)
	heard(t, b, func(e client.RoomTopology) bool { return !e.SFU })
	for _, in := range []*inRoom{a, b} {
		waitFor(t, in.name+" has a connection of the mesh", func() bool {
			n, err := in.MeshWorks(within(t))
			if err != nil {
				t.Fatal(err)
			}
			return n == 1
		})
	}
	if !a.OverSFU() {
		t.Error("alice came back before her time")
	}
	alices.move(20 * time.Second)
	heard(t, a, func(e client.RoomTopology) bool { return !e.SFU })
	for _, pair := range [][2]*inRoom{{a, b}, {b, a}} {
		waitFor(t, pair[0].name+" gets "+pair[1].name+" over the mesh again", func() bool {
			route := pair[0].route(pair[1])
			return route != "" && !strings.HasPrefix(route, "sfu/")
		})
	}
	grows("in the mesh again", a, b)
	waitFor(t, "nothing is left of what the SFU said", func() bool {
		return len(a.Speakers()) == 0 && !slices.ContainsFunc(a.Members(), func(m client.RoomMember) bool { return len(m.Streams) > 0 })
	})
	for _, in := range []*inRoom{a, b} {
		waitFor(t, in.name+" has left the SFU", func() bool {
			has, err := in.HasLeg(within(t))
			if err != nil {
				t.Fatal(err)
			}
			return !has
		})
	}
	for _, in := range []*inRoom{a, b} {
		for _, m := range in.Members() {
			failed[in] -= m.Stats.SFrameFailed
		}
		if failed[in] != 0 {
			t.Errorf("%s: %d frames did not open on the way back", in.name, -failed[in])
		}
	}
}

// TestAPairWithoutAConnectionTakesTheRoomToTheSFU: one hides its address at a node without a relay, so that it gets no
// connection with anybody; what the room is told is why, and everybody hears everybody all the same.
func TestAPairWithoutAConnectionTakesTheRoomToTheSFU(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "acme")
	noRelay := openRegistration + "[[domain]]\nname = \"acme.example\"\nlevel = \"internal\"\n\n[[rule]]\nlevel = \"internal\"\ndirection = \"in\"\nactions = [\"sfu\"]\n"
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "policy.toml"), []byte(noRelay), 0o600)); err != nil {
		t.Fatal(err)
	}
	acme := startExchange(t, "acme.example", dir)
	clock := newClock()
	alice := newHumanAt(t, "alice", acme.Facts().HTTP, func(h *human) { h.now = clock.Now })
	text := newRoom(t, alice, client.RoomSettings{}).Link.Text()
	talk := func(name string, hides bool) *inRoom {
		r, err := client.JoinRoomAsGuest(within(t), client.Config{Loopback: true, Logger: logger(t, name), Now: clock.Now}, text,
			client.RoomOptions{Name: name, Media: client.Audio, Source: loop(t), RelayOnly: hides})
		if err != nil {
			t.Fatal(err)
		}
		return follow(t, name, r)
	}
	a := goIn(t, alice, text, client.RoomOptions{Media: client.Audio, Source: loop(t)})
	b, c := talk("bob", false), talk("carol", true)
	a.meets(t, b)
	b.meets(t, a)
	for _, in := range []*inRoom{a, b} {
		heard(t, in, func(e client.MemberCame) bool { return e.Index == c.Index() })
		heard(t, c, func(e client.MemberCame) bool { return e.Index == in.Index() })
	}
	// The patience begins when carol has asked for a relay in vain.
	waitFor(t, "carol wants a connection", func() bool {
		wanting, err := c.WantsPairs(within(t))
		if err != nil {
			t.Fatal(err)
		}
		return wanting == 2
	})
	clock.hold()
	clock.move(20 * time.Second)
	for _, in := range []*inRoom{a, b, c} {
		way := heard(t, in, func(e client.RoomTopology) bool { return e.SFU })
		if n := way.Need; way.Cause != client.CausePair || n.Cause != client.CausePair || n.Member != c.Index() || n.With != a.Index() {
			t.Errorf("%s is told %+v", in.name, way)
		}
	}
	for _, in := range []*inRoom{a, b, c} {
		for _, other := range []*inRoom{a, b, c} {
			if in != other {
				waitFor(t, in.name+" hears "+other.name+" over the SFU", func() bool {
					_, sfu := in.opened(other, sframe.Microphone)
					return sfu > 5
				})
			}
		}
	}
	// It stays so as long as the two are in, and then for a while.
	if err := c.Leave(within(t)); err != nil {
		t.Fatal(err)
	}
	for _, in := range []*inRoom{a, b} {
		heard(t, in, always[client.MemberWent])
		waitFor(t, in.name+" sees no need", func() bool {
			// The question goes through the room's own order of things: who went is noticed with it.
			if _, err := in.HasLeg(within(t)); err != nil {
				t.Fatal(err)
			}
			return in.Way().Need == client.RoomNeed{}
		})
		if way := in.Way(); !way.SFU || way.Cause != client.CausePair {
			t.Errorf("%s is on its way back at once: %+v", in.name, way)
		}
	}
	clock.move(20 * time.Second)
	for _, in := range []*inRoom{a, b} {
		heard(t, in, func(e client.RoomTopology) bool { return e.RoomWay == client.RoomWay{} })
	}
	for _, pair := range [][2]*inRoom{{a, b}, {b, a}} {
		waitFor(t, pair[0].name+" hears "+pair[1].name+" over the mesh again", func() bool {
			route := pair[0].route(pair[1])
			return route != "" && !strings.HasPrefix(route, "sfu/")
		})
	}
}
