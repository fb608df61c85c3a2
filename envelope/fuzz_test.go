package envelope

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// Every decoder of outside bytes has a target. What is accepted has exactly one form, which
// the targets check by writing it again.
//
// A fuzzing run has several processes, and each of them prepares its target anew. So what a
// target compares with is drawn nowhere: boxes and payloads are those of the vector files.

func fixedVectors[T any](t testing.TB, name string) *T {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "docs", "spec", "vectors", name))
	must(t, err)
	v := new(T)
	must(t, json.Unmarshal(b, v))
	return v
}

func FuzzParse(f *testing.F) {
	k := routingKey(f, 1)
	for _, size := range []int{1024, 4096} {
		e, err := NewEnvelope(k.Public(), peer(2), Week, someHop, make([]byte, size))
		must(f, err)
		f.Add(e.Marshal())
	}
	f.Add([]byte{8, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Parse(b)
		if err != nil {
			return
		}
		if !bytes.Equal(e.Marshal(), b) {
			t.Fatal("another form of the same envelope")
		}
		if _, err := k.OpenHop(e, e.Destination); err == nil && !bytes.Equal(e.Payload, make([]byte, len(e.Payload))) {
			t.Fatal("a hop opened on a payload that it was not made for")
		}
	})
}

// FuzzView holds the reader that a node uses for every envelope against Parse, which goes
// through the general decoder: the same bytes are taken and the same are refused.
func FuzzView(f *testing.F) {
	k := routingKey(f, 1)
	for ttl := Live; ttl <= Week; ttl++ {
		e, err := NewEnvelope(k.Public(), peer(2), ttl, someHop, make([]byte, bucket1K))
		must(f, err)
		f.Add(e.Marshal())
		f.Add(append(e.Marshal(), 0))
		f.Add(e.Marshal()[:headSize+4])
	}
	f.Add(bytes.Repeat([]byte{tagTTL}, headSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		var short Envelope
		shortErr := View(b, &short)
		long, longErr := Parse(b)
		if longErr == nil && shortErr != nil {
			t.Fatalf("refused what Parse takes: %v", shortErr)
		}
		if shortErr != nil {
			return
		}
		if longErr != nil {
			if _, err := identity.PeerIDFromBytes(short.Destination[:]); err == nil {
				t.Fatalf("took what Parse refuses: %v", longErr)
			}
			return
		}
		if short.Destination != long.Destination || short.Hop != long.Hop || short.TTL != long.TTL || !bytes.Equal(short.Payload, long.Payload) {
			t.Fatal("read as another envelope")
		}
		if !bytes.Equal(short.Append([]byte{7})[1:], b) || short.Size() != len(b) {
			t.Fatal("written in another form")
		}
	})
}

func FuzzHopPlaintext(f *testing.F) {
	f.Add(make([]byte, hopPlainSize))
	f.Add(bytes.Repeat([]byte{1}, hopPlainSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHop(b)
		if err == nil && (len(b) != hopPlainSize || h.Knock != (b[50] == 1) || b[50] > 1) {
			t.Fatal("a hop with an unknown flag")
		}
	})
}

func FuzzUnpad(f *testing.F) {
	for _, body := range [][]byte{nil, {1}, make([]byte, 60)} {
		block := make([]byte, 64)
		must(f, Pad(block, body))
		f.Add(block)
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		body, err := Unpad(b)
		if err != nil {
			return
		}
		again := make([]byte, len(b))
		must(t, Pad(again, body))
		if !bytes.Equal(again, b) {
			t.Fatal("two paddings of one body")
		}
	})
}

func FuzzQuery(f *testing.F) {
	root := identity.RootFromSeed(seed(5)).Public()
	for _, q := range []*pb.Query{
		{Operation: pb.Operation_OPERATION_LOOKUP, ResponseKey: root[:], Argument: root[:]},
		{Operation: pb.Operation_OPERATION_DESCRIPTOR, ResponseKey: root[:]},
	} {
		msg, err := canon.Marshal(q)
		must(f, err)
		block := make([]byte, queryPlain)
		must(f, Pad(block, msg))
		f.Add(block)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := parseQuery(b)
		if err == nil && checkArgument(q.Operation, q.Argument) != nil {
			t.Fatal("a query that no sender makes")
		}
	})
}

func FuzzQueryBox(f *testing.F) {
	k := routingKey(f, 0x41)
	good := fixedVectors[envelopeVectors](f, "envelope.json").Queries
	for _, q := range good {
		f.Add([]byte(q.Box))
		if _, err := k.OpenQuery(q.Box, peer(0x42)); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(make([]byte, QuerySize))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := k.OpenQuery(b, peer(0x42))
		if err == nil && !slices.ContainsFunc(good, func(q vectorQuery) bool { return bytes.Equal(b, q.Box) }) {
			t.Fatal("a made-up query opened")
		}
	})
}

