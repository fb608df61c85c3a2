package wire

import "encoding/binary"

// The RTCP packet types that mean something here.
const (
	TypeSR        = 200
	TypeRR        = 201
	TypeSDES      = 202
	TypeBYE       = 203
	TypeTransport = 205 // RTPFB
	TypePayload   = 206 // PSFB

	FormatNACK = 1  // of TypeTransport
	FormatTWCC = 15 // of TypeTransport
	FormatPLI  = 1  // of TypePayload
	FormatFIR  = 4  // of TypePayload
	FormatAFB  = 15 // of TypePayload; REMB is one of them
)

// Control is one packet of a compound.
//
//	V P count-or-format 5 | type 1 | words-1 2 | body
type Control struct {
	Type   uint8
	Format uint8 // or count
	Body   []byte
}

// Compound goes through the packets of a compound one by one.
type Compound struct {
	rest []byte
	bad  bool
}

// NewCompound begins with b.
func NewCompound(b []byte) Compound { return Compound{rest: b, bad: len(b) > MaxPacket} }

// Next gives the next packet; false at the end, and where the compound contradicts itself.
func (c *Compound) Next() (Control, bool) {
	if c.bad || len(c.rest) == 0 {
		return Control{}, false
	}
	b := c.rest
	if len(b) < 4 || b[0]>>6 != 2 {
		c.bad = true
		return Control{}, false
	}
	size := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
	if len(b) < size {
		c.bad = true
		return Control{}, false
	}
	body := b[4:size]
	if b[0]&0x20 != 0 {
		pad := 0
		if len(body) > 0 {
			pad = int(body[len(body)-1])
		}
		if pad == 0 || pad > len(body) {
			c.bad = true
			return Control{}, false
		}
		body = body[:len(body)-pad]
	}
	c.rest = b[size:]
	return Control{Type: b[1], Format: b[0] & 0x1f, Body: body}, true
}

// Bad reports whether the compound ended because it contradicts itself.
func (c *Compound) Bad() bool { return c.bad }

// Urgent reports whether a compound asks for something that is waited for: a repeat, or a key frame. Reports and
// feedback are as good a few milliseconds later.
func Urgent(compound []byte) bool {
	c := NewCompound(compound)
	for q, ok := c.Next(); ok; q, ok = c.Next() {
		if q.Type == TypePayload || q.Type == TypeTransport && q.Format == FormatNACK {
			return true
		}
	}
	return false
}

// Feedback gives sender, media source and the rest of a feedback packet (RFC 4585, 6.1).
func (c Control) Feedback() (media uint32, fci []byte, ok bool) {
	if len(c.Body) < 8 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(c.Body[4:]), c.Body[8:], true
}

// NACKs calls f for every sequence number that a generic NACK names.
func NACKs(fci []byte, f func(seq uint16)) {
	for ; len(fci) >= 4; fci = fci[4:] {
		pid, mask := binary.BigEndian.Uint16(fci), binary.BigEndian.Uint16(fci[2:])
		f(pid)
		for i := uint16(0); mask != 0; i, mask = i+1, mask>>1 {
			if mask&1 != 0 {
				f(pid + i + 1)
			}
		}
	}
}

// FIRs calls f for every source that a full intra request names.
func FIRs(fci []byte, f func(ssrc uint32)) {
	for ; len(fci) >= 8; fci = fci[8:] {
		f(binary.BigEndian.Uint32(fci))
	}
}

// REMB is the receiver's estimate of a path, in bit/s.
func REMB(fci []byte) (bitsPerSecond int64, ok bool) {
	if len(fci) < 8 || string(fci[:4]) != "REMB" || len(fci) < 8+4*int(fci[4]) {
		return 0, false
	}
	exponent := fci[5] >> 2
	mantissa := int64(fci[5]&3)<<16 | int64(fci[6])<<8 | int64(fci[7])
	if exponent > 44 { // beyond any int64
		return 0, false
	}
	return mantissa << exponent, true
}

// Report is one reception report (RFC 3550, 6.4.1), 24 bytes.
type Report struct {
	SSRC         uint32
	FractionLost uint8
	Lost         int32 // 24 bits, signed
	Highest      uint32
	Jitter       uint32
	LastSR       uint32
	Delay        uint32 // in 1/65536 s
}

const reportSize = 24

