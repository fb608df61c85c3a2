package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/policy"
)

// testKey is RFC 8032's first public key.
var testKey = []byte{
	0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
	0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
}

func TestErrorsNameFileLineAndWhatIsAllowed(t *testing.T) {
	domain := func(lines string) string {
		return "version = 1\n[[domain]]\nname = \"a.example\"\nlevel = \"partner\"\n" + lines
	}
	rule := func(lines string) string {
		return "[[rule]]\nname = \"r\"\nlevel = \"partner\"\ndirection = \"in\"\nactions = [\"signal\"]\n" + lines
	}
	test := func(lines string) string { return "[[test]]\naction = \"signal\"\n" + lines }
	for name, c := range map[string]struct {
		text    string
		line    int
		problem string // part of it
		allowed string // part of it
	}{
		"unknown key":              {"version = 1\nversoin = 1", 2, `the file has no key "versoin" (did you mean "version"?)`, "version, register, rooms, domain, rule, test"},
		"unknown table":            {"\n[regster]\nmode = \"open\"", 2, `no key "regster"`, "register"},
		"unknown key in domain":    {domain("leven = 1"), 5, `[[domain]] has no key "leven"`, "name, level, key, expires"},
		"unknown key in rule":      {rule("allow = true"), 6, `[[rule]] has no key "allow"`, "deny"},
		"unknown key in limit":     {rule("limit = { per_minute = 3 }"), 6, `limit has no key "per_minute"`, "per_second, bytes_per_second, concurrent, total"},
		"second domain, its line":  {domain("\n[[domain]]\nname = \"b.example\"\nlevel = \"freind\""), 8, `"freind" is not a trust level`, `"partner"`},
		"inline tables":            {"domain = [\n  { name = \"a.example\", level = \"partner\" },\n  { name = \"b.example\", level = \"frend\" },\n]", 3, "frend", `"blocked"`},
		"syntax":                   {"version = 1\nlevel = = 2", 2, "", ""},
		"a key twice":              {"version = 1\nversion = 1", 2, "", ""},
		"wrong type":               {rule("deny = \"yes\""), 6, "rule.deny cannot be a string", "true or false"},
		"wrong type of actions":    {"[[rule]]\nactions = \"signal\"", 2, "rule.actions cannot be a string", "federate, signal"},
		"rule is no list":          {"[rule]\nname = \"x\"", 1, "", ""},
		"version":                  {"version = 2", 1, "version 2", "1"},
		"register mode":            {"[register]\nmode = \"everyone\"", 2, `"everyone" is not a mode`, `"invitation"`},
		"listed id":                {"[register]\nmode = \"listed\"\nlisted = [\n  \"tl1nonsense\"\n]", 4, "is not an identity", "tl1…"},
		"domain without name":      {"[[domain]]\nlevel = \"partner\"", 1, `[[domain]] lacks "name"`, "globex.example"},
		"domain without level":     {"\n[[domain]]\nname = \"a.example\"", 2, `[[domain]] lacks "level"`, `"public"`},
		"domain in upper case":     {"[[domain]]\nname = \"A.example\"\nlevel = \"partner\"", 2, "is not a domain name", "lower case"},
		"half a wildcard":          {"[[domain]]\nname = \"*.example\"\nlevel = \"partner\"", 2, "is not a domain name", `"*"`},
		"domain twice":             {domain("[[domain]]\nname = \"a.example\"\nlevel = \"blocked\""), 5, "already, at line 2", ""},
		"unknown level cannot be":  {"[[domain]]\nname = \"a.example\"\nlevel = \"unknown\"", 3, "is not a trust level", ""},
		"key without prefix":       {domain("key = \"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\""), 5, "ed25519:", "base64"},
		"key too short":            {domain("key = \"ed25519:11qY\""), 5, "not 44", "32 bytes"},
		"key with spare bits":      {domain("key = \"ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURp=\""), 5, "not base64", ""},
		"key of small order":       {domain("key = \"ed25519:AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\""), 5, "cannot be used", ""},
		"key for everybody":        {"[[domain]]\nname = \"*\"\nlevel = \"public\"\nkey = \"ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"", 1, "cannot pin a key", ""},
		"date as text":             {domain("expires = \"2027-06-30T00:00:00Z\""), 5, "is not a date", "without quotation marks"},
		"date without zone":        {domain("expires = 2027-06-30T00:00:00"), 5, "is not a date with time and zone", "Z"},
		"date without time":        {domain("expires = 2027-06-30"), 5, "is not a date with time and zone", "Z"},
		"rule for both":            {rule("domain = \"a.example\""), 6, "both level and domain", "or level instead"},
		"rule for nobody":          {"[[rule]]\nname = \"r\"\ndirection = \"in\"\nactions = [\"signal\"]", 1, "neither level nor domain", "domain instead"},
		"rule for every domain":    {"[[rule]]\nname = \"r\"\ndomain = \"*\"\ndirection = \"in\"\nactions = [\"signal\"]", 3, "is not a domain name", "level instead"},
		"rule without direction":   {"[[rule]]\nlevel = \"public\"\nactions = [\"signal\"]", 1, `lacks "direction"`, `"both"`},
		"rule with odd direction":  {"[[rule]]\nlevel = \"public\"\ndirection = \"inwards\"\nactions = [\"signal\"]", 3, "inwards", `"out"`},
		"rule without actions":     {"[[rule]]\nlevel = \"public\"\ndirection = \"in\"", 1, "names no actions", "cascade"},
		"unknown action":           {"[[rule]]\nlevel = \"public\"\ndirection = \"in\"\nactions = [\n  \"signal\",\n  \"signall\",\n]", 6, `"signall" is not an action`, "federate, signal, knock"},
		"action twice":             {"[[rule]]\nlevel = \"public\"\ndirection = \"in\"\nactions = [\"signal\", \"signal\"]", 4, "twice", ""},
		"rule name twice":          {rule(rule("")), 7, "already, at line 1", ""},
		"reserved rule name":       {"[[rule]]\nname = \"default\"\nlevel = \"public\"\ndirection = \"in\"\nactions = [\"signal\"]", 2, "cannot be a rule's name", `"blocked"`},
		"rule name that moves":     {"[[rule]]\nname = \"x\\u001b[2J\"\nlevel = \"public\"\ndirection = \"in\"\nactions = [\"signal\"]", 2, "cannot be a rule's name", "characters"},
		"denial with limits":       {rule("deny = true\nlimit = { per_second = 1 }"), 7, "no limits", "without deny"},
		"empty limit":              {rule("limit = { }"), 6, "is empty", "per_second"},
		"zero rate":                {rule("limit = { per_second = 0 }"), 6, "per_second is 0", "leave the key out"},
		"negative rate":            {rule("limit = { per_second = -1.5 }"), 6, "-1.5", "greater than 0"},
		"no number":                {rule("limit = { per_second = nan }"), 6, "NaN", ""},
		"infinite":                 {rule("limit = { per_second = inf }"), 6, "Inf", ""},
		"size without meaning":     {rule("limit = { bytes_per_second = \"2 MiB\" }"), 6, "2 MiB", `"2MiB"`},
		"size zero":                {rule("limit = { bytes_per_second = 0 }"), 6, "is 0", ""},
		"size as list":             {rule("limit = { bytes_per_second = [1] }"), 6, "is not a size", ""},
		"concurrent zero":          {rule("limit = { concurrent = 0 }"), 6, "concurrent is 0", ""},
		"concurrent huge":          {rule("limit = { concurrent = 9000000000 }"), 6, "concurrent is 9000000000", ""},
		"total negative":           {rule("limit = { total = -3 }"), 6, "total is -3", ""},
		"number beyond 64 bits":    {rule("limit = { total = 99999999999999999999 }"), 6, "", ""},
		"test without expectation": {test("domain = \"a.example\"\ndirection = \"in\""), 1, `[[test]] lacks "expect"`, `"deny"`},
		"test with odd outcome":    {test("domain = \"a.example\"\ndirection = \"in\"\nexpect = \"denied\""), 5, "denied", `"allow" or "deny"`},
		"test with both":           {test("domain = \"a.example\"\ndirection = \"both\"\nexpect = \"deny\""), 4, "both", `"in"`},
		"test with odd rule":       {test("domain = \"a.example\"\ndirection = \"in\"\nexpect = \"deny\"\nrule = \"none\""), 6, `no rule "none"`, ""},
		"test with odd user":       {test("domain = \"a.example\"\ndirection = \"in\"\nexpect = \"deny\"\nuser = \"bob\""), 6, "is not an identity", ""},
		"test with odd date":       {test("domain = \"a.example\"\ndirection = \"in\"\nexpect = \"deny\"\nat = 12:00:00"), 6, "is not a date", ""},
		"not UTF-8":                {"version = 1\n# \xff", 2, "UTF-8", ""},
		"far too long":             {"#" + strings.Repeat("x", policy.MaxFile), 1, "bytes long", "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := policy.Parse("some/policy.toml", []byte(c.text))
			if err == nil || p != nil {
				t.Fatalf("accepted: %+v", p)
			}
			first := firstError(err)
			if first == nil {
				t.Fatalf("not a *policy.Error: %v", err)
			}
			if first.Line != c.line || !strings.Contains(first.Problem, c.problem) || !strings.Contains(first.Allowed, c.allowed) {
				t.Errorf("got line %d %q allowed %q,\nwant line %d … %q … %q", first.Line, first.Problem, first.Allowed, c.line, c.problem, c.allowed)
			}
			if first.Problem == "" || !strings.HasPrefix(err.Error(), fmt.Sprintf("some/policy.toml:%d: ", c.line)) {
				t.Errorf("message: %v", err)
			}
			if strings.Contains(err.Error(), "policy.file") || strings.Contains(err.Error(), "struct") {
				t.Errorf("the message speaks about Go: %v", err)
			}
		})
	}
}

