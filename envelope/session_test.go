package envelope

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

// twin is a pair of sessions with known keys.
func twin(t testing.TB) (caller, callee *Session) {
	t.Helper()
	secret := seed(0x11)
	th := transcript(seed(0x12), seed(0x13))
	tagA, tagB := RouteTag(bytes.Repeat([]byte{0xa}, 16)), RouteTag(bytes.Repeat([]byte{0xb}, 16))
	again := secret
	caller = newSession(Initiator, deriveKeys(secret[:], th), tagA, tagB)
	callee = newSession(Responder, deriveKeys(again[:], th), tagB, tagA)
	return caller, callee
}

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
	late := *opened
	late.Expires = c.Now.Add(1)
	if _, _, err := AnswerRing(b.device, b.cert, &late, c); !errors.Is(err, ErrUnverified) {
		t.Errorf("a list that ended eight days ago: %v", err)
	}
	// The caller refuses an answer of someone whose list it does not have, or has lost trust in.
	payload, _ := b.answer(opened, pb.Type_TYPE_ACCEPT, a)
	a.contacts[b.root.Public()] = Contact{Standing: Accepted}
	if _, err := ring.Finish(payload, a.opener); !errors.Is(err, ErrUnverified) {
		t.Errorf("answer without a list: %v", err)
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

func Test14_50_FramesThatDoNotBelongAreDropped(t *testing.T) {
	caller, callee := twin(t)
	body := []byte("candidate")
	frame, err := caller.Seal(body)
	must(t, err)

	// Arrived under another route tag.
	other, _ := twin(t)
	_, wrongTag := twin(t)
	wrongTag.in.ad[0] ^= 1
	if _, err := wrongTag.Open(frame); !errors.Is(err, ErrDecrypt) {
		t.Errorf("other route tag: %v", err)
	}
	// Our own frame reflected to us.
	if _, err := other.Open(frame); !errors.Is(err, ErrNoSession) {
		t.Errorf("reflected: %v", err)
	}
	// The other direction's key under the right handle.
	forged := newDirection(caller.keys.frame[Responder], caller.out.handle, caller.tags[Initiator])
	buf := make([]byte, 1024)
	_, err = forged.seal(buf, body)
	must(t, err)
	if _, err := callee.Open(buf); !errors.Is(err, ErrDecrypt) {
		t.Errorf("other direction's key: %v", err)
	}
	for _, at := range []int{8, 11, 12, 500, 1023} {
		bad := bytes.Clone(frame)
		bad[at] ^= 1
		if _, err := callee.Open(bad); !errors.Is(err, ErrDecrypt) {
			t.Errorf("byte %d changed: %v", at, err)
		}
	}
	for _, n := range []int{0, 11, 1023, 1025, 4095} {
		if _, err := callee.Open(append(bytes.Clone(frame), make([]byte, 4096)...)[:n]); !errors.Is(err, ErrSize) {
			t.Errorf("frame of %d bytes: %v", n, err)
		}
	}
	// Nothing of that used up the counter.
	got, err := callee.Open(frame)
	must(t, err)
	if !bytes.Equal(got, body) {
		t.Fatalf("body %q", got)
	}
	if _, err := callee.Open(frame); !errors.Is(err, ErrReplay) {
		t.Errorf("repeated: %v", err)
	}
	// 64 later frames push the window past the second one.
	second, err := caller.Seal(body)
	must(t, err)
	third, err := caller.Seal(body)
	must(t, err)
	var last []byte
	for range 64 {
		last, err = caller.Seal(body)
		must(t, err)
	}
	if _, err := callee.Open(last); err != nil {
		t.Fatal(err)
	}
	if _, err := callee.Open(second); !errors.Is(err, ErrReplay) {
		t.Errorf("beyond the window: %v", err)
	}
	if _, err := callee.Open(third); !errors.Is(err, ErrReplay) {
		t.Errorf("65 back: %v", err)
	}
}

func TestTheWindowTakesEachCounterOnceInAnyOrder(t *testing.T) {
	for _, c := range []struct {
		counters []uint64
		fresh    []bool
	}{
		{[]uint64{0, 0, 1, 0, 1}, []bool{true, false, true, false, false}},
		{[]uint64{5, 3, 4, 3, 0, 5}, []bool{true, true, true, false, true, false}},
		{[]uint64{63, 0, 0, 64, 0, 1}, []bool{true, true, false, true, false, true}},
		{[]uint64{64, 0, 1}, []bool{true, false, true}},
		{[]uint64{1000, 936, 937, 999, 1000}, []bool{true, false, true, true, false}},
		{[]uint64{math.MaxUint32, math.MaxUint32, math.MaxUint32 - 63, math.MaxUint32 - 64}, []bool{true, false, true, false}},
	} {
		d := new(direction)
		for i, n := range c.counters {
			got := d.fresh(n)
			if got != c.fresh[i] {
				t.Fatalf("%v: counter %d at place %d fresh: %v", c.counters, n, i, got)
			}
			if got {
				d.mark(n)
			}
		}
	}
}

func Test14_51_TheLastCounterIsTheLastFrame(t *testing.T) {
	caller, callee := twin(t)
	caller.out.next = math.MaxUint32
	frame, err := caller.Seal([]byte("last"))
	must(t, err)
	if !bytes.Equal(frame[8:12], []byte{0xff, 0xff, 0xff, 0xff}) {
		t.Fatalf("counter %x", frame[8:12])
	}
	if got, err := callee.Open(frame); err != nil || string(got) != "last" {
		t.Fatalf("%q, %v", got, err)
	}
	for range 2 {
		if _, err := caller.Seal([]byte("one more")); !errors.Is(err, ErrExhausted) {
			t.Fatalf("one more: %v", err)
		}
	}
}

func TestFramesHaveTheSmallestSizeThatHolds(t *testing.T) {
	caller, callee := twin(t)
	for _, c := range []struct{ body, size int }{
		{0, 1024}, {992, 1024}, {993, 4096}, {4064, 4096}, {4065, 8192}, {8160, 8192}, {8161, 16384}, {MaxFrameBody, 16384},
	} {
		body := bytes.Repeat([]byte{7}, c.body)
		frame, err := caller.Seal(body)
		must(t, err)
		if len(frame) != c.size {
			t.Errorf("body of %d: frame of %d", c.body, len(frame))
		}
		got, err := callee.Open(frame)
		must(t, err)
		if !bytes.Equal(got, body) {
			t.Errorf("body of %d changed", c.body)
		}
	}
	if _, err := caller.Seal(make([]byte, MaxFrameBody+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("body over the largest frame: %v", err)
	}
	if _, err := caller.SealTo(make([]byte, 1023), nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("buffer too small: %v", err)
	}
}

func TestTheStepReplacesKeysAndHandlesAndKeepsWhatWasOnItsWay(t *testing.T) {
	caller, callee := twin(t)
	before := callee.Handles()
	if len(before) != 2 {
		t.Fatalf("%d handles before the step", len(before))
	}
	onItsWay, err := caller.Seal([]byte("old"))
	must(t, err)
	oldOut := caller.out.handle
	caller.Step()
	caller.Step() // does nothing
	if caller.out.handle == oldOut || caller.out.next != 0 {
		t.Fatal("the step kept a handle or a counter")
	}
	// The peer has not stepped yet and opens both.
	stepped, err := caller.Seal([]byte("new"))
	must(t, err)
	for _, c := range []struct {
		frame []byte
		want  string
	}{{stepped, "new"}, {onItsWay, "old"}} {
		got, err := callee.Open(c.frame)
		if err != nil || string(got) != c.want {
			t.Fatalf("%q before its own step: %v", got, err)
		}
	}
	if _, err := callee.Open(stepped); !errors.Is(err, ErrReplay) {
		t.Fatalf("repeated: %v", err)
	}
	late, err := callee.Seal([]byte("late"))
	must(t, err)
	callee.Step()
	if _, err := callee.Open(stepped); !errors.Is(err, ErrReplay) {
		t.Fatalf("repeated after the step: %v", err)
	}
	if got, err := caller.Open(late); err != nil || string(got) != "late" {
		t.Fatalf("frame from before the peer's step: %v", err)
	}
	caller.Forget()
	if _, err := caller.Open(late); !errors.Is(err, ErrNoSession) {
		t.Fatalf("after Forget: %v", err)
	}
	frame, err := callee.Seal([]byte("stepped"))
	must(t, err)
	if got, err := caller.Open(frame); err != nil || string(got) != "stepped" {
		t.Fatalf("after both steps: %v", err)
	}
	if got := caller.Handles(); len(got) != 1 || got[0] != callee.out.handle {
		t.Fatal("handles after Forget")
	}
	if caller.keys.frame != ([2][32]byte{}) {
		t.Fatal("the old frame keys are still there")
	}
}

func TestAClosedSessionHasNoKeys(t *testing.T) {
	caller, callee := twin(t)
	frame, err := callee.Seal(nil)
	must(t, err)
	caller.Close()
	if _, err := caller.Seal(nil); !errors.Is(err, ErrClosed) {
		t.Error("sealed")
	}
	if _, err := caller.Open(frame); !errors.Is(err, ErrClosed) {
		t.Error("opened")
	}
	if _, err := caller.Export(LabelMedia); !errors.Is(err, ErrClosed) {
		t.Error("exported")
	}
	if _, _, err := caller.MediaKeys(); !errors.Is(err, ErrClosed) {
		t.Error("gave media keys")
	}
	if _, err := caller.Binding(seed(1), seed(2)); !errors.Is(err, ErrClosed) {
		t.Error("bound")
	}
	caller.Step()
	caller.Forget()
	if len(caller.Handles()) != 0 || caller.keys != (keys{}) {
		t.Error("keys are left")
	}
}

func TestMediaKeysAreOnePerDirection(t *testing.T) {
	caller, callee := twin(t)
	cs, cr, err := caller.MediaKeys()
	must(t, err)
	es, er, err := callee.MediaKeys()
	must(t, err)
	if cs != er || cr != es || cs == cr {
		t.Fatal("media keys do not meet")
	}
	if _, err := caller.Export("i2r"); err == nil {
		t.Fatal("a frame key was exported")
	}
}

// The cryptographic half of test 55; missing and late are the client's.
func Test14_55_WrongOrReflectedBindingIsRefused(t *testing.T) {
	caller, callee := twin(t)
	fa, fb := seed(0x21), seed(0x22)
	ma, err := caller.Binding(fa, fb)
	must(t, err)
	mb, err := callee.Binding(fb, fa)
	must(t, err)
	must(t, callee.CheckBinding(ma[:], fb, fa))
	must(t, caller.CheckBinding(mb[:], fa, fb))
	for name, err := range map[string]error{
		"reflected":                   caller.CheckBinding(ma[:], fa, fb),
		"reflected, same certificate": caller.CheckBinding(bind(t, caller, fa, fa), fa, fa),
		"another certificate of ours": caller.CheckBinding(mb[:], fb, fb),
		"another certificate there":   caller.CheckBinding(mb[:], fa, seed(0x23)),
		"fingerprints the wrong way":  caller.CheckBinding(mb[:], fb, fa),
		"one bit":                     caller.CheckBinding(append([]byte{mb[0] ^ 1}, mb[1:]...), fa, fb),
		"short":                       caller.CheckBinding(mb[:31], fa, fb),
		"empty":                       caller.CheckBinding(nil, fa, fb),
	} {
		if !errors.Is(err, ErrBinding) {
			t.Errorf("%s: %v", name, err)
		}
	}
	secret := seed(0x31)
	other := newSession(Responder, deriveKeys(secret[:], transcript(seed(1), seed(2))), callee.tags[0], callee.tags[1])
	if err := caller.CheckBinding(bind(t, other, fb, fa), fa, fb); !errors.Is(err, ErrBinding) {
		t.Errorf("another session: %v", err)
	}
}

func bind(t *testing.T, s *Session, own, peer [32]byte) []byte {
	t.Helper()
	m, err := s.Binding(own, peer)
	must(t, err)
	return m[:]
}

func Test14_58_CallCodeWithAnotherNonceAborts(t *testing.T) {
	caller, callee := twin(t)
	begin := func() (a, b *CallCode, nonceA []byte) {
		a, err := NewCallCode(caller)
		must(t, err)
		b, err = NewCallCode(callee)
		must(t, err)
		commitment, err := a.Commit()
		must(t, err)
		nonceB, err := b.Answer(commitment)
		must(t, err)
		nonceA, _, err = a.Reveal(nonceB)
		must(t, err)
		return a, b, nonceA
	}
	_, b, nonceA := begin()
	bad := bytes.Clone(nonceA)
	bad[0] ^= 1
	if code, err := b.Finish(bad); !errors.Is(err, ErrCallCode) || code != "" {
		t.Fatalf("another nonce: %q, %v", code, err)
	}
	// There is no second try.
	if _, err := b.Finish(nonceA); !errors.Is(err, ErrCallCode) {
		t.Fatalf("the right nonce afterwards: %v", err)
	}
	_, b, nonceA = begin()
	if _, err := b.Finish(nonceA[:31]); !errors.Is(err, ErrCallCode) {
		t.Fatalf("short nonce: %v", err)
	}
}

func TestBothSidesSeeTheSameSixDigits(t *testing.T) {
	seen := make(map[string]bool)
	for range 20 {
		caller, callee := twin(t)
		a, err := NewCallCode(caller)
		must(t, err)
		b, err := NewCallCode(callee)
		must(t, err)
		commitment, err := a.Commit()
		must(t, err)
		nonceB, err := b.Answer(commitment)
		must(t, err)
		nonceA, codeA, err := a.Reveal(nonceB)
		must(t, err)
		codeB, err := b.Finish(nonceA)
		must(t, err)
		if codeA != codeB || len(codeA) != 6 {
			t.Fatalf("%q and %q", codeA, codeB)
		}
		seen[codeA] = true
	}
	if len(seen) < 15 {
		t.Fatalf("%d codes in 20 runs", len(seen))
	}
}

func TestCallCodeStepsComeOnceAndInOrder(t *testing.T) {
	caller, callee := twin(t)
	fresh := func(s *Session) *CallCode {
		c, err := NewCallCode(s)
		must(t, err)
		return c
	}
	steps := map[string]func() error{
		"responder commits":        func() error { _, err := fresh(callee).Commit(); return err },
		"initiator answers":        func() error { _, err := fresh(caller).Answer(make([]byte, 32)); return err },
		"reveal before the commit": func() error { _, _, err := fresh(caller).Reveal(make([]byte, 32)); return err },
		"finish before the answer": func() error { _, err := fresh(callee).Finish(make([]byte, 32)); return err },
		"commitment of 31 bytes":   func() error { _, err := fresh(callee).Answer(make([]byte, 31)); return err },
		"second commitment": func() error {
			c := fresh(callee)
			if _, err := c.Answer(make([]byte, 32)); err != nil {
				return nil
			}
			_, err := c.Answer(make([]byte, 32))
			return err
		},
		"second reveal": func() error {
			c := fresh(caller)
			if _, err := c.Commit(); err != nil {
				return nil
			}
			if _, _, err := c.Reveal(make([]byte, 32)); err != nil {
				return nil
			}
			_, _, err := c.Reveal(make([]byte, 32))
			return err
		},
	}
	for name, step := range steps {
		if err := step(); !errors.Is(err, ErrCallCode) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
