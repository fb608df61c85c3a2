package congestion

import "math"

// trend watches whether packets that leave evenly arrive ever later: the slope of the one-way delay over groups of
// packets that left together, held against a threshold that adapts to the path's own unrest
// (draft-ietf-rmcat-gcc-02, 5.4, with the slope of a line in place of its filter).
//
// A machine that does other things for a moment, the sender's or the receiver's, makes such a slope too: some packets
// come late, and the mean of before and after climbs. But the packets behind them come as soon as ever, or wait ever
// less for the burst before them. A queue that grows holds up all: so the smallest delay of each span must be more than
// that of the span before, three spans long.
type trend struct {
	state state

	groupSent, groupCame int64 // of the group that is filling
	groupLast            int64 // when its last packet came
	groupFirstSent       int64
	prevSent, prevCame   int64
	have                 int

	first     int64
	deltas    int
	total     float64
	smooth    float64
	x, y      [points]float64
	n         int
	slope     float64
	threshold float64
	adapted   int64
	over      float64
	overs     int

	spanSent int64        // when the first packet of the running span left
	spanned  int          // how many there were
	smallest [spans]int64 // one-way delay of the running span and those before it, microseconds between two clocks
}

type state uint8

const (
	steady state = iota
	growing
	shrinking
)

const (
	points    = 20
	groupTime = 5_000 // microseconds
	gain      = 4

	spans    = 3
	spanTime = 50_000 // microseconds
	// rise is what is more than a timer's unrest: 2 % more is sent than the path takes.
	rise = 1_000
)

func (t *trend) reset() { t.threshold = 12.5 }

// packet takes when one left and came, in microseconds of two clocks, in the order of leaving.
func (t *trend) packet(sent, came int64) {
	t.span(sent, came-sent)
	switch {
	case t.have == 0:
		t.have = 1
		t.groupFirstSent, t.groupSent, t.groupCame, t.groupLast = sent, sent, came, came
		return
	case sent < t.groupFirstSent:
		return // late: it belongs to a group that is done
	case sent-t.groupFirstSent < groupTime || came-t.groupLast < groupTime && came-t.groupLast-(sent-t.groupSent) < 0:
		// Of the same group, or it came in one row with it after a hold-up.
		t.groupSent, t.groupLast = max(t.groupSent, sent), max(t.groupLast, came)
		return
	}
	if t.have == 2 {
		t.delta(t.groupSent-t.prevSent, t.groupLast-t.prevCame, t.groupLast)
	}
	t.have = 2
	t.prevSent, t.prevCame = t.groupSent, t.groupLast
	t.groupFirstSent, t.groupSent, t.groupCame, t.groupLast = sent, sent, came, came
}

// span takes the delay of a packet.
func (t *trend) span(sent, delay int64) {
	if t.spanned == 0 || sent-t.spanSent >= spanTime {
		copy(t.smallest[1:], t.smallest[:])
		t.spanSent, t.smallest[0] = sent, delay
		t.spanned++
	}
	t.smallest[0] = min(t.smallest[0], delay)
}

// rising says whether each of the last spans held up even its fastest packet longer than the one before.
func (t *trend) rising() bool {
	for i := range spans - 1 {
		if t.smallest[i] < t.smallest[i+1]+rise {
			return false
		}
	}
	return t.spanned >= spans
}

func (t *trend) delta(sent, came, at int64) {
	if t.first == 0 {
		t.first = at
	}
	if sent > 3_000_000 { // nothing was sent for a while: what is known is old
		*t = trend{threshold: t.threshold, have: 2, groupSent: t.groupSent, groupFirstSent: t.groupFirstSent, groupLast: t.groupLast}
		return
	}
	t.deltas++
	t.total += float64(came-sent) / 1000
	t.smooth = 0.9*t.smooth + 0.1*t.total
	copy(t.x[:], t.x[1:])
	copy(t.y[:], t.y[1:])
	t.x[points-1], t.y[points-1] = float64(at-t.first)/1000, t.smooth
	if t.n < points {
		t.n++
	}
	previous := t.slope
	if t.n == points {
		t.slope = line(&t.x, &t.y)
	}
	t.judge(float64(sent)/1000, previous, at)
}

func (t *trend) judge(sent, previous float64, at int64) {
	value := min(float64(t.deltas), 60) * t.slope * gain
	switch {
	case value > t.threshold:
		t.over += sent
		t.overs++
		if t.over > 10 && t.overs > 1 && t.slope >= previous && t.rising() {
			t.state = growing
			t.over, t.overs = 0, 0
		}
	case value < -t.threshold:
		t.over, t.overs, t.state = 0, 0, shrinking
	default:
		t.over, t.overs, t.state = 0, 0, steady
	}
	if a := math.Abs(value); a <= t.threshold+15 {
		k := 0.0087
		if a < t.threshold {
			k = 0.039
		}
		dt := min(float64(at-t.adapted)/1000, 100)
		t.threshold = min(max(t.threshold+k*(a-t.threshold)*dt, 6), 600)
	}
	t.adapted = at
}

func line(x, y *[points]float64) float64 {
	var mx, my float64
	for i := range x {
		mx, my = mx+x[i], my+y[i]
	}
	mx, my = mx/points, my/points
	var above, below float64
	for i := range x {
		above += (x[i] - mx) * (y[i] - my)
		below += (x[i] - mx) * (x[i] - mx)
	}
	if below == 0 {
		return 0
	}
	return above / below
}
