package envelope

import (
	"bytes"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/canon"
)

var update = flag.Bool("update", false, "write docs/spec/vectors/envelope.json and session.json anew")

// vectorEncoding begins what each file says of itself.
const vectorEncoding = "Bytes are lower-case hexadecimal, or base64 with padding (RFC 4648, section 4) where the name ends in _b64. " +
	"Seeds are 32 bytes: the Ed25519 seed of a root or device, the seed of an age hybrid identity (X-Wing) for a prekey and " +
	"ephemeral key, the X25519 secret for a routing key. "

// The files are read by the second implementation too. What is drawn at random by a sealing
// library (boxes and payloads) is fixed in the file and only opened; everything else is
// computed again from the seeds and must come out byte for byte.

type envelopeVectors struct {
	About    string         `json:"about"`
	Parties  [2]vectorParty `json:"parties"`
	NowMS    int64          `json:"now_ms"`
	Padding  []vectorPad    `json:"padding"`
	Envelope vectorEnvelope `json:"envelope"`
	Hops     []vectorHop    `json:"hops_of_one_encapsulation"`
	Sealed   vectorSealed   `json:"sealed"`
	Queries  []vectorQuery  `json:"queries"`
}

type vectorParty struct {
	RootSeed   hexBytes `json:"root_seed"`
	DeviceSeed hexBytes `json:"device_seed"`
	DeviceID   hexBytes `json:"device_id"`
	Cert       hexBytes `json:"cert"`
	List       hexBytes `json:"list"`
	RouteTag   hexBytes `json:"route_tag"`
	Token      hexBytes `json:"token"`
	PrekeySeed hexBytes `json:"prekey_seed"`
	PrekeyID   hexBytes `json:"prekey_id"`
	Hint       hexBytes `json:"hint"`
	Bundle     hexBytes `json:"bundle"`
}

type vectorPad struct {
	Body  hexBytes `json:"body"`
	Size  int      `json:"size"`
	Block hexBytes `json:"block"`
}

type vectorEnvelope struct {
	RoutingSeed   hexBytes `json:"routing_seed"`
	RoutingPublic hexBytes `json:"routing_public"`
	Destination   hexBytes `json:"destination"`
	TTL           int      `json:"ttl"`
	PayloadNote   string   `json:"payload_note"`
	AAD           hexBytes `json:"aad"`
	Tag           hexBytes `json:"tag"`
	Token         hexBytes `json:"token"`
	Collapse      hexBytes `json:"collapse_key"`
	Hint          hexBytes `json:"hint"`
	Knock         bool     `json:"knock"`
	Box           hexBytes `json:"box"`
	ID            hexBytes `json:"id"`
	SHA256        hexBytes `json:"marshalled_sha256"`
}

// vectorHop is a hop of the encapsulation of the envelope above, which is to its destination
// and has its hop plaintext and payload.
type vectorHop struct {
	Name   string   `json:"name"`
	TTL    int      `json:"ttl"`
	Key    hexBytes `json:"exported_key"`
	Nonce  hexBytes `json:"nonce"`
	Box    hexBytes `json:"box"`
	Accept bool     `json:"accept"`
}

type vectorSealed struct {
	Signed    hexBytes `json:"signed"`
	Hash      hexBytes `json:"hash"`
	MessageID hexBytes `json:"message_id"`
	Text      string   `json:"text"`
	Payload   []byte   `json:"payload_b64"`
}

type vectorQuery struct {
	Operation   int      `json:"operation"`
	Argument    hexBytes `json:"argument"`
	ResponseKey hexBytes `json:"response_key"`
	Box         hexBytes `json:"box"`
	Salt        hexBytes `json:"salt"`
	Answer      hexBytes `json:"answer_message"`
	Size        int      `json:"answer_size"`
	SHA256      hexBytes `json:"answer_box_sha256"`
}

// vectorWorld is the same two people in both files.
func vectorWorld(t testing.TB) (a, b *party) {
	t.Helper()
	a, b = newParty(t, 1), newParty(t, 2)
	for i, p := range []*party{a, b} {
		p.store.m = make(map[PrekeyID]PrekeySecret)
		s := seed(byte(0x51 + i))
		key, err := PrekeyFromSeed(s, base)
		must(t, err)
		must(t, p.store.PutPrekey(PrekeySecret{ID: key.ID(), Seed: s, Created: base}))
		p.prekeys, err = OpenPrekeys(p.store)
		must(t, err)
		p.restart()
	}
	a.knows(b)
	return a, b
}

