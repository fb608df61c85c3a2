//go:build !race

package allocate_test

import (
	"testing"

	"github.com/trunkline-net/trunkline/media/sfu/allocate"
)

// The race detector allocates itself.
func TestDividingAllocatesNothing(t *testing.T) {
	var a allocate.Allocator
	wants := []allocate.Want{sound(), picture(0, 0), picture(3, 1), picture(1, 2)}
	a.Divide(2000, wants)
	if n := testing.AllocsPerRun(100, func() { a.Divide(2000, wants) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
