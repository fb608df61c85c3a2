package envelope

import (
	"testing"

	"github.com/trunkline-net/trunkline/envelope/pb"
)

func BenchmarkSeal(b *testing.B) {
	p, q := pair(b)
	to := q.bundle()
	m := p.message(&Note{Text: "hello"}, q)
	b.SetBytes(bucket4K)
	for b.Loop() {
		if _, _, err := SealMessage(p.device, p.cert, to, m); err != nil {
			b.Fatal(err)
		}
	}
}

// Steps 2 to 9; the tenth would call every message but the first a replay.
func BenchmarkOpen(b *testing.B) {
	p, q := pair(b)
	payload := p.seal(&Note{Text: "hello"}, q)
	hint := q.prekeys.Current()
	b.SetBytes(bucket4K)
	for b.Loop() {
		signed, err := openSealed(payload, hint.identity)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := q.opener.openSigned(signed, hint.id, q.tag, base); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHopSeal(b *testing.B) {
	k := routingKey(b, 1)
	payload := make([]byte, bucket4K)
	for b.Loop() {
		if _, err := SealHop(k.Public(), peer(2), Week, payload, someHop); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHopOpen(b *testing.B) {
	k := routingKey(b, 1)
	e, err := NewEnvelope(k.Public(), peer(2), Week, someHop, make([]byte, bucket4K))
	must(b, err)
	self := peer(2)
	for b.Loop() {
		if _, err := k.OpenHop(e, self); err != nil {
			b.Fatal(err)
		}
	}
}

// The hops of a session's frames, with the envelope's id that a node asks for as well.
func BenchmarkHopOpenShared(b *testing.B) {
	k := routingKey(b, 1)
	s, err := NewHopSender(k.Public(), peer(2), Hop{Tag: someHop.Tag, Token: someHop.Token})
	must(b, err)
	e, err := s.Envelope(make([]byte, bucket1K))
	must(b, err)
	self := peer(2)
	b.ReportAllocs()
	for b.Loop() {
		sum := e.PayloadSum()
		if _, err := k.OpenHopWith(e, self, sum); err != nil {
			b.Fatal(err)
		}
		if e.IDWith(sum) == (ID{}) {
			b.Fatal("no id")
		}
	}
}

func BenchmarkHopSealShared(b *testing.B) {
	k := routingKey(b, 1)
	payload := make([]byte, bucket1K)
	s, err := NewHopSender(k.Public(), peer(2), Hop{Tag: someHop.Tag, Token: someHop.Token})
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		s.next &= MaxHops - 1
		if _, err := s.Envelope(payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseEnvelope(b *testing.B) {
	k := routingKey(b, 1)
	e, err := NewEnvelope(k.Public(), peer(2), Week, someHop, make([]byte, bucket4K))
	must(b, err)
	raw := e.Marshal()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := Parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFrameSeal(b *testing.B) {
	caller, _ := twin(b)
	body, frame := make([]byte, 900), make([]byte, bucket1K)
	b.SetBytes(bucket1K)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := caller.SealTo(frame, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFrameOpen(b *testing.B) {
	caller, callee := twin(b)
	frame, err := caller.Seal(make([]byte, 900))
	must(b, err)
	plain := make([]byte, bucket1K)
	b.SetBytes(bucket1K)
	b.ReportAllocs()
	for b.Loop() {
		callee.in.next, callee.in.window = 0, 0
		if _, err := callee.OpenTo(plain, frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkQuery(b *testing.B) {
	k := routingKey(b, 1)
	a := &pb.Answer{Status: pb.AnswerStatus_ANSWER_ABSENT}
	self := peer(2)
	for b.Loop() {
		box, pending, err := SealQuery(k.Public(), self, pb.Operation_OPERATION_DESCRIPTOR, nil)
		if err != nil {
			b.Fatal(err)
		}
		q, err := k.OpenQuery(box, self)
		if err != nil {
			b.Fatal(err)
		}
		answer, err := q.SealAnswer(a)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := pending.OpenAnswer(answer); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRingAndAnswer(b *testing.B) {
	p, q := pair(b)
	q.replay.(*MemoryReplay).perDevice = 1 << 30
	for b.Loop() {
		ring := p.ring(q)
		opened, err := q.open(ring.Payload)
		if err != nil {
			b.Fatal(err)
		}
		payload, _ := q.answer(opened, pb.Type_TYPE_ACCEPT, p)
		if _, err := ring.Finish(payload, p.opener); err != nil {
			b.Fatal(err)
		}
	}
}
