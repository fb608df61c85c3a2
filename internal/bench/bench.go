// Package bench is `trunkline bench signaling`: it starts nodes as processes of their own,
// drives them over real sockets with light clients, and takes the processor time and memory of
// the node processes from the kernel. What a node is compared with (a bare WebSocket relay, a
// bare libp2p stream, bbolt's own Batch) runs in the same run, in turns with it, because on a
// machine that others use too only ratios within a run mean something.
//
// Call [Run]. Nothing is left behind, and nothing about an envelope is printed but counts.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	clients "github.com/trunkline-net/trunkline/client/bench"
	fedbench "github.com/trunkline-net/trunkline/federation/bench"
	"github.com/trunkline-net/trunkline/internal/child"
	"github.com/trunkline-net/trunkline/internal/usage"
)

// Options of one run. Zero fields of those with a default in Defaults are not filled in.
type Options struct {
	Binary  string        // the trunkline binary to start; empty: the running one
	Cases   []string      // of Cases; empty: all
	Clients int           // of the standard case, in pairs
	Seconds time.Duration // of each measurement
	Rounds  int           // how often each is measured, in turns; medians are told
	Idle    []int         // how many idle clients, ascending
	Quiet   time.Duration // before memory is read
	Profile string        // folder for processor profiles of the nodes; empty: none

	Connects int // links of the connect case
	Storm    int // clients of the storm case

	Progress func(format string, args ...any) // told what happens; nil: nothing
}

// Defaults are the standard case of the figures in docs/BENCHMARKS.md.
func Defaults() Options {
	return Options{
		Clients: 64, Seconds: 3 * time.Second, Rounds: 5, Idle: []int{2000, 5000, 10_000}, Quiet: 8 * time.Second,
		Connects: 2000, Storm: 10_000,
	}
}

// Quick is every case in less than a minute, for tests of the benchmark itself: its numbers
// are no figures.
func Quick() Options {
	o := Defaults()
	o.Clients, o.Seconds, o.Rounds = 16, 500*time.Millisecond, 2
	o.Idle, o.Quiet, o.Connects, o.Storm = []int{200, 400, 800}, time.Second, 200, 500
	return o
}

// window is how many envelopes each client has on the way, and drain how long what is on the
// way at the end of a measurement may take; later it is lost.
const (
	window  = 8
	drain   = 15 * time.Second
	endTime = 15 * time.Second
)

// Case is one thing that is measured.
type Case struct {
	Name string
	What string // in a few words
	run  func(*bench, context.Context) error
}

// Cases are all, in the order in which they run.
func Cases() []Case {
	return []Case{
		{"signal", "live envelopes through one node and two, and through a bare relay", (*bench).signal},
		{"idle", "memory of a node for each idle client", (*bench).idle},
		{"connect", "processor time of a link until its mailbox is open", (*bench).connect},
		{"storm", "a killed node's clients until all are back and reached", (*bench).storm},
		{"puts", "durable puts of the store, and of bbolt's Batch", (*bench).puts},
		{"frames", "envelopes over a link between nodes, and over a bare libp2p stream", (*bench).frames},
	}
}

// ErrUnsupported: the system does not tell what is measured.
var ErrUnsupported = errors.New("the benchmark reads processor time and memory of other processes, which only Linux tells")

// FilesError says that the process may have too few files open for a run.
type FilesError struct{ Need, Have uint64 }

func (e *FilesError) Error() string {
	return fmt.Sprintf("this run needs %d open files and may have %d", e.Need, e.Have)
}

type bench struct {
	o      Options
	binary string
	root   string
	logs   string
	report *Report

	mu       sync.Mutex // guards children
	children []*child.Process
	nodes    int
}

// Run measures. The report is complete up to what the error is about; an error of its own
// means that nothing can be said, envelopes that went wrong stand in the report.
func Run(ctx context.Context, o Options) (*Report, error) {
	if !usage.Supported {
		return nil, ErrUnsupported
	}
	began := time.Now()
	b := &bench{o: o, binary: o.Binary, report: newReport(o)}
	cases, err := chosen(o.Cases)
	if err == nil {
		err = b.checkFiles(cases)
	}
	if err == nil {
		err = b.prepare()
	}
	if err == nil {
		for _, c := range cases {
			if err = c.run(b, ctx); err != nil {
				err = fmt.Errorf("%s: %w", c.Name, err)
				break
			}
		}
	}
	err = errors.Join(err, b.cleanUp())
	b.report.Took = time.Since(began).Seconds()
	b.report.OK = err == nil && b.report.Envelopes.Clean()
	return b.report, err
}

