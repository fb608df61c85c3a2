package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must come. It is never a measure.
const patience = 20 * time.Second

// socket is a UDP socket in a host.
type socket struct {
	t testing.TB
	*net.UDPConn
}

func listen(t testing.TB, h *Host, at netip.Addr) socket {
	t.Helper()
	var c *net.UDPConn
	err := h.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return socket{t, c}
}

func (s socket) at() netip.AddrPort { return s.LocalAddr().(*net.UDPAddr).AddrPort() }

func (s socket) send(to netip.AddrPort, text string) {
	s.t.Helper()
	// A router may answer with an ICMP error, which the next call reports: it is not of this one.
	for range 3 {
		_, err := s.WriteToUDPAddrPort([]byte(text), to)
		if err == nil {
			return
		}
		if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.ENETUNREACH) {
			s.t.Fatal(err)
		}
	}
}

// next is the next datagram and where it came from.
func (s socket) next() (string, netip.AddrPort) {
	s.t.Helper()
	if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	b := make([]byte, 2048)
	n, from, err := s.ReadFromUDPAddrPort(b)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b[:n]), netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// until reads datagrams up to the one with text, and returns those before it.
func (s socket) until(text string) (before []string) {
	s.t.Helper()
	for {
		got, _ := s.next()
		if got == text {
			return before
		}
		before = append(before, got)
	}
}

// behaviour is what RFC 4787 calls mapping and filtering.
type behaviour struct {
	mapping   string // "endpoint-independent", "address-dependent", "address- and port-dependent"
	filtering string // the same words
}

// probe finds out how a router treats UDP of a host behind it, with two servers on the
// internet, one of which has two ports, and a third port that was never sent to.
func probe(t *testing.T, l *Lab, inner *Host) behaviour {
	t.Helper()
	first, second := l.Public("first.example"), l.Public("second.example")
	pick := func(h *Host) netip.Addr {
		if inner.Addr().Is6() {
			return h.v6
		}
		return h.v4
	}
	a1, a2, b1 := listen(t, first, pick(first)), listen(t, first, pick(first)), listen(t, second, pick(second))
	s := listen(t, inner, inner.Addr())
	seen := func(server socket) netip.AddrPort {
		t.Helper()
		s.send(server.at(), "who am I")
		_, from := server.next()
		return from
	}
	var got behaviour
	first1 := seen(a1)

	// Filtering, as long as only a1 was sent to: others send, then a1 does. What has not come
	// before that was dropped, since all take one way.
	a2.send(first1, "other port")
	b1.send(first1, "other address")
	a1.send(first1, "end")
	switch before := s.until("end"); {
	case slices.Contains(before, "other address"):
		got.filtering = "endpoint-independent"
	case slices.Contains(before, "other port"):
		got.filtering = "address-dependent"
	default:
		got.filtering = "address- and port-dependent"
	}
	switch port, address := seen(a2), seen(b1); {
	case first1 == port && first1 == address:
		got.mapping = "endpoint-independent"
	case first1 == port:
		got.mapping = "address-dependent"
	default:
		got.mapping = "address- and port-dependent"
	}
	if first1 != seen(a1) {
		t.Error("the mapping to one endpoint does not last")
	}
	return got
}

func TestEachKindOfRouterBehavesAsRFC4787Says(t *testing.T) {
	t.Parallel()
	const independent, both = "endpoint-independent", "address- and port-dependent"
	for _, c := range []struct {
		name string
		make func(*Lab) *Net
		want behaviour
	}{
		{"no translation", func(l *Lab) *Net { return l.net }, behaviour{independent, independent}},
		{"full cone", func(l *Lab) *Net { return l.Behind(FullCone) }, behaviour{independent, independent}},
		{"port-restricted", func(l *Lab) *Net { return l.Behind(PortRestricted) }, behaviour{independent, both}},
		{"symmetric", func(l *Lab) *Net { return l.Behind(Symmetric) }, behaviour{both, both}},
		{"double", func(l *Lab) *Net { return l.Carrier(PortRestricted).Behind(PortRestricted) }, behaviour{independent, both}},
		{"full cone behind symmetric", func(l *Lab) *Net { return l.Carrier(Symmetric).Behind(FullCone) }, behaviour{both, both}},
		{"IPv6 only", func(l *Lab) *Net { return l.Behind(IPv6Only) }, behaviour{independent, both}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := New(t)
			if got := probe(t, l, c.make(l).Host("inner")); got != c.want {
				t.Errorf("mapping %s, filtering %s; want %s, %s", got.mapping, got.filtering, c.want.mapping, c.want.filtering)
			}
		})
	}
}

