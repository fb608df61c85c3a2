package bench

import (
	"bytes"
	"context"
	"testing"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

var someID = envelope.ID(bytes.Repeat([]byte{7}, 16))

func TestFrameReadsWhatNodesWrite(t *testing.T) {
	payload := bytes.Repeat([]byte{9}, 1024)
	refusal, err := link.MarshalNode(&pb.NodeFrame{Id: 5, Kind: &pb.NodeFrame_Error{Error: &pb.Error{Code: link.CodeRate, RetryAfterMs: 70}}})
	if err != nil {
		t.Fatal(err)
	}
	pong, err := link.MarshalNode(&pb.NodeFrame{Id: 6, Kind: &pb.NodeFrame_Pong{Pong: &pb.Ping{Nonce: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		raw  []byte
		want Frame
	}{
		"receipt":  {link.AppendReceipt(nil, 3, someID[:], pb.ReceiptClass_RECEIPT_DELIVERED, false, "", 0), Frame{Request: 3, Class: pb.ReceiptClass_RECEIPT_DELIVERED, ID: someID}},
		"refusal":  {link.AppendReceipt(nil, 4, someID[:], pb.ReceiptClass_RECEIPT_REFUSED, false, link.CodeQueueFull, 9), Frame{Request: 4, Class: pb.ReceiptClass_RECEIPT_REFUSED, Code: link.CodeQueueFull, ID: someID}},
		"delivery": {link.AppendDeliver(nil, 0, false, []byte{0, 0}, payload, someID[:]), Frame{ID: someID, Payload: payload}},
		"error":    {refusal, Frame{Request: 5, Class: pb.ReceiptClass_RECEIPT_REFUSED, Code: link.CodeRate}},
		"another":  {pong, Frame{Request: 6}},
	} {
		var got Frame
		if err := got.parse(c.raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got.Request != c.want.Request || got.Class != c.want.Class || got.Code != c.want.Code || got.ID != c.want.ID || !bytes.Equal(got.Payload, c.want.Payload) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		if err := got.parse(c.raw[:len(c.raw)-1]); err == nil {
			t.Errorf("%s: read although it is cut off", name)
		}
	}
}

// FuzzFrame: what the node's own parser takes, this one reads alike; on anything else it may
// say what it wants, but it ends.
func FuzzFrame(f *testing.F) {
	f.Add(link.AppendReceipt(nil, 3, someID[:], pb.ReceiptClass_RECEIPT_DELIVERED, false, "", 0))
	f.Add(link.AppendDeliver(nil, 1, true, []byte{1, 2}, make([]byte, 64), someID[:]))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got Frame
		err := got.parse(b)
		full, strict := link.ParseNode(b)
		if strict != nil {
			return
		}
		if err != nil || got.Request != full.Id || !bytes.Equal(got.Payload, full.GetDeliver().GetPayload()) {
			t.Fatalf("%+v, %v; it is %v", got, err, full)
		}
		if r := full.GetReceipt(); r != nil && (got.Class != r.Class || got.Code != r.Code || len(r.EnvelopeId) != 0 && !bytes.Equal(got.ID[:], r.EnvelopeId)) {
			t.Fatalf("%+v; it is %v", got, full)
		}
	})
}

// pairWith is a pair without connections, whose first end has one envelope on its way.
func pairWith(t *testing.T) (tr *Traffic, from, to *end, f *Frame) {
	t.Helper()
	tr = &Traffic{window: 1}
	for i := range 2 {
		tr.ends = append(tr.ends, &end{t: tr, index: uint32(i), flight: map[uint64]*flying{}})
	}
	from, to = tr.ends[0], tr.ends[1]
	from.partner, to.partner = to, from
	from.fresh(1024)
	tr.stopped.Store(true) // a receipt makes no next one
	from.flight[0] = &flying{id: someID}
	from.next = 1
	tr.sent.Add(1)
	return tr, from, to, &Frame{ID: someID, Payload: from.payload(0)}
}

// What the checker does not see, the benchmark would call a success.
func TestTrafficSeesWhatGoesWrong(t *testing.T) {
	receipt := func(id envelope.ID, request uint64) *Frame {
		return &Frame{Request: request, Class: pb.ReceiptClass_RECEIPT_DELIVERED, ID: id}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel() // what has not arrived by now is lost
	for name, c := range map[string]struct {
		happens func(t *testing.T, from, to *end, f *Frame)
		want    Counts
	}{
		"all is well": {func(t *testing.T, from, to *end, f *Frame) {
			if err := to.got(f); err != nil {
				t.Error(err)
			}
			if err := from.got(receipt(someID, 1)); err != nil {
				t.Error(err)
			}
		}, Counts{Sent: 1, Delivered: 1, Receipts: 1}},
		"the receipt is first": {func(t *testing.T, from, to *end, f *Frame) {
			if err := from.got(receipt(someID, 1)); err != nil {
				t.Error(err)
			}
			if err := to.got(f); err != nil {
				t.Error(err)
			}
		}, Counts{Sent: 1, Delivered: 1, Receipts: 1}},
		"nothing happens":  {func(*testing.T, *end, *end, *Frame) {}, Counts{Sent: 1, Lost: 1}},
		"no receipt":       {func(_ *testing.T, _, to *end, f *Frame) { _ = to.got(f) }, Counts{Sent: 1, Delivered: 1, Lost: 1}},
		"only the receipt": {func(_ *testing.T, from, _ *end, _ *Frame) { _ = from.got(receipt(someID, 1)) }, Counts{Sent: 1, Receipts: 1, Lost: 1}},
		"twice": {func(_ *testing.T, _, to *end, f *Frame) {
			_, _ = to.got(f), to.got(f)
		}, Counts{Sent: 1, Delivered: 2, Doubled: 1, Lost: 1}},
		"twice, late": {func(_ *testing.T, from, to *end, f *Frame) {
			_, _, _ = to.got(f), from.got(receipt(someID, 1)), to.got(f)
		}, Counts{Sent: 1, Delivered: 2, Receipts: 1, Doubled: 1}},
		"to its sender": {func(_ *testing.T, from, _ *end, f *Frame) { _ = from.got(f) }, Counts{Sent: 1, Delivered: 1, Misdelivered: 1, Lost: 1}},
		"under another id": {func(_ *testing.T, _, to *end, f *Frame) {
			f.ID[0]++
			_ = to.got(f)
		}, Counts{Sent: 1, Delivered: 1, Misdelivered: 1, Lost: 1}},
		"with other content": {func(_ *testing.T, _, to *end, f *Frame) {
			f.Payload[1000]++
			_ = to.got(f)
		}, Counts{Sent: 1, Delivered: 1, Misdelivered: 1, Lost: 1}},
		"never sent": {func(_ *testing.T, from, to *end, f *Frame) {
			f.Payload = from.payload(5)
			_ = to.got(f)
		}, Counts{Sent: 1, Delivered: 1, Misdelivered: 1, Lost: 1}},
		"a receipt for another": {func(t *testing.T, from, _ *end, _ *Frame) {
			if from.got(receipt(envelope.ID{1}, 1)) == nil || from.got(receipt(someID, 9)) == nil {
				t.Error("taken")
			}
		}, Counts{Sent: 1, Lost: 1}},
		"a refusal that is final": {func(t *testing.T, from, _ *end, _ *Frame) {
			if from.got(&Frame{Request: 1, Class: pb.ReceiptClass_RECEIPT_REFUSED, Code: link.CodePolicy}) == nil {
				t.Error("taken")
			}
		}, Counts{Sent: 1, Refused: 1, Lost: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			tr, from, to, f := pairWith(t)
			c.happens(t, from, to, f)
			got, err := tr.Stop(over)
			if err != nil || got != c.want {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
			if clean := c.want.Lost+c.want.Doubled+c.want.Misdelivered == 0 && c.want.Sent == c.want.Receipts; got.Clean() != clean {
				t.Errorf("clean: %v", got.Clean())
			}
		})
	}
}

func TestTheBareRelayPassesEveryMessageOn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- ServeRelay(ctx, func(a string) error { address <- a; return nil })
	}()
	e, err := NewEcho(ctx, <-address, 0, 4, 3, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(1200); err != nil {
		t.Fatal(err)
	}
	got, err := e.Stop(t.Context())
	if err != nil || got.Sent < 4*3 || got.Receipts != got.Sent || got.Delivered != 2*got.Sent || got.Lost != 0 || got.Misdelivered != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	e.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
