package client_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/internal/link"
)

// withRooms puts a policy in force that adds to the one of befriend.
func (e *exchange) withRooms(t testing.TB, before []byte, rest string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(e.dir, "policy.toml"), append(append([]byte{}, before...), rest...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.Reload(); err != nil {
		t.Fatal(err)
	}
}

func (e *exchange) policyText(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(e.dir, "policy.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestAPartnersPeopleComeIntoARoomByPolicy: the node of the room takes no guests. A partner's people come with the
// word of their own node, as far as both nodes' policies let them.
func TestAPartnersPeopleComeIntoARoomByPolicy(t *testing.T) {
	t.Parallel()
	const (
		noGuests = "\n[rooms]\nguests = false\n"
		meet     = "\n[[rule]]\nname = \"meet\"\nlevel = \"partner\"\ndirection = \"%s\"\nactions = [\"sfu\"]\n"
	)
	acme, globex := two(t)
	acmes, globexes := acme.policyText(t), globex.policyText(t)
	alice, bob, carol := newHuman(t, "alice", acme), newHuman(t, "bob", globex), newHuman(t, "carol", globex)
	text := newRoom(t, alice, client.RoomSettings{}).Link.Text()
	refused := func(h *human, why, code string) {
		t.Helper()
		r, err := h.JoinRoom(within(t), text, client.RoomOptions{Media: client.Audio})
		var got *client.RefusedError
		if err == nil {
			follow(t, h.name, r)
		}
		if !errors.As(err, &got) || got.Code != code {
			t.Errorf("%s: %v", why, err)
		}
	}

	acme.withRooms(t, acmes, noGuests)
	if _, err := client.JoinRoomAsGuest(within(t), client.Config{Loopback: true}, text, client.RoomOptions{}); err == nil {
		t.Error("a guest gets in")
	} else if got := (*client.RefusedError)(nil); !errors.As(err, &got) || got.Code != link.CodePass {
		t.Errorf("a guest: %v", err)
	}
	// The own node's people come with its word too.
	a := goIn(t, alice, text, client.RoomOptions{Media: client.Audio})

	refused(bob, "his own node lets nobody into acme's rooms", link.CodePass)
	globex.withRooms(t, globexes, fmt.Sprintf(meet, "out"))
	refused(bob, "acme lets no partner's people in", link.CodePolicy)

	acme.withRooms(t, acmes, noGuests+fmt.Sprintf(meet, "in")+"limit = { concurrent = 1 }\n")
	b := goIn(t, bob, text, client.RoomOptions{Media: client.Audio})
	a.meets(t, b)
	b.meets(t, a)
	refused(carol, "a second one of globex", link.CodeQuota)

	// Whom the policy allows no more loses the seat; the own people stay.
	index := b.Index()
	acme.withRooms(t, acmes, noGuests)
	b.isOver(t, link.CodePolicy)
	heard(t, a, func(e client.MemberWent) bool { return e.Index == index && e.Code == link.CodePolicy })
	refused(bob, "acme lets no partner's people in any more", link.CodePolicy)

	// Where guests may come, the word of no node is needed, and none is given.
	acme.withRooms(t, acmes, "")
	b = goIn(t, bob, text, client.RoomOptions{Media: client.Audio})
	a.meets(t, b)
}

// TestWhoGetsNoRelayOfTheRoomsNodeUsesItsOwn: acme lends no relay, and two of globex meet there over
// globex's.
func TestWhoGetsNoRelayOfTheRoomsNodeUsesItsOwn(t *testing.T) {
	t.Parallel()
	acme, globex := two(t)
	acme.withRooms(t, acme.policyText(t), "\n[[domain]]\nname = \"acme.example\"\nlevel = \"internal\"\n\n[[rule]]\nlevel = \"internal\"\ndirection = \"in\"\nactions = [\"sfu\"]\n")
	alice, bob, carol := newHuman(t, "alice", acme), newHuman(t, "bob", globex), newHuman(t, "carol", globex)
	text := newRoom(t, alice, client.RoomSettings{}).Link.Text()
	b := goIn(t, bob, text, client.RoomOptions{Media: client.Audio, RelayOnly: true})
	c := goIn(t, carol, text, client.RoomOptions{Media: client.Audio})
	if m := b.meets(t, c); m.Route.Path != "relay/udp" {
		t.Errorf("bob's packets go %q", m.Route.Path)
	}
	c.meets(t, b)
}
