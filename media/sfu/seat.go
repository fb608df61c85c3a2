package sfu

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/congestion"
	"github.com/trunkline-net/trunkline/media/sfu/peer"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

const (
	eventsMost = 256
	wantsMost  = 256
	// What a client may send in RTCP: transport-wide feedback each 50 ms, reports, and requests on bad paths.
	controlRate, controlBurst   = 400, 600           // packets
	controlBytes, controlAtOnce = 64 << 10, 64 << 10 // bytes
	// What exceeds the grant by this much is dropped: encoders overshoot.
	grantSpare = 1.15
	// Requests for key frames of one subscription: a burst for a change of view, and then one in five seconds.
	keyRate, keyBurst = 0.2, 4
	// Repeats take at most this part of the estimate.
	repeatPart = 0.25
	// sourcesMost bounds the sources of a seat: 4 slots of 3 streams with a repair each.
	sourcesMost = 24
)

// Seat is one participant's leg. Its methods may be called from any goroutine.
type Seat struct {
	s     *Server
	r     *room
	grant Grant

	negotiating sync.Mutex // one offer at a time
	transport   peer.Transport
	events      chan Event

	queued int // guarded by the room's queue

	// Of the transport's goroutines: what comes is policed there, before it takes the room's time.
	police                   sync.Mutex // guards in, control, controlSize
	in, control, controlSize bucket

	// Everything below belongs to the room's goroutine.
	maxBitrate int64 // of the grant, as it was changed last
	extensions peer.Extensions
	closed     bool
	state      peer.State
	brokenAt   time.Time

	// As a publisher.
	published map[string]*published // by mid
	sources   map[uint32]*incoming
	arrivals  *arrivals // nil until it sends
	lossUp    float64

	// As a subscriber.
	subs      []*subscription
	byMid     map[string]*subscription
	bySSRC    map[uint32]*subscription
	lastN     int
	estimate  *congestion.Estimator
	repeats   bucket
	wanted    int64 // what everything wanted would take
	dirty     bool  // divide anew
	divided   time.Time
	numbered  bool
	graded    time.Time
	lastGrade QualityChanged
}

func newSeat(s *Server, r *room, g Grant) *Seat {
	return &Seat{
		s: s, r: r, grant: g, maxBitrate: g.MaxBitrate, events: make(chan Event, eventsMost),
		in:      newBucket(publishBucket(g.MaxBitrate)),
		control: newBucket(controlRate, controlBurst), controlSize: newBucket(controlBytes, controlAtOnce),
		published: map[string]*published{}, sources: map[uint32]*incoming{},
		byMid: map[string]*subscription{}, bySSRC: map[uint32]*subscription{},
		estimate: congestion.New(g.Receive), repeats: newBucket(congestion.Start*repeatPart/8, 64<<10),
	}
}

// publishBucket is how much may come of a participant at all, and at once: half a second, because a
// key frame is sent in one row.
func publishBucket(maxBitrate int64) (rate, most float64) {
	rate = float64(maxBitrate) / 8 * grantSpare
	return rate, max(rate/2, 128<<10)
}

// Limit changes what the participant may send, as Grant.MaxBitrate says it: whoever granted it has
// been told something else meanwhile. It counts from the next packet on. The sum of what a room's
// publishers may send is looked at when somebody joins and takes nobody's seat.
func (s *Seat) Limit(maxBitrate int64) {
	maxBitrate = s.s.granted(Grant{MaxBitrate: maxBitrate}).MaxBitrate
	s.police.Lock()
	s.in.limit(publishBucket(maxBitrate))
	s.police.Unlock()
	s.r.post(func() { s.maxBitrate = maxBitrate })
}

// begin answers the first offer and takes the seat in the room.
func (s *Seat) begin(ctx context.Context, o *peer.Offer) (string, error) {
	s.negotiating.Lock()
	defer s.negotiating.Unlock()
	transport, err := s.s.carrier.transport(s.r.lane, inlet{s}, s.grant.AudioLevels)
	if err != nil {
		return "", err
	}
	s.transport = transport
	answer, out, err := transport.Answer(ctx, o)
	if err == nil {
		err = s.r.ask(func() error { return s.r.add(s, o, out) })
	}
	if err != nil {
		err = errors.Join(err, transport.Close())
		if errors.Is(err, peer.ErrOffer) {
			err = refuse(ReasonDescription, "%v", err)
		}
		return "", err
	}
	return answer, nil
}

// ID is the participant's index in its room.
func (s *Seat) ID() uint16 { return s.grant.Index }

// Renegotiate answers another offer: more sections, fewer directions, or an ICE restart, which is how a client
// resumes after its path broke. Subscriptions stay.
func (s *Seat) Renegotiate(ctx context.Context, offer Description) (Description, error) {
	o, err := parse(offer)
	if err != nil {
		return Description{}, err
	}
	if err := allowed(o, s.grant); err != nil {
		return Description{}, err
	}
	s.negotiating.Lock()
	defer s.negotiating.Unlock()
	answer, out, err := s.transport.Answer(ctx, o)
	if errors.Is(err, peer.ErrOffer) {
		return Description{}, refuse(ReasonDescription, "%v", err)
	}
	if err == nil {
		err = s.r.ask(func() error { return s.r.renegotiated(s, o, out) })
	}
	if err != nil {
		return Description{}, err
	}
	return Description{SDP: answer}, nil
}

