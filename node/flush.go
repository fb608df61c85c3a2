package node

import (
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/internal/link"
)

// How frames leave a link. They are put on its queue and go out together: the read loop that
// put them there flushes when it has used up what it had read, others at once. A flush writes
// what the connection takes without waiting; only what it does not take gets a goroutine.

// How much one write carries: of a flush, and of a write loop, whose connection is slow and
// should not be asked for much at a time.
const (
	flushSize = 32 << 10
	slowSize  = 16 << 10
)

// writeTimeout is how long one write may take to leave. A client that takes nothing for this
// long is gone.
const writeTimeout = 10 * time.Second

// batch is what one write carries.
type batch struct {
	b      []byte
	off    int // what has left
	frames int
	live   []*buffer // those in it that carry live envelopes
	ready  func(fd uintptr) bool
	err    error
}

var batches = sync.Pool{New: func() any { return &batch{b: make([]byte, 0, flushSize)} }}

func (b *batch) free() {
	b.b, b.off, b.frames, b.err = b.b[:0], 0, 0, nil
	b.live = b.live[:0]
	if cap(b.b) <= 2*flushSize {
		batches.Put(b)
	}
}

// told says of every live envelope in it how its write ended. by is the link whose read loop
// this is, if it is one.
func (b *batch) told(written bool, by *clientLink) {
	for i, buf := range b.live {
		h := buf.live
		b.live[i] = nil
		buf.free()
		h.end(written, by)
	}
}

// takeLocked moves what waits into a batch.
func (l *clientLink) takeLocked(b *batch, most int) {
	for next := l.out.first(); next != nil && (len(b.b) == 0 || len(b.b)+len(next.b) <= most); next = l.out.first() {
		l.out.pop()
		if next.live != nil && !next.live.claim() {
			next.free() // its sender has been told that it waited too long
			continue
		}
		b.b = append(b.b, next.b...)
		b.frames += 1 + next.more
		if next.live != nil {
			b.live = append(b.live, next)
		} else {
			next.free()
		}
	}
}

// push queues a message. It takes the buffer over and never blocks. False: the link is
// closed, or was slow and is closed now; a handover in the buffer is the caller's again.
func (l *clientLink) push(b *buffer) bool {
	l.wmu.Lock()
	if l.closed || l.last {
		l.wmu.Unlock()
		b.free()
		return false
	}
	if !l.out.push(b) {
		l.wmu.Unlock()
		b.free()
		l.n.metrics.slowLinks.Inc()
		l.goodbye(link.CodeSlow, 0)
		return false
	}
	l.wmu.Unlock()
	return true
}

// pushLive is push for a live envelope. Behind a write that waits it has a timer of its own; a
// flush takes it at once, and the write loop looks after what it has taken.
func (l *clientLink) pushLive(b *buffer) bool {
	l.wmu.Lock()
	if h := b.live; l.writing {
		h.late = time.AfterFunc(l.n.liveTimeout, h.fail)
	}
	l.wmu.Unlock()
	return l.push(b)
}

// send queues a message and flushes.
func (l *clientLink) send(b *buffer) bool {
	ok := l.push(b)
	l.flush(nil)
	return ok
}

// touch notes that this link's read loop has put something on another link.
func (l *clientLink) touch(other *clientLink) {
	for _, d := range l.dirty {
		if d == other {
			return
		}
	}
	l.dirty = append(l.dirty, other)
}

// flushDirty is called by the read loop before it waits: what its frames have caused leaves.
func (l *clientLink) flushDirty() {
	for i, d := range l.dirty {
		l.dirty[i] = nil
		d.flush(l)
	}
	if cap(l.dirty) > 16 {
		l.dirty = nil // an idle client needs none
	} else {
		l.dirty = l.dirty[:0]
	}
	l.flush(l)
}

// flush writes what waits, as far as the connection takes it. Whoever is writing already also
// writes this. by is the link whose read loop this is, or nil.
func (l *clientLink) flush(by *clientLink) {
	for {
		l.wmu.Lock()
		if l.writing || l.closed || l.out.len() == 0 {
			l.wmu.Unlock()
			return
		}
		l.writing = true
		if l.sock.raw == nil {
			l.wmu.Unlock()
			l.n.group.Go(l.writeLoop)
			return
		}
		b := batches.Get().(*batch)
		l.takeLocked(b, flushSize)
		l.wmu.Unlock()
		var err error
		if len(b.b) > 0 {
			err = l.sock.tryWrite(b)
		}
		if err == nil && b.off < len(b.b) {
			l.n.group.Go(func() { l.write(b) })
			return
		}
		l.wmu.Lock()
		l.writing = false
		last := l.last && l.out.len() == 0
		l.wmu.Unlock()
		l.n.metrics.framesOut.Add(float64(b.frames))
		b.told(err == nil, by)
		b.free()
		switch {
		case err != nil:
			l.close()
			return
		case last:
			l.finish()
			return
		}
	}
}

// writeLoop writes what waits and ends; it waits for the connection as long as it must. There
// is at most one per link.
func (l *clientLink) writeLoop() { l.write(nil) }

func (l *clientLink) write(b *batch) {
	late := time.AfterFunc(l.n.liveTimeout, l.late)
	defer late.Stop()
	for {
		if b == nil {
			l.wmu.Lock()
			if l.closed || l.out.len() == 0 {
				if !l.closed && l.sock.raw != nil {
					// A flush has no deadline; an error here shows itself to the next write.
					_ = l.sock.SetWriteDeadline(time.Time{})
				}
				l.writing = false
				last := l.last && !l.closed
				l.wmu.Unlock()
				if last {
					l.finish()
				}
				return
			}
			b = batches.Get().(*batch)
			l.takeLocked(b, slowSize)
			l.wmu.Unlock()
		}
		late.Reset(l.n.liveTimeout)
		err := l.writeBatch(b)
		l.n.metrics.framesOut.Add(float64(b.frames))
		b.told(err == nil, nil)
		b.free()
		b = nil
		if err != nil {
			l.close()
		}
	}
}

func (l *clientLink) writeBatch(b *batch) error {
	if b.off == len(b.b) {
		return nil
	}
	l.setCarrying(len(b.live) > 0)
	defer l.setCarrying(false)
	l.wrote.Store(l.n.coarse.Load())
	defer l.wrote.Store(0)
	// Deadlines belong to the connection's clock, which is never virtual.
	if err := l.sock.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := l.sock.Write(b.b[b.off:])
	return err
}

func (l *clientLink) setCarrying(live bool) {
	l.wmu.Lock()
	l.carrying = live
	l.wmu.Unlock()
}

// late is called when one write has taken too long for live envelopes. Those in line are taken
// back; one that is being written cannot be, and a connection that has not taken it by then is
// no connection: closing it is what makes the answer true.
func (l *clientLink) late() {
	l.wmu.Lock()
	carrying, waits := l.carrying, l.wrote.Load() != 0
	var lost []*handover
	if waits {
		lost = l.out.dropLive()
	}
	l.wmu.Unlock()
	failAll(lost)
	if carrying && waits {
		l.n.metrics.slowLinks.Inc()
		l.close()
	}
}
