package federation

import (
	"context"
	"errors"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/policy"
)

// Timers of a link.
const (
	backoffMin  = 500 * time.Millisecond
	backoffMax  = 5 * time.Minute
	dialTime    = 20 * time.Second // to connect and shake hands
	liveWait    = 10 * time.Second // how long a live envelope waits for a link
	outboxTime  = 24 * time.Hour   // the longest an envelope waits for its destination
	linkedAfter = 10 * time.Minute // a link on demand is dialled again that long after its last use
	scanEvery   = 30 * time.Second // the durable outbox is searched for expired entries while the peer is away
	scanPage    = 256
	askAgain    = 5 * time.Second // somebody who wants the link ends a pause that began longer ago
	standsAfter = time.Minute     // a policy's refusal that lasts so long ends what waits
)

// link is what this node holds of one peer: the queue to it, the session when there is one,
// and the wish to have one when there is none.
type link struct {
	f    *Federation
	peer identity.PeerID
	id   peer.ID
	wake chan struct{}

	seen dedupe       // envelopes that came from the peer
	seed maphash.Seed // of their marks

	mu      sync.Mutex // guards all below
	domain  string
	queue   queue
	session *session
	changed chan struct{} // closed and made anew when a session begins or a try ends
	closed  bool          // the federation is stopping: nothing more goes in

	state       State
	since       time.Time
	lastContact time.Time
	lastUsed    time.Time
	soon        bool // the loop looks again before what is queued now can be over
	why         string
	dialling    bool
	greeted     bool // this process has had a session with the peer
	tries       int  // failed tries in a row
	lastTry     time.Time
	pause       time.Duration
	retryAt     time.Time
	refused     time.Time // until when the other side's refusal by its policy counts
	refusedAt   time.Time // when the first of its refusals in a row came
	stands      bool      // it has stood long enough to end also what can wait
	denied      time.Time // since when the own policy denies the link; zero: it does not
	nextScan    time.Time
	descriptor  *identity.NodeDescriptor
	echoRTT     time.Duration
	echoMissed  int
}

func newLink(f *Federation, id identity.PeerID, domain string) *link {
	now := time.Now()
	return &link{f: f, seed: maphash.MakeSeed(), peer: id, id: peer.ID(id[:]), domain: domain, wake: make(chan struct{}, 1),
		changed: make(chan struct{}), state: StateIdle, since: now}
}

// poke makes the loop look again, and the session's sender too.
func (l *link) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
	l.mu.Lock()
	s := l.session
	l.mu.Unlock()
	if s != nil {
		s.kickSender()
	}
}

// send queues an envelope that came at the time clock. It is memory's as long as there is
// room and nothing older waits on disk; then it goes to the durable outbox, unless it is
// live. While the other side's refusal counts nothing is taken, and another try for a link is
// made beside the answer.
func (l *link) send(e *envelope.Envelope, clock time.Time, done Waiter) (durable bool, err error) {
	if e.Size() > wire.MaxEnvelope {
		return false, ErrTooLarge
	}
	it := newItem(e)
	it.done, it.live = done, e.TTL == envelope.Live
	wait := liveWait
	if !it.live {
		wait = min(e.TTL.Duration(), outboxTime)
	}
	it.expires = clock.Add(wait)

	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		it.free()
		return false, ErrDraining
	}
	if l.session == nil { // with one, its sender notes the time
		now := time.Now()
		l.lastUsed = now
		if l.refusedLocked(now) {
			l.tryAgainLocked(now)
			l.mu.Unlock()
			it.free()
			l.poke()
			return false, &RemoteError{Code: wire.CodePolicy}
		}
	}
	disk := l.f.cfg.Outbox != nil && !it.live
	behind := disk && (l.queue.unread > 0 || l.queue.enqueuing > 0)
	if l.queue.fits(len(it.raw)) && !behind {
		l.queue.push(it)
		// The loop has nothing to do with an envelope while there is a session, but to know
		// when its time is over.
		s := l.session
		look := s == nil || !l.soon
		l.mu.Unlock()
		if look {
			signal(l.wake)
		}
		if s != nil {
			s.kickSender()
		}
		return false, nil
	}
	if !disk {
		l.mu.Unlock()
		it.free()
		return false, ErrQueueFull
	}
	it.id = e.ID()
	l.queue.begin(it.id)
	l.mu.Unlock()

	durable, err = l.store(it)
	l.poke()
	switch {
	case err == nil:
		return durable, nil
	case errors.Is(err, ErrQueueFull):
		return false, ErrQueueFull
	case errors.Is(err, ErrDraining):
		return false, ErrDraining
	}
	if !errors.Is(err, ErrUnavailable) { // that is said where the store is known
		l.f.log.Error("an envelope could not be stored for later", "domain", l.f.domainName(l), "err", err)
	}
	return false, ErrUnavailable
}

