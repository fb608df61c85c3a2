package demo

import (
	"fmt"
	"io"
	"time"
)

// timeline prints the story while it happens.
type timeline struct {
	out   io.Writer
	color bool
	began time.Time
}

func newTimeline(out io.Writer, color bool) *timeline {
	if out == nil {
		out = io.Discard
	}
	t := &timeline{out: out, color: color, began: time.Now()}
	fmt.Fprintln(out, "Trunkline demo: two nodes, two people, one sealed call. It takes about twenty seconds.")
	return t
}

func (t *timeline) paint(code, s string) string {
	if !t.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (t *timeline) stamp() string {
	return fmt.Sprintf("%5.1f s", time.Since(t.began).Seconds())
}

func (t *timeline) begin(what string) {
	fmt.Fprintf(t.out, "\n%s  %s\n", t.paint("2", t.stamp()), t.paint("1", what))
}

func (t *timeline) done(told string) {
	fmt.Fprintf(t.out, "%s  %s %s\n", t.paint("2", t.stamp()), t.paint("32", "ok"), told)
}

func (t *timeline) failed(err error) {
	fmt.Fprintf(t.out, "%s  %s %v\n", t.paint("2", t.stamp()), t.paint("31", "FAILED"), err)
}

func (t *timeline) end(r *Report) {
	fmt.Fprintf(t.out, "\n%s  every step held.\n", t.stamp())
	if r.Kept != "" {
		fmt.Fprintf(t.out, "         data, logs and recordings are in %s\n", r.Kept)
	}
}
