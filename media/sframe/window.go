package sframe

// windowSize is how far behind the newest counter a frame may come (docs/spec/media.md, section 2).
const windowSize = 512

// window remembers the last counters of one key as a ring of bits: bit ctr mod 512 belongs to
// ctr while it is less than 512 behind next.
type window struct {
	next uint64 // one above the highest counter seen
	bits [windowSize / 64]uint64
}

// fresh reports whether ctr has not been seen and is not too old to tell.
func (w *window) fresh(ctr uint64) bool {
	if ctr >= w.next {
		return true
	}
	if w.next-ctr > windowSize {
		return false
	}
	i := ctr % windowSize
	return w.bits[i/64]&(1<<(i%64)) == 0
}

// mark records ctr, which was fresh.
func (w *window) mark(ctr uint64) {
	if ctr >= w.next {
		if ctr-w.next >= windowSize {
			w.bits = [windowSize / 64]uint64{}
		} else {
			for c := w.next; c < ctr; c++ {
				i := c % windowSize
				w.bits[i/64] &^= 1 << (i % 64)
			}
		}
		w.next = ctr + 1
	}
	i := ctr % windowSize
	w.bits[i/64] |= 1 << (i % 64)
}