func chosen(names []string) ([]Case, error) {
	all := Cases()
	if len(names) == 0 {
		return all, nil
	}
	var out []Case
	for _, c := range all {
		if slices.Contains(names, c.Name) {
			out = append(out, c)
		}
	}
	for _, n := range names {
		if !slices.ContainsFunc(all, func(c Case) bool { return c.Name == n }) {
			return nil, &CaseError{Name: n}
		}
	}
	return out, nil
}

// CaseError names a case that is not known.
type CaseError struct{ Name string }

func (e *CaseError) Error() string { return fmt.Sprintf("there is no case %q", e.Name) }

// CaseNames lists the names, for people.
func CaseNames() string {
	var names []string
	for _, c := range Cases() {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}

// checkFiles asks for the files of the largest case before anything is started. A node keeps a
// quarter of its limit for other things than links.
func (b *bench) checkFiles(cases []Case) error {
	most := b.o.Clients
	for _, c := range cases {
		switch c.Name {
		case "idle":
			most = max(most, slices.Max(append([]int{0}, b.o.Idle...)))
		case "storm":
			most = max(most, b.o.Storm)
		case "connect":
			most = max(most, b.o.Connects)
		}
	}
	need := uint64(most)*4/3 + 512
	if have, known := fileLimit(); known && have < need {
		return &FilesError{Need: need, Have: have}
	}
	return nil
}

func (b *bench) prepare() error {
	if b.binary == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		b.binary = self
	}
	dir, err := os.MkdirTemp("", "trunkline-bench-")
	if err != nil {
		return fmt.Errorf("make a folder to work in: %w", err)
	}
	b.root, b.logs = dir, filepath.Join(dir, "logs")
	if b.o.Profile != "" {
		if err := os.MkdirAll(b.o.Profile, 0o700); err != nil {
			return err
		}
	}
	return os.Mkdir(b.logs, 0o700)
}

func (b *bench) progress(format string, args ...any) {
	if b.o.Progress != nil {
		b.o.Progress(format, args...)
	}
}

// start runs the program as a process of its own.
func (b *bench) start(name string, args ...string) (*child.Process, error) {
	p, err := child.Start(name, b.binary, b.logs, args...)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.children = append(b.children, p)
	b.mu.Unlock()
	return p, nil
}

// readLine is the process's next line; a process that says nothing in time is killed.
func readLine(ctx context.Context, p *child.Process, into any) error {
	line := make(chan error, 1)
	go func() { line <- p.ReadLine(into) }()
	select {
	case err := <-line:
		return err
	case <-ctx.Done():
		p.Kill()
		<-line // ends with the process
		return ctx.Err()
	}
}

// cleanUp ends all processes at once and removes what was made.
func (b *bench) cleanUp() error {
	err := b.stop(b.children...)
	if b.root != "" {
		err = errors.Join(err, os.RemoveAll(b.root))
	}
	return err
}

func (b *bench) stop(ps ...*child.Process) error {
	var ending sync.WaitGroup
	results := make([]error, len(ps))
	for i, p := range ps {
		ending.Go(func() { results[i] = p.Stop(endTime) })
	}
	ending.Wait()
	return errors.Join(results...)
}

// machine is what the figures were read on.
type machine struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"`
	Go   string `json:"go"`
	// Load is how many threads wanted a processor in the last minute, before the run: how much
	// else this machine does.
	Load float64 `json:"load"`
}

func thisMachine() machine {
	return machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version(), Load: usage.Load()}
}

// Part is what a process does that the benchmark needs beside nodes. It reads from in what it
// is told, if anything, and ends when that ends.
type Part func(ctx context.Context, in io.Reader, say func(any) error) error

// Parts are all, by name.
func Parts() map[string]Part {
	parts := map[string]Part{"relay": playRelay}
	for name, end := range fedbench.Ends() {
		parts[name] = Part(end)
	}
	return parts
}

func playRelay(ctx context.Context, in io.Reader, say func(any) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		// An end of any kind means that the benchmark is gone.
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	return clients.ServeRelay(ctx, func(address string) error { return say(relayReady{Address: address}) })
}

type relayReady struct {
	Address string `json:"address"`
}
