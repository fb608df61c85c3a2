package policy_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/policy"
)

// mustParse reads a policy that the test itself wrote.
func mustParse(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("policy.toml", []byte(text))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	return p
}

func contractFile(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/contract.toml")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func ask(domain string, a policy.Action, d policy.Direction) policy.Request {
	return policy.Request{Domain: domain, Action: a, Direction: d, At: noon}
}

func TestTheContractsFileDecidesAsItReads(t *testing.T) {
	p, err := policy.Parse("policy.toml", contractFile(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Test(); err != nil {
		t.Fatalf("its own tests: %v", err)
	}
	partner := policy.Limits{PerSecond: 200, BytesPerSecond: 2 << 20, Concurrent: 500}
	const partnerRule, publicRule = "partners call, relay and meet", "the public may knock"
	for _, c := range []struct {
		domain string
		action policy.Action
		dir    policy.Direction
		allow  bool
		rule   string
		level  policy.Level
		limits policy.Limits
	}{
		{"globex.example", policy.ActionFederate, policy.In, true, partnerRule, policy.Partner, partner},
		{"globex.example", policy.ActionSignal, policy.Out, true, partnerRule, policy.Partner, partner},
		{"globex.example", policy.ActionTURN, policy.In, true, partnerRule, policy.Partner, partner},
		{"globex.example", policy.ActionTransit, policy.In, false, "no transit at night", policy.Partner, policy.Limits{}},
		{"globex.example", policy.ActionCascade, policy.In, false, "default", policy.Partner, policy.Limits{}},
		{"globex.example", policy.ActionName, policy.Out, false, "default", policy.Partner, policy.Limits{}},
		{"evil.example", policy.ActionKnock, policy.In, true, publicRule, policy.Public, policy.Limits{PerSecond: 5}},
		{"evil.example", policy.ActionKnock, policy.Out, false, "default", policy.Public, policy.Limits{}},
		{"evil.example", policy.ActionSignal, policy.In, false, "default", policy.Public, policy.Limits{}},
	} {
		got := p.Decide(ask(c.domain, c.action, c.dir))
		if got.Allow != c.allow || got.Rule != c.rule || got.Level != c.level || got.Limits != c.limits {
			t.Errorf("%s %s %s: got %+v", c.domain, c.action, c.dir, got)
		}
		checkWords(t, got)
	}
	mode, listed := p.Register()
	if mode != policy.RegisterInvitation || listed(identity.PublicKey{}) {
		t.Errorf("register: %v", mode)
	}
	d, ok := p.Domain("globex.example")
	if !ok || d.Level != policy.Partner || !d.HasKey() || d.Expires.Year() != 2027 {
		t.Errorf("domain entry: %+v %v", d, ok)
	}
}

// checkWords holds every decision to the promise of explain: a reason always, and what would
// be needed exactly when it was denied.
func checkWords(t *testing.T, d policy.Decision) {
	t.Helper()
	if d.Rule == "" || d.Reason == "" {
		t.Errorf("a decision without rule or reason: %+v", d)
	}
	if d.Allow != (d.Needs == "") {
		t.Errorf("allow=%v but needs=%q", d.Allow, d.Needs)
	}
	if !d.Allow && d.Limits != (policy.Limits{}) {
		t.Errorf("a denial with limits: %+v", d)
	}
}

func TestNothingIsAllowedWithoutARule(t *testing.T) {
	onlyDomains := `
[[domain]]
name = "sister.example"
level = "internal"
[[domain]]
name = "*"
level = "partner"
`
	var none *policy.Policy
	for name, decide := range map[string]func(policy.Request) policy.Decision{
		"empty file":       mustParse(t, "").Decide,
		"only comments":    mustParse(t, "# nothing\n\n").Decide,
		"domains only":     mustParse(t, onlyDomains).Decide,
		"no policy":        none.Decide,
		"empty holder":     new(policy.Current).Decide,
		"default file":     mustParse(t, string(policy.Default())).Decide,
		"template of init": mustParse(t, string(policy.Template())).Decide,
	} {
		for _, domain := range []string{"sister.example", "globex.example", ""} {
			for _, a := range append(policy.Actions(), 0, 200) {
				for _, dir := range []policy.Direction{policy.In, policy.Out, 0, 77} {
					d := decide(ask(domain, a, dir))
					if d.Allow || d.Rule != policy.RuleDefault {
						t.Errorf("%s: %q %s %s: %+v", name, domain, a, dir, d)
					}
					checkWords(t, d)
				}
			}
		}
	}
}

func TestRegistrationIsClosedUntilTheFileSaysOtherwise(t *testing.T) {
	id, err := identity.CheckKey(testKey)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]policy.RegisterMode{
		"":                                  policy.RegisterClosed,
		"[register]\n":                      policy.RegisterClosed,
		"[register]\nmode = \"open\"":       policy.RegisterOpen,
		"[register]\nmode = \"invitation\"": policy.RegisterInvitation,
		"[register]\nmode = \"closed\"":     policy.RegisterClosed,
		string(policy.Default()):            policy.RegisterInvitation,
		string(policy.Template()):           policy.RegisterInvitation,
	} {
		mode, listed := mustParse(t, text).Register()
		if mode != want || listed(id) {
			t.Errorf("%q: %v, listed %v", text, mode, listed(id))
		}
	}
	mode, listed := mustParse(t, "[register]\nmode = \"listed\"\nlisted = [\""+id.ID()+"\"]").Register()
	if mode != policy.RegisterListed || !listed(id) || listed(identity.PublicKey{}) {
		t.Errorf("listed: %v %v", mode, listed(id))
	}
}

const crossing = `
[[domain]]
name = "a.example"
level = "partner"
[[domain]]
name = "b.example"
level = "partner"
[[domain]]
name = "bad.example"
level = "blocked"
[[domain]]
name = "*"
level = "public"

[[rule]]
name = "all partners"
level = "partner"
direction = "both"
actions = ["signal", "store", "turn"]
limit = { per_second = 100, bytes_per_second = "1MiB", total = 1000 }

[[rule]]
name = "a gets less"
domain = "a.example"
direction = "in"
actions = ["signal"]
limit = { per_second = 2.5, concurrent = 7 }

[[rule]]
name = "a must not relay"
domain = "a.example"
direction = "in"
actions = ["turn"]
deny = true

[[rule]]
name = "bad by name"
domain = "bad.example"
direction = "both"
actions = ["signal"]

[[rule]]
name = "bad by level"
level = "blocked"
direction = "both"
actions = ["signal"]

[[rule]]
name = "stranger by name"
domain = "stranger.example"
direction = "in"
actions = ["knock"]

[[rule]]
name = "internal only"
level = "internal"
direction = "both"
actions = ["signal"]
`

func TestRulesCombine(t *testing.T) {
	p := mustParse(t, crossing)
	level := policy.Limits{PerSecond: 100, BytesPerSecond: 1 << 20, Total: 1000}
	for _, c := range []struct {
		say    string
		domain string
		action policy.Action
		dir    policy.Direction
		allow  bool
		rule   string
		limits policy.Limits
	}{
		{"limits of all that allow: the tightest of each", "a.example", policy.ActionSignal, policy.In, true, "all partners",
			policy.Limits{PerSecond: 2.5, BytesPerSecond: 1 << 20, Concurrent: 7, Total: 1000}},
		{"a domain's rule is for its direction only", "a.example", policy.ActionSignal, policy.Out, true, "all partners", level},
		{"another domain of the level is not touched", "b.example", policy.ActionSignal, policy.In, true, "all partners", level},
		{"a denial wins over an allowance", "a.example", policy.ActionTURN, policy.In, false, "a must not relay", policy.Limits{}},
		{"in its direction", "a.example", policy.ActionTURN, policy.Out, true, "all partners", level},
		{"and for its domain", "b.example", policy.ActionTURN, policy.In, true, "all partners", level},
		{"blocked denies against rules by name and level", "bad.example", policy.ActionSignal, policy.In, false, policy.RuleBlocked, policy.Limits{}},
		{"and what no rule names", "bad.example", policy.ActionName, policy.Out, false, policy.RuleBlocked, policy.Limits{}},
		{"a rule by name counts under the entry for all", "stranger.example", policy.ActionKnock, policy.In, true, "stranger by name", policy.Limits{}},
		{"and not for the others under it", "other.example", policy.ActionKnock, policy.In, false, policy.RuleDefault, policy.Limits{}},
		{"a rule of another level does not match", "stranger.example", policy.ActionSignal, policy.In, false, policy.RuleDefault, policy.Limits{}},
	} {
		got := p.Decide(ask(c.domain, c.action, c.dir))
		if got.Allow != c.allow || got.Rule != c.rule || got.Limits != c.limits {
			t.Errorf("%s: got %+v", c.say, got)
		}
		checkWords(t, got)
	}
	if d, ok := p.Domain("stranger.example"); !ok || d.Name != "*" || d.Level != policy.Public {
		t.Errorf("the entry for all covers strangers: %+v %v", d, ok)
	}
}

func TestADomainHasOneSpelling(t *testing.T) {
	// A blocked domain must not become "*" by another way of writing it.
	p := mustParse(t, `
[[domain]]
name = "bad.example"
level = "blocked"
[[domain]]
name = "*"
level = "public"
[[rule]]
level = "public"
direction = "both"
actions = ["signal"]
`)
	for _, name := range []string{"BAD.example", "bad.example.", ".bad.example", "bad.example ", "bäd.example", "bad.example\x00", strings.Repeat("a", 254)} {
		if d := p.Decide(ask(name, policy.ActionSignal, policy.In)); d.Allow {
			t.Errorf("%q is allowed by %q", name, d.Rule)
		}
		if d, ok := p.Domain(name); ok {
			t.Errorf("%q is covered by %+v", name, d)
		}
	}
	if d := p.Decide(ask("good.example", policy.ActionSignal, policy.In)); !d.Allow {
		t.Errorf("control: %+v", d)
	}
}

func TestEntriesAndRulesExpire(t *testing.T) {
	p := mustParse(t, `
[[domain]]
name = "guest.example"
level = "partner"
expires = 2026-07-01T12:00:00Z
[[domain]]
name = "*"
level = "public"
[[rule]]
name = "always"
level = "partner"
direction = "both"
actions = ["signal"]
[[rule]]
name = "trial"
level = "public"
direction = "in"
actions = ["knock"]
limit = { per_second = 1 }
expires = 2026-07-01T12:00:00Z
[[rule]]
name = "longer trial"
level = "public"
direction = "in"
actions = ["knock"]
limit = { per_second = 9 }
expires = 2026-08-01T14:00:00+02:00
[[rule]]
name = "freeze"
level = "public"
direction = "in"
actions = ["query"]
deny = true
expires = 2026-07-01T12:00:00Z
[[rule]]
name = "queries"
level = "public"
direction = "in"
actions = ["query"]
`)
	before, after := noon.Add(-time.Nanosecond), noon
	august := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		say    string
		domain string
		action policy.Action
		at     time.Time
		allow  bool
		rule   string
		rate   float64
	}{
		{"before its end an entry counts", "guest.example", policy.ActionSignal, before, true, "always", 0},
		{"from its end on it denies", "guest.example", policy.ActionSignal, after, false, policy.RuleExpired, 0},
		{"and does not fall back to the entry for all", "guest.example", policy.ActionKnock, after, false, policy.RuleExpired, 0},
		{"without a time it counts as ended", "guest.example", policy.ActionSignal, time.Time{}, false, policy.RuleExpired, 0},
		{"two rules: the tighter limit", "x.example", policy.ActionKnock, before, true, "trial", 1},
		{"one has ended: the other's", "x.example", policy.ActionKnock, after, true, "longer trial", 9},
		{"both have ended", "x.example", policy.ActionKnock, august, false, policy.RuleDefault, 0},
		{"an allowance that ends needs a time", "x.example", policy.ActionKnock, time.Time{}, false, policy.RuleDefault, 0},
		{"a denial that ends denies until then", "x.example", policy.ActionQuery, before, false, "freeze", 0},
		{"and not after it", "x.example", policy.ActionQuery, after, true, "queries", 0},
		{"and denies without a time", "x.example", policy.ActionQuery, time.Time{}, false, "freeze", 0},
	} {
		got := p.Decide(policy.Request{Domain: c.domain, Action: c.action, Direction: policy.In, At: c.at})
		if got.Allow != c.allow || got.Rule != c.rule || got.Limits.PerSecond != c.rate {
			t.Errorf("%s: got %+v", c.say, got)
		}
		checkWords(t, got)
	}
	d, _ := p.Domain("guest.example")
	if d.Expired(before) || !d.Expired(after) {
		t.Error("Domain.Expired")
	}
}

