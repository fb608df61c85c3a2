package federation

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation/wire"
)

func TestUnknownDomainIsRefusedWithACodeAndTheRuleIsForTheAdministrator(t *testing.T) {
	for _, kind := range []string{"tcp", "quic"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			evil := newTestNode(t, "evil.example", partnerOf("acme.example"))
			acme := newTestNode(t, "acme.example", partnerOf("globex.example"))
			only(kind)(evil)
			only(kind)(acme)
			web(t, evil, acme)
			acme.start()
			evil.start()
			evil.knows(acme)
			_, _, err := evil.Domain(context.Background(), "acme.example")
			if Code(err) != wire.CodePolicy {
				t.Fatalf("Domain: %v", err)
			}
			var remote *RemoteError
			if !errors.As(err, &remote) {
				t.Fatalf("the refusal is not the other side's: %v", err)
			}
			st := evil.stateOf(acme)
			if st.State != StateRefused || st.Why != wire.CodePolicy || time.Until(st.RetryAt) < standsAfter/2 {
				t.Errorf("evil's own view: %+v", st)
			}
			r := acme.Refusals()
			if len(r) != 1 || r[0].Domain != "evil.example" || r[0].Code != wire.CodePolicy || r[0].Rule != "default" || r[0].Count != 1 || r[0].Last.IsZero() {
				t.Errorf("acme's administrator sees %+v", r)
			}
			if p := acme.Peers(); len(p) != 0 {
				t.Errorf("a refused node has a link: %+v", p)
			}
		})
	}
}

func TestOutboundAsksItsOwnPolicy(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.setPolicy("version = 1")
		a.start()
		b.start()
		time.Sleep(time.Minute)
		if _, err := a.Send(envelopeTo(t, b, envelope.Day, 1024), nil); Code(err) != wire.CodePolicy {
			t.Errorf("Send: %v", err)
		}
		if _, err := a.Query(context.Background(), b.id(), make([]byte, wire.QueryBox)); Code(err) != wire.CodePolicy {
			t.Errorf("Query: %v", err)
		}
		if _, _, err := a.Domain(context.Background(), b.domain); Code(err) != wire.CodePolicy {
			t.Errorf("Domain: %v", err)
		}
		if st := a.stateOf(b); st.State == StateConnected {
			t.Errorf("a link without a policy: %+v", st)
		}
		if st := b.stateOf(a); st.State != StateRefused {
			t.Errorf("the partner sees %+v", st)
		}
	})
}

func TestReloadClosesWhatIsDeniedWithinFiveSecondsAndOpensWhatIsAllowed(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.start()
		b.start()
		connected(t, a, b)
		a.setPolicy("version = 1\n[[domain]]\nname = \"globex.example\"\nlevel = \"blocked\"\n")
		a.Reload()
		began := time.Now()
		eventually(t, "the link is closed", func() bool {
			return a.stateOf(b).State != StateConnected && b.stateOf(a).State == StateRefused
		})
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		if st := b.stateOf(a); st.Why != wire.CodePolicy {
			t.Errorf("the partner is told %q", st.Why)
		}
		if r := a.Refusals(); len(r) == 0 || r[0].Rule != "blocked" {
			t.Errorf("refusals %+v", r)
		}
		a.setPolicy(partnerOf("globex.example"))
		a.Reload()
		began = time.Now()
		connected(t, a, b)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the link came back after %v", took)
		}
	})
}

func TestEntryThatExpiresEndsTheLinkByItself(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		a.setPolicy(strings.Replace(partnerOf("globex.example"), "level = \"partner\"\n", "level = \"partner\"\nexpires = "+until+"\n", 1))
		a.start()
		b.start()
		connected(t, a, b)
		time.Sleep(59 * time.Minute)
		connected(t, a, b)
		time.Sleep(time.Minute + 5*time.Second)
		if st := a.stateOf(b); st.State == StateConnected {
			t.Errorf("after its end: %+v", st)
		}
	})
}

// limited is a partner policy with limits.
func limited(domain, limit string) string {
	return partnerOf(domain) + "limit = { " + limit + " }\n"
}

