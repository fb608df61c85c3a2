package srtp

import (
	"encoding/binary"

	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// A key may seal 2^48 packets and 2^31 compounds of one source (RFC 3711, 9.2).
const (
	mostRTP  = 1<<48 - 1
	mostRTCP = 1<<31 - 1
)

// Sealer is for one direction and one goroutine.
type Sealer struct {
	rtp, rtcp half
	sources   map[uint32]*sent
	last      *sent // of sources: packets come in rows
	lastSSRC  uint32
}

// sent is what is known of one source: the highest index of its packets, and how many compounds there were.
type sent struct {
	highest uint64
	began   bool
	reports uint32
}

// NewSealer makes one from a master key.
func NewSealer(k Key) (*Sealer, error) {
	s := &Sealer{sources: map[uint32]*sent{}}
	if err := s.rtp.init(k, 0); err != nil {
		return nil, err
	}
	return s, s.rtcp.init(k, labelRTCP)
}

// String hides the keys.
func (*Sealer) String() string { return redacted }

func (s *Sealer) source(ssrc uint32) *sent {
	if s.last != nil && s.lastSSRC == ssrc {
		return s.last
	}
	x := s.sources[ssrc]
	if x == nil {
		x = &sent{}
		s.sources[ssrc] = x
	}
	s.last, s.lastSSRC = x, ssrc
	return x
}

// RTP appends the sealed packet to dst, which must not overlap it. Two packets under one number of one source have to
// be equal to the last bit.
func (s *Sealer) RTP(dst, packet []byte) ([]byte, error) {
	head, err := wire.HeaderSize(packet)
	if err != nil {
		return dst, err
	}
	ssrc := binary.BigEndian.Uint32(packet[8:])
	x := s.source(ssrc)
	index, ok := near(x.highest, x.began, binary.BigEndian.Uint16(packet[2:]))
	if !ok {
		return dst, ErrReplayed // a number from before the first one would have a negative counter
	}
	if index > mostRTP {
		return dst, ErrExhausted
	}
	if !x.began || index > x.highest {
		x.highest, x.began = index, true
	}
	h := &s.rtp
	if h.aead != nil {
		dst = append(dst, packet[:head]...)
		return h.aead.Seal(dst, h.nonceRTP(ssrc, index), packet[head:], packet[:head]), nil
	}
	at := len(dst)
	dst = append(dst, packet...)
	h.stream(dst[at+head:], ssrc, index)
	return append(dst, h.digest(dst[at:], h.rollover(index))...), nil
}

// RTCP appends the sealed compound to dst, which must not overlap it.
func (s *Sealer) RTCP(dst, compound []byte) ([]byte, error) {
	if len(compound) < fixedRTCP {
		return dst, ErrShort
	}
	ssrc := binary.BigEndian.Uint32(compound[4:])
	x := s.source(ssrc)
	if x.reports >= mostRTCP {
		return dst, ErrExhausted
	}
	x.reports++
	h := &s.rtcp
	word := x.reports | encrypted
	if h.aead != nil {
		copy(h.aad[:], compound[:fixedRTCP])
		binary.BigEndian.PutUint32(h.aad[fixedRTCP:], word)
		dst = append(dst, compound[:fixedRTCP]...)
		dst = h.aead.Seal(dst, h.nonceRTCP(ssrc, x.reports), compound[fixedRTCP:], h.aad[:])
		return binary.BigEndian.AppendUint32(dst, word), nil
	}
	at := len(dst)
	dst = append(dst, compound...)
	h.stream(dst[at+fixedRTCP:], ssrc, uint64(x.reports))
	dst = binary.BigEndian.AppendUint32(dst, word)
	return append(dst, h.digest(dst[at:], nil)...), nil
}

// encrypted is the E bit in front of an index.
const encrypted = 1 << 31

// near is the index whose low 16 bits are seq and that is nearest to the highest one (RFC 3711, 3.3.1); the first
// packet begins in the first round.
func near(highest uint64, began bool, seq uint16) (uint64, bool) {
	if !began {
		return uint64(seq), true
	}
	index := wire.Extend(int64(highest), seq)
	return uint64(index), index >= 0
}
