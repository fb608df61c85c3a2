package envelope

import (
	"bytes"
	"crypto/hpke"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

func routingKey(t testing.TB, n byte) *RoutingKey {
	t.Helper()
	k, err := RoutingKeyFromSeed(seed(n))
	must(t, err)
	return k
}

func peer(n byte) identity.PeerID { return identity.DeviceFromSeed(seed(n)).Public().PeerID() }

var someHop = Hop{
	Tag:      RouteTag(bytes.Repeat([]byte{1}, 16)),
	Token:    Token(bytes.Repeat([]byte{2}, 16)),
	Collapse: CollapseKey(bytes.Repeat([]byte{3}, 16)),
	Hint:     Hint{4, 5},
}

func TestAHopOpensAtItsNodeAfterTheWayThere(t *testing.T) {
	k := routingKey(t, 1)
	for _, size := range buckets {
		for ttl := Live; ttl <= Week; ttl++ {
			e, err := NewEnvelope(k.Public(), peer(2), ttl, someHop, make([]byte, size))
			must(t, err)
			got, err := Parse(e.Marshal())
			must(t, err)
			h, err := k.OpenHop(got, peer(2))
			must(t, err)
			if h != someHop || got.TTL != ttl || got.ID() != e.ID() {
				t.Fatalf("size %d, class %v: the hop changed", size, ttl)
			}
		}
	}
	again, err := RoutingKeyFromSeed(k.Seed())
	must(t, err)
	if again.Public() != k.Public() {
		t.Fatal("a stored routing key is another one")
	}
	drawn, err := GenerateRoutingKey()
	must(t, err)
	if drawn.Public() == k.Public() || identity.CheckX25519(drawn.pub[:]) != nil {
		t.Fatal("a drawn routing key is not a fresh key")
	}
}

func Test14_42_HopOnAnotherPayloadIsRefused(t *testing.T) {
	k := routingKey(t, 1)
	e, err := NewEnvelope(k.Public(), peer(2), Week, someHop, make([]byte, 4096))
	must(t, err)
	for name, change := range map[string]func(*Envelope){
		"payload":   func(e *Envelope) { e.Payload = append([]byte{1}, make([]byte, 4095)...) },
		"size":      func(e *Envelope) { e.Payload = make([]byte, 8192) },
		"ttl class": func(e *Envelope) { e.TTL = Day },
		"hop":       func(e *Envelope) { e.Hop[50] ^= 1 },
	} {
		other := *e
		change(&other)
		if _, err := k.OpenHop(&other, peer(2)); !errors.Is(err, ErrDecrypt) {
			t.Errorf("other %s: %v", name, err)
		}
		if other.ID() == e.ID() {
			t.Errorf("other %s: same envelope id", name)
		}
	}
}

func Test14_43_HopForAnotherNodeIsRefused(t *testing.T) {
	k := routingKey(t, 1)
	e, err := NewEnvelope(k.Public(), peer(2), Week, someHop, make([]byte, 4096))
	must(t, err)
	if _, err := k.OpenHop(e, peer(3)); !errors.Is(err, ErrMalformed) {
		t.Errorf("at another node: %v", err)
	}
	// The other node cannot make it its own by writing its name over it.
	e.Destination = peer(3)
	if _, err := k.OpenHop(e, peer(3)); !errors.Is(err, ErrDecrypt) {
		t.Errorf("renamed: %v", err)
	}
	e.Destination = peer(2)
	if _, err := routingKey(t, 9).OpenHop(e, peer(2)); !errors.Is(err, ErrDecrypt) {
		t.Errorf("another routing key: %v", err)
	}
}

// The payload half of test 45; the queue of ten is the node's.
func Test14_45_AKnockHasOneSizeAndNoToken(t *testing.T) {
	k := routingKey(t, 1)
	knock := Hop{Tag: someHop.Tag, Hint: someHop.Hint, Knock: true}
	if _, err := NewEnvelope(k.Public(), peer(2), Week, knock, make([]byte, KnockSize)); err != nil {
		t.Fatal(err)
	}
	withToken := knock
	withToken.Token = someHop.Token
	for name, try := range map[string]struct {
		h    Hop
		ttl  TTL
		size int
	}{
		"larger":     {knock, Week, 8192},
		"smaller":    {knock, Week, 1024},
		"with token": {withToken, Week, KnockSize},
		"live":       {knock, Live, KnockSize},
	} {
		if _, err := SealHop(k.Public(), peer(2), try.ttl, make([]byte, try.size), try.h); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The node refuses the same from a sender whose own code seals it.
	for name, try := range map[string]struct {
		h    Hop
		ttl  TTL
		size int
	}{
		"larger":     {knock, Week, 8192},
		"with token": {withToken, Week, KnockSize},
		"live":       {knock, Live, KnockSize},
	} {
		e := hostileHop(t, k, try.h, try.ttl, make([]byte, try.size))
		if _, err := k.OpenHop(e, peer(2)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s, opened: %v", name, err)
		}
	}
	if _, err := k.OpenHop(hostileHop(t, k, knock, Week, make([]byte, KnockSize)), peer(2)); err != nil {
		t.Fatalf("the control: %v", err)
	}
	plain := make([]byte, hopPlainSize)
	plain[50] = flagKnock | 2
	if _, err := parseHop(plain); !errors.Is(err, ErrMalformed) {
		t.Errorf("unknown flag: %v", err)
	}
}

// hostileHop seals a hop without asking whether it may exist.
func hostileHop(t *testing.T, k *RoutingKey, h Hop, ttl TTL, payload []byte) *Envelope {
	t.Helper()
	kem, kdf, aead := suiteX25519()
	pub, err := kem.NewPublicKey(k.pub[:])
	must(t, err)
	enc, s, err := hpke.NewSender(pub, kdf, aead, []byte(identity.ContextHop))
	must(t, err)
	plain := slices.Concat(h.Tag[:], h.Token[:], h.Collapse[:], h.Hint[:], []byte{0})
	if h.Knock {
		plain[50] = flagKnock
	}
	ct, err := s.Seal(hopAAD(peer(2), ttl, sha256.Sum256(payload)), plain)
	must(t, err)
	return &Envelope{Destination: peer(2), Hop: [HopSize]byte(slices.Concat(enc, ct)), TTL: ttl, Payload: payload}
}

func TestParseRefusesWhatIsNotAnEnvelope(t *testing.T) {
	k := routingKey(t, 1)
	good, err := NewEnvelope(k.Public(), peer(2), Week, someHop, make([]byte, 1024))
	must(t, err)
	b := good.Marshal()
	if _, err := Parse(b[:len(b)-1]); err == nil {
		t.Error("truncated envelope parsed")
	}
	if _, err := Parse(append(bytes.Clone(b), 0)); err == nil {
		t.Error("extended envelope parsed")
	}
	if _, err := Parse(make([]byte, MaxEnvelope+1)); err == nil {
		t.Error("oversized envelope parsed")
	}
	for name, change := range map[string]func(*Envelope){
		"payload of 1025 bytes": func(e *Envelope) { e.Payload = make([]byte, 1025) },
		"ttl class 4":           func(e *Envelope) { e.TTL = 4 },
		"no destination":        func(e *Envelope) { e.Destination = identity.PeerID{} },
	} {
		e := *good
		change(&e)
		if _, err := Parse(e.Marshal()); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

func TestAQueryIsAnsweredInEqualSizes(t *testing.T) {
	k := routingKey(t, 1)
	root := identity.RootFromSeed(seed(5)).Public()
	id := ID(bytes.Repeat([]byte{6}, 16))
	for _, c := range []struct {
		op   pb.Operation
		arg  []byte
		size int
	}{
		{pb.Operation_OPERATION_LOOKUP, root[:], 16384},
		{pb.Operation_OPERATION_LOOKUP_NAME, []byte("alice"), 4096},
		{pb.Operation_OPERATION_DESCRIPTOR, nil, 4096},
		{pb.Operation_OPERATION_OUTCOME, id[:], 4096},
	} {
		box, pending, err := SealQuery(k.Public(), peer(2), c.op, c.arg)
		must(t, err)
		if len(box) != 560 {
			t.Fatalf("%v: query of %d bytes", c.op, len(box))
		}
		q, err := k.OpenQuery(box, peer(2))
		must(t, err)
		if q.Operation != c.op || !bytes.Equal(q.Argument, c.arg) {
			t.Fatalf("%v came as %v", c.op, q.Operation)
		}
		for _, a := range []*pb.Answer{
			{Status: pb.AnswerStatus_ANSWER_ABSENT},
			{Status: pb.AnswerStatus_ANSWER_FOUND, Fate: pb.Fate_FATE_STORED, List: make([]byte, 900)},
		} {
			answer, err := q.SealAnswer(a)
			must(t, err)
			if len(answer) != c.size {
				t.Fatalf("%v: answer of %d bytes", c.op, len(answer))
			}
			got, err := pending.OpenAnswer(answer)
			must(t, err)
			if got.Status != a.Status || got.Fate != a.Fate {
				t.Fatalf("%v: answer %v", c.op, got)
			}
			answer[100] ^= 1
			if _, err := pending.OpenAnswer(answer); !errors.Is(err, ErrDecrypt) {
				t.Fatalf("changed answer: %v", err)
			}
		}
		if _, err := k.OpenQuery(box, peer(3)); !errors.Is(err, ErrDecrypt) {
			t.Fatalf("query at another node: %v", err)
		}
		box[40] ^= 1
		if _, err := k.OpenQuery(box, peer(2)); !errors.Is(err, ErrDecrypt) {
			t.Fatalf("changed query: %v", err)
		}
	}
}

func TestAnAnswerBelongsToOneQuery(t *testing.T) {
	k := routingKey(t, 1)
	box1, p1, err := SealQuery(k.Public(), peer(2), pb.Operation_OPERATION_DESCRIPTOR, nil)
	must(t, err)
	_, p2, err := SealQuery(k.Public(), peer(2), pb.Operation_OPERATION_DESCRIPTOR, nil)
	must(t, err)
	q, err := k.OpenQuery(box1, peer(2))
	must(t, err)
	answer, err := q.SealAnswer(&pb.Answer{Status: pb.AnswerStatus_ANSWER_ABSENT})
	must(t, err)
	if _, err := p2.OpenAnswer(answer); !errors.Is(err, ErrDecrypt) {
		t.Errorf("answer of another query: %v", err)
	}
	// Even with the same response key: the associated data is the query itself.
	p2.responseKey = p1.responseKey
	if _, err := p2.OpenAnswer(answer); !errors.Is(err, ErrDecrypt) {
		t.Errorf("answer of another query with the same key: %v", err)
	}
	if _, err := p1.OpenAnswer(answer[:4095]); !errors.Is(err, ErrSize) {
		t.Errorf("short answer: %v", err)
	}
}

func TestAQueryNeedsAnArgumentThatFits(t *testing.T) {
	k := routingKey(t, 1)
	for _, c := range []struct {
		op  pb.Operation
		arg []byte
	}{
		{pb.Operation_OPERATION_UNSPECIFIED, nil},
		{pb.Operation_OPERATION_LOOKUP, make([]byte, 31)},
		{pb.Operation_OPERATION_LOOKUP, make([]byte, 32)}, // not a key
		{pb.Operation_OPERATION_LOOKUP_NAME, make([]byte, 65)},
		{pb.Operation_OPERATION_DESCRIPTOR, []byte{1}},
		{pb.Operation_OPERATION_OUTCOME, make([]byte, 15)},
		{9, nil},
	} {
		if _, _, err := SealQuery(k.Public(), peer(2), c.op, c.arg); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v with %d bytes: %v", c.op, len(c.arg), err)
		}
	}
	if _, err := k.OpenQuery(make([]byte, 559), peer(2)); !errors.Is(err, ErrSize) {
		t.Errorf("short query: %v", err)
	}
}

func TestAnAnswerHoldsEightFullBundles(t *testing.T) {
	k := routingKey(t, 1)
	root := identity.RootFromSeed(seed(5)).Public()
	box, pending, err := SealQuery(k.Public(), peer(2), pb.Operation_OPERATION_LOOKUP, root[:])
	must(t, err)
	q, err := k.OpenQuery(box, peer(2))
	must(t, err)
	p := newParty(t, 1)
	bundle := p.bundle().Bytes()
	a := &pb.Answer{Status: pb.AnswerStatus_ANSWER_FOUND, List: make([]byte, 2600)}
	for range maxDevices {
		a.Bundles = append(a.Bundles, bundle)
	}
	answer, err := q.SealAnswer(a)
	must(t, err)
	got, err := pending.OpenAnswer(answer)
	must(t, err)
	if len(got.Bundles) != maxDevices || !bytes.Equal(got.Bundles[7], bundle) {
		t.Fatal("bundles changed on the way")
	}
	a.List, a.LogProof = make([]byte, maxList), make([]byte, maxLogProof)
	if _, err := q.SealAnswer(a); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("answer over its size: %v", err)
	}
	a.Bundles = append(a.Bundles, bundle)
	if _, err := q.SealAnswer(a); !errors.Is(err, ErrMalformed) {
		t.Fatalf("nine bundles: %v", err)
	}
}

func TestTTLClasses(t *testing.T) {
	got := ""
	for ttl := Live; ttl <= Week+1; ttl++ {
		got += fmt.Sprintf("%v %v %v;", ttl, ttl.Duration(), ttl.Valid())
	}
	if want := "live 0s true;ring 1m0s true;day 24h0m0s true;week 168h0m0s true;invalid 0s false;"; got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}
