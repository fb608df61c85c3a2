package wire

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/trunkline-net/trunkline/federation/pb"
)

// FuzzDecode holds three things: what is accepted is written back byte for byte; the schema's
// own decoder accepts it too and means the same; and nothing else happens to the rest.
func FuzzDecode(f *testing.F) {
	for _, s := range samples() {
		b := Append(nil, &s.frame)
		_, m := protowire.ConsumeVarint(b)
		f.Add(b[m:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var in Frame
		if Decode(b, &in) != nil {
			return
		}
		out := Append(nil, &in)
		_, m := protowire.ConsumeVarint(out)
		if !bytes.Equal(out[m:], b) {
			t.Fatalf("read %x, wrote %x", b, out[m:])
		}
		var schema pb.Frame
		if err := proto.Unmarshal(b, &schema); err != nil {
			t.Fatalf("the schema's decoder refuses %x: %v", b, err)
		}
		again, err := proto.MarshalOptions{Deterministic: true}.Marshal(&schema)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("the schema writes %x for %x (%v)", again, b, err)
		}
	})
}

// FuzzReader holds that a stream of anything ends in an error with a bounded buffer.
func FuzzReader(f *testing.F) {
	var all []byte
	for _, s := range samples() {
		if b := Append(nil, &s.frame); len(b) < 256 { // large seeds only keep the minimizer busy
			all = append(all, b...)
		}
	}
	f.Add(all, uint16(MaxFirst))
	f.Add([]byte{0xff, 0xff, 0x3f, 1}, uint16(100))
	f.Add([]byte{0x05, 0x32, 0x03, 0x08}, uint16(16))
	f.Fuzz(func(t *testing.T, b []byte, max uint16) {
		r := NewReader(bytes.NewReader(b), int(max))
		var in Frame
		for range len(b) + 1 {
			if err := r.Next(&in); err != nil {
				if len(r.buf) > 2*len(b)+firstBuffer {
					t.Fatalf("%d bytes are held for %d that came", len(r.buf), len(b))
				}
				return
			}
		}
		t.Fatal("more frames than bytes")
	})
}
