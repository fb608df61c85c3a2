package srtp_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	oracle "github.com/pion/srtp/v3"

	"github.com/trunkline-net/trunkline/media/sfu/srtp"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

var profiles = map[string]srtp.Profile{"AES-128-GCM": srtp.GCM128, "AES-256-GCM": srtp.GCM256, "AES-128-CM": srtp.Counter}

// material is the same for both ends.
func material(t testing.TB, p srtp.Profile) []byte {
	t.Helper()
	n, err := p.Material()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

func ends(t testing.TB, p srtp.Profile) (*srtp.Sealer, *srtp.Opener) {
	t.Helper()
	client, _, err := srtp.Split(p, material(t, p))
	if err != nil {
		t.Fatal(err)
	}
	s, err1 := srtp.NewSealer(client)
	o, err2 := srtp.NewOpener(client, 100)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return s, o
}

// other is the same direction by another implementation.
func other(t testing.TB, p srtp.Profile) *oracle.Context {
	t.Helper()
	m := material(t, p)
	profile := oracle.ProtectionProfile(p)
	k, err1 := profile.KeyLen()
	s, err2 := profile.SaltLen()
	c, err3 := oracle.CreateContext(m[:k], m[2*k:2*k+s], profile, oracle.SRTPReplayProtection(1024), oracle.SRTCPReplayProtection(1024))
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return c
}

func packet(ssrc uint32, seq uint16, payload string) []byte {
	h := wire.Header{PayloadType: 96, Sequence: seq, Timestamp: uint32(seq) * 3000, SSRC: ssrc}
	h.Extensions[0] = wire.Extension{ID: 4, Value: []byte{byte(seq >> 8), byte(seq)}}
	return append(h.Append(nil), payload...)
}

func TestWhatIsSealedAnotherImplementationOpens(t *testing.T) {
	for name, p := range profiles {
		t.Run(name, func(t *testing.T) {
			s, _ := ends(t, p)
			far := other(t, p)
			// Two sources, three rounds of the counter, with gaps, and now and then one that comes late.
			n := uint32(0)
			for i := uint32(65000); i < 3*65536; i += 1 + i%500 {
				for _, seq := range []uint32{i, i - 3} {
					want := packet(7+n%2, uint16(seq), fmt.Sprint("payload ", seq))
					n++
					sealed, err := s.RTP([]byte("before"), want)
					if err != nil {
						t.Fatal(err)
					}
					got, err := far.DecryptRTP(nil, sealed[len("before"):], nil)
					if err != nil || !bytes.Equal(got, want) {
						t.Fatalf("number %d: %v", seq, err)
					}
				}
			}
			for i := range 300 {
				want := wire.AppendPLI(wire.AppendRR(nil, 1+uint32(i%2), nil), 1, uint32(i))
				sealed, err := s.RTCP(nil, want)
				if err != nil {
					t.Fatal(err)
				}
				if len(sealed) > len(want)+srtp.Overhead {
					t.Fatalf("%d bytes became %d", len(want), len(sealed))
				}
				got, err := far.DecryptRTCP(nil, sealed, nil)
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("compound %d: %v", i, err)
				}
			}
		})
	}
}

func TestWhatAnotherImplementationSealsIsOpened(t *testing.T) {
	for name, p := range profiles {
		t.Run(name, func(t *testing.T) {
			_, o := ends(t, p)
			far := other(t, p)
			n := uint32(0)
			for i := uint32(65000); i < 3*65536; i += 1 + i%500 {
				for _, seq := range []uint32{i, i - 3} {
					want := packet(7+n%2, uint16(seq), fmt.Sprint("payload ", seq))
					n++
					sealed, err := far.EncryptRTP(nil, want, nil)
					if err != nil {
						t.Fatal(err)
					}
					got, err := o.RTP(sealed)
					if err != nil || !bytes.Equal(got, want) {
						t.Fatalf("number %d: %v", seq, err)
					}
				}
			}
			for i := range 300 {
				want := wire.AppendPLI(wire.AppendRR(nil, 1+uint32(i%2), nil), 1, uint32(i))
				sealed, err := far.EncryptRTCP(nil, want, nil)
				if err != nil {
					t.Fatal(err)
				}
				got, err := o.RTCP(sealed)
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("compound %d: %v", i, err)
				}
			}
		})
	}
}

func TestNothingIsOpenedTwiceNorTooLate(t *testing.T) {
	for name, p := range profiles {
		t.Run(name, func(t *testing.T) {
			s, o := ends(t, p)
			var sealed [][]byte
			for i := range 3000 {
				b, err := s.RTP(nil, packet(7, uint16(64000+i), "payload"))
				if err != nil {
					t.Fatal(err)
				}
				sealed = append(sealed, b)
			}
			open := func(i int) error {
				_, err := o.RTP(bytes.Clone(sealed[i]))
				return err
			}
			for _, step := range []struct {
				i    int
				want error
			}{
				{0, nil}, {0, srtp.ErrReplayed}, {5, nil}, {3, nil}, {3, srtp.ErrReplayed}, {5, srtp.ErrReplayed}, {4, nil},
				{1028, nil}, {5, srtp.ErrReplayed}, {6, nil}, {6, srtp.ErrReplayed}, // 1,022 behind
				{1029, nil}, {1030, nil}, {2, srtp.ErrReplayed}, // never came, and is too old
				{2999, nil}, {1029, srtp.ErrReplayed}, {1975, srtp.ErrReplayed}, {1976, nil}, {1976, srtp.ErrReplayed}, {2998, nil},
			} {
				if err := open(step.i); !errors.Is(err, step.want) {
					t.Fatalf("packet %d: %v, want %v", step.i, err, step.want)
				}
			}
			compound, err := s.RTCP(nil, wire.AppendRR(nil, 1, nil))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := o.RTCP(bytes.Clone(compound)); err != nil {
				t.Fatal(err)
			}
			if _, err := o.RTCP(compound); !errors.Is(err, srtp.ErrReplayed) {
				t.Errorf("the same compound again: %v", err)
			}
		})
	}
}

