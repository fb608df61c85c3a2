package srtp

import (
	"crypto/hmac"
	"encoding/binary"

	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// Opener is for one direction. It belongs to whoever has the lock of its owner.
type Opener struct {
	rtp, rtcp half
	sources   map[uint32]*received
	most      int
	last      *received
	lastSSRC  uint32
}

// received is what is known of one source that was authentic.
type received struct{ rtp, rtcp window }

// NewOpener makes one from a master key, for so many sources at most.
func NewOpener(k Key, sources int) (*Opener, error) {
	o := &Opener{sources: map[uint32]*received{}, most: sources}
	if err := o.rtp.init(k, 0); err != nil {
		return nil, err
	}
	return o, o.rtcp.init(k, labelRTCP)
}

// String hides the keys.
func (*Opener) String() string { return redacted }

// unknown stands for a source of which nothing was authentic yet.
var unknown received

func (o *Opener) source(ssrc uint32) *received {
	if o.last != nil && o.lastSSRC == ssrc {
		return o.last
	}
	x := o.sources[ssrc]
	if x == nil {
		return &unknown
	}
	o.last, o.lastSSRC = x, ssrc
	return x
}

// keep remembers a source with its first authentic packet.
func (o *Opener) keep(ssrc uint32, x *received) (*received, error) {
	if x != &unknown {
		return x, nil
	}
	if len(o.sources) >= o.most {
		return nil, ErrSources
	}
	x = &received{}
	o.sources[ssrc] = x
	return x, nil
}

// RTP opens a packet in its own memory.
func (o *Opener) RTP(packet []byte) ([]byte, error) {
	h := &o.rtp
	head, err := wire.HeaderSize(packet)
	if err != nil {
		return nil, err
	}
	if len(packet) < head+h.tag {
		return nil, ErrShort
	}
	ssrc := binary.BigEndian.Uint32(packet[8:])
	x := o.source(ssrc)
	index, ok := near(x.rtp.highest, x.rtp.began, binary.BigEndian.Uint16(packet[2:]))
	if !ok || index > mostRTP || !x.rtp.fresh(index) {
		return nil, ErrReplayed
	}
	end := len(packet) - h.tag
	if h.aead != nil {
		if _, err := h.aead.Open(packet[head:head], h.nonceRTP(ssrc, index), packet[head:], packet[:head]); err != nil {
			return nil, ErrAuthentic
		}
	} else {
		if !hmac.Equal(h.digest(packet[:end], h.rollover(index)), packet[end:]) {
			return nil, ErrAuthentic
		}
		h.stream(packet[head:end], ssrc, index)
	}
	if x, err = o.keep(ssrc, x); err != nil {
		return nil, err
	}
	x.rtp.take(index)
	return packet[:end], nil
}

// RTCP opens a compound in its own memory. One that is authentic but not encrypted is refused: nobody here sends that.
func (o *Opener) RTCP(b []byte) ([]byte, error) {
	h := &o.rtcp
	if len(b) < fixedRTCP+h.tag+indexSize {
		return nil, ErrShort
	}
	ssrc := binary.BigEndian.Uint32(b[4:])
	x := o.source(ssrc)
	end := len(b) - h.tag - indexSize // of what was sealed
	at := len(b) - indexSize          // of the index: behind the tag, or before it in counter mode
	if h.aead == nil {
		at = end
	}
	word := binary.BigEndian.Uint32(b[at:])
	index := word &^ encrypted
	if word&encrypted == 0 {
		return nil, ErrAuthentic
	}
	if !x.rtcp.fresh(uint64(index)) {
		return nil, ErrReplayed
	}
	if h.aead != nil {
		copy(h.aad[:], b[:fixedRTCP])
		binary.BigEndian.PutUint32(h.aad[fixedRTCP:], word)
		if _, err := h.aead.Open(b[fixedRTCP:fixedRTCP], h.nonceRTCP(ssrc, index), b[fixedRTCP:at], h.aad[:]); err != nil {
			return nil, ErrAuthentic
		}
	} else {
		if !hmac.Equal(h.digest(b[:at+indexSize], nil), b[at+indexSize:]) {
			return nil, ErrAuthentic
		}
		h.stream(b[fixedRTCP:end], ssrc, uint64(index))
	}
	var err error
	if x, err = o.keep(ssrc, x); err != nil {
		return nil, err
	}
	x.rtcp.take(uint64(index))
	return b[:end], nil
}

// windowSize is how many numbers behind the highest one a packet may come late.
const windowSize = 1024

// window remembers which numbers came, one bit each, in a ring.
type window struct {
	highest uint64
	began   bool
	came    [windowSize / 64]uint64
}

// fresh reports whether a number did not come yet and is not too old to know.
func (w *window) fresh(index uint64) bool {
	if !w.began || index > w.highest {
		return true
	}
	if w.highest-index >= windowSize {
		return false
	}
	return w.came[index/64%(windowSize/64)]&(1<<(index%64)) == 0
}

// take notes one that is fresh.
func (w *window) take(index uint64) {
	switch {
	case !w.began:
		w.began, w.highest = true, index
	case index > w.highest:
		// What lies between did not come. Numbers of the ring's words before the new highest one are of the last round.
		if index-w.highest >= windowSize {
			clear(w.came[:])
		} else {
			for i := w.highest + 1; i <= index; i++ {
				w.came[i/64%(windowSize/64)] &^= 1 << (i % 64)
			}
		}
		w.highest = index
	}
	w.came[index/64%(windowSize/64)] |= 1 << (index % 64)
}
