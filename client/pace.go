package client

import (
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
)

// seldom lets something happen once in a while for each key, however often others ask for
// it. It remembers a bounded number of keys; while it is full it says no to new ones.
type seldom[K comparable] struct {
	mu   sync.Mutex // guards last
	last map[K]time.Time
}

const seldomKeys = 4096

func (s *seldom[K]) allow(k K, now time.Time, every time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.last[k]; ok && now.Sub(t) < every {
		return false
	}
	if s.last == nil {
		s.last = make(map[K]time.Time)
	}
	if len(s.last) >= seldomKeys {
		for other, t := range s.last {
			if now.Sub(t) >= every {
				delete(s.last, other)
			}
		}
		if len(s.last) >= seldomKeys {
			return false
		}
	}
	s.last[k] = now
	return true
}

// attempts spaces repeated attempts at the same thing: at once, then after firstPause, then
// twice as long each time.
type attempts struct {
	mu  sync.Mutex // guards due
	due map[any]attempt
}

type attempt struct {
	next time.Time
	wait time.Duration
}

const (
	firstPause = 5 * time.Second
	lastPause  = 15 * time.Minute
)

// ready reports whether the thing may be tried now, and counts the attempt.
func (a *attempts) ready(what any, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	was, tried := a.due[what]
	if tried && now.Before(was.next) {
		return false
	}
	wait := min(max(2*was.wait, firstPause), lastPause)
	if a.due == nil {
		a.due = make(map[any]attempt)
	}
	a.due[what] = attempt{next: now.Add(wait), wait: wait}
	return true
}

// done forgets a thing that needs no further attempt.
func (a *attempts) done(what any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.due, what)
}

// again makes everything ready: something has changed that may let it succeed.
func (a *attempts) again() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.due)
}

// underway is the set of notes that somebody is sealing right now, so that nobody else does.
type underway struct {
	mu  sync.Mutex // guards ids
	ids map[envelope.MessageID]bool
}

func (u *underway) begin(id envelope.MessageID) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ids[id] {
		return false
	}
	if u.ids == nil {
		u.ids = make(map[envelope.MessageID]bool)
	}
	u.ids[id] = true
	return true
}

func (u *underway) end(id envelope.MessageID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.ids, id)
}
