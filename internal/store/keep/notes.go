package keep

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// A conversation is sealed under one key, so that RemoveNotes can forget all of it.

func noteIDKey(contact identity.PublicKey, out bool, id envelope.MessageID) []byte {
	return kv.NewEncoder(49).Raw(contact[:]).Bool(out).Raw(id[:]).Bytes()
}

func noteKey(contact identity.PublicKey, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(contact[:len(contact):len(contact)], seq)
}

// PutNote adds a note to the history. It is idempotent on contact, direction and id: of one
// that is there already it returns what is stored.
func (k *Keep) PutNote(n Note) (Note, error) {
	if n.Contact.IsZero() {
		return n, errors.New("put note: no contact")
	}
	stored := n
	err := k.do(func(tx *bbolt.Tx) error {
		stored = n
		notes, ids := tx.Bucket(bucketNotes), tx.Bucket(bucketNoteIDs)
		idKey := noteIDKey(n.Contact, n.Out, n.ID)
		if seq := ids.Get(idKey); seq != nil {
			var err error
			if stored, err = k.readNote(tx, n.Contact, seq); err != nil {
				return err
			}
			return kv.NoChange
		}
		var err error
		if stored.Seq, err = notes.NextSequence(); err != nil {
			return err
		}
		if err := ids.Put(idKey, binary.BigEndian.AppendUint64(nil, stored.Seq)); err != nil {
			return err
		}
		return k.writeNote(tx, stored)
	})
	return stored, err
}

func (k *Keep) writeNote(tx *bbolt.Tx, n Note) error {
	place := noteKey(n.Contact, n.Seq)
	v, err := k.sealRecord(ringKey("notes", n.Contact[:]), encodeNote(n), place)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketNotes).Put(place, v)
}

// readNote reads the note of a sequence number of eight bytes.
func (k *Keep) readNote(tx *bbolt.Tx, contact identity.PublicKey, seq []byte) (Note, error) {
	if len(seq) != 8 {
		return Note{}, fmt.Errorf("note: %w", kv.ErrValue)
	}
	place := append(contact[:len(contact):len(contact)], seq...)
	return k.openNote(place, tx.Bucket(bucketNotes).Get(place))
}

func (k *Keep) openNote(place, v []byte) (Note, error) {
	plain, err := k.openRecord(ringKey("notes", place[:32]), v, place)
	if err != nil {
		return Note{}, fmt.Errorf("note: %w", err)
	}
	n, err := decodeNote(plain)
	if err != nil {
		return Note{}, fmt.Errorf("note: %w", err)
	}
	copy(n.Contact[:], place)
	n.Seq = binary.BigEndian.Uint64(place[32:])
	return n, nil
}

// Note returns one note by its message id.
func (k *Keep) Note(contact identity.PublicKey, out bool, id envelope.MessageID) (n Note, err error) {
	err = k.view(func(tx *bbolt.Tx) error {
		seq := tx.Bucket(bucketNoteIDs).Get(noteIDKey(contact, out, id))
		if seq == nil {
			return ErrNotFound
		}
		n, err = k.readNote(tx, contact, seq)
		return err
	})
	return n, err
}

// UpdateNote lets f change a note; as UpdateContact.
func (k *Keep) UpdateNote(contact identity.PublicKey, out bool, id envelope.MessageID, f func(*Note) error) (n Note, err error) {
	n, err = k.Note(contact, out, id)
	if err != nil {
		return n, err
	}
	place := noteKey(contact, n.Seq)
	err = k.change(
		func(tx *bbolt.Tx) []byte { return tx.Bucket(bucketNotes).Get(place) },
		func(old []byte) (func(*bbolt.Tx) error, error) {
			if old == nil {
				return nil, ErrNotFound
			}
			if n, err = k.openNote(place, old); err != nil {
				return nil, err
			}
			seq := n.Seq
			if err := f(&n); err != nil {
				return nil, err
			}
			if n.Contact != contact || n.Out != out || n.ID != id || n.Seq != seq {
				return nil, errors.New("update note: what names the note cannot change")
			}
			return func(tx *bbolt.Tx) error { return k.writeNote(tx, n) }, nil
		})
	return n, err
}

// Notes returns at most max notes of the history with a contact after a place, oldest first.
func (k *Keep) Notes(contact identity.PublicKey, after uint64, max int) (out []Note, err error) {
	if after == ^uint64(0) {
		return nil, nil
	}
	err = k.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketNotes).Cursor()
		for place, v := c.Seek(noteKey(contact, after+1)); belongs(place, contact) && len(out) < max; place, v = c.Next() {
			n, err := k.openNote(place, v)
			if err != nil {
				return err
			}
			out = append(out, n)
		}
		return nil
	})
	return out, err
}

// RecentNotes returns the last max notes with a contact, oldest first.
func (k *Keep) RecentNotes(contact identity.PublicKey, max int) (out []Note, err error) {
	err = k.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketNotes).Cursor()
		place, v := c.Seek(noteKey(contact, ^uint64(0)))
		if place == nil {
			place, v = c.Last()
		} else {
			place, v = c.Prev()
		}
		for ; belongs(place, contact) && len(out) < max; place, v = c.Prev() {
			n, err := k.openNote(place, v)
			if err != nil {
				return err
			}
			out = append(out, n)
		}
		return nil
	})
	slices.Reverse(out)
	return out, err
}

func belongs(place []byte, contact identity.PublicKey) bool {
	return len(place) == 40 && identity.PublicKey(place[:32]) == contact
}

// RemoveNotes forgets the history with a contact for good.
func (k *Keep) RemoveNotes(contact identity.PublicKey) error {
	err := k.do(func(tx *bbolt.Tx) error {
		notes, ids := tx.Bucket(bucketNotes), tx.Bucket(bucketNoteIDs)
		places := under(notes, contact[:])
		if len(places) == 0 {
			return kv.NoChange
		}
		return errors.Join(deleteAll(notes, places), deleteAll(ids, under(ids, contact[:])))
	})
	if err != nil {
		return err
	}
	return k.drop(func(tx *bbolt.Tx) bool { return len(under(tx.Bucket(bucketNotes), contact[:])) == 0 },
		ringKey("notes", contact[:]))
}
