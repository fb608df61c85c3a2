package node

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/internal/link"
)

// Buffers come in the sizes of the payload buckets with their frame around them. Links hold
// none while they are idle.
var bufferSizes = [...]int{512, 1<<10 + 512, 4<<10 + 512, 8<<10 + 512, 16<<10 + 512, 32<<10 + 512, maxInput}

var bufferPools [len(bufferSizes)]sync.Pool

// buffer is a pooled byte slice.
type buffer struct {
	b     []byte
	class int
	more  int       // messages in it beside the first
	live  *handover // set while it carries a live envelope whose end somebody waits for
}

// getBuffer returns an empty buffer with room for at least n bytes.
func getBuffer(n int) *buffer {
	class := 0
	for class < len(bufferSizes)-1 && bufferSizes[class] < n {
		class++
	}
	if b, ok := bufferPools[class].Get().(*buffer); ok {
		b.b = b.b[:0]
		return b
	}
	return &buffer{b: make([]byte, 0, bufferSizes[class]), class: class}
}

func (b *buffer) free() {
	if b != nil {
		b.live, b.more = nil, 0
		bufferPools[b.class].Put(b)
	}
}

// grow returns a buffer with the same content and room for n more bytes.
func (b *buffer) grow(n int) *buffer {
	if len(b.b)+n <= cap(b.b) {
		return b
	}
	larger := getBuffer(len(b.b) + n)
	larger.b = append(larger.b, b.b...)
	b.free()
	return larger
}

// handover is a live envelope on its way onto a device's connection. Whoever claims it says
// how it ended: the writer before it writes, or who has waited long enough before the writer
// has come to it.
type handover struct {
	claimed atomic.Bool
	n       *Node
	use     envelope.HopUse
	id      envelope.ID
	submit  uint64      // the number of the Submit, for a link
	to      told        // who waits
	late    *time.Timer // set if it was put in line behind a write that waits
}

// told is who waits for the end of a live envelope. by is the link whose read loop says so, if
// it is one.
type told interface {
	delivery(h *handover, out federation.Outcome, by *clientLink)
}

var handovers = sync.Pool{New: func() any { return new(handover) }}

func (h *handover) claim() bool { return h.claimed.CompareAndSwap(false, true) }

// end says how it ended. It belongs to whoever has claimed it, and is used up.
func (h *handover) end(written bool, by *clientLink) {
	out := outcomeDelivered
	if written {
		h.n.hops.settle(h.use)
	} else {
		// Not delivered, so a retry of the same bytes must be taken for a first try.
		h.n.hops.forget(h.use)
		out = refused(link.CodeUnavailable)
	}
	h.to.delivery(h, out, by)
	if h.late != nil {
		h.late.Stop() // it may be looking at the handover, which is not used again
		return
	}
	*h = handover{}
	handovers.Put(h)
}

// fail ends a handover that nobody has claimed.
func (h *handover) fail() {
	if h.claim() {
		h.end(false, nil)
	}
}

// Bounds of what waits for one link. A link over them is slow and is closed: what was
// stored stays in the mailbox and is fetched by the next link; what was live ends as refused.
const (
	maxQueuedFrames = 256
	maxQueuedBytes  = 1 << 20
)

// queue holds the frames that wait to be written to one link. It is a ring that exists only
// while something waits.
type queue struct {
	frames []*buffer
	head   int
	bytes  int
}

func (q *queue) len() int { return len(q.frames) - q.head }

// push reports false when the frame does not fit; the caller then closes the link.
func (q *queue) push(b *buffer) bool {
	if q.len() >= maxQueuedFrames || q.bytes+len(b.b) > maxQueuedBytes {
		return false
	}
	if q.head > 0 && len(q.frames) == cap(q.frames) {
		n := copy(q.frames, q.frames[q.head:])
		clear(q.frames[n:])
		q.frames, q.head = q.frames[:n], 0
	}
	q.frames = append(q.frames, b)
	q.bytes += len(b.b)
	return true
}

// first is what pop returns next.
func (q *queue) first() *buffer {
	if q.len() == 0 {
		return nil
	}
	return q.frames[q.head]
}

// tail is the last message if n more bytes fit behind it: small messages share a buffer.
func (q *queue) tail(n int) *buffer {
	if q.len() == 0 || q.bytes+n > maxQueuedBytes {
		return nil
	}
	if b := q.frames[len(q.frames)-1]; b.live == nil && b.class == 0 && len(b.b)+n <= cap(b.b) {
		return b
	}
	return nil
}

// dropLive takes the live envelopes out of the line and returns them, for the caller to fail
// when it holds no lock.
func (q *queue) dropLive() (lost []*handover) {
	kept := q.frames[:q.head]
	for _, b := range q.frames[q.head:] {
		if b.live == nil {
			kept = append(kept, b)
			continue
		}
		lost = append(lost, b.live)
		q.bytes -= len(b.b)
		b.free()
	}
	clear(q.frames[len(kept):])
	q.frames = kept
	return lost
}

func (q *queue) pop() *buffer {
	if q.len() == 0 {
		return nil
	}
	b := q.frames[q.head]
	q.frames[q.head] = nil
	q.head++
	q.bytes -= len(b.b)
	if q.len() == 0 {
		// Keep a few slots for a busy link; give a burst's worth back.
		if q.head = 0; cap(q.frames) > 16 {
			q.frames = nil
		} else {
			q.frames = q.frames[:0]
		}
	}
	return b
}

// drop frees everything that waits and returns the handovers in it, which the caller fails
// when it holds no lock.
func (q *queue) drop() (lost []*handover) {
	for b := q.pop(); b != nil; b = q.pop() {
		if b.live != nil {
			lost = append(lost, b.live)
		}
		b.free()
	}
	return lost
}

func failAll(lost []*handover) {
	for _, h := range lost {
		h.fail()
	}
}
