package client

import (
	"context"
	"crypto/ecdh"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// Meeting without a node (docs/spec/cards.md): an offer, its answer, and a call.
//
//	o, _ := c.OfferCard(ctx, opts)          a, _ := c.AnswerCard(ctx, offer, opts)
//	give o.Signed() to the other side       give a.Signed() back
//	call, _ := o.Accept(ctx, answer)        call, _ := a.Call(ctx)
//
// [Client.ReadCard] says whose a card is before anything is done with it.

// ErrSecondAnswer says that another answer was taken already: somebody else had the offer too.
var ErrSecondAnswer = errors.New("this offer has been answered already, by another card")

// CardOptions say what a card and its call are like.
type CardOptions struct {
	Call CallOptions
	// Name is what this person calls itself; it may be empty.
	Name string
	// Life is how long the card is good; zero: ten minutes.
	Life time.Duration
}

// ReadCard reads a card that came and holds it against what is known: whose it is, whether it
// is good, and whether it is of this kind. Nothing is sent or written. For an answer
// [CardOffer.Read] knows whether it is the answer to that offer.
func (c *Client) ReadCard(signed []byte, kind envelope.CardKind) (*envelope.Card, error) {
	return c.readCard(signed, kind, nil)
}

func (c *Client) readCard(signed []byte, kind envelope.CardKind, offer *envelope.Card) (*envelope.Card, error) {
	card, err := envelope.ParseCard(signed)
	if err != nil {
		return nil, err
	}
	want := envelope.CardWant{Kind: kind, Now: c.keep.Now(), Own: c.device.ID(), Offer: offer}
	contact, err := c.keep.Contact(card.Root())
	switch {
	case errors.Is(err, keep.ErrNotFound):
	case err != nil:
		return nil, err
	case len(contact.Evidence) > 0:
		return nil, ErrAlarm
	case contact.State == keep.ContactBlocked:
		return nil, fmt.Errorf("%w: blocked", ErrNotAccepted)
	case len(contact.List) > 0:
		if want.Pinned, err = identity.ParseDeviceList(contact.List); err != nil {
			return nil, err
		}
	}
	return card, card.Check(want)
}

// cardCert is this device's certificate. A device that no node knows yet has none in a list;
// the root key makes one for it.
func (c *Client) cardCert() (*identity.DeviceCert, error) {
	cert, err := c.keep.OwnCert()
	if !errors.Is(err, keep.ErrNotFound) {
		return cert, err
	}
	root, err := c.keep.Root(c.cfg.Passphrase)
	if err != nil {
		return nil, err
	}
	now := c.keep.Now()
	return root.CertifyDevice(c.device.Public(), 1, now, now.Add(certLifetime))
}

// ownCard is a card of this side that is alive: its channel and its ephemeral key.
type ownCard struct {
	c      *Client
	opts   CardOptions
	link   *rtc.CardLink
	key    *ecdh.PrivateKey
	card   *envelope.Card
	signed []byte
	turns  []*pb.TurnCredentials
}

// makeCard opens a channel and writes the card that leads to it; offer is the other side's,
// where this is the answer to one.
func (c *Client) makeCard(ctx context.Context, opts CardOptions, offer *envelope.Card) (_ *ownCard, err error) {
	if opts.Life < 0 || opts.Life > envelope.MaxCardLifetime {
		return nil, fmt.Errorf("%w: a card lives for %v at most", envelope.ErrCard, envelope.MaxCardLifetime)
	}
	cert, err := c.cardCert()
	if err != nil {
		return nil, err
	}
	o := &ownCard{c: c, opts: opts}
	if o.key, err = envelope.NewCardKey(); err != nil {
		return nil, err
	}
	// A node's relay helps where there is one; without it the card has the own addresses alone.
	if c.linked() != nil {
		bounded, cancel := context.WithTimeout(ctx, relayTime)
		turn, err := c.turnCredentials(bounded)
		cancel()
		if err == nil {
			o.turns = append(o.turns, turn)
		}
	}
	if opts.Call.RelayOnly && len(o.turns) == 0 {
		return nil, &UnreachableError{What: "relay only was asked for, and there is no node that lends its relay"}
	}
	var servers []rtc.ICEServer
	for _, t := range o.turns {
		servers = append(servers, iceServers(t)...)
	}
	if o.link, err = rtc.OpenCardLink(rtc.Config{
		ICEServers: servers, RelayOnly: opts.Call.RelayOnly, IncludeLoopback: c.cfg.Loopback, Logger: c.log,
	}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.link.Close())
		}
	}()
	local, err := o.link.Local(ctx, offer)
	if err != nil {
		return nil, err
	}
	o.card = &envelope.Card{
		Kind: envelope.CardOffer, Cert: cert, Ephemeral: [32]byte(o.key.PublicKey().Bytes()), Ufrag: local.Ufrag, Pwd: local.Pwd,
		Fingerprint: local.Fingerprint, Candidates: local.Candidates, RelayOnly: opts.Call.RelayOnly, Name: opts.Name,
	}
	if offer == nil {
		o.card.Media = opts.Call.Media
	} else {
		o.card.Kind, o.card.Offer = envelope.CardAnswer, offer.Hash()
	}
	now := c.keep.Now()
	if opts.Life > 0 {
		o.card.Expires = now.Add(opts.Life)
	}
	if home, err := c.home(); err == nil {
		o.card.Home = identity.Home{PeerID: home.PeerID, Domain: home.Domain}
	}
	o.signed, err = o.card.Sign(c.device, now)
	return o, err
}

