package federation

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/identity"
)

var refusedByPolicy = Outcome{Fate: envelopepb.Fate_FATE_REFUSED, Code: wire.CodePolicy}

// codes asks a node for a partner in every way there is and says what it answered, each once.
func codes(t *testing.T, n, to *testNode) map[string]int {
	t.Helper()
	got := make(map[string]int)
	for _, ttl := range []envelope.TTL{envelope.Live, envelope.Day} {
		out := newOutcomes()
		e := envelopeTo(t, to, ttl, 1024)
		if _, err := n.Send(e, out.of(e.ID())); err != nil {
			got[Code(err)]++
			continue
		}
		await(t, "outcome", out.c, 1)
		got[out.all()[e.ID()][0].Code]++
	}
	_, err := n.Query(context.Background(), to.id(), make([]byte, wire.QueryBox))
	got[Code(err)]++
	_, _, err = n.Domain(context.Background(), to.domain)
	got[Code(err)]++
	return got
}

func TestARefusalByTheOtherNodeIsToldAtOnceAndAlwaysTheSame(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		b.setPolicy("version = 1")
		a.start()
		b.start()
		// Before anything is known of the other side: the answer comes with its refusal.
		out := newOutcomes()
		began := time.Now()
		e := envelopeTo(t, b, envelope.Live, 1024)
		if _, err := a.Send(e, out.of(e.ID())); err != nil {
			t.Fatal(err)
		}
		await(t, "outcome", out.c, 1)
		out.each(t, []envelope.ID{e.ID()}, refusedByPolicy)
		if took := time.Since(began); took > liveWait/2 {
			t.Errorf("the refusal was told after %v", took)
		}
		// Later, however often and whenever somebody asks, also when the other side has gone.
		for i := range 30 {
			if i == 20 {
				s.cut.Store(true)
			}
			if got := codes(t, a, b); len(got) != 1 || got[wire.CodePolicy] != 4 {
				t.Fatalf("time %d (%v after the refusal): %v", i, time.Since(began), got)
			}
			time.Sleep(time.Duration(i) * 317 * time.Millisecond)
		}
		// It does not count for ever.
		time.Sleep(backoffMax)
		if _, err := a.Send(envelopeTo(t, b, envelope.Live, 1024), nil); err != nil {
			t.Errorf("long after: %v", err)
		}
	})
}

func TestARefusalThatStandsEndsWhatWaitsAlsoOnDisk(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.start()
		const early, late = 900, 700 // memory holds 512 envelopes or 256 KiB
		out := newOutcomes()
		var ids, before []envelope.ID
		for range early {
			e := envelopeTo(t, b, envelope.Week, 1024)
			before = append(before, e.ID())
			if _, err := a.Send(e, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.stop(); err != nil {
			t.Fatal(err)
		}
		a.cfg.Outcome = func(_ identity.PeerID, id envelope.ID, o Outcome) { out.of(id).Ended(o) }
		a.start()
		for range late {
			e := envelopeTo(t, b, envelope.Week, 1024)
			ids = append(ids, e.ID())
			if _, err := a.Send(e, out.of(e.ID())); err != nil {
				t.Fatal(err)
			}
		}
		b.setPolicy("version = 1")
		b.start()
		eventually(t, "a is refused", func() bool { return a.stateOf(b).State == StateRefused })
		time.Sleep(standsAfter / 2)
		if len(out.all()) != 0 {
			t.Fatalf("%d envelopes have ended by a refusal that is half a minute old", len(out.all()))
		}
		await(t, "outcomes", out.c, len(ids))
		out.each(t, ids, refusedByPolicy)
		// What an earlier process left may have been sent by it, and "refused" could be a lie.
		if n := a.outbox.len(); n != early {
			t.Errorf("%d envelopes are left in the outbox, not %d", n, early)
		}
		if st := a.stateOf(b); st.QueueLen != early {
			t.Errorf("the queue counts %d, %d bytes", st.QueueLen, st.QueueBytes)
		}
		b.setPolicy(partnerOf(a.domain))
		b.Reload()
		await(t, "the others' outcomes", out.c, len(before))
		out.each(t, before, delivered)
	})
}

