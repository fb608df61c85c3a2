package federation

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

const maxRefusals = 256

// refusals counts who was refused and why, for the administrator. The key is what the peer
// claimed, so the number of entries is bounded: the one not seen for longest leaves.
type refusals struct {
	mu     sync.Mutex // guards all below
	byKey  map[refusalKey]*Refusal
	byCode map[string]uint64 // since the start; the codes are this package's own
}

type refusalKey struct{ domain, code, rule string }

func (r *refusals) add(now time.Time, domain, code, rule string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey == nil {
		r.byKey, r.byCode = make(map[refusalKey]*Refusal), make(map[string]uint64)
	}
	r.byCode[code]++
	key := refusalKey{domain, code, rule}
	e := r.byKey[key]
	if e == nil {
		if len(r.byKey) >= maxRefusals {
			var oldest refusalKey
			var last time.Time
			for k, v := range r.byKey {
				if last.IsZero() || v.Last.Before(last) {
					oldest, last = k, v.Last
				}
			}
			delete(r.byKey, oldest)
		}
		e = &Refusal{Domain: domain, Code: code, Rule: rule}
		r.byKey[key] = e
	}
	e.Count++
	e.Last = now
}

// counts are all refusals since the start, by code.
func (r *refusals) counts() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.byCode)
}

// list returns the refusals, the newest first.
func (r *refusals) list() []Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Refusal, 0, len(r.byKey))
	for _, e := range r.byKey {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b Refusal) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Code, b.Code))
	})
	return out
}
