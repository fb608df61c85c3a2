package federation

import (
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation/wire"
)

func ack(through uint64, runs ...wire.Outcome) wire.Frame {
	return wire.Frame{Kind: wire.KindAck, Ack: wire.Ack{Through: through, Outcomes: runs, CreditFrames: 16, CreditBytes: 1 << 20}}
}

// raws marshals n envelopes to the victim.
func raws(t *testing.T, v *testNode, n, size int) [][]byte {
	t.Helper()
	out := make([][]byte, n)
	for i := range out {
		out[i] = envelopeTo(t, v, envelope.Live, size).Marshal()
	}
	return out
}

func TestWhatCutsALink(t *testing.T) {
	run := func(n uint32) wire.Outcome { return wire.Outcome{Fate: 1, Count: n} }
	for name, do := range map[string]func(t *testing.T, v *testNode, s *rawSession){
		"gap in the numbers": func(t *testing.T, v *testNode, s *rawSession) {
			s.p.write(s.data, wire.Frame{Kind: wire.KindBatch, First: 2, Envelopes: raws(t, v, 1, 1024)})
		},
		"a batch twice": func(t *testing.T, v *testNode, s *rawSession) {
			b := wire.Frame{Kind: wire.KindBatch, First: 1, Envelopes: raws(t, v, 3, 1024)}
			s.p.write(s.data, b, b)
		},
		"batches in another order": func(t *testing.T, v *testNode, s *rawSession) {
			e := raws(t, v, 2, 1024)
			s.p.write(s.data, wire.Frame{Kind: wire.KindBatch, First: 2, Envelopes: e[1:]}, wire.Frame{Kind: wire.KindBatch, First: 1, Envelopes: e[:1]})
		},
		"malformed frame":         func(_ *testing.T, _ *testNode, s *rawSession) { s.data.Write([]byte{3, 0x22, 0x01, 0x08}) },
		"oversized frame":         func(_ *testing.T, _ *testNode, s *rawSession) { s.data.Write([]byte{0x81, 0x80, 0x40, 0x22}) },
		"oversized control frame": func(_ *testing.T, _ *testNode, s *rawSession) { s.control.Write([]byte{0x81, 0x80, 0x02, 0x42}) },
		"control frame on the data stream": func(_ *testing.T, _ *testNode, s *rawSession) {
			s.p.write(s.data, wire.Frame{Kind: wire.KindPing, ID: 1})
		},
		"batch on the control stream": func(t *testing.T, v *testNode, s *rawSession) {
			s.p.write(s.control, wire.Frame{Kind: wire.KindBatch, First: 1, Envelopes: raws(t, v, 1, 1024)})
		},
		"a Hello in the middle": func(_ *testing.T, _ *testNode, s *rawSession) {
			s.p.write(s.control, wire.Frame{Kind: wire.KindHello, Hello: s.p.hello()})
		},
		"pong without a ping": func(_ *testing.T, _ *testNode, s *rawSession) {
			s.p.write(s.control, wire.Frame{Kind: wire.KindPong, ID: 1 << 40})
		},
		"answer without a query": func(_ *testing.T, _ *testNode, s *rawSession) {
			s.p.write(s.control, wire.Frame{Kind: wire.KindAnswer, ID: 9, Code: "rate"})
		},
		"ack of nothing": func(_ *testing.T, _ *testNode, s *rawSession) { s.p.write(s.theirs, ack(1, run(1))) },
		"ack far beyond": func(_ *testing.T, _ *testNode, s *rawSession) { s.p.write(s.theirs, ack(1<<50, run(1))) },
		"a frame that is no ack": func(_ *testing.T, _ *testNode, s *rawSession) {
			s.p.write(s.theirs, wire.Frame{Kind: wire.KindPing, ID: 1})
		},
		"echo that does not open": func(t *testing.T, v *testNode, s *rawSession) {
			// Sealed to the routing key instead of the probe's.
			s.p.write(s.data, wire.Frame{Kind: wire.KindEcho, ID: 1, Box: raws(t, v, 1, 1024)[0]})
		},
		"reply to no echo": func(t *testing.T, v *testNode, s *rawSession) {
			s.p.write(s.data, wire.Frame{Kind: wire.KindEcho, ID: 77, Box: raws(t, v, 1, 1024)[0], Reply: true})
		},
		"queries without reading": func(_ *testing.T, _ *testNode, s *rawSession) {
			for i := range 1 << 16 {
				b := wire.Append(nil, &wire.Frame{Kind: wire.KindQuery, ID: uint64(i + 1), Box: make([]byte, wire.QueryBox)})
				s.control.SetWriteDeadline(time.Now().Add(30 * time.Second))
				if _, err := s.control.Write(b); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			hostile(t, func(t *testing.T, _ *simulation, v *testNode, p *rawPeer) {
				v.answer = func([]byte) ([]byte, string) { return make([]byte, wire.LookupBox), "" }
				s := p.join()
				do(t, v, s)
				s.cut(name)
				eventually(t, "the victim is done with it", func() bool { return v.sessionCount() == 0 })
				if st := v.stateOf(p.testNode); st.State == StateConnected || st.Why == "" {
					t.Errorf("afterwards: %+v", st)
				}
			})
		})
	}
}

