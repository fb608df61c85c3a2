// Package policy is the administrator's word on whom the node trusts with what: one file,
// policy.toml, read strictly, compiled to tables, and asked by every plane of the node.
//
// Call [Parse] on the file's bytes and [Policy.Test] on the result, then [Policy.Decide] for
// each request; [Current] holds the policy in force and swaps it whole on a reload, and
// [Buckets] keeps to the rates a decision names. docs/spec/policy.md is the specification.
//
// The package promises never to do I/O, never to read a clock (a request carries its time),
// and never to allow what no rule allows: an empty policy, a zero [Request], a nil [Policy]
// and an empty [Current] all deny.
package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/trunkline-net/trunkline/identity"
)

// Action is what a request wants to do. The zero value is no action and always denied.
type Action uint8

// The actions of version 1. Those that nothing asks for yet (Action.Asked) are parsed and
// decided like any other, so that a file can be written ahead of the feature.
const (
	ActionFederate Action = iota + 1 // hold a federation link at all
	ActionSignal                     // envelopes between contacts (with a delivery token)
	ActionKnock                      // a first envelope from a stranger
	ActionStore                      // leave an envelope in a mailbox
	ActionQuery                      // oblivious queries to the directory
	ActionTransit                    // carry envelopes between two other domains
	ActionTURN                       // credentials for the relay
	ActionSFU                        // join a room on the SFU
	ActionCascade                    // join two SFUs
	ActionRegister                   // have a mailbox here as somebody of another domain
	ActionName                       // look up names
	actionEnd
)

const numActions = int(actionEnd)

var actionNames = [numActions]string{
	ActionFederate: "federate",
	ActionSignal:   "signal",
	ActionKnock:    "knock",
	ActionStore:    "store",
	ActionQuery:    "query",
	ActionTransit:  "transit",
	ActionTURN:     "turn",
	ActionSFU:      "sfu",
	ActionCascade:  "cascade",
	ActionRegister: "register",
	ActionName:     "name",
}

// String is the word of the file, or "unknown".
func (a Action) String() string {
	if a == 0 || int(a) >= numActions {
		return "unknown"
	}
	return actionNames[a]
}

// Asked says in words when this version asks for an action of another domain, where that is
// not each time it happens; empty where it is. A decision that nothing asks for is no
// protection and no permission, and its reason says so.
func (a Action) Asked() string {
	switch a {
	case ActionTURN:
		return "nothing asks this for another domain yet: relay credentials are given to the node's own people only, and for them it is asked where an entry names the node's own domain"
	case ActionSFU:
		return "this is asked for whoever comes into a room with the word of its own node; whoever comes with the room's link alone is a guest, unless [rooms] has guests = false, and goes by the entry for the node's own domain"
	case ActionTransit, ActionCascade, ActionRegister, ActionName:
		return "nothing asks this yet: the node does not offer it in this version, and the rules take effect with it"
	}
	return ""
}

// Actions lists every action in the order of the specification.
func Actions() []Action {
	all := make([]Action, 0, numActions-1)
	for a := Action(1); a < actionEnd; a++ {
		all = append(all, a)
	}
	return all
}

// ParseAction reads the word of the file; the error lists what is allowed.
func ParseAction(s string) (Action, error) {
	for a := Action(1); a < actionEnd; a++ {
		if actionNames[a] == s {
			return a, nil
		}
	}
	return 0, fmt.Errorf("%q is not an action; allowed: %s", clip(s), allowedActions)
}

// Direction is seen from this node: In is what the other domain asks of us, Out is what our
// people ask of it. The zero value is no direction and always denied.
type Direction uint8

// The directions of a request. A rule may also say "both".
const (
	In Direction = iota + 1
	Out
	directionEnd
)

const numDirections = int(directionEnd)

// String is the word of the file, or "unknown".
func (d Direction) String() string {
	switch d {
	case In:
		return "in"
	case Out:
		return "out"
	}
	return "unknown"
}

// ParseDirection reads a request's direction ("both" is for rules only).
func ParseDirection(s string) (Direction, error) {
	switch s {
	case "in":
		return In, nil
	case "out":
		return Out, nil
	}
	return 0, fmt.Errorf("%q is not a direction; allowed: in, out", clip(s))
}

// Level is how far a domain is trusted. It selects rules and grants nothing by itself, except
// that Blocked always denies. The zero value, Unknown, is a domain the file does not cover.
type Level uint8

