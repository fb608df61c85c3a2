package wire

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/trunkline-net/trunkline/federation/pb"
)

func fill(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }

// samples is one good frame of every kind beside the same frame in the schema's own type.
func samples() []struct {
	frame Frame
	pb    *pb.Frame
} {
	type sample = struct {
		frame Frame
		pb    *pb.Frame
	}
	hello := Hello{Versions: []uint32{1, 300}, Document: fill(700, 1), Nonce: fill(32, 2), From: fill(38, 3), To: fill(38, 4),
		WindowFrames: 256, WindowBytes: 4 << 20, Descriptor: fill(200, 5), ProbeKey: fill(32, 6)}
	return []sample{
		{Frame{Kind: KindHello, Hello: hello}, &pb.Frame{Kind: &pb.Frame_Hello{Hello: &pb.Hello{
			Versions: []uint32{1, 300}, Document: fill(700, 1), Nonce: fill(32, 2), From: fill(38, 3), To: fill(38, 4),
			WindowFrames: 256, WindowBytes: 4 << 20, Descriptor_: fill(200, 5), ProbeKey: fill(32, 6)}}}},
		{Frame{Kind: KindWelcome, Welcome: Welcome{Version: 1, Session: fill(16, 1), CreditFrames: 256, CreditBytes: 1 << 22, Nonce: fill(32, 2)}},
			&pb.Frame{Kind: &pb.Frame_Welcome{Welcome: &pb.Welcome{Version: 1, Session: fill(16, 1), CreditFrames: 256, CreditBytes: 1 << 22, Nonce: fill(32, 2)}}}},
		{Frame{Kind: KindRefuse, Code: CodePolicy, Millis: 300000}, &pb.Frame{Kind: &pb.Frame_Refuse{Refuse: &pb.Refuse{Code: "policy", RetryAfterMs: 300000}}}},
		{Frame{Kind: KindBatch, First: 9, Envelopes: [][]byte{fill(1200, 1), fill(4200, 2)}},
			&pb.Frame{Kind: &pb.Frame_Batch{Batch: &pb.Batch{First: 9, Envelopes: [][]byte{fill(1200, 1), fill(4200, 2)}}}}},
		{Frame{Kind: KindAck, Ack: Ack{Through: 40, Outcomes: []Outcome{{Fate: 1, Count: 38}, {Fate: 4, Code: "quota", Count: 1}, {Fate: 2, Count: 1}}, CreditFrames: 256, CreditBytes: 1 << 22}},
			&pb.Frame{Kind: &pb.Frame_Ack{Ack: &pb.Ack{Through: 40, Outcomes: []*pb.Outcome{{Fate: 1, Count: 38}, {Fate: 4, Code: "quota"}, {Fate: 2}}, CreditFrames: 256, CreditBytes: 1 << 22}}}},
		{Frame{Kind: KindPing, ID: 7}, &pb.Frame{Kind: &pb.Frame_Ping{Ping: &pb.Ping{Id: 7}}}},
		{Frame{Kind: KindPong, ID: 7}, &pb.Frame{Kind: &pb.Frame_Pong{Pong: &pb.Ping{Id: 7}}}},
		{Frame{Kind: KindQuery, ID: 3, Box: fill(QueryBox, 1)}, &pb.Frame{Kind: &pb.Frame_Query{Query: &pb.Query{Id: 3, Box: fill(QueryBox, 1)}}}},
		{Frame{Kind: KindAnswer, ID: 3, Box: fill(LookupBox, 1)}, &pb.Frame{Kind: &pb.Frame_Answer{Answer: &pb.Answer{Id: 3, Box: fill(LookupBox, 1)}}}},
		{Frame{Kind: KindAnswer, ID: 3, Code: CodeRate}, &pb.Frame{Kind: &pb.Frame_Answer{Answer: &pb.Answer{Id: 3, Code: "rate"}}}},
		{Frame{Kind: KindDrain, Millis: 2000}, &pb.Frame{Kind: &pb.Frame_Drain{Drain: &pb.Drain{BackAfterMs: 2000}}}},
		{Frame{Kind: KindBack}, &pb.Frame{Kind: &pb.Frame_Back{Back: &pb.Back{}}}},
		{Frame{Kind: KindEcho, ID: 5, Box: fill(1170, 1), Reply: true}, &pb.Frame{Kind: &pb.Frame_Echo{Echo: &pb.Echo{Id: 5, Envelope: fill(1170, 1), Reply: 1}}}},
		{Frame{Kind: KindOpen, Session: fill(16, 9)}, &pb.Frame{Kind: &pb.Frame_Open{Open: &pb.Open{Session: fill(16, 9)}}}},
	}
}

