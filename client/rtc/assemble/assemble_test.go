package assemble

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

var start = time.Unix(1_800_000_000, 0)

// cut makes packets of numbered frames: frame i has 1 + i mod 4 packets and timestamp i x 3000.
func cut(frames int, seq uint16) (packets []Packet, want [][]byte) {
	for i := range frames {
		n := 1 + i%4
		var whole []byte
		for k := range n {
			b := []byte{byte(i), byte(i >> 8), byte(k), 0xee}
			whole = append(whole, b...)
			packets = append(packets, Packet{Seq: seq, Timestamp: uint32(i) * 3000, Start: k == 0, End: k == n-1, Payload: b})
			seq++
		}
		want = append(want, whole)
	}
	return packets, want
}

// collect pushes a packet each 3 ms.
func collect(a *Assembler, packets []Packet) (got []Frame) {
	for i, p := range packets {
		got = append(got, a.Push(p, start.Add(time.Duration(i)*3*time.Millisecond))...)
	}
	return got
}

func same(t *testing.T, got []Frame, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d frames, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i].Data, want[i]) {
			t.Fatalf("frame %d is %x, want %x", i, got[i].Data, want[i])
		}
	}
}

func TestFramesComeWholeAndInOrder(t *testing.T) {
	packets, want := cut(500, 65000) // wraps on the way
	t.Run("in order", func(t *testing.T) {
		a := New(time.Second)
		same(t, collect(a, packets), want)
		if a.Lost() != 0 {
			t.Fatalf("%d gaps", a.Lost())
		}
	})
	t.Run("shuffled within 40 and repeated", func(t *testing.T) {
		rng := rand.New(rand.NewPCG(3, 4))
		mixed := append([]Packet{}, packets[1:]...)
		for i := range mixed {
			j := i + rng.IntN(min(40, len(mixed)-i))
			mixed[i], mixed[j] = mixed[j], mixed[i]
		}
		mixed = append([]Packet{packets[0]}, mixed...)
		for range 300 {
			i := rng.IntN(len(mixed))
			mixed = append(mixed[:i:i], append([]Packet{mixed[max(0, i-1)]}, mixed[i:]...)...)
		}
		a := New(time.Second)
		same(t, collect(a, mixed), want)
		if a.Lost() != 0 {
			t.Fatalf("%d gaps", a.Lost())
		}
	})
}

func TestMissingPacketIsWaitedForAndThenGivenUp(t *testing.T) {
	packets, want := cut(100, 7)
	// Packet 4 is the second of frame 2 (packets 3, 4, 5).
	without := append(append([]Packet{}, packets[:4]...), packets[5:]...)
	a := New(100 * time.Millisecond)
	got := collect(a, without[:10])
	same(t, got, want[:2])
	// It comes late, but in time: nothing is lost.
	got = append(got, a.Push(packets[4], start.Add(40*time.Millisecond))...)
	same(t, got, want[:len(got)])
	if len(got) < 4 || a.Lost() != 0 {
		t.Fatalf("%d frames, %d gaps", len(got), a.Lost())
	}

	a = New(100 * time.Millisecond)
	got = collect(a, without)
	if len(got) != 99 || a.Lost() != 1 {
		t.Fatalf("%d frames, %d gaps", len(got), a.Lost())
	}
	for i, f := range got {
		n := i
		if i >= 2 {
			n++
		}
		if !bytes.Equal(f.Data, want[n]) || f.After != (i == 2) {
			t.Fatalf("frame %d is %x, after a gap: %v", i, f.Data, f.After)
		}
	}
	if out := a.Push(packets[4], start.Add(time.Minute)); out != nil {
		t.Fatal("a packet given up long ago made a frame")
	}
}

func TestPaddingBetweenFramesIsSkipped(t *testing.T) {
	a := New(time.Second)
	got := collect(a, []Packet{
		{Seq: 1, Timestamp: 1, Start: true, End: true, Payload: []byte("a")},
		{Seq: 2, Timestamp: 1}, {Seq: 3, Timestamp: 1},
		{Seq: 4, Timestamp: 2, Start: true, End: true, Payload: []byte("b")},
	})
	same(t, got, [][]byte{[]byte("a"), []byte("b")})
}

func TestBrokenStreamsGiveNothing(t *testing.T) {
	for name, packets := range map[string][]Packet{
		"no start": {{Seq: 1, End: true, Payload: []byte("a")}},
		"two starts, the first without end": {
			{Seq: 1, Timestamp: 1, Start: true, Payload: []byte("a")},
			{Seq: 2, Timestamp: 1, Start: true, Payload: []byte("b")},
		},
		"timestamp changes inside": {
			{Seq: 1, Timestamp: 1, Start: true, Payload: []byte("a")},
			{Seq: 2, Timestamp: 2, End: true, Payload: []byte("b")},
		},
	} {
		if got := collect(New(time.Second), packets); len(got) != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestFarJumpGoesOnWithTheNewPackets(t *testing.T) {
	a := New(time.Second)
	a.Push(Packet{Seq: 1, Timestamp: 1, Start: true, Payload: []byte("never ends")}, start)
	got := a.Push(Packet{Seq: 20000, Timestamp: 9, Start: true, End: true, Payload: []byte("new")}, start)
	same(t, got, [][]byte{[]byte("new")})
	if !got[0].After || a.Lost() != 1 {
		t.Fatalf("%+v, %d gaps", got, a.Lost())
	}
}

func TestFrameOfTooManyBytesIsGivenUp(t *testing.T) {
	a := New(time.Second)
	big := make([]byte, maxFrame/100)
	var got []Frame
	for i := range uint16(150) {
		got = append(got, a.Push(Packet{Seq: i, Timestamp: 5, Start: i == 0, End: i == 149, Payload: big}, start)...)
	}
	if len(got) != 0 || a.Lost() == 0 {
		t.Fatalf("%d frames, %d gaps", len(got), a.Lost())
	}
}

// Whatever comes, frames are whole: each starts at a Start and ends at an End.
func FuzzPush(f *testing.F) {
	f.Add([]byte{1, 0, 3, 2, 0, 1, 3, 1, 2})
	f.Add([]byte{255, 0, 1, 0, 0, 2, 1, 0, 3, 7, 9, 3})
	f.Fuzz(func(t *testing.T, script []byte) {
		a := New(10 * time.Millisecond)
		seq := uint16(65530)
		for i := 0; i+2 < len(script) && i < 3*4096; i += 3 {
			seq += uint16(int8(script[i]))
			p := Packet{Seq: seq, Timestamp: uint32(script[i+1]) * 500, Start: script[i+2]&1 != 0, End: script[i+2]&2 != 0}
			if script[i+2]&4 == 0 {
				p.Payload = []byte{0}
				if p.Start {
					p.Payload[0] |= 1
				}
				if p.End {
					p.Payload[0] |= 2
				}
			}
			for _, fr := range a.Push(p, start.Add(time.Duration(i)*time.Millisecond)) {
				for k, b := range fr.Data {
					if (b&1 != 0) != (k == 0) || (b&2 != 0) != (k == len(fr.Data)-1) {
						t.Fatalf("frame %v is not whole", fr.Data)
					}
				}
			}
		}
	})
}
