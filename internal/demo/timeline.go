package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
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
	fmt.Fprintln(out, "Trunkline demo: two nodes, two people, one sealed call, in about twenty seconds.")
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
	stamp := t.paint("2", t.stamp())
	for line := range strings.SplitSeq(told, "\n") {
		fmt.Fprintf(t.out, "%s  %s %s\n", stamp, t.paint("32", "ok"), indented(line, 12, 79))
		stamp = strings.Repeat(" ", 7)
	}
}

func (t *timeline) failed(err error) {
	fmt.Fprintf(t.out, "%s  %s %s\n", t.paint("2", t.stamp()), t.paint("31", "FAILED"), indented(err.Error(), 16, 79))
}

// interrupted is the end that the person asked for.
func (t *timeline) interrupted() {
	fmt.Fprintf(t.out, "\n%s  interrupted: everything is stopped and put away.\n", t.paint("2", t.stamp()))
}

// indented breaks a text between words, so that it fits beside what stands left of it.
func indented(text string, left, width int) string {
	var b strings.Builder
	at := left
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+n > width:
			b.WriteString("\n" + strings.Repeat(" ", left))
			at = left
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	return b.String()
}

func (t *timeline) end(r *Report) {
	fmt.Fprintf(t.out, "\n%s  every step held.\n", t.stamp())
	if r.Kept != "" {
		fmt.Fprintf(t.out, "         data, logs and recordings are in %s\n", r.Kept)
	}
}
