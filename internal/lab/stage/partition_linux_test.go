package stage

import (
	"fmt"
	"os"
	"testing"

	"github.com/trunkline-net/trunkline/internal/lab"
)

// full says whether the long forms are wanted (make lab).
func full() bool { return os.Getenv("TRUNKLINE_LAB") == "full" }

// TestWhatIsSubmittedInAPartitionArrivesAfterIt cuts the line between two nodes, in one
// direction and in both, lets people on both sides write meanwhile, and heals it: every note
// arrives, once, and its sender knows.
func TestWhatIsSubmittedInAPartitionArrivesAfterIt(t *testing.T) {
	t.Parallel()
	s := New(t)
	acme, globex := s.Node("acme.example", lab.OverWire), s.Node("globex.example")
	s.Federate()
	first, second := s.Person("alice", acme), s.Person("bob", globex)
	s.Befriend(first, second)
	alice, bob := s.resident(first), s.resident(second)

	number := 0
	write := func(many int) (texts []string) {
		t.Helper()
		for range many {
			number++
			texts = append(texts, fmt.Sprintf("note %d", number))
			alice.write(bob, texts[len(texts)-1])
			bob.write(alice, texts[len(texts)-1])
		}
		return texts
	}
	both := func(texts []string, holds func(from, to *resident, text string) bool) func() bool {
		return func() bool {
			for _, text := range texts {
				if !holds(alice, bob, text) || !holds(bob, alice, text) {
					return false
				}
			}
			return true
		}
	}
	up := func() bool {
		return acme.LinkTo(globex.Domain).State == "connected" && globex.LinkTo(acme.Domain).State == "connected"
	}
	read := func(from, _ *resident, text string) bool { return from.state(text) == "read" }
	// The look-ups that a first note needs are done while there is a line.
	s.Until("the first notes are read", both(write(1), read))
	s.Until("the link is up", up)

	cuts := []struct {
		name string
		cut  func(w *lab.Wire)
	}{
		{"acme to globex", func(w *lab.Wire) { w.Set(lab.Out, lab.Quality{Cut: true}) }},
		{"globex to acme", func(w *lab.Wire) { w.Set(lab.In, lab.Quality{Cut: true}) }},
		{"both ways", func(w *lab.Wire) { w.SetBoth(lab.Quality{Cut: true}) }},
	}
	const many = 10
	if !full() {
		cuts = cuts[:1]
	}
	wire := acme.Host.Wire()
	for _, c := range cuts {
		c.cut(wire)
		// Nobody has noticed yet: these go out on a link that looks alive.
		early := write(many)
		s.Until("both nodes notice the cut", func() bool {
			return acme.LinkTo(globex.Domain).State != "connected" && globex.LinkTo(acme.Domain).State != "connected"
		})
		late := write(many)
		// The own node has taken them, which is the promise that has to be kept.
		s.Until("the own nodes have the notes", both(late, func(from, _ *resident, text string) bool {
			return from.state(text) != "" && from.state(text) != "queued"
		}))
		for _, text := range late {
			if alice.times(text)+bob.times(text) != 0 {
				t.Errorf("%s: %q came although nothing passes", c.name, text)
			}
		}
		waiting := [2]int{acme.LinkTo(globex.Domain).Queue, globex.LinkTo(acme.Domain).Queue}
		if waiting[0] < many || waiting[1] < many {
			t.Errorf("%s: the nodes keep %d envelopes for each other, less than were taken", c.name, waiting)
		}
		wire.SetBoth(lab.Quality{})
		s.Until("the link is up again", up)
		s.Until("all notes are read", both(append(early, late...), read))
		t.Logf("%s: %v envelopes waited, all notes arrived after it", c.name, waiting)
	}

	alice.leave()
	bob.leave()
	for _, pair := range [][2]*resident{{alice, bob}, {bob, alice}} {
		from, to := pair[0], pair[1]
		for _, text := range from.texts {
			if n := to.times(text); n != 1 {
				t.Errorf("%q of %s was told %d times", text, from.Name, n)
			}
		}
		// The same from the disk, by the program itself.
		for out, p := range map[bool]*Person{true: from.Person, false: to.Person} {
			kept := map[string]int{}
			for _, n := range history(s, p, out) {
				kept[n.Text]++
				if out && n.State != "read" {
					t.Errorf("%s has %q as %s", p.Name, n.Text, n.State)
				}
			}
			for _, text := range from.texts {
				if kept[text] != 1 {
					t.Errorf("%s keeps %q of %s %d times", p.Name, text, from.Name, kept[text])
				}
			}
			if len(kept) != len(from.texts) {
				t.Errorf("%s keeps %d notes of %d", p.Name, len(kept), len(from.texts))
			}
		}
	}
	t.Logf("%d notes; wire: out %+v, in %+v", 2*number, wire.Counts(lab.Out), wire.Counts(lab.In))
}

// shown is a note as inbox --json prints it.
type shown struct {
	Text, State string
	Out         bool
}

// history is what somebody wrote (out) or was written.
func history(s *Stage, p *Person, out bool) (notes []shown) {
	s.t.Helper()
	var got struct{ Notes []shown }
	s.Object(p.Home.Host, &got, "inbox", "--data", p.Dir, "--all")
	for _, n := range got.Notes {
		if n.Out == out {
			notes = append(notes, n)
		}
	}
	return notes
}
