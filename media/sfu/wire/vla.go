package wire

// Allocation is the video layers allocation extension: what a sender intends to send.
//
//	RID 2 | streams-1 2 | spatial bitmask 4 (0: one for each stream follows)
//	temporal layers-1, 2 each | kbit/s, leb128, one for each temporal layer | width-1 2 height-1 2 rate 1, each
type Allocation struct {
	Stream  uint8 // which of the streams this one is
	Streams int
	Layers  [4][maxSpatial]AllocatedLayer
}

// AllocatedLayer is one spatial layer of one stream.
type AllocatedLayer struct {
	Active        bool
	Temporal      int // layers
	Kilobits      uint32
	Width, Height uint16 // 0: not told
	Rate          uint8
}

// ParseAllocation reads b.
func ParseAllocation(b []byte) (a Allocation, err error) {
	if len(b) == 0 {
		return a, ErrShort
	}
	if len(b) == 1 && b[0] == 0 {
		return a, nil // nothing is sent
	}
	r := bits{b: b}
	a.Stream, a.Streams = uint8(r.read(2)), int(r.read(2))+1
	shared := r.read(4)
	var mask [4]uint32
	for i := range a.Streams {
		mask[i] = shared
		if shared == 0 {
			mask[i] = r.read(4)
		}
	}
	r.align()
	for i := range a.Streams {
		for s := range maxSpatial {
			if mask[i]>>s&1 == 1 {
				a.Layers[i][s].Active = true
				a.Layers[i][s].Temporal = int(r.read(2)) + 1
			}
		}
	}
	r.align()
	a.each(func(l *AllocatedLayer) {
		for range l.Temporal {
			l.Kilobits = r.leb128()
		}
	})
	if r.short {
		return Allocation{}, ErrShort
	}
	if r.at == 8*len(b) {
		return a, nil
	}
	a.each(func(l *AllocatedLayer) {
		l.Width, l.Height, l.Rate = resolution(r.read(16)), resolution(r.read(16)), uint8(r.read(8))
	})
	if r.short {
		return Allocation{}, ErrShort
	}
	return a, nil
}

func (a *Allocation) each(f func(*AllocatedLayer)) {
	for i := range a.Streams {
		for s := range maxSpatial {
			if a.Layers[i][s].Active {
				f(&a.Layers[i][s])
			}
		}
	}
}

func (r *bits) align() { r.at = (r.at + 7) &^ 7 }

func (r *bits) leb128() (v uint32) {
	for shift := 0; shift < 32; shift += 7 {
		b := r.read(8)
		v |= b & 0x7f << shift
		if b&0x80 == 0 {
			return v
		}
	}
	r.short = true
	return 0
}
