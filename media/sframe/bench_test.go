package sframe

import "testing"

func BenchmarkSeal1200(b *testing.B) {
	s, _ := pair(b, 0x123)
	frame := make([]byte, 1200)
	dst := make([]byte, 0, 2048)
	b.SetBytes(1200)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Seal(dst, VP8, frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSealAndOpen1200(b *testing.B) {
	s, r := pair(b, 0x123)
	frame := make([]byte, 1200)
	sealed := make([]byte, 0, 2048)
	opened := make([]byte, 0, 2048)
	b.SetBytes(1200)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if sealed, err = s.Seal(sealed[:0], VP8, frame); err != nil {
			b.Fatal(err)
		}
		if opened, _, err = r.Open(opened[:0], VP8, sealed); err != nil {
			b.Fatal(err)
		}
	}
}
