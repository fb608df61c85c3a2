package sfu

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"

	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// Everything that a client can send wrong, at once, while two others have a conversation in the same room: each thing
// is counted, and what the two get is exactly what they would have got alone.
func TestWhatStrangersSendIsTheirOwnTrouble(t *testing.T) {
	const span = 10 * time.Second
	good := func(w *world, others ...*sender) (pictures, sounds [][]byte, keys int, nacks []uint16) {
		alice := w.join(1, speaker1, publishes...)
		bob := w.join(2, Grant{}, subscribes...)
		must(w.t, bob.seat.Want(Wants{Subscriptions: []Subscription{{Mid: "0", Publisher: 1, Slot: Microphone}, {Mid: "1", Publisher: 1, Slot: Camera}}}))
		w.run(span, []*member{alice, bob}, append([]*sender{alice.microphone("0", 11), alice.camera("1", 12)}, others...)...)
		if a := bob.allocated("1"); a.Layer != 0 || a.Reason != "" {
			w.t.Errorf("the good subscription is %+v", a)
		}
		keys, nacks = alice.requests()
		return bob.got("1"), bob.got("0"), keys, nacks
	}
	var alonePictures, aloneSounds, aloneKeys int
	inWorld(t, Config{}, func(w *world) {
		p, s, k, _ := good(w)
		alonePictures, aloneSounds, aloneKeys = len(p), len(s), k
	})
	if alonePictures != 500 || aloneSounds != 500 {
		t.Fatalf("alone they get %d and %d", alonePictures, aloneSounds)
	}
	inWorld(t, Config{}, func(w *world) {
		bytes := func(n int) []byte {
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(rand.Uint32())
			}
			return b
		}
		write := func(m *member, b []byte) {
			var p wire.Packet
			if p.Parse(b) == nil { // memory.Client refuses what no SRTP could carry
				must(t, m.c.WriteRTP(b))
			}
		}
		stop := make(chan struct{})
		attack := func(m *member, every time.Duration, f func(n int)) {
			go func() {
				tick := time.NewTicker(every)
				defer tick.Stop()
				for n := 0; ; n++ {
					select {
					case <-tick.C:
						f(n)
					case <-stop:
						return
					}
				}
			}()
		}
		sections := []light.Section{{Audio: true, Sends: true, SSRC: 11}, {Sends: true, RIDs: []string{"q", "h"}}, {Audio: true}, {}}
		want := Wants{Subscriptions: []Subscription{{Mid: "2", Publisher: 1, Slot: Microphone}, {Mid: "3", Publisher: 1, Slot: Camera}}}
		stranger := func(index uint16, g Grant) *member {
			m := w.join(index, g, sections...)
			must(t, m.seat.Want(want))
			return m
		}
		header := func(m *member, ssrc uint32, n int, mid string, extensions ...wire.Extension) []byte {
			h := wire.Header{PayloadType: light.VP8, Sequence: uint16(n), Timestamp: uint32(n) * 3000, SSRC: ssrc}
			h.Extensions[0] = wire.Extension{ID: light.Extensions.MID, Value: []byte(mid)}
			copy(h.Extensions[1:], extensions)
			return append(h.Append(nil), bytes(200)...)
		}

		wrong := stranger(10, speaker1) // a source that nothing announces
		attack(wrong, 2*time.Millisecond, func(n int) { write(wrong, header(wrong, 0xdead, n, "")) })
		cut := stranger(11, speaker1) // header extensions that say they are longer than they are
		attack(cut, 5*time.Millisecond, func(n int) {
			b := header(cut, 50, n, "1", wire.Extension{ID: light.Extensions.RID, Value: []byte("q")}, wire.Extension{ID: 9, Value: bytes(4)})
			b[16+2+2] |= 0x0f
			write(cut, b)
		})
		liar := stranger(12, speaker1) // descriptors of random bits
		attack(liar, 5*time.Millisecond, func(n int) {
			write(liar, header(liar, 51, n, "1", wire.Extension{ID: light.Extensions.RID, Value: []byte("q")},
				wire.Extension{ID: light.Extensions.Descriptor, Value: bytes(1 + rand.IntN(60))}))
		})
		rid := stranger(13, speaker1) // a RID that was never announced
		attack(rid, 5*time.Millisecond, func(n int) {
			write(rid, header(rid, 52, n, "1", wire.Extension{ID: light.Extensions.RID, Value: []byte("zz")}))
		})
		storm := stranger(14, speaker1) // asks for everything again, all the time
		attack(storm, time.Millisecond, func(int) {
			ssrc, _ := storm.c.Source("3")
			var seqs []uint16
			for i := range uint16(300) {
				seqs = append(seqs, i)
			}
			must(t, storm.c.WriteRTCP(wire.AppendNACK(nil, 9, ssrc, seqs)))
		})
		keys := stranger(15, speaker1) // wants key frames, all the time
		attack(keys, time.Millisecond, func(int) {
			ssrc, _ := keys.c.Source("3")
			must(t, keys.c.WriteRTCP(wire.AppendPLI(nil, 9, ssrc)))
		})
		zero := stranger(16, speaker1) // says that its path takes nothing
		attack(zero, 20*time.Millisecond, func(int) {
			ssrc, _ := zero.c.Source("3")
			b, err := (&rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: 0, SSRCs: []uint32{ssrc}}).Marshal()
			must(t, err, zero.c.WriteRTCP(b))
		})
		garbage := stranger(17, speaker1) // RTCP that is none, or nearly
		attack(garbage, 5*time.Millisecond, func(int) {
			b := bytes(rand.IntN(400))
			if rand.IntN(2) == 0 {
				b = append(wire.AppendRR(nil, 9, []wire.Report{{SSRC: 9}}), b...)
			}
			must(t, garbage.c.WriteRTCP(b))
		})
		unread := stranger(18, speaker1) // never says what came
		unread.silent = true
		greedy := stranger(19, Grant{Publish: true, MaxBitrate: 500_000}) // sends ten times its grant
		flood := greedy.camera("1", 60)
		flood.rid, flood.packets, flood.size = "q", 8, 1100                                      // 25 pictures/s of 8 packets are 1.8 Mbit/s,
		attack(greedy, 20*time.Millisecond, func(n int) { flood.one(n == 0); flood.one(false) }) // and each four times

		pictures, sounds, asked, nacks := good(w)
		close(stop)
		synctest.Wait()

		if len(pictures) != alonePictures || len(sounds) != aloneSounds {
			t.Errorf("%d pictures and %d sounds, alone %d and %d", len(pictures), len(sounds), alonePictures, aloneSounds)
		}
		whole(t, pictures)
		whole(t, sounds)
		if len(nacks) != 0 {
			t.Errorf("the good publisher was asked for %d packets", len(nacks))
		}
		// Eleven joiners came and one of them wants key frames without end: it has a budget of four, and one in five
		// seconds; requests of one moment are merged.
		if most := aloneKeys + 2 + keyBurst + int(span.Seconds()*keyRate) + 1; asked > most {
			t.Errorf("the good publisher was asked for %d key frames, at most %d are right", asked, most)
		}
		st := w.s.Stats()
		for what, n := range map[string]uint64{
			"packets of unknown sources": st.UnknownSource, "cut extensions": st.BadExtensions, "descriptors that lie": st.BadDescriptors,
			"unknown RIDs": st.UnknownRID, "repeats beyond the budget": st.RepeatFlood, "requests for key frames beyond the budget": st.KeyFlood,
			"REMBs": st.REMB, "bad RTCP": st.BadControl, "RTCP beyond the rate": st.ControlFlood, "packets beyond the grant": st.OverGrant,
		} {
			if n == 0 {
				t.Errorf("no %s were counted", what)
			}
		}
		if st.Queue != 0 {
			t.Errorf("the room had no time for %d packets", st.Queue)
		}
		// Who asked for everything again got some, within its budget, and still has its stream.
		if repeats := len(storm.got("3r")); repeats == 0 || repeats > 2500 {
			t.Errorf("the storm got %d repeats", repeats)
		}
		for _, m := range []*member{wrong, cut, liar, rid, storm, keys, zero, garbage, greedy} {
			if n := len(m.got("3")); n < alonePictures*9/10 {
				t.Errorf("participant %d got %d pictures only", m.seat.ID(), n)
			}
		}
	})
}

