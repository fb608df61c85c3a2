package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// ledger is the account of every envelope that this device sent. An envelope is written
// down before its bytes leave, stays until its fate is known, and a retry sends identical
// bytes, so that a node recognises it.
//
// What is open after a crash is resolved by its class: of a stored one the same bytes go out
// again while its own node has not taken it, and its destination is asked from then on; a
// live one goes out again within the seconds that its moment lasts, and has expired after
// them. A refusal that time mends does not end a stored envelope; its class's end does.
type ledger struct {
	c        *Client
	attempts attempts // by envelope id: sending again, asking

	mu     sync.Mutex // guards flying, watch
	flying map[envelope.ID]bool
	watch  map[envelope.ID]func(keep.Fate, string)
}

func newLedger(c *Client) *ledger {
	return &ledger{
		c:      c,
		flying: make(map[envelope.ID]bool),
		watch:  make(map[envelope.ID]func(keep.Fate, string)),
	}
}

// liveDeadline is how long a frame of the live class may wait for the link. Later than that
// its moment is over.
const liveDeadline = 10 * time.Second

// outgoing says where an envelope goes and what it is for.
type outgoing struct {
	to      identity.PublicKey
	device  identity.DeviceID
	home    identity.Home
	ttl     envelope.TTL
	hop     envelope.Hop
	payload []byte
	message envelope.MessageID
	// shared, if set, is what the frames of one session share. For the class live only.
	shared *sharedHop
	// fate, if set, is told each step once, from the link's goroutine; it must not block.
	fate func(keep.Fate, string)
}

// sharedHop is the encapsulation under which the frames of one session go to the other
// device's node. It is made anew when anything changes that a node could tell frames apart by:
// the node, its key, the tag, the token, the handle.
type sharedHop struct {
	mu     sync.Mutex // guards all below
	sender *envelope.HopSender
	key    [32]byte
	dest   identity.PeerID
	hop    envelope.Hop
	handle envelope.Handle
}

func (s *sharedHop) envelope(node *identity.NodeDescriptor, hop envelope.Hop, frame []byte) (*envelope.Envelope, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	handle := envelope.Handle(frame[:len(envelope.Handle{})])
	if s.sender != nil && s.key == node.RoutingKey && s.dest == node.PeerID && s.hop == hop && s.handle == handle {
		e, err := s.sender.Envelope(frame)
		if !errors.Is(err, envelope.ErrExhausted) {
			return e, err
		}
	}
	sender, err := envelope.NewHopSender(node.RoutingKey, node.PeerID, hop)
	if err != nil {
		return nil, err
	}
	s.sender, s.key, s.dest, s.hop, s.handle = sender, node.RoutingKey, node.PeerID, hop, handle
	return sender.Envelope(frame)
}

// post seals the hop, writes the envelope down and hands it to the link. Without a link it
// waits in the ledger; the retry loop sends it.
func (l *ledger) post(ctx context.Context, o outgoing) (envelope.ID, error) {
	node, err := l.c.directory.node(ctx, o.home.Domain, o.home.PeerID)
	if err != nil {
		return envelope.ID{}, err
	}
	var e *envelope.Envelope
	if o.shared != nil {
		e, err = o.shared.envelope(node, o.hop, o.payload)
	} else {
		e, err = envelope.NewEnvelope(node.RoutingKey, node.PeerID, o.ttl, o.hop, o.payload)
	}
	if err != nil {
		return envelope.ID{}, err
	}
	now := l.c.keep.Now()
	life := o.ttl.Duration()
	if o.ttl == envelope.Live {
		life = liveDeadline
	}
	s := keep.Submitted{
		ID: e.ID(), Message: o.message, Contact: o.to, Device: o.device, Dest: node.PeerID,
		TTL: o.ttl, Envelope: e.Marshal(), At: now, Deadline: now.Add(life), Fate: keep.FateSubmitted,
	}
	// From the moment it is written down the retry loop sees it: it flies already.
	l.mu.Lock()
	if o.fate != nil {
		l.watch[s.ID] = o.fate
	}
	l.flying[s.ID] = true
	l.mu.Unlock()
	if err := l.c.keep.Submit(s); err != nil {
		l.landed(s.ID)
		l.mu.Lock()
		delete(l.watch, s.ID)
		l.mu.Unlock()
		return s.ID, err
	}
	if err := l.launch(s); err != nil {
		l.c.poke()
	}
	return s.ID, nil
}

