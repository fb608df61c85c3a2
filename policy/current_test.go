package policy_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/policy"
)

const open = `
[register]
mode = "open"
[[domain]]
name = "a.example"
level = "partner"
[[rule]]
name = "talk"
level = "partner"
direction = "both"
actions = ["signal"]
[[test]]
domain = "a.example"
action = "signal"
direction = "in"
expect = "allow"
rule = "talk"
`

func TestAReloadPutsTheWholeFileInForceOrNothing(t *testing.T) {
	c := policy.NewCurrent(mustParse(t, ""))
	req := ask("a.example", policy.ActionSignal, policy.In)
	if err := c.Reload("policy.toml", []byte(open)); err != nil {
		t.Fatal(err)
	}
	if !c.Decide(req).Allow {
		t.Fatal("the new policy is not in force")
	}
	if mode, _ := c.Register(); mode != policy.RegisterOpen {
		t.Error("its registration is not in force")
	}
	if d, ok := c.Domain("a.example"); !ok || d.Level != policy.Partner {
		t.Error("its domains are not in force")
	}
	before := c.Policy()
	for name, bad := range map[string]struct{ text, say string }{
		"an error":      {strings.Replace(open, `"both"`, `"bth"`, 1), "policy.toml:10: "},
		"a failed test": {strings.Replace(open, `actions = ["signal"]`, `actions = ["query"]`, 1), "policy.toml:12: test failed: signal in with a.example: the file expects allow"},
		"another rule":  {open + "[[test]]\ndomain = \"a.example\"\naction = \"signal\"\ndirection = \"out\"\nexpect = \"allow\"\nrule = \"default\"\n", "policy.toml:18: test failed"},
	} {
		err := c.Reload("policy.toml", []byte(bad.text))
		if err == nil || !strings.Contains(err.Error(), bad.say) || !strings.Contains(err.Error(), "the policy in force stays") {
			t.Errorf("%s: %v", name, err)
		}
		if c.Policy() != before || !c.Decide(req).Allow {
			t.Errorf("%s: the policy in force has changed", name)
		}
	}
	if err := c.Reload("policy.toml", nil); err != nil {
		t.Fatal(err)
	}
	if c.Decide(req).Allow {
		t.Error("what was taken away is still allowed")
	}
}

func TestTestsOfTheFileAreAskedBeforeAnythingExpiresUnlessTheySayWhen(t *testing.T) {
	p := mustParse(t, `
[[domain]]
name = "a.example"
level = "partner"
expires = 2001-01-01T00:00:00Z
[[rule]]
level = "partner"
direction = "in"
actions = ["signal"]
[[test]]
domain = "a.example"
action = "signal"
direction = "in"
expect = "allow"
[[test]]
domain = "a.example"
action = "signal"
direction = "in"
expect = "deny"
rule = "expired"
at = 2001-01-01T00:00:00Z
`)
	if err := p.Test(); err != nil {
		t.Error(err)
	}
	if p.Tests() != 2 {
		t.Errorf("%d tests", p.Tests())
	}
}

func TestReadersSeeOneWholePolicy(t *testing.T) {
	// In each of the two policies, exactly one of the two domains is allowed.
	one := strings.ReplaceAll(open, "a.example", "one.example")
	two := strings.ReplaceAll(open, "a.example", "two.example")
	c := policy.NewCurrent(mustParse(t, one))
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				p := c.Policy()
				a := p.Decide(ask("one.example", policy.ActionSignal, policy.In)).Allow
				b := p.Decide(ask("two.example", policy.ActionSignal, policy.In)).Allow
				if a == b {
					t.Errorf("one %v, two %v", a, b)
					return
				}
			}
		})
	}
	for range 50 {
		for _, text := range []string{two, one} {
			if err := c.Reload("policy.toml", []byte(text)); err != nil {
				t.Error(err)
			}
		}
	}
	close(done)
	wg.Wait()
}

func TestDecideIsPure(t *testing.T) {
	p := mustParse(t, crossing)
	for _, a := range policy.Actions() {
		for _, domain := range []string{"a.example", "stranger.example", "bad.example"} {
			r := policy.Request{Domain: domain, Action: a, Direction: policy.In, At: noon, User: "somebody"}
			first := p.Decide(r)
			r.At = noon.Add(time.Hour) // nothing in this file expires
			r.User = ""
			if again := p.Decide(r); again != first {
				t.Errorf("%+v and then %+v", first, again)
			}
		}
	}
}