// meet waits for the other side and begins the call.
func (o *ownCard) meet(ctx context.Context, offer, answer *envelope.Card) (*Call, error) {
	role, media := envelope.Initiator, offer.Media
	if o.card == answer {
		role = envelope.Responder
	}
	m, err := envelope.NewMeeting(role, o.key, offer, answer)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithDeadlineCause(ctx, o.card.Expires, envelope.ErrCardExpired)
	defer cancel()
	session, err := o.link.Meet(bounded, m)
	if err != nil {
		if errors.Is(context.Cause(bounded), envelope.ErrCardExpired) {
			err = fmt.Errorf("%w: nobody came", envelope.ErrCardExpired)
		}
		return nil, alarmOf(err)
	}
	o.opts.Call.Media = media
	call, err := o.c.cardCall(o, m.Peer(), session)
	if err != nil {
		session.Close()
	}
	return call, err
}

// close gives up a card that led to no call.
func (o *ownCard) close() error {
	o.c.giveBack(o.turns)
	return errors.Join(o.link.Close(), o.opts.Call.close())
}

// cardCall begins the call of a meeting: as if the offerer had rung and the answerer had
// accepted.
func (c *Client) cardCall(o *ownCard, peer *envelope.Card, session *envelope.Session) (*Call, error) {
	contact, err := c.keep.Contact(peer.Root())
	if errors.Is(err, keep.ErrNotFound) {
		// Whom one meets is no contact by that, and nothing is written.
		contact, err = keep.Contact{Root: peer.Root(), Name: peer.Name, Domain: peer.Home.Domain, Home: peer.Home.PeerID}, nil
	}
	if err != nil {
		return nil, err
	}
	call := c.newCall(contact, o.opts.Call)
	call.card, call.turns = o.link, o.turns
	now := time.Now()
	e := callEvent{CallEvent: envelope.CallEvent{Kind: envelope.CallAccepted, Device: session.PeerDevice}, session: session}
	if session.Role == envelope.Initiator {
		call.machine = envelope.NewOutgoingCall(now, []identity.DeviceID{session.PeerDevice})
	} else {
		call.machine, _ = envelope.NewIncomingCall(now, now.Add(envelope.RingTime), envelope.GreetRing)
		e.Kind = envelope.CallAccept
	}
	c.calls.mu.Lock()
	closing := c.calls.closing
	if !closing {
		c.calls.enterLocked(call)
	}
	c.calls.mu.Unlock()
	if closing {
		return nil, errEnding
	}
	call.urge(e)
	if err := c.calls.start(call, nil); err != nil {
		return nil, err
	}
	if !c.later("read a card's channel", func(life context.Context) error { call.readCard(life); return nil }) {
		return nil, errEnding
	}
	return call, nil
}

// readCard hands the driver what comes over the card's channel, until that ends.
func (call *Call) readCard(ctx context.Context) {
	for {
		frame, err := call.card.Receive(ctx)
		if err != nil {
			// A call that stands needs the channel for nothing but a new path.
			if !isClosed(call.bound) && !isClosed(call.done) {
				call.fail(&UnreachableError{What: "the other side has gone", err: alarmOf(err)})
			}
			return
		}
		select {
		case call.frames <- frame:
		case <-call.done:
			return
		}
	}
}

func (call *Call) onNote(n rtc.Note) {
	if call.opts.Notes != nil {
		call.opts.Notes(n)
	}
}

