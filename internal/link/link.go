// Package link holds what a client and its own node must agree on to speak over the
// WebSocket /v1/link: the limits that stand before every parser, the two signatures of
// the handshake and the table of reply codes. It knows no WebSocket and no store, so that
// it stays light enough to fuzz and to share.
//
// A reader calls ParseClient or ParseNode on each message, a writer MarshalClient or
// MarshalNode. Neither ever allocates more than a small multiple of the bytes that really
// arrived, and neither accepts two encodings of one frame.
//
// The normative text is docs/spec/client-link.md.
package link

import "time"

const (
	// Path is where a node serves the link.
	Path = "/v1/link"
	// Subprotocol is offered by the client and must be chosen by the node.
	Subprotocol = "trunkline.v1"
	// MaxFrame is the size limit of one message in either direction: a 65,536 byte payload,
	// its envelope, and room for frames that carry several signed objects.
	MaxFrame = 96 << 10
	// MaxBeforeAuth is the limit of the client's first message: a certificate, a signature
	// and a host name.
	MaxBeforeAuth = 1 << 10

	// HandshakeTimeout is how long either side waits for the other's half of the handshake.
	HandshakeTimeout = 5 * time.Second
	// FrameTimeout is how long a message that has begun may take to arrive whole.
	FrameTimeout = 10 * time.Second
	// IdleTimeout is how long a node keeps a link on which it heard nothing.
	IdleTimeout = 100 * time.Second
	// PingInterval is when a side that heard nothing asks.
	PingInterval = 40 * time.Second
	// MaxClockSkew is the difference between the challenge's time and the own clock above
	// which a client warns (protocol.md 5.5).
	MaxClockSkew = 2 * time.Minute
	// TurnGrace is how long TURN credentials outlive a link that was lost.
	TurnGrace = 5 * time.Minute

	// MaxAcks is how many stored ids one Ack may carry.
	MaxAcks = 512
	// MaxBundles is how many prekey bundles one Publish may carry: one per device.
	MaxBundles = 8
	// MaxDescriptors is how many descriptors one DomainAnswer may carry.
	MaxDescriptors = 16

	// RoomCardSize is the size of the sealed card that a node keeps of a room.
	RoomCardSize = 4096
	// MaxRoomSeats is how many seats a room has at most.
	MaxRoomSeats = 50
	// MaxWants is how many streams one member may want at one time: four of each other one.
	MaxWants = 4 * MaxRoomSeats
	// MaxRoomLife is how far ahead a room may end.
	MaxRoomLife = 366 * 24 * time.Hour
)

// Reply codes. They say to the other side what happened and never why: the rule that
// decided is for the local administrator (protocol.md 20.3.P).
const (
	CodeBadFrame           = "bad_frame"
	CodeBadSignature       = "bad_signature"
	CodeNotRegistered      = "not_registered"
	CodeRegistrationClosed = "registration_closed"
	CodeInvitationInvalid  = "invitation_invalid"
	CodeEpochConflict      = "epoch_conflict"
	CodeQuota              = "quota"
	CodeRate               = "rate"
	CodePolicy             = "policy"
	CodeRefused            = "refused"
	CodeUnreachable        = "unreachable"
	CodeUnavailable        = "unavailable"
	CodeExpired            = "expired"
	CodeUnknownDestination = "unknown_destination"
	CodeQueueFull          = "queue_full"
	CodeTooLarge           = "too_large"
	CodeReplaced           = "replaced"
	CodeDraining           = "draining"
	CodeSlow               = "slow"
	CodeInternal           = "internal"
	CodeNoRoom             = "no_room"
	CodeGate               = "gate"
	CodeRoomFull           = "room_full"
	CodeRemoved            = "removed"
	CodeClosed             = "closed"
	CodePass               = "pass"
)

// Code describes one reply code.
type Code struct {
	Name string
	// Means is one sentence for people.
	Means string
	// Retry says that the same frame may succeed later without anyone changing anything.
	Retry bool
	// Closes says that the node always closes the link after it. In the handshake every
	// code does.
	Closes bool
}

// Codes returns the table of docs/spec/client-link.md, in its order.
func Codes() []Code {
	return []Code{
		{CodeBadFrame, "the frame is malformed, out of order or not allowed in this state", false, true},
		{CodeBadSignature, "a certificate, list, bundle or link signature does not verify", false, false},
		{CodeNotRegistered, "the identity or device has no mailbox at this node, or is not in its newest device list", false, false},
		{CodeRegistrationClosed, "this node registers nobody, or not this identity", false, false},
		{CodeInvitationInvalid, "an invitation is needed, or this one is unknown, used up, expired or revoked", false, false},
		{CodeEpochConflict, "the node holds a newer device list, or another one of the same epoch", false, false},
		{CodeQuota, "the mailbox is full or a quota is used up", true, false},
		{CodeRate, "too many frames in too short a time", true, false},
		{CodePolicy, "this node's policy, or the other node's, does not allow it", false, false},
		{CodeRefused, "the destination did not take it, and does not say more to strangers", false, false},
		{CodeUnreachable, "the destination node, or the device of a live envelope, cannot be reached now", true, false},
		{CodeUnavailable, "the node cannot do it now, for example because its disk is full", true, false},
		{CodeExpired, "its time ended before it could be delivered", false, false},
		{CodeUnknownDestination, "no node of that peer id is known here; ask for its Domain first", false, false},
		{CodeQueueFull, "too much waits for that destination", true, false},
		{CodeTooLarge, "larger than allowed for its kind", false, false},
		{CodeReplaced, "another link of the same device took over", false, true},
		{CodeDraining, "the node is going down or restarting", true, true},
		{CodeSlow, "the link did not take what the node had to say; come back and fetch it", true, true},
		{CodeInternal, "the node failed; its log says more", true, false},
		{CodeNoRoom, "there is no such room here, or it is over", false, false},
		{CodeGate, "the link's secret does not open this room: it is not the room's, was replaced, or the signature was used before", false, false},
		{CodeRoomFull, "the room has as many in it as it takes", true, false},
		{CodeRemoved, "a moderator did not let this participant in, or sent it away", false, false},
		{CodeClosed, "a moderator closed the room", false, false},
		{CodePass, "the room's node takes no guests: it wants the word of one's own node", false, false},
	}
}

// LookupCode finds a code by its name. A name that is not in the table, from a later
// version, is described as internal and not to be retried.
func LookupCode(name string) Code {
	for _, c := range Codes() {
		if c.Name == name {
			return c
		}
	}
	return Code{Name: name, Means: "the node answered with a code that this version does not know"}
}

// KnownCode reports whether the table has a code.
func KnownCode(name string) bool {
	for _, c := range Codes() {
		if c.Name == name {
			return true
		}
	}
	return false
}

// Refusal is a reply code as an error.
type Refusal struct {
	Code       string
	RetryAfter time.Duration // zero: no hint
}

func (r *Refusal) Error() string { return r.Code + ": " + LookupCode(r.Code).Means }
