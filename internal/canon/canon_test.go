package canon

import (
	"bytes"
	"encoding/hex"
	"errors"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// sample is a message type with one field of each shape that matters:
//
//	message Sample {
//	  uint32 number = 1; bytes blob = 2; repeated bytes blobs = 3; repeated uint32 packed = 4;
//	  Sample child = 5; repeated Sample children = 6; string text = 7; bool flag = 8;
//	  fixed32 fixed = 9; double floating = 10; map<uint32, uint32> table = 11;
//	  oneof choice { Sample left = 12; uint64 right = 13; }
//	}
var sample = func() protoreflect.MessageDescriptor {
	type label = descriptorpb.FieldDescriptorProto_Label
	field := func(number int32, name string, t descriptorpb.FieldDescriptorProto_Type, l label) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{Name: &name, Number: &number, Type: &t, Label: &l}
	}
	one, many := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL, descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	of := func(f *descriptorpb.FieldDescriptorProto, name string) *descriptorpb.FieldDescriptorProto {
		f.TypeName = proto.String(name)
		return f
	}
	member := func(f *descriptorpb.FieldDescriptorProto) *descriptorpb.FieldDescriptorProto {
		f.OneofIndex = proto.Int32(0)
		return f
	}
	entry := &descriptorpb.DescriptorProto{
		Name: proto.String("TableEntry"),
		Field: []*descriptorpb.FieldDescriptorProto{
			field(1, "key", descriptorpb.FieldDescriptorProto_TYPE_UINT32, one),
			field(2, "value", descriptorpb.FieldDescriptorProto_TYPE_UINT32, one),
		},
		Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name:   proto.String("sample.proto"),
		Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: proto.String("Sample"),
			Field: []*descriptorpb.FieldDescriptorProto{
				field(1, "number", descriptorpb.FieldDescriptorProto_TYPE_UINT32, one),
				field(2, "blob", descriptorpb.FieldDescriptorProto_TYPE_BYTES, one),
				field(3, "blobs", descriptorpb.FieldDescriptorProto_TYPE_BYTES, many),
				field(4, "packed", descriptorpb.FieldDescriptorProto_TYPE_UINT32, many),
				of(field(5, "child", descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, one), ".Sample"),
				of(field(6, "children", descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, many), ".Sample"),
				field(7, "text", descriptorpb.FieldDescriptorProto_TYPE_STRING, one),
				field(8, "flag", descriptorpb.FieldDescriptorProto_TYPE_BOOL, one),
				field(9, "fixed", descriptorpb.FieldDescriptorProto_TYPE_FIXED32, one),
				field(10, "floating", descriptorpb.FieldDescriptorProto_TYPE_DOUBLE, one),
				of(field(11, "table", descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, many), ".Sample.TableEntry"),
				member(of(field(12, "left", descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, one), ".Sample")),
				member(field(13, "right", descriptorpb.FieldDescriptorProto_TYPE_UINT64, one)),
			},
			NestedType: []*descriptorpb.DescriptorProto{entry},
			OneofDecl:  []*descriptorpb.OneofDescriptorProto{{Name: proto.String("choice")}},
		}},
	}, nil)
	if err != nil {
		panic(err)
	}
	return file.Messages().Get(0)
}()

func newSample() *dynamicpb.Message { return dynamicpb.NewMessage(sample) }

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// accepted are canonical; the fuzz target starts from them and from the refused ones.
var accepted = map[string]string{
	"empty message":                 "",
	"scalars ascending":             "0801 1203616263 3a0161 4001",
	"repeated bytes":                "1a0161 1a0162",
	"empty element of a list":       "1a00 1a0161",
	"packed numbers, zero included": "2203 00 9601",
	"child":                         "2a02 0801",
	"children, one of them empty":   "3202 0801 3200",
	"empty member of a oneof":       "6200",
	"zero member of a oneof":        "6800",
	"largest uint32":                "08ffffffff0f",
}

var refused = map[string]string{
	"duplicate field":                     "0801 0802",
	"duplicate field, equal":              "0801 0801",
	"descending fields":                   "120161 0801",
	"list interrupted":                    "1a0161 2a020801 1a0162",
	"unknown field":                       "0801 7001",
	"unknown field in a child":            "2a02 7001",
	"unknown field in a child in a oneof": "6202 7001",
	"long varint":                         "088100",
	"long varint as tag":                  "880001",
	"long varint as length":               "12810061",
	"long varint in packed":               "2202 8100",
	"varint of eleven bytes":              "08ffffffffffffffffffff01",
	"varint cut off":                      "0880",
	"tag cut off":                         "80",
	"value missing":                       "08",
	"overrun":                             "120261",
	"overrun in a child":                  "2a02 1201",
	"length near 2^64":                    "12ffffffffffffffffff01",
	"group start":                         "0b 0c",
	"group of an unknown number":          "7b 7c",
	"explicit zero":                       "0800",
	"explicit empty bytes":                "1200",
	"explicit empty text":                 "3a00",
	"explicit false":                      "4000",
	"explicit empty child":                "2a00",
	"explicit empty packed":               "2200",
	"explicit zero in a child":            "2a02 0800",
	"wrong wire type":                     "0a0161",
	"number as bytes":                     "1001",
	"packed field written unpacked":       "2001",
	"fixed width":                         "4d01000000",
	"double":                              "510000000000000840",
	"map":                                 "5a04 08011001",
	"uint32 above 32 bits":                "08ffffffff1f",
	"bool of two":                         "4002",
	"text that is not UTF-8":              "3a01ff",
	"both members of a oneof":             "62020801 6801",
	"field number zero":                   "0001",
	"field number above the maximum":      "8080808010 01",
	"child in two pieces":                 "2a020801 2a03120161",
}

