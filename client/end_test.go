package client_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/client"
)

// This test is not parallel: it looks at all goroutines of the process.
func TestNothingRunsAfterRunHasReturned(t *testing.T) {
	acme, globex := two(t)
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

	for _, part := range []string{"trunkline/client.", "trunkline/client/", "pion/webrtc", "pion/ice", "pion/sctp", "pion/dtls"} {
		waitFor(t, "the end of everything in "+part, func() bool {
			buf := make([]byte, 4<<20)
			for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
				if strings.Contains(g, part) && !strings.Contains(g, "trunkline/client_test.") {
					return false
				}
			}
			return true
		})
	}
}
