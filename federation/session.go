package federation

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/policy"
)

// Timers and bounds of a session.
const (
	pingEvery   = 2 * time.Second
	pingMisses  = 3
	writeTime   = 10 * time.Second // a peer that does not read for so long is dead or hostile
	writeSlack  = 2 * time.Second
	openTime    = 5 * time.Second // for the data streams to be there
	drainBack   = 2 * time.Second
	controlSlot = 64 // frames waiting for the control stream
)

var (
	errReplaced = errors.New("a newer session took its place")
	errDead     = errors.New("no answer to three pings")
	errStopped  = errors.New("stopped here")
	errSlow     = errors.New("the peer does not read")
	errClosed   = errors.New("closed by the other side")
)

// session is one live connection with one peer: a control stream and a data stream each way.
// It ends as a whole, for whatever reason any part of it ends.
type session struct {
	f          *Federation
	l          *link
	id         [16]byte
	domain     string
	dialled    bool // by us
	descriptor *identity.NodeDescriptor
	back       bool // say Back first: this process has just started

	control   network.Stream
	controlIn *wire.Reader
	toControl chan []byte
	dataIn    chan dataStream // the peer's data stream, at most one
	taken     atomic.Bool     // it was brought

	ready  chan struct{} // closed when the handshake is over and run has begun
	ended  chan struct{} // closed when run has returned
	ctx    context.Context
	cancel context.CancelCauseFunc

	out  *outbound
	in   *inbound
	ask  *asking
	echo *echo

	pinged, ponged atomic.Uint64
	farewell       atomic.Uint64 // the ping behind our Drain; 0: not said
	lastFrame      atomic.Int64  // Unix nanoseconds
	closing        atomic.Pointer[refusal]

	mu      sync.Mutex // guards all below
	goaway  bool       // the peer drains
	goaway2 time.Duration
	limits  [2]policy.Limits // in, out
}

func newSession(f *Federation, l *link, p *party, control network.Stream, in *wire.Reader, dialled bool, id [16]byte) *session {
	s := &session{
		f: f, l: l, id: id, domain: p.domain, dialled: dialled, descriptor: p.descriptor,
		control: control, controlIn: in, toControl: make(chan []byte, controlSlot),
		dataIn: make(chan dataStream, 1),
		ready:  make(chan struct{}), ended: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancelCause(f.ctx)
	s.out = newOutbound(s)
	s.in = newInbound(s)
	s.ask = &asking{}
	s.echo = &echo{key: p.probe}
	s.touch()
	return s
}

// credit is what the peer grants us.
func (s *session) credit(frames uint32, bytes uint64) { s.out.grant(frames, bytes) }

// end stops the session; run returns soon after. The first reason counts.
func (s *session) end(err error) { s.cancel(err) }

func (s *session) kickSender() { s.out.kick() }

// abandon ends a session that never ran.
func (s *session) abandon() {
	s.control.Reset()
	s.f.unregister(s)
	close(s.ended)
}

// sayDrain tells the peer that this node goes away, with a ping behind it: its pong says that
// the peer has heard, and the stream may be cut.
func (s *session) sayDrain() {
	s.say(&wire.Frame{Kind: wire.KindDrain, Millis: uint64(drainBack / time.Millisecond)})
	id := s.pinged.Add(1)
	s.farewell.Store(id)
	s.say(&wire.Frame{Kind: wire.KindPing, ID: id})
}

// busy says whether envelopes are on the way in either direction, or our Drain is.
func (s *session) busy() bool {
	if s.ctx.Err() != nil {
		return false
	}
	if s.ponged.Load() < s.farewell.Load() {
		return true
	}
	goaway := s.drained() // then nothing more leaves here before the peer is back
	s.l.mu.Lock()
	q := &s.l.queue
	out := s.l.session == s && (len(q.flight) > 0 || q.len() > 0 && !goaway)
	s.l.mu.Unlock()
	return out || !s.in.idle()
}

// allowed asks the policy whether the session may go on, and takes over its limits.
func (s *session) allowed() (policy.Decision, bool) {
	dir := policy.In
	if s.dialled {
		dir = policy.Out
	}
	d := s.f.decide(s.domain, policy.ActionFederate, dir)
	if !d.Allow {
		return d, false
	}
	// Each direction has its own limits where the policy allows it for itself; a link that was
	// allowed in one direction only keeps to that one's limits both ways.
	in, out := s.f.decide(s.domain, policy.ActionFederate, policy.In), s.f.decide(s.domain, policy.ActionFederate, policy.Out)
	if !in.Allow {
		in = d
	}
	if !out.Allow {
		out = d
	}
	s.mu.Lock()
	s.limits = [2]policy.Limits{in.Limits, out.Limits}
	s.mu.Unlock()
	return d, true
}

func (s *session) limit(dir policy.Direction) policy.Limits {
	s.mu.Lock()
	defer s.mu.Unlock()
	if dir == policy.In {
		return s.limits[0]
	}
	return s.limits[1]
}

// run carries the session until it ends. The caller has registered it; link.begin has made
// it the link's.
func (s *session) run() {
	defer close(s.ended)
	stop := context.AfterFunc(s.ctx, func() { s.control.Reset() })
	defer stop()
	if d, ok := s.allowed(); !ok { // the policy changed during the handshake
		s.end(&refusal{domain: s.domain, code: wire.CodePolicy, rule: d.Rule})
	}
	if err := s.control.SetReadDeadline(time.Time{}); err != nil {
		s.end(err)
	}
	s.controlIn.Max = wire.MaxControl
	s.f.host.ConnManager().Protect(s.l.id, "federation")
	close(s.ready)
	if s.back {
		s.say(&wire.Frame{Kind: wire.KindBack})
	}
	var wg sync.WaitGroup
	for _, part := range []func() error{
		s.controlReadLoop, s.controlWriteLoop, s.pingLoop, s.echoLoop, s.out.run, s.in.run,
	} {
		wg.Go(func() {
			if err := part(); err != nil {
				s.end(err)
			}
		})
	}
	wg.Wait()
	err := context.Cause(s.ctx)
	if r := s.closing.Load(); r != nil {
		err = r
	}
	s.control.Reset()
	s.f.unregister(s)
	s.ask.fail()
	var r *refusal
	if errors.As(err, &r) {
		s.f.refusals.add(s.f.cfg.Now(), r.domain, r.code, r.rule)
	}
	s.f.log.Info("link down", "domain", s.domain, "peer", s.l.peer.String(), "why", reason(err))
	s.l.over(s, err)
}

// say queues a frame for the control stream. A peer that lets the queue fill up is cut.
func (s *session) say(f *wire.Frame) {
	select {
	case s.toControl <- wire.Append(nil, f):
	default:
		s.end(errSlow)
	}
}

// refuse ends a running session with a code for the other side.
func (s *session) refuse(r *refusal) {
	if !s.closing.CompareAndSwap(nil, r) {
		return
	}
	frame := wire.Append(nil, &wire.Frame{Kind: wire.KindRefuse, Code: r.code, Millis: uint64(r.retry / time.Millisecond)})
	select {
	case s.toControl <- frame:
	default:
	}
	// The writer ends the session behind the frame; a writer that is stuck is not waited for.
	select {
	case s.toControl <- nil:
	default:
	}
	time.AfterFunc(time.Second, func() { s.end(r) })
}

func (s *session) controlWriteLoop() error {
	for {
		select {
		case <-s.ctx.Done():
			return nil
		case b := <-s.toControl:
			if b == nil {
				s.control.CloseWrite()
				continue
			}
			if err := s.control.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
				return err
			}
			if _, err := s.control.Write(b); err != nil {
				return err
			}
		}
	}
}

