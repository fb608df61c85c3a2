package rtc

import (
	"bytes"
	"testing"

	"github.com/pion/rtp/codecs"
)

// Every frame has a number, the first one too, and after the last number comes the first again.
func TestEveryVP8FrameHasAPictureID(t *testing.T) {
	cutter := vp8Cutter{picture: 0x7ffe}
	for _, want := range []uint16{0x7ffe, 0x7fff, 0, 1} {
		frame := videoFrame(0, int(want), 2500, func(b []byte) { b[len(b)-1] = byte(want) })
		var back []byte
		packets := cutter.Payload(1200, frame)
		if len(packets) != 3 {
			t.Fatalf("%d packets", len(packets))
		}
		for i, packet := range packets {
			if len(packet) > 1200 {
				t.Errorf("a packet of %d bytes", len(packet))
			}
			var p codecs.VP8Packet
			payload, err := p.Unmarshal(packet)
			if err != nil {
				t.Fatal(err)
			}
			if p.I != 1 || p.PictureID != want || (p.S == 1) != (i == 0) || p.PID != 0 {
				t.Errorf("packet %d of picture %d says %+v", i, want, p)
			}
			back = append(back, payload...)
		}
		if !bytes.Equal(back, frame) {
			t.Error("the packets are not the frame")
		}
	}
	if got := cutter.Payload(vp8Header, []byte{1}); got != nil {
		t.Errorf("packets without room: %v", got)
	}
}
