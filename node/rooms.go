package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store"
)

// A room is, to the node, two public keys, a sealed card, an end and some seats with numbers
// (docs/spec/rooms.md, section 3). Who signs with the gate key has the room's link and gets a
// seat; who signs with the steward key may admit, remove, replace the gate and close. What
// travels between seats is sealed for others. The links have no device, so the node keeps and
// learns nothing of who is in.

// Bounds of rooms. What a room may be is in the protocol; these are how much of it one node
// takes on.
const (
	maxRooms           = 1024
	maxRoomsPerAccount = 32 // made since the start; the node keeps no owner beside a room
	maxSeats           = 4096
	maxLobby           = 16
	// indexStep is how many numbers are taken from the disk at a time: a number that was given
	// is never given again, also after a crash.
	indexStep = 64
	maxIndex  = 1<<16 - 1
)

// rooms are all rooms of a node.
type rooms struct {
	blobs store.Blobs
	now   func() time.Time
	// allowed asks the policy in force whether somebody of a domain may be in a room here. It is asked
	// with a room's lock held, so that a reload either is seen by who joins or sees who has joined.
	allowed func(domain string) bool
	seats   atomic.Int64 // taken, in all rooms

	mu   sync.Mutex // guards the rest. Taken after a room's mu, where both are.
	all  map[[32]byte]*room
	made map[[16]byte]int // by a keyed hash of the account, as turnOwner
	from map[string]int   // seats by the domain that they are for; guests' are not counted
}

// room is one room.
type room struct {
	id    [32]byte
	owner [16]byte // as made; zero after a restart

	// mu guards the rest. It is held while the record is written, so that what the members are
	// told is what the disk has; only this room waits meanwhile.
	mu     sync.Mutex
	kept   roomRecord
	next   int // index of the next seat
	in     map[uint16]*seat
	closed bool
}

// roomRecord is what the disk has of a room.
type roomRecord struct {
	gate, steward identity.PublicKey
	card          []byte // sealed
	seats         int
	expires       time.Time
	lobby         bool
	reserved      int // indexes up to here may have been given
}

// seat is one link's place in a room.
type seat struct {
	room    *room
	l       *clientLink
	index   uint16
	steward bool
	domain  string // whose node has given its word; empty: a guest's
	leg     leg
	device  identity.DeviceID // what its relay handles hang on: drawn, it names nothing

	// Guarded by the room's mu.
	waiting bool // in the lobby
	gone    bool
}

const (
	blobRoom       = "room/"
	roomRecordSize = 1 + 32 + 32 + 8 + 2 + 1 + 4 + link.RoomCardSize
)

// encode writes a record: version 1, gate 32, steward 32, end 8, seats 2, lobby 1, indexes 4,
// card 4096.
func (r *roomRecord) encode() []byte {
	b := make([]byte, 0, roomRecordSize)
	b = append(b, 1)
	b = append(b, r.gate[:]...)
	b = append(b, r.steward[:]...)
	b = appendUint(b, uint64(r.expires.Unix()), 8)
	b = appendUint(b, uint64(r.seats), 2)
	b = append(b, boolByte(r.lobby))
	b = appendUint(b, uint64(r.reserved), 4)
	return append(b, r.card...)
}

var errRoomRecord = errors.New("a room's record does not parse")

func decodeRoom(b []byte) (r roomRecord, err error) {
	if len(b) != roomRecordSize || b[0] != 1 || b[75] > 1 {
		return r, errRoomRecord
	}
	if r.gate, err = identity.CheckKey(b[1:33]); err != nil {
		return r, err
	}
	if r.steward, err = identity.CheckKey(b[33:65]); err != nil {
		return r, err
	}
	r.expires = time.Unix(int64(readUint(b[65:73])), 0)
	r.seats, r.lobby, r.reserved = int(readUint(b[73:75])), b[75] == 1, int(readUint(b[76:80]))
	r.card = slices.Clone(b[80:])
	return r, nil
}

