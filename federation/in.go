package federation

import (
	"context"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/policy"
)

// lanes is how many envelopes of one session the Deliverer has at once. Those of one lane
// are given to it one after the other.
const lanes = 32

// inbound is the receiving half of a session. The read loop only reads: what came waits,
// within the credit, in the lanes, or before them while the domain's rate holds it back.
// Workers call the Deliverer for the lanes, and the ack loop reports in order. A slow
// Deliverer therefore costs credit and never blocks the reading.
type inbound struct {
	s     *session
	wake  chan struct{} // something waits for the rate
	acker chan struct{} // something can be reported
	key   string        // of the domain's bucket
	work  func()        // workLoop; a method value made for each go statement would allocate
	fresh []*parcel     // the read loop's
	sizes [2][]int64    // of payloads that ask the rate: the read loop's, the pace loop's

	mu       sync.Mutex // guards all below
	paced    int        // parcels that wait for the rate, also those in the pace loop's hands
	waiting  []*parcel
	received uint64 // the last sequence number read
	acked    uint64 // the last one reported
	held     uint64 // bytes of those between
	slots    []slot // of those between, by number modulo the window
	echoes   int    // echo requests in the queue
	lanes    [lanes]lane
	turn     int
	ready    [lanes]uint8 // a ring of lanes with something to do and no worker
	first, n int          // of ready
	workers  int
	starting bool // one of them has not looked for work yet
	flushing int  // how many will look again when they have flushed
	taken    int  // envelopes that the Deliverer has
}

type slot struct {
	size    int
	done    bool
	outcome Outcome
}

// lane is a queue of parcels. It is in ready or with a worker, or it is empty.
type lane struct {
	head, tail *parcel
	busy       bool
}

func newInbound(s *session) *inbound {
	in := &inbound{s: s, wake: make(chan struct{}, 1), acker: make(chan struct{}, 1), key: "in/" + s.domain,
		slots: make([]slot, s.f.cfg.WindowFrames)}
	in.work = in.workLoop
	return in
}

func (in *inbound) run() error {
	var d dataStream
	select {
	case d = <-in.s.dataIn:
	case <-time.After(2 * openTime):
		return errProtocol("no data stream")
	case <-in.s.ctx.Done():
		return nil
	}
	st := d.st
	stop := context.AfterFunc(in.s.ctx, func() { st.Reset() })
	defer stop()
	defer st.Reset()
	if err := st.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for _, part := range []func() error{func() error { return in.readLoop(d.in) }, in.paceLoop, func() error { return in.ackLoop(st) }} {
		wg.Go(func() {
			if err := part(); err != nil {
				in.s.end(err)
			}
		})
	}
	wg.Wait()
	return nil
}

func (in *inbound) readLoop(r *wire.Reader) error {
	r.Max = wire.MaxData
	var f wire.Frame
	for {
		if err := r.Next(&f); err != nil {
			if err == io.EOF {
				return errClosed
			}
			return err
		}
		in.s.touch()
		switch f.Kind {
		case wire.KindBatch:
			if err := in.batch(&f); err != nil {
				return err
			}
		case wire.KindEcho:
			if err := in.echo(&f); err != nil {
				return err
			}
		default:
			return errProtocol("a frame that has no place on a data stream")
		}
	}
}

// batch takes a Batch. Numbers without a gap and within the credit, or the link is cut: an
// honest peer knows both.
func (in *inbound) batch(f *wire.Frame) error {
	in.fresh = in.fresh[:0]
	for _, raw := range f.Envelopes {
		in.fresh = append(in.fresh, in.open(raw))
	}
	pass := in.passing()
	in.mu.Lock()
	err := in.takeLocked(f, pass)
	start := in.startLocked()
	wake := in.paced > 0
	in.mu.Unlock()
	clear(in.fresh) // they are the lanes' now
	if start {
		go in.work()
	}
	if wake {
		signal(in.wake)
	}
	return err
}

// open reads one envelope into a parcel that shares nothing with raw. A broken one, or one
// for somebody else, comes back with a code.
func (in *inbound) open(raw []byte) *parcel {
	var view envelope.Envelope
	err := envelope.View(raw, &view)
	if err == nil && view.Destination == in.s.f.self {
		p := newParcel(in, &view)
		p.mark = markOf(in.s.l.seed, raw)
		return p
	}
	p := &parcel{in: in, code: "unknown_destination"}
	if err == nil {
		_, err = identity.PeerIDFromBytes(view.Destination[:])
	}
	if err != nil {
		p.code = "bad_frame"
	}
	return p
}

// passing says how many of the fresh parcels the rate lets through now. None does while
// others wait: only the read loop adds to those.
func (in *inbound) passing() int {
	limits := in.s.limit(policy.In)
	in.mu.Lock()
	paced := in.paced
	in.mu.Unlock()
	if paced > 0 {
		return 0
	}
	n, _ := in.pass(in.fresh, limits, &in.sizes[0])
	return n
}