func TestSessionWithoutADataStreamEnds(t *testing.T) {
	hostile(t, func(t *testing.T, _ *simulation, v *testNode, p *rawPeer) {
		st := p.open()
		in := wire.NewReader(st, wire.MaxFirst)
		p.write(st, wire.Frame{Kind: wire.KindHello, Hello: p.hello()})
		var f wire.Frame
		if err := in.Next(&f); err != nil {
			t.Fatal(err)
		}
		nonce := append([]byte(nil), f.Hello.Nonce...)
		if err := in.Next(&f); err != nil {
			t.Fatal(err)
		}
		p.write(st, wire.Frame{Kind: wire.KindWelcome, Welcome: wire.Welcome{Version: 1, Session: f.Welcome.Session,
			CreditFrames: 16, CreditBytes: 1 << 20, Nonce: nonce}})
		time.Sleep(2*openTime + 100*time.Millisecond)
		eventually(t, "it has ended", func() bool { return v.sessionCount() == 0 })
	})
}

func TestSilentPeerIsDeadAfterThreePings(t *testing.T) {
	hostile(t, func(t *testing.T, _ *simulation, v *testNode, p *rawPeer) {
		p.join()
		began := time.Now()
		eventually(t, "it is found dead", func() bool { return v.sessionCount() == 0 })
		if took := time.Since(began); took < pingMisses*pingEvery || took > (pingMisses+2)*pingEvery {
			t.Errorf("after %v", took)
		}
	})
}

func TestPeerBeyondItsCreditIsCutAndHoldsNoMoreThanIt(t *testing.T) {
	for name, c := range map[string]struct {
		size, fits int
		envelopes  int
	}{
		"envelopes": {1024, 256, 300},
		"bytes":     {65536, 63, 70},
	} {
		t.Run(name, func(t *testing.T) {
			hostile(t, func(t *testing.T, _ *simulation, v *testNode, p *rawPeer) {
				release := make(chan struct{})
				v.deliver = func(*envelope.Envelope) Outcome {
					<-release
					return delivered
				}
				s := p.join()
				all := raws(t, v, c.envelopes, c.size)
				for i, raw := range all[:c.fits] {
					p.write(s.data, wire.Frame{Kind: wire.KindBatch, First: uint64(i + 1), Envelopes: [][]byte{raw}})
				}
				// The Deliverer is stuck, and the session reads and lives on.
				var sess *session
				eventually(t, "all within the credit is read", func() bool {
					v.Federation.mu.Lock()
					defer v.Federation.mu.Unlock()
					for _, s := range v.Federation.sessions {
						sess = s
					}
					if sess == nil {
						return false
					}
					sess.in.mu.Lock()
					defer sess.in.mu.Unlock()
					return sess.in.received == uint64(c.fits)
				})
				s.p.write(s.control, wire.Frame{Kind: wire.KindPing, ID: 5})
				var f wire.Frame
				s.control.SetReadDeadline(time.Now().Add(3 * time.Second))
				for f.Kind != wire.KindPong {
					if err := s.controlIn.Next(&f); err != nil {
						t.Fatalf("no pong while the Deliverer is stuck: %v", err)
					}
				}
				p.write(s.data, wire.Frame{Kind: wire.KindBatch, First: uint64(c.fits + 1), Envelopes: all[c.fits:]})
				s.cut("credit overrun")
				sess.in.mu.Lock()
				if sess.in.received > uint64(c.fits)+1 || sess.in.held > v.Federation.cfg.WindowBytes {
					t.Errorf("%d envelopes and %d bytes were taken", sess.in.received, sess.in.held)
				}
				sess.in.mu.Unlock()
				close(release)
			})
		})
	}
}

