package envelope

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

const day = 24 * time.Hour

func refuses(t *testing.T, signed []byte, list *identity.DeviceList, now time.Time, want error) {
	t.Helper()
	b, err := ParseBundle(signed, list, now)
	if b != nil || !errors.Is(err, want) {
		t.Fatalf("bundle %v, error %v, want %v", b != nil, err, want)
	}
}

func TestTheTextOfAKeyIsWhatAgeReads(t *testing.T) {
	for n := range byte(8) {
		p, err := PrekeyFromSeed(seed(n), base)
		must(t, err)
		text := bech32Encode(ageRecipientHRP, p.recipient)
		if len(text) != 1959 {
			t.Fatalf("recipient text of %d characters", len(text))
		}
		r, err := age.ParseHybridRecipient(text)
		must(t, err)
		if r.String() != text || p.identity.Recipient().String() != text {
			t.Fatal("age writes the key differently")
		}
		s := p.Seed()
		if p.identity.String() != bech32Encode(ageIdentityHRP, s[:]) {
			t.Fatal("age writes the secret differently")
		}
	}
}

func TestABundleIsReadBack(t *testing.T) {
	b := newParty(t, 2)
	got := b.bundle()
	p := b.prekeys.Current()
	if got.Root != b.root.Public() || got.DeviceID() != b.device.ID() || got.PrekeyID != p.ID() || got.Route.Tag != b.tag || got.Route.Home != b.home {
		t.Fatal("a bundle says something else than its device")
	}
	if !got.NotBefore.Equal(base.UTC().Truncate(day)) || !got.NotAfter.Equal(got.NotBefore.Add(7*day)) {
		t.Fatalf("offered from %v to %v", got.NotBefore, got.NotAfter)
	}
	if n := len(got.Bytes()); n > maxBundle {
		t.Fatalf("bundle of %d bytes", n)
	}
}

func Test14_21_BundleOfARevokedOrOtherDeviceIsRefused(t *testing.T) {
	b := newParty(t, 2)
	b2 := b.secondDevice(4)
	bundle := b2.bundle().Bytes()
	if _, err := ParseBundle(bundle, b.list, b.now); err != nil {
		t.Fatal(err)
	}
	list, err := b.root.Revoke(b.list, b2.device.ID(), b.now)
	must(t, err)
	refuses(t, bundle, list, b.now, identity.ErrNotListed)

	// Signed by another device of the same person, for the first one's prekey.
	dev := b.device.Public()
	signed := b2.device.SignObject(identity.ContextPrekey, bundle[identity.SignatureSize:])
	if _, err := ParseBundle(signed, b.list, b.now); err != nil {
		t.Fatalf("its own signature: %v", err)
	}
	signed = b.device.SignObject(identity.ContextPrekey, bundle[identity.SignatureSize:])
	refuses(t, signed, b.list, b.now, identity.ErrSignature)
	signed = resign(t, b2, func(m *pb.PrekeyBundle) { m.DeviceKey = dev[:] })
	refuses(t, signed, b.list, b.now, identity.ErrSignature)
	// And held against another person's list.
	refuses(t, b.bundle().Bytes(), newParty(t, 3).list, b.now, ErrBundle)
	refuses(t, b.bundle().Bytes(), nil, b.now, ErrBundle)
}

