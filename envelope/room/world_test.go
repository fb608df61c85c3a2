package room

import (
	"bytes"
	"crypto/hpke"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/identity"
)

// base is when all tests happen: nothing in this package may depend on the machine's clock.
var base = time.Date(2026, 11, 3, 10, 30, 0, 0, time.UTC)

func seed(n byte) [32]byte { return [32]byte(bytes.Repeat([]byte{n}, 32)) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// person is an identity with one device; the same byte is the same person.
func person(t testing.TB, n byte, name string) Self {
	t.Helper()
	root, device := identity.RootFromSeed(seed(n)), identity.DeviceFromSeed(seed(n^0x40))
	cert, err := root.CertifyDevice(device.Public(), 1, base.Add(-time.Hour), base.Add(30*24*time.Hour))
	must(t, err)
	return Self{Device: device, Cert: cert, Name: name}
}

var (
	testSecret = Secret(seed(0x11))
	testNonce  = [16]byte(bytes.Repeat([]byte{0x12}, 16))
)

// house is a room with its link and its owner.
type house struct {
	owner Self
	keys  *Keys
	card  *Card
	id    ID
}

func newHouse(t testing.TB, change ...func(*Card)) *house {
	t.Helper()
	h := &house{owner: person(t, 1, "Alice"), keys: testSecret.Keys()}
	c := Card{
		Owner: h.owner.Cert, FirstGate: h.keys.GatePublic(), Nonce: testNonce, Serial: 1, Title: "Plans for the mill", Entry: Open,
		Moderators: []identity.PublicKey{person(t, 2, "").Cert.Root, person(t, 3, "").Cert.Root},
		Created:    base, Expires: base.Add(24 * time.Hour), MeshMost: 5,
	}
	for _, f := range change {
		f(&c)
	}
	var err error
	h.card, err = SignCard(h.owner.Device, c)
	must(t, err)
	h.id = h.card.Room()
	return h
}

// join makes somebody's JOIN from bytes that are always the same.
func (h *house) join(t testing.TB, who Self, index Index) *Joining {
	t.Helper()
	kem, _, _ := xwing()
	s := seed(byte(index) ^ 0x90)
	priv, err := kem.NewPrivateKey(s[:])
	must(t, err)
	return h.joinWith(t, who, index, priv)
}

func (h *house) joinWith(t testing.TB, who Self, index Index, priv hpke.PrivateKey) *Joining {
	t.Helper()
	j, err := newJoin(who, h.keys, h.id, JoinID(bytes.Repeat([]byte{byte(index)}, 16)), index, base, priv,
		[8]byte(bytes.Repeat([]byte{byte(index) ^ 0xa0}, 8)), seed(byte(index)^0xb0))
	must(t, err)
	return j
}
