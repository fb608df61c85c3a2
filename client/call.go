package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/client/transfer"
	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// CallOptions say how this side takes part in a call.
type CallOptions struct {
	// RelayOnly hides this side's addresses from the other: only the own node's relay is
	// used and offered.
	RelayOnly bool
	// Media is what the call is for; an answer takes the caller's.
	Media Media
	// Source is what this side sends; nil: nothing. Source and Sink belong to the call, which
	// closes them whatever becomes of it.
	Source *Source
	// Sink gets what the other side sends; nil: it is counted and dropped.
	Sink Sink
	// Files receives files; nil: offered files are refused.
	Files *FileOptions
	// Notes gets what the other side writes in a call without a node.
	Notes func(rtc.Note)
}

// Media is what a call is for.
type Media = envelopepb.Media

// Kinds of calls.
const (
	DataOnly = envelopepb.Media_MEDIA_UNSPECIFIED
	Audio    = envelopepb.Media_MEDIA_AUDIO
	Video    = envelopepb.Media_MEDIA_VIDEO
)

// Call is one ring and what came of it, from the first envelope to the end. One goroutine
// drives it: everything that happens is an event in its channel, and the state machine of
// docs/spec/session.md says what to do.
type Call struct {
	c       *Client
	contact keep.Contact
	opts    CallOptions
	kind    Media // opts.Media at the beginning; never changes
	machine machine
	began   time.Time

	events chan callEvent // what the network can cause; bounded, more is dropped
	frames chan []byte    // the same, for session frames

	pathChanged chan struct{} // a hint to pathLoop
	pathLost    chan struct{} // the same: the other side has no path

	answered chan struct{} // closed when a session exists
	bound    chan struct{} // closed when the channel binding is verified both ways
	done     chan struct{} // closed when everything of the call has ended

	card  *rtc.CardLink                  // a call that two cards made: frames go over it
	rings map[identity.DeviceID]*outRing // caller: one for each device; complete before the driver starts
	ring  *envelope.Opened               // callee: set before the driver starts

	// Of the driving goroutine alone.
	payload   []byte // caller: the first frame; callee: the answer
	parts     sync.WaitGroup
	stop      context.CancelFunc
	forget    *time.Timer
	unreached error // caller: why the last device was not reached
	parting   bool  // it ended as calls do, with a goodbye

	// Set once by the driver before answered is closed.
	session *envelope.Session
	hops    sharedHop // of the session's frames

	mu         sync.Mutex // guards the rest
	err        error
	urgent     []callEvent // what happened here; bounded by what there is to happen
	poked      chan struct{}
	answering  bool   // Answer was called
	generation uint32 // the newest of the other side's descriptions
	offered    uint32 // the newest of ours that asked for a new path
	ended      bool
	instead    *Call // glare: the other side's ring that took this one's place
	peer       *rtc.Peer
	engine     *transfer.Engine
	media      *mediaFlow
	turns      []*pb.TurnCredentials // newest last
	connected  time.Time
	route      rtc.Route
	code       string
	texts      []string // descriptions and candidates of both sides, see Secrets
	described  bool     // the other side's description is in
	early      []rtc.Candidate
	sending    func(transfer.Progress) // who wants to know how far our file is
}

type machine interface {
	Handle(now time.Time, e envelope.CallEvent) []envelope.CallAction
	Deadline() time.Time
	State() envelope.CallState
}

// callEvent is an event of the machine with what belongs to it.
type callEvent struct {
	envelope.CallEvent
	session *envelope.Session // CallAccepted
	err     error             // CallFailed, CallAlarm, CallUnreachable
	leaving bool              // the client ends: nobody says no, and who was called goodbye
}

const (
	// callEvents is how many frames may wait: both sides send a description and a few dozen
	// candidates. What comes beyond is dropped; a call that depends on it fails and says so.
	callEvents = 256
	// maxUrgent is far more than can happen to one call at once on this side.
	maxUrgent = 64
)

func (c *Client) newCall(contact keep.Contact, opts CallOptions) *Call {
	return &Call{
		c: c, contact: contact, opts: opts, kind: opts.Media, began: time.Now(),
		events: make(chan callEvent, callEvents), frames: make(chan []byte, callEvents),
		poked: make(chan struct{}, 1), rings: make(map[identity.DeviceID]*outRing),
		pathChanged: make(chan struct{}, 1), pathLost: make(chan struct{}, 1), answered: make(chan struct{}), bound: make(chan struct{}), done: make(chan struct{}),
	}
}

