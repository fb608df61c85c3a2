package identity

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestIDSurvivesTheRoundTrip(t *testing.T) {
	for n := byte(1); n < 20; n++ {
		k := testRoot(n).Public()
		id := k.ID()
		if len(id) != idLength || !strings.HasPrefix(id, "tl1") {
			t.Errorf("id %q", id)
		}
		if got, err := ParseID(id); err != nil || got != k {
			t.Errorf("%s: %v", id, err)
		}
		p := k.PeerID()
		if got, err := ParsePeerID(p.String()); err != nil || got != p || got.Key() != k {
			t.Errorf("%s: %v", p, err)
		}
		if got, err := PeerIDFromBytes(p.Bytes()); err != nil || got != p {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// The checksum against the examples of BIP 350, whose data parts are not ids.
func TestBech32mChecksumAgainstBIP350(t *testing.T) {
	for s, valid := range map[string]bool{
		"a1lqfn3a": true,
		"an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6": true,
		"abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx":                                              true,
		"split1checkupstagehandshakeupstreamerranterredcaperredlc445v":                               true,
		"?1v759aa": true,
		"a12uel5l": false, // Bech32
		"abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryy": false,
	} {
		at := strings.LastIndexByte(s, '1')
		var symbols []byte
		for i := at + 1; i < len(s); i++ {
			symbols = append(symbols, byte(strings.IndexByte(bech32Charset, s[i])))
		}
		if got := bech32Polymod(s[:at], symbols) == bech32mConst; got != valid {
			t.Errorf("%s: %v", s, got)
		}
	}
}

func TestPeerIDsThatAreRefused(t *testing.T) {
	good := testRoot(1).Public().PeerID()
	text := good.String()
	for _, s := range []string{
		"", text[:51], text + "1", "1" + text, strings.ToLower(text), text[:51] + "0", text[:51] + "l", " " + text[1:],
		"QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
		strings.Repeat("z", 52), strings.Repeat("1", 52),
	} {
		if p, err := ParsePeerID(s); err == nil {
			t.Errorf("%q was read as %s", s, p)
		}
	}
	for i := range 6 {
		b := good.Bytes()
		b[i] ^= 1
		if _, err := PeerIDFromBytes(b); err == nil {
			t.Errorf("prefix byte %d changed: accepted", i)
		}
	}
	if (PeerID{}).String() != "" || !(PeerID{}).IsZero() || !(PeerID{}).Key().IsZero() {
		t.Error("the zero peer id is not empty")
	}
}

func TestBase58(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "",
		"1":                 "00",
		"112":               "000001",
		"2NEpo7TZRRrLZSi2U": hex.EncodeToString([]byte("Hello World!")),
		"1111111111":        "00000000000000000000",
		"233QC4":            "0000287fb4cd"[4:],
	} {
		b, err := base58Decode(text)
		if err != nil || hex.EncodeToString(b) != want {
			t.Errorf("%q: %x, %v", text, b, err)
		}
		if got := base58Encode(b); got != text {
			t.Errorf("%x: %q, want %q", b, got, text)
		}
	}
	for _, s := range []string{"0", "O", "I", "l", "a b", "é"} {
		if _, err := base58Decode(s); err == nil {
			t.Errorf("%q was decoded", s)
		}
	}
}

func TestAddresses(t *testing.T) {
	root, home := testRoot(1).Public(), testRoot(2).Public().PeerID()
	id := root.ID()
	for s, want := range map[string]Address{
		id + "@acme.example":                  {Root: root, Domain: "acme.example"},
		strings.ToUpper(id) + "@acme.example": {Root: root, Domain: "acme.example"},
		id + "@acme.example/" + home.String(): {Root: root, Domain: "acme.example", Home: home},
		id + "@localhost":                     {Root: root, Domain: "localhost"},
		id + "@xn--mnchen-3ya.example":        {Root: root, Domain: "xn--mnchen-3ya.example"},
	} {
		a, err := ParseAddress(s)
		if err != nil || a != want {
			t.Errorf("%s: %v, %v", s, a, err)
			continue
		}
		if again, err := ParseAddress(a.String()); err != nil || again != a {
			t.Errorf("%s became %s, %v", s, a.String(), err)
		}
	}
	for _, s := range []string{
		"", "@", id, id + "@", "@acme.example", "name@acme.example", id + "@acme.example/", id + "@acme.example/" + id,
		id + "@acme.example/" + home.String() + "/", id + "@acme.example@b", id + "@ACME.example", " " + id + "@acme.example",
		id + "@acme.example ", id + "@acme.example.", id + "@acme example", id + "@127.0.0.1", id + "@[::1]",
		id + "@acme.example:443", id + "@" + strings.Repeat("a", 300),
	} {
		if a, err := ParseAddress(s); err == nil {
			t.Errorf("%q was read as %v", s, a)
		}
	}
}

func TestDomainNames(t *testing.T) {
	label := strings.Repeat("a", 63)
	for _, s := range []string{"a", "a.b", "acme.example", "a-b.example", "1a.2b", "xn--a.example", label + ".example",
		strings.Repeat("abcdefghi.", 25) + "abc"} {
		if err := CheckDomain(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", ".", "a.", ".a", "a..b", "-a", "a-", "a.-b", "A", "a_b", "a b", "münchen.example",
		label + "a.example", "1", "1.2.3.4", "a.1", "a/b", "a:1", "a\x00", strings.Repeat("abcdefghi.", 25) + "abcd"} {
		if err := CheckDomain(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestDeviceIDText(t *testing.T) {
	id := testDevice(1).ID()
	if got, err := ParseDeviceID(id.Hex()); err != nil || got != id {
		t.Errorf("%s: %v", id.Hex(), err)
	}
	for _, s := range []string{"", id.Hex()[:31], id.Hex() + "0", strings.ToUpper(id.Hex()[:31]) + "F", strings.Repeat("g", 32)} {
		if _, err := ParseDeviceID(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
	if id == DeviceIDOf(testDevice(2).Public()) || id != DeviceIDOf(testDevice(1).Public()) || id.IsZero() {
		t.Error("device ids do not follow the key")
	}
}

func TestGeneratedMnemonics(t *testing.T) {
	seen := map[string]bool{}
	for _, words := range []int{12, 24} {
		for range 20 {
			phrase, err := GenerateMnemonic(words)
			if err != nil || len(strings.Fields(phrase)) != words || seen[phrase] {
				t.Fatalf("%d words: %v", words, err)
			}
			seen[phrase] = true
			if got, err := NormalizeMnemonic(phrase); err != nil || got != phrase {
				t.Errorf("a generated phrase is not in normal form: %v", err)
			}
		}
	}
	for _, words := range []int{-12, 0, 11, 15, 18, 21, 25, 48} {
		if _, err := GenerateMnemonic(words); err == nil {
			t.Errorf("%d words were generated", words)
		}
	}
}

func TestMnemonicLimits(t *testing.T) {
	for name, s := range map[string]string{
		"empty":        "",
		"one word":     "abandon",
		"eleven words": strings.TrimSpace(strings.Repeat("abandon ", 11)),
		"too long":     phrase24 + strings.Repeat(" ", 1024),
		"not UTF-8":    phrase24 + "\xff",
		"tokens":       strings.Repeat("a ", 24),
	} {
		if got, err := NormalizeMnemonic(s); err == nil {
			t.Errorf("%s became %q", name, got)
		}
	}
	for name, p := range map[string]string{"too long": strings.Repeat("a", 1025), "not UTF-8": "\xff"} {
		if _, err := DeriveRoot(phrase24, p, 0); err == nil {
			t.Errorf("passphrase %s: accepted", name)
		}
	}
}

func TestAccountsAndRolesGiveUnrelatedKeys(t *testing.T) {
	root := must(DeriveRoot(phrase24, "", 0))
	if root.Public() != RootFromSeed(root.Seed()).Public() {
		t.Error("the seed does not restore the root")
	}
	secrets := [][32]byte{
		root.Seed(),
		must(DeriveRoot(phrase24, "", 1)).Seed(),
		must(DeriveRoot(phrase24, "", hardened-1)).Seed(),
		must(DeriveBackupSeed(phrase24, "", 0)).Bytes(),
		must(DeriveStorageKey(phrase24, "", 0)).Bytes(),
	}
	for i := range secrets {
		for j := range i {
			if secrets[i] == secrets[j] {
				t.Errorf("secrets %d and %d are equal", i, j)
			}
		}
	}
	d := must(GenerateDevice())
	if d.Public() == must(GenerateDevice()).Public() {
		t.Error("two generated devices are equal")
	}
	if again := DeviceFromSeed(d.Seed()); again.Public() != d.Public() || again.ID() != d.ID() {
		t.Error("the seed does not restore the device")
	}
}

func TestSecretsPrintRedacted(t *testing.T) {
	root := must(DeriveRoot(phrase24, "", 0))
	device := testDevice(1)
	backup := must(DeriveBackupSeed(phrase24, "", 0))
	node := slip10Master(make([]byte, 64))
	rootSeed, deviceSeed, backupSeed := root.Seed(), device.Seed(), backup.Bytes()
	secrets := [][]byte{rootSeed[:], deviceSeed[:], backupSeed[:], node.key[:], node.chain[:]}

	var out bytes.Buffer
	type wrapping struct{ Inner any }
	// Not %p: fmt never asks a value that is no pointer about it, and go vet refuses it.
	for _, v := range []any{root, *root, device, *device, backup, &backup, node, &node} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%z"} {
			fmt.Fprintf(&out, verb+"\n", v)
			fmt.Fprintf(&out, verb+"\n", wrapping{v})
			fmt.Fprintf(&out, verb+"\n", []any{v})
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "v", v, "w", wrapping{v})
		slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "v", v, "w", wrapping{v})
	}
	if !strings.Contains(out.String(), redactedText) {
		t.Error("nothing was redacted")
	}
	for i, s := range secrets {
		for _, form := range []string{
			string(s[:8]), hex.EncodeToString(s[:8]), strings.ToUpper(hex.EncodeToString(s[:8])),
			strings.Trim(fmt.Sprint(s[:8]), "[]"), fmt.Sprintf("%#v", s[:4])[7:20],
		} {
			if strings.Contains(out.String(), form) {
				t.Errorf("secret %d is printed as %q", i, form)
			}
		}
	}
}

func TestIdentitiesDoNotReachLogs(t *testing.T) {
	k, d := testRoot(1).Public(), testDevice(1).ID()
	var out bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("event", "key", k, "device", d, "both", struct {
			K *PublicKey
			D []DeviceID
			M map[PublicKey]DeviceID
		}{&k, []DeviceID{d}, map[PublicKey]DeviceID{k: d}})
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb, k, d, []any{k, &d})
	}
	bytesOf := func(b []byte) []string {
		list := strings.Trim(fmt.Sprint(b), "[]")
		return []string{hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)), list, strings.ReplaceAll(list, " ", ","), fmt.Sprintf("%#v", b)[7:]}
	}
	for _, leak := range slices.Concat([]string{k.ID(), k.Fingerprint()}, bytesOf(k[:4]), bytesOf(d[:4])) {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q is in %s", leak, out.String())
		}
	}
	if !strings.Contains(out.String(), k.Fingerprint()[:4]) || (PublicKey{}).String() != "none" {
		t.Error("a key has no short name")
	}
}

