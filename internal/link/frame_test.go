package link

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

func fill(n int, v byte) []byte { return bytes.Repeat([]byte{v}, n) }

// clientFrames has one of every kind, with every field set.
func clientFrames() []*pb.ClientFrame {
	return []*pb.ClientFrame{
		{Id: 1, Kind: &pb.ClientFrame_Authenticate{Authenticate: &pb.Authenticate{Cert: fill(200, 1), Signature: fill(64, 2), Host: "acme.example:443"}}},
		{Id: 2, Kind: &pb.ClientFrame_Publish{Publish: &pb.Publish{List: fill(4096, 1), Bundles: [][]byte{fill(2048, 2), fill(1500, 3)}, Invitation: "word"}}},
		{Id: 3, Kind: &pb.ClientFrame_Register{Register: &pb.Register{RouteTag: fill(16, 1), TokenHash: fill(32, 2), PreviousHash: fill(32, 3), TokenEpoch: 4, After: 5}}},
		{Id: 1 << 40, Kind: &pb.ClientFrame_Submit{Submit: &pb.Submit{Envelope: fill(maxEnvelope, 9)}}},
		{Kind: &pb.ClientFrame_Ack{Ack: &pb.Ack{StoredIds: []uint64{0, 1, 1 << 63}}}},
		{Id: 6, Kind: &pb.ClientFrame_Query{Query: &pb.Query{Destination: fill(38, 1), Box: fill(560, 2)}}},
		{Id: 7, Kind: &pb.ClientFrame_Domain{Domain: &pb.DomainRequest{Domain: "globex.example"}}},
		{Id: 8, Kind: &pb.ClientFrame_Turn{Turn: &pb.TurnRequest{Purpose: "call"}}},
		{Id: 9, Kind: &pb.ClientFrame_TurnRelease{TurnRelease: &pb.TurnRelease{Handle: fill(16, 1)}}},
		{Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: 7}}},
		{Id: 10, Kind: &pb.ClientFrame_RoomCreate{RoomCreate: &pb.RoomCreate{Room: fill(32, 1), GateKey: fill(32, 2), StewardKey: fill(32, 3), Card: fill(RoomCardSize, 4), Seats: 50, Expires: 6, Lobby: true}}},
		{Id: 11, Kind: &pb.ClientFrame_RoomJoin{RoomJoin: &pb.RoomJoin{Room: fill(32, 1), JoinId: fill(16, 2), GateSignature: fill(64, 3), StewardSignature: fill(64, 4), Pass: fill(PassSize, 5), PassSignature: fill(64, 6)}}},
		{Id: 12, Kind: &pb.ClientFrame_RoomSend{RoomSend: &pb.RoomSend{To: 3, Payload: fill(16384, 1)}}},
		{Id: 13, Kind: &pb.ClientFrame_RoomControl{RoomControl: &pb.RoomControl{Room: fill(32, 1), Command: fill(maxRoomCommand, 2), Signature: fill(64, 3)}}},
		{Id: 14, Kind: &pb.ClientFrame_RoomLeave{RoomLeave: &pb.RoomLeave{}}},
		{Id: 15, Kind: &pb.ClientFrame_RoomLeg{RoomLeg: &pb.RoomLeg{Kind: pb.RoomLegKind_ROOM_LEG_WANT, Sdp: "v=0", LastN: 9, Speaking: true,
			Wants: []*pb.RoomWant{{Mid: "7", Publisher: 2, Slot: 3, Priority: 255, Height: 720, Paused: true}, {Mid: "8"}}}}},
		{Id: 16, Kind: &pb.ClientFrame_RoomPass{RoomPass: &pb.RoomPass{Node: fill(38, 1), Key: fill(32, 2)}}},
	}
}

