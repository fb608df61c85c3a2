// Package ws is the frame layer of a WebSocket's server side (RFC 6455, section 5): it reads
// the frames of clients where they lie and writes those of servers into a buffer of the
// caller's, without allocating.
//
// Begin with [Next] and [AppendFrame]. The opening handshake, the connection and its deadlines
// are the caller's. The package never holds a byte beyond a call and never reads or writes by
// itself.
package ws

import (
	"encoding/binary"
	"errors"
)

// Opcode says what a frame is (section 5.2).
type Opcode byte

// The opcodes that RFC 6455 defines.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xa
)

// Control reports whether the opcode is that of a control frame.
func (o Opcode) Control() bool { return o&0x8 != 0 }

// MaxControl is the longest payload of a control frame (section 5.5).
const MaxControl = 125

// MaxHeader is the longest header of a client's frame: two bytes, a length, a mask.
const MaxHeader = 2 + 8 + 4

// Status codes of a Close (section 7.4.1).
const (
	StatusNormal      = 1000
	StatusProtocol    = 1002
	StatusUnsupported = 1003
	StatusTooBig      = 1009
)

var (
	// ErrProtocol says that the peer does not speak RFC 6455 as a client without extensions.
	ErrProtocol = errors.New("ws: protocol error")
	// ErrTooLarge says that a frame is longer than the reader takes.
	ErrTooLarge = errors.New("ws: frame over its limit")
)

// Frame is one frame of a client.
type Frame struct {
	Opcode  Opcode
	Final   bool
	Payload []byte // unmasked, a part of what Next was given
}

// Next reads the frame that b begins with and unmasks it in place. n is how many bytes of b the
// frame is; when b holds only a part of it, n is 0 and need is how many bytes there must be, as
// far as can be told. A frame whose payload is longer than limit is refused as soon as its
// length is known.
func Next(b []byte, limit int) (f Frame, n, need int, err error) {
	if len(b) < 2 {
		return f, 0, 2, nil
	}
	f.Opcode, f.Final = Opcode(b[0]&0x0f), b[0]&0x80 != 0
	switch f.Opcode {
	case Continuation, Text, Binary, Close, Ping, Pong:
	default:
		return f, 0, 0, ErrProtocol
	}
	// No extension was agreed on, so the reserved bits are zero; a client's frame is masked.
	if b[0]&0x70 != 0 || b[1]&0x80 == 0 {
		return f, 0, 0, ErrProtocol
	}
	length, head := uint64(b[1]&0x7f), 2
	if f.Opcode.Control() && (!f.Final || length > MaxControl) {
		return f, 0, 0, ErrProtocol
	}
	switch length {
	case 126:
		head += 2
		if len(b) < head {
			return f, 0, head, nil
		}
		// The shortest form is the only one (section 5.2).
		if length = uint64(binary.BigEndian.Uint16(b[2:])); length < 126 {
			return f, 0, 0, ErrProtocol
		}
	case 127:
		head += 8
		if len(b) < head {
			return f, 0, head, nil
		}
		if length = binary.BigEndian.Uint64(b[2:]); length < 1<<16 || length >= 1<<63 {
			return f, 0, 0, ErrProtocol
		}
	}
	if !f.Opcode.Control() && length > uint64(limit) {
		return f, 0, 0, ErrTooLarge
	}
	total := head + 4 + int(length)
	if len(b) < total {
		return f, 0, total, nil
	}
	f.Payload = b[head+4 : total : total]
	unmask(f.Payload, [4]byte(b[head:]))
	return f, total, 0, nil
}

// unmask applies the mask eight bytes at a time (section 5.3).
func unmask(p []byte, key [4]byte) {
	k := binary.LittleEndian.Uint32(key[:])
	wide := uint64(k)<<32 | uint64(k)
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^wide)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= key[i&3]
	}
}

// AppendFrame appends a server's frame: final, without a mask.
func AppendFrame(dst []byte, op Opcode, payload []byte) []byte {
	return append(AppendHeader(dst, op, len(payload)), payload...)
}

// HeaderSize is how many bytes AppendHeader appends.
func HeaderSize(payload int) int {
	switch {
	case payload < 126:
		return 2
	case payload < 1<<16:
		return 4
	}
	return 10
}

// AppendHeader appends the header of a server's frame with a payload of so many bytes.
func AppendHeader(dst []byte, op Opcode, payload int) []byte {
	dst = append(dst, 0x80|byte(op))
	switch {
	case payload < 126:
		return append(dst, byte(payload))
	case payload < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(payload))
	}
	return binary.BigEndian.AppendUint64(append(dst, 127), uint64(payload))
}

// AppendClose appends a Close with a status.
func AppendClose(dst []byte, status uint16) []byte {
	return binary.BigEndian.AppendUint16(AppendHeader(dst, Close, 2), status)
}
