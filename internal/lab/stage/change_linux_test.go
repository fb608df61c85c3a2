package stage

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client/clip"
	"github.com/trunkline-net/trunkline/internal/lab"
)

// longSound writes an Opus file that lasts longer than any of these tests waits.
func longSound(t *testing.T, s *Stage) string {
	t.Helper()
	path := s.path("long.ogg")
	f, err := os.Create(path)
	s.must(err)
	w, err := clip.NewOggWriter(f, 1, 7)
	s.must(err)
	for i := range 5 * 60 * 50 { // 20 ms each
		packet := []byte{0xf8, byte(i), byte(i >> 8)}
		s.must(w.Write(append(packet, make([]byte, 60)...)))
	}
	s.must(w.Close())
	s.must(f.Close())
	return path
}

// heard counts the packets with media that came to a host after a moment, straight or through
// a relay.
func heard(c *lab.Capture, host, home, other *lab.Host, after time.Time) (n int) {
	for _, p := range c.Packets() {
		if kind, _ := media(p, host, home, other); kind != "" && !p.Out && p.Time.After(after) {
			n++
		}
	}
	return n
}

// TestACallOutlivesAChangeOfTheNetwork: in the middle of a call the router forgets its
// mappings, or gets another address, or the machine moves to another network. Both sides hear
// each other again, and the call ends as calls do.
func TestACallOutlivesAChangeOfTheNetwork(t *testing.T) {
	t.Parallel()
	s, couples := stageForCalls(t, 1)
	c := couples[0]
	sound := longSound(t, s)
	type scene struct {
		name   string
		make   func() (mover *lab.Host, change func())
		callee bool // it is the callee who moves
		short  bool
	}
	behind := func(kind lab.Kind, change func(*lab.Net)) func() (*lab.Host, func()) {
		return func() (*lab.Host, func()) {
			n := s.Behind(kind)
			return n.Host("mover"), func() { change(n) }
		}
	}
	forget, rebind := (*lab.Net).Forget, (*lab.Net).Rebind
	move := func() (*lab.Host, func()) {
		h := s.Behind(lab.PortRestricted).Host("mover")
		return h, func() { s.Behind(lab.FullCone).Take(h) }
	}
	for _, sc := range []scene{
		{name: "the caller's router forgets", make: behind(lab.PortRestricted, forget)},
		{name: "the caller's symmetric router forgets", make: behind(lab.Symmetric, forget)},
		{name: "the caller's router gets another address", make: behind(lab.PortRestricted, rebind)},
		{name: "the callee's router gets another address", make: behind(lab.PortRestricted, rebind), callee: true},
		{name: "the caller moves to another network", make: move},
		{name: "the callee moves to another network", make: move, callee: true, short: true},
	} {
		if !sc.short && !full() {
			continue
		}
		mover, change := sc.make()
		stays := s.Behind(lab.PortRestricted).Host("stays")
		hosts := [2]*lab.Host{mover, stays}
		if sc.callee {
			hosts = [2]*lab.Host{stays, mover}
		}
		homes := [2]*lab.Host{c.alice.Home.Host, c.bob.Home.Host}
		answer := s.Start(hosts[1], "answer", "--data", c.bob.Dir, "--auto", "--once", "--audio", sound, "--log-level", "info")
		if err := waitUntil(func() bool { return strings.Contains(answer.Log(), "Waiting") }, answer.Done()); err != nil {
			t.Fatalf("%s: answer: %v: %s", sc.name, err, answer.Log())
		}
		captures := [2]*lab.Capture{hosts[0].Capture(), hosts[1].Capture()}
		call := s.Start(hosts[0], "call", "--data", c.alice.Dir, c.bob.ID, "--audio", sound, "--log-level", "info")
		both := func(after time.Time) func() bool {
			return func() bool {
				for i := range hosts {
					if heard(captures[i], hosts[i], homes[i], hosts[1-i], after) < 50 {
						return false
					}
				}
				return true
			}
		}
		over := call.Done()
		if err := waitUntil(both(time.Time{}), over); err != nil {
			t.Fatalf("%s: before the change: %v: %s", sc.name, err, call.Log())
		}
		change()
		changed := time.Now()
		if err := waitUntil(both(changed), over); err != nil {
			var counts []string
			for i := range hosts {
				counts = append(counts, fmt.Sprint(heard(captures[i], hosts[i], homes[i], hosts[1-i], changed)))
			}
			t.Errorf("%s: %v; packets heard after it by caller and callee: %v\ncaller: %s\ncallee: %s", sc.name, err, counts, call.Log(), answer.Log())
		} else {
			t.Logf("%s: both heard a second of each other again %v after it", sc.name, time.Since(changed).Round(100*time.Millisecond))
		}
		var facts [2]callFacts
		if err := call.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		if err := call.Next(&facts[0], Patience); err != nil {
			t.Errorf("%s: caller: %v", sc.name, err)
		}
		if err := answer.Event("call", &facts[1]); err != nil {
			t.Errorf("%s: callee: %v", sc.name, err)
		}
		for i, f := range facts {
			if !f.Connected || f.Ended != "hangup" {
				t.Errorf("%s: side %d: %+v", sc.name, i, f)
			}
		}
		call.Kill()
		answer.Kill()
		for i := range captures {
			s.must(captures[i].Stop())
			hosts[i].Close()
		}
	}
}
