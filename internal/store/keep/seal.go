package keep

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// ringKey names the key that the record of one owner is sealed under.
func ringKey(kind string, name []byte) kv.KeyID {
	h := sha256.New()
	h.Write([]byte("trunkline keep " + kind + "\x00"))
	h.Write(name)
	return kv.KeyID(h.Sum(nil)[:16])
}

func ringDevice() kv.KeyID { return ringKey("device", nil) }

// sealRecord seals a value for the place it will stand at, under a key that is made where
// there is none. It runs inside a write, whose flush makes the key durable first.
func (k *Keep) sealRecord(id kv.KeyID, plain, place []byte) ([]byte, error) {
	key, err := k.records.Ensure(id)
	if err != nil {
		return nil, err
	}
	return kv.Seal(nil, key, plain, place)
}

func (k *Keep) openRecord(id kv.KeyID, v, place []byte) ([]byte, error) {
	key, ok := k.records.Get(id)
	if !ok {
		return nil, fmt.Errorf("%w: its key is missing", kv.ErrValue)
	}
	return kv.Unseal(key, v, place)
}

// remove deletes one record and its key. What is not there is no error, and its key goes all
// the same: that is how a removal whose second half failed is repeated.
func (k *Keep) remove(bucket, name []byte, id kv.KeyID) error {
	err := k.do(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		if b.Get(name) == nil {
			return kv.NoChange
		}
		return b.Delete(name)
	})
	if err != nil {
		return err
	}
	return k.drop(func(tx *bbolt.Tx) bool { return tx.Bucket(bucket).Get(name) == nil }, id)
}

// drop drops keys of records on the writer's goroutine, if what they sealed is still gone:
// nothing can be sealed under them in between.
func (k *Keep) drop(gone func(tx *bbolt.Tx) bool, ids ...kv.KeyID) error {
	var inner error
	err := k.file.Ask(context.Background(), func() {
		still := false
		inner = k.file.View(func(tx *bbolt.Tx) error { still = gone(tx); return nil })
		if inner == nil && still {
			inner = k.records.Drop(ids...)
		}
	})
	return translate(errors.Join(err, inner))
}

// under returns the keys of a bucket that begin with a prefix.
func under(b *bbolt.Bucket, prefix []byte) [][]byte {
	var out [][]byte
	c := b.Cursor()
	for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		out = append(out, bytes.Clone(k))
	}
	return out
}

func deleteAll(b *bbolt.Bucket, keys [][]byte) error {
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}
