package client_test

import (
	"bytes"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/leak"
)

// logBook is a log at its most talkative.
type logBook struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
}

func (l *logBook) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

const (
	secretNote = "meet me at the old mill at nine"
	secretFile = "plans-for-the-old-mill.txt"
	control    = "this marker was written on purpose"
)

func keyForms(k identity.PublicKey) [][]byte {
	peer := k.PeerID().String()
	return [][]byte{k[:], []byte(hex.EncodeToString(k[:])), []byte(k.ID()), []byte(strings.ToUpper(k.ID())), []byte(peer), []byte(k.Fingerprint())}
}

func TestLogsAndDisksOfNodesHoldNoSecret74(t *testing.T) {
	t.Parallel()
	var nodes, clients logBook
	dirA, dirG := filepath.Join(t.TempDir(), "acme"), filepath.Join(t.TempDir(), "globex")
	acme := startLoggedExchange(t, nodes.logger(), "acme.example", dirA)
	globex := startLoggedExchange(t, nodes.logger(), "globex.example", dirG)
	befriend(t, acme, globex)
	talkative := func(h *human) { h.log = clients.logger() }
	alice := newHumanAt(t, "alice", acme.Facts().HTTP, talkative)
	bob := newHumanAt(t, "bob", globex.Facts().HTTP, talkative)
	meet(t, alice, bob)

	// A note that waits, a call, a file, and what goes wrong on purpose.
	bob.leave(t)
	id, err := alice.SendNote(within(t), bob.id(), secretNote)
	if err != nil {
		t.Fatal(err)
	}
	told(t, alice, func(e client.NoteFate) bool { return e.Message == id && e.State == client.NoteStored })
	searchDisks := func(s *leak.Search) {
		t.Helper()
		if err := s.Dir("the disk of acme", dirA); err != nil {
			t.Fatal(err)
		}
		if err := s.Dir("the disk of globex", dirG); err != nil {
			t.Fatal(err)
		}
	}
	waiting, err := leak.New([]leak.Needle{{Name: "note", Forms: [][]byte{[]byte(secretNote)}}})
	if err != nil {
		t.Fatal(err)
	}
	searchDisks(waiting) // while the note lies in the mailbox
	if found := waiting.Found(); len(found) != 0 {
		t.Errorf("while the note waits: %v", found)
	}
	bob.start(t)
	told(t, bob, func(e client.NoteReceived) bool { return e.ID == id })
	call, theirs := connected(t, alice, bob, client.CallOptions{Media: client.Video, Source: aClip(t)},
		client.CallOptions{Files: &client.FileOptions{Dir: t.TempDir()}})
	path := filepath.Join(t.TempDir(), secretFile)
	if err := os.WriteFile(path, []byte(strings.Repeat(secretNote, 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := call.SendFile(within(t), path, nil); err != nil {
		t.Fatal(err)
	}
	texts := append(call.Secrets(), theirs.Secrets()...)
	if err := call.Hangup(within(t)); err != nil {
		t.Fatal(err)
	}
	over(t, theirs)
	if err := bob.Block(within(t), alice.id()); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.SendNote(within(t), bob.id(), secretNote); err != nil {
		t.Fatal(err)
	}
	nodes.logger().Debug(control)
	clients.logger().Debug(control)

	secrets := []leak.Needle{
		{Name: "note", Forms: [][]byte{[]byte(secretNote)}},
		{Name: "file name", Forms: [][]byte{[]byte(secretFile)}},
	}
	lines := 0
	for _, text := range texts {
		for line := range strings.SplitSeq(text, "\r\n") {
			// Every line that only this call can have: a key, a password, an address.
			for _, mark := range []string{"a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:sha-256 ", "candidate:"} {
				if rest, ok := strings.CutPrefix(strings.TrimPrefix(line, "a="), strings.TrimPrefix(mark, "a=")); ok && len(rest) >= 8 {
					secrets = append(secrets, leak.Needle{Name: mark, Forms: [][]byte{[]byte(rest)}})
					lines++
				}
			}
		}
	}
	if lines < 10 {
		t.Fatalf("only %d lines of the call are searched for", lines)
	}
	people := []leak.Needle{{Name: "alice", Forms: keyForms(alice.id())}, {Name: "bob", Forms: keyForms(bob.id())}}
	marker := leak.Needle{Name: "control", Forms: [][]byte{[]byte(control)}}

	logs, err := leak.New(append(append(secrets, people...), marker))
	if err != nil {
		t.Fatal(err)
	}
	logs.Bytes("the nodes' log", nodes.bytes())
	logs.Bytes("the clients' log", clients.bytes())
	found := logs.Found()
	if len(found["control"]) != 2 {
		t.Errorf("the search finds nothing: the control is in %v", found["control"])
	}
	delete(found, "control")
	if len(found) != 0 {
		t.Errorf("in the logs: %v", found)
	}

	disks, err := leak.New(append(secrets, people...))
	if err != nil {
		t.Fatal(err)
	}
	searchDisks(disks)
	found = disks.Found()
	// A node knows its own people. That is the control, and neither knows the other's.
	for who, where := range map[string]string{"alice": "the disk of acme", "bob": "the disk of globex"} {
		if len(found[who]) != 1 || found[who][0] != where {
			t.Errorf("%s is on %v, not on %s alone", who, found[who], where)
		}
		delete(found, who)
	}
	if len(found) != 0 {
		t.Errorf("on the nodes' disks: %v", found)
	}
}
