package demo

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// The story is read on terminals of 80 columns: a line that wraps by itself hides what is
// beside it.
func TestTheStoryFitsATerminal(t *testing.T) {
	var out bytes.Buffer
	line := newTimeline(&out, false)
	line.begin("a step")
	line.done(strings.Repeat("words – of a long sentence ", 20) + "\nand a second line " + strings.Repeat("with more ", 20))
	line.end(&Report{})
	text := out.String()
	for l := range strings.SplitSeq(text, "\n") {
		if n := utf8.RuneCountInString(l); n > 80 {
			t.Errorf("a line has %d columns: %q", n, l)
		}
	}
	if n := strings.Count(text, " ok "); n != 2 {
		t.Errorf("two lines were told, %d are marked:\n%s", n, text)
	}
	if got, want := strings.Count(strings.Join(strings.Fields(text), " "), "words – of a long sentence"), 20; got != want {
		t.Errorf("%d of %d sentences are whole after wrapping", got, want)
	}
}

// Whoever stops the demo is not told that something failed.
func TestAnInterruptedStoryDidNotFail(t *testing.T) {
	var out bytes.Buffer
	line := newTimeline(&out, false)
	line.interrupted()
	if !strings.Contains(out.String(), "interrupted") || strings.Contains(out.String(), "FAILED") {
		t.Errorf("an interrupted story ends with %q", out.String())
	}
	out.Reset()
	line.failed(errors.New("why"))
	if !strings.Contains(out.String(), "FAILED why") {
		t.Errorf("a failed story ends with %q", out.String())
	}
}
