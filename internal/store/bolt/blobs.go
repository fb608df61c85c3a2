package bolt

import (
	"bytes"
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

const (
	maxBlobName = 512
	maxBlob     = 1 << 20
)

// blobs is store.Blobs on a DB. A value is sealed under a key of its own, which is new with
// every Put and dropped with the next, or with Delete.
type blobs struct{ d *DB }

// Blobs returns the node's own secrets and documents.
func (d *DB) Blobs() store.Blobs { return blobs{d} }

func (b blobs) Get(_ context.Context, name string) (out []byte, err error) {
	err = b.d.view(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketBlobs).Get([]byte(name))
		if v == nil {
			return store.ErrNotFound
		}
		out, err = b.open(name, v)
		return err
	})
	return out, err
}

func (b blobs) open(name string, v []byte) ([]byte, error) {
	if len(v) < 16 {
		return nil, fmt.Errorf("blob: %w", kv.ErrValue)
	}
	k, ok := b.d.ring.Get(kv.KeyID(v[:16]))
	if !ok {
		return nil, fmt.Errorf("blob: its key is missing: %w", kv.ErrValue)
	}
	return kv.Unseal(k, v[16:], []byte(name))
}

func (b blobs) Put(ctx context.Context, name string, value []byte) error {
	if name == "" || len(name) > maxBlobName || len(value) > maxBlob {
		return fmt.Errorf("put blob: a name of 1 to %d bytes and at most %d bytes of value", maxBlobName, maxBlob)
	}
	id, k, err := b.d.ring.Draw()
	if err != nil {
		return err
	}
	v, err := kv.Seal(id[:], k, value, []byte(name))
	if err != nil {
		return err
	}
	return b.replace(ctx, name, v)
}

func (b blobs) Delete(ctx context.Context, name string) error { return b.replace(ctx, name, nil) }

// replace puts v (nil: nothing) in the place of a blob and drops the key of what was there.
// Where a crash comes between the two, the next Open drops it.
func (b blobs) replace(ctx context.Context, name string, v []byte) error {
	var old []byte
	err := b.d.do(ctx, len(v)+64, func(tx *bbolt.Tx) error {
		all := tx.Bucket(bucketBlobs)
		old = bytes.Clone(all.Get([]byte(name)))
		if v == nil {
			if old == nil {
				return kv.NoChange
			}
			return all.Delete([]byte(name))
		}
		return all.Put([]byte(name), v)
	})
	if err != nil || len(old) < 16 {
		return err
	}
	return translate(b.d.ring.Drop(kv.KeyID(old[:16])))
}

func (b blobs) Names(_ context.Context, prefix string) ([]string, error) {
	var out []string
	err := b.d.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketBlobs).Cursor()
		for k, _ := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, _ = c.Next() {
			out = append(out, string(k))
		}
		return nil
	})
	return out, err
}