// tell hands the driver an event that others can repeat at will: at the bound it is dropped.
func (call *Call) tell(e callEvent) {
	select {
	case call.events <- e:
	default:
		call.c.log.Warn("a call's event was dropped: too many at once")
	}
}

// urge hands the driver an event that must not be dropped, whatever the network sends.
func (call *Call) urge(e callEvent) {
	call.mu.Lock()
	if len(call.urgent) < maxUrgent {
		call.urgent = append(call.urgent, e)
	}
	call.mu.Unlock()
	select {
	case call.poked <- struct{}{}:
	default:
	}
}

// urged takes the oldest urgent event.
func (call *Call) urged() (e callEvent, ok bool) {
	call.mu.Lock()
	defer call.mu.Unlock()
	if len(call.urgent) == 0 {
		return e, false
	}
	e, call.urgent = call.urgent[0], call.urgent[1:]
	return e, true
}

func (call *Call) happened(kind envelope.CallEventKind) {
	call.urge(callEvent{CallEvent: envelope.CallEvent{Kind: kind}})
}

// fail ends the call. That the connection is closed is never the reason: openConnection waits for that.
func (call *Call) fail(err error) {
	if !errors.Is(err, rtc.ErrClosed) {
		call.urge(callEvent{CallEvent: failure(err), err: err})
	}
}

// failure is what an error means to the machine. An alarm is told to the other side.
func failure(err error) envelope.CallEvent {
	if errors.Is(err, ErrVerification) {
		return envelope.CallEvent{Kind: envelope.CallAlarm}
	}
	return envelope.CallEvent{Kind: envelope.CallFailed}
}

// drive runs the machine until it has ended and nothing of the call is left.
func (call *Call) drive(ctx context.Context, first []envelope.CallAction) {
	ctx, call.stop = context.WithCancel(ctx)
	defer close(call.done)
	defer call.c.calls.leave(call)
	call.doAll(ctx, first, callEvent{})
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for call.machine.State() != envelope.CallEnded {
		if e, ok := call.urged(); ok {
			call.handle(ctx, e)
			continue
		}
		timer.Reset(untilDeadline(call.machine.Deadline()))
		select {
		case <-call.poked:
		case frame := <-call.frames:
			call.onFrame(ctx, frame)
		case e := <-call.events:
			call.handle(ctx, e)
		case <-timer.C:
			call.handle(ctx, callEvent{CallEvent: envelope.CallEvent{Kind: envelope.CallTick}})
		case <-ctx.Done():
			call.handle(ctx, callEvent{leaving: true})
		}
	}
	call.closeDown()
}

func (call *Call) handle(ctx context.Context, e callEvent) {
	if e.leaving {
		e.Kind = envelope.CallHangup
		if call.ring != nil && call.machine.State() == envelope.CallRinging {
			e.Kind = envelope.CallFailed // not a DECLINE: nobody said no
		}
	}
	switch {
	case e.Kind == envelope.CallUnreachable:
		call.unreached = e.err // counts if no other device can be reached either
	case e.err != nil:
		call.setErr(e.err)
	}
	call.doAll(ctx, call.machine.Handle(time.Now(), e.CallEvent), e)
}

// untilDeadline is how long to wait; without a deadline, long.
func untilDeadline(t time.Time) time.Duration {
	if t.IsZero() {
		return time.Hour
	}
	return max(time.Until(t), 0)
}

func (call *Call) doAll(ctx context.Context, actions []envelope.CallAction, e callEvent) {
	for _, a := range actions {
		if err := call.do(ctx, a, e); err != nil {
			call.setErr(err)
			call.doAll(ctx, call.machine.Handle(time.Now(), failure(err)), callEvent{})
			return
		}
	}
}