// Want replaces what the participant receives.
func (s *Seat) Want(w Wants) error {
	if len(w.Subscriptions) > wantsMost {
		return refuse(ReasonGrant, "%d subscriptions", len(w.Subscriptions))
	}
	return s.r.ask(func() error { return s.r.want(s, w) })
}

// Speaking is how clients of encrypted rooms say that their person speaks or has stopped.
func (s *Seat) Speaking(on bool) {
	s.r.post(func() {
		if !s.closed {
			s.r.speaker.Report(s.grant.Index, on, s.r.now)
		}
	})
}

// Events has everything that happens to the seat, Closed last; then it is closed. Whoever does not take 256
// events loses the seat.
func (s *Seat) Events() <-chan Event { return s.events }

// Close ends the seat.
func (s *Seat) Close(why Reason) { s.r.post(func() { s.r.remove(s, why) }) }

// emit tells the client something. It belongs to the room's goroutine.
func (s *Seat) emit(e Event) {
	if s.closed {
		return
	}
	select {
	case s.events <- e:
	default:
		s.s.counts.slow.Add(1)
		s.r.remove(s, ReasonSlow)
	}
}

// Numbered implements forward.Sink.
func (s *Seat) Numbered() (uint16, bool) {
	s.numbered = true
	return s.estimate.Next(), true
}

// inlet is where the transport gives what came. It runs on the transport's goroutines.
type inlet struct{ s *Seat }

func (i inlet) RTP(b []byte) {
	s, c := i.s, &i.s.s.counts
	now := time.Now()
	if len(b) > wire.MaxPacket {
		c.badPackets.Add(1)
		return
	}
	s.police.Lock()
	ok := s.in.take(float64(len(b)), now)
	s.police.Unlock()
	if !ok {
		c.overGrant.Add(1)
		return
	}
	p := s.s.pool.Get(b, s.r.micros(now))
	if !s.r.queue.packet(s, p) {
		c.queue.Add(1)
		s.s.pool.Put(p)
	}
}

func (i inlet) RTCP(b []byte) {
	s, c := i.s, &i.s.s.counts
	now := time.Now()
	if len(b) > wire.MaxPacket {
		c.badControl.Add(1)
		return
	}
	s.police.Lock()
	ok := s.control.take(1, now) && s.controlSize.take(float64(len(b)), now)
	s.police.Unlock()
	if !ok {
		c.controlFlood.Add(1)
		return
	}
	p := s.s.pool.Get(b, s.r.micros(now))
	if !s.r.queue.control(s, p, p.At >= s.r.due.Load() || wire.Urgent(b)) {
		c.queue.Add(1)
		s.s.pool.Put(p)
	}
}

func (i inlet) State(state peer.State) { i.s.r.post(func() { i.s.r.stateChanged(i.s, state) }) }

func (i inlet) Strange(string) {
	i.s.s.counts.strange.Add(1)
	i.s.r.post(func() { i.s.r.remove(i.s, ReasonStrange) })
}

// arrivals remembers when a publisher's packets came, for the feedback by which its own congestion control works.
type arrivals struct {
	began   bool
	next    int64 // the first that was not told of
	highest int64
	at      [arrivalsKept]int64
	count   uint8
	told    int64
	fresh   int
}

const (
	arrivalsKept = 1024
	feedbackMost = 300    // packets in one feedback: it fits into a datagram
	feedbackTime = 50_000 // microseconds
	feedbackSoon = 100    // packets that are told of at once
)

func (a *arrivals) came(seq uint16, at int64) {
	if !a.began {
		a.began, a.next, a.highest = true, int64(seq)+1<<16, int64(seq)+1<<16-1
		for i := range a.at {
			a.at[i] = -1
		}
	}
	n := wire.Extend(a.highest, seq)
	if n > a.highest+arrivalsKept || n < a.next-arrivalsKept {
		*a = arrivals{count: a.count, told: a.told}
		a.came(seq, at)
		return
	}
	if n < a.next {
		return // told as lost
	}
	for ; a.highest < n; a.highest++ {
		a.at[(a.highest+1)%arrivalsKept] = -1
	}
	if a.highest-a.next >= arrivalsKept {
		a.next = a.highest - arrivalsKept + 1
	}
	a.at[n%arrivalsKept] = at
	a.fresh++
}

func (a *arrivals) due(now int64) bool {
	return a.fresh > 0 && (now-a.told >= feedbackTime || a.fresh >= feedbackSoon)
}

// feedback appends one message, and reports whether there was something to tell.
func (a *arrivals) feedback(dst []byte, media uint32, now int64) ([]byte, bool) {
	var row [feedbackMost]int64
	n := 0
	for seq := a.next; seq <= a.highest && n < feedbackMost; seq++ {
		row[n] = a.at[seq%arrivalsKept]
		n++
	}
	a.told = now
	dst, told := wire.AppendTWCC(dst, senderSSRC, media, uint16(a.next), row[:n], a.count)
	if told == 0 {
		a.next, a.fresh = a.highest+1, 0
		return dst, false
	}
	a.count++
	a.next += int64(told)
	if a.next > a.highest {
		a.fresh = 0
	}
	return dst, true
}

// grade turns loss into one word.
func grade(loss float64, gone bool) Grade {
	switch {
	case gone:
		return Lost
	case loss > 0.1:
		return Poor
	case loss > 0.03:
		return Fair
	}
	return Good
}
