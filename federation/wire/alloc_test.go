//go:build !race

package wire

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// A node reads and writes a batch and its acknowledgement for every few envelopes: none of
// the four may allocate once its buffers have grown.
func TestBatchAndAckDoNotAllocate(t *testing.T) {
	batch := Frame{Kind: KindBatch, First: 1}
	for range 64 {
		batch.Envelopes = append(batch.Envelopes, fill(1170, 1))
	}
	ack := Frame{Kind: KindAck, Ack: Ack{Through: 64, Outcomes: []Outcome{{Fate: 1, Count: 60}, {Fate: 2, Count: 4}},
		CreditFrames: 256, CreditBytes: 4 << 20}}
	for _, f := range []*Frame{&batch, &ack} {
		out := Append(nil, f)
		if n := testing.AllocsPerRun(100, func() { out = Append(out[:0], f) }); n != 0 {
			t.Errorf("kind %d: %v allocations to write", f.Kind, n)
		}
		_, m := protowire.ConsumeVarint(out)
		var in Frame
		if err := Decode(out[m:], &in); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() {
			if err := Decode(out[m:], &in); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("kind %d: %v allocations to decode", f.Kind, n)
		}
		src := bytes.NewReader(out)
		r := NewReader(src, MaxData)
		if err := r.Next(&in); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() {
			src.Reset(out)
			if err := r.Next(&in); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("kind %d: %v allocations to read", f.Kind, n)
		}
	}
}
