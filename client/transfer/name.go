package transfer

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	defaultName  = "file"
	maxFileName  = 255 // bytes; what ext4, APFS and NTFS can all hold
	maxExtension = 32  // bytes kept when a long name is cut; more is no extension
)

// CleanName makes a name from a stranger safe to create and to look at: one path element on
// every system, not hidden, without characters that are invisible or turn the text around,
// 1 to 255 bytes of UTF-8 (protocol.md, test 72). It is idempotent.
func CleanName(name string) string {
	name = strings.ToValidUTF8(name, "_")
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.Map(cleanRune, name)
	name = trimName(name)
	if reserved(name) {
		name = "_" + name
	}
	return trimName(fitName(name, "", maxFileName))
}

// cleanRune drops what cannot be seen: control characters, NUL among them, the format
// characters (bidirectional marks, joiners, the byte order mark, tags), line and paragraph
// separators, and the blanks that count as letters. A person who is asked about "photo.jpg"
// must not get "photo<RLO>gpj.exe".
func cleanRune(r rune) rune {
	switch {
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Noncharacter_Code_Point):
		return -1
	case strings.ContainsRune("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0", r):
		return -1
	case unicode.IsSpace(r):
		return ' '
	case strings.ContainsRune(`<>:"|?*`, r): // Windows refuses them; ':' names a stream there
		return '_'
	}
	return r
}

// trimName takes leading dots (hidden files) and trailing dots and spaces (Windows drops them,
// so that two names become one) away.
func trimName(name string) string {
	name = strings.TrimLeft(name, ". ")
	name = strings.TrimRight(name, ". ")
	if name == "" {
		return defaultName
	}
	return name
}

// reserved says whether Windows takes name for a device, with any extension.
func reserved(name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	stem = strings.ToUpper(strings.TrimRight(stem, " "))
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$":
		return true
	}
	for _, port := range []string{"COM", "LPT"} {
		if digit, ok := strings.CutPrefix(stem, port); ok && utf8.RuneCountInString(digit) == 1 && strings.Contains("0123456789¹²³", digit) {
			return true
		}
	}
	return false
}

// fitName puts mark between stem and extension, and cuts the stem so that the whole has at
// most limit bytes.
func fitName(name, mark string, limit int) string {
	ext := path.Ext(name)
	if len(ext) > maxExtension || len(ext) == len(name) {
		ext = ""
	}
	stem := strings.TrimSuffix(name, ext)
	if len(stem)+len(mark)+len(ext) > limit {
		stem = strings.TrimRight(cutText(stem, limit-len(mark)-len(ext)), ". ")
	}
	return stem + mark + ext
}

// numberedName is the n-th name to try for a file: the second is "name (2).ext".
func numberedName(name string, n int) string {
	if n < 2 {
		return name
	}
	return fitName(name, fmt.Sprintf(" (%d)", n), maxFileName)
}

// partName is the hidden file that a transfer is written to. The mark is random, so that two
// transfers of the same name never meet.
func partName(name string, mark [4]byte) string {
	end := fmt.Sprintf(".%x.part", mark)
	return "." + cutText(name, maxFileName-1-len(end)) + end
}

// cutText cuts s to at most n bytes, at the border of a character.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
