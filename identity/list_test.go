package identity

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/trunkline-net/trunkline/identity/pb"
)

func TestCertificateSurvivesTheRoundTrip(t *testing.T) {
	root, device := testRoot(1), testDevice(1)
	c := must(root.CertifyDevice(device.Public(), 7, t0.Add(999), t0.Add(day)))
	got, err := ParseDeviceCert(c.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got.Root != root.Public() || got.Device != device.Public() || got.Epoch != 7 || got.DeviceID() != device.ID() ||
		!got.NotBefore.Equal(t0) || !got.NotAfter.Equal(t0.Add(day)) || !bytes.Equal(got.Bytes(), c.Bytes()) {
		t.Errorf("got %+v", got)
	}
	if n := len(c.Bytes()); n != 148 {
		t.Errorf("%d bytes, want the 148 that budgets elsewhere count with", n)
	}
	// What Bytes returned is the caller's.
	clear(c.Bytes())
	if _, err := ParseDeviceCert(c.Bytes()); err != nil {
		t.Errorf("after the caller wrote into its copy: %v", err)
	}
}

func TestCertificateRules(t *testing.T) {
	root := testRoot(1)
	good := must(root.CertifyDevice(testDevice(1).Public(), 1, t0, t0.Add(day)))
	for name, change := range map[string]func(*pb.DeviceCert){
		"version 2":             func(m *pb.DeviceCert) { m.Version = 2 },
		"no version":            func(m *pb.DeviceCert) { m.Version = 0 },
		"no root":               func(m *pb.DeviceCert) { m.RootKey = nil },
		"no device":             func(m *pb.DeviceCert) { m.DeviceKey = nil },
		"device key of 31":      func(m *pb.DeviceCert) { m.DeviceKey = m.DeviceKey[:31] },
		"epoch 0":               func(m *pb.DeviceCert) { m.Epoch = 0 },
		"epoch above 2^53":      func(m *pb.DeviceCert) { m.Epoch = 1 << 53 },
		"no begin":              func(m *pb.DeviceCert) { m.NotBefore = 0 },
		"ends at its begin":     func(m *pb.DeviceCert) { m.NotAfter = m.NotBefore },
		"end wraps around":      func(m *pb.DeviceCert) { m.NotAfter = 1<<64 - 1 },
		"lives a second longer": func(m *pb.DeviceCert) { m.NotAfter = m.NotBefore + 90*86400 + 1 },
	} {
		m := open(t, good.Bytes(), &pb.DeviceCert{})
		change(m)
		if _, err := ParseDeviceCert(forge(t, root.key, ContextDeviceCert, m)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	signed := good.Bytes()
	for i := range signed {
		changed := slices.Clone(signed)
		changed[i] ^= 0x10
		if _, err := ParseDeviceCert(changed); err == nil {
			t.Fatalf("byte %d changed: accepted", i)
		}
		if _, err := ParseDeviceCert(signed[:i]); err == nil {
			t.Fatalf("cut at %d: accepted", i)
		}
	}
	if _, err := ParseDeviceCert(append(signed, 0)); err == nil {
		t.Error("a byte more: accepted")
	}
	if _, err := ParseDeviceCert(make([]byte, 1<<20)); err == nil {
		t.Error("a megabyte: accepted")
	}
}

func TestListGrowsEpochByEpoch(t *testing.T) {
	root := testRoot(1)
	phone, laptop, tablet := testDevice(1), testDevice(2), testDevice(3)
	recovery := RecoveryCommitment(testRoot(9).Public())

	first := must(root.NewList(phone.Public(), testHomes(1), [32]byte{}, t0))
	second := must(root.AddDevice(first, laptop.Public(), t0.Add(day)))
	third := must(root.AddDevice(second, tablet.Public(), t0.Add(2*day)))
	fourth := must(root.Revoke(third, laptop.ID(), t0.Add(3*day)))
	fifth := must(root.SetHomes(fourth, testHomes(2, 1), t0.Add(4*day)))
	sixth := must(root.SetRecovery(fifth, recovery, t0.Add(5*day)))
	seventh := must(root.Renew(sixth, t0.Add(46*day)))

	lists := []*DeviceList{first, second, third, fourth, fifth, sixth, seventh}
	devices := [][]DeviceID{
		{phone.ID()}, {phone.ID(), laptop.ID()}, {phone.ID(), laptop.ID(), tablet.ID()},
		{phone.ID(), tablet.ID()}, {phone.ID(), tablet.ID()}, {phone.ID(), tablet.ID()}, {phone.ID(), tablet.ID()},
	}
	pin := Pin{}
	for i, l := range lists {
		got, err := ParseDeviceList(l.Bytes())
		if err != nil {
			t.Fatalf("epoch %d: %v", i+1, err)
		}
		if got.Epoch != uint64(i+1) || got.Root != root.Public() || got.LowestSuite != Suite || got.Hash() != l.Hash() {
			t.Errorf("epoch %d: %+v", i+1, got)
		}
		var ids []DeviceID
		for _, c := range got.Devices {
			ids = append(ids, c.DeviceID())
		}
		if !slices.Equal(ids, devices[i]) {
			t.Errorf("epoch %d: devices %v, want %v", i+1, ids, devices[i])
		}
		want := ChangeNext
		if i == 0 {
			want = ChangeFirst
		}
		now := l.Issued
		if v, err := pin.Check(got, now); err != nil || v != (Verdict{Change: want}) {
			t.Errorf("epoch %d: %+v, %v", i+1, v, err)
		}
		pin = pin.Advance(got, now)
		if pin.Epoch != got.Epoch || pin.Hash != l.Hash() || !pin.Seen.Equal(now) || pin.Recovery != got.Recovery {
			t.Errorf("epoch %d: pin %+v", i+1, pin)
		}
		if v, err := pin.Check(got, now); err != nil || v.Change != ChangeNone {
			t.Errorf("epoch %d again: %+v, %v", i+1, v, err)
		}
		if [8]byte(pin.Hash[:8]) != got.HashPrefix() {
			t.Errorf("epoch %d: hash prefix", i+1)
		}
	}
	if !slices.Equal(seventh.Revoked, []DeviceID{laptop.ID()}) || !slices.Equal(seventh.Homes, testHomes(2, 1)) {
		t.Errorf("the last list is %+v", seventh)
	}
	// The phone's certificate was past half of its life and was renewed with the list; the
	// tablet's was not.
	if c, _ := seventh.Device(phone.ID()); c.Epoch != 7 || !c.NotBefore.Equal(t0.Add(46*day)) {
		t.Errorf("phone: %+v", c)
	}
	if c, _ := seventh.Device(tablet.ID()); c.Epoch != 3 {
		t.Errorf("tablet: %+v", c)
	}
	// Making the next list leaves the one before as it was.
	if len(third.Devices) != 3 || third.Hash() != must(ParseDeviceList(third.Bytes())).Hash() {
		t.Error("the third list changed")
	}
}

func TestListHelpersRefuse(t *testing.T) {
	root, phone := testRoot(1), testDevice(1)
	first := must(root.NewList(phone.Public(), testHomes(1), [32]byte{5}, t0))
	full := first
	for n := byte(2); n <= MaxDevices; n++ {
		full = must(root.AddDevice(full, testDevice(n).Public(), t0))
	}
	revoked := must(root.Revoke(full, testDevice(2).ID(), t0))
	for name, err := range map[string]error{
		"device twice":              second(root.AddDevice(first, phone.Public(), t0)),
		"ninth device":              second(root.AddDevice(full, testDevice(9).Public(), t0)),
		"revoked device again":      second(root.AddDevice(revoked, testDevice(2).Public(), t0)),
		"root as device":            second(root.AddDevice(first, root.Public(), t0)),
		"revoke an unknown device":  second(root.Revoke(first, testDevice(2).ID(), t0)),
		"revoke the last device":    second(root.Revoke(first, phone.ID(), t0)),
		"no homes":                  second(root.SetHomes(first, nil, t0)),
		"four homes":                second(root.SetHomes(first, testHomes(1, 2, 3, 4), t0)),
		"home twice":                second(root.SetHomes(first, testHomes(1, 1), t0)),
		"home without peer id":      second(root.SetHomes(first, []Home{{Domain: "a.example"}}, t0)),
		"recovery set twice":        second(root.SetRecovery(first, [32]byte{6}, t0)),
		"somebody else's list":      second(testRoot(2).Renew(first, t0)),
		"list that names another":   second(testRoot(2).SignList(*first)),
		"time before 1970":          second(root.Renew(first, t0.AddDate(-100, 0, 0))),
		"device that is no key":     second(root.AddDevice(first, PublicKey{}, t0)),
		"device that is a bad key":  second(root.AddDevice(first, PublicKey{1}, t0)),
		"first list without a home": second(root.NewList(phone.Public(), nil, [32]byte{}, t0)),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRevokedDeviceNeedsANewKey(t *testing.T) {
	root := testRoot(1)
	l := must(root.NewList(testDevice(1).Public(), testHomes(1), [32]byte{}, t0))
	l = must(root.AddDevice(l, testDevice(2).Public(), t0))
	l = must(root.Revoke(l, testDevice(2).ID(), t0))
	if _, err := root.AddDevice(l, testDevice(2).Public(), t0); !errors.Is(err, ErrRevoked) {
		t.Errorf("%v, want ErrRevoked, which says what to do", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestOldRevocationsFallOutOfTheList(t *testing.T) {
	root := testRoot(1)
	l := must(root.NewList(testDevice(0).Public(), testHomes(1), [32]byte{}, t0))
	for n := byte(1); n <= MaxRevoked+2; n++ {
		l = must(root.AddDevice(l, testDevice(n).Public(), t0))
		l = must(root.Revoke(l, testDevice(n).ID(), t0))
	}
	if len(l.Revoked) != MaxRevoked || l.Revoked[0] != testDevice(3).ID() || l.Revoked[MaxRevoked-1] != testDevice(MaxRevoked+2).ID() {
		t.Errorf("revoked: %v", l.Revoked)
	}
	// Not being listed is what counts: the first revoked device stays out.
	c := must(root.CertifyDevice(testDevice(1).Public(), 1, t0, t0.Add(day)))
	if _, err := l.Admit(c, t0); !errors.Is(err, ErrNotListed) {
		t.Errorf("a device whose revocation fell out: %v", err)
	}
}

func TestListRules(t *testing.T) {
	root := testRoot(1)
	good := must(root.AddDevice(must(root.NewList(testDevice(1).Public(), testHomes(1), [32]byte{5}, t0)),
		testDevice(2).Public(), t0))
	later := must(root.CertifyDevice(testDevice(3).Public(), 3, t0, t0.Add(day)))
	id := testDevice(1).ID()
	for name, change := range map[string]func(*pb.DeviceList){
		"version 2":                  func(m *pb.DeviceList) { m.Version = 2 },
		"no root":                    func(m *pb.DeviceList) { m.RootKey = nil },
		"epoch 0":                    func(m *pb.DeviceList) { m.Epoch = 0 },
		"previous at epoch 1":        func(m *pb.DeviceList) { m.Epoch = 1; m.Devices = m.Devices[:1] },
		"no previous":                func(m *pb.DeviceList) { m.Previous = nil },
		"short previous":             func(m *pb.DeviceList) { m.Previous = m.Previous[:31] },
		"lives a second longer":      func(m *pb.DeviceList) { m.Expires++ },
		"no end":                     func(m *pb.DeviceList) { m.Expires = 0 },
		"no devices":                 func(m *pb.DeviceList) { m.Devices = nil },
		"nine devices":               func(m *pb.DeviceList) { m.Devices = certsOf(root, 9) },
		"device twice":               func(m *pb.DeviceList) { m.Devices = slices.Repeat(m.Devices[:1], 2) },
		"broken certificate":         func(m *pb.DeviceList) { m.Devices[0][0] ^= 1 },
		"certificate of later epoch": func(m *pb.DeviceList) { m.Devices = append(m.Devices, later.signed) },
		"device that it revokes":     func(m *pb.DeviceList) { m.Revoked = [][]byte{id[:]} },
		"revoked twice":              func(m *pb.DeviceList) { m.Revoked = slices.Repeat([][]byte{make([]byte, 16)}, 2) },
		"revoked id of 15":           func(m *pb.DeviceList) { m.Revoked = [][]byte{make([]byte, 15)} },
		"seventeen revoked": func(m *pb.DeviceList) {
			for i := range byte(17) {
				m.Revoked = append(m.Revoked, bytes.Repeat([]byte{i}, 16))
			}
		},
		"no lowest suite":        func(m *pb.DeviceList) { m.LowestSuite = 0 },
		"recovery of 31":         func(m *pb.DeviceList) { m.Recovery = m.Recovery[:31] },
		"recovery of zeros":      func(m *pb.DeviceList) { m.Recovery = make([]byte, 32) },
		"no homes":               func(m *pb.DeviceList) { m.Homes = nil },
		"four homes":             func(m *pb.DeviceList) { m.Homes = homesOf(1, 2, 3, 4) },
		"home twice":             func(m *pb.DeviceList) { m.Homes = slices.Repeat(m.Homes, 2) },
		"home without a domain":  func(m *pb.DeviceList) { m.Homes[0].Domain = "" },
		"home with a bad domain": func(m *pb.DeviceList) { m.Homes[0].Domain = "a..b" },
		"home of no peer id":     func(m *pb.DeviceList) { m.Homes[0].PeerId = m.Homes[0].PeerId[:37] },
		"home of a bad key":      func(m *pb.DeviceList) { clear(m.Homes[0].PeerId[6:]) },
	} {
		m := open(t, good.Bytes(), &pb.DeviceList{})
		change(m)
		if _, err := ParseDeviceList(forge(t, root.key, ContextDeviceList, m)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// One that names a suite we do not have is still readable: the caller decides.
	m := open(t, good.Bytes(), &pb.DeviceList{})
	m.LowestSuite = 2
	if l, err := ParseDeviceList(forge(t, root.key, ContextDeviceList, m)); err != nil || l.LowestSuite != 2 {
		t.Errorf("lowest suite 2: %v", err)
	}
	// The largest list fits its limit.
	big := must(root.NewList(testDevice(1).Public(), testHomes(1), [32]byte{5}, t0))
	for n := byte(2); n <= 24; n++ {
		big = must(root.AddDevice(big, testDevice(n).Public(), t0))
		if n > 8 {
			big = must(root.Revoke(big, testDevice(n).ID(), t0))
		}
		if n == 8 {
			big = must(root.Revoke(big, testDevice(8).ID(), t0))
		}
	}
	big = must(root.AddDevice(big, testDevice(25).Public(), t0))
	long := bytes.Repeat([]byte("abcdefghi."), 25)
	homes := testHomes(1, 2, 3)
	for i := range homes {
		homes[i].Domain = string(long) + "abc"
	}
	big = must(root.SetHomes(big, homes, t0))
	if len(big.Devices) != MaxDevices || len(big.Revoked) != MaxRevoked {
		t.Errorf("the largest list has %d devices and %d revoked", len(big.Devices), len(big.Revoked))
	}
}

func TestPinRemembersRecoveryAndSuite(t *testing.T) {
	root, device := testRoot(1), testDevice(1)
	commitment, other := [32]byte{1}, [32]byte{2}
	list := func(epoch uint64, recovery [32]byte, suite uint32) *DeviceList {
		l := DeviceList{Epoch: epoch, Issued: t0, Expires: t0.Add(day), LowestSuite: suite, Recovery: recovery, Homes: testHomes(1),
			Devices: []*DeviceCert{must(root.CertifyDevice(device.Public(), 1, t0, t0.Add(day)))}}
		if epoch > 1 {
			l.Previous = [32]byte{9}
		}
		return must(root.SignList(l))
	}
	none := Pin{}.Advance(list(1, [32]byte{}, 1), t0)
	set := Pin{}.Advance(list(1, commitment, 1), t0)
	for _, tt := range []struct {
		name string
		pin  Pin
		list *DeviceList
		want error
	}{
		{"none, none", none, list(2, [32]byte{}, 1), nil},
		{"none, then set", none, list(2, commitment, 1), nil},
		{"set, kept", set, list(2, commitment, 1), nil},
		{"set, changed", set, list(2, other, 1), ErrRecoveryChanged},
		{"set, dropped", set, list(2, [32]byte{}, 1), ErrRecoveryChanged},
	} {
		v, err := tt.pin.Check(tt.list, t0)
		if !errors.Is(err, tt.want) || err == nil && v.Change != ChangeJumped || err != nil && v != (Verdict{}) {
			t.Errorf("%s: %+v, %v", tt.name, v, err)
		}
	}
	if got := none.Advance(list(2, commitment, 1), t0); got.Recovery != commitment {
		t.Error("a commitment seen was not pinned")
	}
	if got := set.Advance(list(2, other, 1), t0); got.Recovery != commitment {
		t.Error("a pinned commitment was overwritten")
	}
	two := set.Advance(list(2, commitment, 2), t0)
	if two.Suite != 2 || two.Advance(list(3, commitment, 1), t0).Suite != 2 {
		t.Error("the highest suite was not kept")
	}
	if err := two.CheckSuite(1); !errors.Is(err, ErrSuite) {
		t.Errorf("suite 1 after 2: %v", err)
	}
	if err := two.CheckSuite(2); err != nil {
		t.Errorf("suite 2 after 2: %v", err)
	}
}

func TestEpochPlusOneWithAnotherPredecessorIsAJump(t *testing.T) {
	root := testRoot(1)
	first := must(root.NewList(testDevice(1).Public(), testHomes(1), [32]byte{}, t0))
	rival := must(root.NewList(testDevice(2).Public(), testHomes(1), [32]byte{}, t0))
	afterRival := must(root.AddDevice(rival, testDevice(3).Public(), t0))
	v, err := Pin{}.Advance(first, t0).Check(afterRival, t0)
	if err != nil || v.Change != ChangeJumped {
		t.Errorf("%+v, %v: a person must be shown that devices changed", v, err)
	}
}

func TestRenewalIsDueAtHalfLife(t *testing.T) {
	root := testRoot(1)
	l := must(root.NewList(testDevice(1).Public(), testHomes(1), [32]byte{}, t0))
	for at, want := range map[int64]bool{0: false, 15*86400 - 1: false, 15 * 86400: true, 40 * 86400: true} {
		if got := l.RenewDue(t0.Add(seconds(at))); got != want {
			t.Errorf("%d s after issue: %v", at, got)
		}
	}
	// Renewed every two weeks, the list is young and the certificate gets old.
	for range 4 {
		l = must(root.Renew(l, l.Issued.Add(14*day)))
	}
	if c := l.Devices[0]; c.Epoch != 5 || !c.NotBefore.Equal(t0.Add(56*day)) {
		t.Errorf("after 56 days: %+v", c)
	}
}