func TestReasonsSayWhereToLook(t *testing.T) {
	p := mustParse(t, crossing)
	for _, c := range []struct {
		r     policy.Request
		words []string
	}{
		{ask("a.example", policy.ActionTURN, policy.In), []string{`"a must not relay"`, "line 29", "turn", "denies", "nothing asks this for another domain yet", "the node's own domain"}},
		{ask("bad.example", policy.ActionTransit, policy.In), []string{"blocked", "nothing asks this yet"}},
		{ask("b.example", policy.ActionSFU, policy.Out), []string{"no rule allows", "sfu", "partner", `direction = "out"`}},
		{ask("bad.example", policy.ActionSFU, policy.Out), []string{"blocked"}},
		{ask("a.example", policy.ActionSignal, policy.In), []string{`"all partners"`, `"a gets less"`, "tightest"}},
	} {
		d := p.Decide(c.r)
		for _, w := range c.words {
			if !strings.Contains(d.Reason+" / "+d.Needs, w) {
				t.Errorf("%+v lacks %q", d, w)
			}
		}
	}
	for _, a := range policy.Actions() {
		d := p.Decide(ask("b.example", a, policy.In))
		unasked := strings.Contains(d.Reason, "nothing asks this")
		switch a {
		case policy.ActionSFU:
			if unasked || !strings.Contains(d.Reason, "the word of its own node") {
				t.Errorf("%s is asked for some: %s", a, d.Reason)
			}
		case policy.ActionFederate, policy.ActionSignal, policy.ActionKnock, policy.ActionStore, policy.ActionQuery:
			if unasked {
				t.Errorf("%s is asked each time: %s", a, d.Reason)
			}
		default:
			if !unasked {
				t.Errorf("%s is not asked, and nobody says so: %s", a, d.Reason)
			}
		}
	}
	d := mustParse(t, "").Decide(ask("a.example", policy.ActionSFU, policy.Out))
	if !strings.Contains(d.Needs, "[[domain]]") {
		t.Errorf("%+v", d)
	}
}

func TestTightest(t *testing.T) {
	a := policy.Limits{PerSecond: 5, Concurrent: 10}
	b := policy.Limits{PerSecond: 9, BytesPerSecond: 100, Concurrent: 3, Total: 8}
	want := policy.Limits{PerSecond: 5, BytesPerSecond: 100, Concurrent: 3, Total: 8}
	if got := a.Tightest(b); got != want {
		t.Errorf("%+v", got)
	}
	if got := b.Tightest(a); got != want {
		t.Errorf("the other way round: %+v", got)
	}
	if got := a.Tightest(policy.Limits{}); got != a {
		t.Errorf("unlimited changes nothing: %+v", got)
	}
}
