//go:build unix

package turn

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	pion "github.com/pion/turn/v4"

	"github.com/trunkline-net/trunkline/media"
)

// The relay and plain pion in the same run, over the same sockets and the same system calls of the test's own ends.
// Read the figures as ratios: sender and receiver run in the same process and are part of them.

const benchBurst, benchSize = 16, 1200

// plainPion is pion as shipped, with no guard and no rules.
func plainPion(b *testing.B) *rawClient {
	b.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server, err := pion.NewServer(pion.ServerConfig{
		Realm: testRealm, LoggerFactory: silence{},
		AuthHandler: func(user, realm string, _ net.Addr) ([]byte, bool) {
			return pion.GenerateAuthKey(user, realm, "password"), true
		},
		PacketConnConfigs: []pion.PacketConnConfig{{
			PacketConn:            conn,
			RelayAddressGenerator: &pion.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"},
		}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { server.Close() })
	client, err := net.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Close() })
	return (&rawClient{t: b, conn: client}).login(media.Credentials{Username: "user", Password: "password"})
}

func guarded(b *testing.B, network string) *rawClient {
	b.Helper()
	s := start(b, allowing(loopbackRule), func(c *Config) {
		c.Quotas.PacketsPerSecond, c.Quotas.BytesPerSecond, c.Quotas.StartsPerSecond = 1e9, 1e12, 1e9
	})
	return dial(b, s, network).login(mint(b, s, 1))
}

// cpu is what the whole process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func measure(b *testing.B, burst func(n int)) {
	b.Helper()
	b.SetBytes(benchSize)
	b.ReportAllocs()
	b.ResetTimer()
	start := cpu(b)
	for done := 0; done < b.N; done += benchBurst {
		burst(min(benchBurst, b.N-done))
	}
	b.ReportMetric(float64(cpu(b)-start)/float64(b.N), "cpu-ns/packet")
}

func clientToPeer(b *testing.B, c *rawClient, prepare func(c *rawClient, p netip.AddrPort), frame func(p netip.AddrPort, payload []byte) []byte) {
	p := newPeer(b)
	c.allocate()
	prepare(c, p.at)
	out := frame(p.at, make([]byte, benchSize))
	in := make([]byte, 2*benchSize)
	p.conn.SetReadDeadline(time.Now().Add(10 * time.Minute))
	measure(b, func(n int) {
		for range n {
			c.send(out)
		}
		for range n {
			if _, _, err := p.conn.ReadFromUDPAddrPort(in); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func peerToClient(b *testing.B, c *rawClient) {
	p := newPeer(b)
	relayed := c.allocate()
	c.bind(0x4000, p.at).wantCode(0)
	out, in := make([]byte, benchSize), make([]byte, 2*benchSize)
	c.conn.SetReadDeadline(time.Now().Add(10 * time.Minute))
	measure(b, func(n int) {
		for range n {
			p.send(out, relayed)
		}
		for range n {
			if _, err := c.conn.Read(in); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func bindChannel(c *rawClient, p netip.AddrPort) { c.bind(0x4000, p).wantCode(0) }

func channelFrame(_ netip.AddrPort, payload []byte) []byte {
	return channelData(0x4000, payload, false)
}

func permitPeer(c *rawClient, p netip.AddrPort) { c.permit(p).wantCode(0) }

func sendFrame(p netip.AddrPort, payload []byte) []byte {
	return newWriter(nil, methodSend, classIndication, newID()).address(attrXORPeerAddress, p).attr(attrData, payload).bytes()
}

func BenchmarkChannelClientToPeer(b *testing.B) {
	b.Run("plain-pion", func(b *testing.B) { clientToPeer(b, plainPion(b), bindChannel, channelFrame) })
	b.Run("relay", func(b *testing.B) { clientToPeer(b, guarded(b, "udp"), bindChannel, channelFrame) })
	b.Run("relay-tcp", func(b *testing.B) { clientToPeer(b, guarded(b, "tcp"), bindChannel, channelFrame) })
}

func BenchmarkIndicationClientToPeer(b *testing.B) {
	b.Run("plain-pion", func(b *testing.B) { clientToPeer(b, plainPion(b), permitPeer, sendFrame) })
	b.Run("relay", func(b *testing.B) { clientToPeer(b, guarded(b, "udp"), permitPeer, sendFrame) })
}

func BenchmarkChannelPeerToClient(b *testing.B) {
	b.Run("plain-pion", func(b *testing.B) { peerToClient(b, plainPion(b)) })
	b.Run("relay", func(b *testing.B) { peerToClient(b, guarded(b, "udp")) })
}

// Two clients of one node, who need no relay socket at all.
func BenchmarkJoined(b *testing.B) {
	s := start(b, func(c *Config) { c.Quotas.PacketsPerSecond, c.Quotas.BytesPerSecond = 1e9, 1e12 })
	one, two := dial(b, s, "udp").login(mint(b, s, 1)), dial(b, s, "udp").login(mint(b, s, 2))
	relayOne, relayTwo := one.allocate(), two.allocate()
	one.bind(0x4000, relayTwo).wantCode(0)
	two.bind(0x4000, relayOne).wantCode(0)
	out, in := channelFrame(netip.AddrPort{}, make([]byte, benchSize)), make([]byte, 2*benchSize)
	two.conn.SetReadDeadline(time.Now().Add(10 * time.Minute))
	measure(b, func(n int) {
		for range n {
			one.send(out)
		}
		for range n {
			if _, err := two.conn.Read(in); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSetUp(b *testing.B) {
	b.Run("plain-pion", func(b *testing.B) {
		c := plainPion(b)
		b.ResetTimer()
		for range b.N {
			c.allocate()
			c.refresh(0).wantCode(0)
		}
	})
	b.Run("relay", func(b *testing.B) {
		c := guarded(b, "udp")
		b.ResetTimer()
		for i := range b.N {
			if i%8000 == 7999 { // ports rest for a minute
				b.StopTimer()
				c = guarded(b, "udp")
				b.StartTimer()
			}
			c.allocate()
			c.refresh(0).wantCode(0)
		}
	})
}
