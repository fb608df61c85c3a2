package identity

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/trunkline-net/trunkline/identity/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// DeviceList is an identity's signed statement of which devices speak for it and where
// they live. Each change, and each renewal, is the next epoch and names the hash of the
// list before. It comes from ParseDeviceList or a method of Root and is not changed
// afterwards.
type DeviceList struct {
	Root            PublicKey
	Epoch           uint64   // 1 and up
	Previous        [32]byte // hash of the list before; zero at epoch 1
	Issued, Expires time.Time
	Devices         []*DeviceCert // 1 to 8, in the order in which they were added
	Revoked         []DeviceID    // at most 16, newest last; older ones are simply not listed
	LowestSuite     uint32        // the lowest suite the identity accepts
	Recovery        [32]byte      // RecoveryCommitment of the recovery key, or zero
	Homes           []Home        // 1 to 3, in the order in which senders try them

	signed []byte
	hash   [32]byte
}

// Home is a node at which an identity has its mailboxes.
type Home struct {
	PeerID PeerID
	Domain string
}

// SignList signs l as it stands, whatever came before it; the methods that make the next
// list are what a client uses. l.Root may be zero or must be r's.
func (r *Root) SignList(l DeviceList) (*DeviceList, error) {
	if !l.Root.IsZero() && l.Root != r.public {
		return nil, fmt.Errorf("device list: %w", ErrOtherIdentity)
	}
	m := &pb.DeviceList{
		Version:     1,
		RootKey:     r.public[:],
		Epoch:       l.Epoch,
		Previous:    orAbsent(l.Previous),
		Issued:      unix(l.Issued),
		Expires:     unix(l.Expires),
		LowestSuite: l.LowestSuite,
		Recovery:    orAbsent(l.Recovery),
	}
	for _, c := range l.Devices {
		m.Devices = append(m.Devices, c.signed)
	}
	for i := range l.Revoked {
		m.Revoked = append(m.Revoked, l.Revoked[i][:])
	}
	for i := range l.Homes {
		m.Homes = append(m.Homes, &pb.Home{PeerId: l.Homes[i].PeerID[:], Domain: l.Homes[i].Domain})
	}
	msg, err := canon.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("device list: %w", err)
	}
	return ParseDeviceList(SignObject(r.key, ContextDeviceList, msg))
}

// ParseDeviceList reads a signed list and checks everything but the clock and the history:
// form, keys, certificates and signature. Pin.Check does the rest.
func ParseDeviceList(signed []byte) (*DeviceList, error) {
	l, err := parseDeviceList(signed)
	if err != nil {
		return nil, fmt.Errorf("device list: %w", err)
	}
	return l, nil
}

func parseDeviceList(signed []byte) (*DeviceList, error) {
	sig, msg, err := splitObject(signed, MaxDeviceList)
	if err != nil {
		return nil, err
	}
	var m pb.DeviceList
	if err := canon.Unmarshal(msg, MaxDeviceList, &m); err != nil {
		return nil, err
	}
	if m.Version != 1 {
		return nil, fmt.Errorf("version %d is not known here", m.Version)
	}
	l := &DeviceList{
		Epoch:       m.Epoch,
		LowestSuite: m.LowestSuite,
		signed:      slices.Clone(signed),
		hash:        sha256.Sum256(signed),
	}
	hash := objectHash(ContextDeviceList, signed)
	if goodObjects.has(hash) {
		l.Root = PublicKey(m.RootKey)
	} else {
		if l.Root, err = CheckKey(m.RootKey); err != nil {
			return nil, fmt.Errorf("root: %w", err)
		}
		// The signature comes before the certificates: a forger pays one verification of ours,
		// not nine.
		if err := VerifySignature(l.Root, ContextDeviceList, msg, sig); err != nil {
			return nil, err
		}
		goodObjects.add(hash)
	}
	if err := checkEpoch(m.Epoch); err != nil {
		return nil, err
	}
	if l.Previous, err = checkPrevious(m.Epoch, m.Previous); err != nil {
		return nil, err
	}
	if l.Issued, l.Expires, err = span(m.Issued, m.Expires, ListLifetime); err != nil {
		return nil, err
	}
	if m.LowestSuite == 0 {
		return nil, errors.New("it names no lowest suite")
	}
	if len(m.Recovery) > 0 {
		if len(m.Recovery) != len(l.Recovery) || [32]byte(m.Recovery) == l.Recovery {
			return nil, errors.New("its recovery commitment is malformed")
		}
		l.Recovery = [32]byte(m.Recovery)
	}
	if err := l.readRevoked(m.Revoked); err != nil {
		return nil, err
	}
	if err := l.readDevices(m.Devices); err != nil {
		return nil, err
	}
	if err := l.readHomes(m.Homes); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *DeviceList) readRevoked(ids [][]byte) error {
	if len(ids) > MaxRevoked {
		return fmt.Errorf("it has %d revoked devices, at most %d", len(ids), MaxRevoked)
	}
	for _, b := range ids {
		if len(b) != len(DeviceID{}) {
			return errors.New("a revoked device id is malformed")
		}
		if slices.Contains(l.Revoked, DeviceID(b)) {
			return errors.New("it has a revoked device twice")
		}
		l.Revoked = append(l.Revoked, DeviceID(b))
	}
	return nil
}

