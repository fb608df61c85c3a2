package light

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/trunkline-net/trunkline/media/sfu/peer"
)

// What a client offers, and what it reads of an answer.

// repairOf is the payload type that repairs another.
func repairOf(pt uint8) uint8 { return pt + 1 }

// remote is the server as its answer describes it.
type remote struct {
	ufrag, pwd, print string
	udp, tcp          netip.AddrPort
	sources           map[string][2]uint32
}

// SetSections changes what the next offer has.
func (c *Client) SetSections(s []Section) { c.o.Sections = s }

// Offer writes the description. Each section's mid is its place.
func (c *Client) Offer() string {
	c.version++
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("v=0")
	line("o=- 1 %d IN IP4 0.0.0.0", c.version)
	line("s=-")
	line("t=0 0")
	line("a=extmap-allow-mixed")
	b.WriteString("a=group:BUNDLE")
	for i := range c.o.Sections {
		fmt.Fprintf(&b, " %d", i)
	}
	b.WriteString("\r\n")
	line("a=msid-semantic: WMS *")
	for i := range c.o.Sections {
		c.section(line, i, &c.o.Sections[i])
	}
	return b.String()
}

func (c *Client) section(line func(string, ...any), i int, s *Section) {
	kind, types := "video", []uint8{VP8, VP9, AV1}
	if s.Audio {
		kind, types = "audio", []uint8{Opus}
	}
	if s.Codec != 0 {
		types = []uint8{s.Codec}
	}
	var numbers []string
	for _, t := range types {
		numbers = append(numbers, fmt.Sprint(t))
		if !s.Audio {
			numbers = append(numbers, fmt.Sprint(repairOf(t)))
		}
	}
	line("m=%s 9 UDP/TLS/RTP/SAVPF %s", kind, strings.Join(numbers, " "))
	line("c=IN IP4 0.0.0.0")
	line("a=rtcp:9 IN IP4 0.0.0.0")
	line("a=ice-ufrag:%s", c.ufrag)
	line("a=ice-pwd:%s", c.pwd)
	line("a=fingerprint:sha-256 %s", c.print)
	line("a=setup:actpass")
	line("a=mid:%d", i)
	switch {
	case s.Off:
		line("a=inactive")
	case s.Sends:
		line("a=sendonly")
		line("a=msid:- m%d", i)
	default:
		line("a=recvonly")
	}
	line("a=rtcp-mux")
	line("a=rtcp-rsize")
	line("a=extmap:%d %s", Extensions.MID, peer.ExtMID)
	line("a=extmap:%d %s", Extensions.Transport, peer.ExtTransport)
	if s.Audio {
		line("a=extmap:%d %s", Extensions.AudioLevel, peer.ExtAudioLevel)
	} else {
		line("a=extmap:%d %s", Extensions.RID, peer.ExtRID)
		line("a=extmap:%d %s", Extensions.RepairRID, peer.ExtRepairRID)
		line("a=extmap:%d %s", Extensions.Descriptor, peer.ExtDescriptor)
		line("a=extmap:%d %s", Extensions.Allocation, peer.ExtAllocation)
	}
	for _, t := range types {
		switch t {
		case Opus:
			line("a=rtpmap:%d opus/48000/2", t)
			line("a=fmtp:%d minptime=10;useinbandfec=1", t)
			line("a=rtcp-fb:%d nack", t)
			line("a=rtcp-fb:%d transport-cc", t)
			continue
		case VP8:
			line("a=rtpmap:%d VP8/90000", t)
		case VP9:
			line("a=rtpmap:%d VP9/90000", t)
			line("a=fmtp:%d profile-id=0", t)
		case AV1:
			line("a=rtpmap:%d AV1/90000", t)
		}
		for _, f := range []string{"nack", "nack pli", "ccm fir", "transport-cc"} {
			line("a=rtcp-fb:%d %s", t, f)
		}
		line("a=rtpmap:%d rtx/90000", repairOf(t))
		line("a=fmtp:%d apt=%d", repairOf(t), t)
	}
	if s.Sends && len(s.RIDs) > 0 {
		for _, r := range s.RIDs {
			line("a=rid:%s send", r)
		}
		line("a=simulcast:send %s", strings.Join(s.RIDs, ";"))
	}
	if s.Sends && s.SSRC != 0 {
		if s.RTX != 0 {
			line("a=ssrc-group:FID %d %d", s.SSRC, s.RTX)
			line("a=ssrc:%d cname:light", s.RTX)
			line("a=ssrc:%d msid:- m%d", s.RTX, i)
		}
		line("a=ssrc:%d cname:light", s.SSRC)
		line("a=ssrc:%d msid:- m%d", s.SSRC, i)
	}
}

func parseAnswer(text string) (r remote, err error) {
	r.sources = map[string][2]uint32{}
	var mid string
	var pending [][2]uint32
	flush := func() {
		if mid != "" && len(pending) > 0 {
			r.sources[mid] = pending[0]
		}
		mid, pending = "", nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		name, value, _ := strings.Cut(strings.TrimPrefix(line, "a="), ":")
		switch name {
		case "ice-ufrag":
			r.ufrag = value
		case "ice-pwd":
			r.pwd = value
		case "fingerprint":
			_, r.print, _ = strings.Cut(value, " ")
		case "mid":
			mid = value
		case "candidate":
			f := strings.Fields(value)
			if len(f) < 8 || f[7] != "host" {
				continue
			}
			a, err := netip.ParseAddrPort(net.JoinHostPort(f[4], f[5]))
			if err != nil {
				return r, fmt.Errorf("light: candidate: %w", err)
			}
			if into := map[string]*netip.AddrPort{"udp": &r.udp, "tcp": &r.tcp}[strings.ToLower(f[2])]; into != nil && !into.IsValid() {
				*into = a
			}
		case "ssrc":
			var ssrc uint32
			if _, err := fmt.Sscan(strings.Fields(value)[0], &ssrc); err != nil {
				return r, fmt.Errorf("light: source: %w", err)
			}
			if len(pending) == 0 {
				pending = append(pending, [2]uint32{ssrc, 0})
			} else if pending[0][0] != ssrc && pending[0][1] == 0 {
				pending[0][1] = ssrc
			}
		}
		if strings.HasPrefix(line, "m=") {
			flush()
		}
	}
	flush()
	if r.ufrag == "" || r.pwd == "" || r.print == "" || !r.udp.IsValid() {
		return r, errors.New("light: the answer has no credentials, fingerprint or UDP candidate")
	}
	return r, nil
}

// Source is the SSRC and its repair that a receiving section gets its packets from.
func (c *Client) Source(mid string) (ssrc, repair uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.far.sources[mid]
	return s[0], s[1]
}

// Update takes the answer to a later offer that did not restart ICE.
func (c *Client) Update(answer string) error {
	r, err := parseAnswer(answer)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.far.sources = r.sources
	return nil
}
