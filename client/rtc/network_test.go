package rtc

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pion/logging"
	"github.com/pion/turn/v4"
	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/client/sdp"
)

// countingListener counts the connections that it was asked for.
type countingListener struct {
	net.Listener
	taken atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.taken.Add(1)
	}
	return c, err
}

// relayAt starts a relay on one loopback address that lends IPv4 addresses.
func relayAt(t *testing.T, host string) (udp, tcp string, connections *countingListener) {
	t.Helper()
	packets, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	connections = &countingListener{Listener: listener}
	generator := &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"}
	server, err := turn.NewServer(turn.ServerConfig{
		Realm: "test", LoggerFactory: &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled, Writer: testWriter{t}},
		AuthHandler: func(user, realm string, _ net.Addr) ([]byte, bool) {
			return turn.GenerateAuthKey(user, realm, "secret"), user == "user"
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: packets, RelayAddressGenerator: generator}},
		ListenerConfigs:   []turn.ListenerConfig{{Listener: connections, RelayAddressGenerator: generator}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return "turn:" + packets.LocalAddr().String(), "turn:" + listener.Addr().String() + "?transport=tcp", connections
}

// questions are the datagrams that a port has taken.
type questions struct {
	requests atomic.Int64
	first    chan struct{} // closed with the first
}

// silentPort is a UDP port that takes everything and answers nothing, as behind a firewall.
func silentPort(t *testing.T) (url string, asked *questions) {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	asked = &questions{first: make(chan struct{})}
	go func() {
		for b := make([]byte, 2048); ; {
			if _, _, err := c.ReadFrom(b); err != nil {
				return
			}
			if asked.requests.Add(1) == 1 {
				close(asked.first)
			}
		}
	}()
	return "turn:" + c.LocalAddr().String(), asked
}

// hidden is a call's end that uses a relay with these ports alone.
func hidden(role Role, urls ...string) Config {
	cfg := testConfig(role)
	cfg.RelayOnly = true
	cfg.ICEServers = []ICEServer{{URLs: urls, Username: "user", Credential: "secret"}}
	return cfg
}

// lastCandidate is closed when a side has found all its candidates.
func lastCandidate(cfg *Config) <-chan struct{} {
	all := make(chan struct{})
	forward := cfg.OnLocalCandidate
	cfg.OnLocalCandidate = func(c Candidate) {
		forward(c)
		if c.Line == "" {
			close(all)
		}
	}
	return all
}

// TestUDPGoesBeforeTCP: with both ports of a relay on offer, the TCP port is not even asked
// where UDP answers; where it does not, the call comes about over TCP with its first
// description, and the silent port is given up long before the library would.
func TestUDPGoesBeforeTCP(t *testing.T) {
	udp, tcp, connections := relayAt(t, "127.0.0.1")
	silent, asked := silentPort(t)
	for _, c := range []struct {
		name, port, path string
	}{{"UDP answers", udp, "relay/udp"}, {"UDP is silent", silent, "relay/tcp"}} {
		t.Run(c.name, func(t *testing.T) {
			before := connections.taken.Load()
			var alice, bob *side
			a, b := hidden(Initiator, c.port, tcp), hidden(Responder, udp)
			trickle(&a, func() *side { return bob })
			trickle(&b, func() *side { return alice })
			all := lastCandidate(&a)
			alice, bob = newSide(t, a), newSide(t, b)
			alice.run()
			bob.run()
			exchange(t, alice, bob)
			wait(t, alice.Peer.bound, "binding at Alice's")
			wait(t, bob.Peer.bound, "binding at Bob's")
			wait(t, all, "end of candidates")
			if r := alice.Route(); r.Path != c.path {
				t.Errorf("the route is %+v, want %s", r, c.path)
			}
			if n := connections.taken.Load() - before; (n == 0) != (c.path == "relay/udp") {
				t.Errorf("the TCP port was asked %d times", n)
			}
			hangUp(t, alice, bob)
			noGoroutines(t)
		})
	}
	// The library sends a request eight times if it may.
	if n := asked.requests.Load(); n == 0 || n > 4 {
		t.Errorf("the silent port was asked %d times", n)
	}
}

// TestAnEndDoesNotWaitForASilentRelay: nothing that a relay owes holds up the end of a call.
func TestAnEndDoesNotWaitForASilentRelay(t *testing.T) {
	silent, asked := silentPort(t)
	alice := newSide(t, hidden(Initiator, silent))
	alice.run()
	if _, err := alice.CreateOffer(context.Background()); err != nil {
		t.Fatal(err)
	}
	wait(t, asked.first, "request to the relay")
	alice.Close()
	if err := alice.result(); err != nil {
		t.Error(err)
	}
	noGoroutines(t)
	if n := asked.requests.Load(); n > 2 {
		t.Errorf("the silent port was asked %d times", n)
	}
}

// TestARelayIsReachedOverIPv6WhereThereIsNoIPv4, and still lends an address that those without
// IPv6 can reach.
func TestARelayIsReachedOverIPv6WhereThereIsNoIPv4(t *testing.T) {
	udp, tcp, _ := relayAt(t, "::1")
	plain, _, _ := relayAt(t, "127.0.0.1")
	for name, c := range map[string]struct{ port, path string }{"UDP": {udp, "relay/udp"}, "TCP": {tcp, "relay/tcp"}} {
		t.Run(name, func(t *testing.T) {
			var alice, bob *side
			a, b := hidden(Initiator, c.port), hidden(Responder, plain)
			a.InterfaceFilter = nil // the library binds to each interface's own addresses with one
			lines := recordLines(&a, func() *side { return bob })
			trickle(&b, func() *side { return alice })
			alice, bob = newSide(t, a), newSide(t, b)
			alice.tune = func(*webrtc.SettingEngine) { alice.network.hasIPv4 = func() bool { return false } }
			alice.run()
			bob.run()
			exchange(t, alice, bob)
			wait(t, alice.Peer.bound, "binding at Alice's")
			wait(t, bob.Peer.bound, "binding at Bob's")
			if r := alice.Route(); r.Path != c.path {
				t.Errorf("the route is %+v, want %s", r, c.path)
			}
			relayed := 0
			for _, line := range lines() {
				if line == "" {
					continue
				}
				relayed++
				if got, err := sdp.ParseCandidate(line); err != nil || !got.Addr.Addr().Is4() || strings.Contains(line, "::") {
					t.Errorf("Alice gave out %q, %v", line, err)
				}
			}
			if relayed == 0 {
				t.Error("Alice gave out nothing")
			}
			hangUp(t, alice, bob)
			noGoroutines(t)
		})
	}
}