func nodeFrames() []*pb.NodeFrame {
	return []*pb.NodeFrame{
		{Kind: &pb.NodeFrame_Challenge{Challenge: &pb.Challenge{Version: 1, Node: fill(38, 1), Domain: "acme.example", Nonce: fill(32, 2), TimeMs: 3, Descriptor_: fill(300, 4), Signature: fill(64, 5)}}},
		{Id: 1, Kind: &pb.NodeFrame_Authenticated{Authenticated: &pb.Authenticated{Epoch: 2, IdleMs: 3}}},
		{Id: 2, Kind: &pb.NodeFrame_Published{Published: &pb.Published{Epoch: 1}}},
		{Id: 3, Kind: &pb.NodeFrame_Registered{Registered: &pb.Registered{Waiting: 1, MaxEnvelopes: 128, MaxBytes: 4 << 20}}},
		{Id: 4, Kind: &pb.NodeFrame_Receipt{Receipt: &pb.Receipt{EnvelopeId: fill(16, 1), Class: pb.ReceiptClass_RECEIPT_REFUSED, Durable: true, Code: CodeQuota, RetryAfterMs: 9}}},
		{Kind: &pb.NodeFrame_Deliver{Deliver: &pb.Deliver{StoredId: 1, Knock: true, Hint: fill(2, 0), Payload: fill(maxPayload, 1), EnvelopeId: fill(16, 2)}}},
		{Id: 5, Kind: &pb.NodeFrame_Answer{Answer: &pb.Answer{Box: fill(16384, 1), Code: CodeRate}}},
		{Id: 6, Kind: &pb.NodeFrame_Domain{Domain: &pb.DomainAnswer{Document: fill(6144, 1), Descriptors: [][]byte{fill(512, 1)}, Code: CodePolicy}}},
		{Id: 7, Kind: &pb.NodeFrame_Turn{Turn: &pb.TurnCredentials{Urls: []string{"turn:a", "turn:b"}, Username: "u", Credential: "c", TtlSeconds: 300, Handle: fill(16, 1), Code: CodeQuota}}},
		{Kind: &pb.NodeFrame_Pong{Pong: &pb.Ping{Nonce: 7}}},
		{Kind: &pb.NodeFrame_Drain{Drain: &pb.Drain{ReconnectAfterMs: 1, JitterMs: 2, Reason: "draining"}}},
		{Kind: &pb.NodeFrame_Error{Error: &pb.Error{Code: CodeReplaced, RetryAfterMs: 1}}},
		{Id: 8, Kind: &pb.NodeFrame_RoomCreated{RoomCreated: &pb.RoomCreated{Seats: 50, Expires: 2}}},
		{Id: 9, Kind: &pb.NodeFrame_RoomJoined{RoomJoined: &pb.RoomJoined{Index: 1 << 15, Present: []uint32{1, 300}, Card: fill(RoomCardSize, 1), Expires: 9, Seats: 50, Waiting: true, Sfu: true}}},
		{Kind: &pb.NodeFrame_RoomEvent{RoomEvent: &pb.RoomEvent{Kind: pb.RoomEventKind_ROOM_EVENT_FRAME, Index: 3, Payload: fill(16384, 2), Code: CodeRemoved, Present: []uint32{1, 300}}}},
		{Id: 10, Kind: &pb.NodeFrame_RoomDone{RoomDone: &pb.RoomDone{}}},
		{Id: 11, Kind: &pb.NodeFrame_RoomLeg{RoomLeg: &pb.RoomLegAnswer{Sdp: "v=0", Event: &pb.RoomLegEvent{Kind: pb.RoomLegEventKind_ROOM_LEG_EVENT_SPEAKER,
			Publisher: 1, Slot: 2, Codec: "VP8", Mid: "3", Sent: true, Reason: "left", Order: []uint32{1, 2}}}}},
		{Id: 12, Kind: &pb.NodeFrame_RoomPassed{RoomPassed: &pb.RoomPassed{Pass: fill(PassSize, 1)}}},
	}
}

func TestEveryFrameComesBackAsItWasWritten(t *testing.T) {
	for _, want := range clientFrames() {
		b, err := MarshalClient(want)
		if err != nil {
			t.Fatalf("%T: %v", want.Kind, err)
		}
		got, err := ParseClient(b)
		if err != nil || !proto.Equal(got, want) {
			t.Errorf("%T: %v", want.Kind, err)
		}
	}
	for _, want := range nodeFrames() {
		b, err := MarshalNode(want)
		if err != nil {
			t.Fatalf("%T: %v", want.Kind, err)
		}
		got, err := ParseNode(b)
		if err != nil || !proto.Equal(got, want) {
			t.Errorf("%T: %v", want.Kind, err)
		}
	}
}