// send hands an envelope to the link, unless it is on its way there.
func (l *ledger) send(s keep.Submitted) error {
	l.mu.Lock()
	if l.flying[s.ID] {
		l.mu.Unlock()
		return nil
	}
	l.flying[s.ID] = true
	l.mu.Unlock()
	return l.launch(s)
}

// launch gives an envelope that is marked as flying to the link and follows its receipts.
func (l *ledger) launch(s keep.Submitted) error {
	w := l.c.linked()
	if w == nil {
		l.landed(s.ID)
		return &UnreachableError{What: "there is no link to the own node"}
	}
	err := w.ask(&pb.ClientFrame{Kind: &pb.ClientFrame_Submit{Submit: &pb.Submit{Envelope: s.Envelope}}},
		func(f *pb.NodeFrame, err error) bool { return l.receipt(flight{s}, f, err) })
	if err != nil {
		l.landed(s.ID)
	}
	return err
}

// flight is an envelope on its way.
type flight struct{ keep.Submitted }

// patient reports whether a refusal leaves the envelope in the ledger to be tried again. A
// ring or a frame of a call is of no use later, and who waits for it wants to know.
func (s flight) patient(code string) bool {
	return link.LookupCode(code).Retry && s.TTL != envelope.Live && s.TTL != envelope.Ring
}

func (l *ledger) landed(id envelope.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.flying, id)
}

// receipt takes what the node says of a submitted envelope; more says whether it will say
// more.
func (l *ledger) receipt(s flight, f *pb.NodeFrame, err error) (more bool) {
	if err != nil { // the link ended; linkLost settles what cannot be asked for again
		l.landed(s.ID)
		return false
	}
	if e := f.GetError(); e != nil {
		l.landed(s.ID)
		if !s.patient(e.Code) {
			l.settle(s.ID, keep.FateRefused, e.Code)
		}
		return false
	}
	r := f.GetReceipt()
	if r == nil {
		return true
	}
	switch r.Class {
	case pb.ReceiptClass_RECEIPT_ACCEPTED:
		l.settle(s.ID, keep.FateAccepted, "")
		return true
	case pb.ReceiptClass_RECEIPT_DELIVERED:
		l.settle(s.ID, keep.FateDelivered, "")
	case pb.ReceiptClass_RECEIPT_STORED:
		l.settle(s.ID, keep.FateStored, "")
	case pb.ReceiptClass_RECEIPT_EXPIRED:
		l.settle(s.ID, keep.FateExpired, r.Code)
	case pb.ReceiptClass_RECEIPT_REFUSED:
		if r.Code == link.CodeUnknownDestination {
			// The routing key has changed, or the own node forgot the way: ask anew next time.
			l.c.directory.forgetNode(s.Dest)
		}
		if !s.patient(r.Code) {
			l.settle(s.ID, keep.FateRefused, r.Code)
		}
	}
	l.landed(s.ID)
	return false
}

// settle writes a fate down and tells who waits for it.
func (l *ledger) settle(id envelope.ID, fate keep.Fate, code string) {
	news, err := l.c.keep.SetFate(id, fate, code)
	if err != nil {
		l.c.log.Error("the ledger could not be written", "error", errorKind(err))
		return
	}
	if !news {
		return
	}
	l.mu.Lock()
	tell := l.watch[id]
	if fate.Final() {
		delete(l.watch, id)
	}
	l.mu.Unlock()
	if fate.Final() {
		l.attempts.done(id)
	}
	if tell != nil {
		tell(fate, code)
	} else {
		l.c.noteFateFromLedger(id, fate, code)
	}
}

