package rtc

import (
	"slices"
	"testing"
)

func TestWithoutTCP(t *testing.T) {
	t.Parallel()
	const udp4, tcp4, tcp6 = "candidate:1 1 udp 2130706431 192.0.2.1 7422 typ host", "candidate:2 1 TCP 1015021823 192.0.2.1 7422 typ host tcptype passive", "candidate:3 1 tcp 1015021822 2001:db8::1 7422 typ host tcptype passive"
	const head, tail = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n", "a=end-of-candidates\r\na=candidate:\r\n"
	rest, tcp := withoutTCP(head + "a=" + udp4 + "\r\na=" + tcp4 + "\r\na=" + tcp6 + "\r\n" + tail)
	if want := head + "a=" + udp4 + "\r\n" + tail; rest != want {
		t.Errorf("the rest is %q, not %q", rest, want)
	}
	if !slices.Equal(tcp, []string{tcp4, tcp6}) {
		t.Errorf("for TCP there are %q", tcp)
	}
}
