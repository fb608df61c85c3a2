// Package keep is a client's memory: who it is, whom it knows, what it has seen, sent and
// received, in one folder that one process uses at a time. Start with Create or Open.
//
// The folder, mode 0700, holds files of mode 0600:
//
//	client.db     everything below, in bbolt
//	prekeys.keys  a key for each prekey
//	records.keys  a key for the device seed, each home, contact, conversation, transfer and room
//	root.age      the root seed under a passphrase (scrypt), or
//	root.seed     the root seed as it is, readable by this user; or neither
//
// What is deleted here is deleted: bbolt keeps the bytes of deleted values in its free
// pages, so values are sealed under keys in the two key files, which are written anew
// without the key. Losing a key file is losing what it sealed; a backup is the whole folder
// of a stopped client.
//
// The ledger and the replay cache are not sealed: the ledger names recipients, and what it
// names stays in free pages after Settle has forgotten it.
//
// # What is kept, when it is written, and what its loss costs
//
// A write is on the disk when its method returns.
//
//	pins, highest epochs  before anything that rests on a newer list or document is shown.
//	                      Lost: the next list seen is a first contact again; compare numbers.
//	replay cache          before a message is acted on, with the clock in the same commit.
//	                      Lost: Horizon is the moment of noticing; older messages are refused,
//	                      older prekeys deleted.
//	prekey secrets        before the bundle is published; deleted after the mailbox was drained.
//	                      Lost: what was sealed to them cannot be read; senders seal again.
//	outbound ledger       before an envelope is sent; a fate when the node's word comes.
//	                      Lost: what was on its way is not asked for any more.
//	history               an incoming note before it is acknowledged to the node.
//	                      Lost: gone; the node has deleted it.
//	file units            after the bytes are on the disk. Lost: the unit is fetched again.
//	own list, root seed   before the list is published. Lost: the phrase, and a new list.
//	the clock             with every write and with Tick. Lost: with the folder only.
package keep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// Format is the version of the folder's layout.
const Format = 1

// migrations[i] leads from format i+1 to i+2.
var migrations = []kv.Migration{}

// Options of a client's memory. The zero value is a good one.
type Options struct {
	Now             func() time.Time // nil: time.Now
	Logger          *slog.Logger     // nil: silent
	LockTimeout     time.Duration    // 2 s
	ReplayPerDevice int              // messages remembered of one contact's device: 4,096
	ReplayStrangers int              // of all strangers together: 256
	MaxKnocks       int              // 32
	// ScryptWork is the base-2 logarithm of the work that wraps the root seed: 18, about a
	// second. More than MaxScryptWork is never done in opening one.
	ScryptWork int
	// Commit carries out every commit in tests (kv.Options).
	Commit func(path string, commit func() error) error

	maxFile int64 // for tests: as if the disk ended there
}

// MaxScryptWork is the most that Root does to open a wrapped seed: a file from outside must
// not make the client compute for an hour, or take all memory (4 GiB at 22).
const MaxScryptWork = 20

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.ReplayPerDevice <= 0 {
		o.ReplayPerDevice = envelope.ReplayPerDevice
	}
	if o.ReplayStrangers <= 0 {
		o.ReplayStrangers = envelope.ReplayStrangers
	}
	if o.MaxKnocks <= 0 {
		o.MaxKnocks = 32
	}
	if o.ScryptWork <= 0 {
		o.ScryptWork = 18
	}
	return o
}

// Keep is an open folder. Its methods may be called from any goroutine.
type Keep struct {
	dir     string
	o       Options
	file    *kv.File
	prekeys *kv.Keyring
	records *kv.Keyring
	clock   *envelope.Clock

	profile profileBox
	device  *identity.Device
	horizon time.Time

	replay *replayState // of the writer's goroutine alone
}

// Keep is what package envelope asks for.
var _ envelope.Replay = (*Keep)(nil)

