package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
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
	return hostileHopNumber(t, k, h, ttl, payload, 0)
}

func hostileHopNumber(t *testing.T, k *RoutingKey, h Hop, ttl TTL, payload []byte, number uint16) *Envelope {
	t.Helper()
	s, err := newHopSender(k.pub, peer(2), h)
	must(t, err)
	e := &Envelope{Destination: peer(2), TTL: ttl, Payload: payload}
	s.seal(e, number)
	return e
}

func TestTheFramesOfASessionShareAnEncapsulation(t *testing.T) {
	k := routingKey(t, 1)
	frame := Hop{Tag: someHop.Tag, Token: someHop.Token}
	s, err := NewHopSender(k.Public(), peer(2), frame)
	must(t, err)
	uses := map[HopUse]bool{}
	var envelopes []*Envelope
	for range 5 {
		e, err := s.Envelope(make([]byte, 1024))
		must(t, err)
		uses[e.HopUse()] = true
		envelopes = append(envelopes, e)
	}
	if len(uses) != 5 {
		t.Fatalf("5 hops have %d uses", len(uses))
	}
	// In any order, and again: what was seen is the node's to remember.
	for _, i := range []int{3, 0, 4, 4, 1, 2} {
		got, err := Parse(envelopes[i].Marshal())
		must(t, err)
		h, err := k.OpenHop(got, peer(2))
		must(t, err)
		if h != frame || got.TTL != Live {
			t.Fatalf("hop %d changed", i)
		}
	}
	// A number is the nonce of its box.
	swapped := *envelopes[2]
	swapped.Hop[x25519Size+1] = 1
	if _, err := k.OpenHop(&swapped, peer(2)); !errors.Is(err, ErrDecrypt) {
		t.Errorf("under another number: %v", err)
	}
	moved := *envelopes[2]
	moved.Payload = append([]byte{1}, make([]byte, 1023)...)
	if _, err := k.OpenHop(&moved, peer(2)); !errors.Is(err, ErrDecrypt) {
		t.Errorf("on another payload: %v", err)
	}
	if _, err := s.Envelope(make([]byte, 1023)); !errors.Is(err, ErrSize) {
		t.Errorf("payload of 1,023 bytes: %v", err)
	}
	if _, err := NewHopSender(k.Public(), peer(2), Hop{Tag: someHop.Tag, Knock: true}); !errors.Is(err, ErrMalformed) {
		t.Errorf("knocks: %v", err)
	}
}

func TestOnlyLiveHopsShareAnEncapsulation(t *testing.T) {
	k := routingKey(t, 1)
	for ttl := Live; ttl <= Week; ttl++ {
		_, err := k.OpenHop(hostileHopNumber(t, k, someHop, ttl, make([]byte, 1024), 1), peer(2))
		if ttl == Live {
			must(t, err)
		} else if !errors.Is(err, ErrMalformed) {
			t.Errorf("class %v: %v", ttl, err)
		}
	}
}

func TestAnEncapsulationEnds(t *testing.T) {
	k := routingKey(t, 1)
	s, err := NewHopSender(k.Public(), peer(2), Hop{Tag: someHop.Tag, Token: someHop.Token})
	must(t, err)
	s.next = MaxHops - 1
	last, err := s.Envelope(make([]byte, 1024))
	must(t, err)
	if _, err := k.OpenHop(last, peer(2)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Envelope(make([]byte, 1024)); !errors.Is(err, ErrExhausted) {
			t.Fatalf("hop beyond the last: %v", err)
		}
	}
}

func TestManyGoroutinesNeverShareANumber(t *testing.T) {
	k := routingKey(t, 1)
	s, err := NewHopSender(k.Public(), peer(2), Hop{Tag: someHop.Tag, Token: someHop.Token})
	must(t, err)
	var group sync.WaitGroup
	uses := make(chan HopUse, 400)
	for range 4 {
		group.Go(func() {
			for range 100 {
				e, err := s.Envelope(make([]byte, 1024))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := k.OpenHop(e, peer(2)); err != nil {
					t.Error(err)
					return
				}
				uses <- e.HopUse()
			}
		})
	}
	group.Wait()
	close(uses)
	seen := map[HopUse]bool{}
	for u := range uses {
		seen[u] = true
	}
	if len(seen) != 400 {
		t.Fatalf("400 hops have %d uses", len(seen))
	}
}

func TestForgottenEncapsulationsStillOpen(t *testing.T) {
	k := routingKey(t, 1)
	k.opened.capacity = 2
	var first []*Envelope
	for range 7 {
		s, err := NewHopSender(k.Public(), peer(2), Hop{Tag: someHop.Tag, Token: someHop.Token})
		must(t, err)
		for i := range 2 {
			e, err := s.Envelope(make([]byte, 1024))
			must(t, err)
			if _, err := k.OpenHop(e, peer(2)); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = append(first, e)
			}
		}
	}
	if n := len(k.opened.young) + len(k.opened.old); n > 4 {
		t.Fatalf("%d encapsulations are remembered, at most 4 should be", n)
	}
	for i, e := range first {
		if _, err := k.OpenHop(e, peer(2)); err != nil {
			t.Fatalf("encapsulation %d: %v", i, err)
		}
	}
	// What does not open, and what cannot come again, takes no place.
	before := *first[0]
	before.Hop[hopHeader] ^= 1
	fresh := routingKey(t, 3)
	for _, e := range []*Envelope{&before, hostileHop(t, fresh, someHop, Week, make([]byte, 1024))} {
		_, _ = fresh.OpenHop(e, peer(2))
	}
	if n := len(fresh.opened.young) + len(fresh.opened.old); n != 0 {
		t.Fatalf("%d encapsulations are remembered for nothing", n)
	}
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