// store writes an item to the durable outbox; the caller has begun that. One that was on its
// way out of there just now goes to memory instead.
func (l *link) store(it *item) (durable bool, err error) {
	seq, again, err := l.f.cfg.Outbox.Enqueue(l.peer, it.raw, it.id, it.expires)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue.end(it.id)
	durable = err == nil && l.queue.wrote(seq, again, it.id, it.done, len(it.raw))
	switch {
	case err != nil || durable:
		it.free()
	case l.closed:
		it.free()
		return false, ErrDraining
	default:
		l.queue.push(it)
	}
	if l.session != nil {
		l.f.feeder.want(l)
	}
	return durable, err
}

// feed is the link's turn at the durable outbox.
func (l *link) feed(budget int) (took int, more bool) {
	l.mu.Lock()
	cursor, want := l.queue.cursor, l.session != nil && l.queue.unread > 0 && l.queue.stored < readAhead
	l.mu.Unlock()
	if !want {
		return 0, false
	}
	entries, err := l.f.cfg.Outbox.Next(l.peer, cursor, readAhead)
	if err != nil {
		l.f.log.Error("the outbox cannot be read", "domain", l.f.domainName(l), "err", err)
		return 0, false // the loop asks again with its next scan
	}
	l.mu.Lock()
	var gone []*item
	if len(entries) == 0 {
		gone = l.queue.vanished()
	} else {
		took, more = l.queue.read(entries, budget)
	}
	l.mu.Unlock()
	l.finish(gone, Outcome{Fate: envelopepb.Fate_FATE_EXPIRED})
	l.poke()
	return took, more
}

// finish ends items: the durable outbox forgets them, whoever sent them is told, and they are
// given back. It is called without a lock held.
func (l *link) finish(items []*item, o Outcome) {
	if len(items) == 0 {
		return
	}
	outcomes := make([]Outcome, len(items))
	for i := range outcomes {
		outcomes[i] = o
	}
	l.finishEach(items, outcomes)
}

// finishEach is finish with an outcome for each. False: the durable outbox still has what it
// should have forgotten.
func (l *link) finishEach(items []*item, outcomes []Outcome) (forgotten bool) {
	forgotten = true
	if len(items) == 0 {
		return forgotten
	}
	var seqs []uint64
	l.mu.Lock()
	for _, it := range items {
		if it.seq != 0 {
			seqs = append(seqs, it.seq)
			if w, ok := l.queue.written[it.seq]; ok {
				it.done = w.done // more may wait for it than when it was read
				delete(l.queue.written, it.seq)
			}
		}
	}
	l.mu.Unlock()
	for i, it := range items {
		switch {
		case it.done != nil:
			it.done.Ended(outcomes[i])
		case l.f.cfg.Outcome != nil:
			l.f.cfg.Outcome(l.peer, it.name(), outcomes[i])
		}
		it.free()
	}
	l.f.taker.Flush()
	if len(seqs) > 0 {
		// After their end was told: a crash in between must not leave an envelope without a
		// place and without an end. When this is lost the entry is sent once more after a
		// restart, and the other side recognises it.
		if err := l.f.cfg.Outbox.Done(l.peer, seqs); err != nil {
			forgotten = false
			if !errors.Is(err, ErrUnavailable) {
				l.f.log.Error("finished envelopes could not be removed from the outbox", "domain", l.f.domainName(l), "err", err)
			}
		}
	}
	return forgotten
}

