package envelope

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

var (
	d1, d2, d3 = identity.DeviceID{1}, identity.DeviceID{2}, identity.DeviceID{3}

	ended     = pb.Reason_REASON_ENDED
	elsewhere = pb.Reason_REASON_ANSWERED_ELSEWHERE
	declined  = pb.Reason_REASON_DECLINED
	busy      = pb.Reason_REASON_BUSY
	timeout   = pb.Reason_REASON_TIMEOUT
	failed    = pb.Reason_REASON_FAILED
	alarm     = pb.Reason_REASON_ALARM
)

var actionNames = [...]string{"cancel", "first", "resend first", "accept", "resend answer", "decline", "busy", "ice", "step", "bye", "missed", "end"}

// script is how the tables of docs/spec/session.md read: what happened, and what is done.
func script(actions []CallAction) string {
	var words []string
	for _, a := range actions {
		w := actionNames[a.Kind]
		if a.Device != (identity.DeviceID{}) {
			w += fmt.Sprintf(" %d", a.Device[0])
		}
		if a.Reason != 0 {
			w += " " + strings.ToLower(strings.TrimPrefix(a.Reason.String(), "REASON_"))
		}
		words = append(words, w)
	}
	return strings.Join(words, ", ")
}

type callStep struct {
	at    time.Duration
	event CallEvent
	want  string
	state CallState
}

type caller interface {
	Handle(time.Time, CallEvent) []CallAction
	State() CallState
	Deadline() time.Time
}

func play(t *testing.T, c caller, steps []callStep) {
	t.Helper()
	for i, s := range steps {
		got := script(c.Handle(base.Add(s.at), s.event))
		if got != s.want || c.State() != s.state {
			t.Fatalf("step %d at %v: %q and %v, want %q and %v", i, s.at, got, c.State(), s.want, s.state)
		}
		if (c.State() == CallEnded || c.State() == CallLive) != c.Deadline().IsZero() {
			t.Fatalf("step %d: deadline %v in state %v", i, c.Deadline(), c.State())
		}
	}
}

func ev(k CallEventKind) CallEvent                       { return CallEvent{Kind: k} }
func evd(k CallEventKind, d identity.DeviceID) CallEvent { return CallEvent{Kind: k, Device: d} }
func evr(k CallEventKind, r pb.Reason) CallEvent         { return CallEvent{Kind: k, Reason: r} }
func evdr(k CallEventKind, d identity.DeviceID, r pb.Reason) CallEvent {
	return CallEvent{Kind: k, Device: d, Reason: r}
}

