package demo

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/trunkline-net/trunkline/client"
)

// mailboxOfEvents keeps what the client told until somebody asks for it, so that a request
// that comes after its event still finds it. Each event is handed out once.
type mailboxOfEvents struct {
	mu      sync.Mutex // guards kept, changed
	kept    []client.Event
	changed chan struct{} // closed and replaced at each event
}

func newMailboxOfEvents() *mailboxOfEvents {
	return &mailboxOfEvents{changed: make(chan struct{})}
}

func (m *mailboxOfEvents) pump(events <-chan client.Event) {
	for e := range events {
		m.mu.Lock()
		m.kept = append(m.kept, e)
		close(m.changed)
		m.changed = make(chan struct{})
		m.mu.Unlock()
	}
}

// waitFor takes the first event of the type that fits.
func waitFor[E client.Event](ctx context.Context, m *mailboxOfEvents, fits func(E) bool) (E, error) {
	for {
		m.mu.Lock()
		for i, e := range m.kept {
			if typed, ok := e.(E); ok && fits(typed) {
				m.kept = slices.Delete(m.kept, i, i+1)
				m.mu.Unlock()
				return typed, nil
			}
		}
		changed := m.changed
		m.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			var none E
			return none, fmt.Errorf("no %T came: %w", none, ctx.Err())
		}
	}
}