func FuzzAnswer(f *testing.F) {
	msg, err := canon.Marshal(&pb.Answer{Status: pb.AnswerStatus_ANSWER_FOUND, List: make([]byte, 100), Bundles: [][]byte{make([]byte, 100)}})
	must(f, err)
	block := make([]byte, 4048)
	must(f, Pad(block, msg))
	f.Add(block)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnswer(b)
		if err == nil && (len(a.Bundles) > maxDevices || len(a.List) > maxList) {
			t.Fatal("an answer over its limits")
		}
	})
}

func FuzzSealed(f *testing.F) {
	_, b := vectorWorld(f)
	good := fixedVectors[envelopeVectors](f, "envelope.json").Sealed.Payload
	f.Add(good)
	f.Add(make([]byte, bucket4K))
	id := b.prekeys.Current().identity
	if _, err := openSealed(good, []age.Identity{id}...); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		// Without a hand on the recipient's key nothing opens but what was sealed.
		if _, err := openSealed(payload, []age.Identity{id}...); err == nil && !bytes.Equal(payload, good) {
			t.Fatal("a made-up payload opened")
		}
	})
}

func FuzzInner(f *testing.F) {
	a, b := pair(f)
	for _, body := range []Body{&Note{Text: "x"}, &Knock{Text: "x", Home: a.home}, &Cancel{Reason: pb.Reason_REASON_ENDED}} {
		f.Add(a.inner(body, b)[identity.SignatureSize:])
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		m, cert, err := parseInner(msg)
		if err != nil {
			return
		}
		if len(cert) > maxCert || len(m.Body) > maxBody {
			t.Fatal("a message over its limits")
		}
		// No input makes the arithmetic of times overflow into a pass.
		if m.checkTimes(base) == nil && (m.Expires.Before(base.Add(-maxLate)) || m.Created.After(base.Add(maxAhead))) {
			t.Fatal("a message outside its time")
		}
	})
}

func FuzzOpenSigned(f *testing.F) {
	_, b := vectorWorld(f)
	signed := []byte(fixedVectors[envelopeVectors](f, "envelope.json").Sealed.Signed)
	f.Add(signed)
	f.Add(signed[identity.SignatureSize:])
	prekey := b.prekeys.Current().ID()
	if _, err := b.opener.openSigned(signed, prekey, b.tag, base); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		if _, err := b.opener.openSigned(s, prekey, b.tag, base); err == nil && !bytes.Equal(s, signed) {
			t.Fatal("a made-up message passed the signature")
		}
	})
}

func FuzzBody(f *testing.F) {
	a := newParty(f, 1)
	ring := &RingBody{Ephemeral: a.prekeys.Current().Recipient(), Media: pb.Media_MEDIA_AUDIO,
		Reply: ReplyAddress{Home: a.home, Tag: a.tag, Token: a.token, Handle: Handle{1}}, Collapse: CollapseKey{1}}
	for _, body := range []Body{
		&Knock{Text: "x", Name: "y", Home: a.home}, &Note{Text: "x", ReplyTo: MessageID{1}}, &Read{IDs: []MessageID{{1}, {2}}}, ring,
		&RingAnswer{Kind: pb.Type_TYPE_ACCEPT, RingHash: seed(1), EncHash: seed(2), Reply: ReplyAddress{Home: a.home, Tag: a.tag, Token: a.token}},
		&RingAnswer{Kind: pb.Type_TYPE_BUSY, RingHash: seed(1), EncHash: seed(2), Reason: pb.Reason_REASON_BUSY},
		&Cancel{RingHash: seed(1), Reason: pb.Reason_REASON_ENDED}, &ListUpdate{List: a.list.Bytes()},
		&ContactSync{Root: a.root.Public(), Home: a.home, State: pb.ContactState_CONTACT_STATE_BLOCKED, Name: "x", Grants: []Grant{*a.grant()}},
	} {
		b, err := body.Marshal()
		must(f, err)
		f.Add(uint8(body.Type()), b)
	}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		body, err := ParseBody(pb.Type(kind), b)
		if err != nil || body == nil {
			return
		}
		again, err := body.Marshal()
		if err != nil || !bytes.Equal(again, b) || body.Type() != pb.Type(kind) {
			t.Fatalf("type %d has another form: %v", kind, err)
		}
	})
}

func FuzzBundle(f *testing.F) {
	_, b := vectorWorld(f)
	good := b.bundle().Bytes()
	f.Add(good)
	f.Fuzz(func(t *testing.T, s []byte) {
		if _, _, err := readBundle(s); err == nil && !bytes.Equal(s, good) {
			t.Fatal("a made-up bundle passed")
		}
	})
}