func TestTheCallersTable(t *testing.T) {
	const s = time.Second
	for name, steps := range map[string][]callStep{
		"the first answer wins, the others are cancelled": {
			{1 * s, evd(CallAccepted, d2), "first 2, cancel 1 answered_elsewhere, cancel 3 answered_elsewhere", CallAnswered},
			{1 * s, evd(CallAccepted, d1), "", CallAnswered},
			{1 * s, evdr(CallDeclined, d3, declined), "", CallAnswered},
			{2 * s, ev(CallFrame), "", CallConnecting},
			{2 * s, ev(CallFrame), "", CallConnecting},
			{4 * s, ev(CallBound), "step", CallLive},
			{4 * s, ev(CallBound), "", CallLive},
			{40 * s, ev(CallTick), "", CallLive},
			{90 * s, evr(CallBye, ended), "end ended", CallEnded},
			{91 * s, ev(CallHangup), "", CallEnded},
		},
		"the first frame is sent again until one comes back": {
			{1 * s, evd(CallAccepted, d1), "first 1, cancel 2 answered_elsewhere, cancel 3 answered_elsewhere", CallAnswered},
			{2 * s, ev(CallTick), "", CallAnswered},
			{3 * s, ev(CallTick), "resend first 1", CallAnswered},
			{4 * s, evd(CallAcceptAgain, d1), "resend first 1", CallAnswered},
			{4 * s, evd(CallAcceptAgain, d2), "", CallAnswered},
			{5 * s, ev(CallTick), "resend first 1", CallAnswered},
			{5 * s, ev(CallFrame), "", CallConnecting},
			{6 * s, evd(CallAcceptAgain, d1), "resend first 1", CallConnecting},
			{34 * s, ev(CallTick), "", CallConnecting},
			{35 * s, ev(CallTick), "bye failed, end failed", CallEnded},
		},
		"no frame for twenty seconds": {
			{0, evd(CallAccepted, d1), "first 1, cancel 2 answered_elsewhere, cancel 3 answered_elsewhere", CallAnswered},
			{19 * s, ev(CallTick), "resend first 1", CallAnswered},
			{20 * s, ev(CallTick), "bye failed, end failed", CallEnded},
		},
		"one no is a no": {
			{1 * s, evdr(CallDeclined, d2, declined), "cancel 1 declined, cancel 3 declined, end declined", CallEnded},
		},
		"busy everywhere": {
			{1 * s, evd(CallBusy, d2), "", CallRinging},
			{1 * s, evd(CallBusy, d2), "", CallRinging},
			{1 * s, evd(CallUnreachable, d1), "", CallRinging},
			{2 * s, evd(CallBusy, d3), "end busy", CallEnded},
		},
		"unreachable everywhere": {
			{0, evd(CallUnreachable, d1), "", CallRinging},
			{0, evd(CallUnreachable, d2), "", CallRinging},
			{0, evd(CallUnreachable, identity.DeviceID{9}), "", CallRinging},
			{0, evd(CallUnreachable, d3), "end failed", CallEnded},
		},
		"nobody answers": {
			{1 * s, evd(CallBusy, d1), "", CallRinging},
			{59 * s, ev(CallTick), "", CallRinging},
			{60 * s, ev(CallTick), "cancel 2 timeout, cancel 3 timeout, end timeout", CallEnded},
			{61 * s, evd(CallAccepted, d2), "", CallEnded},
		},
		"the caller gives up": {
			{1 * s, ev(CallHangup), "cancel 1 ended, cancel 2 ended, cancel 3 ended, end ended", CallEnded},
		},
		"the caller cannot go on": {
			{1 * s, ev(CallFailed), "cancel 1 failed, cancel 2 failed, cancel 3 failed, end failed", CallEnded},
		},
		"glare is lost while it rings": {
			{1 * s, ev(CallGlareLost), "cancel 1 ended, cancel 2 ended, cancel 3 ended, end ended", CallEnded},
		},
		"glare comes too late": {
			{1 * s, evd(CallAccepted, d1), "first 1, cancel 2 answered_elsewhere, cancel 3 answered_elsewhere", CallAnswered},
			{1 * s, ev(CallGlareLost), "", CallAnswered},
		},
		"keys do not agree": {
			{1 * s, evd(CallAccepted, d1), "first 1, cancel 2 answered_elsewhere, cancel 3 answered_elsewhere", CallAnswered},
			{2 * s, ev(CallFailed), "bye failed, end failed", CallEnded},
		},
		"an alarm while it rings": {
			{1 * s, ev(CallAlarm), "cancel 1 failed, cancel 2 failed, cancel 3 failed, end failed", CallEnded},
		},
		"an alarm in the call": {
			{1 * s, evd(CallAccepted, d1), "first 1, cancel 2 answered_elsewhere, cancel 3 answered_elsewhere", CallAnswered},
			{2 * s, ev(CallFrame), "", CallConnecting},
			{3 * s, ev(CallBound), "step", CallLive},
			{4 * s, ev(CallAlarm), "bye alarm, end alarm", CallEnded},
			{5 * s, evr(CallBye, ended), "", CallEnded},
		},
		"hang up in the call": {
			{1 * s, evd(CallAccepted, d1), "first 1, cancel 2 answered_elsewhere, cancel 3 answered_elsewhere", CallAnswered},
			{2 * s, ev(CallFrame), "", CallConnecting},
			{3 * s, ev(CallHangup), "bye ended, end ended", CallEnded},
		},
		"events of the callee mean nothing": {
			{1 * s, ev(CallAccept), "", CallRinging},
			{1 * s, evr(CallCancelled, ended), "", CallRinging},
			{1 * s, ev(CallFrame), "", CallRinging},
			{1 * s, ev(CallBound), "", CallRinging},
			{1 * s, evd(CallAccepted, identity.DeviceID{9}), "", CallRinging},
			{1 * s, evdr(CallDeclined, identity.DeviceID{9}, declined), "", CallRinging},
			{1 * s, evd(CallAcceptAgain, d1), "", CallRinging},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewOutgoingCall(base, []identity.DeviceID{d1, d2, d3})
			play(t, c, steps)
		})
	}
	c := NewOutgoingCall(base, []identity.DeviceID{d1, d2})
	c.Handle(base, evd(CallAccepted, d2))
	if c.Winner() != d2 {
		t.Fatal("the winner is someone else")
	}
}

