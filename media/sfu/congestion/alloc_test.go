//go:build !race

package congestion_test

import (
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/congestion"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// The race detector allocates itself.
func TestFeedbackAllocatesNothing(t *testing.T) {
	e := congestion.New(10_000_000)
	now := time.UnixMicro(1_800_000_000_000_000)
	at := make([]int64, 20)
	for i := range at {
		at[i] = 64_000 + int64(i)*1000
	}
	b, _ := wire.AppendTWCC(nil, 1, 2, 0, at, 0)
	if n := testing.AllocsPerRun(200, func() {
		for range at {
			e.Sent(1000, now)
		}
		_ = e.Feedback(b[12:], now)
		e.Probe(5_000_000, now)
		now = now.Add(20 * time.Millisecond)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
