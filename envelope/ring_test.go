package envelope

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

// ringing is a ring of a at b's device, opened.
func ringing(t testing.TB) (a, b *party, ring *RingState, opened *Opened) {
	t.Helper()
	a, b = pair(t)
	ring = a.ring(b)
	opened, err := b.open(ring.Payload)
	must(t, err)
	return a, b, ring, opened
}

// ringGoesOn checks that a bad answer has not ended the ring.
func ringGoesOn(t *testing.T, a, b *party, ring *RingState, opened *Opened) {
	t.Helper()
	payload, callee := b.answer(opened, pb.Type_TYPE_ACCEPT, a)
	answered, err := ring.Finish(payload, a.opener)
	if err != nil {
		t.Fatalf("the right answer afterwards: %v", err)
	}
	frame, err := callee.Seal(nil)
	must(t, err)
	if _, err := answered.Session.Open(frame); err != nil {
		t.Fatal(err)
	}
}

func Test14_46_AcceptOfAnotherRingIsDropped(t *testing.T) {
	a, b, ring, opened := ringing(t)
	bad := b.answerWith(opened, pb.Type_TYPE_ACCEPT, b, func(r *pb.RingAnswer, _ *pb.Inner) {
		r.RingHash = bytes.Repeat([]byte{1}, 32)
	}, nil)
	if _, err := ring.Finish(bad, a.opener); !errors.Is(err, ErrAnswer) {
		t.Fatalf("another ring hash: %v", err)
	}
	bad = b.answerWith(opened, pb.Type_TYPE_ACCEPT, b, func(_ *pb.RingAnswer, m *pb.Inner) {
		m.SessionId = bytes.Repeat([]byte{1}, 16)
	}, nil)
	if _, err := ring.Finish(bad, a.opener); !errors.Is(err, ErrAnswer) {
		t.Fatalf("another session id: %v", err)
	}
	// The answer to one ring under the handle of another.
	second := a.ring(b)
	opened2, err := b.open(second.Payload)
	must(t, err)
	payload, _ := b.answer(opened2, pb.Type_TYPE_ACCEPT, a)
	copy(payload, ring.Handle[:])
	if _, err := ring.Finish(payload, a.opener); !errors.Is(err, ErrDecrypt) {
		t.Fatalf("answer of another ring: %v", err)
	}
	// To the right key, for a RING with another hash: the encapsulation is bound to it.
	changed := *opened
	changed.Hash[0] ^= 1
	payload, _ = b.answer(&changed, pb.Type_TYPE_ACCEPT, a)
	if _, err := ring.Finish(payload, a.opener); !errors.Is(err, ErrDecrypt) {
		t.Fatalf("encapsulation for another ring hash: %v", err)
	}
	ringGoesOn(t, a, b, ring, opened)
}

func Test14_47_AcceptOfADeviceNotRungAndSecondAcceptAreDropped(t *testing.T) {
	a, b, ring, opened := ringing(t)
	b2 := b.secondDevice(4)
	a.contacts[b.root.Public()] = Contact{Standing: Accepted, List: b.list}
	bad := b.answerWith(opened, pb.Type_TYPE_ACCEPT, b2, nil, nil)
	if _, err := ring.Finish(bad, a.opener); !errors.Is(err, ErrAnswer) {
		t.Fatalf("from a device that was not rung: %v", err)
	}
	c := newParty(t, 3)
	a.knows(c)
	bad = b.answerWith(opened, pb.Type_TYPE_ACCEPT, c, nil, nil)
	if _, err := ring.Finish(bad, a.opener); !errors.Is(err, ErrAnswer) {
		t.Fatalf("from another person: %v", err)
	}
	// The device that was rung, speaking for another root that has certified it too.
	cert, err := c.root.CertifyDevice(b.device.Public(), c.list.Epoch+1, base.Add(-time.Minute), base.Add(day))
	must(t, err)
	twice := *b
	twice.cert = cert
	bad = b.answerWith(opened, pb.Type_TYPE_ACCEPT, &twice, nil, nil)
	if _, err := ring.Finish(bad, a.opener); !errors.Is(err, ErrAnswer) {
		t.Fatalf("from the device for another person: %v", err)
	}
	first, _ := b.answer(opened, pb.Type_TYPE_ACCEPT, a)
	if _, err := ring.Finish(first, a.opener); err != nil {
		t.Fatalf("the first answer: %v", err)
	}
	second, _ := b.answer(opened, pb.Type_TYPE_ACCEPT, a)
	if _, err := ring.Finish(second, a.opener); !errors.Is(err, ErrRingOver) {
		t.Fatalf("a second answer: %v", err)
	}
	if _, err := ring.Finish(first, a.opener); !errors.Is(err, ErrReplay) {
		t.Fatalf("the first answer again: %v", err)
	}
}

