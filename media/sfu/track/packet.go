// Package track is the publisher's side of forwarding: each stream that is received (a [Source]) keeps its last packets
// for retransmission and for whoever joins, asks for what is missing, and reports to its sender. Sources belong to
// their room's goroutine.
package track

import (
	"sync"

	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// Packet is one received packet in a buffer of its own. Whoever holds it last gives it back to its Pool.
type Packet struct {
	wire.Packet
	At        int64 // microseconds: when it came
	Ext       int64 // the sequence number, extended by its source
	D         wire.Descriptor
	Described bool // D is known
	Key       bool // begins a frame that needs nothing before it
	Fresh     bool // begins another frame of the same picture that rests on nothing either, but has no structure
	Begins    bool // first of its frame, as far as is known

	small bool
	n     int
	b     []byte
}

// small packets are those of sound: a buffer of the largest size for each would be nine tenths air.
const small = 320

// Pool has buffers for packets. The zero value is ready.
type Pool struct{ large, small sync.Pool }

// Get copies b, which is at most wire.MaxPacket long, into a packet that is not parsed yet.
func (p *Pool) Get(b []byte, at int64) *Packet {
	from, size := &p.large, wire.MaxPacket
	if len(b) <= small {
		from, size = &p.small, small
	}
	k, ok := from.Get().(*Packet)
	if !ok {
		k = &Packet{b: make([]byte, size), small: size == small}
	}
	k.At, k.n = at, copy(k.b, b)
	k.Ext, k.Described, k.Key, k.Fresh, k.Begins = 0, false, false, false, false
	return k
}

// Parse reads the header.
func (k *Packet) Parse() error { return k.Packet.Parse(k.b[:k.n]) }

// Bytes are what came.
func (k *Packet) Bytes() []byte { return k.b[:k.n] }

// Size in bytes.
func (k *Packet) Size() int { return k.n }

// Put gives a packet back.
func (p *Pool) Put(k *Packet) {
	if k.small {
		p.small.Put(k)
		return
	}
	p.large.Put(k)
}

// Repaired turns a packet of a repair stream (RFC 4588, 4) into the one that it repairs: the first two bytes of its
// payload are the number that the packet had. It reports whether there is one; padding has none.
func (k *Packet) Repaired(ssrc uint32, pt uint8) bool {
	payload := k.Payload()
	if len(payload) < 2 {
		return false
	}
	at := k.PayloadOffset()
	b := k.b[:k.n]
	seq0, seq1 := b[at], b[at+1]
	end := at + len(payload)
	b[0] &^= 0x20 // padding goes
	copy(b[at:], b[at+2:end])
	k.n = end - 2
	b = k.b[:k.n]
	b[1] = b[1]&0x80 | pt
	b[2], b[3] = seq0, seq1
	b[8], b[9], b[10], b[11] = byte(ssrc>>24), byte(ssrc>>16), byte(ssrc>>8), byte(ssrc)
	return k.Parse() == nil
}
