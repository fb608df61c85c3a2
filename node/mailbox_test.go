package node

import (
	"bytes"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

func TestAnEnvelopeOfEachClassReachesADeviceOfTheSameNode(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, bobs := join(t, r)
	_, alices := join(t, r)
	for _, ttl := range []envelope.TTL{envelope.Live, envelope.Ring, envelope.Day, envelope.Week} {
		body := payload(4096)
		e := to(t, r, bob, ttl, body)
		receipt := alices.submit(e)
		want := pb.ReceiptClass_RECEIPT_STORED
		if ttl == envelope.Live {
			want = pb.ReceiptClass_RECEIPT_DELIVERED
		}
		id := e.ID()
		if receipt.Class != want || !bytes.Equal(receipt.EnvelopeId, id[:]) {
			t.Fatalf("class %v: receipt %v", ttl, receipt)
		}
		d := bobs.deliver()
		if !bytes.Equal(d.Payload, body) || d.Knock || (d.StoredId == 0) != (ttl == envelope.Live) || !bytes.Equal(d.EnvelopeId, id[:]) {
			t.Fatalf("class %v: delivered as stored %d, knock %v, %d bytes", ttl, d.StoredId, d.Knock, len(d.Payload))
		}
		if ttl == envelope.Live {
			continue
		}
		if fate := alices.fate(r, e); fate != envelopepb.Fate_FATE_STORED {
			t.Errorf("class %v: before the acknowledgement its fate is %v", ttl, fate)
		}
		bobs.ack(d.StoredId)
		bobs.settle(r, bob.device.ID())
		if fate := alices.fate(r, e); fate != envelopepb.Fate_FATE_DELIVERED {
			t.Errorf("class %v: after the acknowledgement its fate is %v", ttl, fate)
		}
	}
}

func TestWhatWaitsIsDeliveredAfterAReconnectAndARestart(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, "acme.example", openPolicy)
	bob, bobs := join(t, r)
	if err := bobs.ws.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "the node notices that Bob has gone", func() bool { return r.hub.device(bob.device.ID()) == nil })
	_, alices := join(t, r)
	var sent [][]byte
	for range 5 {
		body := payload(1024)
		sent = append(sent, body)
		if receipt := alices.submit(to(t, r, bob, envelope.Week, body)); receipt.Class != pb.ReceiptClass_RECEIPT_STORED {
			t.Fatalf("a note for somebody who is away: %v", receipt)
		}
	}
	live := alices.submit(to(t, r, bob, envelope.Live, payload(1024)))
	if live.Class != pb.ReceiptClass_RECEIPT_REFUSED || live.Code != link.CodeUnreachable {
		t.Errorf("a live envelope for somebody who is away: %v", live)
	}
	r.stopped()

	r = start(t, dir, "acme.example", "")
	bobs = dial(t, r, bob)
	f := bobs.register(bob, 0)
	if f.GetRegistered().GetWaiting() != 5 {
		t.Fatalf("after the restart: %v", f)
	}
	var first uint64
	for i := range sent {
		d := bobs.deliver()
		if !bytes.Equal(d.Payload, sent[i]) {
			t.Fatalf("note %d came out of order or changed", i)
		}
		if i == 0 {
			first = d.StoredId
		}
		if i < 2 {
			bobs.ack(d.StoredId)
		}
	}
	bobs.settle(r, bob.device.ID())
	// Two were acknowledged; of the other three, a client that kept its place asks for
	// those above the first.
	again := dial(t, r, bob)
	if f := again.register(bob, first); f.GetRegistered().GetWaiting() != 3 {
		t.Fatalf("after a second reconnect: %v", f)
	}
	for i := 2; i < 5; i++ {
		if d := again.deliver(); !bytes.Equal(d.Payload, sent[i]) {
			t.Fatalf("note %d is not what is left", i)
		}
	}
}

func TestASecondLinkOfADeviceReplacesTheFirst(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, first := join(t, r)
	second := dial(t, r, bob)
	if last := first.ends(); errorCode(last) != link.CodeReplaced {
		t.Errorf("the first link's last words: %v", last)
	}
	if f := second.register(bob, 0); f.GetRegistered() == nil {
		t.Fatalf("the second link: %v", f)
	}
	_, alices := join(t, r)
	if receipt := alices.submit(to(t, r, bob, envelope.Live, payload(1024))); receipt.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
		t.Errorf("after the replacement: %v", receipt)
	}
	second.deliver()
}

