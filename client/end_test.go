package client_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/node"
)

// This test is not parallel: it looks at all goroutines of the process.
func TestNothingRunsAfterRunHasReturned(t *testing.T) {
	// The nodes are in this process: without an SFU, which stands on the same library as calls.
	acme, globex := two(t, func(c *node.Config) { c.SFU.Listen = "" })
	alice, bob := newHuman(t, "alice", acme), newHuman(t, "bob", globex)
	meet(t, alice, bob)
	// In the middle of a call, with media, and with a ring of somebody else in the room.
	ours, his := newCounter(), newCounter()
	call, theirs := connected(t, alice, bob,
		client.CallOptions{Media: client.Video, RelayOnly: true, Source: endless(t), Sink: ours},
		client.CallOptions{Source: endless(t), Sink: his})
	ours.flows(t)
	his.flows(t)
	carol := newHuman(t, "carol", acme)
	meet(t, carol, bob)
	ringing := make(chan error, 1)
	go func() {
		_, err := carol.Ring(context.Background(), bob.id(), client.CallOptions{Media: client.DataOnly})
		ringing <- err
	}()
	waiting := told(t, bob, always[client.Ringing])

	alice.leave(t)
	if err := over(t, call); err != nil {
		t.Errorf("alice's call ended as %v", err)
	}
	if err := over(t, theirs); err != nil {
		t.Errorf("bob's call ended as %v: alice left without a goodbye", err)
	}
	carol.leave(t)
	if err := <-ringing; err == nil || errors.Is(err, client.ErrDeclined) {
		t.Errorf("carol's ring ended as %v", err)
	}
	select {
	case <-waiting.Done(): // her CANCEL went out before she left
	case <-within(t).Done():
		t.Fatal("the ring of somebody who has left goes on")
	}
	bob.leave(t)

	// A goroutine whose last statement has run may be listed for a moment longer.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := within(t); ; {
		left := goroutinesOf("trunkline/client.", "trunkline/client/", "pion/webrtc", "pion/ice", "pion/sctp", "pion/dtls")
		if left == "" {
			return
		}
		select {
		case <-tick.C:
		case <-late.Done():
			t.Fatalf("this goes on:\n%s", left)
		}
	}
}

// goroutinesOf returns the stacks of goroutines that run in one of the parts.
func goroutinesOf(parts ...string) string {
	buf := make([]byte, 4<<20)
	var left []string
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "trunkline/client_test.") || strings.Contains(g, "testing.(*T).Parallel") {
			continue // this test, and those that wait for their turn
		}
		if slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(g, p) }) {
			left = append(left, g)
		}
	}
	return strings.Join(left, "\n\n")
}
