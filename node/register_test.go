package node

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

func registerPolicy(mode string, listed ...identity.PublicKey) string {
	var ids []string
	for _, k := range listed {
		ids = append(ids, fmt.Sprintf("%q", k.ID()))
	}
	return fmt.Sprintf("version = 1\n[register]\nmode = %q\nlisted = [%s]\n", mode, strings.Join(ids, ", "))
}

func token(url string) string {
	_, t, _ := strings.Cut(url, "#invite=")
	return t
}

func TestAnInvitationLetsOneIdentityInAndNoOther(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", registerPolicy("invitation"))
	invite := token(r.Facts().Invite)
	if invite == "" {
		t.Fatalf("a node with invitations prints none: %+v", r.Facts())
	}
	alice, mallory := newPerson(t, r), newPerson(t, r)
	a, m := dial(t, r, alice), dial(t, r, mallory)

	for name, word := range map[string]string{"no invitation": "", "a wrong one": "nonsense", "a longer one": invite + "x"} {
		if f := m.publish(r, mallory, word); errorCode(f) != link.CodeInvitationInvalid {
			t.Errorf("%s: %v", name, f)
		}
	}
	if f := m.register(mallory, 0); errorCode(f) != link.CodeNotRegistered {
		t.Errorf("a mailbox without an account: %v", f)
	}

	// What is wrong with the list costs no use of the invitation.
	broken := *alice
	broken.list = mallory.list
	if f := a.publish(r, &broken, invite); errorCode(f) != link.CodeBadSignature {
		t.Errorf("somebody else's list: %v", f)
	}
	if f := a.publish(r, alice, invite); f.GetPublished().GetEpoch() != 1 {
		t.Fatalf("with the invitation: %v", f)
	}
	if f := m.publish(r, mallory, invite); errorCode(f) != link.CodeInvitationInvalid {
		t.Errorf("a second identity: %v", f)
	}
	// The first one needs it no more.
	if f := a.publish(r, alice, ""); f.GetPublished() == nil {
		t.Errorf("again without it: %v", f)
	}
}

func TestSeveralPeopleAtThisComputerUseOneInvitationAndTheNextTakesItBack(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", registerPolicy("invitation"))
	url, err := r.InviteHere(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	invite := token(url)
	for i := range hereUses {
		p := newPerson(t, r)
		if f := dial(t, r, p).publish(r, p, invite); f.GetPublished() == nil {
			t.Fatalf("person %d: %v", i, f)
		}
	}
	late := newPerson(t, r)
	link9 := dial(t, r, late)
	if f := link9.publish(r, late, invite); errorCode(f) != link.CodeInvitationInvalid {
		t.Errorf("one more: %v", f)
	}
	second, err := r.InviteHere(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.InviteHere(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f := link9.publish(r, late, token(second)); errorCode(f) != link.CodeInvitationInvalid {
		t.Errorf("with the one that was taken back: %v", f)
	}

	for name, r := range map[string]*running{
		"closed": start(t, t.TempDir(), "acme.example", registerPolicy("closed")),
		"behind a proxy": start(t, t.TempDir(), "acme.example", registerPolicy("invitation"), func(c *Config) {
			c.HTTP.PublicURL = "https://acme.example"
		}),
	} {
		if url, err := r.InviteHere(t.Context()); url != "" || err != nil {
			t.Errorf("%s: %q, %v", name, url, err)
		}
	}
}

func TestAClosedNodeAndAListedOneTakeNobodyElse(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", registerPolicy("closed"))
	if r.Facts().Invite != "" {
		t.Error("a closed node prints an invitation")
	}
	alice, mallory := newPerson(t, r), newPerson(t, r)
	a := dial(t, r, alice)
	if f := a.publish(r, alice, ""); errorCode(f) != link.CodeRegistrationClosed {
		t.Errorf("closed: %v", f)
	}
	writePolicy(t, r.dir, registerPolicy("listed", alice.root.Public()))
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	a = dial(t, r, alice)
	if f := a.publish(r, alice, ""); f.GetPublished() == nil {
		t.Errorf("listed: %v", f)
	}
	// Whoever is not listed gets no further than the handshake.
	c := rawAuthenticate(t, r, mallory)
	if last := c.ends(); errorCode(last) != link.CodePolicy {
		t.Errorf("not listed: %v", last)
	}
}

// rawAuthenticate is dial without looking at the node's answer.
func rawAuthenticate(t *testing.T, r *running, p *person) *raw {
	t.Helper()
	ws, _, err := dialRaw(t, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.Close() })
	c := &raw{t: t, ws: ws, frames: make(chan *pb.NodeFrame, 16)}
	go c.readLoop()
	a, err := link.Authenticate(c.read().GetChallenge(), r.httpAddr, p.device, p.cert())
	if err != nil {
		t.Fatal(err)
	}
	c.send(&pb.ClientFrame{Id: c.id(), Kind: &pb.ClientFrame_Authenticate{Authenticate: a}})
	return c
}

func TestAReloadEndsWhatThePolicyDenies(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	alice, alices := join(t, r)
	_, bobs := join(t, r)
	turn := bobs.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Turn{Turn: &pb.TurnRequest{Purpose: "call"}}})
	if turn.GetTurn().GetUsername() == "" {
		t.Fatal(turn)
	}
	writePolicy(t, r.dir, registerPolicy("listed", alice.root.Public()))
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	if last := bobs.ends(); errorCode(last) != link.CodePolicy {
		t.Errorf("Bob's link: %v", last)
	}
	if n := r.turnGrants.count(); n != 0 {
		t.Errorf("%d relay handles are left", n)
	}
	if f := alices.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: 4}}}); f.GetPong().GetNonce() != 4 {
		t.Errorf("Alice's link: %v", f)
	}
}

