package client

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// calls finds the call that a frame, an answer or a cancel belongs to.
type calls struct {
	c *Client

	mu       sync.Mutex // guards the rest
	active   map[*Call]bool
	byHandle map[envelope.Handle]*Call             // session frames
	rings    map[envelope.Handle]*outRing          // answers to our rings
	incoming map[[32]byte]*Call                    // by the hash of the RING
	early    map[[32]byte]earlyCancel              // CANCELs that came before their RING
	byPeer   map[identity.PublicKey]map[*Call]bool // for glare
	closing  bool                                  // the client ends
}

// earlyCancel is a CANCEL whose RING has not come yet.
type earlyCancel struct {
	from   identity.PublicKey
	reason envelopepb.Reason
	at     time.Time
}

// maxEarly bounds what is remembered of cancels without a ring.
const maxEarly = 64

func newCalls(c *Client) *calls {
	return &calls{
		c: c, active: make(map[*Call]bool), byHandle: make(map[envelope.Handle]*Call),
		rings: make(map[envelope.Handle]*outRing), incoming: make(map[[32]byte]*Call),
		early: make(map[[32]byte]earlyCancel), byPeer: make(map[identity.PublicKey]map[*Call]bool),
	}
}

// outRing is a ring to one device of the person called.
type outRing struct {
	call  *Call
	to    addressee
	state *envelope.RingState
}

// enterLocked makes a call known before its driver starts.
func (s *calls) enterLocked(call *Call) {
	s.active[call] = true
	of := s.byPeer[call.contact.Root]
	if of == nil {
		of = make(map[*Call]bool)
		s.byPeer[call.contact.Root] = of
	}
	of[call] = true
}

func (s *calls) leave(call *Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.active, call)
	if of := s.byPeer[call.contact.Root]; of != nil {
		if delete(of, call); len(of) == 0 {
			delete(s.byPeer, call.contact.Root)
		}
	}
	maps.DeleteFunc(s.byHandle, func(_ envelope.Handle, c *Call) bool { return c == call })
	maps.DeleteFunc(s.rings, func(_ envelope.Handle, r *outRing) bool { return r.call == call })
	maps.DeleteFunc(s.incoming, func(_ [32]byte, c *Call) bool { return c == call })
}

// start drives a call that was entered.
func (s *calls) start(call *Call, first []envelope.CallAction) error {
	if s.c.later("call", func(life context.Context) error {
		call.drive(life, first)
		return nil
	}) {
		return nil
	}
	s.leave(call)
	for _, r := range call.rings {
		r.state.Close()
	}
	return errEnding
}

// begin enters an outgoing call, unless the person to call is ringing here already: then that
// is the call.
func (s *calls) begin(call *Call) (ringing *Call, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, errEnding
	}
	if call.kind != DataOnly {
		for other := range s.byPeer[call.contact.Root] {
			if other.ring != nil && other.kind != DataOnly && !isClosed(other.answered) && !isClosed(other.done) {
				return other, nil
			}
		}
	}
	s.enterLocked(call)
	return nil, nil
}

func (s *calls) addSession(call *Call, session *envelope.Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range session.Handles() {
		s.byHandle[h] = call
	}
}

// farewell ends all calls with a goodbye and waits for them, but not for ever. No new call
// begins afterwards.
func (s *calls) farewell(most time.Duration) {
	s.mu.Lock()
	s.closing = true
	active := slices.Collect(maps.Keys(s.active))
	s.mu.Unlock()
	for _, call := range active {
		call.urge(callEvent{leaving: true})
	}
	late := time.NewTimer(most)
	defer late.Stop()
	for _, call := range active {
		select {
		case <-call.done:
		case <-late.C:
			return
		}
	}
}

// endWith ends all calls with somebody.
func (s *calls) endWith(root identity.PublicKey) {
	s.mu.Lock()
	with := slices.Collect(maps.Keys(s.byPeer[root]))
	s.mu.Unlock()
	for _, call := range with {
		call.urge(callEvent{leaving: true})
	}
}

// frame takes a payload that is no sealed message: a session frame or the answer to a ring.
func (s *calls) frame(h envelope.Handle, payload []byte) error {
	s.mu.Lock()
	call, ring := s.byHandle[h], s.rings[h]
	s.mu.Unlock()
	switch {
	case call != nil:
		select {
		case call.frames <- payload:
			return nil
		default:
			return envelope.ErrRate
		}
	case ring != nil:
		return ring.onAnswer(payload)
	}
	return envelope.ErrNoSession
}