func TestEveryKindOfTheSchemaHasAShape(t *testing.T) {
	for _, c := range []struct {
		m proto.Message
		s shape
	}{{new(pb.ClientFrame), clientShape}, {new(pb.NodeFrame), nodeShape}} {
		checkShape(t, string(c.m.ProtoReflect().Descriptor().Name()), c.m, c.s)
	}
}

func checkShape(t *testing.T, name string, m proto.Message, s shape) {
	fields := m.ProtoReflect().Descriptor().Fields()
	if fields.Len() != len(s) {
		t.Errorf("%s: the schema has %d fields and the shape %d", name, fields.Len(), len(s))
	}
	for i := range fields.Len() {
		f := fields.Get(i)
		if s.find(f.Number()) == nil {
			t.Errorf("%s.%s has no shape", name, f.Name())
		}
		if f.Message() != nil {
			sub := m.ProtoReflect().NewField(f)
			if f.IsList() {
				continue
			}
			checkShape(t, name+"."+string(f.Name()), sub.Message().Interface(), s.find(f.Number()).sub)
		}
	}
}

func TestAFrameWithTwoReadingsIsRefused(t *testing.T) {
	ping := func(b ...byte) []byte { return append([]byte{0x5a, byte(len(b))}, b...) }
	for name, b := range map[string][]byte{
		"empty":                  {},
		"only an id":             {0x08, 1},
		"unknown field":          append(ping(), 0x7a, 0),
		"unknown field inside":   ping(0x10, 1),
		"two kinds":              append([]byte{0x32, 0}, ping()...),
		"the same kind twice":    append(ping(), ping()...),
		"descending fields":      append(ping(), 0x08, 1),
		"long varint":            {0x08, 0x81, 0x00, 0x5a, 0},
		"long tag":               {0x88, 0x00, 1, 0x5a, 0},
		"explicit zero":          {0x08, 0, 0x5a, 0},
		"explicit zero inside":   ping(0x08, 0),
		"group":                  {0x0b, 0x0c},
		"fixed width":            {0x09, 1, 2, 3, 4, 5, 6, 7, 8},
		"length over the end":    {0x5a, 5, 0x08},
		"length of ten megabyte": {0x2a, 0x80, 0xad, 0xe2, 0x04},
		"field zero":             {0x00, 0},
		"varint of eleven bytes": append(bytes.Repeat([]byte{0xff}, 10), 1),
		"short route tag":        {0x22, 3, 0x0a, 1, 7},
		"empty bytes":            {0x2a, 2, 0x0a, 0},
		"host is not UTF-8":      {0x12, 3, 0x1a, 1, 0xff},
	} {
		if f, err := ParseClient(b); err == nil {
			t.Errorf("%s was read as %v", name, f)
		}
	}
}

func TestWhatIsOverALimitIsRefusedByBothSides(t *testing.T) {
	for name, f := range map[string]*pb.ClientFrame{
		"list":       {Kind: &pb.ClientFrame_Publish{Publish: &pb.Publish{List: fill(4097, 1)}}},
		"bundles":    {Kind: &pb.ClientFrame_Publish{Publish: &pb.Publish{List: fill(1, 1), Bundles: [][]byte{{1}, {1}, {1}, {1}, {1}, {1}, {1}, {1}, {1}}}}},
		"acks":       {Kind: &pb.ClientFrame_Ack{Ack: &pb.Ack{StoredIds: make([]uint64, MaxAcks+1)}}},
		"envelope":   {Kind: &pb.ClientFrame_Submit{Submit: &pb.Submit{Envelope: fill(maxEnvelope+1, 1)}}},
		"invitation": {Kind: &pb.ClientFrame_Publish{Publish: &pb.Publish{List: fill(1, 1), Invitation: string(fill(129, 'a'))}}},
	} {
		if _, err := MarshalClient(f); err == nil {
			t.Errorf("%s over its limit was written", name)
		}
		b, err := proto.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseClient(b); err == nil {
			t.Errorf("%s over its limit was read", name)
		}
	}
	if _, err := ParseClient(make([]byte, MaxFrame+1)); !errors.Is(err, errTooLarge) {
		t.Errorf("a frame over the limit: %v", err)
	}
}

