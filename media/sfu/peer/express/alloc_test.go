//go:build !race

package express

import (
	"errors"
	"sync"
	"testing"

	"github.com/trunkline-net/trunkline/media/sfu/light"
)

// The race detector allocates itself.
func TestSendingAllocatesNothing(t *testing.T) {
	p := open(t)
	p.Start()
	tr, _, _ := connected(t, p, light.Options{})
	lane := tr.lane
	packet := make([]byte, 1100)
	packet[0] = 0x80
	var once sync.Once
	seq := uint16(0)
	n := testing.AllocsPerRun(1000, func() {
		seq++
		packet[2], packet[3] = byte(seq>>8), byte(seq)
		if err := errors.Join(tr.WriteRTP(packet), lane.Flush()); err != nil {
			once.Do(func() { t.Error(err) })
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}
