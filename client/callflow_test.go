package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/envelope"
)

// How rings end, and calls go on.

// answers makes h say yes to the next ring and hand its call over.
func answers(t *testing.T, h *human, opts client.CallOptions) <-chan *client.Call {
	t.Helper()
	out := make(chan *client.Call, 1)
	go func() {
		defer close(out)
		call, err := told(t, h, always[client.Ringing]).Answer(within(t), opts)
		if err != nil {
			t.Errorf("%s answers: %v", h.name, err)
			return
		}
		out <- call
	}()
	return out
}

// connected makes a call from a to b and waits until it is bound on both sides.
func connected(t *testing.T, a, b *human, ours, theirs client.CallOptions) (call, their *client.Call) {
	t.Helper()
	answered := answers(t, b, theirs)
	call, err := a.Ring(within(t), b.id(), ours)
	if err != nil {
		t.Fatalf("%s rings: %v", a.name, err)
	}
	their = <-answered
	if their == nil {
		t.FailNow()
	}
	for _, c := range []*client.Call{call, their} {
		if err := c.Connected(within(t)); err != nil {
			t.Fatalf("the call does not connect: %v", err)
		}
	}
	return call, their
}

func over(t *testing.T, call *client.Call) error {
	t.Helper()
	select {
	case <-call.Done():
		return call.Err()
	case <-within(t).Done():
		t.Fatal("the call does not end")
		return nil
	}
}

// silent checks that nothing of a kind was told.
func silent[E client.Event](t *testing.T, h *human) {
	t.Helper()
	if wasTold(h, always[E]) {
		var e E
		t.Errorf("%s was told of a %T", h.name, e)
	}
}

func TestAllDevicesRingAndTheFirstAnswerWins(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", globex)
	meet(t, alice, bob)
	second := secondDevice(t, bob)
	told(t, alice, func(e client.DevicesChanged) bool { return e.From == bob.id() })

	type result struct {
		call *client.Call
		err  error
	}
	rung := make(chan result, 1)
	go func() {
		call, err := alice.Ring(within(t), bob.id(), client.CallOptions{Media: client.Audio})
		rung <- result{call, err}
	}()
	first := told(t, bob, always[client.Ringing])
	other := told(t, second, always[client.Ringing])
	theirs, err := other.Answer(within(t), client.CallOptions{})
	if err != nil {
		t.Fatalf("the second device answers: %v", err)
	}
	r := <-rung
	if r.err != nil {
		t.Fatalf("alice rings: %v", r.err)
	}
	for _, c := range []*client.Call{r.call, theirs} {
		if err := c.Connected(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-first.Done():
	case <-within(t).Done():
		t.Fatal("the first device rings on")
	}
	if _, err := first.Answer(within(t), client.CallOptions{}); !errors.Is(err, client.ErrElsewhere) {
		t.Errorf("a late answer ended as %v", err)
	}
	if err := r.call.Hangup(within(t)); err != nil {
		t.Errorf("alice hangs up: %v", err)
	}
	if err := over(t, theirs); err != nil {
		t.Errorf("the call ended at the second device as %v", err)
	}
	silent[client.Missed](t, bob)
	silent[client.Missed](t, second)

	// A no on one device is a no on all.
	go func() {
		call, err := alice.Ring(within(t), bob.id(), client.CallOptions{Media: client.Audio})
		rung <- result{call, err}
	}()
	first = told(t, bob, always[client.Ringing])
	other = told(t, second, always[client.Ringing])
	first.Decline()
	if r := <-rung; !errors.Is(r.err, client.ErrDeclined) {
		t.Errorf("the ring ended as %v", r.err)
	}
	select {
	case <-other.Done():
	case <-within(t).Done():
		t.Fatal("the second device rings on")
	}
	silent[client.Missed](t, bob)
	silent[client.Missed](t, second)

	// What one device decides about a contact, the other knows.
	if err := bob.Block(within(t), alice.id()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the block at the second device", func() bool {
		contacts, err := second.Contacts()
		return err == nil && len(contacts) == 1 && contacts[0].State.String() == "blocked"
	})
	for _, h := range []*human{alice, bob, second} {
		sum, err := h.Ledger()
		if err != nil {
			t.Fatal(err)
		}
		balanced(t, h, sum)
	}
}

