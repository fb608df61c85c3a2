//go:build !race

package rtc

import "testing"

// The race detector allocates itself.
func TestTheBudgetAllocatesNothing(t *testing.T) {
	b := againBudget{full: func() bool { return false }, have: againFirst}
	seq := uint16(0)
	if n := testing.AllocsPerRun(1000, func() {
		seq++
		b.take(false, seq, 1000)
		b.take(true, seq, 1000)
	}); n != 0 {
		t.Errorf("%v allocations for each packet", n)
	}
}
