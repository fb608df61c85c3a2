package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

var (
	// ErrNoIdentity: the folder holds no client yet.
	ErrNoIdentity = keep.ErrNoProfile
	// ErrInUse: another process works with the folder.
	ErrInUse = keep.ErrInUse
	// ErrNotRegistered: the identity has no home node yet.
	ErrNotRegistered = errors.New("this identity is not registered at a node")
	// ErrNoContact: nothing is known of that identity.
	ErrNoContact = errors.New("no such contact")
	// ErrNotAccepted: the contact has not accepted, or we have not.
	ErrNotAccepted = errors.New("the contact is not accepted on both sides")
	// ErrNotFound: the other node knows no such identity.
	ErrNotFound = errors.New("that node knows no such identity")
	// ErrVerification: a signature, a key or a fingerprint is not what it must be.
	ErrVerification = errors.New("verification failed")
	// ErrAlarm: the contact's keys contradict what was pinned; the person must decide.
	ErrAlarm = errors.New("the keys of this contact contradict what was seen before")

	// ErrPeerAlarm: the other side says that it ended the call because the security of it was not in
	// order. That is its word; nothing was noticed here.
	ErrPeerAlarm = errors.New("the other side ended the call: it says that something there was not signed or sealed as it must be")

	// ErrDeclined, ErrBusy and ErrNoAnswer are the ways a ring ends without a call.
	ErrDeclined = errors.New("declined")
	ErrBusy     = errors.New("busy")
	ErrNoAnswer = errors.New("no answer")
	// ErrElsewhere: another device of this identity answered.
	ErrElsewhere = errors.New("answered on another device")

	// ErrNotListed: the room is for those who stand in its card.
	ErrNotListed = errors.New("the room is for its members, and this identity is not one of them")
	// ErrRoomOver: the room has ended, or this participant's place in it.
	ErrRoomOver = errors.New("the room is over")
	// ErrNotInside: who waits in a lobby is heard by nobody but those who run the room.
	ErrNotInside = errors.New("we wait in the lobby of the room")

	// ErrRemoved: the identity's newest device list does not name this device.
	ErrRemoved = errors.New("this device was removed from its identity: set it up as a new device")

	errNoNode  = errors.New("there is no node at this moment")
	errEnding  = errors.New("the client is not running, or is ending")
	errDrained = errors.New("drained")
)

// RefusedError is a node's refusal, with its code.
type RefusedError struct {
	Code       string
	RetryAfter time.Duration
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("refused (%s): %s", e.Code, link.LookupCode(e.Code).Means)
}

// Temporary says that the same may succeed later without anyone changing anything.
func (e *RefusedError) Temporary() bool { return link.LookupCode(e.Code).Retry }

// UnreachableError says that somebody could not be reached; trying later may help.
type UnreachableError struct {
	What string
	err  error
	// retryAfter is when a node that takes nobody now asked to be tried again.
	retryAfter time.Duration
}

func (e *UnreachableError) Error() string {
	if e.err == nil {
		return e.What
	}
	return e.What + ": " + e.err.Error()
}

func (e *UnreachableError) Unwrap() error { return e.err }

// retryHint is when a node that did not take a link, or ended it, asked to be tried again; 0 if
// it did not say.
func retryHint(err error) time.Duration {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return min(refused.RetryAfter, maxHint*time.Millisecond)
	}
	var away *UnreachableError
	if errors.As(err, &away) {
		return away.retryAfter
	}
	return 0
}

// codeError turns a reply code into an error.
func codeError(code string, retry time.Duration) error {
	return &RefusedError{Code: code, RetryAfter: retry}
}

func refusedFrame(f *pb.NodeFrame, otherwise string) error {
	if e := f.GetError(); e != nil {
		return codeError(e.Code, time.Duration(e.RetryAfterMs)*time.Millisecond)
	}
	return errors.New(otherwise)
}
