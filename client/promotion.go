package client

import (
	"time"

	"github.com/trunkline-net/trunkline/envelope/room"
)

// promotionBack is how long a room that would fit into a mesh again stays on the SFU: people who
// come and go at the limit must not be moved to and fro.
const promotionBack = 15 * time.Second

// RoomCause is a reason for the way that a room's media goes, in a word of docs/spec/rooms.md,
// section 10.
type RoomCause string

// All reasons there are.
const (
	CausePinned    RoomCause = "pinned"    // the room's card says so
	CauseCount     RoomCause = "count"     // more are in than a mesh is for
	CauseUplink    RoomCause = "uplink"    // a member's does not carry a copy for each other one
	CauseProcessor RoomCause = "processor" // a member's machine does not keep up with a copy for each other one
	CausePair      RoomCause = "pair"      // two members do not get a connection
	CauseNoSFU     RoomCause = "no_sfu"    // the node has none
)

// RoomNeed is what a member needs the SFU for; the zero value: nothing.
type RoomNeed struct {
	Cause  RoomCause // uplink, processor or pair
	Member room.Index
	With   room.Index // of a pair: the other one
}

// RoomWay is how a room's media goes, and why.
type RoomWay struct {
	SFU bool
	// Cause is why it goes over the SFU, or why it does not though there is a reason; empty: there
	// is none, and it goes over the mesh.
	Cause RoomCause
	// Need is the first of what members need, whether it is done or not.
	Need RoomNeed
}

// promotion decides whether media goes over the node's SFU (docs/spec/rooms.md, section 10). It is
// a pure state of what it is told and the times it is asked at.
type promotion struct {
	topology room.Topology
	limit    int  // how many are in a mesh at most
	sfu      bool // the node has one

	up    bool
	why   RoomCause // while up: the last reason that held
	under time.Time // since when the room would fit into a mesh; zero: it does not
}

// decide says where media goes with so many in the room, oneself among them, and what one of them
// needs.
func (p *promotion) decide(now time.Time, count int, need RoomNeed) RoomWay {
	why := need.Cause
	switch {
	case p.topology == room.SFU:
		why = CausePinned
	case count > p.limit:
		why = CauseCount
	}
	switch {
	case p.topology == room.Mesh:
		p.up, p.why = false, ""
		if need.Cause != "" {
			p.why = CausePinned
		}
	case !p.sfu:
		p.up, p.why = false, ""
		if why != "" {
			p.why = CauseNoSFU
		}
	case why != "":
		p.up, p.why, p.under = true, why, time.Time{}
	case !p.up:
	case p.under.IsZero():
		p.under = now
	case now.Sub(p.under) >= promotionBack:
		p.up, p.why, p.under = false, "", time.Time{}
	}
	return RoomWay{SFU: p.up, Cause: p.why, Need: need}
}
