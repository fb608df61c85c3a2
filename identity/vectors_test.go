package identity

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tyler-smith/go-bip39"
)

func readVectors(t testing.TB, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectorsOfTrunklineIdentity(t *testing.T) {
	var file struct {
		Vectors []struct {
			Mnemonic, Passphrase string
			Account              uint32
			PublicKey            string `json:"public_key"`
			PeerID               string `json:"peer_id"`
			ID, Fingerprint      string
		}
	}
	readVectors(t, "trunkline_identity.json", &file)
	if len(file.Vectors) != 2 {
		t.Fatalf("%d vectors, want 2", len(file.Vectors))
	}
	for _, v := range file.Vectors {
		root, err := DeriveRoot(v.Mnemonic, v.Passphrase, v.Account)
		if err != nil {
			t.Fatal(err)
		}
		k := root.Public()
		for _, c := range []struct{ what, got, want string }{
			{"public key", hex.EncodeToString(k[:]), v.PublicKey},
			{"peer id", k.PeerID().String(), v.PeerID},
			{"id", k.ID(), v.ID},
			{"fingerprint", k.Fingerprint(), v.Fingerprint},
		} {
			if c.got != c.want {
				t.Errorf("%s is %s, want %s", c.what, c.got, c.want)
			}
		}
	}
}

func TestVectorsOfBIP39(t *testing.T) {
	var file struct {
		Passphrase string
		English    []struct{ Entropy, Mnemonic, Seed string }
	}
	readVectors(t, "bip39_english.json", &file)
	if len(file.English) != 24 {
		t.Fatalf("%d vectors, want 24", len(file.English))
	}
	for i, v := range file.English {
		phrase, err := bip39.NewMnemonic(unhex(t, v.Entropy))
		if err != nil || phrase != v.Mnemonic {
			t.Fatalf("vector %d: mnemonic %q, %v", i, phrase, err)
		}
		// The vectors have phrases of 18 words, which are correct and which we do not take.
		words, err := mnemonicWords(v.Mnemonic)
		if err != nil {
			t.Fatalf("vector %d: %v", i, err)
		}
		if phrase, err = checkedMnemonic(words); err != nil || phrase != v.Mnemonic {
			t.Fatalf("vector %d: %q, %v", i, phrase, err)
		}
		seed, err := mnemonicSeed(phrase, file.Passphrase)
		if err != nil || hex.EncodeToString(seed) != v.Seed {
			t.Fatalf("vector %d: seed %x, %v", i, seed, err)
		}
		_, err = NormalizeMnemonic(v.Mnemonic)
		if accepted := err == nil; accepted != (len(words) != 18) {
			t.Errorf("vector %d of %d words: %v", i, len(words), err)
		}
	}
}

func TestVectorsOfSLIP0010(t *testing.T) {
	var file struct {
		Vectors []struct {
			Seed  string
			Chain []struct{ Path, ChainCode, Private, Public string }
		}
	}
	readVectors(t, "slip0010_ed25519.json", &file)
	count := 0
	for _, v := range file.Vectors {
		for _, c := range v.Chain {
			node, err := slip10Derive(unhex(t, v.Seed), parsePath(t, c.Path)...)
			if err != nil {
				t.Fatal(err)
			}
			public := ed25519.NewKeyFromSeed(node.key[:]).Public().(ed25519.PublicKey)
			if hex.EncodeToString(node.chain[:]) != c.ChainCode || hex.EncodeToString(node.key[:]) != c.Private ||
				hex.EncodeToString(public) != c.Public {
				t.Errorf("%s of seed %s is wrong", c.Path, v.Seed)
			}
			count++
		}
	}
	if count != 12 {
		t.Fatalf("%d nodes, want 12", count)
	}
}

// parsePath reads "m/0'/1'"; a step without the quote is one without hardening.
func parsePath(t *testing.T, path string) []uint32 {
	t.Helper()
	var steps []uint32
	for _, part := range strings.Split(path, "/")[1:] {
		number, quoted := strings.CutSuffix(part, "'")
		n := uint32(0)
		for _, c := range number {
			n = n*10 + uint32(c-'0')
		}
		if quoted {
			n |= hardened
		}
		steps = append(steps, n)
	}
	return steps
}

func TestVectorsOfWycheproofEd25519(t *testing.T) {
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			PublicKey struct{ PK string }
			Tests     []struct {
				TCID             int
				Msg, Sig, Result string
			}
		}
	}
	readVectors(t, "wycheproof_ed25519.json", &file)
	count := 0
	for _, g := range file.TestGroups {
		key, err := CheckKey(unhex(t, g.PublicKey.PK))
		if err != nil {
			t.Fatalf("key %s: %v", g.PublicKey.PK, err)
		}
		for _, c := range g.Tests {
			// The vectors have no context string: with an empty one, ours are plain signatures.
			err := VerifySignature(key, "", unhex(t, c.Msg), unhex(t, c.Sig))
			if (err == nil) != (c.Result == "valid") {
				t.Errorf("tcId %d is %s: %v", c.TCID, c.Result, err)
			}
			count++
		}
	}
	if count != file.NumberOfTests || count != 151 {
		t.Fatalf("%d vectors, want 151", count)
	}
}

