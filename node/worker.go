package node

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/ws"
)

// Bounds of what one link may have waiting for the disk. At the bound the read loop waits,
// and the client's TCP connection with it: nothing is dropped.
const (
	maxJobs     = 64
	maxJobBytes = 1 << 20
)

// job is one thing that a link wants of the disk: an envelope of a stored class, or
// acknowledgements.
type job struct {
	id   uint64
	buf  *buffer // holds the envelope's payload
	e    envelope.Envelope
	acks []store.Seq
}

// worker does the jobs of one link, in order, many in one write where it can: order
// matters, because a CANCEL must not arrive before its RING. It exists while there is work.
type worker struct {
	jobs  []job
	bytes int
	space *sync.Cond // on the link's mu
}

// enqueue gives a job to the link's worker and starts one if there is none.
func (l *clientLink) enqueue(j job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.work != nil && (len(l.work.jobs) >= maxJobs || l.work.bytes > maxJobBytes) {
		l.work.space.Wait()
	}
	start := l.work == nil
	if start {
		l.work = &worker{space: sync.NewCond(&l.mu)}
	}
	l.work.jobs = append(l.work.jobs, j)
	l.work.bytes += len(j.e.Payload)
	if start {
		l.n.group.Go(l.workLoop)
	}
}

func (l *clientLink) workLoop() {
	for {
		l.mu.Lock()
		w := l.work
		jobs := w.jobs
		if len(jobs) == 0 {
			l.work = nil
			w.space.Broadcast()
			l.mu.Unlock()
			return
		}
		w.jobs, w.bytes = nil, 0
		w.space.Broadcast()
		l.mu.Unlock()

		for len(jobs) > 0 {
			run := 1
			for run < len(jobs) && (jobs[run].acks == nil) == (jobs[0].acks == nil) {
				run++
			}
			if jobs[0].acks != nil {
				var seqs []store.Seq
				for _, j := range jobs[:run] {
					seqs = append(seqs, j.acks...)
				}
				l.acknowledge(l.n.background, seqs)
			} else {
				l.submitStored(l.n.background, jobs[:run])
			}
			jobs = jobs[run:]
		}
	}
}

// submitStored brings envelopes of the stored classes on their way, those for this node's
// own mailboxes in one write.
func (l *clientLink) submitStored(ctx context.Context, jobs []job) {
	n := l.n
	outs := make([]federation.Outcome, len(jobs))
	var puts []store.Envelope
	var at []int // which job each of puts belongs to
	for i := range jobs {
		j := &jobs[i]
		if j.e.Destination != n.self {
			l.submitRemote(j.id, &j.e)
			n.answering.Add(-1)
			j.buf.free()
			j.buf = nil
			continue
		}
		w := n.route(ctx, n.local, &j.e)
		if outs[i] = w.out; w.next == stepStore {
			puts, at = append(puts, w.put), append(at, i)
		}
	}
	if len(puts) > 0 {
		results, err := n.db.Put(ctx, puts)
		for k, i := range at {
			if err != nil {
				outs[i] = n.storeFailed(err)
			} else {
				outs[i] = n.written(ctx, &puts[k], results[k])
			}
		}
	}
	for i := range jobs {
		if jobs[i].buf == nil {
			continue // went to another node
		}
		l.receipts(jobs[i].id, jobs[i].e.ID(), outs[i])
		n.answering.Add(-1)
		jobs[i].buf.free()
	}
	l.flush(nil)
}

// submitLive brings an envelope of the live class on its way, in the read loop.
func (l *clientLink) submitLive(id uint64, e *envelope.Envelope) {
	if e.Destination != l.n.self {
		l.submitRemote(id, e)
		return
	}
	w := l.n.route(l.n.background, l.n.local, e)
	if w.next != stepLive {
		l.receipts(id, e.ID(), w.out)
		l.n.answering.Add(-1)
		return
	}
	// Not waited for: a device that does not read must not keep this link from being read.
	if other := l.n.handOver(e, &w, id, l, l); other != nil {
		l.touch(other)
	}
}

// delivery implements told: a live envelope that this link has submitted has ended.
func (l *clientLink) delivery(h *handover, out federation.Outcome, by *clientLink) {
	l.receipts(h.submit, h.id, out)
	l.n.answering.Add(-1)
	if by != l { // whose read loop flushes itself
		l.flush(by)
	}
}

