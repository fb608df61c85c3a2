package room

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/trunkline-net/trunkline/envelope/room/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/canon"
)

const maxRoster = 12288

var (
	// ErrChair refuses a roster of somebody who may not take the chair.
	ErrChair = errors.New("room: roster of somebody who is no moderator")
	// ErrFork says that one moderator has signed two rosters of one epoch: alarm.
	ErrFork = errors.New("room: two rosters of one epoch by one moderator")
	// ErrOlder refuses a roster below the newest.
	ErrOlder = errors.New("room: older roster")
)

// Seat is one member as a roster names it: whoever it is, for this one join.
type Seat struct {
	redact
	Index    Index
	Root     identity.PublicKey
	Device   identity.DeviceID
	JoinHash [32]byte
}

// Roster is the chair's word on who is in the room and who must not be.
type Roster struct {
	redact
	Room     ID
	Epoch    uint64
	Previous [32]byte // hash of the one before; zero in the first
	Chair    *identity.DeviceCert
	Created  time.Time
	Seats    []Seat
	Banned   []identity.PublicKey

	Hash   [32]byte
	signed []byte
}

// SignRoster signs a roster: the next one after previous, which is nil before the first.
func SignRoster(self Self, room ID, previous *Roster, seats []Seat, banned []identity.PublicKey, now time.Time) (*Roster, error) {
	seats, banned = slices.Clone(seats), slices.Clone(banned)
	sort.Slice(seats, func(i, j int) bool { return seats[i].Index < seats[j].Index })
	slices.SortFunc(banned, func(a, b identity.PublicKey) int { return bytes.Compare(a[:], b[:]) })
	banned = slices.Compact(banned)
	m := &pb.Roster{Version: 1, Room: room[:], Epoch: 1, ChairCert: self.Cert.Bytes(), Created: uint64(max(now.UnixMilli(), 0)), Banned: keysOut(banned)}
	if previous != nil {
		m.Epoch, m.Previous = previous.Epoch+1, previous.Hash[:]
	}
	for _, s := range seats {
		m.Seats = append(m.Seats, &pb.Seat{Index: uint32(s.Index), Root: s.Root.Bytes(), Device: s.Device[:], JoinHash: s.JoinHash[:]})
	}
	msg, err := canon.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("roster: %w", err)
	}
	return ParseRoster(self.Device.SignObject(identity.ContextRoster, msg))
}

// ParseRoster reads a signed roster. Whose word it is, and whether it is newer, Rosters knows.
func ParseRoster(signed []byte) (*Roster, error) {
	r, err := parseRoster(signed)
	if err != nil {
		return nil, fmt.Errorf("roster: %w", err)
	}
	return r, nil
}

func parseRoster(signed []byte) (*Roster, error) {
	var m pb.Roster
	cert, err := openByDevice(signed, maxRoster, identity.ContextRoster, &m, func() []byte { return m.ChairCert })
	if err != nil {
		return nil, err
	}
	const maxEpoch = 1<<53 - 1 // above it, a JavaScript number is not exact
	switch {
	case m.Version != 1, len(m.Room) != 32, m.Epoch == 0 || m.Epoch > maxEpoch, (m.Epoch == 1) != (len(m.Previous) == 0),
		m.Epoch > 1 && len(m.Previous) != 32, m.Created == 0 || m.Created > maxUnix*1000,
		len(m.Seats) > MaxSeats, len(m.Banned) > MaxBanned:
		return nil, ErrMalformed
	}
	r := &Roster{Room: ID(m.Room), Epoch: m.Epoch, Chair: cert, Created: time.UnixMilli(int64(m.Created)).UTC(), Hash: hashOf(signed), signed: bytes.Clone(signed)}
	copy(r.Previous[:], m.Previous)
	for _, s := range m.Seats {
		if s.Index == 0 || s.Index > 1<<16-1 || len(s.Device) != 16 || len(s.JoinHash) != 32 ||
			len(r.Seats) > 0 && r.Seats[len(r.Seats)-1].Index >= Index(s.Index) {
			return nil, fmt.Errorf("%w: seat", ErrMalformed)
		}
		root, err := identity.CheckKey(s.Root)
		if err != nil {
			return nil, err
		}
		r.Seats = append(r.Seats, Seat{Index: Index(s.Index), Root: root, Device: identity.DeviceID(s.Device), JoinHash: [32]byte(s.JoinHash)})
	}
	if r.Banned, err = keysIn(m.Banned); err != nil {
		return nil, err
	}
	if !slices.IsSortedFunc(r.Banned, func(a, b identity.PublicKey) int { return bytes.Compare(a[:], b[:]) }) {
		return nil, fmt.Errorf("%w: order of the banned", ErrMalformed)
	}
	return r, nil
}

