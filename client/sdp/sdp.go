// Package sdp reads just what a call must not believe an SDP about: the certificate's
// fingerprint, the ICE user name, the DTLS role and the addresses. WebRTC libraries read the
// first fingerprint line and take two conflicting ones without an error; this package refuses
// such a description before a library sees it.
//
// Call Check on every description that arrives, Clean on every one that is sent or accepted,
// and ParseCandidate on every candidate line. Nothing here resolves a name or opens a socket.
package sdp

import (
	"bytes"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits, applied before anything is parsed.
const (
	MaxSize       = 16000 // the session message's limit for an SDP
	maxLine       = 1024
	maxLines      = 1024
	maxSections   = 16
	maxCandidates = 64
)

// Errors that callers branch on; all else that is wrong with an SDP wraps ErrSyntax.
var (
	ErrSyntax      = errors.New("sdp: malformed description")
	ErrFingerprint = errors.New("sdp: fingerprint is not the signed one")
)

// Setup is the DTLS role of RFC 8842 as the session's messages carry it.
type Setup uint8

const (
	SetupActive  Setup = 1
	SetupPassive Setup = 2
	SetupActpass Setup = 3
)

func (s Setup) String() string {
	switch s {
	case SetupActive:
		return "active"
	case SetupPassive:
		return "passive"
	case SetupActpass:
		return "actpass"
	}
	return "invalid"
}

// Description is what all sections of an SDP agree on.
type Description struct {
	Fingerprint [32]byte
	Ufrag, Pwd  string
	Setup       Setup
}

// section collects the transport attributes of the session part or of one m= section.
type section struct {
	media    bool
	rejected bool // port 0
	has      map[string]bool
}

// Parse reads the description. Every fingerprint line must be SHA-256, all of them equal, and
// no section may be left without one; the same holds for ufrag, password and setup, since one
// bundled transport carries everything.
func Parse(b []byte) (*Description, error) {
	lines, err := split(b)
	if err != nil {
		return nil, err
	}
	d := &Description{}
	at := section{has: map[string]bool{}}
	session := at
	sections, candidates := 0, 0
	values := map[string]string{}
	for i, line := range lines {
		if len(line) < 2 || line[1] != '=' {
			return nil, fmt.Errorf("%w: line %d", ErrSyntax, i+1)
		}
		if (i == 0) != (line[0] == 'v') || i == 0 && line != "v=0" {
			return nil, fmt.Errorf("%w: not version 0", ErrSyntax)
		}
		if line[0] == 'm' {
			if err := at.complete(session); err != nil {
				return nil, err
			}
			if sections++; sections > maxSections {
				return nil, fmt.Errorf("%w: too many sections", ErrSyntax)
			}
			f := strings.Fields(line[2:])
			if len(f) < 4 {
				return nil, fmt.Errorf("%w: line %d", ErrSyntax, i+1)
			}
			at = section{media: true, rejected: f[1] == "0", has: map[string]bool{}}
			continue
		}
		name, value, ok := attribute(line)
		// A line that another parser might take for a fingerprint although this one does not:
		// other case, blanks, or hidden in another line.
		if strings.Contains(strings.ToLower(line), "fingerprint") && (!ok || name != "fingerprint") {
			return nil, fmt.Errorf("%w: odd fingerprint line", ErrFingerprint)
		}
		if !ok {
			continue
		}
		switch name {
		case "candidate":
			if candidates++; candidates > maxCandidates {
				return nil, fmt.Errorf("%w: too many candidates", ErrSyntax)
			}
			continue
		case "fingerprint":
			fp, err := ParseFingerprint(value)
			if err != nil {
				return nil, err
			}
			value = string(fp[:])
		case "ice-ufrag", "ice-pwd", "setup":
		default:
			continue
		}
		if old, seen := values[name]; seen && old != value {
			if name == "fingerprint" {
				return nil, fmt.Errorf("%w: two that differ", ErrFingerprint)
			}
			return nil, fmt.Errorf("%w: two different %s", ErrSyntax, name)
		}
		values[name] = value
		at.has[name] = true
	}
	if err := at.complete(session); err != nil {
		return nil, err
	}
	if sections == 0 {
		return nil, fmt.Errorf("%w: no media section", ErrSyntax)
	}
	for name, text := range values {
		switch name {
		case "fingerprint":
			copy(d.Fingerprint[:], text)
		case "ice-ufrag":
			d.Ufrag = text
		case "ice-pwd":
			d.Pwd = text
		case "setup":
			if d.Setup, err = parseSetup(text); err != nil {
				return nil, err
			}
		}
	}
	// RFC 8839, 5.4: at least 4 and 22, at most 256 characters.
	if !iceChars(d.Ufrag, 4, 256) || !iceChars(d.Pwd, 22, 256) {
		return nil, fmt.Errorf("%w: ICE credentials", ErrSyntax)
	}
	return d, nil
}

// complete checks that a section has all of the transport, itself or from the session part.
func (s section) complete(session section) error {
	if !s.media {
		return nil
	}
	if s.rejected && len(s.has) == 0 {
		return nil // a refused medium has no transport
	}
	for _, name := range []string{"fingerprint", "ice-ufrag", "ice-pwd", "setup"} {
		if s.has[name] || session.has[name] {
			continue
		}
		if name == "fingerprint" {
			return fmt.Errorf("%w: a section has none", ErrFingerprint)
		}
		return fmt.Errorf("%w: a section has no %s", ErrSyntax, name)
	}
	return nil
}

// Check parses the description and compares it with what was signed beside it. It is to be
// called before the description is given to a WebRTC library (docs/spec/media.md, section 1).
func Check(b []byte, fingerprint [32]byte, ufrag string, setup Setup) (*Description, error) {
	d, err := Parse(b)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(d.Fingerprint[:], fingerprint[:]) != 1 {
		return nil, ErrFingerprint
	}
	if d.Ufrag != ufrag {
		return nil, fmt.Errorf("%w: ufrag is not the signed one", ErrSyntax)
	}
	if d.Setup != setup {
		return nil, fmt.Errorf("%w: setup is not the signed one", ErrSyntax)
	}
	return d, nil
}

// ParseFingerprint reads "sha-256 AB:CD:…", the only hash that is accepted.
func ParseFingerprint(s string) (fp [32]byte, err error) {
	// RFC 8122: the hash's name is case-insensitive and the digits are upper case; browsers
	// have sent lower-case digits.
	algorithm, digits, ok := strings.Cut(s, " ")
	if !ok || !strings.EqualFold(algorithm, "sha-256") {
		return fp, fmt.Errorf("%w: not sha-256", ErrFingerprint)
	}
	if len(digits) != 32*3-1 {
		return fp, fmt.Errorf("%w: wrong length", ErrFingerprint)
	}
	for i := range fp {
		if i > 0 && digits[i*3-1] != ':' {
			return fp, fmt.Errorf("%w: not pairs of digits", ErrFingerprint)
		}
		if _, err := hex.Decode(fp[i:i+1], []byte(digits[i*3:i*3+2])); err != nil {
			return fp, fmt.Errorf("%w: not hexadecimal", ErrFingerprint)
		}
	}
	return fp, nil
}

// FormatFingerprint is the inverse of ParseFingerprint.
func FormatFingerprint(fp [32]byte) string {
	var b strings.Builder
	b.WriteString("sha-256 ")
	for i, c := range fp {
		if i > 0 {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%02X", c)
	}
	return b.String()
}

// RFC 6464 and 6465: the extensions tell everyone on the path who speaks when.
var audioLevels = []string{
	"urn:ietf:params:rtp-hdrext:ssrc-audio-level",
	"urn:ietf:params:rtp-hdrext:csrc-audio-level",
}

// Clean returns the description without audio level extensions and without what is said of a
// payload type that its section does not list. With relayOnly it also drops every candidate that
// is not relayed, hides the related addresses of the others, and empties the addresses of the
// o=, c= and a=rtcp lines.
func Clean(b []byte, relayOnly bool) ([]byte, error) {
	lines, err := split(b)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.Grow(len(b))
	var listed []string // of the section: what its m= line names
	for _, line := range lines {
		name, value, ok := attribute(line)
		switch {
		case strings.HasPrefix(line, "m="):
			listed = strings.Fields(line[2:])
			listed = listed[min(3, len(listed)):]
		case ok && (name == "rtpmap" || name == "fmtp" || name == "rtcp-fb"):
			// Firefox leaves the feedback of formats that were taken out, and Chromium refuses
			// a description that has any.
			format, _, _ := strings.Cut(value, " ")
			if format != "*" && !slices.Contains(listed, format) {
				continue
			}
		case ok && name == "extmap":
			f := strings.Fields(value)
			if len(f) >= 2 && slices.Contains(audioLevels, f[1]) {
				continue
			}
		case ok && name == "candidate" && relayOnly:
			c, err := ParseCandidate("candidate:" + value)
			if err != nil || c.Type != Relay {
				continue
			}
			line = "a=" + c.Hidden().String()
		case ok && name == "rtcp" && relayOnly:
			line = "a=rtcp:9 IN IP4 0.0.0.0"
		case relayOnly && strings.HasPrefix(line, "c="):
			line = "c=IN IP4 0.0.0.0"
		case relayOnly && strings.HasPrefix(line, "o="):
			f := strings.Fields(line)
			if len(f) != 6 {
				return nil, fmt.Errorf("%w: origin", ErrSyntax)
			}
			f[3], f[4], f[5] = "IN", "IP4", "0.0.0.0"
			line = strings.Join(f, " ")
		}
		out.WriteString(line)
		out.WriteString("\r\n")
	}
	return out.Bytes(), nil
}

// split cuts the description into lines, of which an empty last one is none.
func split(b []byte) ([]string, error) {
	if len(b) == 0 || len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrSyntax, len(b))
	}
	if bytes.Count(b, []byte{'\n'}) > maxLines {
		return nil, fmt.Errorf("%w: too many lines", ErrSyntax)
	}
	lines := strings.Split(string(b), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	for i, line := range lines {
		line = strings.TrimSuffix(line, "\r")
		if len(line) > maxLine {
			return nil, fmt.Errorf("%w: line %d is too long", ErrSyntax, i+1)
		}
		// A lone CR, a NUL or another control character can end a line for one parser and
		// not for the next.
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 }) {
			return nil, fmt.Errorf("%w: control character in line %d", ErrSyntax, i+1)
		}
		lines[i] = line
	}
	return lines, nil
}

// attribute reads "a=name" or "a=name:value".
func attribute(line string) (name, value string, ok bool) {
	rest, ok := strings.CutPrefix(line, "a=")
	if !ok {
		return "", "", false
	}
	name, value, _ = strings.Cut(rest, ":")
	return name, value, true
}

func parseSetup(s string) (Setup, error) {
	for _, v := range []Setup{SetupActive, SetupPassive, SetupActpass} {
		if s == v.String() {
			return v, nil
		}
	}
	return 0, fmt.Errorf("%w: setup", ErrSyntax)
}

// iceChars reports whether s has between low and high characters of RFC 8839's ice-char.
func iceChars(s string, low, high int) bool {
	if len(s) < low || len(s) > high {
		return false
	}
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' {
			continue
		}
		return false
	}
	return true
}
