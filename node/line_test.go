package node

import "testing"

func TestThoseWhoAreTurnedAwayComeBackInTurn(t *testing.T) {
	var l line
	seconds := map[int64]int{}
	for range 3*lineRate + 1 {
		seconds[l.place(100)]++
	}
	if len(seconds) != 4 || seconds[1] != lineRate || seconds[2] != lineRate || seconds[3] != lineRate || seconds[4] != 1 {
		t.Fatalf("%v", seconds)
	}
	// Two seconds later the rest of the line is still there.
	if got := l.place(102); got != 2 {
		t.Errorf("behind the others: %d", got)
	}
	if got := l.place(1000); got != 1 {
		t.Errorf("after a pause: %d", got)
	}
	for range 100 * lineRate {
		if got := l.place(1000); got < 1 || got > lineMost {
			t.Fatalf("%d", got)
		}
	}
}
