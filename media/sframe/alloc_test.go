//go:build !race

package sframe

import "testing"

// Media runs at hundreds of frames a second and party; the race detector allocates itself.
func TestSealAndOpenDoNotAllocate(t *testing.T) {
	for _, codec := range []Codec{Opus, VP8, VP9} {
		s, r := pair(t, 0x123)
		frame := make([]byte, 1200)
		sealed := make([]byte, 0, 2048)
		opened := make([]byte, 0, 2048)
		if n := testing.AllocsPerRun(1000, func() {
			var err error
			sealed, err = s.Seal(sealed[:0], codec, frame)
			if err != nil {
				t.Fatal(err)
			}
			opened, _, err = r.Open(opened[:0], codec, sealed)
			if err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v: %v allocations per frame", codec, n)
		}
	}
}
