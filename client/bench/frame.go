package bench

import (
	"errors"
	"io"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// Frame is what the driver needs of a node's frame: a receipt, a delivery, a refusal, or
// nothing of these. It is read without allocating, because the driver shares its processors
// with the node that it measures.
type Frame struct {
	Request uint64 // of a receipt or a refusal
	Class   pb.ReceiptClass
	Code    string // of a refusal
	ID      envelope.ID
	Payload []byte // of a delivery; nil otherwise
}

var errFrame = errors.New("a frame of the node does not parse")

// Field numbers of link.proto.
const (
	fieldRequest = 1
	fieldReceipt = 6
	fieldDeliver = 7
	fieldError   = 13
)

func (f *Frame) parse(b []byte) error {
	*f = Frame{}
	return fields(b, func(num protowire.Number, v uint64, body []byte) error {
		switch num {
		case fieldRequest:
			f.Request = v
		case fieldReceipt:
			return fields(body, func(num protowire.Number, v uint64, body []byte) error {
				switch num {
				case 1:
					copy(f.ID[:], body)
				case 2:
					f.Class = pb.ReceiptClass(v)
				case 4:
					f.Code = string(body)
				}
				return nil
			})
		case fieldDeliver:
			return fields(body, func(num protowire.Number, _ uint64, body []byte) error {
				switch num {
				case 4:
					f.Payload = body
				case 5:
					copy(f.ID[:], body)
				}
				return nil
			})
		case fieldError:
			full, err := link.ParseNode(b)
			if err != nil {
				return err
			}
			f.Class, f.Code = pb.ReceiptClass_RECEIPT_REFUSED, full.GetError().GetCode()
		}
		return nil
	})
}

func fields(b []byte, got func(protowire.Number, uint64, []byte) error) error {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errFrame
		}
		b = b[n:]
		var v uint64
		var body []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			body, n = protowire.ConsumeBytes(b)
		default:
			n = -1
		}
		if n < 0 {
			return errFrame
		}
		b = b[n:]
		if err := got(num, v, body); err != nil {
			return err
		}
	}
	return nil
}

// readAll reads to the end into b from its start.
func readAll(r io.Reader, b []byte) ([]byte, error) {
	b = b[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}
