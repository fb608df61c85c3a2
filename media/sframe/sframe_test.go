package sframe

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

var (
	testBase  = [KeySize]byte{1, 2, 3}
	otherBase = [KeySize]byte{9, 9, 9}
)

const micA, camA, micB = 0, 16, 128

// pair returns a sender of kid and a receiver that knows it.
func pair(t testing.TB, kid uint64) (*Sender, *Receiver) {
	t.Helper()
	s, err := NewSender(kid, testBase)
	if err != nil {
		t.Fatal(err)
	}
	r := NewReceiver()
	if err := r.AddKey(kid, testBase); err != nil {
		t.Fatal(err)
	}
	return s, r
}

func seal(t testing.TB, s *Sender, c Codec, frame []byte) []byte {
	t.Helper()
	sealed, err := s.Seal(nil, c, frame)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// frames holds one frame for each clear prefix.
var frames = []struct {
	name   string
	codec  Codec
	prefix int
	frame  []byte
}{
	{"opus", Opus, 0, []byte{0x78, 1, 2, 3, 4, 5}},
	{"opus silence", Opus, 0, []byte{0xf8, 0xff, 0xfe}},
	{"opus empty", Opus, 0, nil},
	{"VP8 key frame", VP8, 10, []byte{0x10, 2, 0, 0x9d, 1, 0x2a, 64, 1, 240, 0, 7, 7, 7}},
	{"VP8 key frame, header only", VP8, 10, []byte{0x10, 2, 0, 0x9d, 1, 0x2a, 64, 1, 240, 0}},
	{"VP8 delta frame", VP8, 1, []byte{0x31, 5, 6, 7, 8, 9}},
	{"VP8 one byte", VP8, 1, []byte{0x31}},
	{"VP9", VP9, 0, []byte{0x82, 0x49, 0x83, 0x42, 1, 2, 3}},
}

func TestFrameComesBackAndPrefixStaysReadable(t *testing.T) {
	s, r := pair(t, camA)
	for _, f := range frames {
		sealed := seal(t, s, f.codec, f.frame)
		if !bytes.Equal(sealed[:f.prefix], f.frame[:f.prefix]) {
			t.Errorf("%s: clear prefix is %x", f.name, sealed[:f.prefix])
		}
		if rest := f.frame[f.prefix:]; len(rest) > 3 && bytes.Contains(sealed, rest) {
			t.Errorf("%s: content is readable", f.name)
		}
		if len(sealed) > len(f.frame)+Overhead {
			t.Errorf("%s: %d bytes became %d", f.name, len(f.frame), len(sealed))
		}
		got, kid, err := r.Open([]byte("before"), f.codec, sealed)
		if err != nil || kid != camA || string(got) != "before"+string(f.frame) {
			t.Errorf("%s: opened %x, kid %d, %v", f.name, got, kid, err)
		}
	}
}

func TestCounterStartsAtZeroAndNeverRepeats(t *testing.T) {
	s, _ := pair(t, micB)
	for want := range uint64(300) {
		_, ctr, _, err := parseHeader(seal(t, s, Opus, []byte("x")))
		if err != nil || ctr != want {
			t.Fatalf("frame %d has counter %d, %v", want, ctr, err)
		}
	}
	// A frame that cannot be sealed spends no counter and makes no output.
	if out, err := s.Seal([]byte("dst"), VP8, []byte{0}); !errors.Is(err, ErrFrame) || string(out) != "dst" {
		t.Fatalf("short key frame gave %x, %v", out, err)
	}
	s.ctr = maxCounter - 1
	seal(t, s, Opus, []byte("last"))
	if _, err := s.Seal(nil, Opus, []byte("x")); !errors.Is(err, ErrExhausted) {
		t.Fatalf("the key went on after its last counter: %v", err)
	}
}

func TestKIDLayout(t *testing.T) {
	for _, c := range []struct {
		index      uint32
		slot       Slot
		generation uint32
		want       uint64
	}{
		{0, Microphone, 0, 0}, {0, Camera, 0, 16}, {0, Screen, 1, 33}, {0, ScreenAudio, 15, 63},
		{1, Microphone, 0, 128}, {1, Camera, 16, 144}, {50, Camera, 17, 6417},
		{1<<32 - 1, ScreenAudio, 15, (1<<32-1)*128 + 63},
	} {
		if got := KID(c.index, c.slot, c.generation); got != c.want {
			t.Errorf("KID(%d, %d, %d) = %d, want %d", c.index, c.slot, c.generation, got, c.want)
		}
	}
}

// Test 63: a changed clear prefix, header or tag, or the KID of another sender, is dropped.
func Test14_63_ChangedFrameIsDropped(t *testing.T) {
	for _, f := range frames {
		t.Run(f.name, func(t *testing.T) {
			s, r := pair(t, camA)
			sealed := seal(t, s, f.codec, f.frame)
			for i := range sealed {
				for bit := range 8 {
					bad := bytes.Clone(sealed)
					bad[i] ^= 1 << bit
					if got, _, err := r.Open(nil, f.codec, bad); err == nil || len(got) != 0 {
						t.Fatalf("byte %d bit %d changed: opened %x", i, bit, got)
					}
				}
			}
			for cut := range sealed {
				if _, _, err := r.Open(nil, f.codec, sealed[:cut]); err == nil {
					t.Fatalf("cut to %d bytes: opened", cut)
				}
			}
			if _, _, err := r.Open(nil, f.codec, append(bytes.Clone(sealed), 0)); err == nil {
				t.Fatal("extended by a byte: opened")
			}
			// None of it may have spent the counter.
			if got, _, err := r.Open(nil, f.codec, sealed); err != nil || !bytes.Equal(got, f.frame) {
				t.Fatalf("the true frame fails after forgeries: %v", err)
			}
		})
	}

	t.Run("KID of another sender", func(t *testing.T) {
		s, r := pair(t, micA)
		other, err := NewSender(micB, testBase)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Open(nil, Opus, seal(t, other, Opus, []byte("hello"))); !errors.Is(err, ErrKID) {
			t.Fatalf("another sender's frame: %v", err)
		}
		// The same with the KID rewritten: the key schedule contains the KID.
		otherSlot, err := NewSender(1, testBase)
		if err != nil {
			t.Fatal(err)
		}
		forged := seal(t, otherSlot, Opus, []byte("hello"))
		forged[0] = seal(t, s, Opus, []byte("hello"))[0]
		if _, _, err := r.Open(nil, Opus, forged); !errors.Is(err, ErrOpen) {
			t.Fatalf("frame under a rewritten KID: %v", err)
		}
		// And a known KID whose key is another's: only that one key is tried.
		stranger, err := NewSender(micA, otherBase)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Open(nil, Opus, seal(t, stranger, Opus, []byte("hello"))); !errors.Is(err, ErrOpen) {
			t.Fatalf("stranger's frame under a known KID: %v", err)
		}
	})

	t.Run("removed key", func(t *testing.T) {
		s, r := pair(t, micA)
		r.RemoveKey(micA)
		if _, _, err := r.Open(nil, Opus, seal(t, s, Opus, []byte("x"))); !errors.Is(err, ErrKID) {
			t.Fatalf("removed key still opens: %v", err)
		}
		r = NewReceiver()
		if err := r.AddKey(micA, testBase); err != nil {
			t.Fatal(err)
		}
		if err := r.AddKey(micA, testBase); err == nil {
			t.Fatal("a key id was added twice, which would forget its counters")
		}
	})
}

// Test 64: a KID or CTR that is not in its shortest form is refused, although the RFC allows it.
func Test14_64_NonMinimalHeaderIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		header []byte
	}{
		{"KID 0 in one byte", []byte{0x80, 0}},
		{"KID 7 in one byte", []byte{0x80, 7}},
		{"KID 8 in two bytes", []byte{0x90, 0, 8}},
		{"KID 16 in eight bytes", []byte{0xf0, 0, 0, 0, 0, 0, 0, 0, 16}},
		{"CTR 0 in one byte", []byte{0x08, 0}},
		{"CTR 7 in one byte", []byte{0x08, 7}},
		{"CTR 255 in two bytes", []byte{0x09, 0, 255}},
		{"CTR 1 in eight bytes", []byte{0x0f, 0, 0, 0, 0, 0, 0, 0, 1}},
		{"both", []byte{0x99, 0, 8, 0, 8}},
	} {
		if _, _, _, err := parseHeader(append(c.header, make([]byte, 20)...)); !errors.Is(err, ErrHeader) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// A well-sealed frame whose sender chose a long form is refused before any key is used.
	s, r := pair(t, 5)
	aad := []byte{0x80, 5} // KID 5 in a byte of its own, CTR 0
	var nonce [nonceSize]byte
	s.key.nonce(&nonce, 0)
	long := s.key.aead.Seal(bytes.Clone(aad), nonce[:], []byte("hello"), aad)
	if _, _, err := r.Open(nil, Opus, long); !errors.Is(err, ErrHeader) {
		t.Fatalf("long form: %v", err)
	}
}

