package bolt

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// joinIndex leads from format 1 to 2. Format 1 kept what admission needs in a bucket of its
// own, index: mailbox, sequence -> envelope id 16, then what stands first in a value of the
// log now, without the key id. It is put before the value, whose sealed part stays as it is:
// no key is needed. A mailbox's key had the mailbox's id.
//
// Everything that waits is written once, and held in memory until that is done.
func joinIndex(tx *bbolt.Tx) error {
	name := []byte("index")
	index, log := tx.Bucket(name), tx.Bucket(bucketLog)
	if index == nil || log == nil {
		return fmt.Errorf("%w: no index or no log", kv.ErrDamaged)
	}
	log.FillPercent = kv.AppendFill
	joined := make(map[uint64]bool)
	err := index.ForEach(func(k, x []byte) error {
		if len(k) != 24 || len(x) != entrySize {
			return fmt.Errorf("index: %w", kv.ErrValue)
		}
		seq := k[16:]
		old := log.Get(seq)
		if len(old) < 32 || string(old[:16]) != string(k[:16]) || string(old[16:32]) != string(x[:16]) {
			// Damaged, and with it lost to its device: one envelope does not keep a node from
			// starting.
			return log.Delete(seq)
		}
		v := make([]byte, 0, entrySize+len(old))
		v = append(append(append(v, k[:16]...), x[16:]...), old...)
		joined[binary.BigEndian.Uint64(seq)] = true
		return log.Put(seq, v)
	})
	if err != nil {
		return err
	}
	// A value that the index lacked was lost to its device already.
	var lost [][]byte
	err = log.ForEach(func(k, _ []byte) error {
		if len(k) != 8 {
			return fmt.Errorf("log: %w", kv.ErrValue)
		}
		if !joined[binary.BigEndian.Uint64(k)] {
			lost = append(lost, append([]byte(nil), k...))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range lost {
		if err := log.Delete(k); err != nil {
			return err
		}
	}
	var held tally
	if err := log.ForEach(func(_, v []byte) error {
		_, _, e, err := decodeLogHeader(v)
		held.count(&e, 1)
		return err
	}); err != nil {
		return err
	}
	if err := tx.Bucket(bucketMeta).Put(keyTally, held.encode()); err != nil {
		return err
	}
	return tx.DeleteBucket(name)
}
