//go:build linux

package faults

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// group is a control group for one node, which bounds its memory.
type group struct {
	dir, limit, usage string
}

// memoryGroup makes one, of version 1 or 2, whichever the machine has.
func memoryGroup(t *testing.T) *group {
	t.Helper()
	needRoot(t, "bound the memory of a node with a control group")
	name := fmt.Sprintf("trunkline-faults-%d", os.Getpid())
	g := &group{filepath.Join("/sys/fs/cgroup/memory", name), "memory.limit_in_bytes", "memory.usage_in_bytes"}
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil {
		g = &group{filepath.Join("/sys/fs/cgroup", name), "memory.max", "memory.current"}
	}
	err := os.Mkdir(g.dir, 0o755)
	if err == nil {
		t.Cleanup(func() {
			// The node has been waited for; the kernel may still count its last pages.
			until(t, "the control group is gone", func() bool { return os.Remove(g.dir) == nil })
		})
		_, err = os.Stat(filepath.Join(g.dir, g.limit))
	}
	if err != nil {
		t.Fatalf("no control group for memory can be made here, so this cannot be tested: %v. Run it where /sys/fs/cgroup can be written", err)
	}
	return g
}

func (g *group) option(s *server) {
	s.shell = fmt.Sprintf("echo $$ > %s/cgroup.procs", g.dir)
}

func (g *group) used(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, g.usage))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (g *group) bound(t *testing.T, n int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, g.limit), []byte(strconv.Itoa(n)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAFloodIsNotTheEndOfANode: the memory of a node is bounded, and strangers each send the
// largest message and never its last byte, on as many links as they get, over and over.
func TestAFloodIsNotTheEndOfANode(t *testing.T) {
	t.Parallel()
	dice := dice(t)
	g := memoryGroup(t) // before the node, which it outlives
	acme := newServer(t, "acme.example")
	globex := newServer(t, "globex.example", g.option)
	acme.trust(globex)
	globex.trust(acme)
	acme.start()
	globex.start()
	befriend(t, acme, globex)
	tr := newTraffic(t, dice, 6, acme, globex)
	tr.exchange(200)
	tr.reckon(acme, globex)
	quiet := g.used(t)
	bound := quiet + short(128, 768)<<20 // the race detector takes its share
	g.bound(t, bound)

	_, http, _ := globex.now()
	// The head of a masked binary message of the largest size, and nearly all of it.
	flood := binary.BigEndian.AppendUint64([]byte{0x82, 0x80 | 127}, link.MaxFrame)
	flood = append(flood, 0, 0, 0, 0)
	flood = append(flood, bytes.Repeat([]byte{0x7a}, link.MaxFrame-1)...)
	strangers, most := 0, 0
	var open []*line
	for range 3000 {
		l, err := dialStranger(t.Context(), http)
		if err != nil {
			break // the node is gone, or turned it away
		}
		open = append(open, l)
		if _, err := l.ws.NetConn().Write(flood); err != nil {
			continue
		}
		strangers++
		most = max(most, g.used(t))
		if strangers%300 == 0 {
			tr.exchange(50) // members go on meanwhile
		}
	}
	killed := !globex.alive()
	t.Logf("%d strangers with a message of %d bytes each; %d MiB quiet, %d MiB bound, %d MiB at most; killed: %t",
		strangers, link.MaxFrame, quiet>>20, bound>>20, most>>20, killed)
	for _, l := range open {
		l.over()
	}
	if killed {
		t.Error("the node was killed for its memory")
		g.bound(t, quiet+1<<30)
		globex.start()
	}
	tr.connected()
	tr.reckon(acme, globex)
	if r, err := tr.live(tr.at(acme)[0], tr.at(globex)[0]); err != nil || r.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
		t.Errorf("live, afterwards: %v, %v", r, err)
	}
	acme.checkStore()
	globex.checkStore()
}