func TestARingThatIsGivenUpIsAMissedCall(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", globex)
	meet(t, alice, bob)
	ctx, giveUp := context.WithCancel(within(t))
	go func() {
		told(t, bob, always[client.Ringing])
		giveUp()
	}()
	if _, err := alice.Ring(ctx, bob.id(), client.CallOptions{Media: client.Audio}); !errors.Is(err, context.Canceled) {
		t.Errorf("the ring ended as %v", err)
	}
	missed := told(t, bob, always[client.Missed])
	if missed.From != alice.id() || missed.Reason != "the caller gave up" {
		t.Errorf("bob missed %q", missed.Reason)
	}

	// A ring that waits in the mailbox until its caller has given up never rings.
	bob.leave(t)
	ctx, giveUp = context.WithCancel(within(t))
	defer giveUp()
	rung := make(chan error, 1)
	before, err := alice.Ledger()
	if err != nil {
		t.Fatal(err)
	}
	sent := func(n uint64) func() bool {
		return func() bool {
			sum, err := alice.Ledger()
			return err == nil && sum.Sent == before.Sent+n && sum.Open == 0
		}
	}
	go func() {
		_, err := alice.Ring(ctx, bob.id(), client.CallOptions{Media: client.Audio})
		rung <- err
	}()
	waitFor(t, "the stored ring", sent(1))
	giveUp()
	<-rung
	waitFor(t, "the stored cancel", sent(2))
	bob.start(t)
	id, err := alice.SendNote(within(t), bob.id(), "I called")
	if err != nil {
		t.Fatal(err)
	}
	told(t, bob, func(e client.NoteReceived) bool { return e.ID == id })
	silent[client.Ringing](t, bob)
}

func TestASecondCallerHearsBusy(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	alice, bob, carol := newHuman(t, "alice", acme), newHuman(t, "bob", globex), newHuman(t, "carol", acme)
	meet(t, alice, bob)
	meet(t, carol, bob)
	call, theirs := connected(t, alice, bob, client.CallOptions{Media: client.Audio}, client.CallOptions{})
	if _, err := carol.Ring(within(t), bob.id(), client.CallOptions{Media: client.Audio}); !errors.Is(err, client.ErrBusy) {
		t.Errorf("carol's ring ended as %v", err)
	}
	if missed := told(t, bob, always[client.Missed]); missed.From != carol.id() || missed.Reason != "busy" {
		t.Errorf("bob missed %q", missed.Reason)
	}
	if call.Info().Code == "" || len(call.Info().Code) != 6 {
		waitFor(t, "the call code", func() bool { return len(call.Info().Code) == 6 && call.Info().Code == theirs.Info().Code })
	}
	if err := theirs.Hangup(within(t)); err != nil {
		t.Errorf("bob hangs up: %v", err)
	}
	if err := over(t, call); err != nil {
		t.Errorf("alice's call ended as %v", err)
	}
}

