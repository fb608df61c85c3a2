package envelope

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// PrekeySecret is a prekey as a store keeps it.
type PrekeySecret struct {
	redact
	ID      PrekeyID
	Seed    [32]byte
	Created time.Time
}

// PrekeyStore keeps prekey secrets across restarts.
type PrekeyStore interface {
	// Prekeys returns all secrets, in any order.
	Prekeys() ([]PrekeySecret, error)
	// PutPrekey is durable when it returns.
	PutPrekey(PrekeySecret) error
	// DeletePrekeys makes the secrets unrecoverable from the store before it returns: no
	// free page, log or backup of it may still give them out. Unknown ids are no error.
	DeletePrekeys(ids ...PrekeyID) error
}

// maxPrekeys bounds the live prekeys: one a day for fifteen days, and those of lost caches.
const maxPrekeys = 64

// ErrNoPrekey says that the prekey of a message does not exist (any more). The sender finds
// out by itself, from the read receipt that does not come.
var ErrNoPrekey = errors.New("envelope: no such prekey")

// Prekeys are the prekeys of one device: a new one each day, offered for seven days, gone
// after fifteen. One goroutine rotates and deletes; everything else is safe beside it.
type Prekeys struct {
	redact
	store PrekeyStore

	mu   sync.Mutex // guards live
	live []*Prekey  // oldest first
}

// OpenPrekeys loads what the store holds. A device without a prekey calls Rotate before it
// publishes.
func OpenPrekeys(store PrekeyStore) (*Prekeys, error) {
	secrets, err := store.Prekeys()
	if err != nil {
		return nil, fmt.Errorf("load prekeys: %w", err)
	}
	ps := &Prekeys{store: store}
	for _, s := range secrets {
		p, err := PrekeyFromSeed(s.Seed, s.Created)
		if err != nil {
			return nil, fmt.Errorf("load prekeys: %w", err)
		}
		if p.ID() != s.ID {
			return nil, errors.New("load prekeys: a secret does not match its id")
		}
		ps.live = append(ps.live, p)
	}
	slices.SortFunc(ps.live, func(a, b *Prekey) int { return a.created.Compare(b.created) })
	return ps, nil
}

// Current is the newest prekey, which the device offers, or nil.
func (ps *Prekeys) Current() *Prekey {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if len(ps.live) == 0 {
		return nil
	}
	return ps.live[len(ps.live)-1]
}

// ByHint finds the one live prekey that a hop's hint names.
func (ps *Prekeys) ByHint(h Hint) (*Prekey, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.live {
		if p.Hint() == h {
			return p, nil
		}
	}
	return nil, ErrNoPrekey
}

// Due reports whether it is time for a new prekey.
func (ps *Prekeys) Due(now time.Time) bool {
	p := ps.Current()
	return p == nil || !now.Before(p.created.Add(PrekeyRotation))
}

// NextRotation is when Due becomes true.
func (ps *Prekeys) NextRotation(now time.Time) time.Time {
	p := ps.Current()
	if p == nil {
		return now
	}
	return p.created.Add(PrekeyRotation)
}

// Rotate makes a new prekey if one is due and returns it, else nil. The caller publishes its
// bundle.
func (ps *Prekeys) Rotate(now time.Time) (*Prekey, error) {
	if !ps.Due(now) {
		return nil, nil
	}
	return ps.RotateNow(now)
}

// RotateNow makes a new prekey whatever the time: a device that lost its replay cache does
// so at once. The secret is stored before the prekey is returned, so none is ever offered
// that a restart would lose.
func (ps *Prekeys) RotateNow(now time.Time) (*Prekey, error) {
	for {
		p, err := GeneratePrekey(now)
		if err != nil {
			return nil, err
		}
		// Two live prekeys with one hint would make a device try both.
		if _, err := ps.ByHint(p.Hint()); err == nil {
			continue
		}
		ps.mu.Lock()
		full := len(ps.live) >= maxPrekeys
		ps.mu.Unlock()
		if full {
			return nil, fmt.Errorf("%w: %d live prekeys, delete the old ones first", ErrTooLarge, maxPrekeys)
		}
		if err := ps.store.PutPrekey(PrekeySecret{ID: p.id, Seed: p.seed, Created: p.created}); err != nil {
			return nil, fmt.Errorf("store prekey: %w", err)
		}
		ps.mu.Lock()
		ps.live = append(ps.live, p)
		ps.mu.Unlock()
		return p, nil
	}
}

// DeleteExpired deletes the secrets whose fifteen days are over and returns how many. A
// device calls it after it has drained its mailbox, since what waited there may need them.
func (ps *Prekeys) DeleteExpired(now time.Time) (int, error) {
	return ps.deleteIf(func(p *Prekey) bool { return !now.Before(p.created.Add(PrekeyDeleted)) })
}

// DeleteBefore deletes every secret made before t: after the loss of the replay cache this
// ends replay of everything that was sealed to them.
func (ps *Prekeys) DeleteBefore(t time.Time) (int, error) {
	return ps.deleteIf(func(p *Prekey) bool { return p.created.Before(t) })
}

func (ps *Prekeys) deleteIf(gone func(*Prekey) bool) (int, error) {
	ps.mu.Lock()
	var drop []*Prekey
	var ids []PrekeyID
	for _, p := range ps.live {
		if gone(p) {
			drop, ids = append(drop, p), append(ids, p.id)
		}
	}
	ps.mu.Unlock()
	if len(drop) == 0 {
		return 0, nil
	}
	// The store first: if it fails, the next call tries again.
	if err := ps.store.DeletePrekeys(ids...); err != nil {
		return 0, fmt.Errorf("delete prekeys: %w", err)
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.live = slices.DeleteFunc(ps.live, func(p *Prekey) bool { return slices.Contains(drop, p) })
	return len(drop), nil
}
