package sfu

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/forward"
	"github.com/trunkline-net/trunkline/media/sfu/peer"
	"github.com/trunkline-net/trunkline/media/sfu/speaker"
	"github.com/trunkline-net/trunkline/media/sfu/track"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

const (
	tickTime = 10 * time.Millisecond
	// senderSSRC is what the server's own RTCP comes from; it sends no media of its own.
	senderSSRC = 1
)

// room is one room's goroutine and everything that it owns: seats, tracks, subscriptions. Whatever comes for the room
// goes through its queue; what it sends for one row of packets leaves with one system call when the row is done.
type room struct {
	s     *Server
	key   RoomKey
	queue *queue
	lane  lane
	quit  chan struct{}
	busy  meter
	epoch time.Time
	due   atomic.Int64 // when the next tick is, on the room's clock

	seated int            // guarded by Server.mu
	taken  map[uint16]int // guarded by Server.mu: seats of each participant

	// Everything below belongs to loop.
	now     time.Time
	micro   int64
	closing bool
	why     Reason
	seats   []*Seat
	tracks  []*published
	speaker *speaker.Order
	second  time.Time // of the last work that is done once in a second
	tenth   time.Time
	control []byte
	seqs    []uint16
	reports []wire.Report
	scratch divider
}

func newRoom(s *Server, key RoomKey) *room {
	return &room{
		s: s, key: key, queue: newQueue(), lane: s.carrier.lane(), quit: make(chan struct{}), epoch: time.Now(),
		taken: map[uint16]int{}, speaker: speaker.New(),
	}
}

// micros is the room's clock: it begins with one second, so that 0 means never.
func (r *room) micros(t time.Time) int64 { return t.Sub(r.epoch).Microseconds() + 1_000_000 }

func (r *room) setNow(t time.Time) { r.now, r.micro = t, r.micros(t) }

// post lets the room's goroutine do something.
func (r *room) post(f func()) { r.queue.do(f) }

// ask does the same and waits for it.
func (r *room) ask(f func() error) error {
	done := make(chan error, 1)
	r.post(func() { done <- f() })
	select {
	case err := <-done:
		return err
	case <-r.quit:
		// The room ended; it may have done this before.
		select {
		case err := <-done:
			return err
		default:
			return refuse(ReasonRoomClosed, "")
		}
	}
}

// loop works when something came, and ticks each tickTime. A tick comes along with other work where there is some: for
// the machine to wake up costs more than what a tick does.
func (r *room) loop() {
	timer := time.NewTimer(tickTime)
	defer timer.Stop()
	for {
		late := false
		select {
		case <-r.queue.ready:
		case <-timer.C:
			late = true
		case <-r.quit:
			for _, i := range r.queue.take() {
				if i.p != nil {
					r.s.pool.Put(i.p)
				}
			}
			r.lane.Release()
			return
		}
		began := time.Now()
		r.setNow(began)
		r.work()
		if late || r.micro >= r.due.Load() {
			r.tick()
			r.due.Store(r.micro + tickTime.Microseconds())
			timer.Reset(tickTime)
		}
		r.flush()
		r.busy.worked.Add(int64(time.Since(began)))
	}
}

// flush sends what was written. A socket that is closed ends the server, which knows.
func (r *room) flush() { _ = r.lane.Flush() }

func (r *room) work() {
	items := r.queue.take()
	for i := range items {
		switch it := &items[i]; {
		case it.do != nil:
			it.do()
		case it.seat.closed:
			r.s.pool.Put(it.p)
		case it.rtcp:
			r.rtcp(it.seat, it.p)
			r.s.pool.Put(it.p)
		default:
			r.rtp(it.seat, it.p)
		}
	}
	r.queue.done(items)
}