// The levels of version 1.
const (
	Unknown  Level = iota // no [[domain]] entry covers it: denied
	Internal              // another domain of the same operator
	Partner               // an approved organisation
	Public                // proven but otherwise unknown
	Blocked               // denied whatever the rules say
	levelEnd
)

const numLevels = int(levelEnd)

var levelNames = [numLevels]string{"unknown", "internal", "partner", "public", "blocked"}

// String is the word of the file; "unknown" for a domain that no entry covers.
func (l Level) String() string {
	if int(l) >= numLevels {
		return levelNames[Unknown]
	}
	return levelNames[l]
}

func parseLevel(s string) (Level, bool) {
	for l := Internal; l < levelEnd; l++ {
		if levelNames[l] == s {
			return l, true
		}
	}
	return Unknown, false
}

// RegisterMode is who may have a mailbox on this node. The zero value is RegisterClosed.
type RegisterMode uint8

// The modes of [register].
const (
	RegisterClosed     RegisterMode = iota // nobody new
	RegisterListed                         // the identities listed
	RegisterInvitation                     // whoever holds an invitation
	RegisterOpen                           // everybody
)

var registerNames = [...]string{"closed", "listed", "invitation", "open"}

// String is the word of the file.
func (m RegisterMode) String() string {
	if int(m) >= len(registerNames) {
		return registerNames[RegisterClosed]
	}
	return registerNames[m]
}

// Request is one question to the policy.
type Request struct {
	// Domain is the other side's proven domain in its canonical form (lower case, no final
	// dot). Empty means none was proven, which is denied.
	Domain string
	Action Action
	// Direction is In for what the other domain asks of us, Out for what we ask of it.
	Direction Direction
	// User is the local identity concerned, or empty. No rule of version 1 looks at it;
	// conditions do later, and explain shows it.
	User string
	// At is when. A zero time is answered on the safe side: whatever has an expiry and
	// allows counts as expired, whatever has one and denies still denies.
	At time.Time
}

// Decision is the answer: whether, by which rule, within which limits, and why in plain words.
// Reason and Needs are for the own administrator. To the other side goes a code, never these.
type Decision struct {
	Allow bool
	// Rule is the name of the deciding rule, or one of the reserved names RuleDefault,
	// RuleBlocked and RuleExpired.
	Rule   string
	Level  Level
	Limits Limits
	Reason string // why it was decided like this
	Needs  string // what would have to change for it to be allowed; empty when allowed
}

// Rule names that no [[rule]] may carry, for denials that no rule of the file made.
const (
	RuleDefault = "default" // nothing matched
	RuleBlocked = "blocked" // the domain's level is blocked
	RuleExpired = "expired" // the domain's entry has expired
)

// Limits are what an allowed request may use; zero in a field means that this is unlimited.
type Limits struct {
	PerSecond      float64 // requests a second; a burst of one second's worth is allowed
	BytesPerSecond int64   // bytes a second, likewise
	Concurrent     int     // how many at the same time
	Total          int64   // requests in a day, refilled evenly
}

// Tightest is the smaller of each limit, where zero is unlimited.
func (l Limits) Tightest(m Limits) Limits {
	return Limits{
		PerSecond:      tighter(l.PerSecond, m.PerSecond),
		BytesPerSecond: tighter(l.BytesPerSecond, m.BytesPerSecond),
		Concurrent:     tighter(l.Concurrent, m.Concurrent),
		Total:          tighter(l.Total, m.Total),
	}
}

func tighter[T int | int64 | float64](a, b T) T {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

// Domain is the [[domain]] entry that covers a domain.
type Domain struct {
	Name    string             // the entry's name; "*" when the entry for unlisted domains covers it
	Level   Level              // how far it is trusted
	Key     identity.PublicKey // the pinned domain key; the zero value when the proof comes from .well-known
	Expires time.Time          // when the entry stops to count; zero when it does not expire
}

// Expired says whether the entry has ended at the time t.
func (d Domain) Expired(t time.Time) bool {
	return !d.Expires.IsZero() && !t.Before(d.Expires)
}

// HasKey says whether the entry pins a domain key.
func (d Domain) HasKey() bool { return d.Key != identity.PublicKey{} }

// clip shortens a stranger's text for a message to a person.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
