package bolt

import (
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// state is what the writer holds in memory of the file: what admission, expiry and the
// question for a fate need. It belongs to the writer's goroutine. Operations change it as
// they change the file; when a commit fails it is thrown away and read again.
type state struct {
	boxes  map[store.MailboxID]*box
	ids    map[envelope.ID]int32 // how often an id waits: once, as far as honest senders go
	last   store.Seq             // highest number ever given
	saved  store.Seq             // what the file says of that
	waits  int                   // entries in all boxes
	expiry expiryHeap
	days   []uint32 // of outcomes, ascending
	queues map[identity.PeerID]*queue

	pending []indexChange // of this batch, see flushIndex
}

// box is one mailbox.
type box struct {
	entries []entry // ascending by seq
	closed  bool

	ordinary, rings, knocks  int
	ordinaryBytes, heldBytes int64 // held: ordinary and ring
}

// entry is what admission needs to know of a waiting envelope. The source is a keyed hash:
// the index does not say in clear where something came from.
type entry struct {
	seq      store.Seq
	id       envelope.ID
	collapse envelope.CollapseKey
	source   [8]byte
	expires  int64 // Unix milliseconds
	size     uint32
	ttl      envelope.TTL
	knock    bool
}

func (b *box) add(e entry) {
	b.entries = append(b.entries, e)
	b.count(e, 1)
}

func (b *box) remove(i int) {
	b.count(b.entries[i], -1)
	b.entries = slices.Delete(b.entries, i, i+1)
}

func (b *box) count(e entry, n int) {
	switch {
	case e.knock:
		b.knocks += n
		return
	case e.ttl == envelope.Ring:
		b.rings += n
	default:
		b.ordinary += n
		b.ordinaryBytes += int64(n) * int64(e.size)
	}
	b.heldBytes += int64(n) * int64(e.size)
}

func (b *box) find(seq store.Seq) (int, bool) {
	return slices.BinarySearchFunc(b.entries, seq, func(e entry, s store.Seq) int { return cmp.Compare(e.seq, s) })
}

// expiring is an entry of the heap. Entries that are gone from their box are skipped when
// they come up.
type expiring struct {
	at  int64
	seq store.Seq
	box store.MailboxID
}

type expiryHeap []expiring

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h expiryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiryHeap) Push(x any)        { *h = append(*h, x.(expiring)) }
func (h *expiryHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// indexChange is a write to the index, a delete where value is nil. The index is in the
// order of mailboxes, so a batch's changes are sorted and then touch each page once.
type indexChange struct {
	key, value []byte
}

func (s *state) flushIndex(tx *bbolt.Tx) error {
	slices.SortStableFunc(s.pending, func(a, b indexChange) int { return bytes.Compare(a.key, b.key) })
	if s.saved != s.last {
		if err := tx.Bucket(bucketLog).SetSequence(uint64(s.last)); err != nil {
			return err
		}
		s.saved = s.last
	}
	index := tx.Bucket(bucketIndex)
	for _, c := range s.pending {
		var err error
		if c.value == nil {
			err = index.Delete(c.key)
		} else {
			err = index.Put(c.key, c.value)
		}
		if err != nil {
			return err
		}
	}
	s.pending = s.pending[:0]
	return nil
}

// rebuildExpiry drops from the heap what was acknowledged before its time: on a healthy node
// that is nearly everything.
func (s *state) rebuildExpiry() {
	s.expiry = make(expiryHeap, 0, s.waits)
	for id, b := range s.boxes {
		for _, e := range b.entries {
			s.expiry = append(s.expiry, expiring{e.expires, e.seq, id})
		}
	}
	heap.Init(&s.expiry)
}

// insert adds an entry to memory and to the index.
func (s *state) insert(id store.MailboxID, e entry) {
	b := s.boxes[id]
	if b == nil {
		b = &box{}
		s.boxes[id] = b
	}
	b.add(e)
	s.ids[e.id]++
	s.waits++
	heap.Push(&s.expiry, expiring{e.expires, e.seq, id})
	s.pending = append(s.pending, indexChange{indexKey(id, e.seq), encodeEntry(e)})
}

// delete removes the entry at a place from memory, index and log.
func (s *state) delete(tx *bbolt.Tx, id store.MailboxID, b *box, place int) error {
	e := b.entries[place]
	b.remove(place)
	s.waits--
	if len(s.expiry) > 2*s.waits+1024 {
		s.rebuildExpiry()
	}
	if s.ids[e.id]--; s.ids[e.id] <= 0 {
		delete(s.ids, e.id)
	}
	s.pending = append(s.pending, indexChange{key: indexKey(id, e.seq)})
	return tx.Bucket(bucketLog).Delete(seqKey(e.seq))
}

// settle opens a closed box that has been drained, and forgets a box that holds nothing.
func (s *state) settle(tx *bbolt.Tx, id store.MailboxID, b *box) error {
	if b.closed && b.ordinary == 0 {
		b.closed = false
		if err := tx.Bucket(bucketBoxes).Delete(id[:]); err != nil {
			return err
		}
	}
	if len(b.entries) == 0 && !b.closed {
		delete(s.boxes, id)
	}
	return nil
}

// sealedUnder returns the mailboxes whose keys are needed.
func (s *state) sealedUnder() map[kv.KeyID]bool {
	need := make(map[kv.KeyID]bool, len(s.boxes))
	for id, b := range s.boxes {
		if len(b.entries) > 0 {
			need[kv.KeyID(id)] = true
		}
	}
	return need
}

// reload reads everything from the file.
func (d *DB) reload(tx *bbolt.Tx) error {
	s := &state{
		boxes:  make(map[store.MailboxID]*box),
		ids:    make(map[envelope.ID]int32),
		queues: make(map[identity.PeerID]*queue),
		last:   store.Seq(tx.Bucket(bucketLog).Sequence()),
	}
	s.saved = s.last
	err := tx.Bucket(bucketIndex).ForEach(func(k, v []byte) error {
		id, seq, err := parseIndexKey(k)
		if err != nil {
			return err
		}
		e, err := decodeEntry(v)
		if err != nil {
			return fmt.Errorf("index entry %d: %w", seq, err)
		}
		e.seq = seq
		b := s.boxes[id]
		if b == nil {
			b = &box{}
			s.boxes[id] = b
		}
		b.add(e)
		s.ids[e.id]++
		s.waits++
		return nil
	})
	if err != nil {
		return err
	}
	s.rebuildExpiry()
	err = tx.Bucket(bucketBoxes).ForEach(func(k, _ []byte) error {
		if len(k) != 16 {
			return kv.ErrValue
		}
		id := store.MailboxID(k)
		if s.boxes[id] == nil {
			s.boxes[id] = &box{}
		}
		s.boxes[id].closed = true
		return nil
	})
	if err != nil {
		return err
	}
	err = tx.Bucket(bucketOutcomes).ForEachBucket(func(k []byte) error {
		if len(k) != 4 {
			return kv.ErrValue
		}
		s.days = append(s.days, binary.BigEndian.Uint32(k))
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.reloadQueues(tx); err != nil {
		return err
	}
	d.st = s
	return nil
}
