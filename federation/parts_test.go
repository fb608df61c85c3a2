package federation

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

func TestPausesAreJitteredAndBounded(t *testing.T) {
	for _, random := range []float64{0, 0.3, 0.999999} {
		var pause time.Duration
		for range 50 {
			next := nextPause(pause, random)
			if next < backoffMin || next > backoffMax || next > max(3*pause, 2*backoffMin) {
				t.Fatalf("after %v comes %v", pause, next)
			}
			pause = next
		}
		if random > 0.5 && pause != backoffMax {
			t.Errorf("the pause ends at %v", pause)
		}
	}
	if a, b := nextPause(time.Minute, 0.1), nextPause(time.Minute, 0.9); a == b {
		t.Error("two that lost each other at once come back at once")
	}
}

func TestQueueKeepsItsOrderAndItsCount(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var q queue
	made := func(n int, size int, wait time.Duration, seq uint64) *item {
		return &item{raw: make([]byte, size), id: envelope.ID{byte(n)}, expires: now.Add(wait), seq: seq}
	}
	for n := range 10 {
		wait := time.Minute
		if n%3 == 0 {
			wait = time.Second
		}
		q.push(made(n, 100, wait, uint64(n%2)))
	}
	if q.memory != 5 || q.stored != 5 || q.bytes != 1000 || q.memoryBytes != 500 {
		t.Fatalf("counts %+v", q)
	}
	batch, expired := q.take(now, 4, 1000, 350, nil, nil) // three fit into a batch of 350
	if len(batch) != 3 || len(expired) != 0 || q.flightBytes != 300 {
		t.Fatalf("batch of %d, %d expired", len(batch), len(expired))
	}
	later, expired := q.take(now.Add(2*time.Second), 2, 100, 1000, nil, nil) // 3 and 6 are over, room for one
	if len(later) != 1 || later[0].id[0] != 4 || len(expired) != 1 || expired[0].id[0] != 3 {
		t.Fatalf("later %d, expired %d", len(later), len(expired))
	}
	done := q.acked(2, nil)
	if len(done) != 2 || done[0].id[0] != 0 || done[1].id[0] != 1 || q.flightBytes != 200 {
		t.Fatalf("done %d", len(done))
	}
	q.restore() // the session ended: 2 and 4 go in front
	over, next := q.expire(now.Add(2 * time.Second))
	if len(over) != 2 || over[0].id[0] != 6 || over[1].id[0] != 9 || !next.Equal(now.Add(time.Minute)) {
		t.Fatalf("expired %d, next %v", len(over), next)
	}
	all, _ := q.take(now, 100, 1<<20, 1<<20, nil, nil)
	var order []byte
	for _, it := range all {
		order = append(order, it.id[0])
	}
	if !slices.Equal(order, []byte{2, 4, 5, 7, 8}) {
		t.Fatalf("order %v", order)
	}
	if q.memory != 0 || q.stored != 0 || q.bytes != 0 || q.memoryBytes != 0 || q.len() != 0 {
		t.Fatalf("counts %+v", q)
	}
}

func TestLargeEnvelopeGoesAloneEvenAboveTheBatch(t *testing.T) {
	var q queue
	now := time.Now()
	q.push(&item{raw: make([]byte, 500), expires: now.Add(time.Hour)})
	q.push(&item{raw: make([]byte, 10), expires: now.Add(time.Hour)})
	if batch, _ := q.take(now, 10, 1000, 100, nil, nil); len(batch) != 1 {
		t.Fatalf("batch of %d", len(batch))
	}
	if batch, _ := q.take(now, 10, 5, 100, nil, nil); len(batch) != 0 {
		t.Fatal("more than the credit")
	}
}

// slowDisk is an Outbox whose reads are counted by destination.
type slowDisk struct {
	*memoryOutbox
	mu    sync.Mutex
	reads []identity.PeerID
}

func (d *slowDisk) Next(dest identity.PeerID, after uint64, max int) ([]Queued, error) {
	d.mu.Lock()
	d.reads = append(d.reads, dest)
	d.mu.Unlock()
	return d.memoryOutbox.Next(dest, after, max)
}

