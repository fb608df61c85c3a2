package keep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// maxPrekeySecret is more than any form of one takes.
const maxPrekeySecret = 4096

// PutPrekey stores a prekey's secret, sealed under a key of its own in the prekey file.
func (k *Keep) PutPrekey(p Prekey) error {
	if len(p.Secret) == 0 || len(p.Secret) > maxPrekeySecret {
		return fmt.Errorf("put prekey: a secret of %d bytes", len(p.Secret))
	}
	return k.do(func(tx *bbolt.Tx) error {
		key, err := k.prekeys.Ensure(kv.KeyID(p.ID))
		if err != nil {
			return err
		}
		v, err := kv.Seal(kv.NewEncoder(8).Time(p.Created).Bytes(), key, p.Secret, p.ID[:])
		if err != nil {
			return err
		}
		return tx.Bucket(bucketPrekeys).Put(p.ID[:], v)
	})
}

// Prekeys returns all prekeys, newest first.
func (k *Keep) Prekeys() ([]Prekey, error) {
	var out []Prekey
	err := k.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketPrekeys).ForEach(func(id, v []byte) error {
			p, err := k.openPrekey(id, v)
			if err != nil {
				return fmt.Errorf("prekey: %w", err)
			}
			out = append(out, p)
			return nil
		})
	})
	slices.SortFunc(out, func(a, b Prekey) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	return out, err
}

func (k *Keep) openPrekey(id, v []byte) (p Prekey, err error) {
	d := kv.NewDecoder(v)
	p.Created = d.Time()
	box := d.Rest()
	if d.Done() != nil || len(id) != len(p.ID) {
		return p, kv.ErrValue
	}
	copy(p.ID[:], id)
	key, ok := k.prekeys.Get(kv.KeyID(p.ID))
	if !ok {
		return p, fmt.Errorf("%w: its key is missing", kv.ErrValue)
	}
	p.Secret, err = kv.Unseal(key, box, id)
	return p, err
}

// DeletePrekeys forgets prekeys for good: when it returns, nothing in the folder opens their
// secrets any more. Unknown ids are no error, so a deletion that failed can be repeated.
func (k *Keep) DeletePrekeys(ids ...[16]byte) error {
	err := k.do(func(tx *bbolt.Tx) error {
		b, changed := tx.Bucket(bucketPrekeys), false
		for _, id := range ids {
			changed = changed || b.Get(id[:]) != nil
			if err := b.Delete(id[:]); err != nil {
				return err
			}
		}
		if !changed {
			return kv.NoChange
		}
		return nil
	})
	if err != nil {
		return err
	}
	keys := make([]kv.KeyID, len(ids))
	for i, id := range ids {
		keys[i] = kv.KeyID(id)
	}
	var dropped error
	err = k.file.Ask(context.Background(), func() { dropped = k.prekeys.Drop(keys...) })
	return translate(errors.Join(err, dropped))
}
