package sfu

import (
	"slices"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/allocate"
	"github.com/trunkline-net/trunkline/media/sfu/forward"
	"github.com/trunkline-net/trunkline/media/sfu/peer"
	"github.com/trunkline-net/trunkline/media/sfu/track"
)

const (
	none = allocate.None
	// divideEvery is how often a path is divided anew when nothing else asks for it.
	divideEvery = 200 * time.Millisecond
	// soundRate is what a sound is counted as before it was measured.
	soundRate = 40_000
	// raiseAfter is how long a picture that did not fit stays as small as it is, though more would fit; twice as long each
	// time that it does not last for steadyTime, up to raiseMost. To raise it takes a key frame, which everybody who
	// watches the same publisher pays for, and which makes the rates waver by which it was raised.
	raiseAfter = 2 * time.Second
	raiseMost  = 16 * time.Second
	steadyTime = 10 * time.Second
)

// subscription is one receiving section of a client. It belongs to the room's goroutine.
type subscription struct {
	seat    *Seat
	section peer.Section
	f       *forward.Forwarder
	t       *published
	wants   bool
	want    Subscription
	layer   int
	able    bool // the section has the track's codec
	keys    bucket
	told    Allocated
	raised  time.Time // the last time
	lowered time.Time // because it did not fit, the last time
	hold    time.Duration
}

// bind connects the section with a track; nil: with none.
func (sub *subscription) bind(t *published) {
	if sub.t == t {
		return
	}
	if sub.t != nil {
		sub.t.subs = slices.DeleteFunc(sub.t.subs, func(o *subscription) bool { return o == sub })
		sub.f.Forget()
	}
	sub.t, sub.layer = t, none
	sub.raised, sub.lowered, sub.hold = time.Time{}, time.Time{}, 0
	if t != nil {
		t.subs = append(t.subs, sub)
		sub.keys = newBucket(keyRate, keyBurst)
		sub.format()
	}
}

// format finds the client's payload type for the track's codec.
func (sub *subscription) format() {
	sub.able = false
	if sub.t == nil || sub.t.codec.Name == "" {
		sub.able = true // not known yet
		return
	}
	if c := sub.section.Named(sub.t.codec.Name, sub.t.codec.Clock); c != nil {
		sub.able = true
		sub.f.SetFormat(forward.Format{PT: c.PT, Repair: c.RTX})
	}
}

// again asks for a key frame after the client's path was mended: what it holds is old.
func (sub *subscription) again() {
	if src := sub.f.Source(); src != nil {
		src.AskKey()
	}
}

// get is a source of the track by its number.
func (sub *subscription) get(n int) *track.Source {
	if sub.t == nil {
		return nil
	}
	return sub.t.byNumber(n)
}

// divider keeps the memory of divide.
type divider struct {
	a       allocate.Allocator
	wants   []allocate.Want
	subs    []*subscription
	reasons []Reason
	cameras []int
}

// divide gives each of a seat's subscriptions its share of what the path takes.
func (r *room) divide(s *Seat) {
	s.dirty, s.divided = false, r.now
	if s.state != peer.Connected {
		return // a key frame would be sent into nothing; it is divided when there is a path
	}
	d := &r.scratch
	d.wants, d.subs, d.reasons = d.wants[:0], d.subs[:0], d.reasons[:0]
	s.wanted = 0
	for _, sub := range s.subs {
		if !sub.wants {
			continue
		}
		w, reason := r.share(sub)
		d.wants, d.subs, d.reasons = append(d.wants, w), append(d.subs, sub), append(d.reasons, reason)
	}
	r.lastN(s, d)
	for i := range d.wants {
		if w := &d.wants[i]; w.Most != none && w.Layers > 0 {
			s.wanted += w.Rates[min(w.Most, w.Layers-1)]
		}
	}
	s.wanted += s.wanted / 8
	d.a.Divide(s.estimate.Estimate(), d.wants)
	for i, sub := range d.subs {
		r.apply(sub, &d.wants[i], d.reasons[i])
		if s.closed {
			return
		}
	}
	s.repeats.rate = max(float64(s.estimate.Estimate())*repeatPart/8, 8000)
}

