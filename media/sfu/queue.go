package sfu

import (
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/track"
)

const (
	queueMost     = 4096 // items of one room: at 20,000 packets/s in, a fifth of a second
	queueSeatMost = 1024 // of one seat
)

// item is one thing for a room's goroutine: a packet, RTCP, or something to do.
type item struct {
	seat *Seat
	p    *track.Packet
	rtcp bool
	do   func()
}

// queue is how a room's goroutine gets its work. What does not fit is dropped: above half of it pictures, then
// everything that is a packet. What is to be done is never dropped; only the API and state changes do that.
type queue struct {
	ready chan struct{} // holds one token if there may be something

	mu    sync.Mutex // guards items, spare and Seat.queued
	items []item
	spare []item
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

// packet reports whether there was room.
func (q *queue) packet(s *Seat, p *track.Packet) bool { return q.add(s, p, false, true) }

// control does the same for RTCP. What is not urgent waits for the next packet or tick: feedback of every client each
// 50 to 100 ms would otherwise make the room work more often than media does.
func (q *queue) control(s *Seat, p *track.Packet, urgent bool) bool { return q.add(s, p, true, urgent) }

func (q *queue) add(s *Seat, p *track.Packet, rtcp, now bool) bool {
	q.mu.Lock()
	full := len(q.items) >= queueMost || s.queued >= queueSeatMost || len(q.items) >= queueMost/2 && !rtcp && p.Size() > soundSize
	if !full {
		q.items = append(q.items, item{seat: s, p: p, rtcp: rtcp})
		s.queued++
	}
	q.mu.Unlock()
	if !full && now {
		q.wake()
	}
	return !full
}

// soundSize is what the packets of sound do not exceed.
const soundSize = 320

func (q *queue) do(f func()) {
	q.mu.Lock()
	q.items = append(q.items, item{do: f})
	q.mu.Unlock()
	q.wake()
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take gives all items; give the slice back to done.
func (q *queue) take() []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.items
	q.items, q.spare = q.spare[:0], nil
	for i := range out {
		if s := out[i].seat; s != nil {
			s.queued--
		}
	}
	return out
}

func (q *queue) done(items []item) {
	clear(items)
	q.mu.Lock()
	q.spare = items[:0]
	q.mu.Unlock()
}

// bucket bounds a rate: so much in a second, and so much at once.
type bucket struct {
	rate, most, have float64
	at               time.Time
}

func newBucket(rate, most float64) bucket { return bucket{rate: rate, most: most, have: most} }

// limit changes what comes in. What is left stays, cut to what fits now.
func (b *bucket) limit(rate, most float64) { b.rate, b.most, b.have = rate, most, min(b.have, most) }

func (b *bucket) take(n float64, now time.Time) bool {
	if !b.at.IsZero() {
		b.have = min(b.most, b.have+now.Sub(b.at).Seconds()*b.rate)
	}
	b.at = now
	if b.have < n {
		return false
	}
	b.have -= n
	return true
}
