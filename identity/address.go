package identity

import (
	"errors"
	"fmt"
	"strings"
)

// Address says whom to reach and where: "tl1…@domain", or "tl1…@domain/12D3…" with the
// peer id of the home node, which contact links carry so that the first look-up does not
// rest on the own node's word.
type Address struct {
	Root   PublicKey
	Domain string
	Home   PeerID // zero if unknown
}

// String returns the one text form of a.
func (a Address) String() string {
	s := a.Root.ID() + "@" + a.Domain
	if !a.Home.IsZero() {
		s += "/" + a.Home.String()
	}
	return s
}

// maxAddress is the id, "@", the longest domain, "/", and the longest peer id.
const maxAddress = idLength + 1 + maxDomain + 1 + 52

// ParseAddress reads an address. It refuses text around it.
func ParseAddress(s string) (Address, error) {
	if len(s) > maxAddress {
		return Address{}, errors.New("address is too long: write tl1…@domain")
	}
	id, rest, ok := strings.Cut(s, "@")
	if !ok {
		return Address{}, errors.New("address has no @domain: write tl1…@domain")
	}
	root, err := ParseID(id)
	if err != nil {
		return Address{}, err
	}
	a := Address{Root: root}
	var home string
	a.Domain, home, ok = strings.Cut(rest, "/")
	if err := CheckDomain(a.Domain); err != nil {
		return Address{}, err
	}
	if ok {
		if a.Home, err = ParsePeerID(home); err != nil {
			return Address{}, err
		}
	}
	return a, nil
}

const maxDomain = 253

// CheckDomain accepts a DNS name in its one written form: lower case, no trailing dot, at
// most 253 bytes, labels of 1 to 63 letters, digits and inner hyphens. Names in other
// scripts are written in their "xn--" form. An IP address is not a name.
func CheckDomain(s string) error {
	if s == "" || len(s) > maxDomain {
		return fmt.Errorf("domain of %d bytes: 1 to %d", len(s), maxDomain)
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("domain %q: a label is empty, too long, or begins or ends with a hyphen", s)
		}
		for i := range len(label) {
			c := label[i]
			switch {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-':
			case 'A' <= c && c <= 'Z':
				return fmt.Errorf("domain %q: write it in lower case", s)
			default:
				return fmt.Errorf("domain %q: only letters, digits, hyphens and dots", s)
			}
		}
	}
	top := s[strings.LastIndexByte(s, '.')+1:]
	if strings.Trim(top, "0123456789") == "" {
		return fmt.Errorf("domain %q: an address in numbers is not a domain", s)
	}
	return nil
}
