package policy

import (
	"time"

	"github.com/trunkline-net/trunkline/identity"
)

// Policy is one policy.toml, compiled. It does not change: a reload makes a new one. A nil
// Policy denies everything. Its methods may be called from many goroutines.
type Policy struct {
	name     string
	register RegisterMode
	listed   map[identity.PublicKey]struct{}
	noGuests bool

	domains map[string]*domainTable // by exact name
	rest    *domainTable            // the entry "*"; nil without one
	rules   int
	tests   []test
	warn    []string
}

// domainTable answers for one [[domain]] entry.
type domainTable struct {
	Domain
	table   *table
	expired Decision // what is answered once the entry has ended
}

// table holds one cell for each action and direction. Domains without rules of their own
// share the table of their level.
type table [numActions][numDirections]*cell

// cell is a decision as a function of time: rules may expire, and between two expiries
// nothing changes. Almost every cell has one step.
type cell struct {
	steps   []step   // ordered; the last one has no end
	unknown Decision // for a request without a time, see Request.At
}

type step struct {
	until    time.Time // exclusive; zero is for ever
	decision Decision
}

// Decisions that belong to no entry. They are values, and nothing changes them.
var (
	denyNoPolicy = Decision{
		Rule:   RuleDefault,
		Reason: "no policy is loaded, and without one everything is denied",
		Needs:  "a policy.toml that can be read",
	}
	denyMalformed = Decision{
		Rule:   RuleDefault,
		Reason: "the request names no known action, or no direction",
		Needs:  "an action of the specification, and the direction in or out",
	}
	denyNoDomain = Decision{
		Rule:   RuleDefault,
		Reason: "the request names no domain in its canonical form (lower case, no final dot)",
		Needs:  "a proven domain name",
	}
	denyUnlisted = Decision{
		Rule:   RuleDefault,
		Reason: `no [[domain]] entry names this domain, and there is no entry for "*"`,
		Needs:  `a [[domain]] entry with this name and a level, or one with name = "*", and a [[rule]] that allows the action`,
	}
)

// Decide answers a request. It is pure: the same policy and request always give the same
// decision. It does not allocate.
func (p *Policy) Decide(r Request) Decision {
	if p == nil {
		return denyNoPolicy
	}
	if r.Action == 0 || r.Action >= actionEnd || r.Direction == 0 || r.Direction >= directionEnd {
		return denyMalformed
	}
	d := p.domains[r.Domain]
	if d == nil {
		// A name that is written differently must not slip past its own entry and be
		// answered by the one for "*".
		if !canonicalDomain(r.Domain) {
			return denyNoDomain
		}
		if d = p.rest; d == nil {
			return denyUnlisted
		}
	}
	if !d.Expires.IsZero() && (r.At.IsZero() || !r.At.Before(d.Expires)) && d.Level != Blocked {
		return d.expired
	}
	return d.table[r.Action][r.Direction].at(r.At)
}

func (c *cell) at(t time.Time) Decision {
	if len(c.steps) == 1 {
		return c.steps[0].decision
	}
	if t.IsZero() {
		return c.unknown
	}
	for i := range c.steps {
		if s := &c.steps[i]; s.until.IsZero() || t.Before(s.until) {
			return s.decision
		}
	}
	return denyMalformed // unreachable: the last step has no end
}

// Domain is the entry that covers the domain name: the one with exactly this name, else the
// one for "*" (its Name is then "*"). It is false when no entry covers it. An entry that has
// expired or is blocked is still returned; ask its Level and Expired.
func (p *Policy) Domain(name string) (Domain, bool) {
	if p == nil {
		return Domain{}, false
	}
	if d := p.domains[name]; d != nil {
		return d.Domain, true
	}
	if p.rest != nil && canonicalDomain(name) {
		return p.rest.Domain, true
	}
	return Domain{}, false
}

// Domains are the entries of the file in no order, the one for "*" included.
func (p *Policy) Domains() []Domain {
	if p == nil {
		return nil
	}
	all := make([]Domain, 0, len(p.domains)+1)
	for _, d := range p.domains {
		all = append(all, d.Domain)
	}
	if p.rest != nil {
		all = append(all, p.rest.Domain)
	}
	return all
}

// Rules is how many [[rule]] entries the file has.
func (p *Policy) Rules() int {
	if p == nil {
		return 0
	}
	return p.rules
}

// Tests is how many [[test]] entries the file has.
func (p *Policy) Tests() int {
	if p == nil {
		return 0
	}
	return len(p.tests)
}

// Warnings are lines of the file that are valid and probably not meant, with file and line.
func (p *Policy) Warnings() []string {
	if p == nil {
		return nil
	}
	return append([]string(nil), p.warn...)
}

// Register says who may have a mailbox here, and for RegisterListed whether a key is listed.
func (p *Policy) Register() (mode RegisterMode, listed func(identity.PublicKey) bool) {
	if p == nil {
		return RegisterClosed, func(identity.PublicKey) bool { return false }
	}
	return p.register, p.isListed
}

// Guests says whether whoever has a room's link gets in without the word of a node of its own.
func (p *Policy) Guests() bool { return p != nil && !p.noGuests }

func (p *Policy) isListed(k identity.PublicKey) bool {
	_, ok := p.listed[k]
	return ok
}

// canonicalDomain is the cheap half of identity.CheckDomain, which stands at the door where a
// domain is proven; here it only has to keep one name from having two spellings.
func canonicalDomain(s string) bool {
	if len(s) == 0 || len(s) > 253 || s[0] == '.' || s[len(s)-1] == '.' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.') {
			return false
		}
	}
	return true
}