func TestBlockedUDPLetsTCPOutOnly(t *testing.T) {
	t.Parallel()
	l := New(t)
	server, inner := l.Public("server.example"), l.Behind(UDPBlocked).Host("inner")
	u := listen(t, server, server.v4)
	var tcp net.Listener
	if err := server.Do(func() (err error) {
		tcp, err = net.Listen("tcp", netip.AddrPortFrom(server.v4, 0).String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	s := listen(t, inner, inner.v4)
	s.send(u.at(), "over UDP")
	var c net.Conn
	if err := inner.Do(func() (err error) { c, err = net.DialTimeout("tcp", tcp.Addr().String(), patience); return err }); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// The connection came after the datagram and by the same way.
	other := listen(t, server, server.v4)
	other.send(u.at(), "end")
	if before := u.until("end"); len(before) != 0 {
		t.Errorf("%q came through", before)
	}
}

// TestHairpin: two networks behind one carrier reach each other under their outer addresses
// where the carrier's translator hairpins, and not where it does not.
func TestHairpin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		carrier Kind
		want    bool
	}{{FullCone, true}, {PortRestricted, false}} {
		t.Run(c.carrier.String(), func(t *testing.T) {
			t.Parallel()
			l := New(t)
			server := l.Public("server.example")
			carrier := l.Carrier(c.carrier)
			a, b := carrier.Behind(FullCone).Host("a"), carrier.Behind(FullCone).Host("b")
			at, sa, sb := listen(t, server, server.v4), listen(t, a, a.v4), listen(t, b, b.v4)
			outer := func(s socket) netip.AddrPort {
				s.send(at.at(), "who am I")
				_, from := at.next()
				return from
			}
			outerA, outerB := outer(sa), outer(sb)
			if outerA.Addr() != carrier.Wan() || outerB.Addr() != carrier.Wan() {
				t.Fatalf("they come from %v and %v, not from %v", outerA, outerB, carrier.Wan())
			}
			sa.send(outerB, "hairpin")
			at.send(outerB, "end")
			before := sb.until("end")
			if got := slices.Contains(before, "hairpin"); got != c.want {
				t.Fatalf("hairpinned: %v, want %v", got, c.want)
			}
			if !c.want {
				return
			}
			sa.send(outerB, "again")
			if _, from := sb.next(); from != outerA {
				t.Errorf("it comes from %v, not from the outer address %v (RFC 4787, REQ-9a)", from, outerA)
			}
		})
	}
}

func TestARebindGivesANewOuterAddress(t *testing.T) {
	t.Parallel()
	l := New(t)
	server := l.Public("server.example")
	for _, kind := range []Kind{FullCone, PortRestricted, Symmetric} {
		lan := l.Behind(kind)
		inner := lan.Host("inner")
		at, s := listen(t, server, server.v4), listen(t, inner, inner.v4)
		s.send(at.at(), "before")
		_, before := at.next()
		lan.Rebind()
		s.send(at.at(), "after")
		_, after := at.next()
		if before.Addr() == after.Addr() || after.Addr() != lan.Wan() {
			t.Errorf("%v: from %v before and %v after; the router has %v", kind, before, after, lan.Wan())
		}
		at.send(before, "to the old")
		at.send(after, "to the new")
		if got := s.until("to the new"); len(got) != 0 {
			t.Errorf("%v: %q came by the old mapping", kind, got)
		}
	}
}

func TestNamesAreFoundInsideOnly(t *testing.T) {
	t.Parallel()
	l := New(t)
	server := l.Public("server.trunkline.example")
	inner := l.Behind(PortRestricted).Host("inner")
	var out bytes.Buffer
	cmd := exec.Command("getent", "ahostsv4", "server.trunkline.example")
	cmd.Stdout = &out
	if err := inner.Run(cmd); err != nil || !strings.HasPrefix(out.String(), server.v4.String()+" ") {
		t.Errorf("inside: %q, %v", &out, err)
	}
	if b, err := os.ReadFile("/etc/hosts"); err != nil || bytes.Contains(b, []byte("trunkline")) {
		t.Errorf("outside: %q, %v", b, err)
	}
}

// wired is a host behind a wire, one on the internet, and a socket in each that the other knows.
func wired(t *testing.T) (w *Wire, inner, outer socket) {
	t.Helper()
	l := New(t)
	far, near := l.Public("far.example"), l.Public("near.example", OverWire)
	return near.Wire(), listen(t, near, near.v4), listen(t, far, far.v4)
}

func TestAWireLosesWhatItIsToldTo(t *testing.T) {
	t.Parallel()
	w, inner, outer := wired(t)
	const many = 200 // as many small datagrams as a socket holds
	burst := func() (got int, counts Counts) {
		t.Helper()
		before := w.Counts(Out)
		for i := range many {
			inner.send(outer.at(), strconv.Itoa(i))
		}
		// All of them have been judged when as many were taken, whatever became of them.
		waitFor(t, "the wire to take the burst", func() bool { return w.Counts(Out).Taken-before.Taken == many })
		w.Set(Out, Quality{})
		inner.send(outer.at(), "end")
		got = len(outer.until("end"))
		after := w.Counts(Out)
		return got, Counts{Lost: after.Lost - before.Lost, Cut: after.Cut - before.Cut, Overflow: after.Overflow - before.Overflow}
	}
	if got, c := burst(); got != many || c != (Counts{}) {
		t.Errorf("a wire that does nothing: %d of %d came, %+v", got, many, c)
	}
	w.Set(Out, Quality{Loss: 1})
	if got, c := burst(); got != 0 || c.Lost != many {
		t.Errorf("with a loss of all: %d came, %+v", got, c)
	}
	w.Set(Out, Quality{Cut: true})
	if got, c := burst(); got != 0 || c.Cut != many {
		t.Errorf("cut: %d came, %+v", got, c)
	}
	w.Set(Out, Quality{Loss: 0.25})
	got, c := burst()
	// 50 of 200 with a deviation of 6.1: seven of them on each side.
	if got+int(c.Lost) != many || c.Lost < 7 || c.Lost > 93 {
		t.Errorf("with a loss of a quarter: %d came, %+v", got, c)
	}
	t.Logf("a loss of 0.25: %d of %d lost", c.Lost, many)
}

func TestACutIsForOneDirection(t *testing.T) {
	t.Parallel()
	w, inner, outer := wired(t)
	w.Set(In, Quality{Cut: true})
	inner.send(outer.at(), "out")
	if got, _ := outer.next(); got != "out" {
		t.Errorf("got %q", got)
	}
	outer.send(inner.at(), "in")
	waitFor(t, "the wire to cut it", func() bool { return w.Counts(In).Cut == 1 })
	w.SetBoth(Quality{})
	outer.send(inner.at(), "healed")
	if before := inner.until("healed"); len(before) != 0 {
		t.Errorf("%q came through the cut", before)
	}
}

func TestAWireKeepsOrderAndDelays(t *testing.T) {
	t.Parallel()
	w, inner, outer := wired(t)
	w.SetBoth(Quality{Delay: 40 * time.Millisecond, Jitter: 15 * time.Millisecond})
	began := time.Now()
	const many = 50
	for i := range many {
		inner.send(outer.at(), strconv.Itoa(i))
	}
	for i := range many {
		got, from := outer.next()
		if got != strconv.Itoa(i) {
			t.Fatalf("%s came as number %d", got, i)
		}
		if i == 0 {
			outer.send(from, "back")
		}
	}
	inner.next()
	// A lower bound holds on any machine, however busy.
	if d := time.Since(began); d < 80*time.Millisecond {
		t.Errorf("there and back in %v", d)
	} else {
		t.Logf("there and back over 2 x 40 ms and up to 15 ms of jitter: %v", d.Round(100*time.Microsecond))
	}
}

// TestARateHoldsBack gives packets with their times instead of waiting for them.
func TestARateHoldsBack(t *testing.T) {
	t.Parallel()
	y := &way{queue: make(chan parcel, wireHolds), quality: Quality{Rate: 100_000, Queue: 10_000}}
	now := time.Unix(1_800_000_000, 0)
	var due []time.Duration
	for range 15 { // 1,000 bytes each, at once
		if p, ok := y.take(make([]byte, 1000), now); ok {
			due = append(due, p.due.Sub(now))
		}
	}
	if len(due) != 10 || y.counts.Overflow != 5 || y.counts.Queued != 10_000 {
		t.Fatalf("%d were taken, %+v", len(due), y.counts)
	}
	for i, d := range due {
		if want := time.Duration(i+1) * 10 * time.Millisecond; d.Round(time.Microsecond) != want {
			t.Errorf("packet %d is due after %v, want %v", i, d, want)
		}
	}
	// The queue is empty again; after a pause the rate has saved nothing up.
	y.counts.Queued = 0
	if p, ok := y.take(make([]byte, 1000), now.Add(time.Second)); !ok || p.due.Sub(now.Add(time.Second)).Round(time.Microsecond) != 10*time.Millisecond {
		t.Errorf("after a pause: due after %v, %v", p.due.Sub(now.Add(time.Second)), ok)
	}
}

func TestARateLosesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	w, inner, outer := wired(t)
	w.Set(Out, Quality{Rate: 1 << 20, Queue: 32 << 10})
	text := strings.Repeat("x", 1000)
	const many = 200
	for range many {
		inner.send(outer.at(), text)
	}
	waitFor(t, "the wire to take the burst", func() bool { return w.Counts(Out).Taken == many })
	waitFor(t, "the queue to empty", func() bool { return w.Counts(Out).Queued == 0 })
	w.Set(Out, Quality{})
	inner.send(outer.at(), "end")
	got, c := len(outer.until("end")), w.Counts(Out)
	// A burst is faster than a megabyte a second by far, and the queue holds a sixth of it.
	if c.Overflow == 0 || got+int(c.Overflow) != many || got < 31 {
		t.Errorf("%d came, %+v", got, c)
	}
	t.Logf("of %d KiB at once over 1 MiB/s with a queue of 32 KiB, %d KiB came", many, got)
}

