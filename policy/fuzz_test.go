package policy_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/policy"
)

// FuzzParse holds whatever a file may contain to three promises: an error always names a line
// of the file, a policy that was accepted denies what it should, and nothing panics.
func FuzzParse(f *testing.F) {
	f.Add(contractFile(f))
	f.Add(policy.Default())
	f.Add(policy.Template())
	f.Add([]byte(crossing))
	f.Add([]byte(open))
	f.Add([]byte("rule = [{ level = \"public\", direction = \"in\", actions = [\"knock\"], limit.per_second = 1 }]"))
	f.Add([]byte("[register]\nmode.x = 1\n[[domain.name]]\nlevel = [[[]]]"))
	f.Add([]byte("\"\" = 1\n'a.b[3]' = { \"\" = {} }\r\n"))
	f.Add([]byte("[[rule]]\n[rule.limit]\nper_second = 1e400\n[[rule]]\nlimit = 3"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := policy.Parse("f", data)
		if err != nil {
			var e *policy.Error
			if p != nil || !errors.As(err, &e) {
				t.Fatalf("policy %v with error %T", p, err)
			}
			if lines := 1 + strings.Count(string(data), "\n"); e.Line < 1 || e.Line > lines {
				t.Fatalf("line %d of %d: %v", e.Line, lines, err)
			}
			return
		}
		_ = p.Test()
		domains := append(p.Domains(), policy.Domain{Name: "nobody.example"}, policy.Domain{Name: "UPPER"})
		if len(domains) > 50 {
			domains = domains[:50]
		}
		for _, d := range domains {
			for _, at := range []time.Time{{}, noon, noon.Add(1e5 * time.Hour)} {
				for _, a := range policy.Actions() {
					got := p.Decide(policy.Request{Domain: d.Name, Action: a, Direction: policy.In, At: at})
					if got.Rule == "" || got.Reason == "" || got.Allow != (got.Needs == "") {
						t.Fatalf("%s %s: %+v", d.Name, a, got)
					}
					if got.Allow && (d.Level == policy.Blocked || d.Name == "*" || d.Name == "UPPER" || (!at.IsZero() && d.Expired(at)) || p.Rules() == 0) {
						t.Fatalf("%+v %s at %v: %+v", d, a, at, got)
					}
				}
			}
		}
	})
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"2MiB", "1.5GiB", "512", "0.5B", "9e9", "99999999TB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := policy.ParseSize(s)
		if err != nil {
			return
		}
		if n < 1 {
			t.Fatalf("%q is %d", s, n)
		}
		if back, err := policy.ParseSize(policy.FormatSize(n)); err != nil || (back != n && n < 1<<53) {
			t.Fatalf("%q is %d, which formats as %q and reads as %d %v", s, n, policy.FormatSize(n), back, err)
		}
	})
}
