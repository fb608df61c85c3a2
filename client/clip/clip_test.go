package clip

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// packet makes an Opus packet of 20 ms and n bytes.
func packet(n int, fill byte) []byte {
	p := bytes.Repeat([]byte{fill}, n)
	p[0] = 19 << 3 // CELT, 20 ms, one frame
	return p
}

func TestOpusPacketsSurviveAFileOfEverySize(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	w, err := NewOggWriter(&file, 1, 7)
	if err != nil {
		t.Fatal(err)
	}
	// 254, 255, 256: the edges of lacing. 65,025 and more: over one page.
	sizes := []int{1, 254, 255, 256, 510, 1275, 61_000}
	for _, n := range sizes {
		if err := w.Write(packet(n, byte(n))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := NewOggReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range sizes {
		f, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(f.Data, packet(n, byte(n))) || f.Duration != 20*time.Millisecond {
			t.Errorf("a packet of %d bytes came back with %d, lasting %v", n, len(f.Data), f.Duration)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last packet: %v, want the end of the file", err)
	}
}

func TestPagesWithSeveralPacketsAndPacketsOverPagesAreRead(t *testing.T) {
	t.Parallel()
	// Two packets share a page, the second goes on over the next one.
	o := &OggWriter{w: io.Discard}
	var file bytes.Buffer
	o.w = &file
	head := append(append([]byte(nil), headMagic...), 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	if err := o.page(head, oggFirst, 0); err != nil {
		t.Fatal(err)
	}
	if err := o.page(append(append([]byte(nil), tagsMagic...), make([]byte, 8)...), 0, 0); err != nil {
		t.Fatal(err)
	}
	first, second := packet(10, 1), packet(300, 2)
	file.Write(rawPage(0, 2, []byte{10, 255}, append(append([]byte(nil), first...), second[:255]...)))
	file.Write(rawPage(oggContinued|oggLast, 3, []byte{45}, second[255:]))
	r, err := NewOggReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]byte{first, second} {
		f, err := r.Next()
		if err != nil || !bytes.Equal(f.Data, want) {
			t.Fatalf("got %d bytes and %v, want %d", len(f.Data), err, len(want))
		}
	}
}

func rawPage(flags byte, sequence byte, table, data []byte) []byte {
	p := append([]byte("OggS\x00"), flags)
	p = append(p, make([]byte, 12)...) // granule, serial
	p = append(p, sequence, 0, 0, 0, 0, 0, 0, 0, byte(len(table)))
	p = append(append(p, table...), data...)
	crc := oggCRC(p)
	p[22], p[23], p[24], p[25] = byte(crc), byte(crc>>8), byte(crc>>16), byte(crc>>24)
	return p
}

func TestDamagedOggFilesAreRefused(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	w, err := NewOggWriter(&file, 2, 7)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(packet(100, 1)), w.Write(packet(100, 2)), w.Close()); err != nil {
		t.Fatal(err)
	}
	whole := file.Bytes()
	read := func(b []byte) error {
		r, err := NewOggReader(bytes.NewReader(b))
		for err == nil {
			_, err = r.Next()
		}
		return err
	}
	if err := read(whole); !errors.Is(err, io.EOF) {
		t.Fatalf("the whole file: %v", err)
	}
	for at := range whole {
		flipped := bytes.Clone(whole)
		flipped[at] ^= 1
		if err := read(flipped); errors.Is(err, io.EOF) {
			t.Errorf("byte %d was changed and nobody noticed", at)
		}
	}
	for n := 1; n < len(whole); n++ {
		// A cut between two pages is a file that ended early; only there may it end cleanly.
		if err := read(whole[:n]); err == nil {
			t.Errorf("cut after %d bytes: no end", n)
		}
	}
}

func TestVideoFramesSurviveAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "clip.ivf")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w, err := NewIVFWriter(file, VP8, 320, 240)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(3) {
		if err := w.Write(bytes.Repeat([]byte{byte(i + 1)}, 1000), i*3600); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewIVFReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if r.Codec != VP8 || r.Width != 320 || r.Height != 240 || b[24] != 0x30 || b[25] != 0x2a {
		t.Errorf("header says %q, %d by %d, length %x", r.Codec, r.Width, r.Height, b[24:28])
	}
	for i := range 3 {
		f, err := r.Next()
		if err != nil || len(f.Data) != 1000 || f.Data[0] != byte(i+1) || f.Duration != 40*time.Millisecond {
			t.Fatalf("frame %d: %d bytes, %v, %v", i, len(f.Data), f.Duration, err)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last frame: %v", err)
	}
}

func TestHostileVideoFilesAreRefusedWithoutMemory(t *testing.T) {
	t.Parallel()
	header := func(change func([]byte)) []byte {
		h := make([]byte, ivfHeader)
		copy(h, "DKIF")
		h[6] = ivfHeader
		copy(h[8:], "VP80")
		h[16], h[20] = 25, 1
		change(h)
		return h
	}
	frame := func(size, at byte) []byte {
		return append([]byte{size, 0, 0, 0, at, 0, 0, 0, 0, 0, 0, 0}, make([]byte, size)...)
	}
	for name, b := range map[string][]byte{
		"empty":         {},
		"other magic":   header(func(h []byte) { h[0] = 'X' }),
		"h264":          header(func(h []byte) { copy(h[8:], "H264") }),
		"no time base":  header(func(h []byte) { h[16] = 0 }),
		"huge frame":    append(header(func([]byte) {}), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0),
		"empty frame":   append(header(func([]byte) {}), frame(0, 0)...),
		"time backward": append(append(header(func([]byte) {}), frame(4, 9)...), frame(4, 8)...),
		"cut frame":     append(header(func([]byte) {}), frame(9, 0)[:15]...),
	} {
		r, err := NewIVFReader(bytes.NewReader(b))
		for err == nil {
			_, err = r.Next()
		}
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && name != "empty" {
			t.Errorf("%s: was read to a clean end", name)
		}
	}
}

func TestOpusDurations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		packet []byte
		want   time.Duration
	}{
		{[]byte{0}, 10 * time.Millisecond},
		{[]byte{3 << 3}, 60 * time.Millisecond},
		{[]byte{13 << 3}, 20 * time.Millisecond},
		{[]byte{16 << 3}, 2500 * time.Microsecond},
		{[]byte{19<<3 | 1}, 40 * time.Millisecond},
		{[]byte{19<<3 | 3, 6}, 120 * time.Millisecond},
		{nil, 0}, {[]byte{19<<3 | 3}, 0}, {[]byte{19<<3 | 3, 0}, 0}, {[]byte{19<<3 | 3, 7}, 0},
	} {
		got, err := OpusDuration(c.packet)
		if got != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("OpusDuration(%x) = %v, %v, want %v", c.packet, got, err, c.want)
		}
	}
}

func FuzzOggReader(f *testing.F) {
	var file bytes.Buffer
	w, err := NewOggWriter(&file, 1, 7)
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(w.Write(packet(300, 1)), w.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewOggReader(bytes.NewReader(b))
		for err == nil {
			var frame Frame
			if frame, err = r.Next(); err == nil && (len(frame.Data) > MaxOpus || frame.Duration <= 0) {
				t.Fatalf("a frame of %d bytes and %v", len(frame.Data), frame.Duration)
			}
		}
	})
}

func FuzzIVFReader(f *testing.F) {
	f.Add(append([]byte("DKIF\x00\x00\x20\x00VP80\x40\x01\xf0\x00\x19\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewIVFReader(bytes.NewReader(b))
		for err == nil {
			var frame Frame
			if frame, err = r.Next(); err == nil && (len(frame.Data) == 0 || frame.Duration <= 0) {
				t.Fatalf("a frame of %d bytes and %v", len(frame.Data), frame.Duration)
			}
		}
	})
}