func vectorParties(t *testing.T, a, b *party) (out [2]vectorParty) {
	t.Helper()
	for i, p := range []*party{a, b} {
		rootSeed, deviceSeed, id := p.root.Seed(), p.device.Seed(), p.device.ID()
		key := p.prekeys.Current()
		prekeySeed, prekeyID, hint := key.Seed(), key.ID(), key.Hint()
		out[i] = vectorParty{rootSeed[:], deviceSeed[:], id[:], p.cert.Bytes(), p.list.Bytes(), p.tag[:], p.token[:],
			prekeySeed[:], prekeyID[:], hint[:], p.bundle().Bytes()}
	}
	return out
}

func vectorFile[T any](t *testing.T, name string, build func(fixed *T) *T) {
	t.Helper()
	path := filepath.Join("..", "docs", "spec", "vectors", name)
	var fixed *T
	var old []byte
	if !*update {
		var err error
		old, err = os.ReadFile(path)
		must(t, err)
		fixed = new(T)
		must(t, json.Unmarshal(old, fixed))
	}
	b, err := json.MarshalIndent(build(fixed), "", " ")
	must(t, err)
	b = append(b, '\n')
	if *update {
		must(t, os.WriteFile(path, b, 0o644))
		return
	}
	if !bytes.Equal(b, old) {
		at := 0
		for at < min(len(b), len(old)) && b[at] == old[at] {
			at++
		}
		from := max(0, at-200)
		t.Fatalf("%s: computed\n%s\nwant\n%s", name, b[from:min(len(b), at+100)], old[from:min(len(old), at+100)])
	}
}

func TestEnvelopeVectors(t *testing.T) {
	vectorFile(t, "envelope.json", func(fixed *envelopeVectors) *envelopeVectors {
		a, b := vectorWorld(t)
		v := &envelopeVectors{
			About: vectorEncoding + "Boxes and payloads are fixed: open them. Everything else is computed from the seeds. " +
				"parties[0] writes to parties[1]. Their lists were issued one hour before now_ms.",
			Parties: vectorParties(t, a, b),
			NowMS:   base.UnixMilli(),
		}
		for _, body := range [][]byte{nil, {1}, []byte("trunkline"), make([]byte, 28)} {
			block := make([]byte, 32)
			must(t, Pad(block, body))
			v.Padding = append(v.Padding, vectorPad{body, 32, block})
		}
		v.Envelope = hopVector(t, fixed)
		v.Hops = hopNumberVectors(t, v.Envelope)
		v.Sealed = sealedVector(t, a, b, fixed)
		root, id := b.root.Public(), ID(bytes.Repeat([]byte{6}, 16))
		for i, q := range []struct {
			op  pb.Operation
			arg []byte
			a   *pb.Answer
		}{
			{pb.Operation_OPERATION_LOOKUP, root[:], &pb.Answer{Status: pb.AnswerStatus_ANSWER_FOUND, List: b.list.Bytes(), Bundles: [][]byte{b.bundle().Bytes()}}},
			{pb.Operation_OPERATION_OUTCOME, id[:], &pb.Answer{Status: pb.AnswerStatus_ANSWER_FOUND, Fate: pb.Fate_FATE_STORED}},
			{pb.Operation_OPERATION_DESCRIPTOR, nil, &pb.Answer{Status: pb.AnswerStatus_ANSWER_LIMITED, RetryAfterMs: 1500}},
		} {
			v.Queries = append(v.Queries, queryVector(t, q.op, q.arg, q.a, func() *vectorQuery {
				if fixed == nil {
					return nil
				}
				return &fixed.Queries[i]
			}()))
		}
		return v
	})
}

