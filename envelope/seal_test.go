package envelope

import (
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
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

func TestTheLongestDomainsFitARingAndItsAnswer(t *testing.T) {
	a, b := newParty(t, 1), newParty(t, 2)
	label := strings.Repeat("a", 63)
	long := strings.Join([]string{label, label, label, strings.Repeat("a", 61)}, ".")
	for _, p := range []*party{a, b} {
		p.home.Domain = long
		list, err := p.root.SetHomes(p.list, []identity.Home{p.home}, p.now)
		must(t, err)
		p.list = list
	}
	a.knows(b)
	ring := a.ring(b)
	if len(ring.Payload) != 4096 {
		t.Fatalf("RING of %d bytes with a domain of %d", len(ring.Payload), len(long))
	}
	opened, err := b.open(ring.Payload)
	must(t, err)
	payload, _ := b.answer(opened, pb.Type_TYPE_ACCEPT, a)
	if _, err := ring.Finish(payload, a.opener); err != nil {
		t.Fatal(err)
	}
	grant := a.grant()
	m := a.message(&Knock{Accept: true, Text: strings.Repeat("x", MaxKnockText), Name: strings.Repeat("n", MaxPetName), Home: a.home}, b)
	m.Grant = grant
	sealed, _, err := SealMessage(a.device, a.cert, b.bundle(), m)
	must(t, err)
	if len(sealed) != KnockSize {
		t.Fatalf("the longest knock has %d bytes", len(sealed))
	}
}
