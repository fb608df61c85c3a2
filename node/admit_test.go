package node

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/media"
	"github.com/trunkline-net/trunkline/media/turn"
	"github.com/trunkline-net/trunkline/policy"
)

// ownPolicy names the node's own domain, with a rule for its relay.
func ownPolicy(limit string) string {
	text := openPolicy + "[[domain]]\nname = \"acme.example\"\nlevel = \"internal\"\n"
	if limit == "" {
		return text
	}
	return text + "[[rule]]\nname = \"our calls\"\ndomain = \"acme.example\"\ndirection = \"in\"\nactions = [\"turn\"]\n" + limit + "\n"
}

func (c *raw) turn() *pb.TurnCredentials {
	c.t.Helper()
	return c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Turn{Turn: &pb.TurnRequest{Purpose: "call"}}}).GetTurn()
}

// holdRelay starts an allocation with credentials and keeps it until the end of the test.
func holdRelay(t *testing.T, r *running, c *pb.TurnCredentials) net.Addr {
	t.Helper()
	return holdRelayAt(t, r.turn.Addr().String(), c)
}

func holdRelayAt(t *testing.T, at string, c *pb.TurnCredentials) net.Addr {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	relayed, end, err := turn.Hold(ctx, "udp", at,
		media.Credentials{Username: c.Username, Password: c.Credential, Handle: media.Handle(c.Handle)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	return relayed
}

func TestRelayCredentialsKeepToTheRulesForTheOwnDomain(t *testing.T) {
	for name, c := range map[string]struct {
		policy string
		codes  []string // of so many requests, at one moment
	}{
		"no entry names it":     {openPolicy, []string{"", "", ""}},
		"a wildcard is not it":  {openPolicy + "[[domain]]\nname = \"*\"\nlevel = \"public\"\n", []string{"", "", ""}},
		"no rule allows it":     {ownPolicy(""), []string{link.CodePolicy}},
		"a rule allows it":      {ownPolicy("expires = 2099-01-01T00:00:00Z"), []string{"", ""}},
		"two at once":           {ownPolicy("limit = { concurrent = 2 }"), []string{"", "", link.CodeQuota}},
		"two a second":          {ownPolicy("limit = { per_second = 2 }"), []string{"", "", link.CodeRate}},
		"one a day":             {ownPolicy("limit = { total = 1 }"), []string{"", link.CodeRate}},
		"bytes are of one call": {ownPolicy("limit = { bytes_per_second = \"1KiB\" }"), []string{"", "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, t.TempDir(), "acme.example", c.policy)
			_, bobs := join(t, r)
			var last *pb.TurnCredentials
			for i, want := range c.codes {
				got := bobs.turn()
				if got.GetCode() != want || (want == "") != (got.Username != "") {
					t.Fatalf("request %d: %v", i+1, got)
				}
				if want == "" {
					last = got
				}
			}
			if want := c.codes[len(c.codes)-1]; want == link.CodeQuota {
				bobs.call(&pb.ClientFrame{Kind: &pb.ClientFrame_TurnRelease{TurnRelease: &pb.TurnRelease{Handle: last.Handle}}})
				if got := bobs.turn(); got.Code != "" {
					t.Errorf("after a release: %v", got)
				}
			}
		})
	}
	if got := relayLimits(policy.Limits{BytesPerSecond: 9, PerSecond: 1, Concurrent: 2, Total: 3}); got != (media.Limits{BytesPerSecond: 9}) {
		t.Errorf("one allocation may have %+v", got)
	}
}

func TestHandlesThatTheRelayHasEndedAreForgotten(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	_, bobs := join(t, r)
	bobs.turn()
	used := bobs.turn()
	holdRelay(t, r, used)
	r.clock.move(10 * time.Minute) // nothing was started with the first in five
	until(t, "one is forgotten", func() bool {
		r.turnGrants.expire(r.clock.Now())
		return r.turnGrants.count() == 1
	})
	if !r.turn.Holds(media.Handle(used.Handle)) {
		t.Error("the one in use has ended")
	}
}

// TestAReloadClosesLinksRelaysAndFederation: what the new policy denies of each kind is over,
// the own ones before the reload returns.
func TestAReloadClosesLinksRelaysAndFederation(t *testing.T) {
	p := startPair(t)
	alice, _ := join(t, p.acme)
	_, mallorys := join(t, p.acme)
	_, carols := join(t, p.acme)
	relayed := mallorys.turn()
	holdRelay(t, p.acme, relayed)
	holdRelay(t, p.acme, carols.turn())
	carol := p.acme.hub.all()
	until(t, "the partners have a link", func() bool { return p.state() == federation.StateConnected })
	if n := p.acme.turn.Stats().Allocations; n != 2 {
		t.Fatalf("%d allocations", n)
	}
	// Carol's call goes on without her link for a while; Mallory's link is there.
	if err := carols.ws.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "Carol has gone", func() bool { return len(p.acme.hub.all()) < len(carol) })

	writePolicy(t, p.acme.dir, registerPolicy("listed", alice.root.Public())+"[[domain]]\nname = \"globex.example\"\nlevel = \"blocked\"\n")
	if err := p.acme.Reload(); err != nil {
		t.Fatal(err)
	}
	if n := p.acme.turn.Stats().Allocations; n != 0 {
		t.Errorf("%d allocations are left", n)
	}
	if p.acme.turn.Holds(media.Handle(relayed.Handle)) {
		t.Error("the credentials are still good")
	}
	if last := mallorys.ends(); errorCode(last) != link.CodePolicy {
		t.Errorf("Mallory's link ended with %v", last)
	}
	until(t, "the federation link is closed", func() bool { return p.state() != federation.StateConnected })
	until(t, "Alice's link alone is left", func() bool { links, _ := p.acme.hub.count(); return links == 1 })
	if _, _, known := p.acme.hub.all()[0].identity(); !known || p.acme.hub.device(alice.device.ID()) == nil {
		t.Error("it is not Alice's")
	}

	// Only the relay: the link and the mailbox stay.
	writePolicy(t, p.acme.dir, openPolicy)
	if err := p.acme.Reload(); err != nil {
		t.Fatal(err)
	}
	_, bobs := join(t, p.acme)
	holdRelay(t, p.acme, bobs.turn())
	writePolicy(t, p.acme.dir, ownPolicy(""))
	if err := p.acme.Reload(); err != nil {
		t.Fatal(err)
	}
	if n := p.acme.turn.Stats().Allocations; n != 0 {
		t.Errorf("%d allocations are left by a policy that denies the relay", n)
	}
	if got := bobs.turn(); got.GetCode() != link.CodePolicy {
		t.Errorf("over the link that stays: %v", got)
	}
}

// state is how acme sees its link to globex.
func (p *pair) state() federation.State {
	for _, s := range p.acme.fed.Peers() {
		if s.Peer == p.globex.self {
			return s.State
		}
	}
	return ""
}

func TestSoManyRequestsOfADomainAreAtWorkAtOnce(t *testing.T) {
	const partner = `
[[domain]]
name = "globex.example"
level = "partner"
[[rule]]
name = "one at a time"
level = "partner"
direction = "in"
actions = ["federate", "signal", "store", "query"]
limit = { concurrent = 1 }
`
	r := start(t, t.TempDir(), "acme.example", openPolicy+partner)
	bob, bobs := join(t, r)
	l, release := stalled(t, r, bob)
	globex := federation.Source{Peer: newPerson(t, r).root.Public().PeerID(), Domain: "globex.example"}
	out := make(chan federation.Outcome, 2)
	for range 2 {
		e := to(t, r, bob, envelope.Live, payload(1024))
		go func() { out <- r.Deliver(t.Context(), globex, e) }()
	}
	until(t, "one is in line", func() bool {
		l.wmu.Lock()
		defer l.wmu.Unlock()
		return l.out.len() == 1
	})
	// The other one waits for its turn, and gives up when the node stops.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	third := to(t, r, bob, envelope.Live, payload(1024))
	if got := r.Deliver(ctx, globex, third); got.Code != link.CodeDraining {
		t.Errorf("a third while the node stops: %v", got)
	}
	l.wmu.Lock()
	inLine := l.out.len()
	l.wmu.Unlock()
	if inLine != 1 {
		t.Errorf("%d are in line", inLine)
	}
	release()
	for range 2 {
		if got := <-out; got != outcomeDelivered {
			t.Errorf("got %v", got)
		}
		bobs.deliver()
	}
	if got := r.Deliver(t.Context(), globex, third); got != outcomeDelivered {
		t.Errorf("the third, again: %v", got)
	}

	key := r.bucketKeys.key("globex.example", policy.ActionQuery, policy.In)
	if !r.atWork.Acquire(key, 1) {
		t.Fatal("a query is at work already")
	}
	if _, code := r.Answer(t.Context(), globex, make([]byte, 560)); code != link.CodeRate {
		t.Errorf("a query beside another: %q", code)
	}
	r.atWork.Release(key)
	if _, code := r.Answer(t.Context(), globex, make([]byte, 560)); code != link.CodeUnknownDestination {
		t.Errorf("a query that does not open: %q", code)
	}
}

func TestOurPeopleAskOtherNodesWithinThePolicy(t *testing.T) {
	p := startPair(t)
	bob, _ := join(t, p.globex)
	_, alices := join(t, p.acme)
	ask := func() string {
		_, _, code := alices.ask(p.globex, 1, bob.root.Public().Bytes())
		return code
	}
	if code := ask(); code != "" {
		t.Fatalf("without a limit: %q", code)
	}
	base := readPolicy(t, p.acme.dir)
	limited := base + "[[rule]]\nname = \"few\"\nlevel = \"partner\"\ndirection = \"out\"\nactions = [\"query\"]\n"
	for name, c := range map[string]struct{ rule, want string }{
		"one a day":   {"limit = { total = 1 }", link.CodeRate},
		"none at all": {"deny = true", link.CodePolicy},
	} {
		writePolicy(t, p.acme.dir, limited+c.rule+"\n")
		if err := p.acme.Reload(); err != nil {
			t.Fatal(err)
		}
		codes := []string{ask(), ask()}
		if codes[1] != c.want {
			t.Errorf("%s: %q", name, codes)
		}
	}
	writePolicy(t, p.acme.dir, limited+"limit = { concurrent = 1 }\n")
	if err := p.acme.Reload(); err != nil {
		t.Fatal(err)
	}
	key := p.acme.bucketKeys.key("globex.example", policy.ActionQuery, policy.Out)
	p.acme.atWork.Acquire(key, 0)
	if code := ask(); code != link.CodeRate {
		t.Errorf("beside another: %q", code)
	}
	p.acme.atWork.Release(key)
	if code := ask(); code != "" {
		t.Errorf("alone: %q", code)
	}
}
