package identity

import (
	"errors"
	"strings"
)

// Bech32m (BIP 350), only as far as one fixed form of text needs it. It is written here
// because the common libraries also accept Bech32, and a text that passes both checksums
// in two implementations is two texts for one key.

const (
	bech32Charset = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	bech32mConst  = 0x2bc830a3
)

var errBech32 = errors.New("checksum or form is wrong")

func bech32Polymod(hrp string, data []byte) uint32 {
	chk := uint32(1)
	step := func(v byte) {
		top := chk >> 25
		chk = chk&0x1ffffff<<5 ^ uint32(v)
		for i, g := range [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				chk ^= g
			}
		}
	}
	for i := range len(hrp) {
		step(hrp[i] >> 5)
	}
	step(0)
	for i := range len(hrp) {
		step(hrp[i] & 31)
	}
	for _, v := range data {
		step(v)
	}
	return chk
}

func bech32mEncode(hrp string, payload []byte) string {
	data := make([]byte, 0, len(payload)*8/5+7)
	acc, bits := uint32(0), 0
	for _, b := range payload {
		acc, bits = acc<<8|uint32(b), bits+8
		for bits >= 5 {
			bits -= 5
			data = append(data, byte(acc>>bits)&31)
		}
	}
	if bits > 0 {
		data = append(data, byte(acc<<(5-bits))&31)
	}
	check := bech32Polymod(hrp, append(data[:len(data):len(data)], 0, 0, 0, 0, 0, 0)) ^ bech32mConst
	for i := range 6 {
		data = append(data, byte(check>>(5*(5-i)))&31)
	}
	var s strings.Builder
	s.WriteString(hrp)
	s.WriteByte('1')
	for _, v := range data {
		s.WriteByte(bech32Charset[v])
	}
	return s.String()
}

// bech32mDecode returns the payload of n bytes. It takes all lower or all upper case and
// refuses a wrong prefix, a wrong checksum, and padding bits that are not zero.
func bech32mDecode(hrp, s string, n int) ([]byte, error) {
	symbols := (n*8 + 4) / 5
	if len(s) != len(hrp)+1+symbols+6 {
		return nil, errBech32
	}
	lower := asciiLower(s)
	if s != lower && s != asciiUpper(s) {
		return nil, errors.New("mixes upper and lower case")
	}
	text, ok := strings.CutPrefix(lower, hrp+"1")
	if !ok {
		return nil, errBech32
	}
	data := make([]byte, 0, len(text))
	for i := range len(text) {
		v := strings.IndexByte(bech32Charset, text[i])
		if v < 0 {
			return nil, errBech32
		}
		data = append(data, byte(v))
	}
	if bech32Polymod(hrp, data) != bech32mConst {
		return nil, errBech32
	}
	payload := make([]byte, 0, n)
	acc, bits := uint32(0), 0
	for _, v := range data[:symbols] {
		acc, bits = acc<<5|uint32(v), bits+5
		if bits >= 8 {
			bits -= 8
			payload = append(payload, byte(acc>>bits))
		}
	}
	if acc&(1<<bits-1) != 0 {
		return nil, errBech32
	}
	return payload, nil
}

func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func asciiUpper(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r + 'A' - 'a'
		}
		return r
	}, s)
}
