package client_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/trunkline-net/trunkline/client"
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
