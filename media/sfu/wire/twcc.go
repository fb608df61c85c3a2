package wire

import "encoding/binary"

// Transport-wide congestion control (draft-holmer-rmcat-transport-wide-cc-extensions-01, 3.1):
//
//	base sequence 2 | packet status count 2 | reference time 3 (64 ms) | feedback count 1
//	packet chunks 2 each | receive deltas 1 or 2 each (250 us) | padding
const (
	twccHead      = 8
	twccReference = 64_000 // microseconds
	twccDelta     = 250    // microseconds
	// TWCCMost bounds the packets of one feedback: a count of 65,535 in 20 bytes is a lie that costs time.
	TWCCMost = 2048
)

// Arrival is what a feedback says of one packet.
type Arrival struct {
	Sequence uint16
	Received bool
	At       int64 // microseconds of the receiver's clock, which wraps each 2^24 x 64 ms; if Received
}

// ReadTWCC calls f for every packet that a feedback tells about, in order. It returns an error where the feedback
// contradicts itself; what came before has been told.
func ReadTWCC(fci []byte, f func(Arrival)) error {
	if len(fci) < twccHead {
		return ErrShort
	}
	seq := binary.BigEndian.Uint16(fci)
	count := int(binary.BigEndian.Uint16(fci[2:]))
	if count > TWCCMost {
		return ErrTooLong
	}
	at := int64(uint32(fci[4])<<16|uint32(fci[5])<<8|uint32(fci[6])) * twccReference
	// The chunks are gone through twice: first to find where the deltas begin.
	chunks := fci[twccHead:]
	n, told := 0, 0
	for told < count {
		if len(chunks) < 2*(n+1) {
			return ErrShort
		}
		told += chunkLength(binary.BigEndian.Uint16(chunks[2*n:]))
		n++
		if told == 0 && n > count {
			return ErrFormat // run lengths of zero
		}
	}
	deltas := chunks[2*n:]
	told = 0
	for i := 0; i < n && told < count; i++ {
		c := binary.BigEndian.Uint16(chunks[2*i:])
		for j := 0; j < chunkLength(c) && told < count; j, told = j+1, told+1 {
			a := Arrival{Sequence: seq}
			seq++
			switch chunkSymbol(c, j) {
			case 1:
				if len(deltas) < 1 {
					return ErrShort
				}
				at += int64(deltas[0]) * twccDelta
				a.Received, a.At = true, at
				deltas = deltas[1:]
			case 2:
				if len(deltas) < 2 {
					return ErrShort
				}
				at += int64(int16(binary.BigEndian.Uint16(deltas))) * twccDelta
				a.Received, a.At = true, at
				deltas = deltas[2:]
			case 3:
				return ErrFormat
			}
			f(a)
		}
	}
	return nil
}

func chunkLength(c uint16) int {
	switch {
	case c&0x8000 == 0:
		return int(c & 0x1fff)
	case c&0x4000 == 0:
		return 14
	}
	return 7
}

func chunkSymbol(c uint16, i int) uint16 {
	switch {
	case c&0x8000 == 0:
		return c >> 13 & 3
	case c&0x4000 == 0:
		return c >> (13 - i) & 1
	}
	return c >> (12 - 2*i) & 3
}

// AppendTWCC writes a feedback about the packets from base on: at[i] is when base+i came, in microseconds, and
// negative if it did not. It tells of as many as fit, at least one, and returns how many. The first that is told
// should have come.
func AppendTWCC(dst []byte, sender, media uint32, base uint16, at []int64, feedback uint8) ([]byte, int) {
	at = at[:min(len(at), TWCCMost)]
	first := int64(-1)
	for _, t := range at {
		if t >= 0 {
			first = t
			break
		}
	}
	if first < 0 {
		return dst, 0
	}
	start := len(dst)
	dst = appendHead(dst, FormatTWCC, TypeTransport, 3)
	dst = binary.BigEndian.AppendUint32(dst, sender)
	dst = binary.BigEndian.AppendUint32(dst, media)
	reference := first / twccReference
	dst = binary.BigEndian.AppendUint16(dst, base)
	countAt := len(dst)
	dst = append(dst, 0, 0, byte(reference>>16), byte(reference>>8), byte(reference), feedback)

	// Symbols first, so that chunks can be written in one go; a delta that does not fit ends the feedback.
	var symbols [TWCCMost]uint8
	clock := reference * twccReference
	n := 0
	for _, t := range at {
		if t < 0 {
			n++
			continue
		}
		delta := (t - clock) / twccDelta
		if delta < -1<<15 || delta >= 1<<15 {
			break
		}
		clock += delta * twccDelta
		if delta >= 0 && delta < 256 {
			symbols[n] = 1
		} else {
			symbols[n] = 2
		}
		n++
	}
	binary.BigEndian.PutUint16(dst[countAt:], uint16(n))
	for i := 0; i < n; {
		run := 1
		for i+run < n && symbols[i+run] == symbols[i] && run < 0x1fff {
			run++
		}
		if run >= 7 || i+run == n {
			dst = binary.BigEndian.AppendUint16(dst, uint16(symbols[i])<<13|uint16(run))
			i += run
			continue
		}
		c := uint16(0xc000)
		for j := 0; j < 7 && i+j < n; j++ {
			c |= uint16(symbols[i+j]) << (12 - 2*j)
		}
		dst = binary.BigEndian.AppendUint16(dst, c)
		i += 7
	}
	clock = reference * twccReference
	for i := range n {
		if symbols[i] == 0 {
			continue
		}
		delta := (at[i] - clock) / twccDelta
		clock += delta * twccDelta
		if symbols[i] == 1 {
			dst = append(dst, byte(delta))
		} else {
			dst = binary.BigEndian.AppendUint16(dst, uint16(int16(delta)))
		}
	}
	if pad := (4 - (len(dst)-start)%4) % 4; pad > 0 {
		dst[start] |= 0x20
		for range pad - 1 {
			dst = append(dst, 0)
		}
		dst = append(dst, byte(pad))
	}
	binary.BigEndian.PutUint16(dst[start+2:], uint16((len(dst)-start)/4-1))
	return dst, n
}
