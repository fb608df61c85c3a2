package policy

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"

	"github.com/trunkline-net/trunkline/identity"
)

// Bounds of a file. They are far above what a person reviews, and keep a file that is not a
// policy at all from costing memory.
const (
	MaxFile    = 1 << 20
	maxDomains = 10_000
	maxRules   = 2_000
	maxTests   = 10_000
	maxListed  = 20_000
	maxErrors  = 10
)

// Error is one thing that is wrong with a file: where, what, and what is allowed there.
type Error struct {
	File    string
	Line    int
	Problem string
	Allowed string // empty when Problem says it already
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Problem)
	if e.Allowed != "" {
		s += "; allowed: " + e.Allowed
	}
	return s
}

// The file as TOML sees it. Values that are checked word by word stay texts here, so that all
// errors of a file can be told at once and each with what is allowed.
type file struct {
	Version  *int64       `toml:"version"`
	Register fileRegister `toml:"register"`
	Rooms    fileRooms    `toml:"rooms"`
	Domain   []fileDomain `toml:"domain"`
	Rule     []fileRule   `toml:"rule"`
	Test     []fileTest   `toml:"test"`
}

type fileRegister struct {
	Mode   *string  `toml:"mode"`
	Listed []string `toml:"listed"`
}

type fileRooms struct {
	Guests *bool `toml:"guests"`
}

type fileDomain struct {
	Name    *string `toml:"name"`
	Level   *string `toml:"level"`
	Key     *string `toml:"key"`
	Expires any     `toml:"expires"`
}

type fileRule struct {
	Name      *string    `toml:"name"`
	Level     *string    `toml:"level"`
	Domain    *string    `toml:"domain"`
	Direction *string    `toml:"direction"`
	Actions   []string   `toml:"actions"`
	Limit     *fileLimit `toml:"limit"`
	Deny      bool       `toml:"deny"`
	Expires   any        `toml:"expires"`
}

type fileLimit struct {
	PerSecond      *float64 `toml:"per_second"`
	BytesPerSecond any      `toml:"bytes_per_second"`
	Concurrent     *int64   `toml:"concurrent"`
	Total          *int64   `toml:"total"`
}

type fileTest struct {
	Domain    *string `toml:"domain"`
	Action    *string `toml:"action"`
	Direction *string `toml:"direction"`
	Expect    *string `toml:"expect"`
	Rule      *string `toml:"rule"`
	User      *string `toml:"user"`
	At        any     `toml:"at"`
}

// Parse reads a policy.toml. The name is only for messages. An empty file is valid and denies
// everything. The error joins up to ten values of type *Error, each with file, line, and what
// is allowed there. Parse does not run the file's tests: see Policy.Test.
func Parse(name string, data []byte) (*Policy, error) {
	if len(data) > MaxFile {
		return nil, &Error{File: name, Line: 1, Problem: fmt.Sprintf("the file is %d bytes long", len(data)), Allowed: fmt.Sprintf("at most %d", MaxFile)}
	}
	if !utf8.Valid(data) {
		line := 1
		for rest := data; len(rest) > 0; {
			r, n := utf8.DecodeRune(rest)
			if r == utf8.RuneError && n == 1 {
				break
			}
			if r == '\n' {
				line++
			}
			rest = rest[n:]
		}
		return nil, &Error{File: name, Line: line, Problem: "the file is not text in UTF-8"}
	}
	var f file
	c := &checker{name: name, index: indexLines(data)}
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&f); err != nil {
		c.decodeError(err)
		return nil, c.failure()
	}
	p := &Policy{name: name, noGuests: f.Rooms.Guests != nil && !*f.Rooms.Guests}
	c.version(f.Version)
	c.register(p, f.Register)
	domains := c.domains(f.Domain)
	rules := c.rules(f.Rule)
	c.tests(p, f.Test, rules)
	if len(c.errs) > 0 {
		return nil, c.failure()
	}
	c.warnings(domains, rules)
	p.warn = c.warn
	p.compile(domains, rules)
	return p, nil
}

// checker collects what is wrong with one file.
type checker struct {
	name  string
	index *lineIndex
	errs  []*Error
	more  int // errors beyond maxErrors
	warn  []string
}

