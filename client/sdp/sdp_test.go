package sdp

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

const (
	fpLine    = "a=fingerprint:sha-256 43:E8:D0:E6:DA:46:4E:62:01:91:7B:F2:66:9B:82:1D:02:3B:84:27:FA:87:F4:6F:B4:34:80:87:CE:FD:B0:9F"
	otherLine = "a=fingerprint:sha-256 00:E8:D0:E6:DA:46:4E:62:01:91:7B:F2:66:9B:82:1D:02:3B:84:27:FA:87:F4:6F:B4:34:80:87:CE:FD:B0:9F"
	sha1Line  = "a=fingerprint:sha-1 43:E8:D0:E6:DA:46:4E:62:01:91:7B:F2:66:9B:82:1D:02:3B:84:27"
)

var fp = [32]byte{0x43, 0xE8, 0xD0, 0xE6, 0xDA, 0x46, 0x4E, 0x62, 0x01, 0x91, 0x7B, 0xF2, 0x66, 0x9B, 0x82, 0x1D,
	0x02, 0x3B, 0x84, 0x27, 0xFA, 0x87, 0xF4, 0x6F, 0xB4, 0x34, 0x80, 0x87, 0xCE, 0xFD, 0xB0, 0x9F}

var transport = []string{"a=ice-ufrag:njXDKWBkwyPOVHLl", "a=ice-pwd:vjGHtFqhtkibeSZLOidhPXnRDIGwCTxg", "a=setup:actpass"}

// offer builds a description with audio, video and data; the arguments are further lines of the
// session part and of each section.
func offer(session, audio, video, data []string) []byte {
	lines := []string{"v=0", "o=- 3688752784069454908 1795197442 IN IP4 192.0.2.7", "s=-", "t=0 0", "a=group:BUNDLE 0 1 2"}
	lines = append(lines, session...)
	for i, m := range []struct {
		line  string
		extra []string
	}{
		{"m=audio 9 UDP/TLS/RTP/SAVPF 111", audio},
		{"m=video 9 UDP/TLS/RTP/SAVPF 96", video},
		{"m=application 9 UDP/DTLS/SCTP webrtc-datachannel", data},
	} {
		lines = append(lines, m.line, "c=IN IP4 192.0.2.7", "a=mid:"+string(rune('0'+i)))
		lines = append(lines, transport...)
		lines = append(lines, m.extra...)
	}
	return []byte(strings.Join(lines, "\r\n") + "\r\n")
}

func good() []byte { return offer([]string{fpLine}, nil, nil, nil) }

func TestParseReadsWhatIsSigned(t *testing.T) {
	for name, sdp := range map[string][]byte{
		"fingerprint for the session":        good(),
		"fingerprint in every section":       offer(nil, []string{fpLine}, []string{fpLine}, []string{fpLine}),
		"both, equal":                        offer([]string{fpLine}, []string{fpLine}, nil, nil),
		"lower-case digits, upper-case name": offer([]string{"a=fingerprint:SHA-256 " + strings.ToLower(fpLine[len("a=fingerprint:sha-256 "):])}, nil, nil, nil),
		"line feeds alone":                   bytes.ReplaceAll(good(), []byte("\r\n"), []byte("\n")),
		"no last line end":                   bytes.TrimSuffix(good(), []byte("\r\n")),
		"a refused medium without transport": append(good(), "m=audio 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\n"...),
	} {
		d, err := Check(sdp, fp, "njXDKWBkwyPOVHLl", SetupActpass)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d.Fingerprint != fp || d.Ufrag != "njXDKWBkwyPOVHLl" || d.Pwd != "vjGHtFqhtkibeSZLOidhPXnRDIGwCTxg" || d.Setup != SetupActpass {
			t.Errorf("%s: read %+v", name, d)
		}
	}
	if got := "a=fingerprint:" + FormatFingerprint(fp); got != fpLine {
		t.Errorf("formatted as %s", got)
	}
}

// Test 52: the SDP's fingerprint differs from the signed field.
func Test14_52_FingerprintThatDiffersFromTheSignedOne(t *testing.T) {
	for i := range fp {
		signed := fp
		signed[i] ^= 1
		if _, err := Check(good(), signed, "njXDKWBkwyPOVHLl", SetupActpass); !errors.Is(err, ErrFingerprint) {
			t.Fatalf("byte %d differs: %v", i, err)
		}
	}
	if _, err := Check(good(), fp, "anotherUfrag", SetupActpass); err == nil {
		t.Fatal("another ufrag than the signed one was taken")
	}
	if _, err := Check(good(), fp, "njXDKWBkwyPOVHLl", SetupActive); err == nil {
		t.Fatal("another setup than the signed one was taken")
	}
}