// afresh forgets what kept us from the peer: there is a reason to try again now.
func (l *link) afresh() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.afreshLocked()
}

func (l *link) afreshLocked() {
	l.tries, l.pause, l.retryAt, l.refused = 0, 0, time.Time{}, time.Time{}
}

// contact is a sign of life that the peer gave by itself: whatever kept us waiting is over.
func (l *link) contact() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.afreshLocked()
	l.lastContact = time.Now()
}

// refusedBy is a Refuse of the other side. One by its policy is an answer to everybody who
// wants to reach the peer, for as long as it said or until it would be asked again anyway: a
// try that fails in between for another reason does not turn "refused" into "unreachable".
func (l *link) refusedBy(e *refusedError) {
	least := refusedFor(e)
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.code == wire.CodePolicy && l.session == nil {
		now := time.Now()
		if l.refused.IsZero() {
			l.refusedAt = now
		}
		l.refused = now.Add(min(least, backoffMax))
		l.stands = e.retry == 0 && now.Sub(l.refusedAt) >= standsAfter
		if e.retry == 0 && !l.stands {
			least = standsAfter
		}
	}
	l.failedLocked(StateRefused, e.code, least)
}

// mayWaitLocked says what of the queue may wait for a link that a policy does not want, the
// other side's or (not allowed) our own, and when that changes. A slip of an administrator
// that is mended within a minute ends nothing that can wait so long.
func (l *link) mayWaitLocked(now time.Time, allowed bool) (v verdict, changes time.Time) {
	switch {
	case allowed:
		l.denied = time.Time{}
	case l.denied.IsZero():
		l.denied = now
	}
	switch {
	case l.session != nil:
		return letAll, time.Time{}
	case !allowed && now.Sub(l.denied) < standsAfter:
		return letStored, l.denied.Add(standsAfter)
	case !allowed:
		return letNothing, time.Time{}
	case !l.refusedLocked(now):
		return letAll, time.Time{}
	case !l.stands:
		return letStored, time.Time{}
	}
	return letNothing, time.Time{}
}

func (l *link) refusedLocked(now time.Time) bool {
	return l.session == nil && now.Before(l.refused)
}

// tryAgainLocked ends a pause because somebody wants the link, but not for each who does.
func (l *link) tryAgainLocked(now time.Time) {
	if l.session == nil && now.Sub(l.lastTry) >= askAgain {
		l.retryAt = time.Time{}
	}
}

// failed plans the next try with decorrelated jitter: partners that lost each other at one
// moment do not come back at one moment. least is what the other side asked for.
func (l *link) failed(state State, why string, least time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failedLocked(state, why, least)
}

func (l *link) failedLocked(state State, why string, least time.Duration) {
	if l.session != nil {
		return // the other side's dial was faster than the news of how ours ended
	}
	l.tries++
	l.lastTry = time.Now()
	l.pause = nextPause(l.pause, rand.Float64())
	l.retryAt = time.Now().Add(max(l.pause, min(least, backoffMax)))
	l.setStateLocked(state, why)
	l.announceLocked()
}

// nextPause is min(max, uniform(min, 3 × last)).
func nextPause(last time.Duration, random float64) time.Duration {
	top := max(3*last, 2*backoffMin)
	return min(backoffMin+time.Duration(random*float64(top-backoffMin)), backoffMax)
}

func (l *link) setStateLocked(s State, why string) {
	if l.state != s {
		l.state, l.since = s, time.Now()
	}
	l.why = why
}