func Test14_22_BundlePastItsEndOrWithAKeyOfWrongLengthIsRefused(t *testing.T) {
	b := newParty(t, 2)
	good := b.bundle()
	refuses(t, good.Bytes(), b.list, good.NotAfter, ErrBundle)
	refuses(t, good.Bytes(), b.list, good.NotBefore.Add(-time.Hour), ErrBundle)
	tomorrow := resign(t, b, func(m *pb.PrekeyBundle) { m.NotBefore += 24 * 60 * 60; m.NotAfter += 24 * 60 * 60 })
	refuses(t, tomorrow, b.list, b.now, ErrBundle)
	if _, err := ParseBundle(tomorrow, b.list, good.NotBefore.Add(day-5*time.Minute)); err != nil {
		t.Fatalf("five minutes before its first day: %v", err)
	}
	if _, err := ParseBundle(good.Bytes(), b.list, good.NotAfter.Add(-time.Second)); err != nil {
		t.Fatalf("in its last second: %v", err)
	}
	for name, change := range map[string]func(*pb.PrekeyBundle){
		"1215 bytes":  func(m *pb.PrekeyBundle) { m.Recipient = m.Recipient[:1215] },
		"1217 bytes":  func(m *pb.PrekeyBundle) { m.Recipient = append(bytes.Clone(m.Recipient), 1) },
		"nine days":   func(m *pb.PrekeyBundle) { m.NotAfter = m.NotBefore + 9*24*60*60 },
		"no day":      func(m *pb.PrekeyBundle) { m.NotAfter = m.NotBefore },
		"not rounded": func(m *pb.PrekeyBundle) { m.NotBefore++ },
		"prekey id":   func(m *pb.PrekeyBundle) { m.PrekeyId = make([]byte, 16) },
		"no route":    func(m *pb.PrekeyBundle) { m.Route = nil },
		"short tag":   func(m *pb.PrekeyBundle) { m.Route.RouteTag = make([]byte, 15) },
		"version":     func(m *pb.PrekeyBundle) { m.Version = 2 },
		"no epoch":    func(m *pb.PrekeyBundle) { m.Epoch = 0 },
		"suites back": func(m *pb.PrekeyBundle) { m.Suites = []uint32{2, 1} },
		"no suites":   func(m *pb.PrekeyBundle) { m.Suites = nil },
	} {
		t.Run(name, func(t *testing.T) {
			refuses(t, resign(t, b, func(m *pb.PrekeyBundle) {
				change(m)
				if name != "prekey id" {
					id := PrekeyIDOf(m.Recipient)
					m.PrekeyId = id[:]
				}
			}), b.list, b.now, ErrBundle)
		})
	}
	refuses(t, make([]byte, maxBundle+1), b.list, b.now, ErrBundle)
	refuses(t, nil, b.list, b.now, ErrBundle)
}

func withKey(t *testing.T, b *party, change func(key []byte) []byte) []byte {
	t.Helper()
	return resign(t, b, func(m *pb.PrekeyBundle) {
		m.Recipient = change(bytes.Clone(m.Recipient))
		id := PrekeyIDOf(m.Recipient)
		m.PrekeyId = id[:]
	})
}