func TestAReloadWithAMistakeChangesNothing(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	for name, c := range map[string]struct{ text, says string }{
		"a wrong word":  {"version = 1\n[register]\nmode = \"opne\"\n", "policy.toml:3"},
		"a failed test": {openPolicy + "[[test]]\ndomain = \"evil.example\"\naction = \"signal\"\ndirection = \"in\"\nexpect = \"allow\"\n", "policy.toml:4"},
		"no TOML":       {"version = = 1\n", "policy.toml:1"},
	} {
		writePolicy(t, r.dir, c.text)
		err := r.Reload()
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if p := dial(t, r, newPerson(t, r)); p == nil {
			t.Errorf("%s: the old policy is not in force", name)
		}
	}
}

func TestAnOlderDeviceListIsRefusedAndARemovedDeviceGoes(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, first := join(t, r)
	second, err := identity.GenerateDevice()
	if err != nil {
		t.Fatal(err)
	}
	now := r.clock.Now()
	two, err := bob.root.AddDevice(bob.list, second.Public(), now)
	if err != nil {
		t.Fatal(err)
	}
	phone := &person{root: bob.root, device: second, list: two, tag: envelope.NewRouteTag(), token: bob.token}
	p := dial(t, r, phone)
	if f := p.register(phone, 0); errorCode(f) != link.CodeNotRegistered {
		t.Errorf("a device that the node's list does not have yet: %v", f)
	}
	if f := p.publish(r, phone, ""); f.GetPublished().GetEpoch() != 2 {
		t.Fatalf("the next list: %v", f)
	}
	if f := p.register(phone, 0); f.GetRegistered() == nil {
		t.Fatalf("the new device: %v", f)
	}
	// The tag of another device is not to be had.
	thief := *phone
	thief.tag = bob.tag
	if f := p.register(&thief, 0); errorCode(f) != link.CodeRefused {
		t.Errorf("another device's tag: %v", f)
	}
	if f := first.publish(r, bob, ""); errorCode(f) != link.CodeEpochConflict {
		t.Errorf("the list before: %v", f)
	}
	fork, err := bob.root.AddDevice(bob.list, identity.DeviceFromSeed([32]byte{8}).Public(), now)
	if err != nil {
		t.Fatal(err)
	}
	forked := *bob
	forked.list = fork
	if f := first.publish(r, &forked, ""); errorCode(f) != link.CodeEpochConflict {
		t.Errorf("another list of the same epoch: %v", f)
	}

	_, alices := join(t, r)
	alices.submit(to(t, r, bob, envelope.Week, payload(1024)))
	three, err := bob.root.Revoke(two, bob.device.ID(), now)
	if err != nil {
		t.Fatal(err)
	}
	phone.list = three
	if f := p.publish(r, phone, ""); f.GetPublished().GetEpoch() != 3 {
		t.Fatalf("the revocation: %v", f)
	}
	if last := first.ends(); errorCode(last) != link.CodeNotRegistered {
		t.Errorf("the revoked device's link: %v", last)
	}
	expectWaiting(t, r, bob, 0)
	if receipt := alices.submit(to(t, r, bob, envelope.Week, payload(1024))); receipt.Code != link.CodeRefused {
		t.Errorf("to the revoked device: %v", receipt)
	}
	again := dial(t, r, bob) // its certificate is still valid; the list is what counts
	if f := again.register(bob, 0); errorCode(f) != link.CodeNotRegistered {
		t.Errorf("the revoked device comes back: %v", f)
	}
}