func TestFramesAreTheBytesOfTheSchema(t *testing.T) {
	for _, s := range samples() {
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(s.pb)
		if err != nil {
			t.Fatal(err)
		}
		got := Append(nil, &s.frame)
		n, m := protowire.ConsumeVarint(got)
		if int(n) != len(got)-m || !bytes.Equal(got[m:], want) {
			t.Errorf("kind %d: wrote %x, the schema says %x", s.frame.Kind, got, want)
		}
		var back Frame
		if err := Decode(want, &back); err != nil {
			t.Errorf("kind %d: %v", s.frame.Kind, err)
		} else if !reflect.DeepEqual(back, s.frame) {
			t.Errorf("kind %d: read %+v, want %+v", s.frame.Kind, back, s.frame)
		}
	}
}

func TestEveryTruncationAndEveryAddedByteIsRefused(t *testing.T) {
	for _, s := range samples() {
		b := Append(nil, &s.frame)
		_, m := protowire.ConsumeVarint(b)
		b = b[m:]
		var f Frame
		for i := range b {
			if err := Decode(b[:i], &f); !errors.Is(err, ErrMalformed) {
				t.Fatalf("kind %d cut to %d bytes: %v", s.frame.Kind, i, err)
			}
		}
		if err := Decode(append(bytes.Clone(b), 0), &f); !errors.Is(err, ErrMalformed) {
			t.Errorf("kind %d with a byte behind: %v", s.frame.Kind, err)
		}
	}
}

func TestOtherEncodingsOfTheSameAreRefused(t *testing.T) {
	frame := func(kind protowire.Number, body ...byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, kind, protowire.BytesType), body)
	}
	cases := map[string][]byte{
		"nothing":               {},
		"unknown kind":          frame(14, 0x08, 1),
		"two kinds":             append(frame(6, 0x08, 1), frame(7, 0x08, 1)...),
		"kind as a number":      {0x30, 1},
		"zero id":               frame(6, 0x08, 0),
		"no id":                 frame(6),
		"long varint":           frame(6, 0x08, 0x81, 0),
		"long tag":              frame(6, 0x88, 0, 1),
		"unknown field":         frame(6, 0x08, 1, 0x10, 1),
		"field twice":           frame(6, 0x08, 1, 0x08, 2),
		"descending fields":     frame(10, 0x10, 1, 0x08, 1),
		"group":                 frame(6, 0x0b, 0x0c),
		"fixed64":               frame(6, 0x09, 1, 0, 0, 0, 0, 0, 0, 0),
		"length past the end":   frame(4, 0x08, 1, 0x12, 9, 1),
		"empty envelope":        frame(4, 0x08, 1, 0x12, 0),
		"batch without number":  frame(4, 0x12, 1, 1),
		"batch without content": frame(4, 0x08, 1),
		"ack of nothing":        frame(5, 0x08, 1, 0x18, 1, 0x20, 0x80, 0x80, 8),
		"ack without credit":    frame(5, 0x08, 1, 0x12, 2, 0x08, 1),
		"run of one written":    frame(5, 0x08, 1, 0x12, 4, 0x08, 1, 0x18, 1, 0x18, 1, 0x20, 0x80, 0x80, 8),
		"code with a capital":   frame(3, 0x0a, 1, 'A'),
		"code too long":         frame(3, append([]byte{0x0a, 33}, fill(33, 'a')...)...),
		"echo reply 2":          frame(12, 0x08, 1, 0x12, 1, 1, 0x18, 2),
		"back with content":     frame(11, 0x08, 1),
		"answer with both":      frame(9, append(append([]byte{0x08, 1, 0x12, 0x80, 0x20}, fill(4096, 1)...), 0x1a, 1, 'a')...),
		"open of 15":            frame(13, append([]byte{0x0a, 15}, fill(15, 1)...)...),
	}
	for name, b := range cases {
		var f Frame
		if err := Decode(b, &f); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	many := Frame{Kind: KindBatch, First: 1}
	for range MaxBatch + 1 {
		many.Envelopes = append(many.Envelopes, []byte{1})
	}
	b := Append(nil, &many)
	_, m := protowire.ConsumeVarint(b)
	if err := Decode(b[m:], &Frame{}); !errors.Is(err, ErrMalformed) {
		t.Errorf("%d envelopes: %v", MaxBatch+1, err)
	}
}