// takeLocked gives the fresh parcels their numbers. The first pass of them go into the lanes,
// the others wait for the rate.
func (in *inbound) takeLocked(f *wire.Frame, pass int) error {
	if f.First != in.received+1 {
		return errProtocol("a batch out of order")
	}
	for i, p := range in.fresh {
		size := len(f.Envelopes[i])
		p.seq = in.received + 1
		if p.seq-in.acked > uint64(len(in.slots)) || in.held+uint64(size) > in.s.f.cfg.WindowBytes {
			return errProtocol("more than the credit")
		}
		in.received = p.seq
		in.held += uint64(size)
		in.slots[p.seq%uint64(len(in.slots))] = slot{size: size}
		if p.code != "" {
			// A broken envelope is its sender's fault and ends alone; the link goes on.
			in.doneLocked(p.seq, Outcome{Fate: envelopepb.Fate_FATE_REFUSED, Code: p.code})
			continue
		}
		in.admitLocked(p, i < pass)
	}
	return nil
}

func (in *inbound) echo(f *wire.Frame) error {
	if f.Reply {
		return in.s.echo.returned(in.s, f.ID, f.Box)
	}
	in.mu.Lock()
	if in.echoes > 0 {
		in.mu.Unlock()
		return errProtocol("a second echo before the first came back")
	}
	in.echoes++
	in.admitLocked(&parcel{in: in, echo: f.ID, box: append([]byte(nil), f.Box...)}, in.paced == 0)
	start := in.startLocked()
	in.mu.Unlock()
	if start {
		go in.work()
	}
	signal(in.wake)
	return nil
}

// admitLocked lets a parcel into its lane, or wait for the rate.
func (in *inbound) admitLocked(p *parcel, pass bool) {
	if pass {
		in.enterLocked(p)
		return
	}
	in.paced++
	in.waiting = append(in.waiting, p)
}

// paceLoop lets what waits into the lanes no faster than the policy lets this domain send.
// Waiting here holds back acknowledgements and with them the peer's credit, so a peer that
// is too fast is slowed and loses nothing.
func (in *inbound) paceLoop() error {
	var hand []*parcel
	for {
		in.mu.Lock()
		hand, in.waiting = in.waiting, hand[:0]
		in.mu.Unlock()
		if len(hand) == 0 {
			select {
			case <-in.wake:
				continue
			case <-in.s.ctx.Done():
				return nil
			}
		}
		for i := 0; i < len(hand); {
			// As many as pass now go in together.
			limits := in.s.limit(policy.In)
			n, wait := in.pass(hand[i:], limits, &in.sizes[1])
			in.mu.Lock()
			for _, p := range hand[i : i+n] {
				in.enterLocked(p)
			}
			in.paced -= n
			start := in.startLocked()
			in.mu.Unlock()
			if start {
				go in.work()
			}
			if i += n; i < len(hand) && !pause(in.s.ctx, wait) {
				return nil
			}
		}
		clear(hand)
	}
}

// pass says how many of the parcels the rate lets through now, and after how long it is
// worth asking again. Echoes and what is not delivered go along with those before them.
func (in *inbound) pass(hand []*parcel, limits policy.Limits, sizes *[]int64) (n int, wait time.Duration) {
	ask := (*sizes)[:0]
	for _, p := range hand {
		if p.asks() {
			ask = append(ask, int64(len(p.e.Payload)))
		}
	}
	*sizes = ask
	ok, wait := in.s.f.buckets.TakeEach(time.Now(), in.key, limits, ask)
	for _, p := range hand {
		if p.asks() {
			if ok == 0 {
				break
			}
			ok--
		}
		n++
	}
	return n, wait
}

// enterLocked puts a parcel into its lane. The frames of one session begin with the same
// handle and stay in order; sealed messages have no such thing and spread out.
func (in *inbound) enterLocked(p *parcel) {
	n := in.turn % lanes
	handle, sealed := envelope.Handle{}, true
	if p.echo == 0 {
		handle, sealed = envelope.PayloadHandle(p.e.Payload)
	}
	if sealed {
		in.turn++
	} else {
		n = int(handle[0]) % lanes // a handle is random
	}
	l := &in.lanes[n]
	if l.head == nil {
		l.head = p
	} else {
		l.tail.next = p
	}
	l.tail = p
	if !l.busy {
		l.busy = true
		in.readyLocked(n)
	}
}

func (in *inbound) readyLocked(n int) {
	in.ready[(in.first+in.n)%lanes] = uint8(n)
	in.n++
}

// startLocked says whether the caller has to start a worker. One at a time: a worker that
// finds more than it can do starts the next, so there are as many as are stuck in the
// Deliverer or run at once, and not as many as there are lanes. The caller is counted in what
// Run waits for, which is why the count can go up.
func (in *inbound) startLocked() bool {
	if in.n == 0 || in.taken == lanes || in.starting || in.workers == lanes {
		return false
	}
	in.starting = true
	in.workers++
	in.s.f.wg.Add(1)
	return true
}

