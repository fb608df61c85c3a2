package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// An id and an address that are well formed and belong to nobody.
const (
	someID      = "tl1qp35y83s4q6s3a6gg8202lft2um0pv7fpcuqe906g8wm4wzcqrv2w0dkp20"
	someAddress = someID + "@globex.example"
)

// TestBadInputChangesNothing gives every command what it must refuse: exit code 2, one line
// what, one line what to do, nothing on standard output, nothing new on the disk.
func TestBadInputChangesNothing(t *testing.T) {
	files := map[string]string{
		"broken.toml":     "domain = \n",
		"unknown.toml":    "domain = \"acme.example\"\n[http]\nlisten_on = \"127.0.0.1:0\"\n",
		"policy.toml":     "version = 1\n[register]\nmode = \"perhaps\"\n",
		"failing.toml":    "version = 1\n[[test]]\ndomain = \"a.example\"\naction = \"signal\"\ndirection = \"in\"\nexpect = \"allow\"\n",
		"not.ogg":         "this is no sound",
		"not.ivf":         "this is no picture",
		"audio.ogg":       "a recording that is there already",
		"file":            "a file",
		"letter.txt":      "hello",
		"long.txt":        strings.Repeat("x", 20000),
		"empty.txt":       "",
		"binary.dat":      "a\x00b",
		"invitation.txt":  "http://127.0.0.1:1/#inv",
		"not-a-store.txt": "",
	}
	cases := []struct {
		args string
		step
	}{
		{"serve extra", step{err: []string{"error: "}}},
		{"serve --data $DIR/n --config $DIR/missing.toml", step{err: []string{"missing.toml", "trunkline init"}}},
		{"serve --data $DIR/n --config $DIR/broken.toml", step{err: []string{"broken.toml:1:"}}},
		{"serve --data $DIR/n --config $DIR/unknown.toml", step{err: []string{`unknown.toml:3: unknown key "http.listen_on"; allowed here: listen, public_url`}}},
		{"serve --data $DIR/n --domain Acme", step{err: []string{"domain"}}},
		{"serve --data $DIR/n --http-listen nowhere", step{err: []string{"http.listen: \"nowhere\" is not host:port"}}},
		{"serve --data $DIR/n --http-listen 0.0.0.0:0", step{err: []string{"http.tls"}}},
		{"serve --data $DIR/n --turn-relay-ports 9-1", step{err: []string{"turn.relay_ports"}}},
		{"serve --data $DIR/n --turn-allow-peers everybody", step{err: []string{"turn.allow_peers"}}},
		{"serve --data $DIR/n --mailbox-max-bytes lots", step{err: []string{"--mailbox-max-bytes", "4MiB"}}},
		{"serve --data $DIR/n --federation-peer globex.example", step{err: []string{"domain=document"}}},
		{"serve --data $DIR/n --policy $DIR/missing.toml", step{err: []string{"cannot read the policy"}}},
		{"serve --data $DIR/n --policy $DIR/policy.toml", step{err: []string{"policy.toml:3:", "trunkline policy check"}}},
		{"serve --data $DIR/n --policy $DIR/failing.toml", step{err: []string{"failing.toml"}}},
		{"init --data $DIR/n", step{err: []string{"needs a domain", "--domain"}}},
		{"init --data $DIR/n --domain Acme.Example", step{err: []string{"lower case"}}},
		{"init --data $DIR/n --domain acme.example --log-format xml", step{err: []string{"log.format"}}},
		{"init --data $DIR/n --domain acme.example --http-listen x", step{err: []string{"http.listen"}}},
		{"init --data $DIR/file/n --domain acme.example", step{err: []string{"data folder"}}},
		{"init --data $DIR/n\x01 --domain acme.example", step{err: []string{"node.toml"}}},
		{"demo --keep $DIR", step{err: []string{"is not empty", "--keep"}}},
		{"demo --keep $DIR/file", step{err: []string{"--keep"}}},
		{"invite create --uses 0", step{err: []string{"0 is not a number of uses"}}},
		{"invite create --uses 100001", step{err: []string{"--uses"}}},
		{"invite create --expires soon", step{err: []string{`"soon"`, "--expires"}}},
		{"invite create --expires -1h", step{err: []string{"--expires"}}},
		{"invite create --expires 99999d", step{err: []string{"--expires"}}},
		{"invite create --note " + strings.Repeat("n", 201), step{err: []string{"the note has 201 bytes"}}},
		{"invite revoke", step{err: []string{"error: "}}},
		{"verify store --data $DIR", step{err: []string{"there is no store of a node"}}},
		{"register", step{err: []string{"error: "}}},
		{"register nonsense", step{err: []string{"this is not an invitation"}}},
		{"register http://node.example/#invite=abc", step{err: []string{"not on this machine: use https"}}},
		{"register https://node.example/#token=abc", step{err: []string{"copy the whole line"}}},
		{"register ftp://node.example/#invite=abc", step{err: []string{"https://"}}},
		{"register -", step{stdin: "http://127.0.0.1:1/#inv", err: []string{"not an invitation"}}},
		{"contact add bob", step{err: []string{"this is not an address"}}},
		{"contact add " + someID, step{err: []string{"no @domain"}}},
		{"contact add " + someID[:len(someID)-1] + "q@globex.example", step{err: []string{"this is not an address"}}},
		{"contact add " + someID + "@Globex", step{err: []string{"lower case"}}},
		{"contact add " + someAddress + "/12D3Koo", step{err: []string{"this is not an address"}}},
		{"contact add " + someAddress + " --text " + strings.Repeat("t", 513), step{err: []string{"--text has 513 bytes"}}},
		{"contact add " + someAddress + " --name " + strings.Repeat("n", 65), step{err: []string{"--name has 65 bytes"}}},
		{"contact add " + someAddress + " --as a\x07b", step{err: []string{"--as is not plain text"}}},
		{"contact verify bob --number 123", step{err: []string{"60 digits, this has 3"}}},
		{"send bob", step{err: []string{"error: "}}},
		{"send bob -", step{stdin: " \n", err: []string{"the note is empty"}}},
		{"send bob -", step{stdin: strings.Repeat("x", 16385), err: []string{"16385 bytes", "file send"}}},
		{"send bob -", step{stdin: strings.Repeat("x", 20000), err: []string{"longer than"}}},
		{"send bob -", step{stdin: "a\x00b", err: []string{"not text in UTF-8"}}},
		{"send bob hello --wait forever", step{err: []string{`"forever"`, "accepted, stored or read"}}},
		{"send bob hello --timeout -1s", step{err: []string{"--timeout"}}},
		{"inbox bob", step{err: []string{"error: "}}},
		{"call", step{err: []string{"error: "}}},
		{"call bob --seconds -1", step{err: []string{"--seconds"}}},
		{"call bob --seconds NaN", step{err: []string{"--seconds"}}},
		{"call bob --audio $DIR/missing.ogg", step{err: []string{"cannot send that", "Opus in Ogg"}}},
		{"call bob --audio $DIR/not.ogg", step{err: []string{"cannot send that"}}},
		{"call bob --video $DIR/not.ivf", step{err: []string{"cannot send that", "IVF"}}},
		{"call bob --record $DIR", step{err: []string{"there is a recording"}}},
		{"call bob --record $DIR/file", step{err: []string{"--record"}}},
		{"answer", step{err: []string{"no terminal", "--auto"}}},
		{"answer --auto --audio $DIR/not.ogg", step{err: []string{"cannot send that"}}},
		{"answer --auto --files $DIR/file", step{err: []string{"is not a folder", "--files"}}},
		{"file send bob $DIR/missing", step{err: []string{"cannot read the file"}}},
		{"file send bob $DIR", step{err: []string{"is not a file", "archive"}}},
		{"file send bob $DIR/file --timeout -1s", step{err: []string{"--timeout"}}},
		{"file receive --dir $DIR/file", step{err: []string{"is not a folder", "--dir"}}},
		{"file receive --dir=", step{err: []string{"--dir"}}},
		{"device add nonsense", step{err: []string{"not a device request"}}},
		{"device add tldr1-AAAA", step{err: []string{"damaged"}}},
		{"device revoke nonsense", step{err: []string{"not the id of a device"}}},
		{"doctor extra", step{err: []string{"error: "}}},
	}
	for _, c := range cases {
		name := c.args
		if len(name) > 60 {
			name = name[:60]
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, content := range files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before := tree(t, dir)
			st := c.step
			st.args, st.exit, st.silent = c.args, exitUsage, true
			st.run(t, dir)
			// The same as JSON: the code stands in the object too.
			st.args += " --json"
			st.err = []string{`{"error":{"code":2,"kind":"usage"`}
			st.run(t, dir)
			if after := tree(t, dir); !slices.Equal(before, after) {
				t.Errorf("before %v\nafter  %v", before, after)
			}
		})
	}
}

