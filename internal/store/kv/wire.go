package kv

import (
	"encoding/binary"
	"errors"
	"time"
)

// ErrValue refuses a stored value that does not decode.
var ErrValue = errors.New("malformed stored value")

// Encoder writes the fields of one stored value, big endian, lengths of four bytes.
type Encoder struct{ b []byte }

// NewEncoder expects about size bytes.
func NewEncoder(size int) *Encoder { return &Encoder{b: make([]byte, 0, size)} }

func (e *Encoder) U8(v uint8) *Encoder   { e.b = append(e.b, v); return e }
func (e *Encoder) U32(v uint32) *Encoder { e.b = binary.BigEndian.AppendUint32(e.b, v); return e }
func (e *Encoder) U64(v uint64) *Encoder { e.b = binary.BigEndian.AppendUint64(e.b, v); return e }

// Bool is one byte, 0 or 1.
func (e *Encoder) Bool(v bool) *Encoder {
	if v {
		return e.U8(1)
	}
	return e.U8(0)
}

// Raw writes bytes whose number the reader knows, or the rest of the value.
func (e *Encoder) Raw(v []byte) *Encoder { e.b = append(e.b, v...); return e }

// Blob writes a length and the bytes.
func (e *Encoder) Blob(v []byte) *Encoder { return e.U32(uint32(len(v))).Raw(v) }

// Text is a Blob.
func (e *Encoder) Text(v string) *Encoder {
	e.U32(uint32(len(v)))
	e.b = append(e.b, v...)
	return e
}

// Time has milliseconds; the zero time stays the zero time. A time outside 1970 to 9999,
// which a stranger may have chosen, becomes the nearest inside: what is written can be read.
func (e *Encoder) Time(t time.Time) *Encoder {
	if t.IsZero() {
		return e.U64(0)
	}
	return e.U64(Milli(t))
}

// Milli is a time in Unix milliseconds, brought into the years 1970 to 9999.
func Milli(t time.Time) uint64 { return uint64(min(max(t.UnixMilli(), 1), maxMilli)) }

// Bytes returns what was written.
func (e *Encoder) Bytes() []byte { return e.b }

// Decoder reads them again. The first mistake sticks: every later read gives zero, and Done
// returns the error. It allocates nothing beyond what the value really holds.
type Decoder struct {
	b   []byte
	err error
}

// NewDecoder reads b without changing or keeping it.
func NewDecoder(b []byte) *Decoder { return &Decoder{b: b} }

func (d *Decoder) take(n int) []byte {
	if d.err != nil || n < 0 || n > len(d.b) {
		d.err = ErrValue
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *Decoder) U8() uint8 {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *Decoder) U32() uint32 {
	if v := d.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (d *Decoder) U64() uint64 {
	if v := d.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (d *Decoder) Bool() bool {
	v := d.U8()
	if v > 1 {
		d.err = ErrValue
	}
	return v == 1
}

// Raw fills dst.
func (d *Decoder) Raw(dst []byte) { copy(dst, d.take(len(dst))) }

// Blob returns a copy, nil where it is empty.
func (d *Decoder) Blob() []byte {
	n := d.U32()
	if uint64(n) > uint64(len(d.b)) {
		d.err = ErrValue
	}
	v := d.take(int(n))
	if len(v) == 0 {
		return nil
	}
	return append([]byte(nil), v...)
}

func (d *Decoder) Text() string {
	n := d.U32()
	if uint64(n) > uint64(len(d.b)) {
		d.err = ErrValue
	}
	return string(d.take(int(n)))
}

// Time refuses what no clock of ours has written: a year that time cannot carry.
func (d *Decoder) Time() time.Time {
	v := d.U64()
	if v == 0 {
		return time.Time{}
	}
	if v > maxMilli {
		d.err = ErrValue
		return time.Time{}
	}
	return time.UnixMilli(int64(v)).UTC()
}

// maxMilli is the year 9999.
const maxMilli = 253402300799999

// Count reads the number of elements that follow; each takes at least one byte, so a number
// that cannot be true is refused before anything is allocated.
func (d *Decoder) Count() int {
	n := d.U32()
	if uint64(n) > uint64(len(d.b)) {
		d.err = ErrValue
		return 0
	}
	return int(n)
}

// Rest returns what is left, not a copy.
func (d *Decoder) Rest() []byte { return d.take(len(d.b)) }

// Err is the first mistake so far.
func (d *Decoder) Err() error { return d.err }

// Done returns the first mistake, or ErrValue where something is left over.
func (d *Decoder) Done() error {
	if d.err == nil && len(d.b) != 0 {
		d.err = ErrValue
	}
	return d.err
}
