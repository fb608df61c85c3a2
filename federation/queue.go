package federation

import (
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation/wire"
)

// What waits for one destination in memory. The rest goes to the durable outbox.
const (
	memoryItems = 512
	memoryBytes = 256 << 10
	// readAhead is how many entries of the durable outbox are read in before they can be sent.
	readAhead = 64
)

// item is one envelope on its way out.
type item struct {
	raw     []byte
	id      envelope.ID // where the durable outbox has it; name otherwise
	expires time.Time
	done    Waiter
	live    bool
	sent    bool   // once at least; whether it arrived is known only by its outcome
	seq     uint64 // its place in the durable outbox; 0: it is only in memory
	class   int8   // of itemPools; 0: not from there
}

// Items come with room for their envelope, in the sizes of the payload buckets. An item has
// one owner at a time: the queue, a batch, or finish, which gives it back.
var (
	itemSizes = [...]int{1024, 4096, 8192, 16384, 32768, 65536}
	itemPools [len(itemSizes)]sync.Pool
)

// newItem is an item with the bytes of e, which it does not keep.
func newItem(e *envelope.Envelope) *item {
	c := class(len(e.Payload))
	it, ok := itemPools[c].Get().(*item)
	if !ok {
		it = &item{raw: make([]byte, 0, itemSizes[c]+wire.MaxEnvelope-envelope.MaxPayload), class: int8(c + 1)}
	}
	it.raw = e.Append(it.raw[:0])
	return it
}

// name is the envelope's id. It is a hash over all of it and seldom asked for.
func (it *item) name() envelope.ID {
	var e envelope.Envelope
	if it.id == (envelope.ID{}) && envelope.View(it.raw, &e) == nil {
		it.id = e.ID()
	}
	return it.id
}

// free gives an item back. Nothing points to it any more.
func (it *item) free() {
	if it.class == 0 {
		return
	}
	*it = item{raw: it.raw[:0], class: it.class}
	itemPools[it.class-1].Put(it)
}

// queue is what one link has to send, in the order in which it is sent: first what was on
// the way when a session broke, then memory, then the durable outbox, read in bit by bit.
// It has no lock of its own: the link's guards it.
type queue struct {
	ready []*item // ready[head:] waits to be sent
	head  int
	bytes int64 // of ready

	memory      int // items of ready that are only in memory, and their bytes
	memoryBytes int
	stored      int // items of ready that are also in the durable outbox

	flight      []*item // sent and not acknowledged, in the order of their sequence numbers
	flightBytes uint64

	// The durable outbox: unread entries are those above cursor. Every entry that this
	// process wrote or has read is in written until it is done. While enqueuing is not zero, an entry may
	// be on disk and not in written yet; boot counts the entries that an earlier process left
	// and that are not in written, which are all older.
	unread      int
	unreadBytes int64
	cursor      uint64
	scanned     uint64
	boot        int
	enqueuing   int
	storing     map[envelope.ID]int // which those are
	written     map[uint64]written
	ending      map[uint64]struct{} // found over by a scan and on the way out of the outbox
}

// verdict is what may wait for a peer without a session.
type verdict uint8

const (
	letAll     verdict = iota
	letStored          // refused, but not for long enough yet: what can wait
	letNothing         // refused, by the other side's policy or by our own
)

type written struct {
	done Waiter // nil: nobody waits, or an earlier process did
}

// everyone waits for an envelope that was submitted more than once while it was on its way.
type everyone []Waiter

// maxEveryone bounds them. Those who asked first are the ones whose links have ended.
const maxEveryone = 8

// Ended tells all of them.
func (e everyone) Ended(o Outcome) {
	for _, w := range e {
		w.Ended(o)
	}
}

// together is a Waiter for both.
func together(first, second Waiter) Waiter {
	if first == nil || second == nil {
		if first == nil {
			return second
		}
		return first
	}
	all, ok := first.(everyone)
	if !ok {
		all = everyone{first}
	}
	if len(all) >= maxEveryone {
		all = all[1:]
	}
	return append(all[:len(all):len(all)], second)
}

func (q *queue) len() int { return len(q.ready) - q.head }

func (q *queue) empty() bool {
	return q.len() == 0 && len(q.flight) == 0 && q.unread == 0 && q.enqueuing == 0
}

func (q *queue) fits(size int) bool {
	return q.memory < memoryItems && q.memoryBytes+size <= memoryBytes
}

func (q *queue) count(it *item, sign int) {
	q.bytes += int64(sign * len(it.raw))
	if it.seq != 0 {
		q.stored += sign
	} else {
		q.memory += sign
		q.memoryBytes += sign * len(it.raw)
	}
}

func (q *queue) push(it *item) {
	if q.head > 0 && q.head == len(q.ready) {
		q.ready, q.head = q.ready[:0], 0
	}
	q.ready = append(q.ready, it)
	q.count(it, +1)
}

// take moves what may be sent now to flight and appends it to batch: at most frames items,
// at most window bytes on the way in all. Items whose time is over go to expired.
func (q *queue) take(now time.Time, frames int, room, limit uint64, batch, expired []*item) (_, _ []*item) {
	var size uint64
	for len(batch) < frames && q.head < len(q.ready) {
		it := q.ready[q.head]
		n := uint64(len(it.raw))
		over := !now.Before(it.expires)
		if !over && (size+n > room || size > 0 && size+n > limit) {
			break
		}
		q.ready[q.head] = nil
		q.head++
		q.count(it, -1)
		if over {
			expired = append(expired, it)
			continue
		}
		size += n
		q.flight = append(q.flight, it)
		q.flightBytes += n
		batch = append(batch, it)
	}
	if q.head > 1024 && q.head*2 > len(q.ready) {
		n := copy(q.ready, q.ready[q.head:])
		clear(q.ready[n:])
		q.ready, q.head = q.ready[:n], 0
	}
	return batch, expired
}