// Section 14, 42: hop pasted on another payload.
func Test14_42_AHopOnAnotherPayloadIsRefused(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, _ := join(t, r)
	_, alices := join(t, r)
	e := to(t, r, bob, envelope.Week, payload(1024))
	e.Payload = payload(1024)
	if receipt := alices.submit(e); receipt.Class != pb.ReceiptClass_RECEIPT_REFUSED || receipt.Code != link.CodeUnknownDestination {
		t.Errorf("got %v", receipt)
	}
	// The class is bound as well: a live hop does not become a stored one.
	e = to(t, r, bob, envelope.Live, payload(1024))
	e.TTL = envelope.Week
	if receipt := alices.submit(e); receipt.Class != pb.ReceiptClass_RECEIPT_REFUSED {
		t.Errorf("with another class: %v", receipt)
	}
	expectWaiting(t, r, bob, 0)
}

// Section 14, 43: hop for another node.
func Test14_43_AHopForAnotherNodeIsRefused(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	other := start(t, t.TempDir(), "globex.example", openPolicy)
	bob, _ := join(t, r)
	_, alices := join(t, r)
	// Sealed to the other node's key, with this node's name on the outside.
	e := to(t, other, bob, envelope.Week, payload(1024))
	e.Destination = r.self
	if receipt := alices.submit(e); receipt.Class != pb.ReceiptClass_RECEIPT_REFUSED || receipt.Code != link.CodeUnknownDestination {
		t.Errorf("got %v", receipt)
	}
	// Another node that passes on what is not ours is told the same.
	e = to(t, other, bob, envelope.Week, payload(1024))
	out := r.Deliver(t.Context(), r.local, e)
	if out.Fate != envelopepb.Fate_FATE_REFUSED || out.Code != link.CodeUnknownDestination {
		t.Errorf("from the federation: %v", out)
	}
	expectWaiting(t, r, bob, 0)
}

// Section 14, 44: wrong delivery token. Unknown tags and wrong tokens look alike.
func Test14_44_AWrongTokenLooksLikeNoMailbox(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, _ := join(t, r)
	_, alices := join(t, r)
	for name, h := range map[string]envelope.Hop{
		"wrong token":             {Tag: bob.tag, Token: envelope.Token{1}},
		"no token and no knock":   {Tag: bob.tag},
		"unknown tag":             {Tag: envelope.NewRouteTag(), Token: bob.token},
		"unknown tag and nothing": {Tag: envelope.NewRouteTag()},
	} {
		for _, ttl := range []envelope.TTL{envelope.Live, envelope.Week} {
			e := sealed(t, r, h, ttl, payload(4096))
			if receipt := alices.submit(e); receipt.Class != pb.ReceiptClass_RECEIPT_REFUSED || receipt.Code != link.CodeRefused {
				t.Errorf("%s, class %v: %v", name, ttl, receipt)
			}
			if fate := alices.fate(r, e); fate != envelopepb.Fate_FATE_UNSPECIFIED {
				t.Errorf("%s, class %v: the node remembers it as %v", name, ttl, fate)
			}
		}
	}
	expectWaiting(t, r, bob, 0)
}