// Write sends a few words within the call: to somebody with whom there is no node in common.
func (call *Call) Write(ctx context.Context, text string) error {
	if err := call.Connected(ctx); err != nil {
		return err
	}
	call.mu.Lock()
	peer := call.peer
	call.mu.Unlock()
	return peer.SendNote(ctx, rtc.Note{ID: envelope.NewMessageID(), Text: text})
}

// CardOffer is an own offer that waits for its answer.
type CardOffer struct {
	o *ownCard

	mu    sync.Mutex // guards the rest
	used  bool       // accepted, or closed
	taken [32]byte   // hash of the answer that a person said yes to
}

// OfferCard makes an offer. It is alive until it has expired, was accepted or is closed, and
// only in this process.
func (c *Client) OfferCard(ctx context.Context, opts CardOptions) (*CardOffer, error) {
	o, err := c.makeCard(ctx, opts, nil)
	if err != nil {
		return nil, errors.Join(err, opts.Call.close())
	}
	return &CardOffer{o: o}, nil
}

// Signed is the card to give to the other side.
func (f *CardOffer) Signed() []byte { return f.o.signed }

// Card is what it says.
func (f *CardOffer) Card() *envelope.Card { return f.o.card }

// Read says whose an answer is, and whether it may be accepted. ErrSecondAnswer and
// envelope.ErrCardUsed say that one was accepted before: another, or this one.
func (f *CardOffer) Read(signed []byte) (*envelope.Card, error) {
	card, err := f.o.c.readCard(signed, envelope.CardAnswer, f.o.card)
	if err != nil {
		return nil, err
	}
	if !f.o.c.keep.Now().Before(f.o.card.Expires) {
		return nil, fmt.Errorf("%w: the offer", envelope.ErrCardExpired)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.used:
		return card, nil
	case f.taken == card.Hash():
		return nil, envelope.ErrCardUsed
	}
	return nil, ErrSecondAnswer
}

// Accept meets whose answer this is, once its person was shown it and said yes. The offer is
// used up by it, whatever comes of the meeting.
func (f *CardOffer) Accept(ctx context.Context, signed []byte) (*Call, error) {
	answer, err := f.Read(signed)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	first := !f.used
	if first {
		f.used, f.taken = true, answer.Hash()
	}
	f.mu.Unlock()
	if !first {
		return nil, ErrSecondAnswer
	}
	call, err := func() (*Call, error) {
		if err := f.o.link.Accept(answer); err != nil {
			return nil, err
		}
		return f.o.meet(ctx, f.o.card, answer)
	}()
	if err != nil {
		return nil, errors.Join(err, f.o.close())
	}
	return call, nil
}

// Close gives up an offer that was not accepted.
func (f *CardOffer) Close() error {
	f.mu.Lock()
	used := f.used
	f.used = true
	f.mu.Unlock()
	if used {
		return nil // the call, or its failure, has closed everything
	}
	return f.o.close()
}

// CardReply is an own answer that is on its way to the one who offered.
type CardReply struct {
	o     *ownCard
	offer *envelope.Card
	once  sync.Once
}

// AnswerCard answers an offer, once its person was shown whose it is and said yes. The same
// offer is answered once: envelope.ErrCardUsed.
func (c *Client) AnswerCard(ctx context.Context, signed []byte, opts CardOptions) (*CardReply, error) {
	offer, err := c.ReadCard(signed, envelope.CardOffer)
	if err == nil {
		// Written before anything is done with it, as for every message.
		var used bool
		used, err = c.keep.Seen(offer.Cert.DeviceID(), envelope.MessageID(offer.ID), offer.Expires, false)
		if err == nil && used {
			err = envelope.ErrCardUsed
		}
	}
	if err != nil {
		return nil, errors.Join(err, opts.Call.close())
	}
	o, err := c.makeCard(ctx, opts, offer)
	if err != nil {
		return nil, errors.Join(err, opts.Call.close())
	}
	return &CardReply{o: o, offer: offer}, nil
}

// Signed is the card to give back.
func (r *CardReply) Signed() []byte { return r.o.signed }

// Card is what it says.
func (r *CardReply) Card() *envelope.Card { return r.o.card }

// Call waits until the other side has taken the answer, and gives the call. It is called once.
func (r *CardReply) Call(ctx context.Context) (call *Call, err error) {
	err = errors.New("the answer led to a call already, or was closed")
	r.once.Do(func() {
		if call, err = r.o.meet(ctx, r.offer, r.o.card); err != nil {
			err = errors.Join(err, r.o.close())
		}
	})
	return call, err
}

// Close gives up an answer whose Call was not asked for.
func (r *CardReply) Close() (err error) {
	r.once.Do(func() { err = r.o.close() })
	return err
}
