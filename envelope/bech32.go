package envelope

// age takes its keys as Bech32 text only, so the text is built for the call and nowhere
// else; bundles and stores hold raw bytes. Encoding only: what comes from outside is raw.

const (
	ageRecipientHRP = "age1pq"
	ageIdentityHRP  = "AGE-SECRET-KEY-PQ-"
	bech32Charset   = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
)

// bech32Encode is BIP 173 without its limit of 90 characters, as age uses it: a recipient of
// 1216 bytes has 1959. hrp is all lower or all upper case; the result follows it.
func bech32Encode(hrp string, data []byte) string {
	upper := hrp[0] >= 'A' && hrp[0] <= 'Z'
	lower := make([]byte, len(hrp))
	for i := range len(hrp) {
		c := hrp[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}

	values := make([]byte, 0, len(data)*8/5+1)
	var acc, bits uint
	for _, b := range data {
		acc, bits = acc<<8|uint(b), bits+8
		for bits >= 5 {
			bits -= 5
			values = append(values, byte(acc>>bits)&31)
		}
		acc &= 1<<bits - 1
	}
	if bits > 0 {
		values = append(values, byte(acc<<(5-bits))&31)
	}

	sum := uint32(1)
	for _, c := range lower {
		sum = bech32Step(sum, c>>5)
	}
	sum = bech32Step(sum, 0)
	for _, c := range lower {
		sum = bech32Step(sum, c&31)
	}
	for _, v := range values {
		sum = bech32Step(sum, v)
	}
	for range 6 {
		sum = bech32Step(sum, 0)
	}
	sum ^= 1

	out := make([]byte, 0, len(lower)+1+len(values)+6)
	out = append(append(out, lower...), '1')
	for _, v := range values {
		out = append(out, bech32Charset[v])
	}
	for i := range 6 {
		out = append(out, bech32Charset[sum>>(5*(5-i))&31])
	}
	if upper {
		for i, c := range out {
			if c >= 'a' && c <= 'z' {
				out[i] = c - ('a' - 'A')
			}
		}
	}
	return string(out)
}

func bech32Step(sum uint32, v byte) uint32 {
	top := sum >> 25
	sum = (sum&0x1ffffff)<<5 ^ uint32(v)
	for i, g := range [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
		if top>>i&1 == 1 {
			sum ^= g
		}
	}
	return sum
}
