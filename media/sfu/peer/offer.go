package peer

import (
	"fmt"
	"strconv"
	"strings"
)

// Limits of an offer. They hold before any library sees it.
const (
	maxOffer    = 128 << 10
	maxLines    = 8192
	maxLine     = 1024
	maxSections = 160
	maxStreams  = 3 // of simulcast
	maxFormats  = 64
	maxSources  = 64
)

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrOffer, fmt.Sprintf(format, args...))
}

// ParseOffer reads and bounds an offer. Errors name what is wrong and never quote addresses or secrets.
func ParseOffer(text string) (*Offer, error) {
	if len(text) > maxOffer {
		return nil, bad("longer than %d bytes", maxOffer)
	}
	o := &Offer{}
	var p parser
	lines := 0
	for line := range strings.Lines(text) {
		if lines++; lines > maxLines {
			return nil, bad("more than %d lines", maxLines)
		}
		line = strings.TrimRight(line, "\r\n")
		if len(line) > maxLine {
			return nil, bad("a line longer than %d bytes", maxLine)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, bad("a control character")
		}
		if line == "" {
			continue
		}
		if len(line) < 2 || line[1] != '=' {
			return nil, bad("a line without a type")
		}
		// A client's candidates are of no use: the server never begins a check, and so never sends to an address
		// that only a description names.
		if strings.HasPrefix(line, "a=candidate:") || line == "a=end-of-candidates" {
			continue
		}
		if err := p.line(o, line); err != nil {
			return nil, err
		}
	}
	if err := p.finish(o); err != nil {
		return nil, err
	}
	return o, nil
}

// feedback is what of RTCP a section wants for one payload type (RFC 4585, 4.2).
type feedback struct{ nack, pli, fir, transport bool }

type parser struct {
	section *Section
	codecs  map[uint8]*Codec
	apt     map[uint8]uint8
	order   []uint8
	sources []uint32
	// feedback is that of each payload type in order.
	feedback [maxFormats]feedback
	mids     map[string]bool
	fmtp     map[uint8]string

	session level
	levels  []level // of the sections
	shared  Extensions
	bundle  []string
}

func (p *parser) line(o *Offer, line string) error {
	if line[0] == 'm' {
		if err := p.endSection(o); err != nil {
			return err
		}
		return p.begin(o, line[2:])
	}
	if line[0] != 'a' {
		return nil
	}
	name, value, _ := strings.Cut(line[2:], ":")
	switch name {
	case "extmap-allow-mixed":
		o.Mixed = true
		return nil
	case "ice-lite":
		return bad("the client is ICE lite, and so is the server")
	case "extmap":
		return p.extmap(o, value)
	}
	at := &p.session
	if p.section != nil {
		at = &p.levels[len(p.levels)-1]
	}
	if err := at.attribute(name, value); err != nil {
		return err
	}
	if p.section == nil {
		if mids, ok := strings.CutPrefix(value, "BUNDLE"); ok && name == "group" && p.bundle == nil {
			p.bundle = strings.Fields(mids)
		}
		return nil
	}
	return p.attribute(o, name, value)
}

func (p *parser) begin(o *Offer, media string) error {
	if len(o.Sections) == maxSections {
		return bad("more than %d sections", maxSections)
	}
	f := strings.Fields(media)
	if len(f) < 4 {
		return bad("a section without formats")
	}
	if f[0] != "audio" && f[0] != "video" {
		return bad("a section that is neither audio nor video")
	}
	o.Sections = append(o.Sections, Section{Audio: f[0] == "audio"})
	p.section = &o.Sections[len(o.Sections)-1]
	p.section.Direction = 255 // not told
	p.section.proto, p.section.formats = f[2], f[3:]
	p.levels = append(p.levels, level{gone: f[1] == "0"})
	p.codecs, p.apt, p.order, p.sources, p.fmtp = map[uint8]*Codec{}, map[uint8]uint8{}, nil, nil, map[uint8]string{}
	p.feedback = [maxFormats]feedback{}
	for _, t := range f[3:] {
		pt, err := strconv.ParseUint(t, 10, 7)
		if err != nil {
			return bad("a payload type that is no number below 128")
		}
		if len(p.order) == maxFormats {
			return bad("more than %d payload types in a section", maxFormats)
		}
		p.order = append(p.order, uint8(pt))
	}
	return nil
}

