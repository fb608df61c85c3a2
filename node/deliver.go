package node

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"sync"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/policy"
)

func refused(code string) federation.Outcome {
	return federation.Outcome{Fate: envelopepb.Fate_FATE_REFUSED, Code: code}
}

var (
	outcomeDelivered = federation.Outcome{Fate: envelopepb.Fate_FATE_DELIVERED}
	outcomeStored    = federation.Outcome{Fate: envelopepb.Fate_FATE_STORED}
)

// Deliver takes an envelope from another node and waits for its end.
func (n *Node) Deliver(ctx context.Context, from federation.Source, e *envelope.Envelope) federation.Outcome {
	ended := make(chan federation.Outcome, 1)
	n.Take(ctx, from, e, federation.WaiterFunc(func(out federation.Outcome) { ended <- out }))
	n.Flush()
	return <-ended // soon, whatever the device does: liveTimeout
}

// Take takes an envelope from another node. It is the federation's door to the mailboxes.
func (n *Node) Take(ctx context.Context, from federation.Source, e *envelope.Envelope, to federation.Waiter) {
	n.views.envelope(viewFederation, e)
	in := incomings.Get().(*incoming)
	in.n, in.to = n, to
	w := n.route(ctx, from, e)
	if w.next != stepNone {
		if err := n.hold(ctx, w.held); err != nil { // the node is stopping
			n.hops.forget(e.HopUse())
			in.end(refused(link.CodeDraining))
			return
		}
		in.held = w.held
	}
	switch w.next {
	case stepStore:
		n.Flush() // what was taken before does not wait for the disk
		results, err := n.db.Put(ctx, []store.Envelope{w.put})
		if err != nil {
			w.out = n.storeFailed(err)
		} else {
			w.out = n.written(ctx, &w.put, results[0])
		}
	case stepLive:
		if l := n.handOver(e, &w, 0, in, nil); l != nil {
			n.touch(l)
		}
		return
	}
	in.end(w.out)
}

// incoming is an envelope from another node that has not ended.
type incoming struct {
	n    *Node
	to   federation.Waiter
	held admitted
}

var incomings = sync.Pool{New: func() any { return new(incoming) }}

// delivery implements told.
func (in *incoming) delivery(_ *handover, out federation.Outcome, _ *clientLink) { in.end(out) }

func (in *incoming) end(out federation.Outcome) {
	n, to := in.n, in.to
	n.release(in.held)
	*in = incoming{}
	incomings.Put(in)
	n.metrics.countDelivery("federation", out)
	to.Ended(out)
}

// touched are the links on which an envelope from another node, or the end of one to another
// node, has put something that nobody has flushed.
type touched struct {
	mu    sync.Mutex // guards links
	links []*clientLink
}

func (n *Node) touch(l *clientLink) {
	if l.touched.CompareAndSwap(false, true) {
		n.touched.mu.Lock()
		n.touched.links = append(n.touched.links, l)
		n.touched.mu.Unlock()
	}
}

// Flush writes what waits on the touched links: what several envelopes have put on one of them
// leaves together.
func (n *Node) Flush() {
	var some [16]*clientLink
	for {
		n.touched.mu.Lock()
		rest := max(len(n.touched.links)-len(some), 0)
		count := copy(some[:], n.touched.links[rest:])
		clear(n.touched.links[rest:])
		n.touched.links = n.touched.links[:rest]
		n.touched.mu.Unlock()
		if count == 0 {
			return
		}
		for i, l := range some[:count] {
			l.touched.Store(false) // before the flush: what comes behind it is another one's
			l.flush(nil)
			some[i] = nil
		}
	}
}

// step is what an envelope needs after route.
type step uint8

const (
	stepNone  step = iota // out is its end
	stepStore             // put goes into the store, alone or together with others; then written
	stepLive              // it goes onto the device's connection: handOver
)

// way is where route sends an envelope.
type way struct {
	next   step
	out    federation.Outcome
	put    store.Envelope
	id     envelope.ID
	device identity.DeviceID
	hop    envelope.Hop
	held   admitted // for envelopes of other domains
}

func ended(out federation.Outcome) way { return way{out: out} }