// linkLost runs when a link ended: what was flying may be sent again.
func (l *ledger) linkLost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.flying)
}

// Pauses of the retry loop.
const (
	retryEvery   = 5 * time.Second
	askAfter     = 8 * time.Second  // an envelope without a fate: ask its destination
	askHurried   = time.Second      // the same in a Flush
	askStored    = 60 * time.Second // a stored one: ask whether it was fetched
	maxRetryScan = 2048
)

// retryLoop moves what is still open: sends again, asks for fates, ends what is over.
func (c *Client) retryLoop(ctx context.Context) error {
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	notes := time.NewTicker(notesEvery)
	defer notes.Stop()
	for {
		lookAtNotes := true
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			lookAtNotes = false
		case <-notes.C:
		case <-c.wake:
		}
		if err := c.ledger.work(ctx, nil); err != nil && ctx.Err() == nil {
			c.log.Warn("the ledger could not be worked through", "error", errorKind(err))
		}
		if !lookAtNotes {
			continue
		}
		if c.owing.Swap(false) {
			if err := c.acknowledgeOld(); err != nil {
				c.owing.Store(true)
				c.log.Warn("what is owed to writers could not be read", "error", errorKind(err))
			}
		}
		if err := c.resendNotes(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("a note could not be sent yet", "error", errorKind(err))
		}
	}
}

// work goes once through the open envelopes. With flushed set it is in a hurry: each is
// asked for now that was not asked for in this hurry before.
func (l *ledger) work(ctx context.Context, flushed map[envelope.ID]bool) error {
	open, err := l.c.keep.OpenEnvelopes(maxRetryScan)
	if err != nil {
		return err
	}
	var failed error
	for _, s := range open {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failed = errors.Join(failed, l.workOne(ctx, s, flushed))
	}
	if _, err := l.c.keep.Settle(); err != nil {
		failed = errors.Join(failed, err)
	}
	return failed
}

func (l *ledger) workOne(ctx context.Context, s keep.Submitted, flushed map[envelope.ID]bool) error {
	l.mu.Lock()
	flying := l.flying[s.ID]
	l.mu.Unlock()
	now := l.c.keep.Now()
	age, over := now.Sub(s.At), now.After(s.Deadline)
	quiet := askAfter
	if flushed != nil {
		quiet = askHurried
	}
	switch {
	case over && (s.TTL == envelope.Live || s.Fate == keep.FateSubmitted):
		// Nobody keeps the fate of a live envelope, and what the own node never took has not
		// gone anywhere.
		l.settle(s.ID, keep.FateExpired, link.CodeExpired)
		return nil
	case flying && (age < quiet || s.TTL == envelope.Live):
		return nil // its receipts are on their way
	case !flying && (s.TTL == envelope.Live || s.Fate == keep.FateSubmitted):
		// The same bytes: whoever has them already recognises them.
		if s.TTL != envelope.Live && !l.attempts.ready(s.ID, now) {
			return nil
		}
		// Its receipts may have come since the list was read.
		if fresh, err := l.c.keep.Submitted(s.ID); err != nil || fresh.Fate != s.Fate {
			return err
		}
		return passing(l.send(s))
	case s.Fate == keep.FateStored && age < askStored && flushed == nil:
		return nil
	case flushed != nil && !flushed[s.ID]:
		flushed[s.ID] = true
	case !l.attempts.ready(s.ID, now):
		return nil
	}
	return passing(l.ask(ctx, s, over))
}

// passing hides errors that end by themselves: what was to be done is still to be done.
func passing(err error) error {
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Temporary() {
		return nil
	}
	return ignoreUnreachable(err)
}

func ignoreUnreachable(err error) error {
	var unreachable *UnreachableError
	if errors.As(err, &unreachable) {
		return nil
	}
	return err
}