func firstError(err error) *policy.Error {
	var e *policy.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

func TestAllErrorsOfAFileAreToldInItsOrder(t *testing.T) {
	_, err := policy.Parse("p", []byte("[[domain]]\nname = \"A\"\nlevel = \"x\"\n[[rule]]\nlevel = \"y\"\ndirection = \"z\"\nactions = []\n"))
	if err == nil {
		t.Fatal("accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 5 {
		t.Fatalf("%d errors:\n%v", len(lines), err)
	}
	for i, prefix := range []string{"p:2: ", "p:3: ", "p:5: ", "p:6: ", "p:7: "} {
		if !strings.HasPrefix(lines[i], prefix) {
			t.Errorf("line %d is %q", i, lines[i])
		}
	}
	_, err = policy.Parse("p", []byte(strings.Repeat("[[rule]]\n", 50)))
	if lines = strings.Split(err.Error(), "\n"); len(lines) != 11 || lines[10] != "p: and 140 more" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

func TestFilesThatAreTooManyOfSomething(t *testing.T) {
	for name, text := range map[string]string{
		"rules":  strings.Repeat("[[rule]]\n", 2001),
		"listed": "[register]\nlisted = [" + strings.Repeat("\"\",", 20_001) + "]",
		"nested": "version = " + strings.Repeat("[", 200_000),
		"dotted": strings.Repeat("a.", 100_000) + "a = 1",
	} {
		if _, err := policy.Parse("p", []byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestARuleWithoutANameIsNamedByItsLine(t *testing.T) {
	p := mustParse(t, "[[domain]]\nname = \"a.example\"\nlevel = \"partner\"\n\n[[rule]]\nlevel = \"partner\"\ndirection = \"both\"\nactions = [\"signal\"]\n")
	if d := p.Decide(ask("a.example", policy.ActionSignal, policy.In)); !d.Allow || d.Rule != "rule at line 5" {
		t.Errorf("%+v", d)
	}
}

func TestWarningsPointAtLinesThatDoNothing(t *testing.T) {
	p := mustParse(t, `[[domain]]
name = "s.example"
level = "internal"
[[domain]]
name = "bad.example"
level = "blocked"
expires = 2030-01-01T00:00:00Z
[[rule]]
name = "one"
domain = "bad.example"
direction = "in"
actions = ["signal"]
[[rule]]
name = "two"
domain = "nobody.example"
direction = "in"
actions = ["signal"]
[[rule]]
name = "three"
level = "blocked"
direction = "in"
actions = ["signal"]
[[rule]]
name = "four"
level = "public"
direction = "in"
actions = ["knock", "turn"]
`)
	all := strings.Join(p.Warnings(), "\n")
	for _, w := range []string{
		`policy.toml:1: "s.example" is internal and has no key`,
		"policy.toml:7: a blocked domain stays blocked",
		`policy.toml:10: the rule "one" has no effect`,
		`policy.toml:15: the rule "two" has no effect`,
		`policy.toml:20: the rule "three" has no effect`,
		`policy.toml:27: the rule "four" gives "turn"`,
	} {
		if !strings.Contains(all, w) {
			t.Errorf("lacks %q:\n%s", w, all)
		}
	}
	if n := len(p.Warnings()); n != 6 {
		t.Errorf("%d warnings:\n%s", n, all)
	}
	wide := mustParse(t, "[[domain]]\nname = \"*\"\nlevel = \"partner\"\n")
	if w := wide.Warnings(); len(w) != 1 || !strings.Contains(w[0], "every domain") {
		t.Errorf("%q", w)
	}
	for _, quiet := range []string{"", string(contractFile(t)), string(policy.Default()), string(policy.Template())} {
		if w := mustParse(t, quiet).Warnings(); len(w) != 0 {
			t.Errorf("warnings about a good file: %q", w)
		}
	}
}

func TestTheTemplatesCommentsAreValidToo(t *testing.T) {
	// Whoever takes the "#" away must end up with a file that works.
	var b strings.Builder
	for _, line := range strings.Split(string(policy.Template()), "\n") {
		bare := strings.TrimPrefix(line, "# ")
		key, _, isKey := strings.Cut(bare, "=")
		isKey = isKey && !strings.Contains(strings.TrimSpace(key), " ")
		if strings.HasPrefix(bare, "[[") || isKey {
			line = bare
		}
		line = strings.ReplaceAll(line, "ed25519:AAAA…", "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
		line = strings.ReplaceAll(line, `listed = ["tl1…"]`, "listed = []")
		b.WriteString(line + "\n")
	}
	p := mustParse(t, b.String())
	if len(p.Domains()) != 3 || p.Rules() != 2 || p.Tests() != 1 {
		t.Errorf("%d domains, %d rules, %d tests in\n%s", len(p.Domains()), p.Rules(), p.Tests(), b.String())
	}
	if err := p.Test(); err != nil {
		t.Error(err)
	}
	if d := p.Decide(ask("globex.example", policy.ActionSignal, policy.In)); !d.Allow {
		t.Errorf("%+v", d)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "512B": 512, "64KiB": 64 << 10, "2MiB": 2 << 20, "1.5GiB": 3 << 29, "1TiB": 1 << 40,
		"100kB": 100_000, "5MB": 5_000_000, "1GB": 1e9, "2TB": 2e12,
	} {
		got, err := policy.ParseSize(text)
		if err != nil || got != want {
			t.Errorf("%q: %d %v", text, got, err)
		}
		if back, err := policy.ParseSize(policy.FormatSize(want)); err != nil || back != want {
			t.Errorf("%q formats as %q", text, policy.FormatSize(want))
		}
	}
	for _, text := range []string{"", "B", "MiB", "0", "0MiB", "-1", "+1", "1e3", "0x10", "1_000", "inf", "NaN", "2 MiB", "2mib", "2Mi", "2K", "1.5B", "1.2.3", ".", "99999999999TiB", strings.Repeat("1", 40)} {
		if got, err := policy.ParseSize(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}