// Test 53: two differing fingerprint lines, a sha-1 line, a fingerprint in one section only.
func Test14_53_AmbiguousFingerprints(t *testing.T) {
	short := fpLine[:len(fpLine)-3]
	for name, sdp := range map[string][]byte{
		"two in the session, right one first": offer([]string{fpLine, otherLine}, nil, nil, nil),
		"two in the session, right one last":  offer([]string{otherLine, fpLine}, nil, nil, nil),
		"session right, section wrong":        offer([]string{fpLine}, nil, []string{otherLine}, nil),
		"session wrong, sections right":       offer([]string{otherLine}, []string{fpLine}, []string{fpLine}, []string{fpLine}),
		"sha-1 alone":                         offer([]string{sha1Line}, nil, nil, nil),
		"sha-1 beside the right one":          offer([]string{fpLine, sha1Line}, nil, nil, nil),
		"sha-256 digits called sha-1":         offer([]string{strings.Replace(fpLine, "sha-256", "sha-1", 1)}, nil, nil, nil),
		"sha-512":                             offer([]string{fpLine, strings.Replace(fpLine, "sha-256", "sha-512", 1)}, nil, nil, nil),
		"in one section only":                 offer(nil, []string{fpLine}, nil, nil),
		"in two sections of three":            offer(nil, []string{fpLine}, nil, []string{fpLine}),
		"nowhere":                             offer(nil, nil, nil, nil),
		"too short":                           offer([]string{short}, nil, nil, nil),
		"too long":                            offer([]string{fpLine + ":00"}, nil, nil, nil),
		"no hexadecimal":                      offer([]string{strings.Replace(fpLine, "43", "4G", 1)}, nil, nil, nil),
		"other separators":                    offer([]string{strings.Replace(fpLine, ":E8", "-E8", 1)}, nil, nil, nil),
		"second in other case":                offer([]string{fpLine, strings.Replace(otherLine, "fingerprint", "Fingerprint", 1)}, nil, nil, nil),
		"second behind a blank":               offer([]string{fpLine, strings.Replace(otherLine, "a=", "a= ", 1)}, nil, nil, nil),
		"second behind a lone CR":             offer([]string{fpLine, "a=x\r" + otherLine}, nil, nil, nil),
		"second behind a NUL":                 offer([]string{fpLine, "a=x\x00" + otherLine}, nil, nil, nil),
		"second behind U+2028":                offer([]string{fpLine, "a=x\u2028" + otherLine}, nil, nil, nil),
		"second in the session name":          offer([]string{fpLine, "s=" + otherLine}, nil, nil, nil),
	} {
		if d, err := Check(sdp, fp, "njXDKWBkwyPOVHLl", SetupActpass); err == nil {
			t.Errorf("%s: taken as %+v", name, d)
		}
	}
}

func TestMalformedDescriptions(t *testing.T) {
	many := strings.Repeat("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n", 17)
	for name, sdp := range map[string][]byte{
		"empty":                 nil,
		"too large":             append(good(), bytes.Repeat([]byte("a=x\r\n"), MaxSize/5)...),
		"too many lines":        append(good(), bytes.Repeat([]byte("\n"), maxLines)...),
		"long line":             append(good(), "a="+strings.Repeat("x", maxLine)+"\r\n"...),
		"no version":            good()[5:],
		"version 1":             append([]byte("v=1\r\n"), good()[5:]...),
		"second version":        append(good(), "v=0\r\n"...),
		"no section":            []byte("v=0\r\n" + fpLine + "\r\n" + strings.Join(transport, "\r\n") + "\r\n"),
		"seventeen sections":    append(good(), many...),
		"empty line":            append(good(), "\r\na=x\r\n"...),
		"short media line":      append(good(), "m=audio 9\r\n"...),
		"two ufrags":            offer([]string{fpLine}, nil, []string{"a=ice-ufrag:another1"}, nil),
		"two passwords":         offer([]string{fpLine}, nil, []string{"a=ice-pwd:vjGHtFqhtkibeSZLOidhPXnRDIGwCTxx"}, nil),
		"two setups":            offer([]string{fpLine}, nil, []string{"a=setup:active"}, nil),
		"unknown setup":         bytes.ReplaceAll(good(), []byte("actpass"), []byte("holdconn")),
		"password too short":    bytes.ReplaceAll(good(), []byte("vjGHtFqhtkibeSZLOidhPXnRDIGwCTxg"), []byte("short")),
		"ufrag with odd signs":  bytes.ReplaceAll(good(), []byte("njXDKWBkwyPOVHLl"), []byte("nj XDKWBkwyPOVHLl")),
		"transport in one only": bytes.Replace(good(), []byte("a=ice-ufrag:njXDKWBkwyPOVHLl\r\n"), nil, 1),
		"too many candidates":   offer([]string{fpLine}, nil, nil, strings.Split(strings.Repeat("a=candidate:x\n", 65)+"a=y", "\n")),
	} {
		if d, err := Parse(sdp); err == nil {
			t.Errorf("%s: taken as %+v", name, d)
		}
	}
}

