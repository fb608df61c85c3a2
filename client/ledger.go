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
type ledger struct {
	c *Client

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
	// fate, if set, is told each step once, from the link's goroutine; it must not block.
	fate func(keep.Fate, string)
}

// post seals the hop, writes the envelope down and hands it to the link. Without a link it
// waits in the ledger; the retry loop sends it.
func (l *ledger) post(ctx context.Context, o outgoing) (envelope.ID, error) {
	node, err := l.c.directory.node(ctx, o.home.Domain, o.home.PeerID)
	if err != nil {
		return envelope.ID{}, err
	}
	e, err := envelope.NewEnvelope(node.RoutingKey, node.PeerID, o.ttl, o.hop, o.payload)
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
	if o.fate != nil {
		l.mu.Lock()
		l.watch[s.ID] = o.fate
		l.mu.Unlock()
	}
	if err := l.c.keep.Submit(s); err != nil {
		return s.ID, err
	}
	if err := l.send(s); err != nil {
		l.c.poke()
	}
	return s.ID, nil
}

// send hands an envelope to the link and follows its receipts.
func (l *ledger) send(s keep.Submitted) error {
	l.c.mu.Lock()
	w := l.c.wire
	l.c.mu.Unlock()
	if w == nil {
		return &UnreachableError{What: "there is no link to the own node"}
	}
	l.mu.Lock()
	if l.flying[s.ID] {
		l.mu.Unlock()
		return nil
	}
	l.flying[s.ID] = true
	l.mu.Unlock()
	err := w.ask(&pb.ClientFrame{Kind: &pb.ClientFrame_Submit{Submit: &pb.Submit{Envelope: s.Envelope}}},
		func(f *pb.NodeFrame, err error) bool { return l.receipt(s, f, err) })
	if err != nil {
		l.landed(s.ID)
	}
	return err
}

func (l *ledger) landed(id envelope.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.flying, id)
}

// receipt takes what the node says of a submitted envelope; more says whether it will say
// more.
func (l *ledger) receipt(s keep.Submitted, f *pb.NodeFrame, err error) (more bool) {
	if err != nil { // the link ended; linkLost settles what cannot be asked for again
		l.landed(s.ID)
		return false
	}
	if e := f.GetError(); e != nil {
		l.landed(s.ID)
		if link.LookupCode(e.Code).Retry && s.TTL != envelope.Live {
			return false // it waits in the ledger for the retry loop
		}
		l.settle(s.ID, keep.FateRefused, e.Code)
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
		l.settle(s.ID, keep.FateRefused, r.Code)
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
	askAfter     = 8 * time.Second  // an accepted envelope without a fate: ask its destination
	askStored    = 60 * time.Second // a stored one: ask whether it was fetched
	maxRetryScan = 512
)

// retryLoop moves what is still open: sends again, asks for fates, ends what is over.
func (c *Client) retryLoop(ctx context.Context) error {
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-c.wake:
		}
		if err := c.ledger.work(ctx, askStored); err != nil && ctx.Err() == nil {
			c.log.Warn("the ledger could not be worked through", "error", errorKind(err))
		}
		if err := c.resendNotes(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("a note could not be sent yet", "error", errorKind(err))
		}
	}
}

// work goes once through the open envelopes. Stored ones younger than askStored are left
// alone.
func (l *ledger) work(ctx context.Context, askStored time.Duration) error {
	open, err := l.c.keep.OpenEnvelopes(maxRetryScan)
	if err != nil {
		return err
	}
	var failed error
	for _, s := range open {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failed = errors.Join(failed, l.workOne(ctx, s, askStored))
	}
	if _, err := l.c.keep.Settle(); err != nil {
		failed = errors.Join(failed, err)
	}
	return failed
}

func (l *ledger) workOne(ctx context.Context, s keep.Submitted, askStored time.Duration) error {
	now := l.c.keep.Now()
	age, over := now.Sub(s.At), now.After(s.Deadline)
	switch {
	case s.TTL == envelope.Live:
		// Nobody keeps the fate of a live envelope. Its moment is over with the link that
		// carried it.
		if over {
			l.settle(s.ID, keep.FateExpired, link.CodeExpired)
		}
		return nil
	case s.Fate == keep.FateSubmitted && over:
		l.settle(s.ID, keep.FateExpired, link.CodeExpired)
		return nil
	case s.Fate == keep.FateSubmitted:
		return ignoreUnreachable(l.send(s))
	case s.Fate == keep.FateAccepted && (age > askAfter || over), s.Fate == keep.FateStored && (age > askStored || over):
		return ignoreUnreachable(l.ask(ctx, s, over))
	}
	return nil
}

func ignoreUnreachable(err error) error {
	var unreachable *UnreachableError
	if errors.As(err, &unreachable) {
		return nil
	}
	return err
}

// ask fetches the fate of an envelope from its destination, unseen by the own node.
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
		if over {
			l.settle(s.ID, keep.FateExpired, link.CodeExpired)
			return nil
		}
		if s.Fate == keep.FateAccepted {
			return l.send(s) // never came there: the same bytes once more
		}
		return nil
	}
	switch answer.Fate {
	case envelopepb.Fate_FATE_DELIVERED:
		l.settle(s.ID, keep.FateDelivered, "")
	case envelopepb.Fate_FATE_STORED:
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
	for {
		err := c.ledger.work(ctx, 0)
		totals, terr := c.keep.Totals()
		if terr != nil {
			return totals, terr
		}
		if totals.Open == 0 && err == nil {
			return totals, nil
		}
		select {
		case <-ctx.Done():
			return totals.Final(), errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Ledger is the account as it stands, without asking anybody.
func (c *Client) Ledger() (keep.Totals, error) { return c.keep.Totals() }
