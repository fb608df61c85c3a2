package peer

import (
	"fmt"
	"strings"
)

// Answer is what the server says of its side.
type Answer struct {
	Session     uint64 // the same in all answers of a connection
	Version     uint64 // counts them
	Ufrag, Pwd  string
	Print       string   // as PrintOf writes it
	Candidates  []string // "candidate:…"
	AudioLevels bool     // clients may tell the level of their sound
	Out         []Outgoing
}

// Taken reports whether a section is answered and not refused.
func (s *Section) Taken() bool { return !s.Gone && len(s.Codecs) > 0 }

// Answer writes the answer to an offer. Everything is the client's own choice of numbers; what the server does not
// know is left out, and sections without a codec that is forwarded are refused.
func (o *Offer) Answer(a *Answer) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("v=0")
	line("o=- %d %d IN IP4 0.0.0.0", a.Session, a.Version)
	line("s=-")
	line("t=0 0")
	b.WriteString("a=group:BUNDLE")
	for i := range o.Sections {
		if s := &o.Sections[i]; s.Taken() {
			b.WriteString(" " + s.Mid)
		}
	}
	b.WriteString("\r\n")
	line("a=ice-lite")
	if o.Mixed {
		line("a=extmap-allow-mixed")
	}
	line("a=msid-semantic: WMS *")
	candidates := a.Candidates
	for i := range o.Sections {
		s := &o.Sections[i]
		if !s.Taken() {
			line("m=%s 0 %s %s", s.kind(), s.proto, strings.Join(s.formats, " "))
			line("c=IN IP4 0.0.0.0")
			line("a=inactive")
			line("a=mid:%s", s.Mid)
			continue
		}
		a.section(line, s)
		for _, c := range candidates {
			line("a=%s", c)
		}
		if candidates != nil {
			line("a=end-of-candidates")
			candidates = nil // one bundle, one list
		}
	}
	return b.String()
}

func (s *Section) kind() string {
	if s.Audio {
		return "audio"
	}
	return "video"
}

func (a *Answer) section(line func(string, ...any), s *Section) {
	var types []string
	for i := range s.Codecs {
		c := &s.Codecs[i]
		types = append(types, fmt.Sprint(c.PT))
		if c.RTX != 0 {
			types = append(types, fmt.Sprint(c.RTX))
		}
	}
	line("m=%s 9 %s %s", s.kind(), s.proto, strings.Join(types, " "))
	line("c=IN IP4 0.0.0.0")
	line("a=rtcp:9 IN IP4 0.0.0.0")
	line("a=ice-ufrag:%s", a.Ufrag)
	line("a=ice-pwd:%s", a.Pwd)
	line("a=fingerprint:%s", a.Print)
	line("a=setup:passive")
	line("a=mid:%s", s.Mid)
	switch s.Direction {
	case Sends:
		line("a=recvonly")
	case Receives:
		line("a=sendonly")
	default:
		line("a=inactive")
	}
	line("a=rtcp-mux")
	line("a=rtcp-rsize")
	a.extensions(line, s)
	for i := range s.Codecs {
		s.Codecs[i].lines(line)
	}
	if s.Direction == Sends && len(s.RIDs) > 0 {
		for _, r := range s.RIDs {
			line("a=rid:%s recv", r)
		}
		line("a=simulcast:recv %s", strings.Join(s.RIDs, ";"))
	}
	if s.Direction != Receives {
		return
	}
	for _, x := range a.Out {
		if x.Mid != s.Mid {
			continue
		}
		// A stream of its own for each section, so that no browser keeps two sections in step: which sound belongs to
		// which picture changes with the subscriptions.
		line("a=msid:s%s t%s", s.Mid, s.Mid)
		if x.Repair != 0 {
			line("a=ssrc-group:FID %d %d", x.SSRC, x.Repair)
		}
		for _, ssrc := range []uint32{x.SSRC, x.Repair} {
			if ssrc != 0 {
				line("a=ssrc:%d cname:s%s", ssrc, s.Mid)
				line("a=ssrc:%d msid:s%s t%s", ssrc, s.Mid, s.Mid)
			}
		}
	}
}

func (a *Answer) extensions(line func(string, ...any), s *Section) {
	e := &s.Extensions
	known := []string{ExtMID, ExtTransport}
	if !s.Audio {
		known = append(known, ExtRID, ExtRepairRID, ExtDescriptor, ExtAllocation)
	} else if a.AudioLevels {
		known = append(known, ExtAudioLevel)
	}
	for _, uri := range known {
		if id := *e.field(uri); id != 0 {
			line("a=extmap:%d %s", id, uri)
		}
	}
}

// lines say a codec again as the client said it: what it can take is no business of a server that forwards.
func (c *Codec) lines(line func(string, ...any)) {
	line("a=rtpmap:%d %s", c.PT, c.rtpmap)
	if c.fmtp != "" {
		line("a=fmtp:%d %s", c.PT, c.fmtp)
	}
	for _, f := range []struct {
		on   bool
		name string
	}{{c.transport, "transport-cc"}, {c.NACK, "nack"}, {c.PLI, "nack pli"}, {c.fir, "ccm fir"}} {
		if f.on {
			line("a=rtcp-fb:%d %s", c.PT, f.name)
		}
	}
	if c.RTX != 0 {
		line("a=rtpmap:%d rtx/%d", c.RTX, c.Clock)
		line("a=fmtp:%d apt=%d", c.RTX, c.PT)
	}
}