// workLoop works lanes off, one parcel of each in turn, until nothing is left. It belongs to
// the federation and not to the session: a delivery that began is finished and remembered,
// so that the retry over the next session finds it.
func (in *inbound) workLoop() {
	defer in.s.f.wg.Done()
	in.mu.Lock()
	defer in.mu.Unlock()
	in.starting = false
	for in.givenLocked() {
		in.flushing++
		in.mu.Unlock()
		in.s.f.taker.Flush()
		in.mu.Lock()
		in.flushing--
	}
	in.workers--
}

// givenLocked gives the Deliverer what may be given to it before a flush, and says whether
// that was anything. It is called with mu held and lets go of it meanwhile.
func (in *inbound) givenLocked() bool {
	given := 0
	for in.n > 0 && in.taken < lanes && given < lanes && in.s.ctx.Err() == nil {
		n := int(in.ready[in.first])
		in.first, in.n = (in.first+1)%lanes, in.n-1
		l := &in.lanes[n]
		p := l.head
		l.head, p.next = p.next, nil
		if in.taken++; in.taken == 1 {
			in.s.f.wg.Add(1) // Run waits until all have ended
		}
		start := in.startLocked()
		in.mu.Unlock()
		if start {
			go in.work()
		}
		p.give()
		given++
		in.mu.Lock()
		if l.head == nil {
			l.busy = false
		} else {
			in.readyLocked(n)
		}
	}
	return given > 0
}

// end notes how a parcel ended that the Deliverer had.
func (in *inbound) end(p *parcel, o Outcome) {
	in.mu.Lock()
	if p.echo != 0 {
		in.echoes--
	} else {
		in.doneLocked(p.seq, o)
	}
	in.taken--
	last := in.taken == 0
	// Who flushes looks for more by itself.
	start := in.flushing == 0 && in.startLocked()
	in.mu.Unlock()
	if start {
		go in.work()
	}
	if last {
		in.s.f.wg.Done()
	}
}

// checked makes an outcome one that can stand on the wire.
func checked(o Outcome) Outcome {
	switch o.Fate {
	case envelopepb.Fate_FATE_DELIVERED, envelopepb.Fate_FATE_STORED, envelopepb.Fate_FATE_EXPIRED:
		return Outcome{Fate: o.Fate}
	case envelopepb.Fate_FATE_REFUSED:
		if wire.CheckCode(o.Code) {
			return o
		}
	}
	return Outcome{Fate: envelopepb.Fate_FATE_REFUSED, Code: wire.CodeInternal}
}

// doneLocked notes how a number ended. What can be reported begins with the first that has
// not been, so only that one wakes the ack loop.
func (in *inbound) doneLocked(seq uint64, o Outcome) {
	s := &in.slots[seq%uint64(len(in.slots))]
	s.done, s.outcome = true, o
	if seq == in.acked+1 {
		signal(in.acker)
	}
}

// ackLoop reports outcomes in the order of the numbers, as many at a time as there are.
func (in *inbound) ackLoop(st network.Stream) error {
	frame := wire.Frame{Kind: wire.KindAck}
	var buf []byte
	var patience patience
	for {
		select {
		case <-in.s.ctx.Done():
			return nil
		case <-in.acker:
		}
		// Whoever is ready to run may finish more: an Ack for each envelope would cost more
		// than the envelope.
		runtime.Gosched()
		for in.gather(&frame.Ack) {
			buf = wire.Append(buf[:0], &frame)
			if err := patience.extend(st); err != nil {
				return err
			}
			if _, err := st.Write(buf); err != nil {
				return err
			}
		}
	}
}

// gather collects the finished envelopes after the last reported one, as runs.
func (in *inbound) gather(a *wire.Ack) bool {
	a.Outcomes = a.Outcomes[:0]
	a.CreditFrames, a.CreditBytes = in.s.f.cfg.WindowFrames, in.s.f.cfg.WindowBytes
	in.mu.Lock()
	defer in.mu.Unlock()
	for in.acked < in.received && len(a.Outcomes) < wire.MaxRuns {
		s := &in.slots[(in.acked+1)%uint64(len(in.slots))]
		if !s.done {
			break
		}
		in.acked++
		in.held -= uint64(s.size)
		if n := len(a.Outcomes); n > 0 && a.Outcomes[n-1].Fate == uint32(s.outcome.Fate) && a.Outcomes[n-1].Code == s.outcome.Code {
			a.Outcomes[n-1].Count++
		} else {
			a.Outcomes = append(a.Outcomes, wire.Outcome{Fate: uint32(s.outcome.Fate), Code: s.outcome.Code, Count: 1})
		}
		*s = slot{}
	}
	a.Through = in.acked
	return len(a.Outcomes) > 0
}

// idle says whether everything that came has been reported.
func (in *inbound) idle() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.acked == in.received
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