// TestWhatWasSentIsNotCalledRefused: the line to a partner breaks while envelopes are on the
// way, and it refuses us afterwards. They were delivered there, and nothing says otherwise.
func TestWhatWasSentIsNotCalledRefused(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.start()
		b.start()
		connected(t, a, b)
		b.mu.Lock()
		b.deliver = func(*envelope.Envelope) Outcome {
			s.cut.Store(true) // its acknowledgement does not arrive
			return delivered
		}
		b.mu.Unlock()
		out := newOutcomes()
		e := envelopeTo(t, b, envelope.Week, 1024)
		if _, err := a.Send(e, out.of(e.ID())); err != nil {
			t.Fatal(err)
		}
		await(t, "the delivery", b.arrived, 1)
		b.setPolicy("version = 1")
		eventually(t, "the line is found dead", func() bool { return a.stateOf(b).State != StateConnected })
		s.cut.Store(false)
		eventually(t, "a is refused", func() bool { return a.stateOf(b).State == StateRefused })
		time.Sleep(3 * standsAfter)
		if len(out.all()) != 0 {
			t.Fatalf("it is said to have ended as %v", out.all())
		}
		b.setPolicy(partnerOf(a.domain))
		b.Reload()
		await(t, "outcome", out.c, 1)
		out.each(t, []envelope.ID{e.ID()}, delivered)
	})
}

func TestTheOwnPolicysDenialEndsWhatWaits(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.start()
		out := newOutcomes()
		var ids []envelope.ID
		for range 700 {
			e := envelopeTo(t, b, envelope.Week, 1024)
			ids = append(ids, e.ID())
			if _, err := a.Send(e, out.of(e.ID())); err != nil {
				t.Fatal(err)
			}
		}
		a.setPolicy("version = 1")
		a.Reload()
		time.Sleep(standsAfter - time.Second)
		if len(out.all()) != 0 {
			t.Fatalf("%d envelopes have ended by a denial that is not a minute old", len(out.all()))
		}
		await(t, "outcomes", out.c, len(ids))
		out.each(t, ids, refusedByPolicy)
		if n := a.outbox.len(); n != 0 {
			t.Errorf("%d envelopes are left in the outbox", n)
		}
	})
}

func TestARefusalIsForgottenWhenTheOtherSideWantsUsAgain(t *testing.T) {
	for name, again := range map[string]func(a, b *testNode){
		"it dials":             func(_, b *testNode) { b.Reload() },
		"the own side reloads": func(a, _ *testNode) { a.Reload() },
		"somebody sends": func(a, b *testNode) {
			b.setPolicy(strings.Replace(partnerOf(a.domain), `direction = "both"`, `direction = "in"`, 1))
			time.Sleep(askAgain)
			if _, err := a.Send(envelopeTo(a.t, b, envelope.Live, 1024), nil); Code(err) != wire.CodePolicy {
				a.t.Errorf("the first one after the change: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, s *simulation) {
				a, b := s.pair()
				a.start()
				b.start()
				connected(t, a, b)
				// A session that runs is ended by the other side's reload.
				b.setPolicy("version = 1")
				b.Reload()
				eventually(t, "a is refused", func() bool { return a.stateOf(b).State == StateRefused })
				if got := codes(t, a, b); got[wire.CodePolicy] != 4 {
					t.Fatalf("refused: %v", got)
				}
				b.setPolicy(partnerOf("acme.example"))
				a.t = t
				again(a, b)
				connected(t, a, b)
				if got := codes(t, a, b); got[wire.CodePolicy] != 0 {
					t.Errorf("welcome again: %v", got)
				}
			})
		})
	}
}

