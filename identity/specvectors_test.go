package identity

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/identity/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// The project's own vectors, which a second implementation reads from the same files
// (docs/spec/identity.md, "Vectors"). This file makes them; specread_test.go reads them as
// the second implementation does.

var update = flag.Bool("update", false, "write docs/spec/vectors/identity*.json")

const specVectors = "../docs/spec/vectors"

func TestSpecVectorsAreWhatThisCodeMakes(t *testing.T) {
	for name, made := range map[string]any{
		"identity_derivation.json": makeDerivation(t),
		"identity_text.json":       makeText(t),
		"identity_objects.json":    makeObjects(t),
		"identity_history.json":    makeHistory(t),
		"identity_canonical.json":  makeCanonical(t),
	} {
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		if err := enc.Encode(made); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(specVectors, name)
		if *update {
			if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s is not what this code makes: a change of the format changes the specification too (go test ./identity -update)", name)
		}
	}
}

// errorName is the word that the vectors have for an error; a second implementation needs
// to tell these apart and no others.
func errorName(err error) string {
	for name, target := range map[string]error{
		"rollback": ErrRollback, "equivocation": ErrEquivocation, "stale": ErrStale, "recovery_changed": ErrRecoveryChanged,
		"not_yet_valid": ErrNotYetValid, "expired": ErrExpired, "revoked": ErrRevoked, "not_listed": ErrNotListed,
		"other_identity": ErrOtherIdentity, "key_changed": ErrKeyChanged,
	} {
		if errors.Is(err, target) {
			return name
		}
	}
	if err != nil {
		return "malformed"
	}
	return ""
}

func hx(b []byte) string { return hex.EncodeToString(b) }

// specEncoding begins what each file says of itself.
const specEncoding = "Bytes are lower-case hexadecimal, an absent value is empty, times are Unix seconds. "

type derivationFile struct {
	Comment    string             `json:"comment"`
	Derived    []derivationVector `json:"derived"`
	Refused    []mnemonicRefused  `json:"refused"`
	Unhardened string             `json:"unhardened_path_refused"`
}

type derivationVector struct {
	Name        string `json:"name"`
	Mnemonic    string `json:"mnemonic"`
	Passphrase  string `json:"passphrase"`
	Account     uint32 `json:"account"`
	Normal      string `json:"normal_form"`
	BIP39Seed   string `json:"bip39_seed"`
	RootSeed    string `json:"root_seed"`
	PublicKey   string `json:"public_key"`
	ID          string `json:"id"`
	PeerID      string `json:"peer_id"`
	Fingerprint string `json:"fingerprint"`
	Backup      string `json:"backup_seed"`
	Storage     string `json:"storage_key"`
}

type mnemonicRefused struct {
	Name     string `json:"name"`
	Mnemonic string `json:"mnemonic"`
	Position int    `json:"wrong_word,omitempty"` // from 1
}

const phrase12 = "legal winner thank year wave sausage worth useful legal winner thank yellow"