func appendUint(b []byte, v uint64, size int) []byte {
	for i := size - 1; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

func readUint(b []byte) (v uint64) {
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	return v
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func blobOfRoom(id [32]byte) string { return blobRoom + hex.EncodeToString(id[:]) }

// openRooms reads the rooms that are kept. Those whose time is over go with the next tick.
func openRooms(ctx context.Context, blobs store.Blobs, now func() time.Time, allowed func(domain string) bool) (*rooms, error) {
	h := &rooms{blobs: blobs, now: now, allowed: allowed, all: map[[32]byte]*room{}, made: map[[16]byte]int{}, from: map[string]int{}}
	names, err := blobs.Names(ctx, blobRoom)
	if err != nil {
		return nil, fmt.Errorf("read the rooms: %w", err)
	}
	for _, name := range names {
		id, err := hex.DecodeString(strings.TrimPrefix(name, blobRoom))
		if err != nil || len(id) != 32 {
			return nil, fmt.Errorf("read the rooms: %w", errRoomRecord)
		}
		b, err := blobs.Get(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("read the rooms: %w", err)
		}
		kept, err := decodeRoom(b)
		if err != nil {
			return nil, fmt.Errorf("read the rooms: %w", err)
		}
		h.all[[32]byte(id)] = newRoom([32]byte(id), kept)
	}
	return h, nil
}

func newRoom(id [32]byte, kept roomRecord) *room {
	return &room{id: id, kept: kept, next: kept.reserved + 1, in: map[uint16]*seat{}}
}

func (h *rooms) get(id [32]byte) *room {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all[id]
}

// count says how many rooms there are, and how many seats are taken in them.
func (h *rooms) count() (rooms, seats int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all), int(h.seats.Load())
}

// create takes a room in. The same room again is answered again, so that a client that lost the
// answer may ask twice. most is how many rooms there may be.
func (h *rooms) create(ctx context.Context, id [32]byte, owner [16]byte, kept roomRecord, most int) (code string, err error) {
	r := newRoom(id, kept)
	r.owner = owner
	// Nobody gets in before it is on the disk.
	r.mu.Lock()
	defer r.mu.Unlock()
	h.mu.Lock()
	if old := h.all[id]; old != nil {
		h.mu.Unlock()
		old.mu.Lock()
		defer old.mu.Unlock()
		if old.kept.gate == kept.gate && old.kept.steward == kept.steward {
			return "", nil
		}
		return link.CodeRefused, nil
	}
	if len(h.all) >= most || h.made[owner] >= maxRoomsPerAccount {
		h.mu.Unlock()
		return link.CodeQuota, nil
	}
	h.all[id] = r
	h.made[owner]++
	h.mu.Unlock()
	if err := h.blobs.Put(ctx, blobOfRoom(id), kept.encode()); err != nil {
		r.closed = true
		h.forget(r)
		return link.CodeUnavailable, err
	}
	return "", nil
}

func (h *rooms) forget(r *room) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, r.id)
	if n := h.made[r.owner]; n > 1 {
		h.made[r.owner] = n - 1
	} else {
		delete(h.made, r.owner)
	}
}

// mail is a frame for one link, in the order in which a room's members have to see things.
type mail struct {
	l    *clientLink
	f    *pb.NodeFrame
	over *seat // f tells its holder that it is
}

func (s *seat) event(kind pb.RoomEventKind, index uint16, code string) mail {
	return mail{l: s.l, f: &pb.NodeFrame{Kind: &pb.NodeFrame_RoomEvent{RoomEvent: &pb.RoomEvent{Kind: kind, Index: uint32(index), Code: code}}}}
}

// postAll puts frames on their links. It is called with the room's lock held, because whoever
// comes and whoever goes must be seen by all in one order; putting a frame on a link never
// blocks and calls nothing of rooms.
func postAll(all []mail) {
	for _, m := range all {
		m.l.queueFrame(m.f)
	}
}

// closing is the last event of a seat.
func (s *seat) closing(code string) mail {
	m := s.event(pb.RoomEventKind_ROOM_EVENT_CLOSED, s.index, code)
	m.over = s
	return m
}

// flushed lets what was posted leave, and ends what else belonged to seats that are over. by is
// the link whose read loop this is, or nil. No lock is held.
func flushed(by *clientLink, all []mail) {
	for _, m := range all {
		if m.over != nil {
			m.over.leg.end(legReason(m.f.GetRoomEvent().Code))
			// The link may stay; its relay is that of one that has lost it.
			m.l.n.turnGrants.lost(m.over.device, m.l.n.now())
		}
		if by != nil {
			by.touch(m.l)
		} else {
			m.l.flush(nil)
		}
	}
}

// sorted is a stable order of who is in, for what the members are told.
func (r *room) sortedLocked() []*seat {
	out := make([]*seat, 0, len(r.in))
	for _, s := range r.in {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *seat) int { return cmp.Compare(a.index, b.index) })
	return out
}

