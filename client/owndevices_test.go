package client_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/bolt"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// recovered makes another device of an identity from its phrase, as somebody does who has lost
// the first one or has it at home. It knows nobody.
func recovered(t *testing.T, h *human, at *exchange) *human {
	t.Helper()
	second := &human{name: h.name + " again", dir: filepath.Join(t.TempDir(), "again"), root: h.root}
	var err error
	if second.Client, err = client.Create(second.config(t), h.root); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.leave(t) })
	if _, err := second.Register(within(t), at.Facts().HTTP); err != nil {
		t.Fatalf("%s registers: %v", second.name, err)
	}
	return second
}

// standings is how h stands with whom.
func standings(t *testing.T, h *human) map[identity.PublicKey]keep.ContactState {
	t.Helper()
	all, err := h.Contacts()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[identity.PublicKey]keep.ContactState)
	for _, k := range all {
		out[k.ID] = k.State
	}
	return out
}

// crowd makes n people contacts of h, without a second mailbox for each: h knocks at all of
// them and they answer one after the other.
func crowd(t *testing.T, h *human, at *exchange, n int) []identity.PublicKey {
	t.Helper()
	var ids []identity.PublicKey
	for i := range n {
		p := newHuman(t, fmt.Sprintf("person %d", i), at)
		meet(t, p, h)
		ids = append(ids, p.id())
		p.leave(t)
	}
	return ids
}

func TestARecoveredDeviceIsToldWhomTheOthersKnow(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", globex)
	meet(t, bob, alice)
	others := crowd(t, alice, acme, 3)

	// The first device sleeps while the second one is made: it hears of it when it wakes.
	alice.leave(t)
	again := recovered(t, alice, acme)
	again.start(t)
	if known := standings(t, again); len(known) != 0 {
		t.Fatalf("it knows %d people before anybody told it", len(known))
	}
	alice.start(t)
	waitFor(t, "the contacts of the first device", func() bool {
		known := standings(t, again)
		return known[bob.id()] == keep.ContactAccepted && !slices.ContainsFunc(others, func(id identity.PublicKey) bool { return known[id] != keep.ContactAccepted })
	})
	// Neither of them is a contact of itself.
	if _, own := standings(t, again)[again.id()]; own {
		t.Error("the identity is a contact of its own")
	}
	if _, own := standings(t, alice)[alice.id()]; own {
		t.Error("the identity is a contact of its own on its first device")
	}
	// Both speak to Bob, and he to both.
	id, err := again.SendNote(within(t), bob.id(), "from the new one")
	if err != nil {
		t.Fatal(err)
	}
	told(t, bob, func(e client.NoteReceived) bool { return e.ID == id })
	told(t, again, func(e client.NoteFate) bool { return e.Message == id && e.State == keep.NoteRead })
	if _, err := bob.SendNote(within(t), alice.id(), "to both of you"); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*human{alice, again} {
		told(t, h, func(e client.NoteReceived) bool { return e.Text == "to both of you" })
	}
}

func TestOwnDevicesWriteToEachOtherWithLeave(t *testing.T) {
	t.Parallel()
	acme, _ := two(t)
	alice := newHuman(t, "alice", acme)
	ids := crowd(t, alice, acme, 12)
	second := secondDevice(t, alice)
	// The approval says whom they know; that they gave each other leave, no event tells.
	waitFor(t, "leave on both sides", func() bool { return alice.OwnGrants() == 1 && second.OwnGrants() == 1 })

	// More than the ten knocks that a mailbox holds wait for a device that sleeps.
	second.leave(t)
	for _, id := range ids {
		if err := alice.Block(within(t), id); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "the mailbox of the second device", func() bool {
		sum, err := alice.Flush(within(t))
		if err != nil {
			t.Fatal(err)
		}
		return sum.StoredPending >= uint64(len(ids)) && sum.Open == 0
	})
	second.start(t)
	waitFor(t, "the blocks on the second device", func() bool {
		known := standings(t, second)
		return !slices.ContainsFunc(ids, func(id identity.PublicKey) bool { return known[id] != keep.ContactBlocked })
	})
}

func TestTheOwnNodeIsAskedForWhatTheDestinationDoesNotKnow(t *testing.T) {
	t.Parallel()
	m := newMiddle(t)
	dir := filepath.Join(t.TempDir(), "acme")
	acme := m.exchange(t, "acme.example", dir)
	alice := newHumanAt(t, "alice", m.server.URL)
	h := newTheatre(t, m, "theatre.example")
	p := befriended(t, h, alice)
	id, err := alice.SendNote(within(t), p.id(), "where did it end?")
	if err != nil {
		t.Fatal(err)
	}
	p.opened(envelopepb.Type_TYPE_NOTE)
	told(t, alice, func(e client.NoteFate) bool { return e.Message == id && e.State == keep.NoteStored })
	var last envelope.ID
	m.until("the note on the wire", func(sent []*pb.ClientFrame, _ []*pb.NodeFrame) bool {
		for _, f := range sent {
			if s := f.GetSubmit(); s != nil {
				e, err := envelope.Parse(s.Envelope)
				if err != nil {
					t.Fatal(err)
				}
				last = e.ID()
			}
		}
		return last != envelope.ID{}
	})
	if sum, err := alice.Flush(within(t)); err != nil || sum.StoredPending == 0 {
		t.Fatalf("while nobody knows more it waits: %+v, %v", sum, err)
	}

	// The own node learns how it ended, the destination does not.
	alice.leave(t)
	acme.stop(t)
	db, err := bolt.Open(filepath.Join(dir, "node.db"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Record(t.Context(), last, store.FateExpired, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	m.exchange(t, "acme.example", dir)
	alice.start(t)
	if _, err := alice.Flush(within(t)); err != nil {
		t.Fatal(err)
	}
	told(t, alice, func(e client.NoteFate) bool { return e.Message == id && e.State == keep.NoteExpired })
}