func TestReaderTakesFramesHoweverTheyAreCut(t *testing.T) {
	var stream []byte
	for _, s := range samples() {
		stream = Append(stream, &s.frame)
	}
	for name, r := range map[string]io.Reader{
		"at once":     bytes.NewReader(stream),
		"byte a time": iotest.OneByteReader(bytes.NewReader(stream)),
		"halves":      iotest.HalfReader(bytes.NewReader(stream)),
	} {
		in := NewReader(r, MaxData)
		for i, s := range samples() {
			var f Frame
			if err := in.Next(&f); err != nil {
				t.Fatalf("%s: frame %d: %v", name, i, err)
			}
			if !bytes.Equal(Append(nil, &f), Append(nil, &s.frame)) {
				t.Fatalf("%s: frame %d changed", name, i)
			}
		}
		if err := in.Next(&Frame{}); err != io.EOF {
			t.Fatalf("%s: at the end: %v", name, err)
		}
	}
}

func TestReaderAllocatesByArrivalAndRefusesByLength(t *testing.T) {
	var huge [10]byte
	n := len(protowire.AppendVarint(huge[:0], MaxFirst+1))
	in := NewReader(bytes.NewReader(huge[:n]), MaxFirst)
	if err := in.Next(&Frame{}); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("length above the limit: %v", err)
	}
	// A mebibyte is announced and ten bytes come.
	announced := append(protowire.AppendVarint(nil, MaxData), fill(10, 1)...)
	in = NewReader(bytes.NewReader(announced), MaxData)
	if err := in.Next(&Frame{}); err != io.ErrUnexpectedEOF {
		t.Fatalf("truncated: %v", err)
	}
	if len(in.buf) > firstBuffer {
		t.Fatalf("%d bytes are held for 13 that came", len(in.buf))
	}
	for name, b := range map[string][]byte{
		"zero length":  {0},
		"long length":  {0x81, 0x00, 1},
		"endless":      {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"above 64 bit": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	} {
		if err := NewReader(bytes.NewReader(b), MaxData).Next(&Frame{}); err == nil || err == io.EOF {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := NewReader(neverReader{}, MaxData).Next(&Frame{}); err != io.ErrNoProgress {
		t.Errorf("a reader that returns nothing: %v", err)
	}
}

type neverReader struct{}

func (neverReader) Read([]byte) (int, error) { return 0, nil }

func TestCheckHello(t *testing.T) {
	self, remote := [38]byte(fill(38, 4)), [38]byte(fill(38, 3))
	good := func() Hello { return samples()[0].frame.Hello }
	for name, c := range map[string]struct {
		change func(*Hello)
		code   string
	}{
		"good":              {func(*Hello) {}, ""},
		"other version":     {func(h *Hello) { h.Versions = []uint32{2} }, CodeVersion},
		"no version":        {func(h *Hello) { h.Versions = nil }, CodeVersion},
		"from another":      {func(h *Hello) { h.From = fill(38, 9) }, CodeWrongPeer},
		"to another":        {func(h *Hello) { h.To = fill(38, 9) }, CodeWrongPeer},
		"no nonce":          {func(h *Hello) { h.Nonce = nil }, CodeBadHello},
		"no document":       {func(h *Hello) { h.Document = nil }, CodeBadHello},
		"no probe":          {func(h *Hello) { h.ProbeKey = nil }, CodeBadHello},
		"small window":      {func(h *Hello) { h.WindowBytes = MinWindowBytes - 1 }, CodeBadHello},
		"window of nothing": {func(h *Hello) { h.WindowFrames = 0 }, CodeBadHello},
	} {
		h := good()
		c.change(&h)
		if got := CheckHello(&h, self, remote); got != c.code {
			t.Errorf("%s: %q, want %q", name, got, c.code)
		}
	}
}

func TestCheckWelcome(t *testing.T) {
	offered := samples()[0].frame.Hello
	w := Welcome{Version: 1, Session: fill(16, 1), CreditFrames: 256, CreditBytes: 4 << 20, Nonce: fill(32, 8)}
	if !CheckWelcome(&w, fill(32, 8), nil, &offered) || !CheckWelcome(&w, fill(32, 8), fill(16, 1), &offered) {
		t.Error("a good one is refused")
	}
	if CheckWelcome(&w, fill(32, 9), nil, &offered) {
		t.Error("another nonce passes")
	}
	if CheckWelcome(&w, fill(32, 8), fill(16, 2), &offered) {
		t.Error("another session passes")
	}
	w.CreditFrames++
	if CheckWelcome(&w, fill(32, 8), nil, &offered) {
		t.Error("more credit than was offered passes")
	}
}

func TestNoncesAreGoodOnceAndBounded(t *testing.T) {
	var n Nonces
	now := time.Unix(1_800_000_000, 0)
	a, b := [38]byte(fill(38, 1)), [38]byte(fill(38, 2))
	if !n.Fresh(now, a, fill(32, 1)) || n.Fresh(now, a, fill(32, 1)) {
		t.Fatal("once and not twice")
	}
	if !n.Fresh(now, b, fill(32, 1)) {
		t.Fatal("another peer's nonce is its own")
	}
	if n.Fresh(now.Add(nonceAge+time.Second), a, fill(32, 1)) {
		t.Fatal("one rotation must not forget")
	}
	for i := range 3 * nonceMax {
		sum := sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(i >> 16)})
		n.Fresh(now, a, sum[:])
		if len(n.current) > nonceMax || len(n.former) > nonceMax {
			t.Fatalf("after %d: %d and %d", i, len(n.current), len(n.former))
		}
	}
}

func TestCheckCode(t *testing.T) {
	for code, want := range map[string]bool{"policy": true, "queue_full": true, "": false, "A": false, "a-b": false,
		"a b": false, strings.Repeat("a", MaxCode): true, strings.Repeat("a", MaxCode+1): false} {
		if CheckCode(code) != want {
			t.Errorf("%q: %v", code, !want)
		}
	}
}

func TestNumbersAtTheirEnds(t *testing.T) {
	for _, f := range []Frame{
		{Kind: KindPing, ID: 1 << 62}, {Kind: KindRefuse, Code: "a", Millis: 1 << 40},
	} {
		b := Append(nil, &f)
		_, m := protowire.ConsumeVarint(b)
		if err := Decode(b[m:], &Frame{}); err != nil {
			t.Errorf("%+v: %v", f, err)
		}
	}
	b := Append(nil, &Frame{Kind: KindPing, ID: math.MaxUint64})
	_, m := protowire.ConsumeVarint(b)
	if err := Decode(b[m:], &Frame{}); err == nil {
		t.Error("an id of 2^64-1 passes")
	}
}
