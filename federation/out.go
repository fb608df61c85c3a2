package federation

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"

	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/policy"
)

// One batch is one write. With its numbers and lengths it fits into one record of the
// encrypted connection (Noise: 65,519 bytes, of which the multiplexer takes 12), so that no
// small rest costs a record and a system call of its own. An envelope that is larger goes
// alone.
const (
	batchItems = 64
	batchBytes = 64<<10 - 512
)

// outbound is the sending half of a session: envelopes from the link's queue on our data
// stream, acknowledgements on its way back.
type outbound struct {
	s      *session
	wake   chan struct{}
	echoes chan []byte // encoded Echo frames, before any envelope

	patience patience // of the send loop
	key      string   // of the domain's bucket

	mu           sync.Mutex // guards all below
	creditFrames int
	creditBytes  uint64
	sent, acked  uint64
}

func newOutbound(s *session) *outbound {
	return &outbound{s: s, key: "out/" + s.domain, wake: make(chan struct{}, 1), echoes: make(chan []byte, 2)}
}

func (o *outbound) kick() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbound) grant(frames uint32, bytes uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.creditFrames, o.creditBytes = int(frames), bytes
}

func (o *outbound) run() error {
	ctx, cancel := context.WithTimeout(o.s.ctx, openTime)
	st, err := o.s.f.host.NewStream(network.WithNoDial(ctx, "session"), o.s.l.id, protocol.ID(wire.Protocol))
	cancel()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(o.s.ctx, func() { st.Reset() })
	defer stop()
	defer st.Reset()
	if err := writeFrame(st, &wire.Frame{Kind: wire.KindOpen, Session: o.s.id[:]}); err != nil {
		return err
	}
	ackErr := make(chan error, 1)
	go func() { ackErr <- o.ackLoop(st) }()
	err = o.sendLoop(st)
	if err != nil {
		o.s.end(err) // stops the ack loop too
	}
	return errors.Join(err, <-ackErr)
}

// sendLoop writes what may be written: echoes first, then envelopes within the peer's credit
// and our own rate.
func (o *outbound) sendLoop(st network.Stream) error {
	var frame wire.Frame
	var buf []byte
	var batch, expired []*item
	next := uint64(1)
	o.kick()
	for {
		select {
		case <-o.s.ctx.Done():
			return nil
		case b := <-o.echoes:
			if err := o.write(st, b); err != nil {
				return err
			}
			continue
		case <-o.wake:
		}
		for o.s.ctx.Err() == nil && !o.s.drained() {
			limits := o.s.limit(policy.Out)
			batch, expired = o.fill(limits, batch[:0], expired[:0])
			o.s.l.finish(expired, Outcome{Fate: envelopepb.Fate_FATE_EXPIRED})
			if len(batch) == 0 {
				if len(expired) > 0 {
					continue
				}
				break
			}
			if batch = o.pace(limits, batch); len(batch) == 0 {
				continue // the session ended and the queue has it again, or all of it expired
			}
			frame.Kind, frame.First, frame.Envelopes = wire.KindBatch, next, frame.Envelopes[:0]
			for _, it := range batch {
				it.sent = true
				frame.Envelopes = append(frame.Envelopes, it.raw)
			}
			buf = wire.Append(buf[:0], &frame)
			// From here on the peer may say how they ended, true or not: the items are no
			// longer this loop's.
			next += uint64(len(batch))
			o.mu.Lock()
			o.sent = next - 1
			o.mu.Unlock()
			if err := o.write(st, buf); err != nil {
				return err
			}
			select {
			case b := <-o.echoes:
				if err := o.write(st, b); err != nil {
					return err
				}
			default:
			}
		}
	}
}

// pace waits until our own rate lets the batch pass. A low rate can take longer than an
// envelope may wait: what expires meanwhile ends here and is not sent. Nothing is left when
// the session ends first.
func (o *outbound) pace(limits policy.Limits, batch []*item) []*item {
	l := o.s.l
	for len(batch) > 0 {
		var size int64
		end := batch[0].expires
		for _, it := range batch {
			size += int64(len(it.raw))
			if it.expires.Before(end) {
				end = it.expires
			}
		}
		ok, after := l.f.buckets.Take(time.Now(), o.key, limits, len(batch), size)
		if o.s.ctx.Err() != nil {
			return nil
		}
		if ok {
			return batch
		}
		ctx, cancel := context.WithTimeout(o.s.ctx, end.Sub(l.f.cfg.Now()))
		ok = pause(ctx, after)
		cancel()
		if ok || o.s.ctx.Err() != nil {
			continue
		}
		var expired []*item
		l.mu.Lock()
		batch, expired = l.queue.lapse(l.f.cfg.Now(), batch)
		l.mu.Unlock()
		l.finish(expired, Outcome{Fate: envelopepb.Fate_FATE_EXPIRED})
	}
	return nil
}