func TestOutboxIsReadInTurns(t *testing.T) {
	disk := &slowDisk{memoryOutbox: newMemoryOutbox()}
	n := newTestNode(t, "acme.example", "version = 1")
	n.cfg.Outbox = disk
	f, err := New(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.ctx = ctx
	var links []*link
	read := make(map[*link]int)
	for i := range 3 {
		id := newTestNode(t, fmt.Sprintf("p%d.example", i), "version = 1").id()
		l := newLink(f, id, "")
		l.session = &session{f: f, l: l, out: newOutbound(&session{})}
		// The first has a long queue of large envelopes, the others a few small ones.
		count, size := 4, 1200
		if i == 0 {
			count, size = 64, 60000
		}
		for range count {
			if _, _, err := disk.Enqueue(id, make([]byte, size), envelope.ID{}, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		l.queue.unread, l.queue.boot = count, count
		links = append(links, l)
	}
	for _, l := range links {
		f.feeder.want(l)
	}
	rounds := 0
	for {
		l, budget := f.feeder.next()
		if l == nil {
			break
		}
		took, more := l.feed(budget)
		f.feeder.served(l, budget-took, more)
		read[l] += took
		if rounds++; rounds == 3 {
			if read[links[1]] != 4*1200 || read[links[2]] != 4*1200 {
				t.Fatalf("after one round the small ones have %d and %d", read[links[1]], read[links[2]])
			}
			if read[links[0]] > 2*quantum {
				t.Fatalf("the large one took %d in its turn", read[links[0]])
			}
		}
	}
	if read[links[0]] != 64*60000 {
		t.Errorf("the large one got %d", read[links[0]])
	}
	cancel()
}

func TestFeederForgetsNoWish(t *testing.T) {
	f := newFeeder()
	l := &link{}
	f.want(l)
	got, budget := f.next()
	f.want(l) // while it is served
	f.served(got, budget, false)
	if again, _ := f.next(); again != l {
		t.Fatal("a wish during the turn is lost")
	}
	f.served(l, 0, false)
	if again, _ := f.next(); again != nil {
		t.Fatal("it comes again without a wish")
	}
}

func TestDedupeIsBoundedAndRemembersAWindow(t *testing.T) {
	var d dedupe
	stored := Outcome{Fate: envelopepb.Fate_FATE_STORED}
	at := func(i int) *parcel { return &parcel{mark: mark{uint64(i), uint64(i)}} }
	for i := range 5 * dedupeSet {
		if _, first, waits := d.begin(at(i)); !first || waits {
			t.Fatalf("number %d is new", i)
		}
		again := []*parcel{at(i), at(i)}
		for _, p := range again {
			if _, first, waits := d.begin(p); first || !waits {
				t.Fatalf("number %d while it is delivered", i)
			}
		}
		var ended []*parcel
		for p := d.finish(at(i).mark, stored); p != nil; p = p.next {
			ended = append(ended, p)
		}
		slices.Reverse(ended)
		if !slices.Equal(ended, again) {
			t.Fatalf("with number %d end %d others", i, len(ended))
		}
		if d.current.n > dedupeSet || d.former.n > dedupeSet || d.busy.n != 0 {
			t.Fatalf("after %d: %d, %d, %d", i, d.current.n, d.former.n, d.busy.n)
		}
		if back := i - dedupeSet; back >= 0 {
			if known, first, waits := d.begin(at(back)); first || waits || known != stored {
				t.Fatalf("number %d is forgotten after %d more", back, dedupeSet)
			}
		}
	}
	d.begin(at(-1))
	d.finish(at(-1).mark, Outcome{Fate: envelopepb.Fate_FATE_REFUSED, Code: "quota"})
	if _, first, _ := d.begin(at(-1)); !first {
		t.Fatal("a refused one is not a new try")
	}
}

func TestRefusalsAreBoundedAndTheNewestStays(t *testing.T) {
	var r refusals
	now := time.Unix(1_800_000_000, 0)
	for i := range 3 * maxRefusals {
		r.add(now.Add(time.Duration(i)*time.Second), fmt.Sprintf("d%d.example", i), "policy", "default")
		r.add(now.Add(time.Duration(i)*time.Second), "often.example", "policy", "default")
	}
	list := r.list()
	if len(list) != maxRefusals {
		t.Fatalf("%d entries", len(list))
	}
	var often bool
	for i, e := range list {
		often = often || e.Domain == "often.example" && e.Count == 3*maxRefusals
		if i > 0 && e.Last.After(list[i-1].Last) {
			t.Fatal("not the newest first")
		}
	}
	if !often {
		t.Error("the one that is refused most is gone")
	}
}

func TestAddresses(t *testing.T) {
	for in, want := range map[string][]string{
		"127.0.0.1:7421":         {"/ip4/127.0.0.1/tcp/7421", "/ip4/127.0.0.1/udp/7421/quic-v1"},
		"[::1]:7421":             {"/ip6/::1/tcp/7421", "/ip6/::1/udp/7421/quic-v1"},
		"127.0.0.1:0":            {"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"},
		":7421":                  {"/ip4/0.0.0.0/tcp/7421", "/ip4/0.0.0.0/udp/7421/quic-v1"},
		"/ip4/10.0.0.1/tcp/1":    {"/ip4/10.0.0.1/tcp/1"},
		"/ip4/10.0.0.1/tcp/1/ws": nil,
		"/ip4/10.0.0.1/udp/1":    nil,
		"/ip4/10.0.0.1/udp/1/quic-v1/webtransport": nil,
		"acme.example:7421":                        nil, // listening needs an IP address
		"127.0.0.1":                                nil,
		"127.0.0.1:x":                              nil,
		"127.0.0.1:70000":                          nil,
		"/ip4/127.0.0.1/tcp/1/p2p/12D3KooWSwyQ96WNaNxkEnZREQyT1ThgaQXGFGLVPZt9p56WtHMK": nil,
	} {
		got, err := parseAddrs([]string{in}, false)
		var texts []string
		for _, a := range got {
			texts = append(texts, a.String())
		}
		if (err != nil) != (want == nil) || !slices.Equal(texts, want) {
			t.Errorf("%s: %v, %v", in, texts, err)
		}
	}
	if got, err := parseAddrs([]string{"acme.example:7421"}, true); err != nil || len(got) != 2 || got[0].String() != "/dns/acme.example/tcp/7421" {
		t.Errorf("announce a name: %v, %v", got, err)
	}
	for _, in := range []string{"acme.example:0", "ACME:1", "a b:1"} {
		if _, err := parseAddrs([]string{in}, true); err == nil {
			t.Errorf("announce %q passes", in)
		}
	}
	if got := dialable([]string{"/ip4/8.8.8.8/tcp/1", "nonsense", "/ip4/8.8.8.8/tcp/1/ws", "/dns/a.example/udp/1/quic-v1"}); len(got) != 2 {
		t.Errorf("dialable: %v", got)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no key":           func(c *Config) { c.HostKey = nil },
		"no domain":        func(c *Config) { c.Domain = "" },
		"domain in caps":   func(c *Config) { c.Domain = "ACME.example" },
		"no deliverer":     func(c *Config) { c.Deliverer = nil },
		"no document":      func(c *Config) { c.Document = nil },
		"no policy":        func(c *Config) { c.Decide = nil },
		"listen on a name": func(c *Config) { c.Listen = []string{"localhost:1"} },
		"announce nothing": func(c *Config) { c.Announce = []string{""} },
		"tiny window":      func(c *Config) { c.WindowBytes = 1 },
		"many peers":       func(c *Config) { c.MaxPeers = 1 << 20 },
		"source of nobody": func(c *Config) { c.Sources = map[string]string{"x y": "/f"} },
	} {
		n := newTestNode(t, "acme.example", "version = 1")
		change(&n.cfg)
		if _, err := New(n.cfg); err == nil {
			t.Errorf("%s: New says nothing", name)
		}
	}
}

// TestAnEnvelopeThatIsSubmittedAgainWhileItWaitsIsAnsweredAgain: after a restart clients submit
// what they heard nothing of once more. It may wait in the durable outbox already, unread or
// read, and whoever submits it is told its end all the same.
func TestAnEnvelopeThatIsSubmittedAgainWhileItWaitsIsAnsweredAgain(t *testing.T) {
	disk := newMemoryOutbox()
	n, to := newTestNode(t, "acme.example", "version = 1"), newTestNode(t, "globex.example", "version = 1")
	n.cfg.Outbox = disk
	late := map[envelope.ID]int{}
	n.cfg.Outcome = func(_ identity.PeerID, id envelope.ID, _ Outcome) { late[id]++ }
	f, err := New(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	const count = readAhead + 10
	var all []*envelope.Envelope
	for range count {
		e := envelopeTo(t, to, envelope.Week, 1024)
		if _, _, err := disk.Enqueue(to.id(), e.Marshal(), e.ID(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	l := newLink(f, to.id(), "globex.example")
	l.queue.unread, l.queue.boot, l.queue.unreadBytes = count, count, int64(count*all[0].Size())
	told := map[int]int{}
	send := func(i int) {
		t.Helper()
		if durable, err := l.send(all[i], time.Now(), WaiterFunc(func(Outcome) { told[i]++ })); err != nil || !durable {
			t.Fatalf("envelope %d again: %t, %v", i, durable, err)
		}
	}
	send(1) // nobody has read it
	send(1)
	l.session = &session{f: f, l: l, out: newOutbound(&session{})}
	l.feed(1 << 20)
	send(2) // it is in memory, too
	batch, _ := l.queue.take(time.Now(), 4, 1<<20, 1<<20, nil, nil)
	send(3) // it is on its way
	send(count - 1)
	l.finish(l.queue.acked(len(batch), nil), delivered)
	for l.queue.len() > 0 || l.queue.unread > 0 {
		l.feed(1 << 20)
		batch, _ = l.queue.take(time.Now(), 64, 1<<20, 1<<20, nil, nil)
		if len(batch) == 0 {
			t.Fatalf("the outbox does not empty: %+v", l.queue)
		}
		l.finish(l.queue.acked(len(batch), nil), delivered)
	}
	for i, times := range map[int]int{1: 2, 2: 1, 3: 1, count - 1: 1} {
		if told[i] != times || late[all[i].ID()] != 0 {
			t.Errorf("of envelope %d were told: %d who wait, want %d, and %d late", i, told[i], times, late[all[i].ID()])
		}
	}
	if len(late) != count-4 {
		t.Errorf("%d envelopes of the earlier process ended late, not %d", len(late), count-4)
	}
	if q := &l.queue; q.boot != 0 || q.unread != 0 || q.unreadBytes != 0 || len(q.written) != 0 || q.enqueuing != 0 || len(q.storing) != 0 {
		t.Errorf("the books do not balance: %+v", l.queue)
	}
}