// carries reports whether an open envelope carries a message.
func (l *ledger) carries(message envelope.MessageID) (bool, error) {
	open, err := l.c.keep.OpenEnvelopes(maxRetryScan)
	if err != nil {
		return false, err
	}
	for _, s := range open {
		if s.Message == message {
			return true, nil
		}
	}
	return false, nil
}

// ask fetches the fate of an envelope from its destination, unseen by the own node, and from
// the own node where the destination knows nothing of it.
func (l *ledger) ask(ctx context.Context, s keep.Submitted, over bool) error {
	domain, err := l.domainOf(s)
	if err != nil {
		return err
	}
	node, err := l.c.directory.node(ctx, domain, s.Dest)
	if err != nil {
		return err
	}
	answer, err := l.c.directory.ask(ctx, node, envelopepb.Operation_OPERATION_OUTCOME, s.ID[:])
	if err != nil {
		return err
	}
	if answer.Status != envelopepb.AnswerStatus_ANSWER_FOUND {
		// What the own node had called durable and what ended on the way, it knows itself.
		if w := l.c.linked(); w != nil && w.node.PeerID != node.PeerID {
			if answer, err = askOver(ctx, w, w.node.Descriptor, envelopepb.Operation_OPERATION_OUTCOME, s.ID[:]); err != nil {
				return err
			}
		}
	}
	if answer.Status != envelopepb.AnswerStatus_ANSWER_FOUND {
		if over {
			l.settle(s.ID, keep.FateExpired, link.CodeExpired)
			return nil
		}
		if s.Fate != keep.FateStored {
			return l.send(s) // never came there: the same bytes once more
		}
		return nil
	}
	switch answer.Fate {
	case envelopepb.Fate_FATE_DELIVERED:
		l.settle(s.ID, keep.FateDelivered, "")
	case envelopepb.Fate_FATE_STORED:
		if over { // a knock says this for ever; nothing waits longer than its class
			l.settle(s.ID, keep.FateExpired, link.CodeExpired)
			return nil
		}
		l.settle(s.ID, keep.FateStored, "")
	case envelopepb.Fate_FATE_EXPIRED:
		l.settle(s.ID, keep.FateExpired, link.CodeExpired)
	case envelopepb.Fate_FATE_REFUSED:
		l.settle(s.ID, keep.FateRefused, link.CodeRefused)
	}
	return nil
}

func (l *ledger) domainOf(s keep.Submitted) (string, error) {
	if s.Contact == l.c.self {
		home, err := l.c.home()
		return home.Domain, err
	}
	contact, err := l.c.keep.Contact(s.Contact)
	if err != nil {
		return "", fmt.Errorf("whose envelope this was: %w", err)
	}
	return contact.Domain, nil
}

// Flush waits until everything that was sent has a fate or waits in a mailbox, asking for
// each, and returns the account. When ctx ends first, what is still open counts as lost in
// the sum that comes with the error.
func (c *Client) Flush(ctx context.Context) (keep.Totals, error) {
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	asked := make(map[envelope.ID]bool)
	for {
		err := c.ledger.work(ctx, asked)
		totals, terr := c.keep.Totals()
		if terr != nil {
			return totals, terr
		}
		if totals.Open == 0 && err == nil {
			rest, err := c.ledger.unasked(asked)
			if err != nil || !rest {
				return totals, err
			}
		}
		select {
		case <-ctx.Done():
			return totals.Final(), errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// unasked reports whether an envelope has come to wait in a mailbox since the last look.
func (l *ledger) unasked(asked map[envelope.ID]bool) (bool, error) {
	open, err := l.c.keep.OpenEnvelopes(maxRetryScan)
	if err != nil {
		return false, err
	}
	for _, s := range open {
		if !asked[s.ID] {
			return true, nil
		}
	}
	return false, nil
}

// Ledger is the account as it stands, without asking anybody.
func (c *Client) Ledger() (keep.Totals, error) { return c.keep.Totals() }
