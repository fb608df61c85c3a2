package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAClientTrustsTheNodesOwnAuthorityWhenItIsGiven: and tells what to do before that.
func TestAClientTrustsTheNodesOwnAuthorityWhenItIsGiven(t *testing.T) {
	w := newWorld(t)
	node := w.start("serve --data acme --domain acme.example" + nodeOnFreePorts + " --http-tls local --json")
	ready := node.line(any1)
	authority, ok := ready["authority"].(map[string]any)
	if !ok {
		t.Fatalf("ready line: %v", ready)
	}
	invite, file := ready["invite"].(string), authority["file"].(string)
	var id map[string]any
	w.object("id new --data alice", &id)
	if _, stderr := w.output(exitUnreachable, "register --data alice "+invite); !strings.Contains(stderr, "--ca") {
		t.Errorf("without the authority: %s", stderr)
	}
	for name, text := range map[string]string{"no certificate": "hello", "a key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		w.write("bad.crt", text)
		if _, stderr := w.output(exitUsage, "register --data alice --ca bad.crt "+invite); !strings.Contains(stderr, "ca.crt") {
			t.Errorf("%s: %s", name, stderr)
		}
		if _, err := os.Stat(filepath.Join(w.dir, "alice", authorityFile)); err == nil {
			t.Errorf("%s was kept", name)
		}
	}
	_, stderr := w.output(0, "register --data alice --ca "+file+" "+invite)
	if !strings.Contains(stderr, authority["fingerprint"].(string)) {
		t.Errorf("the fingerprint is not shown: %s", stderr)
	}
	// From here on it is remembered.
	w.output(0, "inbox --data alice")
}
