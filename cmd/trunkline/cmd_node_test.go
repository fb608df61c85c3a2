package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/node"
)

func TestInitWritesWhatServeReads(t *testing.T) {
	dir := t.TempDir()
	out := step{args: "init --data $DIR/acme --domain acme.example --http-listen 127.0.0.1:0 --federation-listen 127.0.0.1:0,[::1]:0" +
		" --turn-allow-peers 10.0.0.0/8 --federation-peer globex.example=/etc/globex.document --mailbox-max-bytes 8MiB --log-level debug --json"}.run(t, dir)
	var made madeNode
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if made.Domain != "acme.example" || !strings.HasPrefix(made.PeerID, "12D3Koo") || !strings.HasPrefix(made.DomainKey, "ed25519:") ||
		made.Config != filepath.Join(dir, "acme", "node.toml") || made.Policy != filepath.Join(dir, "acme", "policy.toml") {
		t.Errorf("%+v", made)
	}
	cfg, err := node.LoadConfig(made.Config, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Domain != "acme.example" || cfg.Data != filepath.Join(dir, "acme") || cfg.HTTP.Listen != "127.0.0.1:0" || len(cfg.Federation.Listen) != 2 ||
		len(cfg.TURN.AllowPeers) != 1 || len(cfg.Federation.Peers) != 1 || cfg.Federation.Peers[0].Document != "/etc/globex.document" ||
		cfg.Mailbox.MaxBytes != 8<<20 || cfg.Log.Level != "debug" {
		t.Errorf("read back: %+v", cfg)
	}
	text, err := os.ReadFile(made.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range node.Keys() {
		name := k.Name[strings.LastIndexByte(k.Name, '.')+1:]
		if k.Name != "policy" && !strings.Contains(string(text), name) {
			t.Errorf("node.toml does not show %s", k.Name)
		}
	}
	step{args: "policy check $DIR/acme/policy.toml"}.run(t, dir)
	for path, mode := range map[string]os.FileMode{"": 0o700, "host.key": 0o600, "domain.key": 0o600, "node.toml": 0o600, "policy.toml": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, "acme", path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
}

func TestInitNeverWritesOver(t *testing.T) {
	for _, name := range []string{"node.toml", "policy.toml", "host.key", "domain.key", "node.db"} {
		t.Run(name, func(t *testing.T) {
			script{
				files: map[string]string{name: "precious"},
				steps: []step{{args: "init --data $DIR --domain acme.example", exit: exitFailure, silent: true, err: []string{"there is a node in ", name, "trunkline serve --data"}}},
			}.run(t)
		})
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "policy.toml"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	step{args: "init --data $DIR --domain acme.example", exit: exitFailure}.run(t, dir)
	if all := tree(t, dir); len(all) != 2 {
		t.Errorf("made: %v", all)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "policy.toml")); err != nil || string(b) != "precious" {
		t.Errorf("%q %v", b, err)
	}
}

func TestInitAsksOnATerminal(t *testing.T) {
	dir := t.TempDir()
	script := []step{
		{args: "init", terminal: true, stdin: "acme.example\n" + dir + "/there\n", err: []string{"Domain of your organisation", "Data folder [", "trunkline serve --data"}, out: []string{"acme.example is ready", "ed25519:"}},
		{args: "init --data $DIR/b", terminal: true, stdin: "\n", exit: exitUsage, silent: true, err: []string{"needs a domain"}},
		{args: "init --data $DIR/c --json", terminal: true, exit: exitUsage, silent: true, err: []string{"needs a domain"}},
	}
	for _, st := range script {
		st.run(t, dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "there", "node.toml")); err != nil {
		t.Error(err)
	}
}

// nodeOnFreePorts are the flags of a node that takes any ports.
const nodeOnFreePorts = " --http-listen 127.0.0.1:0 --federation-listen 127.0.0.1:0 --turn-listen 127.0.0.1:0 --sfu-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0"

// TestServeTellsAPersonHowToGoOn starts a node without any configuration and reads what it says.
func TestServeTellsAPersonHowToGoOn(t *testing.T) {
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	read, write := io.Pipe()
	a := newApp(strings.NewReader(""), write, io.Discard)
	a.environ, a.getenv = func() []string { return nil }, func(string) string { return "" }
	exit := make(chan int, 1)
	go func() {
		exit <- a.run(ctx, strings.Fields("serve --data "+dir+"/n"+nodeOnFreePorts))
		write.Close()
	}()
	var said strings.Builder
	lines := bufio.NewScanner(read)
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "Stop with") {
			break
		}
	}
	inOrder(t, "serve", said.String(), []string{
		"Made in ", "host.key", "domain.key", "policy.toml", "trunkline.localhost is up.", "clients", "http://127.0.0.1:", "other nodes", "/ip4/127.0.0.1/tcp/",
		"relay", "metrics", "/metrics", "peer id", "12D3Koo", "domain key", "ed25519:", "configuration", "none", "policy",
		"trunkline id new --data ", "trunkline register --data ", "'http://127.0.0.1:", "#invite=", "trunkline invite create --data ", "trunkline peers --data ", "Ctrl-C",
	})

	admin := func(st step) string { return st.run(t, dir) }
	admin(step{args: "serve --data $DIR/n" + nodeOnFreePorts, exit: exitFailure, silent: true, err: []string{"a node runs with the data folder", "--data"}})
	var invite node.Invite
	out := admin(step{args: "invite create --data $DIR/n --note x --uses 3 --expires never --json"})
	if err := json.Unmarshal([]byte(out), &invite); err != nil || !strings.Contains(invite.URL, "/#invite=") || invite.Uses != 3 || invite.Expires != nil || invite.Note != "x" {
		t.Errorf("%v: %s", err, out)
	}
	admin(step{args: "invite list --data $DIR/n", out: []string{"ID", "USED", "LEFT"}, not: []string{invite.URL}})
	admin(step{args: "invite revoke --data $DIR/n " + invite.ID, out: []string{"taken back"}})
	admin(step{args: "invite revoke --data $DIR/n ffffffffffffffff", exit: exitUsage, silent: true, err: []string{"no such invitation"}})
	admin(step{args: "peers --data $DIR/n", out: []string{"No other node is known"}})
	admin(step{args: "peers --data $DIR/n --json", out: []string{`{"peers":[],"refusals":[]}`}})
	admin(step{args: "peers --views --data $DIR/n --json", out: []string{`"envelopes":0,"sizes":[]`}})
	admin(step{args: "peers --views --data $DIR/n", out: []string{"has carried 0 envelopes"}})
	admin(step{args: "verify store --data $DIR/n --json", out: []string{`"ok":true,"running":true`}})
	admin(step{args: "policy reload --data $DIR/n", out: []string{"In force: "}})
	admin(step{args: "doctor --data $DIR/n", exit: exitFailure, out: []string{"problem", "clock", "it says 2026-07-01 12:00:00", "is known to be past", "set the clock"}})
	admin(step{args: "doctor --data $DIR/n", live: true, out: []string{"node", "runs since", "clients", "takes connections", "relay", "over udp", "relay", "over tcp"}})
	before, err := os.ReadFile(filepath.Join(dir, "n", "policy.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "n", "policy.toml"), []byte("version = 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	admin(step{args: "policy reload --data $DIR/n", exit: exitUsage, silent: true, err: []string{"policy.toml:1"}})
	if err := os.WriteFile(filepath.Join(dir, "n", "policy.toml"), before, 0o600); err != nil {
		t.Fatal(err)
	}

	stop()
	go io.Copy(io.Discard, read) //nolint:errcheck // until the writer is closed
	if code := <-exit; code != exitDone {
		t.Errorf("exit %d", code)
	}
	admin(step{args: "peers --data $DIR/n", exit: exitUnreachable, silent: true, err: []string{"no node runs"}})
	admin(step{args: "verify store --data $DIR/n", out: []string{"All of it fits together."}})
	admin(step{args: "verify store --data $DIR/n --json", out: []string{`"ok":true,"running":false`}})
	ruin(t, filepath.Join(dir, "n", "node.db"))
	admin(step{args: "verify store --data $DIR/n", exit: exitUnverified, err: []string{"the store has "}})
}

// ruin overwrites the middle of a file.
func ruin(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(b) / 4; i < len(b); i++ {
		b[i] ^= 0x5a
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestServeSaysWhichAddressIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	free := strings.Replace(nodeOnFreePorts, "--http-listen 127.0.0.1:0", "--http-listen "+taken, 1)
	script{steps: []step{
		{args: "serve --data $DIR/n" + free, exit: exitFailure, silent: true, err: []string{"an address is taken already: http.listen", taken, "--http-listen"}},
		{args: "doctor --data $DIR/d" + free, exit: exitFailure, out: []string{"problem", "port", taken, "--http-listen", "127.0.0.1:0 is free"}, err: []string{"1 problem to mend"}},
	}}.run(t)
}

func TestTheDoctorFindsWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	step{args: "init --data $DIR/n --domain acme.example" + nodeOnFreePorts + " --json"}.run(t, dir)
	step{args: "doctor --data $DIR/n", out: []string{"ok", "configuration", "is well formed", "domain", "acme.example", "policy", "1 test passed", "data folder", "for its owner only", "it does not run"}}.run(t, dir)
	if err := os.Chmod(filepath.Join(dir, "n", "host.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	step{args: "doctor --data $DIR/n", exit: exitFailure, out: []string{"problem", "host.key can be opened by others", "chmod go-rwx "}}.run(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "n", "policy.toml"), []byte("version = 1\nlevel = 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	step{args: "doctor --data $DIR/n --json", exit: exitFailure, out: []string{`{"ok":false,"checks":[`, `"check":"policy","state":"problem"`, "policy.toml:2"}}.run(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "n", "node.toml"), []byte("domian = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	step{args: "doctor --data $DIR/n", exit: exitFailure, out: []string{"problem", "configuration", `unknown key "domian"`}}.run(t, dir)
}

func TestTheEnvironmentNamesTheNodesFolder(t *testing.T) {
	env := map[string]string{"TRUNKLINE_DATA": "/from/environment", "HOME": "/home/u"}
	a := newApp(strings.NewReader(""), io.Discard, io.Discard)
	a.getenv = func(name string) string { return env[name] }
	if dir, err := a.nodeData(); err != nil || dir != "/from/environment" {
		t.Errorf("%s %v", dir, err)
	}
	if dir, err := a.clientData(); err != nil || dir != "/home/u/.local/share/trunkline/client" {
		t.Errorf("the client's: %s %v", dir, err)
	}
	a.data = "flag"
	if dir, err := a.nodeData(); err != nil || dir != "flag" {
		t.Errorf("%s %v", dir, err)
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{"/tmp/acme": "/tmp/acme", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "http://h/#x": "'http://h/#x'", "ä": "'ä'"} {
		if got := shellQuote(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}

func TestBytesText(t *testing.T) {
	for in, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 16 << 20: "16.0 MiB", 3 << 29: "1.5 GiB"} {
		if got := bytesText(in); got != want {
			t.Errorf("%d: %s", in, got)
		}
	}
}
