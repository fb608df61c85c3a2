package federation

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/policy"
)

// lanes is how many envelopes of one session the Deliverer has at once. Those of one lane
// follow each other; an idle lane has no goroutine.
const lanes = 32

// inbound is the receiving half of a session. The read loop only reads: what came waits in a
// queue that the credit bounds, a dispatcher paces it and gives it to the lanes, the lanes
// call the Deliverer, and the ack loop reports in order. A slow Deliverer therefore costs
// credit and never blocks the reading.
type inbound struct {
	s     *session
	wake  chan struct{} // something came
	acker chan struct{} // something is done

	mu       sync.Mutex // guards all below
	waiting  []arrived
	received uint64 // the last sequence number read
	acked    uint64 // the last one reported
	held     uint64 // bytes of those between
	slots    []slot // of those between, by number modulo the window
	echoes   int    // echo requests in the queue
	lanes    [lanes]lane
	turn     int
}

// arrived is an envelope with its number, or an echo (e is nil).
type arrived struct {
	seq    uint64
	e      *envelope.Envelope
	echoID uint64
	echo   []byte
}

type slot struct {
	size    int
	done    bool
	outcome Outcome
}

type lane struct {
	queue   []arrived
	running bool
}

func newInbound(s *session) *inbound {
	return &inbound{s: s, wake: make(chan struct{}, 1), acker: make(chan struct{}, 1),
		slots: make([]slot, s.f.cfg.WindowFrames)}
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
	for _, part := range []func() error{func() error { return in.readLoop(d.in) }, in.dispatchLoop, func() error { return in.ackLoop(st) }} {
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
		signal(in.wake)
	}
}

// batch takes a Batch into the queue. Numbers without a gap and within the credit, or the
// link is cut: an honest peer knows both.
func (in *inbound) batch(f *wire.Frame) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if f.First != in.received+1 {
		return errProtocol("a batch out of order")
	}
	for _, raw := range f.Envelopes {
		seq := in.received + 1
		if seq-in.acked > uint64(len(in.slots)) || in.held+uint64(len(raw)) > in.s.f.cfg.WindowBytes {
			return errProtocol("more than the credit")
		}
		in.received = seq
		in.held += uint64(len(raw))
		in.slots[seq%uint64(len(in.slots))] = slot{size: len(raw)}
		e, err := envelope.Parse(raw)
		if err != nil || e.Destination != in.s.f.self {
			// A broken envelope is its sender's fault and ends alone; the link goes on.
			in.doneLocked(seq, Outcome{Fate: envelopepb.Fate_FATE_REFUSED, Code: badEnvelope(err)})
			continue
		}
		in.waiting = append(in.waiting, arrived{seq: seq, e: e})
	}
	return nil
}

func badEnvelope(err error) string {
	if err != nil {
		return "bad_frame"
	}
	return "unknown_destination"
}

func (in *inbound) echo(f *wire.Frame) error {
	if f.Reply {
		return in.s.echo.returned(in.s, f.ID, f.Box)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.echoes > 0 {
		return errProtocol("a second echo before the first came back")
	}
	in.echoes++
	in.waiting = append(in.waiting, arrived{echoID: f.ID, echo: append([]byte(nil), f.Box...)})
	return nil
}

// dispatchLoop gives what came to the lanes, no faster than the policy lets this domain send.
// Waiting here holds back acknowledgements and with them the peer's credit, so a peer that
// is too fast is slowed and loses nothing.
func (in *inbound) dispatchLoop() error {
	for {
		in.mu.Lock()
		var next arrived
		some := len(in.waiting) > 0
		if some {
			next = in.waiting[0]
			in.waiting[0] = arrived{}
			in.waiting = in.waiting[1:]
		} else {
			in.waiting = nil
		}
		in.mu.Unlock()
		if !some {
			select {
			case <-in.wake:
				continue
			case <-in.s.ctx.Done():
				return nil
			}
		}
		if next.e != nil {
			if err := in.s.f.pace(in.s.ctx, "in/"+in.s.domain, in.s.limit(policy.In), 1, int64(len(next.e.Payload))); err != nil {
				return nil
			}
		}
		in.enter(next)
	}
}

// enter puts an arrival into its lane. The frames of one session begin with the same handle
// and stay in order; sealed messages have no such thing and spread out.
func (in *inbound) enter(a arrived) {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := in.turn % lanes
	handle, sealed := envelope.Handle{}, true
	if a.e != nil {
		handle, sealed = envelope.PayloadHandle(a.e.Payload)
	}
	if sealed {
		in.turn++
	} else {
		n = int(handle[0]) % lanes // a handle is random
	}
	l := &in.lanes[n]
	l.queue = append(l.queue, a)
	if !l.running {
		l.running = in.s.f.goWith(func() { in.drive(l) })
	}
}

// drive works a lane off. It belongs to the federation and not to the session: a delivery
// that began is finished and remembered, so that the retry over the next session finds it.
func (in *inbound) drive(l *lane) {
	for {
		in.mu.Lock()
		if len(l.queue) == 0 || in.s.ctx.Err() != nil {
			l.queue, l.running = nil, false
			in.mu.Unlock()
			return
		}
		a := l.queue[0]
		l.queue[0] = arrived{}
		l.queue = l.queue[1:]
		in.mu.Unlock()
		if a.e == nil {
			in.s.reflect(a.echoID, a.echo)
			in.mu.Lock()
			in.echoes--
			in.mu.Unlock()
			continue
		}
		if o, ok := in.deliver(a.e); ok {
			in.mu.Lock()
			in.doneLocked(a.seq, o)
			in.mu.Unlock()
		}
	}
}

// deliver gives an envelope to the Deliverer once, however often it arrives. It says no when
// the session ended while another session's delivery of the same envelope goes on.
func (in *inbound) deliver(e *envelope.Envelope) (Outcome, bool) {
	seen := &in.s.l.seen
	id := e.ID()
	d, first := seen.begin(id)
	if first {
		o := in.s.f.cfg.Deliverer.Deliver(in.s.f.ctx, Source{Peer: in.s.l.peer, Domain: in.s.domain}, e)
		seen.finish(id, d, checked(o))
	}
	select {
	case <-d.done:
		return d.outcome, true
	case <-in.s.ctx.Done():
		return Outcome{}, false
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

func (in *inbound) doneLocked(seq uint64, o Outcome) {
	s := &in.slots[seq%uint64(len(in.slots))]
	s.done, s.outcome = true, o
	signal(in.acker)
}

// ackLoop reports outcomes in the order of the numbers, as many at a time as there are.
func (in *inbound) ackLoop(st network.Stream) error {
	frame := wire.Frame{Kind: wire.KindAck}
	var buf []byte
	for {
		select {
		case <-in.s.ctx.Done():
			return nil
		case <-in.acker:
		}
		for in.gather(&frame.Ack) {
			buf = wire.Append(buf[:0], &frame)
			if err := st.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
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
