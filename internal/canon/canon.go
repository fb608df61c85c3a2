// Package canon reads and writes canonical protobuf: the one byte string that stands for
// a message which is signed, hashed or decrypted (docs/spec/identity.md, "Canonical form").
//
// Call Marshal to write such an object and Unmarshal to read one. Unmarshal promises that
// two different inputs never give the same message: it refuses everything that Marshal
// would not have written. It never allocates for a length that the input does not hold.
package canon

import (
	"bytes"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

var (
	// ErrTooLong says that the input is longer than the object may be.
	ErrTooLong = errors.New("longer than the object may be")
	// ErrNotCanonical says that the input is not what Marshal would write.
	ErrNotCanonical = errors.New("not canonical")
)

// maxDepth bounds nesting. The deepest object of version 1 has three levels; the bound
// stops a nesting bomb before any decoder recurses into it.
const maxDepth = 8

// Unmarshal reads the canonical object b of at most max bytes into m. It looks at the
// length first, then walks the bytes without allocating, and only then decodes. After an
// error m is empty. m does not keep b.
func Unmarshal(b []byte, max int, m proto.Message) error {
	proto.Reset(m)
	if len(b) > max {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, len(b), max)
	}
	if err := walk(b, m.ProtoReflect().Descriptor(), maxDepth); err != nil {
		return err
	}
	if err := (proto.UnmarshalOptions{RecursionLimit: maxDepth + 1}).Unmarshal(b, m); err != nil {
		proto.Reset(m)
		// The decoder's own text may quote the input; it is not passed on.
		return fmt.Errorf("%w: does not decode", ErrNotCanonical)
	}
	// The walk cannot see everything: a bool of 2, a uint32 above 32 bits, two members of
	// a oneof. Encoding again and comparing sees the rest.
	again, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil || !bytes.Equal(again, b) {
		proto.Reset(m)
		return fmt.Errorf("%w: encodes to other bytes", ErrNotCanonical)
	}
	return nil
}

// Marshal writes m canonically. It is the only writer of canonical objects, and fails for
// a message that has no canonical form (unknown fields, maps, floats, groups, present but
// empty parts).
func Marshal(m proto.Message) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	// What we write, we can read: the same walk guards both directions.
	if err := walk(b, m.ProtoReflect().Descriptor(), maxDepth); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return b, nil
}

// walk checks one message: fields known and ascending, each once unless it is repeated,
// only varints and length-delimited values, varints minimal, nothing present that is zero
// or empty. Unknown fields are refused here, at every level, because the decoder would
// keep them and write them back.
func walk(b []byte, md protoreflect.MessageDescriptor, depth int) error {
	if depth == 0 {
		return fmt.Errorf("%w: nested too deep", ErrNotCanonical)
	}
	var last protowire.Number
	for len(b) > 0 {
		tag, n := varint(b)
		if n == 0 {
			return fmt.Errorf("%w: tag", ErrNotCanonical)
		}
		b = b[n:]
		if tag>>3 == 0 || tag>>3 > uint64(protowire.MaxValidNumber) {
			return fmt.Errorf("%w: field number", ErrNotCanonical)
		}
		number, kind := protowire.Number(tag>>3), protowire.Type(tag&7)
		fd := md.Fields().ByNumber(number)
		if fd == nil {
			return fmt.Errorf("%w: unknown field %d", ErrNotCanonical, number)
		}
		repeats := fd.IsList() && !fd.IsPacked()
		if number < last || number == last && !repeats {
			return fmt.Errorf("%w: field %d again or out of order", ErrNotCanonical, number)
		}
		last = number
		if kind != wireType(fd) {
			return fmt.Errorf("%w: field %d has wire type %d", ErrNotCanonical, number, kind)
		}
		value, n := varint(b)
		if n == 0 {
			return fmt.Errorf("%w: field %d", ErrNotCanonical, number)
		}
		b = b[n:]
		// Zero means absent, except for an element of a list, and for a member of a oneof,
		// whose presence is itself the information.
		if value == 0 && !repeats && fd.ContainingOneof() == nil {
			return fmt.Errorf("%w: field %d is present and empty", ErrNotCanonical, number)
		}
		if kind == protowire.VarintType {
			continue
		}
		if value > uint64(len(b)) {
			return fmt.Errorf("%w: field %d overruns", ErrNotCanonical, number)
		}
		content := b[:value]
		b = b[value:]
		switch {
		case fd.IsPacked():
			for len(content) > 0 {
				_, n := varint(content)
				if n == 0 {
					return fmt.Errorf("%w: field %d", ErrNotCanonical, number)
				}
				content = content[n:]
			}
		case fd.Kind() == protoreflect.MessageKind:
			if err := walk(content, fd.Message(), depth-1); err != nil {
				return err
			}
		}
	}
	return nil
}

// wireType is the wire type that fd must have, or -1 for a kind that the profile has no
// room for (groups, floats, fixed width, maps).
func wireType(fd protoreflect.FieldDescriptor) protowire.Type {
	if fd.IsMap() {
		return -1
	}
	switch fd.Kind() {
	case protoreflect.BoolKind, protoreflect.EnumKind,
		protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Sint32Kind, protoreflect.Sint64Kind,
		protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		if fd.IsPacked() {
			return protowire.BytesType
		}
		return protowire.VarintType
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	}
	return -1
}

// varint reads one minimal varint and returns its value and length, or length 0.
func varint(b []byte) (uint64, int) {
	v, n := protowire.ConsumeVarint(b)
	if n < 0 || n != protowire.SizeVarint(v) {
		return 0, 0
	}
	return v, n
}
