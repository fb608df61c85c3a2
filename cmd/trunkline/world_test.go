package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// storyTime is far more than the story takes; it only keeps a mistake from hanging.
const storyTime = 4 * time.Minute

// world is a folder, the program as its users build it, and two nodes that know each other.
type world struct {
	t      *testing.T
	ctx    context.Context
	dir    string
	binary string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), storyTime)
	t.Cleanup(cancel)
	w := &world{t: t, ctx: ctx, dir: dir, binary: filepath.Join(dir, "trunkline")}
	if out, err := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", w.binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return w
}

func (w *world) command(args string) *exec.Cmd {
	words := strings.Fields(args)
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "~", " ") // a space within an argument
	}
	cmd := exec.CommandContext(w.ctx, w.binary, words...)
	cmd.Dir = w.dir
	cmd.Env = []string{"HOME=" + filepath.Join(w.dir, "home"), "PATH=" + os.Getenv("PATH")}
	return cmd
}

// run runs a command to its end, holds it to its exit code and returns all that it said.
func (w *world) run(exit int, args string) string {
	w.t.Helper()
	out, errs := w.output(exit, args)
	return out + errs
}

func (w *world) output(exit int, args string) (stdout, stderr string) {
	w.t.Helper()
	cmd := w.command(args)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		w.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != exit {
		w.t.Fatalf("trunkline %s: exit %d, want %d\nstdout: %s\nstderr: %s", args, got, exit, &out, &errs)
	}
	return out.String(), errs.String()
}

// object runs a command that prints one object.
func (w *world) object(args string, into any) {
	w.t.Helper()
	text, _ := w.output(exitDone, args+" --json")
	if err := json.Unmarshal([]byte(text), into); err != nil {
		w.t.Fatalf("trunkline %s: %v: %s", args, err, text)
	}
}

// process is a command that goes on.
type process struct {
	w     *world
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	errs  lockedBuffer
}

type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (w *world) start(args string) *process {
	w.t.Helper()
	p := &process{w: w, name: args, cmd: w.command(args)}
	p.cmd.Stderr = &p.errs
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		w.t.Fatal(err)
	}
	// A pipe of our own: Wait closes StdoutPipe, and there may still be lines in it.
	read, write, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	p.cmd.Stdout, p.lines = write, bufio.NewScanner(read)
	p.lines.Buffer(nil, 1<<20)
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	write.Close()
	w.t.Cleanup(func() { read.Close() })
	return p
}

// line reads lines of JSON until one fits.
func (p *process) line(fits func(map[string]any) bool) map[string]any {
	p.w.t.Helper()
	for p.lines.Scan() {
		var v map[string]any
		if err := json.Unmarshal(p.lines.Bytes(), &v); err != nil {
			p.w.t.Fatalf("trunkline %s: %v: %s", p.name, err, p.lines.Bytes())
		}
		if fits(v) {
			return v
		}
	}
	p.w.t.Fatalf("trunkline %s ended: %s", p.name, &p.errs)
	return nil
}

func any1(map[string]any) bool { return true }

// event waits for one event of a stream and returns what it says.
func (p *process) event(name string) map[string]any {
	p.w.t.Helper()
	what, _ := p.line(func(v map[string]any) bool { return v["event"] == name })["what"].(map[string]any)
	return what
}

func (p *process) end(exit int) {
	p.w.t.Helper()
	err := p.cmd.Wait()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		p.w.t.Fatal(err)
	}
	if got := p.cmd.ProcessState.ExitCode(); got != exit {
		p.w.t.Fatalf("trunkline %s: exit %d, want %d: %s", p.name, got, exit, &p.errs)
	}
}

func (p *process) signal(s os.Signal) {
	p.w.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.w.t.Fatal(err)
	}
}

func (w *world) write(name, text string) {
	w.t.Helper()
	f, err := os.OpenFile(filepath.Join(w.dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		w.t.Fatal(err)
	}
}
