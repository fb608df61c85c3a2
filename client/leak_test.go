package client_test

import (
	"bytes"
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

func keyNeedle(who string, k identity.PublicKey) leak.Needle {
	return leak.Secret(who, k[:]).And(k.ID(), strings.ToUpper(k.ID()), k.PeerID().String(), k.Fingerprint())
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
	people := map[string]leak.Needle{"alice": keyNeedle("alice", alice.id()), "bob": keyNeedle("bob", bob.id())}
	// A node knows its own people. That is the control, and neither knows the other's.
	searchDisks := func(secrets ...leak.Needle) {
		t.Helper()
		leak.NewHunt(t, append(secrets, people["bob"])...).Dir("the disk of acme", dirA, people["alice"])
		leak.NewHunt(t, append(secrets, people["alice"])...).Dir("the disk of globex", dirG, people["bob"])
	}
	searchDisks(leak.Text("note", secretNote)) // while the note lies in the mailbox
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

	secrets := []leak.Needle{leak.Text("note", secretNote), leak.Text("file name", secretFile)}
	lines := 0
	for _, text := range texts {
		for line := range strings.SplitSeq(text, "\r\n") {
			// Every line that only this call can have: a key, a password, an address.
			for _, mark := range []string{"a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:sha-256 ", "candidate:"} {
				if rest, ok := strings.CutPrefix(strings.TrimPrefix(line, "a="), strings.TrimPrefix(mark, "a=")); ok && len(rest) >= 8 {
					secrets = append(secrets, leak.Text(mark, rest))
					lines++
				}
			}
		}
	}
	if lines < 10 {
		t.Fatalf("only %d lines of the call are searched for", lines)
	}
	logs, marker := leak.NewHunt(t, append(secrets, people["alice"], people["bob"])...), leak.Text("control", control)
	logs.Bytes("the nodes' log", nodes.bytes(), marker)
	logs.Bytes("the clients' log", clients.bytes(), marker)
	searchDisks(secrets...)
}
