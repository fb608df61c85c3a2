package peer

import "errors"

// The header extensions that mean something here.
const (
	ExtMID        = "urn:ietf:params:rtp-hdrext:sdes:mid"
	ExtRID        = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
	ExtRepairRID  = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
	ExtTransport  = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
	ExtDescriptor = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
	ExtAllocation = "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00"
	ExtAudioLevel = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
)

// forwarded are the codecs that may be offered. None is read; these are the ones whose sealed frames survive being cut
// into packets (docs/spec/media.md, section 2), and AV1, whose layers are told by its descriptor alone.
var forwarded = map[string]bool{"OPUS": true, "VP8": true, "VP9": true, "AV1": true}

// ErrOffer is wrapped by everything that is wrong with an offer.
var ErrOffer = errors.New("offer")

// Direction of a section, as the client sees it.
type Direction uint8

// The directions. A section has one, since a browser does not open the frames of one that has two.
const (
	Inactive Direction = iota
	Sends
	Receives
)

// Codec is one format of a section.
type Codec struct {
	Name  string // upper case
	Clock uint32
	PT    uint8
	RTX   uint8 // the payload type that repairs it; 0: none
	NACK  bool
	PLI   bool

	transport, fir bool
	rtpmap, fmtp   string
}

// Section is one m= section.
type Section struct {
	Mid       string
	Audio     bool
	Direction Direction
	Gone      bool // port 0: it is over, and can only be refused
	Codecs    []Codec
	RIDs      []string          // that it sends, the smallest first
	Sources   []uint32          // announced SSRCs that are no repair
	Repairs   map[uint32]uint32 // repair SSRC to what it repairs
	// Extensions are those of this section.
	Extensions Extensions

	proto   string
	formats []string
}

// Codec is the format with a payload type, and whether the type is that of its repair.
func (s *Section) Codec(pt uint8) (c *Codec, repair bool) {
	for i := range s.Codecs {
		switch c := &s.Codecs[i]; pt {
		case c.PT:
			return c, false
		case c.RTX:
			return c, true
		}
	}
	return nil, false
}

// Named is the format with a name and clock.
func (s *Section) Named(name string, clock uint32) *Codec {
	for i := range s.Codecs {
		if c := &s.Codecs[i]; c.Name == name && c.Clock == clock {
			return c
		}
	}
	return nil
}

// Extensions are the numbers under which header extensions travel; 0: not at all.
type Extensions struct {
	MID, RID, RepairRID, Transport, Descriptor, Allocation, AudioLevel uint8
}

func (e *Extensions) field(uri string) *uint8 {
	switch uri {
	case ExtMID:
		return &e.MID
	case ExtRID:
		return &e.RID
	case ExtRepairRID:
		return &e.RepairRID
	case ExtTransport:
		return &e.Transport
	case ExtDescriptor:
		return &e.Descriptor
	case ExtAllocation:
		return &e.Allocation
	case ExtAudioLevel:
		return &e.AudioLevel
	}
	return nil
}

// inherit takes what the whole session has.
func (e *Extensions) inherit(session *Extensions) {
	for _, uri := range []string{ExtMID, ExtRID, ExtRepairRID, ExtTransport, ExtDescriptor, ExtAllocation, ExtAudioLevel} {
		if f := e.field(uri); *f == 0 {
			*f = *session.field(uri)
		}
	}
}

// Offer is a client's description, as far as the SFU needs it.
type Offer struct {
	Terms      Terms
	Sections   []Section
	Extensions Extensions
	Mixed      bool // extensions of both forms may be mixed
}

// Section with a mid; nil: none.
func (o *Offer) Section(mid string) *Section {
	for i := range o.Sections {
		if o.Sections[i].Mid == mid {
			return &o.Sections[i]
		}
	}
	return nil
}