// add takes a seat that was answered.
func (r *room) add(s *Seat, o *peer.Offer, out []peer.Outgoing) error {
	if r.closing {
		return refuse(r.why, "")
	}
	var sum int64
	for _, other := range r.seats {
		if other.grant.Index != s.grant.Index && other.grant.Publish {
			sum += other.maxBitrate
		}
	}
	if s.grant.Publish && sum+s.maxBitrate > r.s.cfg.Limits.RoomBitrate {
		return refuse(ReasonCeiling, "the room's publishers would send %d bit/s", sum+s.maxBitrate)
	}
	for _, other := range slices.Clone(r.seats) {
		if other.grant.Index == s.grant.Index {
			r.remove(other, ReasonReplaced)
		}
	}
	r.seats = append(r.seats, s)
	r.speaker.Join(s.grant.Index)
	if err := r.renegotiated(s, o, out); err != nil {
		return err
	}
	for _, t := range r.tracks {
		if t.began && t.seat != s {
			s.emit(t.event())
		}
	}
	if order := r.speaker.Last(); len(order) > 1 {
		s.emit(SpeakerChanged{Order: slices.Clone(order)})
	}
	return nil
}

// renegotiated brings seat and offer together.
func (r *room) renegotiated(s *Seat, o *peer.Offer, out []peer.Outgoing) error {
	if s.closed {
		return refuse(ReasonRoomClosed, "")
	}
	s.extensions = o.Extensions
	kinds := [2]int{}
	for i := range o.Sections {
		sec := &o.Sections[i]
		if sec.Direction != peer.Sends {
			if t := s.published[sec.Mid]; t != nil {
				r.unpublish(t)
			}
			continue
		}
		if s.published[sec.Mid] == nil {
			slot := [2]Slot{Camera, Screen}[kinds[0]%2]
			if sec.Audio {
				slot = [2]Slot{Microphone, ScreenAudio}[kinds[1]%2]
			}
			r.publish(s, slot, *sec)
		}
		if sec.Audio {
			kinds[1]++
		} else {
			kinds[0]++
		}
	}
	for _, at := range out {
		sec := o.Section(at.Mid)
		if sub := s.byMid[at.Mid]; sub != nil {
			sub.section = *sec
			continue
		}
		sub := &subscription{seat: s, section: *sec, layer: none, told: Allocated{Mid: at.Mid, Layer: none - 1}}
		cfg := forward.Config{SSRC: at.SSRC, Repair: at.Repair, Audio: sec.Audio, Descriptor: s.extensions.Descriptor, Transport: s.extensions.Transport}
		sub.f = forward.New(cfg, s)
		s.subs = append(s.subs, sub)
		s.byMid[at.Mid] = sub
		s.bySSRC[at.SSRC] = sub
	}
	for _, sub := range s.subs {
		if sec := o.Section(sub.section.Mid); sec == nil || sec.Direction != peer.Receives {
			sub.bind(nil)
			sub.want.Paused = true
		}
	}
	s.dirty = true
	return nil
}

// remove ends a seat.
func (r *room) remove(s *Seat, why Reason) {
	if s.closed {
		return
	}
	for _, sub := range s.subs {
		sub.bind(nil)
	}
	for _, t := range slices.Clone(r.tracks) {
		if t.seat == s {
			r.unpublish(t)
		}
	}
	r.seats = slices.DeleteFunc(r.seats, func(o *Seat) bool { return o == s })
	r.speaker.Leave(s.grant.Index)
	s.closed = true
	// The last event has to fit.
	for done := false; !done; {
		select {
		case s.events <- Closed{Reason: why}:
			done = true
		default:
			select {
			case <-s.events:
			default:
			}
		}
	}
	close(s.events)
	r.s.background(func() {
		// Nobody is left to be told of an error.
		_ = s.transport.Close()
		r.s.leave(r, s.grant.Index)
	})
}

func (r *room) closeAll(why Reason) {
	r.closing, r.why = true, why
	for _, s := range slices.Clone(r.seats) {
		r.remove(s, why)
	}
}

func (r *room) stateChanged(s *Seat, state peer.State) {
	if s.closed {
		return
	}
	s.state = state
	switch state {
	case peer.Broken:
		s.brokenAt = r.now
	case peer.Connected:
		s.brokenAt = time.Time{}
		for _, sub := range s.subs {
			sub.again()
		}
		r.divide(s)
	case peer.Closed:
		r.remove(s, ReasonGone)
	}
}

