package turn

import (
	"crypto/rand"
	"net/netip"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/media"
)

// The ledger knows which handles were minted, what hangs on each, and how much of every quota is taken. A place is
// taken by reserve and given back by exactly one giveBack, on whichever way the allocation ends.

type grant struct {
	handle  media.Handle
	owner   media.Owner
	limits  media.Limits
	expiry  time.Time // an allocation must start before
	release time.Time // when the lost client link's grace ends; zero: no link was lost
	taken   int       // allocations, counted from reserve to giveBack
	live    map[*allocation]struct{}
}

// account is what one owner has taken.
type account struct {
	minted      int
	allocations int
	starts      bucket // an allocation that ends leaves a port that rests; starting many is limited, too
}

type ledger struct {
	quotas Quotas

	mu       sync.Mutex // guards what follows
	grants   map[media.Handle]*grant
	accounts map[media.Owner]*account
	byPrefix map[netip.Prefix]int
	total    int
}

func newLedger(q Quotas) *ledger {
	return &ledger{
		quotas: q, grants: map[media.Handle]*grant{}, accounts: map[media.Owner]*account{}, byPrefix: map[netip.Prefix]int{},
	}
}

// mint records a new handle.
func (l *ledger) mint(owner media.Owner, limits media.Limits, expiry time.Time) (media.Handle, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	acc := l.accounts[owner]
	if acc == nil {
		acc = &account{}
	}
	// Accounts are kept for a while after their last handle; they count against the same bound.
	if max(len(l.grants), len(l.accounts)) >= l.quotas.Grants || acc.minted >= l.quotas.GrantsPerOwner {
		return media.Handle{}, ErrBusy
	}
	l.accounts[owner] = acc
	g := &grant{owner: owner, limits: limits, expiry: expiry, live: map[*allocation]struct{}{}}
	rand.Read(g.handle[:])
	l.grants[g.handle] = g
	acc.minted++
	return g.handle, nil
}

// lookup says whether the handle is one of ours and was not released.
func (l *ledger) lookup(h media.Handle) (*grant, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g, ok := l.grants[h]
	return g, ok
}

// place is what one allocation takes of the quotas.
type place struct {
	grant  *grant
	prefix netip.Prefix
}

// reserve takes a place, or says which quota is full.
func (l *ledger) reserve(h media.Handle, from netip.Addr, now time.Time) (place, counter, bool) {
	p := place{prefix: clientPrefix(from)}
	l.mu.Lock()
	defer l.mu.Unlock()
	g, ok := l.grants[h]
	if !ok {
		return place{}, refusedReleased, false
	}
	perHandle := l.quotas.PerHandle
	if n := g.limits.Allocations; n > 0 {
		perHandle = min(perHandle, n)
	}
	acc := l.accounts[g.owner]
	switch {
	case g.taken >= perHandle:
		return place{}, refusedQuotaHandle, false
	case acc.allocations >= l.quotas.PerOwner:
		return place{}, refusedQuotaOwner, false
	case l.byPrefix[p.prefix] >= l.quotas.PerPrefix:
		return place{}, refusedQuotaPrefix, false
	case l.total >= l.quotas.Total:
		return place{}, refusedQuotaTotal, false
	case !acc.starts.take(now, 1, l.quotas.StartsPerSecond, l.quotas.startBurst()):
		return place{}, refusedQuotaStarts, false
	}
	p.grant = g
	g.taken++
	acc.allocations++
	l.byPrefix[p.prefix]++
	l.total++
	return p, 0, true
}

// attach hangs the allocation on its grant. False: the grant was released while the allocation was being made.
func (l *ledger) attach(a *allocation) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.grants[a.place.grant.handle] != a.place.grant {
		return false
	}
	a.place.grant.live[a] = struct{}{}
	return true
}

// giveBack returns the place. a is nil where the allocation never came to life.
func (l *ledger) giveBack(p place, a *allocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := p.grant
	g.taken--
	if a != nil {
		delete(g.live, a)
	}
	l.accounts[g.owner].allocations--
	decrement(l.byPrefix, p.prefix)
	l.total--
}

// sweep forgets the accounts that have nothing and have waited long enough to start afresh.
func (l *ledger) sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for owner, acc := range l.accounts {
		idle := acc.starts.last.IsZero() || now.Sub(acc.starts.last).Seconds()*l.quotas.StartsPerSecond >= l.quotas.startBurst()
		if acc.minted == 0 && acc.allocations == 0 && idle {
			delete(l.accounts, owner)
		}
	}
}

func decrement[K comparable](m map[K]int, key K) {
	if m[key]--; m[key] <= 0 {
		delete(m, key)
	}
}

// drop forgets grants and returns what still hangs on them; the caller ends it, without the lock.
func (l *ledger) drop(which func(*grant) bool) []*allocation {
	l.mu.Lock()
	defer l.mu.Unlock()
	var live []*allocation
	for h, g := range l.grants {
		if which(g) {
			live = l.dropLocked(h, g, live)
		}
	}
	return live
}

func (l *ledger) dropHandle(h media.Handle) []*allocation {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g, ok := l.grants[h]; ok {
		return l.dropLocked(h, g, nil)
	}
	return nil
}

func (l *ledger) dropLocked(h media.Handle, g *grant, live []*allocation) []*allocation {
	delete(l.grants, h)
	l.accounts[g.owner].minted--
	for a := range g.live {
		live = append(live, a)
	}
	return live
}

// setRelease starts (or, with the zero time, stops) the grace of a handle whose client link was lost.
func (l *ledger) setRelease(h media.Handle, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g, ok := l.grants[h]; ok {
		g.release = at
	}
}

// due says whether a grant has nothing left to live for.
func (g *grant) due(now time.Time) bool {
	if !g.release.IsZero() && !now.Before(g.release) {
		return true
	}
	return g.taken == 0 && now.After(g.expiry.Add(time.Minute))
}

// clientPrefix is what counts as one client: an IPv4 address, or the /64 that one IPv6 subscriber has.
func clientPrefix(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil { // only for an invalid address, which no socket gives
		return netip.Prefix{}
	}
	return p
}
