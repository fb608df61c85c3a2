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

// maxUnits bounds a transfer: 1 TiB in units of 1 MiB.
const maxUnits = 1 << 20

// maxManifest bounds what is kept of a manifest: a hash of 32 bytes for each unit, and more.
const maxManifest = 64 << 20

func transferKey(id FileID, out bool) []byte {
	return kv.NewEncoder(17).Bool(out).Raw(id[:]).Bytes()
}

// PutTransfer stores a transfer, with its units, over what was stored of it.
func (k *Keep) PutTransfer(t Transfer) error {
	if t.Units > maxUnits || len(t.Manifest) > maxManifest {
		return errors.New("put transfer: too large")
	}
	return translate(k.file.Do(context.Background(), len(t.Manifest)+1024, func(tx *bbolt.Tx) error { return k.writeTransfer(tx, t) }))
}

// writeTransfer writes the record, and the units beside it: those change a thousand times
// while the record with its manifest stays.
func (k *Keep) writeTransfer(tx *bbolt.Tx, t Transfer) error {
	place := transferKey(t.ID, t.Out)
	v, err := k.sealRecord(ringKey("transfer", place), encodeTransfer(t), place)
	if err != nil {
		return err
	}
	units := make([]byte, (t.Units+7)/8)
	copy(units, t.Done)
	return errors.Join(tx.Bucket(bucketTransfers).Put(place, v), tx.Bucket(bucketUnits).Put(place, units))
}

func (k *Keep) readTransfer(tx *bbolt.Tx, place []byte) (Transfer, error) {
	return k.openTransfer(place, tx.Bucket(bucketTransfers).Get(place), tx.Bucket(bucketUnits).Get(place))
}

func (k *Keep) openTransfer(place, v, units []byte) (Transfer, error) {
	if v == nil {
		return Transfer{}, ErrNotFound
	}
	plain, err := k.openRecord(ringKey("transfer", place), v, place)
	if err != nil {
		return Transfer{}, fmt.Errorf("transfer: %w", err)
	}
	t, err := decodeTransfer(plain)
	if err != nil {
		return Transfer{}, fmt.Errorf("transfer: %w", err)
	}
	t.Done = bytes.Clone(units)
	return t, nil
}

// Transfer returns one transfer.
func (k *Keep) Transfer(id FileID, out bool) (t Transfer, err error) {
	err = k.view(func(tx *bbolt.Tx) error {
		t, err = k.readTransfer(tx, transferKey(id, out))
		return err
	})
	return t, err
}

// Transfers returns all, those started first first.
func (k *Keep) Transfers() ([]Transfer, error) {
	var out []Transfer
	err := k.view(func(tx *bbolt.Tx) error {
		units := tx.Bucket(bucketUnits)
		return tx.Bucket(bucketTransfers).ForEach(func(place, v []byte) error {
			t, err := k.openTransfer(place, v, units.Get(place))
			out = append(out, t)
			return err
		})
	})
	slices.SortStableFunc(out, func(a, b Transfer) int { return a.Started.Compare(b.Started) })
	return out, err
}

// UnitDone notes that a unit of an incoming file is whole and on the disk: after a restart
// the transfer goes on behind it.
func (k *Keep) UnitDone(id FileID, unit uint32) (t Transfer, err error) {
	place := transferKey(id, false)
	err = k.do(func(tx *bbolt.Tx) error {
		if t, err = k.readTransfer(tx, place); err != nil {
			return err
		}
		if unit >= t.Units || int(unit/8) >= len(t.Done) {
			return fmt.Errorf("unit %d of %d: no such unit", unit, t.Units)
		}
		if t.Has(unit) {
			return kv.NoChange
		}
		t.Done[unit/8] |= 1 << (unit % 8)
		return tx.Bucket(bucketUnits).Put(place, t.Done)
	})
	return t, err
}

// UpdateTransfer lets f change a transfer; as UpdateContact.
func (k *Keep) UpdateTransfer(id FileID, out bool, f func(*Transfer) error) (t Transfer, err error) {
	place := transferKey(id, out)
	err = k.change(
		func(tx *bbolt.Tx) []byte {
			v := tx.Bucket(bucketTransfers).Get(place)
			if v == nil {
				return nil
			}
			return kv.NewEncoder(len(v)).Blob(v).Raw(tx.Bucket(bucketUnits).Get(place)).Bytes()
		},
		func(old []byte) (func(*bbolt.Tx) error, error) {
			if old == nil {
				return nil, ErrNotFound
			}
			d := kv.NewDecoder(old)
			v := d.Blob()
			if t, err = k.openTransfer(place, v, d.Rest()); err != nil {
				return nil, err
			}
			if err := f(&t); err != nil {
				return nil, err
			}
			if t.ID != id || t.Out != out || t.Units > maxUnits || len(t.Manifest) > maxManifest {
				return nil, errors.New("update transfer: what names it cannot change, nor can it grow that large")
			}
			return func(tx *bbolt.Tx) error { return k.writeTransfer(tx, t) }, nil
		})
	return t, err
}

// RemoveTransfer forgets a transfer and its key for good.
func (k *Keep) RemoveTransfer(id FileID, out bool) error {
	place := transferKey(id, out)
	err := k.do(func(tx *bbolt.Tx) error {
		if tx.Bucket(bucketTransfers).Get(place) == nil {
			return kv.NoChange
		}
		return tx.Bucket(bucketUnits).Delete(place)
	})
	if err != nil {
		return err
	}
	return k.remove(bucketTransfers, place, ringKey("transfer", place))
}
