//go:build !race

package srtp_test

import (
	"encoding/binary"
	"testing"

	"github.com/trunkline-net/trunkline/media/sfu/srtp"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// The race detector allocates itself.
func TestSealingAndOpeningAllocateNothing(t *testing.T) {
	s, o := ends(t, srtp.GCM128)
	p := packet(7, 0, string(make([]byte, 1100)))
	compound := wire.AppendPLI(wire.AppendRR(nil, 1, nil), 1, 7)
	dst := make([]byte, 0, 1500)
	seq := uint16(0)
	round := func() {
		seq++
		binary.BigEndian.PutUint16(p[2:], seq)
		sealed, err := s.RTP(dst, p)
		if err == nil {
			_, err = o.RTP(sealed)
		}
		if err != nil {
			t.Fatal(err)
		}
		if sealed, err = s.RTCP(dst, compound); err == nil {
			_, err = o.RTCP(sealed)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	round() // keeps the sources
	if n := testing.AllocsPerRun(1000, round); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}