// announceLocked wakes those who wait for a session.
func (l *link) announceLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// connected waits for a session, and asks for one.
func (l *link) connected(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, liveWait)
	defer cancel()
	for first := true; ; first = false {
		now := time.Now()
		l.mu.Lock()
		l.lastUsed = now
		s, changed, state, why := l.session, l.changed, l.state, l.why
		refused, tried := l.refusedLocked(now), now.Sub(l.lastTry) < askAgain
		if first {
			l.tryAgainLocked(now)
		}
		l.mu.Unlock()
		if s != nil {
			return s, nil
		}
		if !first || tried {
			switch {
			case state == StateRefused && why == wire.CodePolicy && !l.f.decide(l.f.domainName(l), policy.ActionFederate, policy.Out).Allow:
				return nil, ErrPolicy
			case refused:
				return nil, &RemoteError{Code: wire.CodePolicy}
			case state == StateRefused:
				return nil, &RemoteError{Code: why}
			}
		}
		l.poke()
		select {
		case <-changed:
		case <-ctx.Done():
			if refused {
				return nil, &RemoteError{Code: wire.CodePolicy}
			}
			return nil, ErrUnreachable
		}
	}
}

// begin makes s the link's session, after the one before it has ended.
func (l *link) begin(s *session) bool {
	for {
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return false
		}
		old := l.session
		if old == nil {
			l.session = s
			l.domain = s.domain
			l.afreshLocked()
			l.lastContact = time.Now()
			l.descriptor = s.descriptor
			l.setStateLocked(StateConnected, "")
			l.announceLocked()
			s.back = !l.greeted
			l.greeted = true
			l.mu.Unlock()
			l.f.feeder.want(l)
			return true
		}
		l.mu.Unlock()
		old.end(errReplaced)
		<-old.ended
	}
}

// over takes back what a session had on the way and plans the next one.
func (l *link) over(s *session, err error) {
	l.mu.Lock()
	l.session = nil
	l.lastContact = time.Unix(0, s.lastFrame.Load())
	l.queue.restore()
	l.mu.Unlock()
	var refused *refusedError
	switch {
	case errors.Is(err, errReplaced):
		// The next session is waiting for this one to be over.
	case errors.As(err, &refused):
		l.refusedBy(refused)
	case s.drained():
		l.failed(StateDraining, wire.CodeDraining, s.backAfter())
	default:
		l.failed(StateWaiting, reason(err), 0)
	}
	l.poke()
}

// flush ends the link's life: what may wait is written to the durable outbox, what may not
// is told to its sender.
func (l *link) flush() {
	l.mu.Lock()
	l.closed = true
	l.queue.restore()
	var lost []*item
	var keep []*item
	for _, it := range l.queue.ready[l.queue.head:] {
		switch {
		case it.seq != 0:
		case it.live || l.f.cfg.Outbox == nil || !l.f.cfg.Now().Before(it.expires):
			lost = append(lost, it)
		default:
			keep = append(keep, it)
		}
	}
	l.queue.ready, l.queue.head = nil, 0
	l.announceLocked()
	l.mu.Unlock()
	for _, it := range keep {
		if _, _, err := l.f.cfg.Outbox.Enqueue(l.peer, it.raw, it.name(), it.expires); err != nil {
			lost = append(lost, it)
		}
	}
	l.finish(lost, Outcome{Fate: envelopepb.Fate_FATE_REFUSED, Code: wire.CodeDraining})
}

func (l *link) status() PeerStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := PeerStatus{
		Domain: l.domain, Peer: l.peer, State: l.state, Since: l.since, LastContact: l.lastContact,
		EchoRTT: l.echoRTT, EchoMissed: l.echoMissed,
		QueueLen:   l.queue.len() + len(l.queue.flight) + l.queue.unread,
		QueueBytes: l.queue.bytes + int64(l.queue.flightBytes) + l.queue.unreadBytes,
		Why:        l.why,
	}
	if l.session != nil {
		st.LastContact = time.Unix(0, l.session.lastFrame.Load())
	} else if !l.dialling {
		st.RetryAt = l.retryAt
	}
	return st
}
