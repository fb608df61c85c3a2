package room

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/envelope/room/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/canon"
)

func TestALinkComesBackAsItWasWritten(t *testing.T) {
	l := Link{Base: "https://node.example:7443", Room: ID(seed(3)), Secret: Secret(seed(4))}
	got, err := ParseLink("  " + l.Text() + "\n")
	if err != nil || got != l {
		t.Fatalf("%v", err)
	}
	text := l.Text()
	for name, bad := range map[string]string{
		"nothing":                   "",
		"without a secret":          text[:strings.Index(text, "#")],
		"a secret of 42 characters": text[:len(text)-1],
		"a secret of 44 characters": text + "A",
		"bits behind the secret":    text[:len(text)-1] + "B",
		"another path":              strings.Replace(text, "/r/", "/q/", 1),
		"a path behind the room":    strings.Replace(text, "#", "/x#", 1),
		"a query":                   strings.Replace(text, "#", "?a=b#", 1),
		"a user":                    strings.Replace(text, "https://", "https://a:b@", 1),
		"another scheme":            strings.Replace(text, "https://", "ftp://", 1),
		"no host":                   strings.Replace(text, "node.example:7443", "", 1),
		"padding":                   text + "=",
		"a very long host":          strings.Replace(text, "node", strings.Repeat("n", MaxLink), 1),
	} {
		if _, err := ParseLink(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASecretGivesKeysThatSayNothingOfEachOther(t *testing.T) {
	a, b := testSecret.Keys(), Secret(seed(0x13)).Keys()
	gate := a.GatePublic()
	all := [][]byte{testSecret[:], a.gate.Seed(), a.join[:], a.hall[:], gate[:], b.gate.Seed(), b.join[:], b.hall[:]}
	for i := range all {
		for j := range i {
			if bytes.Equal(all[i], all[j]) {
				t.Errorf("keys %d and %d are the same", i, j)
			}
		}
	}
	if a.Door() == b.Door() {
		t.Error("two rooms have one door")
	}
}

func TestNothingOfARoomIsPrinted(t *testing.T) {
	h := newHouse(t)
	j := h.join(t, h.owner, 1)
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	link := Link{Base: "https://node.example", Room: h.id, Secret: testSecret}
	roster, err := SignRoster(h.owner, h.id, nil, []Seat{j.Own.Seat()}, nil, base)
	must(t, err)
	for _, v := range []any{h.id, testSecret, h.keys, h.card, link, j, j.Own, roster, j.Own.Seat(), h.owner, JoinID{}} {
		logger.Info("x", "v", v, "list", []any{v})
		fmt.Fprintf(&log, "%v %+v %#v %s %x\n", v, v, v, v, v)
	}
	root := h.owner.Cert.Root
	for _, secret := range []string{"mill", fmt.Sprintf("%x", testSecret[:])[:16], h.id.Text(), fmt.Sprintf("%x", h.id[:])[:16], fmt.Sprintf("%x", root[:])[:16], "Alice"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q was printed", secret)
		}
	}
	if !strings.Contains(link.Text(), h.id.Text()) {
		t.Error("a link that is asked for its text does not give it")
	}
}

func TestACardIsItsOwnersAndThisRoomsAlone(t *testing.T) {
	h := newHouse(t)
	box, err := h.keys.SealCard(h.card)
	must(t, err)
	if len(box) != CardBoxSize || bytes.Contains(box, []byte("mill")) {
		t.Fatal("the box is not of its size, or shows the title")
	}
	c, err := h.keys.OpenCard(h.id, box)
	must(t, err)
	if c.Title != h.card.Title || c.Room() != h.id || len(c.Moderators) != 2 || c.MeshLimit() != 5 || !bytes.Equal(c.Bytes(), h.card.Bytes()) {
		t.Error("the card came back as another one")
	}
	if _, err := Secret(seed(9)).Keys().OpenCard(h.id, box); !errors.Is(err, ErrSecret) {
		t.Errorf("with another secret: %v", err)
	}
	if _, err := h.keys.OpenCard(ID(seed(9)), box); !errors.Is(err, ErrSecret) {
		t.Errorf("for another room: %v", err)
	}
	for i := range 64 {
		changed := bytes.Clone(box)
		changed[i*64] ^= 1
		if _, err := h.keys.OpenCard(h.id, changed); err == nil {
			t.Fatalf("byte %d changed: opened", i*64)
		}
	}
	// Somebody with the link makes a card of his own for the room: its id is another one.
	mallory := person(t, 9, "Mallory")
	forged, err := SignCard(mallory.Device, Card{Owner: mallory.Cert, FirstGate: h.keys.GatePublic(), Nonce: testNonce, Serial: 2, Entry: Open,
		Title: "Mine", Created: base, Expires: base.Add(time.Hour)})
	must(t, err)
	if forged.Room() == h.id {
		t.Fatal("a room was invented for somebody else")
	}
	foreign := make([]byte, CardBoxSize)
	must(t, h.keys.seal(foreign, h.id, labelCardBox, newSalt(), forged.signed))
	if _, err := h.keys.OpenCard(h.id, foreign); !errors.Is(err, ErrRoom) {
		t.Errorf("a card of another owner: %v", err)
	}
}

func TestCardsThatAreRefused(t *testing.T) {
	h := newHouse(t)
	sign := func(change func(*pb.Card)) error {
		var m pb.Card
		must(t, canon.Unmarshal(h.card.signed[64:], maxCard, &m))
		change(&m)
		msg, err := canon.Marshal(&m)
		if err != nil {
			return err
		}
		_, err = ParseCard(h.owner.Device.SignObject(contextCard, msg))
		return err
	}
	if err := sign(func(*pb.Card) {}); err != nil {
		t.Fatal(err)
	}
	key := func(n byte) []byte { k := person(t, n, "").Cert.Root; return k[:] }
	for name, change := range map[string]func(*pb.Card){
		"version 2":              func(m *pb.Card) { m.Version = 2 },
		"no serial":              func(m *pb.Card) { m.Serial = 0 },
		"a nonce of 15":          func(m *pb.Card) { m.Nonce = m.Nonce[:15] },
		"a title of two lines":   func(m *pb.Card) { m.Title = "a\nb" },
		"a title of 129":         func(m *pb.Card) { m.Title = strings.Repeat("a", 129) },
		"no entry":               func(m *pb.Card) { m.Entry = 0 },
		"an unknown entry":       func(m *pb.Card) { m.Entry = 4 },
		"an unknown topology":    func(m *pb.Card) { m.Topology = 3 },
		"a mesh of one":          func(m *pb.Card) { m.MeshMost = 1 },
		"a mesh of eleven":       func(m *pb.Card) { m.MeshMost = 11 },
		"a moderator twice":      func(m *pb.Card) { m.Moderators = append(m.Moderators, m.Moderators[0]) },
		"the owner as moderator": func(m *pb.Card) { m.Moderators = append(m.Moderators, key(1)) },
		"nine moderators": func(m *pb.Card) {
			m.Moderators = nil
			for n := range 9 {
				m.Moderators = append(m.Moderators, key(byte(20+n)))
			}
		},
		"a moderator that is no key":  func(m *pb.Card) { m.Moderators[0] = make([]byte, 32) },
		"members of an open room":     func(m *pb.Card) { m.Members = [][]byte{key(4)} },
		"an end before the beginning": func(m *pb.Card) { m.Expires = m.Created },
		"a life of two years":         func(m *pb.Card) { m.Expires = m.Created + 2*366*24*3600 },
		"made before the certificate": func(m *pb.Card) { m.Created -= 24 * 3600 },
	} {
		if err := sign(change); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	changed := bytes.Clone(h.card.signed)
	changed[len(changed)-1] ^= 1
	if _, err := ParseCard(changed); err == nil {
		t.Error("a changed card: taken")
	}
	other := person(t, 5, "")
	if _, err := ParseCard(other.Device.SignObject(contextCard, h.card.signed[64:])); err == nil {
		t.Error("signed by another device: taken")
	}
	if _, err := ParseCard(h.owner.Device.SignObject(contextWelcome, h.card.signed[64:])); err == nil {
		t.Error("signed for another purpose: taken")
	}
}

func TestAJoinAndItsWelcomeMakeOneSession(t *testing.T) {
	h := newHouse(t)
	alice, bob := h.owner, person(t, 4, "Bob")
	there, comes := h.join(t, alice, 1), h.join(t, bob, 2)
	join, err := h.keys.OpenJoin(h.id, comes.Payload, base)
	must(t, err)
	if join.Root() != bob.Cert.Root || join.Index != 2 || join.Name != "Bob" || join.JoinHash != comes.Own.JoinHash {
		t.Fatal("the JOIN names somebody else")
	}
	payload, a, err := join.Welcome(alice, h.keys, h.id, there.Own, base)
	must(t, err)
	member, b, err := comes.Finish(payload, base)
	must(t, err)
	if member.Root() != alice.Cert.Root || member.Index != 1 || member.JoinHash != there.Own.JoinHash || member.Name != "Alice" {
		t.Fatal("the WELCOME names somebody else")
	}
	for i, pair := range [][2]*envelope.Session{{a, b}, {b, a}} {
		frame, err := pair[0].Seal([]byte{byte(i)})
		must(t, err)
		if body, err := pair[1].Open(frame); err != nil || !bytes.Equal(body, []byte{byte(i)}) {
			t.Fatalf("direction %d: %v", i, err)
		}
	}
	if a.PeerDevice != bob.Cert.DeviceID() || b.Peer != alice.Cert.Root || a.Role == b.Role {
		t.Error("the sessions name other ends")
	}
	mac, err := a.Binding(seed(1), seed(2))
	must(t, err)
	must(t, b.CheckBinding(mac[:], seed(2), seed(1)))

	// The same welcome again would be the same keys with their counters at zero.
	if _, _, err := comes.Finish(payload, base); !errors.Is(err, ErrReplay) {
		t.Errorf("the same welcome again: %v", err)
	}
	// A second one of the same member would be a second session with it.
	second, _, err := join.Welcome(alice, h.keys, h.id, there.Own, base)
	must(t, err)
	if _, _, err := comes.Finish(second, base); !errors.Is(err, ErrReplay) {
		t.Errorf("a second welcome of one member: %v", err)
	}
	carol := person(t, 5, "Carol")
	third, _, err := join.Welcome(carol, h.keys, h.id, h.join(t, carol, 3).Own, base)
	must(t, err)
	if _, _, err := comes.Finish(third, base); err != nil {
		t.Errorf("another member's welcome: %v", err)
	}
	comes.Close()
	if _, _, err := comes.Finish(third, base); !errors.Is(err, envelope.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

func TestJoinsThatAreRefused(t *testing.T) {
	h := newHouse(t)
	bob := person(t, 4, "Bob")
	good := h.join(t, bob, 2)
	other := Secret(seed(0x21)).Keys()
	open := func(payload []byte, keys *Keys, room ID, now time.Time) error {
		_, err := keys.OpenJoin(room, payload, now)
		return err
	}
	must(t, open(good.Payload, h.keys, h.id, base))
	must(t, open(good.Payload, h.keys, h.id, base.Add(JoinLife+clockPast)))
	if err := open(good.Payload, other, h.id, base); err == nil {
		t.Error("with another link: taken")
	}
	if err := open(good.Payload, h.keys, ID(seed(1)), base); !errors.Is(err, ErrSecret) {
		t.Errorf("of another room: %v", err)
	}
	if err := open(good.Payload, h.keys, h.id, base.Add(JoinLife+clockPast+time.Second)); !errors.Is(err, ErrTime) {
		t.Errorf("too late: %v", err)
	}
	if err := open(good.Payload, h.keys, h.id, base.Add(-maxJoinLife-clockAhead)); !errors.Is(err, ErrTime) {
		t.Errorf("too early: %v", err)
	}
	for i := 0; i < PayloadSize; i += 61 {
		changed := bytes.Clone(good.Payload)
		changed[i] ^= 1
		if open(changed, h.keys, h.id, base) == nil {
			t.Fatalf("byte %d changed: taken", i)
		}
	}
	if err := open(good.Payload[:PayloadSize-1], h.keys, h.id, base); !errors.Is(err, ErrMalformed) {
		t.Errorf("cut off: %v", err)
	}
	// Whoever has no secret but the hall's sealing (a member who left, with the node) cannot make
	// a MAC: the join key is another key.
	signed := func(context string, d *identity.Device, change func(*pb.Join)) []byte {
		m := &pb.Join{Version: 1, Room: h.id[:], Cert: bob.Cert.Bytes(), Ephemeral: good.priv.PublicKey().Bytes(), JoinId: make([]byte, 16),
			Index: 2, Expires: uint64(base.Add(JoinLife).UnixMilli()), Handle: bytes.Repeat([]byte{1}, 8), Name: "Bob"}
		m.JoinId[0] = 1
		change(m)
		msg, err := canon.Marshal(m)
		must(t, err)
		return d.SignObject(context, msg)
	}
	seal := func(content []byte) []byte {
		payload := make([]byte, PayloadSize)
		copy(payload, h.keys.door[:])
		must(t, h.keys.seal(payload[handleSize:], h.id, labelAnnounce, newSalt(), content))
		return payload
	}
	whole := func(change func(*pb.Join)) []byte {
		return seal(h.keys.withMAC(signed(identity.ContextJoin, bob.Device, change)))
	}
	must(t, open(whole(func(*pb.Join) {}), h.keys, h.id, base))
	mallory := person(t, 9, "")
	low := good.priv.PublicKey().Bytes()
	clear(low[1184:])
	for name, payload := range map[string][]byte{
		"with a MAC of another link":  seal(other.withMAC(signed(identity.ContextJoin, bob.Device, func(*pb.Join) {}))),
		"without a MAC":               seal(append(make([]byte, 32), signed(identity.ContextJoin, bob.Device, func(*pb.Join) {})...)),
		"signed by another device":    seal(h.keys.withMAC(signed(identity.ContextJoin, mallory.Device, func(*pb.Join) {}))),
		"signed for another purpose":  seal(h.keys.withMAC(signed(contextWelcome, bob.Device, func(*pb.Join) {}))),
		"version 2":                   whole(func(m *pb.Join) { m.Version = 2 }),
		"of another room":             whole(func(m *pb.Join) { m.Room = bytes.Repeat([]byte{9}, 32) }),
		"index 0":                     whole(func(m *pb.Join) { m.Index = 0 }),
		"index 65,536":                whole(func(m *pb.Join) { m.Index = 1 << 16 }),
		"a join id of 15":             whole(func(m *pb.Join) { m.JoinId = m.JoinId[:15] }),
		"a handle of 7":               whole(func(m *pb.Join) { m.Handle = m.Handle[:7] }),
		"a key of 1,215":              whole(func(m *pb.Join) { m.Ephemeral = m.Ephemeral[:1215] }),
		"a key of low order":          whole(func(m *pb.Join) { m.Ephemeral = low }),
		"a name of two lines":         whole(func(m *pb.Join) { m.Name = "a\rb" }),
		"a name of 65":                whole(func(m *pb.Join) { m.Name = strings.Repeat("a", 65) }),
		"good for an hour":            whole(func(m *pb.Join) { m.Expires = uint64(base.Add(time.Hour).UnixMilli()) }),
		"with an end beyond all time": whole(func(m *pb.Join) { m.Expires = 1 << 63 }),
	} {
		if open(payload, h.keys, h.id, base) == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if open(whole(func(*pb.Join) {}), h.keys, h.id, base.Add(40*24*time.Hour)) == nil {
		t.Error("with a certificate that has ended: taken")
	}
}

func TestWelcomesThatAreRefused(t *testing.T) {
	h := newHouse(t)
	alice, bob := h.owner, person(t, 4, "Bob")
	there, comes, late := h.join(t, alice, 1), h.join(t, bob, 2), h.join(t, bob, 3)
	open := func(j *Joining) *Join {
		t.Helper()
		got, err := h.keys.OpenJoin(h.id, j.Payload, base)
		must(t, err)
		return got
	}
	make := func(j *Join, self Self, keys *Keys, room ID, own Member, now time.Time) []byte {
		t.Helper()
		payload, _, err := j.Welcome(self, keys, room, own, now)
		must(t, err)
		return payload
	}
	other := Secret(seed(0x21)).Keys()
	mallory := person(t, 9, "")
	own := there.Own
	self := own
	self.Index = comes.Own.Index
	toAnother := make(open(late), alice, h.keys, h.id, own, base)
	redirected := slices.Concat(comes.handle[:], toAnother[8:])
	changed := make(open(comes), alice, h.keys, h.id, own, base)
	changed[2000] ^= 1
	for name, payload := range map[string][]byte{
		"of somebody without the link": make(open(comes), mallory, other, h.id, own, base),
		"to another join":              redirected,
		"under another handle":         toAnother,
		"with a changed byte":          changed,
		"of oneself":                   make(open(comes), alice, h.keys, h.id, self, base),
		"cut off":                      make(open(comes), alice, h.keys, h.id, own, base)[:4095],
		"of an hour ago":               make(open(comes), alice, h.keys, h.id, own, base.Add(-time.Hour)),
	} {
		if _, _, err := comes.Finish(payload, base); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	// A device that signs with another key than its certificate's.
	forger := Self{Device: mallory.Device, Cert: alice.Cert}
	if _, _, err := open(comes).Welcome(forger, h.keys, h.id, own, base); err == nil {
		t.Error("a welcome in somebody else's name was made")
	}
	// None of that has spent the join.
	if _, _, err := comes.Finish(make(open(comes), alice, h.keys, h.id, own, base), base); err != nil {
		t.Errorf("the right one: %v", err)
	}
	// But made-up ones do in the end: they cost work.
	for range welcomeTries {
		_, _, _ = late.Finish(slices.Concat(late.handle[:], changed[8:]), base)
	}
	if _, _, err := late.Finish(toAnother, base); !errors.Is(err, envelope.ErrClosed) {
		t.Errorf("after %d tries: %v", welcomeTries, err)
	}
}

func TestTheChairIsTheOwnerOrTheFirstModeratorPresent(t *testing.T) {
	h := newHouse(t)
	member := func(n byte, index Index) *Member { return &Member{Index: index, Cert: person(t, n, "").Cert} }
	owner, first, second, guest := member(1, 9), member(2, 4), member(3, 2), member(7, 1)
	for name, c := range map[string]struct {
		present []*Member
		want    *Member
	}{
		"everybody":                  {[]*Member{guest, second, first, owner}, owner},
		"without the owner":          {[]*Member{guest, second, first}, first},
		"the second moderator alone": {[]*Member{guest, second}, second},
		"guests alone":               {[]*Member{guest}, nil},
		"two devices of the owner":   {[]*Member{owner, member(1, 3)}, nil},
	} {
		got := h.card.Chair(c.present)
		if name == "two devices of the owner" {
			if got.Index != 3 {
				t.Errorf("%s: index %d", name, got.Index)
			}
			continue
		}
		if got != c.want {
			t.Errorf("%s: another chair", name)
		}
	}
}

func TestOneRosterFollowsAnother(t *testing.T) {
	h := newHouse(t)
	first, guest := person(t, 2, ""), person(t, 7, "")
	a, b := h.join(t, h.owner, 1), h.join(t, guest, 2)
	both := []Seat{a.Own.Seat(), b.Own.Seat()}
	sign := func(self Self, previous *Roster, seats []Seat, banned ...identity.PublicKey) *Roster {
		t.Helper()
		r, err := SignRoster(self, h.id, previous, seats, banned, base)
		must(t, err)
		return r
	}
	l := NewRosters(h.card)
	take := func(r *Roster, want Taken, reason error) {
		t.Helper()
		if got, err := l.Take(r, base); got != want || !errors.Is(err, reason) {
			t.Fatalf("%v, %v; want %v, %v", got, err, want, reason)
		}
	}
	one := sign(h.owner, nil, both)
	take(one, Newer, nil)
	take(one, Unchanged, nil)
	if !l.Current().Has(&b.Own) || l.Current().Has(&h.join(t, guest, 3).Own) {
		t.Error("the roster has somebody else in it")
	}
	two := sign(first, one, both[:1], guest.Cert.Root)
	take(two, Newer, nil)
	take(one, Unchanged, ErrOlder)
	if !l.Current().Bans(guest.Cert.Root) || l.Admits(&b.Own) {
		t.Error("whoever was sent away is let in")
	}
	// One that was missed between is no reason to refuse what is newer.
	take(sign(h.owner, sign(h.owner, two, both), both), Newer, nil)
}

// Test 69: a roster of somebody who is no moderator, and two of one epoch.
func Test14_69_RosterOfNoModeratorAndFork(t *testing.T) {
	h := newHouse(t)
	first, guest := person(t, 2, ""), person(t, 7, "")
	a := h.join(t, h.owner, 1)
	seats := []Seat{a.Own.Seat()}
	sign := func(self Self, previous *Roster, seats []Seat, banned ...identity.PublicKey) *Roster {
		t.Helper()
		r, err := SignRoster(self, h.id, previous, seats, banned, base)
		must(t, err)
		return r
	}
	l := NewRosters(h.card)
	if _, err := l.Take(sign(guest, nil, seats), base); !errors.Is(err, ErrChair) {
		t.Fatalf("a guest's roster: %v", err)
	}
	of := sign(first, nil, seats)
	if got, err := l.Take(of, base); got != Newer || err != nil {
		t.Fatal(got, err)
	}
	// The owner's of the same epoch takes its place, and it does not take the owner's.
	owners := sign(h.owner, nil, seats)
	if got, err := l.Take(owners, base); got != Rival || err != nil {
		t.Fatalf("the owner's of the same epoch: %v, %v", got, err)
	}
	if got, err := l.Take(of, base); got != Lost || err != nil {
		t.Fatalf("the moderator's after the owner's: %v, %v", got, err)
	}
	// Two by the same: an alarm, and the one that is held stays.
	if _, err := l.Take(sign(h.owner, nil, nil), base); !errors.Is(err, ErrFork) {
		t.Fatalf("a second one by the owner: %v", err)
	}
	if l.Current() != owners {
		t.Error("the fork took the roster's place")
	}
	// Nobody sends away who is placed better.
	if _, err := l.Take(sign(first, owners, seats, h.owner.Cert.Root), base); !errors.Is(err, ErrChair) {
		t.Errorf("the owner sent away: %v", err)
	}
	other := newHouse(t, func(c *Card) { c.Nonce[0] = 1 })
	elsewhere, err := SignRoster(h.owner, other.id, nil, seats, nil, base)
	must(t, err)
	if _, err := l.Take(elsewhere, base); !errors.Is(err, ErrRoom) {
		t.Errorf("of another room: %v", err)
	}
}

func TestWhoGetsMediaKeys(t *testing.T) {
	moderator, guest := person(t, 2, ""), person(t, 7, "")
	for entry, want := range map[Entry][3]bool{ // moderator, guest without a roster, guest on it
		Open:    {true, true, true},
		Lobby:   {true, false, true},
		Members: {true, false, false},
	} {
		h := newHouse(t, func(c *Card) { c.Entry = entry })
		l := NewRosters(h.card)
		m, g := h.join(t, moderator, 1).Own, h.join(t, guest, 2).Own
		before := [2]bool{l.Admits(&m), l.Admits(&g)}
		r, err := SignRoster(h.owner, h.id, nil, []Seat{m.Seat(), g.Seat()}, nil, base)
		must(t, err)
		if _, err := l.Take(r, base); err != nil {
			t.Fatal(err)
		}
		if got := [3]bool{before[0], before[1], l.Admits(&g)}; got != want {
			t.Errorf("%v: %v, want %v", entry, got, want)
		}
		again := h.join(t, guest, 3).Own
		if entry == Lobby && l.Admits(&again) {
			t.Error("a later join of the same person came out of the lobby by itself")
		}
	}
	h := newHouse(t, func(c *Card) { c.Entry, c.Members = Members, []identity.PublicKey{guest.Cert.Root} })
	if g := h.join(t, guest, 2).Own; !NewRosters(h.card).Admits(&g) {
		t.Error("a listed member is not let in")
	}
}

func TestRostersThatAreRefused(t *testing.T) {
	h := newHouse(t)
	seat := func(i uint32) *pb.Seat {
		root, id := h.owner.Cert.Root, h.owner.Cert.DeviceID()
		return &pb.Seat{Index: i, Root: root[:], Device: id[:], JoinHash: bytes.Repeat([]byte{1}, 32)}
	}
	sign := func(change func(*pb.Roster)) error {
		m := &pb.Roster{Version: 1, Room: h.id[:], Epoch: 2, Previous: bytes.Repeat([]byte{2}, 32), ChairCert: h.owner.Cert.Bytes(),
			Created: uint64(base.UnixMilli()), Seats: []*pb.Seat{seat(1), seat(2)}}
		change(m)
		msg, err := canon.Marshal(m)
		if err != nil {
			return err
		}
		_, err = ParseRoster(h.owner.Device.SignObject(identity.ContextRoster, msg))
		return err
	}
	must(t, sign(func(*pb.Roster) {}))
	for name, change := range map[string]func(*pb.Roster){
		"version 2":                    func(m *pb.Roster) { m.Version = 2 },
		"no epoch":                     func(m *pb.Roster) { m.Epoch = 0 },
		"an epoch that is not exact":   func(m *pb.Roster) { m.Epoch = 1 << 53 },
		"the first with one before it": func(m *pb.Roster) { m.Epoch = 1 },
		"the second with none":         func(m *pb.Roster) { m.Previous = nil },
		"seats out of order":           func(m *pb.Roster) { m.Seats = []*pb.Seat{seat(2), seat(1)} },
		"a seat twice":                 func(m *pb.Roster) { m.Seats = []*pb.Seat{seat(1), seat(1)} },
		"seat 0":                       func(m *pb.Roster) { m.Seats[0].Index = 0 },
		"a seat without a join":        func(m *pb.Roster) { m.Seats[0].JoinHash = nil },
		"51 seats": func(m *pb.Roster) {
			m.Seats = nil
			for i := range uint32(51) {
				m.Seats = append(m.Seats, seat(i+1))
			}
		},
		"banned out of order":   func(m *pb.Roster) { m.Banned = sortedKeys(t, 9, 8); slices.Reverse(m.Banned) },
		"somebody banned twice": func(m *pb.Roster) { k := sortedKeys(t, 9)[0]; m.Banned = [][]byte{k, k} },
		"65 banned": func(m *pb.Roster) {
			for n := range byte(65) {
				m.Banned = append(m.Banned, sortedKeys(t, 100+n)...)
			}
		},
		"no time": func(m *pb.Roster) { m.Created = 0 },
	} {
		if sign(change) == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func sortedKeys(t testing.TB, ns ...byte) (out [][]byte) {
	for _, n := range ns {
		k := person(t, n, "").Cert.Root
		out = append(out, k[:])
	}
	slices.SortFunc(out, bytes.Compare)
	return out
}
