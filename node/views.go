package node

import (
	"sync/atomic"

	"github.com/trunkline-net/trunkline/envelope"
)

// Views is what this node saw of the envelopes it carried, which is all that a node can
// see: sizes, time classes, and by which door they came. It is shown to the administrator
// so that the promise can be looked at.
type Views struct {
	Domain    string     `json:"domain"`
	Envelopes uint64     `json:"envelopes"`
	Sizes     []int      `json:"sizes"` // the payload sizes that occurred
	Counts    []SizeView `json:"counts"`
	Links     int        `json:"links"`       // open now
	LinksSeen uint64     `json:"links_seen"`  // since the start
	Devices   int        `json:"devices"`     // links that speak for a device
	Queries   uint64     `json:"queries"`     // oblivious queries carried or answered
	TurnGrant int        `json:"turn_grants"` // relay handles outstanding
}

// SizeView counts the envelopes of one size and time class that came by one door.
type SizeView struct {
	Size  int    `json:"size"`
	TTL   string `json:"ttl"`
	From  string `json:"from"` // link or federation
	Count uint64 `json:"count"`
}

type viewDoor uint8

const (
	viewLink viewDoor = iota
	viewFederation
	viewDoors
)

var viewDoorNames = [viewDoors]string{"link", "federation"}

var viewSizes = [...]int{1 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10}

// views counts by size, time class and door, and nothing else.
type views struct {
	counts  [viewDoors][len(viewSizes)][4]atomic.Uint64
	links   atomic.Uint64
	queries atomic.Uint64
}

func (v *views) envelope(door viewDoor, e *envelope.Envelope) {
	for i, size := range viewSizes {
		if len(e.Payload) == size && e.TTL.Valid() {
			v.counts[door][i][e.TTL].Add(1)
		}
	}
}

func (v *views) fill(out *Views) {
	out.Sizes, out.Counts = []int{}, []SizeView{}
	for i, size := range viewSizes {
		seen := false
		for door := range v.counts {
			for ttl := range v.counts[door][i] {
				c := v.counts[door][i][ttl].Load()
				if c == 0 {
					continue
				}
				out.Counts = append(out.Counts, SizeView{size, envelope.TTL(ttl).String(), viewDoorNames[door], c})
				out.Envelopes += c
				seen = true
			}
		}
		if seen {
			out.Sizes = append(out.Sizes, size)
		}
	}
	out.LinksSeen, out.Queries = v.links.Load(), v.queries.Load()
}
