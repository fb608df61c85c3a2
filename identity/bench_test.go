package identity

import (
	"testing"
	"time"
)

func BenchmarkDeriveRoot(b *testing.B) {
	for b.Loop() {
		must(DeriveRoot(phrase24, "", 0))
	}
}

func BenchmarkCheckKey(b *testing.B) {
	k := testRoot(1).Public()
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			if err := checkPoint(k[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cached", func(b *testing.B) {
		for b.Loop() {
			must(CheckKey(k[:]))
		}
	})
}

func BenchmarkParseDeviceCert(b *testing.B) {
	signed := must(testRoot(1).CertifyDevice(testDevice(1).Public(), 1, t0, t0.Add(time.Hour))).Bytes()
	firstAndAgain(b, func() { must(ParseDeviceCert(signed)) })
}

func BenchmarkParseDeviceList(b *testing.B) {
	root := testRoot(1)
	l := must(root.NewList(testDevice(1).Public(), testHomes(1), [32]byte{}, t0))
	for n := byte(2); n <= MaxDevices; n++ {
		l = must(root.AddDevice(l, testDevice(n).Public(), t0))
	}
	signed := l.Bytes()
	firstAndAgain(b, func() { must(ParseDeviceList(signed)) })
}

// firstAndAgain measures a parser of a signed object that it sees for the first time, and of
// one that it has seen.
func firstAndAgain(b *testing.B, parse func()) {
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			goodObjects.forget()
			parse()
		}
	})
	b.Run("again", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			parse()
		}
	})
}

func (c *recent) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.young, c.old = nil, nil
}

func BenchmarkSafetyNumber(b *testing.B) {
	x, y := testRoot(1).Public(), testRoot(2).Public()
	for b.Loop() {
		SafetyNumber(x, y)
	}
}

func BenchmarkParseID(b *testing.B) {
	id := testRoot(1).Public().ID()
	for b.Loop() {
		must(ParseID(id))
	}
}