func (p *parser) attribute(o *Offer, name, value string) error {
	s := p.section
	switch name {
	case "mid":
		if value == "" || len(value) > 16 || strings.ContainsAny(value, " \t") {
			return bad("a mid that is empty, longer than 16 bytes or of two words")
		}
		s.Mid = value
	case "sendrecv":
		return bad("a section that sends and receives")
	case "sendonly", "recvonly", "inactive":
		s.Direction = map[string]Direction{"sendonly": Sends, "recvonly": Receives, "inactive": Inactive}[name]
	case "rtpmap":
		return p.rtpmap(value)
	case "fmtp":
		t, rest, _ := strings.Cut(value, " ")
		if apt, ok := strings.CutPrefix(rest, "apt="); ok {
			apt, _, _ = strings.Cut(apt, ";")
			repair, err1 := strconv.ParseUint(t, 10, 7)
			of, err2 := strconv.ParseUint(apt, 10, 7)
			if err1 != nil || err2 != nil {
				return bad("a repair of no payload type")
			}
			p.apt[uint8(repair)] = uint8(of)
		} else if pt, err := strconv.ParseUint(t, 10, 7); err == nil {
			p.fmtp[uint8(pt)] = rest
		}
	case "rtcp-fb":
		// Attributes have no order (RFC 8866, 5.13): Firefox says it before it says which codec that is.
		t, rest, _ := strings.Cut(value, " ")
		pt, err := strconv.ParseUint(t, 10, 7)
		for i, k := range p.order {
			if t != "*" && (err != nil || k != uint8(pt)) {
				continue
			}
			f := &p.feedback[i]
			f.nack = f.nack || rest == "nack"
			f.pli = f.pli || rest == "nack pli"
			f.fir = f.fir || rest == "ccm fir"
			f.transport = f.transport || rest == "transport-cc"
		}
	case "rid":
		f := strings.Fields(value)
		if len(f) < 2 || len(f[0]) > 16 || strings.ContainsFunc(f[0], notInRID) {
			return bad("a rid without a direction, longer than 16 bytes, or of other than letters and digits")
		}
		if f[1] == "send" {
			if len(s.RIDs) == maxStreams {
				return bad("more than %d streams of simulcast", maxStreams)
			}
			s.RIDs = append(s.RIDs, f[0])
		}
	case "ssrc-group":
		f := strings.Fields(value)
		if len(f) == 3 && f[0] == "FID" {
			of, err1 := strconv.ParseUint(f[1], 10, 32)
			repair, err2 := strconv.ParseUint(f[2], 10, 32)
			if err1 != nil || err2 != nil {
				return bad("a source that is no number")
			}
			if s.Repairs == nil {
				s.Repairs = map[uint32]uint32{}
			}
			if len(s.Repairs) == maxStreams {
				return bad("more than %d repairs", maxStreams)
			}
			s.Repairs[uint32(repair)] = uint32(of)
		}
	case "ssrc":
		t, _, _ := strings.Cut(value, " ")
		ssrc, err := strconv.ParseUint(t, 10, 32)
		if err != nil {
			return bad("a source that is no number")
		}
		if len(p.sources) < maxSources && !contains(p.sources, uint32(ssrc)) {
			p.sources = append(p.sources, uint32(ssrc))
		}
	}
	return nil
}

func (p *parser) rtpmap(value string) error {
	t, rest, ok := strings.Cut(value, " ")
	pt, err := strconv.ParseUint(t, 10, 7)
	if err != nil || !ok {
		return bad("a format without a payload type")
	}
	f := strings.Split(rest, "/")
	if len(f) < 2 || len(f[0]) > 32 {
		return bad("a format without a clock")
	}
	clock, err := strconv.ParseUint(f[1], 10, 32)
	if err != nil {
		return bad("a clock that is no number")
	}
	p.codecs[uint8(pt)] = &Codec{Name: strings.ToUpper(f[0]), Clock: uint32(clock), PT: uint8(pt), rtpmap: rest}
	return nil
}

func (p *parser) extmap(o *Offer, value string) error {
	t, rest, _ := strings.Cut(value, " ")
	t, _, _ = strings.Cut(t, "/")
	id, err := strconv.ParseUint(t, 10, 8)
	if err != nil || id == 0 || id == 15 {
		return bad("a header extension without a number")
	}
	uri, _, _ := strings.Cut(rest, " ")
	f := o.Extensions.field(uri)
	if f == nil {
		return nil
	}
	if *f != 0 && *f != uint8(id) {
		return bad("a header extension under two numbers")
	}
	*f = uint8(id)
	of := &p.shared
	if p.section != nil {
		of = &p.section.Extensions
	}
	*of.field(uri) = uint8(id)
	return nil
}

// notInRID is the alphabet of RFC 8851, 10.
func notInRID(r rune) bool {
	return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_'
}

func (p *parser) endSection(o *Offer) error {
	s := p.section
	if s == nil {
		return nil
	}
	if s.Mid == "" {
		return bad("a section without a mid")
	}
	if p.mids == nil {
		p.mids = map[string]bool{}
	}
	if p.mids[s.Mid] {
		return bad("two sections with one mid")
	}
	p.mids[s.Mid] = true
	at := &p.levels[len(p.levels)-1]
	if s.Gone = at.gone && !at.bundled; s.Gone {
		s.Direction = Inactive
	}
	if s.Direction == 255 {
		return bad("a section that sends and receives") // what no direction means
	}
	s.Extensions.inherit(&p.shared)
	repairs := map[uint8]uint8{}
	for repair, of := range p.apt {
		if c := p.codecs[repair]; c != nil && c.Name == "RTX" {
			repairs[of] = repair
		}
	}
	for i, pt := range p.order {
		c := p.codecs[pt]
		if c == nil || !forwarded[c.Name] || s.Named(c.Name, c.Clock) != nil {
			continue // of each codec the first, the one that a client prefers
		}
		c.RTX, c.fmtp = repairs[pt], p.fmtp[pt]
		f := p.feedback[i]
		c.NACK, c.PLI, c.fir, c.transport = f.nack, f.pli, f.fir, f.transport
		s.Codecs = append(s.Codecs, *c)
	}
	if s.Direction == Sends {
		for _, ssrc := range p.sources {
			if _, repair := s.Repairs[ssrc]; !repair && len(s.Sources) < maxStreams {
				s.Sources = append(s.Sources, ssrc)
			}
		}
	}
	return nil
}

func (p *parser) finish(o *Offer) error {
	if err := p.endSection(o); err != nil {
		return err
	}
	if len(o.Sections) == 0 {
		return bad("no section")
	}
	return p.agree(o)
}

func contains(all []uint32, one uint32) bool {
	for _, x := range all {
		if x == one {
			return true
		}
	}
	return false
}
