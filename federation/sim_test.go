package federation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/x/simlibp2p"
	"github.com/marcopolo/simnet"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/identity"
)

// simulation is a network inside a synctest bubble: time passes only when everybody waits,
// and a goroutine that is left behind fails the test.
type simulation struct {
	t   *testing.T
	net *simnet.Simnet
	cut atomic.Bool // no packet arrives
	n   int
}

func simulate(t *testing.T, test func(*testing.T, *simulation)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &simulation{t: t}
		s.net = &simnet.Simnet{Logger: slog.New(slog.DiscardHandler), LatencyFunc: func(*simnet.Packet) time.Duration {
			if s.cut.Load() {
				return 1000 * time.Hour
			}
			return 10 * time.Millisecond
		}}
		s.net.Start()
		t.Cleanup(s.net.Close)
		test(t, s)
	})
}

// node makes a node with an address of its own, which it keeps over restarts.
func (s *simulation) node(domain, policyText string) *testNode {
	s.n++
	n := newTestNode(s.t, domain, policyText)
	n.cfg.Listen = []string{fmt.Sprintf("/ip4/1.0.0.%d/udp/8000/quic-v1", s.n)}
	link := simnet.LinkSettings{BitsPerSecond: 100 * simlibp2p.OneMbps}
	n.cfg.Transports = []libp2p.Option{
		libp2p.Transport(libp2pquic.NewTransport),
		simlibp2p.QUICSimnet(s.net, simnet.NodeBiDiLinkSettings{Downlink: link, Uplink: link}),
	}
	return n
}

// pair are two partners that have each other's documents.
func (s *simulation) pair() (a, b *testNode) {
	a = s.node("acme.example", partnerOf("globex.example"))
	b = s.node("globex.example", partnerOf("acme.example"))
	introduce(s.t, a, b)
	return a, b
}

// introduce gives the nodes a pin of each other, and a file as the place to look for news: the
// web would leave the bubble. Their addresses must be fixed.
func introduce(t testing.TB, nodes ...*testNode) {
	t.Helper()
	for _, n := range nodes {
		n.addrs = n.cfg.Listen
	}
	dir := t.TempDir()
	for _, o := range nodes {
		doc := o.document()
		path := filepath.Join(dir, o.domain)
		if err := os.WriteFile(path, doc, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			if n != o {
				n.pins.docs[o.domain] = doc
				n.cfg.Sources[o.domain] = path
			}
		}
	}
}

func TestPartnerDownAndBackLosesNothingAndDoublesNothing(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.start()
		b.start()
		connected(t, a, b)
		out := newOutcomes()
		var ids []envelope.ID
		send := func(n int) {
			for range n {
				e := envelopeTo(t, b, envelope.Day, 1024)
				ids = append(ids, e.ID())
				if _, err := a.Send(e, out.of(e.ID())); err != nil {
					t.Fatal(err)
				}
			}
		}
		// Delivery takes a while, so that the stop falls into the middle of it.
		slow := func(*envelope.Envelope) Outcome {
			time.Sleep(50 * time.Millisecond)
			return delivered
		}
		b.mu.Lock()
		b.deliver = slow
		b.mu.Unlock()
		for range 3 {
			send(400)
			await(t, "some deliveries", b.arrived, 20)
			if err := b.stop(); err != nil {
				t.Fatal(err)
			}
			send(400)
			time.Sleep(time.Minute)
			b.start()
		}
		await(t, "outcomes", out.c, len(ids))
		out.each(t, ids, delivered)
		// The receiver's memory of what it took ends with its process, so across its own
		// restarts only the store's idempotence helps; here the same node object stands for it.
		if n := a.outbox.len(); n != 0 {
			t.Fatalf("%d envelopes are left in the outbox", n)
		}
	})
}

