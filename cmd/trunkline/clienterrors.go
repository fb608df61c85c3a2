package main

import (
	"context"
	"errors"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/client/transfer"
	"github.com/trunkline-net/trunkline/envelope/room"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// refusalAdvice says what to do about a code of a node, where it is not plain.
var refusalAdvice = map[string]string{
	link.CodeInvitationInvalid:  "ask the administrator of the node for a new invitation",
	link.CodeRegistrationClosed: "ask the administrator of the node to let you in",
	link.CodeNotRegistered:      "register with trunkline register INVITE; if the other side is meant, ask whether it moved",
	link.CodeEpochConflict:      "another device of yours changed the device list: register this one again, or use the other",
	link.CodePolicy:             "ask the administrator of your node: trunkline policy explain says which rule decided",
	link.CodeRefused:            "ask the other person whether you are a contact, and whether their node trusts your domain",
	link.CodeQuota:              "their mailbox is full; try again when they have been online",
	link.CodeRate:               "wait a minute and run it again",
	link.CodeQueueFull:          "too much waits for that node already; try again later",
	link.CodeUnknownDestination: "check the address; if it is right, ask your administrator whether your node knows that domain",
	link.CodeExpired:            "run it again",
	link.CodeTooLarge:           "send less, or send it as a file",
	link.CodeInternal:           "the node's log says more; tell its administrator",
	link.CodeNoRoom:             "ask whoever gave you the link: the room is over, or the link is not whole",
	link.CodeGate:               "ask whoever gave you the link for the room's present one",
	link.CodeRoomFull:           "wait until somebody has left, and run it again",
	link.CodeRemoved:            "ask whoever runs the room",
}

// clientError gives an error of the client its exit code and says what to do.
func clientError(err error) error {
	var told *exitError
	var refusal *client.RefusedError
	var away *client.UnreachableError
	var over *client.RoomOverError
	switch {
	case err == nil, errors.As(err, &told):
		return err
	case errors.Is(err, context.Canceled):
		return err // interrupted; classify knows
	case errors.Is(err, client.ErrAlarm):
		return unverified(nil, "the keys of this contact contradict what was seen before; nothing was sent", "speak to the person over another way, compare trunkline contact verify, and only then decide")
	case errors.Is(err, client.ErrPeerAlarm):
		return unverified(nil, client.ErrPeerAlarm.Error(), "somebody may stand between you: compare safety numbers over another way (trunkline contact verify) before you call again")
	case errors.Is(err, client.ErrVerification), errors.Is(err, rtc.ErrFingerprint), errors.Is(err, rtc.ErrBinding), errors.Is(err, transfer.ErrCorrupt):
		return unverified(nil, err.Error(), "do not go on: somebody may stand between you; compare safety numbers with trunkline contact verify")
	case errors.Is(err, client.ErrDeclined):
		return refused("declined", "the call was declined", "write instead: trunkline send")
	case errors.Is(err, client.ErrBusy):
		return refused("busy", "the line is busy", "try again later, or write: trunkline send")
	case errors.Is(err, client.ErrElsewhere):
		return refused("elsewhere", "it was answered on another device of yours", "go on there")
	case errors.Is(err, client.ErrNotAccepted):
		return refused("not_accepted", "you are not contacts yet", "wait until they accept (trunkline inbox shows it), or accept them: trunkline contact list")
	case errors.Is(err, client.ErrNotFound):
		return refused("not_found", "that node knows no such identity", "check the address with the person it belongs to")
	case errors.Is(err, transfer.ErrRefused), errors.Is(err, transfer.ErrCanceled):
		return refused("file_refused", "the other side did not take the file", "ask whether they receive files: trunkline file receive, or answer with --files DIR")
	case errors.Is(err, transfer.ErrPeerDisk):
		return refused("file_refused", "the other side could not write the file", "ask whether there is space on their disk")
	case errors.Is(err, transfer.ErrChanged):
		return failed(nil, "the file changed while it was sent", "send it again when nothing writes to it")
	case errors.Is(err, transfer.ErrTooLarge):
		return usageError("the file is too large", "split it, or send a smaller one")
	case errors.Is(err, room.ErrMalformed):
		return usageError("this is not a room's link: "+err.Error(), "copy the whole link, with what stands behind the #, and put it in quotes")
	case errors.Is(err, client.ErrNotSteward):
		return refused("not_steward", "this device does not run the room", "its owner and the moderators do; trunkline room list shows which are yours")
	case errors.Is(err, client.ErrNotChair):
		return refused("not_chair", "somebody else has the chair of this room at the moment", "the owner or the first moderator who is there can do that")
	case errors.Is(err, client.ErrNoMember):
		return usageError("nobody has that number any more", "trunkline room members lists who is in and who waits")
	case errors.Is(err, client.ErrNotInside):
		return refused("lobby", "you wait in the lobby of the room, and nobody hears you yet", "wait until you are let in")
	case errors.Is(err, client.ErrNoText):
		return usageError(err.Error(), "write something shorter, or something at all")
	case errors.Is(err, client.ErrNotListed):
		return refused("not_listed", "the room is for its members, and you are not one of them", "ask whoever gave you the link")
	case errors.As(err, &over):
		return refused(over.Code, err.Error(), "ask whoever runs the room")
	case errors.Is(err, client.ErrRemoved):
		return refused("removed", "this device was taken out of its identity", "set it up as a new device in another folder: trunkline device add")
	case errors.Is(err, client.ErrNoContact):
		return usageError("this is not one of your contacts", "ask to become one: trunkline contact add ADDRESS")
	case errors.Is(err, client.ErrNotRegistered):
		return failed(nil, "this identity has no node yet", "register it with the invitation of a node: trunkline register INVITE")
	case errors.Is(err, keep.ErrNoRoot):
		return failed(nil, "this device does not keep the root key", "run this on the device that does")
	case errors.As(err, &refusal):
		return refusedByNode(refusal)
	case errors.As(err, &away):
		return unreachable(nil, err.Error(), "see that both nodes run and that this computer is online, then run it again")
	case errors.Is(err, client.ErrNoAnswer):
		return unreachable(nil, "nobody answered", "try again later, or write: trunkline send")
	case errors.Is(err, context.DeadlineExceeded):
		return unreachable(nil, "it took too long", "run it again")
	}
	for _, known := range []error{keep.ErrNoProfile, keep.ErrExists, keep.ErrInUse, keep.ErrPassphrase, keep.ErrUnavailable} {
		if errors.Is(err, known) {
			return keepError(err)
		}
	}
	return err
}

func refusedByNode(r *client.RefusedError) error {
	means, do := link.LookupCode(r.Code).Means, refusalAdvice[r.Code]
	switch r.Code {
	case link.CodeUnreachable, link.CodeUnavailable, link.CodeDraining, link.CodeSlow:
		return &exitError{code: exitUnreachable, what: means, do: "run it again in a while; trunkline peers shows the administrator why", reason: r.Code, err: r}
	case link.CodeReplaced:
		return &exitError{code: exitFailure, what: "this device connected from elsewhere, and only one connection counts", do: "stop the other trunkline command that uses this identity's device", reason: r.Code, err: r}
	}
	if do == "" {
		do = "ask the administrator of your node"
	}
	return &exitError{code: exitRefused, what: "refused: " + means, do: do, reason: r.Code, err: r}
}