func TestCleanRemovesAudioLevels(t *testing.T) {
	in := offer([]string{fpLine, "a=extmap:9 urn:ietf:params:rtp-hdrext:ssrc-audio-level"},
		[]string{"a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on", "a=extmap:2/recvonly urn:ietf:params:rtp-hdrext:csrc-audio-level", "a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid"}, nil, nil)
	out, err := Clean(in, false)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out, []byte("audio-level")) {
		t.Errorf("audio level is still there:\n%s", out)
	}
	want := offer([]string{fpLine}, []string{"a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid"}, nil, nil)
	if !bytes.Equal(out, want) {
		t.Errorf("something else changed:\n%s", out)
	}
}

func TestCleanForRelayOnlyNamesNoOwnAddress(t *testing.T) {
	in := offer([]string{fpLine}, []string{
		"a=candidate:1 1 udp 2130706431 192.0.2.7 37969 typ host",
		"a=candidate:2 1 udp 1694498815 198.51.100.4 40000 typ srflx raddr 192.0.2.7 rport 37969",
		"a=candidate:3 1 udp 16777215 203.0.113.9 50000 typ relay raddr 192.0.2.7 rport 41234 network-cost 10",
		"a=candidate:4 1 udp 1 something.local 9 typ host",
		"a=rtcp:37969 IN IP4 192.0.2.7",
	}, nil, nil)
	out, err := Clean(in, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"192.0.2.7", "198.51.100.4", "37969", "41234", "local", "network-cost"} {
		if bytes.Contains(out, []byte(secret)) {
			t.Errorf("%s is still there:\n%s", secret, out)
		}
	}
	if !bytes.Contains(out, []byte("a=candidate:3 1 udp 16777215 203.0.113.9 50000 typ relay raddr 0.0.0.0 rport 9\r\n")) {
		t.Errorf("the relayed candidate is gone:\n%s", out)
	}
	if _, err := Check(out, fp, "njXDKWBkwyPOVHLl", SetupActpass); err != nil {
		t.Errorf("cleaned description: %v", err)
	}
}

// The descriptions of docs/spec/vectors/media.json, which the SDK reads too.
func TestCleanVectors(t *testing.T) {
	file, err := os.ReadFile("../../docs/spec/vectors/media.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Descriptions []struct {
			Name, SDP, Clean string
			RelayOnly        bool `json:"relay_only"`
		}
	}
	if err := json.Unmarshal(file, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Descriptions) == 0 {
		t.Fatal("no descriptions")
	}
	for _, d := range v.Descriptions {
		t.Run(d.Name, func(t *testing.T) {
			for _, in := range []string{d.SDP, d.Clean} {
				if out, err := Clean([]byte(in), d.RelayOnly); err != nil || string(out) != d.Clean {
					t.Errorf("cleaned to %v\n%s", err, out)
				}
			}
			if _, err := Parse([]byte(d.Clean)); err != nil {
				t.Error(err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(good())
	f.Add(offer(nil, []string{fpLine}, []string{fpLine}, []string{otherLine}))
	f.Add(offer([]string{sha1Line}, nil, nil, nil))
	f.Add([]byte("v=0\nm=a 0 b c"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Parse(b)
		if err != nil {
			return
		}
		// What passed has one fingerprint, however one looks for it.
		for _, line := range strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' || r == '\r' }) {
			if i := strings.Index(strings.ToLower(line), "fingerprint:"); i >= 0 {
				got, err := ParseFingerprint(line[i+len("fingerprint:"):])
				if err != nil || got != d.Fingerprint {
					t.Fatalf("line %q passed beside %x", line, d.Fingerprint)
				}
			}
		}
		out, err := Clean(b, true)
		if err != nil {
			return
		}
		if bytes.Contains(out, []byte("audio-level")) && !bytes.Contains(b, []byte("audio-level")) {
			t.Fatal("an extension appeared")
		}
		if again, err := Clean(out, true); err != nil || !bytes.Equal(out, again) {
			t.Fatalf("cleaning twice differs: %v", err)
		}
	})
}
