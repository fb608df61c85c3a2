package identity

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/identity/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// This file reads docs/spec/vectors/identity*.json the way the second implementation does:
// from the file alone, without the code that made it.

func readSpec[F any](t *testing.T, name string) F {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(specVectors, name))
	if err != nil {
		t.Fatal(err)
	}
	var f F
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return f
}

func TestSpecVectorsOfDerivation(t *testing.T) {
	f := readSpec[derivationFile](t, "identity_derivation.json")
	for _, v := range f.Derived {
		root, err := DeriveRoot(v.Mnemonic, v.Passphrase, v.Account)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		seed, key := root.Seed(), root.Public()
		if hx(seed[:]) != v.RootSeed || hx(key[:]) != v.PublicKey || key.ID() != v.ID ||
			key.PeerID().String() != v.PeerID || key.Fingerprint() != v.Fingerprint {
			t.Errorf("%s is wrong", v.Name)
		}
	}
	for _, v := range f.Refused {
		if got, err := NormalizeMnemonic(v.Mnemonic); err == nil {
			t.Errorf("%s became %q", v.Name, got)
		}
	}
}

func TestSpecVectorsOfTexts(t *testing.T) {
	f := readSpec[textFile](t, "identity_text.json")
	for _, v := range f.Keys {
		lower, err := ParseID(v.ID)
		upper, err2 := ParseID(v.IDUpper)
		peer, err3 := ParsePeerID(v.PeerID)
		if err != nil || err2 != nil || err3 != nil || lower != upper || hx(lower[:]) != v.PublicKey || peer.Key() != lower ||
			hx(peer[:]) != v.PeerIDBytes || lower.Fingerprint() != v.Fingerprint || DeviceIDOf(lower).Hex() != v.DeviceID {
			t.Errorf("%s is wrong: %v %v %v", v.ID, err, err2, err3)
		}
	}
	for _, v := range f.KeysRefused {
		if _, err := CheckKey(unhex(t, v.Value)); err == nil {
			t.Errorf("key %s: accepted", v.Name)
		}
	}
	for _, v := range f.X25519OK {
		if err := CheckX25519(unhex(t, v.Value)); err != nil {
			t.Errorf("X25519 %s: %v", v.Name, err)
		}
	}
	for _, v := range f.X25519Bad {
		if err := CheckX25519(unhex(t, v.Value)); err == nil {
			t.Errorf("X25519 %s: accepted", v.Name)
		}
	}
	for _, v := range f.IDsRefused {
		if _, err := ParseID(v.Value); err == nil {
			t.Errorf("id %s: accepted", v.Name)
		}
	}
	for _, v := range f.PeersRefused {
		if _, err := ParsePeerID(v.Value); err == nil {
			t.Errorf("peer id %s: accepted", v.Name)
		}
	}
	for _, v := range f.Addresses {
		a, err := ParseAddress(v.Text)
		if err != nil || hx(a.Root[:]) != v.PublicKey || a.Domain != v.Domain || a.Home.String() != v.Home || a.String() != v.Canonical {
			t.Errorf("%s: %v, %v", v.Text, a, err)
		}
	}
	for _, s := range f.AddressesBad {
		if _, err := ParseAddress(s); err == nil {
			t.Errorf("address %q: accepted", s)
		}
	}
	for _, s := range f.DomainsOK {
		if err := CheckDomain(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range f.DomainsBad {
		if err := CheckDomain(s); err == nil {
			t.Errorf("domain %q: accepted", s)
		}
	}
	for _, v := range f.Safety {
		a, b := must(CheckKey(unhex(t, v.A))), must(CheckKey(unhex(t, v.B)))
		if got := SafetyNumber(a, b); got != v.Number {
			t.Errorf("safety number %s, want %s", got, v.Number)
		}
	}
}

func TestSpecVectorsOfObjects(t *testing.T) {
	f := readSpec[objectsFile](t, "identity_objects.json")
	for _, v := range f.Accepted {
		fields, err := parseAny(v.Type, unhex(t, v.Signed))
		if err != nil {
			t.Errorf("%s %q: %v", v.Type, v.Name, err)
			continue
		}
		// Through JSON, so that both sides have the types that JSON has.
		var got map[string]any
		if err := json.Unmarshal(must(json.Marshal(fields)), &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, v.Fields) {
			t.Errorf("%s %q: %v, want %v", v.Type, v.Name, got, v.Fields)
		}
	}
	for _, v := range f.Refused {
		if _, err := parseAny(v.Type, unhex(t, v.Signed)); err == nil {
			t.Errorf("%s %q: accepted", v.Type, v.Name)
		}
	}
}

func TestSpecVectorsOfHistory(t *testing.T) {
	f := readSpec[historyFile](t, "identity_history.json")
	hash := func(s string) (h [32]byte) {
		copy(h[:], unhex(t, s))
		return h
	}
	for _, v := range f.Lists {
		pin := Pin{Epoch: v.PinEpoch, Hash: hash(v.PinHash), Recovery: hash(v.PinRecovery)}
		verdict, err := pin.Check(must(ParseDeviceList(unhex(t, v.List))), time.Unix(v.Now, 0))
		if errorName(err) != v.Error || err == nil && (verdict.Change.String() != v.Change || verdict.Stale != v.Stale) {
			t.Errorf("list, %s: %+v, %v", v.Name, verdict, err)
		}
	}
	for _, v := range f.Admit {
		list, cert := must(ParseDeviceList(unhex(t, v.List))), must(ParseDeviceCert(unhex(t, v.Cert)))
		current, err := list.Admit(cert, time.Unix(v.Now, 0))
		if current != v.Current || errorName(err) != v.Error {
			t.Errorf("device, %s: %v, %v", v.Name, current, err)
		}
	}
	for _, v := range f.Documents {
		pin := DomainPin{Domain: v.PinDomain, Key: hash(v.PinKey), Epoch: v.PinEpoch, Hash: hash(v.PinHash)}
		verdict, err := pin.Check(must(ParseDomain(unhex(t, v.Document))), time.Unix(v.Now, 0))
		if errorName(err) != v.Error || err == nil && (verdict.Change.String() != v.Change || verdict.KeyChanged != v.KeyChanged) {
			t.Errorf("document, %s: %+v, %v", v.Name, verdict, err)
		}
	}
	for _, v := range f.Descriptors {
		last, d := must(ParseDescriptor(unhex(t, v.Last))), must(ParseDescriptor(unhex(t, v.Descriptor)))
		if err := d.Follows(last); errorName(err) != v.Error {
			t.Errorf("descriptor, %s: %v", v.Name, err)
		}
	}
}

func TestSpecVectorsOfTheCanonicalForm(t *testing.T) {
	f := readSpec[canonicalFile](t, "identity_canonical.json")
	for _, v := range f.Cases {
		m := map[string]proto.Message{"DeviceCert": &pb.DeviceCert{}, "DeviceList": &pb.DeviceList{}, "Home": &pb.Home{}}[v.Type]
		if err := canon.Unmarshal(unhex(t, v.Bytes), MaxDeviceList, m); (err == nil) != v.Accept {
			t.Errorf("%s %s: %v", v.Type, v.Name, err)
		}
	}
}
