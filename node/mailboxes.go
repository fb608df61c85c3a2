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

// hopWindow is how long a hop's ephemeral key is remembered. Beyond it the mailbox still
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
	hopOther               // another envelope under the same ephemeral key
)

// hopMemory recognises ephemeral keys of hops that were used already, in two generations
// that take turns.
type hopMemory struct {
	mu      sync.Mutex // guards all below
	now     map[[16]byte]hopUse
	before  map[[16]byte]hopUse
	rotated time.Time
}

type hopUse struct {
	id       envelope.ID
	underWay bool // live, and not yet delivered
}

func newHopMemory() *hopMemory {
	return &hopMemory{now: map[[16]byte]hopUse{}, before: map[[16]byte]hopUse{}}
}

// seen looks an ephemeral key up and remembers it. Half of the key is enough: finding two
// keys that share it costs 2^64 tries, and gains nothing. A live envelope that is new is under
// way until settle or forget.
func (h *hopMemory) seen(ephemeral [32]byte, id envelope.ID, now time.Time, live bool) hopVerdict {
	key := [16]byte(ephemeral[:16])
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
func (h *hopMemory) settle(ephemeral [32]byte) {
	key := [16]byte(ephemeral[:16])
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range []map[[16]byte]hopUse{h.now, h.before} {
		if u, ok := m[key]; ok {
			u.underWay = false
			m[key] = u
			return
		}
	}
}

// forget takes a key back whose envelope was not taken.
func (h *hopMemory) forget(ephemeral [32]byte) {
	key := [16]byte(ephemeral[:16])
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.now, key)
	delete(h.before, key)
}
