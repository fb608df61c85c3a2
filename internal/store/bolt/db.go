// Package bolt keeps what a node has to keep in one bbolt file and one small key file beside
// it. Open gives a DB, which is the mailboxes, the outcomes, the directory and the
// invitations, and has Blobs and Outbox. What it has answered for is on the disk; a full or
// broken disk is store.ErrUnavailable, never a crash.
//
// # Layout
//
//	meta       format version, id of the key file, how much waits in the log
//	log        sequence -> what admission needs to know, mailbox, envelope id, sealed value
//	boxes      mailbox -> present where the box is closed
//	outcomes   day of forgetting -> { envelope id -> fate }
//	accounts   root key -> device list
//	devices    root key, device id -> bundle, route, earlier tags
//	holders    device id -> root key
//	tags       route tag -> root key, device id
//	invites    hash of token -> invitation
//	redeemed   hash of token, hash of root key -> nothing
//	blobs      name -> key id, sealed value
//	outbox     destination -> { sequence -> envelope id, expiry, envelope }
//
// The log is written at its end only: a mailbox keyed log, or an index in the order of
// mailboxes, would touch a page per mailbox for every batch. Which numbers a mailbox has, and
// what admission needs of them, is held in memory (about a hundred bytes for each waiting
// envelope) and read from the log at the start, where bbolt reads these pages anyway. So a Put
// reads nothing from the file but the outcomes, and writes one value.
//
// # Deletion
//
// bbolt keeps deleted bytes in its free pages until they are used again. Every value of a
// mailbox is therefore sealed under that mailbox's key, every blob under a key of its own;
// the value names its key, the keys stand in the file NAME.keys, and Remove and Delete write that file anew without
// them. The keys of empty mailboxes are dropped whenever the store is opened. What
// stands in clear in the log (mailbox and envelope ids, sizes, times) is not secret from whoever holds the disk and stays
// in free pages until they are used again or the file is compacted. The outbox holds
// envelopes as they travel, sealed to others; it is not sealed again.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// Format is the version of the layout above.
const Format = 2

// migrations[i] leads from format i+1 to i+2.
var migrations = []kv.Migration{joinIndex}

// Options of a store. The zero value is a good one.
type Options struct {
	Quotas      store.Quotas
	Outbox      store.OutboxLimits
	Logger      *slog.Logger     // nil: silent
	Now         func() time.Time // nil: time.Now
	LockTimeout time.Duration    // 2 s
	// MaxFile makes the store answer ErrUnavailable instead of growing beyond it; 0: as
	// large as the disk.
	MaxFile int64
	// Commit carries out every commit in tests (kv.Options).
	Commit func(path string, commit func() error) error
}

// DB is an open store.
type DB struct {
	file    *kv.File
	ring    *kv.Keyring
	sealers sealers
	quotas  store.Quotas
	limits  store.OutboxLimits
	now     func() time.Time
	log     *slog.Logger

	// Only who writes changes what st is and holds, and reads it freely; Peek reads
	// st and its boxes on other goroutines.
	mu sync.RWMutex // guards st, boxes
	st *state

	corrupt atomic.Int64 // values that Peek could not open
}

var (
	_ store.Mailbox     = (*DB)(nil)
	_ store.Outcomes    = (*DB)(nil)
	_ store.Directory   = (*DB)(nil)
	_ store.Invitations = (*DB)(nil)
)

var (
	bucketMeta     = []byte("meta")
	bucketLog      = []byte("log")
	bucketBoxes    = []byte("boxes")
	bucketOutcomes = []byte("outcomes")
	bucketAccounts = []byte("accounts")
	bucketDevices  = []byte("devices")
	bucketHolders  = []byte("holders")
	bucketTags     = []byte("tags")
	bucketInvites  = []byte("invites")
	bucketRedeemed = []byte("redeemed")
	bucketBlobs    = []byte("blobs")
	bucketOutbox   = []byte("outbox")

	buckets = [][]byte{bucketMeta, bucketLog, bucketBoxes, bucketOutcomes, bucketAccounts,
		bucketDevices, bucketHolders, bucketTags, bucketInvites, bucketRedeemed, bucketBlobs, bucketOutbox}

	keyRing  = []byte("ring")
	keyTally = []byte("tally")
)