// Bytes is the signed roster.
func (r *Roster) Bytes() []byte { return bytes.Clone(r.signed) }

// Has reports whether a member is in the roster, for this join of this device at this index.
func (r *Roster) Has(m *Member) bool { return slices.Contains(r.Seats, m.Seat()) }

// Bans reports whether an identity was sent away.
func (r *Roster) Bans(root identity.PublicKey) bool { return slices.Contains(r.Banned, root) }

// Rosters holds the newest roster of a room and says what a further one means. It belongs to
// one goroutine.
type Rosters struct {
	card    *Card
	room    ID
	current *Roster
}

// NewRosters begins without one.
func NewRosters(c *Card) *Rosters { return &Rosters{card: c, room: c.Room()} }

// UseCard goes on by a newer card of the same room.
func (l *Rosters) UseCard(c *Card) { l.card = c }

// Current is the newest roster, or nil.
func (l *Rosters) Current() *Roster { return l.current }

// Taken says what became of a roster.
type Taken uint8

const (
	Unchanged Taken = iota // it is the one that is held
	Newer                  // it is held from now on
	Rival                  // a better placed moderator's of the same epoch: it is held instead
	Lost                   // a worse placed moderator's of the same epoch: its signer has to sign again
)

// Take holds a roster against the newest one. Only who stands in the card may sign. Of two of
// one epoch the better placed moderator's counts, and two by the same one are ErrFork. One that
// does not follow the one held is taken if its epoch is higher: what lies between was missed.
func (l *Rosters) Take(r *Roster, now time.Time) (Taken, error) {
	if r.Room != l.room {
		return Unchanged, ErrRoom
	}
	position, ok := l.card.Position(r.Chair.Root)
	if !ok {
		return Unchanged, ErrChair
	}
	for _, root := range r.Banned {
		if p, moderator := l.card.Position(root); moderator && p <= position {
			return Unchanged, ErrChair // nobody sends away who is placed better
		}
	}
	if err := r.Chair.ValidAt(now); err != nil {
		return Unchanged, err
	}
	if r.Created.After(now.Add(clockAhead)) {
		return Unchanged, ErrTime
	}
	switch c := l.current; {
	case c == nil || r.Epoch > c.Epoch:
		l.current = r
		return Newer, nil
	case r.Epoch < c.Epoch:
		return Unchanged, ErrOlder
	case r.Hash == c.Hash:
		return Unchanged, nil
	default:
		held, _ := l.card.Position(c.Chair.Root)
		switch {
		case position == held:
			return Unchanged, ErrFork
		case position > held:
			return Lost, nil
		}
		l.current = r
		return Rival, nil
	}
}

// Chair is who has the chair among those present: the owner, else the first moderator of the
// card, and of several devices of one the lowest index.
func (c *Card) Chair(present []*Member) *Member {
	var best *Member
	at := 0
	for _, m := range present {
		p, ok := c.Position(m.Root())
		if ok && (best == nil || p < at || p == at && m.Index < best.Index) {
			best, at = m, p
		}
	}
	return best
}

// Admits reports whether media keys may go to a member: never to a banned one, in an open room
// to whoever has shown the link, else to who stands in the card or in the newest roster.
func (l *Rosters) Admits(m *Member) bool {
	if l.current != nil && l.current.Bans(m.Root()) {
		return false
	}
	return l.card.MayEnter(m.Root()) || l.card.Entry == Lobby && l.current != nil && l.current.Has(m)
}