func TestCanonicalFormsSurviveTheRoundTrip(t *testing.T) {
	for name, text := range accepted {
		b := unhex(t, text)
		m := newSample()
		if err := Unmarshal(b, len(b), m); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := Marshal(m)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s: %x comes back as %x, %v", name, b, again, err)
		}
	}
}

func Test14_40_MalformedFieldsAreDropped(t *testing.T) {
	for name, text := range refused {
		b := unhex(t, text)
		m := newSample()
		m.Set(sample.Fields().ByNumber(1), protoreflect.ValueOfUint32(7))
		if err := Unmarshal(b, 1<<20, m); !errors.Is(err, ErrNotCanonical) {
			t.Errorf("%s: %v, want ErrNotCanonical", name, err)
		}
		if m.Has(sample.Fields().ByNumber(1)) || len(m.GetUnknown()) > 0 {
			t.Errorf("%s: the message is not empty after the error", name)
		}
	}
}

func Test14_41_HugeLengthAndNestingBombAreDroppedWithoutAllocation(t *testing.T) {
	bomb := []byte{}
	for range 10000 {
		// Each layer is a child that holds everything so far.
		layer := protowire.AppendTag(nil, 5, protowire.BytesType)
		layer = protowire.AppendVarint(layer, uint64(len(bomb)))
		bomb = append(layer, bomb...)
		if len(bomb) > 32<<10 {
			break
		}
	}
	inputs := map[string][]byte{
		"length of 10 MB without content":         protowire.AppendVarint([]byte{0x12}, 10<<20),
		"packed list of 10 MB without content":    protowire.AppendVarint([]byte{0x22}, 10<<20),
		"length of 2^63 without content":          protowire.AppendVarint([]byte{0x12}, 1<<63),
		"nesting bomb":                            bomb,
		"10 MB in fact, where 64 KiB are allowed": make([]byte, 10<<20),
	}
	for name, b := range inputs {
		var before, after runtime.MemStats
		m := newSample()
		runtime.ReadMemStats(&before)
		err := Unmarshal(b, 64<<10, m)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrNotCanonical) && !errors.Is(err, ErrTooLong) {
			t.Errorf("%s: %v", name, err)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<10 {
			t.Errorf("%s: %d bytes allocated", name, grown)
		}
	}
}

func TestDepthIsBounded(t *testing.T) {
	nested := func(levels int) []byte {
		b := []byte{0x08, 0x01}
		for range levels {
			b = append([]byte{0x2a, byte(len(b))}, b...)
		}
		return b
	}
	if err := Unmarshal(nested(maxDepth-1), 1000, newSample()); err != nil {
		t.Errorf("%d levels: %v", maxDepth, err)
	}
	if err := Unmarshal(nested(maxDepth), 1000, newSample()); !errors.Is(err, ErrNotCanonical) {
		t.Errorf("%d levels: %v", maxDepth+1, err)
	}
}

func TestLengthLimitIsExact(t *testing.T) {
	b := unhex(t, "1203616263")
	if err := Unmarshal(b, len(b), newSample()); err != nil {
		t.Error(err)
	}
	if err := Unmarshal(b, len(b)-1, newSample()); !errors.Is(err, ErrTooLong) {
		t.Errorf("one byte over: %v", err)
	}
}

func TestMarshalRefusesWhatHasNoCanonicalForm(t *testing.T) {
	unknown := newSample()
	unknown.SetUnknown(unhex(t, "7001"))
	float := newSample()
	float.Set(sample.Fields().ByNumber(10), protoreflect.ValueOfFloat64(1))
	emptyChild := newSample()
	emptyChild.Mutable(sample.Fields().ByNumber(5))
	for name, m := range map[string]*dynamicpb.Message{"unknown field": unknown, "float": float, "empty child": emptyChild} {
		if b, err := Marshal(m); err == nil {
			t.Errorf("%s: written as %x", name, b)
		}
	}
}

func TestUnmarshalKeepsNothingOfTheInput(t *testing.T) {
	b := unhex(t, "1203616263")
	m := newSample()
	if err := Unmarshal(b, 100, m); err != nil {
		t.Fatal(err)
	}
	clear(b)
	if got := m.Get(sample.Fields().ByNumber(2)).Bytes(); string(got) != "abc" {
		t.Errorf("%q after the input was overwritten", got)
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, text := range accepted {
		f.Add(unhex(f, text))
	}
	for _, text := range refused {
		f.Add(unhex(f, text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newSample()
		if err := Unmarshal(b, 4096, m); err != nil {
			return
		}
		again, err := Marshal(m)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x was read and is written as %x, %v", b, again, err)
		}
	})
}
