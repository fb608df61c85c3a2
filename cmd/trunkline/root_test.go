package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

func TestWrongUseEndsWithTwoAndSaysWhatToDo(t *testing.T) {
	for name, st := range map[string]step{
		"unknown command":        {args: "polcy", err: []string{"error: trunkline has no command \"polcy\"\n", "did you mean \"policy\"?"}},
		"nothing like it":        {args: "dance", err: []string{"no command \"dance\"", "use one of: ", "policy"}},
		"unknown subcommand":     {args: "policy chek", err: []string{"trunkline policy has no command \"chek\"", "did you mean \"policy check\"?"}},
		"group alone":            {args: "policy", err: []string{"trunkline policy needs a command", "use one of: check, explain, reload"}},
		"unknown flag":           {args: "version --jsn", err: []string{"unknown flag: --jsn", "see trunkline help version"}},
		"too many arguments":     {args: "version now", err: []string{"error: ", "see trunkline help version"}},
		"log level":              {args: "version --log-level loud", err: []string{`"loud" is not a log level`, "debug, info, warn or error"}},
		"no action":              {args: "policy explain --domain a.example --direction in", err: []string{`"" is not an action`, "--action"}},
		"wrong shell":            {args: "completion csh", err: []string{"csh"}},
		"error as JSON":          {args: "version --json --what", err: []string{`{"error":{"code":2,"kind":"usage","what":"unknown flag: --what","do":"see trunkline help version"}}`}},
		"JSON before the error":  {args: "--json dance", err: []string{`"code":2`}},
		"value for a bool":       {args: "version --json=perhaps", err: []string{"perhaps"}},
		"control bytes are kept": {args: "policy check \x1b[2J", err: []string{"open �[2J: "}, not: []string{"\x1b"}},
	} {
		t.Run(name, func(t *testing.T) {
			st.exit, st.silent = exitUsage, true
			st.run(t, t.TempDir())
		})
	}
}

func TestHelp(t *testing.T) {
	script{steps: []step{
		{args: "", out: []string{"Start here:", "Your identity:", "Your node:", "policy"}},
		{args: "--help", out: []string{"Start here:"}},
		{args: "help policy check", out: []string{"Examples:", "trunkline policy check"}},
		{args: "policy explain --help", out: []string{"Actions: federate, signal", "Examples:"}},
	}}.run(t)
}

func TestEveryCommandTeaches(t *testing.T) {
	root := newApp(strings.NewReader(""), io.Discard, io.Discard).root()
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			visit(sub)
		}
		if c.Name() == "help" || !c.HasParent() {
			return
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: the short help is %q", c.CommandPath(), c.Short)
		}
		if len(c.Long) < 40 {
			t.Errorf("%s: the long help teaches nothing: %q", c.CommandPath(), c.Long)
		}
		if !c.HasSubCommands() && !strings.Contains(c.Example, "trunkline") {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for _, line := range strings.Split(c.Long, "\n") {
			if utf8.RuneCountInString(line) > 80 {
				t.Errorf("%s: a long line in the help: %q", c.CommandPath(), line)
			}
		}
	}
	visit(root)
	visitFlags(t, root)
}

// visitFlags looks at what the flags print: it must fit a terminal of 80 columns, too.
func visitFlags(t *testing.T, c *cobra.Command) {
	t.Helper()
	for _, sub := range c.Commands() {
		visitFlags(t, sub)
	}
	_, flags, _ := strings.Cut(c.UsageString(), "Flags:\n")
	for line := range strings.SplitSeq(flags, "\n") {
		if utf8.RuneCountInString(line) > 80 {
			t.Errorf("%s: a long line about a flag: %q", c.CommandPath(), line)
		}
	}
}

func TestFillKeepsWordsAndExamples(t *testing.T) {
	const text = "one two three\nfour five\n  an example that stays as it is\nsix\n\nseven eight nine"
	const want = "one two\nthree four\nfive\n  an example that stays as it is\nsix\n\nseven\neight nine"
	if got := fill(text, 10); got != want {
		t.Errorf("filled to 10 columns:\n%s\nwanted:\n%s", got, want)
	}
	if got := fill("wörter zählen als zeichen", 13); got != "wörter zählen\nals zeichen" {
		t.Errorf("filled to 13 columns: %q", got)
	}
}

