package identity

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/trunkline-net/trunkline/identity/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// DeviceCert is the root key's word that a device speaks for the identity. It comes from
// ParseDeviceCert or CertifyDevice, which checked it, and is not changed afterwards.
type DeviceCert struct {
	Root, Device        PublicKey
	Epoch               uint64 // of the device list at issue
	NotBefore, NotAfter time.Time

	signed []byte
}

// CertifyDevice signs a certificate. The times are cut to seconds.
func (r *Root) CertifyDevice(device PublicKey, epoch uint64, notBefore, notAfter time.Time) (*DeviceCert, error) {
	msg, err := canon.Marshal(&pb.DeviceCert{
		Version:   1,
		RootKey:   r.public[:],
		DeviceKey: device[:],
		Epoch:     epoch,
		NotBefore: unix(notBefore),
		NotAfter:  unix(notAfter),
	})
	if err != nil {
		return nil, fmt.Errorf("device certificate: %w", err)
	}
	// Reading it back applies the rules of the reader to what we write.
	return ParseDeviceCert(SignObject(r.key, ContextDeviceCert, msg))
}

// ParseDeviceCert reads a signed certificate and checks everything but the clock: form,
// both keys, lifetime and signature.
func ParseDeviceCert(signed []byte) (*DeviceCert, error) {
	c, err := parseDeviceCert(signed)
	if err != nil {
		return nil, fmt.Errorf("device certificate: %w", err)
	}
	return c, nil
}

func parseDeviceCert(signed []byte) (*DeviceCert, error) {
	sig, msg, err := splitObject(signed, MaxDeviceCert)
	if err != nil {
		return nil, err
	}
	var m pb.DeviceCert
	if err := canon.Unmarshal(msg, MaxDeviceCert, &m); err != nil {
		return nil, err
	}
	if m.Version != 1 {
		return nil, fmt.Errorf("version %d is not known here", m.Version)
	}
	c := &DeviceCert{Epoch: m.Epoch, signed: slices.Clone(signed)}
	hash := objectHash(ContextDeviceCert, signed)
	known := goodObjects.has(hash)
	if known {
		c.Root, c.Device = PublicKey(m.RootKey), PublicKey(m.DeviceKey)
	} else {
		if c.Root, err = CheckKey(m.RootKey); err != nil {
			return nil, fmt.Errorf("root: %w", err)
		}
		if c.Device, err = CheckKey(m.DeviceKey); err != nil {
			return nil, fmt.Errorf("device: %w", err)
		}
	}
	if c.Device == c.Root {
		// The root key signs certificates and lists only. As a device it would sign messages.
		return nil, errors.New("the root key is no device key")
	}
	if err := checkEpoch(m.Epoch); err != nil {
		return nil, err
	}
	if c.NotBefore, c.NotAfter, err = span(m.NotBefore, m.NotAfter, CertLifetime); err != nil {
		return nil, err
	}
	if !known {
		if err := VerifySignature(c.Root, ContextDeviceCert, msg, sig); err != nil {
			return nil, err
		}
		goodObjects.add(hash)
	}
	return c, nil
}

// Bytes returns a copy of the signed certificate.
func (c *DeviceCert) Bytes() []byte { return slices.Clone(c.signed) }

// DeviceID returns the id of the certified device.
func (c *DeviceCert) DeviceID() DeviceID { return DeviceIDOf(c.Device) }

// ValidAt returns ErrNotYetValid or ErrExpired when now is outside the certificate's time.
func (c *DeviceCert) ValidAt(now time.Time) error {
	if err := within(now, c.NotBefore, c.NotAfter); err != nil {
		return fmt.Errorf("device certificate: %w", err)
	}
	return nil
}
