package envelope

import (
	"bytes"
	"time"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

// OutgoingCall and IncomingCall decide what the two sides of a call do, and do nothing
// themselves: events go in, actions come out, and Deadline says when to come back with a
// [CallTick]. The tables are in docs/spec/session.md, "Caller" and "Callee". Neither type is
// safe for concurrent use; a client gives each call one goroutine.

// Timers of a call.
const (
	RingTime    = time.Minute      // how long devices ring
	AnswerTime  = 20 * time.Second // from an ACCEPT to the first frame of the other side
	ConnectTime = 30 * time.Second // from there to the bound channel
	ResendTime  = 2 * time.Second  // between two sendings of the same ACCEPT or first frame
)

// CallState is where a call stands.
type CallState uint8

const (
	CallRinging    CallState = iota // devices ring
	CallAnswered                    // accepted; the first frame of the other side has not come
	CallConnecting                  // frames go both ways; ICE and DTLS are under way
	CallLive                        // the channel is bound to the identities
	CallEnded
)

func (s CallState) String() string {
	return [...]string{"ringing", "answered", "connecting", "live", "ended"}[s]
}

// CallEventKind says what happened.
type CallEventKind uint8

const (
	CallTick CallEventKind = iota // the deadline has come

	// What the other side did. The client has verified it.
	CallAccepted    // Device's ACCEPT, and the session made from it
	CallAcceptAgain // the same bytes again
	CallDeclined    // Device's DECLINE, Reason
	CallBusy        // Device's BUSY
	CallUnreachable // Device's ring cannot be delivered
	CallCancelled   // the caller's CANCEL, Reason
	CallFrame       // the first valid frame of the other side
	CallBye         // BYE, Reason
	CallGlareLost   // the other side's ring survives ours

	// What happened here.
	CallAccept  // the person says yes
	CallDecline // the person says no
	CallHangup  // the person ends the call
	CallBound   // the channel binding has verified
	CallFailed  // session, ICE or DTLS failed
	CallAlarm   // certificate, binding, call code or sealing is not what it must be
)

// CallEvent is one event. Device and Reason are set where the kind names them.
type CallEvent struct {
	Kind   CallEventKind
	Device identity.DeviceID
	Reason pb.Reason
}

// CallActionKind says what the client is to do.
type CallActionKind uint8

const (
	DoSendCancel   CallActionKind = iota // CANCEL to Device with Reason
	DoSendFirst                          // the first frame (OFFER), to Device
	DoResendFirst                        // the same frame again
	DoSendAccept                         // answer with ACCEPT
	DoResendAnswer                       // the same bytes again
	DoSendDecline                        // answer with DECLINE
	DoSendBusy                           // answer with BUSY
	DoOpenICE                            // the caller's first valid frame is here: addresses may be told
	DoStep                               // Session.Step; two minutes later Session.Forget
	DoSendBye                            // BYE with Reason
	DoMissed                             // note a missed call
	DoEnd                                // close session and transports; Reason says why
)

// CallAction is one thing to do. Actions are done in order.
type CallAction struct {
	Kind   CallActionKind
	Device identity.DeviceID
	Reason pb.Reason
}

// Glare decides which of two rings survives when two people, or two devices of one person,
// ring each other at the same time: that of the numerically lower root key, or device. It
// reports whether it is ours. If it is, the other ring is dropped without an answer; if not,
// our own call gets [CallGlareLost], and the other ring is accepted without asking, since the
// person has just asked for this call.
func Glare(own, peer identity.PublicKey, ownDevice, peerDevice identity.DeviceID) (ours bool) {
	if c := bytes.Compare(own[:], peer[:]); c != 0 {
		return c < 0
	}
	return bytes.Compare(ownDevice[:], peerDevice[:]) < 0
}

// connected is the part that both sides share, from the first frame on.
type connected struct {
	state    CallState
	deadline time.Time
}

// State is where the call stands.
func (c *connected) State() CallState { return c.state }

// Deadline is when the next [CallTick] is due; zero: none.
func (c *connected) Deadline() time.Time { return c.deadline }

func (c *connected) connecting(now time.Time) {
	c.state, c.deadline = CallConnecting, now.Add(ConnectTime)
}

func (c *connected) end(r pb.Reason) []CallAction {
	c.state, c.deadline = CallEnded, time.Time{}
	return []CallAction{{Kind: DoEnd, Reason: r}}
}

func (c *connected) endWithBye(r pb.Reason) []CallAction {
	return append([]CallAction{{Kind: DoSendBye, Reason: r}}, c.end(r)...)
}

// handle takes the events that mean the same to both sides once a session exists, and
// reports whether it knew the event.
func (c *connected) handle(now time.Time, e CallEvent) ([]CallAction, bool) {
	switch e.Kind {
	case CallBye:
		return c.end(e.Reason), true
	case CallHangup:
		return c.endWithBye(pb.Reason_REASON_ENDED), true
	case CallFailed:
		return c.endWithBye(pb.Reason_REASON_FAILED), true
	case CallAlarm:
		return c.endWithBye(pb.Reason_REASON_ALARM), true
	case CallBound:
		if c.state == CallConnecting {
			c.state, c.deadline = CallLive, time.Time{}
			return []CallAction{{Kind: DoStep}}, true
		}
		return nil, true
	case CallTick:
		if c.state == CallConnecting && !now.Before(c.deadline) {
			return c.endWithBye(pb.Reason_REASON_FAILED), true
		}
	}
	return nil, false
}
