package peer

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"strings"
)

// Terms are what an offer says of the connection itself. All sections share one (BUNDLE).
type Terms struct {
	Ufrag, Pwd string // the client's ICE credentials
	Print      Fingerprint
}

// Fingerprint is the digest of a certificate (RFC 8122).
type Fingerprint struct {
	hash string
	sum  string
}

// digests are the functions that may be used; a client always has the first one.
var digests = map[string]func([]byte) []byte{
	"sha-256": func(b []byte) []byte { s := sha256.Sum256(b); return s[:] },
	"sha-384": func(b []byte) []byte { s := sha512.Sum384(b); return s[:] },
	"sha-512": func(b []byte) []byte { s := sha512.Sum512(b); return s[:] },
}

// Matches reports whether the certificate, in DER, is the one that is meant.
func (f Fingerprint) Matches(certificate []byte) bool {
	digest := digests[f.hash]
	return digest != nil && subtle.ConstantTimeCompare(digest(certificate), []byte(f.sum)) == 1
}

// PrintOf is the fingerprint of a certificate as descriptions write it.
func PrintOf(certificate []byte) string {
	var pairs []string
	for _, b := range sha256.Sum256(certificate) {
		pairs = append(pairs, strings.ToUpper(hex.EncodeToString([]byte{b})))
	}
	return "sha-256 " + strings.Join(pairs, ":")
}

// level is what was said at one level of the description: the session's, which counts for every section that does not
// say it again, or a section's.
type level struct {
	ufrag, pwd string
	print      Fingerprint
	mux        bool
	gone       bool // port 0
	bundled    bool // and still there: bundle-only
}

// attribute reads what concerns the connection.
func (l *level) attribute(name, value string) error {
	switch name {
	case "ice-ufrag":
		if !iceText(value, 4) {
			return bad("an ice-ufrag that is none")
		}
		l.ufrag = value
	case "ice-pwd":
		if !iceText(value, 22) {
			return bad("an ice-pwd that is none")
		}
		l.pwd = value
	case "fingerprint":
		return l.fingerprint(value)
	case "setup":
		if value != "actpass" && value != "active" {
			return bad("a client that waits for the handshake, and so does the server")
		}
	case "rtcp-mux":
		l.mux = true
	case "bundle-only":
		l.bundled = true
	}
	return nil
}

func (l *level) fingerprint(value string) error {
	hash, text, _ := strings.Cut(value, " ")
	hash = strings.ToLower(hash)
	digest := digests[hash]
	if digest == nil {
		return nil // another one may follow
	}
	sum, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(text), ":", ""))
	if err != nil || len(sum) != len(digest(nil)) {
		return bad("a fingerprint that is none")
	}
	f := Fingerprint{hash, string(sum)}
	if l.print.hash == f.hash && l.print != f {
		return bad("two fingerprints")
	}
	if l.print.hash == "" {
		l.print = f
	}
	return nil
}

// iceText reports whether s is made of ice-chars (RFC 8839, 5.4) and long enough.
func iceText(s string, least int) bool {
	return len(s) >= least && len(s) <= 256 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '+' && r != '/'
	})
}

// under gives what a section has not said for itself.
func (l level) under(session level) level {
	if l.ufrag == "" {
		l.ufrag, l.pwd = session.ufrag, session.pwd
	}
	if l.print.hash == "" {
		l.print = session.print
	}
	l.mux = l.mux || session.mux
	return l
}

// agree finds the terms of the bundle, which its first section sets (RFC 8843, 7.2), and refuses what is not in it.
func (p *parser) agree(o *Offer) error {
	found := false
	for i := range o.Sections {
		s := &o.Sections[i]
		if s.Gone || len(s.Codecs) == 0 {
			continue
		}
		l := p.levels[i].under(p.session)
		switch {
		case !slices.Contains(p.bundle, s.Mid):
			return bad("a section outside the bundle")
		case !l.mux:
			return bad("a section without rtcp-mux")
		}
	}
	for _, mid := range p.bundle {
		i := slices.IndexFunc(o.Sections, func(s Section) bool { return s.Mid == mid })
		if i < 0 || o.Sections[i].Gone || len(o.Sections[i].Codecs) == 0 {
			continue
		}
		l := p.levels[i].under(p.session)
		o.Terms, found = Terms{Ufrag: l.ufrag, Pwd: l.pwd, Print: l.print}, true
		break
	}
	for i := 0; !found && i < len(p.levels); i++ {
		// Nothing of it is taken; whose it is still counts.
		l := p.levels[i].under(p.session)
		o.Terms, found = Terms{Ufrag: l.ufrag, Pwd: l.pwd, Print: l.print}, l.ufrag != ""
	}
	if o.Terms.Print.hash == "" {
		return bad("no fingerprint")
	}
	if o.Terms.Ufrag == "" || o.Terms.Pwd == "" {
		return bad("no ICE credentials")
	}
	return nil
}
