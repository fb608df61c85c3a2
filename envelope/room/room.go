// Package room is what the members of a room say to each other, and what a room's link opens:
// the room's id and secret, its card, the JOIN and the WELCOME that make a pair of members a
// session, the roster and the media keys that travel in it (docs/spec/rooms.md).
//
// Whoever opens a link calls ParseLink, then Secret.Keys; OpenCard says what the room is;
// NewJoin and Joining.Finish make the sessions of who comes, OpenJoin and Join.Welcome of who
// is there. The package promises that nothing in it is readable or made without the link's
// secret, that the secret gives no media key, and that nothing of it is ever printed.
package room

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
)

// ID is a room's name: a hash of who made it and of its first gate key, so that nobody can
// invent a room for somebody else.
type ID [32]byte

// Secret is what stands behind the "#" of a link. It gives the key of the gate, the key that
// members recognise each other's JOIN by, and what the card and the JOINs are sealed under;
// never a media key.
type Secret [32]byte

// JoinID names one join, at the gate and in the JOIN.
type JoinID [16]byte

// Index is a member's number: one for each join, never used again in a room, and in front of
// every media frame (docs/spec/media.md, section 2).
type Index uint16

// NewSecret, NewNonce and NewJoinID draw from the system's random source, which does not fail.
func NewSecret() (s Secret)  { _, _ = rand.Read(s[:]); return }
func NewNonce() (n [16]byte) { _, _ = rand.Read(n[:]); return }
func NewJoinID() (id JoinID) { _, _ = rand.Read(id[:]); return }

const redacted = "[redacted]"

// redact keeps what holds it out of every log and message.
type redact struct{}

func (redact) Format(s fmt.State, _ rune)   { print(s) }
func (redact) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (redact) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (ID) Format(s fmt.State, _ rune)       { print(s) }
func (ID) LogValue() slog.Value             { return slog.StringValue(redacted) }
func (ID) MarshalText() ([]byte, error)     { return []byte(redacted), nil }
func (Secret) Format(s fmt.State, _ rune)   { print(s) }
func (Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (JoinID) Format(s fmt.State, _ rune)   { print(s) }
func (JoinID) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (JoinID) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func print(s fmt.State) { _, _ = s.Write([]byte(redacted)) } // fmt.State never fails

var (
	// ErrMalformed refuses bytes that are not what they should be.
	ErrMalformed = errors.New("room: malformed")
	// ErrSecret says that something was not made, or cannot be read, with this link's secret.
	ErrSecret = errors.New("room: made with another link")
	// ErrRoom says that it belongs to another room.
	ErrRoom = errors.New("room: of another room")
	// ErrTime says that it is too old, or too far ahead.
	ErrTime = errors.New("room: out of its time")
	// ErrReplay says that it was answered before.
	ErrReplay = errors.New("room: seen before")
)

// MakeID computes a room's id:
//
//	SHA-256("trunkline/v1/room\0" | owner root 32 | owner device 32 | first gate key 32 | nonce 16)
func MakeID(owner, device, firstGate identity.PublicKey, nonce [16]byte) (id ID) {
	h := sha256.New()
	h.Write([]byte(identity.ContextRoom))
	h.Write(owner[:])
	h.Write(device[:])
	h.Write(firstGate[:])
	h.Write(nonce[:])
	h.Sum(id[:0])
	return id
}

// Keys are what a secret gives.
type Keys struct {
	redact
	gate ed25519.PrivateKey
	join [32]byte
	hall [32]byte
	door envelope.Handle
}

// Keys derives them.
func (s Secret) Keys() *Keys {
	k := new(Keys)
	var seed [32]byte
	derive(seed[:], s[:], nil, labelGate)
	k.gate = ed25519.NewKeyFromSeed(seed[:])
	derive(k.join[:], s[:], nil, labelJoin)
	derive(k.hall[:], s[:], nil, labelHall)
	derive(k.door[:], s[:], nil, labelDoor)
	return k
}

// Gate is the key that opens the room at its node.
func (k *Keys) Gate() ed25519.PrivateKey { return k.gate }

// GatePublic is what the node knows of it.
func (k *Keys) GatePublic() identity.PublicKey {
	return identity.PublicKey(k.gate.Public().(ed25519.PublicKey))
}

// Door is the handle that every announcement begins with.
func (k *Keys) Door() envelope.Handle { return k.door }

func derive(out, ikm, salt []byte, label string) {
	b, err := hkdf.Key(sha256.New, ikm, salt, label, len(out))
	if err != nil {
		panic(err) // 32 bytes are within every limit of HKDF
	}
	copy(out, b)
	clear(b)
}

// seatTag stands in a pair's session where a mailbox's route tag stands in a call's: it binds
// each frame to the seat that it goes to.
func seatTag(room ID, index Index) envelope.RouteTag {
	h := sha256.New()
	h.Write([]byte(labelSeat))
	h.Write(room[:])
	h.Write([]byte{byte(index >> 8), byte(index)})
	return envelope.RouteTag(h.Sum(nil)[:16])
}

// Link is what people send each other: where a room is, which it is, and its secret.
type Link struct {
	redact
	Base   string // "https://node.example", with a port if need be, and no slash at the end
	Room   ID
	Secret Secret
}

// MaxLink is the length limit of a link's text.
const MaxLink = 512

// pathRoom stands before the room's id.
const pathRoom = "/r/"

// Text is https://NODE/r/ID#SECRET. It is the one thing that prints a secret.
func (l Link) Text() string {
	return l.Base + pathRoom + base64.RawURLEncoding.EncodeToString(l.Room[:]) + "#" + base64.RawURLEncoding.EncodeToString(l.Secret[:])
}

// Text is the id as it stands in a link.
func (id ID) Text() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// ParseLink reads what Text writes. The scheme is https; http is for this machine alone, which
// the caller sees to when it dials.
func ParseLink(s string) (Link, error) {
	s = strings.TrimSpace(s)
	if len(s) > MaxLink {
		return Link{}, fmt.Errorf("%w: a link of %d bytes", ErrMalformed, len(s))
	}
	before, secret, found := strings.Cut(s, "#")
	u, err := url.Parse(before)
	if err != nil || !found || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Scheme != "https" && u.Scheme != "http" {
		return Link{}, fmt.Errorf("%w: a link looks like https://node.example/r/ROOM#SECRET", ErrMalformed)
	}
	id, found := strings.CutPrefix(u.EscapedPath(), pathRoom)
	l := Link{Base: u.Scheme + "://" + strings.ToLower(u.Host)}
	if !found || !decode32((*[32]byte)(&l.Room), id) {
		return Link{}, fmt.Errorf("%w: the part behind /r/ is not a room", ErrMalformed)
	}
	if !decode32((*[32]byte)(&l.Secret), secret) {
		return Link{}, fmt.Errorf("%w: the part behind # is not a room's secret: copy the whole link", ErrMalformed)
	}
	return l, nil
}

// decode32 takes 43 characters of base64url whose last two bits are zero, so that a value has
// one text.
func decode32(out *[32]byte, s string) bool {
	if len(s) != base64.RawURLEncoding.EncodedLen(32) {
		return false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(out[:], []byte(s))
	return err == nil && n == 32
}
