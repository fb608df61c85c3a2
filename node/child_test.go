//go:build linux || darwin

package node

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
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/media"
	"github.com/trunkline-net/trunkline/media/turn"
)

// A node in a process of its own, for what cannot be done to the test's: this binary again,
// told by its environment.
const (
	childFolder = "TRUNKLINE_TEST_CHILD" // serve this folder
	childFiles  = "TRUNKLINE_TEST_FILES" // with so many descriptors
	childPeer   = "TRUNKLINE_TEST_PEER"  // where the document of globex.example is
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		if err := serveChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serveChild serves a folder until SIGTERM, and says on standard output where.
func serveChild(dir string) error {
	if files := os.Getenv(childFiles); files != "" {
		n, err := strconv.ParseUint(files, 10, 32)
		if err != nil {
			return err
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg := testConfig(dir, "acme.example")
	if at := os.Getenv(childPeer); at != "" {
		cfg.Federation.Peers = []PeerConfig{{Domain: "globex.example", Document: at}}
	}
	n, err := New(cfg, nil)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	select {
	case <-n.Ready():
		if err := json.NewEncoder(os.Stdout).Encode(n.Facts()); err != nil {
			return err
		}
	case err := <-ended:
		return err
	}
	return <-ended
}

// child is a node in another process.
type child struct {
	*running // its address and identity, for the helpers of clients; nothing runs in it
	t        *testing.T
	cmd      *exec.Cmd
	facts    Facts
	ended    chan error
}

func startChild(t *testing.T, dir string, env ...string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: exec.Command(exe), ended: make(chan error, 1)}
	c.cmd.Env = append(append(os.Environ(), childFolder+"="+dir), env...)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &c.facts)
	}
	go func() {
		_, drained := io.Copy(io.Discard, out)
		c.ended <- errors.Join(drained, c.cmd.Wait())
	}()
	t.Cleanup(func() { _ = c.cmd.Process.Kill() }) // it may have ended
	if err != nil {
		t.Fatalf("the child said %q: %v", line, err)
	}
	self, err := identity.ParsePeerID(c.facts.PeerID)
	if err != nil {
		t.Fatal(err)
	}
	c.running = &running{t: t, clock: newClock(), dir: dir, Node: &Node{
		cfg: Config{Domain: c.facts.Domain}, self: self, httpAddr: c.facts.HTTP[len("http://"):],
	}}
	return c
}

// knowsItsKey takes the node's routing key from what it told a client, for envelopes to it.
func (c *child) knowsItsKey(l *raw) {
	c.routing = new(routing)
	c.routing.keys.Store(&routingKeys{descriptor: l.node.Descriptor.Bytes()})
}

func (c *child) signal(s syscall.Signal) error {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
	select {
	case err := <-c.ended:
		return err
	case <-time.After(wait):
		c.t.Fatal("the child does not end")
		return nil
	}
}

