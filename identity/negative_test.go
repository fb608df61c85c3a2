package identity

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/identity/pb"
)

// The negative tests that docs/spec/identity.md numbers, as far as they concern phrases, keys
// and texts; those about devices are in negative_devices_test.go.

const phrase24 = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon " +
	"abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art"

func Test14_01_MnemonicWithBadChecksum(t *testing.T) {
	for _, s := range []string{
		strings.TrimSuffix(phrase24, "art") + "abandon",
		strings.TrimSuffix(phrase24, "art") + "about",
		"art " + strings.TrimSuffix(phrase24, " art"), // right words, other order
		strings.TrimSpace(strings.Repeat("abandon ", 12)),
	} {
		if _, err := NormalizeMnemonic(s); !errors.Is(err, ErrChecksum) {
			t.Errorf("%q: %v, want ErrChecksum", s, err)
		}
		if root, err := DeriveRoot(s, "", 0); err == nil || root != nil {
			t.Errorf("%q: a key was derived", s)
		}
	}
}

func Test14_02_MnemonicWordsCaseAndSpaces(t *testing.T) {
	for _, s := range []string{
		strings.ToUpper(phrase24),
		strings.ReplaceAll(phrase24, "abandon", "Abandon"),
		strings.ReplaceAll(phrase24, " ", "  "),
		" \t\r\n" + strings.ReplaceAll(phrase24, " ", " \n") + "\n",
		strings.ReplaceAll(phrase24, "art", "ａｒｔ"), // compatibility forms fall together under NFKD
	} {
		if got, err := NormalizeMnemonic(s); err != nil || got != phrase24 {
			t.Errorf("%q became %q, %v", s, got, err)
		}
	}

	var wrong *WordError
	if _, err := NormalizeMnemonic(strings.Replace(phrase24, "abandon", "abandons", 1)); !errors.As(err, &wrong) ||
		wrong.Position != 1 || wrong.Word != "abandons" {
		t.Errorf("word outside the list: %v", err)
	}
	if _, err := NormalizeMnemonic(strings.TrimSuffix(phrase24, "art") + "arte"); !errors.As(err, &wrong) ||
		wrong.Position != 24 || wrong.Word != "arte" {
		t.Errorf("word outside the list: %v", err)
	}

	// NFKD turns every one of these into a plain space, so they must be caught before it.
	for _, space := range []string{"\u00a0", "\u2003", "\u2007", "\u202f", "\u3000", "\u0085", "\u2028"} {
		s := strings.Replace(phrase24, " ", space, 1)
		if got, err := NormalizeMnemonic(s); err == nil {
			t.Errorf("%+q between two words became %q", space, got)
		}
		if got, err := NormalizeMnemonic(phrase24 + space); err == nil {
			t.Errorf("%+q at the end became %q", space, got)
		}
	}
	// Invisible characters that are no spaces end up inside a word.
	for _, invisible := range []string{"\u200b", "\ufeff", "\u00ad", "\v", "\f", "\x00"} {
		if got, err := NormalizeMnemonic(strings.Replace(phrase24, " ", " "+invisible, 1)); err == nil {
			t.Errorf("%+q became %q", invisible, got)
		}
	}
}

func Test14_03_PassphraseComposedAndDecomposed(t *testing.T) {
	composed := must(DeriveRoot(phrase24, "Zürich Å", 0)).Public()
	decomposed := must(DeriveRoot(phrase24, "Zu\u0308rich A\u030a", 0)).Public()
	if composed != decomposed {
		t.Error("composed and decomposed passphrase give different keys")
	}
	for _, other := range []string{"", "Zürich", "Zürich Å ", " Zürich Å", "zürich å"} {
		if must(DeriveRoot(phrase24, other, 0)).Public() == composed {
			t.Errorf("passphrase %q gives the same key", other)
		}
	}
}

func Test14_04_DerivationStepWithoutHardening(t *testing.T) {
	master := slip10Master(make([]byte, 64))
	for _, index := range []uint32{0, 1, derivationPurpose, hardened - 1} {
		node, err := master.child(index)
		if !errors.Is(err, errNotHardened) || node.key != [32]byte{} || node.chain != [32]byte{} {
			t.Errorf("step %d without hardening: %v", index, err)
		}
	}
	if _, err := slip10Derive(make([]byte, 64), hardened, 1); !errors.Is(err, errNotHardened) {
		t.Errorf("path m/0'/1: %v", err)
	}
	if _, err := DeriveRoot(phrase24, "", hardened); err == nil {
		t.Error("account 2^31 was accepted")
	}
}

