package client

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// replayLog is the replay cache of keep with a memory of what was not finished. A message
// enters the cache before anything acts on it. A crash in between would make the message a
// replay when the node hands it out again, and so lose it. Therefore the entry is preceded
// by a note that this message is being acted upon, which is taken back afterwards: a message
// that still stands in that note may come once more.
type replayLog struct {
	k *keep.Keep

	mu    sync.Mutex // guards the rest
	open  []replayKey
	epoch uint64
	now   replayKey // what the opener is at; zero: nothing
}

// replayKey is device and message id.
type replayKey [32]byte

// maxUnfinished bounds what is remembered. Messages are opened one after the other, so there
// is one, and a few more only where the disk failed.
const maxUnfinished = 16

// Where keep has the note.
const (
	kindUnfinished = "unfinished"
	nameUnfinished = "messages"
)

func openReplayLog(k *keep.Keep) (*replayLog, error) {
	r := &replayLog{k: k}
	d, err := k.Document(kindUnfinished, nameUnfinished)
	if errors.Is(err, keep.ErrNotFound) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if len(d.Bytes)%len(replayKey{}) != 0 || len(d.Bytes) > maxUnfinished*len(replayKey{}) {
		return nil, fmt.Errorf("unfinished messages: %w", envelope.ErrMalformed)
	}
	r.epoch = d.Epoch
	for b := d.Bytes; len(b) > 0; b = b[len(replayKey{}):] {
		r.open = append(r.open, replayKey(b))
	}
	return r, nil
}

// Seen implements [envelope.Replay]. For a stranger nothing is written but the entry in the
// shared pool: a knock that a crash swallows can be made again.
func (r *replayLog) Seen(dev identity.DeviceID, id envelope.MessageID, until time.Time, stranger bool) (dup bool, err error) {
	if stranger {
		return r.k.Seen(dev, id, until, true)
	}
	var key replayKey
	copy(key[copy(key[:], dev[:]):], id[:])
	r.mu.Lock()
	defer r.mu.Unlock()
	again := slices.Contains(r.open, key)
	if !again {
		if len(r.open) >= maxUnfinished {
			r.open = slices.Delete(r.open, 0, 1)
		}
		r.open = append(r.open, key)
		if err := r.writeLocked(); err != nil {
			return false, err
		}
	}
	dup, err = r.k.Seen(dev, id, until, false)
	if err != nil || dup && !again {
		return dup, errors.Join(err, r.dropLocked(key))
	}
	r.now = key
	return false, nil
}

// finished takes the note of the message at hand back.
func (r *replayLog) finished() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now == (replayKey{}) {
		return nil
	}
	return r.dropLocked(r.now)
}

// unfinished leaves the note: the disk did not take what the message asked for.
func (r *replayLog) unfinished() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = replayKey{}
}

func (r *replayLog) dropLocked(key replayKey) error {
	r.now = replayKey{}
	r.open = slices.DeleteFunc(r.open, func(k replayKey) bool { return k == key })
	return r.writeLocked()
}

func (r *replayLog) writeLocked() error {
	var b []byte
	for _, k := range r.open {
		b = append(b, k[:]...)
	}
	r.epoch++
	return r.k.Witness(keep.Document{Kind: kindUnfinished, Name: nameUnfinished, Epoch: r.epoch, Bytes: b})
}
