package link

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// ParseClient reads one message of a client. The frame does not alias b.
func ParseClient(b []byte) (*pb.ClientFrame, error) {
	f := new(pb.ClientFrame)
	if err := parse(b, clientShape, f); err != nil {
		return nil, fmt.Errorf("client frame: %w", err)
	}
	if f.Kind == nil {
		return nil, fmt.Errorf("client frame: %w", errShape)
	}
	return f, nil
}

// ParseNode reads one message of a node. The frame does not alias b.
func ParseNode(b []byte) (*pb.NodeFrame, error) {
	f := new(pb.NodeFrame)
	if err := parse(b, nodeShape, f); err != nil {
		return nil, fmt.Errorf("node frame: %w", err)
	}
	if f.Kind == nil {
		return nil, fmt.Errorf("node frame: %w", errShape)
	}
	return f, nil
}

func parse(b []byte, s shape, m proto.Message) error {
	if len(b) > MaxFrame {
		return errTooLarge
	}
	if err := s.check(b); err != nil {
		return err
	}
	// A frame has at most one kind: the shape lets kinds stand after each other in
	// ascending order, and the decoder would silently keep the last.
	if kinds(b) > 1 {
		return errShape
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return errShape // strings that are not UTF-8
	}
	return nil
}

// kinds counts the fields above 1 of a frame that passed its shape.
func kinds(b []byte) int { return kindsFrom(b, 2) }

func kindsFrom(b []byte, first protowire.Number) int {
	n := 0
	for len(b) > 0 {
		num, wire, t := protowire.ConsumeTag(b)
		v := protowire.ConsumeFieldValue(num, wire, b[t:])
		b = b[t+v:]
		if num >= first {
			n++
		}
	}
	return n
}

// MarshalClient writes a client's message.
func MarshalClient(f *pb.ClientFrame) ([]byte, error) { return marshal(f, clientShape) }

// MarshalNode writes a node's message.
func MarshalNode(f *pb.NodeFrame) ([]byte, error) { return marshal(f, nodeShape) }

// marshal refuses to write what the other side would refuse to read, so that a frame over
// a limit fails where it is made.
func marshal(m proto.Message, s shape) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write frame: %w", err)
	}
	if len(b) > MaxFrame {
		return nil, fmt.Errorf("write frame: %w", errTooLarge)
	}
	if err := s.check(b); err != nil {
		return nil, fmt.Errorf("write frame: %w", err)
	}
	return b, nil
}

// Field numbers of the frames on the routing path, from link.proto.
const (
	fieldID      = 1
	fieldSubmit  = 5 // ClientFrame
	fieldReceipt = 6 // NodeFrame
	fieldDeliver = 7 // NodeFrame
)

// ParseSubmit reads a Submit frame without allocating; envelope aliases b. ok is false
// for every other frame, well-formed or not: give those to ParseClient.
func ParseSubmit(b []byte) (id uint64, envelope []byte, ok bool) {
	if len(b) > MaxFrame {
		return 0, nil, false
	}
	if tag, n := varint(b); n > 0 && tag == fieldID<<3 {
		b = b[n:]
		if id, n = varint(b); n == 0 || id == 0 {
			return 0, nil, false
		}
		b = b[n:]
	}
	body, rest, ok := lengthDelimited(b, fieldSubmit)
	if !ok || len(rest) != 0 {
		return 0, nil, false
	}
	envelope, rest, ok = lengthDelimited(body, 1)
	if !ok || len(rest) != 0 || len(envelope) == 0 || len(envelope) > maxEnvelope {
		return 0, nil, false
	}
	return id, envelope, true
}

func lengthDelimited(b []byte, want uint64) (body, rest []byte, ok bool) {
	tag, n := varint(b)
	if n == 0 || tag != want<<3|uint64(protowire.BytesType) {
		return nil, nil, false
	}
	b = b[n:]
	size, n := varint(b)
	if n == 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(size)], b[n+int(size):], true
}

// AppendSubmit appends a Submit frame to dst.
func AppendSubmit(dst []byte, id uint64, envelope []byte) []byte {
	dst = appendNumber(dst, fieldID, id)
	dst = protowire.AppendTag(dst, fieldSubmit, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(protowire.SizeTag(1)+protowire.SizeBytes(len(envelope))))
	return appendOctets(dst, 1, envelope)
}

// AppendDeliver appends a Deliver frame to dst.
func AppendDeliver(dst []byte, stored uint64, knock bool, hint, payload, envelopeID []byte) []byte {
	size := sizeNumber(1, stored) + sizeFlag(knock) + sizeOctets(hint) + sizeOctets(payload) + sizeOctets(envelopeID)
	dst = protowire.AppendTag(dst, fieldDeliver, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = appendNumber(dst, 1, stored)
	if knock {
		dst = appendNumber(dst, 2, 1)
	}
	dst = appendOctets(dst, 3, hint)
	dst = appendOctets(dst, 4, payload)
	return appendOctets(dst, 5, envelopeID)
}

// DeliverSize is what AppendDeliver appends with a hint and an envelope id.
func DeliverSize(stored uint64, knock bool, payload int) int {
	const hint, id = 1 + 1 + 2, 1 + 1 + 16
	size := sizeNumber(1, stored) + sizeFlag(knock) + hint + id
	if payload > 0 {
		size += 1 + protowire.SizeBytes(payload)
	}
	return protowire.SizeTag(fieldDeliver) + protowire.SizeBytes(size)
}

// AppendReceipt appends a Receipt frame to dst.
func AppendReceipt(dst []byte, id uint64, envelopeID []byte, class pb.ReceiptClass, durable bool, code string, retryMS uint64) []byte {
	size := receiptBody(len(envelopeID), class, durable, code, retryMS)
	dst = appendNumber(dst, fieldID, id)
	dst = protowire.AppendTag(dst, fieldReceipt, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = appendOctets(dst, 1, envelopeID)
	dst = appendNumber(dst, 2, uint64(class))
	if durable {
		dst = appendNumber(dst, 3, 1)
	}
	if code != "" {
		dst = protowire.AppendTag(dst, 4, protowire.BytesType)
		dst = protowire.AppendString(dst, code)
	}
	return appendNumber(dst, 5, retryMS)
}

// ReceiptSize is what AppendReceipt appends with an envelope id.
func ReceiptSize(id uint64, class pb.ReceiptClass, durable bool, code string, retryMS uint64) int {
	return sizeNumber(fieldID, id) + protowire.SizeTag(fieldReceipt) + protowire.SizeBytes(receiptBody(16, class, durable, code, retryMS))
}

func receiptBody(envelopeID int, class pb.ReceiptClass, durable bool, code string, retryMS uint64) int {
	size := sizeNumber(2, uint64(class)) + sizeFlag(durable) + sizeNumber(5, retryMS)
	if envelopeID > 0 {
		size += 1 + protowire.SizeBytes(envelopeID)
	}
	if code != "" {
		size += protowire.SizeTag(4) + protowire.SizeBytes(len(code))
	}
	return size
}

func appendNumber(dst []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, num, protowire.VarintType)
	return protowire.AppendVarint(dst, v)
}

func appendOctets(dst []byte, num protowire.Number, b []byte) []byte {
	if len(b) == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	return protowire.AppendBytes(dst, b)
}

func sizeNumber(num protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeVarint(v)
}

func sizeFlag(set bool) int {
	if set {
		return 2
	}
	return 0
}

func sizeOctets(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	return 1 + protowire.SizeBytes(len(b))
}
