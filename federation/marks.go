package federation

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/trunkline-net/trunkline/envelope"
)

// mark stands for the bytes of one envelope: the last eight of its hop, which belong to the
// tag of its box, and a hash of all under a seed that only this process knows. (The hop begins
// with an encapsulation, which the frames of one session share.) The marks of two
// envelopes that were sealed by anybody are equal with a chance of one in 2^128, and who
// wanted to make an envelope that is taken for another would have to know the other one and
// the seed. The envelope's id would do as well, but it costs as much as encrypting the
// envelope does, and the node behind the Deliverer makes it anyway.
type mark struct{ hop, all uint64 }

// tagAt is where those eight bytes begin in a marshalled envelope.
const tagAt = 2 + 2 + 38 + 2 + envelope.HopSize - 8

// markOf is the mark of a marshalled envelope that was read without an error.
func markOf(seed maphash.Seed, raw []byte) mark {
	return mark{binary.LittleEndian.Uint64(raw[tagAt:]), maphash.Bytes(seed, raw)}
}

// marks is a map by mark with open addressing: it grows to what it has held and then
// allocates no more, however often its entries change. The zero value is empty. A peer
// cannot choose where an entry goes, because it does not know the seed of the hash.
type marks[V any] struct {
	slots []markSlot[V] // a power of two, at most half of them used
	n     int
}

type markSlot[V any] struct {
	mark  mark
	used  bool
	value V
}

const fewestMarks = 64

// place is the slot of a mark, or the free one where it would be put.
func (t *marks[V]) place(m mark) int {
	mask := len(t.slots) - 1
	i := int(m.all) & mask
	for t.slots[i].used && t.slots[i].mark != m {
		i = (i + 1) & mask
	}
	return i
}

// get is the value of a mark, or nil. The pointer is good until the next put or remove.
func (t *marks[V]) get(m mark) *V {
	if t.n == 0 {
		return nil
	}
	if s := &t.slots[t.place(m)]; s.used {
		return &s.value
	}
	return nil
}

func (t *marks[V]) put(m mark, v V) {
	if 2*t.n >= len(t.slots) {
		t.grow()
	}
	s := &t.slots[t.place(m)]
	if !s.used {
		t.n++
	}
	*s = markSlot[V]{m, true, v}
}

func (t *marks[V]) grow() {
	old := t.slots
	t.slots = make([]markSlot[V], max(2*len(old), fewestMarks))
	for i := range old {
		if old[i].used {
			t.slots[t.place(old[i].mark)] = old[i]
		}
	}
}

// remove closes the gap behind itself, so that no look-up ends at it too early.
func (t *marks[V]) remove(m mark) {
	if t.n == 0 {
		return
	}
	mask := len(t.slots) - 1
	gap := t.place(m)
	if !t.slots[gap].used {
		return
	}
	t.n--
	for i := (gap + 1) & mask; t.slots[i].used; i = (i + 1) & mask {
		// The entry at i may move to the gap unless its home lies between the two.
		if home := int(t.slots[i].mark.all) & mask; (i-home)&mask >= (i-gap)&mask {
			t.slots[gap] = t.slots[i]
			gap = i
		}
	}
	t.slots[gap] = markSlot[V]{}
}

// clear forgets all entries and keeps the room.
func (t *marks[V]) clear() {
	clear(t.slots)
	t.n = 0
}
