// Package congestion estimates what one client's path takes, at the sending side, from the feedback that tells when
// each packet came (transport-wide congestion control).
//
// Four things move the estimate: a queue that grows on the path lowers it to what came through; an empty queue raises
// it slowly; a probe, which is a short burst at a higher rate, raises it at once to what came through of it; and loss
// above a tenth lowers it. What is sent because there is no more to send says nothing about the path: then the
// estimate stays, it neither grows without bound nor falls to what was sent.
//
// Time is given by the caller, so that tests have their own.
package congestion

import (
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

const (
	// Floor keeps sound alive on any path.
	Floor = 64_000
	// Start is what is assumed before the first feedback: one picture of a good size, at once. A path that takes less
	// says so within half a second.
	Start = 1_500_000

	history    = 2048 // packets on the way; at 1,000 packets/s, which are 9 Mbit/s, two seconds
	rateWindow = 500 * time.Millisecond

	// back is what is left of the measured rate while a queue empties, and settle what is used afterwards.
	back   = 0.9
	settle = 0.95
	// Growth without a probe: a fraction in each second.
	growth = 0.08
	// limited: below this part of the estimate, the sender is what limits.
	limited = 0.8

	lossTolerated = 0.1 // below it loss is taken for the path's own
	lossWindow    = 500 * time.Millisecond

	// A probe lasts so long, and has at least so many packets.
	probeTime    = 40 * time.Millisecond
	ProbePackets = 6
	probeFactor  = 2.0
	probeEvery   = time.Second
	probeWait    = 500 * time.Millisecond // for its feedback; then it is lost
	forgotten    = 2 * time.Second
	probeQueue   = 200 * time.Millisecond // how long what it did to the queue is seen
	// heldUpTime is more than packets of a probe keep each other waiting, in microseconds: see heldUp.
	heldUpTime = 5_000
)

type sent struct {
	seq   int64
	at    int64 // microseconds
	came  int64 // by the receiver's clock, if known
	size  int32
	known bool // told of by a feedback
}

// Estimator is one path's. It belongs to one goroutine.
type Estimator struct {
	most     int64
	estimate float64
	link     float64 // what came through when it was last full; 0: never
	probed   float64 // what the newest probe that filled it found
	probedAt int64
	ring     []sent // of history; apart, so that what is looked at often lies together
	next     int64

	trend    trend
	acked    rate // what came, by arrival
	out      rate // what was sent, by sending
	draining bool

	arrivals int64 // the receiver's clock, unwrapped
	began    bool

	lost, told float64 // in the loss window
	loss       float64
	lossSince  int64
	held       int64 // no lowering for loss or queue before
	raised     int64

	probe      probe
	lastProbe  int64
	again      bool // the last probe went through: the next may follow at once
	rtt        time.Duration
	feedbacks  uint64
	heard      int64 // when feedback came last
	lastAcked  int64
	overusedAt int64
}

type probe struct {
	open        bool // packets are still being sent
	first, last int64
	began       int64
	target      float64
	bytes       int64
}

// New estimator, never above most.
func New(most int64) *Estimator {
	e := &Estimator{most: most, estimate: min(Start, float64(most)), ring: make([]sent, history)}
	e.trend.reset()
	return e
}

func micros(t time.Time) int64 { return t.UnixMicro() }

// Next is the transport-wide number of the packet that is sent next.
func (e *Estimator) Next() uint16 { return uint16(e.next) }

// Sent tells that the packet with the number of Next was sent.
func (e *Estimator) Sent(size int, now time.Time) {
	at := micros(now)
	e.ring[e.next%history] = sent{seq: e.next, at: at, size: int32(size)}
	if e.probe.open {
		e.probe.last = e.next
		e.probe.bytes += int64(size)
	}
	e.next++
	e.out.add(at, size)
}

// Estimate in bit/s: what may be sent.
func (e *Estimator) Estimate() int64 { return int64(e.estimate) }

// Sending is what was sent in the last half second, in bit/s.
func (e *Estimator) Sending(now time.Time) int64 { return int64(e.out.per(micros(now))) }

// Loss of the last half second, 0 to 1.
func (e *Estimator) Loss() float64 { return e.loss }

// RoundTrip of the newest packet that was told of; 0: none yet.
func (e *Estimator) RoundTrip() time.Duration { return e.rtt }

// Told reports whether any feedback came: a client that gives none has no estimate.
func (e *Estimator) Told() bool { return e.feedbacks > 0 }

// Limited reports whether less is sent than the path is thought to take.
func (e *Estimator) Limited(now time.Time) bool {
	return e.out.per(micros(now)) < limited*e.estimate
}

// Feedback takes one feedback message. What it says of packets that were never sent is not used.
func (e *Estimator) Feedback(fci []byte, now time.Time) error {
	at := micros(now)
	newest := int64(-1)
	err := wire.ReadTWCC(fci, func(a wire.Arrival) {
		seq := wire.Extend(e.next-1, a.Sequence)
		if seq < 0 || seq >= e.next || seq < e.next-history {
			return
		}
		s := &e.ring[seq%history]
		if s.seq != seq || s.known {
			return
		}
		if !a.Received {
			e.told++
			e.lost++
			return
		}
		e.told++
		arrived := e.unwrap(a.At)
		s.known, s.came = true, arrived
		e.acked.add(arrived, int(s.size))
		e.lastAcked = arrived
		e.trend.packet(s.at, arrived)
		e.probeArrived(seq)
		newest = max(newest, s.at)
	})
	if newest >= 0 {
		e.rtt = time.Duration(at-newest) * time.Microsecond
		e.feedbacks++
		e.heard = at
	}
	e.adjust(at)
	return err
}

// unwrap the receiver's clock, which has 24 bits of 64 ms.
func (e *Estimator) unwrap(at int64) int64 {
	const wrap = 1 << 24 * 64_000
	if !e.began {
		e.began, e.arrivals = true, at
		return at
	}
	d := (at - e.arrivals) % wrap
	if d > wrap/2 {
		d -= wrap
	} else if d < -wrap/2 {
		d += wrap
	}
	e.arrivals += d
	return e.arrivals
}

func (e *Estimator) adjust(at int64) {
	through := e.acked.per(e.lastAcked)
	isLimited := e.out.per(at) < limited*e.estimate
	if at-e.lossSince >= lossWindow.Microseconds() {
		if e.told >= 20 {
			e.loss = e.lost / e.told
			if e.loss > lossTolerated && at >= e.held {
				e.estimate *= 1 - e.loss/2
				if !isLimited && through > 0 && back*through < e.estimate {
					// A queue that is full to its end has an even delay: only what came through tells.
					e.estimate, e.link, e.draining = back*through, through, true
				}
				e.held = at + 300_000 + e.rtt.Microseconds()
			}
			e.lost, e.told = 0, 0
			e.lossSince = at
		} else if at-e.lossSince > 4*lossWindow.Microseconds() {
			e.lost, e.told, e.lossSince = 0, 0, at
		}
	}
	switch e.trend.state {
	case growing:
		if at < e.held || at < e.lastProbe+probeQueue.Microseconds()+e.rtt.Microseconds() || e.probe.open {
			break // the queue of a probe is its own doing
		}
		// What came through while the queue grew is what the path takes, unless hardly anything was sent. A probe has
		// just said so better: most of the half second of through is from before it, when less was sent.
		if at-e.probedAt < (rateWindow+probeQueue).Microseconds()+e.rtt.Microseconds() {
			through = max(through, e.probed)
		}
		if !isLimited && through > 0 {
			e.link = through
			e.estimate = min(e.estimate, back*through)
			e.draining = true
		} else {
			e.estimate = max(back*e.estimate, min(e.estimate, back*through))
		}
		e.held = at + 200_000 + e.rtt.Microseconds()
		e.overusedAt = at
		e.again = false
	case steady:
		if e.draining && at >= e.held {
			e.draining = false
			e.estimate = max(e.estimate, settle*e.link)
		}
		if dt := at - e.raised; !isLimited && !e.draining && e.loss <= lossTolerated && dt > 0 {
			// Beyond what was seen to come through there is nothing to grow on.
			grown := e.estimate * (1 + growth*min(float64(dt)/1e6, 1))
			e.estimate = max(e.estimate, min(grown, 1.5*through+10_000))
		}
	case shrinking:
		// The queue empties: wait.
	}
	e.raised = at
	e.estimate = min(max(e.estimate, Floor), float64(e.most))
}

// Probe says how many bytes a probe should send now beyond the media, when wanted is more than the estimate: the
// caller asks every few milliseconds. 0: none.
func (e *Estimator) Probe(wanted int64, now time.Time) int {
	at := micros(now)
	p := &e.probe
	if p.open {
		goal := int64(p.target * float64(at-p.began+10_000) / 8e6)
		if at-p.began >= probeTime.Microseconds() && e.next-p.first >= ProbePackets {
			p.open = false
			e.lastProbe = at
			if e.ring[p.last%history].known { // on a short path its end was told of already
				e.finishProbe()
			}
			return 0
		}
		return int(max(goal-p.bytes, 1))
	}
	if p.first != p.last && at-e.lastProbe < probeWait.Microseconds() {
		return 0 // it is not told of yet
	}
	if p.first != p.last {
		*p = probe{} // it is lost
		e.again = false
	}
	if at-e.heard > forgotten.Microseconds() {
		// Nothing was sent for so long that nothing is known: neither a queue nor a loss.
		e.trend.state, e.draining, e.loss = steady, false, 0
		e.lost, e.told, e.lossSince = 0, 0, at
	}
	if float64(wanted) <= 1.05*e.estimate || e.estimate >= float64(e.most) || e.trend.state != steady || e.draining ||
		e.loss > lossTolerated || at < e.held {
		return 0
	}
	if since := at - max(e.lastProbe, e.overusedAt); since < probeEvery.Microseconds() && !e.again {
		return 0
	}
	e.again = false
	*p = probe{open: true, first: e.next, last: e.next, began: at, target: min(probeFactor*e.estimate, 1.2*float64(wanted), 1.1*float64(e.most))}
	return int(p.target * 10_000 / 8e6)
}

// probeArrived looks at a finished probe when its last packet has come.
func (e *Estimator) probeArrived(seq int64) {
	if p := &e.probe; !p.open && p.first != p.last && seq >= p.last {
		e.finishProbe()
	}
}

func (e *Estimator) finishProbe() {
	p := e.probe
	e.probe = probe{}
	var all, head, tail, came int64
	firstSent, lastSent := e.ring[p.first%history].at, e.ring[p.last%history].at
	headSent, headCame, lastCame := int64(-1), int64(-1), int64(-1)
	for seq := p.first; seq <= p.last; seq++ {
		s := e.ring[seq%history]
		all += int64(s.size)
		if lastSent-s.at < 5000 {
			tail += int64(s.size) // the last row leaves no interval behind it
		}
		if !s.known {
			continue
		}
		came += int64(s.size)
		lastCame = max(lastCame, s.came)
		if s.at-firstSent < 5000 {
			head += int64(s.size) // the first row has no interval before it
			headSent, headCame = s.at, max(headCame, s.came)
		}
	}
	if came < all*3/4 || lastSent <= firstSent || headCame < 0 || lastCame <= headCame || came <= head {
		return
	}
	smallest, held := e.heldUp(p)
	if held {
		// Or the first ones came too late, and the rest in one row. So it took so much at least.
		headCame = min(headCame, headSent+smallest)
	}
	sentRate := float64(all-tail) * 8e6 / float64(lastSent-firstSent)
	cameRate := float64(came-head) * 8e6 / float64(lastCame-headCame)
	if cameRate >= 0.9*sentRate {
		e.estimate = min(max(e.estimate, min(cameRate, sentRate, p.target)), float64(e.most))
		e.again = true
		return
	}
	if !held {
		// The path was full: this is what it takes.
		e.link, e.probed, e.probedAt = cameRate, cameRate, e.lastProbe
	}
	e.estimate = min(max(e.estimate, settle*cameRate), float64(e.most))
}

// heldUp says whether something else than the path's rate made packets of a probe late: the first ones waited longer than
// one behind them, or one of them waited for more than all others together. A path that is full, or sends its packets on
// one by one, spreads what they wait. smallest is the delay of the fastest one.
func (e *Estimator) heldUp(p probe) (smallest int64, held bool) {
	var first, before int64 // delays
	var largest, all int64  // what packets waited longer than the one before them
	began := false
	for seq := p.first; seq <= p.last; seq++ {
		s := &e.ring[seq%history]
		if !s.known {
			continue
		}
		delay := s.came - s.at
		if !began {
			began, first, smallest, before = true, delay, delay, delay
			continue
		}
		if longer := delay - before; longer > 0 {
			largest, all = max(largest, longer), all+longer
		}
		smallest, before = min(smallest, delay), delay
	}
	return smallest, first-smallest > heldUpTime || largest > heldUpTime && largest > all/2
}

// Report is for clients that give no feedback but receiver reports: loss alone moves the estimate.
func (e *Estimator) Report(loss float64, now time.Time) {
	if e.Told() {
		return
	}
	at := micros(now)
	e.loss = loss
	switch {
	case loss > lossTolerated:
		e.estimate *= 1 - loss/2
	case loss < 0.02 && e.out.per(at) >= limited*e.estimate:
		e.estimate *= 1 + growth
	}
	e.estimate = min(max(e.estimate, Floor), float64(e.most))
}

// rate over a sliding window, in slots.
type rate struct {
	slot  int64
	bytes [11]int64
	first int64
}

const slotTime = 50_000

func (r *rate) add(at int64, size int) {
	if r.first == 0 {
		r.first, r.slot = at, at/slotTime
	}
	r.turn(at / slotTime)
	if d := r.slot - at/slotTime; d < int64(len(r.bytes)) {
		r.bytes[(at/slotTime)%int64(len(r.bytes))] += int64(size)
	}
}

func (r *rate) turn(slot int64) {
	for ; r.slot < slot; r.slot++ {
		if slot-r.slot > int64(len(r.bytes)) {
			r.slot = slot - int64(len(r.bytes))
		}
		r.bytes[(r.slot+1)%int64(len(r.bytes))] = 0
	}
}

// per second, in bits, of the window before the running slot.
func (r *rate) per(at int64) float64 {
	if r.first == 0 {
		return 0
	}
	r.turn(at / slotTime)
	var sum int64
	for i, b := range r.bytes {
		if int64(i) != r.slot%int64(len(r.bytes)) {
			sum += b
		}
	}
	span := min(r.slot*slotTime-r.first, int64(len(r.bytes)-1)*slotTime)
	if span < slotTime {
		return 0
	}
	return float64(sum) * 8e6 / float64(span)
}
