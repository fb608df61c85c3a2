package sframe

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
)

// In a room every sender has a key of its own, which it gives to whoever may hear it. The key
// has a generation: it moves one step forward when somebody comes, so that who comes cannot
// read what was sent before, and is drawn anew when somebody goes, so that who went cannot read
// what is sent after (docs/spec/rooms.md, section 8).

// labelRatchet makes the next generation's key out of one.
const labelRatchet = "trunkline/v1/room-ratchet\x00"

// GroupKey is a sender's base key and its generation.
type GroupKey struct {
	Generation uint32
	Base       [KeySize]byte
}

// String keeps the key out of logs.
func (GroupKey) String() string { return "[redacted]" }

// GoString keeps the key out of %#v.
func (GroupKey) GoString() string { return "[redacted]" }

// NewGroupKey draws a sender's first key.
func NewGroupKey() (k GroupKey) {
	_, _ = rand.Read(k.Base[:]) // never fails on supported systems
	return k
}

// Ratchet is the key one step on. There is no way back from it.
func (k GroupKey) Ratchet() GroupKey {
	next, err := hkdf.Key(sha256.New, k.Base[:], nil, labelRatchet, KeySize)
	if err != nil {
		panic(err) // 32 bytes are within every limit of HKDF
	}
	return GroupKey{Generation: k.Generation + 1, Base: [KeySize]byte(next)}
}

// Fresh is a new key, one generation on, that nobody can derive.
func (k GroupKey) Fresh() GroupKey {
	next := NewGroupKey()
	next.Generation = k.Generation + 1
	return next
}

// Sealed is a frame that a GroupSender has sealed: the only thing that a room's connection
// sends, so that nothing can leave in plain.
type Sealed struct {
	Slot  Slot
	Codec Codec
	data  []byte
}

// Bytes are the sealed frame. They belong to it.
func (s Sealed) Bytes() []byte { return s.data }

// GroupSender seals the frames of all slots of one member. It may be used from several
// goroutines.
type GroupSender struct {
	index uint32

	mu    sync.Mutex // guards everything below
	key   GroupKey
	slots [ScreenAudio + 1]*Sender
}

// NewGroupSender begins with a key that was used for nothing yet.
func NewGroupSender(index uint32, key GroupKey) *GroupSender {
	return &GroupSender{index: index, key: key}
}

// String keeps the key out of logs.
func (*GroupSender) String() string { return "[redacted]" }

// GoString keeps the key out of %#v.
func (*GroupSender) GoString() string { return "[redacted]" }

// errBackwards refuses a generation that was used or passed over.
var errBackwards = errors.New("sframe: a key of this generation was used already")

// Use goes over to a later key. Its counters begin at 0, which is safe because no generation of
// a base key comes twice.
func (s *GroupSender) Use(key GroupKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key.Generation <= s.key.Generation {
		return errBackwards
	}
	s.key = key
	s.slots = [ScreenAudio + 1]*Sender{}
	return nil
}

// Used reports whether anything was sealed under the present key: a key that sealed nothing tells
// nothing to whoever gets it.
func (s *GroupSender) Used() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slots != [ScreenAudio + 1]*Sender{}
}

// Seal seals one frame of a slot.
func (s *GroupSender) Seal(slot Slot, c Codec, frame []byte) (Sealed, error) {
	if slot > ScreenAudio {
		return Sealed{}, fmt.Errorf("sframe: slot %d", slot)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slots[slot] == nil {
		sender, err := NewSender(KID(s.index, slot, s.key.Generation), s.key.Base)
		if err != nil {
			return Sealed{}, err
		}
		s.slots[slot] = sender
	}
	data, err := s.slots[slot].Seal(make([]byte, 0, len(frame)+Overhead), c, frame)
	if err != nil {
		return Sealed{}, err
	}
	return Sealed{Slot: slot, Codec: c, data: data}, nil
}

// GroupReceiver opens the frames of one member. It holds the sender's newest key, the one
// before, whose frames may still be on their way, and the one that a step makes of the newest:
// a sender steps when somebody comes, and its frames may be here before its word of it. It may
// be used from several goroutines.
type GroupReceiver struct {
	index uint32

	mu     sync.Mutex // guards everything below
	newest GroupKey
	have   bool
	ahead  bool // frames under the step of the newest are taken
	keys   map[uint32]*Receiver
}

// NewGroupReceiver returns one without a key: it opens nothing.
func NewGroupReceiver(index uint32) *GroupReceiver {
	return &GroupReceiver{index: index, keys: make(map[uint32]*Receiver)}
}

// String keeps keys out of logs.
func (*GroupReceiver) String() string { return "[redacted]" }

// GoString keeps keys out of %#v.
func (*GroupReceiver) GoString() string { return "[redacted]" }

// Give takes a key that its sender has sent. A newer generation is the newest from now on; the
// one before is kept. What is told again changes nothing; a key of the newest generation that
// is another one counts, because the step that stood for it was a guess; an older one is refused.
func (r *GroupReceiver) Give(key GroupKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.have && key.Generation < r.newest.Generation:
		return errBackwards
	case r.have && key == r.newest:
		return nil
	}
	return r.takeLocked(key)
}