// onAnswer verifies what came under a ring's handle and tells the call.
func (r *outRing) onAnswer(payload []byte) error {
	home, err := r.call.c.home()
	if err != nil {
		return err
	}
	opener, err := r.call.c.currentOpener(home)
	if err != nil {
		return err
	}
	device := r.to.bundle.DeviceID()
	got, err := r.state.Finish(payload, opener)
	if errors.Is(err, envelope.ErrRingOver) {
		// The same answer again: our first frame has not arrived. The machine knows whether
		// this device is the one that answered.
		r.call.tell(callEvent{CallEvent: envelope.CallEvent{Kind: envelope.CallAcceptAgain, Device: device}})
		return nil
	}
	if errors.Is(err, envelope.ErrUnverified) {
		r.call.c.directory.forget(r.call.contact.Root)
	}
	if err != nil {
		return err
	}
	e := callEvent{CallEvent: envelope.CallEvent{Device: device, Reason: got.Reason}, session: got.Session}
	switch got.Kind {
	case envelopepb.Type_TYPE_ACCEPT:
		e.Kind = envelope.CallAccepted
	case envelopepb.Type_TYPE_DECLINE:
		e.Kind = envelope.CallDeclined
	case envelopepb.Type_TYPE_BUSY:
		e.Kind = envelope.CallBusy
	}
	r.call.urge(e) // once for each ring: it is over now
	return nil
}

// Ring calls every device of an accepted contact and returns when one of them answered. The
// errors are ErrDeclined, ErrBusy, ErrNoAnswer, *RefusedError and *UnreachableError.
func (c *Client) Ring(ctx context.Context, root identity.PublicKey, opts CallOptions) (*Call, error) {
	contact, to, err := c.ringable(ctx, root)
	if err != nil {
		return nil, errors.Join(err, opts.close())
	}
	call := c.newCall(contact, opts)
	if err := call.prepareRings(to); err != nil {
		c.calls.leave(call)
		return nil, errors.Join(err, opts.close())
	}
	ringing, err := c.calls.begin(call)
	if err != nil || ringing != nil {
		c.calls.leave(call)
	}
	if ringing != nil {
		return (&Incoming{Media: ringing.kind, call: ringing}).Answer(ctx, opts)
	}
	if err == nil {
		err = c.calls.start(call, nil)
	}
	if err != nil {
		return nil, errors.Join(err, opts.close())
	}
	call.sendRings(ctx)
	return call.waitAnswered(ctx)
}

// ringable returns a contact that may be rung now, and its devices.
func (c *Client) ringable(ctx context.Context, root identity.PublicKey) (keep.Contact, []addressee, error) {
	contact, err := c.writable(root)
	if err != nil {
		return contact, nil, err
	}
	if _, err := c.link(ctx); err != nil {
		return contact, nil, err
	}
	to, err := c.addressees(ctx, contact)
	return contact, to, err
}

func (call *Call) waitAnswered(ctx context.Context) (*Call, error) {
	select {
	case <-call.answered:
		return call, nil
	case <-call.done:
		call.mu.Lock()
		instead := call.instead
		call.mu.Unlock()
		if instead != nil {
			return instead.waitAnswered(ctx)
		}
		if err := call.Err(); err != nil {
			return nil, err
		}
		return nil, ErrNoAnswer
	case <-ctx.Done():
		call.happened(envelope.CallHangup)
		return nil, ctx.Err()
	}
}

// prepareRings makes one ring for each device, each with its own ephemeral key.
func (call *Call) prepareRings(to []addressee) error {
	c := call.c
	home, err := c.home()
	if err != nil {
		return err
	}
	own, err := c.keep.OwnList()
	if err != nil {
		return err
	}
	cert, err := c.keep.OwnCert()
	if err != nil {
		return err
	}
	session := envelope.NewSessionID()
	var devices []identity.DeviceID
	for _, a := range to {
		state, err := envelope.NewRing(c.device, cert, a.bundle, envelope.RingConfig{
			Media: call.opts.Media, SessionID: session, Reply: c.replyAddress(home),
			Now: c.keep.Now(), OwnList: own, PeerList: a.list,
		})
		if err != nil {
			return err
		}
		device := a.bundle.DeviceID()
		r := &outRing{call: call, to: a, state: state}
		call.rings[device] = r
		devices = append(devices, device)
		c.calls.mu.Lock()
		c.calls.rings[state.Handle] = r
		c.calls.mu.Unlock()
	}
	if len(devices) == 0 {
		return &UnreachableError{What: "no device of this contact offers a key to ring with"}
	}
	call.machine = envelope.NewOutgoingCall(time.Now(), devices)
	return nil
}

// replyAddress is where answers and frames of a call reach this device.
func (c *Client) replyAddress(h keep.Home) envelope.ReplyAddress {
	return envelope.ReplyAddress{
		Home: identity.Home{PeerID: h.PeerID, Domain: h.Domain}, Tag: h.Tag, Token: h.Token(h.TokenEpoch),
	}
}