// Test 65: plain frames are dropped, the Opus silence frame of an SFU among them.
func Test14_65_PlainFrameIsDropped(t *testing.T) {
	for _, kid := range []uint64{0, 7, micB, 144} {
		_, r := pair(t, kid)
		if got, _, err := r.Open(nil, Opus, []byte{0xf8, 0xff, 0xfe}); err == nil || len(got) != 0 {
			t.Fatalf("silence frame came through as %x", got)
		}
		for _, f := range frames {
			if got, _, err := r.Open(nil, f.codec, f.frame); err == nil || len(got) != 0 {
				t.Fatalf("plain %s came through as %x", f.name, got)
			}
		}
		rng := rand.New(rand.NewPCG(65, kid))
		for range 20000 {
			b := make([]byte, rng.IntN(64))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			if _, _, err := r.Open(nil, Codec(rng.IntN(3)), b); err == nil {
				t.Fatalf("random bytes %x came through", b)
			}
		}
	}
}

// Test 66: a counter seen before, or more than 512 old, is dropped.
func Test14_66_RepeatedCounterIsDropped(t *testing.T) {
	s, r := pair(t, camA)
	var sealed [][]byte
	for i := range 2000 {
		sealed = append(sealed, seal(t, s, Opus, []byte{byte(i)}))
	}
	open := func(i int) error {
		_, _, err := r.Open(nil, Opus, sealed[i])
		return err
	}
	steps := []struct {
		frame int
		ok    bool
	}{
		{0, true}, {0, false}, {3, true}, {2, true}, {2, false}, {1, true}, {1, false},
		{600, true}, {600, false},
		{88, false}, // 512 behind 600
		{89, true},  // 511 behind
		{89, false}, {4, false}, {599, true}, {601, true}, {600, false},
		{1999, true}, {1487, false}, {1488, true}, {601, false}, {1998, true}, {1998, false},
	}
	for n, st := range steps {
		err := open(st.frame)
		if st.ok && err != nil {
			t.Fatalf("step %d: frame %d refused: %v", n, st.frame, err)
		}
		if !st.ok && !errors.Is(err, ErrReplay) {
			t.Fatalf("step %d: frame %d was not a replay: %v", n, st.frame, err)
		}
	}
}

