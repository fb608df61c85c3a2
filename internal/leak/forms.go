package leak

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"unicode/utf16"
)

// Secret is a needle for a binary value: as it is, in hexadecimal, with colons as
// fingerprints have them, and in base64 wherever in an encoded piece it lies.
func Secret(name string, value []byte) Needle {
	n := Needle{Name: name}
	small := hex.EncodeToString(value)
	var pairs []string
	for i := 0; i < len(small); i += 2 {
		pairs = append(pairs, small[i:i+2])
	}
	colons := strings.Join(pairs, ":")
	n.add(value, []byte(small), []byte(strings.ToUpper(small)), []byte(colons), []byte(strings.ToUpper(colons)))
	n.add(inBase64(value)...)
	return n
}

// Text is a needle for text: as it is, in capitals and in small letters, in UTF-16, escaped as
// in JSON and in addresses, and as a [Secret].
func Text(name, value string) Needle {
	n := Secret(name, []byte(value))
	n.add([]byte(strings.ToUpper(value)), []byte(strings.ToLower(value)), []byte(url.QueryEscape(value)), []byte(url.PathEscape(value)))
	if quoted, err := json.Marshal(value); err == nil {
		n.add(quoted[1 : len(quoted)-1])
	}
	var little, big []byte
	for _, u := range utf16.Encode([]rune(value)) {
		little, big = append(little, byte(u), byte(u>>8)), append(big, byte(u>>8), byte(u))
	}
	n.add(little, big)
	return n
}

// And adds forms that only this value has, such as an identity's text.
func (n Needle) And(forms ...string) Needle {
	n.Forms = append([][]byte(nil), n.Forms...)
	for _, f := range forms {
		n.add([]byte(f))
	}
	return n
}

// add leaves out what is too short to search for, unless it is the first: that [New] refuses.
func (n *Needle) add(forms ...[]byte) {
	for _, f := range forms {
		if len(n.Forms) > 0 && len(f) < minForm {
			continue
		}
		known := false
		for _, old := range n.Forms {
			known = known || string(old) == string(f)
		}
		if !known {
			n.Forms = append(n.Forms, f)
		}
	}
}

// inBase64 is what all base64 texts of a piece share that has the value in it: for each of
// the three ways in which it can lie to groups of three bytes, the letters that depend on
// nothing else.
func inBase64(value []byte) (forms [][]byte) {
	for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			text := alphabet.EncodeToString(append(make([]byte, before), value...))
			// The first letters hold bits of what is before, the last those of what follows.
			text = text[(before*8+5)/6:]
			if (before+len(value))%3 != 0 {
				text = text[:len(text)-1]
			}
			forms = append(forms, []byte(text))
		}
	}
	return forms
}