// receipts queues the answer to a Submit whose envelope stayed on this node.
func (l *clientLink) receipts(id uint64, eid envelope.ID, out federation.Outcome) {
	l.n.metrics.countDelivery("local", out)
	class := receiptOf(out)
	if class != pb.ReceiptClass_RECEIPT_REFUSED {
		l.receipt(id, eid, pb.ReceiptClass_RECEIPT_ACCEPTED, class == pb.ReceiptClass_RECEIPT_STORED, "")
	}
	l.receipt(id, eid, class, false, out.Code)
}

// receipt queues a Receipt, in one buffer with the one before it where that has room.
func (l *clientLink) receipt(id uint64, eid envelope.ID, class pb.ReceiptClass, durable bool, code string) {
	size := link.ReceiptSize(id, class, durable, code, 0)
	l.wmu.Lock()
	if !l.closed && !l.last {
		if t := l.out.tail(ws.HeaderSize(size) + size); t != nil {
			before := len(t.b)
			t.b = link.AppendReceipt(ws.AppendHeader(t.b, ws.Binary, size), id, eid[:], class, durable, code, 0)
			l.out.bytes += len(t.b) - before
			t.more++
			l.wmu.Unlock()
			return
		}
	}
	l.wmu.Unlock()
	buf := message(size)
	buf.b = link.AppendReceipt(buf.b, id, eid[:], class, durable, code, 0)
	l.push(buf)
}

func receiptOf(out federation.Outcome) pb.ReceiptClass {
	switch out.Fate {
	case envelopepb.Fate_FATE_DELIVERED:
		return pb.ReceiptClass_RECEIPT_DELIVERED
	case envelopepb.Fate_FATE_STORED:
		return pb.ReceiptClass_RECEIPT_STORED
	case envelopepb.Fate_FATE_EXPIRED:
		return pb.ReceiptClass_RECEIPT_EXPIRED
	}
	return pb.ReceiptClass_RECEIPT_REFUSED
}

// submitRemote hands an envelope to the federation, which keeps a copy: the read buffer is
// used again at once.
func (l *clientLink) submitRemote(id uint64, e *envelope.Envelope) {
	r := newRemote(l, id, e)
	if code := l.n.admitOut(e); code != "" {
		r.finish(refused(code))
		return
	}
	if !r.live {
		// It is on its way again: how an earlier try ended is no answer any more.
		if err := l.n.db.Withdraw(l.n.background, r.eid); err != nil {
			r.finish(l.n.storeFailed(err))
			return
		}
	}
	durable, err := l.n.fed.Send(e, r)
	if err != nil {
		r.finish(refused(federation.Code(err)))
		return
	}
	l.receipt(id, r.eid, pb.ReceiptClass_RECEIPT_ACCEPTED, durable, "")
	r.durable = durable
	r.came()
}

// remote is a Submit whose envelope went to another node. Its end may come before Send has
// returned; the client hears "accepted" first all the same. Whichever of the two comes last
// tells the client and gives the remote back.
type remote struct {
	l    *clientLink
	id   uint64
	eid  envelope.ID
	live bool
	// durable: the client may have left it to us.
	durable bool

	out   federation.Outcome // good when the end came
	state atomic.Uint32      // how many of the two have come
}

var remotePool = sync.Pool{New: func() any { return new(remote) }}

func newRemote(l *clientLink, id uint64, e *envelope.Envelope) *remote {
	r := remotePool.Get().(*remote)
	r.l, r.id, r.eid, r.live = l, id, e.ID(), e.TTL == envelope.Live
	return r
}

// Ended implements federation.Waiter.
func (r *remote) Ended(out federation.Outcome) {
	l := r.l
	r.out = out
	r.came()
	l.n.touch(l)
}

func (r *remote) came() {
	if r.state.Add(1) == 2 {
		r.finish(r.out)
	}
}

func (r *remote) finish(out federation.Outcome) {
	l := r.l
	l.n.metrics.countDelivery("remote", out)
	if r.durable && out.Fate != envelopepb.Fate_FATE_STORED {
		// The destination's node does not know it, and the client may be gone, or go before it
		// has read this.
		l.n.keepOutcome(r.eid, out)
	}
	l.receipt(r.id, r.eid, receiptOf(out), false, out.Code)
	if r.live { // the others may wait for days; accepted is their answer
		l.n.answering.Add(-1)
	}
	r.l, r.out, r.durable = nil, federation.Outcome{}, false
	r.state.Store(0)
	remotePool.Put(r)
}
