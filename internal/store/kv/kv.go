// Package kv is one bbolt file with the rules that both a node and a client keep: a format
// version with migrations, one process at a time, one writer that commits many operations
// with one fsync, and an answer instead of a crash when the disk is full or broken. Keyring
// is the small file beside it that makes deletion real.
//
// Start with Open and File.Do. Do returns after the operation is on the disk, and never says
// so before.
package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

var (
	// ErrUnavailable: the disk did not take or give something. Nothing of the operation was
	// acknowledged; a later one may succeed.
	ErrUnavailable = errors.New("store unavailable")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("store closed")
	// ErrInUse: another process holds the file.
	ErrInUse = errors.New("another process uses this store")
	// ErrNewer: a later version of the program wrote the file.
	ErrNewer = errors.New("written by a newer version of trunkline: use that version, or restore a backup made before the upgrade")
	// ErrOlder: an earlier version wrote the file, and it is only being looked at.
	ErrOlder = errors.New("written by an older version of trunkline: start it once with this version, which brings the file up to date")
	// ErrDamaged: the file is not a store, or not a whole one.
	ErrDamaged = errors.New("store is damaged")

	// NoChange is returned by an operation that read and wrote nothing: it counts as done,
	// and a batch of nothing else costs no fsync. A flood of refusals is free that way.
	NoChange = errors.New("no change")
)

// AppendFill is the fill percentage of buckets whose keys only grow. bbolt's default of one
// half is for random inserts and would leave every page half empty.
const AppendFill = 0.95

// One batch holds at most this much, so that no waiter waits behind an endless one.
const (
	maxBatchOps   = 4096
	maxBatchBytes = 4 << 20
)

// Migration brings a file from one format to the next, in one transaction with the new
// version number: it happens whole or not at all.
type Migration func(tx *bbolt.Tx) error

// Options of a file.
type Options struct {
	// Format is the version this program reads and writes, 1 and up.
	Format uint32
	// Migrations[i] leads from format i+1 to format i+2.
	Migrations []Migration
	// Buckets are made where they are missing.
	Buckets [][]byte
	// Reload builds what is held in memory from the file: once in Open, and again after
	// every commit that failed, because then only the file knows what is true.
	Reload func(tx *bbolt.Tx) error
	// Flush runs before every commit, for what is better written once per batch.
	Flush func(tx *bbolt.Tx) error

	LockTimeout time.Duration // 2 s
	MaxFile     int64         // 0: as large as the disk
	CompactFrom int64         // files below this are never compacted; 0: 4 MiB
	// Inspect opens without changing anything: no migration, no compaction, no buckets made.
	Inspect bool
	Logger  *slog.Logger // nil: silent
	// Commit, if set, carries out every commit: it calls commit exactly once and returns its
	// error. Tests see the file before and after, and cut the power between.
	Commit func(path string, commit func() error) error
}

// File is an open store. Its methods may be called from any goroutine.
type File struct {
	o    Options
	path string
	log  *slog.Logger
	db   *bbolt.DB

	ops  chan *op
	done chan struct{} // closed when writeLoop has ended

	sending sync.RWMutex // guards closed; held for reading while an operation is queued
	closed  bool

	alone atomic.Bool // the last batch had one operation in it

	writing      sync.Mutex // guards all below: held by who carries out a batch
	single       [1]*op     // the batch of a lone caller
	asks, writes []*op      // a batch, sorted by kind

	stale   bool  // memory may differ from the file: Reload first
	failing bool  // the last commit failed, and the log says so
	broken  error // bbolt panicked: nothing can be written any more
}

var metaBucket = []byte("meta")
var formatKey = []byte("format")

// Open opens or makes the file and starts its writer, which Close ends. The folder is made
// with mode 0700, the file with 0600.
func Open(path string, o Options) (_ *File, err error) {
	if o.Format < 1 || len(o.Migrations) != int(o.Format)-1 {
		return nil, fmt.Errorf("kv: format %d needs %d migrations, not %d", o.Format, int(o.Format)-1, len(o.Migrations))
	}
	if o.LockTimeout <= 0 {
		o.LockTimeout = 2 * time.Second
	}
	if o.CompactFrom <= 0 {
		o.CompactFrom = 4 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	// Opened for writing, bbolt looks for free pages on a goroutine of its own, where a panic
	// about a damaged page would end the process. So the pages are read once before.
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		if err := walk(path, o.LockTimeout, false); err != nil {
			return nil, err
		}
	}
	f := &File{o: o, path: path, log: o.Logger, ops: make(chan *op, maxBatchOps), done: make(chan struct{})}
	if err := f.openDB(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.closeDB()
		}
	}()
	if err := f.prepare(); err != nil {
		return nil, err
	}
	if !o.Inspect {
		if err := f.compact(); err != nil {
			return nil, err
		}
	}
	if o.Reload != nil {
		if err := f.View(o.Reload); err != nil {
			return nil, err
		}
	}
	go f.writeLoop()
	return f, nil
}

