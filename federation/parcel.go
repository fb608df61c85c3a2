package federation

import (
	"sync"

	"github.com/trunkline-net/trunkline/envelope"
)

// parcel is an envelope that came in, with its number. Its payload is in a buffer of its own,
// so that one that waits long does not hold the batch it came with. A parcel belongs to the
// lane it waits in, then to the worker that delivers it and gives it back.
type parcel struct {
	e    envelope.Envelope
	buf  []byte // of e.Payload, in the size of a bucket; nil: none
	mark mark
	seq  uint64
	code string  // it ends with this refusal and is not delivered
	next *parcel // in its lane

	echo uint64 // not an envelope but an Echo with this id
	box  []byte
}

var parcelPools [len(itemSizes)]sync.Pool

func class(size int) int {
	c := 0
	for c < len(itemSizes)-1 && itemSizes[c] < size {
		c++
	}
	return c
}

// newParcel is a parcel with a copy of e.
func newParcel(e *envelope.Envelope) *parcel {
	c := class(len(e.Payload))
	p, ok := parcelPools[c].Get().(*parcel)
	if !ok {
		p = &parcel{buf: make([]byte, itemSizes[c])}
	}
	p.e = *e
	p.e.Payload = p.buf[:copy(p.buf, e.Payload)]
	return p
}

// free gives a parcel back. Nothing points to it any more.
func (p *parcel) free() {
	if p.buf != nil {
		*p = parcel{buf: p.buf}
		parcelPools[class(len(p.buf))].Put(p)
	}
}
