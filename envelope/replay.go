package envelope

import (
	"errors"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/identity"
)

// ErrReplayFull says that a sender has so many messages within their time that one more
// could not be remembered. It is refused: forgetting an old one would let it in again.
var ErrReplayFull = errors.New("envelope: too many messages of one sender at once")

// Replay remembers which messages were seen. Replay identity is (sender device, message
// id), never a signature or a ciphertext, because both can be made anew.
type Replay interface {
	// Seen records the message until the given time and reports whether it was recorded
	// before. It is durable when it returns, and is called before anything acts on the
	// message. A stranger's entry goes into one small pool that all strangers share. At a cap
	// it refuses with an error and evicts nothing.
	Seen(dev identity.DeviceID, id MessageID, until time.Time, stranger bool) (dup bool, err error)
}

// replaySlack keeps an entry past the message's end: longer than the grace that opening
// gives it, so that it is refused by its time before it is forgotten.
const replaySlack = 10 * time.Minute

// Caps of [MemoryReplay].
const (
	ReplayPerDevice = 4096
	ReplayStrangers = 256
)

// MemoryReplay is a Replay that lasts as long as the process: for tests, and for devices
// that begin each run with a new prekey and a horizon of now.
type MemoryReplay struct {
	now       func() time.Time
	perDevice int
	pool      int

	mu        sync.Mutex // guards the rest
	contacts  map[identity.DeviceID]map[MessageID]time.Time
	strangers map[replayKey]time.Time
}

type replayKey struct {
	dev identity.DeviceID
	id  MessageID
}

// NewMemoryReplay returns an empty store with the caps above.
func NewMemoryReplay(now func() time.Time) *MemoryReplay {
	return &MemoryReplay{
		now:       now,
		perDevice: ReplayPerDevice,
		pool:      ReplayStrangers,
		contacts:  make(map[identity.DeviceID]map[MessageID]time.Time),
		strangers: make(map[replayKey]time.Time),
	}
}

// Seen implements [Replay].
func (r *MemoryReplay) Seen(dev identity.DeviceID, id MessageID, until time.Time, stranger bool) (bool, error) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	// A stranger that became a contact in between has its entries in the pool.
	if end, ok := r.strangers[replayKey{dev, id}]; ok && now.Before(end) {
		return true, nil
	}
	if end, ok := r.contacts[dev][id]; ok && now.Before(end) {
		return true, nil
	}
	if stranger {
		if len(r.strangers) >= r.pool && !dropEnded(r.strangers, now, r.pool) {
			return false, ErrReplayFull
		}
		r.strangers[replayKey{dev, id}] = until
		return false, nil
	}
	seen := r.contacts[dev]
	if seen == nil {
		seen = make(map[MessageID]time.Time)
		r.contacts[dev] = seen
	}
	if len(seen) >= r.perDevice && !dropEnded(seen, now, r.perDevice) {
		return false, ErrReplayFull
	}
	seen[id] = until
	return false, nil
}

// dropEnded forgets entries whose time is over and reports whether there is room now.
func dropEnded[K comparable](m map[K]time.Time, now time.Time, limit int) bool {
	for k, end := range m {
		if !now.Before(end) {
			delete(m, k)
		}
	}
	return len(m) < limit
}

// Clock never goes back: expiry that was decided once stays decided, also when the system's
// clock is set back between two runs.
type Clock struct {
	source func() time.Time

	mu    sync.Mutex // guards floor
	floor time.Time
}

// NewClock reads source but never returns less than floor, which is the last value that the
// caller persisted.
func NewClock(source func() time.Time, floor time.Time) *Clock {
	return &Clock{source: source, floor: floor}
}

// Now is the time to use for expiry, and the value to persist.
func (c *Clock) Now() time.Time {
	t := c.source()
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.floor) {
		c.floor = t
	}
	return c.floor
}
