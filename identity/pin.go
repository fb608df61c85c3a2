package identity

import (
	"fmt"
	"time"
)

// Pin is what a verifier remembers of an identity's device list. The zero Pin remembers
// nothing. It is stored, and stored again before anything that rests on a newer list is
// shown.
type Pin struct {
	Epoch    uint64   // highest seen; 0: none
	Hash     [32]byte // of that list
	Seen     time.Time
	Recovery [32]byte // commitment, once seen; immutable from then on
	Suite    uint32   // highest suite ever seen of this identity
}

// Change says how an accepted object stands to what was pinned.
type Change int

const (
	ChangeNone   Change = iota // the pinned object itself
	ChangeFirst                // nothing was pinned
	ChangeNext                 // the successor, which names the pinned one's hash
	ChangeJumped               // newer, but not linked to the pinned one: show "devices changed"
)

// String returns a word for tests and logs.
func (c Change) String() string {
	switch c {
	case ChangeNone:
		return "same"
	case ChangeFirst:
		return "first"
	case ChangeNext:
		return "next"
	case ChangeJumped:
		return "jumped"
	}
	return fmt.Sprintf("Change(%d)", int(c))
}

// Verdict is the answer to an object that may be accepted.
type Verdict struct {
	Change     Change
	Stale      bool // a list past its end, within the grace: read it, and warn
	KeyChanged bool // a domain whose old key handed over to a new one
}

// Check decides whether l may be used now, and may replace what p remembers (then store
// Advance). The errors are ErrRollback, ErrEquivocation, ErrRecoveryChanged, ErrStale and
// ErrNotYetValid; after each of them nothing may change, and after ErrEquivocation and
// ErrRecoveryChanged the caller keeps both lists as evidence and raises an alarm.
func (p Pin) Check(l *DeviceList, now time.Time) (Verdict, error) {
	v := Verdict{Change: ChangeFirst}
	if p.Epoch > 0 {
		var err error
		if v.Change, err = succession(p.Epoch, p.Hash, l.Epoch, l.hash, l.Previous); err != nil {
			return Verdict{}, fmt.Errorf("device list: %w", err)
		}
	}
	if p.Recovery != [32]byte{} && l.Recovery != p.Recovery {
		return Verdict{}, ErrRecoveryChanged
	}
	stale, err := l.Fresh(now)
	if err != nil {
		return Verdict{}, err
	}
	v.Stale = stale
	return v, nil
}

// Advance returns the pin to store after Check accepted l.
func (p Pin) Advance(l *DeviceList, now time.Time) Pin {
	n := Pin{Epoch: l.Epoch, Hash: l.hash, Seen: now, Recovery: p.Recovery, Suite: max(p.Suite, l.LowestSuite)}
	if n.Recovery == [32]byte{} {
		n.Recovery = l.Recovery
	}
	return n
}

// CheckSuite refuses an offer below the highest suite ever seen of this identity.
func (p Pin) CheckSuite(offered uint32) error {
	if offered < p.Suite {
		return ErrSuite
	}
	return nil
}

// succession is the rule that device lists and domain documents share.
func succession(pinned uint64, pinnedHash [32]byte, epoch uint64, hash, previous [32]byte) (Change, error) {
	switch {
	case epoch < pinned:
		return 0, ErrRollback
	case epoch == pinned && hash != pinnedHash:
		return 0, ErrEquivocation
	case epoch == pinned:
		return ChangeNone, nil
	case epoch == pinned+1 && previous == pinnedHash:
		return ChangeNext, nil
	}
	return ChangeJumped, nil
}
