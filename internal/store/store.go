// Package store says what a node keeps and what it may rely on: the interfaces, their
// types and their errors. internal/store/bolt implements all of them on one machine;
// internal/store/storetest is the suite that every implementation has to pass.
//
// Start with Mailbox (what waits for a device) and Directory (who is registered). A store
// never sees the content of an envelope, keeps no identity of a sender beside it, and never
// says that something is stored before it is on the disk.
//
// Three more interfaces belong to this family once a domain outgrows one machine, and are
// not declared before something calls them: Hop {Send, Serve}, between the processes of one
// domain, at most once; Placement {Own, Owner}, compare-and-swap with a fencing token;
// Secrets {Current, Rotate}, which Blobs stands for on one machine. Presence is declared
// here because its in-memory form is what that later one replaces.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
)

var (
	// ErrUnavailable means that the disk did not take or give something: full, or broken.
	// Nothing of the operation was acknowledged; the same call may succeed later.
	ErrUnavailable = errors.New("store unavailable")
	// ErrClosed means that the store has been closed.
	ErrClosed = errors.New("store closed")
	// ErrNotFound means that there is no such account, device, tag, blob or invitation.
	ErrNotFound = errors.New("not found")

	// ErrEpochLower refuses a device list that is older than the stored one.
	ErrEpochLower = errors.New("device list is older than the stored one")
	// ErrEpochConflict refuses a second device list of one epoch: the identity, or somebody
	// with its root key, has signed two.
	ErrEpochConflict = errors.New("another device list of the same epoch is stored")
	// ErrNotListed refuses a bundle or a route of a device that the newest list lacks.
	ErrNotListed = errors.New("device is not in the newest device list")
	// ErrTagTaken refuses a route tag that another device published first.
	ErrTagTaken = errors.New("route tag belongs to another device")

	// ErrInvitation refuses an invitation that is unknown, used up, expired or revoked. A
	// stranger learns no more than that.
	ErrInvitation = errors.New("invitation is not valid")
	// ErrQueueFull means that the outbox of one destination is at its limit.
	ErrQueueFull = errors.New("outbox of this destination is full")
	// ErrLive refuses an envelope of the live class: those are never stored.
	ErrLive = errors.New("live envelopes are not stored")
	// ErrReplaced tells the holder of a claim that a newer one took its place.
	ErrReplaced = errors.New("replaced by a newer claim")
)

// MailboxID names a mailbox: a device has one, and it has the device's id.
type MailboxID = identity.DeviceID

// Seq numbers what a store keeps, ascending in the order of storing and never used again.
// Zero is before the first.
type Seq uint64

// Envelope is what the destination node keeps of one: what the hop said, and the payload.
type Envelope struct {
	Mailbox  MailboxID
	ID       envelope.ID
	TTL      envelope.TTL
	Source   identity.PeerID // the node it came from, the own one included; never a sender
	Collapse envelope.CollapseKey
	Knock    bool
	Hint     [2]byte
	Payload  []byte
	Received time.Time
	Expires  time.Time
}

// Stored is an envelope that waits in a mailbox.
type Stored struct {
	Seq Seq
	Envelope
}

// Status says what became of one envelope of a Put.
type Status uint8

const (
	// StatusStored: on the disk, waiting.
	StatusStored Status = iota + 1
	// StatusDuplicate: this mailbox has, or within the last eight days had, that envelope.
	// Seq is set while it still waits.
	StatusDuplicate
	// StatusQuota: the mailbox does not take it; nothing was written.
	StatusQuota
	// StatusReplaced: stored, and an earlier envelope with the same collapse key is gone.
	StatusReplaced
)

func (s Status) String() string {
	switch s {
	case StatusStored:
		return "stored"
	case StatusDuplicate:
		return "duplicate"
	case StatusQuota:
		return "quota"
	case StatusReplaced:
		return "replaced"
	}
	return "unknown"
}

// PutResult belongs to the envelope at the same place of the Put.
type PutResult struct {
	Seq    Seq
	Status Status
}

// Usage is what a mailbox holds and may hold. Knocks are counted apart: they are not in
// Envelopes or Bytes.
type Usage struct {
	Envelopes int
	Bytes     int64
	Knocks    int
	Closed    bool // refuses ordinary envelopes until drained, see Quotas

	MaxEnvelopes int
	MaxBytes     int64
}

