package policy

import (
	"fmt"
	"strings"
)

// schema is every key of policy.toml with what is allowed there, in the order in which a
// message lists them. It is what errors quote, so it is written for who edits the file.
var schema = []struct{ path, allowed string }{
	{"version", "1"},
	{"register", "a table [register] with mode and listed"},
	{"register.mode", `"open", "invitation", "listed" or "closed"`},
	{"register.listed", `an array of identities, like ["tl1…"]`},
	{"rooms", "a table [rooms] with guests"},
	{"rooms.guests", "true or false"},
	{"domain", "tables [[domain]] with name, level, key and expires"},
	{"domain.name", `a domain name in lower case without final dot, like "globex.example", or "*" for every proven domain that is not listed`},
	{"domain.level", `"internal", "partner", "public" or "blocked"`},
	{"domain.key", `an Ed25519 public key as "ed25519:" and its 32 bytes in base64 (44 characters)`},
	{"domain.expires", "a date with time and zone and without quotation marks, like 2027-06-30T00:00:00Z"},
	{"rule", "tables [[rule]] with name, level or domain, direction, actions, limit, deny and expires"},
	{"rule.name", `a text of 1 to 100 characters that no other rule has and that is not "default", "blocked" or "expired"`},
	{"rule.level", `"internal", "partner", "public" or "blocked"; or domain instead of it`},
	{"rule.domain", `the name of a domain, like "globex.example"; or level instead of it`},
	{"rule.direction", `"in" (asked by the other domain), "out" (asked by our side) or "both"`},
	{"rule.actions", "an array of one or more of " + allowedActions},
	{"rule.limit", "a table like { per_second = 5, bytes_per_second = \"2MiB\", concurrent = 50, total = 1000 } with one or more of these keys, in a rule without deny"},
	{"rule.limit.per_second", "a number greater than 0 and at most 1e9; leave the key out for no limit"},
	{"rule.limit.bytes_per_second", allowedSize + `; leave the key out for no limit`},
	{"rule.limit.concurrent", "a whole number from 1 to 1000000000; leave the key out for no limit"},
	{"rule.limit.total", "a whole number from 1 to 1000000000000 (in a day); leave the key out for no limit"},
	{"rule.deny", "true or false"},
	{"rule.expires", "a date with time and zone and without quotation marks, like 2027-06-30T00:00:00Z"},
	{"test", "tables [[test]] with domain, action, direction, expect, rule, user and at"},
	{"test.domain", `a domain name in lower case without final dot, like "evil.example"`},
	{"test.action", "one of " + allowedActions},
	{"test.direction", `"in" (asked by the other domain) or "out" (asked by our side)`},
	{"test.expect", `"allow" or "deny"`},
	{"test.rule", `the name of the rule that must decide, or "default", "blocked" or "expired"`},
	{"test.user", `an identity, like "tl1…"`},
	{"test.at", "a date with time and zone and without quotation marks, like 2027-06-30T00:00:00Z"},
}

// allowedActions is what every message about an action ends with.
const allowedActions = "federate, signal, knock, store, query, transit, turn, sfu, cascade, register, name"

// allowedAt is what may stand at a path; a path inside an array answers for the array.
func allowedAt(path string) (string, bool) {
	path = generic(path)
	for _, s := range schema {
		if s.path == path {
			return s.allowed, true
		}
	}
	return "", false
}

// keysOf lists the keys that the table at path may have; the empty path is the file itself.
func keysOf(path string) []string {
	prefix := generic(path)
	if prefix != "" {
		prefix += "."
	}
	var keys []string
	for _, s := range schema {
		if key, ok := strings.CutPrefix(s.path, prefix); ok && !strings.Contains(key, ".") {
			keys = append(keys, key)
		}
	}
	return keys
}

// generic is a path without the places in arrays: rule[2].actions[0] is rule.actions.
func generic(path string) string {
	var b strings.Builder
	inside := false
	for _, r := range path {
		switch {
		case r == '[':
			inside = true
		case r == ']':
			inside = false
		case !inside:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// tableTitle is how a table is called in a message.
func tableTitle(path string) string {
	switch path = generic(path); path {
	case "":
		return "the file"
	case "register", "rooms":
		return "[" + path + "]"
	case "rule.limit":
		return "limit"
	default:
		return fmt.Sprintf("[[%s]]", clip(path))
	}
}

// nearest is the key that a misspelt one most likely meant, or "".
func nearest(word string, keys []string) string {
	best, bestDistance := "", 3
	for _, k := range keys {
		if d := distance(word, k, bestDistance); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance counts single-letter edits between two short words, up to a bound.
func distance(a, b string, most int) int {
	if len(a)-len(b) >= most || len(b)-len(a) >= most {
		return most
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