// do carries out one action of the machine.
func (call *Call) do(ctx context.Context, a envelope.CallAction, e callEvent) error {
	switch a.Kind {
	case envelope.DoSendCancel:
		call.sendCancel(ctx, a.Device, a.Reason)
	case envelope.DoSendFirst:
		call.adopt(e.session)
		if err := call.openConnection(ctx); err != nil {
			return err
		}
		return call.offer(ctx)
	case envelope.DoResendFirst, envelope.DoResendAnswer:
		return ignoreUnreachable(call.resend(ctx))
	case envelope.DoSendAccept:
		if call.card != nil {
			call.adopt(e.session)
			return nil
		}
		return call.answer(ctx, envelopepb.Type_TYPE_ACCEPT, a.Reason)
	case envelope.DoSendDecline:
		return ignoreUnreachable(call.answer(ctx, envelopepb.Type_TYPE_DECLINE, a.Reason))
	case envelope.DoSendBusy:
		return ignoreUnreachable(call.answer(ctx, envelopepb.Type_TYPE_BUSY, a.Reason))
	case envelope.DoOpenICE:
		return call.openConnection(ctx)
	case envelope.DoStep:
		call.step()
	case envelope.DoSendBye:
		if call.session != nil {
			return ignoreUnreachable(call.send(ctx, &envelopepb.SessionMessage{Type: envelopepb.SessionType_SESSION_BYE, Reason: a.Reason}))
		}
	case envelope.DoMissed:
		call.c.tell(Missed{From: call.contact.Root, Reason: reasonWord(a.Reason)})
	case envelope.DoEnd:
		call.endFor(a.Reason)
	}
	return nil
}

// adopt takes the session that a ring and its answer made.
func (call *Call) adopt(s *envelope.Session) {
	call.session = s
	call.c.calls.addSession(call, s)
	close(call.answered)
}

// sessionGrace is how long frames of before the step are still taken.
const sessionGrace = 2 * time.Minute

func (call *Call) step() {
	call.session.Step()
	call.mu.Lock()
	call.connected = time.Now()
	call.mu.Unlock()
	close(call.bound)
	call.forget = time.AfterFunc(sessionGrace, call.session.Forget)
}

// onFrame opens one frame of the other side. The first valid one proves that it holds the
// keys; only then are its contents looked at.
func (call *Call) onFrame(ctx context.Context, frame []byte) {
	if call.session == nil {
		return
	}
	body, err := call.session.Open(frame)
	if err != nil {
		call.c.log.Debug("a session frame was dropped", "reason", envelope.DropReason(err))
		return
	}
	m, err := envelope.ParseSessionMessage(body)
	if err != nil {
		call.c.log.Debug("a session frame was dropped", "reason", envelope.DropReason(err))
		return
	}
	if call.machine.State() == envelope.CallAnswered {
		call.doAll(ctx, call.machine.Handle(time.Now(), envelope.CallEvent{Kind: envelope.CallFrame}), callEvent{})
	}
	if m.Type == envelopepb.SessionType_SESSION_BYE {
		reason := envelope.ByeReason(m.Reason)
		if reason == envelopepb.Reason_REASON_FAILED {
			call.setErr(&UnreachableError{What: "the call failed: something went wrong at the other side, which ended it"})
		}
		call.doAll(ctx, call.machine.Handle(time.Now(), envelope.CallEvent{Kind: envelope.CallBye, Reason: reason}), callEvent{})
		return
	}
	if err := call.negotiate(ctx, m); err != nil && !errors.Is(err, rtc.ErrClosed) {
		call.setErr(err)
		call.doAll(ctx, call.machine.Handle(time.Now(), failure(err)), callEvent{})
	}
}

// closeDown ends what runs for the call and gives everything free.
func (call *Call) closeDown() {
	call.mu.Lock()
	call.ended = true
	peer, media, instead := call.peer, call.media, call.instead
	call.mu.Unlock()
	if peer != nil {
		if call.parting {
			peer.Close()
		} else {
			peer.Abort()
		}
		<-peer.Done()
	}
	call.stop()
	call.parts.Wait()
	if media == nil && instead == nil {
		if err := call.closeUnused(); err != nil {
			call.setErr(err)
		}
	}
	if call.card != nil {
		if err := call.card.Close(); err != nil {
			call.c.log.Debug("a card's channel did not close in order", "error", errorKind(err))
		}
	}
	for _, r := range call.rings {
		r.state.Close()
	}
	if call.forget != nil {
		call.forget.Stop()
	}
	if call.session != nil {
		call.session.Close()
	}
	call.releaseTurn()
}

// closeUnused closes source and sink of a call that never played or recorded anything.
func (call *Call) closeUnused() error {
	call.mu.Lock()
	opts := call.opts
	unused := call.media == nil && call.instead == nil
	call.opts.Source, call.opts.Sink = nil, nil
	call.mu.Unlock()
	if !unused {
		return nil
	}
	return opts.close()
}

