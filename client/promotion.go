package client

import (
	"time"

	"github.com/trunkline-net/trunkline/envelope/room"
)

// promotionBack is how long a room that would fit into a mesh again stays on the SFU: people who
// come and go at the limit must not be moved to and fro.
const promotionBack = 15 * time.Second

// promotion decides by count whether media goes over the node's SFU (docs/spec/rooms.md,
// section 10). It is a pure state of the times it is asked at.
type promotion struct {
	topology room.Topology
	limit    int  // how many are in a mesh at most
	sfu      bool // the node has one

	up    bool
	under time.Time // since when the room would fit into a mesh; zero: it does not
}

// decide says where media goes with so many in the room, oneself among them.
func (p *promotion) decide(now time.Time, count int) (up bool) {
	switch {
	case !p.sfu || p.topology == room.Mesh:
		p.up = false
	case p.topology == room.SFU || count > p.limit:
		p.up, p.under = true, time.Time{}
	case !p.up:
	case p.under.IsZero():
		p.under = now
	case now.Sub(p.under) >= promotionBack:
		p.up, p.under = false, time.Time{}
	}
	return p.up
}
