package keep

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
)

const (
	maxRooms    = 1000
	maxRoomCard = 4096
	maxRoomBase = 512
)

// ErrManyRooms means that the folder remembers as many rooms as it takes.
var ErrManyRooms = errors.New("too many rooms are remembered here: close or forget some")

// roomPlace is where a room stands. The id itself is in nobody's file in clear.
func roomPlace(id [32]byte) []byte {
	sum := sha256.Sum256(append([]byte("trunkline keep room\x00"), id[:]...))
	return sum[:]
}

// PutRoom stores a room over what was stored of it.
func (k *Keep) PutRoom(r Room) error {
	if len(r.Card) > maxRoomCard || len(r.Base) > maxRoomBase {
		return errors.New("put room: too large")
	}
	var refused error
	err := k.do(func(tx *bbolt.Tx) error {
		refused = nil
		b, place := tx.Bucket(bucketRooms), roomPlace(r.ID)
		if b.Get(place) == nil && b.Stats().KeyN >= maxRooms {
			refused = ErrManyRooms
			return nil
		}
		v, err := k.sealRecord(ringKey("room", place), encodeRoom(r), place)
		if err != nil {
			return err
		}
		return b.Put(place, v)
	})
	return errors.Join(err, refused)
}

func (k *Keep) openRoom(place, v []byte) (Room, error) {
	plain, err := k.openRecord(ringKey("room", place), v, place)
	if err != nil {
		return Room{}, fmt.Errorf("room: %w", err)
	}
	r, err := decodeRoom(plain)
	if err != nil {
		return Room{}, fmt.Errorf("room: %w", err)
	}
	return r, nil
}

// Room returns one room.
func (k *Keep) Room(id [32]byte) (r Room, err error) {
	err = k.view(func(tx *bbolt.Tx) error {
		place := roomPlace(id)
		v := tx.Bucket(bucketRooms).Get(place)
		if v == nil {
			return ErrNotFound
		}
		r, err = k.openRoom(place, v)
		return err
	})
	return r, err
}

// Rooms returns all, those seen last first.
func (k *Keep) Rooms() ([]Room, error) {
	var out []Room
	err := k.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketRooms).ForEach(func(place, v []byte) error {
			r, err := k.openRoom(place, v)
			out = append(out, r)
			return err
		})
	})
	slices.SortStableFunc(out, func(a, b Room) int { return b.Seen.Compare(a.Seen) })
	return out, err
}

// RemoveRoom forgets a room and its key for good.
func (k *Keep) RemoveRoom(id [32]byte) error {
	place := roomPlace(id)
	return k.remove(bucketRooms, place, ringKey("room", place))
}
