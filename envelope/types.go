package envelope

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

type (
	// ID names an envelope on its way: the first 16 bytes of a hash over all of it, so a
	// retry with identical bytes is recognised (docs/spec/envelope.md, "Envelope id").
	ID [16]byte
	// RouteTag is the random name of a mailbox at its home node.
	RouteTag [16]byte
	// Token is leave to deliver to a mailbox without knocking. All zero in a knock.
	Token [16]byte
	// CollapseKey lets a later envelope replace a stored one: a CANCEL its RING. All zero
	// otherwise.
	CollapseKey [16]byte
	// MessageID is random and names a message together with the device that sent it.
	MessageID [16]byte
	// SessionID is random and names a call in all its messages.
	SessionID [16]byte
	// PrekeyID is the first 16 bytes of a hash of the raw recipient key.
	PrekeyID [16]byte
	// Handle is the first 8 bytes of a session frame or of a ring answer: all that a device
	// needs to find the keys, and all that a node sees of a session.
	Handle [8]byte
	// Hint is the first two bytes of a prekey id, so that a device never tries several.
	Hint [2]byte
)

// None of these belongs into a log line, whatever verb or handler prints it: a node's log
// that holds tags and ids is a record of who talks to whom.
const redacted = "[redacted]"

// redact is embedded in every struct that holds such a value or what a person wrote. Format
// covers every verb, also where the struct is a field of another; MarshalText covers what a
// JSON handler makes of a slice, a map or a struct that somebody logs whole.
type redact struct{}

func (redact) Format(s fmt.State, _ rune)   { print(s) }
func (redact) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (redact) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func print(s fmt.State) { _, _ = s.Write([]byte(redacted)) } // fmt.State never fails

func (ID) Format(s fmt.State, _ rune)          { print(s) }
func (RouteTag) Format(s fmt.State, _ rune)    { print(s) }
func (Token) Format(s fmt.State, _ rune)       { print(s) }
func (CollapseKey) Format(s fmt.State, _ rune) { print(s) }
func (MessageID) Format(s fmt.State, _ rune)   { print(s) }
func (SessionID) Format(s fmt.State, _ rune)   { print(s) }
func (PrekeyID) Format(s fmt.State, _ rune)    { print(s) }
func (Handle) Format(s fmt.State, _ rune)      { print(s) }

func (ID) LogValue() slog.Value          { return slog.StringValue(redacted) }
func (RouteTag) LogValue() slog.Value    { return slog.StringValue(redacted) }
func (Token) LogValue() slog.Value       { return slog.StringValue(redacted) }
func (CollapseKey) LogValue() slog.Value { return slog.StringValue(redacted) }
func (MessageID) LogValue() slog.Value   { return slog.StringValue(redacted) }
func (SessionID) LogValue() slog.Value   { return slog.StringValue(redacted) }
func (PrekeyID) LogValue() slog.Value    { return slog.StringValue(redacted) }
func (Handle) LogValue() slog.Value      { return slog.StringValue(redacted) }

func (ID) MarshalText() ([]byte, error)          { return []byte(redacted), nil }
func (RouteTag) MarshalText() ([]byte, error)    { return []byte(redacted), nil }
func (Token) MarshalText() ([]byte, error)       { return []byte(redacted), nil }
func (CollapseKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (MessageID) MarshalText() ([]byte, error)   { return []byte(redacted), nil }
func (SessionID) MarshalText() ([]byte, error)   { return []byte(redacted), nil }
func (PrekeyID) MarshalText() ([]byte, error)    { return []byte(redacted), nil }
func (Handle) MarshalText() ([]byte, error)      { return []byte(redacted), nil }

// IsZero reports whether t is the all-zero token of a knock.
func (t Token) IsZero() bool { return t == Token{} }

// IsZero reports whether k asks for no replacement.
func (k CollapseKey) IsZero() bool { return k == CollapseKey{} }

// NewMessageID, NewSessionID, NewCollapseKey, NewRouteTag and NewHandle draw from the
// system's random source, which does not fail.
func NewMessageID() (id MessageID)    { _, _ = rand.Read(id[:]); return }
func NewSessionID() (id SessionID)    { _, _ = rand.Read(id[:]); return }
func NewCollapseKey() (k CollapseKey) { _, _ = rand.Read(k[:]); return }
func NewRouteTag() (t RouteTag)       { _, _ = rand.Read(t[:]); return }
func NewHandle() (h Handle)           { _, _ = rand.Read(h[:]); return }

// TTL is the class of an envelope: how long a node may keep it.
type TTL uint8

const (
	Live TTL = 0 // never stored
	Ring TTL = 1 // sixty seconds: RING and its CANCEL
	Day  TTL = 2
	Week TTL = 3
)

// Valid reports whether t is one of the four classes.
func (t TTL) Valid() bool { return t <= Week }

// Duration is how long a node keeps an envelope of the class; zero for Live.
func (t TTL) Duration() time.Duration {
	switch t {
	case Ring:
		return time.Minute
	case Day:
		return 24 * time.Hour
	case Week:
		return 7 * 24 * time.Hour
	}
	return 0
}

func (t TTL) String() string {
	switch t {
	case Live:
		return "live"
	case Ring:
		return "ring"
	case Day:
		return "day"
	case Week:
		return "week"
	}
	return "invalid"
}

// Sizes in bytes. A payload is exactly one of the buckets, so its length says no more than
// the class.
const (
	bucket1K  = 1024
	bucket4K  = 4096
	bucket8K  = 8192
	bucket16K = 16384
	bucket32K = 32768
	bucket64K = 65536

	// KnockSize is the only payload size a knock may have.
	KnockSize = bucket4K
	// MaxPayload is the largest bucket.
	MaxPayload = bucket64K
	// MaxEnvelope bounds the bytes of a marshalled envelope.
	MaxEnvelope = MaxPayload + 256
)

var buckets = [...]int{bucket1K, bucket4K, bucket8K, bucket16K, bucket32K, bucket64K}

// Bucket reports whether size is a payload size.
func Bucket(size int) bool {
	for _, b := range buckets {
		if size == b {
			return true
		}
	}
	return false
}

// Errors on which callers branch. Everything that came from outside and is not one of
// these is dropped alike.
var (
	ErrMalformed = errors.New("envelope: malformed")
	ErrSize      = errors.New("envelope: size is not one of the padded sizes")
	ErrDecrypt   = errors.New("envelope: does not decrypt")
	ErrTooLarge  = errors.New("envelope: too large")
)

// Pad writes a 4-byte big-endian length, body and zeros over all of dst.
func Pad(dst, body []byte) error {
	if len(body) > len(dst)-4 {
		return ErrTooLarge
	}
	n := uint32(len(body))
	dst[0], dst[1], dst[2], dst[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	clear(dst[4+copy(dst[4:], body):])
	return nil
}

// Unpad is the inverse of Pad: a length beyond the block and any byte but zero behind the
// body are refused, so a padded block has one reading. The result aliases b.
func Unpad(b []byte) ([]byte, error) {
	if len(b) < 4 {
		return nil, ErrMalformed
	}
	n := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
	if n > uint64(len(b)-4) {
		return nil, ErrMalformed
	}
	body, rest := b[4:4+n], b[4+n:]
	for len(rest) >= len(zeros) {
		if !bytes.Equal(rest[:len(zeros)], zeros[:]) {
			return nil, ErrMalformed
		}
		rest = rest[len(zeros):]
	}
	if !bytes.Equal(rest, zeros[:len(rest)]) {
		return nil, ErrMalformed
	}
	return body, nil
}

var zeros [256]byte