func hopVector(t *testing.T, fixed *envelopeVectors) vectorEnvelope {
	t.Helper()
	k := routingKey(t, 0x41)
	payload := make([]byte, 1024)
	for i := range payload {
		payload[i] = byte(i)
	}
	e, err := NewEnvelope(k.Public(), peer(0x42), Day, someHop, payload)
	must(t, err)
	if fixed != nil {
		e.Hop = [HopSize]byte(fixed.Envelope.Box)
	}
	got, err := k.OpenHop(e, peer(0x42))
	must(t, err)
	s, pub, id, sum := k.Seed(), k.Public(), e.ID(), sha256.Sum256(e.Marshal())
	return vectorEnvelope{
		RoutingSeed: s[:], RoutingPublic: pub[:], Destination: e.Destination[:], TTL: int(e.TTL),
		PayloadNote: "1024 bytes, byte i is i mod 256",
		AAD:         hopAAD(nil, e.Destination, e.TTL, sha256.Sum256(payload)),
		Tag:         got.Tag[:], Token: got.Token[:], Collapse: got.Collapse[:], Hint: got.Hint[:], Knock: got.Knock,
		Box: e.Hop[:], ID: id[:], SHA256: sum[:],
	}
}

func hopNumberVectors(t *testing.T, v vectorEnvelope) (out []vectorHop) {
	t.Helper()
	k := routingKey(t, 0x41)
	payload := make([]byte, 1024)
	for i := range payload {
		payload[i] = byte(i)
	}
	_, kdf, suite := suiteX25519()
	context, err := hpke.NewRecipient(v.Box[:x25519Size], k.priv, kdf, suite, []byte(identity.ContextHop))
	must(t, err)
	key, err := context.Export(identity.ContextHopKey, 32)
	must(t, err)
	aead, err := hopAEAD(context.Export)
	must(t, err)
	s := &HopSender{dest: peer(0x42), plain: someHop.plaintext(), enc: [x25519Size]byte(v.Box[:x25519Size]), aead: aead}
	for _, c := range []struct {
		name   string
		ttl    TTL
		number uint16
		change bool
	}{
		{"the first of the class live", Live, 0, false},
		{"the second", Live, 1, false},
		{"the last", Live, MaxHops - 1, false},
		{"the first of the class week", Week, 0, false},
		{"the second of the class week", Week, 1, false},
		{"another number over the box", Live, 1, true},
	} {
		e := &Envelope{Destination: peer(0x42), TTL: c.ttl, Payload: payload}
		s.seal(e, c.number)
		if c.change {
			e.Hop[x25519Size+1]++
		}
		_, err := k.OpenHop(e, peer(0x42))
		nonce := make([]byte, 12)
		copy(nonce[10:], e.Hop[x25519Size:hopHeader])
		out = append(out, vectorHop{c.name, int(c.ttl), key, nonce, bytes.Clone(e.Hop[:]), err == nil})
	}
	return out
}

func sealedVector(t *testing.T, a, b *party, fixed *envelopeVectors) vectorSealed {
	t.Helper()
	m := a.message(&Note{Text: "Grüße von der anderen Seite"}, b)
	m.ID = MessageID(bytes.Repeat([]byte{0x5a}, 16))
	m.Grant = a.grant()
	payload, signed, err := SealMessage(a.device, a.cert, b.bundle(), m)
	must(t, err)
	if fixed != nil {
		payload = fixed.Sealed.Payload
	}
	opened, err := b.open(payload)
	must(t, err)
	sum := sha256.Sum256(signed)
	if opened.Hash != sum {
		t.Fatal("the payload holds another message than the seeds give")
	}
	if *opened.Grant != *a.grant() || opened.Echo != EchoCurrent || opened.List != ListCurrent {
		t.Fatal("the message says something else")
	}
	return vectorSealed{Signed: signed, Hash: sum[:], MessageID: opened.ID[:], Text: opened.Content.(*Note).Text, Payload: payload}
}

func queryVector(t *testing.T, op pb.Operation, arg []byte, a *pb.Answer, fixed *vectorQuery) vectorQuery {
	t.Helper()
	k := routingKey(t, 0x41)
	box, _, err := SealQuery(k.Public(), peer(0x42), op, arg)
	must(t, err)
	if fixed != nil {
		box = fixed.Box
	}
	q, err := k.OpenQuery(box, peer(0x42))
	must(t, err)
	salt := seed(0x61)
	answer, err := sealAnswer(q.responseKey, q.hash, salt, answerSize(op), a)
	must(t, err)
	pending := &PendingQuery{operation: op, responseKey: q.responseKey, hash: q.hash}
	if _, err := pending.OpenAnswer(answer); err != nil {
		t.Fatal(err)
	}
	msg, err := canon.Marshal(a)
	must(t, err)
	sum := sha256.Sum256(answer)
	return vectorQuery{Operation: int(q.Operation), Argument: q.Argument, ResponseKey: q.responseKey[:], Box: box,
		Salt: salt[:], Answer: msg, Size: len(answer), SHA256: sum[:]}
}