func makeDerivation(t *testing.T) derivationFile {
	f := derivationFile{
		Comment:    specEncoding + "Mnemonic to identity. normal_form is what PBKDF2 sees; the roles are 0' root, 1' backup, 2' storage.",
		Unhardened: "m/1953656427'/1'/0'/0",
	}
	for _, v := range []derivationVector{
		{Name: "24 words", Mnemonic: phrase24},
		{Name: "12 words", Mnemonic: phrase12},
		{Name: "account 1", Mnemonic: phrase24, Account: 1},
		{Name: "last account", Mnemonic: phrase24, Account: hardened - 1},
		{Name: "passphrase composed", Mnemonic: phrase24, Passphrase: "Z\u00fcrich \u00c5 \ufb01"},
		{Name: "passphrase decomposed", Mnemonic: phrase24, Passphrase: "Zu\u0308rich A\u030a fi"},
		{Name: "passphrase with spaces around", Mnemonic: phrase24, Passphrase: "  two  spaces "},
		{Name: "capitals, tabs, line ends, double spaces", Mnemonic: "\t" + strings.ToUpper(strings.Replace(phrase12, " ", " \r\n ", 3)) + "\n"},
		{Name: "full-width letters", Mnemonic: strings.Replace(phrase24, "art", "\uff41\uff32\uff54", 1)},
	} {
		v.Normal = must(NormalizeMnemonic(v.Mnemonic))
		v.BIP39Seed = hx(must(mnemonicSeed(v.Normal, v.Passphrase)))
		root := must(DeriveRoot(v.Mnemonic, v.Passphrase, v.Account))
		seed, key := root.Seed(), root.Public()
		backup := must(DeriveBackupSeed(v.Mnemonic, v.Passphrase, v.Account)).Bytes()
		storage := must(DeriveStorageKey(v.Mnemonic, v.Passphrase, v.Account)).Bytes()
		v.RootSeed, v.PublicKey, v.Backup, v.Storage = hx(seed[:]), hx(key[:]), hx(backup[:]), hx(storage[:])
		v.ID, v.PeerID, v.Fingerprint = key.ID(), key.PeerID().String(), key.Fingerprint()
		f.Derived = append(f.Derived, v)
	}
	for _, v := range []mnemonicRefused{
		{Name: "empty"},
		{Name: "checksum", Mnemonic: strings.TrimSpace(strings.Repeat("abandon ", 12))},
		{Name: "word outside the list", Mnemonic: strings.Replace(phrase12, "sausage", "sausages", 1), Position: 6},
		{Name: "eleven words", Mnemonic: strings.TrimSpace(strings.Repeat("abandon ", 11))},
		{Name: "eighteen words with a good checksum", Mnemonic: strings.Repeat("abandon ", 17) + "agent"},
		{Name: "no-break space between words", Mnemonic: strings.Replace(phrase12, " ", "\u00a0", 1)},
		{Name: "no-break space beside a space", Mnemonic: strings.Replace(phrase12, " ", " \u00a0", 1)},
		{Name: "no-break space at the end", Mnemonic: phrase12 + "\u00a0"},
		{Name: "narrow no-break space", Mnemonic: strings.Replace(phrase12, " ", "\u202f", 1)},
		{Name: "ideographic space", Mnemonic: strings.Replace(phrase12, " ", "\u3000", 1)},
		{Name: "zero-width space", Mnemonic: strings.Replace(phrase12, " ", " \u200b", 1), Position: 2},
		{Name: "vertical tab", Mnemonic: strings.Replace(phrase12, " ", "\v", 1)},
		{Name: "longer than 1,024 bytes", Mnemonic: phrase12 + strings.Repeat(" ", 1024)},
	} {
		f.Refused = append(f.Refused, v)
	}
	return f
}

type textFile struct {
	Comment      string            `json:"comment"`
	Keys         []keyVector       `json:"keys"`
	KeysRefused  []named           `json:"keys_refused"`
	X25519OK     []named           `json:"x25519_accepted"`
	X25519Bad    []named           `json:"x25519_refused"`
	IDsRefused   []named           `json:"ids_refused"`
	PeersRefused []named           `json:"peer_ids_refused"`
	Addresses    []addressVector   `json:"addresses"`
	AddressesBad []string          `json:"addresses_refused"`
	DomainsOK    []string          `json:"domains_accepted"`
	DomainsBad   []string          `json:"domains_refused"`
	Safety       []safetyVector    `json:"safety_numbers"`
	Contexts     map[string]string `json:"context_strings"`
}

type keyVector struct {
	Seed        string `json:"seed"`
	PublicKey   string `json:"public_key"`
	ID          string `json:"id"`
	IDUpper     string `json:"id_upper"`
	PeerID      string `json:"peer_id"`
	PeerIDBytes string `json:"peer_id_bytes"`
	Fingerprint string `json:"fingerprint"`
	DeviceID    string `json:"device_id"`
	Recovery    string `json:"recovery_commitment"`
}

type named struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type addressVector struct {
	Text      string `json:"text"`
	PublicKey string `json:"public_key"`
	Domain    string `json:"domain"`
	Home      string `json:"home,omitempty"`
	Canonical string `json:"canonical"`
}

