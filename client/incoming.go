package client

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// Incoming is a ring that waits for the person.
type Incoming struct {
	From  Contact
	Media Media
	call  *Call
}

// Answer says yes. The call connects with the given options, whose source and sink it closes
// in any case. Only the first answer counts.
func (i *Incoming) Answer(ctx context.Context, opts CallOptions) (*Call, error) {
	i.call.mu.Lock()
	again := i.call.answering
	if !again {
		opts.Media = i.Media
		i.call.answering, i.call.opts = true, opts
	}
	i.call.mu.Unlock()
	if again {
		return nil, errors.Join(errors.New("this ring was answered already"), opts.close())
	}
	i.call.happened(envelope.CallAccept)
	call, err := i.call.waitAnswered(ctx)
	if err != nil && isClosed(i.call.done) {
		// The ring may have been over before it could see the options.
		err = errors.Join(err, i.call.closeUnused())
	}
	return call, err
}

// Decline says no, on all devices.
func (i *Incoming) Decline() { i.call.happened(envelope.CallDecline) }

// Done is closed when the ring is over without an answer here, or the call has ended.
func (i *Incoming) Done() <-chan struct{} { return i.call.done }

// maxRinging bounds how many rings wait for the person; more are missed calls at once.
const maxRinging = 16

// onRing takes an opened RING of an accepted contact or an own device.
func (s *calls) onRing(o *envelope.Opened, body *envelope.RingBody) error {
	c := s.c
	var contact keep.Contact
	if o.Standing == envelope.Own {
		var err error
		if contact, err = c.ownContact(); err != nil {
			return err
		}
	} else {
		var err error
		if contact, err = c.keep.Contact(o.SenderRoot); err != nil {
			return err
		}
		if len(contact.Evidence) > 0 {
			return ErrAlarm // whose device this is, is what the alarm is about
		}
	}
	call := c.newCall(contact, CallOptions{Media: body.Media})
	call.ring = o
	s.mu.Lock()
	how := s.greetLocked(o, body)
	if s.closing || how.drop {
		s.mu.Unlock()
		return nil
	}
	s.enterLocked(call)
	s.incoming[o.Hash] = call
	s.mu.Unlock()
	incoming, first := envelope.NewIncomingCall(time.Now(), o.Expires, how.greeting)
	call.machine = incoming
	if how.instead != nil {
		how.instead.mu.Lock()
		how.instead.instead, call.opts = call, how.instead.opts
		how.instead.mu.Unlock()
		call.answering = true
	}
	for _, old := range how.over {
		old.happened(envelope.CallHangup)
	}
	if err := s.start(call, first); err != nil {
		return err
	}
	if how.instead != nil {
		how.instead.happened(envelope.CallGlareLost)
	}
	if how.greeting == envelope.GreetRing {
		c.tell(Ringing{&Incoming{From: contactOf(contact), Media: body.Media, call: call}})
	}
	return nil
}

// reception is how a ring is taken.
type reception struct {
	greeting envelope.Greeting
	drop     bool    // no answer: our own ring to the same person survives, or it was cancelled
	instead  *Call   // our own ring, whose place it takes
	over     []*Call // calls of the same device that it ends
}

// greetLocked decides how a ring is taken.
func (s *calls) greetLocked(o *envelope.Opened, body *envelope.RingBody) reception {
	if o.Late {
		return reception{greeting: envelope.GreetMissed}
	}
	if early, cancelled := s.early[o.Hash]; cancelled && early.from == o.SenderRoot {
		delete(s.early, o.Hash)
		// As the state machine has it for a CANCEL that comes after its RING: the person knows
		// of a call that was answered or declined elsewhere.
		known := early.reason == envelopepb.Reason_REASON_ANSWERED_ELSEWHERE || early.reason == envelopepb.Reason_REASON_DECLINED
		return reception{greeting: envelope.GreetMissed, drop: known}
	}
	over := s.outdatedLocked(o, body)
	if r, glare := s.glareLocked(o, body); glare {
		r.over = over
		return r
	}
	if o.Standing == envelope.Own {
		return reception{greeting: envelope.GreetAccept, over: over}
	}
	ringing := 0
	for other := range s.active {
		if slices.Contains(over, other) || isClosed(other.done) {
			continue
		}
		if other.ring != nil && !isClosed(other.answered) {
			ringing++
		}
		if body.Media != DataOnly && other.kind != DataOnly && isClosed(other.answered) {
			return reception{greeting: envelope.GreetBusy, over: over}
		}
	}
	if ringing >= maxRinging {
		return reception{greeting: envelope.GreetMissed, over: over}
	}
	return reception{greeting: envelope.GreetRing, over: over}
}

// outdatedLocked finds the calls of files that a new ring for files of the same device ends.
// A device that was killed rings again while its old call still seems to live here, and the
// old one must not hold the file that the new one goes on with.
func (s *calls) outdatedLocked(o *envelope.Opened, body *envelope.RingBody) (over []*Call) {
	if body.Media != DataOnly {
		return nil
	}
	for other := range s.byPeer[o.SenderRoot] {
		if other.kind != DataOnly || other.ring == nil || other.ring.SenderCert.DeviceID() != o.SenderCert.DeviceID() {
			continue
		}
		// A ring that was made before does not end one that was made after it.
		if !other.ring.Created.After(o.Created) {
			over = append(over, other)
		}
	}
	return over
}

// glareLocked decides between a ring and our own one to the same person. Rings for files do
// not collide: each side sends its own.
func (s *calls) glareLocked(o *envelope.Opened, body *envelope.RingBody) (r reception, glare bool) {
	if body.Media == DataOnly {
		return r, false
	}
	for other := range s.byPeer[o.SenderRoot] {
		if other.ring != nil || other.kind == DataOnly || isClosed(other.answered) || isClosed(other.done) {
			continue
		}
		if envelope.Glare(s.c.self, o.SenderRoot, s.c.device.ID(), o.SenderCert.DeviceID()) {
			return reception{drop: true}, true
		}
		return reception{greeting: envelope.GreetAccept, instead: other}, true
	}
	return r, false
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// earlyKept is how long a CANCEL waits for its RING: longer than a RING lives.
const earlyKept = 2 * time.Minute

// onCancel ends a ring, also one that has not arrived yet.
func (s *calls) onCancel(o *envelope.Opened, body *envelope.Cancel) error {
	s.mu.Lock()
	call := s.incoming[body.RingHash]
	if call == nil {
		now := time.Now()
		maps.DeleteFunc(s.early, func(_ [32]byte, e earlyCancel) bool { return now.Sub(e.at) > earlyKept })
		if len(s.early) < maxEarly {
			s.early[body.RingHash] = earlyCancel{from: o.SenderRoot, reason: body.Reason, at: now}
		}
	}
	s.mu.Unlock()
	if call != nil && call.contact.Root == o.SenderRoot {
		call.urge(callEvent{CallEvent: envelope.CallEvent{Kind: envelope.CallCancelled, Reason: body.Reason}})
	}
	return nil
}
