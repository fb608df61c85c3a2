package allocate_test

import (
	"math/rand/v2"
	"testing"

	"github.com/trunkline-net/trunkline/media/sfu/allocate"
)

func picture(priority uint8, now int) allocate.Want {
	return allocate.Want{Priority: priority, Layers: 3, Rates: [allocate.MaxLayers]int64{150, 500, 1500}, Most: 2, Now: now}
}

func sound() allocate.Want {
	return allocate.Want{Sound: true, Layers: 1, Rates: [allocate.MaxLayers]int64{40}, Now: 0}
}

func TestWhoGetsWhat(t *testing.T) {
	screen := picture(0, 0)
	screen.Screen = true
	small := picture(0, 0)
	small.Most = 0
	paused := picture(9, 2)
	paused.Most = allocate.None
	silent := picture(9, allocate.None)
	silent.Rates = [allocate.MaxLayers]int64{}
	middleDead := picture(0, 0)
	middleDead.Rates[1] = 0
	held, gone := picture(0, 0), picture(0, allocate.None)
	held.Hold, gone.Hold = true, true
	for _, c := range []struct {
		name   string
		budget int64
		wants  []allocate.Want
		want   []int
		short  []bool
	}{
		{"all fits", 10_000, []allocate.Want{sound(), picture(0, 0), picture(0, 0)}, []int{0, 2, 2}, []bool{false, false, false}},
		{"sound first, however little", 10, []allocate.Want{picture(0, 0), sound()}, []int{-1, 0}, []bool{true, false}},
		{"one in turn", 1200, []allocate.Want{picture(0, 0), picture(0, 0)}, []int{1, 1}, []bool{true, true}},
		{"priority before others", 1900, []allocate.Want{picture(0, 0), picture(5, 0)}, []int{0, 2}, []bool{true, false}},
		{"but all get the smallest first", 700, []allocate.Want{picture(0, 0), picture(5, 0)}, []int{0, 1}, []bool{true, true}},
		{"a screen before a face", 1900, []allocate.Want{picture(0, 0), screen}, []int{0, 2}, []bool{true, false}},
		{"the last is paused", 350, []allocate.Want{picture(0, 0), picture(0, 0), picture(0, 0)}, []int{0, 0, -1}, []bool{true, true, true}},
		{"no larger than wanted", 10_000, []allocate.Want{small}, []int{0}, []bool{false}},
		{"paused takes nothing", 200, []allocate.Want{paused, picture(0, 0)}, []int{-1, 0}, []bool{false, true}},
		{"what does not flow takes nothing", 200, []allocate.Want{silent, picture(0, 0)}, []int{-1, 0}, []bool{false, true}},
		{"a dead layer is stepped over", 2000, []allocate.Want{middleDead}, []int{2}, []bool{false}},
		{"raising needs room", 500, []allocate.Want{picture(0, 0)}, []int{0}, []bool{true}},
		{"not raised yet", 10_000, []allocate.Want{held}, []int{0}, []bool{true}},
		{"but lowered, and shown again", 160, []allocate.Want{held, gone}, []int{0, -1}, []bool{true, true}},
		{"in its smallest layer", 10_000, []allocate.Want{gone}, []int{0}, []bool{true}},
		{"staying needs less", 500, []allocate.Want{picture(0, 1)}, []int{1}, []bool{true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var a allocate.Allocator
			a.Divide(c.budget, c.wants)
			for i, w := range c.wants {
				if w.Layer != c.want[i] || w.Short != c.short[i] {
					t.Errorf("want %d got layer %d, short %v; should be %d, %v", i, w.Layer, w.Short, c.want[i], c.short[i])
				}
			}
		})
	}
}

// Whatever is asked, pictures never exceed what sound leaves, and a second run from the result changes nothing.
func TestTheBudgetHoldsAndTheResultIsStable(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var a allocate.Allocator
	for range 3000 {
		wants := make([]allocate.Want, 1+random.IntN(12))
		for i := range wants {
			w := &wants[i]
			w.Sound = random.IntN(3) == 0
			w.Priority, w.Screen = uint8(random.IntN(3)), random.IntN(5) == 0
			w.Layers = 1 + random.IntN(allocate.MaxLayers)
			rate := int64(20)
			for l := range w.Layers {
				rate += int64(random.IntN(500))
				if w.Rates[l] = rate; random.IntN(6) == 0 {
					w.Rates[l] = 0
				}
			}
			w.Most, w.Now = random.IntN(w.Layers+1)-1, random.IntN(w.Layers+1)-1
		}
		budget := int64(random.IntN(5000))
		a.Divide(budget, wants)
		left := budget
		for i := range wants {
			if w := &wants[i]; w.Layer != allocate.None {
				left -= w.Rates[w.Layer]
				if !w.Sound && left < 0 {
					sum := int64(0)
					for j := range wants {
						if wants[j].Layer != allocate.None && !wants[j].Sound {
							sum += wants[j].Rates[wants[j].Layer]
						}
					}
					if sum > budget {
						t.Fatalf("pictures take %d of %d", sum, budget)
					}
				}
			}
			wants[i].Now = wants[i].Layer
		}
		var before []int
		for _, w := range wants {
			before = append(before, w.Layer)
		}
		a.Divide(budget, wants)
		for i, w := range wants {
			if w.Layer < before[i] {
				t.Fatalf("want %d falls from %d to %d with nothing changed", i, before[i], w.Layer)
			}
		}
	}
}