func TestParsingAllocatesNoMoreThanWhatArrived(t *testing.T) {
	// 48 thousand empty elements of a repeated field: two bytes each on the wire, 24 in
	// memory.
	bomb := appendOctets(nil, 3, bytes.Repeat([]byte{0x12, 0x00}, MaxFrame/2-8))
	if allocs := testing.AllocsPerRun(10, func() { _, _ = ParseClient(bomb) }); allocs > 4 {
		t.Errorf("a bomb cost %v allocations", allocs)
	}
}

func TestTheRoutingPathsOwnReadersAgreeWithTheSchema(t *testing.T) {
	envelopeBytes := fill(5000, 7)
	for _, id := range []uint64{0, 1, 127, 128, 1 << 62} {
		want, err := MarshalClient(&pb.ClientFrame{Id: id, Kind: &pb.ClientFrame_Submit{Submit: &pb.Submit{Envelope: envelopeBytes}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := AppendSubmit(nil, id, envelopeBytes); !bytes.Equal(got, want) {
			t.Errorf("Submit with id %d is written in two ways", id)
		}
		gotID, gotEnvelope, ok := ParseSubmit(want)
		if !ok || gotID != id || !bytes.Equal(gotEnvelope, envelopeBytes) {
			t.Errorf("Submit with id %d was not read", id)
		}
		receipt, err := MarshalNode(&pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_Receipt{Receipt: &pb.Receipt{
			EnvelopeId: fill(16, 1), Class: pb.ReceiptClass_RECEIPT_ACCEPTED, Durable: id == 1, Code: "", RetryAfterMs: id}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := AppendReceipt(nil, id, fill(16, 1), pb.ReceiptClass_RECEIPT_ACCEPTED, id == 1, "", id); !bytes.Equal(got, receipt) {
			t.Errorf("Receipt with id %d is written in two ways", id)
		}
		if n := ReceiptSize(id, pb.ReceiptClass_RECEIPT_ACCEPTED, id == 1, "", id); n != len(receipt) {
			t.Errorf("ReceiptSize is wrong for id %d: %d", id, n)
		}
		deliver, err := MarshalNode(&pb.NodeFrame{Kind: &pb.NodeFrame_Deliver{Deliver: &pb.Deliver{
			StoredId: id, Knock: id > 1, Hint: fill(2, 3), Payload: envelopeBytes, EnvelopeId: fill(16, 4)}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := AppendDeliver(nil, id, id > 1, fill(2, 3), envelopeBytes, fill(16, 4)); !bytes.Equal(got, deliver) {
			t.Errorf("Deliver with id %d is written in two ways", id)
		}
		if len(deliver) != DeliverSize(id, id > 1, len(envelopeBytes)) {
			t.Errorf("DeliverSize is wrong for id %d", id)
		}
	}
	refusal := AppendReceipt(nil, 1, fill(16, 1), pb.ReceiptClass_RECEIPT_REFUSED, false, CodeQuota, 0)
	if n := ReceiptSize(1, pb.ReceiptClass_RECEIPT_REFUSED, false, CodeQuota, 0); n != len(refusal) {
		t.Errorf("ReceiptSize is wrong for a refusal: %d", n)
	}
	if f, err := ParseNode(refusal); err != nil || f.GetReceipt().Code != CodeQuota {
		t.Errorf("a refusal does not parse: %v", err)
	}
}

func testEnvelope(t testing.TB, ttl envelope.TTL, size int) *envelope.Envelope {
	t.Helper()
	seed := [32]byte{1}
	e := &envelope.Envelope{Destination: identity.RootFromSeed(seed).Public().PeerID(), TTL: ttl, Payload: fill(size, 5)}
	copy(e.Hop[:], fill(len(e.Hop), 9))
	return e
}

func TestParseEnvelopeAgreesWithTheEnvelopePackage(t *testing.T) {
	for ttl := envelope.Live; ttl <= envelope.Week; ttl++ {
		for _, size := range []int{1024, 65536} {
			want := testEnvelope(t, ttl, size)
			var got envelope.Envelope
			if err := ParseEnvelope(want.Marshal(), &got); err != nil {
				t.Fatal(err)
			}
			if got.ID() != want.ID() || got.TTL != ttl || len(got.Payload) != size {
				t.Errorf("class %v, %d bytes: read as something else", ttl, size)
			}
		}
	}
}

func TestTheRoutingPathAllocatesNothing(t *testing.T) {
	e := testEnvelope(t, envelope.Live, 1024)
	frame := AppendSubmit(nil, 5, e.Marshal())
	out := make([]byte, 0, DeliverSize(0, false, 1024))
	id := e.ID()
	allocs := testing.AllocsPerRun(100, func() {
		_, raw, ok := ParseSubmit(frame)
		var got envelope.Envelope
		if !ok || ParseEnvelope(raw, &got) != nil {
			t.Fatal("not read")
		}
		out = AppendDeliver(out[:0], 0, false, got.Hop[:2], got.Payload, id[:])
	})
	if allocs != 0 {
		t.Errorf("%v allocations for one frame", allocs)
	}
}

func FuzzParseClient(f *testing.F) {
	for _, frame := range clientFrames() {
		b, err := MarshalClient(frame)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0x5a, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := ParseClient(b)
		if err != nil {
			return
		}
		again, err := MarshalClient(frame)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("read %x, wrote %x (%v)", b, again, err)
		}
		id, raw, ok := ParseSubmit(b)
		if s := frame.GetSubmit(); ok != (s != nil && len(s.Envelope) > 0) || ok && (id != frame.Id || !bytes.Equal(raw, s.Envelope)) {
			t.Fatalf("ParseSubmit reads %x differently", b)
		}
	})
}

func FuzzParseSubmit(f *testing.F) {
	f.Add(AppendSubmit(nil, 1, testEnvelope(f, envelope.Week, 1024).Marshal()))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, raw, ok := ParseSubmit(b)
		if !ok {
			return
		}
		frame, err := ParseClient(b)
		if err != nil || frame.Id != id || !bytes.Equal(frame.GetSubmit().GetEnvelope(), raw) {
			t.Fatalf("ParseClient refuses or reads differently what ParseSubmit took: %v", err)
		}
	})
}

func FuzzParseNode(f *testing.F) {
	for _, frame := range nodeFrames() {
		b, err := MarshalNode(frame)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := ParseNode(b)
		if err != nil {
			return
		}
		again, err := MarshalNode(frame)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("read %x, wrote %x (%v)", b, again, err)
		}
	})
}

// FuzzParseEnvelope holds the short reader against the one of the envelope package.
func FuzzParseEnvelope(f *testing.F) {
	f.Add(testEnvelope(f, envelope.Live, 1024).Marshal())
	f.Add(testEnvelope(f, envelope.Week, 4096).Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		var short envelope.Envelope
		shortErr := ParseEnvelope(b, &short)
		long, longErr := envelope.Parse(b)
		if longErr == nil && (shortErr != nil || short.ID() != long.ID()) {
			t.Fatalf("refused or misread what envelope.Parse takes: %v", shortErr)
		}
		if shortErr == nil && longErr != nil {
			if _, err := identity.PeerIDFromBytes(short.Destination[:]); err == nil {
				t.Fatalf("took what envelope.Parse refuses: %v", longErr)
			}
		}
	})
}

func BenchmarkParseSubmitAndDeliver(b *testing.B) {
	e := testEnvelope(b, envelope.Live, 1024)
	frame := AppendSubmit(nil, 5, e.Marshal())
	out := make([]byte, 0, DeliverSize(0, false, 1024))
	id := e.ID()
	b.ReportAllocs()
	for b.Loop() {
		_, raw, _ := ParseSubmit(frame)
		var got envelope.Envelope
		if ParseEnvelope(raw, &got) != nil {
			b.Fatal("not read")
		}
		out = AppendDeliver(out[:0], 0, false, got.Hop[:2], got.Payload, id[:])
	}
}