func TestLinkKeepsToTheRatesOfBothSidesAndLosesNothing(t *testing.T) {
	for name, c := range map[string]struct{ a, b string }{
		"sender's envelopes":   {limited("globex.example", "per_second = 10"), partnerOf("acme.example")},
		"receiver's envelopes": {partnerOf("globex.example"), limited("acme.example", "per_second = 10")},
		"sender's bytes":       {limited("globex.example", "bytes_per_second = \"12KiB\""), partnerOf("acme.example")},
		"receiver's bytes":     {partnerOf("globex.example"), limited("acme.example", "bytes_per_second = \"12KiB\"")},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, s *simulation) {
				a, b := s.pair()
				a.setPolicy(c.a)
				b.setPolicy(c.b)
				a.start()
				b.start()
				connected(t, a, b)
				out := newOutcomes()
				var ids []envelope.ID
				began := time.Now()
				for range 200 {
					e := envelopeTo(t, b, envelope.Day, 1024)
					ids = append(ids, e.ID())
					if _, err := a.Send(e, out.of(e.ID())); err != nil {
						t.Fatal(err)
					}
				}
				await(t, "outcomes", out.c, len(ids))
				out.each(t, ids, delivered)
				// 200 at ten a second, a second's worth at once.
				if took := time.Since(began); took < 13*time.Second || took > 40*time.Second {
					t.Errorf("200 envelopes took %v", took)
				}
			})
		})
	}
}

func TestQueriesAreRelayedWithinTheLimitsOfTheirSource(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		b.setPolicy(partnerOf("acme.example") + "\n[[rule]]\nname = \"few questions\"\nlevel = \"partner\"\ndirection = \"in\"\nactions = [\"query\"]\nlimit = { per_second = 5 }\n")
		b.answer = func(box []byte) ([]byte, string) {
			out := make([]byte, wire.LookupBox)
			copy(out, box)
			return out, ""
		}
		a.start()
		b.start()
		box := make([]byte, wire.QueryBox)
		for i := range box {
			box[i] = byte(i)
		}
		got, err := a.Query(context.Background(), b.id(), box)
		if err != nil || len(got) != wire.LookupBox || string(got[:len(box)]) != string(box) {
			t.Fatalf("answer of %d bytes, %v", len(got), err)
		}
		codes := make(map[string]int)
		for range 20 {
			_, err := a.Query(context.Background(), b.id(), box)
			codes[Code(err)]++
		}
		if codes[""] == 0 || codes[wire.CodeRate] == 0 || codes[""]+codes[wire.CodeRate] != 20 {
			t.Errorf("20 at once: %v", codes)
		}
		time.Sleep(2 * time.Second)
		if _, err := a.Query(context.Background(), b.id(), box); err != nil {
			t.Errorf("two seconds later: %v", err)
		}
		// Denied by policy, a code and no box; a bad Answerer is our own fault.
		time.Sleep(2 * time.Second)
		b.answer = func([]byte) ([]byte, string) { return []byte("short"), "" }
		if _, err := a.Query(context.Background(), b.id(), box); Code(err) != wire.CodeInternal {
			t.Errorf("an answer of another size: %v", err)
		}
		b.setPolicy(strings.Replace(partnerOf("acme.example"), `, "query"`, "", 1))
		if _, err := a.Query(context.Background(), b.id(), box); Code(err) != wire.CodePolicy {
			t.Errorf("query denied: %v", err)
		}
		if _, err := a.Query(context.Background(), b.id(), box[:100]); Code(err) != "too_large" {
			t.Errorf("a short box: %v", err)
		}
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Query(context.Background(), b.id(), box); Code(err) != "unreachable" {
			t.Errorf("partner away: %v", err)
		}
	})
}