func Test14_05_TextIDWithOneChangedCharacter(t *testing.T) {
	id := testRoot(1).Public().ID()
	for i := range id {
		for _, c := range bech32Charset + "1bio" {
			if byte(c) == id[i] {
				continue
			}
			changed := id[:i] + string(c) + id[i+1:]
			if k, err := ParseID(changed); err == nil {
				t.Fatalf("%s, changed at %d, was read as %s", changed, i, k.ID())
			}
		}
	}
}

func Test14_06_TextIDInAnotherForm(t *testing.T) {
	key := testRoot(1).Public()
	upper, err := ParseID(strings.ToUpper(key.ID()))
	if err != nil || upper != key {
		t.Errorf("upper case: %v", err)
	}
	bad := badIDs(key)
	for name, s := range bad {
		if k, err := ParseID(s); err == nil {
			t.Errorf("%s: %q was read as %s", name, s, k.ID())
		}
	}
	// Control: the padded text is wrong in nothing but the padding.
	if bech32Polymod(idPrefix, symbolsOf(bad["padding bit that is 1"])) != bech32mConst {
		t.Error("the padded id has a wrong checksum and tests nothing")
	}
}

func badIDs(key PublicKey) map[string]string {
	id := key.ID()
	payload := append([]byte{idVersion}, key[:]...)
	return map[string]string{
		"mixed case":             strings.ToUpper(id[:10]) + id[10:],
		"upper-case prefix":      "TL" + id[2:],
		"one upper-case letter":  id[:3] + "Q" + id[4:],
		"Bech32 instead of m":    bech32Old(payload),
		"version 1":              bech32mEncode(idPrefix, append([]byte{1}, key[:]...)),
		"version 255":            bech32mEncode(idPrefix, append([]byte{255}, key[:]...)),
		"wrong prefix":           bech32mEncode("tk", payload),
		"longer prefix":          bech32mEncode("tll", payload),
		"key of 31 bytes":        bech32mEncode(idPrefix, payload[:32]),
		"key of 33 bytes":        bech32mEncode(idPrefix, append(payload, 0)),
		"padding bit that is 1":  paddedID(payload),
		"space behind":           id + " ",
		"space in front":         " " + id,
		"character cut off":      id[:61],
		"character more":         id + "q",
		"empty":                  "",
		"letters from elsewhere": id[:60] + "é",
	}
}

// bech32Old encodes with the checksum constant of the first Bech32.
func bech32Old(payload []byte) string {
	s := bech32mEncode(idPrefix, payload)
	symbols := symbolsOf(s)
	symbols = symbols[:len(symbols)-6]
	return withChecksum(symbols, 1)
}

// paddedID sets the one padding bit behind the 33 bytes and mends the checksum.
func paddedID(payload []byte) string {
	symbols := symbolsOf(bech32mEncode(idPrefix, payload))
	symbols = symbols[:len(symbols)-6]
	symbols[len(symbols)-1] |= 1
	return withChecksum(symbols, bech32mConst)
}

func symbolsOf(id string) []byte {
	var symbols []byte
	for _, c := range id[len(idPrefix)+1:] {
		symbols = append(symbols, byte(strings.IndexRune(bech32Charset, c)))
	}
	return symbols
}

func withChecksum(symbols []byte, constant uint32) string {
	check := bech32Polymod(idPrefix, append(slices.Clone(symbols), 0, 0, 0, 0, 0, 0)) ^ constant
	for i := range 6 {
		symbols = append(symbols, byte(check>>(5*(5-i)))&31)
	}
	s := idPrefix + "1"
	for _, v := range symbols {
		s += string(bech32Charset[v])
	}
	return s
}

// badKeys are all the encodings that the key check must refuse and whose reason is known:
// the points of small order in every encoding that decoders accept, and keys with a
// small-order part.
func badKeys(t testing.TB) map[string][]byte {
	keys := map[string][]byte{
		"all zero (order 4)": make([]byte, 32),
		"too short":          make([]byte, 31),
		"too long":           make([]byte, 33),
		"empty":              nil,
	}
	for name, s := range map[string]string{
		"identity":                      "0100000000000000000000000000000000000000000000000000000000000000",
		"identity, sign bit set":        "0100000000000000000000000000000000000000000000000000000000000080",
		"order 2":                       "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"order 2, sign set":             "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"order 4, sign set":             "0000000000000000000000000000000000000000000000000000000000000080",
		"order 8":                       "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"order 8, sign set":             "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"order 8, other":                "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"order 8, other, sign set":      "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"no point on the curve":         "0200000000000000000000000000000000000000000000000000000000000000",
		"base point plus point order 2": "9599999999999999999999999999999999999999999999999999999999999999",
	} {
		keys[name] = unhex(t, s)
	}
	// All encodings of y from p to 2^255-1. The few that are points all have a small-order
	// part, so that the rule about canonical encodings refuses no key that another rule would
	// let through; it stays because it does not rest on that accident.
	for low := 0xed; low <= 0xff; low++ {
		b := append([]byte{byte(low)}, bytes.Repeat([]byte{0xff}, 31)...)
		keys[fmt.Sprintf("y = p+%d, sign set", low-0xed)] = b
		c := slices.Clone(b)
		c[31] = 0x7f
		keys[fmt.Sprintf("y = p+%d", low-0xed)] = c
	}
	return keys
}

