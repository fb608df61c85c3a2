package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// noteLife is how long a note may wait for its reader before it is sealed anew.
const noteLife = 7 * 24 * time.Hour

// SendNote writes a note into the history and sends it to every device of an accepted
// contact. It returns when the note is safely on the own disk; NoteFate tells the rest. A
// note that cannot go out now is sent later by itself.
func (c *Client) SendNote(ctx context.Context, root identity.PublicKey, text string) (envelope.MessageID, error) {
	if text == "" {
		return envelope.MessageID{}, errors.New("the note is empty")
	}
	if len(text) > envelope.MaxNoteText {
		return envelope.MessageID{}, fmt.Errorf("the note has %d bytes, %d are the most: send it as a file", len(text), envelope.MaxNoteText)
	}
	if _, err := c.writable(root); err != nil {
		return envelope.MessageID{}, err
	}
	now := c.keep.Now()
	id := envelope.NewMessageID()
	c.writing.begin(id)
	defer c.writing.end(id)
	note, err := c.keep.PutNote(keep.Note{
		ID: id, Contact: root, Out: true, Text: text,
		Created: now, Expires: now.Add(noteLife), State: keep.NoteQueued,
	})
	if err != nil {
		return envelope.MessageID{}, err
	}
	err = c.sendNote(ctx, note)
	var refused *RefusedError
	if errors.As(err, &refused) && !refused.Temporary() {
		return note.ID, err
	}
	if err != nil {
		c.log.Info("a note waits on this device", "error", errorKind(err))
	}
	return note.ID, nil
}

// sendNote seals a note for every device of its reader. A refusal that time does not mend
// ends the note.
func (c *Client) sendNote(ctx context.Context, n keep.Note) error {
	k, err := c.writable(n.Contact)
	if err != nil {
		return err
	}
	body := &envelope.Note{Text: n.Text, ReplyTo: n.ReplyTo}
	_, err = c.deliverAll(ctx, k, letter{
		body: body, kind: body.Type(), life: noteLife, ttl: envelope.Week, id: n.ID, withGrant: true,
	})
	var refused *RefusedError
	if errors.As(err, &refused) && !refused.Temporary() {
		c.noteFate(n.Contact, n.ID, keep.FateRefused, refused.Code)
		return err
	}
	if err != nil {
		return err
	}
	// When it was sealed last stands in Expires: resealDue asks.
	_, err = c.keep.UpdateNote(n.Contact, true, n.ID, func(n *keep.Note) error {
		n.Expires = c.keep.Now().Add(noteLife)
		return nil
	})
	return err
}

const (
	// notesEvery is how often notes are looked through for what has to be sent again.
	notesEvery = 30 * time.Second
	// recentNotes is how far back that looks in each conversation.
	recentNotes = 256
	// noteGivenUp is when a note that nobody read is not sealed anew any more.
	noteGivenUp = 30 * 24 * time.Hour
	// resealAfter is how long a note that was fetched may stay without its receipt.
	resealAfter = time.Hour
)

// resendNotes sends what could not go out before, and seals anew what ended unread or may
// have been sealed to a prekey that was gone when it was fetched.
func (c *Client) resendNotes(ctx context.Context) error {
	contacts, err := c.keep.Contacts()
	if err != nil {
		return err
	}
	var failed error
	for _, k := range contacts {
		if k.State != keep.ContactAccepted || len(k.Evidence) > 0 {
			continue
		}
		notes, err := c.keep.RecentNotes(k.Root, recentNotes)
		if err != nil {
			return err
		}
		for _, n := range notes {
			if n.Out && n.State != keep.NoteRead {
				failed = errors.Join(failed, c.resendNote(ctx, k, n))
			}
		}
	}
	return failed
}

