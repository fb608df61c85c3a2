package federation

import (
	"cmp"
	"time"

	"github.com/trunkline-net/trunkline/identity"
)

// State is where a link stands.
type State string

// The states of a link.
const (
	StateIdle       State = "idle"       // nothing to send and no standing wish for a link
	StateConnecting State = "connecting" // dialling or shaking hands
	StateConnected  State = "connected"
	StateWaiting    State = "waiting"  // the last try ended badly; the next one is at RetryAt
	StateRefused    State = "refused"  // the other side, or the own policy, does not want it; see Why
	StateDraining   State = "draining" // the other side is shutting down and will be back
)

// States are all of them.
func States() []State {
	return []State{StateIdle, StateConnecting, StateConnected, StateWaiting, StateRefused, StateDraining}
}

// PeerStatus is one link for the administrator's eyes.
type PeerStatus struct {
	Domain      string
	Peer        identity.PeerID
	State       State
	Since       time.Time     // in this state
	LastContact time.Time     // the last frame from the peer; zero if never
	EchoRTT     time.Duration // end to end through both delivery queues; zero if none came back
	EchoMissed  int           // echoes without an answer since the last good one
	QueueLen    int           // envelopes waiting for the peer, in memory, on the way and on disk
	QueueBytes  int64
	Why         string    // the code of the last refusal or a short reason of the last failure
	RetryAt     time.Time // when the next dial is due; zero if none is planned
}

// Refusal counts how often a domain was refused here and by which rule. The other side got
// the code and nothing else. A domain that proved nothing is what the peer claimed.
type Refusal struct {
	Domain string
	Code   string
	Rule   string
	Count  int
	Last   time.Time
}

func comparePeers(a, b PeerStatus) int {
	return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(string(a.Peer[:]), string(b.Peer[:])))
}
