// Package scalable writes dependency descriptors as an encoder of scalable video does. It is the other side of
// wire.ParseDescriptor: tests and the benchmark send with it, the server itself never does.
package scalable

import "fmt"

// Mode is one of the scalability modes of WebRTC's registry: so many spatial and temporal layers.
type Mode struct {
	Spatial, Temporal int
	Kind              Kind
}

// Kind is what a picture of a higher spatial layer rests on.
type Kind uint8

// The kinds.
const (
	L   Kind = iota // the smaller picture of the same moment, always
	Key             // only where a key frame is; from there on each layer goes on alone
	S               // nothing of another layer, as in simulcast; each has key frames of its own
)

func (m Mode) String() string {
	form := [...]string{L: "L%dT%d", Key: "L%dT%d_KEY", S: "S%dT%d"}[m.Kind]
	return fmt.Sprintf(form, m.Spatial, m.Temporal)
}

// Frame names one frame of a mode.
type Frame struct {
	Spatial, Temporal int
	Key               bool // brings the structure; only with Temporal 0
	Opens             bool // is of a picture that a key frame begins; only with Temporal 0, and so with every Key
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
	w.put(uint32(m.template(f)), 6)
	w.put(uint32(n), 16)
	if f.Key {
		w.put(0b11000, 5) // a structure, and which targets are active
		m.structure(w)
		w.put(1<<(m.Spatial*m.Temporal)-1, m.Spatial*m.Temporal)
	}
	return append(dst, w.b...)
}

// template of a frame. Each spatial layer has them in this order: of its key pictures, then one for each temporal layer.
func (m Mode) template(f Frame) int {
	at := f.Spatial * (m.Temporal + 1)
	if f.Key || f.Opens {
		return at
	}
	return at + 1 + f.Temporal
}

// frame of a template.
func (m Mode) frame(template int) Frame {
	s, t := template/(m.Temporal+1), template%(m.Temporal+1)
	return Frame{Spatial: s, Temporal: max(t-1, 0), Opens: t == 0}
}

// Has reports whether a frame is of a decode target. Target i is layer (i / Temporal, i % Temporal).
func (m Mode) Has(target int, f Frame) bool { return m.indication(target, f) != 0 }

// indication of a frame: 0 not there, 1 discardable, 2 a switch, 3 required.
func (m Mode) indication(target int, f Frame) uint32 {
	s, t := target/m.Temporal, target%m.Temporal
	opens := f.Opens || f.Key
	switch {
	case f.Spatial > s, f.Temporal > t:
		return 0
	case f.Spatial < s && (m.Kind == S || m.Kind == Key && !opens):
		return 0
	case f.Spatial < s && !opens:
		return 3
	case f.Spatial == s && f.Temporal == t && t > 0:
		return 1
	}
	return 2
}

func (m Mode) structure(w *writer) {
	targets, templates := m.Spatial*m.Temporal, m.Spatial*(m.Temporal+1)
	w.put(0, 6)
	w.put(uint32(targets-1), 5)
	for i := range templates {
		switch at := m.frame(i); {
		case i == templates-1:
			w.put(3, 2)
		case m.frame(i+1).Spatial > at.Spatial:
			w.put(2, 2)
		case m.frame(i+1).Temporal > at.Temporal:
			w.put(1, 2)
		default:
			w.put(0, 2)
		}
	}
	for i := range templates {
		for target := range targets {
			w.put(m.indication(target, m.frame(i)), 2)
		}
	}
	for i := range templates {
		// One difference where the frame rests on another. How far back that one is nobody looks at.
		if at := m.frame(i); !at.Opens || at.Spatial > 0 && m.Kind != S {
			w.put(1, 1)
			w.put(0, 4)
		}
		w.put(0, 1)
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
