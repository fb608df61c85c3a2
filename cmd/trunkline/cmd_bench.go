package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/internal/bench"
	sfubench "github.com/trunkline-net/trunkline/media/sfu/bench"
)

func newBenchCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what nodes cost on this machine",
		Long:  `Measures nodes and servers that it starts itself. It touches none that runs already.`,
	}
	cmd.AddCommand(newBenchSignalingCommand(a), newBenchSFUCommand(a), newBenchPartCommand(a))
	return cmd
}

// benchFlags are the options as people give them.
type benchFlags struct {
	quick    bool
	seconds  float64
	rounds   int
	clients  int
	connects int
	storm    int
	idle     string
	only     string
	profile  string
}

func newBenchSignalingCommand(a *app) *cobra.Command {
	var f benchFlags
	d := bench.Defaults()
	cases := make([]string, 0, len(bench.Cases()))
	for _, c := range bench.Cases() {
		cases = append(cases, fmt.Sprintf("  %-9s %s", c.Name, c.What))
	}
	cmd := &cobra.Command{
		Use:   "signaling",
		Short: "Measure envelopes, links, memory and disk of nodes",
		Long: `Starts nodes as processes of their own with fresh keys, policies and folders, drives them
over real sockets with light clients, and takes the processor time and memory of the
node processes from the kernel. What they are compared with runs in the same run, in
turns with them, so the ratios hold on a machine that does other things too; medians
of the rounds are told. Nothing is pinned to a processor.

Cases:
` + strings.Join(cases, "\n") + `

The clients of "signal" are in pairs and have eight envelopes each on the way, of the
class live with valid tokens. Every envelope is followed until it has been delivered,
once and to the right device, and its sender has the receipt. The bare relay is the same
WebSocket library with one goroutine for each connection, which passes a message on to
the partner and does nothing else; its messages have the size of the clients' frames,
and its figure is the processor time of one message passed on. The first ratio is
against that, the one in brackets against a message and the partner's answer. "lone"
is a single pair with one envelope on the way each and a millisecond between two: what
comes alone costs more.

Ends with 0 when everything was measured and 1 when any envelope was lost, delivered
to somebody else, or delivered twice. With --json the result is one object.`,
		Example: `  trunkline bench signaling
  trunkline bench signaling --quick
  trunkline bench signaling --only signal --seconds 5 --rounds 9 --json
  trunkline bench signaling --only signal --profile profiles
  go tool pprof -top profiles/one-node-1024-initech.example.cpu.pprof`,
		Args: cobra.NoArgs,
	}
	fl := cmd.Flags()
	fl.StringVar(&f.only, "only", "", "`cases` to measure, separated by commas (default: all)")
	fl.Float64Var(&f.seconds, "seconds", d.Seconds.Seconds(), "length of one measurement")
	fl.IntVar(&f.rounds, "rounds", d.Rounds, "how often each is measured")
	fl.IntVar(&f.clients, "clients", d.Clients, "clients of the case signal, an even number")
	fl.StringVar(&f.idle, "idle", numbers(d.Idle), "idle `clients` at which memory is read, ascending")
	fl.IntVar(&f.connects, "connects", d.Connects, "links of the case connect")
	fl.IntVar(&f.storm, "storm", d.Storm, "clients of the case storm")
	fl.StringVar(&f.profile, "profile", "", "`folder` for processor profiles of the nodes, taken in an extra round")
	fl.BoolVar(&f.quick, "quick", false, "everything in less than a minute, to see that it works; the numbers are no figures")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.benchSignaling(cmd, &f) }
	return cmd
}

func numbers(list []int) string {
	var out []string
	for _, n := range list {
		out = append(out, strconv.Itoa(n))
	}
	return strings.Join(out, ",")
}

// options reads the flags; those that were not given are those of the standard or quick run.
func (f *benchFlags) options(cmd *cobra.Command) (bench.Options, error) {
	o := bench.Defaults()
	if f.quick {
		o = bench.Quick()
	}
	given := func(name string) bool { return cmd.Flags().Changed(name) }
	if given("seconds") {
		if f.seconds < 0.1 || f.seconds > 600 {
			return o, usageError(fmt.Sprintf("--seconds is %v", f.seconds), "use 0.1 to 600")
		}
		o.Seconds = time.Duration(f.seconds * float64(time.Second))
	}
	for _, n := range []struct {
		name      string
		value     int
		into      *int
		low, high int
	}{
		{"rounds", f.rounds, &o.Rounds, 1, 1000},
		{"clients", f.clients, &o.Clients, 2, 4096},
		{"connects", f.connects, &o.Connects, 1, 100_000},
		{"storm", f.storm, &o.Storm, 1, 100_000},
	} {
		if !given(n.name) {
			continue
		}
		if n.value < n.low || n.value > n.high {
			return o, usageError(fmt.Sprintf("--%s is %d", n.name, n.value), fmt.Sprintf("use %d to %d", n.low, n.high))
		}
		*n.into = n.value
	}
	if o.Clients%2 != 0 {
		return o, usageError(fmt.Sprintf("%d clients are no pairs", o.Clients), "use an even number with --clients")
	}
	if given("idle") {
		o.Idle = nil
		for _, word := range strings.Split(f.idle, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(word))
			if err != nil || n < 1 || n > 100_000 || len(o.Idle) > 0 && n <= o.Idle[len(o.Idle)-1] {
				return o, usageError(fmt.Sprintf("--idle is %q", f.idle), "use ascending numbers such as 2000,5000,10000")
			}
			o.Idle = append(o.Idle, n)
		}
		if len(o.Idle) < 2 {
			return o, usageError("a slope needs two numbers of idle clients", "use ascending numbers such as 2000,5000,10000")
		}
	}
	if given("only") {
		for _, name := range strings.Split(f.only, ",") {
			o.Cases = append(o.Cases, strings.TrimSpace(name))
		}
	}
	o.Profile = f.profile
	return o, nil
}

