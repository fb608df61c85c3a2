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
