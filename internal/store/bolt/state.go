package bolt

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// state is what the writer holds in memory of the file: what admission, expiry and the
// question for a fate need. It belongs to whoever writes, one at a time. Operations change it as
// they change the file; when a commit fails it is thrown away and read again.
type state struct {
	mu     *sync.RWMutex // DB.mu, held while boxes change: Peek reads them on other goroutines
	boxes  map[store.MailboxID]*box
	ids    map[envelope.ID]int32 // how often an id waits: once, as far as honest senders go
	last   store.Seq             // highest number ever given
	saved  store.Seq             // what the file says of that
	waits  tally                 // in all boxes
	told   tally                 // what the file says of that
	expiry expiryHeap
	days   []uint32 // of outcomes, ascending
	queues map[identity.PeerID]*queue

	keys map[store.MailboxID]kv.KeyID // under which the values are sealed, at the start
	used map[kv.KeyID]bool            // the same as a set, and those that an older value names
}

// tally is how much waits. It is written with every commit, so that verify store notices a
// value that has gone missing: memory is built from what is there.
type tally struct {
	envelopes int
	bytes     int64 // of payload
}

func (t *tally) count(e *entry, n int) {
	t.envelopes += n
	t.bytes += int64(n) * int64(e.size)
}

func (t tally) encode() []byte {
	return kv.NewEncoder(16).U64(uint64(t.envelopes)).U64(uint64(t.bytes)).Bytes()
}

func readTally(tx *bbolt.Tx) (t tally, err error) {
	d := kv.NewDecoder(tx.Bucket(bucketMeta).Get(keyTally))
	t.envelopes, t.bytes = int(d.U64()), int64(d.U64())
	return t, d.Done()
}

// box is one mailbox.
type box struct {
	entries []entry // ascending by seq
	closed  bool

	ordinary, rings, knocks  int
	ordinaryBytes, heldBytes int64 // held: ordinary and ring
}

// emptyBox is what a mailbox looks like that is not there.
var emptyBox box

// entry is what admission needs to know of a waiting envelope. The source is a keyed hash:
// the log does not say in clear where something came from.
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

func (h *expiryHeap) push(x expiring) {
	s := append(*h, x)
	i := len(s) - 1
	for i > 0 {
		up := (i - 1) / 2
		if s[up].at <= x.at {
			break
		}
		s[i], i = s[up], up
	}
	s[i] = x
	*h = s
}

// pop takes the earliest of a heap that is not empty.
func (h *expiryHeap) pop() expiring {
	s := *h
	top, n := s[0], len(s)-1
	s[0] = s[n]
	s = s[:n]
	if n > 0 {
		s.down(0)
	}
	*h = s
	return top
}

func (h expiryHeap) down(i int) {
	x := h[i]
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1].at < h[c].at {
			c++
		}
		if x.at <= h[c].at {
			break
		}
		h[i], i = h[c], c
	}
	h[i] = x
}

func (h expiryHeap) init() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

// flush writes the highest number and the tally once for a batch.
func (s *state) flush(tx *bbolt.Tx) error {
	if s.saved != s.last {
		if err := tx.Bucket(bucketLog).SetSequence(uint64(s.last)); err != nil {
			return err
		}
		s.saved = s.last
	}
	if s.told != s.waits {
		if err := tx.Bucket(bucketMeta).Put(keyTally, s.waits.encode()); err != nil {
			return err
		}
		s.told = s.waits
	}
	return nil
}

// rebuildExpiry drops from the heap what was acknowledged before its time: on a healthy node
// that is nearly everything.
func (s *state) rebuildExpiry() {
	s.expiry = make(expiryHeap, 0, s.waits.envelopes)
	for id, b := range s.boxes {
		for _, e := range b.entries {
			s.expiry = append(s.expiry, expiring{e.expires, e.seq, id})
		}
	}
	s.expiry.init()
}

// insert adds an entry to memory.
func (s *state) insert(id store.MailboxID, e entry) {
	s.mu.Lock()
	b := s.boxes[id]
	if b == nil {
		b = &box{}
		s.boxes[id] = b
	}
	b.add(e)
	s.mu.Unlock()
	s.ids[e.id]++
	s.waits.count(&e, 1)
	s.expiry.push(expiring{e.expires, e.seq, id})
}

// close refuses ordinary envelopes from now on, in memory.
func (s *state) close(id store.MailboxID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.boxes[id] == nil {
		s.boxes[id] = &box{}
	}
	s.boxes[id].closed = true
}

// delete removes the entry at a place from memory and from the log.
func (s *state) delete(tx *bbolt.Tx, b *box, place int) error {
	e := b.entries[place]
	s.mu.Lock()
	b.remove(place)
	s.mu.Unlock()
	s.waits.count(&e, -1)
	if len(s.expiry) > 2*s.waits.envelopes+1024 {
		s.rebuildExpiry()
	}
	if s.ids[e.id]--; s.ids[e.id] <= 0 {
		delete(s.ids, e.id)
	}
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
		s.mu.Lock()
		delete(s.boxes, id)
		s.mu.Unlock()
	}
	return nil
}

// reload reads everything from the file.
func (d *DB) reload(tx *bbolt.Tx) error {
	log := tx.Bucket(bucketLog)
	s := &state{
		mu:     &d.mu,
		boxes:  make(map[store.MailboxID]*box),
		ids:    make(map[envelope.ID]int32),
		queues: make(map[identity.PeerID]*queue),
		last:   store.Seq(log.Sequence()),
		keys:   make(map[store.MailboxID]kv.KeyID),
		used:   make(map[kv.KeyID]bool),
	}
	s.saved = s.last
	err := log.ForEach(func(k, v []byte) error {
		if len(k) != 8 {
			return fmt.Errorf("log: %w", kv.ErrValue)
		}
		seq := store.Seq(binary.BigEndian.Uint64(k))
		id, keyID, e, err := decodeLogHeader(v)
		if err != nil {
			return fmt.Errorf("log entry %d: %w", seq, err)
		}
		e.seq = seq
		b := s.boxes[id]
		if b == nil {
			b = &box{}
			s.boxes[id] = b
		}
		b.add(e)
		s.keys[id], s.used[keyID] = keyID, true
		s.ids[e.id]++
		s.waits.count(&e, 1)
		return nil
	})
	if err != nil {
		return err
	}
	if s.told, err = readTally(tx); err != nil && s.waits != (tally{}) || s.told != s.waits {
		// Nothing is to be done about it here, and the node goes on with what there is.
		d.log.Error("the store holds another number of envelopes than it has counted: run trunkline verify store",
			"counted", s.told.envelopes, "held", s.waits.envelopes)
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
	d.mu.Lock()
	d.st = s
	d.mu.Unlock()
	return nil
}