func (a *app) benchSignaling(cmd *cobra.Command, f *benchFlags) error {
	o, err := f.options(cmd)
	if err != nil {
		return err
	}
	if !a.quiet {
		o.Progress = func(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }
	}
	report, err := bench.Run(cmd.Context(), o)
	var unknown *bench.CaseError
	var files *bench.FilesError
	switch {
	case errors.As(err, &unknown):
		return usageError(unknown.Error(), "use one of: "+bench.CaseNames())
	case errors.As(err, &files):
		return failed(nil, files.Error(), fmt.Sprintf("raise the limit (ulimit -n %d), or use fewer clients with --idle, --storm and --connects", files.Need))
	case errors.Is(err, bench.ErrUnsupported):
		return failed(nil, err.Error(), "run it on Linux")
	}
	if len(report.Figures) > 0 || err == nil {
		if werr := a.result(report, func(w io.Writer) { tellBench(w, report) }); werr != nil {
			return werr
		}
	}
	if cause := cmd.Context().Err(); cause != nil {
		return cause
	}
	if err != nil {
		return failed(err, "the benchmark did not come to its end", "run it again when less else runs on this machine, or leave the case out with --only")
	}
	if !report.OK {
		e := report.Envelopes
		return failed(nil, fmt.Sprintf("of %d envelopes %d were lost, %d misdelivered and %d doubled", e.Sent, e.Lost, e.Misdelivered, e.Doubled),
			"this must not happen: run it again with --json and report it")
	}
	return nil
}

// tellBench writes the table for people.
func tellBench(w io.Writer, r *bench.Report) {
	fmt.Fprintf(w, "%d processors, %s, %s/%s, load %.1f before; %g s x %d rounds, medians.\n\n",
		r.Machine.CPUs, r.Machine.Go, r.Machine.OS, r.Machine.Arch, r.Machine.Load, r.Seconds, r.Rounds)
	rows := [][]string{{"figure", "value", "", "ratio", "at least", "aim", "reached"}}
	for _, f := range r.Figures {
		ratio := ""
		if f.Ratio != 0 {
			ratio = fmt.Sprintf("%.3gx", f.Ratio)
		}
		if f.RatioExchange != 0 {
			ratio += fmt.Sprintf(" (%.3gx)", f.RatioExchange)
		}
		reached := map[bench.Reached]string{bench.ReachedAim: "aim", bench.ReachedLeast: "at least", bench.ReachedNone: "no"}[f.Reached]
		rows = append(rows, []string{f.Name, strconv.FormatFloat(f.Value, 'g', -1, 64), f.Unit, ratio, f.AtLeast, f.Aim, reached})
	}
	table(w, rows...)
	e := r.Envelopes
	fmt.Fprintf(w, "\n%d envelopes: %d delivered, %d receipts, %d refused for the moment and sent again; %d lost, %d misdelivered, %d doubled.\n",
		e.Sent, e.Delivered, e.Receipts, e.Refused, e.Lost, e.Misdelivered, e.Doubled)
}

// newBenchPartCommand is a process that the benchmark needs beside nodes. It is hidden because
// nobody but the benchmark starts it.
func newBenchPartCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "part NAME",
		Hidden: true,
		Short:  "Be one part of the benchmark",
		Long: `Plays one part of the benchmark in a process of its own, says in lines of JSON where it
listens, and ends when its standard input does. The benchmark starts it.`,
		Example: "  trunkline bench part relay",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			parts := map[string]bench.Part{}
			for name, part := range bench.Parts() {
				parts[name] = part
			}
			for name, part := range sfubench.Parts() {
				parts[name] = bench.Part(part)
			}
			play, known := parts[args[0]]
			if !known {
				var names []string
				for name := range parts {
					names = append(names, name)
				}
				slices.Sort(names)
				return usageError("there is no part "+args[0], "use one of: "+strings.Join(names, ", "))
			}
			err := play(cmd.Context(), a.in, a.line)
			if cmd.Context().Err() != nil {
				return nil // told to end
			}
			return err
		},
	}
}
