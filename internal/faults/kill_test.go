//go:build linux

package faults

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

// TestKilledNodesLoseNothing: while notes go both ways, either node is killed again and again,
// sometimes both, sometimes while it starts or drains, and links of clients are cut. Whatever
// was acknowledged has arrived in the end, once, and its sender can know.
func TestKilledNodesLoseNothing(t *testing.T) {
	t.Parallel()
	dice := dice(t)
	acme, globex := twoServers(t)
	tr := newTraffic(t, dice, 6, acme, globex)
	alice, bob := newPerson(t, "alice", acme), newPerson(t, "bob", globex)
	meet(t, alice, bob)
	servers := []*server{acme, globex}
	began := time.Now()

	people := correspond(t, alice, bob, *notes/200)
	tr.exchange(*notes)
	// Each note makes three events, accepted, stored and delivered; the kills are spread over
	// most of them, each at a point that is drawn.
	every := 3 * *notes / (*kills + 1)
	killed := map[string]int{}
	for k := 0; k < *kills; {
		tr.after(1 + tr.draw(2*every-1))
		if tr.draw(4) == 0 {
			tr.cut()
		}
		victims := []*server{servers[tr.draw(2)]}
		if tr.draw(10) == 0 {
			victims = servers
		}
		for _, s := range victims {
			how := s.domain
			if tr.draw(8) == 0 {
				how += " while it drained"
				s.signal(syscall.SIGTERM)
				time.Sleep(time.Duration(tr.draw(1000)) * time.Millisecond) // where in the drain it is hit
			}
			s.kill()
			killed[how]++
			k++
		}
		for _, s := range victims {
			if tr.draw(5) == 0 {
				after := time.Duration(tr.draw(200)) * time.Millisecond // where in the start it is hit
				if err := s.launch(func() { time.Sleep(after) }); !errors.Is(err, errKilled) {
					t.Fatal(err)
				}
				killed[s.domain+" while it started"]++
				k++
			}
			s.start()
		}
	}
	tr.reckon(servers...)
	people()
	tr.repeat(*notes / 20)
	t.Logf("%d notes, killed %v, in %s", *notes, killed, time.Since(began).Round(time.Second))
	for _, s := range servers {
		s.checkStore()
	}
}
