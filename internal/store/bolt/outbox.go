package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// queue is what the writer knows of one destination.
type queue struct {
	ids   map[envelope.ID]uint64
	bytes int64
}

// outbox is store.Outbox on a DB: a bucket for each destination, numbered by itself.
type outbox struct{ d *DB }

// Outbox returns what is on its way to other nodes.
func (d *DB) Outbox() store.Outbox { return outbox{d} }

func (s *state) reloadQueues(tx *bbolt.Tx) error {
	all := tx.Bucket(bucketOutbox)
	return all.ForEachBucket(func(k []byte) error {
		if len(k) != len(identity.PeerID{}) {
			return fmt.Errorf("outbox: %w", kv.ErrValue)
		}
		q := &queue{ids: make(map[envelope.ID]uint64)}
		s.queues[identity.PeerID(k)] = q
		return all.Bucket(k).ForEach(func(k, v []byte) error {
			if len(k) != 8 || len(v) < 24 {
				return fmt.Errorf("outbox: %w", kv.ErrValue)
			}
			q.ids[envelope.ID(v[:16])] = binary.BigEndian.Uint64(k)
			q.bytes += int64(len(v) - 24)
			return nil
		})
	})
}

func (o outbox) Enqueue(dest identity.PeerID, e []byte, id envelope.ID, expires time.Time) (seq uint64, again bool, err error) {
	if dest.IsZero() || len(e) == 0 || len(e) > envelope.MaxEnvelope {
		return 0, false, fmt.Errorf("enqueue: an envelope of 1 to %d bytes and a destination", envelope.MaxEnvelope)
	}
	if latest := o.d.now().Add(o.d.limits.MaxAge); expires.IsZero() || expires.After(latest) {
		expires = latest
	}
	v := encodeQueued(store.Queued{ID: id, Expires: expires, Envelope: e})
	full := false
	err = o.d.do(context.Background(), len(v)+64, func(tx *bbolt.Tx) error {
		seq, again, full = 0, false, false
		q := o.d.st.queues[dest]
		if q == nil {
			q = &queue{ids: make(map[envelope.ID]uint64)}
		}
		if at, ok := q.ids[id]; ok {
			seq, again = at, true
			return kv.NoChange
		}
		if q.bytes+int64(len(e)) > o.d.limits.MaxBytes {
			full = true
			return kv.NoChange
		}
		b, err := tx.Bucket(bucketOutbox).CreateBucketIfNotExists(dest[:])
		if err != nil {
			return err
		}
		b.FillPercent = kv.AppendFill
		if seq, err = b.NextSequence(); err != nil {
			return err
		}
		o.d.st.queues[dest] = q
		q.ids[id] = seq
		q.bytes += int64(len(e))
		return b.Put(binary.BigEndian.AppendUint64(nil, seq), v)
	})
	if err == nil && full {
		err = store.ErrQueueFull
	}
	return seq, again, err
}

func (o outbox) Next(dest identity.PeerID, after uint64, max int) (out []store.Queued, err error) {
	if after == ^uint64(0) {
		return nil, nil
	}
	err = o.d.view(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketOutbox).Bucket(dest[:])
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for k, v := c.Seek(binary.BigEndian.AppendUint64(nil, after+1)); k != nil && len(out) < max; k, v = c.Next() {
			q, err := decodeQueued(v)
			if err != nil || len(k) != 8 {
				return fmt.Errorf("outbox: %w", kv.ErrValue)
			}
			q.Seq = binary.BigEndian.Uint64(k)
			out = append(out, q)
		}
		return nil
	})
	return out, err
}

func (o outbox) Done(dest identity.PeerID, seqs []uint64) error {
	return o.d.do(context.Background(), 32*len(seqs), func(tx *bbolt.Tx) error {
		q, b := o.d.st.queues[dest], tx.Bucket(bucketOutbox).Bucket(dest[:])
		if q == nil || b == nil {
			return kv.NoChange
		}
		changed := false
		for _, seq := range seqs {
			k := binary.BigEndian.AppendUint64(nil, seq)
			v := b.Get(k)
			if len(v) < 24 {
				continue
			}
			changed = true
			delete(q.ids, envelope.ID(v[:16]))
			q.bytes -= int64(len(v) - 24)
			if err := b.Delete(k); err != nil {
				return err
			}
		}
		if !changed {
			return kv.NoChange
		}
		return nil
	})
}

func (o outbox) Destinations() ([]identity.PeerID, error) {
	var out []identity.PeerID
	err := o.d.ask(context.Background(), func() {
		for dest, q := range o.d.st.queues {
			if len(q.ids) > 0 {
				out = append(out, dest)
			}
		}
	})
	slices.SortFunc(out, func(a, b identity.PeerID) int { return bytes.Compare(a[:], b[:]) })
	return out, err
}

func (o outbox) Usage(dest identity.PeerID) (n int, size int64, err error) {
	err = o.d.ask(context.Background(), func() {
		if q := o.d.st.queues[dest]; q != nil {
			n, size = len(q.ids), q.bytes
		}
	})
	return n, size, err
}
