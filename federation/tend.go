package federation

import (
	"context"
	"time"

	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/policy"
)

// loop does what is due while the link lives: notices of expiry, and a session when one is
// wanted.
func (l *link) loop(ctx context.Context) {
	for {
		next := l.step(ctx)
		timer := time.NewTimer(max(time.Until(next), time.Millisecond))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-l.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// step does what is due now and says when to look again.
func (l *link) step(ctx context.Context) time.Time {
	now := time.Now()
	next := now.Add(time.Hour)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	want, allowed := l.wanted(now)
	l.mu.Lock()
	l.soon = false // what is queued from here on is not in what expire finds
	expired, end := l.queue.expire(l.f.cfg.Now())
	verdict, changes := l.mayWaitLocked(now, allowed)
	denied := l.queue.deny(verdict)
	l.mu.Unlock()
	l.finish(expired, Outcome{Fate: envelopepb.Fate_FATE_EXPIRED})
	l.finish(denied, Outcome{Fate: envelopepb.Fate_FATE_REFUSED, Code: wire.CodePolicy})
	if !end.IsZero() {
		sooner(now.Add(end.Sub(l.f.cfg.Now())))
	}
	sooner(changes)
	sooner(l.scan(now, verdict == letNothing))

	l.mu.Lock()
	defer l.mu.Unlock()
	// Nothing waits for less than a live envelope does.
	defer func() { l.soon = next.Sub(now) <= liveWait }()
	switch {
	case l.session != nil || l.dialling || l.closed:
	case !allowed:
		if l.state != StateRefused {
			l.announceLocked()
		}
		l.setStateLocked(StateRefused, wire.CodePolicy)
		l.retryAt = time.Time{}
	case !want:
		l.setStateLocked(StateIdle, l.why)
		l.retryAt = time.Time{}
	case now.Before(l.retryAt):
		sooner(l.retryAt)
	default:
		l.dialling = true
		l.setStateLocked(StateConnecting, l.why)
		l.f.goWith(func() { l.dial(ctx) })
	}
	return next
}

// wanted says whether there should be a session, and whether the policy lets us ask for one.
func (l *link) wanted(now time.Time) (want, allowed bool) {
	l.mu.Lock()
	busy := !l.queue.empty() || !l.lastUsed.IsZero() && now.Sub(l.lastUsed) < linkedAfter
	l.mu.Unlock()
	domain := l.f.domainName(l)
	if domain == "" || l.f.isDraining() {
		return false, true
	}
	d := l.f.decide(domain, policy.ActionFederate, policy.Out)
	if !d.Allow {
		return busy, !busy
	}
	return busy || d.Level == policy.Internal || d.Level == policy.Partner, true
}

// scan finds entries of the durable outbox whose time is over while nobody reads it. With all
// set none is let wait, and those that were never sent end now. Of what an earlier process
// left nobody knows whether it was sent: that waits on.
func (l *link) scan(now time.Time, all bool) time.Time {
	l.mu.Lock()
	q := &l.queue
	due := l.session == nil && q.unread > 0
	if !due || !all && now.Before(l.nextScan) {
		defer l.mu.Unlock()
		if l.session != nil && q.unread > 0 && q.stored < readAhead {
			l.f.feeder.want(l)
			return now.Add(scanEvery)
		}
		if due {
			return l.nextScan
		}
		return time.Time{}
	}
	after := max(q.scanned, q.cursor)
	l.nextScan = now.Add(scanEvery)
	again := l.nextScan
	l.mu.Unlock()

	entries, err := l.f.cfg.Outbox.Next(l.peer, after, scanPage)
	if err != nil {
		l.f.log.Error("the outbox cannot be read", "domain", l.f.domainName(l), "err", err)
		return again
	}
	var ended []*item
	var outcomes []Outcome
	clock := l.f.cfg.Now()
	l.mu.Lock()
	if l.session != nil { // the feeder reads now, and its cursor is its own
		l.mu.Unlock()
		return again
	}
	q.scanned = 0 // around again, unless there is more
	for _, e := range entries {
		q.scanned = e.Seq
		over := !clock.Before(e.Expires)
		if _, ended := q.ending[e.Seq]; ended || !over && !all || e.Seq <= q.cursor {
			continue
		}
		w, ok := q.written[e.Seq]
		if !ok {
			if q.boot == 0 || !over {
				continue
			}
			q.boot--
		}
		q.unread--
		q.unreadBytes -= int64(len(e.Envelope))
		if q.ending == nil {
			q.ending = make(map[uint64]struct{})
		}
		q.ending[e.Seq] = struct{}{}
		ended = append(ended, &item{id: e.ID, done: w.done, seq: e.Seq})
		o := Outcome{Fate: envelopepb.Fate_FATE_EXPIRED}
		if !over {
			o = Outcome{Fate: envelopepb.Fate_FATE_REFUSED, Code: wire.CodePolicy}
		}
		outcomes = append(outcomes, o)
	}
	if len(entries) < scanPage {
		q.scanned = 0
	} else {
		again = now // the next page at once
		l.nextScan = now
	}
	l.mu.Unlock()
	if !l.finishEach(ended, outcomes) {
		return again // they stand on a full disk and have ended: who reads the outbox goes past them
	}
	l.mu.Lock()
	for _, it := range ended {
		delete(q.ending, it.seq)
	}
	l.mu.Unlock()
	return again
}