// want replaces what a seat receives.
func (r *room) want(s *Seat, w Wants) error {
	if s.closed {
		return refuse(ReasonRoomClosed, "")
	}
	seen := map[string]bool{}
	for _, x := range w.Subscriptions {
		sub := s.byMid[x.Mid]
		switch {
		case sub == nil, sub.section.Direction != peer.Receives, sub.section.Audio != x.Slot.Audio(), x.Slot >= slots:
			return refuse(ReasonSection, "section %q", x.Mid)
		case seen[x.Mid]:
			return refuse(ReasonDuplicate, "section %q", x.Mid)
		}
		seen[x.Mid] = true
	}
	for _, sub := range s.subs {
		sub.wants = false
	}
	for _, x := range w.Subscriptions {
		sub := s.byMid[x.Mid]
		sub.wants, sub.want = true, x
	}
	for _, sub := range s.subs {
		if !sub.wants {
			sub.bind(nil)
			continue
		}
		sub.bind(r.track(sub.want.Publisher, sub.want.Slot))
	}
	s.lastN = w.LastN
	// At once, so that a joiner does not wait for the next round.
	r.divide(s)
	return nil
}

func (r *room) track(publisher uint16, slot Slot) *published {
	for _, t := range r.tracks {
		if t.seat.grant.Index == publisher && t.slot == slot {
			return t
		}
	}
	return nil
}

// publish begins a slot; it is announced with its first packet.
func (r *room) publish(s *Seat, slot Slot, sec peer.Section) {
	t := &published{r: r, seat: s, slot: slot, section: sec}
	s.published[sec.Mid] = t
	for i, ssrc := range sec.Sources {
		if len(sec.RIDs) > 0 {
			break // told by their RIDs
		}
		if i == 0 {
			t.source(ssrc, "", 0)
		}
	}
	for repair, of := range sec.Repairs {
		if in := s.sources[of]; in != nil && len(s.sources) < sourcesMost {
			s.sources[repair] = &incoming{t: t, repairs: in.source}
		}
	}
	r.tracks = append(r.tracks, t)
	r.rebind(t)
}

// rebind gives a track to those who wanted it before it was there.
func (r *room) rebind(t *published) {
	for _, s := range r.seats {
		for _, sub := range s.subs {
			if sub.wants && sub.t == nil && sub.want.Publisher == t.seat.grant.Index && sub.want.Slot == t.slot {
				sub.bind(t)
				s.dirty = true
			}
		}
	}
}

func (r *room) unpublish(t *published) {
	for _, sub := range slices.Clone(t.subs) {
		sub.bind(nil)
		sub.seat.dirty = true
	}
	for ssrc, in := range t.seat.sources {
		if in.t == t {
			delete(t.seat.sources, ssrc)
		}
	}
	for _, src := range t.sources {
		src.Release()
	}
	delete(t.seat.published, t.section.Mid)
	r.tracks = slices.DeleteFunc(r.tracks, func(o *published) bool { return o == t })
	if t.began {
		r.tell(t.seat, Unpublished{Publisher: t.seat.grant.Index, Slot: t.slot})
	}
}

// tell everybody but one.
func (r *room) tell(but *Seat, e Event) {
	for _, s := range slices.Clone(r.seats) {
		if s != but {
			s.emit(e)
		}
	}
}

// tick is the work that time brings: requests, feedback, reports, division.
func (r *room) tick() {
	for _, t := range r.tracks {
		t.ask()
	}
	tenth := r.now.Sub(r.tenth) >= 100*time.Millisecond
	if tenth {
		r.tenth = r.now
		if r.speaker.Tick(r.now) {
			order := slices.Clone(r.speaker.Last())
			r.tell(nil, SpeakerChanged{Order: order})
			for _, s := range r.seats {
				s.dirty = s.dirty || s.lastN > 0
			}
		}
		for _, t := range r.tracks {
			t.roll()
		}
	}
	for i := 0; i < len(r.seats); i++ {
		s := r.seats[i]
		if !s.brokenAt.IsZero() && r.now.Sub(s.brokenAt) >= r.s.cfg.Limits.Resume {
			r.remove(s, ReasonGone)
			i--
			continue
		}
		if s.arrivals != nil && s.arrivals.due(r.micro) {
			r.feedback(s)
		}
		if s.dirty || tenth && r.now.Sub(s.divided) >= divideEvery {
			if r.divide(s); s.closed { // it did not take its events
				i--
				continue
			}
		}
		r.probe(s)
		if !tenth {
			continue
		}
		for _, sub := range s.subs {
			if w := sub.f.Waiting(); w != nil {
				w.AskKey()
			}
		}
	}
	if r.now.Sub(r.second) >= time.Second {
		r.second = r.now
		r.everySecond()
	}
}