func (c *Client) resendNote(ctx context.Context, k keep.Contact, n keep.Note) error {
	if !c.writing.begin(n.ID) {
		return nil
	}
	defer c.writing.end(n.ID)
	n, err := c.keep.Note(k.Root, true, n.ID) // it may have come further since it was listed
	if err != nil {
		return err
	}
	now := c.keep.Now()
	switch {
	case now.Sub(n.Created) > noteGivenUp:
		return nil
	case n.State == keep.NoteQueued, n.State == keep.NoteExpired:
		if open, err := c.ledger.carries(n.ID); open || err != nil {
			return err // the ledger sends the same envelope again
		}
	case n.State == keep.NoteDelivered:
		due, err := c.resealDue(ctx, k, n)
		if !due || err != nil {
			return passing(err)
		}
	default:
		return nil
	}
	if !c.attempts.ready(n.ID, now) {
		return nil
	}
	err = passing(c.sendNote(ctx, n))
	if errors.Is(err, ErrNotAccepted) {
		return nil // too long for a knock: it waits for the other side's token
	}
	return err
}

// resealDue reports whether a note that was fetched and not acknowledged should be sealed
// anew: its reader has a prekey that is younger than the seal. The reader knows the message
// id, so a note that it has is acknowledged once more and nothing else.
func (c *Client) resealDue(ctx context.Context, k keep.Contact, n keep.Note) (bool, error) {
	sealed := n.Expires.Add(-noteLife)
	if c.keep.Now().Sub(sealed) < resealAfter {
		return false, nil
	}
	p, err := c.directory.person(ctx, k.Root, k.Domain, k.Home)
	if err != nil {
		return false, err
	}
	for _, b := range p.bundles {
		if b.NotBefore.After(sealed) {
			return true, nil
		}
	}
	return false, nil
}

// noteFate moves a note along with one of its envelopes. A note goes to several devices; the
// furthest of them counts, and an end counts only when nothing else came of it.
func (c *Client) noteFate(root identity.PublicKey, id envelope.MessageID, fate keep.Fate, code string) {
	to, moves := noteState(fate, code)
	if !moves || id == (envelope.MessageID{}) {
		return
	}
	ended := to == keep.NoteExpired || to == keep.NoteRefused || to == keep.NoteQueued
	if ended {
		if open, err := c.ledger.carries(id); open || err != nil {
			return // another device's envelope is still on its way
		}
	}
	moved := false
	n, err := c.keep.UpdateNote(root, true, id, func(n *keep.Note) error {
		moved = false
		switch {
		case n.State == keep.NoteRead, n.State == to:
			return nil
		case ended && n.State == keep.NoteDelivered:
			return nil
		case !ended && to < n.State && n.State <= keep.NoteDelivered:
			return nil
		}
		n.State, n.Code, moved = to, code, true
		return nil
	})
	if errors.Is(err, keep.ErrNotFound) {
		return // the envelope carried something else than a note
	}
	if err != nil {
		c.log.Error("the history could not be written", "error", errorKind(err))
		return
	}
	if moved {
		c.tell(NoteFate{To: root, Message: id, State: n.State, Code: code})
	}
}

// noteState is what an envelope's fate means for its note. A refusal that time or a new token
// mends puts the note back among those that wait on this device.
func noteState(fate keep.Fate, code string) (to keep.NoteState, moves bool) {
	switch fate {
	case keep.FateAccepted:
		return keep.NoteAccepted, true
	case keep.FateStored:
		return keep.NoteStored, true
	case keep.FateDelivered:
		return keep.NoteDelivered, true
	case keep.FateExpired:
		return keep.NoteExpired, true
	case keep.FateRefused:
		if link.LookupCode(code).Retry || code == link.CodeRefused || code == link.CodeUnknownDestination {
			return keep.NoteQueued, true
		}
		return keep.NoteRefused, true
	}
	return 0, false
}

// noteFateFromLedger is noteFate for envelopes of an earlier run, which nobody watches.
func (c *Client) noteFateFromLedger(id envelope.ID, fate keep.Fate, code string) {
	s, err := c.keep.Submitted(id)
	if err != nil || s.Message == (envelope.MessageID{}) {
		return
	}
	c.noteFate(s.Contact, s.Message, fate, code)
}