func TestARefusalWithATimeCountsUntilThen(t *testing.T) {
	hostile(t, func(t *testing.T, _ *simulation, v *testNode, p *rawPeer) {
		p.answerWith(t, func(st network.Stream, _ wire.Hello) {
			p.write(st, wire.Frame{Kind: wire.KindRefuse, Code: wire.CodePolicy, Millis: 60_000})
		})
		// What may wait keeps waiting: the other side has said when.
		out := newOutcomes()
		note, live := envelopeTo(t, p.testNode, envelope.Week, 1024), envelopeTo(t, p.testNode, envelope.Live, 1024)
		for _, e := range []*envelope.Envelope{note, live} {
			if _, err := v.Send(e, out.of(e.ID())); err != nil {
				t.Fatal(err)
			}
		}
		await(t, "the live one's outcome", out.c, 1)
		out.each(t, []envelope.ID{live.ID()}, refusedByPolicy)
		refusedAt := time.Now()
		for time.Since(refusedAt) < 50*time.Second {
			if _, err := v.Send(envelopeTo(t, p.testNode, envelope.Live, 1024), nil); Code(err) != wire.CodePolicy {
				t.Fatalf("after %v: %v", time.Since(refusedAt), err)
			}
			time.Sleep(2 * time.Second)
		}
		p.host.RemoveStreamHandler(wire.Protocol)
		time.Sleep(90 * time.Second)
		if _, err := v.Send(envelopeTo(t, p.testNode, envelope.Live, 1024), nil); err != nil {
			t.Errorf("when the time is over: %v", err)
		}
		if len(out.all()[note.ID()]) != 0 {
			t.Errorf("the note ended as %v", out.all()[note.ID()])
		}
	})
}

// TestAPolicyOfOneDirectionLosesNothing: the partner takes no link from us and makes one to
// us; its refusal of ours must not end what waits for the link that it makes.
func TestAPolicyOfOneDirectionLosesNothing(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		b.setPolicy(strings.Replace(partnerOf("acme.example"), `direction = "both"`, `direction = "out"`, 1))
		a.start()
		out := newOutcomes()
		var ids []envelope.ID
		for range 800 {
			e := envelopeTo(t, b, envelope.Week, 1024)
			ids = append(ids, e.ID())
			if _, err := a.Send(e, out.of(e.ID())); err != nil {
				t.Fatal(err)
			}
		}
		b.start()
		await(t, "outcomes", out.c, len(ids))
		out.each(t, ids, delivered)
	})
}

// TestTheMostTellingErrorOfADomainCounts: of two nodes of a domain one refuses and one is away.
func TestTheMostTellingErrorOfADomainCounts(t *testing.T) {
	policy, away := &RemoteError{Code: wire.CodePolicy}, ErrUnreachable
	for _, c := range [][]error{{policy, away}, {away, policy}, {away, &RemoteError{Code: "unproven"}, policy}} {
		var worst error
		for _, err := range c {
			worst = moreTelling(worst, err)
		}
		if Code(worst) != wire.CodePolicy {
			t.Errorf("of %v: %v", c, worst)
		}
	}
	if got := moreTelling(ErrUnreachable, &RemoteError{Code: "unproven"}); Code(got) != "unproven" {
		t.Errorf("a refusal tells more than silence: %v", got)
	}
}

// TestAnEnvelopeThatWaitsForItsRateStillExpires: a rate so low that a live envelope's time is
// over before its turn.
func TestAnEnvelopeThatWaitsForItsRateStillExpires(t *testing.T) {
	for name, limit := range map[string]string{
		"a slow rate":       "per_second = 0.02",
		"few bytes":         "bytes_per_second = 20",
		"the day's is used": "total = 3",
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, s *simulation) {
				a, b := s.pair()
				a.setPolicy(limited("globex.example", limit))
				a.start()
				b.start()
				connected(t, a, b)
				out := newOutcomes()
				began := time.Now()
				const n = 12
				for range n {
					e := envelopeTo(t, b, envelope.Live, 1024)
					if _, err := a.Send(e, out.of(e.ID())); err != nil {
						t.Fatal(err)
					}
				}
				await(t, "outcomes", out.c, n)
				if took := time.Since(began); took > liveWait+time.Second {
					t.Errorf("the last outcome came after %v", took)
				}
				late := 0
				for _, got := range out.all() {
					if got[0].Fate == envelopepb.Fate_FATE_EXPIRED {
						late++
					}
				}
				if late < n-3 || late == n {
					t.Errorf("%d of %d expired", late, n)
				}
				connected(t, a, b)
			})
		})
	}
}
