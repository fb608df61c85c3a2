package node

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/internal/leak"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// Section 14, 74: logs, metrics and disk after everything that can go right and wrong.
func Test14_74_NothingSecretIsLoggedOrKept(t *testing.T) {
	p := startPair(t)
	admin := dialAdmin(t, p.globex.dir)
	const marker = "a marker that is handed to the node on purpose"
	if _, err := admin.CreateInvite(t.Context(), InviteRequest{Note: marker}); err != nil {
		t.Fatal(err)
	}
	bob, bobs := join(t, p.globex)
	alice, alices := join(t, p.acme)
	carol, carols := join(t, p.globex)

	const content = "v=0 o=- 4611731400430051336 a=candidate:1 1 udp 2130706431 198.51.100.77"
	body := func() []byte {
		b := payload(4096)
		copy(b[200:], content)
		return b
	}
	// What goes right, within a node and between nodes.
	for _, ttl := range []envelope.TTL{envelope.Live, envelope.Ring, envelope.Week} {
		alices.submit(to(t, p.globex, bob, ttl, body()))
		carols.submit(to(t, p.globex, bob, ttl, body()))
		d := bobs.deliver()
		if d.StoredId != 0 {
			bobs.ack(d.StoredId)
		}
	}
	alices.submit(sealed(t, p.globex, envelope.Hop{Tag: bob.tag, Knock: true}, envelope.Week, body()))
	alices.ask(p.globex, envelopepb.Operation_OPERATION_LOOKUP, bob.root.Public().Bytes())
	turn := bobs.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Turn{Turn: &pb.TurnRequest{Purpose: "call"}}}).GetTurn()

	// What goes wrong.
	alices.submit(sealed(t, p.globex, envelope.Hop{Tag: bob.tag, Token: envelope.Token{1}}, envelope.Week, body()))
	alices.submit(sealed(t, p.globex, envelope.Hop{Tag: envelope.NewRouteTag(), Token: bob.token}, envelope.Live, body()))
	pasted := to(t, p.globex, bob, envelope.Week, body())
	pasted.Payload = body()
	alices.submit(pasted)
	alices.submit(hostileHop(t, p.globex, envelope.Hop{Tag: bob.tag, Token: bob.token, Knock: true}, envelope.Week, body()))
	mallory := newPerson(t, p.globex)
	rude := dial(t, p.globex, mallory)
	rude.sendBytes(append(link.AppendSubmit(nil, 1, to(t, p.globex, bob, envelope.Live, body()).Marshal()), 0x7a, 0))
	rude.ends()
	text := dial(t, p.globex, mallory)
	if err := text.ws.WriteMessage(websocket.TextMessage, []byte(content)); err != nil {
		t.Fatal(err)
	}
	text.ends()
	stolen := *mallory
	stolen.list = bob.list
	rawAuthenticateWith(t, p.globex, &stolen, bob)
	second := dial(t, p.globex, bob) // replaces the first
	second.register(bob, 0)
	second.settle(p.globex, bob.device.ID())
	writePolicy(t, p.globex.dir, "version = 1\n[register]\nmode = \"opne\"\n")
	if err := p.globex.Reload(); err == nil {
		t.Error("a wrong policy was taken")
	}
	p.globex.clock.move(10 * 24 * time.Hour)
	p.globex.expire(p.globex.clock.Now())
	p.globex.renewKeys()

	never := []leak.Needle{
		leak.Text("relay user name", turn.Username), leak.Text("relay password", turn.Credential), leak.Secret("relay handle", turn.Handle),
		leak.Text("content", content), leak.Text("content's address", "198.51.100.77"),
		leak.Secret("Bob's token", bob.token[:]), leak.Secret("Carol's token", carol.token[:]),
	}
	root := func(who string, q *person) leak.Needle {
		key := q.root.Public()
		return leak.Secret(who+"'s root", key.Bytes()).And(key.ID(), key.PeerID().String(), key.Fingerprint())
	}
	identities := func(who string, q *person) []leak.Needle {
		id := q.device.ID()
		return []leak.Needle{
			root(who, q), leak.Secret(who+"'s device", q.device.Public().Bytes()),
			leak.Secret(who+"'s device id", id[:]), leak.Secret(who+"'s tag", q.tag[:]),
		}
	}
	ofAcme := identities("Alice", alice)
	ofGlobex := slices.Concat(identities("Bob", bob), identities("Carol", carol))
	ofMallory := identities("Mallory", mallory)

	everywhere := leak.NewHunt(t, slices.Concat(never, ofAcme, ofGlobex, ofMallory)...)
	for _, r := range []*running{p.acme, p.globex} {
		everywhere.Page(r.cfg.Domain+"'s metrics", r.Facts().Metrics, http.DefaultClient, leak.Text("a name of a metric", "trunkline_"))
		r.stopped()
		log := r.log.String()
		everywhere.Bytes(r.cfg.Domain+"'s log", []byte(log), leak.Text("the node's own key", r.self.String()))
		// Loopback stands for the clients' addresses here; the node's own listeners are no secret.
		for line := range strings.Lines(log) {
			if strings.Contains(line, "127.0.0.1") && !strings.Contains(line, "listen") && !strings.Contains(line, "document") {
				t.Errorf("%s logs an address: %s", r.cfg.Domain, line)
			}
		}
	}
	// A node knows its own people: that is the control, and neither knows the other's.
	leak.NewHunt(t, slices.Concat(never, ofGlobex)...).Dir("acme's disk", p.acme.dir, root("Alice", alice))
	leak.NewHunt(t, slices.Concat(never, ofAcme, ofMallory)...).Dir("globex's disk", p.globex.dir,
		root("Bob", bob), leak.Text("a marker", marker))
}

// rawAuthenticateWith tries to come in with somebody else's certificate.
func rawAuthenticateWith(t *testing.T, r *running, thief, victim *person) {
	t.Helper()
	ws, _, err := dialRaw(t, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.Close() })
	c := &raw{t: t, ws: ws, frames: make(chan *pb.NodeFrame, 16)}
	go c.readLoop()
	a, err := link.Authenticate(c.read().GetChallenge(), r.httpAddr, thief.device, victim.cert())
	if err != nil {
		t.Fatal(err)
	}
	c.send(&pb.ClientFrame{Id: 1, Kind: &pb.ClientFrame_Authenticate{Authenticate: a}})
	if last := c.ends(); errorCode(last) != link.CodeBadSignature {
		t.Errorf("somebody else's certificate: %v", last)
	}
}