func TestPublishRefusesWhatIsNotItsOwn(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	alice, mallory := newPerson(t, r), newPerson(t, r)
	a := dial(t, r, alice)
	publish := func(list []byte, bundles ...[]byte) *pb.NodeFrame {
		return a.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Publish{Publish: &pb.Publish{List: list, Bundles: bundles}}})
	}
	forged := alice.list.Bytes()
	forged[len(forged)-1] ^= 1
	for name, f := range map[string]*pb.NodeFrame{
		"a forged list":        publish(forged),
		"a stranger's list":    publish(mallory.list.Bytes()),
		"a stranger's bundle":  publish(alice.list.Bytes(), mallory.bundle(t, r)),
		"a bundle of nonsense": publish(alice.list.Bytes(), make([]byte, 100)),
	} {
		if errorCode(f) != link.CodeBadSignature {
			t.Errorf("%s: %v", name, f)
		}
	}
	stale := *alice
	var err error
	if stale.list, err = alice.root.NewList(alice.device.Public(), alice.list.Homes, [32]byte{}, r.clock.Now().Add(-60*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if f := publish(stale.list.Bytes()); errorCode(f) != link.CodeExpired {
		t.Errorf("an ended list: %v", f)
	}
	without := dial(t, r, nil)
	if f := without.publish(r, alice, ""); errorCode(f) != link.CodeNotRegistered {
		t.Errorf("over a link without a device: %v", f)
	}
	if a, _, _ := without.ask(r, envelopepb.Operation_OPERATION_LOOKUP, alice.root.Public().Bytes()); a.GetStatus() != envelopepb.AnswerStatus_ANSWER_ABSENT {
		t.Errorf("something was published all the same: %v", a.GetStatus())
	}
}

func TestLookupsTellNothingBySize(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	alice, _ := join(t, r)
	stranger := newPerson(t, r)
	c := dial(t, r, nil)
	for _, q := range []struct {
		name     string
		op       envelopepb.Operation
		argument []byte
		status   envelopepb.AnswerStatus
		size     int
	}{
		{"somebody", envelopepb.Operation_OPERATION_LOOKUP, alice.root.Public().Bytes(), envelopepb.AnswerStatus_ANSWER_FOUND, 16384},
		{"nobody", envelopepb.Operation_OPERATION_LOOKUP, stranger.root.Public().Bytes(), envelopepb.AnswerStatus_ANSWER_ABSENT, 16384},
		{"descriptor", envelopepb.Operation_OPERATION_DESCRIPTOR, nil, envelopepb.AnswerStatus_ANSWER_FOUND, 4096},
		{"outcome of nothing", envelopepb.Operation_OPERATION_OUTCOME, make([]byte, 16), envelopepb.AnswerStatus_ANSWER_ABSENT, 4096},
		{"a name", envelopepb.Operation_OPERATION_LOOKUP_NAME, []byte("alice"), envelopepb.AnswerStatus_ANSWER_UNSUPPORTED, 4096},
	} {
		a, size, code := c.ask(r, q.op, q.argument)
		if code != "" || a.Status != q.status || size != q.size {
			t.Errorf("%s: %v, %d bytes, %q", q.name, a.GetStatus(), size, code)
		}
		if q.name == "somebody" {
			list, err := identity.ParseDeviceList(a.List)
			if err != nil || list.Hash() != alice.list.Hash() {
				t.Errorf("the list is not Alice's: %v", err)
			} else if _, err := envelope.ParseBundle(a.Bundles[0], list, r.clock.Now()); err != nil {
				t.Errorf("the bundle: %v", err)
			}
		}
	}
	// A stranger's link has few questions.
	limited := ""
	for range 20 {
		if _, _, code := c.ask(r, envelopepb.Operation_OPERATION_DESCRIPTOR, nil); code != "" {
			limited = code
			break
		}
	}
	if limited != link.CodeRate {
		t.Errorf("26 questions at once: %q", limited)
	}
}

func TestALinkWithoutADeviceSubmitsWithinItsQuota(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, bobs := join(t, r)
	c := dial(t, r, nil)
	if receipt := c.submit(to(t, r, bob, envelope.Week, payload(1024))); receipt.Class != pb.ReceiptClass_RECEIPT_STORED {
		t.Fatalf("sealed submission: %v", receipt)
	}
	bobs.deliver()
	var last *pb.Receipt
	for range 30 {
		last = c.submit(to(t, r, bob, envelope.Week, payload(1024)))
	}
	if last.Code != link.CodeRate {
		t.Errorf("31 stored envelopes at once: %v", last)
	}
	for name, f := range map[string]*pb.NodeFrame{
		"register": c.register(bob, 0),
		"turn":     c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Turn{Turn: &pb.TurnRequest{Purpose: "call"}}}),
	} {
		if errorCode(f) != link.CodeNotRegistered && f.GetTurn().GetCode() != link.CodeNotRegistered {
			t.Errorf("%s over a link without a device: %v", name, f)
		}
	}
}

