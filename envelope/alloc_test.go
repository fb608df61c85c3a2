//go:build !race

package envelope

import "testing"

// The race detector allocates on its own, so this is built without it.
func TestSessionFramesCostNoAllocation(t *testing.T) {
	caller, callee := twin(t)
	body := make([]byte, 700)
	frame, plain := make([]byte, MaxFrame), make([]byte, MaxFrame)
	if n := testing.AllocsPerRun(200, func() {
		size, err := caller.SealTo(frame, body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := callee.OpenTo(plain, frame[:size]); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations for a frame sealed and opened", n)
	}
}

// A node reads, names and writes every envelope that passes.
func TestAnEnvelopePassesWithoutAllocation(t *testing.T) {
	e, err := NewEnvelope(routingKey(t, 1).Public(), peer(2), Week, someHop, make([]byte, bucket1K))
	must(t, err)
	raw, want := e.Marshal(), e.ID()
	out := make([]byte, 0, len(raw))
	if n := testing.AllocsPerRun(200, func() {
		var got Envelope
		if View(raw, &got) != nil || got.ID() != want {
			t.Fatal("not read")
		}
		out = got.Append(out[:0])
	}); n != 0 {
		t.Fatalf("%v allocations to read, name and write an envelope", n)
	}
}

// Of an envelope, the sender allocates the envelope and the node that opens it nothing.
func TestHopsUnderOneEncapsulationCostNoAllocation(t *testing.T) {
	k := routingKey(t, 1)
	s, err := NewHopSender(k.Public(), peer(2), Hop{Tag: someHop.Tag, Token: someHop.Token})
	must(t, err)
	payload, self := make([]byte, 1024), peer(2)
	e, err := s.Envelope(payload)
	must(t, err)
	if _, err := k.OpenHop(e, self); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(200, func() {
		if _, err := k.OpenHop(e, self); err != nil {
			t.Fatal(err)
		}
		if e.ID() == (ID{}) {
			t.Fatal("no id")
		}
	}); n != 0 {
		t.Errorf("%v allocations for a hop opened and its id", n)
	}
	if n := testing.AllocsPerRun(200, func() {
		if _, err := s.Envelope(payload); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("%v allocations for a hop sealed", n)
	}
}