func TestTwoWhoRingEachOtherHaveOneCall(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", globex)
	meet(t, alice, bob)
	calls := make(chan *client.Call, 2)
	for _, pair := range [][2]*human{{alice, bob}, {bob, alice}} {
		go func() {
			call, err := pair[0].Ring(within(t), pair[1].id(), client.CallOptions{Media: client.Audio})
			if err != nil {
				t.Errorf("%s rings: %v", pair[0].name, err)
			}
			calls <- call
		}()
	}
	one, two := <-calls, <-calls
	if one == nil || two == nil {
		t.FailNow()
	}
	for _, c := range []*client.Call{one, two} {
		if err := c.Connected(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "one code", func() bool { return one.Info().Code != "" && one.Info().Code == two.Info().Code })
	if err := one.Hangup(within(t)); err != nil {
		t.Errorf("hang up: %v", err)
	}
	if err := over(t, two); err != nil {
		t.Errorf("the other side of the call ended as %v", err)
	}
}

func TestABlockedContactReachesNobodyAndTheOthersStillDo(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	alice, bob, carol := newHuman(t, "alice", acme), newHuman(t, "bob", globex), newHuman(t, "carol", acme)
	meet(t, alice, bob)
	meet(t, carol, bob)
	call, theirs := connected(t, alice, bob, client.CallOptions{Media: client.Audio}, client.CallOptions{})
	if err := bob.Block(within(t), alice.id()); err != nil {
		t.Fatal(err)
	}
	if err := over(t, theirs); err != nil {
		t.Errorf("the call with the blocked one ended as %v", err)
	}
	if err := over(t, call); err != nil {
		t.Errorf("the blocked one's call ended as %v", err)
	}
	id, err := alice.SendNote(within(t), bob.id(), "why don't you answer?")
	if err != nil {
		t.Fatal(err)
	}
	// To the blocked one it looks as if nobody was there.
	told(t, alice, func(e client.NoteFate) bool { return e.Message == id && e.State == client.NoteStored })
	if _, err := bob.SendNote(within(t), alice.id(), "?"); !errors.Is(err, client.ErrNotAccepted) {
		t.Errorf("a note to somebody blocked: %v", err)
	}
	// Carol's token is an old one for a moment: she gets through in any case.
	hers, err := carol.SendNote(within(t), bob.id(), "hello")
	if err != nil {
		t.Fatal(err)
	}
	told(t, bob, func(e client.NoteReceived) bool { return e.ID == hers })
	told(t, carol, func(e client.NoteFate) bool { return e.Message == hers && e.State == client.NoteRead })
	long := strings.Repeat("long ", envelope.MaxNoteText/5)
	hers, err = carol.SendNote(within(t), bob.id(), long) // no knock can carry it
	if err != nil {
		t.Fatal(err)
	}
	told(t, carol, func(e client.NoteFate) bool { return e.Message == hers && e.State == client.NoteRead })
	notes, err := bob.Notes(alice.id(), 0, 10)
	if err != nil || len(notes) != 0 {
		t.Errorf("bob has %d notes of the one he blocked, %v", len(notes), err)
	}

	// And back again.
	if err := bob.Accept(within(t), alice.id()); err != nil {
		t.Fatal(err)
	}
	again, err := alice.SendNote(within(t), bob.id(), "there you are")
	if err != nil {
		t.Fatal(err)
	}
	told(t, bob, func(e client.NoteReceived) bool { return e.ID == again })
}

func TestASafetyNumberThatDiffersVerifiesNothing(t *testing.T) {
	t.Parallel()
	acme, _ := two(t)
	alice, bob, carol := newHuman(t, "alice", acme), newHuman(t, "bob", acme), newHuman(t, "carol", acme)
	meet(t, alice, bob)
	if a, b := alice.SafetyNumber(bob.id()), bob.SafetyNumber(alice.id()); a != b {
		t.Errorf("the numbers differ: %s, %s", a, b)
	}
	verified := func() bool {
		contacts, err := alice.Contacts()
		if err != nil || len(contacts) != 1 {
			t.Fatalf("%d contacts, %v", len(contacts), err)
		}
		return contacts[0].Verified
	}
	for _, wrong := range []string{"", "12345", alice.SafetyNumber(carol.id())} {
		if err := alice.Verify(bob.id(), wrong); !errors.Is(err, client.ErrVerification) || verified() {
			t.Errorf("a wrong number ended as %v", err)
		}
	}
	if err := alice.Verify(bob.id(), " "+bob.SafetyNumber(alice.id())+"\n"); err != nil || !verified() {
		t.Errorf("the right number ended as %v", err)
	}
	if err := alice.Verify(carol.id(), alice.SafetyNumber(carol.id())); !errors.Is(err, client.ErrNoContact) {
		t.Errorf("verifying a stranger: %v", err)
	}
}