func TestACaptureHoldsAPlantedPacket(t *testing.T) {
	t.Parallel()
	l := New(t)
	server, inner := l.Public("server.example"), l.Behind(PortRestricted).Host("inner")
	at, s := listen(t, server, server.v4), listen(t, inner, inner.v4)
	c, unrelated := inner.Capture(), l.Public("unrelated.example").Capture()
	s.send(at.at(), "planted-7d15")
	_, from := at.next()
	at.send(from, "answered-7d15")
	s.next()
	if err := errors.Join(c.Stop(), unrelated.Stop()); err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, p := range c.Packets() {
		if p.Proto == unix.IPPROTO_UDP {
			texts = append(texts, fmt.Sprintf("%v %v %v %s", p.Out, p.Src, p.Dst, p.Payload))
		}
	}
	want := []string{
		fmt.Sprintf("true %v %v planted-7d15", s.at(), at.at()),
		fmt.Sprintf("false %v %v answered-7d15", at.at(), s.at()),
	}
	if !slices.Equal(texts, want) {
		t.Errorf("captured %q, want %q", texts, want)
	}
	for _, p := range unrelated.Packets() {
		if bytes.Contains(p.IP, []byte("planted")) {
			t.Error("a host that has nothing to do with it saw the packet")
		}
	}
	var file bytes.Buffer
	if n, err := c.WriteTo(&file); err != nil || n < 24 || !bytes.Contains(file.Bytes(), []byte("planted-7d15")) {
		t.Errorf("the pcap file has %d bytes, %v", n, err)
	}
}