func (s *session) controlReadLoop() error {
	var f wire.Frame
	for {
		if err := s.controlIn.Next(&f); err != nil {
			if err == io.EOF {
				return errClosed
			}
			return err
		}
		s.touch()
		switch f.Kind {
		case wire.KindPing:
			s.say(&wire.Frame{Kind: wire.KindPong, ID: f.ID})
		case wire.KindPong:
			if f.ID > s.pinged.Load() {
				return errProtocol("a pong without a ping")
			}
			if f.ID > s.ponged.Load() {
				s.ponged.Store(f.ID)
			}
		case wire.KindQuery:
			s.answer(f.ID, f.Box)
		case wire.KindAnswer:
			if err := s.ask.answered(f.ID, f.Box, f.Code); err != nil {
				return err
			}
		case wire.KindDrain:
			s.mu.Lock()
			s.goaway, s.goaway2 = true, time.Duration(f.Millis)*time.Millisecond
			s.mu.Unlock()
		case wire.KindBack:
			s.mu.Lock()
			s.goaway = false
			s.mu.Unlock()
			s.f.backAgain(s.domain)
			s.out.kick()
		case wire.KindRefuse:
			return &refusedError{code: f.Code, retry: time.Duration(f.Millis) * time.Millisecond}
		default:
			return errProtocol("a frame that has no place on a control stream")
		}
	}
}

func (s *session) pingLoop() error {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return nil
		case <-tick.C:
		}
		if s.pinged.Load()-s.ponged.Load() >= pingMisses {
			return errDead
		}
		s.say(&wire.Frame{Kind: wire.KindPing, ID: s.pinged.Add(1)})
	}
}

// patience is how long a stream's peer may take to read what is written to it: writeTime, and
// up to writeSlack longer, so that the deadline is not set anew for each write.
type patience struct{ until time.Time }

func (p *patience) extend(st network.Stream) error {
	now := time.Now()
	if p.until.Sub(now) >= writeTime {
		return nil
	}
	p.until = now.Add(writeTime + writeSlack)
	return st.SetWriteDeadline(p.until)
}

func (s *session) touch() { s.lastFrame.Store(time.Now().UnixNano()) }

func (s *session) drained() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.goaway
}

func (s *session) backAfter() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.goaway2
}

// dataStream is a stream with the reader that has read its first frame, and may have read on.
type dataStream struct {
	st network.Stream
	in *wire.Reader
}

// bring hands over the peer's data stream, once.
func (s *session) bring(d dataStream) bool {
	select {
	case <-s.ready:
	case <-s.ctx.Done():
		return false
	case <-time.After(openTime):
		return false
	}
	if !s.taken.CompareAndSwap(false, true) {
		return false
	}
	s.dataIn <- d
	return true
}

// reason is a short word on why something ended, for logs and the administrator.
func reason(err error) string {
	var p *protocolError
	var r *refusal
	var remote *refusedError
	var timeout interface{ Timeout() bool }
	switch {
	case err == nil:
		return ""
	case errors.As(err, &p), errors.Is(err, wire.ErrMalformed), errors.Is(err, wire.ErrTooLarge):
		return "protocol"
	case errors.As(err, &r):
		return r.code
	case errors.As(err, &remote):
		return remote.code
	case errors.Is(err, errDead), errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, errReplaced):
		return "replaced"
	case errors.Is(err, errStopped), errors.Is(err, context.Canceled):
		return "stopped"
	case errors.Is(err, errSlow):
		return "slow"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errClosed), errors.Is(err, network.ErrReset):
		return "closed"
	}
	return "unreachable"
}