func TestCutLineIsFoundDeadAndResendsWithoutDoubling(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.start()
		b.start()
		connected(t, a, b)
		out := newOutcomes()
		var ids []envelope.ID
		b.mu.Lock()
		b.deliver = func(*envelope.Envelope) Outcome {
			time.Sleep(30 * time.Millisecond)
			return Outcome{Fate: envelopepb.Fate_FATE_STORED}
		}
		b.mu.Unlock()
		for round := range 4 {
			for range 300 {
				e := envelopeTo(t, b, envelope.Week, 1024)
				ids = append(ids, e.ID())
				if _, err := a.Send(e, out.of(e.ID())); err != nil {
					t.Fatal(err)
				}
			}
			// Acknowledgements are on the way when the line is cut.
			time.Sleep(time.Duration(100+37*round) * time.Millisecond)
			s.cut.Store(true)
			start := time.Now()
			eventually(t, "both ends see it", func() bool {
				return a.stateOf(b).State != StateConnected && b.stateOf(a).State != StateConnected
			})
			if took := time.Since(start); took > (pingMisses+2)*pingEvery {
				t.Fatalf("a dead line was noticed after %v", took)
			}
			s.cut.Store(false)
		}
		await(t, "outcomes", out.c, len(ids))
		out.each(t, ids, Outcome{Fate: envelopepb.Fate_FATE_STORED})
		b.mu.Lock()
		defer b.mu.Unlock()
		for i, id := range ids {
			if b.delivered[id] != 1 {
				t.Fatalf("envelope %d was delivered %d times", i, b.delivered[id])
			}
		}
	})
}

func TestOutboxOutlivesTheProcess(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.start()
		var ids []envelope.ID
		for range 1500 {
			e := envelopeTo(t, b, envelope.Day, 1024)
			ids = append(ids, e.ID())
			if _, err := a.Send(e, WaiterFunc(func(Outcome) { t.Error("an outcome without a partner") })); err != nil {
				t.Fatal(err)
			}
		}
		st := a.stateOf(b)
		if st.QueueLen != 1500 || st.QueueBytes < 1500*1024 {
			t.Fatalf("queue %d, %d bytes", st.QueueLen, st.QueueBytes)
		}
		if err := a.stop(); err != nil {
			t.Fatal(err)
		}
		if n := a.outbox.len(); n != 1500 {
			t.Fatalf("%d of 1500 are on disk after a stop", n)
		}
		out := newOutcomes()
		a.cfg.Outcome = func(dest identity.PeerID, id envelope.ID, o Outcome) {
			if dest != b.id() {
				t.Errorf("outcome for another destination")
			}
			out.of(id).Ended(o)
		}
		a.start()
		time.Sleep(time.Hour)
		b.start()
		await(t, "outcomes", out.c, len(ids))
		out.each(t, ids, delivered)
		b.mu.Lock()
		defer b.mu.Unlock()
		for i, id := range ids {
			if b.delivered[id] != 1 {
				t.Fatalf("envelope %d was delivered %d times", i, b.delivered[id])
			}
		}
		if n := a.outbox.len(); n != 0 {
			t.Fatalf("%d envelopes are left in the outbox", n)
		}
	})
}

func TestWhatExpiresIsNoticedAndNothingElseIsDropped(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.start()
		out := newOutcomes()
		byTTL := make(map[envelope.TTL][]envelope.ID)
		send := func(ttl envelope.TTL, n int) {
			for range n {
				e := envelopeTo(t, b, ttl, 1024)
				byTTL[ttl] = append(byTTL[ttl], e.ID())
				if _, err := a.Send(e, out.of(e.ID())); err != nil {
					t.Fatal(err)
				}
			}
		}
		send(envelope.Live, 20)
		send(envelope.Day, 300) // beyond memory
		send(envelope.Ring, 300)
		send(envelope.Week, 300)
		expired := Outcome{Fate: envelopepb.Fate_FATE_EXPIRED}
		time.Sleep(liveWait + time.Second)
		out.each(t, byTTL[envelope.Live], expired)
		// The rings stand on disk behind three hundred others; they are looked for there.
		time.Sleep(time.Minute + scanEvery)
		out.each(t, byTTL[envelope.Ring], expired)
		for _, ttl := range []envelope.TTL{envelope.Day, envelope.Week} {
			for _, id := range byTTL[ttl] {
				if len(out.all()[id]) != 0 {
					t.Fatalf("ttl %d has an outcome before its time", ttl)
				}
			}
		}
		time.Sleep(outboxTime)
		out.each(t, byTTL[envelope.Day], expired)
		out.each(t, byTTL[envelope.Week], expired)
		if n := a.outbox.len(); n != 0 {
			t.Fatalf("%d envelopes are left in the outbox", n)
		}
		if st := a.stateOf(b); st.QueueLen != 0 || st.QueueBytes != 0 {
			t.Fatalf("the queue still counts %d, %d bytes", st.QueueLen, st.QueueBytes)
		}
	})
}