func TestACaptureJoinsSegments(t *testing.T) {
	t.Parallel()
	l := New(t)
	server, inner := l.Public("server.example"), l.Public("inner.example", OverWire)
	c := inner.Capture()
	var listener net.Listener
	var conn net.Conn
	if err := errors.Join(
		server.Do(func() (err error) { listener, err = net.Listen("tcp4", "0.0.0.0:4000"); return err }),
		inner.Do(func() (err error) { conn, err = net.Dial("tcp", "11.0.0.2:4000"); return err }),
	); err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	got := make(chan string, 1)
	go func() {
		defer close(got)
		taken, err := listener.Accept()
		if err != nil {
			return
		}
		defer taken.Close()
		b, err := io.ReadAll(taken)
		if err == nil {
			got <- string(b)
		}
	}()
	// Lost segments are sent again, and must not stand twice in the stream.
	inner.Wire().Set(Out, Quality{Loss: 0.2})
	text := strings.Repeat("0123456789abcdef", 4096)
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if received := <-got; received != text {
		t.Fatalf("the server received %d bytes", len(received))
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(c.Streams(), func(b []byte) bool { return string(b) == text }) {
		t.Errorf("the stream is not among the %d of the capture", len(c.Streams()))
	}
}

// TestNothingOutlivesAKilledTest: a process that has a lab is killed; its programs have gone,
// and with them the namespaces that only they and it held.
func TestNothingOutlivesAKilledTest(t *testing.T) {
	const inside = "TRUNKLINE_TEST_LAB"
	if os.Getenv(inside) != "" {
		l := New(t)
		h := l.Behind(Symmetric).Host("inner")
		p, err := h.Start(exec.Command("sleep", "600"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("\nLAB %d %d\n", p.PID(), inode(t, h))
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed, or the test that waits for it ends
		return
	}
	t.Parallel()
	New(t) // skips where there is no lab at all
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var namespace uint64
	var said []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		said = append(said, lines.Text())
		if _, err := fmt.Sscanf(lines.Text(), "LAB %d %d", &pid, &namespace); err == nil {
			break
		}
	}
	if pid == 0 {
		t.Fatalf("the other process made no lab: %q", said)
	}
	if !slices.Contains(namespaces(t), namespace) {
		t.Fatal("its namespace is not found while it runs: the search proves nothing")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	waitFor(t, "its program to end", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) })
	waitFor(t, "its namespace to go", func() bool { return !slices.Contains(namespaces(t), namespace) })
}

// inode is the number of a host's namespace.
func inode(t *testing.T, h *Host) uint64 {
	t.Helper()
	var s unix.Stat_t
	if err := h.Do(func() error { return unix.Stat("/proc/thread-self/ns/net", &s) }); err != nil {
		t.Fatal(err)
	}
	return s.Ino
}

// namespaces are the network namespaces that some thread of this machine is in.
func namespaces(t *testing.T) (all []uint64) {
	t.Helper()
	processes, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		threads, err := os.ReadDir("/proc/" + p.Name() + "/task")
		if err != nil {
			continue // no process, or gone meanwhile
		}
		for _, thread := range threads {
			var s unix.Stat_t
			if unix.Stat("/proc/"+p.Name()+"/task/"+thread.Name()+"/ns/net", &s) == nil {
				all = append(all, s.Ino)
			}
		}
	}
	return all
}

