//go:build !race

package wire_test

import (
	"testing"

	"github.com/trunkline-net/trunkline/media/sfu/wire"
	"github.com/trunkline-net/trunkline/media/sfu/wire/scalable"
)

// The race detector allocates itself.
func TestReadingAllocatesNothing(t *testing.T) {
	h := wire.Header{PayloadType: 96, SSRC: 1, Extensions: [4]wire.Extension{{ID: 3, Value: []byte{1, 2}}}}
	raw := append(h.Append(nil), make([]byte, 1000)...)
	m := scalable.Mode{Spatial: 3, Temporal: 3}
	key := m.Append(nil, scalable.Frame{Key: true}, true, true, 1)
	feedback, _ := wire.AppendTWCC(nil, 1, 2, 3, []int64{5000, 6000, -1, 9000}, 1)
	var s wire.Structure
	buffer := make([]byte, 0, 1500)
	sum := 0
	if n := testing.AllocsPerRun(100, func() {
		var p wire.Packet
		if p.Parse(raw) != nil {
			panic("parse")
		}
		v, _ := p.Extension(3)
		buffer = h.Append(buffer[:0])
		if _, err := wire.ParseDescriptor(key, nil, &s); err != nil {
			panic(err)
		}
		c := wire.NewCompound(feedback)
		q, _ := c.Next()
		_, fci, _ := q.Feedback()
		if err := wire.ReadTWCC(fci, func(a wire.Arrival) { sum += int(a.At) + len(v) }); err != nil {
			panic(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
