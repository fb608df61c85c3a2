// Package wire reads and writes what the SFU may see of media: RTP headers, a few header extensions and RTCP.
// Everything is a view over the bytes that came; nothing is allocated and nothing is kept. A payload is a length.
//
// Call [Packet.Parse] for RTP and [Compound] for RTCP. No function reads beyond the slice it was given, whatever
// the lengths inside it say.
package wire

import (
	"encoding/binary"
	"errors"
)

// MaxPacket is the largest datagram that is looked at, and the size of every buffer for one.
const MaxPacket = 1500

// Errors of parsing.
var (
	ErrShort   = errors.New("wire: cut short")
	ErrVersion = errors.New("wire: not version 2")
	ErrFormat  = errors.New("wire: contradicts itself")
	ErrTooLong = errors.New("wire: too long")
)

const (
	fixedHeader  = 12
	profileOne   = 0xBEDE
	profileTwo   = 0x1000 // the low four bits are free
	twoByteLimit = 16     // the longest value of the one-byte form
)

// Packet is a view of one RTP packet (RFC 3550, 5.1).
//
//	V P X CC | M PT | sequence number 2 | timestamp 4 | SSRC 4 | CSRC 4 x CC
//	[ profile 2 | words 2 | extensions ]  payload  [ padding, its length in the last byte ]
type Packet struct {
	raw        []byte
	extensions []byte
	profile    uint16
	payload    int
	end        int
}

// Parse makes p a view of b, which must not change while p is used.
func (p *Packet) Parse(b []byte) error {
	*p = Packet{}
	if len(b) > MaxPacket {
		return ErrTooLong
	}
	n, err := HeaderSize(b)
	if err != nil {
		return err
	}
	if b[0]&0x10 != 0 {
		fixed := fixedHeader + 4*int(b[0]&0x0f)
		p.profile = binary.BigEndian.Uint16(b[fixed:])
		p.extensions = b[fixed+4 : n]
	}
	end := len(b)
	if b[0]&0x20 != 0 {
		pad := int(b[len(b)-1])
		if pad == 0 || end-pad < n {
			return ErrFormat
		}
		end -= pad
	}
	p.raw, p.payload, p.end = b, n, end
	return nil
}

// HeaderSize is how long the header with its extensions is: what SRTP leaves in clear.
func HeaderSize(b []byte) (int, error) {
	if len(b) < fixedHeader {
		return 0, ErrShort
	}
	if b[0]>>6 != 2 {
		return 0, ErrVersion
	}
	n := fixedHeader + 4*int(b[0]&0x0f)
	if b[0]&0x10 != 0 {
		if len(b) < n+4 {
			return 0, ErrShort
		}
		n += 4 + 4*int(binary.BigEndian.Uint16(b[n+2:]))
	}
	if len(b) < n {
		return 0, ErrShort
	}
	return n, nil
}

// Raw is the whole packet.
func (p *Packet) Raw() []byte { return p.raw }

// Marker is the M bit.
func (p *Packet) Marker() bool { return p.raw[1]&0x80 != 0 }

// PayloadType is the PT field.
func (p *Packet) PayloadType() uint8 { return p.raw[1] & 0x7f }

// Sequence is the sequence number.
func (p *Packet) Sequence() uint16 { return binary.BigEndian.Uint16(p.raw[2:]) }

// Timestamp is the RTP timestamp.
func (p *Packet) Timestamp() uint32 { return binary.BigEndian.Uint32(p.raw[4:]) }

// SSRC is the synchronization source.
func (p *Packet) SSRC() uint32 { return binary.BigEndian.Uint32(p.raw[8:]) }

// Payload is what the SFU must not read, without padding.
func (p *Packet) Payload() []byte { return p.raw[p.payload:p.end] }

// PayloadOffset is where the payload begins in the packet.
func (p *Packet) PayloadOffset() int { return p.payload }

