//go:build !race

package forward_test

import (
	"testing"

	"github.com/trunkline-net/trunkline/media/sfu/forward"
	"github.com/trunkline-net/trunkline/media/sfu/track"
	"github.com/trunkline-net/trunkline/media/sfu/wire/scalable"
)

// The race detector allocates itself.
func TestForwardingAllocatesNothing(t *testing.T) {
	p := newPublisher(0, scalable.Mode{Spatial: 3, Temporal: 3})
	var all []*forward.Forwarder
	for i := range 9 {
		f := subscribe(&client{quiet: true})
		f.Select(p.s, i, p.now)
		all = append(all, f)
	}
	p.push(p.picture(true), all...)
	var pictures [][]byte
	for range 300 {
		pictures = append(pictures, p.picture(false)...)
	}
	get := func(int) *track.Source { return p.s }
	i := 0
	p.push(pictures[:600], all...) // the pool and the scratch buffers fill
	if n := testing.AllocsPerRun(1000, func() {
		b := pictures[600+i%1200]
		i++
		k := p.pool.Get(b, p.now)
		if err := k.Parse(); err != nil {
			panic(err)
		}
		if p.s.Push(k) {
			for _, f := range all {
				f.Forward(p.s, k, p.now)
			}
		}
		all[8].Repeat(uint16(i), get, p.now+int64(i)*20_000)
	}); n != 0 {
		t.Errorf("%v allocations for a packet to nine clients", n)
	}
}
