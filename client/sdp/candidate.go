package sdp

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// MaxCandidate is the length limit of one candidate line.
const MaxCandidate = 256

// ErrCandidate: the line is malformed or names no address that can be used.
var ErrCandidate = errors.New("sdp: bad candidate")

// CandidateType is how the address was found.
type CandidateType string

const (
	Host            CandidateType = "host"
	ServerReflexive CandidateType = "srflx"
	PeerReflexive   CandidateType = "prflx"
	Relay           CandidateType = "relay"
)

// Candidate is one ICE candidate, RFC 8839, 5.1.
type Candidate struct {
	Foundation string
	Component  uint16
	Transport  string // "udp" or "tcp"
	Priority   uint32
	Addr       netip.AddrPort
	Type       CandidateType
	Related    netip.AddrPort // invalid for host
	Extensions []string       // name, value, name, value, …
}

// ParseCandidate reads "candidate:…", with or without "a=" in front. A name instead of an
// address is refused: resolving it would tell a name server, or the local network by mDNS,
// about the call.
func ParseCandidate(line string) (Candidate, error) {
	var c Candidate
	if len(line) > MaxCandidate {
		return c, fmt.Errorf("%w: too long", ErrCandidate)
	}
	for _, b := range []byte(line) {
		if b < ' ' || b >= 0x7f {
			return c, fmt.Errorf("%w: not plain text", ErrCandidate)
		}
	}
	rest, ok := strings.CutPrefix(strings.TrimPrefix(line, "a="), "candidate:")
	if !ok {
		return c, fmt.Errorf("%w: no candidate", ErrCandidate)
	}
	f := strings.Split(rest, " ")
	if len(f) < 8 || f[6] != "typ" {
		return c, fmt.Errorf("%w: fields", ErrCandidate)
	}
	c.Foundation = f[0]
	if !iceChars(c.Foundation, 1, 32) {
		return c, fmt.Errorf("%w: foundation", ErrCandidate)
	}
	component, err := strconv.ParseUint(f[1], 10, 8)
	if err != nil || component < 1 {
		return c, fmt.Errorf("%w: component", ErrCandidate)
	}
	c.Component = uint16(component)
	c.Transport = strings.ToLower(f[2])
	if c.Transport != "udp" && c.Transport != "tcp" {
		return c, fmt.Errorf("%w: transport", ErrCandidate)
	}
	priority, err := strconv.ParseUint(f[3], 10, 32)
	if err != nil || priority == 0 {
		return c, fmt.Errorf("%w: priority", ErrCandidate)
	}
	c.Priority = uint32(priority)
	if c.Addr, err = addrPort(f[4], f[5]); err != nil {
		return c, err
	}
	if a := c.Addr.Addr(); a.IsUnspecified() || a.IsMulticast() || c.Addr.Port() == 0 {
		return c, fmt.Errorf("%w: address cannot be reached", ErrCandidate)
	}
	c.Type = CandidateType(f[7])
	switch c.Type {
	case Host, ServerReflexive, PeerReflexive, Relay:
	default:
		return c, fmt.Errorf("%w: type", ErrCandidate)
	}
	f = f[8:]
	if len(f) >= 4 && f[0] == "raddr" && f[2] == "rport" {
		if c.Related, err = addrPort(f[1], f[3]); err != nil {
			return c, err
		}
		f = f[4:]
	}
	if len(f)%2 != 0 {
		return c, fmt.Errorf("%w: extensions", ErrCandidate)
	}
	for _, e := range f {
		if e == "" || e == "raddr" || e == "rport" {
			return c, fmt.Errorf("%w: extensions", ErrCandidate)
		}
	}
	c.Extensions = f
	return c, nil
}

func addrPort(address, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("%w: not an address", ErrCandidate)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: port", ErrCandidate)
	}
	return netip.AddrPortFrom(a, uint16(p)), nil
}

// Hidden returns c without the address behind it and without extensions that describe the
// network (browsers send its id and cost). RFC 8839 wants the related address to be there, some
// parsers insist on it, and says that 0.0.0.0 and 9 stand for "not told".
func (c Candidate) Hidden() Candidate {
	var kept []string
	for i := 0; i+1 < len(c.Extensions); i += 2 {
		if c.Extensions[i] == "ufrag" || c.Extensions[i] == "tcptype" {
			kept = append(kept, c.Extensions[i:i+2]...)
		}
	}
	c.Extensions = kept
	if c.Type == Host {
		return c
	}
	none := netip.IPv4Unspecified()
	if c.Addr.Addr().Is6() {
		none = netip.IPv6Unspecified()
	}
	c.Related = netip.AddrPortFrom(none, 9)
	return c
}

// String is the line without "a=".
func (c Candidate) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "candidate:%s %d %s %d %s %d typ %s",
		c.Foundation, c.Component, c.Transport, c.Priority, c.Addr.Addr(), c.Addr.Port(), c.Type)
	if c.Related.IsValid() {
		fmt.Fprintf(&b, " raddr %s rport %d", c.Related.Addr(), c.Related.Port())
	}
	for _, e := range c.Extensions {
		b.WriteString(" " + e)
	}
	return b.String()
}
