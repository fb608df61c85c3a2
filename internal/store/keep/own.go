package keep

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// SetOwnList stores the own device list: ErrRollback and ErrConflict change nothing.
func (k *Keep) SetOwnList(l *identity.DeviceList) error {
	if l.Root != k.Profile().Root {
		return errors.New("set own list: it belongs to another identity")
	}
	var refused error
	err := k.do(func(tx *bbolt.Tx) error {
		refused = nil
		own := tx.Bucket(bucketOwn)
		if v := own.Get(keyList); v != nil {
			old, err := identity.ParseDeviceList(v)
			if err != nil {
				return fmt.Errorf("own list: %w", err)
			}
			switch {
			case l.Epoch < old.Epoch:
				refused = ErrRollback
			case l.Epoch == old.Epoch && l.Hash() != old.Hash():
				refused = ErrConflict
			}
			if refused != nil || l.Epoch == old.Epoch {
				return kv.NoChange
			}
		}
		return own.Put(keyList, l.Bytes())
	})
	return errors.Join(err, refused)
}

// OwnList returns the own device list, ErrNotFound before the first.
func (k *Keep) OwnList() (*identity.DeviceList, error) {
	var l *identity.DeviceList
	err := k.view(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketOwn).Get(keyList)
		if v == nil {
			return ErrNotFound
		}
		var err error
		l, err = identity.ParseDeviceList(append([]byte(nil), v...))
		return err
	})
	return l, err
}

// OwnCert returns this device's certificate out of the own list, ErrNotFound where the list
// lacks the device.
func (k *Keep) OwnCert() (*identity.DeviceCert, error) {
	l, err := k.OwnList()
	if err != nil {
		return nil, err
	}
	c, ok := l.Device(k.device.ID())
	if !ok {
		return nil, ErrNotFound
	}
	return c, nil
}

// Token is the delivery token of an epoch. It is derived, so that no list of given tokens
// has to be kept.
func (h Home) Token(epoch uint64) envelope.Token {
	mac := hmac.New(sha256.New, h.MailboxSecret[:])
	mac.Write([]byte("trunkline/v1/token\x00"))
	mac.Write(binary.BigEndian.AppendUint64(nil, epoch))
	return envelope.Token(mac.Sum(nil)[:16])
}

// TokenHash is what the node keeps of a token.
func (h Home) TokenHash(epoch uint64) [32]byte {
	t := h.Token(epoch)
	return sha256.Sum256(t[:])
}

// PutHome stores a home by its domain.
func (k *Keep) PutHome(h Home) error {
	name := []byte(h.Domain)
	return k.do(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketHomes)
		var order uint64
		if old := b.Get(name); len(old) >= 8 {
			order = binary.BigEndian.Uint64(old)
		} else {
			var err error
			if order, err = b.NextSequence(); err != nil {
				return err
			}
		}
		v, err := k.sealRecord(ringKey("home", name), encodeHome(h), name)
		if err != nil {
			return err
		}
		return b.Put(name, append(binary.BigEndian.AppendUint64(nil, order), v...))
	})
}

// Homes returns the homes in the order in which they were first put.
func (k *Keep) Homes() ([]Home, error) {
	type ordered struct {
		order uint64
		home  Home
	}
	var all []ordered
	err := k.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketHomes).ForEach(func(name, v []byte) error {
			h, order, err := k.openHome(name, v)
			all = append(all, ordered{order, h})
			return err
		})
	})
	slices.SortFunc(all, func(a, b ordered) int { return int(a.order) - int(b.order) })
	var out []Home
	for _, o := range all {
		out = append(out, o.home)
	}
	return out, err
}

func (k *Keep) openHome(name, v []byte) (h Home, order uint64, err error) {
	if len(v) < 8 {
		return h, 0, fmt.Errorf("home: %w", kv.ErrValue)
	}
	plain, err := k.openRecord(ringKey("home", name), v[8:], name)
	if err == nil {
		h, err = decodeHome(plain)
	}
	if err != nil {
		return h, 0, fmt.Errorf("home: %w", err)
	}
	return h, binary.BigEndian.Uint64(v), nil
}

// Home returns one home.
func (k *Keep) Home(domain string) (h Home, err error) {
	err = k.view(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketHomes).Get([]byte(domain))
		if v == nil {
			return ErrNotFound
		}
		h, _, err = k.openHome([]byte(domain), v)
		return err
	})
	return h, err
}

// RemoveHome forgets a home for good.
func (k *Keep) RemoveHome(domain string) error {
	return k.remove(bucketHomes, []byte(domain), ringKey("home", []byte(domain)))
}