func TestANodeThatWasKilledStartsAgainOnItsFolder(t *testing.T) {
	dir := t.TempDir()
	writePolicy(t, dir, openPolicy)
	c := startChild(t, dir)
	bob := newPerson(t, c.running)
	bobs := dial(t, c.running, bob)
	bobs.publish(c.running, bob, "")
	if f := bobs.register(bob, 0); f.GetRegistered() == nil {
		t.Fatal(f)
	}
	for name, want := range map[string]os.FileMode{".": 0o700, fileSocket: 0o600, fileStore: 0o600, fileHostKey: 0o600, fileDomainKey: 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if err := c.signal(syscall.SIGKILL); err == nil {
		t.Error("it ended by itself")
	}
	// The socket is still there, and nobody answers.
	if _, err := os.Lstat(filepath.Join(dir, fileSocket)); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a socket that nobody serves: %v", err)
	}
	r := start(t, dir, "acme.example", "")
	if s, err := dialAdmin(t, dir).Status(t.Context()); err != nil || !s.Ready {
		t.Errorf("status %+v, %v", s, err)
	}
	if info, err := os.Lstat(filepath.Join(dir, fileSocket)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	if report, err := r.db.Check(t.Context()); err != nil || len(report.Problems) != 0 {
		t.Errorf("the store: %+v, %v", report, err)
	}
	bobs = dial(t, r, bob)
	if f := bobs.register(bob, 0); f.GetRegistered() == nil {
		t.Errorf("Bob after the crash: %v", f)
	}
	r.stopped()
	if _, err := os.Lstat(filepath.Join(dir, fileSocket)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket after the end: %v", err)
	}
}

// TestANodeWithoutFilesGoesOn: callers take every descriptor that there is, on all listeners,
// and when they have gone the node answers as before.
func TestANodeWithoutFilesGoesOn(t *testing.T) {
	dir := t.TempDir()
	writePolicy(t, dir, openPolicy)
	const files = 96
	c := startChild(t, dir, childFiles+"="+strconv.Itoa(files))
	federation := sameAddress(t, slices.DeleteFunc(slices.Clone(c.facts.Federation), func(a string) bool { return !strings.Contains(a, "/tcp/") }))
	var all []net.Conn
	for range files {
		for _, at := range []string{c.httpAddr, c.facts.TURN, federation} {
			// Those that the node cannot accept wait in the system's line.
			conn, err := net.DialTimeout("tcp", at, wait)
			if errors.Is(err, syscall.ECONNRESET) {
				continue // turned away, as the relay does with strangers over its bound
			}
			if err != nil {
				t.Fatalf("after %d: %v (http %s, relay %s, federation %s)", len(all), err, c.httpAddr, c.facts.TURN, federation)
			}
			all = append(all, conn)
		}
	}
	if used, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid)); err == nil && len(used) < files-8 {
		until(t, "every descriptor is taken", func() bool {
			used, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid))
			return err != nil || len(used) >= files-8
		})
	}
	for _, conn := range all {
		_ = conn.Close()
	}
	// Each listener has outlived it, and not only those that are asked below. While the node has
	// not yet heard that the others have gone, it may turn a caller away.
	until(t, "the federation listens again", func() bool {
		conn, err := net.DialTimeout("tcp", federation, wait)
		if err != nil {
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("nobody listens any more: %v", err)
			}
			return false
		}
		_ = conn.Close()
		return true
	})
	until(t, "the node answers again", func() bool {
		client := http.Client{Timeout: wait, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get(c.facts.HTTP + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	bob := newPerson(t, c.running)
	bobs := dial(t, c.running, bob)
	bobs.publish(c.running, bob, "")
	if f := bobs.register(bob, 0); f.GetRegistered() == nil {
		t.Fatal(f)
	}
	ready := dialAdmin(t, dir)
	if s, err := ready.Status(t.Context()); err != nil || !s.Ready {
		t.Errorf("the admin socket: %+v, %v", s, err)
	}
	credentials := bobs.turn()
	holdRelayAt(t, c.facts.TURN, credentials)
	until(t, "the relay takes connections again", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		_, end, err := turn.Hold(ctx, "tcp", c.facts.TURN, media.Credentials{
			Username: credentials.Username, Password: credentials.Credential, Handle: media.Handle(credentials.Handle)})
		if err != nil {
			if errors.Is(err, syscall.ECONNREFUSED) {
				t.Fatalf("nobody listens any more: %v", err)
			}
			return false
		}
		end()
		return true
	})
	if err := c.signal(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// TestAFullDiskIsAnAnswerAndLiveRoutingGoesOn runs in a child of its own, whose files may not
// grow: the system refuses every write behind the limit, as a full disk does.
func TestAFullDiskIsAnAnswerAndLiveRoutingGoesOn(t *testing.T) {
	const inside = "TRUNKLINE_TEST_DISK"
	if os.Getenv(inside) == "" {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, bobs := join(t, r)
	_, alices := join(t, r)
	info, err := os.Stat(filepath.Join(r.dir, fileStore))
	if err != nil {
		t.Fatal(err)
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit := syscall.Rlimit{Cur: uint64(info.Size()) + 128<<10, Max: old.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for range 24 {
		switch receipt := alices.submit(to(t, r, bob, envelope.Week, payload(65536))); {
		case receipt.Code == link.CodeUnavailable:
			refused++
		case receipt.Class != pb.ReceiptClass_RECEIPT_STORED:
			t.Fatalf("got %v", receipt)
		}
	}
	if refused == 0 {
		t.Fatal("nothing was refused")
	}
	if receipt := alices.submit(to(t, r, bob, envelope.Live, payload(1024))); receipt.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
		t.Errorf("live, while the disk is full: %v", receipt)
	}
	if f := dial(t, r, newPerson(t, r)).register(bob, 0); errorCode(f) == "" {
		t.Errorf("a registration while the disk is full: %v", f)
	}
	if status, _, _ := get1(t, "http://"+r.httpAddr+"/readyz"); status != http.StatusOK {
		t.Errorf("readyz says %d", status)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if receipt := alices.submit(to(t, r, bob, envelope.Ring, payload(1024))); receipt.Class != pb.ReceiptClass_RECEIPT_STORED {
		t.Errorf("when there is room again: %v", receipt)
	}
	stored := 0
	for range 24 - refused + 1 {
		for d := bobs.deliver(); ; d = bobs.deliver() {
			if d.StoredId != 0 {
				bobs.ack(d.StoredId)
				stored++
				break
			}
		}
	}
	bobs.settle(r, bob.device.ID())
	if report, err := r.db.Check(t.Context()); err != nil || len(report.Problems) != 0 {
		t.Errorf("the store: %+v, %v", report, err)
	}
}
