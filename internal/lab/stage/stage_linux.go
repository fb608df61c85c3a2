package stage

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/internal/lab"
	"github.com/trunkline-net/trunkline/internal/leak"
)

// Patience is how long a test waits for what must come. It is never a measure.
const Patience = 60 * time.Second

// Stage is a lab with the program, a certificate authority, and a folder for everybody.
type Stage struct {
	*lab.Lab
	t      testing.TB
	dir    string
	binary string

	authority *x509.Certificate
	key       *ecdsa.PrivateKey
	nodes     []*Node
}

// New makes a stage. A test that is not run by root is skipped.
func New(t testing.TB) *Stage {
	t.Helper()
	l := lab.New(t)
	dir := t.TempDir()
	s := &Stage{Lab: l, t: t, dir: dir, binary: filepath.Join(dir, "trunkline")}
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", s.binary, "github.com/trunkline-net/trunkline/cmd/trunkline").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	s.must(s.makeAuthority())
	return s
}

func (s *Stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *Stage) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// makeAuthority makes the certificate authority that every program here trusts, and no other.
func (s *Stage) makeAuthority() (err error) {
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, s.key.Public(), s.key)
	if err != nil {
		return err
	}
	if s.authority, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	return writePEM(s.path("authority.pem"), "CERTIFICATE", der)
}

// certify writes a certificate and its key for a domain.
func (s *Stage) certify(domain string) (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(2 + len(s.nodes))), Subject: pkix.Name{CommonName: domain}, DNSNames: []string{domain},
		NotBefore: s.authority.NotBefore, NotAfter: s.authority.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.authority, private.Public(), s.key)
	if err != nil {
		return "", "", err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	cert, key = s.path(domain+".pem"), s.path(domain+".key")
	return cert, key, errors.Join(writePEM(cert, "CERTIFICATE", der), writePEM(key, "PRIVATE KEY", pkcs8))
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// command is the program with its arguments, for any host.
func (s *Stage) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.binary, args...)
	cmd.Dir, cmd.Env = s.dir, s.Environment()
	return cmd
}

// Environment is what programs on the stage are given: the names of folders and of the
// certificate authority.
func (s *Stage) Environment() []string {
	return []string{"HOME=" + s.path("home"), "PATH=" + os.Getenv("PATH"), "SSL_CERT_FILE=" + s.path("authority.pem")}
}

// Object runs a command to its end in a host and reads the object that it prints; a nil into
// throws it away.
func (s *Stage) Object(at *lab.Host, into any, args ...string) {
	s.t.Helper()
	s.must(s.Try(at, into, args...))
}

