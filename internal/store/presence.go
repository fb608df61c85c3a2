package store

import (
	"context"
	"sync"
)

// Claim says that a device is connected, and where. Number grows with every claim of the
// store: of two claims the higher one holds.
type Claim struct {
	Device MailboxID
	Owner  string // the process, and the link in it; the claimer's own words
	Number uint64
}

// Presence says which device is connected where. It is a hint: where it is wrong that costs
// one failed hop, then the mailbox has it.
type Presence interface {
	// Claim takes a device over from whoever held it.
	Claim(ctx context.Context, device MailboxID, owner string) (Claim, error)
	// Renew says that a claim still holds; ErrReplaced where a newer one took its place or
	// it was released.
	Renew(ctx context.Context, c Claim) error
	// Release ends a claim; one that was replaced changes nothing.
	Release(ctx context.Context, c Claim) error
	// Lookup returns ErrNotFound where nobody holds the device.
	Lookup(ctx context.Context, device MailboxID) (Claim, error)
	// Watch returns a channel that is closed when the claim has ended, by Release or by a
	// newer one.
	Watch(ctx context.Context, c Claim) (<-chan struct{}, error)
}

// Memory is Presence within one process. Its zero value is ready.
type Memory struct {
	mu     sync.Mutex // guards all below
	last   uint64
	claims map[MailboxID]held
}

type held struct {
	claim Claim
	ended chan struct{}
}

var _ Presence = (*Memory)(nil)

// Claim implements Presence.
func (m *Memory) Claim(_ context.Context, device MailboxID, owner string) (Claim, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.claims == nil {
		m.claims = make(map[MailboxID]held)
	}
	if old, ok := m.claims[device]; ok {
		close(old.ended)
	}
	m.last++
	c := Claim{Device: device, Owner: owner, Number: m.last}
	m.claims[device] = held{c, make(chan struct{})}
	return c, nil
}

// Renew implements Presence. In one process a claim does not go stale by itself.
func (m *Memory) Renew(_ context.Context, c Claim) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.claims[c.Device]; !ok || h.claim.Number != c.Number {
		return ErrReplaced
	}
	return nil
}

// Release implements Presence.
func (m *Memory) Release(_ context.Context, c Claim) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.claims[c.Device]; ok && h.claim.Number == c.Number {
		delete(m.claims, c.Device)
		close(h.ended)
	}
	return nil
}

// Lookup implements Presence.
func (m *Memory) Lookup(_ context.Context, device MailboxID) (Claim, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.claims[device]
	if !ok {
		return Claim{}, ErrNotFound
	}
	return h.claim, nil
}

// Watch implements Presence.
func (m *Memory) Watch(_ context.Context, c Claim) (<-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.claims[c.Device]; ok && h.claim.Number == c.Number {
		return h.ended, nil
	}
	ended := make(chan struct{})
	close(ended)
	return ended, nil
}