func TestTheCalleesTable(t *testing.T) {
	const s = time.Second
	for name, steps := range map[string][]callStep{
		"accepted": {
			{1 * s, ev(CallAccept), "accept", CallAnswered},
			{1 * s, ev(CallAccept), "", CallAnswered},
			{2 * s, ev(CallTick), "", CallAnswered},
			{3 * s, ev(CallTick), "resend answer", CallAnswered},
			{4 * s, ev(CallFrame), "ice", CallConnecting},
			{4 * s, ev(CallFrame), "", CallConnecting},
			{5 * s, ev(CallTick), "", CallConnecting},
			{5 * s, evr(CallCancelled, ended), "", CallConnecting},
			{6 * s, ev(CallBound), "step", CallLive},
			{7 * s, evr(CallCancelled, elsewhere), "", CallLive},
			{60 * s, ev(CallHangup), "bye ended, end ended", CallEnded},
		},
		"the first frame does not come": {
			{0, ev(CallAccept), "accept", CallAnswered},
			{19 * s, ev(CallTick), "resend answer", CallAnswered},
			{20 * s, ev(CallTick), "bye failed, end failed", CallEnded},
		},
		"another device was faster": {
			{1 * s, ev(CallAccept), "accept", CallAnswered},
			{2 * s, evr(CallCancelled, elsewhere), "end answered_elsewhere", CallEnded},
			{3 * s, ev(CallFrame), "", CallEnded},
		},
		"answered elsewhere while it rings": {{1 * s, evr(CallCancelled, elsewhere), "end answered_elsewhere", CallEnded}},
		"declined elsewhere while it rings": {{1 * s, evr(CallCancelled, declined), "end declined", CallEnded}},
		"the caller gives up":               {{1 * s, evr(CallCancelled, ended), "missed ended, end ended", CallEnded}},
		"the caller waits no longer":        {{1 * s, evr(CallCancelled, timeout), "missed timeout, end timeout", CallEnded}},
		"declined here":                     {{1 * s, ev(CallDecline), "decline declined, end declined", CallEnded}},
		"hung up before an answer":          {{1 * s, ev(CallHangup), "decline declined, end declined", CallEnded}},
		"the device fails":                  {{1 * s, ev(CallFailed), "missed failed, end failed", CallEnded}},
		"nobody comes": {
			{49 * s, ev(CallTick), "", CallRinging},
			{50 * s, ev(CallTick), "missed timeout, end timeout", CallEnded},
			{51 * s, ev(CallAccept), "", CallEnded},
		},
		"accepted too late": {{50 * s, ev(CallAccept), "missed timeout, end timeout", CallEnded}},
		"BYE while it connects": {
			{1 * s, ev(CallAccept), "accept", CallAnswered},
			{2 * s, ev(CallFrame), "ice", CallConnecting},
			{3 * s, evr(CallBye, failed), "end failed", CallEnded},
		},
		"an alarm while it rings": {{1 * s, ev(CallAlarm), "missed failed, end failed", CallEnded}},
		"an alarm at the other side": {
			{1 * s, ev(CallAccept), "accept", CallAnswered},
			{2 * s, ev(CallFrame), "ice", CallConnecting},
			{3 * s, evr(CallBye, alarm), "end alarm", CallEnded},
			{3 * s, ev(CallAlarm), "", CallEnded},
		},
		"ICE does not connect": {
			{1 * s, ev(CallAccept), "accept", CallAnswered},
			{2 * s, ev(CallFrame), "ice", CallConnecting},
			{32 * s, ev(CallTick), "bye failed, end failed", CallEnded},
		},
		"events of the caller mean nothing": {
			{1 * s, evd(CallAccepted, d1), "", CallRinging},
			{1 * s, ev(CallFrame), "", CallRinging},
			{1 * s, ev(CallBound), "", CallRinging},
			{1 * s, ev(CallGlareLost), "", CallRinging},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, first := NewIncomingCall(base, base.Add(50*s), GreetRing)
			if len(first) != 0 || c.State() != CallRinging {
				t.Fatalf("begins with %q in %v", script(first), c.State())
			}
			play(t, c, steps)
		})
	}
}

