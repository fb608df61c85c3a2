package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// DeviceID names a device and its mailbox: the first 16 bytes of a hash of the device key.
// It prints shortened, because logs must not hold it; Hex gives the full text.
type DeviceID [16]byte

// DeviceIDOf returns the id of the device with this key.
func DeviceIDOf(device PublicKey) DeviceID {
	sum := sha256.Sum256(withContext(ContextDeviceID, device[:]))
	return DeviceID(sum[:16])
}

// Hex returns the 32 hexadecimal digits that commands show and take.
func (id DeviceID) Hex() string { return hex.EncodeToString(id[:]) }

// ParseDeviceID reads what Hex wrote.
func ParseDeviceID(s string) (DeviceID, error) {
	var id DeviceID
	if len(s) != hex.EncodedLen(len(id)) {
		return DeviceID{}, fmt.Errorf("device id of %d characters: 32 hexadecimal digits", len(s))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil || id.Hex() != s {
		return DeviceID{}, errors.New("device id: 32 lower-case hexadecimal digits")
	}
	return id, nil
}

// IsZero reports whether id is the zero value, which names no device.
func (id DeviceID) IsZero() bool { return id == DeviceID{} }

// String returns the first four digits.
func (id DeviceID) String() string { return hex.EncodeToString(id[:2]) }

// Format prints String for every verb, also where the id is a part of something else.
func (id DeviceID) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, id.String()) }

// LogValue keeps the id out of structured logs.
func (id DeviceID) LogValue() slog.Value { return slog.StringValue(id.String()) }

// MarshalText does the same for what a JSON handler makes of a value that holds ids.
func (id DeviceID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// Device is the Ed25519 key of one device: random, never derived, so that a stolen
// mnemonic cannot read what a device signed or received.
type Device struct {
	redacted
	key    ed25519.PrivateKey
	public PublicKey
	id     DeviceID
}

// GenerateDevice draws a new device key.
func GenerateDevice() (*Device, error) {
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("draw device key: %w", err)
	}
	return DeviceFromSeed(seed), nil
}

// DeviceFromSeed restores a device key from the seed that Seed returned.
func DeviceFromSeed(seed [32]byte) *Device {
	key := ed25519.NewKeyFromSeed(seed[:])
	public := publicOf(key)
	return &Device{key: key, public: public, id: DeviceIDOf(public)}
}

// Seed returns the secret that DeviceFromSeed takes.
func (d *Device) Seed() [32]byte { return [32]byte(d.key.Seed()) }

// Public returns the device's public key.
func (d *Device) Public() PublicKey { return d.public }

// ID returns the device's id.
func (d *Device) ID() DeviceID { return d.id }

// Sign returns the 64-byte signature over context || msg.
func (d *Device) Sign(context string, msg []byte) []byte { return sign(d.key, context, msg) }

// SignObject returns the signed object: signature || msg.
func (d *Device) SignObject(context string, msg []byte) []byte {
	return SignObject(d.key, context, msg)
}
