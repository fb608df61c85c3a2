package client_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/transfer"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// A client that is killed with SIGKILL in the middle of something runs in a process of its
// own: this test binary, started with childEnv.
const childEnv = "TRUNKLINE_CLIENT_TEST_CHILD"

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		if err := child(strings.Split(job, "|")); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child opens the client of a folder and does one thing until it is killed. It reports on its
// standard output, a line for each step.
func child(job []string) error {
	if job[0] == "serve" {
		return serveChild(job[1])
	}
	c, err := client.Open(client.Config{Dir: job[1], Loopback: true})
	if err != nil {
		return err
	}
	ctx := context.Background()
	go func() {
		if err := c.Run(ctx); err != nil {
			fmt.Println("error", err)
		}
	}()
	if err := c.Ready(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	switch job[0] {
	case "receive":
		return takeFiles(ctx, c, job[2])
	case "send":
		root, err := identity.ParseID(job[2])
		if err != nil {
			return err
		}
		sent, err := c.SendFile(ctx, root, job[3], client.CallOptions{}, nil)
		if err != nil {
			return err
		}
		fmt.Println("sent", sent.Resumed)
		return nil
	case "notes":
		root, err := identity.ParseID(job[2])
		if err != nil {
			return err
		}
		for i := 1; ; i++ {
			if _, err := c.SendNote(ctx, root, "note "+strconv.Itoa(i)); err != nil {
				return err
			}
			fmt.Println("note", i)
		}
	}
	return errors.New("no such job")
}

func takeFiles(ctx context.Context, c *client.Client, dir string) error {
	files := &client.FileOptions{
		Dir:      dir,
		Progress: func(p transfer.Progress) { fmt.Println("progress", p.Done) },
		Received: func(r transfer.Received) { fmt.Println("received", r.Resumed, r.Err) },
	}
	for e := range c.Events() {
		if ring, ok := e.(client.Ringing); ok {
			go func() { _, _ = ring.Answer(ctx, client.CallOptions{Files: files}) }() // an old ring may be over
		}
	}
	return nil
}

// process is a running child.
type process struct {
	cmd *exec.Cmd

	mu    sync.Mutex // guards lines, news
	lines []string
	news  chan struct{}
}

func startChild(t *testing.T, job ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0]), news: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(job, "|"))
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			p.mu.Lock()
			p.lines = append(p.lines, lines.Text())
			close(p.news)
			p.news = make(chan struct{})
			p.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		p.kill()
		<-read
		_ = p.cmd.Wait() // it was killed
	})
	return p
}

func (p *process) kill() { _ = p.cmd.Process.Kill() }

// line waits for a line that begins with a word and returns what follows.
func (p *process) line(t *testing.T, word string, fits func(rest string) bool) string {
	t.Helper()
	late := within(t)
	for {
		p.mu.Lock()
		lines, news := p.lines, p.news
		p.mu.Unlock()
		for _, l := range lines {
			if rest, ok := strings.CutPrefix(l, word+" "); ok && fits(rest) || l == word && fits("") {
				return rest
			}
		}
		select {
		case <-news:
		case <-late.Done():
			t.Fatalf("the child did not say %q, but %q", word, lines)
		}
	}
}

func atLeast(n int64) func(string) bool {
	return func(rest string) bool {
		got, err := strconv.ParseInt(rest, 10, 64)
		return err == nil && got >= n
	}
}

// bigFile is a file that takes long enough to be interrupted.
func bigFile(t *testing.T) (path string, sum [32]byte) {
	t.Helper()
	b := make([]byte, 24<<20)
	if _, err := rand.Read(b[:len(b)/8]); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "holiday.bin")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, sha256.Sum256(b)
}

func sameFile(t *testing.T, dir string, sum [32]byte) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "holiday.bin"))
	if err != nil || sha256.Sum256(b) != sum {
		t.Errorf("the file that came is another one: %d bytes, %v", len(b), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files lie in the folder, %v", len(entries), err)
	}
}

func TestAFileGoesOnAfterItsReceiverWasKilled(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", globex)
	meet(t, alice, bob)
	bob.leave(t)
	path, sum := bigFile(t)
	dir := t.TempDir()
	first := startChild(t, "receive", bob.dir, dir)
	first.line(t, "ready", func(string) bool { return true })
	type result struct {
		sent transfer.Sent
		err  error
	}
	done := make(chan result, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*wait)
	defer cancel()
	go func() {
		sent, err := alice.SendFile(ctx, bob.id(), path, client.CallOptions{}, nil)
		done <- result{sent, err}
	}()
	first.line(t, "progress", atLeast(2<<20))
	first.kill()
	_ = first.cmd.Wait() // its lock on the folder goes with it
	second := startChild(t, "receive", bob.dir, dir)
	got := second.line(t, "received", func(string) bool { return true })
	if resumed, _, _ := strings.Cut(got, " "); resumed == "0" || !strings.HasSuffix(got, " <nil>") {
		t.Errorf("the second half came as %q", got)
	}
	r := <-done
	if r.err != nil || r.sent.Resumed == 0 || r.sent.SHA256 != sum {
		t.Errorf("alice's side: resumed at %d, %v", r.sent.Resumed, r.err)
	}
	sameFile(t, dir, sum)
}