func TestKeyCacheIsBounded(t *testing.T) {
	const most = 500
	c := recent{most: most}
	key := func(n int) PublicKey { return PublicKey{byte(n), byte(n >> 8), byte(n >> 16), 1} }
	for n := range 3 * most {
		if c.has(key(n)) {
			t.Fatalf("key %d is there before it was added", n)
		}
		c.add(key(n))
		c.has(key(0)) // in use all the time
		if len(c.young) > most || len(c.old) > most {
			t.Fatalf("%d and %d keys are remembered", len(c.young), len(c.old))
		}
	}
	if !c.has(key(3*most-1)) || !c.has(key(0)) {
		t.Error("a key in use was forgotten")
	}
	if c.has(key(1)) {
		t.Error("a key out of use is still remembered")
	}
}

func TestAnObjectThatWasSeenVouchesForNoOther(t *testing.T) {
	root := testRoot(1)
	list := must(root.NewList(testDevice(1).Public(), testHomes(1), [32]byte{}, t0))
	for name, c := range map[string]struct {
		signed []byte
		parse  func([]byte) error
	}{
		"certificate": {must(root.CertifyDevice(testDevice(1).Public(), 1, t0, t0.Add(time.Hour))).Bytes(), func(b []byte) error { _, err := ParseDeviceCert(b); return err }},
		"descriptor":  {testDescriptor(1, t0).Bytes(), func(b []byte) error { _, err := ParseDescriptor(b); return err }},
		"list":        {list.Bytes(), func(b []byte) error { _, err := ParseDeviceList(b); return err }},
	} {
		for range 2 {
			if err := c.parse(c.signed); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for i := range c.signed {
				bad := bytes.Clone(c.signed)
				bad[i] ^= 1
				if c.parse(bad) == nil {
					t.Fatalf("%s: byte %d may be another", name, i)
				}
			}
		}
	}
}

// x25519Keys are hexadecimal, by name.
func x25519Keys() (accepted, refused map[string]string) {
	refused = map[string]string{
		"zero":           "0000000000000000000000000000000000000000000000000000000000000000",
		"one":            "0100000000000000000000000000000000000000000000000000000000000000",
		"order 8":        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"order 8, other": "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"p-1":            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"p":              "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"p+1":            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"nine plus p":    "f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"nine, top bit":  "0900000000000000000000000000000000000000000000000000000000000080",
		"31 bytes":       "09000000000000000000000000000000000000000000000000000000000000",
		"33 bytes":       "090000000000000000000000000000000000000000000000000000000000000000",
	}
	accepted = map[string]string{
		"base point":  "0900000000000000000000000000000000000000000000000000000000000000",
		"p-2":         "ebffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"some key":    "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
		"top byte 7e": "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7e",
	}
	return accepted, refused
}

func TestX25519KeysThatAreRefused(t *testing.T) {
	accepted, refused := x25519Keys()
	for name, s := range refused {
		if err := CheckX25519(unhex(t, s)); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, s := range accepted {
		if err := CheckX25519(unhex(t, s)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