// bad notes a problem at a path, with what the schema allows there.
func (c *checker) bad(path, format string, args ...any) {
	allowed, _ := allowedAt(path)
	c.add(&Error{File: c.name, Line: c.index.line(path), Problem: fmt.Sprintf(format, args...), Allowed: allowed})
}

func (c *checker) add(e *Error) {
	if len(c.errs) >= maxErrors {
		c.more++
		return
	}
	c.errs = append(c.errs, e)
}

// failure is all that is wrong, in the order of the file.
func (c *checker) failure() error {
	slices.SortStableFunc(c.errs, func(a, b *Error) int { return a.Line - b.Line })
	errs := make([]error, 0, len(c.errs)+1)
	for _, e := range c.errs {
		errs = append(errs, e)
	}
	if c.more > 0 {
		errs = append(errs, fmt.Errorf("%s: and %d more", c.name, c.more))
	}
	return errors.Join(errs...)
}

func (c *checker) warning(path, format string, args ...any) {
	c.warn = append(c.warn, fmt.Sprintf("%s:%d: ", c.name, c.index.line(path))+fmt.Sprintf(format, args...))
}

// decodeError puts the decoder's errors into our words: the decoder knows the place, and the
// schema knows what is allowed there.
func (c *checker) decodeError(err error) {
	var missing *toml.StrictMissingError
	if errors.As(err, &missing) {
		for i := range missing.Errors {
			e := &missing.Errors[i]
			line, column := e.Position()
			// The first part that the schema does not know is what is wrong. The decoder's
			// own path leaves inline tables out, so the outline's is used.
			parent := ""
			for _, k := range strings.Split(generic(c.index.before(line, column)), ".") {
				if !slices.Contains(keysOf(parent), k) {
					keys := keysOf(parent)
					problem := fmt.Sprintf("%s has no key %q", tableTitle(parent), clip(k))
					if near := nearest(k, keys); near != "" {
						problem += fmt.Sprintf(" (did you mean %q?)", near)
					}
					allowed := strings.Join(keys, ", ")
					if len(keys) == 0 {
						allowed, _ = allowedAt(parent)
					}
					c.add(&Error{File: c.name, Line: line, Problem: problem, Allowed: allowed})
					break
				}
				parent = join(parent, k)
			}
		}
		if len(c.errs) > 0 {
			return
		}
	}
	line, path := 1, ""
	problem := strings.TrimPrefix(err.Error(), "toml: ")
	var de *toml.DecodeError
	if errors.As(err, &de) {
		var column int
		line, column = de.Position()
		path = c.index.before(line, column)
		if key := de.Key(); len(key) > 0 {
			path = strings.Join(key, ".")
		}
	}
	e := &Error{File: c.name, Line: line, Problem: clipTo(problem, 200)}
	if kind, ok := strings.CutPrefix(problem, "cannot decode TOML "); ok {
		kind, _, _ = strings.Cut(kind, " into ")
		e.Problem = fmt.Sprintf("%s cannot be %s %s", clip(generic(path)), article(kind), kind)
		e.Allowed, _ = allowedAt(path)
	}
	c.add(e)
}

func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an"
	}
	return "a"
}

