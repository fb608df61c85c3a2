package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
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
	note, err := c.keep.PutNote(keep.Note{
		ID: envelope.NewMessageID(), Contact: root, Out: true, Text: text,
		Created: now, Expires: now.Add(noteLife), State: keep.NoteQueued,
	})
	if err != nil {
		return envelope.MessageID{}, err
	}
	err = c.sendNote(ctx, note)
	var refused *RefusedError
	if errors.As(err, &refused) {
		return note.ID, err
	}
	if err != nil {
		c.log.Info("a note waits on this device", "error", errorKind(err))
		c.poke()
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
	_, err = c.keep.UpdateNote(n.Contact, true, n.ID, func(n *keep.Note) error {
		if n.State == keep.NoteQueued {
			n.State = keep.NoteAccepted
		}
		return nil
	})
	return err
}

// resendNotes sends what could not go out before, and seals anew what ended unread.
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
		notes, err := c.keep.Notes(k.Root, 0, maxRetryScan)
		if err != nil {
			return err
		}
		for _, n := range notes {
			if n.Out && (n.State == keep.NoteQueued || n.State == keep.NoteExpired) {
				failed = errors.Join(failed, c.sendNote(ctx, n))
			}
		}
	}
	return failed
}

// noteFate moves a note along with one of its envelopes. A note goes to several devices; the
// furthest of them counts, and a refusal counts only when nothing else came of it.
func (c *Client) noteFate(root identity.PublicKey, id envelope.MessageID, fate keep.Fate, code string) {
	var to keep.NoteState
	switch fate {
	case keep.FateAccepted:
		to = keep.NoteAccepted
	case keep.FateStored:
		to = keep.NoteStored
	case keep.FateDelivered:
		to = keep.NoteDelivered
	case keep.FateExpired:
		to = keep.NoteExpired
	case keep.FateRefused:
		to = keep.NoteRefused
	default:
		return
	}
	moved := false
	n, err := c.keep.UpdateNote(root, true, id, func(n *keep.Note) error {
		if n.State == keep.NoteRead || n.State == to {
			return nil
		}
		ended := to == keep.NoteExpired || to == keep.NoteRefused
		if ended && n.State == keep.NoteDelivered || !ended && to < n.State && n.State <= keep.NoteDelivered {
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
		c.acknowledgeNote(o.SenderRoot, o.ID)
	}
	return nil
}

// acknowledgeNote tells the writer, sealed, that the note is kept here.
func (c *Client) acknowledgeNote(root identity.PublicKey, id envelope.MessageID) {
	c.later("acknowledge a note", func(ctx context.Context) error {
		k, err := c.writable(root)
		if err != nil {
			return err
		}
		body := &envelope.Read{IDs: []envelope.MessageID{id}}
		if _, err := c.deliverAll(ctx, k, letter{body: body, kind: body.Type(), life: noteLife, ttl: envelope.Week, withGrant: true}); err != nil {
			return err
		}
		_, err = c.keep.UpdateNote(root, false, id, func(n *keep.Note) error {
			n.Acked = true
			return nil
		})
		if errors.Is(err, keep.ErrNotFound) {
			return nil // deleted from the history meanwhile
		}
		return err
	})
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