func TestVersion(t *testing.T) {
	out := step{args: "version --json"}.run(t, t.TempDir())
	var v versionInfo
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Version == "" || v.Go != runtime.Version() || v.OS != runtime.GOOS {
		t.Errorf("%v: %s", err, out)
	}
	if strings.Count(out, "\n") != 1 {
		t.Errorf("not one line: %q", out)
	}
	step{args: "version", out: []string{"trunkline ", runtime.Version()}}.run(t, t.TempDir())
}

func TestCompletionKnowsTheCommands(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		step{args: "completion " + shell, out: []string{"trunkline"}}.run(t, t.TempDir())
	}
	script{steps: []step{
		{args: "__complete poli", out: []string{"policy\t"}},
		{args: "__complete policy explain --action t", out: []string{"transit", "turn"}},
		{args: "__complete completion f", out: []string{"fish"}},
		{args: "__complete serve --log-level w", out: []string{"warn"}},
		// A shell offers files only where a file is meant: 4 is "no files".
		{args: "__complete contact accept x", out: []string{":4"}},
		{args: "__complete policy check x", out: []string{":0"}},
	}}.run(t)
}

func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	step{args: "man $DIR/man", silent: true}.run(t, dir)
	page, err := os.ReadFile(filepath.Join(dir, "man", "trunkline-policy-explain.1"))
	if err != nil || !bytes.Contains(page, []byte(".TH")) || !bytes.Contains(page, []byte("direction")) {
		t.Errorf("%v: %s", err, page)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	step{args: "man $DIR/file", exit: exitFailure, err: []string{"cannot make the folder"}}.run(t, dir)
}

func TestErrorsHaveTheirCodeInBothForms(t *testing.T) {
	cause := errors.New("the cause\nin two lines \x1b[31m")
	for _, c := range []struct {
		err  error
		code int
		kind string
	}{
		{usageError("w", "d"), 2, "usage"},
		{failed(cause, "w", "d"), 1, "failure"},
		{refused("quota", "w", "d"), 3, "refused"},
		{unreachable(cause, "w", "d"), 4, "unreachable"},
		{unverified(cause, "w", "d"), 5, "verification"},
		{fmt.Errorf("wrapped: %w", refused("policy", "w", "d")), 3, "refused"},
		{cause, 1, "failure"},
		{context.Canceled, 1, "failure"},
	} {
		var errs bytes.Buffer
		a := newApp(strings.NewReader(""), io.Discard, &errs)
		a.started = true
		e := a.classify(c.err)
		a.report(e)
		if e.code != c.code || strings.Count(errs.String(), "\n") != 2 || strings.Contains(errs.String(), "\x1b") {
			t.Errorf("%v: code %d, text %q", c.err, e.code, errs.String())
		}
		errs.Reset()
		a.json = true
		a.report(e)
		var object struct {
			Error struct {
				Code                   int
				Kind, Reason, What, Do string
			}
		}
		if err := json.Unmarshal(errs.Bytes(), &object); err != nil || object.Error.Code != c.code || object.Error.Kind != c.kind || object.Error.What == "" || object.Error.Do == "" {
			t.Errorf("%v: %s", err, &errs)
		}
	}
}

func TestDataFolders(t *testing.T) {
	env := map[string]string{}
	a := newApp(strings.NewReader(""), io.Discard, io.Discard)
	a.getenv = func(name string) string { return env[name] }
	if _, err := a.nodeData(); err == nil || a.classify(err).code != exitUsage {
		t.Errorf("without any home: %v", err)
	}
	for _, c := range []struct{ data, xdg, home, node, client string }{
		{"", "", "/home/u", "/home/u/.local/share/trunkline/node", "/home/u/.local/share/trunkline/client"},
		{"", "/xdg", "/home/u", "/xdg/trunkline/node", "/xdg/trunkline/client"},
		{"", "relative", "/home/u", "/home/u/.local/share/trunkline/node", "/home/u/.local/share/trunkline/client"},
		{"here", "/xdg", "/home/u", "here", "here"},
	} {
		a.data, env["XDG_DATA_HOME"], env["HOME"] = c.data, c.xdg, c.home
		node, err1 := a.nodeData()
		client, err2 := a.clientData()
		if err1 != nil || err2 != nil || node != c.node || client != c.client {
			t.Errorf("%+v: %s %s %v %v", c, node, client, err1, err2)
		}
	}
}

