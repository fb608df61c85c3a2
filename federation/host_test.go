package federation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/trunkline-net/trunkline/federation/wire"
)

// visitor is a plain libp2p host of no domain.
func visitor(t *testing.T, name string, security libp2p.Option) host.Host {
	t.Helper()
	key, err := crypto.UnmarshalEd25519PrivateKey(seed(name))
	if err != nil {
		t.Fatal(err)
	}
	h, err := libp2p.New(libp2p.NoTransports, libp2p.NoListenAddrs, libp2p.Identity(key), libp2p.DisableMetrics(), security,
		libp2p.Transport(tcp.NewTCPTransport), libp2p.Transport(libp2pquic.NewTransport))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func (n *testNode) info(t *testing.T) peer.AddrInfo {
	t.Helper()
	id := n.id()
	info := peer.AddrInfo{ID: peer.ID(id[:])}
	for _, s := range n.Addrs() {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			t.Fatal(err)
		}
		info.Addrs = append(info.Addrs, a)
	}
	return info
}

func TestHostSpeaksNoiseAndTLSAndOffersNothingElse(t *testing.T) {
	t.Parallel()
	n := newTestNode(t, "acme.example", "version = 1")
	n.cfg.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	n.start()
	for name, security := range map[string]libp2p.Option{
		"noise": libp2p.Security(noise.ID, noise.New), "tls": libp2p.Security(libp2ptls.ID, libp2ptls.New),
	} {
		h := visitor(t, name, security)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := h.Connect(ctx, n.info(t)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		id := n.info(t).ID
		eventually(t, "identify has run", func() bool {
			p, err := h.Peerstore().GetProtocols(id)
			return err == nil && len(p) > 0
		})
		protocols, err := h.Peerstore().GetProtocols(id)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range protocols {
			if p != protocol.ID(wire.Protocol) && !strings.HasPrefix(string(p), "/ipfs/id/") {
				t.Errorf("the host offers %s", p)
			}
		}
		// Only what the visitor dialled is known of its addresses: identify told none.
		h.Peerstore().ClearAddrs(id)
		rec := h.Peerstore().(peerstore.CertifiedAddrBook).GetPeerRecord(id)
		if rec != nil {
			if r, err := rec.Record(); err != nil || len(r.(*peer.PeerRecord).Addrs) != 0 {
				t.Errorf("identify told addresses: %v, %v", r, err)
			}
		}
	}
}

// libp2p's own limit is eight connections from one address, with loopback excepted so that
// tests do not see it. Here loopback is no exception, and a partner behind one NAT passes.
func TestManyNodesBehindOneAddressPass(t *testing.T) {
	t.Parallel()
	n := newTestNode(t, "acme.example", "version = 1")
	n.start()
	for i := range 24 {
		h := visitor(t, fmt.Sprintf("visitor %d", i), libp2p.Security(noise.ID, noise.New))
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		err := h.Connect(ctx, n.info(t))
		cancel()
		if err != nil {
			t.Fatalf("visitor %d: %v", i, err)
		}
	}
}

func TestAddrsAreTheAnnouncedOnesOrThoseListenedOn(t *testing.T) {
	t.Parallel()
	n := newTestNode(t, "acme.example", "version = 1")
	f, err := New(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if f.Addrs() != nil {
		t.Error("addresses before Run")
	}
	n.start()
	got := n.Addrs()
	if len(got) != 2 || !strings.HasPrefix(got[0], "/ip4/127.0.0.1/") || strings.Contains(got[0], "/0") {
		t.Errorf("port 0 on loopback gives %v", got)
	}
	two, err := parseAddrs([]string{"10.0.0.1:1", "10.0.0.1:2"}, false)
	if err != nil {
		t.Fatal(err)
	}
	want := reachable(two)
	for range 5 { // the library gives them in another order each time, which is no other place
		rand.Shuffle(len(two), func(i, k int) { two[i], two[k] = two[k], two[i] })
		if got := reachable(two); !slices.Equal(got, want) {
			t.Errorf("in another order: %v and %v", got, want)
		}
	}
	named := newTestNode(t, "globex.example", "version = 1")
	named.cfg.Announce = []string{"globex.example:7421"}
	named.start()
	if got := named.Addrs(); len(got) != 2 || got[0] != "/dns/globex.example/tcp/7421" {
		t.Errorf("announced: %v", got)
	}
}

func TestPortInUseIsAnError(t *testing.T) {
	t.Parallel()
	n := newTestNode(t, "acme.example", "version = 1")
	n.start()
	for _, taken := range n.Addrs() { // TCP and QUIC
		other := newTestNode(t, "globex.example", "version = 1")
		other.cfg.Listen = []string{"127.0.0.1:0", taken}
		f, err := New(other.cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if err := f.Run(ctx); err == nil || !strings.Contains(err.Error(), "listen") {
			t.Errorf("%s twice: %v", taken, err)
		}
		cancel()
	}
}

// The simulated network proves it for QUIC: a bubble fails over a goroutine that stays. This
// is the same for real sockets and TCP.
func TestNoGoroutineIsLeftBehind(t *testing.T) {
	a := newTestNode(t, "acme.example", partnerOf("globex.example"))
	b := newTestNode(t, "globex.example", partnerOf("acme.example"))
	web(t, a, b)
	a.start()
	b.start()
	a.knows(b)
	connected(t, a, b)
	for _, n := range []*testNode{a, b} {
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	}
	// Ours have ended when Run returns. libp2p lets a few of its own run out behind Close.
	if left := goroutinesOf("trunkline/federation.("); left != "" {
		t.Errorf("Run left behind:\n%s", left)
	}
	eventually(t, "libp2p's goroutines have ended", func() bool { return goroutinesOf("go-libp2p") == "" })
}

// goroutinesOf returns the stacks of the goroutines, but for the calling one, that run code of
// a package. No other test runs beside one that is not parallel.
func goroutinesOf(pkg string) string {
	buf := make([]byte, 4<<20)
	stacks := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	var left []string
	for _, s := range stacks[1:] {
		if strings.Contains(s, pkg) {
			left = append(left, s)
		}
	}
	return strings.Join(left, "\n\n")
}

func TestALinkIsOverTCPAndTLSWhereItCanBe(t *testing.T) {
	t.Parallel()
	a, b := newTestNode(t, "acme.example", partnerOf("globex.example")), newTestNode(t, "globex.example", partnerOf("acme.example"))
	web(t, a, b)
	for _, n := range []*testNode{a, b} { // QUIC is named first
		n.cfg.Listen = []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"}
		n.start()
	}
	a.knows(b)
	connected(t, a, b)
	conns := a.host.Network().ConnsToPeer(b.libp2pID())
	if len(conns) == 0 {
		t.Fatal("no connection")
	}
	for _, c := range conns {
		if st := c.ConnState(); st.Transport != "tcp" || st.Security != libp2ptls.ID {
			t.Errorf("a connection over %s with %s", st.Transport, st.Security)
		}
	}
}

func TestQUICIsDialledAfterTCP(t *testing.T) {
	var addrs []ma.Multiaddr
	for _, s := range []string{"/ip4/8.8.8.8/udp/1/quic-v1", "/ip4/8.8.8.8/tcp/1", "/ip6/2001:4860::1/udp/1/quic-v1", "/ip6/2001:4860::1/tcp/1"} {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, a)
	}
	var tcp, quic []time.Duration
	for _, d := range rankAddrs(addrs) {
		if strings.Contains(d.Addr.String(), "/tcp/") {
			tcp = append(tcp, d.Delay)
		} else {
			quic = append(quic, d.Delay)
		}
	}
	if len(tcp) != 2 || len(quic) != 2 || slices.Min(tcp) != 0 || slices.Min(quic) < slices.Max(tcp)+quicDelay {
		t.Errorf("TCP after %v, QUIC after %v", tcp, quic)
	}
	for _, d := range rankAddrs(addrs[:1]) {
		if d.Delay != 0 {
			t.Errorf("QUIC alone is dialled after %v", d.Delay)
		}
	}
}
