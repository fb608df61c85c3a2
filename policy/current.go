package policy

import (
	"fmt"
	"sync/atomic"

	"github.com/trunkline-net/trunkline/identity"
)

// Current holds the policy in force. The zero value has none and denies everything. Reading
// is one atomic load, so a request is always decided by one whole policy and never by half
// of an old and half of a new one.
type Current struct {
	policy atomic.Pointer[Policy]
}

// NewCurrent starts with a policy, whose tests the caller has run.
func NewCurrent(p *Policy) *Current {
	c := new(Current)
	c.policy.Store(p)
	return c
}

// Reload builds a policy from a file's bytes, runs its own tests, and puts it in force. When
// either fails, the policy in force stays as it was and the error says the line. Those who
// hold links or allocations open ask Decide again afterwards and close what is denied now.
func (c *Current) Reload(name string, data []byte) error {
	p, err := Parse(name, data)
	if err != nil {
		return fmt.Errorf("the policy in force stays: %w", err)
	}
	if err := p.Test(); err != nil {
		return fmt.Errorf("the policy in force stays: %w", err)
	}
	c.policy.Store(p)
	return nil
}

// Policy is the policy in force; nil before the first one, which denies everything.
func (c *Current) Policy() *Policy { return c.policy.Load() }

// Decide asks the policy in force.
func (c *Current) Decide(r Request) Decision { return c.policy.Load().Decide(r) }

// Domain asks the policy in force, see Policy.Domain.
func (c *Current) Domain(name string) (Domain, bool) { return c.policy.Load().Domain(name) }

// Guests asks the policy in force, see Policy.Guests.
func (c *Current) Guests() bool { return c.policy.Load().Guests() }

// Register asks the policy in force, see Policy.Register.
func (c *Current) Register() (RegisterMode, func(identity.PublicKey) bool) {
	return c.policy.Load().Register()
}