// join gives a link that has shown the gate's signature a seat, or returns the code of a
// refusal. answer makes the frame that tells it; it goes out before anything else of the room.
func (h *rooms) join(ctx context.Context, r *room, l *clientLink, steward bool, v visitor, answer func(s *seat, present []uint32) *pb.NodeFrame) (s *seat, sent []mail, code string, err error) {
	if h.seats.Add(1) > maxSeats {
		h.seats.Add(-1)
		return nil, nil, link.CodeRoomFull, nil
	}
	defer func() {
		if s == nil {
			h.seats.Add(-1)
		}
	}()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || !r.kept.expires.After(h.now()) {
		return nil, nil, link.CodeNoRoom, nil
	}
	if !h.allowed(v.domain) {
		return nil, nil, link.CodePolicy, nil
	}
	seated, waiting := 0, 0
	for _, o := range r.in {
		if o.waiting {
			waiting++
		} else {
			seated++
		}
	}
	waits := r.kept.lobby && !steward
	if !waits && seated >= r.kept.seats || waits && waiting >= maxLobby || r.next > maxIndex {
		return nil, nil, link.CodeRoomFull, nil
	}
	if r.next > r.kept.reserved {
		kept := r.kept
		kept.reserved = min(r.kept.reserved+indexStep, maxIndex)
		if err := h.blobs.Put(ctx, blobOfRoom(r.id), kept.encode()); err != nil {
			return nil, nil, link.CodeUnavailable, err
		}
		r.kept = kept
	}
	if !h.take(v) {
		return nil, nil, link.CodeQuota, nil
	}
	s = &seat{room: r, l: l, index: uint16(r.next), steward: steward, domain: v.domain, waiting: waits, device: drawDevice()}
	r.next++
	var present []uint32
	var out []mail
	for _, o := range r.sortedLocked() {
		switch {
		case waits && o.steward && !o.waiting:
			out = append(out, o.event(pb.RoomEventKind_ROOM_EVENT_WAITING, s.index, ""))
		case waits:
		case o.waiting && s.steward:
			// A steward who comes later hears of those who wait already.
			out = append(out, s.event(pb.RoomEventKind_ROOM_EVENT_WAITING, o.index, ""))
		case !o.waiting:
			present = append(present, uint32(o.index))
			out = append(out, o.event(pb.RoomEventKind_ROOM_EVENT_JOINED, s.index, ""))
		}
	}
	r.in[s.index] = s
	out = append([]mail{{l: l, f: answer(s, present)}}, out...)
	postAll(out)
	return s, out, "", nil
}