// close closes source and sink, which a call does exactly once.
func (o CallOptions) close() (err error) {
	if o.Source != nil && o.Source.Close != nil {
		err = o.Source.Close()
	}
	if o.Sink != nil {
		err = errors.Join(err, o.Sink.Close())
	}
	return err
}

// setErr remembers why the call ends; the first reason counts.
func (call *Call) setErr(err error) {
	call.mu.Lock()
	defer call.mu.Unlock()
	if call.err == nil {
		call.err = err
	}
}

func (call *Call) endFor(r envelopepb.Reason) {
	switch r {
	case envelopepb.Reason_REASON_ENDED:
		call.parting = true
	case envelopepb.Reason_REASON_ALARM:
		call.setErr(ErrPeerAlarm) // after what was noticed here, if it was
	case envelopepb.Reason_REASON_DECLINED:
		call.setErr(ErrDeclined)
	case envelopepb.Reason_REASON_BUSY:
		call.setErr(ErrBusy)
	case envelopepb.Reason_REASON_TIMEOUT:
		call.setErr(ErrNoAnswer)
	case envelopepb.Reason_REASON_FAILED:
		if call.unreached != nil {
			call.setErr(call.unreached)
		}
		call.setErr(&UnreachableError{What: "the call failed: the other side could not be reached or stopped answering"})
	case envelopepb.Reason_REASON_ANSWERED_ELSEWHERE:
		call.setErr(ErrElsewhere)
	}
}

func reasonWord(r envelopepb.Reason) string {
	switch r {
	case envelopepb.Reason_REASON_ENDED:
		return "the caller gave up"
	case envelopepb.Reason_REASON_BUSY:
		return "busy"
	case envelopepb.Reason_REASON_TIMEOUT:
		return "not answered in time"
	case envelopepb.Reason_REASON_ANSWERED_ELSEWHERE:
		return "answered on another device"
	}
	return "failed"
}

// Connected waits until the other side is bound to this session and media may flow.
func (call *Call) Connected(ctx context.Context) error {
	select {
	case <-call.bound:
		return nil
	case <-call.done:
		if err := call.Err(); err != nil {
			return err
		}
		return errors.New("the call ended before it was connected")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Done is closed when the call is over.
func (call *Call) Done() <-chan struct{} { return call.done }

// Err says why the call ended; nil after a goodbye of either side.
func (call *Call) Err() error {
	call.mu.Lock()
	defer call.mu.Unlock()
	return call.err
}

// Hangup says goodbye and waits for the end.
func (call *Call) Hangup(ctx context.Context) error {
	call.happened(envelope.CallHangup)
	select {
	case <-call.done:
		return call.Err()
	case <-ctx.Done():
		return fmt.Errorf("hang up: %w", ctx.Err())
	}
}

// Peer is the identity at the other end.
func (call *Call) Peer() identity.PublicKey { return call.contact.Root }

// CallInfo is what can be said of a call.
type CallInfo struct {
	Connected      bool
	Setup          time.Duration // from the ring to the verified binding
	Route          rtc.Route
	ChannelBinding bool
	SFrame         bool   // every media frame of both directions went through SFrame
	Code           string // six digits that both people compare, where asked for
	Stats          rtc.Stats
	Media          MediaInfo
}

// Info describes the call as it stands.
func (call *Call) Info() CallInfo {
	call.mu.Lock()
	defer call.mu.Unlock()
	info := CallInfo{Route: call.route, Code: call.code}
	if call.peer == nil {
		return info
	}
	info.Stats, info.Media = call.peer.Stats(), call.media.info()
	select {
	case <-call.bound:
		info.Connected, info.ChannelBinding = true, true
		info.Setup = call.connected.Sub(call.began)
		// The connection has no other way to send or to show a frame; one that does not open
		// is counted and never shown.
		info.SFrame = info.Stats.SFrameFailed == 0
	default:
	}
	return info
}

// Secrets returns the descriptions and candidates of both sides: what no node may see. It
// exists so that a search for leaks knows what to look for.
func (call *Call) Secrets() []string {
	call.mu.Lock()
	defer call.mu.Unlock()
	return append([]string(nil), call.texts...)
}

func (call *Call) remember(text string) {
	call.mu.Lock()
	defer call.mu.Unlock()
	if len(call.texts) < 256 {
		call.texts = append(call.texts, text)
	}
}
