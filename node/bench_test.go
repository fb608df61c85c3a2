package node

import (
	"encoding/binary"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store"
)

// sink is a connected device that swallows what is delivered to it, without a socket.
func sink(b testing.TB, r *running, p *person) {
	b.Helper()
	until(b, "the device is connected", func() bool { return r.hub.device(p.device.ID()) != nil })
	l := r.hub.device(p.device.ID())
	until(b, "its writer has ended", func() bool {
		l.wmu.Lock()
		defer l.wmu.Unlock()
		if l.writing {
			return false
		}
		l.writing = true // nobody starts a writer; drained by hand
		return true
	})
}

// taken is what the writer of a sink would do with one frame.
func taken(l *clientLink) {
	l.wmu.Lock()
	buf := l.out.pop()
	l.wmu.Unlock()
	live := buf.live
	buf.free()
	if live != nil && live.claim() {
		live.end(true, nil)
	}
}

// drained is a wired link whose other end reads everything and looks at nothing.
func drained(t testing.TB, r *running, p *person) *clientLink {
	t.Helper()
	l, far := wired(t, r, p)
	go func() {
		b := make([]byte, 64<<10)
		for {
			if _, err := far.Read(b); err != nil {
				return
			}
		}
	}()
	return l
}

// wired is a link of p over a real connection, whose other end is the test's. No read loop
// reads the link: the test gives it what came.
func wired(t testing.TB, r *running, p *person) (l *clientLink, far net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	far, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.Close(); _ = near.Close() })
	l = &clientLink{n: r.Node, sock: newSocket(near), device: p.device.ID(), root: p.root.Public(), hasID: true, member: true, mail: &delivery{}}
	r.hub.add(l, maxLinks)
	r.hub.claim(l)
	return l, far
}

// submits are messages of one session: frames that share an encapsulation.
func submits(t testing.TB, r *running, to *person, count, size int) [][]byte {
	t.Helper()
	d, err := identity.ParseDescriptor(r.routing.descriptor())
	if err != nil {
		t.Fatal(err)
	}
	s, err := envelope.NewHopSender(d.RoutingKey, r.self, envelope.Hop{Tag: to.tag, Token: to.token})
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]byte, count)
	for i := range out {
		e, err := s.Envelope(payload(size))
		if err != nil {
			t.Fatal(err)
		}
		out[i] = link.AppendSubmit(nil, uint64(i+1), e.Marshal())
	}
	return out
}

// BenchmarkRouteLive is one live envelope of a session, from the message that has been read of
// its sender's link to the writes on both connections, eight at a time as they come.
func BenchmarkRouteLive(b *testing.B) {
	r := start(b, b.TempDir(), "acme.example", openPolicy)
	alice, _ := join(b, r)
	bob, _ := join(b, r)
	from := drained(b, r, alice)
	drained(b, r, bob)
	const distinct = 4096
	all := submits(b, r, bob, distinct, 1024)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i%distinct == 0 {
			clear(r.hops.now)
			clear(r.hops.before)
			from.budget = budget{}
		}
		if !from.frame(all[i%distinct]) {
			b.Fatal("the link ended")
		}
		if i++; i%8 == 0 {
			from.flushDirty()
		}
	}
	from.flushDirty()
	if n := r.answering.Load(); n != 0 {
		b.Fatalf("%d are not answered", n)
	}
}

// BenchmarkDeliverStored is durable delivery with many callers and many mailboxes: what the
// group commit makes of the disk.
func BenchmarkDeliverStored(b *testing.B) {
	r := start(b, b.TempDir(), "acme.example", openPolicy)
	var people []*person
	for range 64 {
		p, c := join(b, r)
		if err := c.ws.Close(); err != nil {
			b.Fatal(err)
		}
		people = append(people, p)
	}
	var next, refused atomic.Uint64
	body := payload(1024)
	b.SetParallelism(256)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			i := next.Add(1)
			// A node has 32 places in a box, so every envelope comes from another one.
			from := federation.Source{Domain: "acme.example"}
			binary.BigEndian.PutUint64(from.Peer[:], i)
			w := r.route(b.Context(), r.local, to(b, r, people[i%64], envelope.Ring, body))
			if w.next != stepStore {
				b.Error(w.out)
				return
			}
			put := w.put
			put.Source = from.Peer
			results, err := r.db.Put(b.Context(), []store.Envelope{put})
			if err != nil {
				b.Error(err)
				return
			}
			if results[0].Status == store.StatusQuota {
				refused.Add(1)
			} else if err := r.db.Ack(b.Context(), put.Mailbox, []store.Seq{results[0].Seq}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(refused.Load()), "refused")
}

func TestAnIdleClientHoldsNothingThatItDoesNotNeed(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, bobs := join(t, r)
	_, alices := join(t, r)
	for range 10 {
		if receipt := alices.submit(to(t, r, bob, envelope.Week, payload(4096))); receipt.Class != pb.ReceiptClass_RECEIPT_STORED {
			t.Fatal(receipt)
		}
		bobs.ack(bobs.deliver().StoredId)
	}
	bobs.settle(r, bob.device.ID())
	l := r.hub.device(bob.device.ID())
	until(t, "the link is idle", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.wmu.Lock()
		defer l.wmu.Unlock()
		return l.work == nil && !l.writing && !l.mail.pumping && l.mail.unacked == nil && l.out.len() == 0 && l.inflight == 0
	})
	if cap(l.out.frames) > 16 {
		t.Errorf("an idle link keeps %d places", cap(l.out.frames))
	}
}

// BenchmarkIdleClient reports how many bytes of heap and stack the node spends on one idle,
// registered link. Run with -benchtime 1x; TRUNKLINE_BENCH_LINKS sets how many.
func BenchmarkIdleClient(b *testing.B) {
	count := 500
	if s := os.Getenv("TRUNKLINE_BENCH_LINKS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		count = n
	}
	r := start(b, b.TempDir(), "acme.example", openPolicy)
	for range count {
		_, c := join(b, r)
		// The client's reader ends here, so that its stack is counted neither before nor after.
		if err := c.ws.SetReadDeadline(time.Now()); err != nil {
			b.Fatal(err)
		}
		c.ends()
	}
	used := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	with := used()
	// Only the node's ends are closed, so the difference is the node's share.
	for _, l := range r.hub.all() {
		l.close()
	}
	until(b, "the links are gone", func() bool { links, _ := r.hub.count(); return links == 0 })
	without := used()
	for b.Loop() {
	}
	b.ReportMetric(float64(int64(with)-int64(without))/float64(count), "B/link")
}
