package rtc

import (
	"fmt"
	"net"

	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/stdnet"
)

// socketBuffer is what a socket's queue may hold, in bytes: a burst of a file's packets
// while this process waits for a core. The kernel's default of 208 KiB overflows on a busy
// machine, and an overflow can cost the file a second, the shortest retransmission time of
// SCTP (RFC 9260 section 16). The kernel gives as much of it as its own limit allows.
const socketBuffer = 4 << 20

// roomyNet is the machine's network with larger queues.
type roomyNet struct{ *stdnet.Net }

func newRoomyNet() (roomyNet, error) {
	n, err := stdnet.NewNet()
	if err != nil {
		return roomyNet{}, fmt.Errorf("rtc: list the network's interfaces: %w", err)
	}
	return roomyNet{n}, nil
}

func (n roomyNet) ListenUDP(network string, local *net.UDPAddr) (transport.UDPConn, error) {
	c, err := n.Net.ListenUDP(network, local)
	if err == nil {
		makeRoom(c)
	}
	return c, err
}

func (n roomyNet) ListenPacket(network, address string) (net.PacketConn, error) {
	c, err := n.Net.ListenPacket(network, address)
	if u, ok := c.(*net.UDPConn); ok && err == nil {
		makeRoom(u)
	}
	return c, err
}

// makeRoom asks for larger queues; a kernel that gives none leaves the connection slower and
// otherwise the same.
func makeRoom(c interface {
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}) {
	_ = c.SetReadBuffer(socketBuffer)
	_ = c.SetWriteBuffer(socketBuffer)
}
