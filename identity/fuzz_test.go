package identity

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/internal/canon"
)

// One target for each parser of outside bytes or text. What is accepted must come back the
// same: two inputs for one value would be two signed objects, or two names for one person.

func FuzzCheckKey(f *testing.F) {
	for _, b := range badKeys(f) {
		f.Add(b)
	}
	f.Add(testRoot(1).Public().Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := CheckKey(b)
		if err != nil {
			return
		}
		if err := checkPoint(k[:]); err != nil || !bytes.Equal(k[:], b) {
			t.Fatalf("%x: %v", b, err)
		}
	})
}

func FuzzParseID(f *testing.F) {
	id := testRoot(1).Public().ID()
	f.Add(id)
	f.Add(strings.ToUpper(id))
	f.Add(id[:61])
	f.Add("tl1")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseID(s)
		if err == nil && k.ID() != s && k.ID() != strings.ToLower(s) {
			t.Fatalf("%q was read as %s", s, k.ID())
		}
	})
}

func FuzzParsePeerID(f *testing.F) {
	f.Add(testRoot(1).Public().PeerID().String())
	f.Add(strings.Repeat("1", 52))
	f.Add("12D3KooW")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePeerID(s); err == nil && p.String() != s {
			t.Fatalf("%q was read as %s", s, p)
		}
	})
}

func FuzzPeerIDFromBytes(f *testing.F) {
	f.Add(testRoot(1).Public().PeerID().Bytes())
	f.Add(make([]byte, 38))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := PeerIDFromBytes(b)
		if err == nil && !bytes.Equal(p[:], b) {
			t.Fatalf("%x was read as %x", b, p)
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	id := testRoot(1).Public().ID()
	f.Add(id + "@acme.example")
	f.Add(id + "@acme.example/" + testRoot(2).Public().PeerID().String())
	f.Add("name@acme.example")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if again, err := ParseAddress(a.String()); err != nil || again != a {
			t.Fatalf("%q was read as %v and that as %v, %v", s, a, again, err)
		}
	})
}

func FuzzParseDeviceID(f *testing.F) {
	f.Add(testDevice(1).ID().Hex())
	f.Add(strings.Repeat("F", 32))
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseDeviceID(s); err == nil && id.Hex() != s {
			t.Fatalf("%q was read as %s", s, id.Hex())
		}
	})
}

func FuzzNormalizeMnemonic(f *testing.F) {
	f.Add(phrase24)
	f.Add(strings.ToUpper(phrase24))
	f.Add(strings.Replace(phrase24, " ", "\u00a0", 1))
	f.Add("ａｒｔ")
	f.Fuzz(func(t *testing.T, s string) {
		phrase, err := NormalizeMnemonic(s)
		if err != nil {
			return
		}
		if again, err := NormalizeMnemonic(phrase); err != nil || again != phrase {
			t.Fatalf("%q became %q and that %q, %v", s, phrase, again, err)
		}
	})
}

func FuzzCheckX25519(f *testing.F) {
	d := testDescriptor(1, t0)
	f.Add(d.RoutingKey[:])
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		if CheckX25519(b) == nil && (len(b) != 32 || b[31] > 0x7f) {
			t.Fatalf("%x was accepted", b)
		}
	})
}

// fuzzSigned fuzzes a parser of signed objects. Random bytes never carry a good signature,
// so the message is signed again with the key of the seed: the fuzzer gets behind the
// signature check, as a hostile owner of a key does.
func fuzzSigned(f *testing.F, parse func([]byte) (interface{ Bytes() []byte }, error), sign func(msg []byte) []byte, seeds ...[]byte) {
	for _, s := range seeds {
		f.Add(s, false)
		f.Add(s[SignatureSize:], true)
	}
	f.Fuzz(func(t *testing.T, b []byte, resign bool) {
		if resign {
			b = sign(b)
		}
		v, err := parse(b)
		if err == nil && !bytes.Equal(v.Bytes(), b) {
			t.Fatalf("%x came back as %x", b, v.Bytes())
		}
	})
}

