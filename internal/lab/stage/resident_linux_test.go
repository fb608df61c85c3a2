package stage

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/identity"
)

// A resident is a person whose client goes on running, as an application does: this binary
// again, told by its environment, because sockets belong to the host of their process.
const residentFolder = "TRUNKLINE_TEST_RESIDENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(residentFolder); dir != "" {
		if err := reside(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// order is a note that the resident shall submit, or with Call a call that it shall make.
type order struct {
	To, Text string
	Call     bool
}

// Lines of a resident.
type (
	sentNote struct{ Text, ID string }
	gotNote  struct{ Text string }
	fateNote struct{ ID, State string }
)

// reside runs a client until its standard input ends.
func reside(dir string) error {
	c, err := client.Open(client.Config{Dir: dir})
	if err != nil {
		return err
	}
	var mu sync.Mutex // one line at a time
	say := func(event string, what any) error {
		mu.Lock()
		defer mu.Unlock()
		return json.NewEncoder(os.Stdout).Encode(struct {
			Event string
			What  any
		}{event, what})
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	told := make(chan error, 1)
	go func() {
		for e := range c.Events() {
			var err error
			switch e := e.(type) {
			case client.NoteReceived:
				err = say("note", gotNote{e.Text})
			case client.NoteFate:
				err = say("fate", fateNote{hex.EncodeToString(e.Message[:]), e.State.String()})
			}
			if err != nil {
				told <- err
				return
			}
		}
		told <- nil
	}()
	err = c.Ready(ctx)
	if err == nil {
		err = say("ready", struct{}{})
	}
	for in := bufio.NewScanner(os.Stdin); err == nil && in.Scan(); {
		var o order
		var to identity.PublicKey
		if err = json.Unmarshal(in.Bytes(), &o); err != nil {
			break
		}
		if to, err = identity.ParseID(o.To); err != nil {
			break
		}
		if o.Call {
			var secrets []string
			if secrets, err = ringOnce(ctx, c, to); err == nil {
				err = say("called", secrets)
			}
			continue
		}
		var id [16]byte
		if id, err = c.SendNote(ctx, to, o.Text); err == nil {
			err = say("sent", sentNote{o.Text, hex.EncodeToString(id[:])})
		}
	}
	stop()
	if rerr := <-ended; !errors.Is(rerr, context.Canceled) {
		err = errors.Join(err, rerr)
	}
	return errors.Join(err, <-told, c.Close())
}

// ringOnce makes a call and returns what no node may see of it: the descriptions and
// candidates of both sides.
func ringOnce(ctx context.Context, c *client.Client, to identity.PublicKey) ([]string, error) {
	call, err := c.Ring(ctx, to, client.CallOptions{Media: client.Audio, Source: &client.Source{}})
	if err != nil {
		return nil, err
	}
	if err := call.Connected(ctx); err != nil {
		return nil, err
	}
	secrets := call.Secrets()
	return secrets, call.Hangup(ctx)
}

// resident is that process as the test has it, and what it has told.
type resident struct {
	*Running
	*Person
	in    *os.File
	heard chan struct{} // closed when everything it told was taken down

	mu    sync.Mutex        // guards what follows
	sent  map[string]string // text to id
	came  map[string]int    // text to how often
	fates map[string]string // id to the last state
	texts []string          // in the order in which they were written
	call  []string          // secrets of a call
}

func (s *Stage) resident(p *Person) *resident {
	s.t.Helper()
	exe, err := os.Executable()
	s.must(err)
	read, write, err := os.Pipe()
	s.must(err)
	cmd := exec.Command(exe)
	cmd.Env, cmd.Stdin = append(s.Environment(), residentFolder+"="+p.Dir), read
	r := &resident{
		Person: p, in: write, heard: make(chan struct{}), sent: map[string]string{}, came: map[string]int{}, fates: map[string]string{},
		Running: s.StartCommand(p.Home.Host, cmd),
	}
	s.must(read.Close())
	s.t.Cleanup(func() { _ = write.Close() })
	s.must(r.Event("ready", new(struct{})))
	go r.listen()
	return r
}

// listen takes down what the resident tells, until it ends.
func (r *resident) listen() {
	defer close(r.heard)
	for line := range r.lines {
		var e Event
		var sent sentNote
		var got gotNote
		var fate fateNote
		var call []string
		if err := json.Unmarshal(line, &e); err != nil {
			r.t.Errorf("%s told %q: %v", r.Name, line, err)
		}
		into := map[string]any{"sent": &sent, "note": &got, "fate": &fate, "called": &call}[e.Event]
		if into == nil || json.Unmarshal(e.What, into) != nil {
			continue
		}
		r.mu.Lock()
		switch e.Event {
		case "sent":
			r.sent[sent.Text] = sent.ID
		case "note":
			r.came[got.Text]++
		case "fate":
			r.fates[fate.ID] = fate.State
		case "called":
			r.call = call
		}
		r.mu.Unlock()
	}
}

// leave ends the resident in order, so that whatever comes late has come.
func (r *resident) leave() {
	r.t.Helper()
	err := r.in.Close()
	if err == nil {
		err = r.Wait()
	}
	<-r.heard
	if err != nil {
		r.t.Errorf("%s: %v: %s", r.Name, err, r.Log())
	}
}

func (r *resident) give(o order) {
	r.t.Helper()
	b, err := json.Marshal(o)
	if err == nil {
		_, err = r.in.Write(append(b, '\n'))
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// secrets are those of the call that was ordered, once it is over.
func (r *resident) secrets() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.call
}

// write submits a note.
func (r *resident) write(to *resident, text string) {
	r.t.Helper()
	r.give(order{To: to.ID, Text: text})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.texts = append(r.texts, text)
}

// state is how far the sender knows that a note has come; empty: not even submitted.
func (r *resident) state(text string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fates[r.sent[text]]
}

func (r *resident) times(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.came[text]
}
