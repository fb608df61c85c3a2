package identity

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"

	"github.com/trunkline-net/trunkline/identity/pb"
)

// The negative tests about certificates, lists and devices.

func Test14_12_CertificateSignedByAnotherRoot(t *testing.T) {
	alice, mallory, device := testRoot(1), testRoot(2), testDevice(1)
	good := must(alice.CertifyDevice(device.Public(), 1, t0, t0.Add(day)))
	m := open(t, good.Bytes(), &pb.DeviceCert{})
	forged := forge(t, mallory.key, ContextDeviceCert, m) // names alice, signed by mallory
	if _, err := ParseDeviceCert(forged); !errors.Is(err, ErrSignature) {
		t.Errorf("certificate: %v", err)
	}
	// And a true certificate of mallory's inside alice's list.
	other := must(mallory.CertifyDevice(device.Public(), 1, t0, t0.Add(day)))
	if _, err := alice.SignList(DeviceList{Epoch: 1, Issued: t0, Expires: t0.Add(day), LowestSuite: 1,
		Devices: []*DeviceCert{other}, Homes: testHomes(1)}); !errors.Is(err, ErrOtherIdentity) {
		t.Errorf("list: %v", err)
	}
	list := must(alice.NewList(device.Public(), testHomes(1), [32]byte{}, t0))
	if _, err := list.Admit(other, t0); !errors.Is(err, ErrOtherIdentity) {
		t.Errorf("Admit: %v", err)
	}
}

func Test14_13_CertificateExpiredOrNotYetValid(t *testing.T) {
	root, device := testRoot(1), testDevice(1)
	c := must(root.CertifyDevice(device.Public(), 1, t0, t0.Add(day)))
	list := must(root.SignList(DeviceList{Epoch: 1, Issued: t0.Add(-day), Expires: t0.Add(20 * day), LowestSuite: 1,
		Devices: []*DeviceCert{c}, Homes: testHomes(1)}))
	for _, tt := range []struct {
		name string
		at   int64 // seconds after t0
		want error
	}{
		{"more than five minutes early", -301, ErrNotYetValid},
		{"five minutes early, a clock that is behind", -300, nil},
		{"at its begin", 0, nil},
		{"at its last second", 86399, nil},
		{"at its end", 86400, ErrExpired},
		{"long after", 864000, ErrExpired},
	} {
		now := t0.Add(seconds(tt.at))
		if err := c.ValidAt(now); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		current, err := list.Admit(c, now)
		if !errors.Is(err, tt.want) || current != (tt.want == nil) {
			t.Errorf("%s: Admit says %v, %v", tt.name, current, err)
		}
	}
	// And one that would live too long is no certificate at all.
	if _, err := root.CertifyDevice(device.Public(), 1, t0, t0.Add(CertLifetime)); err != nil {
		t.Error(err)
	}
	if _, err := root.CertifyDevice(device.Public(), 1, t0, t0.Add(CertLifetime+1e9)); err == nil {
		t.Error("a certificate of 90 days and a second was accepted")
	}
}

func Test14_14_RootKeyIsNoDeviceKey(t *testing.T) {
	root, device := testRoot(1), testDevice(1)
	if _, err := root.CertifyDevice(root.Public(), 1, t0, t0.Add(day)); err == nil {
		t.Error("the root certified itself as a device")
	}
	msg := []byte("an inner message")
	byRoot := SignObject(root.key, ContextInner, msg)
	if _, err := OpenObject(device.Public(), ContextInner, byRoot, 1000); !errors.Is(err, ErrSignature) {
		t.Errorf("inner signed by the root: %v", err)
	}
}

func Test14_15_SignatureOfOnePurposeUsedForAnother(t *testing.T) {
	root, device, host := testRoot(1), testDevice(1), testHost(1)
	list := must(root.NewList(device.Public(), testHomes(1), [32]byte{}, t0))
	cert := list.Devices[0]

	// A certificate presented as an inner message.
	if _, err := OpenObject(root.Public(), ContextInner, cert.Bytes(), 1000); !errors.Is(err, ErrSignature) {
		t.Errorf("certificate as inner: %v", err)
	}
	// The bytes of a certificate, signed as an inner message.
	asInner := SignObject(root.key, ContextInner, cert.Bytes()[SignatureSize:])
	if _, err := ParseDeviceCert(asInner); !errors.Is(err, ErrSignature) {
		t.Errorf("inner as certificate: %v", err)
	}
	// The same between all pairs of signed objects of this package.
	type object struct {
		context string
		key     ed25519.PrivateKey
		signed  []byte
		parse   func([]byte) error
	}
	parsed := func(_ any, err error) error { return err }
	handover := must(SignHandover(host, "a.example", testDevice(2).Public(), 2))
	objects := []object{
		{ContextDeviceCert, root.key, cert.Bytes(), func(b []byte) error { return parsed(ParseDeviceCert(b)) }},
		{ContextDeviceList, root.key, list.Bytes(), func(b []byte) error { return parsed(ParseDeviceList(b)) }},
		{ContextDescriptor, host, testDescriptor(1, t0).Bytes(), func(b []byte) error { return parsed(ParseDescriptor(b)) }},
		{ContextDomain, host, must(SignDomain(host, testDomain(1))).Bytes(), func(b []byte) error { return parsed(ParseDomain(b)) }},
		{ContextHandover, host, handover.Bytes(), func(b []byte) error { return parsed(ParseHandover(b)) }},
	}
	for _, o := range objects {
		if err := o.parse(o.signed); err != nil {
			t.Errorf("%q under its own context: %v", o.context, err)
		}
		for _, other := range objects {
			if other.context == o.context {
				continue
			}
			if err := o.parse(SignObject(o.key, other.context, o.signed[SignatureSize:])); !errors.Is(err, ErrSignature) {
				t.Errorf("%q signed as %q: %v", o.context, other.context, err)
			}
		}
	}
}