// The ring of bits answers as a plain set does.
func TestWindowAgainstSet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var w window
		seen := map[uint64]bool{}
		var highest uint64
		var any bool
		for range 5000 {
			ctr := highest + uint64(rng.IntN(1200))
			if back := uint64(rng.IntN(900)); rng.IntN(4) > 0 {
				ctr = max(highest, back) - back
			}
			want := !seen[ctr] && (!any || ctr > highest || highest-ctr < windowSize)
			if got := w.fresh(ctr); got != want {
				t.Fatalf("fresh(%d) = %v after highest %d", ctr, got, highest)
			}
			if want {
				w.mark(ctr)
				seen[ctr], any = true, true
				highest = max(highest, ctr)
			}
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	s, r := pair(t, 3)
	for _, v := range []any{s, r} {
		for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
			if got := fmt.Sprintf(f, v); !strings.Contains(got, "redacted") {
				t.Errorf("%s prints %q", f, got)
			}
		}
	}
}

func FuzzOpen(f *testing.F) {
	s, _ := pair(f, camA)
	for _, fr := range frames {
		f.Add(uint8(fr.codec), seal(f, s, fr.codec, fr.frame))
		f.Add(uint8(fr.codec), fr.frame)
	}
	f.Add(uint8(0), []byte{0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, codec uint8, sealed []byte) {
		r := NewReceiver()
		if err := r.AddKey(camA, otherBase); err != nil {
			t.Fatal(err)
		}
		if got, _, err := r.Open(nil, Codec(codec%3), sealed); err == nil {
			t.Fatalf("%x opened as %x without its key", sealed, got)
		}
		if kid, ctr, n, err := parseHeader(sealed); err == nil {
			if !bytes.Equal(appendHeader(nil, kid, ctr), sealed[:n]) {
				t.Fatalf("header %x has two forms", sealed[:n])
			}
		}
	})
}
