package envelope

import (
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"strings"
)

// The texts of a card (docs/spec/cards.md, section 3):
//
//	https://<app>/#c1.<base64url>     a link; what stands behind # is sent to no server
//	web+trunkline:c1.<base64url>      the same for the installed app
//	c1.<base64url>                    what a file holds, too
//	WEB+TRUNKLINE:C1.<BASE32>         in a QR code, whose capitals take less room
const (
	cardMark   = "c1."
	cardQRMark = "C1."
	cardScheme = "web+trunkline:"

	// MaxCardText is the length limit of a text that may hold a card: base32 of the longest
	// card, and room for an app's address.
	MaxCardText = 4096
)

// CardText is the text of a signed card.
func CardText(signed []byte) string {
	return cardMark + base64.RawURLEncoding.EncodeToString(signed)
}

// CardLink is the link to a signed card in the app at this origin (https://acme.example); with
// an empty one, for the installed app.
func CardLink(origin string, signed []byte) string {
	if origin == "" {
		return cardScheme + CardText(signed)
	}
	return strings.TrimSuffix(origin, "/") + "/#" + CardText(signed)
}

// CardQR is the text of a signed card for a QR code of capitals.
func CardQR(signed []byte) string {
	return strings.ToUpper(cardScheme) + cardQRMark + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(signed)
}

// ParseCardText finds the signed card in a text that a person pasted, scanned or opened.
// [ParseCard] reads it.
func ParseCardText(s string) ([]byte, error) {
	if len(s) > MaxCardText {
		return nil, fmt.Errorf("%w: a text of %d characters", ErrCard, len(s))
	}
	s = strings.TrimSpace(s)
	if at := strings.Index(s, "#c"); at >= 0 {
		s = s[at+1:]
	} else if len(s) >= len(cardScheme) && strings.EqualFold(s[:len(cardScheme)], cardScheme) {
		s = strings.TrimPrefix(s[len(cardScheme):], "//")
	}
	var b []byte
	var err error
	switch {
	case strings.HasPrefix(s, cardMark):
		b, err = base64.RawURLEncoding.Strict().DecodeString(s[len(cardMark):])
		if err == nil && base64.RawURLEncoding.EncodeToString(b) != s[len(cardMark):] {
			err = fmt.Errorf("a line break") // the decoder skips them
		}
	case strings.HasPrefix(s, cardQRMark):
		b, err = base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(s[len(cardQRMark):])
		if err == nil && base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b) != s[len(cardQRMark):] {
			err = fmt.Errorf("another form of the same")
		}
	case otherCardVersion(s):
		return nil, ErrCardVersion
	default:
		return nil, fmt.Errorf("%w: it does not begin with c1.", ErrCard)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCard, err)
	}
	return b, nil
}

// otherCardVersion: "c" or "C", a number, a dot.
func otherCardVersion(s string) bool {
	digits := 0
	for digits < 3 && len(s) > digits+1 && s[digits+1] >= '0' && s[digits+1] <= '9' {
		digits++
	}
	return len(s) > digits+1 && (s[0] == 'c' || s[0] == 'C') && digits > 0 && s[digits+1] == '.'
}
