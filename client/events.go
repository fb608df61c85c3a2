package client

import (
	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// Event is something that happened without being asked for. The concrete types below are
// all there are.
type Event interface{ event() }

// States of a note, as keep has them.
const (
	NoteQueued    = keep.NoteQueued
	NoteAccepted  = keep.NoteAccepted
	NoteStored    = keep.NoteStored
	NoteDelivered = keep.NoteDelivered
	NoteRead      = keep.NoteRead
	NoteExpired   = keep.NoteExpired
	NoteRefused   = keep.NoteRefused
)

type (
	// LinkUp and LinkDown follow the link to the home node.
	LinkUp   struct{}
	LinkDown struct{}
	// KnockReceived: a stranger asks to be a contact. Name and Text are its own words.
	KnockReceived struct {
		From       identity.PublicKey
		Name, Text string
		Domain     string
	}
	// KnockAccepted: somebody we knocked at said yes.
	KnockAccepted struct{ From identity.PublicKey }
	// NoteReceived: a note is in the history.
	NoteReceived struct {
		From identity.PublicKey
		ID   envelope.MessageID
		Text string
	}
	// NoteFate: one of our notes came further, or ended.
	NoteFate struct {
		To      identity.PublicKey
		Message envelope.MessageID
		State   keep.NoteState
		Code    string
	}
	// Ringing: somebody calls; answer with Incoming.Answer.
	Ringing struct{ *Incoming }
	// Missed: a ring ended before it was answered here.
	Missed struct {
		From   identity.PublicKey
		Reason string
	}
	// Compared: a contact says that it read our code with its camera and that it was the right one.
	// It proves nothing; the person says whether they see that on the other screen.
	Compared struct{ From identity.PublicKey }
	// DevicesChanged: a contact has another set of devices than before.
	DevicesChanged struct{ From identity.PublicKey }
	// Alarm: keys contradict each other; nothing is sent until the person decides.
	Alarm struct {
		From identity.PublicKey
		What string
	}
)

func (LinkUp) event()         {}
func (LinkDown) event()       {}
func (KnockReceived) event()  {}
func (KnockAccepted) event()  {}
func (NoteReceived) event()   {}
func (NoteFate) event()       {}
func (Ringing) event()        {}
func (Missed) event()         {}
func (Compared) event()       {}
func (DevicesChanged) event() {}
func (Alarm) event()          {}

const eventBound = 256

// Events tells what happens, until Run returns. Nothing waits for a reader: when 256 events
// are unread the newest are dropped, and the state that they spoke of stands in the client.
func (c *Client) Events() <-chan Event { return c.events }

func (c *Client) tell(e Event) {
	c.eventMu.Lock()
	defer c.eventMu.Unlock()
	if c.over {
		return
	}
	select {
	case c.events <- e:
	default:
		c.log.Warn("an event was dropped: nobody reads them")
	}
}
