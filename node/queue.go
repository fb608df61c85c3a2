package node

import (
	"sync"
	"sync/atomic"

	"github.com/trunkline-net/trunkline/internal/link"
)

// Buffers come in the sizes of the payload buckets with their frame around them. Links hold
// none while they are idle.
var bufferSizes = [...]int{512, 1<<10 + 512, 4<<10 + 512, 8<<10 + 512, 16<<10 + 512, 32<<10 + 512, link.MaxFrame}

var bufferPools [len(bufferSizes)]sync.Pool

// buffer is a pooled byte slice.
type buffer struct {
	b     []byte
	class int
	live  *handover // set while it carries a live envelope whose end somebody waits for
}

// handover is a live envelope on its way onto a device's connection. Whoever claims it says
// how it ended: the writer before it writes, or who has waited long enough before the writer
// has come to it.
type handover struct {
	claimed atomic.Bool
	told    func(written bool)
}

func (h *handover) claim() bool { return h.claimed.CompareAndSwap(false, true) }

// fail ends a handover that nobody has claimed.
func (h *handover) fail() {
	if h.claim() {
		h.told(false)
	}
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
		b.live = nil
		bufferPools[b.class].Put(b)
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
