package wire

import "encoding/binary"

// The dependency descriptor of the AV1 RTP specification, appendix A, which VP8 and VP9 senders use as well. It is
// the only thing from which the SFU knows frames, layers and key frames, since it never reads payloads.

// Indication says what a frame is to a decode target.
type Indication uint8

// The indications, as they are written.
const (
	NotPresent Indication = iota
	Discardable
	Switch
	Required
)

const (
	maxTargets   = 32
	maxTemplates = 64
	maxChains    = 32
	maxSpatial   = 4
)

// Structure is the template dependency structure that a key frame brings. It is kept between frames; it is large,
// and is copied only when a new one came.
type Structure struct {
	offset    uint8
	Targets   int
	templates int
	chains    int
	spatial   [maxTemplates]uint8
	temporal  [maxTemplates]uint8
	dti       [maxTemplates][maxTargets]Indication
	alone     [maxTemplates]bool // rests on no other frame

	within [maxTargets]uint32 // the targets that have every frame of this one
	below  [maxSpatial]uint8  // the spatial layers that come with this one

	// TargetSpatial and TargetTemporal are the layers of each decode target.
	TargetSpatial, TargetTemporal [maxTargets]uint8
	MaxSpatial, MaxTemporal       uint8
	// Width and Height are those of the spatial layers, 0 if they are not told.
	Width, Height [maxSpatial]uint16
}

// Descriptor is what one packet says.
type Descriptor struct {
	First, Last   bool // packet of its frame
	Frame         uint16
	Key           bool   // brings a structure: nothing before it is needed
	Active        uint32 // decode targets, if ActivePresent
	ActivePresent bool
	Spatial       uint8
	Temporal      uint8
	Alone         bool // rests on no other frame

	template  uint8
	custom    bool
	dti       [maxTargets]Indication
	activeBit int // where the bits of Active begin; 0: not there
}

// Indication says what the packet's frame is to a decode target of s.
func (d *Descriptor) Indication(s *Structure, target int) Indication {
	if target < 0 || target >= s.Targets {
		return Required
	}
	if d.custom {
		return d.dti[target]
	}
	return s.dti[d.template][target]
}

// bits reads from the front; one read too far makes it short for good.
type bits struct {
	b     []byte
	at    int
	short bool
}

func (r *bits) read(n int) uint32 {
	if r.at+n > 8*len(r.b) {
		r.short = true
		return 0
	}
	var v uint32
	for range n {
		v = v<<1 | uint32(r.b[r.at>>3]>>(7-r.at&7)&1)
		r.at++
	}
	return v
}

// nonSymmetric reads ns(n) of the specification: a value below n.
func (r *bits) nonSymmetric(n int) int {
	w := 0
	for x := n; x != 0; x >>= 1 {
		w++
	}
	m := 1<<w - n
	v := int(r.read(w - 1))
	if v < m {
		return v
	}
	return v<<1 - m + int(r.read(1))
}

// ParseDescriptor reads b. s is the structure that holds so far; if b brings a new one, it is written to fresh and
// Key is set. Without a structure only First, Last and Frame are known, and ErrFormat is returned with them.
func ParseDescriptor(b []byte, s, fresh *Structure) (Descriptor, error) {
	var d Descriptor
	if len(b) < 3 {
		return d, ErrShort
	}
	if len(b) > 255 {
		return d, ErrTooLong
	}
	r := bits{b: b}
	d.First, d.Last = r.read(1) == 1, r.read(1) == 1
	id := uint8(r.read(6))
	d.Frame = uint16(r.read(16))
	var structure, active, dtis, fdiffs, chains bool
	if len(b) > 3 {
		structure, active = r.read(1) == 1, r.read(1) == 1
		dtis, fdiffs, chains = r.read(1) == 1, r.read(1) == 1, r.read(1) == 1
		if structure {
			if err := fresh.read(&r); err != nil {
				return d, err
			}
			s = fresh
			d.Active, d.ActivePresent = uint32(1<<s.Targets-1), true
		}
	}
	if s == nil || s.Targets == 0 {
		return d, ErrFormat
	}
	if active {
		d.activeBit = r.at
		d.Active, d.ActivePresent = r.read(s.Targets), true
	}
	index := (id + 64 - s.offset) % 64
	if int(index) >= s.templates {
		return d, ErrFormat
	}
	d.template = index
	d.Spatial, d.Temporal, d.Alone = s.spatial[index], s.temporal[index], s.alone[index]
	if dtis {
		d.custom = true
		for i := range s.Targets {
			d.dti[i] = Indication(r.read(2))
		}
	}
	if fdiffs {
		d.Alone = true
		for size := r.read(2); size != 0 && !r.short; size = r.read(2) {
			r.read(int(4 * size))
			d.Alone = false
		}
	}
	if chains {
		for range s.chains {
			r.read(8)
		}
	}
	if r.short {
		return d, ErrShort
	}
	d.Key = structure
	return d, nil
}

