package wire

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Decode reads one frame without its length. b must already be within the limit of its
// place; f's slices point into b. Slices of f are used again, so a Frame that is kept for a
// loop costs no allocation per batch.
func Decode(b []byte, f *Frame) error {
	c := cursor{b: b}
	if !c.next() {
		return c.fail("no kind")
	}
	kind, body := Kind(c.num), c.message()
	if c.err == nil && len(c.b) != 0 {
		return c.fail("more than one kind")
	}
	if c.err != nil {
		return c.err
	}
	if c.num > protowire.Number(KindOpen) {
		return c.fail("unknown kind")
	}
	f.Kind = kind
	c = cursor{b: body}
	switch kind {
	case KindHello:
		f.Hello.decode(&c)
	case KindWelcome:
		f.Welcome.decode(&c)
	case KindRefuse:
		f.Code, f.Millis = "", 0
		for c.next() {
			switch c.num {
			case 1:
				f.Code = c.code()
			case 2:
				f.Millis = c.uint(1 << 40)
			default:
				c.unknown()
			}
		}
		c.require(f.Code != "", "refuse without a code")
	case KindBatch:
		f.decodeBatch(&c)
	case KindAck:
		f.Ack.decode(&c)
	case KindPing, KindPong:
		f.ID = 0
		for c.next() {
			if c.num == 1 {
				f.ID = c.uint(1 << 62)
			} else {
				c.unknown()
			}
		}
		c.require(f.ID != 0, "ping without an id")
	case KindQuery:
		f.ID, f.Box = 0, nil
		for c.next() {
			switch c.num {
			case 1:
				f.ID = c.uint(1 << 62)
			case 2:
				f.Box = c.fixed(QueryBox)
			default:
				c.unknown()
			}
		}
		c.require(f.ID != 0 && f.Box != nil, "query without id or box")
	case KindAnswer:
		f.ID, f.Box, f.Code = 0, nil, ""
		for c.next() {
			switch c.num {
			case 1:
				f.ID = c.uint(1 << 62)
			case 2:
				f.Box = c.bytes(LookupBox)
				c.require(len(f.Box) == AnswerBox || len(f.Box) == LookupBox, "answer of another size")
			case 3:
				f.Code = c.code()
			default:
				c.unknown()
			}
		}
		c.require(f.ID != 0 && (f.Box != nil) != (f.Code != ""), "answer needs an id and either box or code")
	case KindDrain:
		f.Millis = 0
		for c.next() {
			if c.num == 1 {
				f.Millis = c.uint(1 << 40)
			} else {
				c.unknown()
			}
		}
	case KindBack:
		if c.next() {
			c.unknown()
		}
	case KindEcho:
		f.ID, f.Box, f.Reply = 0, nil, false
		for c.next() {
			switch c.num {
			case 1:
				f.ID = c.uint(1 << 62)
			case 2:
				f.Box = c.bytes(MaxProbe)
			case 3:
				f.Reply = c.uint(1) == 1
			default:
				c.unknown()
			}
		}
		c.require(f.ID != 0 && f.Box != nil, "echo without id or envelope")
	case KindOpen:
		f.Session = nil
		for c.next() {
			if c.num == 1 {
				f.Session = c.fixed(16)
			} else {
				c.unknown()
			}
		}
		c.require(f.Session != nil, "open without a session")
	}
	return c.err
}

func (h *Hello) decode(c *cursor) {
	*h = Hello{Versions: h.Versions[:0]}
	for c.next() {
		switch c.num {
		case 1:
			packed := cursor{b: c.bytes(maxVersions * 5)}
			for c.err == nil && len(packed.b) > 0 {
				h.Versions = append(h.Versions, uint32(packed.varint(1<<32-1)))
				if packed.err != nil {
					c.err = packed.err
				}
				c.require(len(h.Versions) <= maxVersions, "too many versions")
			}
		case 2:
			h.Document = c.bytes(MaxDocument)
		case 3:
			h.Nonce = c.fixed(32)
		case 4:
			h.From = c.fixed(38)
		case 5:
			h.To = c.fixed(38)
		case 6:
			h.WindowFrames = uint32(c.uint(MaxWindowFrames))
		case 7:
			h.WindowBytes = c.uint(MaxWindowBytes)
		case 8:
			h.Descriptor = c.bytes(maxDescriptor)
		case 9:
			h.ProbeKey = c.fixed(32)
		default:
			c.unknown()
		}
	}
}