func Test14_48_WrongOrLowOrderKeysOfARingAbort(t *testing.T) {
	a, b, ring, opened := ringing(t)
	body := *opened.Content.(*RingBody)
	bad := func(key []byte) error {
		r := body
		r.Ephemeral = key
		raw, err := r.Marshal()
		must(t, err)
		_, err = ParseRing(raw)
		return err
	}
	if err := bad(body.Ephemeral); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 32, 1215, 1217} {
		if err := bad(append(bytes.Clone(body.Ephemeral), 1)[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("ephemeral key of %d bytes: %v", n, err)
		}
	}
	for name, point := range lowOrderPoints {
		key := bytes.Clone(body.Ephemeral)
		copy(key[1184:], point)
		if err := bad(key); err == nil {
			t.Errorf("ephemeral key with %s: parsed", name)
		}
		payload, _ := b.answer(opened, pb.Type_TYPE_ACCEPT, a)
		copy(payload[8+1088:], point)
		if _, err := ring.Finish(payload, a.opener); !errors.Is(err, identity.ErrKey) {
			t.Errorf("encapsulation with %s: %v", name, err)
		}
	}
	// ML-KEM coefficients out of range, before anything is stored or answered.
	if err := bad(append([]byte{0xff, 0xff, 0xff}, body.Ephemeral[3:]...)); !errors.Is(err, ErrMalformed) {
		t.Errorf("ephemeral key with coefficients out of range: %v", err)
	}
	// An encapsulation has no length of its own: a payload of another size is no answer.
	payload, _ := b.answer(opened, pb.Type_TYPE_ACCEPT, a)
	for _, p := range [][]byte{payload[:4095], payload[:1024], append(bytes.Clone(payload), 0), nil} {
		if _, err := ring.Finish(p, a.opener); !errors.Is(err, ErrSize) {
			t.Errorf("answer of %d bytes: %v", len(p), err)
		}
	}
	ringGoesOn(t, a, b, ring, opened)
}

// The encapsulation is inside the context that opens the answer and its hash inside the
// signature, so a changed one ends before there are keys.
func Test14_49_AcceptWithChangedEncapsulationAborts(t *testing.T) {
	a, b, ring, opened := ringing(t)
	payload, _ := b.answer(opened, pb.Type_TYPE_ACCEPT, a)
	for _, at := range []int{8, 500, 8 + 1087, 8 + 1088, 8 + 1119} {
		bad := bytes.Clone(payload)
		bad[at] ^= 1
		if answered, err := ring.Finish(bad, a.opener); err == nil || answered != nil {
			t.Errorf("byte %d of the encapsulation changed: %v", at, err)
		}
	}
	bad := b.answerWith(opened, pb.Type_TYPE_ACCEPT, b, func(r *pb.RingAnswer, _ *pb.Inner) {
		r.EncHash = bytes.Repeat([]byte{1}, 32)
	}, nil)
	if _, err := ring.Finish(bad, a.opener); !errors.Is(err, ErrAnswer) {
		t.Errorf("signed for another encapsulation: %v", err)
	}
	// Keys from different secrets do not open each other's first frame.
	caller, _ := twin(t)
	secret := seed(0x55)
	other := newSession(Responder, deriveKeys(secret[:], transcript(seed(0x12), seed(0x13))), caller.tags[0], caller.tags[1])
	frame, err := caller.Seal([]byte("first"))
	must(t, err)
	if _, err := other.Open(frame); !errors.Is(err, ErrNoSession) {
		t.Errorf("first frame under other keys: %v", err)
	}
	ringGoesOn(t, a, b, ring, opened)
}

func TestAnAnswerUnderAnotherRouteTagDoesNotOpen(t *testing.T) {
	a, b, ring, opened := ringing(t)
	opened.Content.(*RingBody).Reply.Tag[0] ^= 1
	payload, _ := b.answer(opened, pb.Type_TYPE_ACCEPT, a)
	if _, err := ring.Finish(payload, a.opener); !errors.Is(err, ErrDecrypt) {
		t.Fatalf("other route tag: %v", err)
	}
}