func TestWhatWasTouchedIsNotOpenedAndLeavesNoTrace(t *testing.T) {
	for name, p := range profiles {
		t.Run(name, func(t *testing.T) {
			s, o := ends(t, p)
			sealed, err := s.RTP(nil, packet(7, 1, "payload"))
			if err != nil {
				t.Fatal(err)
			}
			for i := range sealed {
				b := bytes.Clone(sealed)
				b[i] ^= 0x01
				if got, err := o.RTP(b); err == nil {
					t.Fatalf("byte %d: opened as %x", i, got)
				}
			}
			for n := range sealed {
				if _, err := o.RTP(bytes.Clone(sealed[:n])); err == nil {
					t.Fatalf("cut to %d bytes: opened", n)
				}
			}
			compound, err := s.RTCP(nil, wire.AppendRR(nil, 7, nil))
			if err != nil {
				t.Fatal(err)
			}
			for i := range compound {
				b := bytes.Clone(compound)
				b[i] ^= 0x80
				if got, err := o.RTCP(b); err == nil {
					t.Fatalf("byte %d: opened as %x", i, got)
				}
			}
			if _, err := o.RTP(sealed); err != nil {
				t.Errorf("the packet itself: %v", err)
			}
			if _, err := o.RTCP(compound); err != nil {
				t.Errorf("the compound itself: %v", err)
			}
		})
	}
}

func TestSourcesAreBoundedAndOnlyAuthenticOnesCount(t *testing.T) {
	s, o := ends(t, srtp.GCM128)
	for ssrc := range uint32(1000) {
		if _, err := o.RTP(append(packet(ssrc, 1, "no tag"), make([]byte, 16)...)); !errors.Is(err, srtp.ErrAuthentic) {
			t.Fatal(err)
		}
	}
	for ssrc := range uint32(101) {
		sealed, err := s.RTP(nil, packet(ssrc, 1, "payload"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.RTP(sealed); ssrc < 100 && err != nil || ssrc == 100 && !errors.Is(err, srtp.ErrSources) {
			t.Fatalf("source %d: %v", ssrc, err)
		}
	}
}

func TestDirectionsHaveKeysOfTheirOwn(t *testing.T) {
	for name, p := range profiles {
		client, server, err := srtp.Split(p, material(t, p))
		if err != nil {
			t.Fatal(err)
		}
		s, err1 := srtp.NewSealer(client)
		o, err2 := srtp.NewOpener(server, 1)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		sealed, err := s.RTP(nil, packet(7, 1, "payload"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.RTP(sealed); !errors.Is(err, srtp.ErrAuthentic) {
			t.Errorf("%s: %v", name, err)
		}
		for _, v := range []any{client, s, o} {
			if text := fmt.Sprintf("%v %+v", v, v); text != "[redacted] [redacted]" {
				t.Errorf("%T prints %s", v, text)
			}
		}
		if _, _, err := srtp.Split(p, make([]byte, 8)); err == nil {
			t.Error("keys were made of eight bytes")
		}
	}
	if _, err := srtp.Profile(9).Material(); !errors.Is(err, srtp.ErrProfile) {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	for _, p := range profiles {
		s, _ := ends(f, p)
		sealed, err1 := s.RTP(nil, packet(7, 1, "payload"))
		compound, err2 := s.RTCP(nil, wire.AppendRR(nil, 7, nil))
		if err := errors.Join(err1, err2); err != nil {
			f.Fatal(err)
		}
		f.Add(uint16(p), sealed)
		f.Add(uint16(p), compound)
	}
	f.Fuzz(func(t *testing.T, profile uint16, b []byte) {
		p := srtp.Profile(profile)
		if _, err := p.Material(); err != nil {
			return
		}
		s, o := ends(t, p)
		if got, err := o.RTP(bytes.Clone(b)); err == nil {
			// Whatever is opened is what sealing it gives.
			if again, err := s.RTP(nil, got); err != nil || !bytes.Equal(again, b) {
				t.Errorf("%x was opened and seals to %x, %v", b, again, err)
			}
		}
		if got, err := o.RTCP(bytes.Clone(b)); err == nil && len(got) >= len(b) {
			t.Errorf("%d bytes opened to %d", len(b), len(got))
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	for name, p := range profiles {
		b.Run(name, func(b *testing.B) {
			s, _ := ends(b, p)
			k := packet(7, 0, string(make([]byte, 1150)))
			dst := make([]byte, 0, 1500)
			b.SetBytes(int64(len(k)))
			for b.Loop() {
				if _, err := s.RTP(dst, k); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
