package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// maxBundle is the largest signed bundle there is.
const maxBundle = 2048

// maxEarlier is how many earlier route tags stay with a device.
const maxEarlier = 8

// PutAccount implements store.Directory.
func (d *DB) PutAccount(ctx context.Context, list *identity.DeviceList) (store.Published, error) {
	var out store.Published
	var refused error
	err := d.do(ctx, len(list.Bytes())+256, func(tx *bbolt.Tx) error {
		out, refused = store.Published{}, nil
		accounts := tx.Bucket(bucketAccounts)
		a := account{registered: d.now(), epoch: list.Epoch, hash: list.Hash(), list: list.Bytes()}
		if v := accounts.Get(list.Root[:]); v != nil {
			old, err := decodeAccount(v)
			if err != nil {
				return err
			}
			switch {
			case list.Epoch < old.epoch:
				refused = store.ErrEpochLower
				return kv.NoChange
			case list.Epoch == old.epoch && a.hash != old.hash:
				refused = store.ErrEpochConflict
				return kv.NoChange
			case list.Epoch == old.epoch:
				return kv.NoChange
			}
			a.registered = old.registered
		} else {
			out.New = true
		}
		out.Changed = true
		if err := accounts.Put(list.Root[:], a.encode()); err != nil {
			return err
		}
		var err error
		out.Removed, err = dropDevices(tx, list.Root, func(id identity.DeviceID) bool {
			_, listed := list.Device(id)
			return !listed
		})
		if err != nil {
			return err
		}
		devices := tx.Bucket(bucketDevices)
		for _, c := range list.Devices {
			k := deviceKey(list.Root, c.DeviceID())
			if devices.Get(k) != nil {
				continue
			}
			if err := devices.Put(k, device{}.encode()); err != nil {
				return err
			}
		}
		return nil
	})
	return out, errors.Join(err, refused)
}

// dropDevices removes devices of an account with their routes, and returns those that the
// account held. The others are names in a list: their mailboxes, links and relays belong to
// the account that has seen them prove their key, or to none.
func dropDevices(tx *bbolt.Tx, root identity.PublicKey, which func(identity.DeviceID) bool) (held []identity.DeviceID, err error) {
	var gone []identity.DeviceID
	devices, tags, holders := tx.Bucket(bucketDevices), tx.Bucket(bucketTags), tx.Bucket(bucketHolders)
	c := devices.Cursor()
	for k, _ := c.Seek(root[:]); bytes.HasPrefix(k, root[:]); k, _ = c.Next() {
		if id := identity.DeviceID(k[len(root):]); which(id) {
			gone = append(gone, id)
		}
	}
	for _, id := range gone {
		k := deviceKey(root, id)
		v, err := decodeDevice(devices.Get(k))
		if err != nil {
			return nil, err
		}
		for _, t := range append(v.earlier, v.route.Tag) {
			if bytes.Equal(tags.Get(t[:]), k) {
				if err := tags.Delete(t[:]); err != nil {
					return nil, err
				}
			}
		}
		if bytes.Equal(holders.Get(id[:]), root[:]) {
			held = append(held, id)
			if err := holders.Delete(id[:]); err != nil {
				return nil, err
			}
		}
		if err := devices.Delete(k); err != nil {
			return nil, err
		}
	}
	return held, nil
}

// RemoveAccount implements store.Directory.
func (d *DB) RemoveAccount(ctx context.Context, root identity.PublicKey) ([]identity.DeviceID, error) {
	var gone []identity.DeviceID
	found := false
	err := d.do(ctx, 1024, func(tx *bbolt.Tx) error {
		if found = tx.Bucket(bucketAccounts).Get(root[:]) != nil; !found {
			return kv.NoChange
		}
		if err := tx.Bucket(bucketAccounts).Delete(root[:]); err != nil {
			return err
		}
		var err error
		gone, err = dropDevices(tx, root, func(identity.DeviceID) bool { return true })
		return err
	})
	if err == nil && !found {
		err = store.ErrNotFound
	}
	return gone, err
}

// Account implements store.Directory.
func (d *DB) Account(_ context.Context, root identity.PublicKey) (out store.Account, err error) {
	err = d.view(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketAccounts).Get(root[:])
		if v == nil {
			return store.ErrNotFound
		}
		out, err = readAccount(root, v)
		return err
	})
	return out, err
}

// Epoch implements store.Directory.
func (d *DB) Epoch(_ context.Context, root identity.PublicKey) (epoch uint64, err error) {
	err = d.view(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketAccounts).Get(root[:])
		if v == nil {
			return store.ErrNotFound
		}
		epoch, err = accountEpoch(v)
		return err
	})
	return epoch, err
}

// Accounts implements store.Directory.
func (d *DB) Accounts(_ context.Context, after identity.PublicKey, max int) (out []store.Account, err error) {
	err = d.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketAccounts).Cursor()
		for k, v := c.Seek(after[:]); k != nil && len(out) < max; k, v = c.Next() {
			if bytes.Equal(k, after[:]) {
				continue
			}
			if len(k) != len(after) {
				return fmt.Errorf("account: %w", kv.ErrValue)
			}
			a, err := readAccount(identity.PublicKey(k), v)
			if err != nil {
				return err
			}
			out = append(out, a)
		}
		return nil
	})
	return out, err
}