// Extension is the value of one header extension (RFC 8285, both forms). Extensions that are cut short end the
// search: what came before them is still found.
func (p *Packet) Extension(id uint8) ([]byte, bool) {
	if id == 0 {
		return nil, false
	}
	b := p.extensions
	two := p.profile&0xfff0 == profileTwo
	if !two && p.profile != profileOne {
		return nil, false
	}
	for len(b) > 0 {
		if b[0] == 0 { // padding
			b = b[1:]
			continue
		}
		var have uint8
		var size, head int
		if two {
			if len(b) < 2 {
				return nil, false
			}
			have, size, head = b[0], int(b[1]), 2
		} else {
			have, size, head = b[0]>>4, int(b[0]&0x0f)+1, 1
			if have == 15 {
				return nil, false // reserved: stop, RFC 8285 4.2
			}
		}
		if len(b) < head+size {
			return nil, false
		}
		if have == id {
			return b[head : head+size], true
		}
		b = b[head+size:]
	}
	return nil, false
}

// WellFormed reports whether the extensions end where their lengths say. One that does not is counted against its
// sender and still forwarded, since none of its extensions is.
func (p *Packet) WellFormed() bool {
	b := p.extensions
	two := p.profile&0xfff0 == profileTwo
	if !two && p.profile != profileOne {
		return true // of another profile: nothing to say
	}
	for len(b) > 0 {
		if b[0] == 0 {
			b = b[1:]
			continue
		}
		size, head := 0, 1
		if two {
			if len(b) < 2 {
				return false
			}
			size, head = int(b[1]), 2
		} else if b[0]>>4 == 15 {
			return true
		} else {
			size = int(b[0]&0x0f) + 1
		}
		if len(b) < head+size {
			return false
		}
		b = b[head+size:]
	}
	return true
}

// Extension is one header extension to be written.
type Extension struct {
	ID    uint8
	Value []byte
}

// Header is an RTP header to be written. Extensions with the ID 0 or without a value are left out.
type Header struct {
	Marker      bool
	PayloadType uint8
	Sequence    uint16
	Timestamp   uint32
	SSRC        uint32
	Extensions  [4]Extension
}

// Append writes the header behind dst. One value longer than 16 bytes puts all into the two-byte form, which a
// client has to allow (extmap-allow-mixed).
func (h *Header) Append(dst []byte) []byte {
	any, two := false, false
	for i := range h.Extensions {
		if e := &h.Extensions[i]; e.ID != 0 && len(e.Value) > 0 {
			any = true
			two = two || len(e.Value) > twoByteLimit || e.ID > 14
		}
	}
	first, second := byte(0x80), h.PayloadType&0x7f
	if any {
		first |= 0x10
	}
	if h.Marker {
		second |= 0x80
	}
	dst = append(dst, first, second)
	dst = binary.BigEndian.AppendUint16(dst, h.Sequence)
	dst = binary.BigEndian.AppendUint32(dst, h.Timestamp)
	dst = binary.BigEndian.AppendUint32(dst, h.SSRC)
	if !any {
		return dst
	}
	profile := uint16(profileOne)
	if two {
		profile = profileTwo
	}
	dst = binary.BigEndian.AppendUint16(dst, profile)
	at := len(dst)
	dst = append(dst, 0, 0)
	for i := range h.Extensions {
		e := &h.Extensions[i]
		if e.ID == 0 || len(e.Value) == 0 || len(e.Value) > 255 {
			continue
		}
		if two {
			dst = append(dst, e.ID, byte(len(e.Value)))
		} else {
			dst = append(dst, e.ID<<4|byte(len(e.Value)-1))
		}
		dst = append(dst, e.Value...)
	}
	for (len(dst)-at-2)%4 != 0 {
		dst = append(dst, 0)
	}
	binary.BigEndian.PutUint16(dst[at:], uint16((len(dst)-at-2)/4))
	return dst
}

// IsRTCP tells RTCP from RTP by the second byte (RFC 5761, 4).
func IsRTCP(b []byte) bool { return len(b) >= 2 && b[1] >= 192 && b[1] <= 223 }

// Newer reports whether sequence number a comes after b.
func Newer(a, b uint16) bool { return a != b && a-b < 1<<15 }

// Extend gives the number near to last whose low 16 bits are seq.
func Extend(last int64, seq uint16) int64 { return last + int64(int16(seq-uint16(last))) }

// AudioLevel reads the extension of RFC 6464: how loud (0 to 127 dB below the loudest) and whether it is a voice.
func AudioLevel(b []byte) (quiet uint8, voice, ok bool) {
	if len(b) != 1 && len(b) != 3 { // 3: the two-byte form padded by some senders
		return 127, false, false
	}
	return b[0] & 0x7f, b[0]&0x80 != 0, true
}
