package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// result writes what a command found out: with --json the value as one object on one line,
// else what the function writes for people.
func (a *app) result(v any, people func(w io.Writer)) error {
	if !a.json {
		people(a.out)
		return nil
	}
	return a.line(v)
}

// line writes one JSON object on a line of its own, for commands whose help says "stream".
func (a *app) line(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return failed(err, "cannot write the result", "check standard output")
	}
	return nil
}

// hint tells a person something beside the result, on standard error.
func (a *app) hint(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// warning is a hint that --quiet does not silence, because something is at risk.
func (a *app) warning(format string, args ...any) {
	label := "warning: "
	if a.color(a.errTerminal) {
		label = "\x1b[1;33mwarning:\x1b[0m "
	}
	fmt.Fprintf(a.err, label+format+"\n", args...)
}

func (a *app) color(terminal bool) bool {
	return terminal && !a.noColor && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
}

// table writes rows of two columns or more, lined up. Cells are cleaned like error lines.
func table(w io.Writer, rows ...[]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = oneLine(strings.ReplaceAll(c, "\t", " "))
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	// The writer below is the terminal or a pipe: when it is gone, nobody reads the error.
	if err := t.Flush(); err != nil {
		return
	}
}

// progress shows how far long work has come. On a terminal it is one line that changes; in a
// pipe it is a line at each tenth; with --quiet or --json it is nothing. It belongs to one
// goroutine.
type progress struct {
	a     *app
	label string
	total int64
	shown time.Time
	tenth int64
	width int

	bytes bool      // done and total are bytes: show them and their rate
	began time.Time // when it was told how many there are for the first time
	first int64     // how many there were then
}

// progress starts the display; total 0 means that the end is not known.
func (a *app) progress(label string, total int64) *progress {
	return &progress{a: a, label: label, total: total, tenth: -1}
}

// bytesProgress is progress over bytes, with their rate.
func (a *app) bytesProgress(label string, total int64) *progress {
	p := a.progress(label, total)
	p.bytes = true
	return p
}

// set tells how much is done.
func (p *progress) set(done int64) {
	if p.a.quiet || p.a.json {
		return
	}
	if p.began.IsZero() {
		p.began, p.first = p.a.now(), done
	}
	if !p.a.errTerminal {
		if p.total > 0 && done*10/p.total > p.tenth {
			p.tenth = done * 10 / p.total
			fmt.Fprintln(p.a.err, p.text(done))
		}
		return
	}
	// A terminal over a slow line should not be what slows the work down.
	if now := p.a.now(); now.Sub(p.shown) >= 100*time.Millisecond {
		p.shown = now
		p.draw(p.text(done))
	}
}

func (p *progress) text(done int64) string {
	if p.total <= 0 {
		return fmt.Sprintf("%s  %d", p.label, done)
	}
	text := fmt.Sprintf("%s  %3d %%", p.label, min(done, p.total)*100/p.total)
	if p.bytes {
		text += fmt.Sprintf("  %s of %s", bytesText(done), bytesText(p.total))
		// A rate over less says more about the clock than about the line.
		if took := p.a.now().Sub(p.began); took >= 250*time.Millisecond {
			text += fmt.Sprintf("  %s/s", bytesText(int64(float64(done-p.first)/took.Seconds())))
		}
	}
	return text
}

func (p *progress) draw(s string) {
	fmt.Fprintf(p.a.err, "\r%s%s", s, strings.Repeat(" ", max(0, p.width-len(s))))
	p.width = len(s)
}

// end takes the changing line away and leaves a last word in its place, if there is one.
func (p *progress) end(last string) {
	if p.a.quiet || p.a.json {
		return
	}
	if p.a.errTerminal && p.width > 0 {
		p.draw("")
		fmt.Fprint(p.a.err, "\r")
	}
	if last != "" {
		fmt.Fprintf(p.a.err, "%s  %s\n", p.label, last)
	}
}

// fill breaks the lines of a text anew so that none has more columns than width. Lines that
// begin with a space are examples and tables, and stay as they are.
func fill(text string, width int) string {
	var out []string
	var words []string
	flush := func() {
		line, columns := "", 0
		for _, w := range words {
			n := utf8.RuneCountInString(w)
			if columns > 0 && columns+1+n > width {
				out, line, columns = append(out, line), "", 0
			}
			if columns > 0 {
				line, columns = line+" ", columns+1
			}
			line, columns = line+w, columns+n
		}
		if line != "" {
			out = append(out, line)
		}
		words = nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || strings.HasPrefix(line, " ") {
			flush()
			out = append(out, line)
			continue
		}
		words = append(words, strings.Fields(line)...)
	}
	flush()
	return strings.Join(out, "\n")
}