// take counts one more seat for a domain, unless it has as many as it may.
func (h *rooms) take(v visitor) bool {
	if v.domain == "" {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if v.most > 0 && h.from[v.domain] >= v.most {
		return false
	}
	h.from[v.domain]++
	return true
}

// freeLocked takes a seat out of its room; the room's lock is held.
func (h *rooms) freeLocked(s *seat) {
	s.gone = true
	delete(s.room.in, s.index)
	h.seats.Add(-1)
	if s.domain == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.from[s.domain]--; h.from[s.domain] == 0 {
		delete(h.from, s.domain)
	}
}

// deny takes the seats of a room that the policy does not allow any more. The room stays: it is open
// again when the policy is.
func (h *rooms) deny(r *room) (out []mail, seats int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	denied := slices.DeleteFunc(r.sortedLocked(), func(s *seat) bool { return h.allowed(s.domain) })
	for _, s := range denied {
		h.freeLocked(s)
		out = append(out, s.closing(link.CodePolicy))
	}
	for _, s := range denied {
		out = append(out, s.missedLocked(link.CodePolicy)...)
	}
	postAll(out)
	return out, len(denied)
}

// missedLocked tells those who were told of a seat that it is free.
func (s *seat) missedLocked(code string) (out []mail) {
	for _, o := range s.room.sortedLocked() {
		if !o.waiting && (!s.waiting || o.steward) {
			out = append(out, o.event(pb.RoomEventKind_ROOM_EVENT_LEFT, s.index, code))
		}
	}
	return out
}

// isGone reports whether a seat is over.
func (s *seat) isGone() bool {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	return s.gone
}

// leave takes a seat away. code is what its holder is told; empty: it has gone by itself.
func (h *rooms) leave(s *seat, code string) []mail {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	out := h.leaveLocked(s, code)
	postAll(out)
	return out
}

func (h *rooms) leaveLocked(s *seat, code string) (out []mail) {
	if s.gone {
		return nil
	}
	h.freeLocked(s)
	if code != "" {
		out = append(out, s.closing(code))
	}
	return append(out, s.missedLocked(code)...)
}

// send passes a payload from one seat to one other or to all. False: there is nobody at that
// index, or nobody to whom this seat may speak.
func (s *seat) send(to uint16, payload []byte) (out []mail, ok bool) {
	r := s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.gone {
		return nil, false
	}
	frame := func(o *seat) mail {
		return mail{l: o.l, f: &pb.NodeFrame{Kind: &pb.NodeFrame_RoomEvent{RoomEvent: &pb.RoomEvent{
			Kind: pb.RoomEventKind_ROOM_EVENT_FRAME, Index: uint32(s.index), Payload: payload,
		}}}}
	}
	if to != 0 {
		o := r.in[to]
		if o == nil || o == s || !s.hears(o) {
			return nil, false
		}
		out = append(out, frame(o))
	} else {
		for _, o := range r.sortedLocked() {
			// To all means to all who are in: whoever waits is spoken to alone.
			if o != s && !o.waiting && s.hears(o) {
				out = append(out, frame(o))
			}
		}
	}
	postAll(out)
	return out, true
}

// hears reports whether what s sends may reach o: between those who are in, and between whoever
// waits and the stewards. The room's lock is held.
func (s *seat) hears(o *seat) bool {
	if s.waiting || o.waiting {
		return s.steward && !s.waiting || o.steward && !o.waiting
	}
	return true
}

// admit lets somebody out of the lobby in.
func (h *rooms) admit(r *room, index uint16) (out []mail, code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.in[index]
	if s == nil || !s.waiting {
		return nil, link.CodeUnreachable
	}
	seated := 0
	for _, o := range r.in {
		if !o.waiting {
			seated++
		}
	}
	if seated >= r.kept.seats {
		return nil, link.CodeRoomFull
	}
	s.waiting = false
	in := s.event(pb.RoomEventKind_ROOM_EVENT_ADMITTED, s.index, "")
	out = append(out, in)
	for _, o := range r.sortedLocked() {
		if o != s && !o.waiting {
			in.f.GetRoomEvent().Present = append(in.f.GetRoomEvent().Present, uint32(o.index))
			out = append(out, o.event(pb.RoomEventKind_ROOM_EVENT_JOINED, s.index, ""))
		}
	}
	postAll(out)
	return out, ""
}

// remove sends somebody away.
func (h *rooms) remove(r *room, index uint16) (out []mail, code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.in[index]
	if s == nil {
		return nil, link.CodeUnreachable
	}
	out = h.leaveLocked(s, link.CodeRemoved)
	postAll(out)
	return out, ""
}

// change writes a room's record anew and then does the rest of what a steward asked for.
func (h *rooms) change(ctx context.Context, r *room, f func(*roomRecord), then func() []mail) (out []mail, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.kept
	f(&kept)
	if err := h.blobs.Put(ctx, blobOfRoom(r.id), kept.encode()); err != nil {
		return nil, err
	}
	r.kept = kept
	if then != nil {
		out = then()
	}
	postAll(out)
	return out, nil
}

// replaceGate changes the key of the gate; whoever is not in keep loses the seat, because the
// link that opened it is no link to this room any more.
func (h *rooms) replaceGate(ctx context.Context, r *room, gate identity.PublicKey, card []byte, keep []uint32) ([]mail, error) {
	return h.change(ctx, r, func(k *roomRecord) { k.gate, k.card = gate, card }, func() (out []mail) {
		for _, s := range r.sortedLocked() {
			if !slices.Contains(keep, uint32(s.index)) {
				out = append(out, h.leaveLocked(s, link.CodeGate)...)
			}
		}
		return out
	})
}

// close ends a room for all, and for good. The disk first: a room that is over does not come
// back with a restart.
func (h *rooms) close(ctx context.Context, r *room, code string) ([]mail, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, nil
	}
	if err := h.blobs.Delete(ctx, blobOfRoom(r.id)); err != nil {
		return nil, err
	}
	r.closed = true
	var out []mail
	for _, s := range r.sortedLocked() {
		h.freeLocked(s)
		out = append(out, s.closing(code))
	}
	postAll(out)
	h.forget(r)
	return out, nil
}

func (h *rooms) list() []*room {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.all))
}

// occupied are the seats that are taken now.
func (h *rooms) occupied() (out []*seat) {
	for _, r := range h.list() {
		r.mu.Lock()
		out = append(out, r.sortedLocked()...)
		r.mu.Unlock()
	}
	return out
}

// over are the rooms whose time has come.
func (h *rooms) over(now time.Time) (out []*room) {
	for _, r := range h.list() {
		r.mu.Lock()
		if !r.kept.expires.After(now) {
			out = append(out, r)
		}
		r.mu.Unlock()
	}
	return out
}