// Section 14, 45: knock above 4 kB; eleventh pending knock.
func Test14_45_KnocksHaveOneSizeAndTenPlaces(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, bobs := join(t, r)
	if err := bobs.ws.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "Bob has gone", func() bool { return r.hub.device(bob.device.ID()) == nil })
	_, alices := join(t, r)

	// The envelope package does not seal a larger knock; a hostile sender does. Its flag is
	// set on the plaintext, so it is made by sealing without it and checked on opening.
	if _, err := envelope.NewEnvelope([32]byte{9}, r.self, envelope.Week, envelope.Hop{Tag: bob.tag, Knock: true}, payload(8192)); err == nil {
		t.Error("a knock of 8,192 bytes was sealed")
	}
	big := hostileHop(t, r, envelope.Hop{Tag: bob.tag, Knock: true}, envelope.Week, payload(8192))
	if receipt := alices.submit(big); receipt.Class != pb.ReceiptClass_RECEIPT_REFUSED {
		t.Errorf("a knock of 8,192 bytes: %v", receipt)
	}
	token := hostileHop(t, r, envelope.Hop{Tag: bob.tag, Token: bob.token, Knock: true}, envelope.Week, payload(4096))
	if receipt := alices.submit(token); receipt.Class != pb.ReceiptClass_RECEIPT_REFUSED {
		t.Errorf("a knock with a token: %v", receipt)
	}

	var knocks []*envelope.Envelope
	for i := range 12 {
		e := sealed(t, r, envelope.Hop{Tag: bob.tag, Knock: true}, envelope.Week, payload(4096))
		knocks = append(knocks, e)
		if receipt := alices.submit(e); receipt.Class != pb.ReceiptClass_RECEIPT_STORED || receipt.Code != "" {
			t.Errorf("knock %d: %v", i, receipt)
		}
	}
	nobody := sealed(t, r, envelope.Hop{Tag: envelope.NewRouteTag(), Knock: true}, envelope.Week, payload(4096))
	if receipt := alices.submit(nobody); receipt.Class != pb.ReceiptClass_RECEIPT_STORED || receipt.Code != "" {
		t.Errorf("a knock at a mailbox that does not exist: %v", receipt)
	}
	expectWaiting(t, r, bob, 10)

	// What became of them looks alike for all: kept, dropped, or sent to nobody.
	for _, e := range []*envelope.Envelope{knocks[0], knocks[11], nobody} {
		if fate := alices.fate(r, e); fate != envelopepb.Fate_FATE_STORED {
			t.Errorf("the fate of a knock is %v", fate)
		}
	}
	bobs = dial(t, r, bob)
	bobs.register(bob, 0)
	d := bobs.deliver()
	if !d.Knock || !bytes.Equal(d.Payload, knocks[0].Payload) {
		t.Error("the first knock was not delivered as one")
	}
	bobs.ack(d.StoredId)
	bobs.settle(r, bob.device.ID())
	if fate := alices.fate(r, knocks[0]); fate != envelopepb.Fate_FATE_STORED {
		t.Errorf("that it was fetched shows: %v", fate)
	}
}

func TestAKnockIsNeverOfTheLiveClass(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, _ := join(t, r)
	_, alices := join(t, r)
	e := hostileHop(t, r, envelope.Hop{Tag: bob.tag, Knock: true}, envelope.Live, payload(4096))
	if receipt := alices.submit(e); receipt.Class != pb.ReceiptClass_RECEIPT_REFUSED {
		t.Errorf("got %v", receipt)
	}
}

func TestACollapseKeyReplacesWhatWaits(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, bobs := join(t, r)
	if err := bobs.ws.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "Bob has gone", func() bool { return r.hub.device(bob.device.ID()) == nil })
	_, alices := join(t, r)
	key := envelope.NewCollapseKey()
	ring := sealed(t, r, envelope.Hop{Tag: bob.tag, Token: bob.token, Collapse: key}, envelope.Ring, payload(4096))
	cancel := sealed(t, r, envelope.Hop{Tag: bob.tag, Token: bob.token, Collapse: key}, envelope.Ring, payload(4096))
	alices.submit(ring)
	if receipt := alices.submit(cancel); receipt.Class != pb.ReceiptClass_RECEIPT_STORED {
		t.Fatalf("the cancel: %v", receipt)
	}
	expectWaiting(t, r, bob, 1)
	bobs = dial(t, r, bob)
	bobs.register(bob, 0)
	if d := bobs.deliver(); !bytes.Equal(d.Payload, cancel.Payload) {
		t.Error("the ring was delivered, not its cancel")
	}
}

func TestTheSameBytesAgainAreNotASecondEnvelope(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, bobs := join(t, r)
	_, alices := join(t, r)
	note := to(t, r, bob, envelope.Week, payload(1024))
	for range 3 {
		if receipt := alices.submit(note); receipt.Class != pb.ReceiptClass_RECEIPT_STORED {
			t.Fatalf("a retry: %v", receipt)
		}
	}
	live := to(t, r, bob, envelope.Live, payload(1024))
	for range 3 {
		if receipt := alices.submit(live); receipt.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
			t.Fatalf("a live retry: %v", receipt)
		}
	}
	marker := to(t, r, bob, envelope.Live, payload(1024))
	alices.submit(marker)
	var got int
	for {
		d := bobs.deliver()
		if bytes.Equal(d.Payload, marker.Payload) {
			break
		}
		got++
	}
	expectWaiting(t, r, bob, 1)
	if got > 2 {
		t.Errorf("%d deliveries of two envelopes", got)
	}
}

