package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// client writes a frame as a client does.
func client(first byte, payload []byte, key [4]byte) []byte {
	b := AppendHeader(nil, 0, len(payload))
	b[0], b[1] = first, b[1]|0x80
	b = append(b, key[:]...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

var key = [4]byte{1, 0xfe, 3, 0x77}

func fill(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

func TestFramesOfEverySizeAreReadWhereTheyLie(t *testing.T) {
	for _, size := range []int{0, 1, 7, 8, 9, 125, 126, 127, 1024, 65535, 65536, 70000} {
		want := fill(size)
		b := append(client(0x82, want, key), 0xaa)
		f, n, _, err := Next(b, 1<<20)
		if err != nil || n != len(b)-1 || f.Opcode != Binary || !f.Final || !bytes.Equal(f.Payload, want) {
			t.Fatalf("%d bytes: %v, %d, %v", size, f.Opcode, n, err)
		}
		if cap(f.Payload) != len(f.Payload) {
			t.Errorf("%d bytes: the payload reaches into what comes behind it", size)
		}
	}
}

// TestAPartOfAFrameSaysHowMuchItNeeds: and never that it is one.
func TestAPartOfAFrameSaysHowMuchItNeeds(t *testing.T) {
	for _, size := range []int{0, 5, 200, 66000} {
		whole := client(0x82, fill(size), key)
		for cut := range min(len(whole), 300) {
			b := bytes.Clone(whole[:cut])
			_, n, need, err := Next(b, 1<<20)
			if err != nil || n != 0 || need <= cut || need > len(whole) {
				t.Fatalf("%d of %d bytes: n %d, need %d, %v", cut, len(whole), n, need, err)
			}
			if !bytes.Equal(b, whole[:cut]) {
				t.Fatalf("%d of %d bytes: a part was unmasked", cut, len(whole))
			}
		}
	}
}

func TestWhatIsNoClientsFrameIsRefused(t *testing.T) {
	long := func(form byte, length uint64) []byte {
		b := []byte{0x82, 0x80 | form}
		if form == 126 {
			return append(binary.BigEndian.AppendUint16(b, uint16(length)), key[:]...)
		}
		return append(binary.BigEndian.AppendUint64(b, length), key[:]...)
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"no mask":                   {AppendFrame(nil, Binary, fill(3)), ErrProtocol},
		"reserved bit":              {client(0xc2, fill(3), key), ErrProtocol},
		"unknown opcode":            {client(0x83, fill(3), key), ErrProtocol},
		"unknown control":           {client(0x8b, fill(3), key), ErrProtocol},
		"ping in pieces":            {client(0x09, fill(3), key), ErrProtocol},
		"ping of 126 bytes":         {client(0x89, fill(126), key), ErrProtocol},
		"two bytes for 125":         {long(126, 125), ErrProtocol},
		"eight bytes for 65535":     {long(127, 65535), ErrProtocol},
		"a negative length":         {long(127, 1<<63), ErrProtocol},
		"one byte over the limit":   {long(126, 1001), ErrTooLarge},
		"a gigabyte that may come":  {long(127, 1<<30), ErrTooLarge},
		"a continuation over limit": {append([]byte{0x80}, long(126, 1001)[1:]...), ErrTooLarge},
	} {
		if _, n, _, err := Next(c.b, 1000); !errors.Is(err, c.want) || n != 0 {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	if _, n, _, err := Next(client(0x89, fill(125), key), 10); err != nil || n == 0 {
		t.Errorf("the limit is one of messages, and a ping was refused: %v", err)
	}
}

func TestServersFrames(t *testing.T) {
	for _, size := range []int{0, 125, 126, 65535, 65536} {
		b := AppendFrame(nil, Binary, fill(size))
		if head := HeaderSize(size); len(b) != head+size || b[0] != 0x82 || b[1]&0x80 != 0 || !bytes.Equal(b[head:], fill(size)) {
			t.Errorf("%d bytes: % x", size, b[:min(len(b), 12)])
		}
	}
	if got := AppendClose(nil, StatusTooBig); !bytes.Equal(got, []byte{0x88, 2, 0x03, 0xf1}) {
		t.Errorf("close: % x", got)
	}
}

// FuzzNext holds Next against a reader that goes byte by byte, and against itself when the
// bytes come in two parts.
func FuzzNext(f *testing.F) {
	f.Add(client(0x82, fill(10), key), uint8(3))
	f.Add(client(0x02, fill(200), key), uint8(130))
	f.Add(client(0x88, []byte{3, 0xe8}, key), uint8(0))
	f.Add([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4}, uint8(9))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		const limit = 70000
		whole := bytes.Clone(b)
		got, n, need, err := Next(whole, limit)
		if n > len(b) || n < 0 || (n > 0 && err != nil) || (err == nil && n == 0 && need <= len(b)) {
			t.Fatalf("n %d, need %d of %d, %v", n, need, len(b), err)
		}
		if n > 0 {
			head := n - len(got.Payload)
			for i, c := range got.Payload {
				if c != b[head+i]^b[head-4+i%4] {
					t.Fatalf("byte %d is not unmasked", i)
				}
			}
			if !bytes.Equal(whole[n:], b[n:]) || !bytes.Equal(whole[:head], b[:head]) {
				t.Fatal("bytes beside the payload were changed")
			}
		}
		// What a part says must not be taken back by the whole.
		part := bytes.Clone(b[:min(int(cut), len(b))])
		_, pn, _, perr := Next(part, limit)
		if perr != nil && perr != err || pn > 0 && pn != n {
			t.Fatalf("a part of %d: %d, %v; the whole: %d, %v", len(part), pn, perr, n, err)
		}
	})
}

func BenchmarkNext(b *testing.B) {
	frame := client(0x82, fill(1200), key)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, n, _, err := Next(frame, 1<<20); err != nil || n == 0 {
			b.Fatal(err)
		}
	}
}
