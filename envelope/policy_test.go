package envelope

import (
	"errors"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

func TestWhoMaySendWhat(t *testing.T) {
	a, b := pair(t)
	knock := &Knock{Text: "hello", Name: "A", Home: a.home}
	accept := &Knock{Accept: true, Name: "A", Home: a.home}
	sync := &ContactSync{Root: a.root.Public(), Home: a.home, State: pb.ContactState_CONTACT_STATE_ACCEPTED, Grants: []Grant{*a.grant()}}
	note, read := &Note{Text: "x"}, &Read{IDs: []MessageID{{1}}}
	update, cancel := &ListUpdate{List: a.list.Bytes()}, &Cancel{Reason: pb.Reason_REASON_ENDED}
	for _, c := range []struct {
		standing Standing
		allowed  []Body
		refused  []Body
	}{
		{Stranger, []Body{knock}, []Body{accept, note, read, update, cancel, sync}},
		{Knocked, []Body{knock, accept}, []Body{note, read, update, cancel, sync}},
		{Accepted, []Body{knock, accept, note, read, update, cancel}, []Body{sync}},
		{Blocked, nil, []Body{knock, accept, note, read, update, cancel, sync}},
	} {
		b.contacts[a.root.Public()] = Contact{Standing: c.standing, List: a.list}
		try := func(body Body) error {
			m := a.message(body, b)
			if body == Body(accept) {
				m.Grant = a.grant()
			}
			payload, _, err := SealMessage(a.device, a.cert, b.bundle(), m)
			must(t, err)
			_, err = b.open(payload)
			return err
		}
		for _, body := range c.allowed {
			if err := try(body); err != nil {
				t.Errorf("standing %d, %v: %v", c.standing, body.Type(), err)
			}
		}
		for _, body := range c.refused {
			if err := try(body); !errors.Is(err, ErrPolicy) {
				t.Errorf("standing %d, %v: %v", c.standing, body.Type(), err)
			}
		}
	}
	// Own devices may tell each other about contacts.
	own := b.secondDevice(3)
	b2 := *b
	payload, _, err := SealMessage(own.device, own.cert, b2.bundle(), own.message(sync, &b2))
	must(t, err)
	opened, err := b.open(payload)
	must(t, err)
	if opened.Standing != Own || opened.Content.(*ContactSync).Root != a.root.Public() {
		t.Fatal("own device's message changed")
	}
}

func TestStrangersAreLimitedApartFromContacts(t *testing.T) {
	a, b := pair(t)
	s := newParty(t, 9)
	b.opener.contacts = newBucket(Rate{PerSecond: 1, Burst: 3})
	b.opener.strangers = newBucket(Rate{PerSecond: 1, Burst: 2})
	knock := func() error {
		_, err := b.opener.Open(s.seal(&Knock{Name: "S", Home: s.home}, b), b.prekeys.Current().Hint(), true)
		return err
	}
	counter := &countingReplay{Replay: b.replay}
	b.opener.c.Replay = counter
	for range 2 {
		must(t, knock())
	}
	if counter.strangers != 2 || counter.n != 2 {
		t.Fatalf("%d entries, %d of strangers", counter.n, counter.strangers)
	}
	if err := knock(); !errors.Is(err, ErrRate) {
		t.Fatalf("third knock at once: %v", err)
	}
	for range 3 {
		if _, err := b.open(a.seal(&Note{Text: "x"}, b)); err != nil {
			t.Fatalf("a contact after the strangers: %v", err)
		}
	}
	if _, err := b.open(a.seal(&Note{Text: "x"}, b)); !errors.Is(err, ErrRate) {
		t.Fatalf("fourth note at once: %v", err)
	}
	b.now = b.now.Add(time.Second)
	s.now = b.now
	must(t, knock())
	if counter.strangers != 3 {
		t.Fatalf("%d entries of strangers", counter.strangers)
	}
}

func TestAKnockOfAnAcceptedContactIsSaidToBeOne(t *testing.T) {
	a, b := pair(t)
	opened, err := b.opener.Open(a.seal(&Note{Text: "old token"}, b), b.prekeys.Current().Hint(), true)
	must(t, err)
	if !opened.Knock || opened.Standing != Accepted {
		t.Fatal("the client cannot know that a TOKEN_UPDATE is due")
	}
}

func TestARingAnswerIsNoSealedMessage(t *testing.T) {
	a, b := pair(t)
	m := a.message(&RingAnswer{Kind: pb.Type_TYPE_BUSY, Reason: pb.Reason_REASON_BUSY}, b)
	if _, _, err := SealMessage(a.device, a.cert, b.bundle(), m); !errors.Is(err, ErrMalformed) {
		t.Fatalf("sealed a ring answer: %v", err)
	}
	body, err := (&RingAnswer{Kind: pb.Type_TYPE_BUSY, Reason: pb.Reason_REASON_BUSY}).Marshal()
	must(t, err)
	for _, withPrekey := range []bool{true, false} {
		signed := a.forge(b, func(m *pb.Inner) {
			m.Type, m.Body = pb.Type_TYPE_BUSY, body
			if !withPrekey {
				m.PrekeyId = nil
			}
		})
		before := b.count()
		if _, err := b.open(a.sealSignedTo(signed, b)); err == nil || before.n != 0 {
			t.Errorf("opened with prekey id %v: %v", withPrekey, err)
		}
	}
}

func Test14_57_PeerThatLostSuiteOneIsRefused(t *testing.T) {
	a, b := pair(t)
	drops(t, b, a.sealSignedTo(a.forge(b, func(m *pb.Inner) { m.Suite = 2 }), b), ErrMalformed)
	drops(t, b, a.sealSignedTo(a.forge(b, func(m *pb.Inner) { m.Suite = 0 }), b), ErrMalformed)

	signed := resign(t, b, func(m *pb.PrekeyBundle) { m.Suites = []uint32{2} })
	if _, err := ParseBundle(signed, b.list, b.now); !errors.Is(err, identity.ErrSuite) {
		t.Errorf("bundle without suite 1: %v", err)
	}
	// Newer suites beside it are no reason to refuse.
	if _, err := ParseBundle(resign(t, b, func(m *pb.PrekeyBundle) { m.Suites = []uint32{1, 2} }), b.list, b.now); err != nil {
		t.Errorf("bundle with suites 1 and 2: %v", err)
	}
	l := *b.list
	l.LowestSuite, l.Epoch, l.Previous = 2, b.list.Epoch+1, b.list.Hash()
	list, err := b.root.SignList(l)
	must(t, err)
	if _, err := ParseBundle(b.bundle().Bytes(), list, b.now); !errors.Is(err, identity.ErrSuite) {
		t.Errorf("list that demands suite 2: %v", err)
	}
	if err := (identity.Pin{Suite: 1}).CheckSuite(0); !errors.Is(err, identity.ErrSuite) {
		t.Errorf("pin of suite 1 takes an offer of none: %v", err)
	}
}
