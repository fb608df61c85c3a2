package keep

import (
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// replayState is what the writer holds of the replay cache: which messages were seen, until
// when in Unix milliseconds, contacts by device and strangers in one pool.
type replayState struct {
	contacts  map[identity.DeviceID]map[envelope.MessageID]int64
	strangers map[replayKey]int64
}

type replayKey struct {
	dev identity.DeviceID
	id  envelope.MessageID
}

func (r replayKey) bytes() []byte {
	return append(append(make([]byte, 0, 32), r.dev[:]...), r.id[:]...)
}

func (k *Keep) reload(tx *bbolt.Tx) error {
	s := &replayState{
		contacts:  make(map[identity.DeviceID]map[envelope.MessageID]int64),
		strangers: make(map[replayKey]int64),
	}
	k.replay = s
	b := tx.Bucket(bucketReplay)
	if b == nil {
		return nil // openReplay makes it
	}
	return b.ForEach(func(key, v []byte) error {
		d := kv.NewDecoder(v)
		until, stranger := d.Time(), d.Bool()
		if err := d.Done(); err != nil || len(key) != 32 {
			return kv.ErrValue
		}
		s.put(replayKey{identity.DeviceID(key[:16]), envelope.MessageID(key[16:])}, until.UnixMilli(), stranger)
		return nil
	})
}

func (s *replayState) put(r replayKey, until int64, stranger bool) {
	if stranger {
		s.strangers[r] = until
		return
	}
	if s.contacts[r.dev] == nil {
		s.contacts[r.dev] = make(map[envelope.MessageID]int64)
	}
	s.contacts[r.dev][r.id] = until
}

// openReplay makes the cache where there is none. On a profile that existed before, that
// means that it was lost: nothing that was created before this moment can be told from a
// replay any more, and Horizon says so from now on.
func (k *Keep) openReplay() error {
	missing := false
	err := k.view(func(tx *bbolt.Tx) error {
		missing = tx.Bucket(bucketReplay) == nil
		if v := tx.Bucket(bucketOwn).Get(keyHorizon); v != nil {
			d := kv.NewDecoder(v)
			k.horizon = d.Time()
			return d.Done()
		}
		return nil
	})
	if err != nil || !missing {
		return err
	}
	if k.device != nil {
		k.horizon = k.Now()
	}
	return k.do(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucket(bucketReplay); err != nil {
			return err
		}
		return tx.Bucket(bucketOwn).Put(keyHorizon, kv.NewEncoder(8).Time(k.horizon).Bytes())
	})
}

// Horizon is the moment before which the replay cache knows nothing: messages created
// earlier are refused, and prekeys from before it are deleted. Zero if it was never lost.
func (k *Keep) Horizon() time.Time { return k.horizon }

// Seen implements envelope.Replay. The entry is on the disk when it returns, together with
// the clock; so neither a restart nor a clock that is set back makes the message new again.
// At a cap it refuses with ErrReplayFull and forgets nothing early.
func (k *Keep) Seen(dev identity.DeviceID, id envelope.MessageID, until time.Time, stranger bool) (bool, error) {
	r := replayKey{dev, id}
	dup, full := false, false
	err := k.do(func(tx *bbolt.Tx) error {
		dup, full = false, false
		s, now := k.replay, k.Now().UnixMilli()
		// A stranger that became a contact in between has its entries in the pool.
		if end, ok := s.strangers[r]; ok && now < end {
			dup = true
			return kv.NoChange
		}
		if end, ok := s.contacts[dev][id]; ok && now < end {
			dup = true
			return kv.NoChange
		}
		room := func() bool {
			if stranger {
				return len(s.strangers) < k.o.ReplayStrangers
			}
			return len(s.contacts[dev]) < k.o.ReplayPerDevice
		}
		if !room() {
			if err := k.pruneReplay(tx); err != nil {
				return err
			}
			if full = !room(); full {
				return nil // what was pruned stays so
			}
		}
		s.put(r, until.UnixMilli(), stranger)
		return tx.Bucket(bucketReplay).Put(r.bytes(), kv.NewEncoder(9).Time(until).Bool(stranger).Bytes())
	})
	if err == nil && full {
		err = ErrReplayFull
	}
	return dup, err
}

// pruneReplay forgets the entries whose time is over. The clock that decided this is
// persisted by the same commit, so it cannot be set back behind the decision.
func (k *Keep) pruneReplay(tx *bbolt.Tx) error {
	s, now, b := k.replay, k.Now().UnixMilli(), tx.Bucket(bucketReplay)
	var errs []error
	for r, end := range s.strangers {
		if end <= now {
			delete(s.strangers, r)
			errs = append(errs, b.Delete(r.bytes()))
		}
	}
	for dev, seen := range s.contacts {
		for id, end := range seen {
			if end <= now {
				delete(seen, id)
				errs = append(errs, b.Delete(replayKey{dev, id}.bytes()))
			}
		}
		if len(seen) == 0 {
			delete(s.contacts, dev)
		}
	}
	return errors.Join(errs...)
}
