// Package proof decides whether a domain document may be believed, and gets documents from
// where they are published (docs/spec/federation.md, "Domain proof"). Judge is the decision,
// Fetcher.Document the door to the web; neither trusts the other: what was fetched is judged
// like what a peer sent.
//
// It promises that an epoch never goes back, that a key changes only by the old key's word or
// the administrator's, and that a stranger's domain name never makes this node call an
// address that is not public.
package proof

import (
	"errors"
	"fmt"
	"time"

	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/identity"
)

// Known is what is already known of a domain.
type Known struct {
	Domain string
	Policy identity.PublicKey       // key pinned in the policy, or zero
	Pinned *identity.DomainDocument // newest document accepted so far, or nil
}

// Verdict of Judge where it did not refuse.
type Verdict int

const (
	// Same: the document is the pinned one.
	Same Verdict = iota
	// Newer: believe it and pin it.
	Newer
	// NeedsProof: well formed, but nothing ties its key to the domain yet.
	NeedsProof
)

// Error is a refusal of a document. Code is for the other side, the text for the own
// administrator.
type Error struct {
	Code string
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Judge decides on a document of k's domain.
//
// A key in the policy is the administrator's word: the document must be signed by it, or by
// a key that it handed over to. Where the administrator pins another key than the one that
// was pinned before, the new word counts.
func (k Known) Judge(d *identity.DomainDocument, now time.Time) (Verdict, error) {
	if d.Domain != k.Domain {
		return 0, refuse(wire.CodeBadDocument, identity.ErrOtherIdentity)
	}
	if err := d.ValidAt(now); err != nil {
		return 0, refuse(wire.CodeExpired, err)
	}
	if !k.Policy.IsZero() {
		if _, err := (identity.DomainPin{Domain: k.Domain, Key: k.Policy}).Check(d, now); err != nil {
			return 0, refuse(wire.CodeUnproven, fmt.Errorf("not signed by the key in the policy: %w", err))
		}
	}
	if k.Pinned == nil {
		if k.Policy.IsZero() {
			return NeedsProof, nil
		}
		return Newer, nil
	}
	if k.Pinned.Hash() == d.Hash() {
		return Same, nil
	}
	_, err := k.Pinned.Pin().Check(d, now)
	switch {
	case err == nil:
		return Newer, nil
	case errors.Is(err, identity.ErrKeyChanged):
		if d.Key == k.Policy {
			return Newer, nil
		}
		return 0, refuse(wire.CodeUnproven, err)
	case errors.Is(err, identity.ErrRollback):
		return 0, refuse(wire.CodeEpoch, err)
	case errors.Is(err, identity.ErrEquivocation):
		return 0, refuse(wire.CodeEquivocation, err)
	}
	return 0, refuse(wire.CodeBadDocument, err)
}

// Parse reads a document that came from anywhere.
func Parse(b []byte) (*identity.DomainDocument, error) {
	d, err := identity.ParseDomain(b)
	if err != nil {
		return nil, refuse(wire.CodeBadDocument, err)
	}
	return d, nil
}

// Code is the code for the other side in an error of this package.
func Code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return wire.CodeUnproven
}

func refuse(code string, err error) error { return &Error{Code: code, Err: err} }
