//go:build linux

package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/node"
)

// server is one node of one domain: a folder, and one process after the other on it.
type server struct {
	t      *testing.T
	domain string
	dir    string // as its process sees it
	root   string // what stands before dir for everybody else; "" where they see the same
	self   identity.PeerID
	key    string // of the domain, as policies write it
	shell  string // run by sh before the program takes its place, for limits
	enter  []string
	stderr string // a file

	// Addresses are chosen by the first start and kept: partners and clients know them.
	http, federation string

	mu      sync.Mutex // guards all below
	cmd     *exec.Cmd
	ended   chan struct{} // closed when the process has been waited for
	result  error         // valid after ended
	starts  int           // processes that became ready
	changed chan struct{} // closed and made anew when one is ready
	facts   node.Facts
	gone    bool // no process comes any more
}

type option func(*server)

// twoServers makes two nodes that name each other as partners, and starts them.
func twoServers(t *testing.T, options ...option) (acme, globex *server) {
	t.Helper()
	acme, globex = newServer(t, "acme.example", options...), newServer(t, "globex.example", options...)
	acme.trust(globex)
	globex.trust(acme)
	for _, s := range []*server{acme, globex} {
		s.start()
	}
	befriend(t, acme, globex)
	return acme, globex
}

// newServer makes a node's folder with everything in it.
func newServer(t *testing.T, domain string, options ...option) *server {
	t.Helper()
	s := &server{t: t, domain: domain, dir: filepath.Join(t.TempDir(), domain), changed: make(chan struct{}),
		http: "127.0.0.1:0", federation: "127.0.0.1:0"}
	s.stderr = filepath.Join(t.TempDir(), domain+".log")
	for _, o := range options {
		o(s)
	}
	var made struct {
		PeerID    string `json:"peer_id"`
		DomainKey string `json:"domain_key"`
	}
	out, err := s.command("init", "--data", s.dir, "--domain", domain, "--turn-listen", "127.0.0.1:0", "--sfu-listen", "127.0.0.1:0",
		"--metrics-listen", "127.0.0.1:0", "--turn-external-ip", "127.0.0.1",
		"--federation-peer", other(domain)+"="+s.documentOf(other(domain)), "--json").Output()
	if err == nil {
		err = json.Unmarshal(out, &made)
	}
	if err == nil {
		s.self, err = identity.ParsePeerID(made.PeerID)
	}
	if err != nil {
		t.Fatalf("init: %v: %s", err, said(err))
	}
	s.key = made.DomainKey
	s.write("policy.toml", openRegistration)
	t.Cleanup(s.end)
	return s
}

func said(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}

func other(domain string) string {
	if domain == "acme.example" {
		return "globex.example"
	}
	return "acme.example"
}

const openRegistration = "version = 1\n[register]\nmode = \"open\"\n"

// trust makes another node's domain a partner in the policy.
func (s *server) trust(o *server) {
	s.write("policy.toml", openRegistration+fmt.Sprintf(`
[[domain]]
name = %q
level = "partner"
key = %q

[[rule]]
name = "partners"
level = "partner"
direction = "both"
actions = ["federate", "signal", "knock", "store", "query"]
`, o.domain, o.key))
}

func (s *server) documentOf(domain string) string { return filepath.Join(s.dir, domain+".document") }

// at is a file of the folder, as this process sees it.
func (s *server) at(name string) string { return filepath.Join(s.root, s.dir, name) }

