package sfu

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"
)

// Stats are counts of the whole server since it began, by class; none names anybody.
type Stats struct {
	Rooms, Seats int64 // now
	Joins        uint64
	Refused      uint64

	PacketsIn, PacketsOut uint64
	BytesIn, BytesOut     uint64
	Repeated              uint64 // packets that clients asked for again
	Unmet                 uint64 // of them, what was gone
	Lost                  uint64 // packets of publishers that never came
	KeyRequests           uint64 // to publishers, after merging
	Datagrams             uint64 // sent, and
	Calls                 uint64 // with so many system calls
	SendDropped           uint64 // refused by the system
	Unknown               uint64 // datagrams from an address that no check came from
	BadChecks             uint64 // checks of ICE without valid credentials
	BadMedia              uint64 // packets that are not authentic, or beyond what waits for the keys
	Unread                uint64 // datagrams for a TCP client that does not read as fast as it is sent to

	// What was dropped, each bounded to whoever sent it.
	OverGrant      uint64 // packets beyond the publisher's bitrate
	Queue          uint64 // packets for which the room had no time
	UnknownSource  uint64 // packets of a source that no section announces
	UnknownRID     uint64
	BadPackets     uint64 // that are no RTP
	BadExtensions  uint64 // header extensions that end before they say
	BadDescriptors uint64 // dependency descriptors that make no sense
	BadControl     uint64 // RTCP that makes no sense
	ControlFlood   uint64 // RTCP beyond what a client may send
	RepeatFlood    uint64 // repeats beyond the client's budget
	KeyFlood       uint64 // requests for key frames beyond the client's budget
	REMB           uint64 // estimates of receivers, which are not asked for and not used
	Strangers      uint64 // clients that were cut off
	Slow           uint64 // clients that did not take their events

	Busy float64 // part of the forwarding capacity in use, 0 to 1
}

type counters struct {
	joins, refused                                                                 atomic.Uint64
	packetsIn, packetsOut, bytesIn, bytesOut, repeated, unmet, lost, keyRequests   atomic.Uint64
	overGrant, queue, unknownSource, unknownRID, badPackets, badExtensions         atomic.Uint64
	badDescriptors, badControl, controlFlood, repeatFlood, keyFlood, remb, strange atomic.Uint64
	slow                                                                           atomic.Uint64
}

// Stats counts.
func (s *Server) Stats() Stats {
	c := &s.counts
	u := s.carrier.counts()
	s.mu.Lock()
	rooms, seats := int64(len(s.rooms)), int64(s.seats)
	s.mu.Unlock()
	return Stats{
		Rooms: rooms, Seats: seats, Joins: c.joins.Load(), Refused: c.refused.Load(),
		PacketsIn: c.packetsIn.Load(), PacketsOut: c.packetsOut.Load(), BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		Repeated: c.repeated.Load(), Unmet: c.unmet.Load(), Lost: c.lost.Load(), KeyRequests: c.keyRequests.Load(),
		Datagrams: u.Sent, Calls: u.Calls, SendDropped: u.Dropped,
		Unknown: u.Unknown, BadChecks: u.BadChecks, BadMedia: u.BadMedia, Unread: u.Unread,
		OverGrant: c.overGrant.Load(), Queue: c.queue.Load(), UnknownSource: c.unknownSource.Load(), UnknownRID: c.unknownRID.Load(),
		BadPackets: c.badPackets.Load(), BadExtensions: c.badExtensions.Load(), BadDescriptors: c.badDescriptors.Load(),
		BadControl: c.badControl.Load(), ControlFlood: c.controlFlood.Load(), RepeatFlood: c.repeatFlood.Load(),
		KeyFlood: c.keyFlood.Load(), REMB: c.remb.Load(), Strangers: c.strange.Load(), Slow: c.slow.Load(),
		Busy: s.load.busy(),
	}
}

// meter is how busy one goroutine is: what it worked in the last second.
type meter struct {
	worked atomic.Int64  // nanoseconds, since the server began
	last   int64         // of loadLoop
	part   atomic.Uint64 // in millionths
}

func (m *meter) share() float64 { return float64(m.part.Load()) / 1e6 }

// part is how much of a span was worked, in millionths. What is longer than the span began before it.
func part(worked int64, span time.Duration) uint64 {
	return uint64(min(worked*1e6/max(int64(span), 1), 1e6))
}

// loadEvery is how often head-room is measured. A room that fills its own core for that long takes nobody more.
const loadEvery = time.Second

func (s *Server) loadLoop(ctx context.Context) {
	t := time.NewTicker(loadEvery)
	defer t.Stop()
	began := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			span := now.Sub(began)
			began = now
			var sum int64
			s.mu.Lock()
			for _, r := range s.rooms {
				w := r.busy.worked.Load()
				d := w - r.busy.last
				r.busy.last = w
				r.busy.part.Store(part(d, span))
				sum += d
			}
			s.mu.Unlock()
			s.load.share.Store(part(sum/int64(runtime.GOMAXPROCS(0)), span))
		}
	}
}