func TestAFileGoesOnAfterItsSenderWasKilled(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", globex)
	meet(t, alice, bob)
	alice.leave(t)
	path, sum := bigFile(t)
	dir := t.TempDir()
	far, received := make(chan struct{}), make(chan transfer.Received, 8)
	var once sync.Once
	files := &client.FileOptions{
		Dir: dir,
		Progress: func(p transfer.Progress) {
			if p.Done >= 2<<20 {
				once.Do(func() { close(far) })
			}
		},
		Received: func(r transfer.Received) { received <- r },
	}
	stop := make(chan struct{})
	var answering sync.WaitGroup
	answering.Go(func() {
		for {
			ring, ok := nextRing(bob, stop)
			if !ok {
				return
			}
			answering.Go(func() { _, _ = ring.Answer(within(t), client.CallOptions{Files: files}) })
		}
	})
	defer answering.Wait()
	defer close(stop)

	first := startChild(t, "send", alice.dir, bob.id().ID(), path)
	select {
	case <-far:
	case <-within(t).Done():
		t.Fatal("no file comes")
	}
	first.kill()
	_ = first.cmd.Wait()
	second := startChild(t, "send", alice.dir, bob.id().ID(), path)
	for {
		var r transfer.Received
		select {
		case r = <-received:
		case <-within(t).Done():
			t.Fatal("the file does not go on")
		}
		if r.Err != nil {
			continue // the attempt that was killed
		}
		if r.Resumed == 0 || r.SHA256 != sum {
			t.Errorf("it began anew: resumed at %d", r.Resumed)
		}
		break
	}
	second.line(t, "sent", atLeast(1))
	sameFile(t, dir, sum)
}

// nextRing waits for a ring until stop is closed.
func nextRing(h *human, stop chan struct{}) (client.Ringing, bool) {
	for {
		h.mu.Lock()
		for i, e := range h.kept {
			if ring, ok := e.(client.Ringing); ok {
				h.kept = append(h.kept[:i:i], h.kept[i+1:]...)
				h.mu.Unlock()
				return ring, true
			}
		}
		changed := h.changed
		h.mu.Unlock()
		select {
		case <-changed:
		case <-stop:
			return client.Ringing{}, false
		}
	}
}

func TestNoNoteIsLostWhenItsWriterIsKilled(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", globex)
	meet(t, alice, bob)
	for round, after := range []int64{1, 2, 5, 11} {
		alice.leave(t)
		writer := startChild(t, "notes", alice.dir, bob.id().ID())
		writer.line(t, "note", atLeast(after))
		writer.kill()
		_ = writer.cmd.Wait()
		alice.start(t)
		mine, err := alice.Notes(bob.id(), 0, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, "all notes at bob's", func() bool {
			mine, err = alice.Notes(bob.id(), 0, 10_000)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range mine {
				if n.Out && n.State != keep.NoteRead {
					return false
				}
			}
			return true
		})
		theirs, err := bob.Notes(alice.id(), 0, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		if len(theirs) != len(mine) || int64(len(mine)) < after {
			t.Errorf("round %d: alice wrote %d notes, bob has %d", round, len(mine), len(theirs))
		}
		for _, h := range []*human{alice, bob} {
			sum, err := h.Flush(within(t))
			if err != nil {
				t.Fatalf("the ledger of %s stays open: %v", h.name, err)
			}
			balanced(t, h, sum)
			if sum.Lost != 0 {
				t.Errorf("the ledger of %s: %+v", h.name, sum)
			}
		}
	}
}

func TestANoteSurvivesTheRestartOfBothNodes(t *testing.T) {
	t.Parallel()
	ma, mg := newMiddle(t), newMiddle(t)
	dirA, dirG := filepath.Join(t.TempDir(), "acme"), filepath.Join(t.TempDir(), "globex")
	acme, globex := ma.exchange(t, "acme.example", dirA), mg.exchange(t, "globex.example", dirG)
	befriend(t, acme, globex)
	alice, bob := newHumanAt(t, "alice", ma.server.URL), newHumanAt(t, "bob", mg.server.URL)
	meet(t, alice, bob)
	bob.leave(t)
	id, err := alice.SendNote(within(t), bob.id(), "see you after the power cut")
	if err != nil {
		t.Fatal(err)
	}
	told(t, alice, func(e client.NoteFate) bool { return e.Message == id && e.State == client.NoteStored })
	acme.stop(t)
	globex.stop(t)
	befriend(t, ma.exchange(t, "acme.example", dirA), mg.exchange(t, "globex.example", dirG))
	bob.start(t)
	note := told(t, bob, func(e client.NoteReceived) bool { return e.ID == id })
	if note.Text != "see you after the power cut" {
		t.Errorf("bob read %q", note.Text)
	}
	told(t, alice, func(e client.NoteFate) bool { return e.Message == id && e.State == client.NoteRead })
	for _, h := range []*human{alice, bob} {
		sum, err := h.Flush(within(t))
		if err != nil || sum.Lost != 0 {
			t.Errorf("the ledger of %s: %+v, %v", h.name, sum, err)
		}
		balanced(t, h, sum)
	}
}