// The edge cases have no expected answers by design. Ours: the key check refuses every key
// that is of small order, has a small-order part or is not canonical, 267 of the 275. Of
// the eight others the cofactorless equation with canonical R accepts two; verifiers that
// multiply by the cofactor also accept signatures with a small-order part in R.
func TestVectorsOfEd25519EdgeCases(t *testing.T) {
	var vectors []struct {
		Number        int
		Key, Sig, Msg string
		Flags         []string
	}
	readVectors(t, "cctv_ed25519_edge.json", &vectors)
	if len(vectors) != 275 {
		t.Fatalf("%d vectors, want 275", len(vectors))
	}
	accept := map[int]bool{266: false, 267: false, 278: false, 279: false, 304: true, 305: true, 316: false, 317: false}
	refused := 0
	for _, v := range vectors {
		key, err := CheckKey(unhex(t, v.Key))
		bad := slices.ContainsFunc(v.Flags, func(f string) bool {
			return f == "low_order_A" || f == "low_order_component_A" || f == "non_canonical_A"
		})
		if (err != nil) != bad {
			t.Errorf("vector %d: flags %v, key check says %v", v.Number, v.Flags, err)
		}
		if err != nil {
			refused++
			continue
		}
		want, known := accept[v.Number]
		if !known {
			t.Errorf("vector %d: no answer is written down", v.Number)
		}
		if got := VerifySignature(key, "", []byte(v.Msg), unhex(t, v.Sig)) == nil; got != want {
			t.Errorf("vector %d: flags %v: accepted is %v, want %v", v.Number, v.Flags, got, want)
		}
	}
	if refused != 267 {
		t.Errorf("the key check refuses %d of 275, want 267", refused)
	}
}

func TestSignedObjectIsSignatureThenMessage(t *testing.T) {
	d := DeviceFromSeed([32]byte{1})
	msg := []byte("message")
	signed := d.SignObject(ContextInner, msg)
	if !bytes.Equal(signed, append(d.Sign(ContextInner, msg), msg...)) {
		t.Fatal("SignObject and Sign differ")
	}
	got, err := OpenObject(d.Public(), ContextInner, signed, len(signed))
	if err != nil || !bytes.Equal(got, msg) {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := OpenObject(d.Public(), ContextInner, signed, len(signed)-1); err == nil {
		t.Error("an object over its limit was opened")
	}
	if _, err := OpenObject(d.Public(), ContextInner, signed[:SignatureSize], 100); err == nil {
		t.Error("a signature without a message was opened")
	}
}