// A publisher's own packets beyond its grant are dropped before the room sees them.
func TestAPublisherIsHeldToItsGrant(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		alice := w.join(1, Grant{Publish: true, MaxBitrate: 500_000}, publishes...)
		cam := alice.camera("1", 12)
		cam.packets = 25 // 5 Mbit/s
		before := w.s.Stats().BytesIn
		w.run(10*time.Second, []*member{alice}, cam)
		st := w.s.Stats()
		rate := float64(st.BytesIn-before) * 8 / 10
		if most := 500_000*grantSpare + 128*1024*8/10; rate > most || rate < 400_000 {
			t.Errorf("%.0f bit/s passed a grant of 500,000", rate)
		}
		if st.OverGrant == 0 {
			t.Error("nothing was counted")
		}
	})
}

// The grant may change while somebody publishes: the next packets count against it, and so does who joins.
func TestAPublishersLimitChangesWhileItSends(t *testing.T) {
	inWorld(t, Config{Limits: Limits{RoomBitrate: 9_000_000}}, func(w *world) {
		alice := w.join(1, Grant{Publish: true, MaxBitrate: 8_000_000}, publishes...)
		cam := alice.camera("1", 12)
		cam.packets = 25 // 5 Mbit/s
		measure := func() float64 {
			before := w.s.Stats().BytesIn
			w.run(10*time.Second, []*member{alice}, cam)
			return float64(w.s.Stats().BytesIn-before) * 8 / 10
		}
		all := measure()
		if n := w.s.Stats().OverGrant; n != 0 {
			t.Errorf("%d packets were dropped within the grant", n)
		}
		if err := w.client(publishes).tryJoin(theRoom, 2, Grant{Publish: true, MaxBitrate: 2_000_000}); ReasonOf(err) != ReasonCeiling {
			t.Errorf("more than the room's publishers may send: %v", err)
		}
		alice.seat.Limit(500_000)
		if rate, most := measure(), 500_000*grantSpare+128*1024*8/10; rate > most || rate < 400_000 {
			t.Errorf("%.0f bit/s passed a limit of 500,000", rate)
		}
		w.join(2, Grant{Publish: true, MaxBitrate: 2_000_000}, publishes...)
		// Back to what the server gives: the room's sum is no reason to end anybody.
		alice.seat.Limit(0)
		if rate := measure(); rate < 0.99*all {
			t.Errorf("%.0f bit/s passed without a limit, %.0f before", rate, all)
		}
	})
}

