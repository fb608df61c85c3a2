package client

import (
	"context"
	"errors"
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
	early    map[[32]byte]time.Time                // CANCELs that came before their RING
	byPeer   map[identity.PublicKey]map[*Call]bool // for glare
}

// maxEarly bounds what is remembered of cancels without a ring.
const maxEarly = 64

func newCalls(c *Client) *calls {
	return &calls{
		c: c, active: make(map[*Call]bool), byHandle: make(map[envelope.Handle]*Call),
		rings: make(map[envelope.Handle]*outRing), incoming: make(map[[32]byte]*Call),
		early: make(map[[32]byte]time.Time), byPeer: make(map[identity.PublicKey]map[*Call]bool),
	}
}

// outRing is a ring to one device of the person called.
type outRing struct {
	call  *Call
	to    addressee
	state *envelope.RingState
}

func (s *calls) enter(call *Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
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
	delete(s.byPeer[call.contact.Root], call)
	for h, c := range s.byHandle {
		if c == call {
			delete(s.byHandle, h)
		}
	}
	for h, r := range s.rings {
		if r.call == call {
			delete(s.rings, h)
		}
	}
	for h, c := range s.incoming {
		if c == call {
			delete(s.incoming, h)
		}
	}
}

func (s *calls) addSession(call *Call, session *envelope.Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range session.Handles() {
		s.byHandle[h] = call
	}
}

// endAll hangs up what still runs when the client ends. The calls' own goroutines are tasks
// of the client and end with its context.
func (s *calls) endAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for call := range s.active {
		call.tell(callEvent{CallEvent: envelope.CallEvent{Kind: envelope.CallHangup}})
	}
}