func TestHowARingIsGreeted(t *testing.T) {
	for _, c := range []struct {
		g     Greeting
		left  time.Duration
		want  string
		state CallState
	}{
		{GreetRing, time.Second, "", CallRinging},
		{GreetAccept, time.Second, "accept", CallAnswered},
		{GreetBusy, time.Second, "busy busy, missed busy, end busy", CallEnded},
		{GreetMissed, time.Second, "missed timeout, end timeout", CallEnded},
		{GreetRing, 0, "missed timeout, end timeout", CallEnded},
		{GreetAccept, -time.Second, "missed timeout, end timeout", CallEnded},
		{GreetBusy, -time.Second, "missed timeout, end timeout", CallEnded},
	} {
		call, first := NewIncomingCall(base, base.Add(c.left), c.g)
		if got := script(first); got != c.want || call.State() != c.state {
			t.Errorf("greeting %d with %v left: %q and %v", c.g, c.left, got, call.State())
		}
	}
}

func TestGlareLeavesTheSameRingOnBothSides(t *testing.T) {
	lower, higher := identity.PublicKey{1, 9}, identity.PublicKey{2, 0}
	for _, c := range []struct {
		a, b   identity.PublicKey
		da, db identity.DeviceID
	}{{lower, higher, d2, d1}, {higher, lower, d1, d2}, {lower, lower, d1, d2}, {lower, lower, d2, d1}} {
		atA, atB := Glare(c.a, c.b, c.da, c.db), Glare(c.b, c.a, c.db, c.da)
		if atA == atB {
			t.Fatalf("both sides say %v", atA)
		}
		if c.a != c.b && atA != (c.a == lower) {
			t.Fatal("the higher key's ring survives")
		}
	}
}

// TestTheTwoTablesMeet plays both sides against each other over a line that loses every
// message once.
func TestTheTwoTablesMeet(t *testing.T) {
	out := NewOutgoingCall(base, []identity.DeviceID{d1})
	in, _ := NewIncomingCall(base, base.Add(time.Minute), GreetRing)
	lost := make(map[string]bool)
	arrives := func(what string) bool {
		if !lost[what] {
			lost[what] = true
			return false
		}
		return true
	}
	accepted := false
	var toCaller, toCallee func(now time.Time, actions []CallAction)
	toCallee = func(now time.Time, actions []CallAction) {
		for _, a := range actions {
			if a.Kind == DoSendFirst || a.Kind == DoResendFirst {
				if arrives("first") {
					toCaller(now, in.Handle(now, ev(CallFrame)))
				}
			}
		}
	}
	toCaller = func(now time.Time, actions []CallAction) {
		for _, a := range actions {
			switch a.Kind {
			case DoSendAccept, DoResendAnswer:
				if !arrives("accept") {
					continue
				}
				kind := CallAcceptAgain
				if !accepted {
					accepted, kind = true, CallAccepted
				}
				toCallee(now, out.Handle(now, evd(kind, d1)))
			case DoOpenICE:
				out.Handle(now, ev(CallFrame)) // the ANSWER, repeated by the client until it arrives
			}
		}
	}
	toCaller(base, in.Handle(base, ev(CallAccept)))
	for i := range 10 {
		now := base.Add(time.Duration(i) * time.Second)
		toCaller(now, in.Handle(now, ev(CallTick)))
		toCallee(now, out.Handle(now, ev(CallTick)))
	}
	if out.State() != CallConnecting || in.State() != CallConnecting {
		t.Fatalf("caller %v, callee %v", out.State(), in.State())
	}
}
