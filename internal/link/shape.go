package link

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// A shape says which fields a message may have and how large each may be. It is walked
// over the received bytes before any decoder runs: it refuses unknown fields, fields out
// of order or repeated, long varints and explicit zeros, and everything over a limit, and
// it allocates nothing. What passes has exactly one encoding, so signatures and hashes
// over parts of a frame mean the same to both sides.
type shape []field

type field struct {
	num  protowire.Number
	kind kind
	max  int   // bytes: largest length; number: largest value if not 0
	min  int   // bytes: smallest length when present
	many int   // repeated: how many at most; 0 means once
	top  int   // packed: largest value of one if not 0
	sub  shape // message
}

type kind uint8

const (
	number  kind = iota // varint, never zero when present
	packed              // packed varints, zero allowed inside
	octets              // bytes or string, never empty when present
	message             // length-delimited message, may be empty
)

var (
	errShape    = errors.New("not a canonical frame")
	errTooLarge = errors.New("frame over its size limit")
)

func (s shape) check(b []byte) error {
	last, count := protowire.Number(0), 0
	for len(b) > 0 {
		tag, n := varint(b)
		if n == 0 || tag>>3 == 0 || tag>>3 > uint64(protowire.MaxValidNumber) {
			return errShape
		}
		b = b[n:]
		num, wire := protowire.Number(tag>>3), protowire.Type(tag&7)
		f := s.find(num)
		if f == nil || num < last {
			return errShape
		}
		if num == last {
			count++
		} else {
			last, count = num, 1
		}
		if count > max(f.many, 1) {
			return errShape
		}
		if f.kind == number {
			v, n := varint(b)
			if wire != protowire.VarintType || n == 0 || v == 0 || f.max > 0 && v > uint64(f.max) {
				return errShape
			}
			b = b[n:]
			continue
		}
		size, n := varint(b)
		if wire != protowire.BytesType || n == 0 || size > uint64(len(b)-n) {
			return errShape
		}
		body := b[n : n+int(size)]
		b = b[n+int(size):]
		if err := f.checkBody(body); err != nil {
			return err
		}
	}
	return nil
}

func (f *field) checkBody(body []byte) error {
	switch f.kind {
	case packed:
		if len(body) == 0 {
			return errShape
		}
		for i := 0; len(body) > 0; i++ {
			v, n := varint(body)
			if n == 0 || i >= f.max || f.top > 0 && v > uint64(f.top) {
				return errShape
			}
			body = body[n:]
		}
	case octets:
		// An element of a repeated field may be empty in protobuf; none of ours may.
		if len(body) == 0 || len(body) < f.min {
			return errShape
		}
		if len(body) > f.max {
			return errTooLarge
		}
	case message:
		return f.sub.check(body)
	}
	return nil
}

func (s shape) find(num protowire.Number) *field {
	for i := range s {
		if s[i].num == num {
			return &s[i]
		}
	}
	return nil
}

// varint reads one minimally encoded varint; n is 0 when there is none.
func varint(b []byte) (v uint64, n int) {
	v, n = protowire.ConsumeVarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 {
		return 0, 0
	}
	return v, n
}

// exact is a bytes field of one size.
func exact(num protowire.Number, size int) field {
	return field{num: num, kind: octets, min: size, max: size}
}

func upTo(num protowire.Number, size int) field {
	return field{num: num, kind: octets, max: size}
}

func num(n protowire.Number) field { return field{num: n, kind: number} }

// num32 is for uint32 fields: a decoder cuts what is wider, and the frame would have two forms.
func num32(n protowire.Number) field { return field{num: n, kind: number, max: 1<<32 - 1} }

func sub(n protowire.Number, s shape) field { return field{num: n, kind: message, sub: s} }

// Sizes of the signed objects, from identity.proto and envelope.proto.
const (
	sizePeerID     = 38
	maxCert        = 256
	maxList        = 4096
	maxBundle      = 2048
	maxDescriptor  = 512
	maxDocument    = 6144
	maxHost        = 260 // a DNS name, a colon and a port
	maxDomain      = 253
	maxInvitation  = 128
	maxEnvelope    = 65536 + 256
	sizeQueryBox   = 560
	maxAnswerBox   = 16384
	maxCode        = 32
	maxTurnURL     = 300
	maxCredential  = 256
	maxPayload     = 65536
	maxDrainReason = 64
	maxRoomPayload = 16384
	maxRoomCommand = 8192
	maxLegSDP      = 65536 // sound and picture of 49 others, as the Go client describes them
	maxMid         = 16
)

var pingShape = shape{num(1)}

var challengeShape = shape{
	num32(1), exact(2, sizePeerID), upTo(3, maxDomain), exact(4, 32), num(5), upTo(6, maxDescriptor), exact(7, 64),
}

