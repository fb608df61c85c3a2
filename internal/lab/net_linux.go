package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Lab is one internet and what was attached to it. It belongs to one test and ends with it.
type Lab struct {
	t     testing.TB
	hosts string // file that every host reads as /etc/hosts
	net   *Net   // the internet

	mu     sync.Mutex // guards what follows
	lans   int        // private networks so far
	spaces []*space
	closed []func() // what else has to end first
}

// Addresses of the internet. They are public ones, because what is tested refuses all others,
// and nothing here leaves its namespace.
var (
	internet4 = netip.MustParsePrefix("11.0.0.0/16")
	internet6 = netip.MustParsePrefix("2a00:aa00::/64")
)

// New makes an internet without anything on it. A test that is not run by root is skipped.
func New(t testing.TB) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make network namespaces")
	}
	for _, tool := range []string{"ip", "nft", "conntrack"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("the lab needs %s: run .ci/need-lab", tool)
		}
	}
	dir := t.TempDir()
	l := &Lab{t: t, hosts: filepath.Join(dir, "hosts")}
	for _, f := range []struct{ path, text string }{{l.hosts, "127.0.0.1 localhost\n::1 localhost\n"}, {filepath.Join(dir, "resolv.conf"), ""}} {
		if err := os.WriteFile(f.path, []byte(f.text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(l.close)
	core, err := l.space("internet")
	if errors.Is(err, errNotPermitted) {
		t.Skip("only root can make network namespaces, and this root may not: " + err.Error())
	}
	if err == nil {
		l.net, err = l.newNet(core, internet4, internet6)
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *Lab) space(name string) (*space, error) {
	s, err := newSpace(name, l.hosts)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spaces = append(l.spaces, s)
	return s, nil
}

// ends adds what has to end before the namespaces do.
func (l *Lab) ends(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = append(l.closed, f)
}

func (l *Lab) close() {
	l.mu.Lock()
	closed, spaces := l.closed, l.spaces
	l.closed, l.spaces = nil, nil
	l.mu.Unlock()
	for _, s := range spaces {
		s.mu.Lock()
		children := s.children
		s.mu.Unlock()
		for _, p := range children {
			p.Kill()
		}
	}
	for _, f := range closed {
		f()
	}
	for _, s := range spaces {
		s.close()
	}
}

// must ends the test where building its network did not work: nothing after it would mean
// anything.
func (l *Lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// Public makes a host on the internet that every other host finds under name.
func (l *Lab) Public(name string, options ...Option) *Host {
	l.t.Helper()
	h := l.net.Host(name, options...)
	l.mu.Lock()
	defer l.mu.Unlock()
	f, err := os.OpenFile(l.hosts, os.O_APPEND|os.O_WRONLY, 0)
	l.must(err)
	for _, addr := range h.Addrs() {
		_, err := fmt.Fprintf(f, "%s %s\n", addr, name)
		l.must(err)
	}
	l.must(f.Close())
	return h
}

// Behind makes a private network whose router is on the internet.
func (l *Lab) Behind(kind Kind) *Net {
	l.t.Helper()
	return l.net.Behind(kind)
}

// Carrier is Behind with the addresses that carriers use between their translator and those of
// their customers (100.64.0.0/10, RFC 6598).
func (l *Lab) Carrier(kind Kind) *Net {
	l.t.Helper()
	return l.net.behind(kind, "100.64.%d.0/24")
}

// Net is a network: a router, and a bridge in it that hosts and further routers hang on.
type Net struct {
	l      *Lab
	router *space
	kind   Kind
	wan    netip.Addr // the router's outer address; invalid for the internet itself
	up     *Net

	mu     sync.Mutex // guards what follows
	v4, v6 netip.Addr // the newest addresses that were given out; the router has the first
	p4, p6 netip.Prefix
	ports  int
}

func (l *Lab) newNet(router *space, p4, p6 netip.Prefix) (*Net, error) {
	n := &Net{l: l, router: router, p4: p4, p6: p6}
	lines := []string{"link add lan type bridge mcast_snooping 0", "link set lan up"}
	sysctls := []string{"ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1"}
	if p4.IsValid() {
		n.v4 = p4.Addr().Next()
		lines = append(lines, fmt.Sprintf("addr add %s/%d dev lan", n.v4, p4.Bits()))
	}
	if p6.IsValid() {
		n.v6 = p6.Addr().Next()
		lines = append(lines, fmt.Sprintf("addr add %s/%d dev lan nodad", n.v6, p6.Bits()))
	}
	return n, errors.Join(router.ip(lines...), router.sysctl(sysctls...))
}

// attach hangs the outer end of s on the bridge, as a cable does, and routes everything
// through it. It returns the addresses that s has now.
func (n *Net) attach(s *space, dev string, f families) (v4, v6 netip.Addr, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports++
	port := fmt.Sprintf("port%d", n.ports)
	if err := s.ip(fmt.Sprintf("link add %s type veth peer name %s netns %d", dev, port, n.router.tid)); err != nil {
		return v4, v6, err
	}
	if err := n.router.ip("link set "+port+" master lan", "link set "+port+" up"); err != nil {
		return v4, v6, err
	}
	lines := []string{"link set " + dev + " up"}
	gate4, gate6 := n.p4.Addr().Next(), n.p6.Addr().Next()
	v4, v6 = n.nextLocked(f)
	if v4.IsValid() {
		lines = append(lines, fmt.Sprintf("addr add %s/%d dev %s", v4, n.p4.Bits(), dev), fmt.Sprintf("route add default via %s", gate4))
	}
	if v6.IsValid() {
		lines = append(lines, fmt.Sprintf("addr add %s/%d dev %s nodad", v6, n.p6.Bits(), dev), fmt.Sprintf("route add default via %s", gate6))
	}
	if err := s.ip(lines...); err != nil {
		return v4, v6, err
	}
	return v4, v6, n.router.forwards(port)
}

// families says which addresses a machine gets, of those that its network has.
type families struct{ four, six bool }

// nextLocked gives out the next address of each family.
func (n *Net) nextLocked(f families) (v4, v6 netip.Addr) {
	if n.p4.IsValid() && f.four {
		n.v4 = n.v4.Next()
		v4 = n.v4
	}
	if n.p6.IsValid() && f.six {
		n.v6 = n.v6.Next()
		v6 = n.v6
	}
	return v4, v6
}

// Host is a machine on a network: programs run in it.
type Host struct {
	*space
	l      *Lab
	v4, v6 netip.Addr
	wire   *Wire
}

// Option changes how a host is attached.
type Option func(*hostOptions)

type hostOptions struct {
	wire bool
	families
}

// OverWire attaches the host with a [Wire] instead of a cable.
func OverWire(o *hostOptions) { o.wire = true }

// OnlyIPv4 leaves out the IPv6 address where the network has one.
func OnlyIPv4(o *hostOptions) { o.six = false }

// Host makes a machine on the network.
func (n *Net) Host(name string, options ...Option) *Host {
	n.l.t.Helper()
	o := hostOptions{families: families{true, true}}
	for _, option := range options {
		option(&o)
	}
	s, err := n.l.space(name)
	n.l.must(err)
	h := &Host{space: s, l: n.l}
	if o.wire {
		h.wire, h.v4, h.v6, err = n.attachWire(s, o.families)
	} else {
		h.v4, h.v6, err = n.attach(s, "eth0", o.families)
	}
	n.l.must(err)
	return h
}

// Addrs are the host's addresses, IPv4 first.
func (h *Host) Addrs() []netip.Addr {
	var out []netip.Addr
	for _, a := range []netip.Addr{h.v4, h.v6} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// Addr is the host's first address.
func (h *Host) Addr() netip.Addr { return h.Addrs()[0] }

// Wire is what the host is attached with; nil if it was made without [OverWire].
func (h *Host) Wire() *Wire { return h.wire }

// Do runs f in the host: sockets that it opens are the host's. It must not leave that to
// goroutines of its own, and not wait long: everything of the host goes through one thread.
func (h *Host) Do(f func() error) error { return h.do(f) }

// HTTP is a client whose connections begin in the host. It asks by address: names are found
// only in programs of the host.
func (h *Host) HTTP() *http.Client {
	dial := func(_ context.Context, network, address string) (c net.Conn, err error) {
		err = h.do(func() error {
			c, err = net.DialTimeout(network, address, setupTime)
			return err
		})
		return c, err
	}
	return &http.Client{Timeout: setupTime, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

// Start runs a program in the host. It is killed at the end of the lab at the latest.
func (h *Host) Start(cmd *exec.Cmd) (*Process, error) { return h.start(cmd) }

// Run runs a program in the host to its end.
func (h *Host) Run(cmd *exec.Cmd) error {
	p, err := h.start(cmd)
	if err != nil {
		return err
	}
	return p.Wait()
}

// Close ends the host before its lab does.
func (h *Host) Close() { h.close() }

// String is the host's name.
func (h *Host) String() string { return h.name }

// Host makes a machine on the internet that has no name.
func (l *Lab) Host(name string, options ...Option) *Host {
	l.t.Helper()
	return l.net.Host(name, options...)
}

// Take moves a host here from the network that it is on, as a laptop that is carried about:
// its old addresses and all that was routed over them are gone.
func (n *Net) Take(h *Host) {
	n.l.t.Helper()
	if h.wire != nil {
		n.l.t.Fatal("a host on a wire does not move")
	}
	n.l.must(h.ip("link del eth0"))
	var err error
	h.v4, h.v6, err = n.attach(h.space, "eth0", families{true, true})
	n.l.must(err)
}