func TestForgedAcksLoseNoEnvelope(t *testing.T) {
	hostile(t, func(t *testing.T, _ *simulation, v *testNode, p *rawPeer) {
		s := p.join()
		out := newOutcomes()
		var ids []envelope.ID
		for range 10 {
			e := envelopeTo(t, p.testNode, envelope.Day, 1024)
			ids = append(ids, e.ID())
			if _, err := v.Send(e, out.of(e.ID())); err != nil {
				t.Fatal(err)
			}
		}
		var f wire.Frame
		for got := 0; got < 10; {
			if err := s.dataIn.Next(&f); err != nil {
				t.Fatal(err)
			}
			if f.Kind == wire.KindBatch {
				got += len(f.Envelopes)
			}
		}
		p.write(s.theirs, ack(4, wire.Outcome{Fate: 1, Count: 4}))
		await(t, "four outcomes", out.c, 4)
		p.write(s.theirs, ack(11, wire.Outcome{Fate: 1, Count: 7})) // one more than was sent
		s.cut("a forged ack")
		out.each(t, ids[:4], delivered)
		eventually(t, "the rest waits", func() bool { return v.stateOf(p.testNode).QueueLen == 6 })
		for _, id := range ids[4:] {
			if len(out.all()[id]) != 0 {
				t.Error("a forged ack gave an outcome")
			}
		}
		// The next session gets exactly those, in order.
		s = p.join()
		var again []envelope.ID
		for len(again) < 6 {
			if err := s.dataIn.Next(&f); err != nil {
				t.Fatal(err)
			}
			if f.Kind != wire.KindBatch {
				continue
			}
			for _, raw := range f.Envelopes {
				e, err := envelope.Parse(raw)
				if err != nil {
					t.Fatal(err)
				}
				again = append(again, e.ID())
			}
		}
		for i, id := range again {
			if id != ids[4+i] {
				t.Fatalf("resent number %d is another", i)
			}
		}
	})
}

func TestBadOutcomesCutTheLink(t *testing.T) {
	for name, o := range map[string][]wire.Outcome{
		"unknown fate":             {{Fate: 9, Count: 1}},
		"no fate":                  {{Count: 1}},
		"refusal without a code":   {{Fate: uint32(envelopepb.Fate_FATE_REFUSED), Count: 1}},
		"delivery with a code":     {{Fate: 1, Code: "quota", Count: 1}},
		"more outcomes than asked": {{Fate: 1, Count: 2}},
		"run of the largest size":  {{Fate: 1, Count: wire.MaxWindowFrames}},
	} {
		t.Run(name, func(t *testing.T) {
			hostile(t, func(t *testing.T, _ *simulation, v *testNode, p *rawPeer) {
				s := p.join()
				if _, err := v.Send(envelopeTo(t, p.testNode, envelope.Day, 1024), WaiterFunc(func(Outcome) { t.Error("an outcome from a bad ack") })); err != nil {
					t.Fatal(err)
				}
				var f wire.Frame
				for f.Kind != wire.KindBatch {
					if err := s.dataIn.Next(&f); err != nil {
						t.Fatal(err)
					}
				}
				p.write(s.theirs, ack(1, o...))
				s.cut(name)
			})
		})
	}
}

func TestEnvelopesThatAreBrokenOrElsewhereEndAlone(t *testing.T) {
	hostile(t, func(t *testing.T, _ *simulation, v *testNode, p *rawPeer) {
		s := p.join()
		good := raws(t, v, 2, 1024)
		elsewhere := envelopeTo(t, p.testNode, envelope.Live, 1024).Marshal()
		p.write(s.data, wire.Frame{Kind: wire.KindBatch, First: 1, Envelopes: [][]byte{good[0], {1, 2, 3}, elsewhere, good[1]}})
		var got []wire.Outcome
		var f wire.Frame
		for f.Ack.Through < 4 {
			if err := s.ackIn.Next(&f); err != nil {
				t.Fatal(err)
			}
			for _, o := range f.Ack.Outcomes {
				for range o.Count {
					got = append(got, wire.Outcome{Fate: o.Fate, Code: o.Code})
				}
			}
		}
		want := []wire.Outcome{{Fate: 1}, {Fate: 4, Code: "bad_frame"}, {Fate: 4, Code: "unknown_destination"}, {Fate: 1}}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("envelope %d: %+v, want %+v", i, got[i], want[i])
			}
		}
	})
}

func TestSameEnvelopeAgainGetsTheSameOutcomeAndOneDelivery(t *testing.T) {
	hostile(t, func(t *testing.T, _ *simulation, v *testNode, p *rawPeer) {
		v.deliver = func(*envelope.Envelope) Outcome { return Outcome{Fate: envelopepb.Fate_FATE_STORED} }
		e := envelopeTo(t, v, envelope.Day, 1024)
		for range 2 { // over two sessions, three times each
			s := p.join()
			for i := range 3 {
				p.write(s.data, wire.Frame{Kind: wire.KindBatch, First: uint64(i + 1), Envelopes: [][]byte{e.Marshal()}})
			}
			var f wire.Frame
			for f.Ack.Through < 3 {
				if err := s.ackIn.Next(&f); err != nil {
					t.Fatal(err)
				}
				for _, o := range f.Ack.Outcomes {
					if o.Fate != uint32(envelopepb.Fate_FATE_STORED) {
						t.Fatalf("outcome %+v", o)
					}
				}
			}
		}
		if n := v.delivered[e.ID()]; n != 1 {
			t.Fatalf("delivered %d times", n)
		}
	})
}
