package wire

import "google.golang.org/protobuf/encoding/protowire"

// Append writes f with its length behind dst and returns the longer slice. It writes what
// it is given: keeping to the limits is the caller's part, as Decode on the other side will
// find out.
func Append(dst []byte, f *Frame) []byte {
	body := f.bodySize()
	inner := protowire.SizeTag(protowire.Number(f.Kind)) + protowire.SizeBytes(body)
	dst = protowire.AppendVarint(dst, uint64(inner))
	dst = protowire.AppendTag(dst, protowire.Number(f.Kind), protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(body))
	switch f.Kind {
	case KindHello:
		return f.Hello.append(dst)
	case KindWelcome:
		w := &f.Welcome
		dst = appendUint(dst, 1, uint64(w.Version))
		dst = appendBytes(dst, 2, w.Session)
		dst = appendUint(dst, 3, uint64(w.CreditFrames))
		dst = appendUint(dst, 4, w.CreditBytes)
		return appendBytes(dst, 5, w.Nonce)
	case KindRefuse:
		dst = appendString(dst, 1, f.Code)
		return appendUint(dst, 2, f.Millis)
	case KindBatch:
		dst = appendUint(dst, 1, f.First)
		for _, e := range f.Envelopes {
			dst = appendBytes(dst, 2, e)
		}
		return dst
	case KindAck:
		return f.Ack.append(dst)
	case KindPing, KindPong:
		return appendUint(dst, 1, f.ID)
	case KindQuery:
		dst = appendUint(dst, 1, f.ID)
		return appendBytes(dst, 2, f.Box)
	case KindAnswer:
		dst = appendUint(dst, 1, f.ID)
		dst = appendBytes(dst, 2, f.Box)
		return appendString(dst, 3, f.Code)
	case KindDrain:
		return appendUint(dst, 1, f.Millis)
	case KindBack:
		return dst
	case KindEcho:
		dst = appendUint(dst, 1, f.ID)
		dst = appendBytes(dst, 2, f.Box)
		return appendUint(dst, 3, one(f.Reply))
	case KindOpen:
		return appendBytes(dst, 1, f.Session)
	}
	panic("wire: frame without a kind")
}

func (f *Frame) bodySize() int {
	switch f.Kind {
	case KindHello:
		return f.Hello.size()
	case KindWelcome:
		w := &f.Welcome
		return sizeUint(1, uint64(w.Version)) + sizeBytes(2, len(w.Session)) +
			sizeUint(3, uint64(w.CreditFrames)) + sizeUint(4, w.CreditBytes) + sizeBytes(5, len(w.Nonce))
	case KindRefuse:
		return sizeBytes(1, len(f.Code)) + sizeUint(2, f.Millis)
	case KindBatch:
		n := sizeUint(1, f.First)
		for _, e := range f.Envelopes {
			n += sizeBytes(2, len(e))
		}
		return n
	case KindAck:
		return f.Ack.size()
	case KindPing, KindPong:
		return sizeUint(1, f.ID)
	case KindQuery:
		return sizeUint(1, f.ID) + sizeBytes(2, len(f.Box))
	case KindAnswer:
		return sizeUint(1, f.ID) + sizeBytes(2, len(f.Box)) + sizeBytes(3, len(f.Code))
	case KindDrain:
		return sizeUint(1, f.Millis)
	case KindEcho:
		return sizeUint(1, f.ID) + sizeBytes(2, len(f.Box)) + sizeUint(3, one(f.Reply))
	case KindOpen:
		return sizeBytes(1, len(f.Session))
	}
	return 0
}

func (h *Hello) versionsSize() int {
	n := 0
	for _, v := range h.Versions {
		n += protowire.SizeVarint(uint64(v))
	}
	return n
}

func (h *Hello) size() int {
	return sizeBytes(1, h.versionsSize()) + sizeBytes(2, len(h.Document)) + sizeBytes(3, len(h.Nonce)) +
		sizeBytes(4, len(h.From)) + sizeBytes(5, len(h.To)) + sizeUint(6, uint64(h.WindowFrames)) +
		sizeUint(7, h.WindowBytes) + sizeBytes(8, len(h.Descriptor)) + sizeBytes(9, len(h.ProbeKey))
}

func (h *Hello) append(dst []byte) []byte {
	if n := h.versionsSize(); n > 0 {
		dst = protowire.AppendTag(dst, 1, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(n))
		for _, v := range h.Versions {
			dst = protowire.AppendVarint(dst, uint64(v))
		}
	}
	dst = appendBytes(dst, 2, h.Document)
	dst = appendBytes(dst, 3, h.Nonce)
	dst = appendBytes(dst, 4, h.From)
	dst = appendBytes(dst, 5, h.To)
	dst = appendUint(dst, 6, uint64(h.WindowFrames))
	dst = appendUint(dst, 7, h.WindowBytes)
	dst = appendBytes(dst, 8, h.Descriptor)
	return appendBytes(dst, 9, h.ProbeKey)
}

func (a *Ack) size() int {
	n := sizeUint(1, a.Through) + sizeUint(3, uint64(a.CreditFrames)) + sizeUint(4, a.CreditBytes)
	for i := range a.Outcomes {
		n += protowire.SizeTag(2) + protowire.SizeBytes(a.Outcomes[i].size())
	}
	return n
}

func (a *Ack) append(dst []byte) []byte {
	dst = appendUint(dst, 1, a.Through)
	for i := range a.Outcomes {
		o := &a.Outcomes[i]
		dst = protowire.AppendTag(dst, 2, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(o.size()))
		dst = appendUint(dst, 1, uint64(o.Fate))
		dst = appendString(dst, 2, o.Code)
		dst = appendUint(dst, 3, uint64(o.wireCount()))
	}
	dst = appendUint(dst, 3, uint64(a.CreditFrames))
	return appendUint(dst, 4, a.CreditBytes)
}

func (o *Outcome) size() int {
	return sizeUint(1, uint64(o.Fate)) + sizeBytes(2, len(o.Code)) + sizeUint(3, uint64(o.wireCount()))
}

// wireCount is what stands on the wire for a run: one is written by leaving it out.
func (o *Outcome) wireCount() uint32 {
	if o.Count == 1 {
		return 0
	}
	return o.Count
}

func appendUint(dst []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), v)
}

func appendBytes(dst []byte, num protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	return protowire.AppendBytes(protowire.AppendTag(dst, num, protowire.BytesType), v)
}

func appendString(dst []byte, num protowire.Number, v string) []byte {
	if v == "" {
		return dst
	}
	return protowire.AppendString(protowire.AppendTag(dst, num, protowire.BytesType), v)
}

func sizeUint(num protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeVarint(v)
}

func sizeBytes(num protowire.Number, n int) int {
	if n == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeBytes(n)
}

func one(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