func FuzzParseDeviceCert(f *testing.F) {
	root := testRoot(1)
	c := must(root.CertifyDevice(testDevice(1).Public(), 1, t0, t0.Add(day)))
	fuzzSigned(f, func(b []byte) (interface{ Bytes() []byte }, error) { return ParseDeviceCert(b) },
		func(msg []byte) []byte { return SignObject(root.key, ContextDeviceCert, msg) }, c.Bytes())
}

func FuzzParseDeviceList(f *testing.F) {
	root := testRoot(1)
	first := must(root.NewList(testDevice(1).Public(), testHomes(1), [32]byte{5}, t0))
	next := must(root.Revoke(must(root.AddDevice(first, testDevice(2).Public(), t0)), testDevice(1).ID(), t0))
	fuzzSigned(f, func(b []byte) (interface{ Bytes() []byte }, error) { return ParseDeviceList(b) },
		func(msg []byte) []byte { return SignObject(root.key, ContextDeviceList, msg) }, first.Bytes(), next.Bytes())
}

func FuzzParseDescriptor(f *testing.F) {
	fuzzSigned(f, func(b []byte) (interface{ Bytes() []byte }, error) { return ParseDescriptor(b) },
		func(msg []byte) []byte { return SignObject(testHost(1), ContextDescriptor, msg) }, testDescriptor(1, t0).Bytes())
}

func FuzzParseDomain(f *testing.F) {
	old, key := testHost(2), testHost(1)
	first := must(SignDomain(key, testDomain(2)))
	n := nextDomain(first, func(d *DomainDocument) {
		d.Handovers = []*Handover{must(SignHandover(old, "a.example", publicOf(key), 2))}
		d.Contact, d.Services, d.DirectoryKey = "ops@a.example", []string{"signal", "turn"}, publicOf(old)
	})
	fuzzSigned(f, func(b []byte) (interface{ Bytes() []byte }, error) { return ParseDomain(b) },
		func(msg []byte) []byte { return SignObject(key, ContextDomain, msg) }, first.Bytes(), must(SignDomain(key, n)).Bytes())
}

func FuzzParseHandover(f *testing.F) {
	key := testHost(1)
	h := must(SignHandover(key, "a.example", publicOf(testHost(2)), 2))
	fuzzSigned(f, func(b []byte) (interface{ Bytes() []byte }, error) { return ParseHandover(b) },
		func(msg []byte) []byte { return SignObject(key, ContextHandover, msg) }, h.Bytes())
}

func FuzzOpenObject(f *testing.F) {
	d := testDevice(1)
	f.Add(d.SignObject(ContextInner, []byte("message")))
	f.Fuzz(func(t *testing.T, b []byte) {
		msg, err := OpenObject(d.Public(), ContextInner, b, 4096)
		if err == nil && !bytes.Equal(d.SignObject(ContextInner, msg), b) {
			t.Fatalf("%x is a second signature", b)
		}
	})
}

// The generated types of this package under the canonical reader: what is accepted is
// written back the same.
func TestCanonicalReaderOnOurTypes(t *testing.T) {
	root := testRoot(1)
	list := must(root.NewList(testDevice(1).Public(), testHomes(1, 2), [32]byte{5}, t0))
	msg := list.Bytes()[SignatureSize:]
	unknownTail := append(bytes.Clone(msg), 0x98, 0x06, 0x01) // field 99
	if _, err := ParseDeviceList(SignObject(root.key, ContextDeviceList, unknownTail)); !errors.Is(err, canon.ErrNotCanonical) {
		t.Errorf("an unknown field: %v", err)
	}
	// An unknown field inside a home, which is the last field of the message.
	nested := bytes.Clone(msg)
	at := bytes.LastIndex(nested, list.Homes[1].PeerID.Bytes()) - 3 // length byte of the last home
	nested[at] += 3
	nested = append(nested, 0x98, 0x06, 0x01)
	if _, err := ParseDeviceList(SignObject(root.key, ContextDeviceList, nested)); !errors.Is(err, canon.ErrNotCanonical) {
		t.Errorf("an unknown field in a home: %v", err)
	}
}
