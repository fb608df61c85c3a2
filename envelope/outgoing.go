package envelope

import (
	"slices"
	"time"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

// OutgoingCall is the caller's device.
type OutgoingCall struct {
	connected
	ringing []identity.DeviceID
	winner  identity.DeviceID
	busy    bool
	giveUp  time.Time // CallAnswered: when to stop sending the first frame
}

// NewOutgoingCall begins with the rings on their way to the given devices.
func NewOutgoingCall(now time.Time, devices []identity.DeviceID) *OutgoingCall {
	c := &OutgoingCall{ringing: slices.Clone(devices)}
	c.state, c.deadline = CallRinging, now.Add(RingTime)
	return c
}

// Winner is the device that answered first, once one has.
func (c *OutgoingCall) Winner() identity.DeviceID { return c.winner }

// Handle takes one event and returns what to do. Whatever has no row in the table changes
// nothing: duplicates, events of devices that were not rung, everything after the end.
func (c *OutgoingCall) Handle(now time.Time, e CallEvent) []CallAction {
	switch c.state {
	case CallRinging:
		return c.handleRinging(now, e)
	case CallAnswered:
		return c.handleAnswered(now, e)
	case CallConnecting, CallLive:
		// The other side has not seen our first frame if it sends its ACCEPT again.
		if e.Kind == CallAcceptAgain && e.Device == c.winner && c.state == CallConnecting {
			return []CallAction{{Kind: DoResendFirst, Device: c.winner}}
		}
		actions, _ := c.handle(now, e)
		return actions
	}
	return nil
}

func (c *OutgoingCall) handleRinging(now time.Time, e CallEvent) []CallAction {
	rung := slices.Contains(c.ringing, e.Device)
	switch e.Kind {
	case CallAccepted:
		if !rung {
			return nil
		}
		c.winner = e.Device
		c.drop(e.Device)
		actions := append([]CallAction{{Kind: DoSendFirst, Device: e.Device}}, c.cancelAll(pb.Reason_REASON_ANSWERED_ELSEWHERE)...)
		c.state, c.deadline, c.giveUp = CallAnswered, now.Add(ResendTime), now.Add(AnswerTime)
		return actions
	case CallDeclined:
		if !rung {
			return nil
		}
		// The person said no, so it is asked nowhere else.
		c.drop(e.Device)
		return append(c.cancelAll(pb.Reason_REASON_DECLINED), c.end(pb.Reason_REASON_DECLINED)...)
	case CallBusy, CallUnreachable:
		if !rung {
			return nil
		}
		c.drop(e.Device)
		c.busy = c.busy || e.Kind == CallBusy
		if len(c.ringing) > 0 {
			return nil
		}
		if c.busy {
			return c.end(pb.Reason_REASON_BUSY)
		}
		return c.end(pb.Reason_REASON_FAILED)
	case CallHangup, CallGlareLost:
		return append(c.cancelAll(pb.Reason_REASON_ENDED), c.end(pb.Reason_REASON_ENDED)...)
	case CallFailed, CallAlarm:
		return append(c.cancelAll(pb.Reason_REASON_FAILED), c.end(pb.Reason_REASON_FAILED)...)
	case CallTick:
		if now.Before(c.deadline) {
			return nil
		}
		return append(c.cancelAll(pb.Reason_REASON_TIMEOUT), c.end(pb.Reason_REASON_TIMEOUT)...)
	}
	return nil
}

func (c *OutgoingCall) handleAnswered(now time.Time, e CallEvent) []CallAction {
	switch e.Kind {
	case CallFrame:
		c.connecting(now)
		return nil
	case CallAcceptAgain:
		if e.Device != c.winner {
			return nil
		}
		return []CallAction{{Kind: DoResendFirst, Device: c.winner}}
	case CallTick:
		switch {
		case !now.Before(c.giveUp):
			return c.endWithBye(pb.Reason_REASON_FAILED)
		case now.Before(c.deadline):
			return nil
		}
		c.deadline = earlier(now.Add(ResendTime), c.giveUp)
		return []CallAction{{Kind: DoResendFirst, Device: c.winner}}
	}
	actions, _ := c.handle(now, e)
	return actions
}

func (c *OutgoingCall) drop(d identity.DeviceID) {
	c.ringing = slices.DeleteFunc(c.ringing, func(x identity.DeviceID) bool { return x == d })
}

func (c *OutgoingCall) cancelAll(r pb.Reason) []CallAction {
	var actions []CallAction
	for _, d := range c.ringing {
		actions = append(actions, CallAction{Kind: DoSendCancel, Device: d, Reason: r})
	}
	c.ringing = nil
	return actions
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
