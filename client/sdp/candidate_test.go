package sdp

import (
	"strings"
	"testing"
)

func TestCandidatesRoundTrip(t *testing.T) {
	for _, line := range []string{
		"candidate:2070692838 1 udp 2130706431 192.0.2.2 37969 typ host ufrag njXDKWBkwyPOVHLl",
		"candidate:1 1 udp 2130706431 2001:db8::2 56711 typ host",
		"candidate:1 1 tcp 1518280447 192.0.2.2 9 typ host tcptype active",
		"candidate:4 1 udp 1694498815 198.51.100.4 40000 typ srflx raddr 192.0.2.7 rport 37969 generation 0",
		"candidate:3 1 udp 16777215 203.0.113.9 50000 typ relay raddr 0.0.0.0 rport 0",
	} {
		c, err := ParseCandidate(line)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if c.String() != line {
			t.Errorf("%s became %s", line, c)
		}
		if d, err := ParseCandidate("a=" + line); err != nil || d.String() != line {
			t.Errorf("a=%s: %s, %v", line, d, err)
		}
	}
}

func TestHiddenCandidate(t *testing.T) {
	for in, want := range map[string]string{
		"candidate:3 1 udp 16777215 203.0.113.9 50000 typ relay raddr 192.0.2.7 rport 41234 ufrag abcd network-id 2": "candidate:3 1 udp 16777215 203.0.113.9 50000 typ relay raddr 0.0.0.0 rport 9 ufrag abcd",
		"candidate:3 1 udp 16777215 2001:db8::9 50000 typ relay raddr fd00::7 rport 41234":                           "candidate:3 1 udp 16777215 2001:db8::9 50000 typ relay raddr :: rport 9",
		"candidate:3 1 udp 16777215 203.0.113.9 50000 typ relay":                                                     "candidate:3 1 udp 16777215 203.0.113.9 50000 typ relay raddr 0.0.0.0 rport 9",
	} {
		c, err := ParseCandidate(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Hidden().String(); got != want {
			t.Errorf("%s became %s", in, got)
		}
	}
}

func TestBadCandidates(t *testing.T) {
	const ok = "candidate:1 1 udp 2130706431 192.0.2.2 37969 typ host"
	if _, err := ParseCandidate(ok); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"", "candidate:", "candidate", strings.TrimPrefix(ok, "candidate:"),
		ok + strings.Repeat(" x y", 60),
		ok + "\n", ok + "\x00", ok + " é é", ok + " odd", ok + "  x",
		strings.Replace(ok, "192.0.2.2", "b0e1a1c2-9d1c.local", 1),
		strings.Replace(ok, "192.0.2.2", "relay.example", 1),
		strings.Replace(ok, "192.0.2.2", "0.0.0.0", 1),
		strings.Replace(ok, "192.0.2.2", "224.0.0.251", 1),
		strings.Replace(ok, "192.0.2.2", "fe80::1%eth0", 1),
		strings.Replace(ok, "192.0.2.2", "192.0.2.02", 1),
		strings.Replace(ok, "37969", "0", 1),
		strings.Replace(ok, "37969", "65536", 1),
		strings.Replace(ok, "37969", "-1", 1),
		strings.Replace(ok, "udp", "sctp", 1),
		strings.Replace(ok, "host", "tunnel", 1),
		strings.Replace(ok, "typ", "type", 1),
		strings.Replace(ok, "2130706431", "4294967296", 1),
		strings.Replace(ok, "2130706431", "0", 1),
		strings.Replace(ok, ":1 1 ", ":1 0 ", 1),
		strings.Replace(ok, ":1 1 ", ":1 256 ", 1),
		strings.Replace(ok, ":1 1 ", ": 1 ", 1),
		strings.Replace(ok, ":1 1 ", ":a_b 1 ", 1),
		"candidate:3 1 udp 16777215 203.0.113.9 50000 typ relay raddr host.example rport 1",
		"candidate:3 1 udp 16777215 203.0.113.9 50000 typ relay raddr 192.0.2.7",
		"candidate:3 1 udp 16777215 203.0.113.9 50000 typ relay rport 5 raddr 192.0.2.7",
	} {
		if c, err := ParseCandidate(line); err == nil {
			t.Errorf("%q was taken as %s", line, c)
		}
	}
}

func FuzzParseCandidate(f *testing.F) {
	f.Add("candidate:2070692838 1 udp 2130706431 192.0.2.2 37969 typ host ufrag njXDKWBkwyPOVHLl")
	f.Add("a=candidate:3 1 TCP 16777215 203.0.113.9 50000 typ relay raddr 192.0.2.7 rport 41234 tcptype so")
	f.Add("candidate:1 1 udp 1 x.local 9 typ host")
	f.Fuzz(func(t *testing.T, line string) {
		c, err := ParseCandidate(line)
		if err != nil {
			return
		}
		d, err := ParseCandidate(c.String())
		if err != nil || d.String() != c.String() {
			t.Fatalf("%q became %q: %v", line, c, err)
		}
		h := c.Hidden()
		if h.Type != Host && (!h.Related.Addr().IsUnspecified() || h.Related.Port() != 9) {
			t.Fatalf("%q hidden is %q", line, h)
		}
	})
}
