package node

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// needle is a planted secret in the forms in which it would be recognised.
type needle struct {
	name  string
	forms [][]byte
}

func plant(name string, value []byte, texts ...string) needle {
	n := needle{name: name, forms: [][]byte{
		value,
		[]byte(hex.EncodeToString(value)),
		[]byte(strings.ToUpper(hex.EncodeToString(value))),
		[]byte(base64.StdEncoding.EncodeToString(value)),
		[]byte(base64.RawURLEncoding.EncodeToString(value)),
	}}
	for _, t := range texts {
		n.forms = append(n.forms, []byte(t))
	}
	return n
}

// in names the needles that are found in b.
func in(b []byte, needles []needle) (found []string) {
	for _, n := range needles {
		for _, f := range n.forms {
			if bytes.Contains(b, f) {
				found = append(found, n.name)
				break
			}
		}
	}
	return found
}

func readFolder(t *testing.T, dir string) []byte {
	t.Helper()
	var all []byte
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, b...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

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

	turnNeedles := []needle{
		plant("relay user name", []byte(turn.Username)), plant("relay password", []byte(turn.Credential)), plant("relay handle", turn.Handle),
	}
	never := append(turnNeedles,
		plant("content", []byte(content)),
		plant("content's address", []byte("198.51.100.77")),
		plant("Bob's token", bob.token[:]),
		plant("Carol's token", carol.token[:]),
	)
	identities := func(who string, q *person) []needle {
		id := q.device.ID()
		return []needle{
			plant(who+"'s root", q.root.Public().Bytes(), q.root.Public().ID(), q.root.Public().PeerID().String(), q.root.Public().Fingerprint()),
			plant(who+"'s device", q.device.Public().Bytes(), id.Hex()),
			plant(who+"'s device id", id[:]),
			plant(who+"'s tag", q.tag[:]),
		}
	}
	everybody := append(append(identities("Alice", alice), identities("Bob", bob)...), append(identities("Carol", carol), identities("Mallory", mallory)...)...)

	for _, r := range []*running{p.acme, p.globex} {
		_, metrics, _ := get1(t, r.Facts().Metrics)
		if found := in([]byte(metrics), append(never, everybody...)); len(found) > 0 {
			t.Errorf("%s: its metrics have %v", r.cfg.Domain, found)
		}
		r.stopped()
		log := r.log.String()
		if found := in([]byte(log), append(never, everybody...)); len(found) > 0 {
			t.Errorf("%s: its log has %v\n%s", r.cfg.Domain, found, log)
		}
		// Loopback stands for the clients' addresses here; the node's own listeners are no secret.
		for line := range strings.Lines(log) {
			if strings.Contains(line, "127.0.0.1") && !strings.Contains(line, "listen") && !strings.Contains(line, "document") {
				t.Errorf("%s logs an address: %s", r.cfg.Domain, line)
			}
		}
		if !strings.Contains(log, "ready") {
			t.Errorf("%s: the log is not what was searched", r.cfg.Domain)
		}
	}
	acme, globex := readFolder(t, p.acme.dir), readFolder(t, p.globex.dir)
	if found := in(acme, append(never, append(identities("Bob", bob), identities("Carol", carol)...)...)); len(found) > 0 {
		t.Errorf("acme's disk has %v", found)
	}
	if found := in(globex, append(never, append(identities("Alice", alice), identities("Mallory", mallory)...)...)); len(found) > 0 {
		t.Errorf("globex's disk has %v", found)
	}
	if len(in(globex, []needle{plant("marker", []byte(marker))})) != 1 {
		t.Error("the search does not find what was put there on purpose: it proves nothing")
	}
	if len(in(globex, identities("Bob", bob)[:1])) != 1 {
		t.Error("Bob's own node does not know him: the search proves nothing")
	}
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
