package store

import (
	"context"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
)

// Account is one registered identity.
type Account struct {
	Root       identity.PublicKey
	List       []byte // the newest signed device list, exactly as it was published
	Epoch      uint64
	Hash       [32]byte
	Devices    []identity.DeviceID // in the order of the list
	Registered time.Time
}

// Route is where a device's envelopes arrive and what they must show. Hashes only: the
// node cannot mint a token for somebody else.
type Route struct {
	Tag          envelope.RouteTag
	TokenHash    [32]byte
	PreviousHash [32]byte // zero: the previous token is not taken any more
	TokenEpoch   uint64
}

// Device is what the directory holds of one device of an account.
type Device struct {
	ID     identity.DeviceID
	Root   identity.PublicKey
	Bundle []byte // newest signed prekey bundle, nil before the first
	Route  Route  // zero before the first
}

// Published says what a new device list changed.
type Published struct {
	New     bool // the account did not exist before
	Changed bool // the stored list is another one than before
	// Removed devices were in the stored list, are not in the new one, and belonged to this
	// account (see Directory.Device): a device that a list only named is not among them, or
	// anybody could end anybody's mailbox by naming it and leaving it out again. Their bundles
	// and routes are gone; the caller closes their links and removes their mailboxes.
	Removed []identity.DeviceID
}

// Directory knows the accounts of the own domain. It stores what its identities have signed
// and checks only order: signatures are the caller's to check before.
type Directory interface {
	// PutAccount stores a device list. ErrEpochLower and ErrEpochConflict change nothing;
	// the list that is stored already is no error.
	PutAccount(ctx context.Context, list *identity.DeviceList) (Published, error)
	Account(ctx context.Context, root identity.PublicKey) (Account, error)
	// Epoch is that of the newest device list: Account without reading and checking the list.
	Epoch(ctx context.Context, root identity.PublicKey) (uint64, error)
	// Accounts returns at most max accounts in the order of their root keys, after one; the
	// zero key is before the first.
	Accounts(ctx context.Context, after identity.PublicKey, max int) ([]Account, error)
	// RemoveAccount deletes an account and all it published, and returns the devices that
	// belonged to it, as Published.Removed; the caller removes their mailboxes.
	RemoveAccount(ctx context.Context, root identity.PublicKey) ([]identity.DeviceID, error)

	// Devices returns the devices of an account in the order of its list, those without a
	// bundle too.
	Devices(ctx context.Context, root identity.PublicKey) ([]Device, error)
	// Device finds a device by its id alone. Anybody can name anybody's device key in a list
	// of his own; so it belongs to the account for which it last published a bundle or a
	// route, which takes a link that proved the key, and before that to none.
	Device(ctx context.Context, id identity.DeviceID) (Device, error)
	// PutBundle replaces the device's prekey bundle. The caller has seen the device prove
	// its key under this account.
	PutBundle(ctx context.Context, root identity.PublicKey, id identity.DeviceID, bundle []byte) error
	// SetRoute replaces the device's mailbox settings; as PutBundle. A tag stays with the
	// device that first published it, also after that device has moved to another one (its
	// last eight earlier tags); ErrTagTaken otherwise.
	SetRoute(ctx context.Context, root identity.PublicKey, id identity.DeviceID, route Route) error
	// ByTag finds the device whose current route has the tag.
	ByTag(ctx context.Context, tag envelope.RouteTag) (Device, error)
}

// Invitation lets somebody register. The store keeps a hash of the token only.
type Invitation struct {
	ID      string // names it for listing and revoking; not the token
	Note    string // for the administrator, at most 200 bytes
	Created time.Time
	Expires time.Time // zero: never
	Uses    int       // left
	Used    int
}

// Invitations of the own domain.
type Invitations interface {
	// Create draws a token and returns it; it cannot be had again. Uses below 1 mean one.
	Create(ctx context.Context, uses int, expires time.Time, note string) (token string, inv Invitation, err error)
	// List returns all that are not revoked, oldest first, used-up and expired ones too.
	List(ctx context.Context) ([]Invitation, error)
	// Revoke takes an ID or a token.
	Revoke(ctx context.Context, id string) error
	// Redeem takes one use for an identity, or refuses with ErrInvitation. It is atomic, and
	// idempotent per identity: a registration that broke off after Redeem costs no second use.
	Redeem(ctx context.Context, token string, root identity.PublicKey) (Invitation, error)
}

// Blobs are the node's own secrets and documents by name: host key, domain key, routing
// keys, mailbox secrets, domain pins. A value that is deleted or replaced cannot be read
// from what is left of it on the disk.
type Blobs interface {
	// Get returns ErrNotFound where there is none.
	Get(ctx context.Context, name string) ([]byte, error)
	Put(ctx context.Context, name string, value []byte) error
	// Delete is no error where there is none.
	Delete(ctx context.Context, name string) error
	// Names returns the names that begin with a prefix, sorted.
	Names(ctx context.Context, prefix string) ([]string, error)
}