// Feedback about packets that were never sent, and about those of others, moves nothing.
func TestFeedbackIsAboutOnesOwnPath(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		alice := w.join(1, speaker1, publishes...)
		bob := w.join(2, Grant{}, subscribes...)
		eve := w.join(3, Grant{}, subscribes...)
		want := Wants{Subscriptions: []Subscription{{Mid: "1", Publisher: 1, Slot: Camera}}}
		must(t, bob.seat.Want(want), eve.seat.Want(want))
		cam := alice.camera("1", 12)
		w.run(time.Second, []*member{alice, bob}, cam)
		ssrc, _ := bob.c.Source("1")
		for i := range 100 {
			lies := make([]int64, 50)
			for j := range lies {
				lies[j] = int64(i)*1e6 + int64(j)*100_000
			}
			b, _ := wire.AppendTWCC(nil, 9, ssrc, uint16(i*50), lies, uint8(i))
			must(t, eve.c.WriteRTCP(b))
			must(t, eve.c.WriteRTCP(wire.AppendNACK(nil, 9, ssrc, []uint16{1, 2, 3})))
			must(t, eve.c.WriteRTCP(binary.BigEndian.AppendUint32(wire.AppendPLI(nil, 9, ssrc)[:8], ssrc)))
		}
		before := len(bob.got("1"))
		w.run(time.Second, []*member{alice, bob}, cam)
		if got := len(bob.got("1")) - before; got != 50 || len(bob.got("1r")) > 20 {
			t.Errorf("bob got %d packets of 50, and %d repeats", got, len(bob.got("1r")))
		}
	})
}