// Reports calls f for every report of an SR's or RR's body.
func Reports(c Control, f func(Report)) {
	head := 4
	if c.Type == TypeSR {
		head = 24
	}
	if len(c.Body) < head {
		return
	}
	b := c.Body[head:]
	for range c.Format {
		if len(b) < reportSize {
			return
		}
		lost := int32(uint32(b[5])<<24|uint32(b[6])<<16|uint32(b[7])<<8) >> 8
		f(Report{
			SSRC: binary.BigEndian.Uint32(b), FractionLost: b[4], Lost: lost,
			Highest: binary.BigEndian.Uint32(b[8:]), Jitter: binary.BigEndian.Uint32(b[12:]),
			LastSR: binary.BigEndian.Uint32(b[16:]), Delay: binary.BigEndian.Uint32(b[20:]),
		})
		b = b[reportSize:]
	}
}

// SenderReport is the first part of an SR.
type SenderReport struct {
	SSRC      uint32
	NTP       uint64
	Timestamp uint32
	Packets   uint32
	Octets    uint32
}

// Sender reads the first part of an SR.
func Sender(c Control) (SenderReport, bool) {
	if c.Type != TypeSR || len(c.Body) < 24 {
		return SenderReport{}, false
	}
	b := c.Body
	return SenderReport{
		SSRC: binary.BigEndian.Uint32(b), NTP: binary.BigEndian.Uint64(b[4:]), Timestamp: binary.BigEndian.Uint32(b[12:]),
		Packets: binary.BigEndian.Uint32(b[16:]), Octets: binary.BigEndian.Uint32(b[20:]),
	}, true
}

func appendHead(dst []byte, format, kind uint8, words int) []byte {
	dst = append(dst, 0x80|format&0x1f, kind)
	return binary.BigEndian.AppendUint16(dst, uint16(words-1))
}

// AppendPLI asks for a key frame.
func AppendPLI(dst []byte, sender, media uint32) []byte {
	dst = appendHead(dst, FormatPLI, TypePayload, 3)
	dst = binary.BigEndian.AppendUint32(dst, sender)
	return binary.BigEndian.AppendUint32(dst, media)
}

// AppendNACK asks again for the given numbers, which must be ascending.
func AppendNACK(dst []byte, sender, media uint32, seqs []uint16) []byte {
	at := len(dst)
	dst = appendHead(dst, FormatNACK, TypeTransport, 3)
	dst = binary.BigEndian.AppendUint32(dst, sender)
	dst = binary.BigEndian.AppendUint32(dst, media)
	for i := 0; i < len(seqs); {
		pid, mask := seqs[i], uint16(0)
		for i++; i < len(seqs) && seqs[i]-pid <= 16 && seqs[i] != pid; i++ {
			mask |= 1 << (seqs[i] - pid - 1)
		}
		dst = binary.BigEndian.AppendUint16(dst, pid)
		dst = binary.BigEndian.AppendUint16(dst, mask)
	}
	binary.BigEndian.PutUint16(dst[at+2:], uint16((len(dst)-at)/4-1))
	return dst
}

// AppendRR writes a receiver report of at most 31 blocks.
func AppendRR(dst []byte, sender uint32, reports []Report) []byte {
	dst = appendHead(dst, uint8(len(reports)), TypeRR, 2+6*len(reports))
	dst = binary.BigEndian.AppendUint32(dst, sender)
	for _, r := range reports {
		dst = binary.BigEndian.AppendUint32(dst, r.SSRC)
		dst = append(dst, r.FractionLost, byte(r.Lost>>16), byte(r.Lost>>8), byte(r.Lost))
		dst = binary.BigEndian.AppendUint32(dst, r.Highest)
		dst = binary.BigEndian.AppendUint32(dst, r.Jitter)
		dst = binary.BigEndian.AppendUint32(dst, r.LastSR)
		dst = binary.BigEndian.AppendUint32(dst, r.Delay)
	}
	return dst
}

// AppendSR writes a sender report without blocks.
func AppendSR(dst []byte, s SenderReport) []byte {
	dst = appendHead(dst, 0, TypeSR, 7)
	dst = binary.BigEndian.AppendUint32(dst, s.SSRC)
	dst = binary.BigEndian.AppendUint64(dst, s.NTP)
	dst = binary.BigEndian.AppendUint32(dst, s.Timestamp)
	dst = binary.BigEndian.AppendUint32(dst, s.Packets)
	return binary.BigEndian.AppendUint32(dst, s.Octets)
}

// AppendSDES names a source with an empty-handed CNAME: a compound has to have one (RFC 3550, 6.1).
func AppendSDES(dst []byte, ssrc uint32, cname string) []byte {
	cname = cname[:min(len(cname), 255)]
	size := 4 + 2 + len(cname) + 1
	pad := (4 - size%4) % 4
	dst = appendHead(dst, 1, TypeSDES, 1+(size+pad)/4)
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	dst = append(dst, 1, byte(len(cname)))
	dst = append(dst, cname...)
	for range pad + 1 {
		dst = append(dst, 0)
	}
	return dst
}