func clipTo(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func (c *checker) version(v *int64) {
	if v != nil && *v != 1 {
		c.bad("version", "version %d is not known to this program", *v)
	}
}

func (c *checker) register(p *Policy, r fileRegister) {
	if r.Mode != nil {
		i := slices.Index(registerNames[:], *r.Mode)
		if i < 0 {
			c.bad("register.mode", "%q is not a mode of registration", clip(*r.Mode))
		} else {
			p.register = RegisterMode(i)
		}
	}
	if len(r.Listed) > maxListed {
		c.bad("register.listed", "%d identities are listed, which is more than %d", len(r.Listed), maxListed)
		return
	}
	p.listed = make(map[identity.PublicKey]struct{}, len(r.Listed))
	for i, id := range r.Listed {
		path := fmt.Sprintf("register.listed[%d]", i)
		k, err := identity.ParseID(id)
		if err != nil {
			c.bad(path, "%q is not an identity: %v", clip(id), err)
			continue
		}
		if _, twice := p.listed[k]; twice {
			c.bad(path, "this identity is listed twice")
		}
		p.listed[k] = struct{}{}
	}
	if len(r.Listed) > 0 && r.Mode != nil && p.register != RegisterListed {
		c.warning("register.listed", "listed has no effect while mode is %q", *r.Mode)
	}
	if len(r.Listed) > 0 && r.Mode == nil {
		c.warning("register.listed", `listed has no effect without mode = "listed"`)
	}
}

func (c *checker) domains(in []fileDomain) []Domain {
	if len(in) > maxDomains {
		c.bad("domain", "%d domains are more than %d", len(in), maxDomains)
		return nil
	}
	out := make([]Domain, 0, len(in))
	seen := make(map[string]string, len(in))
	for i, fd := range in {
		path := fmt.Sprintf("domain[%d]", i)
		var d Domain
		if name, ok := c.text(path+".name", fd.Name); ok {
			if name != "*" {
				if err := identity.CheckDomain(name); err != nil {
					c.bad(path+".name", "%q is not a domain name: %v", clip(name), err)
				}
			}
			if first, twice := seen[name]; twice {
				c.bad(path, "the domain %q has an entry already, at line %d; one domain has one entry", clip(name), c.index.line(first))
			}
			seen[name] = path
			d.Name = name
		}
		if level, ok := c.text(path+".level", fd.Level); ok {
			if d.Level, ok = parseLevel(level); !ok {
				c.bad(path+".level", "%q is not a trust level", clip(level))
			}
		}
		if fd.Key != nil {
			var err error
			if d.Key, err = parseKey(*fd.Key); err != nil {
				c.bad(path+".key", "the key of %q cannot be used: %v", clip(d.Name), err)
			} else if d.Name == "*" {
				c.bad(path, `the entry for "*" cannot pin a key: each domain has its own`)
			}
		}
		d.Expires = c.date(path+".expires", fd.Expires)
		out = append(out, d)
	}
	return out
}

// parseKey reads "ed25519:" and base64. The strict decoder refuses a second spelling of the
// same bytes, and identity.CheckKey whatever is not a point of the right order.
func parseKey(s string) (identity.PublicKey, error) {
	text, ok := strings.CutPrefix(s, "ed25519:")
	if !ok {
		return identity.PublicKey{}, errors.New(`it does not start with "ed25519:"`)
	}
	if len(text) != base64.StdEncoding.EncodedLen(32) || strings.ContainsAny(text, "\r\n") {
		return identity.PublicKey{}, fmt.Errorf("it has %d characters after the colon, not 44", len(text))
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return identity.PublicKey{}, errors.New("it is not base64")
	}
	return identity.CheckKey(b)
}

func (c *checker) rules(in []fileRule) []rule {
	if len(in) > maxRules {
		c.bad("rule", "%d rules are more than %d", len(in), maxRules)
		return nil
	}
	out := make([]rule, 0, len(in))
	seen := make(map[string]string, len(in))
	for i := range in {
		path := fmt.Sprintf("rule[%d]", i)
		r := c.rule(path, &in[i])
		if first, twice := seen[r.name]; twice {
			c.bad(path+".name", "the rule %q exists already, at line %d", clip(r.name), c.index.line(first))
		}
		seen[r.name] = path
		out = append(out, r)
	}
	return out
}

func (c *checker) rule(path string, fr *fileRule) rule {
	r := rule{line: c.index.line(path), deny: fr.Deny}
	// Every refusal is shown with a rule's name, so a rule without one gets one.
	r.name = fmt.Sprintf("rule at line %d", r.line)
	if fr.Name != nil {
		r.name = *fr.Name
		if !goodName(r.name) || r.name == RuleDefault || r.name == RuleBlocked || r.name == RuleExpired {
			c.bad(path+".name", "%q cannot be a rule's name", clip(r.name))
		}
	}
	switch {
	case fr.Level != nil && fr.Domain != nil:
		c.bad(path+".domain", "the rule %q has both level and domain, and it can only be for one of them", clip(r.name))
	case fr.Level != nil:
		var ok bool
		if r.level, ok = parseLevel(*fr.Level); !ok {
			c.bad(path+".level", "%q is not a trust level", clip(*fr.Level))
		}
	case fr.Domain != nil:
		r.domain = *fr.Domain
		if err := identity.CheckDomain(r.domain); err != nil {
			c.bad(path+".domain", "%q is not a domain name: %v", clip(r.domain), err)
		}
	default:
		c.bad(path+".level", "the rule %q says neither level nor domain", clip(r.name))
	}
	if direction, ok := c.text(path+".direction", fr.Direction); ok {
		switch direction {
		case "in":
			r.dirs[In] = true
		case "out":
			r.dirs[Out] = true
		case "both":
			r.dirs[In], r.dirs[Out] = true, true
		default:
			c.bad(path+".direction", "%q is not a direction", clip(direction))
		}
	}
	if len(fr.Actions) == 0 {
		c.bad(path+".actions", "the rule %q names no actions", clip(r.name))
	}
	for i, word := range fr.Actions {
		at := fmt.Sprintf("%s.actions[%d]", path, i)
		a, err := ParseAction(word)
		if err != nil {
			c.bad(at, "%q is not an action", clip(word))
		} else if r.actions[a] {
			c.bad(at, "%q stands twice in the same rule", word)
		}
		r.actions[a] = true
	}
	r.expires = c.date(path+".expires", fr.Expires)
	if fr.Limit != nil {
		if fr.Deny {
			c.bad(path+".limit", "the rule %q denies, and a denial has no limits", clip(r.name))
		}
		r.limits = c.limits(path+".limit", fr.Limit)
		if r.limits == (Limits{}) {
			c.bad(path+".limit", "the limit of rule %q is empty", clip(r.name))
		}
	}
	return r
}

func (c *checker) limits(path string, fl *fileLimit) Limits {
	var l Limits
	if v := fl.PerSecond; v != nil {
		if l.PerSecond = *v; !(*v > 0 && *v <= 1e9) { // "not within" also catches NaN
			c.bad(path+".per_second", "per_second is %v", *v)
		}
	}
	switch v := fl.BytesPerSecond.(type) {
	case nil:
	case int64:
		if l.BytesPerSecond = v; v < 1 {
			c.bad(path+".bytes_per_second", "bytes_per_second is %d", v)
		}
	case string:
		var err error
		if l.BytesPerSecond, err = ParseSize(v); err != nil {
			c.bad(path+".bytes_per_second", "%q is not a size", clip(v))
		}
	default:
		c.bad(path+".bytes_per_second", "bytes_per_second is not a size")
	}
	if v := fl.Concurrent; v != nil {
		if l.Concurrent = int(min(*v, math.MaxInt32)); *v < 1 || *v > 1e9 {
			c.bad(path+".concurrent", "concurrent is %d", *v)
		}
	}
	if v := fl.Total; v != nil {
		if l.Total = *v; *v < 1 || *v > 1e12 {
			c.bad(path+".total", "total is %d", *v)
		}
	}
	return l
}

// text is a key that has to be there.
func (c *checker) text(path string, v *string) (string, bool) {
	if v == nil {
		cut := strings.LastIndexByte(path, '.')
		c.bad(path, "%s lacks %q", tableTitle(path[:cut]), path[cut+1:])
		return "", false
	}
	return *v, true
}

// date is an instant. A date without a zone would mean another time on another machine.
func (c *checker) date(path string, v any) time.Time {
	switch t := v.(type) {
	case nil:
	case time.Time:
		if !t.IsZero() && t.Year() >= 1970 && t.Year() <= 9999 {
			return t.UTC()
		}
		c.bad(path, "the year %d is not a useful date here", t.Year())
	default:
		c.bad(path, "%s is not a date with time and zone", generic(path))
	}
	return time.Time{}
}

// goodName keeps control characters out of what is printed on terminals and in logs.
func goodName(s string) bool {
	if strings.TrimSpace(s) != s || s == "" || utf8.RuneCountInString(s) > 100 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
