package envelope

import (
	"bytes"
	"errors"
	"math"
	"testing"
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

func Test14_50_FramesThatDoNotBelongAreDropped(t *testing.T) {
	caller, callee := twin(t)
	body := []byte("candidate")
	frame, err := caller.Seal(body)
	must(t, err)

	// The same keys in a mailbox with another route tag: a frame that was moved there.
	other, callee2 := twin(t)
	secret := seed(0x11)
	moved := newSession(Responder, deriveKeys(secret[:], transcript(seed(0x12), seed(0x13))),
		RouteTag(bytes.Repeat([]byte{0xc}, 16)), caller.tags[Responder])
	if _, err := moved.Open(frame); !errors.Is(err, ErrDecrypt) {
		t.Errorf("other route tag: %v", err)
	}
	if _, err := callee2.Open(frame); err != nil {
		t.Fatalf("the right one: %v", err)
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
