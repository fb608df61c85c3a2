package kv

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// Walk reads every page of a file that is in use, without changing it. ErrDamaged says what
// bbolt stumbled over.
func Walk(path string) error { return walk(path, 2*time.Second, true) }

// walk reads every page that holds keys and, with values, also those that only hold parts
// of large values.
func walk(path string, lockTimeout time.Duration, values bool) error {
	db, _, err := openBolt(path, &bbolt.Options{Timeout: lockTimeout, ReadOnly: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = protect(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { return walkBucket(b, values) })
		})
	})
	if err != nil {
		return errors.Join(fmt.Errorf("%w: %s: %w", ErrDamaged, filepath.Base(path), err), db.Close())
	}
	return db.Close()
}

func walkBucket(b *bbolt.Bucket, values bool) error {
	sum := 0
	return b.ForEach(func(k, v []byte) error {
		if v == nil {
			return walkBucket(b.Bucket(k), values)
		}
		for i := 0; values && i < len(v); i += 512 {
			sum += int(v[i])
		}
		return nil
	})
}