func (call *Call) sendRings(ctx context.Context) {
	for device, r := range call.rings {
		unreachable := func(err error) {
			call.urge(callEvent{CallEvent: envelope.CallEvent{Kind: envelope.CallUnreachable, Device: device}, err: err})
		}
		if _, err := call.c.dispatch(ctx, r.to, letter{
			ttl: envelope.Ring, collapse: r.state.Collapse,
			fate: func(_ identity.DeviceID, f keep.Fate, code string) {
				if f == keep.FateRefused {
					unreachable(codeError(code, 0))
				}
			},
		}, envelope.MessageID{}, r.state.Payload); err != nil {
			unreachable(err)
		}
	}
}

// cancelTime bounds what sending a CANCEL may take; the end of the call waits for it.
const cancelTime = 5 * time.Second

// sendCancel stops one device from ringing. It goes in the background: the call must not
// wait for it, and its end does.
func (call *Call) sendCancel(ctx context.Context, device identity.DeviceID, reason envelopepb.Reason) {
	r := call.rings[device]
	if r == nil {
		return
	}
	c := call.c
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
	call.parts.Go(func() {
		defer cancel()
		if err := call.cancelRing(ctx, r, reason); err != nil {
			c.log.Warn("a ring could not be cancelled; it ends by itself", "error", errorKind(err))
		}
	})
}

func (call *Call) cancelRing(ctx context.Context, r *outRing, reason envelopepb.Reason) error {
	c := call.c
	own, err := c.keep.OwnList()
	if err != nil {
		return err
	}
	cert, err := c.keep.OwnCert()
	if err != nil {
		return err
	}
	payload, err := r.state.SealCancel(c.device, cert, r.to.bundle, reason, envelope.RingConfig{
		Now: c.keep.Now(), OwnList: own, PeerList: r.to.list,
	})
	if err != nil {
		return err
	}
	_, err = c.dispatch(ctx, r.to, letter{ttl: envelope.Ring, collapse: r.state.Collapse}, envelope.MessageID{}, payload)
	return err
}

// answer makes and posts the answer to a ring. An ACCEPT needs the caller's current list.
func (call *Call) answer(ctx context.Context, kind envelopepb.Type, reason envelopepb.Reason) error {
	c := call.c
	home, err := c.home()
	if err != nil {
		return err
	}
	own, err := c.keep.OwnList()
	if err != nil {
		return err
	}
	cert, err := c.keep.OwnCert()
	if err != nil {
		return err
	}
	callers, err := call.callerList(ctx, kind)
	if err != nil {
		return err
	}
	payload, session, err := envelope.AnswerRing(c.device, cert, call.ring, envelope.AnswerConfig{
		Kind: kind, Reason: reason, Reply: c.replyAddress(home), Now: c.keep.Now(), OwnList: own, CallerList: callers,
	})
	if err != nil {
		return err
	}
	call.payload = payload
	if session != nil {
		call.adopt(session)
	}
	return ignoreUnreachable(call.resend(ctx))
}

// callerList is the pinned list of the caller, asked for again when it does not know the
// device that calls or has ended.
func (call *Call) callerList(ctx context.Context, kind envelopepb.Type) (*identity.DeviceList, error) {
	if call.ring.Standing == envelope.Own {
		return call.c.keep.OwnList()
	}
	if kind == envelopepb.Type_TYPE_ACCEPT && call.ring.FetchList() {
		p, err := call.c.directory.lookup(ctx, call.contact.Root, call.contact.Domain, call.contact.Home)
		if err != nil {
			return nil, err
		}
		return p.list, nil
	}
	if len(call.contact.List) == 0 {
		return nil, nil
	}
	return identity.ParseDeviceList(call.contact.List)
}

// resend posts the first frame or the answer, the same bytes each time.
func (call *Call) resend(ctx context.Context) error {
	if call.card != nil {
		if call.payload == nil {
			return nil // there is no ring, and so nothing that answers it
		}
		return call.card.Send(call.payload)
	}
	to, device := envelope.ReplyAddress{}, identity.DeviceID{}
	if call.ring != nil {
		to, device = call.ring.Content.(*envelope.RingBody).Reply, call.ring.SenderCert.DeviceID()
	} else {
		to, device = call.session.Reply, call.session.PeerDevice
	}
	if call.payload == nil {
		return nil
	}
	_, err := call.c.ledger.post(ctx, outgoing{
		to: call.contact.Root, device: device, home: to.Home, ttl: envelope.Live,
		hop: envelope.Hop{Tag: to.Tag, Token: to.Token}, payload: call.payload,
	})
	return err
}
