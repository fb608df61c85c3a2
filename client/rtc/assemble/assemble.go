// Package assemble puts RTP packets back into the frames they were cut from, in order and with
// bounded memory. It has no clock: each packet comes with the time of its arrival.
//
// Call New, then Push for each packet; what Push returns is complete. It never returns a frame
// of which a packet is missing, and never one twice.
package assemble

import "time"

// Packet is what matters of an RTP packet after the codec's payload header is taken off.
type Packet struct {
	Seq       uint16
	Timestamp uint32
	Start     bool   // first packet of a frame
	End       bool   // last packet of a frame (RTP marker)
	Payload   []byte // kept until the frame is out; empty: padding

	arrived time.Time
}

// Frame is one whole frame. After says that frames before it were given up.
type Frame struct {
	Timestamp uint32
	Data      []byte
	After     bool
}

// Limits of one stream. A packet is at most some 1,500 bytes, so a stream holds at most 3 MiB.
const (
	window   = 2048    // packets held
	maxFrame = 2 << 20 // bytes of one frame
)

// Assembler holds the packets of one stream. It belongs to one goroutine.
type Assembler struct {
	maxDelay time.Duration

	started bool
	next    int64 // sequence number, extended, that the next frame starts at
	newest  int64 // highest seen
	now     time.Time
	ring    [window]*Packet
	gap     bool // something was given up since the last frame
	lost    uint64
}

// New returns an Assembler that gives a missing packet up when the one after it has been there
// for maxDelay: the time that retransmission has.
func New(maxDelay time.Duration) *Assembler { return &Assembler{maxDelay: maxDelay} }

// Lost counts the gaps that were given up.
func (a *Assembler) Lost() uint64 { return a.lost }

// Push takes one packet, which arrived now, and returns the frames that it completed.
func (a *Assembler) Push(p Packet, now time.Time) []Frame {
	ext := a.extend(p.Seq)
	if !a.started {
		a.started, a.next, a.newest = true, ext, ext
	}
	a.now, p.arrived = now, now
	if ext < a.next {
		return nil // repeated, or given up already
	}
	if ext >= a.next+window {
		// Far ahead: the sender went on without us. What is held can hardly be completed.
		a.giveUpTo(ext)
	}
	slot := &a.ring[ext%window]
	if *slot != nil {
		return nil
	}
	*slot = &p
	a.newest = max(a.newest, ext)
	var out []Frame
	for a.step(&out) {
	}
	return out
}

// extend turns the 16-bit number into one that does not wrap, near the newest.
func (a *Assembler) extend(seq uint16) int64 {
	if !a.started {
		return int64(seq) + 1<<16
	}
	return a.newest + int64(int16(seq-uint16(a.newest)))
}

// step does one thing at a.next and reports whether there may be more to do.
func (a *Assembler) step(out *[]Frame) bool {
	if a.next > a.newest {
		return false
	}
	p := a.ring[a.next%window]
	switch {
	case p == nil:
		return a.skipMissing()
	case len(p.Payload) == 0:
		a.drop(1)
		return true
	case !p.Start:
		// The rest of a frame whose beginning is gone.
		a.drop(1)
		a.noteGap()
		return true
	}
	n, size := 0, 0
	for ; n < window; n++ {
		q := a.ring[(a.next+int64(n))%window]
		if q == nil || a.next+int64(n) > a.newest {
			return a.skipIncomplete(n)
		}
		if q.Timestamp != p.Timestamp || n > 0 && q.Start || size+len(q.Payload) > maxFrame {
			// Another frame begins although this one has not ended: it never will.
			a.drop(max(n, 1))
			a.noteGap()
			return true
		}
		size += len(q.Payload)
		if q.End {
			n++
			break
		}
	}
	data := make([]byte, 0, size)
	for i := range n {
		data = append(data, a.ring[(a.next+int64(i))%window].Payload...)
	}
	a.drop(n)
	*out = append(*out, Frame{Timestamp: p.Timestamp, Data: data, After: a.gap})
	a.gap = false
	return true
}

// skipMissing gives up the gap at a.next if what comes after it has waited long enough.
func (a *Assembler) skipMissing() bool {
	e, late := a.waited(a.next)
	if late {
		a.next = e
		a.noteGap()
	}
	return late
}

// skipIncomplete gives up the frame at a.next, which lacks its n-th packet.
func (a *Assembler) skipIncomplete(n int) bool {
	_, late := a.waited(a.next + int64(n))
	if late {
		a.drop(n)
		a.noteGap()
	}
	return late
}

// waited finds the first packet after the missing one and reports whether it has been there for
// too long.
func (a *Assembler) waited(missing int64) (next int64, late bool) {
	for e := missing + 1; e <= a.newest; e++ {
		if q := a.ring[e%window]; q != nil {
			return e, a.now.Sub(q.arrived) > a.maxDelay
		}
	}
	return 0, false
}

func (a *Assembler) drop(n int) {
	for range n {
		a.ring[a.next%window] = nil
		a.next++
	}
}

func (a *Assembler) noteGap() {
	if !a.gap {
		a.lost++
	}
	a.gap = true
}

// giveUpTo forgets everything before ext.
func (a *Assembler) giveUpTo(ext int64) {
	a.ring = [window]*Packet{}
	a.next = ext
	a.noteGap()
}