// Step is what a sender says instead of the key to those who hold the one before: it has moved
// one step. A generation that is not the next one tells that something was missed.
func (r *GroupReceiver) Step(generation uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.have && generation == r.newest.Generation:
		return nil
	case !r.have || generation != r.newest.Generation+1:
		return fmt.Errorf("sframe: a step to generation %d is out of turn", generation)
	}
	return r.takeLocked(r.newest.Ratchet())
}

// Generation is that of the newest key; false without one.
func (r *GroupReceiver) Generation() (uint32, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.newest.Generation, r.have
}

func (r *GroupReceiver) takeLocked(key GroupKey) error {
	if err := r.placeLocked(key); err != nil {
		return err
	}
	// A generation is told apart by 16 values: of more than two, one would hide another.
	for g := range r.keys {
		if g != key.Generation && !(r.have && g == r.newest.Generation && g+1 == key.Generation) {
			delete(r.keys, g)
		}
	}
	r.newest, r.have, r.ahead = key, true, true
	return r.placeLocked(key.Ratchet())
}

func (r *GroupReceiver) placeLocked(key GroupKey) error {
	o := NewReceiver()
	for slot := Microphone; slot <= ScreenAudio; slot++ {
		if err := o.AddKey(KID(r.index, slot, key.Generation), key.Base); err != nil {
			return err
		}
	}
	r.keys[key.Generation] = o
	return nil
}

// Expect ends what is guessed: somebody has gone, so the next key is one that cannot be derived
// from what whoever went has.
func (r *GroupReceiver) Expect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.have && r.ahead {
		r.ahead = false
		delete(r.keys, r.newest.Generation+1)
	}
}

// Forget drops every key but the newest, once frames under the one before are not to be taken
// any more.
func (r *GroupReceiver) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for g := range r.keys {
		if g < r.newest.Generation {
			delete(r.keys, g)
		}
	}
}

// Drop takes every key away: of a sender that was sent away nothing is heard.
func (r *GroupReceiver) Drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.newest, r.have, r.ahead = GroupKey{}, false, false
	clear(r.keys)
}

// Open appends the frame to dst. Only a frame of this member and of this slot opens. One under
// the step of the newest key makes that the newest. The order is higher for a frame that was
// sealed later, whatever way it came.
func (r *GroupReceiver) Open(dst []byte, slot Slot, c Codec, sealed []byte) (frame []byte, order uint64, err error) {
	kid, ctr, err := frameHeader(c, sealed)
	if err != nil {
		return dst, 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for g, o := range r.keys {
		if KID(r.index, slot, g) != kid {
			continue
		}
		out, _, err := o.Open(dst, c, sealed)
		if err != nil {
			return dst, 0, err
		}
		if g == r.newest.Generation+1 {
			// The window of what was just opened stays with its key.
			step := r.newest.Ratchet()
			for old := range r.keys {
				if old < r.newest.Generation {
					delete(r.keys, old)
				}
			}
			r.newest = step
			if r.ahead {
				if err := r.placeLocked(step.Ratchet()); err != nil {
					return dst, 0, err
				}
			}
		}
		return out, uint64(g)<<32 | ctr, nil // a counter has 32 bits
	}
	return dst, 0, ErrKID
}

// FrameKID is the key id that a sealed frame names, without opening it.
func FrameKID(c Codec, sealed []byte) (uint64, error) {
	kid, _, err := frameHeader(c, sealed)
	return kid, err
}

func frameHeader(c Codec, sealed []byte) (kid, ctr uint64, err error) {
	n, err := ClearPrefix(c, sealed)
	if err != nil {
		return 0, 0, err
	}
	kid, ctr, _, err = parseHeader(sealed[n:])
	return kid, ctr, err
}

// Index is the sender's index in a key id, SlotOf its slot.
func Index(kid uint64) uint64 { return kid / 128 }

// SlotOf is the slot in a key id.
func SlotOf(kid uint64) Slot { return Slot(kid / 16 % 8) }
