package kv

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// compact writes the file anew where more than half of it is free. Failing to is no reason
// not to start: the old file is whole.
func (f *File) compact() error {
	tmp := f.path + ".compact"
	if err := os.Remove(tmp); err != nil && !os.IsNotExist(err) { // of a crash in the middle
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	// A write transaction that ends updates the statistics.
	if err := f.update(func(tx *bbolt.Tx) error { return NoChange }); err != nil {
		return err
	}
	size, free, err := f.Size()
	if err != nil {
		return err
	}
	if size < f.o.CompactFrom || free*2 <= size {
		return nil
	}
	if err := f.rewrite(tmp); err != nil {
		f.log.Warn("store not compacted", "file", filepath.Base(f.path), "err", err)
		if err := os.Remove(tmp); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return nil
	}
	// The new file takes the old one's name while the old one is still locked: no other
	// process comes in between and writes to the one that is about to vanish.
	if err := os.Rename(tmp, f.path); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := syncDir(f.path); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	old := f.db
	if err := f.openDB(); err != nil {
		f.db = old
		return err
	}
	if err := old.Close(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	after, _, err := f.Size()
	f.log.Info("store compacted", "file", filepath.Base(f.path), "before", size, "after", after)
	return err
}

func (f *File) rewrite(tmp string) error {
	dst, _, err := openBolt(tmp, &bbolt.Options{Timeout: f.o.LockTimeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	// bbolt syncs each of these commits; 1 MiB keeps the memory small.
	err = protect(func() error { return bbolt.Compact(dst, f.db, 1<<20) })
	if cerr := dst.Close(); err == nil {
		err = cerr
	}
	return err
}

// syncDir makes a rename durable.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
