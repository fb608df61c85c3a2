package congestion_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/congestion"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// path is a link with a queue, a delay and a loss, and a sender on it, in virtual time.
type path struct {
	t        *testing.T
	e        *congestion.Estimator
	now      time.Time
	rate     float64 // bit/s
	delay    time.Duration
	queue    time.Duration // the most that the queue holds
	loss     float64
	jitter   time.Duration
	random   *rand.Rand
	idle     time.Time // when the link has sent what it holds
	arrivals []int64
	base     int64
	base16   uint16
	pending  []feedback
	fed      time.Time
	count    uint8

	wanted   float64 // what the sender would like to send in media, bit/s
	mostSend float64 // what it has, bit/s
	debt     float64
	sentBits float64
	peak     time.Duration // of the queue

	step     time.Duration // of the sender
	sends    machine
	receives machine
}

// machine does other things now and then, and what is due meanwhile at the end of them. The zero value does not.
type machine struct {
	random     *rand.Rand
	perSecond  float64
	mean, most time.Duration
	from, to   time.Time // the newest of them, or the next one
}

func busy(seed uint64, perSecond float64, mean, most time.Duration) machine {
	return machine{random: rand.New(rand.NewPCG(seed, 5)), perSecond: perSecond, mean: mean, most: most}
}

// at says when it does what is due at a time. Times do not go back.
func (m *machine) at(due time.Time) time.Time {
	if m.random == nil {
		return due
	}
	if m.to.IsZero() {
		m.to = due
	}
	for !due.Before(m.to) {
		m.from = m.to.Add(time.Duration(m.random.ExpFloat64() / m.perSecond * 1e9))
		m.to = m.from.Add(min(time.Duration(m.random.ExpFloat64()*float64(m.mean)), m.most))
	}
	if due.Before(m.from) {
		return due
	}
	return m.to
}

type feedback struct {
	at  time.Time
	fci []byte
}

func newPath(t *testing.T, rate float64) *path {
	start := time.UnixMicro(1_800_000_000_000_000)
	return &path{
		t: t, e: congestion.New(20_000_000), now: start, rate: rate, delay: 20 * time.Millisecond, queue: 300 * time.Millisecond,
		random: rand.New(rand.NewPCG(1, 2)), idle: start, fed: start, wanted: 10e6, mostSend: 1e9, step: 10 * time.Millisecond,
	}
}

func (p *path) send(size int) {
	p.e.Sent(size, p.now)
	p.sentBits += float64(size) * 8
	if p.idle.Before(p.now) {
		p.idle = p.now
	}
	wait := p.idle.Sub(p.now)
	p.peak = max(p.peak, wait)
	at := int64(-1)
	if wait <= p.queue && p.random.Float64() >= p.loss {
		p.idle = p.idle.Add(time.Duration(float64(size) * 8 / p.rate * 1e9))
		came := p.idle.Add(p.delay)
		if p.jitter > 0 {
			came = came.Add(time.Duration(p.random.Int64N(int64(p.jitter))))
		}
		came = p.receives.at(came)
		at = came.UnixMicro() - 1_000_000_000_000_000 // another clock
	}
	p.arrivals = append(p.arrivals, at)
}

// run for d, step by step: the sender sends 1100-byte packets at its estimate, or at what it has.
func (p *path) run(d time.Duration) {
	for end := p.now.Add(d); p.now.Before(end); p.now = p.now.Add(p.step) {
		budget := min(float64(p.e.Estimate())*0.97, p.mostSend, p.wanted)
		due := p.now
		p.now = p.sends.at(due)
		// What a busy machine missed is sent at once, but not more than 50 ms of it.
		p.debt += budget * min(p.step+p.now.Sub(due), 50*time.Millisecond).Seconds()
		for p.debt >= 1100*8 {
			p.send(1100)
			p.debt -= 1100 * 8
		}
		for n := p.e.Probe(int64(p.wanted), p.now); n > 0; n -= 1100 {
			p.send(1100)
		}
		// The receiver tells each 50 ms what came; that takes the delay too.
		if p.now.Sub(p.fed) >= 50*time.Millisecond {
			p.tell()
		}
		for len(p.pending) > 0 && !p.pending[0].at.After(p.now) {
			if err := p.e.Feedback(p.pending[0].fci, p.now); err != nil {
				p.t.Fatal(err)
			}
			p.pending = p.pending[1:]
		}
	}
}