func Test14_16_ListEpochBelowPinAndUnlistedDevice(t *testing.T) {
	root, phone, laptop := testRoot(1), testDevice(1), testDevice(2)
	first := must(root.NewList(phone.Public(), testHomes(1), [32]byte{}, t0))
	second := must(root.AddDevice(first, laptop.Public(), t0.Add(day)))
	pin := Pin{}.Advance(second, t0.Add(day))

	if v, err := pin.Check(first, t0.Add(day)); !errors.Is(err, ErrRollback) || v != (Verdict{}) {
		t.Errorf("older list: %v, %v", v, err)
	}
	// A certificate of an older epoch whose device is not in the pinned list.
	stranger := must(root.CertifyDevice(testDevice(3).Public(), 1, t0, t0.Add(day*30)))
	if _, err := second.Admit(stranger, t0.Add(day)); !errors.Is(err, ErrNotListed) {
		t.Errorf("unlisted device of an older epoch: %v", err)
	}
	same := must(root.CertifyDevice(testDevice(3).Public(), 2, t0, t0.Add(day*30)))
	if _, err := second.Admit(same, t0.Add(day)); !errors.Is(err, ErrNotListed) {
		t.Errorf("unlisted device of the same epoch: %v", err)
	}
	// An older certificate of a listed device is fine.
	if current, err := second.Admit(first.Devices[0], t0.Add(day)); err != nil || !current {
		t.Errorf("older certificate of a listed device: %v, %v", current, err)
	}
	// A certificate of a later epoch than the list: not refused, but not verified either.
	later := must(root.CertifyDevice(testDevice(3).Public(), 3, t0, t0.Add(day*30)))
	if current, err := second.Admit(later, t0.Add(day)); err != nil || current {
		t.Errorf("certificate of a later epoch: %v, %v", current, err)
	}
}

func Test14_17_SameEpochWithAnotherHash(t *testing.T) {
	root := testRoot(1)
	first := must(root.NewList(testDevice(1).Public(), testHomes(1), [32]byte{}, t0))
	rival := must(root.NewList(testDevice(2).Public(), testHomes(1), [32]byte{}, t0))
	pin := Pin{}.Advance(first, t0)
	before := pin
	if v, err := pin.Check(rival, t0); !errors.Is(err, ErrEquivocation) || v != (Verdict{}) {
		t.Errorf("same epoch, other hash: %v, %v", v, err)
	}
	if pin != before {
		t.Error("the pin changed")
	}
	// Both remain readable as evidence: each verifies on its own.
	for _, l := range []*DeviceList{first, rival} {
		if _, err := ParseDeviceList(l.Bytes()); err != nil {
			t.Error(err)
		}
	}
	if bytes.Equal(first.Bytes(), rival.Bytes()) || first.Epoch != rival.Epoch {
		t.Error("the two lists are no evidence")
	}
}

func Test14_18_RevokedDeviceIsNotAdmitted(t *testing.T) {
	root, phone, stolen := testRoot(1), testDevice(1), testDevice(2)
	first := must(root.NewList(phone.Public(), testHomes(1), [32]byte{}, t0))
	second := must(root.AddDevice(first, stolen.Public(), t0))
	cert, ok := second.Device(stolen.ID())
	if !ok {
		t.Fatal("the device is not in its list")
	}
	if current, err := second.Admit(cert, t0); err != nil || !current {
		t.Fatalf("before the revocation: %v, %v", current, err)
	}
	third := must(root.Revoke(second, stolen.ID(), t0.Add(day)))
	if _, err := third.Admit(cert, t0.Add(day)); !errors.Is(err, ErrRevoked) {
		t.Errorf("after the revocation: %v", err)
	}
	// Also with a certificate that claims a later epoch than the list.
	later := must(root.CertifyDevice(stolen.Public(), 9, t0, t0.Add(day*30)))
	if _, err := third.Admit(later, t0.Add(day)); !errors.Is(err, ErrRevoked) {
		t.Errorf("with a later certificate: %v", err)
	}
}

func Test14_20_ExpiredDeviceList(t *testing.T) {
	root := testRoot(1)
	l := must(root.NewList(testDevice(1).Public(), testHomes(1), [32]byte{}, t0))
	pin := Pin{}.Advance(l, t0)
	for _, tt := range []struct {
		name  string
		at    int64 // seconds after t0
		stale bool
		want  error
	}{
		{"issued more than five minutes ahead", -301, false, ErrNotYetValid},
		{"issued five minutes ahead", -300, false, nil},
		{"last second of its life", 30*86400 - 1, false, nil},
		{"at its end: warn", 30 * 86400, true, nil},
		{"last second of the grace: warn", 37*86400 - 1, true, nil},
		{"after the grace: no new sessions", 37 * 86400, false, ErrStale},
	} {
		v, err := pin.Check(l, t0.Add(seconds(tt.at)))
		if !errors.Is(err, tt.want) || v.Stale != tt.stale {
			t.Errorf("%s: %+v, %v", tt.name, v, err)
		}
	}
}
