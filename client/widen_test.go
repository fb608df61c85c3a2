package client_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// Where UDP to the own relay does not get through, the call takes the relay's TCP port.
func TestARelayBehindAFirewallThatBlocksUDPIsReachedOverTCP(t *testing.T) {
	t.Parallel()
	m := newMiddle(t)
	acme := m.exchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	globex := startExchange(t, "globex.example", filepath.Join(t.TempDir(), "globex"))
	befriend(t, acme, globex)
	alice, bob := newHumanAt(t, "alice", m.server.URL), newHuman(t, "bob", globex)
	meet(t, alice, bob)
	m.rule(func(m *middle) {
		m.down = func(f *pb.NodeFrame) bool {
			if c := f.GetTurn(); c != nil {
				for i, u := range c.Urls {
					if strings.Contains(u, "transport=udp") {
						c.Urls[i] = "turn:127.0.0.1:9?transport=udp" // nobody answers there
					}
				}
			}
			return true
		}
	})
	answered := make(chan *client.Call, 1)
	go func() {
		defer close(answered)
		call, err := told(t, bob, always[client.Ringing]).Answer(within(t), client.CallOptions{RelayOnly: true})
		if err != nil {
			t.Errorf("bob answers: %v", err)
			return
		}
		answered <- call
	}()
	call, err := alice.Ring(within(t), bob.id(), client.CallOptions{RelayOnly: true, Media: client.Audio})
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Connected(within(t)); err != nil {
		t.Fatalf("alice: %v", err)
	}
	if theirs := <-answered; theirs == nil {
		t.FailNow()
	} else if err := theirs.Connected(within(t)); err != nil {
		t.Fatalf("bob: %v", err)
	}
	if route := call.Info().Route; route.Local != "relay/tcp" {
		t.Errorf("alice's end of the path is %q", route.Local)
	}
	if err := call.Hangup(within(t)); err != nil {
		t.Error(err)
	}
}