func TestARepeatedUseOfAnEncapsulationIsRefused(t *testing.T) {
	h := newHopMemory()
	now := time.Unix(1000, 0)
	key := envelope.HopUse{1}
	if v := h.seen(key, envelope.ID{1}, now, false); v != hopNew {
		t.Fatalf("first: %v", v)
	}
	if v := h.seen(key, envelope.ID{1}, now, false); v != hopSame {
		t.Errorf("the same envelope: %v", v)
	}
	if v := h.seen(key, envelope.ID{2}, now, false); v != hopOther {
		t.Errorf("another envelope: %v", v)
	}
	if v := h.seen(key, envelope.ID{2}, now.Add(hopWindow+time.Second), false); v != hopOther {
		t.Errorf("one generation later: %v", v)
	}
	second := key
	second[33] = 1
	if v := h.seen(second, envelope.ID{2}, now.Add(hopWindow+time.Second), false); v != hopNew {
		t.Errorf("the next number: %v", v)
	}
	if v := h.seen(key, envelope.ID{2}, now.Add(3*hopWindow), false); v != hopNew {
		t.Errorf("after the window: %v", v)
	}
	live := envelope.HopUse{2}
	for i, c := range []struct {
		then func(envelope.HopUse)
		want hopVerdict
	}{{h.settle, hopSame}, {h.forget, hopNew}} {
		live[1] = byte(i)
		h.seen(live, envelope.ID{4}, now.Add(3*hopWindow), true)
		if v := h.seen(live, envelope.ID{4}, now.Add(3*hopWindow), true); v != hopUnderWay {
			t.Errorf("a live one that has not ended: %v", v)
		}
		c.then(live)
		if v := h.seen(live, envelope.ID{4}, now.Add(3*hopWindow), true); v != c.want {
			t.Errorf("a live one that has: %v", v)
		}
	}
	for i := range 3 * maxHopMemory {
		h.seen(envelope.HopUse{byte(i), byte(i >> 8), byte(i >> 16), 7}, envelope.ID{}, now.Add(4*hopWindow), false)
	}
	if n := len(h.now) + len(h.before); n > 2*maxHopMemory {
		t.Errorf("it remembers %d keys", n)
	}
}

func TestAMailboxOverItsQuotaSaysSoToItsContacts(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy, func(c *Config) { c.Mailbox.MaxEnvelopes = 32 })
	bob, bobs := join(t, r)
	if err := bobs.ws.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "Bob has gone", func() bool { return r.hub.device(bob.device.ID()) == nil })
	_, alices := join(t, r)
	var full *pb.Receipt
	for range 40 {
		if receipt := alices.submit(to(t, r, bob, envelope.Week, payload(1024))); receipt.Class == pb.ReceiptClass_RECEIPT_REFUSED {
			full = receipt
			break
		}
	}
	if full == nil || full.Code != link.CodeQuota {
		t.Fatalf("40 notes into a box of 32: %v", full)
	}
	if receipt := alices.submit(to(t, r, bob, envelope.Ring, payload(4096))); receipt.Class != pb.ReceiptClass_RECEIPT_STORED {
		t.Errorf("a ring into a full box: %v", receipt)
	}
	stranger := sealed(t, r, envelope.Hop{Tag: bob.tag, Token: envelope.Token{1}}, envelope.Week, payload(1024))
	if receipt := alices.submit(stranger); receipt.Code != link.CodeRefused {
		t.Errorf("a stranger sees that the box is full: %v", receipt)
	}
}

func TestStoredEnvelopesExpireAndTheSenderCanAsk(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, bobs := join(t, r)
	if err := bobs.ws.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "Bob has gone", func() bool { return r.hub.device(bob.device.ID()) == nil })
	_, alices := join(t, r)
	ring := to(t, r, bob, envelope.Ring, payload(4096))
	alices.submit(ring)
	r.clock.move(2 * time.Minute)
	r.expire(r.clock.Now())
	if fate := alices.fate(r, ring); fate != envelopepb.Fate_FATE_EXPIRED {
		t.Errorf("its fate is %v", fate)
	}
	expectWaiting(t, r, bob, 0)
}