// route finds the mailbox of an envelope. Local senders and other nodes go the same way; the
// only difference is that the policy speaks about other domains.
//
// The order is from cheap to dear and from "says something about the source" to "says
// something about the recipient": the policy and the source's rate come first and may be
// told apart; what comes after looks alike to a stranger.
func (n *Node) route(ctx context.Context, from federation.Source, e *envelope.Envelope) way {
	if e.Destination != n.self {
		return ended(refused(link.CodeUnknownDestination))
	}
	remote := from.Peer != n.self
	if remote && !n.admit(from.Domain, policy.ActionSignal) && !n.admit(from.Domain, policy.ActionKnock) {
		n.metrics.policyDenials.WithLabelValues(policy.ActionSignal.String()).Inc()
		return ended(refused(link.CodePolicy))
	}
	sum := e.PayloadSum()
	hop, err := n.routing.openHop(e, n.self, sum)
	if errors.Is(err, errNoRoutingKey) {
		// Another payload, another node's hop, or a routing key that is gone: the sender
		// needs a fresh descriptor in the last case and nothing in the others.
		return ended(refused(link.CodeUnknownDestination))
	}
	if err != nil {
		return ended(refused(link.CodeRefused))
	}
	var held admitted
	if remote {
		var code string
		if held, code = n.admitHop(from.Domain, hop, e); code != "" {
			return ended(refused(code))
		}
	}
	id, use := e.IDWith(sum), e.HopUse()
	switch n.hops.seen(use, id, n.now(), e.TTL == envelope.Live) {
	case hopOther:
		// One use of an encapsulation on two envelopes: no honest sender does this.
		return ended(refused(link.CodeRefused))
	case hopSame:
		// A retry of what was live and has been delivered. The stored classes are
		// recognised by the mailbox, which remembers them longer.
		if e.TTL == envelope.Live {
			return ended(outcomeDelivered)
		}
	case hopUnderWay:
		// The first try has not ended, and nobody knows yet how it will.
		return ended(refused(link.CodeUnavailable))
	}
	box := n.mailboxes.byTag(ctx, hop.Tag)
	allowed := tokenMatches(box, hop.Token)
	switch {
	case hop.Knock && box.exists:
		return way{next: stepStore, put: n.stored(box.device, from, hop, e, id), held: held}
	case hop.Knock:
		return ended(n.lostKnock(ctx, id))
	case !allowed:
		n.hops.forget(use)
		return ended(refused(link.CodeRefused))
	case e.TTL != envelope.Live:
		return way{next: stepStore, put: n.stored(box.device, from, hop, e, id), held: held}
	}
	return way{next: stepLive, id: id, device: box.device, hop: hop, held: held}
}

// handOver puts a live envelope in line for its device's connection, which the caller flushes
// if there is one. to is told once, by any goroutine: delivered when the connection has taken
// all of it, not before.
func (n *Node) handOver(e *envelope.Envelope, w *way, submit uint64, to told, by *clientLink) *clientLink {
	h := handovers.Get().(*handover)
	h.n, h.use, h.id, h.submit, h.to = n, e.HopUse(), w.id, submit, to
	l, code := n.hub.deliverLive(w.device, &w.hop, e.Payload, h)
	if code != "" {
		n.hops.forget(h.use)
		to.delivery(h, refused(code), by)
	}
	return l
}

// written is the outcome of an envelope that the store has taken or refused.
func (n *Node) written(ctx context.Context, put *store.Envelope, r store.PutResult) federation.Outcome {
	switch {
	case r.Status == store.StatusQuota && put.Knock:
		return n.lostKnock(ctx, put.ID)
	case r.Status == store.StatusQuota:
		return refused(link.CodeQuota)
	}
	if put.Knock {
		n.metrics.knocks.WithLabelValues("kept").Inc()
	}
	n.hub.wake(put.Mailbox)
	return outcomeStored
}

// lostKnock answers a knock that nobody will read as one that waits: a stranger learns
// neither whether the mailbox exists nor whether it had room. The write makes it take as
// long, and gives a later question about it the same answer.
func (n *Node) lostKnock(ctx context.Context, id envelope.ID) federation.Outcome {
	n.metrics.knocks.WithLabelValues("dropped").Inc()
	if err := n.db.Record(ctx, id, store.FateStored, n.now().Add(store.OutcomeKept)); err != nil {
		return n.storeFailed(err)
	}
	return outcomeStored
}

func (n *Node) stored(device identity.DeviceID, from federation.Source, hop envelope.Hop, e *envelope.Envelope, id envelope.ID) store.Envelope {
	now := n.now()
	return store.Envelope{
		Mailbox: device, ID: id, TTL: e.TTL, Source: from.Peer, Collapse: hop.Collapse,
		Knock: hop.Knock, Hint: hop.Hint, Payload: e.Payload, Received: now, Expires: now.Add(e.TTL.Duration()),
	}
}

func (n *Node) storeFailed(err error) federation.Outcome {
	n.storeError("mailbox write failed", err)
	if errors.Is(err, context.Canceled) || errors.Is(err, store.ErrClosed) {
		return refused(link.CodeDraining)
	}
	return refused(link.CodeUnavailable)
}

// storeError counts what the store failed, and says so. A full disk fails everything, many
// times a second, and the log may be on it: that is said once a minute.
func (n *Node) storeError(what string, err error) {
	n.metrics.storeErrors.Inc()
	if errors.Is(err, store.ErrUnavailable) {
		now, last := n.coarse.Load(), n.storeSaid.Load()
		if last != 0 && now-last < 60 || !n.storeSaid.CompareAndSwap(last, now) {
			return
		}
	}
	n.log.Error(what, "error", err)
}

// tokenMatches compares in constant time, and does the same work for a mailbox that does
// not exist.
func tokenMatches(box *mailbox, token envelope.Token) bool {
	hash := sha256.Sum256(token[:])
	ok := subtle.ConstantTimeCompare(hash[:], box.route.TokenHash[:])
	previous := subtle.ConstantTimeCompare(hash[:], box.route.PreviousHash[:])
	return box.exists && ok|previous == 1
}