// onNote keeps a note and acknowledges it to its writer.
func (c *Client) onNote(o *envelope.Opened, body *envelope.Note) error {
	if _, err := c.keep.PutNote(keep.Note{
		ID: o.ID, Contact: o.SenderRoot, Text: body.Text, ReplyTo: body.ReplyTo,
		Created: o.Created, Expires: o.Expires, State: keep.NoteDelivered,
	}); err != nil {
		return err
	}
	c.tell(NoteReceived{From: o.SenderRoot, ID: o.ID, Text: body.Text})
	if o.Standing == envelope.Accepted {
		c.acknowledgeNotes(o.SenderRoot, o.ID)
	}
	return nil
}

// maxReadIDs is how many notes one receipt names.
const maxReadIDs = 32

// acknowledgeNotes tells the writer, sealed, that notes are kept here.
func (c *Client) acknowledgeNotes(root identity.PublicKey, ids ...envelope.MessageID) {
	c.later("acknowledge a note", func(ctx context.Context) error {
		k, err := c.writable(root)
		if err != nil {
			return err
		}
		body := &envelope.Read{IDs: ids}
		if _, err := c.deliverAll(ctx, k, letter{body: body, kind: body.Type(), life: noteLife, ttl: envelope.Week, withGrant: true}); err != nil {
			if err = passing(err); err == nil {
				c.owing.Store(true) // the retry loop makes up for it
			}
			return err
		}
		for _, id := range ids {
			_, err = c.keep.UpdateNote(root, false, id, func(n *keep.Note) error {
				n.Acked = true
				return nil
			})
			if err != nil && !errors.Is(err, keep.ErrNotFound) { // deleted from the history meanwhile
				return err
			}
		}
		return nil
	})
}

// acknowledgeOld acknowledges what was kept before a crash or a broken link and was not
// acknowledged then.
func (c *Client) acknowledgeOld() error {
	contacts, err := c.keep.Contacts()
	if err != nil {
		return err
	}
	for _, k := range contacts {
		if k.State != keep.ContactAccepted {
			continue
		}
		notes, err := c.keep.RecentNotes(k.Root, recentNotes)
		if err != nil {
			return err
		}
		var ids []envelope.MessageID
		for _, n := range notes {
			if !n.Out && !n.Acked && c.keep.Now().Sub(n.Created) < noteGivenUp {
				ids = append(ids, n.ID)
			}
		}
		for some := range slices.Chunk(ids, maxReadIDs) {
			c.acknowledgeNotes(k.Root, some...)
		}
	}
	return nil
}

// onRead marks own notes as read.
func (c *Client) onRead(o *envelope.Opened, body *envelope.Read) error {
	for _, id := range body.IDs {
		n, err := c.keep.UpdateNote(o.SenderRoot, true, id, func(n *keep.Note) error {
			n.State = keep.NoteRead
			return nil
		})
		if errors.Is(err, keep.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		c.tell(NoteFate{To: o.SenderRoot, Message: n.ID, State: keep.NoteRead})
	}
	return nil
}

// Notes returns the history with a contact, oldest first.
func (c *Client) Notes(root identity.PublicKey, after uint64, most int) ([]keep.Note, error) {
	return c.keep.Notes(root, after, most)
}

// Note returns one of our own notes, to see how far it has come.
func (c *Client) Note(root identity.PublicKey, id envelope.MessageID) (keep.Note, error) {
	return c.keep.Note(root, true, id)
}

// MarkShown remembers that the person has seen a note that came in. It stays on this device.
func (c *Client) MarkShown(root identity.PublicKey, id envelope.MessageID) error {
	_, err := c.keep.UpdateNote(root, false, id, func(n *keep.Note) error {
		n.State = keep.NoteRead
		return nil
	})
	return err
}
