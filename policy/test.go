package policy

import (
	"errors"
	"fmt"
	"time"

	"github.com/trunkline-net/trunkline/identity"
)

// test is one [[test]], checked.
type test struct {
	line    int
	request Request
	allow   bool
	rule    string // empty: any
}

// beforeAllExpiry is when a [[test]] without "at" is asked. Dates of a file are later, so such
// a test says what the rules mean and does not begin to fail on the day one of them ends.
var beforeAllExpiry = time.Unix(0, 0).UTC()

func (c *checker) tests(p *Policy, in []fileTest, rules []rule) {
	if len(in) > maxTests {
		c.bad("test", "%d tests are more than %d", len(in), maxTests)
		return
	}
	names := map[string]bool{RuleDefault: true, RuleBlocked: true, RuleExpired: true}
	for _, r := range rules {
		names[r.name] = true
	}
	for i, ft := range in {
		path := fmt.Sprintf("test[%d]", i)
		t := test{line: c.index.line(path), request: Request{At: beforeAllExpiry}}
		if name, ok := c.text(path+".domain", ft.Domain); ok {
			if err := identity.CheckDomain(name); err != nil {
				c.bad(path+".domain", "%q is not a domain name: %v", clip(name), err)
			}
			t.request.Domain = name
		}
		if word, ok := c.text(path+".action", ft.Action); ok {
			var err error
			if t.request.Action, err = ParseAction(word); err != nil {
				c.bad(path+".action", "%q is not an action", clip(word))
			}
		}
		if word, ok := c.text(path+".direction", ft.Direction); ok {
			var err error
			if t.request.Direction, err = ParseDirection(word); err != nil {
				c.bad(path+".direction", "%q is not a direction", clip(word))
			}
		}
		if word, ok := c.text(path+".expect", ft.Expect); ok {
			switch word {
			case "allow":
				t.allow = true
			case "deny":
			default:
				c.bad(path+".expect", "%q is not an outcome", clip(word))
			}
		}
		if ft.Rule != nil {
			if t.rule = *ft.Rule; !names[t.rule] {
				c.bad(path+".rule", "there is no rule %q", clip(t.rule))
			}
		}
		if ft.User != nil {
			if _, err := identity.ParseID(*ft.User); err != nil {
				c.bad(path+".user", "%q is not an identity: %v", clip(*ft.User), err)
			}
			t.request.User = *ft.User
		}
		if at := c.date(path+".at", ft.At); !at.IsZero() {
			t.request.At = at
		}
		p.tests = append(p.tests, t)
	}
}

// Test runs the file's own [[test]] cases. The error joins one *Error for each case that did
// not come out as the file expects, with its line and the reason of what came out instead.
func (p *Policy) Test() error {
	if p == nil {
		return nil
	}
	var errs []error
	for _, t := range p.tests {
		d := p.Decide(t.request)
		if d.Allow == t.allow && (t.rule == "" || t.rule == d.Rule) {
			continue
		}
		want := verdict(t.allow)
		if t.rule != "" {
			want += fmt.Sprintf(" by rule %q", t.rule)
		}
		errs = append(errs, &Error{File: p.name, Line: t.line, Problem: fmt.Sprintf(
			"test failed: %s %s with %s: the file expects %s, and the rules say %s by rule %q: %s",
			t.request.Action, t.request.Direction, t.request.Domain, want, verdict(d.Allow), d.Rule, d.Reason)})
		if len(errs) == maxErrors {
			break
		}
	}
	return errors.Join(errs...)
}

func verdict(allow bool) string {
	if allow {
		return "allow"
	}
	return "deny"
}
