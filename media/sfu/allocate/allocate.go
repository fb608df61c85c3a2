// Package allocate divides what one client's path takes among the pictures it wants. It is a pure function: the same
// wants and the same budget give the same layers.
//
// Sound comes first and is never paused. Then every picture gets its smallest layer, in order; then they are raised,
// one step each in turn, within one priority before the next. What does not fit is paused, the last in order first.
package allocate

import "slices"

// None is the layer of a picture that is not sent.
const None = -1

// raiseSpare is the part of a layer's rate that must be free before a picture is raised to it: rates are measured and
// waver, and a picture that flickers between two layers is worse than either.
const raiseSpare = 0.1

// MaxLayers that a publisher has.
const MaxLayers = 12

// Want is one picture or sound.
type Want struct {
	Sound    bool
	Priority uint8 // higher is served first
	Screen   bool  // before faces of the same priority
	// Rates are those of the layers, the smallest first, each with what it rests on; 0: nothing flows.
	Rates  [MaxLayers]int64
	Layers int
	Most   int // no higher layer is wanted; None: it is paused or not among the last N
	Now    int // the layer that is sent
	// Hold: it was lowered a moment ago, and is not raised above Now yet.
	Hold bool
	// Layer is the answer.
	Layer int
	// Short says that more was wanted than fitted.
	Short bool
}

// Allocator keeps the memory of its work.
type Allocator struct{ order []int }

// Divide sets Layer and Short of all wants.
func (a *Allocator) Divide(budget int64, wants []Want) {
	a.order = a.order[:0]
	for i := range wants {
		w := &wants[i]
		w.Layer, w.Short = None, false
		if w.Sound {
			if w.Most != None {
				w.Layer = 0
				budget -= w.Rates[0]
			}
			continue
		}
		if w.lowest() != None {
			a.order = append(a.order, i)
		}
	}
	// The order is that of the wants among equals, which is the client's own.
	slices.SortStableFunc(a.order, func(x, y int) int {
		p, q := &wants[x], &wants[y]
		if p.Priority != q.Priority {
			return int(q.Priority) - int(p.Priority)
		}
		if p.Screen != q.Screen {
			if p.Screen {
				return -1
			}
			return 1
		}
		return x - y
	})
	for _, i := range a.order {
		w := &wants[i]
		low := w.lowest()
		need := w.Rates[low]
		if w.Now == None {
			need += int64(float64(need) * raiseSpare)
		}
		if need > budget {
			w.Short = true
			continue
		}
		w.Layer = low
		budget -= w.Rates[low]
	}
	for from := 0; from < len(a.order); {
		to := from + 1
		for to < len(a.order) && same(&wants[a.order[from]], &wants[a.order[to]]) {
			to++
		}
		budget = raise(budget, wants, a.order[from:to])
		from = to
	}
	for _, i := range a.order {
		w := &wants[i]
		w.Short = w.Layer < w.highest()
	}
}

func same(p, q *Want) bool { return p.Priority == q.Priority && p.Screen == q.Screen }

func raise(budget int64, wants []Want, order []int) int64 {
	for again := true; again; {
		again = false
		for _, i := range order {
			w := &wants[i]
			next := w.above(w.Layer)
			if w.Layer == None || next == None || w.Hold && next > w.Now {
				continue
			}
			cost := w.Rates[next] - w.Rates[w.Layer]
			need := cost
			if next > w.Now {
				need += int64(float64(w.Rates[next]) * raiseSpare)
			}
			if need > budget {
				continue
			}
			budget -= cost
			w.Layer = next
			again = true
		}
	}
	return budget
}

// lowest layer that flows and is wanted. A picture whose smallest layer is larger than wanted is shown in that one.
func (w *Want) lowest() int {
	if w.Most == None {
		return None
	}
	for i := range w.Layers {
		if w.Rates[i] > 0 {
			return i
		}
	}
	return None
}

func (w *Want) above(layer int) int {
	for i := layer + 1; i <= min(w.Most, w.Layers-1); i++ {
		if w.Rates[i] > 0 {
			return i
		}
	}
	return None
}

func (w *Want) highest() int {
	for i := min(w.Most, w.Layers-1); i >= 0; i-- {
		if w.Rates[i] > 0 {
			return i
		}
	}
	return w.lowest()
}
