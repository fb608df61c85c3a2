package rtc

// vp8Cutter cuts sealed VP8 frames into packets (RFC 7741, section 4.2), each frame under a picture
// ID of 15 bits that is one higher than the last. The library's own cutter leaves the number out
// where it is 0: a receiver that finds frames by their numbers then never gets the first key frame,
// and shows nothing until there is another.
type vp8Cutter struct{ picture uint16 }

const (
	vp8Header = 4 // X and S; I; M and the picture ID

	vp8Extended = 0x80 // X
	vp8Start    = 0x10 // S
	vp8Picture  = 0x80 // I
	vp8Long     = 0x80 // M
)

// Payload makes it an rtp.Payloader.
func (c *vp8Cutter) Payload(mtu uint16, frame []byte) [][]byte {
	room := int(mtu) - vp8Header
	if room <= 0 {
		return nil
	}
	var out [][]byte
	for first := true; len(frame) > 0; first = false {
		n := min(room, len(frame))
		packet := make([]byte, 0, vp8Header+n)
		start := byte(vp8Extended)
		if first {
			start |= vp8Start
		}
		packet = append(packet, start, vp8Picture, vp8Long|byte(c.picture>>8), byte(c.picture))
		out = append(out, append(packet, frame[:n]...))
		frame = frame[n:]
	}
	c.picture = (c.picture + 1) & 0x7fff
	return out
}
