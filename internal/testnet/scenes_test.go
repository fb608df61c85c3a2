package testnet

import (
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// scene runs something that is written down, not drawn, in a world without faults of its own.
// Each is here because the simulation found it.
func scene(t *testing.T, p plan, play func(*world)) {
	t.Helper()
	wrong, w := playOut(t, p, nil, play)
	for _, text := range wrong {
		t.Error(text)
	}
	if t.Failed() {
		t.Log(w.history.tail(40))
	}
}

// playOut runs a scene and returns what was wrong. prepare sees the world before there is
// anything in it.
func playOut(t *testing.T, p plan, prepare, play func(*world)) (wrong []string, w *world) {
	t.Helper()
	p.seed, p.people = 1, max(p.people, 1)
	cryptotest.SetGlobalRandom(t, p.seed)
	dir := folder(t)
	emptyPools()
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t, p, dir)
		if prepare != nil {
			prepare(w)
		}
		w.script = func(w *world) {
			w.people[0].write(w.people[0], envelope.Week, 1024, nil) // the control of the search
			play(w)
		}
		wrong = w.run()
	})
	return wrong, w
}

// cutNodes stops or restores everything between two nodes.
func (w *world) cutNodes(a, b *station, on bool) {
	w.packets.cut(a.name, b.name, on)
	w.packets.cut(b.name, a.name, on)
}

// A note came to its reader while the writer's node could not be reached, so that the receipt
// could not be addressed. It went out only with the reader's next link, which may be days away.
func TestAReceiptThatCouldNotGoOutGoesOutWithoutANewLink(t *testing.T) {
	scene(t, plan{stations: 2, humans: 2}, func(w *world) {
		alice, bob := w.humans[0], w.humans[1]
		bob.stop()
		alice.write(t.Context(), bob, secretMark+" a note")
		n := alice.wrote[0]
		state := func() keep.NoteState {
			kept, err := alice.c.Note(bob.root.Public(), n.id)
			if err != nil {
				w.fail("%v", err)
			}
			return kept.State
		}
		if !w.until(time.Minute, func() bool { return state() == client.NoteStored }) {
			w.fail("the note is not stored at its reader's node")
			return
		}
		w.cutNodes(w.stations[0], w.stations[1], true)
		c, err := client.Open(bob.config()) // it remembers no way to the writer
		if err != nil {
			w.fail("%v", err)
			return
		}
		bob.run(c)
		time.Sleep(5 * time.Minute)
		if state() == client.NoteRead {
			w.fail("the receipt crossed a line that was cut")
		}
		w.cutNodes(w.stations[0], w.stations[1], false)
		if !w.until(15*time.Minute, func() bool { return state() == client.NoteRead }) {
			w.fail("no receipt came after the line was back: the reader %s", bob.knows(alice, n))
		}
	})
}
