package sfu

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
	"github.com/trunkline-net/trunkline/media/sfu/wire/scalable"
)

// Five packets of a hundred are lost on either leg, in either direction, and each way takes 20 ms: what never arrives
// is at most one packet of a thousand.
func TestLossOnBothLegsIsMended(t *testing.T) {
	const (
		loss  = 0.05
		delay = 20 * time.Millisecond
	)
	inWorld(t, Config{}, func(w *world) {
		random := rand.New(rand.NewPCG(7, 8))
		alice := w.join(1, speaker1, publishes...)
		bob := w.join(2, Grant{}, subscribes...)
		must(t, bob.seat.Want(Wants{Subscriptions: []Subscription{{Mid: "1", Publisher: 1, Slot: Camera}}}))
		ssrc, repair := bob.c.Source("1")

		// Everything below runs in this goroutine, in steps of 5 ms: what is due is done.
		type due struct {
			at time.Time
			do func()
		}
		var later []due
		after := func(do func()) {
			if random.Float64() >= loss {
				later = append(later, due{time.Now().Add(delay), do})
			}
		}
		kept := map[uint16][]byte{} // what alice sent
		cam := alice.camera("1", 12)
		rtxSeq := uint16(0)
		got := map[uint16]bool{}
		asked := map[uint16]time.Time{}
		var first, highest uint16
		began := false
		sent, seen, alicesNACKs := 0, 0, 0
		arrive := func(seq uint16) {
			if !began {
				began, first, highest = true, seq, seq
			}
			for wire.Newer(seq, highest) {
				highest++
				asked[highest] = time.Now().Add(10 * time.Millisecond)
			}
			got[seq] = true
			delete(asked, seq)
		}
		for step := range 12_000 { // a minute
			if step%8 == 0 {
				h := wire.Header{PayloadType: light.VP8, Timestamp: cam.ts, SSRC: 12, Marker: true}
				cam.ts += 3000
				for i := range 4 {
					h.Sequence = cam.seq
					h.Extensions[0] = wire.Extension{ID: light.Extensions.MID, Value: []byte("1")}
					h.Extensions[1] = wire.Extension{ID: light.Extensions.Descriptor, Value: cam.mode.Append(nil, keyIf(step == 0 && i == 0), i == 0, i == 3, cam.frame)}
					b := append(h.Append(nil), binary.BigEndian.AppendUint16(make([]byte, 900), cam.seq)...)
					kept[cam.seq] = b
					cam.seq++
					sent++
					if step == 0 {
						must(t, alice.c.WriteRTP(b)) // the key frame arrives
					} else {
						after(func() { must(t, alice.c.WriteRTP(b)) })
					}
				}
				cam.frame++
			}
			// What the server asks of alice.
			_, nacks := alice.requests()
			for _, seq := range nacks[alicesNACKs:] {
				after(func() { // the request's way
					b := kept[seq]
					var p wire.Packet
					must(t, p.Parse(b))
					rtxSeq++
					h := wire.Header{PayloadType: light.VP8 + 1, Sequence: rtxSeq, Timestamp: p.Timestamp(), SSRC: 13, Marker: p.Marker()}
					d, _ := p.Extension(light.Extensions.Descriptor)
					h.Extensions[0] = wire.Extension{ID: light.Extensions.Descriptor, Value: d}
					again := append(binary.BigEndian.AppendUint16(h.Append(nil), seq), p.Payload()...)
					after(func() { must(t, alice.c.WriteRTP(again)) })
				})
			}
			alicesNACKs = len(nacks)
			// What the server sends to bob.
			bob.mu.Lock()
			packets, repairs := bob.packets["1"], bob.packets["1r"]
			bob.packets["1"], bob.packets["1r"] = nil, nil
			bob.mu.Unlock()
			for _, b := range packets {
				seen++
				after(func() { arrive(binary.BigEndian.Uint16(b[2:])) })
			}
			for _, b := range repairs {
				var p wire.Packet
				must(t, p.Parse(b))
				if p.SSRC() == repair && len(p.Payload()) > 2 {
					after(func() { arrive(binary.BigEndian.Uint16(p.Payload())) })
				}
			}
			// And what bob asks for.
			var seqs []uint16
			for seq, at := range asked {
				if !at.After(time.Now()) {
					seqs = append(seqs, seq)
					asked[seq] = time.Now().Add(60 * time.Millisecond)
				}
			}
			slices.SortFunc(seqs, func(a, b uint16) int { return int(int16(a - b)) })
			if len(seqs) > 0 {
				nack := wire.AppendNACK(nil, 9, ssrc, seqs)
				after(func() { must(t, bob.c.WriteRTCP(nack)) })
			}
			for len(later) > 0 && !later[0].at.After(time.Now()) {
				do := later[0].do
				later = later[1:]
				do()
			}
			synctest.Wait()
			if step%10 == 0 {
				bob.feedback()
			}
			time.Sleep(5 * time.Millisecond)
			synctest.Wait()
		}
		missing, all := 0, 0
		for seq := first; seq != highest-64; seq++ { // what is still on its way does not count
			all++
			if !got[seq] {
				missing++
			}
		}
		if all < sent*9/10 {
			t.Fatalf("of %d packets only %d were sent on", sent, all)
		}
		st := w.s.Stats()
		t.Logf("%d packets, %d missing; %d repeated, %d gone when asked for, %d never came from the publisher", all, missing, st.Repeated, st.Unmet, st.Lost)
		if float64(missing) > 0.001*float64(all) || float64(st.Lost) > 0.001*float64(sent) {
			t.Errorf("%d of %d packets are missing at the client, %d at the server", missing, all, st.Lost)
		}
		if st.Repeated < uint64(all/40) {
			t.Errorf("only %d packets were repeated, so nothing was lost", st.Repeated)
		}
	})
}

func keyIf(key bool) scalable.Frame { return scalable.Frame{Key: key} }