func TestInboundContactEndsALongPause(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.start()
		time.Sleep(6 * time.Hour)
		// Pauses are drawn, and several short ones may come after each other. The seconds are virtual, as all in a simulation.
		long := func() bool {
			st := a.stateOf(b)
			return st.State == StateWaiting && time.Until(st.RetryAt) > 30*time.Second && st.Why == "unreachable"
		}
		for seconds := 0; !long(); seconds++ {
			if seconds > 3600 {
				t.Fatal("no long pause within an hour")
			}
			time.Sleep(time.Second)
		}
		began := time.Now()
		b.start()
		connected(t, a, b)
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("the link took %v after the partner was back", took)
		}
	})
}

func TestBothDialAtOnceAndOneSessionStays(t *testing.T) {
	for i := range 5 {
		simulate(t, func(t *testing.T, s *simulation) {
			a, b := s.pair()
			s.cut.Store(true)
			a.start()
			b.start()
			time.Sleep(time.Duration(i) * 7 * time.Second)
			s.cut.Store(false)
			connected(t, a, b)
			time.Sleep(20 * time.Second)
			before := [2]time.Time{a.stateOf(b).Since, b.stateOf(a).Since}
			time.Sleep(10 * time.Minute)
			if after := [2]time.Time{a.stateOf(b).Since, b.stateOf(a).Since}; after != before {
				t.Fatalf("the link flapped: %v, then %v", before, after)
			}
			for _, n := range []*testNode{a, b} {
				if got := n.sessionCount(); got != 1 {
					t.Errorf("%s holds %d sessions", n.domain, got)
				}
				if got := len(n.host.Network().Conns()); got > 2 {
					t.Errorf("%s holds %d connections", n.domain, got)
				}
			}
			if st := a.stateOf(b); st.EchoRTT < 20*time.Millisecond || st.EchoMissed != 0 {
				t.Errorf("echo: %v, %d missed", st.EchoRTT, st.EchoMissed)
			}
		})
	}
}