// Try is Object with what went wrong as an error, for commands that may fail.
func (s *Stage) Try(at *lab.Host, into any, args ...string) error {
	out, err := s.output(at, append(args, "--json")...)
	if err != nil || into == nil {
		return err
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("trunkline %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Text runs a command that prints no object and returns what it prints.
func (s *Stage) Text(at *lab.Host, args ...string) string {
	s.t.Helper()
	out, err := s.output(at, args...)
	s.must(err)
	return strings.TrimSpace(string(out))
}

func (s *Stage) output(at *lab.Host, args ...string) ([]byte, error) {
	cmd := s.command(args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := at.Run(cmd); err != nil {
		return nil, fmt.Errorf("trunkline %s: %w: %s", strings.Join(args, " "), err, &said)
	}
	return out.Bytes(), nil
}

// Running is a command that goes on and prints a line of JSON for each thing that happens.
type Running struct {
	*lab.Process
	t     testing.TB
	what  string
	lines chan []byte
	log   *lockedBuffer
}

// Start runs a command that goes on.
func (s *Stage) Start(at *lab.Host, args ...string) *Running {
	s.t.Helper()
	return s.StartCommand(at, s.command(append(args, "--json")...))
}

// StartCommand is Start for another program than the one that is tested.
func (s *Stage) StartCommand(at *lab.Host, cmd *exec.Cmd) *Running {
	s.t.Helper()
	r := &Running{t: s.t, what: strings.Join(cmd.Args[1:], " "), lines: make(chan []byte, 1024), log: new(lockedBuffer)}
	cmd.Stderr = r.log
	// A pipe of our own: Wait closes StdoutPipe, and there may still be lines in it.
	read, write, err := os.Pipe()
	s.must(err)
	cmd.Stdout = write
	r.Process, err = at.Start(cmd)
	s.must(errors.Join(err, write.Close()))
	go func() {
		defer read.Close()
		defer close(r.lines)
		in := bufio.NewReader(read)
		for {
			line, err := in.ReadBytes('\n')
			if err != nil {
				return
			}
			r.lines <- line
		}
	}()
	return r
}

// Log is what the command has said on standard error so far.
func (r *Running) Log() string { return r.log.String() }

// Line is the next line, into into.
func (r *Running) Line(into any) {
	r.t.Helper()
	if err := r.Next(into, Patience); err != nil {
		r.t.Fatal(err)
	}
}

// Next is Line with an error for what can fail.
func (r *Running) Next(into any, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case line, open := <-r.lines:
		if !open {
			<-r.Done()
			return fmt.Errorf("trunkline %s ended: %s", r.what, r.Log())
		}
		if err := json.Unmarshal(line, into); err != nil {
			return fmt.Errorf("trunkline %s: %w: %s", r.what, err, line)
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("trunkline %s said nothing: %s", r.what, r.Log())
	}
}

// Event is what a stream of events prints.
type Event struct {
	Event string
	What  json.RawMessage
}

// Event waits for the next event of a name, passes over others, and reads what it says.
func (r *Running) Event(name string, into any) error {
	for {
		var e Event
		if err := r.Next(&e, Patience); err != nil {
			return err
		}
		if e.Event != name {
			continue
		}
		return json.Unmarshal(e.What, into)
	}
}

// Stop asks the command to end, as Ctrl-C does, and waits for it.
func (r *Running) Stop() error {
	if err := r.Signal(os.Interrupt); err != nil {
		return err
	}
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	select {
	case <-r.Done():
		return r.Wait()
	case <-timer.C:
		return fmt.Errorf("trunkline %s does not end: %s", r.what, r.Log())
	}
}

type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Node is an organisation's node.
type Node struct {
	*Running
	s      *Stage
	Domain string
	Host   *lab.Host
	Dir    string
	Marker string // in its memory on purpose, for searches
	key    string // of the domain, as policies write it
	plain  bool
	Ready  struct {
		HTTP, TURN, Metrics string
		PeerID              string `json:"peer_id"`
		Federation          []string
	}
}

// Node prepares a node on the internet. It runs after Federate.
func (s *Stage) Node(domain string, options ...lab.Option) *Node {
	s.t.Helper()
	cert, key, err := s.certify(domain)
	s.must(err)
	return s.node(&Node{Domain: domain, Host: s.Public(domain, options...)},
		"--http-listen", "[::]:443", "--http-public-url", "https://"+domain,
		"--http-tls", "files", "--http-cert-file", cert, "--http-key-file", key)
}

// PlainNode is a node whose clients are on its own host and speak to it without TLS, so that a
// capture shows what else protects what they say. Partners is whom it will federate with: they
// exchange their documents as files.
func (s *Stage) PlainNode(domain string, partners ...string) *Node {
	s.t.Helper()
	args := []string{"--http-listen", "127.0.0.1:7420"}
	for _, p := range partners {
		args = append(args, "--federation-peer", p+"="+s.path(p, "domain.document"))
	}
	return s.node(&Node{Domain: domain, Host: s.Public(domain), plain: true}, args...)
}

func (s *Stage) node(n *Node, args ...string) *Node {
	s.t.Helper()
	n.s, n.Dir, n.Marker = s, s.path(n.Domain), leak.Marker()
	var made struct {
		Key string `json:"domain_key"`
	}
	s.Object(n.Host, &made, append([]string{"init", "--data", n.Dir, "--domain", n.Domain,
		"--federation-listen", "0.0.0.0:7421", "--federation-announce", n.Domain + ":7421",
		"--turn-listen", "[::]:3478", "--sfu-listen", "0.0.0.0:7422", "--log-level", "debug", "--log-format", "json"}, args...)...)
	n.key = made.Key
	s.nodes = append(s.nodes, n)
	return n
}

// Federate makes all nodes partners of each other, and starts them.
func (s *Stage) Federate() {
	s.t.Helper()
	for _, n := range s.nodes {
		var b strings.Builder
		for _, other := range s.nodes {
			if other != n {
				fmt.Fprintf(&b, "\n[[domain]]\nname = %q\nlevel = \"partner\"\nkey = %q\n", other.Domain, other.key)
			}
		}
		b.WriteString(`
[[rule]]
name      = "partners call, relay and leave notes"
level     = "partner"
direction = "both"
actions   = ["federate", "signal", "knock", "store", "query", "turn"]
`)
		s.must(appendFile(filepath.Join(n.Dir, "policy.toml"), b.String()))
	}
	for _, n := range s.nodes {
		n.Start()
	}
	for _, n := range s.nodes {
		if n.plain { // now that the files of the others are there
			s.Object(n.Host, nil, "policy", "reload", "--data", n.Dir)
		}
	}
}

func appendFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}

// Start runs the node and waits until it is ready.
func (n *Node) Start() {
	n.s.t.Helper()
	cmd := n.s.command("serve", "--data", n.Dir, "--json")
	cmd.Env = append(cmd.Env, "LAB_MARKER="+n.Marker)
	n.Running = n.s.StartCommand(n.Host, cmd)
	n.Line(&n.Ready)
}

// Link is what a node says of its link to another.
type Link struct {
	Domain, State string
	Queue         int
}

// LinkTo asks the node about its link to another; the zero Link if it has none.
func (n *Node) LinkTo(domain string) Link {
	n.s.t.Helper()
	var got struct{ Peers []Link }
	n.s.Object(n.Host, &got, "peers", "--data", n.Dir)
	for _, l := range got.Peers {
		if l.Domain == domain {
			return l
		}
	}
	return Link{}
}

// Person is somebody with an identity that is registered at a node.
type Person struct {
	s       *Stage
	Name    string
	Dir     string
	Home    *Node
	ID      string
	Address string
}

// Person makes an identity and registers it, from the node's own host.
func (s *Stage) Person(name string, home *Node) *Person {
	s.t.Helper()
	p := &Person{s: s, Name: name, Dir: s.path(name), Home: home}
	s.Object(home.Host, nil, "id", "new", "--data", p.Dir)
	var invite struct{ URL string }
	s.Object(home.Host, &invite, "invite", "create", "--data", home.Dir)
	var done struct{ ID, Address string }
	s.Object(home.Host, &done, "register", "--data", p.Dir, invite.URL)
	p.ID, p.Address = done.ID, done.Address
	return p
}

// Befriend makes two people contacts of each other.
func (s *Stage) Befriend(a, b *Person) {
	s.t.Helper()
	s.Object(a.Home.Host, nil, "contact", "add", "--data", a.Dir, b.Address, "--name", a.Name, "--as", b.Name)
	s.Object(b.Home.Host, nil, "inbox", "--data", b.Dir)
	s.Object(b.Home.Host, nil, "contact", "accept", "--data", b.Dir, a.ID)
	s.Object(a.Home.Host, nil, "inbox", "--data", a.Dir)
}

// Until looks again and again until it holds, or gives up with the test.
func (s *Stage) Until(what string, holds func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), Patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("waited in vain: %s", what)
		}
	}
}
