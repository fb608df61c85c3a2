package client_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// One identity on several devices, and what its own node can and cannot do about it.

// copyOf copies the data folder of somebody who does not run: a backup.
func copyOf(t *testing.T, h *human) *human {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(h.dir)); err != nil {
		t.Fatal(err)
	}
	// CopyFS does not keep modes, and keys that others can read are refused.
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	}); err != nil {
		t.Fatal(err)
	}
	return &human{name: h.name + "'s copy", dir: dir, root: h.root}
}

func TestTheSameDeviceElsewhereEndsThisOneWithAClearError(t *testing.T) {
	t.Parallel()
	acme, _ := two(t)
	alice := newHuman(t, "alice", acme)
	alice.leave(t)
	other := copyOf(t, alice)
	alice.start(t)
	other.start(t)
	err := alice.ended(t)
	var refused *client.RefusedError
	if !errors.As(err, &refused) || refused.Code != link.CodeReplaced || !strings.Contains(err.Error(), "connected from elsewhere") {
		t.Errorf("the first one ended as %v", err)
	}
	if err := alice.Ready(within(t)); err == nil {
		t.Error("a client that has ended says it is ready")
	}
	if err := alice.Run(within(t)); err == nil {
		t.Error("a client ran twice")
	}
}

func TestADeviceTakesOverTheListThatAnotherOneChanged(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", globex)
	alice.leave(t)
	backup := copyOf(t, alice) // knows the list of one device
	alice.start(t)
	second := secondDevice(t, alice)
	alice.leave(t)

	backup.start(t) // its list is older than the node's: it publishes nothing and learns
	self, err := backup.Self()
	if err != nil || len(self.Devices) != 2 {
		t.Fatalf("%d devices are known, %v", len(self.Devices), err)
	}
	// And it goes on from there: the next list has all three.
	third := secondDevice(t, backup)
	waitFor(t, "the third device at the second", func() bool {
		self, err := second.Self()
		return err == nil && len(self.Devices) == 3
	})
	// All of them can be reached.
	meet(t, bob, backup)
	for _, h := range []*human{second, third} {
		waitFor(t, "the contact at "+h.name, func() bool {
			contacts, err := h.Contacts()
			return err == nil && len(contacts) == 1 && contacts[0].State.String() == "accepted"
		})
	}
	id, err := bob.SendNote(within(t), backup.id(), "to all of you")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []*human{backup, second, third} {
		told(t, h, func(e client.NoteReceived) bool { return e.ID == id })
	}
}

func TestARemovedDeviceStopsWithAClearError(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", globex)
	meet(t, alice, bob)
	online, offline := secondDevice(t, alice), secondDevice(t, alice)
	offline.leave(t)
	self, err := alice.Self()
	if err != nil || len(self.Devices) != 3 {
		t.Fatalf("%d devices, %v", len(self.Devices), err)
	}
	for _, d := range self.Devices {
		if d.This {
			if err := alice.RevokeDevice(within(t), d.ID); err == nil {
				t.Error("a device removed itself")
			}
			continue
		}
		if err := alice.RevokeDevice(within(t), d.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := online.ended(t); !errors.Is(err, client.ErrRemoved) {
		t.Errorf("the removed device ended as %v", err)
	}
	c, err := client.Open(offline.config(t))
	if err != nil {
		t.Fatal(err)
	}
	offline.Client = c
	offline.run()
	if err := offline.ended(t); !errors.Is(err, client.ErrRemoved) {
		t.Errorf("the device that was away ended as %v", err)
	}
	// Whoever stays is reached, with the new token.
	id, err := bob.SendNote(within(t), alice.id(), "alone again?")
	if err != nil {
		t.Fatal(err)
	}
	told(t, alice, func(e client.NoteReceived) bool { return e.ID == id })
}

func TestAnOlderListOfOursFromTheOwnNodeIsRefused(t *testing.T) {
	t.Parallel()
	m := newMiddle(t)
	m.exchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	alice := newHumanAt(t, "alice", m.server.URL)
	// The node says that it has taken the second list, and has not.
	m.rule(func(m *middle) {
		m.answer = func(f *pb.ClientFrame) *pb.NodeFrame {
			if f.GetPublish() == nil {
				return nil
			}
			return &pb.NodeFrame{Kind: &pb.NodeFrame_Published{Published: &pb.Published{Epoch: 2}}}
		}
	})
	request, err := client.NewDeviceRequest()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.ApproveDevice(within(t), request.Text); err != nil {
		t.Fatal(err)
	}
	// Then it pretends a conflict and shows the first one.
	m.rule(func(m *middle) {
		m.answer = func(f *pb.ClientFrame) *pb.NodeFrame {
			if f.GetPublish() == nil {
				return nil
			}
			return &pb.NodeFrame{Kind: &pb.NodeFrame_Error{Error: &pb.Error{Code: link.CodeEpochConflict}}}
		}
	})
	m.cut()
	if err := alice.ended(t); !errors.Is(err, client.ErrVerification) {
		t.Errorf("the client ended as %v", err)
	}
	self, err := alice.Self()
	if err != nil || len(self.Devices) != 2 {
		t.Errorf("the own list has %d devices, %v", len(self.Devices), err)
	}
}

func TestANodeThatIsNotTheOneThatIsMeantGetsNothing(t *testing.T) {
	t.Parallel()
	m := newMiddle(t)
	m.exchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	for name, lie := range map[string]func(*pb.Challenge){
		"another descriptor": func(c *pb.Challenge) { c.Descriptor_[100] ^= 1 },
		"another nonce":      func(c *pb.Challenge) { c.Nonce[0] ^= 1 },
		"another domain":     func(c *pb.Challenge) { c.Domain = "globex.example" },
		"another node":       func(c *pb.Challenge) { k := publicOf(t, newKey(t)).PeerID(); c.Node = k[:] },
	} {
		m.rule(func(m *middle) {
			m.sent = nil
			m.down = func(f *pb.NodeFrame) bool {
				if c := f.GetChallenge(); c != nil {
					lie(c)
				}
				return true
			}
		})
		alice := createHuman(t, "alice")
		if _, err := alice.Register(within(t), m.server.URL); !errors.Is(err, client.ErrVerification) {
			t.Errorf("%s ended as %v", name, err)
		}
		m.rule(func(m *middle) {
			if len(m.sent) != 0 {
				t.Errorf("%s: the client answered", name)
			}
		})
		if self, err := alice.Self(); err != nil || self.Address != "" {
			t.Errorf("%s changed the address to %q, %v", name, self.Address, err)
		}
	}
	m.rule(func(m *middle) { m.down = nil })
	alice := newHumanAt(t, "alice", m.server.URL)

	// Once registered the key counts: the node of another organisation at the same address.
	globex := startExchange(t, "globex.example", filepath.Join(t.TempDir(), "globex"))
	m.rule(func(m *middle) { m.target = globex.Facts().HTTP })
	m.cut()
	if err := alice.ended(t); !errors.Is(err, client.ErrVerification) {
		t.Errorf("another node at the address ended the client as %v", err)
	}
}