func (p *path) tell() {
	p.fed = p.now
	n := 0
	for i, at := range p.arrivals {
		if at >= 0 && at+1_000_000_000_000_000 <= p.now.UnixMicro() {
			n = i + 1
		}
	}
	if n == 0 {
		return
	}
	b, told := wire.AppendTWCC(nil, 1, 2, p.base16, p.arrivals[:n], p.count)
	p.count++
	c := wire.NewCompound(b)
	q, _ := c.Next()
	_, fci, ok := q.Feedback()
	if !ok || told == 0 {
		p.t.Fatal("no feedback was written")
	}
	p.arrivals = p.arrivals[told:]
	p.base16 += uint16(told)
	p.pending = append(p.pending, feedback{p.now.Add(p.delay), append([]byte(nil), fci...)})
}

func (p *path) within(what string, want, part float64) {
	p.t.Helper()
	if got := float64(p.e.Estimate()); got < want*(1-part) || got > want*(1+part) {
		p.t.Errorf("%s: the estimate is %.0f kbit/s on a link of %.0f", what, got/1000, want/1000)
	}
}

func TestTheEstimateFollowsALinkInThreeSeconds(t *testing.T) {
	for _, c := range []struct{ from, to float64 }{
		{2e6, 1e6}, {1e6, 2e6}, {4e6, 1e6}, {1e6, 4e6}, {500e3, 300e3}, {300e3, 600e3}, {5e6, 2.5e6}, {2.5e6, 8e6},
	} {
		p := newPath(t, c.from)
		p.run(6 * time.Second)
		p.within("at first", c.from, 0.15)
		p.rate = c.to
		p.run(3 * time.Second)
		p.within("after the change", c.to, 0.15)
		for range 8 {
			p.run(time.Second)
			p.within("later", c.to, 0.2)
		}
	}
}

// TestAMachinesDelayIsNoQueue: both sides' machines do other things now and then, the link changes its rate, and three
// seconds later the estimate is there as if they had not: nearly always where each is away twice in a second for 10 ms,
// and still mostly where it is for 20 ms five times, or for 60 ms twice.
func TestAMachinesDelayIsNoQueue(t *testing.T) {
	const runs = 40
	steps := []float64{1e6, 2e6, 4e6, 1e6, 500e3, 1.5e6, 3e6, 2e6}
	for _, c := range []struct {
		perSecond  float64
		mean, most time.Duration
		least      float64 // part of the steps
	}{
		{2, 10 * time.Millisecond, 50 * time.Millisecond, 0.98},
		{5, 10 * time.Millisecond, 50 * time.Millisecond, 0.96},
		{5, 20 * time.Millisecond, 100 * time.Millisecond, 0.92},
		{2, 60 * time.Millisecond, 200 * time.Millisecond, 0.9},
	} {
		followed := 0
		for seed := range uint64(runs) {
			p := newPath(t, 2e6)
			p.step, p.wanted = 5*time.Millisecond, 20e6
			p.sends, p.receives = busy(2*seed, c.perSecond, c.mean, c.most), busy(2*seed+1, c.perSecond, c.mean, c.most)
			p.run(6 * time.Second)
			for _, p.rate = range steps {
				p.run(3 * time.Second)
				if got := float64(p.e.Estimate()) / p.rate; got >= 0.85 && got <= 1.15 {
					followed++
				}
				p.run(2 * time.Second)
			}
		}
		part := float64(followed) / float64(runs*len(steps))
		t.Logf("away %v times a second for %v: %.3f of all steps", c.perSecond, c.mean, part)
		if part < c.least {
			t.Errorf("away %v times a second for %v: the estimate follows %.3f of all steps", c.perSecond, c.mean, part)
		}
	}
}