func Test14_07_PublicKeysThatAreRefusedOnImport(t *testing.T) {
	root, device := testRoot(1), testDevice(1)
	good := must(root.CertifyDevice(device.Public(), 1, t0, t0.Add(day)))
	for name, b := range badKeys(t) {
		if k, err := CheckKey(b); !errors.Is(err, ErrKey) || !k.IsZero() {
			t.Errorf("%s: CheckKey says %v", name, err)
		}
		if len(b) != 32 {
			continue
		}
		// The same through every door by which a key comes in.
		if _, err := ParseID(PublicKey(b).ID()); !errors.Is(err, ErrKey) {
			t.Errorf("%s: ParseID says %v", name, err)
		}
		if _, err := ParsePeerID(PublicKey(b).PeerID().String()); err == nil {
			t.Errorf("%s: ParsePeerID accepts it", name)
		}
		m := open(t, good.Bytes(), &pb.DeviceCert{})
		m.DeviceKey = b
		if _, err := ParseDeviceCert(forge(t, root.key, ContextDeviceCert, m)); !errors.Is(err, ErrKey) {
			t.Errorf("%s: device key of a certificate: %v", name, err)
		}
	}
	// The base point itself is of prime order; it must pass, or the check refuses anything.
	if _, err := CheckKey(unhex(t, "5866666666666666666666666666666666666666666666666666666666666666")); err != nil {
		t.Errorf("base point: %v", err)
	}
}

func Test14_08_UniversalSignatureUnderSmallOrderKey(t *testing.T) {
	identityPoint := unhex(t, "0100000000000000000000000000000000000000000000000000000000000000")
	universal := append(slices.Clone(identityPoint), make([]byte, 32)...)
	for _, msg := range []string{"one message", "any other"} {
		if !ed25519.Verify(identityPoint, []byte(msg), universal) {
			t.Fatal("the library refuses the universal signature: this test tests nothing any more")
		}
	}
	if _, err := CheckKey(identityPoint); !errors.Is(err, ErrKey) {
		t.Errorf("CheckKey says %v", err)
	}
	if err := VerifySignature(PublicKey{}, ContextInner, []byte("message"), universal); !errors.Is(err, ErrSignature) {
		t.Errorf("zero key: %v", err)
	}
	// Under an honest key the same signature is nothing.
	if err := VerifySignature(testRoot(1).Public(), ContextInner, []byte("m"), universal); !errors.Is(err, ErrSignature) {
		t.Errorf("honest key: %v", err)
	}
	// A certificate that a small-order root "signs" in this way.
	good := must(testRoot(1).CertifyDevice(testDevice(1).Public(), 1, t0, t0.Add(day)))
	m := open(t, good.Bytes(), &pb.DeviceCert{})
	m.RootKey = identityPoint
	forged := append(slices.Clone(universal), forge(t, testRoot(1).key, ContextDeviceCert, m)[SignatureSize:]...)
	if _, err := ParseDeviceCert(forged); !errors.Is(err, ErrKey) {
		t.Errorf("certificate under the identity point: %v", err)
	}
}

func Test14_09_SignatureWithSPlusL(t *testing.T) {
	d := testDevice(1)
	msg := []byte("message")
	sig := d.Sign(ContextInner, msg)
	if err := VerifySignature(d.Public(), ContextInner, msg, sig); err != nil {
		t.Fatal(err)
	}
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := slices.Clone(sig[32:])
	slices.Reverse(s)
	sum := new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
	slices.Reverse(sum)
	if err := VerifySignature(d.Public(), ContextInner, msg, append(sig[:32:32], sum...)); !errors.Is(err, ErrSignature) {
		t.Errorf("S + L: %v", err)
	}
}

func Test14_59_SafetyNumberWithKeysSwapped(t *testing.T) {
	a, b, c := testRoot(1).Public(), testRoot(2).Public(), testRoot(3).Public()
	ab := SafetyNumber(a, b)
	if ab != SafetyNumber(b, a) {
		t.Error("the two sides see different numbers")
	}
	if ab == SafetyNumber(a, c) || ab == SafetyNumber(b, c) {
		t.Error("another key gives the same number")
	}
	groups := strings.Split(ab, " ")
	if len(groups) != 12 {
		t.Fatalf("%q has %d groups", ab, len(groups))
	}
	for _, g := range groups {
		if len(g) != 5 || strings.Trim(g, "0123456789") != "" {
			t.Errorf("group %q in %q", g, ab)
		}
	}
}
