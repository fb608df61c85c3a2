package transfer

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// Test 72: whatever a stranger calls a file, the name is one visible element of a path.
func Test14_72_NamesAreCleaned(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 200)
	for in, want := range map[string]string{
		"report.pdf":                  "report.pdf",
		"Grüße an 東京 🎉.txt":           "Grüße an 東京 🎉.txt",
		"a b.c.tar.gz":                "a b.c.tar.gz",
		"":                            "file",
		".":                           "file",
		"..":                          "file",
		"...":                         "file",
		" . . ":                       "file",
		"/":                           "file",
		"a/":                          "file",
		"../../etc/passwd":            "passwd",
		"/etc/passwd":                 "passwd",
		`..\..\boot.ini`:              "boot.ini",
		`C:\Users\x\a.txt`:            "a.txt",
		"a/b\\c/d":                    "d",
		"C:evil.exe":                  "C_evil.exe",
		"file.txt:stream":             "file.txt_stream",
		"what?.txt":                   "what_.txt",
		`<"|*>`:                       "_____",
		"a\x00b.txt":                  "ab.txt",
		"\x00":                        "file",
		"a\r\nb\tc\x1b[31m\x7f\u0085": "abc[31m",
		"photo\u202egpj.exe":          "photogpj.exe",
		"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061cx": "x",
		"\ufeffa\u200b\u200c\u200d\u2060b\u00ad":                                    "ab",
		"a\u2028b\u2029c":                                                           "abc",
		"\U000e0041tag":                                                             "tag",
		"\u3164\u2800":                                                              "file",
		"no\u00a0break\u3000space":                                                  "no break space",
		".bashrc":                                                                   "bashrc",
		"\u202e.bashrc":                                                             "bashrc",
		"...x":                                                                      "x",
		".. ../.ssh":                                                                "ssh",
		"name.":                                                                     "name",
		"name. . .":                                                                 "name",
		"name ":                                                                     "name",
		"name.txt \u200b":                                                           "name.txt",
		"CON":                                                                       "_CON",
		"con.txt":                                                                   "_con.txt",
		"nul .tar.gz":                                                               "_nul .tar.gz",
		"COM1":                                                                      "_COM1",
		"lpt9.x":                                                                    "_lpt9.x",
		"COM¹":                                                                      "_COM¹",
		"COM10":                                                                     "COM10",
		"CONSOLE":                                                                   "CONSOLE",
		"aux.":                                                                      "_aux",
		".con":                                                                      "_con",
		"bad\xff\xfeutf8":                                                           "bad_utf8",
		long + ".jpeg":                                                              strings.Repeat("é", 125) + ".jpeg",
		strings.Repeat("a", 300):                                                    strings.Repeat("a", 255),
		"x." + strings.Repeat("e", 300):                                             "x." + strings.Repeat("e", 253),
		strings.Repeat("a", 254) + ".":                                              strings.Repeat("a", 254),
		strings.Repeat("a", 250) + "    .txt":                                       strings.Repeat("a", 250) + ".txt",
	} {
		if got := CleanName(in); got != want {
			t.Errorf("%q became %q, not %q", in, got, want)
		}
	}
}

func checkName(t *testing.T, in, out string) {
	t.Helper()
	bad := ""
	switch {
	case out == "" || len(out) > 255:
		bad = "length"
	case !utf8.ValidString(out):
		bad = "UTF-8"
	case filepath.Base(out) != out || !filepath.IsLocal(out) || strings.ContainsAny(out, "/\\\x00:"):
		bad = "path"
	case strings.HasPrefix(out, ".") || strings.HasPrefix(out, " ") || strings.HasSuffix(out, ".") || strings.HasSuffix(out, " "):
		bad = "ends"
	case strings.ContainsFunc(out, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }):
		bad = "invisible"
	case reserved(out):
		bad = "reserved"
	case CleanName(out) != out:
		bad = "not idempotent: " + CleanName(out)
	}
	if bad != "" {
		t.Errorf("%q became %q: %s", in, out, bad)
	}
}

func FuzzCleanName(f *testing.F) {
	for _, s := range []string{
		"", "a.txt", "../x", "con", "a\u202eb", "\xff", strings.Repeat("é.", 200), strings.Repeat(" .", 200), "." + strings.Repeat("x", 300),
		strings.Repeat("a", 222) + " " + strings.Repeat(".", 40) + strings.Repeat("b", 31), "lpt1 .x", "_" + strings.Repeat("c", 254),
	} {
		f.Add(s, 2)
	}
	f.Fuzz(func(t *testing.T, s string, n int) {
		out := CleanName(s)
		checkName(t, s, out)
		n = 2 + (n&0xfff)%maxNumber
		number := numberedName(out, n)
		checkName(t, s, number)
		if number == out {
			t.Errorf("number %d of %q is itself", n, out)
		}
		if hidden := partName(out, [4]byte{1}); !plainName(hidden) || hidden[0] != '.' || !utf8.ValidString(hidden) {
			t.Errorf("hidden name %q", hidden)
		}
	})
}

func TestNumberedNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		n    int
		want string
	}{
		{"a.txt", 1, "a.txt"}, {"a.txt", 2, "a (2).txt"}, {"a", 10, "a (10)"}, {"a.tar.gz", 3, "a.tar (3).gz"},
		{strings.Repeat("a", 251) + ".txt", 12, strings.Repeat("a", 246) + " (12).txt"},
	} {
		if got := numberedName(c.name, c.n); got != c.want {
			t.Errorf("number %d of %q is %q", c.n, c.name, got)
		}
	}
}
