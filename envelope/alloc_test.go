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
