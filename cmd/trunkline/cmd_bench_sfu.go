package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	sfubench "github.com/trunkline-net/trunkline/media/sfu/bench"
)

// sfuBenchFlags are the options as people give them.
type sfuBenchFlags struct {
	quick       bool
	seconds     float64
	rounds      int
	publishers  string
	subscribers int
	full        int
	crowd       string
	joins       int
	only        string
	profile     string
}

func newBenchSFUCommand(a *app) *cobra.Command {
	var f sfuBenchFlags
	d := sfubench.Defaults()
	var cases []string
	for _, c := range sfubench.Cases() {
		cases = append(cases, fmt.Sprintf("  %-8s %s", c.Name, c.What))
	}
	cmd := &cobra.Command{
		Use:   "sfu",
		Short: "Measure what forwarding media costs",
		Long: `Starts a forwarding server as a process of its own, seats publishers and subscribers on it
over real sockets, and takes the processor time and memory of that process from the
kernel. A publisher sends sound and 1.2 Mbit/s of pictures with random payloads; every
subscriber takes everything. Light subscribers are a socket and SRTP, whole ones a
complete WebRTC stack. The bare forwarder opens a packet once, seals it for each
receiver with AES-128-GCM and sends up to 64 with one system call, without segmentation
offload; it runs in turns with the server on the same traffic, so the ratios hold on a
machine that does other things too. Both use one processor at a time, whichever it is.

Cases:
` + strings.Join(cases, "\n") + `

With --json the result is one object.`,
		Example: `  trunkline bench sfu
  trunkline bench sfu --quick
  trunkline bench sfu --only forward --publishers 4 --subscribers 60 --json
  trunkline bench sfu --only forward --publishers 4 --profile profiles`,
		Args: cobra.NoArgs,
	}
	fl := cmd.Flags()
	fl.StringVar(&f.only, "only", "", "`cases` to measure, separated by commas (default: all)")
	fl.Float64Var(&f.seconds, "seconds", d.Seconds.Seconds(), "length of one measurement")
	fl.IntVar(&f.rounds, "rounds", d.Rounds, "how often each is measured")
	fl.StringVar(&f.publishers, "publishers", numbers(d.Publishers), "`publishers` of the case forward")
	fl.IntVar(&f.subscribers, "subscribers", d.Subscribers, "light subscribers of the case forward")
	fl.IntVar(&f.full, "full", d.Full, "subscribers of the case full")
	fl.StringVar(&f.crowd, "crowd", numbers(d.Crowd), "`subscribers` at which memory is read, ascending")
	fl.IntVar(&f.joins, "joins", d.Joins, "joins of the case join")
	fl.StringVar(&f.profile, "profile", "", "`folder` for processor profiles of the server")
	fl.BoolVar(&f.quick, "quick", false, "everything in half a minute, to see that it works; the numbers are no figures")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.benchSFU(cmd, &f) }
	return cmd
}

// options reads the flags; those that were not given are those of the standard or quick run.
func (f *sfuBenchFlags) options(cmd *cobra.Command) (sfubench.Options, error) {
	o := sfubench.Defaults()
	if f.quick {
		o = sfubench.Quick()
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
		{"subscribers", f.subscribers, &o.Subscribers, 1, 1000},
		{"full", f.full, &o.Full, 1, 100},
		{"joins", f.joins, &o.Joins, 1, 10_000},
	} {
		if !given(n.name) {
			continue
		}
		if n.value < n.low || n.value > n.high {
			return o, usageError(fmt.Sprintf("--%s is %d", n.name, n.value), fmt.Sprintf("use %d to %d", n.low, n.high))
		}
		*n.into = n.value
	}
	for _, list := range []struct {
		name, text string
		into       *[]int
		most       int
	}{{"publishers", f.publishers, &o.Publishers, 50}, {"crowd", f.crowd, &o.Crowd, 1000}} {
		if !given(list.name) {
			continue
		}
		*list.into = nil
		for _, word := range strings.Split(list.text, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(word))
			if err != nil || n < 1 || n > list.most {
				return o, usageError(fmt.Sprintf("--%s is %q", list.name, list.text), fmt.Sprintf("use numbers from 1 to %d such as 1,4,10", list.most))
			}
			*list.into = append(*list.into, n)
		}
	}
	for i := 1; i < len(o.Crowd); i++ {
		if o.Crowd[i] <= o.Crowd[i-1] {
			return o, usageError(fmt.Sprintf("--crowd is %q", f.crowd), "use ascending numbers such as 20,80,160")
		}
	}
	if len(o.Crowd) < 2 {
		return o, usageError("a slope needs two numbers of subscribers", "use ascending numbers such as 20,80,160")
	}
	if given("only") {
		for _, name := range strings.Split(f.only, ",") {
			o.Cases = append(o.Cases, strings.TrimSpace(name))
		}
	}
	o.Profile = f.profile
	return o, nil
}

func (a *app) benchSFU(cmd *cobra.Command, f *sfuBenchFlags) error {
	o, err := f.options(cmd)
	if err != nil {
		return err
	}
	if !a.quiet {
		o.Progress = func(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }
	}
	report, err := sfubench.Run(cmd.Context(), o)
	var unknown *sfubench.CaseError
	switch {
	case errors.As(err, &unknown):
		return usageError(unknown.Error(), "use one of: "+sfubench.CaseNames())
	case errors.Is(err, sfubench.ErrUnsupported):
		return failed(nil, err.Error(), "run it on Linux")
	}
	if report != nil && (len(report.Figures) > 0 || err == nil) {
		if werr := a.result(report, func(w io.Writer) { tellSFUBench(w, report) }); werr != nil {
			return werr
		}
	}
	if cause := cmd.Context().Err(); cause != nil {
		return cause
	}
	if err != nil {
		return failed(err, "the benchmark did not come to its end", "run it again when less else runs on this machine, or leave the case out with --only")
	}
	return nil
}

// tellSFUBench writes the table for people.
func tellSFUBench(w io.Writer, r *sfubench.Report) {
	fmt.Fprintf(w, "%d processors, %s, load %.1f before; %g s x %d rounds, medians.\n\n", r.CPUs, r.Go, r.Load, r.Seconds, r.Rounds)
	rows := [][]string{{"figure", "value", "", "ratio", "aim", "reached"}}
	for _, f := range r.Figures {
		ratio, reached := "", ""
		if f.Ratio != 0 {
			ratio = fmt.Sprintf("%.3gx", f.Ratio)
		}
		if f.Reached != nil {
			reached = map[bool]string{true: "yes", false: "no"}[*f.Reached]
		}
		rows = append(rows, []string{f.Name, strconv.FormatFloat(f.Value, 'g', -1, 64), f.Unit, ratio, f.Aim, reached})
	}
	table(w, rows...)
}
