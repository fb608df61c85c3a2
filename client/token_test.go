package client_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/internal/link"
)

// Tokens that have changed, and notes that nobody has read.

func TestAContactThatHasToKnockIsGivenTheTokenAgain(t *testing.T) {
	t.Parallel()
	alice, h := alone(t)
	p := befriended(t, h, alice)
	p.deliver(p.seal(&envelope.Note{Text: "my token is too old"}), true)
	told(t, alice, func(e client.NoteReceived) bool { return e.Text == "my token is too old" })
	update := p.opened(envelopepb.Type_TYPE_TOKEN_UPDATE)
	if update.Grant == nil || update.Grant.Token == (envelope.Token{}) {
		t.Fatal("the answer carries no token")
	}
	p.opened(envelopepb.Type_TYPE_READ)
	// Once in a while: whoever knocks on and on is not answered each time.
	for range 5 {
		p.deliver(p.seal(&envelope.Note{Text: "again"}), true)
		told(t, alice, func(e client.NoteReceived) bool { return e.Text == "again" })
		p.opened(envelopepb.Type_TYPE_READ)
	}
	if n := h.arrivals(); n != 0 {
		t.Errorf("%d more envelopes were sent", n)
	}
}

func TestAWrongTokenFallsBackToAKnock(t *testing.T) {
	t.Parallel()
	alice, h := alone(t)
	p := befriended(t, h, alice)
	h.stage(func(h *theatre) { h.refuse = link.CodeRefused })
	id, err := alice.SendNote(within(t), p.id(), "do you take this?")
	if err != nil {
		t.Fatal(err)
	}
	withToken := h.next("the note with the token", func(a arrival) bool { return a.hop.Token == p.token })
	h.stage(func(h *theatre) { h.refuse = "" })
	h.next("the knock", func(a arrival) bool { return a.hop.Knock && string(a.payload) == string(withToken.payload) })
	told(t, alice, func(e client.NoteFate) bool { return e.Message == id })
	sum, err := alice.Flush(within(t))
	if err != nil {
		t.Fatal(err)
	}
	balanced(t, alice, sum)
	if sum.Refused == 0 {
		t.Errorf("the refused envelope is not in the account: %+v", sum)
	}
	// The next one knocks at once, until there is a new token.
	if _, err := alice.SendNote(within(t), p.id(), "and this?"); err != nil {
		t.Fatal(err)
	}
	h.next("the next note", func(a arrival) bool { return a.hop.Knock })
	p.token[0]++
	p.deliver(p.seal(&envelope.Read{IDs: []envelope.MessageID{id}}), false) // carries the grant
	told(t, alice, func(e client.NoteFate) bool { return e.Message == id && e.State == client.NoteRead })
	if _, err := alice.SendNote(within(t), p.id(), "thank you"); err != nil {
		t.Fatal(err)
	}
	h.next("the note with the new token", func(a arrival) bool { return a.hop.Token == p.token })
}

func TestAnUnreadNoteIsSealedAnewWhenThePrekeyHasChanged20J(t *testing.T) {
	t.Parallel()
	m := newMiddle(t)
	m.exchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	clock := newClock()
	alice := newHumanAt(t, "alice", m.server.URL, func(h *human) { h.now = clock.Now })
	h := newTheatre(t, m, "theatre.example")
	p := befriended(t, h, alice)
	h.stage(func(h *theatre) { h.fate = envelopepb.Fate_FATE_DELIVERED })
	id, err := alice.SendNote(within(t), p.id(), "did you get this?")
	if err != nil {
		t.Fatal(err)
	}
	first := p.opened(envelopepb.Type_TYPE_NOTE)
	if _, err := alice.Flush(within(t)); err != nil {
		t.Fatal(err)
	}
	told(t, alice, func(e client.NoteFate) bool { return e.Message == id && e.State == client.NoteDelivered })

	// Nothing is sent again while the prekey is the same.
	p.time = clock.Now
	clock.move(2 * time.Hour)
	m.cut()
	told(t, alice, always[client.LinkDown])
	if _, err := alice.SendNote(within(t), p.id(), "a second one"); err != nil {
		t.Fatal(err)
	}
	if o := p.opened(envelopepb.Type_TYPE_NOTE); o.ID == id {
		t.Error("the note was sent again without a reason")
	}

	// The new prekey is there before its day: whoever looked just now, late after the first cut,
	// has an answer that is old after it.
	p.rekey(clock.Now().Add(26 * time.Hour))
	h.stage(func(h *theatre) { h.answers[p.id()] = p.answer() })
	clock.move(26 * time.Hour)
	m.cut()
	again := p.opened(envelopepb.Type_TYPE_NOTE)
	for again.ID != id {
		again = p.opened(envelopepb.Type_TYPE_NOTE)
	}
	if again.PrekeyID == first.PrekeyID {
		t.Error("the note was sealed to the old prekey again")
	}
	if body := again.Content.(*envelope.Note); body.Text != "did you get this?" {
		t.Errorf("another note came under the same id: %q", body.Text)
	}
}
