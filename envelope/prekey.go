package envelope

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"filippo.io/age"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// The life of a prekey. A message may be sealed to it in the last minute of its offer and
// wait seven days in the mailbox; the fifteenth day covers the rounding of its beginning.
const (
	PrekeyOffered  = 7 * 24 * time.Hour
	PrekeyDeleted  = 15 * 24 * time.Hour
	PrekeyRotation = 24 * time.Hour
	maxBundleLife  = 8 * 24 * time.Hour
)

var (
	// ErrBundle says that a prekey bundle must not be sealed to.
	ErrBundle = errors.New("envelope: prekey bundle refused")
	// ErrListEpoch says that a bundle is newer than the device list beside it: someone holds
	// back a list.
	ErrListEpoch = errors.New("envelope: bundle is newer than the device list")
)

// Prekey is a secret to which sealed messages for this device are encrypted. Deleting the
// seed is what ends the readability of recorded messages, so it is never derived from
// anything.
type Prekey struct {
	redact
	seed      [32]byte
	created   time.Time
	id        PrekeyID
	recipient []byte
	identity  *age.HybridIdentity
}

// GeneratePrekey draws a prekey that begins its life now.
func GeneratePrekey(now time.Time) (*Prekey, error) {
	var seed [32]byte
	_, _ = rand.Read(seed[:])
	return PrekeyFromSeed(seed, now)
}

// PrekeyFromSeed is the inverse of [Prekey.Seed] and [Prekey.Created].
func PrekeyFromSeed(seed [32]byte, created time.Time) (*Prekey, error) {
	kem, _, _ := suiteXWing()
	priv, err := kem.NewPrivateKey(seed[:])
	if err != nil {
		return nil, fmt.Errorf("read prekey: %w", err)
	}
	id, err := age.ParseHybridIdentity(bech32Encode(ageIdentityHRP, seed[:]))
	if err != nil {
		// The library's error quotes the secret's text.
		return nil, errors.New("read prekey: age refuses the key")
	}
	p := &Prekey{seed: seed, created: created, recipient: priv.PublicKey().Bytes(), identity: id}
	p.id = PrekeyIDOf(p.recipient)
	return p, nil
}

// PrekeyIDOf names a raw recipient key.
func PrekeyIDOf(recipient []byte) PrekeyID {
	h := sha256.New()
	h.Write([]byte(identity.ContextPrekeyID))
	h.Write(recipient)
	return PrekeyID(h.Sum(nil)[:16])
}

// Hint is the part of the id that a hop carries.
func (id PrekeyID) Hint() Hint { return Hint(id[:2]) }

// Seed is the secret, for the client's key store.
func (p *Prekey) Seed() [32]byte { return p.seed }

// Created is when the prekey's life began.
func (p *Prekey) Created() time.Time { return p.created }

// ID names the prekey in messages sealed to it.
func (p *Prekey) ID() PrekeyID { return p.id }

// Hint is what a hop carries to select this prekey.
func (p *Prekey) Hint() Hint { return p.id.Hint() }

// Recipient is the raw public key: ML-KEM-768 1184 bytes, then X25519 32.
func (p *Prekey) Recipient() []byte { return slices.Clone(p.recipient) }

// Route is where a device receives.
type Route struct {
	redact
	Home       identity.Home
	Tag        RouteTag
	TokenEpoch uint64
}

// Bundle is a device's signed offer of a prekey and a route. It comes from [ParseBundle] or
// [Prekey.Bundle] and is not changed afterwards.
type Bundle struct {
	redact
	Root      identity.PublicKey
	Device    identity.PublicKey
	Epoch     uint64
	PrekeyID  PrekeyID
	NotBefore time.Time
	NotAfter  time.Time
	Route     Route

	signed    []byte
	recipient *age.HybridRecipient
}

// Bytes returns a copy of the signed bundle.
func (b *Bundle) Bytes() []byte { return slices.Clone(b.signed) }

// DeviceID is the id of the device that made the bundle.
func (b *Bundle) DeviceID() identity.DeviceID { return identity.DeviceIDOf(b.Device) }

// Bundle signs the offer of p by its device. Its times are those of whole UTC days, so that
// they say little about when the device was awake.
func (p *Prekey) Bundle(device *identity.Device, root identity.PublicKey, epoch uint64, route Route) (*Bundle, error) {
	day := p.created.UTC().Truncate(24 * time.Hour)
	dev := device.Public()
	msg, err := canon.Marshal(&pb.PrekeyBundle{
		Version:   version,
		RootKey:   root[:],
		DeviceKey: dev[:],
		Epoch:     epoch,
		PrekeyId:  p.id[:],
		Recipient: p.recipient,
		NotBefore: uint64(day.Unix()),
		NotAfter:  uint64(day.Add(PrekeyOffered).Unix()),
		Suites:    []uint32{identity.Suite},
		Route: &pb.Route{PeerId: route.Home.PeerID[:], Domain: route.Home.Domain,
			RouteTag: route.Tag[:], TokenEpoch: route.TokenEpoch},
	})
	if err != nil {
		return nil, fmt.Errorf("sign bundle: %w", err)
	}
	b, _, err := readBundle(device.SignObject(identity.ContextPrekey, msg))
	return b, err
}