// Quotas of one mailbox. Zero fields take the default.
//
// Ordinary envelopes (neither ring class nor knock) may fill MaxEnvelopes less RingReserve
// and MaxBytes less RingReserve times 8 KiB. The one that does not fit is refused and closes
// the box: from then on every ordinary envelope is refused, smaller ones too, until the box
// is drained. Drained means that no ordinary envelope is left in it: the device has
// acknowledged, or time has removed, all that was there when it closed. Ring class envelopes
// are taken also by a closed box, as long as everything together stays within MaxEnvelopes
// and MaxBytes; they never close it. A source node at PerSource is refused without closing
// the box for others. An envelope that replaces another by its collapse key is taken also
// by a full or closed box if it fits in the bytes.
type Quotas struct {
	MaxEnvelopes int   // 128
	MaxBytes     int64 // 4 MiB of payload
	PerSource    int   // 32 per source node, knocks not counted
	RingReserve  int   // 16 places that only the ring class may take; at most half of MaxEnvelopes
	MaxKnocks    int   // 10 waiting
	KnockBytes   int   // 4,096: a knock with a larger payload is refused
}

// RingReserveBytes is what each reserved place of the ring class keeps free: a RING is
// sealed into 4,096 or 8,192 bytes.
const RingReserveBytes = 8192

// WithDefaults returns q with its zero fields set.
func (q Quotas) WithDefaults() Quotas {
	if q.MaxEnvelopes <= 0 {
		q.MaxEnvelopes = 128
	}
	if q.MaxBytes <= 0 {
		q.MaxBytes = 4 << 20
	}
	if q.PerSource <= 0 {
		q.PerSource = 32
	}
	if q.RingReserve <= 0 {
		q.RingReserve = 16
	}
	q.RingReserve = min(q.RingReserve, q.MaxEnvelopes/2)
	if q.MaxKnocks <= 0 {
		q.MaxKnocks = 10
	}
	if q.KnockBytes <= 0 {
		q.KnockBytes = 4096
	}
	return q
}

// Mailbox keeps what waits for devices. A mailbox begins with its first envelope.
type Mailbox interface {
	// Put stores envelopes durably: what it reports as stored survives a crash. It is
	// idempotent on (Mailbox, ID). The slice and the payloads stay the caller's. All of one
	// call are written together, or none and an error is returned.
	Put(ctx context.Context, envelopes []Envelope) ([]PutResult, error)
	// Peek returns at most max envelopes after a sequence number, oldest first, without
	// those whose time is over. The payloads are the caller's.
	Peek(ctx context.Context, box MailboxID, after Seq, max int) ([]Stored, error)
	// Ack deletes durably what the device has fetched and records it as delivered (a knock: see
	// Outcomes). Unknown
	// numbers are no error: a second Ack changes nothing.
	Ack(ctx context.Context, box MailboxID, seqs []Seq) error
	Stats(ctx context.Context, box MailboxID) (Usage, error)
	// Expire deletes at most max envelopes whose time is over at now, records them as
	// expired and says how many there were.
	Expire(ctx context.Context, now time.Time, max int) (int, error)
	// Remove deletes a mailbox with all that waits in it (recorded as refused) and the key
	// that its values were sealed under, so that nothing on the disk opens them.
	Remove(ctx context.Context, box MailboxID) error
}

// Fate is how an envelope ended, or that it waits. The numbers are those of the envelope
// schema's Fate.
type Fate uint8

const (
	FateUnknown   Fate = 0
	FateDelivered Fate = 1 // the device fetched and acknowledged it
	FateStored    Fate = 2 // waits in a mailbox
	FateExpired   Fate = 3 // its time ended, or its sender replaced it, before the device came
	FateRefused   Fate = 4 // not taken
)

// OutcomeKept is how long an outcome is kept: longer than any envelope lives.
const OutcomeKept = 8 * 24 * time.Hour

// Outcomes answers the sender's later question: what became of it?
type Outcomes interface {
	// Record keeps a fate until a time, at most OutcomeKept from now; later ones of the
	// same id win. A mailbox records what happens inside it by itself. Of a knock it records
	// FateStored for OutcomeKept from its coming, whatever becomes of it, and that stays.
	Record(ctx context.Context, id envelope.ID, fate Fate, until time.Time) error
	// Withdraw forgets that an envelope was refused or expired, because it is on its way again.
	// It writes only if there is something to forget.
	Withdraw(ctx context.Context, id envelope.ID) error
	// Fate returns FateUnknown, without an error, for an id that nothing is known of.
	Fate(ctx context.Context, id envelope.ID) (Fate, error)
}