func TestMadeUpAnswersCostABoundedAmount(t *testing.T) {
	a, b, ring, opened := ringing(t)
	junk := make([]byte, ringAnswerSize)
	copy(junk, ring.Handle[:])
	junk[8+1088] = 9
	for i := range ringTries {
		if _, err := ring.Finish(junk, a.opener); !errors.Is(err, ErrDecrypt) {
			t.Fatalf("try %d: %v", i, err)
		}
	}
	payload, _ := b.answer(opened, pb.Type_TYPE_ACCEPT, a)
	if _, err := ring.Finish(payload, a.opener); !errors.Is(err, ErrRingOver) {
		t.Fatalf("after %d made-up answers: %v", ringTries, err)
	}
}

func TestNoSessionStartsWithoutACurrentList(t *testing.T) {
	a, b, ring, opened := ringing(t)
	c := AnswerConfig{Kind: pb.Type_TYPE_ACCEPT, Reply: ReplyAddress{Home: b.home, Tag: b.tag, Token: b.token}, Now: b.now, OwnList: b.list}
	try := func(c AnswerConfig) error {
		payload, s, err := AnswerRing(b.device, b.cert, opened, c)
		if err != nil && (payload != nil || s != nil) {
			t.Fatal("an error came with a session")
		}
		return err
	}
	if err := try(c); !errors.Is(err, ErrUnverified) {
		t.Errorf("no list: %v", err)
	}
	c.CallerList = newParty(t, 3).list
	if err := try(c); !errors.Is(err, ErrUnverified) {
		t.Errorf("another person's list: %v", err)
	}
	c.CallerList = a.list
	c.Now = a.list.Expires.Add(8 * day)
	if err := try(c); !errors.Is(err, ErrTime) {
		t.Errorf("long after the ring: %v", err)
	}
	var err error
	late := *opened
	late.Expires = c.Now.Add(1)
	if _, _, err := AnswerRing(b.device, b.cert, &late, c); !errors.Is(err, ErrUnverified) {
		t.Errorf("a list that ended eight days ago: %v", err)
	}
	// A device that the list at hand does not name yet: the list is fetched first.
	c.Now = b.now
	newer := *opened
	if newer.SenderCert, err = a.root.CertifyDevice(a.device.Public(), a.list.Epoch+1, base.Add(-time.Minute), base.Add(day)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := AnswerRing(b.device, b.cert, &newer, c); !errors.Is(err, ErrUnverified) {
		t.Errorf("a certificate newer than the list: %v", err)
	}
	// The caller refuses an answer of someone whose list it does not have, or has lost trust in.
	payload, _ := b.answer(opened, pb.Type_TYPE_ACCEPT, a)
	a.contacts[b.root.Public()] = Contact{Standing: Accepted}
	if _, err := ring.Finish(payload, a.opener); !errors.Is(err, ErrUnverified) {
		t.Errorf("answer without a list: %v", err)
	}
	cert, ok := b.list.Device(b.device.ID())
	if !ok {
		t.Fatal("b is not in its list")
	}
	var ended *identity.DeviceList
	ended, err = b.root.SignList(identity.DeviceList{
		Epoch: 1, Issued: base.Add(-20 * day), Expires: base.Add(-8 * day), Devices: []*identity.DeviceCert{cert},
		LowestSuite: 1, Homes: []identity.Home{b.home},
	})
	must(t, err)
	a.contacts[b.root.Public()] = Contact{Standing: Accepted, List: ended}
	if _, err := ring.Finish(payload, a.opener); !errors.Is(err, ErrUnverified) {
		t.Errorf("answer under a list that ended eight days ago: %v", err)
	}
	a.contacts[b.root.Public()] = Contact{Standing: Blocked, List: b.list}
	if _, err := ring.Finish(payload, a.opener); !errors.Is(err, ErrPolicy) {
		t.Errorf("answer of a blocked contact: %v", err)
	}
	ring.Close()
	if _, err := ring.Finish(payload, a.opener); !errors.Is(err, ErrRingOver) {
		t.Errorf("answer after the ring was closed: %v", err)
	}
}

func TestACancelNamesItsRing(t *testing.T) {
	a, b, ring, opened := ringing(t)
	payload, err := ring.SealCancel(a.device, a.cert, b.bundle(), pb.Reason_REASON_ANSWERED_ELSEWHERE,
		RingConfig{Now: a.now, OwnList: a.list, PeerList: b.list})
	must(t, err)
	cancel, err := b.open(payload)
	must(t, err)
	got := cancel.Content.(*Cancel)
	if got.RingHash != opened.Hash || got.Reason != pb.Reason_REASON_ANSWERED_ELSEWHERE || cancel.SessionID != opened.SessionID {
		t.Fatal("the CANCEL names another ring")
	}
	if ring.Collapse.IsZero() || opened.Content.(*RingBody).Collapse != ring.Collapse {
		t.Fatal("the ring does not carry its collapse key")
	}
}
