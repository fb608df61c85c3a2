// Package speaker tells who speaks, from the levels that clients send in clear where a room allows that, or from what
// clients say of themselves where it does not.
package speaker

import "time"

const (
	// loud is the level, in dB below the loudest possible, that counts as speech.
	loud = 45
	// A level is smoothed over about this many packets (20 ms each).
	smoothing = 8
	// Another speaker becomes dominant when louder by this much for so long: a cough does not move the picture.
	margin = 6
	begins = 300 * time.Millisecond
	// holds is how long a speaker who pauses stays dominant.
	holds = 700 * time.Millisecond
	// silent is after how long without packets somebody is thought to be silent.
	silent = 500 * time.Millisecond
)

type voice struct {
	level    float64 // 0 silent to 127
	at       time.Time
	since    time.Time // speaks since; zero: does not
	spoke    time.Time
	reported bool // by the client itself
}

// Order keeps who spoke last. It belongs to one goroutine.
type Order struct {
	voices   map[uint16]*voice
	order    []uint16
	dominant uint16
	have     bool
}

// New order, empty.
func New() *Order { return &Order{voices: map[uint16]*voice{}} }

func (o *Order) of(who uint16) *voice {
	v := o.voices[who]
	if v == nil {
		v = &voice{}
		o.voices[who] = v
		o.order = append(o.order, who)
	}
	return v
}

// Join puts somebody at the end.
func (o *Order) Join(who uint16) { o.of(who) }

// Leave forgets somebody.
func (o *Order) Leave(who uint16) {
	delete(o.voices, who)
	for i, w := range o.order {
		if w == who {
			o.order = append(o.order[:i], o.order[i+1:]...)
			break
		}
	}
	if o.dominant == who {
		o.have = false
	}
}

// Level takes one packet's level, in dB below the loudest.
func (o *Order) Level(who uint16, quiet uint8, now time.Time) {
	v := o.of(who)
	v.level += (float64(127-quiet) - v.level) / smoothing
	v.at = now
	v.speaks(v.level > 127-loud, now)
}

// Report takes what a client says of itself.
func (o *Order) Report(who uint16, on bool, now time.Time) {
	v := o.of(who)
	v.reported, v.at, v.level = on, now, 0
	if on {
		v.level = 127 - loud + margin
	}
	v.speaks(on, now)
}

func (v *voice) speaks(on bool, now time.Time) {
	switch {
	case !on:
		v.since = time.Time{}
	case v.since.IsZero():
		v.since = now
		v.spoke = now
	default:
		v.spoke = now
	}
}

// Tick decides anew and reports whether the order changed. Call it a few times in a second.
func (o *Order) Tick(now time.Time) bool {
	for _, v := range o.voices {
		if v.reported {
			v.spoke = now
		} else if !v.since.IsZero() && now.Sub(v.at) > silent {
			v.since, v.level = time.Time{}, 0
		}
	}
	next, ok := o.candidate(now)
	if !ok || o.have && next == o.dominant {
		return false
	}
	o.dominant, o.have = next, true
	for i, w := range o.order {
		if w == next {
			copy(o.order[1:i+1], o.order[:i])
			o.order[0] = next
			break
		}
	}
	return true
}

// candidate is who should be dominant.
func (o *Order) candidate(now time.Time) (best uint16, ok bool) {
	var top *voice
	for _, w := range o.order { // in order, so that equals do not take turns
		v := o.voices[w]
		if v.since.IsZero() || now.Sub(v.since) < begins {
			continue
		}
		if top == nil || v.level > top.level+0.5 {
			best, top, ok = w, v, true
		}
	}
	if !o.have || !ok {
		return best, ok
	}
	current := o.voices[o.dominant]
	if now.Sub(current.spoke) < holds && top.level < current.level+margin {
		return o.dominant, true
	}
	return best, true
}

// Last are all who are here, those who spoke last first. The slice is the order's own.
func (o *Order) Last() []uint16 { return o.order }
