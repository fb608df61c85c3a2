package main

import (
	"encoding/json"
	"testing"

	"github.com/trunkline-net/trunkline/policy"
)

const partners = `[[domain]]
name = "globex.example"
level = "partner"
expires = 2027-06-30T00:00:00Z
[[rule]]
name = "talk"
level = "partner"
direction = "both"
actions = ["signal", "turn"]
limit = { per_second = 2.5, bytes_per_second = "2MiB", concurrent = 500, total = 9 }
`

func TestPolicyCheck(t *testing.T) {
	script{
		files: map[string]string{
			"good.toml":  partners + "[[test]]\ndomain = \"evil.example\"\naction = \"signal\"\ndirection = \"in\"\nexpect = \"deny\"\n",
			"empty.toml": "",
			"bad.toml":   "[[rule]]\nname = \"x\"\nlevel = \"frend\"\ndirection = \"in\"\nactions = [\"dance\"]\n",
			"test.toml":  partners + "[[test]]\ndomain = \"globex.example\"\naction = \"sfu\"\ndirection = \"in\"\nexpect = \"allow\"\n",
			"odd.toml":   "[[rule]]\nname = \"x\"\ndomain = \"nobody.example\"\ndirection = \"in\"\nactions = [\"signal\"]\n",
		},
		steps: []step{
			{args: "policy check $DIR/good.toml", out: []string{"good.toml: good: 1 domain, 1 rule, 1 test passed"}},
			{args: "policy check $DIR/good.toml --json", out: []string{`{"ok":true,"file":"`, `"domains":1,"rules":1,"tests":1,"warnings":[],"errors":[]}`}},
			{args: "policy check $DIR/empty.toml", out: []string{"good: 0 domains, 0 rules, 0 tests"}},
			{args: "policy check -", stdin: partners, out: []string{"standard input: good"}},
			{args: "policy check $DIR/bad.toml", exit: exitUsage, silent: true,
				err: []string{"bad.toml:5: \"dance\" is not an action", "error: ", "bad.toml:3: \"frend\" is not a trust level; allowed: \"internal\"", "\n  correct these lines"}},
			{args: "policy check $DIR/bad.toml --json", exit: exitUsage,
				out: []string{`{"ok":false,`, `"line":3,"problem":"\"frend\" is not a trust level","allowed":"`, `"line":5`},
				err: []string{`{"error":{"code":2,"kind":"usage"`}},
			{args: "policy check $DIR/test.toml", exit: exitUsage, err: []string{"test.toml:11: test failed: sfu in with globex.example", "correct the line"}},
			{args: "policy check $DIR/odd.toml", err: []string{"warning: ", "odd.toml:3: the rule \"x\" has no effect"}, out: []string{"good"}},
			{args: "policy check $DIR/none.toml", exit: exitUsage, silent: true, err: []string{"none.toml", "check the path"}},
			{args: "policy check", exit: exitUsage, err: []string{"home/.local/share/trunkline/node/policy.toml"}},
			{args: "policy check $DIR/good.toml $DIR/bad.toml", exit: exitUsage},
		},
	}.run(t)
}

func TestPolicyExplain(t *testing.T) {
	script{
		files: map[string]string{"policy.toml": partners, "bad.toml": "version = 3"},
		steps: []step{
			{args: "policy explain --policy $DIR/policy.toml --domain globex.example --action turn --direction in --json",
				out: []string{`{"decision":"allow","rule":"talk","level":"partner","limits":{"bytes_per_second":2097152,"concurrent":500,"per_second":2.5,"total":9},"reason":"`, `","needs":""}`}},
			{args: "policy explain --policy $DIR/policy.toml --domain globex.example --action turn --direction in",
				out: []string{"allow: turn in with globex.example", "rule", "talk", "2.5 a second, 2MiB a second, 500 at one time, 9 in a day", "because"}},
			{args: "policy explain --policy $DIR/policy.toml --domain evil.example --action signal --direction in --json",
				out: []string{`{"decision":"deny","rule":"default","level":"unknown","limits":{},"reason":"no [[domain]] entry`, `"needs":"a [[domain]] entry`}},
			{args: "policy explain --policy $DIR/policy.toml --domain globex.example --action sfu --direction out",
				out: []string{"deny: sfu out with globex.example", "default", "it needs", `direction = "out"`}},
			{args: "policy explain --data $DIR --domain globex.example --action signal --direction in --at 2027-06-30T00:00:00Z",
				out: []string{"deny:", "expired", "2027-06-30T00:00:00Z"}},
			{args: "policy explain --policy - --domain globex.example --action signal --direction in", stdin: partners, out: []string{"allow"}},
			{args: "policy explain --policy $DIR/policy.toml --domain Globex.example --action signal --direction in", exit: exitUsage, silent: true, err: []string{"is not a domain name", "lower case"}},
			{args: "policy explain --policy $DIR/policy.toml --domain globex.example --action sing --direction in", exit: exitUsage, err: []string{`"sing" is not an action; allowed: federate, signal`}},
			{args: "policy explain --policy $DIR/policy.toml --domain globex.example --action signal --direction both", exit: exitUsage, err: []string{`"both" is not a direction; allowed: in, out`}},
			{args: "policy explain --policy $DIR/policy.toml --domain globex.example --action signal --direction in --user bob", exit: exitUsage, err: []string{"is not an identity", "tl1"}},
			{args: "policy explain --policy $DIR/policy.toml --domain globex.example --action signal --direction in --at tomorrow", exit: exitUsage, err: []string{"is not a date"}},
			{args: "policy explain --policy $DIR/bad.toml --domain globex.example --action signal --direction in", exit: exitUsage, err: []string{"bad.toml:1: version 3", "policy check says more"}},
		},
	}.run(t)
}

func TestExplainsJSONHasExactlyTheContractsKeys(t *testing.T) {
	out := step{args: "policy explain --policy - --domain globex.example --action signal --direction in --json", stdin: partners}.run(t, t.TempDir())
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(out), &keys); err != nil {
		t.Fatal(err)
	}
	want := []string{"decision", "rule", "level", "limits", "reason", "needs"}
	for _, k := range want {
		if _, ok := keys[k]; !ok {
			t.Errorf("lacks %q", k)
		}
	}
	if len(keys) != len(want) {
		t.Errorf("%d keys: %s", len(keys), out)
	}
}

func TestActionListIsTheSpecifications(t *testing.T) {
	if got, want := actionList(), "federate, signal, knock, store, query, transit, turn, sfu, cascade, register, name"; got != want {
		t.Errorf("%s", got)
	}
	if n := len(policy.Actions()); n != 11 {
		t.Errorf("%d actions", n)
	}
}