// Open opens or makes the store at path, and PATH.keys beside it. One process at a time.
// The caller closes it.
func Open(path string, o Options) (*DB, error) {
	return open(path, o, kv.Options{Format: Format, Migrations: migrations})
}

func open(path string, o Options, ko kv.Options) (*DB, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &DB{quotas: o.Quotas.WithDefaults(), limits: o.Outbox.WithDefaults(), now: o.Now, log: o.Logger}
	ko.Buckets = buckets
	ko.Reload = d.reload
	ko.Flush = d.flush
	ko.LockTimeout, ko.MaxFile, ko.Logger, ko.Commit = o.LockTimeout, o.MaxFile, o.Logger, o.Commit
	file, err := kv.Open(path, ko)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", translate(err))
	}
	d.file = file
	if err := d.openRing(path+".keys", ko.Inspect); err != nil {
		return nil, fmt.Errorf("open store: %w", errors.Join(translate(err), file.Close()))
	}
	return d, nil
}

// openRing opens the key file. Its id stands in the store, so a key file that is missing or
// of another store is noticed before anything is written.
func (d *DB) openRing(path string, inspect bool) error {
	var id kv.KeyID
	known := false
	err := d.file.View(func(tx *bbolt.Tx) error {
		known = copy(id[:], tx.Bucket(bucketMeta).Get(keyRing)) == len(id)
		return nil
	})
	if err != nil {
		return err
	}
	if !known && inspect {
		return fmt.Errorf("%w: the store names no key file", kv.ErrDamaged)
	}
	if !known {
		if d.ring, err = kv.NewRing(path); err != nil {
			return err
		}
		d.sealers.ring, d.sealers.of = d.ring, make(map[store.MailboxID]*sealer)
		id = d.ring.ID()
		return d.file.Do(context.Background(), len(id), func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketMeta).Put(keyRing, id[:])
		})
	}
	if d.ring, err = kv.OpenRing(path, id); err != nil {
		return err
	}
	var need map[kv.KeyID]bool
	var learned error
	if err := d.file.Ask(context.Background(), func() {
		d.sealers.ring, d.sealers.of = d.ring, make(map[store.MailboxID]*sealer, len(d.st.keys))
		learned = d.sealers.learn(d.st.keys)
		need = d.st.used
		d.st.keys, d.st.used = nil, nil
	}); err != nil || learned != nil || inspect {
		return errors.Join(err, learned)
	}
	// What nothing is sealed under any more goes now.
	err = d.file.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketBlobs).ForEach(func(_, v []byte) error {
			if len(v) >= 16 {
				need[kv.KeyID(v[:16])] = true
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	return d.ring.Retain(func(id kv.KeyID) bool { return need[id] })
}

// Close commits what is under way and closes the files.
func (d *DB) Close() error { return translate(d.file.Close()) }

// do runs a write in the shared transaction and gives our errors.
func (d *DB) do(ctx context.Context, size int, apply func(tx *bbolt.Tx) error) error {
	return translate(d.file.Do(ctx, size, apply))
}

func (d *DB) view(fn func(tx *bbolt.Tx) error) error { return translate(d.file.View(fn)) }

func (d *DB) ask(ctx context.Context, fn func()) error { return translate(d.file.Ask(ctx, fn)) }

// flush is what a batch writes once, just before its commit. Keys come first: a value
// whose key a crash loses would be lost with it.
func (d *DB) flush(tx *bbolt.Tx) error {
	if err := d.ring.Flush(); err != nil {
		return err
	}
	return d.st.flush(tx)
}

// translate gives the errors that callers of package store know.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kv.ErrClosed):
		return store.ErrClosed
	case errors.Is(err, kv.ErrUnavailable):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}

// key joins the parts of a bucket key.
func key(parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := make([]byte, 0, n)
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func deviceKey(root identity.PublicKey, id identity.DeviceID) []byte { return key(root[:], id[:]) }