// lapse takes those of a batch whose time is over back from flight. The batch is the last that
// was put there and has not been sent.
func (q *queue) lapse(now time.Time, batch []*item) (left, expired []*item) {
	first := len(q.flight) - len(batch)
	left = batch[:0]
	for _, it := range q.flight[first:] {
		if now.Before(it.expires) {
			left = append(left, it)
			continue
		}
		q.flightBytes -= uint64(len(it.raw))
		expired = append(expired, it)
	}
	clear(q.flight[first+len(left):])
	q.flight = append(q.flight[:first], left...)
	return left, expired
}

// acked removes the first n items on the way.
func (q *queue) acked(n int, into []*item) []*item {
	for _, it := range q.flight[:n] {
		q.flightBytes -= uint64(len(it.raw))
		into = append(into, it)
	}
	rest := copy(q.flight, q.flight[n:])
	clear(q.flight[rest:])
	q.flight = q.flight[:rest]
	return into
}

// restore puts back what was on the way when a session ended: it is sent first, in its old
// order, so that what belongs together stays in order.
func (q *queue) restore() {
	if len(q.flight) == 0 {
		return
	}
	again := append(q.flight, q.ready[q.head:]...)
	for _, it := range q.flight {
		q.count(it, +1)
	}
	q.ready, q.head = again, 0
	q.flight, q.flightBytes = nil, 0
}

// expire removes the items of ready whose time is over and returns when the next one ends.
func (q *queue) expire(now time.Time) (expired []*item, next time.Time) {
	keep := q.ready[q.head:q.head]
	for _, it := range q.ready[q.head:] {
		if !now.Before(it.expires) {
			q.count(it, -1)
			expired = append(expired, it)
			continue
		}
		if next.IsZero() || it.expires.Before(next) {
			next = it.expires
		}
		keep = append(keep, it)
	}
	if len(expired) > 0 {
		clear(q.ready[q.head+len(keep):])
		q.ready = q.ready[:q.head+len(keep)]
	}
	return expired, next
}

// deny removes the items of ready that the verdict does not let wait. One that was sent may
// have arrived, and to call it refused could be a lie: it waits for its outcome or its end.
func (q *queue) deny(v verdict) (denied []*item) {
	if v == letAll {
		return nil
	}
	keep := q.ready[q.head:q.head]
	for _, it := range q.ready[q.head:] {
		if it.sent || v == letStored && !it.live {
			keep = append(keep, it)
			continue
		}
		q.count(it, -1)
		denied = append(denied, it)
	}
	clear(q.ready[q.head+len(keep):])
	q.ready = q.ready[:q.head+len(keep)]
	return denied
}

// wrote says that the durable outbox has an envelope under a number, since now or again. It
// says no when that entry has ended meanwhile and is being removed.
func (q *queue) wrote(seq uint64, again bool, id envelope.ID, done Waiter, size int) bool {
	w, known := q.written[seq]
	if !again {
		q.unread++
		q.unreadBytes += int64(size)
	}
	if _, ending := q.ending[seq]; ending || !known && seq <= q.cursor {
		return false
	}
	if again && !known && q.storing[id] == 0 {
		q.boot-- // an earlier process left it, and nobody has read it yet
	}
	if q.written == nil {
		q.written = make(map[uint64]written)
	}
	q.written[seq] = written{done: together(w.done, done)}
	return true
}

// begin and end stand around a write to the durable outbox.
func (q *queue) begin(id envelope.ID) {
	if q.storing == nil {
		q.storing = make(map[envelope.ID]int)
	}
	q.enqueuing++
	q.storing[id]++
}

func (q *queue) end(id envelope.ID) {
	q.enqueuing--
	if q.storing[id]--; q.storing[id] == 0 {
		delete(q.storing, id)
	}
}

// read takes entries of the durable outbox into ready, at most budget bytes but always one
// where there is one. It returns how many bytes it took and whether more can be read now.
func (q *queue) read(entries []Queued, budget int) (took int, more bool) {
	for _, e := range entries {
		if e.Seq <= q.cursor {
			continue
		}
		if _, over := q.ending[e.Seq]; over {
			q.cursor = e.Seq
			continue
		}
		if took > 0 && took+len(e.Envelope) > budget || q.stored >= readAhead {
			return took, q.stored < readAhead
		}
		w, ok := q.written[e.Seq]
		if !ok {
			if q.boot == 0 {
				return took, false // its Enqueue has not returned to us yet; that will wake us
			}
			q.boot--
			if q.written == nil {
				q.written = make(map[uint64]written)
			}
			q.written[e.Seq] = written{} // who submits it again waits for it there
		}
		q.cursor = e.Seq
		q.unread--
		q.unreadBytes -= int64(len(e.Envelope))
		q.push(&item{raw: e.Envelope, id: e.ID, expires: e.Expires, done: w.done, seq: e.Seq})
		took += len(e.Envelope)
	}
	return took, q.unread > 0 && len(entries) > 0
}

// vanished drops what the durable outbox no longer has although it should: the store removed
// it when its time was over. Nothing may be dropped without a notice.
func (q *queue) vanished() []*item {
	if q.enqueuing > 0 {
		return nil
	}
	var gone []*item
	for seq, w := range q.written {
		if seq > q.cursor {
			gone = append(gone, &item{done: w.done, seq: seq})
			delete(q.written, seq)
		}
	}
	q.unread, q.unreadBytes, q.boot = 0, 0, 0
	return gone
}