func (r *room) everySecond() {
	for _, t := range r.tracks {
		t.tellLayers()
	}
	for _, s := range slices.Clone(r.seats) {
		if s.closed {
			continue
		}
		r.report(s)
		r.quality(s)
	}
}

// write sends RTCP to a seat.
func (r *room) write(s *Seat, b []byte) {
	if err := s.transport.WriteRTCP(b); err != nil {
		// Lost, as on any network.
		return
	}
}

// Send implements forward.Sink. It runs on the room's goroutine.
func (s *Seat) Send(packet []byte) {
	if s.numbered {
		s.estimate.Sent(len(packet), s.r.now)
		s.numbered = false
	}
	if s.state == peer.Broken {
		return
	}
	if err := s.transport.WriteRTP(packet); err != nil {
		return // lost
	}
	s.s.counts.packetsOut.Add(1)
	s.s.counts.bytesOut.Add(uint64(len(packet)))
}

// rtp takes one packet of a publisher.
func (r *room) rtp(s *Seat, p *track.Packet) {
	c := &r.s.counts
	c.packetsIn.Add(1)
	c.bytesIn.Add(uint64(p.Size()))
	if p.Parse() != nil {
		c.badPackets.Add(1)
		r.s.pool.Put(p)
		return
	}
	if !p.WellFormed() {
		c.badExtensions.Add(1)
	}
	if v, ok := p.Extension(s.extensions.Transport); ok && len(v) == 2 {
		if s.arrivals == nil {
			s.arrivals = &arrivals{}
		}
		s.arrivals.came(uint16(v[0])<<8|uint16(v[1]), p.At)
	}
	in := s.sources[p.SSRC()]
	if in == nil {
		if in = r.identify(s, p); in == nil {
			r.s.pool.Put(p)
			return
		}
	}
	in.t.packet(in, p)
}

// identify finds where a source that is not known yet belongs, by the MID and RID that it carries.
func (r *room) identify(s *Seat, p *track.Packet) *incoming {
	c := &r.s.counts
	mid, ok := p.Extension(s.extensions.MID)
	if !ok {
		c.unknownSource.Add(1)
		return nil
	}
	t := s.published[string(mid)]
	if t == nil || len(s.sources) >= sourcesMost {
		c.unknownSource.Add(1)
		return nil
	}
	codec, repair := t.section.Codec(p.PayloadType())
	if codec == nil {
		c.unknownSource.Add(1)
		return nil
	}
	id := s.extensions.RID
	if repair {
		id = s.extensions.RepairRID
	}
	rid, _ := p.Extension(id)
	number := 0
	if len(t.section.RIDs) > 0 {
		if number = slices.Index(t.section.RIDs, string(rid)); number < 0 {
			c.unknownRID.Add(1)
			return nil
		}
	} else if len(rid) > 0 {
		c.unknownRID.Add(1)
		return nil
	}
	old := t.byNumber(number)
	if repair {
		if old == nil {
			return nil // it repairs what never came
		}
		in := &incoming{t: t, repairs: old}
		s.sources[p.SSRC()] = in
		return in
	}
	if old != nil {
		// Another source for the same stream: only if the first one has gone silent.
		if r.micro-t.lastAt[number] < 2_000_000 {
			c.unknownSource.Add(1)
			return nil
		}
		t.drop(old)
	}
	return t.source(p.SSRC(), string(rid), number)
}