var (
	bucketMeta      = []byte("meta")
	bucketOwn       = []byte("own")       // profile, device, list, horizon
	bucketHomes     = []byte("homes")     // domain -> order, sealed home
	bucketContacts  = []byte("contacts")  // root key -> sealed contact
	bucketKnocks    = []byte("knocks")    // root key -> sealed knock
	bucketReplay    = []byte("replay")    // device id, message id -> until, stranger
	bucketPrekeys   = []byte("prekeys")   // prekey id -> created, sealed secret
	bucketNotes     = []byte("notes")     // root key, sequence -> sealed note
	bucketNoteIDs   = []byte("noteids")   // root key, direction, message id -> sequence
	bucketLedger    = []byte("ledger")    // sequence -> envelope
	bucketLedgerIDs = []byte("ledgerids") // envelope id -> sequence
	bucketOpen      = []byte("open")      // sequence, for those whose fate is not final
	bucketTransfers = []byte("transfers") // direction, file id -> sealed transfer
	bucketUnits     = []byte("units")     // direction, file id -> bitmap of units
	bucketDocuments = []byte("documents") // kind, name -> document
	bucketRooms     = []byte("rooms")     // hash of the room id -> sealed room

	// Not the replay cache: that it is missing has a meaning.
	buckets = [][]byte{bucketMeta, bucketOwn, bucketHomes, bucketContacts, bucketKnocks, bucketPrekeys,
		bucketNotes, bucketNoteIDs, bucketLedger, bucketLedgerIDs, bucketOpen, bucketTransfers,
		bucketUnits, bucketDocuments, bucketRooms}

	keyClock       = []byte("clock")
	keyTotals      = []byte("totals")
	keyPrekeysRing = []byte("ring-prekeys")
	keyRecordsRing = []byte("ring-records")
	keyProfile     = []byte("profile")
	keyDevice      = []byte("device")
	keyList        = []byte("list")
	keyHorizon     = []byte("horizon")
)

const (
	fileDB       = "client.db"
	filePrekeys  = "prekeys.keys"
	fileRecords  = "records.keys"
	fileRootAge  = "root.age"
	fileRootSeed = "root.seed"
	fileRootNew  = "root.new"
)

// Create makes a profile in a folder that has none, and opens it.
func Create(dir string, p NewProfile, o Options) (_ *Keep, err error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	k, err := open(dir, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Close())
		}
	}()
	if k.device != nil {
		return nil, ErrExists
	}
	return k, k.create(p)
}

// Open opens a folder with a profile.
func Open(dir string, o Options) (*Keep, error) {
	if _, err := os.Stat(filepath.Join(dir, fileDB)); errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoProfile
	}
	k, err := open(dir, o)
	if err != nil {
		return nil, err
	}
	if k.device == nil {
		return nil, errors.Join(ErrNoProfile, k.Close())
	}
	return k, nil
}