func (s *server) write(name, text string) {
	s.t.Helper()
	// Renamed into place: the node may be reading it.
	if err := os.WriteFile(s.at(name+".new"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(s.at(name+".new"), s.at(name)); err != nil {
		s.t.Fatal(err)
	}
}

// befriend gives each node the other's document, as two administrators would, and waits for
// the link between them.
func befriend(t *testing.T, a, b *server) {
	t.Helper()
	for _, x := range [][2]*server{{a, b}, {b, a}} {
		to, about := x[0], x[1]
		doc, err := get(about.facts.HTTP + "/.well-known/trunkline/domain")
		if err != nil {
			t.Fatalf("the document of %s: %v", about.domain, err)
		}
		to.write(about.domain+".document", string(doc))
	}
	a.linked(t)
	b.linked(t)
}

func get(url string) ([]byte, error) {
	client := http.Client{Timeout: wait, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.200s", resp.Status, b)
	}
	return b, err
}

// command is the program with arguments, inside the limits of this server.
func (s *server) command(args ...string) *exec.Cmd {
	words := append([]string{program}, args...)
	if s.shell != "" {
		words = append([]string{"sh", "-c", s.shell + `; exec "$0" "$@"`}, words...)
	}
	words = append(append([]string(nil), s.enter...), words...)
	cmd := exec.Command(words[0], words[1:]...)
	// The shell and what enters a namespace are replaced by the program, so this is its own
	// parent's death too. The signal comes when the thread that started it ends; the runtime
	// ends threads only with a goroutine that is locked to one.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// start runs the node and waits until it is ready.
func (s *server) start() {
	s.t.Helper()
	for range 20 {
		err := s.launch(nil)
		if err == nil {
			return
		}
		// Another program of this machine may have been given the port while nobody had it.
		if !strings.Contains(err.Error(), "address is taken") && !strings.Contains(err.Error(), "address already in use") {
			s.t.Fatal(err)
		}
		s.t.Logf("%s: a port is taken, again", s.domain)
	}
	s.t.Fatalf("%s does not get its ports back", s.domain)
}

var errKilled = errors.New("killed while it started")

// launch runs the node. With a kill it is killed when that returns, if it is not ready before.
func (s *server) launch(kill func()) error {
	cmd := s.command("serve", "--data", s.dir, "--json", "--http-listen", s.http, "--federation-listen", s.federation)
	log, err := os.OpenFile(s.stderr, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	cmd.Stderr = log
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	cmd.Stdout = write
	if err := cmd.Start(); err != nil {
		return errors.Join(err, write.Close())
	}
	write.Close()
	ended := make(chan struct{})
	s.mu.Lock()
	s.cmd, s.ended, s.result = cmd, ended, nil
	s.mu.Unlock()
	go func() {
		err := cmd.Wait()
		s.mu.Lock()
		s.result = err
		s.mu.Unlock()
		close(ended)
	}()
	if kill != nil {
		go func() {
			kill()
			_ = cmd.Process.Kill() // it may have ended
		}()
	}
	line, err := bufio.NewReader(read).ReadBytes('\n')
	if err != nil {
		<-ended
		if kill != nil {
			return errKilled
		}
		text, _ := os.ReadFile(s.stderr)
		return fmt.Errorf("%s ended before it was ready: %v: %s", s.domain, s.result, text[min(int(from), len(text)):])
	}
	var facts node.Facts
	if err := json.Unmarshal(line, &facts); err != nil {
		return fmt.Errorf("ready line %q: %w", line, err)
	}
	if kill != nil {
		<-ended
		return errKilled
	}
	s.mu.Lock()
	s.facts = facts
	s.http = strings.TrimPrefix(facts.HTTP, "http://")
	for _, a := range facts.Federation {
		if parts := strings.Split(a, "/"); len(parts) > 4 && parts[3] == "tcp" {
			s.federation = net.JoinHostPort(parts[2], parts[4])
		}
	}
	s.starts++
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	return nil
}

// now says which process is there, by number, and where clients find it. The channel is closed
// when another one is ready.
func (s *server) now() (starts int, http string, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.starts, s.http, s.changed
}

func (s *server) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Pid
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	s.mu.Lock()
	cmd := s.cmd
	s.mu.Unlock()
	if err := cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("%v to %s: %v", sig, s.domain, err)
	}
}

// kill ends the process as a power cut would.
func (s *server) kill() {
	s.t.Helper()
	_ = s.cmd.Process.Kill() // one that drains may have ended
	<-s.ended
}

// stopped waits for a process that was told to end, and for a good end.
func (s *server) stopped() {
	s.t.Helper()
	<-s.ended
	if s.result != nil {
		s.t.Errorf("%s ended with %v\n%s", s.domain, s.result, s.logTail())
	}
}

func (s *server) alive() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// end is the end of the test: whatever runs is killed, and what it reported is looked at.
func (s *server) end() {
	if s.cmd == nil {
		return
	}
	// A stopped process dies of this signal too.
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.ended
	log, err := os.ReadFile(s.stderr)
	if err != nil {
		s.t.Error(err)
	}
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if at := strings.Index(string(log), bad); at >= 0 {
			s.t.Errorf("the log of %s:\n%.6000s", s.domain, log[at:])
		}
	}
	if s.t.Failed() {
		s.t.Logf("the end of the log of %s:\n%s", s.domain, s.logTail())
	}
}

func (s *server) logTail() string {
	log, err := os.ReadFile(s.stderr)
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-3000):])
}

// logged says whether the log has a text.
func (s *server) logged(text string) bool {
	log, err := os.ReadFile(s.stderr)
	return err == nil && strings.Contains(string(log), text)
}

// partner is how the node sees the other one.
func (s *server) partner(ctx context.Context) (node.Peer, error) {
	a, err := node.Dial(filepath.Join(s.root, s.dir))
	if err != nil {
		return node.Peer{}, err
	}
	defer a.Close()
	all, err := a.Peers(ctx)
	if err != nil {
		return node.Peer{}, err
	}
	for _, p := range all.Peers {
		if p.Domain == other(s.domain) {
			return p, nil
		}
	}
	return node.Peer{}, errors.New("no such partner")
}

func (s *server) linked(t *testing.T) {
	t.Helper()
	until(t, s.domain+" has a link to its partner", func() bool {
		p, err := s.partner(t.Context())
		return err == nil && p.State == "connected"
	})
}

// sent waits until nothing is left for the other node, in memory or on disk.
func (s *server) sent(t *testing.T) {
	t.Helper()
	until(t, s.domain+" has sent all that waits", func() bool {
		p, err := s.partner(t.Context())
		return err == nil && p.State == "connected" && p.Queue == 0
	})
}

// checkStore ends the node and has its store looked at by the command for that.
func (s *server) checkStore() {
	s.t.Helper()
	if s.alive() {
		s.signal(syscall.SIGTERM)
		s.stopped()
	}
	if out, err := s.command("verify", "store", "--data", s.dir).CombinedOutput(); err != nil {
		s.t.Errorf("verify store of %s: %v: %s", s.domain, err, out)
	}
}

// metric reads one line of the metrics; 0 if it is not there.
func (s *server) metric(t *testing.T, name string) float64 {
	t.Helper()
	text, err := get(s.facts.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		var v float64
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &v); err == nil {
				return v
			}
		}
	}
	return 0
}
