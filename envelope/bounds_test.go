package envelope

import (
	"errors"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

// What a signed device list bounds: where its devices live, who is one of our own, and how
// long a revocation can be hidden.

// strayHome is a home that no list in these tests names.
var strayHome = identity.Home{PeerID: identity.DeviceFromSeed(seed(0x5e)).Public().PeerID(), Domain: "elsewhere.example"}

func TestABundleNamesAHomeOfItsList(t *testing.T) {
	b := newParty(t, 2)
	for name, home := range map[string]identity.Home{
		"another node":                       strayHome,
		"another node under the home's name": {PeerID: strayHome.PeerID, Domain: b.home.Domain},
		"the home under another name":        {PeerID: b.home.PeerID, Domain: strayHome.Domain},
	} {
		bundle, err := b.prekeys.Current().Bundle(b.device, b.root.Public(), b.list.Epoch, Route{Home: home, Tag: b.tag})
		must(t, err)
		t.Run(name, func(t *testing.T) { refuses(t, bundle.Bytes(), b.list, b.now, ErrBundle) })
	}
}

func TestARingAndItsAnswerNameHomesOfTheirLists(t *testing.T) {
	a, b, ring, opened := ringing(t)
	// The callee: no session towards a node that the caller's list does not name.
	stray := *opened
	body := *opened.Content.(*RingBody)
	body.Reply.Home = strayHome
	stray.Content = &body
	c := AnswerConfig{Kind: pb.Type_TYPE_ACCEPT, Reply: ReplyAddress{Home: b.home, Tag: b.tag, Token: b.token},
		Now: b.now, OwnList: b.list, CallerList: a.list}
	if payload, s, err := AnswerRing(b.device, b.cert, &stray, c); !errors.Is(err, ErrUnverified) || payload != nil || s != nil {
		t.Fatalf("a ring that asks for its answer strayHome: %v", err)
	}
	// The caller: the same of the answer.
	c.Reply.Home = strayHome
	payload, _, err := AnswerRing(b.device, b.cert, opened, c)
	must(t, err)
	if _, err := ring.Finish(payload, a.opener); !errors.Is(err, ErrUnverified) {
		t.Fatalf("an answer that wants its frames strayHome: %v", err)
	}
	ringGoesOn(t, a, b, ring, opened)
}

// Whoever holds our root key can certify devices in silence. Nothing of them counts before a
// list names them, and a list that does is seen by all our devices.
func TestAnOwnDeviceIsOneThatOurListNames(t *testing.T) {
	b := newParty(t, 2)
	ghost := newParty(t, 3)
	cert, err := b.root.CertifyDevice(ghost.device.Public(), b.list.Epoch+1, base.Add(-time.Hour), base.Add(day))
	must(t, err)
	send := func(body Body) []byte {
		payload, _, err := SealMessage(ghost.device, cert, b.bundle(), ghost.message(body, b))
		must(t, err)
		return payload
	}
	sync := &ContactSync{Root: ghost.root.Public(), Home: ghost.home, State: pb.ContactState_CONTACT_STATE_ACCEPTED}
	drops(t, b, send(sync), ErrSender)
	drops(t, b, send(&Note{Text: "x"}), ErrSender)
	// The list itself comes as a message of such a device, and proves itself.
	next, err := b.root.AddDevice(b.list, ghost.device.Public(), b.now)
	must(t, err)
	opened, err := b.open(send(&ListUpdate{List: next.Bytes()}))
	must(t, err)
	if opened.Standing != Own || opened.List != ListNewer {
		t.Fatalf("standing %d, list %d", opened.Standing, opened.List)
	}
	b.list = next
	if opened, err = b.open(send(sync)); err != nil || opened.List != ListCurrent {
		t.Fatalf("once it is listed: %v", err)
	}
	// Without a list of our own there are no own devices.
	b.opener.c.OwnList = func() *identity.DeviceList { return nil }
	if _, err := b.open(send(sync)); !errors.Is(err, ErrSender) {
		t.Fatalf("without an own list: %v", err)
	}
}

// A node that hides a revocation can do so for 37 days and no longer, for notes as for calls:
// then the list that still names the device has ended, and only a newer one helps.
func TestAListThatEndedLongAgoSpeaksForNobody(t *testing.T) {
	a, b := pair(t)
	old := a.list
	b.now = old.Expires.Add(identity.ListGrace)
	a.now = b.now
	b2(t, b)
	drops(t, b, a.seal(&Note{Text: "x"}, b), ErrSender)
	if _, err := b.open(a.seal(&Note{Text: "x"}, b)); !errors.Is(err, identity.ErrStale) {
		t.Fatalf("the client does not learn that a newer list helps: %v", err)
	}
	next, err := a.root.Renew(old, a.now)
	must(t, err)
	opened, err := b.open(a.seal(&ListUpdate{List: next.Bytes()}, b))
	must(t, err)
	if opened.List != ListEnded {
		t.Fatalf("list state %d", opened.List)
	}
	a.list = next
	b.contacts[a.root.Public()] = Contact{Standing: Accepted, List: next}
	if _, err := b.open(a.seal(&Note{Text: "x"}, b)); err != nil {
		t.Fatalf("under the renewed list: %v", err)
	}
}

// Strangers share a pool that one of them can fill for a week. A contact whose device the list
// here does not name yet must still get through, or the list would never become newer; but a
// root key signs as many devices as it likes, so that is bounded too.
func TestStrangersDoNotShutOutAContactWithANewDevice(t *testing.T) {
	a, b := pair(t)
	memory := NewMemoryReplay(b.clock)
	memory.pool = 1
	b.replay = memory
	b.restart()
	s := newParty(t, 9)
	_, err := b.opener.Open(s.seal(&Knock{Name: "S", Home: s.home}, b), b.prekeys.Current().Hint(), true)
	must(t, err)
	note := func(n byte) error {
		device := identity.DeviceFromSeed([32]byte{n, 0x5d})
		cert, err := a.root.CertifyDevice(device.Public(), a.list.Epoch+1, base.Add(-time.Hour), base.Add(day))
		must(t, err)
		payload, _, err := SealMessage(device, cert, b.bundle(), a.message(&Note{Text: "x"}, b))
		must(t, err)
		opened, err := b.open(payload)
		if err == nil && opened.List != ListNewer {
			t.Fatalf("list state %d", opened.List)
		}
		return err
	}
	for n := range byte(unlistedRate.Burst) {
		if err := note(n); err != nil {
			t.Fatalf("message %d of a new device: %v", n, err)
		}
	}
	if err := note(250); !errors.Is(err, ErrReplayFull) {
		t.Fatalf("one device more: %v", err)
	}
	c := newParty(t, 5)
	c.knows(b)
	if _, err := b.open(c.seal(&Note{Text: "x"}, b)); err != nil {
		t.Fatalf("another contact: %v", err)
	}
}
