package bolt

import (
	"crypto/cipher"
	"sync"

	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// sealer is the key of a mailbox, ready for use.
type sealer struct {
	id   kv.KeyID
	key  kv.Key
	aead cipher.AEAD
}

func newSealer(id kv.KeyID, k kv.Key) (*sealer, error) {
	aead, err := k.AEAD()
	if err != nil {
		return nil, err
	}
	return &sealer{id: id, key: k, aead: aead}, nil
}

func (sealer) String() string   { return "[redacted]" }
func (sealer) GoString() string { return "[redacted]" }

// sealers says which key each mailbox is sealed under: at the start those of the mailboxes
// that hold something, then also those that have held something since. The log says it beside
// every value, so a mailbox that is empty at a start begins with another key.
type sealers struct {
	ring *kv.Keyring

	mu sync.RWMutex // guards of
	of map[store.MailboxID]*sealer
}

// get returns nil where the mailbox has none.
func (s *sealers) get(box store.MailboxID) *sealer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.of[box]
}

// ensure returns the mailbox's sealer, with a key of its own where it has none yet.
func (s *sealers) ensure(box store.MailboxID) (*sealer, error) {
	if x := s.get(box); x != nil {
		return x, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.of[box]; x != nil {
		return x, nil
	}
	id, k, err := s.ring.Draw()
	if err != nil {
		return nil, err
	}
	x, err := newSealer(id, k)
	if err == nil {
		s.of[box] = x
	}
	return x, err
}

// under returns the sealer that a value names: nearly always the mailbox's own. nil: its key
// is gone.
func (s *sealers) under(box store.MailboxID, id kv.KeyID) *sealer {
	if x := s.get(box); x != nil && x.id == id {
		return x
	}
	k, ok := s.ring.Get(id)
	if !ok {
		return nil
	}
	x, err := newSealer(id, k)
	if err != nil {
		return nil
	}
	return x
}

// learn takes over what the log says at the start.
func (s *sealers) learn(keys map[store.MailboxID]kv.KeyID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for box, id := range keys {
		if k, ok := s.ring.Get(id); ok {
			x, err := newSealer(id, k)
			if err != nil {
				return err
			}
			s.of[box] = x
		}
	}
	return nil
}

// drop forgets the mailbox's key for good.
func (s *sealers) drop(box store.MailboxID) error {
	s.mu.Lock()
	x := s.of[box]
	delete(s.of, box)
	s.mu.Unlock()
	if x == nil {
		return nil
	}
	return s.ring.Drop(x.id)
}
