package client_test

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

func TestANoteWaitsForAnAbsentReaderAndItsWriterLearnsTheRest(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", globex)
	meet(t, alice, bob)

	bob.leave(t)
	id, err := alice.SendNote(within(t), bob.id(), "the key is under the mat")
	if err != nil {
		t.Fatal(err)
	}
	told(t, alice, func(e client.NoteFate) bool { return e.Message == id && e.State == client.NoteStored })
	bob.start(t)
	note := told(t, bob, always[client.NoteReceived])
	if note.From != alice.id() || note.Text != "the key is under the mat" {
		t.Errorf("bob read %q", note.Text)
	}
	told(t, alice, func(e client.NoteFate) bool { return e.Message == id && e.State == client.NoteRead })

	for _, h := range []*human{alice, bob} {
		sum, err := h.Flush(within(t))
		if err != nil {
			t.Fatalf("the ledger of %s stays open: %v", h.name, err)
		}
		if sum.Sent == 0 || sum.Lost != 0 || sum.Sent != sum.Delivered+sum.StoredPending+sum.Expired+sum.Refused+sum.Lost {
			t.Errorf("the ledger of %s: %+v", h.name, sum)
		}
	}
}

func TestADomainThatNoPolicyNamesReachesNobody(t *testing.T) {
	t.Parallel()
	_, globex := two(t)
	initech := startExchange(t, "initech.example", filepath.Join(t.TempDir(), "initech"))
	bob, mallory := newHuman(t, "bob", globex), newHuman(t, "mallory", initech)
	_, err := mallory.Find(within(t), bob.address(t))
	var refused *client.RefusedError
	if !errors.As(err, &refused) {
		t.Fatalf("mallory found bob, or failed in another way: %v", err)
	}
}

// TestWhatComesRightBehindTheRegistrationIsAcknowledged: a node gives what waits at once, and
// it may be opened before the client has taken note of its own registration. The node keeps
// whatever is not acknowledged, counts it against the mailbox, and gives it again only over
// the next link.
func TestWhatComesRightBehindTheRegistrationIsAcknowledged(t *testing.T) {
	t.Parallel()
	m := newMiddle(t)
	acme := m.exchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	alice := newHuman(t, "alice", acme)
	bob := newHumanAt(t, "bob", m.server.URL)
	meet(t, alice, bob)
	bob.leave(t)
	id, err := alice.SendNote(within(t), bob.id(), "the door is open")
	if err != nil {
		t.Fatal(err)
	}
	told(t, alice, func(e client.NoteFate) bool { return e.Message == id && e.State == client.NoteStored })

	// The registration reaches Bob's client only when it has acknowledged the note.
	var late *pb.NodeFrame
	var waiting uint32
	m.rule(func(m *middle) {
		m.sent = nil
		m.down = func(f *pb.NodeFrame) bool {
			if r := f.GetRegistered(); r != nil && late == nil {
				late, waiting = f, r.Waiting
				return false
			}
			return true
		}
	})
	if bob.Client, err = client.Open(bob.config(t)); err != nil {
		t.Fatal(err)
	}
	bob.run()
	t.Cleanup(func() { bob.leave(t) })
	m.until("the acknowledgement", func(sent []*pb.ClientFrame, _ []*pb.NodeFrame) bool {
		return slices.ContainsFunc(sent, func(f *pb.ClientFrame) bool { return f.GetAck() != nil })
	})
	if waiting == 0 {
		t.Error("nothing waited")
	}
	m.inject(late)
	if err := bob.Fetched(within(t)); err != nil {
		t.Fatal(err)
	}
	told(t, alice, func(e client.NoteFate) bool { return e.Message == id && e.State == client.NoteRead })
}