func FuzzFrame(f *testing.F) {
	caller, _ := twin(f)
	frame, err := caller.Seal([]byte("x"))
	must(f, err)
	f.Add(frame)
	f.Add(make([]byte, 1024))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, callee := twin(t)
		if _, err := callee.Open(b); err == nil && !bytes.Equal(b, frame) {
			t.Fatal("a made-up frame opened")
		}
		_, _ = PayloadHandle(b)
	})
}

func FuzzRingAnswer(f *testing.F) {
	a, b := vectorWorld(f)
	v := fixedVectors[sessionVectors](f, "session.json")
	kem, _, _ := suiteXWing()
	priv, err := kem.NewPrivateKey(v.EphemeralSeed)
	must(f, err)
	ring := func() *RingState {
		return &RingState{Hash: [32]byte(v.RingHash), Peer: b.root.Public(), Device: b.device.ID(), Session: SessionID(bytes.Repeat([]byte{0x93}, 16)),
			Handle: Handle(v.Answer[:8]), reply: ReplyAddress{Home: a.home, Tag: a.tag, Token: a.token, Handle: Handle(v.Answer[:8])}, priv: priv}
	}
	if _, err := ring().Finish(v.Answer, a.opener); err != nil {
		f.Fatal(err)
	}
	f.Add(v.Answer[8:])
	f.Fuzz(func(t *testing.T, rest []byte) {
		p := append(bytes.Clone(v.Answer[:8]), rest...)
		if _, err := ring().Finish(p, a.opener); err == nil && !bytes.Equal(p, v.Answer) {
			t.Fatal("a made-up answer was taken")
		}
	})
}

// The step behind the decryption of an answer, where a hostile callee writes what it likes.
func FuzzRingAnswerInside(f *testing.F) {
	a, b := vectorWorld(f)
	v := fixedVectors[sessionVectors](f, "session.json")
	ring := &RingState{Hash: [32]byte(v.RingHash), Peer: b.root.Public(), Device: b.device.ID(),
		Session: SessionID(bytes.Repeat([]byte{0x93}, 16)), reply: ReplyAddress{Tag: a.tag}}
	enc := make([]byte, xwingEnc)
	f.Add([]byte(v.SignedAccept))
	if _, _, err := ring.checkAnswer(v.SignedAccept, v.Answer[8:8+xwingEnc], a.opener); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		if _, _, err := ring.checkAnswer(s, enc, a.opener); err == nil {
			t.Fatal("an answer for another encapsulation was taken")
		}
	})
}

func FuzzParseCard(f *testing.F) {
	v := fixedVectors[cardVectors](f, "cards.json")
	for _, c := range v.Good {
		f.Add([]byte(c.Signed))
	}
	for _, c := range v.Refused {
		f.Add([]byte(c.Signed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCard(b)
		if err != nil {
			if CardReason(err) == "" {
				t.Fatalf("an error without a word: %v", err)
			}
			return
		}
		if c.Hash() != sha256.Sum256(b) || len(c.Candidates) == 0 || c.Expires.Sub(c.Created) > MaxCardLifetime {
			t.Fatal("a card that is none")
		}
		for _, k := range c.Candidates {
			if got, err := parseCardCandidate(k.bytes()); err != nil || got != k {
				t.Fatal("another form of the same candidate")
			}
		}
	})
}

func FuzzParseCardText(f *testing.F) {
	v := fixedVectors[cardVectors](f, "cards.json")
	for _, c := range v.Good {
		f.Add(c.Link)
		f.Add(c.QR)
	}
	for _, c := range v.Texts {
		f.Add(c.Text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := ParseCardText(s)
		if err != nil {
			if CardReason(err) == "" {
				t.Fatalf("an error without a word: %v", err)
			}
			return
		}
		if !strings.HasSuffix(strings.TrimSpace(s), CardText(b)) && !strings.HasSuffix(strings.TrimSpace(s), strings.TrimPrefix(CardQR(b), "WEB+TRUNKLINE:")) {
			t.Fatal("another form of the same text")
		}
	})
}

func FuzzParseCardMessage(f *testing.F) {
	v := fixedVectors[cardVectors](f, "cards.json")
	for _, m := range []*pb.CardMessage{
		{Kind: &pb.CardMessage_Key{Key: &pb.CardKey{Value: v.Session.Key}}},
		{Kind: &pb.CardMessage_Encapsulation{Encapsulation: &pb.CardKey{Value: v.Session.Enc}}},
		{Kind: &pb.CardMessage_Binding{Binding: &pb.CardBinding{Mac: v.Session.Bindings[0].MAC}}},
		{Kind: &pb.CardMessage_Frame{Frame: &pb.CardFrame{Frame: make([]byte, 1024)}}},
	} {
		b, err := MarshalCardMessage(m)
		must(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseCardMessage(b)
		if err != nil {
			return
		}
		again, err := MarshalCardMessage(m)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatal("another form of the same message")
		}
	})
}