func (w *Welcome) decode(c *cursor) {
	*w = Welcome{}
	for c.next() {
		switch c.num {
		case 1:
			w.Version = uint32(c.uint(1<<32 - 1))
		case 2:
			w.Session = c.fixed(16)
		case 3:
			w.CreditFrames = uint32(c.uint(MaxWindowFrames))
		case 4:
			w.CreditBytes = c.uint(MaxWindowBytes)
		case 5:
			w.Nonce = c.fixed(32)
		default:
			c.unknown()
		}
	}
	c.require(w.Version != 0 && w.Session != nil && w.Nonce != nil &&
		w.CreditFrames >= MinWindowFrames && w.CreditBytes >= MinWindowBytes, "welcome is incomplete")
}

func (f *Frame) decodeBatch(c *cursor) {
	f.First, f.Envelopes = 0, f.Envelopes[:0]
	for c.next() {
		switch c.num {
		case 1:
			f.First = c.uint(1 << 62)
		case 2:
			f.Envelopes = append(f.Envelopes, c.bytes(MaxEnvelope))
			c.require(len(f.Envelopes) <= MaxBatch, "too many envelopes")
			c.again()
		default:
			c.unknown()
		}
	}
	c.require(f.First != 0 && len(f.Envelopes) > 0, "batch without number or envelopes")
}

func (a *Ack) decode(c *cursor) {
	*a = Ack{Outcomes: a.Outcomes[:0]}
	for c.next() {
		switch c.num {
		case 1:
			a.Through = c.uint(1 << 62)
		case 2:
			var o Outcome
			in := cursor{b: c.message()}
			for in.next() {
				switch in.num {
				case 1:
					o.Fate = uint32(in.uint(1<<31 - 1))
				case 2:
					o.Code = in.code()
				case 3:
					o.Count = uint32(in.uint(MaxWindowFrames))
					in.require(o.Count != 1, "a run of one is written without a count")
				default:
					in.unknown()
				}
			}
			if in.err != nil && c.err == nil {
				c.err = in.err
			}
			if o.Count == 0 {
				o.Count = 1
			}
			a.Outcomes = append(a.Outcomes, o)
			c.require(len(a.Outcomes) <= MaxRuns, "too many outcomes")
			c.again()
		case 3:
			a.CreditFrames = uint32(c.uint(MaxWindowFrames))
		case 4:
			a.CreditBytes = c.uint(MaxWindowBytes)
		default:
			c.unknown()
		}
	}
	c.require(a.Through != 0 && len(a.Outcomes) > 0 && a.CreditFrames >= MinWindowFrames &&
		a.CreditBytes >= MinWindowBytes, "ack is incomplete")
}

// cursor walks over one message in the canonical profile: fields ascending and at most once
// (again lets a repeated one come again), minimal varints, no zero and no empty value.
type cursor struct {
	b    []byte
	num  protowire.Number
	typ  protowire.Type
	last protowire.Number
	err  error
}

func (c *cursor) fail(why string) error {
	if c.err == nil {
		c.err = fmt.Errorf("%w: %s", ErrMalformed, why)
	}
	return c.err
}

func (c *cursor) require(ok bool, why string) {
	if !ok {
		c.fail(why)
	}
}

func (c *cursor) unknown() { c.fail("unknown field") }

func (c *cursor) again() { c.last-- }

func (c *cursor) next() bool {
	if c.err != nil || len(c.b) == 0 {
		return false
	}
	tag := c.varint(1<<32 - 1)
	c.num, c.typ = protowire.Number(tag>>3), protowire.Type(tag&7)
	if c.err == nil && c.num <= c.last {
		c.fail("fields out of order")
	}
	c.last = c.num
	return c.err == nil
}

func (c *cursor) varint(max uint64) uint64 {
	v, n := protowire.ConsumeVarint(c.b)
	if n < 0 || n != protowire.SizeVarint(v) || v > max {
		c.fail("bad number")
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) uint(max uint64) uint64 {
	if c.typ != protowire.VarintType {
		c.fail("wrong type")
		return 0
	}
	v := c.varint(max)
	c.require(v != 0, "zero is written by leaving it out")
	return v
}

// message returns the bytes of a nested message, which may be empty.
func (c *cursor) message() []byte {
	if c.typ != protowire.BytesType {
		c.fail("wrong type")
		return nil
	}
	n := c.varint(1 << 31)
	if c.err != nil || n > uint64(len(c.b)) {
		c.fail("length past the end")
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) bytes(max int) []byte {
	v := c.message()
	c.require(len(v) != 0 && len(v) <= max, "empty or too long")
	return v
}

func (c *cursor) fixed(n int) []byte {
	v := c.message()
	c.require(len(v) == n, "wrong length")
	return v
}

func (c *cursor) code() string {
	v := c.bytes(MaxCode)
	if c.err != nil {
		return ""
	}
	s := string(v)
	c.require(CheckCode(s), "not a code")
	return s
}
