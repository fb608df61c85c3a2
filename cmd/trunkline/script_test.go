package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A script is a row of commands over one folder, run in this process. In arguments, $DIR is
// the folder. What a step does not mention is not checked, except that results and errors
// keep to their streams: see run.
type script struct {
	files map[string]string // made before the first step
	steps []step
}

type step struct {
	args     string // split at spaces
	stdin    string
	terminal bool     // all three streams are one
	hidden   []string // what is typed where nothing is shown
	exit     int
	out      []string // parts of standard output, in this order
	err      []string // parts of standard error, in this order
	not      []string // parts of neither
	silent   bool     // nothing on standard output
	live     bool     // the machine's clock: for steps that meet a node in a process of its own
}

var scriptClock = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func (s script) run(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range s.files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, st := range s.steps {
		st.run(t, dir)
	}
}

func (st step) run(t *testing.T, dir string) (stdout string) {
	t.Helper()
	args := strings.Fields(st.args)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "$DIR", dir)
	}
	var out, errs bytes.Buffer
	a := newApp(strings.NewReader(st.stdin), &out, &errs)
	if !st.live {
		a.now = func() time.Time { return scriptClock }
	}
	a.getenv = func(name string) string {
		return map[string]string{"HOME": filepath.Join(dir, "home"), "TERM": "xterm"}[name]
	}
	a.environ = func() []string { return nil }
	a.scryptWork = 4 // the tests are not about guessing
	if st.terminal {
		a.inTerminal, a.outTerminal, a.errTerminal = true, true, true
	}
	hidden := st.hidden
	a.readHidden = func() ([]byte, error) {
		if len(hidden) == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		line := hidden[0]
		hidden = hidden[1:]
		return []byte(line), nil
	}
	exit := a.run(t.Context(), args)
	if exit != st.exit {
		t.Errorf("trunkline %s: exit %d, want %d\nstdout: %s\nstderr: %s", st.args, exit, st.exit, &out, &errs)
	}
	inOrder(t, st.args+": standard output", out.String(), st.out)
	inOrder(t, st.args+": standard error", errs.String(), st.err)
	for _, part := range st.not {
		if strings.Contains(out.String()+errs.String(), part) {
			t.Errorf("%s: %q should not be in\n%s%s", st.args, part, &out, &errs)
		}
	}
	if st.silent && out.Len() > 0 {
		t.Errorf("%s: standard output: %s", st.args, &out)
	}
	if len(hidden) > 0 {
		t.Errorf("%s: was not asked for %q", st.args, hidden)
	}
	if bytes.Contains(errs.Bytes(), []byte("goroutine ")) || bytes.Contains(out.Bytes(), []byte("goroutine ")) {
		t.Errorf("%s: a stack trace:\n%s", st.args, &errs)
	}
	return out.String()
}

func inOrder(t *testing.T, what, text string, parts []string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			t.Errorf("%s lacks %q (in this order) in:\n%s", what, part, text)
			return
		}
		rest = after
	}
}