func TestDrainWithNothingUnderWayIsToldToo(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.start()
		b.start()
		connected(t, a, b)
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		a.Drain(ctx)
		if err := a.stop(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the link is down", func() bool { return b.stateOf(a).State != StateConnected })
		if st := b.stateOf(a); st.State != StateDraining || st.Why != wire.CodeDraining {
			t.Errorf("the peer sees %+v", st)
		}
		// A peer that does not answer is not waited for longer than the caller wants.
		a.start()
		connected(t, a, b)
		s.cut.Store(true)
		began := time.Now()
		short, cancelShort := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancelShort()
		a.Drain(short)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestDrainFinishesWhatIsUnderWayAndTellsThePeer(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.start()
		b.start()
		connected(t, a, b)
		b.mu.Lock()
		b.deliver = func(*envelope.Envelope) Outcome {
			time.Sleep(200 * time.Millisecond)
			return delivered
		}
		b.mu.Unlock()
		out := newOutcomes()
		var ids []envelope.ID
		for range 200 {
			e := envelopeTo(t, b, envelope.Live, 1024)
			ids = append(ids, e.ID())
			if _, err := a.Send(e, out.of(e.ID())); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		a.Drain(ctx)
		if ctx.Err() != nil {
			t.Fatal("the drain did not come to an end")
		}
		await(t, "outcomes", out.c, len(ids))
		out.each(t, ids, delivered)
		if _, err := a.Send(envelopeTo(t, b, envelope.Live, 1024), nil); Code(err) != "draining" {
			t.Fatalf("Send while draining: %v", err)
		}
		if err := a.stop(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the peer knows", func() bool { return b.stateOf(a).State == StateDraining })
		if st := b.stateOf(a); time.Until(st.RetryAt) > 10*time.Second {
			t.Fatalf("the peer comes back only in %v", time.Until(st.RetryAt))
		}
	})
}

// TestTheSameBytesAgainGetTheirOutcomeToo: a client whose link broke submits again, and what it
// submits waits in the durable outbox already, unread, read, or from an earlier process.
// Whoever hands it in hears how it ended.
func TestTheSameBytesAgainGetTheirOutcomeToo(t *testing.T) {
	refusedThere := Outcome{Fate: envelopepb.Fate_FATE_REFUSED, Code: "quota"}
	for _, when := range []string{"unread", "on its way", "of an earlier process", "of an earlier process and on its way"} {
		t.Run(when, func(t *testing.T) {
			simulate(t, func(t *testing.T, s *simulation) {
				a, b := s.pair()
				a.start()
				before, again := newOutcomes(), newOutcomes()
				late := newOutcomes()
				a.cfg.Outcome = func(_ identity.PeerID, id envelope.ID, o Outcome) { late.of(id).Ended(o) }
				e := envelopeTo(t, b, envelope.Day, 1024)
				others := func(n int) {
					for range n {
						if _, err := a.Send(envelopeTo(t, b, envelope.Day, 1024), WaiterFunc(func(Outcome) {})); err != nil {
							t.Fatal(err)
						}
					}
				}
				others(300) // more than memory takes
				send := func(out *outcomes) {
					t.Helper()
					if durable, err := a.Send(e, out.of(e.ID())); err != nil || !durable {
						t.Fatalf("durable %v, %v", durable, err)
					}
				}
				send(before)
				others(600) // more than is under way at once
				release := make(chan struct{})
				b.mu.Lock()
				b.deliver = func(got *envelope.Envelope) Outcome {
					if got.ID() != e.ID() {
						return delivered
					}
					<-release
					return refusedThere
				}
				b.mu.Unlock()
				want := []*outcomes{before, again}
				if strings.HasPrefix(when, "of an earlier") {
					if err := a.stop(); err != nil {
						t.Fatal(err)
					}
					a.start()
					want = []*outcomes{again}
				}
				if strings.HasSuffix(when, "on its way") {
					b.start()
					connected(t, a, b)
					time.Sleep(time.Minute)
					send(again)
				} else {
					send(again)
					b.start()
				}
				time.Sleep(time.Second)
				close(release)
				time.Sleep(time.Minute)
				for i, out := range want {
					if got := out.all()[e.ID()]; len(got) != 1 || got[0] != refusedThere {
						t.Errorf("whoever handed it in as number %d heard %v", i+1, got)
					}
				}
				if st := a.stateOf(b); st.QueueLen != 0 || st.QueueBytes != 0 || a.outbox.len() != 0 {
					t.Errorf("the queue counts %d, %d bytes; on disk are %d", st.QueueLen, st.QueueBytes, a.outbox.len())
				}
			})
		})
	}
}

// TestWhatEndedWhileTheDiskWasFullStopsNothing: the notice of its end was given, and its entry
// could not be removed. Whoever reads the outbox later goes past it.
func TestWhatEndedWhileTheDiskWasFullStopsNothing(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.start()
		out := newOutcomes()
		byTTL := make(map[envelope.TTL][]envelope.ID)
		send := func(ttl envelope.TTL, n int) {
			for range n {
				e := envelopeTo(t, b, ttl, 1024)
				byTTL[ttl] = append(byTTL[ttl], e.ID())
				if _, err := a.Send(e, out.of(e.ID())); err != nil {
					t.Fatal(err)
				}
			}
		}
		send(envelope.Week, 300) // beyond memory
		send(envelope.Ring, 50)
		send(envelope.Day, 50)
		a.outbox.breakDone(errors.New("no space left on device"))
		time.Sleep(time.Minute + 2*scanEvery)
		out.each(t, byTTL[envelope.Ring], Outcome{Fate: envelopepb.Fate_FATE_EXPIRED})
		a.outbox.breakDone(nil)
		b.start()
		time.Sleep(10 * time.Minute)
		out.each(t, byTTL[envelope.Week], delivered)
		out.each(t, byTTL[envelope.Day], delivered)
		if st := a.stateOf(b); st.QueueLen != 0 || st.QueueBytes != 0 {
			t.Errorf("the queue counts %d, %d bytes", st.QueueLen, st.QueueBytes)
		}
	})
}