// ParseBundle reads a signed bundle of a device that the list names and has not revoked. The
// list is one that the caller has already checked against its pin; it must not have ended,
// because a session or a message to an ended list is what a thief of an old device waits
// for.
func ParseBundle(signed []byte, list *identity.DeviceList, now time.Time) (*Bundle, error) {
	b, suites, err := readBundle(signed)
	if err != nil {
		return nil, err
	}
	if list == nil || list.Root != b.Root {
		return nil, fmt.Errorf("%w: list of another identity", ErrBundle)
	}
	if stale, err := list.Fresh(now); err != nil || stale {
		return nil, errors.Join(fmt.Errorf("%w: device list has ended", ErrBundle), err)
	}
	cert, ok := list.Device(b.DeviceID())
	if !ok || cert.Device != b.Device {
		return nil, fmt.Errorf("%w: %w", ErrBundle, identity.ErrNotListed)
	}
	if err := cert.ValidAt(now); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if b.Epoch > list.Epoch {
		return nil, ErrListEpoch
	}
	// The list says where its devices live. A hop to any other node is not for this identity.
	if !slices.Contains(list.Homes, b.Route.Home) {
		return nil, fmt.Errorf("%w: its route is not a home of the identity", ErrBundle)
	}
	if !slices.Contains(suites, identity.Suite) || list.LowestSuite > identity.Suite {
		return nil, fmt.Errorf("%w: %w", ErrBundle, identity.ErrSuite)
	}
	// A clock a little behind must not refuse the prekey that was made this midnight.
	if now.Add(maxAhead).Before(b.NotBefore) || !now.Before(b.NotAfter) {
		return nil, fmt.Errorf("%w: outside its days", ErrBundle)
	}
	return b, nil
}

// readBundle checks everything that needs neither list nor clock.
func readBundle(signed []byte) (*Bundle, []uint32, error) {
	if len(signed) <= identity.SignatureSize || len(signed) > maxBundle {
		return nil, nil, fmt.Errorf("%w: %d bytes", ErrBundle, len(signed))
	}
	// The key that verifies is inside; the list decides whether it may speak.
	sig, msg := signed[:identity.SignatureSize], signed[identity.SignatureSize:]
	var m pb.PrekeyBundle
	if err := canon.Unmarshal(msg, maxBundle, &m); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if m.Version != version || m.Route == nil || len(m.Route.RouteTag) != 16 || m.Epoch == 0 {
		return nil, nil, ErrBundle
	}
	root, err := identity.CheckKey(m.RootKey)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	device, err := identity.CheckKey(m.DeviceKey)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if err := identity.VerifySignature(device, identity.ContextPrekey, msg, sig); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if err := CheckXWing(m.Recipient); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	id := PrekeyIDOf(m.Recipient)
	if !slices.Equal(m.PrekeyId, id[:]) {
		return nil, nil, fmt.Errorf("%w: prekey id", ErrBundle)
	}
	const day, longest = 24 * 60 * 60, uint64(maxBundleLife / time.Second)
	if m.NotBefore > maxMillis/1000 || m.NotBefore%day != 0 || m.NotAfter <= m.NotBefore || m.NotAfter-m.NotBefore > longest {
		return nil, nil, fmt.Errorf("%w: times", ErrBundle)
	}
	if len(m.Suites) == 0 || len(m.Suites) > 8 || !ascending(m.Suites) {
		return nil, nil, fmt.Errorf("%w: suites", ErrBundle)
	}
	home, err := homeFrom(m.Route.PeerId, m.Route.Domain)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	// The raw key was checked above, so the library cannot refuse its text.
	recipient, err := age.ParseHybridRecipient(bech32Encode(ageRecipientHRP, m.Recipient))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: age refuses the key", ErrBundle)
	}
	return &Bundle{
		Root:      root,
		Device:    device,
		Epoch:     m.Epoch,
		PrekeyID:  id,
		NotBefore: time.Unix(int64(m.NotBefore), 0),
		NotAfter:  time.Unix(int64(m.NotAfter), 0),
		Route:     Route{Home: home, Tag: RouteTag(m.Route.RouteTag), TokenEpoch: m.Route.TokenEpoch},
		signed:    slices.Clone(signed),
		recipient: recipient,
	}, m.Suites, nil
}

func ascending(s []uint32) bool {
	for i, v := range s {
		if v == 0 || i > 0 && v <= s[i-1] {
			return false
		}
	}
	return true
}
