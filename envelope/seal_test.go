package envelope

import (
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/envelope/pb"
)

func TestASealedNoteOpensAtItsRecipient(t *testing.T) {
	a, b := newParty(t, 1), newParty(t, 2)
	a.knows(b)
	for _, n := range []int{0, 1, 1800, 2500, 6400, 14700, MaxNoteText} {
		text := strings.Repeat("x", n)
		payload := a.seal(&Note{Text: text}, b)
		if !Bucket(len(payload)) {
			t.Fatalf("note of %d bytes gives a payload of %d", n, len(payload))
		}
		opened, err := b.open(payload)
		must(t, err)
		if got := opened.Content.(*Note).Text; got != text {
			t.Fatalf("note of %d bytes came back with %d", n, len(got))
		}
		if opened.SenderRoot != a.root.Public() || opened.Standing != Accepted || opened.List != ListCurrent || opened.Echo != EchoCurrent {
			t.Fatalf("opened with standing %d, list %d, echo %d", opened.Standing, opened.List, opened.Echo)
		}
	}
}

func TestARingAndItsAnswerGiveBothSidesTheSameKeys(t *testing.T) {
	a, b := newParty(t, 1), newParty(t, 2)
	a.knows(b)
	caller, callee := call(t, a, b)
	for _, l := range []Label{LabelMedia, LabelFile, LabelBinding, LabelSAS} {
		x, err := caller.Export(l)
		must(t, err)
		y, err := callee.Export(l)
		must(t, err)
		if x != y {
			t.Fatalf("key %q differs", l)
		}
	}
	frame, err := caller.Seal([]byte("offer"))
	must(t, err)
	got, err := callee.Open(frame)
	must(t, err)
	if string(got) != "offer" {
		t.Fatalf("frame says %q", got)
	}
	if len(a.ring(b).Payload) != KnockSize {
		t.Fatal("a RING does not fit the bucket of a knock")
	}
	for _, kind := range []pb.Type{pb.Type_TYPE_DECLINE, pb.Type_TYPE_BUSY} {
		ring := a.ring(b)
		opened, err := b.open(ring.Payload)
		must(t, err)
		payload, s := b.answer(opened, kind, a)
		if s != nil || len(payload) != ringAnswerSize {
			t.Fatalf("%v: session %v, %d bytes", kind, s, len(payload))
		}
		answered, err := ring.Finish(payload, a.opener)
		must(t, err)
		if answered.Kind != kind || answered.Session != nil {
			t.Fatalf("%v came back as %v", kind, answered.Kind)
		}
	}
}
