package node

import "time"

// budget is what one link may ask for. It belongs to the link's read loop, costs a few
// words and is never allocated apart. Work is counted by cost: a stored envelope costs ten
// live ones, because it costs a disk.
type budget struct {
	submit, query, publish, other, room allowance
}

type allowance struct {
	left float64
	at   int64 // seconds on the node's coarse clock
}

type rate struct{ perSecond, burst float64 }

type rates struct{ submit, query, publish, other rate }

// Rates of the two kinds of links. One of a registered device speaks for somebody that this
// node has let in; any other speaks for nobody, because identities are free to make, and
// gets a fraction.
var (
	deviceRates   = rates{submit: rate{2000, 6000}, query: rate{5, 40}, publish: rate{1, 20}, other: rate{5, 50}}
	strangerRates = rates{submit: rate{20, 200}, query: rate{1, 10}, publish: rate{0.2, 5}, other: rate{0.5, 5}}
)

// roomRate is what a seat in a room may send: a member that comes into a full one makes
// fifty pairs at once, and a hundred candidates and keys follow. What goes to all costs more.
var roomRate = rate{200, 4000}

const roomBroadcastCost = 10

const (
	costLive   = 1
	costStored = 10
)

// take uses n of an allowance, or says how long to wait. now is in seconds.
func (a *allowance) take(now int64, r rate, n float64) (bool, time.Duration) {
	if a.at == 0 {
		a.left = r.burst
	} else if now > a.at {
		a.left = min(r.burst, a.left+float64(now-a.at)*r.perSecond)
	}
	a.at = now
	if a.left >= n {
		a.left -= n
		return true, 0
	}
	if r.perSecond == 0 {
		return false, 0
	}
	return false, max(time.Second, time.Duration((n-a.left)/r.perSecond*float64(time.Second)))
}
