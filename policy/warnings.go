package policy

import "fmt"

// warnings are for lines that are valid and do not do what their author most likely thinks.
func (c *checker) warnings(domains []Domain, rules []rule) {
	named := make(map[string]Level, len(domains))
	rest := false
	for i, d := range domains {
		path := fmt.Sprintf("domain[%d]", i)
		named[d.Name] = d.Level
		switch {
		case d.Name == "*":
			rest = true
			if d.Level == Internal || d.Level == Partner {
				c.warning(path, "this makes every domain that can prove its name %s %s; %q is the level for domains you do not know", article(d.Level.String()), d.Level, Public)
			}
		case d.Level == Internal && !d.HasKey():
			c.warning(path, "%q is internal and has no key: pin it, so that it does not hang on a web server", d.Name)
		}
		if d.Level == Blocked && !d.Expires.IsZero() {
			c.warning(path+".expires", "a blocked domain stays blocked: expires has no effect")
		}
	}
	for i, r := range rules {
		path := fmt.Sprintf("rule[%d]", i)
		if r.level == Blocked {
			c.warning(path+".level", "the rule %q has no effect: what is blocked is always denied", r.name)
		}
		if level, ok := named[r.domain]; r.domain != "" && ok && level == Blocked {
			c.warning(path+".domain", "the rule %q has no effect: %q is blocked", r.name, r.domain)
		} else if r.domain != "" && !ok && !rest {
			c.warning(path+".domain", "the rule %q has no effect: %q has no [[domain]] entry", r.name, r.domain)
		}
		if r.level == Public && !r.deny {
			for _, a := range []Action{ActionTransit, ActionTURN, ActionSFU, ActionCascade, ActionRegister} {
				if r.actions[a] {
					c.warning(path+".actions", "the rule %q gives %q to domains you do not know; the level public is meant for signaling", r.name, a)
				}
			}
		}
	}
}
