package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// rule is one [[rule]], checked.
type rule struct {
	name    string
	line    int
	level   Level  // set, or domain is
	domain  string // exact name
	dirs    [numDirections]bool
	actions [numActions]bool
	limits  Limits
	deny    bool
	expires time.Time
}

// compile turns checked entries into the tables that Decide reads. Everything that can be
// written down once (reasons, combined limits) is written down here, so that a decision is
// one look-up and no work.
func (p *Policy) compile(domains []Domain, rules []rule) {
	p.rules = len(rules)
	byLevel := make([][]*rule, numLevels)
	byDomain := make(map[string][]*rule)
	for i := range rules {
		r := &rules[i]
		if r.domain != "" {
			byDomain[r.domain] = append(byDomain[r.domain], r)
		} else {
			byLevel[r.level] = append(byLevel[r.level], r)
		}
	}
	levels := make([]*table, numLevels)
	for l := Internal; l < levelEnd; l++ {
		levels[l] = newTable(l, byLevel[l])
	}

	p.domains = make(map[string]*domainTable, len(domains))
	for _, d := range domains {
		dt := &domainTable{Domain: d, table: levels[d.Level], expired: expiredDecision(d)}
		if d.Name == "*" {
			p.rest = dt
			continue
		}
		if own := byDomain[d.Name]; len(own) > 0 && d.Level != Blocked {
			dt.table = levels[d.Level].with(d.Level, byLevel[d.Level], own)
		}
		p.domains[d.Name] = dt
		delete(byDomain, d.Name)
	}
	// What is left names domains that have no entry of their own. Under "*" they are proven
	// like any other, so their rules count; without "*" they stay denied, and check says so.
	if p.rest == nil {
		return
	}
	for name, own := range byDomain {
		dt := *p.rest
		if dt.Level != Blocked {
			dt.table = levels[dt.Level].with(dt.Level, byLevel[dt.Level], own)
		}
		p.domains[name] = &dt
	}
}

func newTable(level Level, rules []*rule) *table {
	t := new(table)
	for a := Action(1); a < actionEnd; a++ {
		for d := In; d < directionEnd; d++ {
			t[a][d] = newCell(level, a, d, rules)
		}
	}
	return t
}

// with is the table of a domain with rules of its own: the level's, with those cells made anew
// that its own rules touch.
func (t *table) with(level Level, rules, own []*rule) *table {
	all := slices.Concat(rules, own)
	slices.SortStableFunc(all, func(a, b *rule) int { return a.line - b.line })
	u := *t
	for a := Action(1); a < actionEnd; a++ {
		for d := In; d < directionEnd; d++ {
			if slices.ContainsFunc(own, func(r *rule) bool { return r.covers(a, d) }) {
				u[a][d] = newCell(level, a, d, all)
			}
		}
	}
	return &u
}

func (r *rule) covers(a Action, d Direction) bool { return r.actions[a] && r.dirs[d] }

// newCell decides one action and direction for every stretch of time between two expiries.
func newCell(level Level, a Action, d Direction, rules []*rule) *cell {
	var match []*rule
	var ends []time.Time
	for _, r := range rules {
		if !r.covers(a, d) {
			continue
		}
		match = append(match, r)
		if !r.expires.IsZero() {
			ends = append(ends, r.expires)
		}
	}
	slices.SortFunc(ends, time.Time.Compare)
	ends = slices.CompactFunc(ends, time.Time.Equal)

	c := &cell{steps: make([]step, 0, len(ends)+1)}
	for _, end := range ends {
		live := func(r *rule) bool { return r.expires.IsZero() || !r.expires.Before(end) }
		c.steps = append(c.steps, step{until: end, decision: decide(level, a, d, match, live)})
	}
	last := func(r *rule) bool { return r.expires.IsZero() }
	c.steps = append(c.steps, step{decision: decide(level, a, d, match, last)})
	// Without a time, an allowance that can end has ended and a denial that can end has not.
	safe := func(r *rule) bool { return r.expires.IsZero() || r.deny }
	c.unknown = decide(level, a, d, match, safe)
	return c
}

