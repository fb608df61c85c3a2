package bolt

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// Outcomes lie in one bucket for each day on which they may be forgotten. Forgetting is
// the removal of a bucket, and the tree that random ids are written into stays as small as
// a day.

// Record implements store.Outcomes.
func (d *DB) Record(ctx context.Context, id envelope.ID, fate store.Fate, until time.Time) error {
	if fate < store.FateDelivered || fate > store.FateRefused {
		return fmt.Errorf("record outcome: no such fate: %d", fate)
	}
	if latest := d.now().Add(store.OutcomeKept); until.After(latest) {
		until = latest
	}
	return d.do(ctx, 64, func(tx *bbolt.Tx) error {
		if d.st.outcome(tx, id) == fateKnock {
			return kv.NoChange
		}
		return d.st.record(tx, id, fate, until)
	})
}

// Withdraw implements store.Outcomes.
func (d *DB) Withdraw(ctx context.Context, id envelope.ID) error {
	// Nearly always there is nothing, and that is found out without the writer.
	known := false
	if err := d.view(func(tx *bbolt.Tx) error {
		return unlucky(tx, id, func(*bbolt.Bucket) error { known = true; return nil })
	}); err != nil || !known {
		return err
	}
	return d.do(ctx, 64, func(tx *bbolt.Tx) error {
		return unlucky(tx, id, func(day *bbolt.Bucket) error { return day.Delete(id[:]) })
	})
}

// unlucky calls f with the day in which an envelope is noted as refused or expired.
func unlucky(tx *bbolt.Tx, id envelope.ID, f func(day *bbolt.Bucket) error) error {
	all := tx.Bucket(bucketOutcomes)
	return all.ForEachBucket(func(name []byte) error {
		day := all.Bucket(name)
		if v := day.Get(id[:]); len(v) == 1 && (store.Fate(v[0]) == store.FateRefused || store.Fate(v[0]) == store.FateExpired) {
			return f(day)
		}
		return nil
	})
}

// fateKnock is the outcome of a knock that waited here and does not any more, whatever became
// of it. To everyone who asks it is FateStored, as it is for a knock that nobody took: a
// stranger learns neither that the person was there nor that it was not. The mailbox still
// knows by it that the same knock has been here. It stands in the file and nowhere else.
const fateKnock store.Fate = 5

// ended records what became of an entry that leaves its mailbox.
func (s *state) ended(tx *bbolt.Tx, e entry, fate store.Fate, now time.Time) error {
	until := now.Add(store.OutcomeKept)
	if e.knock {
		// Also its end says nothing: eight days from when it came, as for one that was dropped.
		fate, until = fateKnock, time.UnixMilli(e.expires).Add(store.OutcomeKept-e.ttl.Duration())
	}
	return s.record(tx, e.id, fate, until)
}

// Fate implements store.Outcomes.
func (d *DB) Fate(ctx context.Context, id envelope.ID) (store.Fate, error) {
	waits := false
	var days []uint32
	err := d.ask(ctx, func() {
		waits = d.st.ids[id] > 0
		days = slices.Clone(d.st.days)
	})
	if err != nil {
		return store.FateUnknown, err
	}
	if waits {
		return store.FateStored, nil
	}
	var fate store.Fate
	err = d.view(func(tx *bbolt.Tx) error {
		fate = lookup(tx, days, id)
		return nil
	})
	if fate == fateKnock {
		fate = store.FateStored
	}
	return fate, err
}

// lookup finds an outcome; the newest day is the likeliest.
func lookup(tx *bbolt.Tx, days []uint32, id envelope.ID) store.Fate {
	all := tx.Bucket(bucketOutcomes)
	for _, n := range slices.Backward(days) {
		// A day may have been forgotten since the list was made.
		if b := all.Bucket(dayKey(n)); b != nil {
			if v := b.Get(id[:]); len(v) == 1 {
				return store.Fate(v[0])
			}
		}
	}
	return store.FateUnknown
}

func (s *state) outcome(tx *bbolt.Tx, id envelope.ID) store.Fate { return lookup(tx, s.days, id) }

// record writes an outcome and removes an earlier one of the same id.
func (s *state) record(tx *bbolt.Tx, id envelope.ID, fate store.Fate, until time.Time) error {
	n := day(until)
	all := tx.Bucket(bucketOutcomes)
	for _, other := range s.days {
		if other == n {
			continue
		}
		if err := all.Bucket(dayKey(other)).Delete(id[:]); err != nil {
			return err
		}
	}
	b, err := all.CreateBucketIfNotExists(dayKey(n))
	if err != nil {
		return err
	}
	if i, found := slices.BinarySearch(s.days, n); !found {
		s.days = slices.Insert(s.days, i, n)
	}
	return b.Put(id[:], []byte{byte(fate)})
}

// forget removes the days that are over.
func (s *state) forget(tx *bbolt.Tx, now time.Time) (bool, error) {
	n := 0
	for n < len(s.days) && s.days[n] < day(now) {
		if err := tx.Bucket(bucketOutcomes).DeleteBucket(dayKey(s.days[n])); err != nil {
			return false, err
		}
		n++
	}
	s.days = slices.Delete(s.days, 0, n)
	return n > 0, nil
}