// tree lists everything below a folder.
func tree(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		all = append(all, strings.TrimPrefix(path, dir))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestWithoutWhatItNeeds: no node, no identity, no registration. Nothing is made on the way.
func TestWithoutWhatItNeeds(t *testing.T) {
	t.Run("no node", func(t *testing.T) {
		dir := t.TempDir()
		for _, args := range []string{
			"invite create", "invite list", "invite revoke 00", "peers", "peers --views", "policy reload",
		} {
			step{args: args + " --data $DIR/n", exit: exitUnreachable, silent: true, err: []string{"no node runs", "trunkline serve --data"}}.run(t, dir)
		}
		if all := tree(t, dir); len(all) != 1 {
			t.Errorf("made: %v", all)
		}
	})
	needing := []string{
		"contact list", "contact show bob", "contact accept bob", "contact decline bob", "contact block bob", "contact verify bob",
		"contact add " + someAddress, "send bob hello", "inbox", "call bob", "answer --auto", "file send bob $DIR/f", "file receive --dir $DIR/got",
		"device list", "device revoke " + strings.Repeat("ab", 16),
	}
	t.Run("no identity", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte("f"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range append(needing, "register http://127.0.0.1:1/#invite=abc") {
			step{args: args + " --data $DIR/nobody", exit: exitFailure, silent: true, err: []string{"there is no identity", "trunkline id new"}}.run(t, dir)
		}
		if all := tree(t, dir); len(all) != 2 {
			t.Errorf("made: %v", all)
		}
	})
	t.Run("not registered, nobody known", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte("f"), 0o600); err != nil {
			t.Fatal(err)
		}
		step{args: "id new --data $DIR/c --json"}.run(t, dir)
		for _, args := range needing {
			st := step{args: args + " --data $DIR/c", exit: exitFailure, silent: true, err: []string{"has no node yet", "trunkline register INVITE"}}
			switch {
			case args == "contact list", args == "device list":
				st.exit, st.silent, st.err = exitDone, false, nil
			case strings.HasPrefix(args, "contact show"), strings.HasPrefix(args, "contact decline"), strings.HasPrefix(args, "contact verify"):
				st.exit, st.err = exitUsage, []string{`no contact is called "bob"`, "trunkline contact list"}
			case strings.HasPrefix(args, "device revoke"):
				st.exit, st.err = exitUsage, []string{"you have no such device"}
			}
			st.run(t, dir)
		}
		step{args: "register http://127.0.0.1:1/#invite=abc --data $DIR/c", exit: exitUnreachable, silent: true, err: []string{"127.0.0.1:1 cannot be reached"}}.run(t, dir)
		step{args: "device add --data $DIR/c", exit: exitUsage, silent: true, err: []string{"there is an identity in the data folder already"}}.run(t, dir)
		step{args: "contact show " + someAddress + " --data $DIR/c", exit: exitUsage, err: []string{"not one of your contacts", "contact add"}}.run(t, dir)
		step{args: "contact show " + someID[:20] + " --data $DIR/c", exit: exitUsage, err: []string{"this is not an id"}}.run(t, dir)
	})
}

func TestADeviceThatGetsNoApprovalMakesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		stdin string
		err   string
	}{
		"nothing":     {"", "no approval on standard input"},
		"nonsense":    {"hello\n", "this is not an approval"},
		"damaged":     {"tlda1-!!!\n", "damaged"},
		"for another": {"tlda1-" + strings.Repeat("A", 200) + "\n", "another request"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			exit := exitUsage
			if name == "for another" {
				exit = exitUnverified
			}
			step{args: "device add --data $DIR/new", stdin: c.stdin, exit: exit, out: []string{"trunkline device add tldr1-"}, err: []string{c.err}}.run(t, dir)
			if all := tree(t, dir); len(all) != 1 {
				t.Errorf("made: %v", all)
			}
		})
	}
}