type safetyVector struct {
	A      string `json:"a"`
	B      string `json:"b"`
	Number string `json:"number"`
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func makeText(t *testing.T) textFile {
	f := textFile{
		Comment:   specEncoding + "Text forms of keys, and the key check. A key_refused of another length than 32 bytes is refused for that.",
		DomainsOK: []string{"a", "localhost", "acme.example", "a-b.1c.example", "xn--mnchen-3ya.example", strings.Repeat("abcdefghi.", 25) + "abc"},
		DomainsBad: []string{"", ".", "acme.example.", ".example", "a..b", "-a.example", "a-.example", "Acme.example", "a_b.example", "a b",
			"m\u00fcnchen.example", "127.0.0.1", "a.1", "[::1]", "a:1", strings.Repeat("a", 64) + ".example", strings.Repeat("abcdefghi.", 25) + "abcd"},
		Contexts: map[string]string{},
	}
	for n := range byte(4) {
		s := seed(n + 1)
		k := RootFromSeed(s).Public()
		id, device, recovery := k.PeerID(), DeviceIDOf(k), RecoveryCommitment(k)
		f.Keys = append(f.Keys, keyVector{hx(s[:]), hx(k[:]), k.ID(), strings.ToUpper(k.ID()), id.String(), hx(id[:]), k.Fingerprint(), device.Hex(), hx(recovery[:])})
	}
	bad := badKeys(t)
	for _, n := range sortedNames(bad) {
		f.KeysRefused = append(f.KeysRefused, named{n, hx(bad[n])})
	}
	accepted, refused := x25519Keys()
	for _, n := range sortedNames(accepted) {
		f.X25519OK = append(f.X25519OK, named{n, accepted[n]})
	}
	for _, n := range sortedNames(refused) {
		f.X25519Bad = append(f.X25519Bad, named{n, refused[n]})
	}
	key := testRoot(1).Public()
	ids := badIDs(key)
	for _, n := range sortedNames(ids) {
		f.IDsRefused = append(f.IDsRefused, named{n, ids[n]})
	}
	text := key.PeerID().String()
	f.PeersRefused = []named{{"cut off", text[:51]}, {"lower case", strings.ToLower(text)}, {"character outside base58", text[:51] + "0"},
		{"an RSA key's", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"}, {"key of small order", PublicKey{}.PeerID().String()}}
	home := testRoot(2).Public().PeerID()
	for _, a := range []Address{{key, "acme.example", PeerID{}}, {key, "acme.example", home}} {
		for _, s := range []string{a.String(), strings.Replace(a.String(), key.ID(), strings.ToUpper(key.ID()), 1)} {
			f.Addresses = append(f.Addresses, addressVector{s, hx(a.Root[:]), a.Domain, a.Home.String(), a.String()})
		}
	}
	id := key.ID()
	f.AddressesBad = []string{"", id, id + "@", "@acme.example", "name@acme.example", id + "@ACME.example", id + "@acme.example/",
		id + "@acme.example:443", " " + id + "@acme.example", id + "@acme.example/" + home.String() + "/", id + "@127.0.0.1"}
	for _, p := range [][2]byte{{1, 2}, {2, 1}, {1, 3}, {2, 3}, {1, 1}} {
		a, b := testRoot(p[0]).Public(), testRoot(p[1]).Public()
		f.Safety = append(f.Safety, safetyVector{hx(a[:]), hx(b[:]), SafetyNumber(a, b)})
	}
	for c := range everyContextString(t) { // of other packages, too
		f.Contexts[c] = hx([]byte(c + "\x00"))
	}
	return f
}

type canonicalFile struct {
	Comment string            `json:"comment"`
	Cases   []canonicalVector `json:"cases"`
}

type canonicalVector struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Bytes  string `json:"bytes"`
	Accept bool   `json:"accept"`
}

func makeCanonical(t *testing.T) canonicalFile {
	f := canonicalFile{Comment: specEncoding + "Canonical form: message bytes, without signature, of types of identity.proto. Only the form is judged, not the rules of the type."}
	key := testRoot(1).Public()
	cert := must(canon.Marshal(&pb.DeviceCert{Version: 1, RootKey: key[:], DeviceKey: key[:], Epoch: 300, NotBefore: 1, NotAfter: 2}))
	home := &pb.Home{PeerId: []byte{1, 2, 3}, Domain: "a.example"}
	list := must(canon.Marshal(&pb.DeviceList{Version: 1, Revoked: [][]byte{{1}, {2}}, Homes: []*pb.Home{home, home}}))
	field := func(n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
	}
	blob := func(n protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), b)
	}
	homeBytes := must(canon.Marshal(home))
	for _, c := range []struct {
		name   string
		m      proto.Message
		b      []byte
		accept bool
	}{
		{"certificate", &pb.DeviceCert{}, cert, true},
		{"list with repeated fields", &pb.DeviceList{}, list, true},
		{"empty message", &pb.DeviceCert{}, nil, true},
		{"empty element of a repeated field", &pb.DeviceList{}, blob(8, nil), true},
		{"empty message in a repeated field", &pb.DeviceList{}, blob(11, nil), true},
		{"largest uint64", &pb.DeviceCert{}, field(4, 1<<64-1), true},
		{"largest uint32", &pb.DeviceCert{}, field(1, 1<<32-1), true},
		{"duplicate field", &pb.DeviceCert{}, slices.Concat(field(1, 1), field(1, 1)), false},
		{"descending fields", &pb.DeviceCert{}, slices.Concat(field(4, 1), field(1, 1)), false},
		{"repeated field interrupted", &pb.DeviceList{}, slices.Concat(blob(7, []byte{1}), blob(8, []byte{1}), blob(7, []byte{1})), false},
		{"unknown field", &pb.DeviceCert{}, slices.Concat(cert, field(7, 1)), false},
		{"unknown field in a nested message", &pb.DeviceList{}, blob(11, slices.Concat(homeBytes, field(3, 1))), false},
		{"long varint", &pb.DeviceCert{}, []byte{0x08, 0x81, 0x00}, false},
		{"long varint as tag", &pb.DeviceCert{}, []byte{0x88, 0x00, 0x01}, false},
		{"long varint as length", &pb.DeviceCert{}, []byte{0x12, 0x81, 0x00, 0x61}, false},
		{"varint of eleven bytes", &pb.DeviceCert{}, append(append([]byte{0x20}, bytes.Repeat([]byte{0xff}, 10)...), 1), false},
		{"varint above 64 bits", &pb.DeviceCert{}, append(append([]byte{0x20}, bytes.Repeat([]byte{0xff}, 9)...), 2), false},
		{"number above 32 bits in a uint32", &pb.DeviceCert{}, field(1, 1<<32), false},
		{"overrun", &pb.DeviceCert{}, []byte{0x12, 0x02, 0x61}, false},
		{"overrun in a nested message", &pb.DeviceList{}, blob(11, []byte{0x0a, 0x01}), false},
		{"length of 10 MB without content", &pb.DeviceCert{}, protowire.AppendVarint([]byte{0x12}, 10<<20), false},
		{"cut in the tag", &pb.DeviceCert{}, []byte{0x80}, false},
		{"cut in the value", &pb.DeviceCert{}, []byte{0x08}, false},
		{"group", &pb.DeviceCert{}, []byte{0x0b, 0x0c}, false},
		{"group of an unknown number", &pb.DeviceCert{}, []byte{0x7b, 0x7c}, false},
		{"fixed width", &pb.DeviceCert{}, []byte{0x25, 1, 0, 0, 0}, false},
		{"bytes where a number belongs", &pb.DeviceCert{}, blob(1, []byte{1}), false},
		{"number where bytes belong", &pb.DeviceCert{}, field(2, 1), false},
		{"explicit zero", &pb.DeviceCert{}, field(1, 0), false},
		{"explicit empty bytes", &pb.DeviceCert{}, blob(2, nil), false},
		{"explicit empty text in a nested message", &pb.DeviceList{}, blob(11, blob(2, nil)), false},
		{"text that is not UTF-8", &pb.Home{}, blob(2, []byte{0xff}), false},
		{"field number 0", &pb.DeviceCert{}, []byte{0x00, 0x01}, false},
	} {
		if err := canon.Unmarshal(c.b, 1<<20, c.m); (err == nil) != c.accept {
			t.Errorf("%s: %v", c.name, err)
		}
		f.Cases = append(f.Cases, canonicalVector{c.name, string(c.m.ProtoReflect().Descriptor().Name()), hx(c.b), c.accept})
	}
	return f
}