func TestANewTokenEndsTheOldOneAtOnceUnlessItIsKept(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, bobs := join(t, r)
	_, alices := join(t, r)
	old := *bob
	bob.token = envelope.Token(envelope.NewMessageID())
	hash, previous := sha256.Sum256(bob.token[:]), sha256.Sum256(old.token[:])

	kept := bobs.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Register{Register: &pb.Register{
		RouteTag: bob.tag[:], TokenHash: hash[:], PreviousHash: previous[:], TokenEpoch: 2}}})
	if kept.GetRegistered() == nil {
		t.Fatal(kept)
	}
	for _, p := range []*person{bob, &old} {
		if receipt := alices.submit(to(t, r, p, envelope.Live, payload(1024))); receipt.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
			t.Errorf("after a scheduled rotation: %v", receipt)
		}
	}
	blocked := bobs.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Register{Register: &pb.Register{
		RouteTag: bob.tag[:], TokenHash: hash[:], TokenEpoch: 2}}})
	if blocked.GetRegistered() == nil {
		t.Fatal(blocked)
	}
	if receipt := alices.submit(to(t, r, &old, envelope.Live, payload(1024))); receipt.Code != link.CodeRefused {
		t.Errorf("the old token after a block: %v", receipt)
	}
	if receipt := alices.submit(to(t, r, bob, envelope.Live, payload(1024))); receipt.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
		t.Errorf("the new token after a block: %v", receipt)
	}
}

func TestEnvelopesFromOtherDomainsNeedThePolicy(t *testing.T) {
	const partner = `
[[domain]]
name = "globex.example"
level = "partner"
[[domain]]
name = "initech.example"
level = "public"
[[rule]]
name = "partners"
level = "partner"
direction = "in"
actions = ["federate", "signal", "store", "query"]
[[rule]]
name = "live only"
level = "public"
direction = "in"
actions = ["federate", "knock"]
limit = { per_second = 2 }
`
	r := start(t, t.TempDir(), "acme.example", openPolicy+partner)
	bob, _ := join(t, r)
	other := newPerson(t, r).root.Public().PeerID()
	globex := federation.Source{Peer: other, Domain: "globex.example"}
	initech := federation.Source{Peer: other, Domain: "initech.example"}
	evil := federation.Source{Peer: other, Domain: "evil.example"}
	knock := func() *envelope.Envelope {
		return sealed(t, r, envelope.Hop{Tag: bob.tag, Knock: true}, envelope.Week, payload(4096))
	}
	for _, c := range []struct {
		name string
		from federation.Source
		e    *envelope.Envelope
		fate envelopepb.Fate
		code string
	}{
		{"a partner's note", globex, to(t, r, bob, envelope.Week, payload(1024)), envelopepb.Fate_FATE_STORED, ""},
		{"a partner's live frame", globex, to(t, r, bob, envelope.Live, payload(1024)), envelopepb.Fate_FATE_DELIVERED, ""},
		{"a partner may not knock here", globex, knock(), envelopepb.Fate_FATE_REFUSED, link.CodePolicy},
		{"the public may not signal", initech, to(t, r, bob, envelope.Live, payload(1024)), envelopepb.Fate_FATE_REFUSED, link.CodePolicy},
		{"the public may knock", initech, knock(), envelopepb.Fate_FATE_STORED, ""},
		{"and again", initech, knock(), envelopepb.Fate_FATE_STORED, ""},
		{"but not so often", initech, knock(), envelopepb.Fate_FATE_REFUSED, link.CodeRate},
		{"the unnamed may nothing", evil, knock(), envelopepb.Fate_FATE_REFUSED, link.CodePolicy},
	} {
		if out := r.Deliver(t.Context(), c.from, c.e); out.Fate != c.fate || out.Code != c.code {
			t.Errorf("%s: %v %q", c.name, out.Fate, out.Code)
		}
	}
	if _, code := r.Answer(t.Context(), evil, make([]byte, 560)); code != link.CodePolicy {
		t.Errorf("a query of the unnamed: %q", code)
	}
	if _, code := r.Answer(t.Context(), globex, make([]byte, 560)); code != link.CodeUnknownDestination {
		t.Errorf("a partner's query that does not open: %q", code)
	}
}

func expectWaiting(t *testing.T, r *running, p *person, want int) {
	t.Helper()
	usage, err := r.db.Stats(t.Context(), p.device.ID())
	if err != nil || usage.Envelopes+usage.Knocks != want {
		t.Errorf("%d envelopes and %d knocks wait, not %d (%v)", usage.Envelopes, usage.Knocks, want, err)
	}
}
