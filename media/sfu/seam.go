// Package sfu forwards the media of a room that has outgrown its mesh. It sees RTP headers and a few header
// extensions; a payload is a row of bytes to it, sealed end to end, which it neither reads nor changes. A room
// is an opaque key and a participant an opaque number: who they are, what the room is called and which keys
// they share is known to others.
//
// Call [New], then [Server.Run], then [Server.Join] for each participant. What a client has to do on its media
// leg is docs/spec/sfu.md.
package sfu

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// RoomKey names a room. It is opaque, and it never appears in a log or a figure.
type RoomKey [32]byte

const redacted = "[redacted]"

// String hides the key.
func (RoomKey) String() string { return redacted }

// GoString hides the key from %#v.
func (RoomKey) GoString() string { return redacted }

// LogValue hides the key from slog.
func (RoomKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// Description is one side's SDP. Join and Renegotiate take offers and give answers; both travel over the
// authenticated link between client and node.
type Description struct{ SDP string }

// Slot says what a track shows. The numbers are those of the frame keys (docs/spec/media.md, section 2), but the
// SFU only orders by them: a screen goes before a face when there is not enough for both.
type Slot uint8

// The slots, in the order of the sections of one kind in an offer.
const (
	Microphone Slot = iota
	Camera
	Screen
	ScreenAudio
	slots
)

// Audio reports whether the slot carries sound.
func (s Slot) Audio() bool { return s == Microphone || s == ScreenAudio }

func (s Slot) String() string {
	if s < slots {
		return [...]string{"microphone", "camera", "screen", "screen audio"}[s]
	}
	return "unknown"
}

// Grant is what one participant may do here. The caller has asked the policy and the room before it gives one.
type Grant struct {
	// Index is the participant's number in the room. A second seat with the same number takes the place of the
	// first one.
	Index uint16
	// Publish allows sections that send.
	Publish bool
	// MaxBitrate bounds what the participant sends, in bit/s; 0: the server's default. What exceeds it is
	// dropped before anybody else's packets wait for it.
	MaxBitrate int64
	// MaxTracks bounds the sections that send, of all slots; 0: four.
	MaxTracks int
	// AudioLevels lets the client send the level of its sound in clear (RFC 6464), from which the server then tells
	// who speaks. In encrypted rooms, which do not allow it, clients say so themselves ([Seat.Speaking]).
	AudioLevels bool
	// Receive bounds what is sent to the participant, in bit/s; 0: the server's default.
	Receive int64
}

// Subscription asks for one publisher's slot on one of the client's receiving sections.
type Subscription struct {
	Mid       string // the section, as the client's offer names it
	Publisher uint16 // Grant.Index of who publishes
	Slot      Slot
	// Priority orders pictures when not all fit; higher is served first. Sound is always served before pictures,
	// and a screen before faces of the same priority.
	Priority uint8
	// Height is how tall the picture is shown, in pixels; no larger layer than needed is sent. 0: any.
	Height uint16
	Paused bool
}

// Wants is everything that a participant wants to receive. It replaces what was wanted before.
type Wants struct {
	Subscriptions []Subscription
	// LastN, if not 0, sends only that many cameras: those of the highest priority first, among equals those who
	// spoke last.
	LastN int
}

// Event is one of Published, Unpublished, LayersChanged, SpeakerChanged, Allocated, QualityChanged and Closed.
type Event interface{ event() }

// Published says that a publisher's slot has begun. It is told to all but the publisher.
type Published struct {
	Publisher uint16
	Slot      Slot
	Codec     string // its name in SDP, in upper case
	Layers    []Layer
}

// Layer is one quality in which a slot is published, the smallest first.
type Layer struct {
	RID           string // of simulcast; empty otherwise
	Spatial       uint8  // of a scalable stream,
	Temporal      uint8  // and the highest of its temporal layers that is sent
	Width, Height uint16 // 0: not told
	BitsPerSecond int64  // measured, with what it rests on
	Paused        bool   // nothing arrives
}

// Unpublished says that a slot has ended.
type Unpublished struct {
	Publisher uint16
	Slot      Slot
}

// LayersChanged tells the layers of a slot anew.
type LayersChanged struct {
	Publisher uint16
	Slot      Slot
	Layers    []Layer
}

// SpeakerChanged names the participants who spoke last, the dominant one first.
type SpeakerChanged struct{ Order []uint16 }

// Allocated tells what is sent on a section. A paused one says why.
type Allocated struct {
	Mid    string
	Layer  int    // index in Layers; -1: nothing is sent
	Reason Reason // why nothing or less than wanted is sent; empty: it is what was wanted
}

// QualityChanged grades the participant's own leg: what it sends up to here, and what it can take.
type QualityChanged struct {
	Up, Down      Grade
	Estimate      int64         // bit/s that its path takes
	RoundTripTime time.Duration // 0: not measured yet
	LossDown      float64       // of what was sent to it, 0 to 1
	LossUp        float64       // of what it sent
}

// Grade is a quality in one word.
type Grade uint8

// The grades.
const (
	Good Grade = iota
	Fair
	Poor
	Lost // nothing comes
)

// Closed is the last event of a seat.
type Closed struct{ Reason Reason }

func (Published) event()      {}
func (Unpublished) event()    {}
func (LayersChanged) event()  {}
func (SpeakerChanged) event() {}
func (Allocated) event()      {}
func (QualityChanged) event() {}
func (Closed) event()         {}

// Reason says in one word why something ended, is paused or was refused. The words are for programs; clients put
// them into sentences.
type Reason string

// The reasons.
const (
	ReasonLeft        Reason = "left"        // the client closed its seat
	ReasonRemoved     Reason = "removed"     // by the room
	ReasonPolicy      Reason = "policy"      // the policy of whoever runs the server allows it no more
	ReasonReplaced    Reason = "replaced"    // the same participant sits elsewhere
	ReasonRoomClosed  Reason = "room closed" //
	ReasonShutdown    Reason = "shutdown"    // the server ends
	ReasonGone        Reason = "gone"        // its path was broken for too long
	ReasonSlow        Reason = "slow"        // it does not take its events
	ReasonFull        Reason = "full"        // the server has no head-room
	ReasonCeiling     Reason = "ceiling"     // the room has as many as it may
	ReasonDescription Reason = "description" // the SDP cannot be used
	ReasonGrant       Reason = "grant"       // it asks for more than its grant
	ReasonNotRunning  Reason = "not running" //
	ReasonBandwidth   Reason = "bandwidth"   // the participant's path takes no more
	ReasonLastN       Reason = "last n"      // not among the last who spoke
	ReasonPaused      Reason = "paused"      // by the participant itself
	ReasonNoTrack     Reason = "no track"    // nobody publishes that
	ReasonCodec       Reason = "codec"       // the section cannot take the publisher's codec
	ReasonSection     Reason = "section"     // no such receiving section, or one of the other kind
	ReasonDuplicate   Reason = "two on one"  // one section is wanted for two
	ReasonStrange     Reason = "strange"     // it did what no client has a reason to do
)

// RefusedError is a typed refusal of Join, Renegotiate and Want.
type RefusedError struct {
	Reason Reason
	Detail string // for the log of whoever asked; no address, no identity
}

func (e *RefusedError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("sfu: refused: %s", e.Reason)
	}
	return fmt.Sprintf("sfu: refused: %s: %s", e.Reason, e.Detail)
}

// ReasonOf is the reason of a refusal, and empty for every other error.
func ReasonOf(err error) Reason {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused.Reason
	}
	return ""
}

func refuse(r Reason, format string, args ...any) error {
	return &RefusedError{Reason: r, Detail: fmt.Sprintf(format, args...)}
}
