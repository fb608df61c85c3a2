package bench

import (
	"slices"

	clients "github.com/trunkline-net/trunkline/client/bench"
	"github.com/trunkline-net/trunkline/internal/usage"
)

// Report is the result of a run.
type Report struct {
	OK       bool    `json:"ok"` // nothing was lost, misdelivered or doubled
	Machine  machine `json:"machine"`
	CPUClock string  `json:"cpu_clock"`
	Clients  int     `json:"clients"`
	Window   int     `json:"window"`
	Seconds  float64 `json:"seconds"`
	Rounds   int     `json:"rounds"`

	Envelopes clients.Counts `json:"envelopes"` // of all cases together
	Figures   []Figure       `json:"figures"`
	Took      float64        `json:"took_seconds"`
}

// Figure is one row of the table.
type Figure struct {
	Case  string  `json:"case"`
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Rounds are the values of which Value is the median.
	Rounds    []float64 `json:"rounds,omitempty"`
	PerSecond float64   `json:"per_second,omitempty"`

	// What it is compared with: the figure of that name, and the median of the ratios of the
	// rounds. For an envelope that is the bare relay's one message passed on; RatioExchange is
	// against two, a message and the partner's answer to it, since an envelope's sender hears
	// of its end as well.
	Against       string  `json:"against,omitempty"`
	Ratio         float64 `json:"ratio,omitempty"`
	RatioExchange float64 `json:"ratio_exchange,omitempty"`

	AtLeast string  `json:"at_least,omitempty"`
	Aim     string  `json:"aim,omitempty"`
	Reached Reached `json:"reached,omitempty"`

	Counts *clients.Counts `json:"counts,omitempty"`
	Points []Point         `json:"points,omitempty"` // of a slope
}

// Reached says which of the goals a figure meets; empty where it has none.
type Reached string

// The goals.
const (
	ReachedAim   Reached = "aim"
	ReachedLeast Reached = "at_least"
	ReachedNone  Reached = "none"
)

func reached(least, aim bool) Reached {
	switch {
	case least && aim:
		return ReachedAim
	case least:
		return ReachedLeast
	}
	return ReachedNone
}

func newReport(o Options) *Report {
	return &Report{
		Machine: thisMachine(), CPUClock: usage.Clock, Clients: o.Clients, Window: window,
		Seconds: o.Seconds.Seconds(), Rounds: o.Rounds, Figures: []Figure{},
	}
}

func (r *Report) add(f Figure) {
	f.Value, f.PerSecond = rounded(f.Value), rounded(f.PerSecond)
	f.Ratio, f.RatioExchange = rounded(f.Ratio), rounded(f.RatioExchange)
	for i := range f.Rounds {
		f.Rounds[i] = rounded(f.Rounds[i])
	}
	r.Figures = append(r.Figures, f)
}

// median of values; 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[n/2] + sorted[(n-1)/2]) / 2
}

// rounded keeps four digits: the rest of a measurement is noise.
func rounded(v float64) float64 {
	if v == 0 {
		return 0
	}
	scale := 1.0
	for v*scale < 1000 && v*scale > -1000 {
		scale *= 10
	}
	if scale == 1 {
		return float64(int64(v + 0.5))
	}
	return float64(int64(v*scale+0.5)) / scale
}