func (l *DeviceList) readDevices(certs [][]byte) error {
	if len(certs) == 0 || len(certs) > MaxDevices {
		return fmt.Errorf("it has %d devices: 1 to %d", len(certs), MaxDevices)
	}
	for _, b := range certs {
		c, err := ParseDeviceCert(b)
		switch {
		case err != nil:
			return err
		case c.Root != l.Root:
			return fmt.Errorf("device certificate: %w", ErrOtherIdentity)
		case c.Epoch > l.Epoch:
			return errors.New("it has a certificate of a later epoch")
		}
		id := c.DeviceID()
		if _, ok := l.Device(id); ok {
			return errors.New("it has a device twice")
		}
		if slices.Contains(l.Revoked, id) {
			return errors.New("it has a device that it revokes")
		}
		l.Devices = append(l.Devices, c)
	}
	return nil
}

func (l *DeviceList) readHomes(homes []*pb.Home) error {
	if len(homes) == 0 || len(homes) > MaxHomes {
		return fmt.Errorf("it has %d homes: 1 to %d", len(homes), MaxHomes)
	}
	for _, h := range homes {
		id, err := PeerIDFromBytes(h.PeerId)
		if err != nil {
			return fmt.Errorf("home: %w", err)
		}
		if err := CheckDomain(h.Domain); err != nil {
			return fmt.Errorf("home: %w", err)
		}
		if l.HasHome(id) {
			return errors.New("it has a home twice")
		}
		l.Homes = append(l.Homes, Home{PeerID: id, Domain: h.Domain})
	}
	return nil
}

// Bytes returns a copy of the signed list.
func (l *DeviceList) Bytes() []byte { return slices.Clone(l.signed) }

// Hash returns the SHA-256 of the signed list, signature included.
func (l *DeviceList) Hash() [32]byte { return l.hash }

// HashPrefix is what the epoch echo in a sealed message carries of Hash.
func (l *DeviceList) HashPrefix() [8]byte { return [8]byte(l.hash[:8]) }

// Device returns the certificate of a listed device.
func (l *DeviceList) Device(id DeviceID) (*DeviceCert, bool) {
	for _, c := range l.Devices {
		if c.DeviceID() == id {
			return c, true
		}
	}
	return nil, false
}

// HasHome reports whether the identity names this node as a home. A descriptor of any
// other node must not be used to reach it.
func (l *DeviceList) HasHome(id PeerID) bool {
	return slices.ContainsFunc(l.Homes, func(h Home) bool { return h.PeerID == id })
}

// Fresh reports how l stands at now: nil and false within its life, nil and true in the
// grace of seven days in which it is still used with a warning, ErrStale after that, and
// ErrNotYetValid when it was issued in the future.
func (l *DeviceList) Fresh(now time.Time) (stale bool, err error) {
	switch {
	case now.Add(ClockAhead).Before(l.Issued):
		return false, fmt.Errorf("device list: %w", ErrNotYetValid)
	case now.Before(l.Expires):
		return false, nil
	case now.Before(l.Expires.Add(ListGrace)):
		return true, nil
	}
	return true, ErrStale
}

// Admit decides whether the device of certificate c may speak, given that l is the newest
// list seen of its identity. A certificate that is older than the list is fine as long as
// the device is listed. When c is of a later epoch than l, current is false: the list must
// be fetched before anything from c is shown as verified.
func (l *DeviceList) Admit(c *DeviceCert, now time.Time) (current bool, err error) {
	if c.Root != l.Root {
		return false, fmt.Errorf("device certificate: %w", ErrOtherIdentity)
	}
	if err := c.ValidAt(now); err != nil {
		return false, err
	}
	id := c.DeviceID()
	if slices.Contains(l.Revoked, id) {
		return false, ErrRevoked
	}
	if c.Epoch > l.Epoch {
		return false, nil
	}
	if _, ok := l.Device(id); !ok {
		return false, ErrNotListed
	}
	return true, nil
}