func readAccount(root identity.PublicKey, v []byte) (store.Account, error) {
	a, err := decodeAccount(v)
	if err != nil {
		return store.Account{}, fmt.Errorf("account: %w", err)
	}
	list, err := identity.ParseDeviceList(a.list)
	if err != nil {
		return store.Account{}, fmt.Errorf("account: %w", err)
	}
	out := store.Account{Root: root, List: a.list, Epoch: a.epoch, Hash: a.hash, Registered: a.registered}
	for _, c := range list.Devices {
		out.Devices = append(out.Devices, c.DeviceID())
	}
	return out, nil
}

// Devices implements store.Directory.
func (d *DB) Devices(ctx context.Context, root identity.PublicKey) ([]store.Device, error) {
	a, err := d.Account(ctx, root)
	if err != nil {
		return nil, err
	}
	var out []store.Device
	err = d.view(func(tx *bbolt.Tx) error {
		for _, id := range a.Devices {
			v, err := readDevice(tx, root, id)
			if errors.Is(err, store.ErrNotFound) {
				continue // a newer list came in between
			}
			if err != nil {
				return err
			}
			out = append(out, v)
		}
		return nil
	})
	return out, err
}

func readDevice(tx *bbolt.Tx, root identity.PublicKey, id identity.DeviceID) (store.Device, error) {
	b := tx.Bucket(bucketDevices).Get(deviceKey(root, id))
	if b == nil {
		return store.Device{}, store.ErrNotFound
	}
	v, err := decodeDevice(b)
	if err != nil {
		return store.Device{}, fmt.Errorf("device: %w", err)
	}
	return store.Device{ID: id, Root: root, Bundle: v.bundle, Route: v.route}, nil
}

// Device implements store.Directory.
func (d *DB) Device(_ context.Context, id identity.DeviceID) (out store.Device, err error) {
	err = d.view(func(tx *bbolt.Tx) error {
		var root identity.PublicKey
		if copy(root[:], tx.Bucket(bucketHolders).Get(id[:])) != len(root) {
			return store.ErrNotFound
		}
		out, err = readDevice(tx, root, id)
		return err
	})
	return out, err
}

// ByTag implements store.Directory.
func (d *DB) ByTag(_ context.Context, tag envelope.RouteTag) (out store.Device, err error) {
	err = d.view(func(tx *bbolt.Tx) error {
		k := tx.Bucket(bucketTags).Get(tag[:])
		if len(k) != 48 {
			return store.ErrNotFound
		}
		out, err = readDevice(tx, identity.PublicKey(k[:32]), identity.DeviceID(k[32:]))
		if err == nil && out.Route.Tag != tag {
			out, err = store.Device{}, store.ErrNotFound // one it has left
		}
		return err
	})
	return out, err
}

// PutBundle implements store.Directory.
func (d *DB) PutBundle(ctx context.Context, root identity.PublicKey, id identity.DeviceID, bundle []byte) error {
	if len(bundle) == 0 || len(bundle) > maxBundle {
		return fmt.Errorf("put bundle: %d bytes", len(bundle))
	}
	return d.changeDevice(ctx, root, id, func(_ *bbolt.Tx, v *device) error {
		if bytes.Equal(v.bundle, bundle) {
			return kv.NoChange
		}
		v.bundle = bytes.Clone(bundle)
		return nil
	})
}

// SetRoute implements store.Directory.
func (d *DB) SetRoute(ctx context.Context, root identity.PublicKey, id identity.DeviceID, route store.Route) error {
	if route.Tag == (envelope.RouteTag{}) {
		return errors.New("set route: no route tag")
	}
	own := deviceKey(root, id)
	return d.changeDevice(ctx, root, id, func(tx *bbolt.Tx, v *device) error {
		if v.route == route {
			return kv.NoChange
		}
		tags := tx.Bucket(bucketTags)
		// The same device may come back under another identity; the tag is the device's.
		if k := tags.Get(route.Tag[:]); k != nil && !bytes.HasSuffix(k, id[:]) {
			return store.ErrTagTaken
		}
		if old := v.route.Tag; old != route.Tag && old != (envelope.RouteTag{}) {
			v.earlier = append(slices.DeleteFunc(v.earlier, func(t envelope.RouteTag) bool { return t == route.Tag }), old)
			if len(v.earlier) > maxEarlier {
				if err := tags.Delete(v.earlier[0][:]); err != nil {
					return err
				}
				v.earlier = v.earlier[1:]
			}
		}
		v.route = route
		return tags.Put(route.Tag[:], own)
	})
}

// changeDevice changes what the directory holds of a listed device, and makes the account
// the one that the device belongs to.
func (d *DB) changeDevice(ctx context.Context, root identity.PublicKey, id identity.DeviceID, change func(*bbolt.Tx, *device) error) error {
	var refused error
	err := d.do(ctx, maxBundle, func(tx *bbolt.Tx) error {
		refused = nil
		devices, holders := tx.Bucket(bucketDevices), tx.Bucket(bucketHolders)
		k := deviceKey(root, id)
		b := devices.Get(k)
		if b == nil {
			refused = store.ErrNotListed
			return kv.NoChange
		}
		v, err := decodeDevice(b)
		if err != nil {
			return err
		}
		held := bytes.Equal(holders.Get(id[:]), root[:])
		switch err := change(tx, &v); {
		case errors.Is(err, store.ErrTagTaken):
			refused = err
			return kv.NoChange
		case errors.Is(err, kv.NoChange) && held:
			return err
		case err != nil && !errors.Is(err, kv.NoChange):
			return err
		}
		if !held {
			if err := holders.Put(id[:], root[:]); err != nil {
				return err
			}
		}
		return devices.Put(k, v.encode())
	})
	return errors.Join(err, refused)
}
