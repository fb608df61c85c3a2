package kv

import (
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// Walk reads every page of a file that is in use, without changing it. ErrDamaged says what
// bbolt stumbled over.
func Walk(path string) error {
	db, err := openBolt(path, &bbolt.Options{Timeout: 2 * time.Second, ReadOnly: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = protect(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { return walk(b) })
		})
	})
	if err != nil {
		err = fmt.Errorf("%w: %s: %w", ErrDamaged, filepath.Base(path), err)
	}
	// After a panic bbolt may hold a lock that Close waits for; a read-only file in a
	// process that checks and ends may stay open.
	if err == nil {
		err = db.Close()
	}
	return err
}

func walk(b *bbolt.Bucket) error {
	sum := 0
	return b.ForEach(func(k, v []byte) error {
		if v == nil {
			return walk(b.Bucket(k))
		}
		// Touch every page that the value lies on.
		for i := 0; i < len(v); i += 512 {
			sum += int(v[i])
		}
		return nil
	})
}
