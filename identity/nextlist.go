package identity

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// NewList makes the list of epoch 1: one device and the identity's homes. recovery may be
// zero; it can be set later once, and never changed.
func (r *Root) NewList(device PublicKey, homes []Home, recovery [32]byte, now time.Time) (*DeviceList, error) {
	c, err := r.CertifyDevice(device, 1, now, now.Add(CertLifetime))
	if err != nil {
		return nil, err
	}
	return r.SignList(DeviceList{
		Epoch:       1,
		Issued:      now,
		Expires:     now.Add(ListLifetime),
		Devices:     []*DeviceCert{c},
		LowestSuite: Suite,
		Recovery:    recovery,
		Homes:       homes,
	})
}

// AddDevice makes the list after l, with one device more.
func (r *Root) AddDevice(l *DeviceList, device PublicKey, now time.Time) (*DeviceList, error) {
	return r.next(l, now, func(n *DeviceList) error {
		id := DeviceIDOf(device)
		if _, ok := n.Device(id); ok {
			return errors.New("the device is listed already")
		}
		if slices.Contains(n.Revoked, id) {
			return fmt.Errorf("%w: make a new device key", ErrRevoked)
		}
		if len(n.Devices) == MaxDevices {
			return fmt.Errorf("an identity has at most %d devices: revoke one first", MaxDevices)
		}
		c, err := r.CertifyDevice(device, n.Epoch, now, now.Add(CertLifetime))
		if err != nil {
			return err
		}
		n.Devices = append(n.Devices, c)
		return nil
	})
}

// Revoke makes the list after l, without the device. A contact knows it when it sees that
// list; a contact that sees none refuses the old list 37 days after its issue at the
// latest.
func (r *Root) Revoke(l *DeviceList, id DeviceID, now time.Time) (*DeviceList, error) {
	return r.next(l, now, func(n *DeviceList) error {
		at := slices.IndexFunc(n.Devices, func(c *DeviceCert) bool { return c.DeviceID() == id })
		if at < 0 {
			return ErrNotListed
		}
		if len(n.Devices) == 1 {
			return errors.New("an identity has at least one device: add another first")
		}
		n.Devices = slices.Delete(n.Devices, at, at+1)
		n.Revoked = append(n.Revoked, id)
		if extra := len(n.Revoked) - MaxRevoked; extra > 0 {
			n.Revoked = slices.Delete(n.Revoked, 0, extra)
		}
		return nil
	})
}

// Renew makes the list after l with new times, and new certificates for devices whose
// certificate is past half of its life.
func (r *Root) Renew(l *DeviceList, now time.Time) (*DeviceList, error) {
	return r.next(l, now, func(n *DeviceList) error {
		for i, c := range n.Devices {
			if !pastHalf(c.NotBefore, c.NotAfter, now) {
				continue
			}
			renewed, err := r.CertifyDevice(c.Device, n.Epoch, now, now.Add(CertLifetime))
			if err != nil {
				return err
			}
			n.Devices[i] = renewed
		}
		return nil
	})
}

// RenewDue reports whether it is time for Renew: the list or one of its certificates is
// past half of its life.
func (l *DeviceList) RenewDue(now time.Time) bool {
	return pastHalf(l.Issued, l.Expires, now) || slices.ContainsFunc(l.Devices, func(c *DeviceCert) bool {
		return pastHalf(c.NotBefore, c.NotAfter, now)
	})
}

// SetHomes makes the list after l, with other homes.
func (r *Root) SetHomes(l *DeviceList, homes []Home, now time.Time) (*DeviceList, error) {
	return r.next(l, now, func(n *DeviceList) error {
		n.Homes = homes
		return nil
	})
}

// SetRecovery makes the list after l, with a recovery commitment where there was none.
func (r *Root) SetRecovery(l *DeviceList, commitment [32]byte, now time.Time) (*DeviceList, error) {
	return r.next(l, now, func(n *DeviceList) error {
		if n.Recovery != [32]byte{} {
			return ErrRecoveryChanged
		}
		n.Recovery = commitment
		return nil
	})
}

func (r *Root) next(l *DeviceList, now time.Time, change func(*DeviceList) error) (*DeviceList, error) {
	if l.Root != r.public {
		return nil, fmt.Errorf("device list: %w", ErrOtherIdentity)
	}
	n := *l
	n.Epoch++
	n.Previous = l.Hash()
	n.Issued, n.Expires = now, now.Add(ListLifetime)
	n.Devices = slices.Clone(l.Devices)
	n.Revoked = slices.Clone(l.Revoked)
	if err := change(&n); err != nil {
		return nil, fmt.Errorf("device list: %w", err)
	}
	return r.SignList(n)
}

func pastHalf(begin, end, now time.Time) bool {
	return !now.Before(begin.Add(end.Sub(begin) / 2))
}
