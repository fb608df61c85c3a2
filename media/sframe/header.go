package sframe

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// maxHeader is 1 config byte, 8 bytes of KID and 8 of CTR.
const maxHeader = 17

// ErrHeader: the SFrame header is cut short or not in its shortest form. RFC 9605 only says
// that senders should use the shortest form; here there is one encoding per value, so that a
// middle box cannot make two different frames of one.
var ErrHeader = errors.New("sframe: bad header")

// appendHeader writes the header of RFC 9605, 4.3:
//
//	config byte X KKK Y CCC, then the KID if X, then the CTR if Y
//
// X or Y is set when the value does not fit three bits; K or C then is its length minus one.
func appendHeader(dst []byte, kid, ctr uint64) []byte {
	at := len(dst)
	dst = append(dst, 0)
	var config byte
	if kid < 8 {
		config |= byte(kid) << 4
	} else {
		n := byteLen(kid)
		config |= 0x80 | byte(n-1)<<4
		dst = appendUint(dst, kid, n)
	}
	if ctr < 8 {
		config |= byte(ctr)
	} else {
		n := byteLen(ctr)
		config |= 0x08 | byte(n-1)
		dst = appendUint(dst, ctr, n)
	}
	dst[at] = config
	return dst
}

// parseHeader reads a header and returns its length.
func parseHeader(b []byte) (kid, ctr uint64, n int, err error) {
	if len(b) == 0 {
		return 0, 0, 0, ErrHeader
	}
	config := b[0]
	n = 1
	kid, n, err = parseField(b, n, config>>4)
	if err != nil {
		return 0, 0, 0, err
	}
	ctr, n, err = parseField(b, n, config&0x0f)
	if err != nil {
		return 0, 0, 0, err
	}
	return kid, ctr, n, nil
}

// parseField reads one value, of which nibble is the flag and the three bits beside it.
func parseField(b []byte, at int, nibble byte) (v uint64, next int, err error) {
	if nibble&0x08 == 0 {
		return uint64(nibble), at, nil
	}
	size := int(nibble&0x07) + 1
	if len(b)-at < size {
		return 0, 0, ErrHeader
	}
	for _, c := range b[at : at+size] {
		v = v<<8 | uint64(c)
	}
	if v < 8 || byteLen(v) != size {
		return 0, 0, ErrHeader
	}
	return v, at + size, nil
}

func byteLen(v uint64) int { return (bits.Len64(v) + 7) / 8 }

func appendUint(dst []byte, v uint64, n int) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	return append(dst, b[8-n:]...)
}
