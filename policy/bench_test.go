package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/policy"
)

// thousand is a policy with a thousand domains, a tenth of them with a rule of their own.
func thousand() string {
	var b strings.Builder
	b.WriteString("[[domain]]\nname = \"*\"\nlevel = \"public\"\n")
	b.WriteString("[[rule]]\nname = \"all\"\nlevel = \"partner\"\ndirection = \"both\"\nactions = [\"federate\", \"signal\", \"store\"]\nlimit = { per_second = 100 }\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "[[domain]]\nname = \"d%d.partner.example\"\nlevel = \"partner\"\nexpires = 2090-01-01T00:00:00Z\n", i)
		if i%10 == 0 {
			fmt.Fprintf(&b, "[[rule]]\nname = \"own %d\"\ndomain = \"d%d.partner.example\"\ndirection = \"in\"\nactions = [\"turn\"]\n", i, i)
		}
	}
	return b.String()
}

func BenchmarkDecide(b *testing.B) {
	p := mustParse(b, thousand())
	for _, c := range []struct {
		name string
		r    policy.Request
	}{
		{"listed", ask("d777.partner.example", policy.ActionSignal, policy.In)},
		{"own-rule", ask("d770.partner.example", policy.ActionTURN, policy.In)},
		{"unlisted", ask("somebody.else.example", policy.ActionSignal, policy.In)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Decide(c.r)
			}
		})
	}
	b.Run("current", func(b *testing.B) {
		b.ReportAllocs()
		cur := policy.NewCurrent(p)
		r := ask("d777.partner.example", policy.ActionSignal, policy.In)
		for b.Loop() {
			cur.Decide(r)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	data := []byte(thousand())
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := policy.Parse("policy.toml", data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	l := policy.Limits{PerSecond: 1000, BytesPerSecond: 1 << 20}
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		buckets := policy.NewBuckets(1000)
		at := noon
		for b.Loop() {
			at = at.Add(time.Millisecond)
			buckets.Take(at, "partner.example", l, 1, 512)
		}
	})
	b.Run("flood", func(b *testing.B) {
		b.ReportAllocs()
		keys := make([]string, 4096)
		for i := range keys {
			keys[i] = fmt.Sprint("key ", i)
		}
		buckets := policy.NewBuckets(1000)
		i := 0
		for b.Loop() {
			buckets.Take(noon, keys[i%len(keys)], l, 1, 512)
			i++
		}
	})
}