func TestTheOwnDomainIsAnsweredHere(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	c := dial(t, r, nil)
	f := c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Domain{Domain: &pb.DomainRequest{Domain: "acme.example"}}})
	doc, err := identity.ParseDomain(f.GetDomain().GetDocument())
	if err != nil || doc.Domain != "acme.example" || !doc.HasNode(r.self) || len(doc.Nodes[0].Addresses) == 0 {
		t.Fatalf("the document: %v", err)
	}
	d, err := identity.ParseDescriptor(f.GetDomain().Descriptors[0])
	if err != nil || d.PeerID != r.self {
		t.Fatalf("the descriptor: %v", err)
	}
	for _, name := range []string{"evil.example", "Not A Domain"} {
		f = c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Domain{Domain: &pb.DomainRequest{Domain: name}}})
		if f.GetDomain().GetCode() == "" {
			t.Errorf("%s was found: %v", name, f)
		}
	}
}

func TestRelayCredentialsLiveWithTheirDevice(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, bobs := join(t, r)
	mint := func(c *raw) *pb.TurnCredentials {
		t.Helper()
		f := c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Turn{Turn: &pb.TurnRequest{Purpose: "call"}}})
		got := f.GetTurn()
		if got.GetUsername() == "" || got.Credential == "" || len(got.Handle) != 16 || got.TtlSeconds == 0 || len(got.Urls) == 0 {
			t.Fatalf("credentials: %v", f)
		}
		return got
	}
	one, two := mint(bobs), mint(bobs)
	holdRelay(t, r, two) // a call is on; what nobody uses would end by itself
	if !strings.HasPrefix(one.Urls[0], "turn:127.0.0.1:") {
		t.Errorf("the relay is at %s", one.Urls[0])
	}
	release := func(c *raw, handle []byte) {
		c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_TurnRelease{TurnRelease: &pb.TurnRelease{Handle: handle}}})
	}
	_, alices := join(t, r)
	release(alices, one.Handle) // not hers
	if n := r.turnGrants.count(); n != 2 {
		t.Fatalf("%d handles", n)
	}
	release(bobs, one.Handle)
	if n := r.turnGrants.count(); n != 1 {
		t.Fatalf("%d handles after a release", n)
	}
	if err := bobs.ws.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "Bob has gone", func() bool { return r.hub.device(bob.device.ID()) == nil })
	r.clock.move(link.TurnGrace - time.Minute)
	r.turnGrants.expire(r.clock.Now())
	if n := r.turnGrants.count(); n != 1 {
		t.Fatal("the handle did not survive the grace")
	}
	bobs = dial(t, r, bob)
	r.clock.move(10 * time.Minute)
	r.turnGrants.expire(r.clock.Now())
	if n := r.turnGrants.count(); n != 1 {
		t.Fatal("the handle ended although its device is back")
	}
	release(bobs, two.Handle)
	holdRelay(t, r, mint(bobs))
	if err := bobs.ws.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "Bob has gone again", func() bool { return r.hub.device(bob.device.ID()) == nil })
	r.clock.move(link.TurnGrace + time.Second)
	r.turnGrants.expire(r.clock.Now())
	if n := r.turnGrants.count(); n != 0 {
		t.Errorf("%d handles outlived the grace", n)
	}
}

func TestARouteThatDidNotChangeIsNotWrittenAgain(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, _ := join(t, r)
	generation := func() uint64 {
		r.mailboxes.mu.RLock()
		defer r.mailboxes.mu.RUnlock()
		return r.mailboxes.generation
	}
	before := generation()
	c := dial(t, r, bob)
	if f := c.register(bob, 0); f.GetRegistered() == nil {
		t.Fatal(f)
	}
	if generation() != before {
		t.Error("a reconnect wrote the route")
	}
	hash := sha256.Sum256([]byte("another"))
	c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Register{Register: &pb.Register{RouteTag: bob.tag[:], TokenHash: hash[:], TokenEpoch: 2}}})
	if generation() == before {
		t.Error("a new token was not written")
	}
}
