package federation

import (
	"sync"
	"sync/atomic"

	"github.com/trunkline-net/trunkline/envelope"
)

// parcel is an envelope that came in, with its number. Its payload is in a buffer of its own,
// so that one that waits long does not hold the batch it came with. A parcel belongs to the
// lane it waits in and then to the worker that gives it to the Deliverer and the Deliverer
// that ends it; the later of the two gives it back.
type parcel struct {
	in   *inbound
	e    envelope.Envelope
	buf  []byte // of e.Payload, in the size of a bucket; nil: none
	mark mark
	seq  uint64
	code string        // it ends with this refusal and is not delivered
	next *parcel       // in its lane, or in line for the end of the same envelope
	let  atomic.Uint32 // how many of the two have let go of it

	echo uint64 // not an envelope but an Echo with this id
	box  []byte
}

// asks says whether the parcel counts for its domain's rate.
func (p *parcel) asks() bool { return p.echo == 0 && p.code == "" }

// give gives the parcel to the Deliverer, once however often its envelope arrives.
func (p *parcel) give() {
	in := p.in
	if p.echo != 0 {
		in.s.reflect(p.echo, p.box)
		in.end(p, Outcome{})
		return
	}
	known, first, waits := in.s.l.seen.begin(p)
	switch {
	case first:
		in.s.f.taker.Take(in.s.f.ctx, Source{Peer: in.s.l.peer, Domain: in.s.domain}, &p.e, p)
	case !waits:
		p.end(known)
	}
	p.letGo()
}

// Ended implements Waiter for the Deliverer. It ends also those that came again meanwhile.
func (p *parcel) Ended(o Outcome) {
	o = checked(o)
	again := p.in.s.l.seen.finish(p.mark, o)
	p.end(o)
	for again != nil {
		next := again.next
		again.end(o)
		again = next
	}
}

func (p *parcel) end(o Outcome) {
	p.in.end(p, o)
	p.letGo()
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
func newParcel(in *inbound, e *envelope.Envelope) *parcel {
	c := class(len(e.Payload))
	p, ok := parcelPools[c].Get().(*parcel)
	if !ok {
		p = &parcel{buf: make([]byte, itemSizes[c])}
	}
	p.in, p.e = in, *e
	p.e.Payload = p.buf[:copy(p.buf, e.Payload)]
	return p
}

func (p *parcel) letGo() {
	if p.let.Add(1) == 2 {
		p.in, p.e, p.mark, p.seq, p.next = nil, envelope.Envelope{}, mark{}, 0, nil
		p.let.Store(0)
		parcelPools[class(len(p.buf))].Put(p)
	}
}