func Test14_23_PrekeyWithCoefficientsOutOfRangeIsRefused(t *testing.T) {
	b := newParty(t, 2)
	// The check itself, which does not lean on what the age library refuses besides.
	key := b.prekeys.Current().Recipient()
	must(t, CheckXWing(key))
	for name, bad := range map[string][]byte{
		"coefficient": append([]byte{0xff, 0xff, 0xff}, key[3:]...),
		"1215 bytes":  key[:1215],
		"1217 bytes":  append(bytes.Clone(key), 1),
	} {
		if err := CheckXWing(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Two 12-bit coefficients in three bytes, both 4095; the modulus is 3329.
	refuses(t, withKey(t, b, func(k []byte) []byte {
		k[0], k[1], k[2] = 0xff, 0xff, 0xff
		return k
	}), b.list, b.now, ErrBundle)
	// The modulus itself is the least value out of range.
	refuses(t, withKey(t, b, func(k []byte) []byte {
		k[300], k[301] = 0x01, k[301]&0xf0|0x0d
		return k
	}), b.list, b.now, ErrBundle)
}

func TestLowOrderPartsAreRefusedOnReceipt(t *testing.T) {
	b := newParty(t, 2)
	for name, point := range lowOrderPoints {
		refuses(t, withKey(t, b, func(k []byte) []byte {
			copy(k[1184:], point)
			return k
		}), b.list, b.now, ErrBundle)
		if err := identity.CheckX25519(point); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

// lowOrderPoints are the encodings of the X25519 points whose order divides 8, in their
// canonical form and, where there is one, in another.
var lowOrderPoints = map[string][]byte{
	"zero":            make([]byte, 32),
	"one":             append([]byte{1}, make([]byte, 31)...),
	"order 8":         unhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
	"order 8, second": unhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
	"minus one":       unhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
	"zero, as p":      unhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
	"one, as p+1":     unhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
}

func Test14_24_BundleWithAClassicRecipientIsRefused(t *testing.T) {
	b := newParty(t, 2)
	refuses(t, withKey(t, b, func(k []byte) []byte { return k[1184:] }), b.list, b.now, ErrBundle)
}

func Test14_70_GhostDeviceInALookupIsNotEncryptedTo(t *testing.T) {
	b := newParty(t, 2)
	// The node makes a device of its own and a bundle that is right in every other way. It
	// cannot sign the list.
	ghost := identity.DeviceFromSeed(seed(0x66))
	p, err := GeneratePrekey(base)
	must(t, err)
	bundle, err := p.Bundle(ghost, b.root.Public(), b.list.Epoch, Route{Home: b.home, Tag: b.tag})
	must(t, err)
	refuses(t, bundle.Bytes(), b.list, b.now, identity.ErrNotListed)
	// Nor does a certificate by its own root help.
	other := identity.RootFromSeed(seed(0x67))
	list, err := other.NewList(ghost.Public(), []identity.Home{b.home}, [32]byte{}, base.Add(-time.Hour))
	must(t, err)
	refuses(t, bundle.Bytes(), list, b.now, ErrBundle)
}

func TestABundleNewerThanTheListSaysThatAListIsHeldBack(t *testing.T) {
	b := newParty(t, 2)
	old := b.list
	b.secondDevice(4)
	refuses(t, b.bundle().Bytes(), old, b.now, ErrListEpoch)
	// A list that has ended, and a certificate that has in a list that has not, beside a bundle
	// that is in its days.
	late := b.list.Expires.Add(time.Hour)
	resigned := resign(t, b, func(m *pb.PrekeyBundle) {
		m.NotBefore = uint64(late.Truncate(day).Unix())
		m.NotAfter = m.NotBefore + 7*24*60*60
	})
	refuses(t, resigned, b.list, late, ErrBundle)
	list, err := b.root.Renew(b.list, b.list.Expires.Add(-time.Hour))
	must(t, err)
	if _, err := ParseBundle(resigned, list, late); err != nil {
		t.Fatalf("with the renewed list: %v", err)
	}
	short, err := b.root.CertifyDevice(b.device.Public(), 1, base.Add(-2*time.Hour), base.Add(-time.Minute))
	must(t, err)
	list, err = b.root.SignList(identity.DeviceList{Epoch: 2, Previous: [32]byte{1}, Issued: base.Add(-time.Hour), Expires: base.Add(day),
		Devices: []*identity.DeviceCert{short}, LowestSuite: 1, Homes: []identity.Home{b.home}})
	must(t, err)
	refuses(t, b.bundle().Bytes(), list, b.now, identity.ErrExpired)
}

func TestPrekeysAreOfferedSevenDaysAndGoneAfterFifteen(t *testing.T) {
	store := &secretStore{m: make(map[PrekeyID]PrekeySecret)}
	ps, err := OpenPrekeys(store)
	must(t, err)
	if ps.Current() != nil || !ps.Due(base) {
		t.Fatal("a device without prekeys is not due for one")
	}
	for d := range 20 {
		now := base.Add(time.Duration(d) * day)
		p, err := ps.Rotate(now)
		must(t, err)
		if p == nil || ps.Current() != p || !ps.NextRotation(now).Equal(now.Add(day)) {
			t.Fatalf("day %d: no new prekey", d)
		}
		again, err := ps.Rotate(now.Add(23 * time.Hour))
		must(t, err)
		if again != nil {
			t.Fatalf("day %d: a second prekey", d)
		}
		_, err = ps.DeleteExpired(now)
		must(t, err)
		if want := min(d+1, 15); len(store.m) != want {
			t.Fatalf("day %d: %d secrets, want %d", d, len(store.m), want)
		}
		for _, s := range store.m {
			if age := now.Sub(s.Created); age >= PrekeyDeleted {
				t.Fatalf("day %d: a secret of %v", d, age)
			}
		}
	}
}

func TestDeletedPrekeysAreGoneFromMemoryAndStore(t *testing.T) {
	a, b := pair(t)
	payload := a.seal(&Note{Text: "x"}, b)
	old := b.prekeys.Current()
	b.now = b.now.Add(PrekeyDeleted)
	_, err := b.prekeys.Rotate(b.now)
	must(t, err)
	n, err := b.prekeys.DeleteExpired(b.now)
	must(t, err)
	if n != 1 {
		t.Fatalf("%d deleted", n)
	}
	if _, ok := b.store.m[old.ID()]; ok {
		t.Fatal("the secret is still stored")
	}
	if _, err := b.opener.Open(payload, old.Hint(), false); !errors.Is(err, ErrNoPrekey) {
		t.Fatalf("opening with a deleted prekey: %v", err)
	}
	again, err := OpenPrekeys(b.store)
	must(t, err)
	if _, err := again.ByHint(old.Hint()); !errors.Is(err, ErrNoPrekey) {
		t.Fatalf("after a restart: %v", err)
	}
	if again.Current().ID() != b.prekeys.Current().ID() {
		t.Fatal("the live prekey did not survive the restart")
	}
}

// failingStore refuses to write.
type failingStore struct{ secretStore }

var errDisk = errors.New("disk full")

func (*failingStore) PutPrekey(PrekeySecret) error        { return errDisk }
func (*failingStore) DeletePrekeys(ids ...PrekeyID) error { return errDisk }

func TestAPrekeyThatCannotBeStoredIsNotOffered(t *testing.T) {
	store := &failingStore{secretStore{m: make(map[PrekeyID]PrekeySecret)}}
	ps, err := OpenPrekeys(store)
	must(t, err)
	if _, err := ps.RotateNow(base); !errors.Is(err, errDisk) || ps.Current() != nil {
		t.Fatalf("error %v, prekey %v", err, ps.Current() != nil)
	}
	// A deletion that fails is tried again.
	must(t, store.secretStore.PutPrekey(PrekeySecret{ID: mustPrekey(t, 1).ID(), Seed: seed(1), Created: base}))
	ps, err = OpenPrekeys(store)
	must(t, err)
	for range 2 {
		if n, err := ps.DeleteExpired(base.Add(PrekeyDeleted)); n != 0 || !errors.Is(err, errDisk) {
			t.Fatalf("%d deleted, %v", n, err)
		}
	}
}

func mustPrekey(t testing.TB, n byte) *Prekey {
	t.Helper()
	p, err := PrekeyFromSeed(seed(n), base)
	must(t, err)
	return p
}

func TestPrekeysAreBounded(t *testing.T) {
	ps, err := OpenPrekeys(&secretStore{m: make(map[PrekeyID]PrekeySecret)})
	must(t, err)
	hints := make(map[Hint]bool)
	for range maxPrekeys {
		p, err := ps.RotateNow(base)
		must(t, err)
		if hints[p.Hint()] {
			t.Fatal("two live prekeys have one hint")
		}
		hints[p.Hint()] = true
	}
	if _, err := ps.RotateNow(base); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("one more: %v", err)
	}
	if _, err := OpenPrekeys(&secretStore{m: map[PrekeyID]PrekeySecret{{1}: {ID: PrekeyID{1}, Seed: seed(1)}}}); err == nil {
		t.Fatal("a secret under another id was loaded")
	}
}

func TestReplayRefusesAtItsCapsAndEvictsNothing(t *testing.T) {
	now := base
	r := NewMemoryReplay(func() time.Time { return now })
	r.perDevice, r.pool = 3, 2
	dev := func(n byte) identity.DeviceID { return identity.DeviceID{n} }
	see := func(d, m byte, stranger bool) (bool, error) {
		return r.Seen(dev(d), MessageID{m}, base.Add(time.Minute), stranger)
	}
	expect := func(d, m byte, stranger, dup bool, want error) {
		t.Helper()
		if got, err := see(d, m, stranger); got != dup || !errors.Is(err, want) {
			t.Fatalf("device %d message %d: %v, %v", d, m, got, err)
		}
	}
	for m := range byte(3) {
		expect(1, m, false, false, nil)
	}
	expect(1, 3, false, false, ErrReplayFull)
	expect(1, 0, false, true, nil)  // the oldest is still known
	expect(2, 0, false, false, nil) // another device has its own cap
	expect(7, 0, true, false, nil)
	expect(8, 0, true, false, nil)
	expect(9, 0, true, false, ErrReplayFull) // all strangers share one pool
	expect(7, 0, false, true, nil)           // a stranger that became a contact
	expect(2, 1, false, false, nil)
	now = base.Add(time.Minute)
	expect(1, 3, false, false, nil)
	expect(9, 0, true, false, nil)
	expect(1, 0, false, false, nil) // its time is over; the message itself has expired long before
}