func (s *Structure) read(r *bits) error {
	*s = Structure{offset: uint8(r.read(6)), Targets: int(r.read(5)) + 1}
	var spatial, temporal uint8
	for {
		if s.templates == maxTemplates || spatial >= maxSpatial || r.short {
			return s.broken(r)
		}
		s.spatial[s.templates], s.temporal[s.templates] = spatial, temporal
		s.templates++
		s.MaxSpatial, s.MaxTemporal = max(s.MaxSpatial, spatial), max(s.MaxTemporal, temporal)
		next := r.read(2)
		if next == 3 {
			break
		}
		switch next {
		case 1:
			temporal++
		case 2:
			temporal, spatial = 0, spatial+1
		}
	}
	for t := range s.templates {
		for dt := range s.Targets {
			s.dti[t][dt] = Indication(r.read(2))
		}
	}
	for t := range s.templates {
		s.alone[t] = true
		for r.read(1) == 1 && !r.short {
			r.read(4)
			s.alone[t] = false
		}
	}
	s.chains = r.nonSymmetric(s.Targets + 1)
	if s.chains > maxChains {
		return s.broken(r)
	}
	if s.chains > 0 {
		for range s.Targets {
			r.nonSymmetric(s.chains)
		}
		for range s.templates {
			for range s.chains {
				r.read(4)
			}
		}
	}
	for dt := range s.Targets {
		for t := range s.templates {
			if s.dti[t][dt] != NotPresent {
				s.TargetSpatial[dt] = max(s.TargetSpatial[dt], s.spatial[t])
				s.TargetTemporal[dt] = max(s.TargetTemporal[dt], s.temporal[t])
			}
		}
	}
	s.compare()
	if r.read(1) == 1 {
		for i := range s.MaxSpatial + 1 {
			s.Width[i], s.Height[i] = resolution(r.read(16)), resolution(r.read(16))
		}
	}
	if r.short {
		return s.broken(r)
	}
	return nil
}

// compare finds which targets are parts of which others.
func (s *Structure) compare() {
	for dt := range s.Targets {
		s.within[dt] = 1<<s.Targets - 1
	}
	for t := range s.templates {
		var in uint32
		for dt := range s.Targets {
			if s.dti[t][dt] != NotPresent {
				in |= 1 << dt
			}
		}
		for dt := range s.Targets {
			if in>>dt&1 == 1 {
				s.within[dt] &= in
			}
		}
	}
	for a := range s.Targets {
		for b := range s.Targets {
			if s.Within(a, b) {
				s.below[s.TargetSpatial[b]] |= 1 << s.TargetSpatial[a]
			}
		}
	}
}

// Within reports whether every frame of target a is one of target b: who is sent b has all that a needs. It is so where each
// picture rests on the smaller one (L modes), and not where only key frames do (KEY modes) or none (S modes).
func (s *Structure) Within(a, b int) bool { return s.within[a]>>b&1 == 1 }

// Below reports whether pictures of the spatial layer low are sent along with those of high.
func (s *Structure) Below(low, high uint8) bool {
	return high < maxSpatial && s.below[high]>>low&1 == 1
}

func (s *Structure) broken(r *bits) error {
	*s = Structure{}
	if r.short {
		return ErrShort
	}
	return ErrFormat
}

func resolution(minusOne uint32) uint16 { return uint16(min(minusOne+1, 0xffff)) }

// Renumber gives a descriptor that was parsed another frame number: what a frame rests on is said by differences.
func Renumber(b []byte, frame uint16) { binary.BigEndian.PutUint16(b[1:], frame) }

// Narrow writes the descriptor behind dst with the decode targets that are no part of the chosen one marked inactive, as
// long as it has the field; a receiver that is told of targets which do not come would wait for them.
func (d *Descriptor) Narrow(dst, b []byte, s *Structure, target int) []byte {
	at := len(dst)
	dst = append(dst, b...)
	if d.activeBit == 0 || target < 0 {
		return dst
	}
	out := dst[at:]
	for dt := range s.Targets {
		if s.Within(dt, target) {
			continue
		}
		bit := d.activeBit + s.Targets - 1 - dt // the first bit is the last target's
		out[bit>>3] &^= 1 << (7 - bit&7)
	}
	return dst
}