// frame takes a payload that is no sealed message: a session frame or the answer to a ring.
func (s *calls) frame(h envelope.Handle, payload []byte) error {
	s.mu.Lock()
	call, ring := s.byHandle[h], s.rings[h]
	s.mu.Unlock()
	switch {
	case call != nil:
		call.tell(callEvent{frame: payload})
		return nil
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
	r.call.tell(e)
	return nil
}

// Ring calls every device of an accepted contact and returns when one of them answered. The
// errors are ErrDeclined, ErrBusy, ErrNoAnswer, *RefusedError and *UnreachableError.
func (c *Client) Ring(ctx context.Context, root identity.PublicKey, opts CallOptions) (*Call, error) {
	contact, err := c.writable(root)
	if err != nil {
		return nil, err
	}
	if _, err := c.link(ctx); err != nil {
		return nil, err
	}
	to, err := c.addressees(ctx, contact)
	if err != nil {
		return nil, err
	}
	call := c.newCall(contact, opts)
	if err := call.prepareRings(to); err != nil {
		return nil, err
	}
	c.later("call", func(life context.Context) error {
		call.drive(life, nil)
		return nil
	})
	if err := call.sendRings(ctx); err != nil {
		call.fail(err)
	}
	return call.waitAnswered(ctx)
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
		call.tell(callEvent{CallEvent: envelope.CallEvent{Kind: envelope.CallHangup}})
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

func (call *Call) sendRings(ctx context.Context) error {
	var failed error
	sent := 0
	for device, r := range call.rings {
		_, err := call.c.dispatch(ctx, r.to, letter{
			ttl: envelope.Ring, collapse: r.state.Collapse,
			fate: func(_ identity.DeviceID, f keep.Fate, code string) {
				if f != keep.FateRefused {
					return
				}
				call.tell(callEvent{
					CallEvent: envelope.CallEvent{Kind: envelope.CallUnreachable, Device: device},
					err:       codeError(code, 0),
				})
			},
		}, envelope.MessageID{}, r.state.Payload)
		if err != nil {
			failed = errors.Join(failed, err)
			call.tell(callEvent{CallEvent: envelope.CallEvent{Kind: envelope.CallUnreachable, Device: device}})
			continue
		}
		sent++
	}
	if sent == 0 {
		return failed
	}
	return nil
}

// sendCancel stops one device from ringing. It goes in the background: the call must not
// wait for it.
func (call *Call) sendCancel(device identity.DeviceID, reason envelopepb.Reason) {
	r := call.rings[device]
	if r == nil {
		return
	}
	c := call.c
	c.later("cancel a ring", func(ctx context.Context) error {
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
	})
}

// Incoming is a ring that waits for the person.
type Incoming struct {
	From  Contact
	Media Media
	call  *Call
}

// Answer says yes. The call connects with the given options.
func (i *Incoming) Answer(ctx context.Context, opts CallOptions) (*Call, error) {
	i.call.mu.Lock()
	opts.Media = i.Media
	i.call.opts = opts
	i.call.mu.Unlock()
	i.call.tell(callEvent{CallEvent: envelope.CallEvent{Kind: envelope.CallAccept}})
	return i.call.waitAnswered(ctx)
}

// Decline says no, on all devices.
func (i *Incoming) Decline() {
	i.call.tell(callEvent{CallEvent: envelope.CallEvent{Kind: envelope.CallDecline}})
}

// Done is closed when the ring is over without an answer here, or the call has ended.
func (i *Incoming) Done() <-chan struct{} { return i.call.done }

// onRing takes an opened RING of an accepted contact or an own device.
func (s *calls) onRing(o *envelope.Opened, body *envelope.RingBody) error {
	c := s.c
	contact, err := c.keep.Contact(o.SenderRoot)
	if o.Standing == envelope.Own {
		var home keep.Home
		if home, err = c.home(); err == nil {
			contact = keep.Contact{Root: c.self, Domain: home.Domain, Home: home.PeerID}
		}
	}
	if err != nil {
		return err
	}
	call := c.newCall(contact, CallOptions{Media: body.Media})
	call.ring = o
	greeting, glare := s.greet(o, body, call)
	if greeting == dropRing {
		return nil
	}
	now := time.Now()
	incoming, first := envelope.NewIncomingCall(now, o.Expires, envelope.Greeting(greeting))
	call.machine = incoming
	s.mu.Lock()
	s.incoming[o.Hash] = call
	s.mu.Unlock()
	if glare != nil {
		glare.mu.Lock()
		glare.instead, call.opts = call, glare.opts
		glare.mu.Unlock()
		glare.tell(callEvent{CallEvent: envelope.CallEvent{Kind: envelope.CallGlareLost}})
	}
	c.later("call", func(life context.Context) error {
		call.drive(life, first)
		return nil
	})
	if envelope.Greeting(greeting) == envelope.GreetRing {
		c.tell(Ringing{&Incoming{From: contactOf(contact), Media: body.Media, call: call}})
	}
	return nil
}

// dropRing: our own ring to the same person survives; theirs gets no answer.
const dropRing = -1

// greet decides how a ring is taken, and which of our own rings it replaces.
func (s *calls) greet(o *envelope.Opened, body *envelope.RingBody, call *Call) (greeting int, glare *Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.Late {
		return int(envelope.GreetMissed), nil
	}
	if _, cancelled := s.early[o.Hash]; cancelled {
		delete(s.early, o.Hash)
		return int(envelope.GreetMissed), nil
	}
	for other := range s.byPeer[o.SenderRoot] {
		if len(other.rings) == 0 || isClosed(other.answered) {
			continue
		}
		if envelope.Glare(s.c.self, o.SenderRoot, s.c.device.ID(), o.SenderCert.DeviceID()) {
			return dropRing, nil
		}
		return int(envelope.GreetAccept), other
	}
	if o.Standing == envelope.Own {
		return int(envelope.GreetAccept), nil
	}
	if body.Media != DataOnly {
		for other := range s.active {
			if other != call && other.kind != DataOnly && isClosed(other.answered) && !isClosed(other.done) {
				return int(envelope.GreetBusy), nil
			}
		}
	}
	return int(envelope.GreetRing), nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// onCancel ends a ring, also one that has not arrived yet.
func (s *calls) onCancel(o *envelope.Opened, body *envelope.Cancel) error {
	s.mu.Lock()
	call := s.incoming[body.RingHash]
	if call == nil {
		now := time.Now()
		for h, t := range s.early {
			if now.Sub(t) > 2*time.Minute {
				delete(s.early, h)
			}
		}
		if len(s.early) < maxEarly {
			s.early[body.RingHash] = now
		}
	}
	s.mu.Unlock()
	if call != nil && call.contact.Root == o.SenderRoot {
		call.tell(callEvent{CallEvent: envelope.CallEvent{Kind: envelope.CallCancelled, Reason: body.Reason}})
	}
	return nil
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
