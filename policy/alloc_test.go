//go:build !race

package policy_test

import (
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/policy"
)

// The race detector allocates on its own, so this runs in the pass without it.
func TestDecidingAndTakingDoNotAllocate(t *testing.T) {
	p := mustParse(t, string(contractFile(t)))
	c := policy.NewCurrent(p)
	for name, r := range map[string]policy.Request{
		"allowed":     ask("globex.example", policy.ActionSignal, policy.In),
		"denied":      ask("globex.example", policy.ActionTransit, policy.In),
		"default":     ask("globex.example", policy.ActionName, policy.In),
		"stranger":    ask("a-domain-that-nobody-has-listed.example", policy.ActionKnock, policy.In),
		"malformed":   {Domain: "GLOBEX.example", Action: policy.ActionSignal, Direction: policy.In, At: noon},
		"expired":     {Domain: "globex.example", Action: policy.ActionSignal, Direction: policy.In, At: noon.Add(1000 * 24 * time.Hour)},
		"no such act": {Domain: "globex.example", Direction: policy.In, At: noon},
	} {
		if n := testing.AllocsPerRun(100, func() { c.Decide(r) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	b := policy.NewBuckets(10)
	l := policy.Limits{PerSecond: 50, BytesPerSecond: 1000, Total: 1000}
	at := noon
	b.Take(at, "known", l, 1, 1)
	if n := testing.AllocsPerRun(1000, func() {
		at = at.Add(time.Millisecond)
		b.Take(at, "known", l, 1, 100)
	}); n != 0 {
		t.Errorf("Take: %v allocations", n)
	}
}
