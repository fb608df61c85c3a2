package keep

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// PutContact stores a contact over what was stored of it.
func (k *Keep) PutContact(c Contact) error {
	if c.Root.IsZero() {
		return errors.New("put contact: no root key")
	}
	return k.do(func(tx *bbolt.Tx) error { return k.putContact(tx, c) })
}

func (k *Keep) putContact(tx *bbolt.Tx, c Contact) error {
	v, err := k.sealRecord(ringKey("contact", c.Root[:]), encodeContact(c), c.Root[:])
	if err != nil {
		return err
	}
	return tx.Bucket(bucketContacts).Put(c.Root[:], v)
}

func (k *Keep) openContact(root, v []byte) (Contact, error) {
	plain, err := k.openRecord(ringKey("contact", root), v, root)
	if err != nil {
		return Contact{}, fmt.Errorf("contact: %w", err)
	}
	c, err := decodeContact(plain)
	if err != nil || !bytes.Equal(c.Root[:], root) {
		return Contact{}, fmt.Errorf("contact: %w", kv.ErrValue)
	}
	return c, nil
}

// Contact returns ErrNotFound for somebody unknown.
func (k *Keep) Contact(root identity.PublicKey) (c Contact, err error) {
	err = k.view(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketContacts).Get(root[:])
		if v == nil {
			return ErrNotFound
		}
		c, err = k.openContact(root[:], v)
		return err
	})
	return c, err
}

// Contacts returns all contacts, those added first first.
func (k *Keep) Contacts() ([]Contact, error) {
	var out []Contact
	err := k.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketContacts).ForEach(func(root, v []byte) error {
			c, err := k.openContact(root, v)
			out = append(out, c)
			return err
		})
	})
	slices.SortStableFunc(out, func(a, b Contact) int { return a.Added.Compare(b.Added) })
	return out, err
}

// UpdateContact lets f change a contact. Of two at once neither is lost: f may run again on
// what the other one wrote. An error of f changes nothing and is returned.
func (k *Keep) UpdateContact(root identity.PublicKey, f func(*Contact) error) (c Contact, err error) {
	err = k.change(
		func(tx *bbolt.Tx) []byte { return tx.Bucket(bucketContacts).Get(root[:]) },
		func(old []byte) (func(*bbolt.Tx) error, error) {
			if old == nil {
				return nil, ErrNotFound
			}
			if c, err = k.openContact(root[:], old); err != nil {
				return nil, err
			}
			if err := f(&c); err != nil {
				return nil, err
			}
			if c.Root != root {
				return nil, errors.New("update contact: the root key cannot change")
			}
			return func(tx *bbolt.Tx) error { return k.putContact(tx, c) }, nil
		})
	return c, err
}

// RemoveContact forgets a contact, its pins and its history for good.
func (k *Keep) RemoveContact(root identity.PublicKey) error {
	if err := k.RemoveNotes(root); err != nil {
		return err
	}
	return k.remove(bucketContacts, root[:], ringKey("contact", root[:]))
}

// PutKnock writes a stranger down who waits for an answer; a second knock of the same one
// takes the place of the first. ErrKnocksFull where too many wait: none is forgotten for it.
func (k *Keep) PutKnock(n Knock) error {
	if n.Root.IsZero() {
		return errors.New("put knock: no root key")
	}
	full := false
	err := k.do(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketKnocks)
		if full = b.Get(n.Root[:]) == nil && count(b) >= k.o.MaxKnocks; full {
			return kv.NoChange
		}
		v, err := k.sealRecord(ringKey("knock", n.Root[:]), encodeKnock(n), n.Root[:])
		if err != nil {
			return err
		}
		return b.Put(n.Root[:], v)
	})
	if err == nil && full {
		err = ErrKnocksFull
	}
	return err
}

func count(b *bbolt.Bucket) int {
	n := 0
	c := b.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		n++
	}
	return n
}

func (k *Keep) openKnock(root, v []byte) (Knock, error) {
	plain, err := k.openRecord(ringKey("knock", root), v, root)
	if err != nil {
		return Knock{}, fmt.Errorf("knock: %w", err)
	}
	n, err := decodeKnock(plain)
	if err != nil {
		return Knock{}, fmt.Errorf("knock: %w", err)
	}
	return n, nil
}

// Knocks returns those who wait, oldest first.
func (k *Keep) Knocks() ([]Knock, error) {
	var out []Knock
	err := k.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketKnocks).ForEach(func(root, v []byte) error {
			n, err := k.openKnock(root, v)
			out = append(out, n)
			return err
		})
	})
	slices.SortStableFunc(out, func(a, b Knock) int { return a.Received.Compare(b.Received) })
	return out, err
}

// Knock returns one who waits.
func (k *Keep) Knock(root identity.PublicKey) (n Knock, err error) {
	err = k.view(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketKnocks).Get(root[:])
		if v == nil {
			return ErrNotFound
		}
		n, err = k.openKnock(root[:], v)
		return err
	})
	return n, err
}

// RemoveKnock forgets a knock for good; none is no error.
func (k *Keep) RemoveKnock(root identity.PublicKey) error {
	return k.remove(bucketKnocks, root[:], ringKey("knock", root[:]))
}

// Witness stores a document if it is the newest of its name. ErrRollback and ErrConflict
// change nothing.
func (k *Keep) Witness(d Document) error {
	if d.Kind == "" || len(d.Kind) > 32 || d.Name == "" || len(d.Name) > 253 {
		return errors.New("witness: a kind and a name are needed")
	}
	name := documentKey(d.Kind, d.Name)
	if d.Seen.IsZero() {
		d.Seen = k.Now()
	}
	var refused error
	err := k.do(func(tx *bbolt.Tx) error {
		refused = nil
		b := tx.Bucket(bucketDocuments)
		if v := b.Get(name); v != nil {
			old, err := decodeDocument(v)
			if err != nil {
				return fmt.Errorf("document: %w", err)
			}
			switch {
			case d.Epoch < old.Epoch:
				refused = ErrRollback
			case d.Epoch == old.Epoch && d.Hash != old.Hash:
				refused = ErrConflict
			}
			if refused != nil || d.Epoch == old.Epoch {
				return kv.NoChange
			}
		}
		return b.Put(name, encodeDocument(d))
	})
	return errors.Join(err, refused)
}

// Document returns the newest of a name that was witnessed.
func (k *Keep) Document(kind, name string) (d Document, err error) {
	err = k.view(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketDocuments).Get(documentKey(kind, name))
		if v == nil {
			return ErrNotFound
		}
		if d, err = decodeDocument(v); err != nil {
			return fmt.Errorf("document: %w", err)
		}
		d.Kind, d.Name = kind, name
		return nil
	})
	return d, err
}

func documentKey(kind, name string) []byte { return []byte(kind + "\x00" + name) }