func TestProgressSuitsWhereItIsShown(t *testing.T) {
	now := scriptClock
	for _, c := range []struct {
		name                  string
		terminal, quiet, json bool
		want                  string
	}{
		{"a pipe: a line at each tenth", false, false, false, "file    0 %\nfile   50 %\nfile  100 %\nfile  done\n"},
		{"a terminal: one line, not too often", true, false, false, "\rfile    0 %\rfile  100 %\r           \rfile  done\n"},
		{"quiet", true, true, false, ""},
		{"json", false, false, true, ""},
	} {
		var errs bytes.Buffer
		a := newApp(strings.NewReader(""), io.Discard, &errs)
		a.errTerminal, a.quiet, a.json = c.terminal, c.quiet, c.json
		a.now = func() time.Time { return now }
		p := a.progress("file", 1000)
		p.set(0)
		p.set(501)
		p.set(555)
		now = now.Add(time.Second)
		p.set(1000)
		p.end("done")
		if errs.String() != c.want {
			t.Errorf("%s: %q", c.name, errs.String())
		}
	}
}

func TestProgressOverBytesShowsTheRate(t *testing.T) {
	now := scriptClock
	var errs bytes.Buffer
	a := newApp(strings.NewReader(""), io.Discard, &errs)
	a.now = func() time.Time { return now }
	p := a.bytesProgress("file", 10<<20)
	p.set(4 << 20) // from an earlier attempt: not part of the rate
	now = now.Add(2 * time.Second)
	p.set(8 << 20)
	if want := "file   40 %  4.0 MiB of 10.0 MiB\nfile   80 %  8.0 MiB of 10.0 MiB  2.0 MiB/s\n"; errs.String() != want {
		t.Errorf("%q", errs.String())
	}
}

func TestColoursAreForTerminalsThatWantThem(t *testing.T) {
	for _, c := range []struct {
		terminal, flag bool
		env            map[string]string
		want           bool
	}{
		{true, false, nil, true},
		{false, false, nil, false},
		{true, true, nil, false},
		{true, false, map[string]string{"NO_COLOR": "1"}, false},
		{true, false, map[string]string{"TERM": "dumb"}, false},
	} {
		var errs bytes.Buffer
		a := newApp(strings.NewReader(""), io.Discard, &errs)
		a.errTerminal, a.noColor = c.terminal, c.flag
		a.getenv = func(name string) string { return c.env[name] }
		a.report(&exitError{code: 1, what: "w", do: "d"})
		if got := strings.Contains(errs.String(), "\x1b["); got != c.want {
			t.Errorf("%+v: %q", c, errs.String())
		}
	}
}

// TestTheBinarysExitCodes builds the program as its users do and asks the operating system
// for its exit codes.
func TestTheBinarysExitCodes(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "trunkline")
	// A working copy that belongs to somebody else has no commit to ask for.
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "good.toml"), []byte("version = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args  string
		stdin string
		exit  int
	}{
		{"version --json", "", exitDone},
		{"policy check good.toml", "", exitDone},
		{"policy check -", "version = 1", exitDone},
		{"policy check -", "version = 2", exitUsage},
		{"policy check missing.toml", "", exitUsage},
		{"policy explain --policy good.toml --domain a.example --action signal --direction in", "", exitDone},
		{"nonsense", "", exitUsage},
		{"man good.toml/x", "", exitFailure},
		{"id show --data empty", "", exitFailure},
	} {
		cmd := exec.CommandContext(t.Context(), binary, strings.Fields(c.args)...)
		cmd.Dir = dir
		cmd.Stdin = strings.NewReader(c.stdin)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != c.exit {
			t.Errorf("trunkline %s: exit %d, want %d: %s", c.args, got, c.exit, &errs)
		}
	}
}
