package demo

import (
	"fmt"
	"strings"
)

// needlesOf picks out of descriptions and candidates what a node must not hold: the secrets
// and fingerprints of the SDP, whole candidate lines, and the addresses behind the relay.
// Lines that every call has alike would be found in any program and prove nothing. The ICE
// user fragment is not among them: connectivity checks carry it in clear over the media path
// (RFC 8445 section 7.2.2), and so past the relay.
func needlesOf(texts []string) []secret {
	var out []secret
	seen := make(map[string]bool)
	add := func(name, value string) {
		if len(value) < 8 || seen[value] {
			return
		}
		seen[value] = true
		out = append(out, secret{Name: fmt.Sprintf("%s %d", name, len(out)+1), Forms: [][]byte{[]byte(value)}})
	}
	for _, text := range texts {
		for _, line := range strings.Split(strings.ReplaceAll(text, "\r", ""), "\n") {
			if origin, ok := strings.CutPrefix(line, "o="); ok { // its session id is drawn for each call
				add("origin line", origin)
				continue
			}
			line = strings.TrimPrefix(line, "a=")
			name, value, ok := strings.Cut(line, ":")
			if !ok {
				continue
			}
			switch name {
			case "ice-pwd":
				add(name, value)
			case "fingerprint":
				if _, digest, ok := strings.Cut(value, " "); ok {
					add(name, digest)
				}
			case "candidate":
				add(name, line)
			}
		}
	}
	return out
}
