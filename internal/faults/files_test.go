//go:build linux

package faults

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// TestANodeOutOfFilesKeepsItsMembers: strangers open links and connections until the node has
// not one descriptor left. They are turned away with words, members and the partner notice
// nothing, and when the strangers have gone there is room again.
func TestANodeOutOfFilesKeepsItsMembers(t *testing.T) {
	t.Parallel()
	dice := dice(t)
	const files = 120
	acme := newServer(t, "acme.example")
	globex := newServer(t, "globex.example", func(s *server) { s.shell = fmt.Sprintf("ulimit -n %d", files) })
	acme.trust(globex)
	globex.trust(acme)
	acme.start()
	globex.start()
	befriend(t, acme, globex)
	tr := newTraffic(t, dice, 6, acme, globex)
	tr.exchange(100)
	tr.reckon(acme, globex)

	_, http, _ := globex.now()
	var strangers []*line
	var away error
	for away == nil && len(strangers) <= files {
		l, err := dialStranger(t.Context(), http)
		if err == nil {
			strangers = append(strangers, l)
		}
		away = err
	}
	var refused *refusal
	if !errors.As(away, &refused) || refused.retry == 0 {
		t.Errorf("one stranger more was turned away with %v", away)
	}
	t.Logf("%d strangers have a link of a node that may open %d files, the next: %v", len(strangers), files, away)
	if len(strangers) == 0 || len(strangers) > files/2 {
		t.Errorf("%d strangers have a link", len(strangers))
	}
	// A member that comes now is not kept out by them.
	from := tr.at(globex)[0]
	old := from.current()
	old.over()
	until(t, "a member comes back", func() bool { l := from.current(); return l != nil && l != old })

	// Connections to the other listeners take what is left.
	var all []net.Conn
	at := globex.federation
	used := func() int {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", globex.pid()))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	for range 2 * files {
		for _, at := range []string{at, globex.facts.TURN, strings.TrimSuffix(strings.TrimPrefix(globex.facts.Metrics, "http://"), "/metrics")} {
			conn, err := net.DialTimeout("tcp", at, wait)
			if errors.Is(err, syscall.ECONNRESET) {
				continue // turned away
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, conn)
		}
	}
	until(t, "every descriptor is taken", func() bool { return used() >= files-2 })
	tr.exchange(300)
	tr.settle()
	for _, from := range []*device{tr.at(acme)[0], tr.at(globex)[0]} {
		if r, err := tr.live(from, tr.at(globex)[1]); err != nil || r.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
			t.Errorf("live, from %s: %v, %v", from.name, r, err)
		}
	}
	if starts, _, _ := globex.now(); starts != 1 || !globex.alive() {
		t.Error("the node did not hold out")
	}
	for _, conn := range all {
		_ = conn.Close()
	}
	for _, l := range strangers {
		l.over()
	}
	until(t, "there is room again", func() bool {
		l, err := dialStranger(t.Context(), http)
		if err == nil {
			l.over()
		}
		return err == nil
	})
	tr.reckon(acme, globex)
	for _, d := range tr.devices {
		d.mu.Lock()
		if d != from && // whose link the test ended
			d.drains+d.cuts != 0 {
			t.Errorf("%s lost its link", d.name)
		}
		d.mu.Unlock()
	}
	globex.checkStore()
}