func open(dir string, o Options) (_ *Keep, err error) {
	k := &Keep{dir: dir, o: o.withDefaults()}
	k.file, err = kv.Open(k.path(fileDB), kv.Options{
		Format: Format, Migrations: migrations, Buckets: buckets,
		Reload: k.reload, Flush: k.flush, LockTimeout: k.o.LockTimeout, Logger: k.o.Logger,
		MaxFile: k.o.maxFile, Commit: k.o.Commit,
	})
	if err != nil {
		return nil, translate(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Close())
		}
	}()
	var floor time.Time
	err = k.view(func(tx *bbolt.Tx) error {
		if v := tx.Bucket(bucketMeta).Get(keyClock); v != nil {
			d := kv.NewDecoder(v)
			floor = d.Time()
			return d.Done()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	k.clock = envelope.NewClock(k.o.Now, floor)
	if k.prekeys, err = k.openRing(filePrekeys, keyPrekeysRing); err != nil {
		return nil, err
	}
	if k.records, err = k.openRing(fileRecords, keyRecordsRing); err != nil {
		return nil, err
	}
	if err := k.loadProfile(); err != nil {
		return nil, err
	}
	if err := k.openReplay(); err != nil {
		return nil, err
	}
	return k, k.dropUnneeded()
}

// openRing opens a key file of this folder, or makes it for a new one.
func (k *Keep) openRing(name string, metaKey []byte) (*kv.Keyring, error) {
	var id kv.KeyID
	known := false
	err := k.view(func(tx *bbolt.Tx) error {
		known = copy(id[:], tx.Bucket(bucketMeta).Get(metaKey)) == len(id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if known {
		ring, err := kv.OpenRing(k.path(name), id)
		return ring, translate(err)
	}
	ring, err := kv.NewRing(k.path(name))
	if err != nil {
		return nil, translate(err)
	}
	id = ring.ID()
	return ring, k.do(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(metaKey, id[:]) })
}

// dropUnneeded drops the keys of what is gone: a crash between a deletion and its Drop
// leaves them behind.
func (k *Keep) dropUnneeded() error {
	prekeys, records := make(map[kv.KeyID]bool), map[kv.KeyID]bool{ringDevice(): true}
	err := k.view(func(tx *bbolt.Tx) error {
		each := func(bucket []byte, need func(key []byte)) error {
			return tx.Bucket(bucket).ForEach(func(key, _ []byte) error { need(key); return nil })
		}
		return errors.Join(
			each(bucketPrekeys, func(key []byte) { prekeys[kv.KeyID(key)] = true }),
			each(bucketHomes, func(key []byte) { records[ringKey("home", key)] = true }),
			each(bucketContacts, func(key []byte) { records[ringKey("contact", key)] = true }),
			each(bucketKnocks, func(key []byte) { records[ringKey("knock", key)] = true }),
			each(bucketNotes, func(key []byte) { records[ringKey("notes", key[:32])] = true }),
			each(bucketTransfers, func(key []byte) { records[ringKey("transfer", key)] = true }),
			each(bucketRooms, func(key []byte) { records[ringKey("room", key)] = true }),
		)
	})
	if err != nil {
		return err
	}
	return translate(errors.Join(
		k.prekeys.Retain(func(id kv.KeyID) bool { return prekeys[id] }),
		k.records.Retain(func(id kv.KeyID) bool { return records[id] }),
	))
}

// Close commits what is under way and closes the folder for the next process.
func (k *Keep) Close() error { return translate(k.file.Close()) }

// Now is the clock to use for expiry: it never steps back, in this process and below what
// was last persisted also after a restart with the system's clock set back.
func (k *Keep) Now() time.Time { return k.clock.Now() }

// Tick persists the clock and forgets replay entries whose time is over. A running client
// calls it about once a minute; every other write persists the clock as well.
func (k *Keep) Tick() error {
	return k.do(func(tx *bbolt.Tx) error { return k.pruneReplay(tx) })
}

// flush persists the clock with whatever is written, after the keys of what is written.
func (k *Keep) flush(tx *bbolt.Tx) error {
	for _, ring := range []*kv.Keyring{k.prekeys, k.records} {
		if ring == nil {
			continue // while the folder is being opened
		}
		if err := ring.Flush(); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMeta).Put(keyClock, kv.NewEncoder(8).Time(k.clock.Now()).Bytes())
}

func (k *Keep) path(name string) string { return filepath.Join(k.dir, name) }

// do runs a write. apply may run more than once: it begins by resetting what it reports.
func (k *Keep) do(apply func(tx *bbolt.Tx) error) error {
	return translate(k.file.Do(context.Background(), 1024, apply))
}

func (k *Keep) view(fn func(tx *bbolt.Tx) error) error { return translate(k.file.View(fn)) }

// change reads a value, lets fn make a new one of it on the caller's goroutine, and writes
// that if nobody else has changed the value in between; otherwise it begins again. fn gets
// nil where there is none, and returns nil to delete. So fn may use this Keep, and may run
// more than once.
func (k *Keep) change(read func(tx *bbolt.Tx) []byte, fn func(old []byte) (write func(tx *bbolt.Tx) error, err error)) error {
	for {
		var old []byte
		if err := k.view(func(tx *bbolt.Tx) error { old = bytes.Clone(read(tx)); return nil }); err != nil {
			return err
		}
		write, err := fn(old)
		if err != nil {
			return err
		}
		lost := false
		err = k.do(func(tx *bbolt.Tx) error {
			if lost = !bytes.Equal(old, read(tx)); lost {
				return kv.NoChange
			}
			return write(tx)
		})
		if err != nil || !lost {
			return err
		}
	}
}

// translate gives the errors that callers of this package know.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kv.ErrInUse):
		return ErrInUse
	case errors.Is(err, kv.ErrUnavailable), errors.Is(err, kv.ErrClosed):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}
