// Package bench is `trunkline bench sfu`: it runs a server as a process of its own, seats publishers and subscribers on
// it over real sockets, and takes the server's processor time and memory from the kernel. What forwarding costs at
// least is measured in the same run, in turns with it: a bare forwarder that opens each packet once, seals it for each
// receiver (AES-128-GCM) and sends a batch with one system call, and knows nothing of WebRTC.
//
// Call [Run]. On a machine that others use too only ratios within a run mean something.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/trunkline-net/trunkline/internal/child"
	"github.com/trunkline-net/trunkline/internal/usage"
)

// Options of one run.
type Options struct {
	Binary      string   // the trunkline binary to start; empty: the running one
	Cases       []string // of Cases; empty: all
	Publishers  []int    // of the case forward
	Subscribers int      // of the case forward
	Full        int      // subscribers of the case full
	Crowd       []int    // subscribers at which memory is read, ascending
	Joins       int
	Seconds     time.Duration // of each measurement
	Rounds      int
	Profile     string // folder for processor profiles of the server; empty: none

	Progress func(format string, args ...any)
}

// Defaults are the standard case of the figures in docs/BENCHMARKS.md.
func Defaults() Options {
	return Options{
		Publishers: []int{1, 4, 10}, Subscribers: 30, Full: 8, Crowd: []int{20, 80, 160}, Joins: 100,
		Seconds: 4 * time.Second, Rounds: 5,
	}
}

// Quick is every case in about half a minute, for tests of the benchmark: its numbers are no figures.
func Quick() Options {
	return Options{
		Publishers: []int{1, 2}, Subscribers: 3, Full: 2, Crowd: []int{2, 4}, Joins: 5, Seconds: 500 * time.Millisecond, Rounds: 1,
	}
}

// Case is one thing that is measured.
type Case struct {
	Name string
	What string
	run  func(*bench, context.Context) error
}

// Cases are all, in the order in which they run.
func Cases() []Case {
	return []Case{
		{"forward", "processor time per forwarded packet, beside a bare forwarder", (*bench).forward},
		{"full", "the same with subscribers that are whole WebRTC stacks", (*bench).full},
		{"memory", "resident memory for each subscription", (*bench).memory},
		{"join", "from the request to join until the first packet of media", (*bench).joins},
	}
}

// CaseNames lists the names, for people.
func CaseNames() string {
	var names []string
	for _, c := range Cases() {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}

// CaseError names a case that is not known.
type CaseError struct{ Name string }

func (e *CaseError) Error() string { return fmt.Sprintf("there is no case %q", e.Name) }

// ErrUnsupported: the system does not tell what is measured.
var ErrUnsupported = errors.New("the benchmark reads processor time and memory of other processes, which only Linux tells")

// Report is the result of a run.
type Report struct {
	OK       bool     `json:"ok"` // every case came to its end, and media came to everybody
	CPUs     int      `json:"cpus"`
	Go       string   `json:"go"`
	Load     float64  `json:"load"` // of the machine, before the run
	CPUClock string   `json:"cpu_clock"`
	Seconds  float64  `json:"seconds"`
	Rounds   int      `json:"rounds"`
	Figures  []Figure `json:"figures"`
	Took     float64  `json:"took_seconds"`
}

// Figure is one row of the table.
type Figure struct {
	Case    string    `json:"case"`
	Name    string    `json:"name"`
	Value   float64   `json:"value"`
	Unit    string    `json:"unit"`
	Rounds  []float64 `json:"rounds,omitempty"` // of which Value is the median
	Against string    `json:"against,omitempty"`
	Ratio   float64   `json:"ratio,omitempty"` // median of the rounds' ratios
	Aim     string    `json:"aim,omitempty"`
	Reached *bool     `json:"reached,omitempty"`
}

type bench struct {
	o      Options
	binary string
	root   string
	report *Report
	next   int
}

// Run measures. The report is complete up to what the error is about.
func Run(ctx context.Context, o Options) (*Report, error) {
	if !usage.Supported {
		return nil, ErrUnsupported
	}
	cases := Cases()
	if len(o.Cases) > 0 {
		cases = nil
		for _, name := range o.Cases {
			i := slices.IndexFunc(Cases(), func(c Case) bool { return c.Name == name })
			if i < 0 {
				return nil, &CaseError{Name: name}
			}
			cases = append(cases, Cases()[i])
		}
	}
	b := &bench{o: o, binary: o.Binary, report: &Report{
		CPUs: runtime.NumCPU(), Go: runtime.Version(), Load: usage.Load(), CPUClock: usage.Clock,
		Seconds: o.Seconds.Seconds(), Rounds: o.Rounds, Figures: []Figure{},
	}}
	began := time.Now()
	err := b.prepare()
	for _, c := range cases {
		if err == nil {
			if err = c.run(b, ctx); err != nil {
				err = fmt.Errorf("%s: %w", c.Name, err)
			}
		}
	}
	if b.root != "" {
		err = errors.Join(err, os.RemoveAll(b.root))
	}
	b.report.Took = time.Since(began).Seconds()
	b.report.OK = err == nil
	return b.report, err
}

func (b *bench) prepare() error {
	if b.binary == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		b.binary = self
	}
	var err error
	if b.root, err = os.MkdirTemp("", "trunkline-bench-"); err != nil {
		return fmt.Errorf("make a folder to work in: %w", err)
	}
	if b.o.Profile != "" {
		return os.MkdirAll(b.o.Profile, 0o700)
	}
	return nil
}

func (b *bench) progress(format string, args ...any) {
	if b.o.Progress != nil {
		b.o.Progress(format, args...)
	}
}

// start runs one part as a process of its own.
func (b *bench) start(part string, args ...string) (*child.Process, error) {
	b.next++
	name := fmt.Sprintf("%s-%d", part, b.next)
	return child.Start(name, b.binary, filepath.Clean(b.root), append([]string{"bench", "part", part}, args...)...)
}

func (b *bench) add(f Figure) {
	f.Value, f.Ratio = rounded(f.Value), rounded(f.Ratio)
	for i := range f.Rounds {
		f.Rounds[i] = rounded(f.Rounds[i])
	}
	b.report.Figures = append(b.report.Figures, f)
}

func is(v bool) *bool { return &v }

// median of values; 0 of none.
func median(values []float64) float64 { return quantile(values, 0.5) }

// quantile of values, 0 to 1; 0 of none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	at := q * float64(len(s)-1)
	low := int(at)
	high := min(low+1, len(s)-1)
	return s[low] + (s[high]-s[low])*(at-float64(low))
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
