package envelope

import (
	"time"

	"github.com/trunkline-net/trunkline/envelope/pb"
)

// IncomingCall is one device of the callee.
type IncomingCall struct {
	connected
	giveUp time.Time // CallAnswered: when to stop sending the ACCEPT
}

// Greeting is how a device takes a ring.
type Greeting uint8

const (
	GreetRing   Greeting = iota // let it ring
	GreetAccept                 // answer at once: an own device, or the ring that survived a glare
	GreetBusy                   // another call is under way
	GreetMissed                 // the ring came past its end, or its CANCEL came first
)

// NewIncomingCall begins with a ring that was opened and ends at expires, and returns what to
// do first.
func NewIncomingCall(now, expires time.Time, g Greeting) (*IncomingCall, []CallAction) {
	c := &IncomingCall{}
	c.state, c.deadline = CallRinging, expires
	if !now.Before(expires) {
		g = GreetMissed
	}
	switch g {
	case GreetAccept:
		return c, c.accept(now)
	case GreetBusy:
		return c, append([]CallAction{{Kind: DoSendBusy, Reason: pb.Reason_REASON_BUSY}, {Kind: DoMissed, Reason: pb.Reason_REASON_BUSY}},
			c.end(pb.Reason_REASON_BUSY)...)
	case GreetMissed:
		return c, c.missed(pb.Reason_REASON_TIMEOUT)
	}
	return c, nil
}

func (c *IncomingCall) accept(now time.Time) []CallAction {
	c.state, c.deadline, c.giveUp = CallAnswered, now.Add(ResendTime), now.Add(AnswerTime)
	return []CallAction{{Kind: DoSendAccept}}
}

func (c *IncomingCall) missed(r pb.Reason) []CallAction {
	return append([]CallAction{{Kind: DoMissed, Reason: r}}, c.end(r)...)
}

// Handle takes one event and returns what to do. Whatever has no row in the table changes
// nothing.
func (c *IncomingCall) Handle(now time.Time, e CallEvent) []CallAction {
	switch c.state {
	case CallRinging:
		return c.handleRinging(now, e)
	case CallAnswered:
		return c.handleAnswered(now, e)
	case CallConnecting, CallLive:
		actions, _ := c.handle(now, e)
		return actions
	}
	return nil
}

func (c *IncomingCall) handleRinging(now time.Time, e CallEvent) []CallAction {
	switch e.Kind {
	case CallAccept:
		// The caller has given up by now even if its CANCEL is still on the way.
		if !now.Before(c.deadline) {
			return c.missed(pb.Reason_REASON_TIMEOUT)
		}
		return c.accept(now)
	case CallDecline, CallHangup:
		return append([]CallAction{{Kind: DoSendDecline, Reason: pb.Reason_REASON_DECLINED}}, c.end(pb.Reason_REASON_DECLINED)...)
	case CallCancelled:
		switch e.Reason {
		case pb.Reason_REASON_ANSWERED_ELSEWHERE, pb.Reason_REASON_DECLINED:
			return c.end(e.Reason) // the person knows of this call
		}
		return c.missed(e.Reason)
	case CallFailed, CallAlarm:
		return c.missed(pb.Reason_REASON_FAILED)
	case CallTick:
		if now.Before(c.deadline) {
			return nil
		}
		return c.missed(pb.Reason_REASON_TIMEOUT)
	}
	return nil
}

func (c *IncomingCall) handleAnswered(now time.Time, e CallEvent) []CallAction {
	switch e.Kind {
	case CallFrame:
		// Only now does the caller prove that it holds the keys, so only now does it learn
		// where we are.
		c.connecting(now)
		return []CallAction{{Kind: DoOpenICE}}
	case CallCancelled:
		// Another device was faster, or the caller gave up while our ACCEPT was on its way.
		return c.end(e.Reason)
	case CallTick:
		switch {
		case !now.Before(c.giveUp):
			return c.endWithBye(pb.Reason_REASON_FAILED)
		case now.Before(c.deadline):
			return nil
		}
		c.deadline = earlier(now.Add(ResendTime), c.giveUp)
		return []CallAction{{Kind: DoResendAnswer}}
	}
	actions, _ := c.handle(now, e)
	return actions
}
