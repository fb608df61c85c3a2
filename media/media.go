// Package media holds what the relay and the SFU share: who may use how much (Limits) and the short-lived
// credentials that say so (Credentials). It imports neither envelope nor federation, and it must not: what the
// media plane cannot import, it cannot leak.
package media

import (
	"log/slog"
	"time"
)

// Handle names one signaling session to the media plane. It is drawn at random when credentials are minted, so
// that a user name, which TURN carries in clear, leads to no identity.
type Handle = [16]byte

// Owner groups the handles of one account for quotas and for a kill by the policy. The node that mints gives any
// stable value it likes; it never leaves the process.
type Owner = [16]byte

// Limits bounds one grant. Zero in a field means the server's own default, never "unlimited": a relay has no
// unlimited users.
type Limits struct {
	Allocations      int     // at once, on this handle
	PacketsPerSecond float64 // per allocation and direction
	BytesPerSecond   int64   // per allocation and direction
}

// Tighten returns the tighter of two limits, field by field.
func (l Limits) Tighten(o Limits) Limits {
	return Limits{
		Allocations:      tighter(l.Allocations, o.Allocations),
		PacketsPerSecond: tighter(l.PacketsPerSecond, o.PacketsPerSecond),
		BytesPerSecond:   tighter(l.BytesPerSecond, o.BytesPerSecond),
	}
}

func tighter[T int | int64 | float64](a, b T) T {
	switch {
	case a <= 0:
		return b
	case b <= 0:
		return a
	}
	return min(a, b)
}

// Credentials let one client start allocations for one session. They travel over the authenticated client link
// and are worth a relay to whoever reads them, hence every way of printing them by accident is closed.
type Credentials struct {
	Username string
	Password string
	Handle   Handle
	TTL      time.Duration // how long an allocation may still be started
}

const redacted = "[redacted]"

// String hides the credentials.
func (Credentials) String() string { return redacted }

// GoString hides the credentials from %#v.
func (Credentials) GoString() string { return redacted }

// LogValue hides the credentials from slog.
func (Credentials) LogValue() slog.Value { return slog.StringValue(redacted) }
