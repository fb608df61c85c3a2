// Package scalable writes dependency descriptors as an encoder of scalable video does. It is the other side of
// wire.ParseDescriptor: tests and the benchmark send with it, the server itself never does.
package scalable

// Mode is LxTy of the SVC registry: spatial layers that depend on the ones below, and temporal layers.
type Mode struct{ Spatial, Temporal int }

// Frame names one frame of a mode.
type Frame struct {
	Spatial, Temporal int
	Key               bool // brings the structure; only with Spatial and Temporal 0
}

type writer struct {
	b []byte
	n int
}

func (w *writer) put(v uint32, bits int) {
	for i := bits - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		if v>>i&1 == 1 {
			w.b[w.n/8] |= 1 << (7 - w.n%8)
		}
		w.n++
	}
}

// Append writes the descriptor of one packet of frame number n behind dst.
func (m Mode) Append(dst []byte, f Frame, first, last bool, n uint16) []byte {
	w := &writer{}
	w.put(bit(first), 1)
	w.put(bit(last), 1)
	w.put(uint32(f.Spatial*m.Temporal+f.Temporal), 6)
	w.put(uint32(n), 16)
	if f.Key {
		w.put(0b11000, 5) // a structure, and which targets are active
		m.structure(w)
		w.put(1<<(m.Spatial*m.Temporal)-1, m.Spatial*m.Temporal)
	}
	return append(dst, w.b...)
}

func (m Mode) structure(w *writer) {
	targets := m.Spatial * m.Temporal
	w.put(0, 6)
	w.put(uint32(targets-1), 5)
	for i := range targets {
		switch {
		case i == targets-1:
			w.put(3, 2)
		case (i+1)%m.Temporal == 0:
			w.put(2, 2)
		default:
			w.put(1, 2)
		}
	}
	// Template and target i are layer (i / Temporal, i % Temporal). A frame is present in every target that is not
	// below it, a switch in its own and required in those above.
	for template := range targets {
		s, t := template/m.Temporal, template%m.Temporal
		for target := range targets {
			ds, dt := target/m.Temporal, target%m.Temporal
			switch {
			case s > ds || t > dt:
				w.put(0, 2)
			case s < ds:
				w.put(3, 2)
			case t == dt && t > 0:
				w.put(1, 2)
			default:
				w.put(2, 2)
			}
		}
	}
	for range targets {
		w.put(0, 1) // no frame differences: the SFU does not look at them
	}
	// No chains: ns(targets+1) of 0.
	width := 0
	for x := targets + 1; x != 0; x >>= 1 {
		width++
	}
	w.put(0, width-1)
	w.put(1, 1)
	for s := range m.Spatial {
		shift := m.Spatial - 1 - s
		w.put(uint32(1280>>shift-1), 16)
		w.put(uint32(720>>shift-1), 16)
	}
}

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