func TestRefusedEnvelopeTellsItsCodeAndMayBeTriedAgain(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.start()
		b.start()
		tries := 0
		b.deliver = func(*envelope.Envelope) Outcome {
			if tries++; tries == 1 {
				return Outcome{Fate: envelopepb.Fate_FATE_REFUSED, Code: "quota"}
			}
			return Outcome{Fate: envelopepb.Fate_FATE_STORED}
		}
		e := envelopeTo(t, b, envelope.Week, 4096)
		for _, want := range []Outcome{{Fate: envelopepb.Fate_FATE_REFUSED, Code: "quota"}, {Fate: envelopepb.Fate_FATE_STORED}} {
			out := newOutcomes()
			if _, err := a.Send(e, out.of(e.ID())); err != nil {
				t.Fatal(err)
			}
			await(t, "outcome", out.c, 1)
			out.each(t, []envelope.ID{e.ID()}, want)
		}
	})
}

func TestSendSaysWhyNot(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		stranger := s.node("other.example", "version = 1")
		if f, err := New(a.cfg); err != nil {
			t.Fatal(err)
		} else if _, err := f.Send(envelopeTo(t, b, envelope.Live, 1024), nil); Code(err) != wire.CodeUnavailable {
			t.Errorf("before Run: %v", err)
		}
		a.start()
		if _, err := a.Send(envelopeTo(t, stranger, envelope.Day, 1024), nil); Code(err) != "unknown_destination" {
			t.Errorf("an unknown node: %v", err)
		}
		if _, err := a.Send(envelopeTo(t, a, envelope.Day, 1024), nil); Code(err) != "unknown_destination" {
			t.Errorf("ourselves: %v", err)
		}
		live := 0
		var err error
		for ; err == nil; live++ {
			_, err = a.Send(envelopeTo(t, b, envelope.Live, 1024), nil)
		}
		if Code(err) != "queue_full" || live < 200 {
			t.Errorf("live envelope %d: %v", live, err)
		}
		a.outbox.mu.Lock()
		a.outbox.limit = 3
		a.outbox.mu.Unlock()
		for range 3 {
			if durable, err := a.Send(envelopeTo(t, b, envelope.Day, 1024), nil); err != nil || !durable {
				t.Errorf("a stored one behind a full memory: %v, %v", durable, err)
			}
		}
		if _, err := a.Send(envelopeTo(t, b, envelope.Day, 1024), nil); Code(err) != "queue_full" {
			t.Errorf("a full outbox: %v", err)
		}
		a.outbox.mu.Lock()
		a.outbox.fail = errors.New("disk")
		a.outbox.mu.Unlock()
		if _, err := a.Send(envelopeTo(t, b, envelope.Day, 1024), nil); Code(err) != wire.CodeUnavailable {
			t.Errorf("a broken disk: %v", err)
		}
		a.outbox.mu.Lock()
		a.outbox.fail = nil
		a.outbox.mu.Unlock()
		if err := a.stop(); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Send(envelopeTo(t, b, envelope.Day, 1024), nil); Code(err) != wire.CodeDraining {
			t.Errorf("after Run: %v", err)
		}
	})
}

func TestFramesOfOneSessionStayInOrder(t *testing.T) {
	simulate(t, func(t *testing.T, s *simulation) {
		a, b := s.pair()
		a.start()
		b.start()
		connected(t, a, b)
		n := 0
		b.deliver = func(*envelope.Envelope) Outcome {
			if n++; n%3 == 0 { // some are slower than those behind them
				time.Sleep(20 * time.Millisecond)
			}
			return delivered
		}
		out := newOutcomes()
		var ids []envelope.ID
		for i := range 100 {
			payload := make([]byte, 1024)
			copy(payload, "\x07handle.")
			payload[8], payload[9] = byte(i>>8), byte(i)
			e, err := envelope.NewEnvelope(b.routing.Public(), b.id(), envelope.Live, envelope.Hop{Tag: envelope.NewRouteTag()}, payload)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, e.ID())
			if _, err := a.Send(e, out.of(e.ID())); err != nil {
				t.Fatal(err)
			}
		}
		await(t, "outcomes", out.c, len(ids))
		for i, id := range b.order {
			if id != ids[i] {
				t.Fatalf("number %d came out of order", i)
			}
		}
	})
}
