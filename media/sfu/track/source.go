package track

import (
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

const (
	// How many packets are kept: two seconds of 2.5 Mbit/s, and a second of sound.
	videoRing = 512
	audioRing = 64
	// jump is a gap that is a new beginning rather than a loss.
	jump = 400
	// staleMost packets in a row from far behind are a sender that began anew.
	staleMost = 16
	// missingMost bounds what is asked for at once; beyond it a key frame is cheaper.
	missingMost = 128
	// A packet may be late for this long before it is asked for, since networks reorder.
	reorder = 8_000
	// It is asked for again after so long, longer each time, and so often.
	askAgain = 50_000
	askMost  = 8

	rateWindow = 500_000 // microseconds
	// A layer of which nothing came for this long is paused.
	dead = 1_200_000
	// merged is how long one request for a key frame stands for all.
	merged = 500_000
)

// Cell counts one spatial and temporal layer.
type cell struct {
	bytes int64
	rate  float64 // bytes per second
	last  int64
}

type miss struct {
	ext   int64
	due   int64
	tries uint8
}

// Source is one received stream: one quality of one slot.
type Source struct {
	SSRC         uint32
	RID          string
	Audio        bool
	Clock        uint32
	DescriptorID uint8 // under which its descriptors come
	Number       int   // among the sources of its track, the smallest first

	pool    *Pool
	ring    []*Packet
	began   bool
	first   int64
	Highest int64
	newest  uint32 // timestamp of Highest
	ended   bool   // Highest had the marker
	stale   int

	Structure wire.Structure // of the newest key frame
	fresh     wire.Structure
	Described bool // a structure came, so that frames and layers are known
	Claims    bool // descriptors come, whether they make sense or not
	Lies      uint64
	key       int64 // Ext of the newest key frame's beginning; -1: none kept
	keyTime   uint32

	// Frames without descriptors, by their size alone.
	framePackets int
	frameMean    float64
	frameFirst   int64

	missing []miss
	lost    uint64 // given up

	cells     [4][4]cell
	windowAt  int64
	windowOld bool

	// Of the receiver report.
	received, expectedPrior, receivedPrior uint64
	jitter, transit                        float64
	sr                                     wire.SenderReport
	srAt                                   int64

	askedKey int64 // when a key frame was last asked for
	wantKey  bool
	keyAt    int64 // when the newest key frame came
}

// NewSource makes one; pool gets its packets back.
func NewSource(ssrc uint32, audio bool, clock uint32, pool *Pool) *Source {
	n := videoRing
	if audio {
		n = audioRing
	}
	return &Source{SSRC: ssrc, Audio: audio, Clock: clock, pool: pool, ring: make([]*Packet, n), key: -1, frameFirst: -1}
}

// Release gives all packets back.
func (s *Source) Release() {
	for i, p := range s.ring {
		if p != nil {
			s.pool.Put(p)
			s.ring[i] = nil
		}
	}
}

// Push takes a parsed packet and reports whether it is one that should be forwarded. Whatever it reports, the packet
// is the source's from now on and stays valid until the next Push.
func (s *Source) Push(p *Packet) bool {
	seq := p.Sequence()
	if !s.began {
		s.began, s.first = true, int64(seq)+1<<16 // room for what comes before the first
		s.Highest, s.ended = s.first-1, true
	}
	p.Ext = wire.Extend(s.Highest, seq)
	if p.Ext < s.Highest-jump {
		s.stale++
	} else {
		s.stale = 0
	}
	if p.Ext > s.Highest+jump || s.stale > staleMost {
		// Always forward, whatever the sender did, so that nobody takes what follows for late.
		if p.Ext = s.Highest&^0xffff | int64(seq); p.Ext <= s.Highest {
			p.Ext += 1 << 16
		}
		s.restart(p)
	}
	if p.Ext <= s.Highest-int64(len(s.ring)) || p.Ext <= s.Highest && s.Get(p.Ext) != nil {
		s.received++
		s.pool.Put(p)
		return false // too late, or twice
	}
	s.describe(p)
	s.keep(p)
	s.measure(p)
	if p.Ext > s.Highest {
		for ext := s.Highest + 1; ext < p.Ext; ext++ {
			if len(s.missing) < missingMost {
				s.missing = append(s.missing, miss{ext: ext, due: p.At + reorder})
			} else {
				s.lost++
			}
		}
		s.Highest, s.newest, s.ended = p.Ext, p.Timestamp(), p.Marker()
	} else {
		s.found(p.Ext)
	}
	return true
}

// restart begins anew: the sender did.
func (s *Source) restart(p *Packet) {
	s.Release()
	s.missing = s.missing[:0]
	s.key = -1
	s.expectedPrior, s.receivedPrior, s.received = 0, 0, 0
	s.first, s.stale, s.ended = p.Ext, 0, true
	s.Highest = p.Ext - 1
}

func (s *Source) keep(p *Packet) {
	at := &s.ring[int(p.Ext)&(len(s.ring)-1)]
	if *at != nil {
		s.pool.Put(*at)
	}
	*at = p
}

// Get is a kept packet; nil: it is gone or never came.
func (s *Source) Get(ext int64) *Packet {
	if p := s.ring[int(ext)&(len(s.ring)-1)]; p != nil && p.Ext == ext {
		return p
	}
	return nil
}

func (s *Source) describe(p *Packet) {
	p.Begins = s.Audio || p.Ext == s.Highest+1 && (s.ended || p.Timestamp() != s.newest)
	if s.Audio {
		return
	}
	b, ok := p.Extension(s.DescriptorID)
	if !ok {
		s.size(p)
		return
	}
	s.Claims = true
	old := &s.Structure
	if !s.Described {
		old = nil
	}
	d, err := wire.ParseDescriptor(b, old, &s.fresh)
	p.D = d
	if err != nil {
		// Frames of a structure that has not come, or a lie: nothing is known of the layers.
		s.Lies++
		return
	}
	if d.Key && (p.Ext > s.Highest || !s.Described) {
		s.Structure = s.fresh
		s.Described = true
	}
	p.Described = true
	p.Begins = d.First
	ofKey := s.key >= 0 && p.Timestamp() == s.keyTime
	p.Fresh = ofKey && d.First && !d.Key && d.Alone
	if d.Key && d.First {
		p.Key = true
		if !ofKey || p.Ext < s.key { // each layer of an S mode brings a structure: the picture begins with the first
			s.key = p.Ext
		}
		s.keyAt, s.keyTime = p.At, p.Timestamp()
		s.wantKey = false
	}
}

// size notes how many packets a frame has. A frame without a descriptor is taken for a key frame if one was asked for
// and it is much larger than the others; the alternative is to read payloads.
func (s *Source) size(p *Packet) {
	if p.Begins {
		if s.framePackets > 0 {
			s.frameMean += (float64(s.framePackets) - s.frameMean) / 16
		}
		s.framePackets, s.frameFirst = 0, p.Ext
	}
	s.framePackets++
	if s.askedKey > s.keyAt && s.frameFirst >= 0 && s.framePackets >= 4 && float64(s.framePackets) >= 3*s.frameMean {
		s.key, s.keyAt = s.frameFirst, p.At
		s.wantKey = false
	}
}

// KeyBegins is where the newest key frame begins, if it is still kept: a descriptor said so, or its size.
func (s *Source) KeyBegins() (int64, bool) {
	if s.key < 0 || s.Get(s.key) == nil {
		return 0, false
	}
	return s.key, true
}

func (s *Source) found(ext int64) {
	for i := range s.missing {
		if s.missing[i].ext == ext {
			s.missing = append(s.missing[:i], s.missing[i+1:]...)
			return
		}
	}
}

// Missing appends the numbers to ask for now, in ascending order, and forgets those that are too old.
func (s *Source) Missing(now int64, out []uint16) []uint16 {
	kept := s.missing[:0]
	for _, m := range s.missing {
		if m.tries >= askMost || m.ext <= s.Highest-int64(len(s.ring)) {
			s.lost++
			continue
		}
		if m.due <= now {
			out = append(out, uint16(m.ext))
			m.tries++
			m.due = now + askAgain + int64(m.tries-1)*askAgain/4
		}
		kept = append(kept, m)
	}
	s.missing = kept
	return out
}

// Lost counts what was given up.
func (s *Source) Lost() uint64 { return s.lost }

func (s *Source) measure(p *Packet) {
	s.received++
	c := &s.cells[0][0]
	if p.Described {
		c = &s.cells[p.D.Spatial&3][p.D.Temporal&3]
	}
	c.bytes += int64(p.Size())
	c.last = p.At
	if s.windowAt == 0 {
		s.windowAt = p.At
	}
	if s.Clock == 0 {
		return
	}
	transit := float64(p.At)*float64(s.Clock)/1e6 - float64(p.Timestamp())
	if s.transit != 0 && p.Ext > s.Highest {
		d := transit - s.transit
		if d < 0 {
			d = -d
		}
		if d < float64(s.Clock)*5 { // a timestamp that wrapped or jumped is no jitter
			s.jitter += (d - s.jitter) / 16
		}
	}
	s.transit = transit
}

// Roll measures rates; call it a few times in a second.
func (s *Source) Roll(now int64) {
	span := now - s.windowAt
	if s.windowAt == 0 || span < rateWindow {
		return
	}
	for i := range s.cells {
		for j := range s.cells[i] {
			c := &s.cells[i][j]
			rate := float64(c.bytes) * 1e6 / float64(span)
			if s.windowOld && c.rate > 0 {
				c.rate += (rate - c.rate) / 2
			} else {
				c.rate = rate
			}
			c.bytes = 0
			if now-c.last > dead {
				c.rate = 0
			}
		}
	}
	s.windowAt, s.windowOld = now, true
}

// Rate of everything up to a spatial and temporal layer, in bit/s. 0: nothing comes. What has just begun has a rate of
// almost nothing, so that it is not held back for being unknown.
func (s *Source) Rate(spatial, temporal uint8, now int64) int64 {
	sum, alive := 0.0, false
	for i := range min(int(spatial)+1, 4) {
		if s.Described && i != int(spatial) && !s.Structure.Below(uint8(i), spatial) {
			continue
		}
		for j := range min(int(temporal)+1, 4) {
			c := &s.cells[i][j]
			if c.last != 0 && now-c.last <= dead {
				sum += c.rate
				// The top layer itself has to flow.
				alive = alive || i == int(spatial)
			}
		}
	}
	if !alive {
		return 0
	}
	return max(int64(sum*8), 1)
}

// Total is the rate of everything, in bit/s; 0: nothing comes.
func (s *Source) Total(now int64) int64 {
	sum, alive := 0.0, false
	for i := range s.cells {
		for j := range s.cells[i] {
			if c := &s.cells[i][j]; c.last != 0 && now-c.last <= dead {
				sum, alive = sum+c.rate, true
			}
		}
	}
	if !alive {
		return 0
	}
	return max(int64(sum*8), 1)
}

// SenderReport takes the sender's own.
func (s *Source) SenderReport(r wire.SenderReport, now int64) { s.sr, s.srAt = r, now }

// LastReport is the newest report of the sender; false: none came.
func (s *Source) LastReport() (wire.SenderReport, bool) { return s.sr, s.srAt != 0 }

// Report is the receiver's block for the sender.
func (s *Source) Report(now int64) wire.Report {
	r := wire.Report{SSRC: s.SSRC, Jitter: uint32(s.jitter)}
	if !s.began {
		return r
	}
	r.Highest = uint32(s.Highest)
	expected := uint64(s.Highest - s.first + 1)
	lost := int64(expected) - int64(s.received)
	r.Lost = int32(max(min(lost, 0x7fffff), -0x800000))
	dExpected, dReceived := int64(expected-s.expectedPrior), int64(s.received-s.receivedPrior)
	if gone := dExpected - dReceived; dExpected > 0 && gone > 0 {
		r.FractionLost = uint8(min(gone*256/dExpected, 255))
	}
	s.expectedPrior, s.receivedPrior = expected, s.received
	if s.srAt != 0 {
		r.LastSR = uint32(s.sr.NTP >> 16)
		r.Delay = uint32((now - s.srAt) * 65536 / 1e6)
	}
	return r
}

// AskKey says that somebody needs a key frame.
func (s *Source) AskKey() {
	if !s.Audio {
		s.wantKey = true
	}
}

// KeyDue reports, once for all who asked, that the sender should be asked for a key frame now.
func (s *Source) KeyDue(now int64) bool {
	if !s.wantKey || s.askedKey != 0 && now-s.askedKey < merged {
		return false
	}
	// It stays wanted until one comes, or for one more merging time if none can be told.
	s.wantKey = s.Claims
	s.askedKey = now
	return true
}

// AskedKey is when a key frame was last asked for; 0: never.
func (s *Source) AskedKey() int64 { return s.askedKey }