type sessionVectors struct {
	About         string         `json:"about"`
	Parties       [2]vectorParty `json:"parties"`
	NowMS         int64          `json:"now_ms"`
	EphemeralSeed hexBytes       `json:"ephemeral_seed"`
	SignedRing    hexBytes       `json:"signed_ring"`
	RingHash      hexBytes       `json:"ring_hash"`
	RingPayload   []byte         `json:"ring_payload_b64"`
	Answer        []byte         `json:"answer_payload_b64"`
	SignedAccept  hexBytes       `json:"signed_accept"`
	Info          hexBytes       `json:"hpke_info"`
	Secret        hexBytes       `json:"secret"`
	Transcript    hexBytes       `json:"transcript"`
	Keys          vectorKeys     `json:"keys"`
	Stepped       vectorStepped  `json:"stepped"`
	Frames        []vectorFrame  `json:"frames"`
	Bindings      []vectorBind   `json:"channel_bindings"`
	CallCode      vectorCode     `json:"call_code"`
}

type vectorKeys struct {
	I2R      hexBytes `json:"i2r"`
	R2I      hexBytes `json:"r2i"`
	HI       hexBytes `json:"hi"`
	HR       hexBytes `json:"hr"`
	Media    hexBytes `json:"media"`
	File     hexBytes `json:"file"`
	Binding  hexBytes `json:"channel_binding"`
	SAS      hexBytes `json:"sas"`
	MediaI2R hexBytes `json:"media_i2r"`
	MediaR2I hexBytes `json:"media_r2i"`
}

type vectorStepped struct {
	I2R hexBytes `json:"i2r"`
	R2I hexBytes `json:"r2i"`
	HI  hexBytes `json:"hi"`
	HR  hexBytes `json:"hr"`
}

type vectorFrame struct {
	Sender  int      `json:"sender_role"`
	Stepped bool     `json:"stepped"`
	Tag     hexBytes `json:"recipient_route_tag"`
	Counter int      `json:"counter"`
	Body    hexBytes `json:"body"`
	Frame   []byte   `json:"frame_b64"`
}

type vectorBind struct {
	Role int      `json:"role"`
	Own  hexBytes `json:"own_fingerprint"`
	Peer hexBytes `json:"peer_fingerprint"`
	MAC  hexBytes `json:"mac"`
}

type vectorCode struct {
	NonceA     hexBytes `json:"nonce_a"`
	NonceB     hexBytes `json:"nonce_b"`
	Commitment hexBytes `json:"commitment"`
	Code       string   `json:"code"`
}

