package federation

import (
	"hash/maphash"
	"math/rand/v2"
	"testing"

	"github.com/trunkline-net/trunkline/envelope"
)

// Whatever is put, removed and asked for, the table answers as a map does.
func TestTheTableOfMarksIsAMap(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var table marks[int]
		model := make(map[mark]int)
		ids := 1 + rng.IntN(400)
		for step := range 5000 {
			// Half of them want the same few places.
			m := mark{uint64(rng.IntN(2)), uint64(rng.IntN(ids)) << (6 * rng.IntN(2))}
			switch rng.IntN(8) {
			case 0, 1, 2:
				table.put(m, step)
				model[m] = step
			case 3, 4, 5:
				table.remove(m)
				delete(model, m)
			case 6:
				if rng.IntN(500) == 0 {
					table.clear()
					clear(model)
				}
			}
			got := table.get(m)
			if want, ok := model[m]; ok != (got != nil) || ok && *got != want {
				t.Fatalf("seed %d, step %d: another answer than a map's", seed, step)
			}
			if table.n != len(model) {
				t.Fatalf("seed %d, step %d: %d entries, want %d", seed, step, table.n, len(model))
			}
		}
		for m, want := range model {
			if got := table.get(m); got == nil || *got != want {
				t.Fatalf("seed %d: an entry is lost", seed)
			}
		}
	}
}

func TestAMarkIsOfEveryByte(t *testing.T) {
	to := newTestNode(t, "globex.example", partnerOf())
	raw := envelopeTo(t, to, envelope.Day, 1024).Marshal()
	seed := maphash.MakeSeed()
	first := markOf(seed, raw)
	if markOf(seed, append([]byte(nil), raw...)) != first {
		t.Fatal("the same bytes have another mark")
	}
	var e envelope.Envelope
	if err := envelope.View(raw, &e); err != nil || string(raw[tagAt:][:8]) != string(e.Hop[envelope.HopSize-8:]) {
		t.Fatalf("the hop is not where it is looked for: %v", err)
	}
	for i := range raw {
		raw[i] ^= 1
		if markOf(seed, raw) == first {
			t.Fatalf("byte %d makes no difference", i)
		}
		raw[i] ^= 1
	}
}
