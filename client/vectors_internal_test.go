package client

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

var update = flag.Bool("update", false, "write docs/spec/vectors/devices.json anew")

const devicesFile = "../docs/spec/vectors/devices.json"

type deviceVectors struct {
	Comment  string          `json:"comment"`
	Request  string          `json:"request"`
	Device   string          `json:"device_key"`
	Once     string          `json:"once_secret"`
	Approval string          `json:"approval"` // sealed once; open it
	List     string          `json:"list"`
	URL      string          `json:"home_url"`
	Domain   string          `json:"home_domain"`
	PeerID   string          `json:"home_peer_id"`
	Contacts []contactVector `json:"contacts"`
	Refused  []refusedVector `json:"refused"`
	BadAsk   []string        `json:"requests_refused"`
}

type contactVector struct {
	Root  string `json:"root"`
	State string `json:"state"`
	Name  string `json:"name"`
}

type refusedVector struct {
	Name     string `json:"name"`
	Approval string `json:"approval"`
}

// The texts that two devices hand each other (client-link.md, section 13), read by this package
// and by the SDK (web/sdk/test/devices.test.ts).
func TestDeviceVectors(t *testing.T) {
	t.Parallel()
	if *update {
		writeDeviceVectors(t)
	}
	raw, err := os.ReadFile(devicesFile)
	if err != nil {
		t.Fatal(err)
	}
	var v deviceVectors
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	device, once, err := parseRequest(v.Request)
	if err != nil || hex.EncodeToString(device[:]) != v.Device {
		t.Fatalf("the request: %x, %v", device, err)
	}
	seed, err := hex.DecodeString(v.Once)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := ecdh.X25519().NewPrivateKey(seed)
	if err != nil || !secret.PublicKey().Equal(once) {
		t.Fatalf("the one-time key is not the request's: %v", err)
	}
	r := &DeviceRequest{Text: v.Request, secret: secret}
	pieces, err := openPieces(r, v.Approval)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(pieces[0]); got != v.List || string(pieces[1]) != v.URL || string(pieces[2]) != v.Domain || hex.EncodeToString(pieces[3]) != v.PeerID {
		t.Error("the approval holds something else")
	}
	if len(pieces)-4 != len(v.Contacts) {
		t.Fatalf("%d contacts", len(pieces)-4)
	}
	for i, want := range v.Contacts {
		sync, err := envelope.ParseContactSync(pieces[4+i])
		if err != nil {
			t.Fatal(err)
		}
		state := map[envelopepb.ContactState]string{envelopepb.ContactState_CONTACT_STATE_ACCEPTED: "accepted", envelopepb.ContactState_CONTACT_STATE_BLOCKED: "blocked"}[sync.State]
		if got := (contactVector{hex.EncodeToString(sync.Root[:]), state, sync.Name}); got != want {
			t.Errorf("contact %d is %+v, want %+v", i, got, want)
		}
	}
	for _, bad := range v.Refused {
		pieces, err := openPieces(r, bad.Approval)
		if err == nil {
			_, err = checkPieces(device, pieces)
		}
		if err == nil {
			t.Errorf("an approval is taken: %s", bad.Name)
		}
	}
	for _, bad := range v.BadAsk {
		if CheckDeviceRequest(bad) == nil {
			t.Errorf("a request is taken: %q", bad)
		}
	}
}

func writeDeviceVectors(t *testing.T) {
	t.Helper()
	now := time.Unix(1_800_000_000, 0)
	root, device, other := identity.RootFromSeed([32]byte{1}), identity.DeviceFromSeed([32]byte{2}), identity.DeviceFromSeed([32]byte{3})
	home := identity.Home{PeerID: identity.RootFromSeed([32]byte{4}).Public().PeerID(), Domain: "acme.example"}
	list, err := root.NewList(other.Public(), []identity.Home{home}, [32]byte{}, now)
	if err != nil {
		t.Fatal(err)
	}
	without := list
	if list, err = root.AddDevice(list, device.Public(), now); err != nil {
		t.Fatal(err)
	}
	secret, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{5}, 32))
	if err != nil {
		t.Fatal(err)
	}
	public := device.Public()
	v := deviceVectors{
		Comment: "Bytes are lower-case hexadecimal. The texts that a new device and one that approves it hand each other: docs/spec/client-link.md, section 13. " +
			"Of the refused approvals each is sealed to the right key unless its name says otherwise.",
		Request: requestPrefix + base64.RawURLEncoding.EncodeToString(append(public[:], secret.PublicKey().Bytes()...)),
		Device:  hex.EncodeToString(public[:]), Once: hex.EncodeToString(secret.Bytes()), List: hex.EncodeToString(list.Bytes()),
		URL: "https://acme.example", Domain: home.Domain, PeerID: hex.EncodeToString(home.PeerID.Bytes()),
	}
	seal := func(once *ecdh.PublicKey, info string, pieces ...[]byte) string {
		key, err := hpke.NewDHKEMPublicKey(once)
		if err != nil {
			t.Fatal(err)
		}
		box, err := hpke.Seal(key, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), []byte(info), joinPieces(pieces))
		if err != nil {
			t.Fatal(err)
		}
		return approvalPrefix + base64.RawURLEncoding.EncodeToString(box)
	}
	pieces := [][]byte{list.Bytes(), []byte(v.URL), []byte(v.Domain), home.PeerID.Bytes()}
	for i, k := range []keep.Contact{
		{Root: identity.RootFromSeed([32]byte{6}).Public(), Domain: "globex.example", Home: home.PeerID, State: keep.ContactAccepted, Name: "Bob"},
		{Root: identity.RootFromSeed([32]byte{7}).Public(), Domain: "globex.example", Home: home.PeerID, State: keep.ContactBlocked},
	} {
		b, err := syncOf(k).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		pieces = append(pieces, b)
		v.Contacts = append(v.Contacts, contactVector{hex.EncodeToString(k.Root[:]), []string{"accepted", "blocked"}[i], k.Name})
	}
	ours := secret.PublicKey()
	v.Approval = seal(ours, labelPairing, pieces...)
	stranger, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{8}, 32))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := identity.RootFromSeed([32]byte{9}).Public().PeerID()
	with := func(at int, b []byte) [][]byte {
		out := append([][]byte(nil), pieces...)
		out[at] = b
		return out
	}
	v.Refused = []refusedVector{
		{"for another request", seal(stranger.PublicKey(), labelPairing, pieces...)},
		{"another purpose", seal(ours, "trunkline/v1/session\x00", pieces...)},
		{"a list without the device", seal(ours, labelPairing, with(0, without.Bytes())...)},
		{"a list whose signature is broken", seal(ours, labelPairing, with(0, append(list.Bytes()[:len(list.Bytes())-1:len(list.Bytes())-1], 0))...)},
		{"a home that is not in the list", seal(ours, labelPairing, with(3, elsewhere.Bytes())...)},
		{"too few pieces", seal(ours, labelPairing, pieces[:3]...)},
		{"a contact that is none", seal(ours, labelPairing, with(4, []byte{1, 2, 3})...)},
		{"cut off", v.Approval[:len(v.Approval)-8]},
		{"another prefix", requestPrefix + v.Approval[len(approvalPrefix):]},
		{"empty", ""},
	}
	v.BadAsk = []string{"", v.Approval, v.Request[:len(v.Request)-1], v.Request + "A", requestPrefix, requestPrefix + "!!", v.Request[:len(requestPrefix)] + base64.RawURLEncoding.EncodeToString(make([]byte, 64))}
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(devicesFile, append(raw, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