// share is what one subscription would take.
func (r *room) share(sub *subscription) (allocate.Want, Reason) {
	w := allocate.Want{
		Sound: sub.section.Audio, Priority: sub.want.Priority, Screen: sub.want.Slot == Screen, Now: sub.layer, Most: none,
		Hold: r.now.Sub(sub.lowered) < sub.hold,
	}
	switch {
	case sub.want.Paused:
		return w, ReasonPaused
	case sub.t == nil || !sub.t.began || len(sub.t.sources) == 0:
		return w, ReasonNoTrack
	case !sub.able:
		return w, ReasonCodec
	}
	ladder := sub.t.ladder()
	w.Layers = len(ladder)
	w.Most = len(ladder) - 1
	for i, x := range ladder {
		w.Rates[i] = x.rate(r.micro)
		if w.Sound {
			w.Rates[i] = max(w.Rates[i], soundRate)
		}
	}
	if sub.want.Height != 0 {
		for i, x := range ladder {
			// The first rung that is tall enough, with all its frames.
			_, h := sub.t.size(x)
			if h >= sub.want.Height && (i+1 == len(ladder) || ladder[i+1].spatial != x.spatial || ladder[i+1].source != x.source) {
				w.Most = i
				break
			}
		}
	}
	return w, ""
}

// lastN leaves out cameras beyond the first N: those of the highest priority stay, among equals who spoke last.
func (r *room) lastN(s *Seat, d *divider) {
	if s.lastN <= 0 {
		return
	}
	d.cameras = d.cameras[:0]
	for i, sub := range d.subs {
		if sub.want.Slot == Camera && d.wants[i].Most != none {
			d.cameras = append(d.cameras, i)
		}
	}
	order := r.speaker.Last()
	slices.SortStableFunc(d.cameras, func(x, y int) int {
		p, q := &d.wants[x], &d.wants[y]
		if p.Priority != q.Priority {
			return int(q.Priority) - int(p.Priority)
		}
		return slices.Index(order, d.subs[x].want.Publisher) - slices.Index(order, d.subs[y].want.Publisher)
	})
	for _, i := range d.cameras[min(s.lastN, len(d.cameras)):] {
		d.wants[i].Most, d.reasons[i] = none, ReasonLastN
	}
}

// apply makes a share what is sent.
func (r *room) apply(sub *subscription, w *allocate.Want, reason Reason) {
	if w.Layer == none {
		sub.f.Select(nil, 0, r.micro)
	} else {
		x := sub.t.ladder()[w.Layer]
		sub.f.Select(x.source, x.target, r.micro)
	}
	if reason == "" && w.Short {
		reason = ReasonBandwidth
	}
	switch {
	case sub.layer == none:
	case w.Layer > sub.layer:
		sub.raised = r.now
	case w.Layer < sub.layer && w.Short:
		hold := raiseAfter
		if r.now.Sub(sub.raised) < steadyTime {
			hold = min(max(2*sub.hold, raiseAfter), raiseMost)
		}
		sub.hold, sub.lowered = hold, r.now
	}
	sub.layer = w.Layer
	if now := (Allocated{Mid: sub.section.Mid, Layer: w.Layer, Reason: reason}); now != sub.told {
		sub.told = now
		sub.seat.emit(now)
	}
}

// probe fills a probe of the path with repeats of what was sent last, or with padding where nothing was sent yet: a
// path whose estimate is too small for any picture would otherwise never be known to have grown.
func (r *room) probe(s *Seat) {
	if s.extensions.Transport == 0 || s.state != peer.Connected {
		return
	}
	for n := s.estimate.Probe(s.wanted, r.now); n > 0; {
		sent := 0
		for _, sub := range s.subs {
			if sub.t != nil && !sub.section.Audio && sub.f.Source() != nil {
				if sent = sub.f.Newest(sub.get); sent > 0 {
					break
				}
			}
		}
		for i := 0; sent == 0 && i < len(s.subs); i++ {
			if sub := s.subs[i]; sub.t != nil && !sub.section.Audio {
				sent = sub.f.Pad()
			}
		}
		if sent == 0 {
			return
		}
		n -= sent
	}
}
