package sfu

import (
	"math"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/track"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// rtcp takes one compound of a client. Whatever it says moves nothing but the client's own legs, and key frames within
// a budget.
func (r *room) rtcp(s *Seat, p *track.Packet) {
	c := wire.NewCompound(p.Bytes())
	for q, ok := c.Next(); ok; q, ok = c.Next() {
		switch q.Type {
		case wire.TypeSR:
			r.senderReport(s, q)
			wire.Reports(q, func(rep wire.Report) { r.receiverReport(s, rep) })
		case wire.TypeRR:
			wire.Reports(q, func(rep wire.Report) { r.receiverReport(s, rep) })
		case wire.TypeTransport:
			r.transportFeedback(s, q)
		case wire.TypePayload:
			r.payloadFeedback(s, q)
		}
	}
	if c.Bad() {
		r.s.counts.badControl.Add(1)
	}
}

func (r *room) senderReport(s *Seat, q wire.Control) {
	sr, ok := wire.Sender(q)
	if !ok {
		r.s.counts.badControl.Add(1)
		return
	}
	if in := s.sources[sr.SSRC]; in != nil && in.source != nil {
		in.source.SenderReport(sr, r.micro)
	}
}

func (r *room) receiverReport(s *Seat, rep wire.Report) {
	sub := s.bySSRC[rep.SSRC]
	if sub != nil && s.extensions.Transport == 0 {
		s.estimate.Report(float64(rep.FractionLost)/256, r.now)
	}
}

func (r *room) transportFeedback(s *Seat, q wire.Control) {
	media, fci, ok := q.Feedback()
	if !ok {
		r.s.counts.badControl.Add(1)
		return
	}
	switch q.Format {
	case wire.FormatTWCC:
		before := s.estimate.Estimate()
		if s.estimate.Feedback(fci, r.now) != nil {
			r.s.counts.badControl.Add(1)
		}
		if after := s.estimate.Estimate(); after < before*9/10 || after > before*11/10 {
			s.dirty = true // a path that shrank is not filled until the next round
		}
	case wire.FormatNACK:
		sub := s.bySSRC[media]
		if sub == nil {
			r.s.counts.badControl.Add(1)
			return
		}
		unmet, flood := sub.f.Unmet, false
		wire.NACKs(fci, func(seq uint16) {
			if flood || !s.repeats.take(repeatCost, r.now) {
				flood = true
				return
			}
			if n := sub.f.Repeat(seq, sub.get, r.micro); n > 0 {
				r.s.counts.repeated.Add(1)
			} else {
				s.repeats.have += repeatCost - repeatNothing
			}
		})
		if flood {
			r.s.counts.repeatFlood.Add(1)
		}
		r.s.counts.unmet.Add(sub.f.Unmet - unmet)
	}
}

const (
	// What a repeat takes from a client's budget, in bytes, and what a request takes that leads to none.
	repeatCost    = 1200
	repeatNothing = 50
)

func (r *room) payloadFeedback(s *Seat, q wire.Control) {
	media, fci, ok := q.Feedback()
	if !ok {
		r.s.counts.badControl.Add(1)
		return
	}
	switch q.Format {
	case wire.FormatPLI:
		r.keyWanted(s, media)
	case wire.FormatFIR:
		wire.FIRs(fci, func(ssrc uint32) { r.keyWanted(s, ssrc) })
	case wire.FormatAFB:
		// A REMB, which was not negotiated. Zero in one would pause everything for a client that lies about itself.
		if _, ok := wire.REMB(fci); ok {
			r.s.counts.remb.Add(1)
		}
	}
}

// keyWanted asks a publisher for a key frame on behalf of a client, within its budget: key frames cost everybody who
// watches the same publisher.
func (r *room) keyWanted(s *Seat, ssrc uint32) {
	sub := s.bySSRC[ssrc]
	if sub == nil {
		r.s.counts.badControl.Add(1)
		return
	}
	src := sub.f.Source()
	if src == nil {
		return
	}
	if !sub.keys.take(1, r.now) {
		r.s.counts.keyFlood.Add(1)
		return
	}
	src.AskKey()
}

// feedback tells a publisher when its packets came.
func (r *room) feedback(s *Seat) {
	var media uint32
	for ssrc := range s.sources {
		media = ssrc
		break
	}
	for range 4 {
		b, ok := s.arrivals.feedback(r.control[:0], media, r.micro)
		r.control = b
		if !ok {
			return
		}
		r.write(s, b)
		if s.arrivals.fresh == 0 {
			return
		}
	}
}

// report sends receiver reports about what a seat publishes, and sender reports about what it receives.
func (r *room) report(s *Seat) {
	r.reports = r.reports[:0]
	lost, all := 0.0, 0.0
	for _, t := range r.tracks {
		if t.seat != s {
			continue
		}
		for _, src := range t.sources {
			rep := src.Report(r.micro)
			lost += float64(rep.FractionLost) / 256
			all++
			if len(r.reports) < 31 {
				r.reports = append(r.reports, rep)
			}
		}
	}
	s.lossUp = 0
	if all > 0 {
		s.lossUp = lost / all
	}
	if len(r.reports) > 0 {
		r.control = wire.AppendRR(r.control[:0], senderSSRC, r.reports)
		r.control = wire.AppendSDES(r.control, senderSSRC, "sfu")
		r.write(s, r.control)
	}
	for _, sub := range s.subs {
		if sub.t == nil {
			continue
		}
		if sr, ok := sub.f.Report(); ok {
			r.control = wire.AppendSR(r.control[:0], sr)
			r.control = wire.AppendSDES(r.control, sr.SSRC, "sfu")
			r.write(s, r.control)
		}
	}
}

// quality tells a client how its own leg is, when that changed.
func (r *room) quality(s *Seat) {
	publishes := false
	var newest int64
	for _, t := range r.tracks {
		if t.seat == s && t.began {
			publishes = true
			for _, at := range t.lastAt {
				newest = max(newest, at)
			}
		}
	}
	now := QualityChanged{
		Up: grade(s.lossUp, publishes && r.micro-newest > 3_000_000), Down: grade(s.estimate.Loss(), !s.brokenAt.IsZero()),
		Estimate: s.estimate.Estimate(), RoundTripTime: s.estimate.RoundTrip().Round(time.Millisecond),
		LossDown: math.Round(s.estimate.Loss()*1000) / 1000, LossUp: math.Round(s.lossUp*1000) / 1000,
	}
	// Once in five seconds, and at once when a word changes.
	if now.Up == s.lastGrade.Up && now.Down == s.lastGrade.Down && r.now.Sub(s.graded) < 5*time.Second {
		return
	}
	s.graded, s.lastGrade = r.now, now
	s.emit(now)
}