// openDB opens the file that the path names now. A process that waited for the lock while
// another one compacted would hold the lock of a file that has no name any more; it notices
// and opens the new one.
func (f *File) openDB() error {
	for {
		db, fd, err := openBolt(f.path, &bbolt.Options{
			Timeout:        f.o.LockTimeout,
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
			MaxSize:        int(f.o.MaxFile),
		})
		if err != nil {
			return err
		}
		mine, err := fd.Stat()
		if err == nil {
			var named fs.FileInfo
			if named, err = os.Stat(f.path); err == nil && os.SameFile(mine, named) {
				f.db = db
				return nil
			}
		}
		if cerr := db.Close(); cerr != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, cerr)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

// openBolt turns what bbolt says, or panics with, into our errors. It returns bbolt's
// descriptor too, which stays bbolt's.
func openBolt(path string, o *bbolt.Options) (db *bbolt.DB, fd *os.File, err error) {
	o.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		var err error
		fd, err = os.OpenFile(name, flag, mode)
		return fd, err
	}
	err = protect(func() error {
		db, err = bbolt.Open(path, 0o600, o)
		return err
	})
	switch {
	case err == nil:
		return db, fd, nil
	case errors.Is(err, berrors.ErrTimeout):
		return nil, nil, ErrInUse
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum),
		errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, ErrDamaged):
		return nil, nil, fmt.Errorf("%w: %s: %w", ErrDamaged, filepath.Base(path), err)
	}
	return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// protect turns a panic of bbolt, and a fault in its memory map, into an error: a damaged
// page must not end the process.
func protect(fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if r := recover(); r != nil {
			err = &fault{r}
		}
	}()
	return fn()
}

// fault is a panic that protect caught.
type fault struct{ value any }

func (f *fault) Error() string        { return fmt.Sprintf("%v: %v", ErrDamaged, f.value) }
func (f *fault) Is(target error) bool { return target == ErrDamaged }

// prepare checks the format version, migrates, and makes what is missing.
func (f *File) prepare() error {
	var have uint32
	err := f.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if meta == nil {
			if k, _ := tx.Cursor().First(); k != nil {
				return fmt.Errorf("%w: %s has no format version", ErrDamaged, filepath.Base(f.path))
			}
			return nil
		}
		d := NewDecoder(meta.Get(formatKey))
		have = d.U32()
		if d.Done() != nil || have == 0 {
			return fmt.Errorf("%w: %s has no format version", ErrDamaged, filepath.Base(f.path))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if have > f.o.Format {
		return fmt.Errorf("%s has format %d, this program knows %d: %w", filepath.Base(f.path), have, f.o.Format, ErrNewer)
	}
	if f.o.Inspect {
		if have == 0 {
			return fmt.Errorf("%w: %s has no format version", ErrDamaged, filepath.Base(f.path))
		}
		if have != f.o.Format {
			return fmt.Errorf("%s has format %d, this program checks %d: %w", filepath.Base(f.path), have, f.o.Format, ErrOlder)
		}
		return nil
	}
	err = f.update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(metaBucket)
		if err != nil {
			return err
		}
		changed := have != f.o.Format
		for v := have; v >= 1 && v < f.o.Format; v++ {
			if err := f.o.Migrations[v-1](tx); err != nil {
				return fmt.Errorf("migrate from format %d: %w", v, err)
			}
		}
		for _, name := range f.o.Buckets {
			if tx.Bucket(name) != nil {
				continue
			}
			changed = true
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		if !changed {
			return NoChange
		}
		return meta.Put(formatKey, NewEncoder(4).U32(f.o.Format).Bytes())
	})
	if err == nil && have != 0 && have != f.o.Format {
		f.log.Info("store migrated", "file", filepath.Base(f.path), "from", have, "to", f.o.Format)
	}
	return err
}

// update is one transaction outside the writer, for Open.
func (f *File) update(fn func(tx *bbolt.Tx) error) error {
	err := protect(func() error { return f.db.Update(fn) })
	if err == nil || errors.Is(err, NoChange) {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// View reads. It sees what is committed; fn must be short, because a reader keeps the pages
// it sees from being used again.
func (f *File) View(fn func(tx *bbolt.Tx) error) error {
	var inner error
	err := protect(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			inner = fn(tx)
			return inner
		})
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return ErrClosed
	case inner != nil:
		return inner
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// Size returns how large the file is, and how much of it is free for new values.
func (f *File) Size() (size, free int64, err error) {
	err = f.View(func(tx *bbolt.Tx) error { size = tx.Size(); return nil })
	s := f.db.Stats()
	return size, int64(s.FreePageN+s.PendingPageN) * int64(f.db.Info().PageSize), err
}

// Path returns the file's name.
func (f *File) Path() string { return f.path }

// Close commits what is queued, ends the writer and closes the file.
func (f *File) Close() error {
	f.sending.Lock()
	if f.closed {
		f.sending.Unlock()
		return nil
	}
	f.closed = true
	close(f.ops)
	f.sending.Unlock()
	<-f.done
	return f.closeDB()
}

// closeDB closes bbolt. Where a panic in a commit has left bbolt's own locks held, closing
// would wait for ever: then the file stays open, and locked, until the process ends.
func (f *File) closeDB() error {
	if f.broken != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, f.broken)
	}
	return f.db.Close()
}