func TestSessionVectors(t *testing.T) {
	vectorFile(t, "session.json", func(fixed *sessionVectors) *sessionVectors {
		a, b := vectorWorld(t)
		v := &sessionVectors{
			About: vectorEncoding + "signed_ring, ring_payload and answer_payload are fixed: open them, the answer with the key of " +
				"ephemeral_seed. Everything else follows. parties[0] calls parties[1].",
			Parties: vectorParties(t, a, b),
			NowMS:   base.UnixMilli(),
		}
		answered, opened := ringVector(t, a, b, v, fixed)
		s := answered.Session
		k := s.keys // before the step erases the frame keys
		v.Keys = vectorKeys{k.frame[0][:], k.frame[1][:], k.handle[0][:], k.handle[1][:], k.media[:], k.file[:], k.binding[:],
			k.sas[:], k.mediaDir[0][:], k.mediaDir[1][:]}
		v.Transcript = k.th[:]
		if want := transcript([32]byte(v.RingHash), opened); k.th != want {
			t.Fatal("another transcript")
		}
		ki, hi := s.stepped(Initiator)
		kr, hr := s.stepped(Responder)
		v.Stepped = vectorStepped{ki[:], kr[:], hi[:], hr[:]}
		body := []byte("a=candidate")
		for _, f := range []struct {
			d       *direction
			sender  Role
			stepped bool
			counter uint64
			body    []byte
		}{
			{newDirection(k.frame[Initiator], k.handle[Initiator], b.tag), Initiator, false, 0, body},
			{newDirection(k.frame[Initiator], k.handle[Initiator], b.tag), Initiator, false, 1<<32 - 1, nil},
			{newDirection(k.frame[Responder], k.handle[Responder], a.tag), Responder, false, 258, bytes.Repeat([]byte{7}, 993)},
			{newDirection(ki, hi, b.tag), Initiator, true, 0, body},
			{newDirection(kr, hr, a.tag), Responder, true, 1, nil},
		} {
			frame := make([]byte, FrameSize(len(f.body)))
			f.d.next = f.counter
			_, err := f.d.seal(frame, f.body)
			must(t, err)
			v.Frames = append(v.Frames, vectorFrame{int(f.sender), f.stepped, hexBytes(bytes.Clone(f.d.ad[:16])), int(f.counter), f.body, frame})
		}
		own, other := seed(0x71), seed(0x72)
		for _, role := range []Role{Initiator, Responder} {
			mac, err := s.bind(role, own, other)
			must(t, err)
			v.Bindings = append(v.Bindings, vectorBind{int(role), own[:], other[:], mac[:]})
		}
		na, nb := seed(0x81), seed(0x82)
		commitment := sasCommitment(na[:])
		v.CallCode = vectorCode{na[:], nb[:], commitment[:], sasCode(k.sas, na, nb)}
		return v
	})
}

// ringVector rings and answers with a known ephemeral key, or opens what the file has.
func ringVector(t *testing.T, a, b *party, v, fixed *sessionVectors) (answered *Answered, acceptHash [32]byte) {
	t.Helper()
	kem, kdf, aead := suiteXWing()
	ephemeral := seed(0x91)
	priv, err := kem.NewPrivateKey(ephemeral[:])
	must(t, err)
	reply := ReplyAddress{Home: a.home, Tag: a.tag, Token: a.token, Handle: Handle(bytes.Repeat([]byte{0x92}, 8))}
	ring, err := newRing(a.device, a.cert, b.bundle(), RingConfig{
		Media: pb.Media_MEDIA_VIDEO, SessionID: SessionID(bytes.Repeat([]byte{0x93}, 16)),
		Reply: reply, Now: base, OwnList: a.list, PeerList: b.list,
	}, priv)
	must(t, err)
	if fixed != nil {
		ring.Payload, ring.Hash = fixed.RingPayload, [32]byte(fixed.RingHash)
	}
	hint := b.prekeys.Current()
	signed, err := openSealed(ring.Payload, hint.identity)
	must(t, err)
	opened, err := b.open(ring.Payload)
	must(t, err)
	if opened.Hash != ring.Hash || sha256.Sum256(signed) != ring.Hash {
		t.Fatal("ring_hash is not that of the ring")
	}
	if !bytes.Equal(opened.Content.(*RingBody).Ephemeral, priv.PublicKey().Bytes()) {
		t.Fatal("the ring has another ephemeral key")
	}
	var answer []byte
	if fixed != nil {
		answer = fixed.Answer
	} else {
		answer, _ = b.answer(opened, pb.Type_TYPE_ACCEPT, a)
	}
	answered, err = ring.Finish(answer, a.opener)
	must(t, err)
	// The same by hand, for what Finish keeps to itself.
	ctx, err := hpke.NewRecipient(answer[8:8+xwingEnc], priv, kdf, aead, sessionInfo(ring.Hash))
	must(t, err)
	plain, err := ctx.Open(a.tag[:], answer[8+xwingEnc:])
	must(t, err)
	accept, err := Unpad(plain)
	must(t, err)
	secret, err := ctx.Export(identity.ContextSessionSecret, 32)
	must(t, err)
	v.EphemeralSeed, v.SignedRing, v.RingHash, v.RingPayload = ephemeral[:], signed, ring.Hash[:], ring.Payload
	v.Answer, v.SignedAccept, v.Info, v.Secret = answer, accept, sessionInfo(ring.Hash), secret
	return answered, sha256.Sum256(accept)
}