// zombie: killed, and its new parent has not asked yet what became of it.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && bytes.Contains(b, []byte(") Z "))
}

// waitFor looks until it holds. What it waits for is no event that could be waited for.
func waitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// FuzzPacket: whatever an interface carries, reading it ends well, and what is called payload
// is a part of the packet.
func FuzzPacket(f *testing.F) {
	udp4 := []byte{0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0, 0, 11, 0, 0, 2, 11, 0, 0, 3, 0x12, 0x34, 0, 9, 0, 12, 0, 0, 'a', 'b', 'c', 'd'}
	tcp6 := append([]byte{0x60, 0, 0, 0, 0, 22, 6, 64}, make([]byte, 32)...)
	tcp6 = append(tcp6, 0, 80, 0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0, 'h', 'i')
	for _, seed := range [][]byte{nil, {0x45}, {0x4f, 0, 0, 1}, {0x60}, udp4, udp4[:24], tcp6, tcp6[:50]} {
		f.Add(seed)
	}
	for _, c := range []struct {
		b       []byte
		payload string
	}{{udp4, "abcd"}, {tcp6, "hi"}} {
		p := Packet{IP: c.b}
		if p.parse(); string(p.Payload) != c.payload {
			f.Fatalf("payload %q, want %q", p.Payload, c.payload)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := Packet{IP: b}
		p.parse()
		if len(p.Payload) > 0 && !bytes.Contains(b, p.Payload) {
			t.Fatalf("payload %x is not in %x", p.Payload, b)
		}
		c := Capture{packets: []Packet{p, p}}
		for _, s := range c.Streams() {
			if !bytes.Contains(b, s) {
				t.Fatalf("a repeated segment stands twice: %x", s)
			}
		}
	})
}