// decide is the rule of combination: blocked denies; one denial denies; one allowance allows,
// within the tightest limits of all that allow; nothing is a denial by default.
func decide(level Level, a Action, d Direction, match []*rule, live func(*rule) bool) Decision {
	out := combine(level, a, d, match, live)
	if asked := a.Asked(); asked != "" {
		out.Reason += "; " + asked
	}
	return out
}

func combine(level Level, a Action, d Direction, match []*rule, live func(*rule) bool) Decision {
	if level == Blocked {
		return Decision{
			Rule: RuleBlocked, Level: level,
			Reason: "the domain's level is blocked, which denies everything whatever the rules say",
			Needs:  "another level in its [[domain]] entry, and a [[rule]] that allows the action",
		}
	}
	var allowing []*rule
	var limits Limits
	var ended *rule
	for _, r := range match {
		switch {
		case !live(r):
			if !r.deny {
				ended = r
			}
		case r.deny:
			return Decision{
				Rule: r.name, Level: level,
				Reason: fmt.Sprintf("rule %q (line %d) denies %s %s for %s; a denial wins over every allowance", r.name, r.line, a, way(d), r.whom()),
				Needs:  fmt.Sprintf("rule %q without %q, or without deny = true, and a [[rule]] that allows it", r.name, a),
			}
		default:
			limits = limits.Tightest(r.limits)
			allowing = append(allowing, r)
		}
	}
	if len(allowing) == 0 {
		out := Decision{
			Rule: RuleDefault, Level: level,
			Reason: fmt.Sprintf("no rule allows %s %s for %s domains or for this domain by name, and what no rule allows is denied", a, way(d), level),
			Needs:  fmt.Sprintf("a [[rule]] with level = %q (or domain = this domain), direction = %q or \"both\", and %q among its actions", level, d, a),
		}
		if ended != nil {
			out.Reason = fmt.Sprintf("rule %q (line %d) allowed %s %s until %s and has expired; nothing else allows it", ended.name, ended.line, a, way(d), stamp(ended.expires))
			out.Needs = fmt.Sprintf("a later expires in rule %q, or another [[rule]] that allows it", ended.name)
		}
		return out
	}
	// One rule has to give the decision its name: the one that stands first.
	first := allowing[0]
	reason := fmt.Sprintf("rule %q (line %d) allows %s %s for %s", first.name, first.line, a, way(d), first.whom())
	if len(allowing) > 1 {
		const most = 3
		var also []string
		for _, r := range allowing[1:] {
			if len(also) == most {
				also = append(also, fmt.Sprintf("%d more", len(allowing)-1-most))
				break
			}
			also = append(also, fmt.Sprintf("%q", r.name))
		}
		reason += "; so does " + strings.Join(also, ", ") + "; the tightest of their limits count"
	}
	return Decision{Allow: true, Rule: first.name, Level: level, Limits: limits, Reason: reason}
}

func expiredDecision(d Domain) Decision {
	if d.Expires.IsZero() {
		return Decision{}
	}
	return Decision{
		Rule: RuleExpired, Level: d.Level,
		Reason: fmt.Sprintf("the [[domain]] entry %q (%s) expired on %s", d.Name, d.Level, stamp(d.Expires)),
		Needs:  fmt.Sprintf("a later expires in the [[domain]] entry %q, once somebody has decided to go on", d.Name),
	}
}

// whom says for whom a rule is.
func (r *rule) whom() string {
	if r.domain != "" {
		return "domain " + r.domain
	}
	return r.level.String() + " domains"
}

// way is a direction in words: "turn in" is hard to read for who does not know the file.
func way(d Direction) string {
	if d == In {
		return "(in: asked by the other domain)"
	}
	return "(out: asked by our side)"
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