func TestAMachinesDelayDoesNotMoveALimitedSender(t *testing.T) {
	for seed := range uint64(20) {
		p := newPath(t, 3e6)
		p.run(5 * time.Second)
		before := p.e.Estimate()
		p.sends, p.receives = busy(2*seed, 5, 20*time.Millisecond, 100*time.Millisecond), busy(2*seed+1, 5, 20*time.Millisecond, 100*time.Millisecond)
		p.mostSend, p.wanted = 200e3, 200e3
		p.run(30 * time.Second)
		if got := p.e.Estimate(); got > before*11/10 || got < before*8/10 {
			t.Errorf("after 30 s of sending little it is %d, was %d", got, before)
		}
	}
}

func TestAnUnchangedLinkKeepsItsEstimateAndAShortQueue(t *testing.T) {
	p := newPath(t, 2e6)
	p.run(6 * time.Second)
	p.peak = 0
	for range 30 {
		p.run(time.Second)
		p.within("steady", 2e6, 0.18)
	}
	if p.peak > 250*time.Millisecond {
		t.Errorf("the queue grew to %v", p.peak)
	}
}

// Who has little to send must not lose the estimate, nor gain one that nothing has tested.
func TestTheEstimateStaysWhenTheSenderIsTheLimit(t *testing.T) {
	p := newPath(t, 3e6)
	p.run(5 * time.Second)
	p.within("full", 3e6, 0.15)
	before := p.e.Estimate()
	p.mostSend, p.wanted = 150e3, 150e3
	for range 60 {
		p.run(time.Second)
		if got := p.e.Estimate(); got > before*11/10 || got < before*8/10 {
			t.Fatalf("after being limited it is %d, was %d", got, before)
		}
		if !p.e.Limited(p.now) {
			t.Fatal("it does not know that the sender is the limit")
		}
	}
	p.mostSend, p.wanted = 1e9, 10e6
	p.run(2 * time.Second)
	p.within("full again", 3e6, 0.15)
}

func TestAQueueOfOthersDoesNotCollapseALimitedSender(t *testing.T) {
	p := newPath(t, 3e6)
	p.run(5 * time.Second)
	p.mostSend, p.wanted = 200e3, 200e3
	p.run(2 * time.Second)
	// Somebody else fills the queue for a moment, again and again.
	for range 20 {
		p.idle = p.now.Add(120 * time.Millisecond)
		p.run(time.Second)
	}
	if got := p.e.Estimate(); got < 600e3 {
		t.Errorf("it collapsed to %d", got)
	}
}

func TestRandomLossAloneIsNotCongestion(t *testing.T) {
	p := newPath(t, 2e6)
	p.loss = 0.05
	p.run(10 * time.Second)
	p.within("at 5 % loss", 2e6, 0.2)
	if l := p.e.Loss(); l < 0.005 || l > 0.15 {
		t.Errorf("the loss is told as %.3f", l)
	}
}

func TestHeavyLossLowersTheEstimate(t *testing.T) {
	p := newPath(t, 50e6)
	p.run(5 * time.Second)
	before := p.e.Estimate()
	p.loss = 0.3
	p.run(3 * time.Second)
	if got := p.e.Estimate(); got > before/2 {
		t.Errorf("at 30 %% loss it is %d, was %d", got, before)
	}
}

func TestJitterIsNotCongestion(t *testing.T) {
	p := newPath(t, 2e6)
	p.jitter = 8 * time.Millisecond
	p.run(10 * time.Second)
	p.within("with jitter", 2e6, 0.25)
}

func TestFeedbackThatLiesIsBounded(t *testing.T) {
	p := newPath(t, 2e6)
	p.run(3 * time.Second)
	random := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		b := make([]byte, random.IntN(200))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		_ = p.e.Feedback(b, p.now) // an error is the usual answer
		p.now = p.now.Add(time.Millisecond)
		if got := p.e.Estimate(); got < congestion.Floor || got > 20_000_000 {
			t.Fatalf("%d is out of bounds", got)
		}
	}
}
