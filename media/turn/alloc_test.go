//go:build !race

package turn

import (
	"net/netip"
	"testing"
	"time"
)

const allocSize = 1200

// Nothing is allocated per relayed packet, in either direction and by either way.
func TestRelayingAllocatesNothing(t *testing.T) {
	s := start(t, allowing(loopbackRule), func(c *Config) { c.Quotas.PacketsPerSecond, c.Quotas.BytesPerSecond = 1e9, 1e12 })
	c, p, other := dial(t, s, "udp").login(mint(t, s, 1)), newPeer(t), dial(t, s, "udp").login(mint(t, s, 2))
	relayed, relayOther := c.allocate(), other.allocate()
	c.bind(0x4000, p.at).wantCode(0)
	c.bind(0x4001, relayOther).wantCode(0)
	other.bind(0x4000, relayed).wantCode(0)
	who := tuple{addr: netip.MustParseAddrPort(c.conn.LocalAddr().String())}
	a := s.allocationOf(who)
	var sc scratch
	now := time.Now()
	payload := make([]byte, allocSize)
	down := make([]byte, headroom+maxDatagram+4)
	frames := map[string]func(){
		"channel to a peer":           func() { s.datagram(channelDataOf(0x4000, payload), who, &sc, now) },
		"channel to another client":   func() { s.datagram(channelDataOf(0x4001, payload), who, &sc, now) },
		"a peer to the channel":       func() { a.deliver(p.at, down, allocSize, now) },
		"a peer by a Data indication": func() { a.deliver(netip.AddrPortFrom(p.at.Addr(), 1), down, allocSize, now) },
	}
	indication := newWriter(nil, methodSend, classIndication, newID()).address(attrXORPeerAddress, p.at).attr(attrData, payload).bytes()
	frames["a Send indication"] = func() { s.datagram(indication, who, &sc, now) }
	for name, f := range frames {
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %.1f allocations", name, n)
		}
	}
}

var channelSpace [4 + allocSize]byte

// channelDataOf builds channel data in a fixed place, so that the test itself allocates nothing.
func channelDataOf(number uint16, payload []byte) []byte {
	b := channelSpace[:]
	b[0], b[1], b[2], b[3] = byte(number>>8), byte(number), byte(len(payload)>>8), byte(len(payload)&0xFF)
	copy(b[4:], payload)
	return b
}