var clientShape = shape{
	num(1),
	sub(2, shape{upTo(1, maxCert), exact(2, 64), upTo(3, maxHost)}),
	sub(3, shape{upTo(1, maxList), {num: 2, kind: octets, max: maxBundle, many: MaxBundles}, upTo(3, maxInvitation)}),
	sub(4, shape{exact(1, 16), exact(2, 32), exact(3, 32), num(4), num(5)}),
	sub(5, shape{upTo(1, maxEnvelope)}),
	sub(6, shape{{num: 1, kind: packed, max: MaxAcks}}),
	sub(7, shape{exact(1, sizePeerID), exact(2, sizeQueryBox)}),
	sub(8, shape{upTo(1, maxDomain)}),
	sub(9, shape{upTo(1, 16)}),
	sub(10, shape{exact(1, 16)}),
	sub(11, pingShape),
	sub(14, shape{exact(1, 32), exact(2, 32), exact(3, 32), exact(4, RoomCardSize), index(5), num(6), truth(7)}),
	sub(15, shape{exact(1, 32), exact(2, 16), exact(3, 64), exact(4, 64), exact(5, PassSize), exact(6, 64)}),
	sub(16, shape{index(1), upTo(2, maxRoomPayload)}),
	sub(17, shape{exact(1, 32), upTo(2, maxRoomCommand), exact(3, 64)}),
	sub(18, shape{}),
	sub(19, shape{
		{num: 1, kind: number, max: 64}, upTo(2, maxLegSDP), {num: 3, kind: message, many: MaxWants, sub: shape{
			upTo(1, maxMid), index(2), {num: 3, kind: number, max: 7}, {num: 4, kind: number, max: 255}, index(5), truth(6),
		}}, index(4), truth(5),
	}),
	sub(20, shape{exact(1, sizePeerID), exact(2, 32)}),
}

// commandShape is that of the command in a RoomControl, which is read after its signature.
var commandShape = shape{
	sub(1, shape{index(1)}),
	sub(2, shape{index(1)}),
	sub(3, shape{exact(1, 32), exact(2, RoomCardSize), indexes(3)}),
	sub(4, shape{num(1), exact(2, RoomCardSize)}),
	sub(5, shape{}),
}

// index is a number that fits 16 bits.
func index(n protowire.Number) field { return field{num: n, kind: number, max: 1<<16 - 1} }

// indexes are those of seats in a room. A decoder would cut what is wider than its field.
func indexes(n protowire.Number) field {
	return field{num: n, kind: packed, max: MaxRoomSeats, top: 1<<16 - 1}
}

func truth(n protowire.Number) field { return field{num: n, kind: number, max: 1} }

var nodeShape = shape{
	num(1),
	sub(2, challengeShape),
	sub(3, shape{num(1), num(2)}),
	sub(4, shape{num(1)}),
	sub(5, shape{num32(1), num32(2), num(3)}),
	sub(6, shape{exact(1, 16), {num: 2, kind: number, max: 64}, {num: 3, kind: number, max: 1}, upTo(4, maxCode), num(5)}),
	sub(7, shape{num(1), {num: 2, kind: number, max: 1}, exact(3, 2), upTo(4, maxPayload), exact(5, 16)}),
	sub(8, shape{upTo(1, maxAnswerBox), upTo(2, maxCode)}),
	sub(9, shape{upTo(1, maxDocument), {num: 2, kind: octets, max: maxDescriptor, many: MaxDescriptors}, upTo(3, maxCode)}),
	sub(10, shape{
		{num: 1, kind: octets, max: maxTurnURL, many: 8}, upTo(2, maxCredential), upTo(3, maxCredential),
		num32(4), exact(5, 16), upTo(6, maxCode),
	}),
	sub(11, pingShape),
	sub(12, shape{num(1), num(2), upTo(3, maxDrainReason)}),
	sub(13, shape{upTo(1, maxCode), num(2)}),
	sub(14, shape{index(1), num(2)}),
	sub(15, shape{index(1), indexes(2), exact(3, RoomCardSize), num(4), index(5), truth(6), truth(7)}),
	sub(16, shape{{num: 1, kind: number, max: 64}, index(2), upTo(3, maxRoomPayload), upTo(4, maxCode), indexes(5)}),
	sub(17, shape{}),
	sub(19, shape{upTo(1, maxLegSDP), sub(2, shape{
		{num: 1, kind: number, max: 64}, index(2), {num: 3, kind: number, max: 7}, upTo(4, maxMid), upTo(5, maxMid), truth(6), upTo(7, maxCode),
		indexes(8),
	})}),
	sub(20, shape{exact(1, PassSize)}),
}
