package node

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
)

// mailbox is what routing needs of one: whose, and which token opens it.
type mailbox struct {
	exists bool
	device identity.DeviceID
	root   identity.PublicKey
	route  store.Route
}

// noMailbox stands for every tag that is unknown. Its hashes are no token's.
var noMailbox = &mailbox{}

// mailboxes remembers the routes of the directory, so that an envelope costs a map look-up
// and not a read transaction. What it remembers is dropped when the directory changes.
type mailboxes struct {
	directory store.Directory
	log       *slog.Logger

	mu   sync.RWMutex // guards tags, generation
	tags map[envelope.RouteTag]*mailbox
	// generation changes with every drop, so that a read that began before a change does
	// not put back what the change removed.
	generation uint64
}

// maxCachedTags bounds the cache; above it everything is forgotten and read again.
const maxCachedTags = 1 << 17

func newMailboxes(d store.Directory, log *slog.Logger) *mailboxes {
	return &mailboxes{directory: d, log: log, tags: map[envelope.RouteTag]*mailbox{}}
}

// byTag never returns nil; exists is false for an unknown tag.
func (m *mailboxes) byTag(ctx context.Context, tag envelope.RouteTag) *mailbox {
	m.mu.RLock()
	box, generation := m.tags[tag], m.generation
	m.mu.RUnlock()
	if box != nil {
		return box
	}
	d, err := m.directory.ByTag(ctx, tag)
	if err != nil {
		if !errors.Is(err, store.ErrNotFound) {
			m.log.Error("directory read failed", "error", err)
		}
		return noMailbox
	}
	box = &mailbox{exists: true, device: d.ID, root: d.Root, route: d.Route}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.generation != generation {
		return box
	}
	if len(m.tags) >= maxCachedTags {
		clear(m.tags)
	}
	m.tags[tag] = box
	return box
}

// forget drops what is remembered of some tags.
func (m *mailboxes) forget(tags ...envelope.RouteTag) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.generation++
	for _, t := range tags {
		delete(m.tags, t)
	}
}

// forgetAll drops everything: devices were removed, and their tags are gone with them.
func (m *mailboxes) forgetAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.generation++
	clear(m.tags)
}

// hopWindow is how long the use of a hop's encapsulation is remembered. Beyond it the mailbox still
// recognises every stored envelope for eight days, and a live one has no mailbox to be
// repeated into unless its device is connected and its session long over.
const (
	hopWindow    = 10 * time.Minute
	maxHopMemory = 1 << 16 // per generation
)

type hopVerdict uint8

const (
	hopNew      hopVerdict = iota
	hopSame                // the same envelope again
	hopUnderWay            // the same live envelope, whose first try has not ended
	hopOther               // another envelope under the same encapsulation and number
)

// hopMemory recognises uses of encapsulations that it has seen, in two generations
// that take turns.
type hopMemory struct {
	mu      sync.Mutex // guards all below
	now     map[hopKey]hopUse
	before  map[hopKey]hopUse
	rotated time.Time
}

// hopKey is half of the encapsulation and the number. Half is enough: finding two that share it
// costs 2^64 tries, and gains nothing.
type hopKey [18]byte

func keyOf(u envelope.HopUse) (k hopKey) {
	copy(k[copy(k[:], u[:16]):], u[32:])
	return k
}

type hopUse struct {
	id       envelope.ID
	underWay bool // live, and not yet delivered
}

func newHopMemory() *hopMemory {
	return &hopMemory{now: map[hopKey]hopUse{}, before: map[hopKey]hopUse{}}
}

// seen looks a use up and remembers it. A live envelope that is new is under way until settle
// or forget.
func (h *hopMemory) seen(use envelope.HopUse, id envelope.ID, now time.Time, live bool) hopVerdict {
	key := keyOf(use)
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.rotated) >= hopWindow || len(h.now) >= maxHopMemory {
		h.before, h.now = h.now, h.before
		clear(h.now)
		h.rotated = now
	}
	known, ok := h.now[key]
	if !ok {
		known, ok = h.before[key]
	}
	switch {
	case !ok:
		h.now[key] = hopUse{id: id, underWay: live}
		return hopNew
	case known.id != id:
		return hopOther
	case known.underWay:
		return hopUnderWay
	}
	return hopSame
}

// settle says that a live envelope was delivered.
func (h *hopMemory) settle(use envelope.HopUse) {
	key := keyOf(use)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range []map[hopKey]hopUse{h.now, h.before} {
		if u, ok := m[key]; ok {
			u.underWay = false
			m[key] = u
			return
		}
	}
}

// forget takes a use back whose envelope was not taken.
func (h *hopMemory) forget(use envelope.HopUse) {
	key := keyOf(use)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.now, key)
	delete(h.before, key)
}