func (o *outbound) fill(limits policy.Limits, batch, expired []*item) (_, _ []*item) {
	// No batch is larger than what a bucket holds: a larger one passes when the bucket is full.
	frames, size := batchItems, uint64(batchBytes)
	if limits.PerSecond > 0 {
		frames = min(frames, max(1, int(limits.PerSecond)))
	}
	if limits.Total > 0 {
		frames = int(min(int64(frames), limits.Total))
	}
	if limits.BytesPerSecond > 0 {
		size = min(size, uint64(limits.BytesPerSecond))
	}
	l := o.s.l
	o.mu.Lock()
	credit, bytes := o.creditFrames, o.creditBytes
	o.mu.Unlock()
	l.mu.Lock()
	frames = min(frames, credit-len(l.queue.flight))
	room := bytes - min(bytes, l.queue.flightBytes)
	batch, expired = l.queue.take(l.f.cfg.Now(), frames, room, size, batch, expired)
	if len(batch) > 0 {
		l.lastUsed = time.Now()
	}
	more := l.queue.unread > 0 && l.queue.stored < readAhead/2
	l.mu.Unlock()
	if more {
		l.f.feeder.want(l)
	}
	return batch, expired
}

func (o *outbound) write(st network.Stream, b []byte) error {
	if err := o.patience.extend(st); err != nil {
		return err
	}
	_, err := st.Write(b)
	return err
}

// ackLoop reads how the envelopes ended.
func (o *outbound) ackLoop(st network.Stream) error {
	in := wire.NewReader(st, wire.MaxAckFrame)
	var f wire.Frame
	var items []*item
	var outcomes []Outcome
	for {
		if err := in.Next(&f); err != nil {
			o.s.end(err)
			if err == io.EOF {
				return errClosed
			}
			return err
		}
		o.s.touch()
		if f.Kind != wire.KindAck {
			return o.fail("a frame that is no Ack on the way back")
		}
		var err error
		if outcomes, err = o.check(&f.Ack, outcomes[:0]); err != nil {
			o.s.end(err)
			return err
		}
		l := o.s.l
		l.mu.Lock()
		items = l.queue.acked(len(outcomes), items[:0])
		l.mu.Unlock()
		o.kick()
		l.finishEach(items, outcomes)
		clear(items)
	}
}

func (o *outbound) fail(what string) error {
	err := errProtocol(what)
	o.s.end(err)
	return err
}

// check holds an Ack against what was sent: it goes forward, no further than what was sent,
// and has exactly one known outcome for each number it covers.
func (o *outbound) check(a *wire.Ack, outcomes []Outcome) ([]Outcome, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a.Through <= o.acked || a.Through > o.sent {
		return nil, errProtocol("an Ack for what was not sent or is acknowledged already")
	}
	covered := a.Through - o.acked
	for _, r := range a.Outcomes {
		fate := envelopepb.Fate(r.Fate)
		switch fate {
		case envelopepb.Fate_FATE_DELIVERED, envelopepb.Fate_FATE_STORED, envelopepb.Fate_FATE_EXPIRED:
			if r.Code != "" {
				return nil, errProtocol("an outcome with a code it cannot have")
			}
		case envelopepb.Fate_FATE_REFUSED:
			if r.Code == "" {
				return nil, errProtocol("a refusal without a code")
			}
		default:
			return nil, errProtocol("an outcome that is not known")
		}
		if uint64(len(outcomes))+uint64(r.Count) > covered {
			return nil, errProtocol("more outcomes than envelopes")
		}
		for range r.Count {
			outcomes = append(outcomes, Outcome{Fate: fate, Code: r.Code})
		}
	}
	if uint64(len(outcomes)) != covered {
		return nil, errProtocol("fewer outcomes than envelopes")
	}
	o.acked = a.Through
	o.creditFrames, o.creditBytes = int(a.CreditFrames), a.CreditBytes
	return outcomes, nil
}
