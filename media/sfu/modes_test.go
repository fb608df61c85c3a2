package sfu

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
	"github.com/trunkline-net/trunkline/media/sfu/wire/scalable"
)

// One room for each codec and mode, on a path that is wide and then narrow: but for the payload type, what a subscriber
// gets and is told is the same to the last bit for every codec.
func TestNoCodecIsForwardedUnlikeAnother(t *testing.T) {
	t.Parallel()
	for _, mode := range []scalable.Mode{
		{Spatial: 1, Temporal: 1},
		{Spatial: 1, Temporal: 3},
		{Spatial: 3, Temporal: 3},
		{Spatial: 2, Temporal: 2, Kind: scalable.Key},
		{Spatial: 3, Temporal: 3, Kind: scalable.Key},
		{Spatial: 2, Temporal: 1, Kind: scalable.S},
		{Spatial: 3, Temporal: 3, Kind: scalable.S},
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			var first [][]byte
			var told string
			for i, codec := range []struct {
				name string
				pt   uint8
			}{{"VP8", light.VP8}, {"VP9", light.VP9}, {"AV1", light.AV1}} {
				packets, allocated := throughARoom(t, mode, codec.name, codec.pt)
				if i == 0 {
					first, told = packets, allocated
					continue
				}
				if allocated != told {
					t.Errorf("%s: %s, as VP8 it was %s", codec.name, allocated, told)
				}
				if len(packets) != len(first) {
					t.Fatalf("%s: %d packets, as VP8 %d", codec.name, len(packets), len(first))
				}
				for n := range packets {
					if !bytes.Equal(packets[n], first[n]) {
						t.Fatalf("%s: packet %d is %x, as VP8 %x", codec.name, n, packets[n][:40], first[n][:40])
					}
				}
			}
		})
	}
}

// throughARoom gives what a subscriber got, with the payload type made 0, and what it was told of its section.
func throughARoom(t *testing.T, mode scalable.Mode, name string, pt uint8) (packets [][]byte, told string) {
	t.Helper()
	inWorld(t, Config{}, func(w *world) {
		alice := w.join(1, speaker1, light.Section{Sends: true, SSRC: 12, RTX: 13})
		bob := w.join(2, Grant{}, light.Section{})
		want := func(height uint16) {
			must(t, bob.seat.Want(Wants{Subscriptions: []Subscription{{Mid: "0", Publisher: 1, Slot: Camera, Height: height}}}))
		}
		cam := alice.camera("0", 12)
		cam.pt, cam.mode, cam.packets, cam.size = pt, mode, 2, 600
		members := []*member{alice, bob}
		want(0)
		w.run(3*time.Second, members, cam)
		e, _ := last[LayersChanged](bob)
		published, _ := last[Published](bob)
		if published.Codec != name {
			t.Errorf("%v: the codec is %q, want %s", mode, published.Codec, name)
		}
		top := len(published.Layers) - 1
		if a := bob.allocated("0"); a.Layer != top || a.Reason != "" {
			t.Errorf("%v: of the largest of %d qualities it has %+v", mode, top+1, a)
		}
		want(1) // the smallest picture will do
		w.run(time.Second, members, cam)
		small := bob.allocated("0")
		if small.Layer != mode.Temporal-1 {
			t.Errorf("%v: in a small tile it has %+v", mode, small)
		}
		// The rate of a quality is that of what comes with it.
		if n := len(e.Layers); mode.Spatial > 1 && n > 0 {
			one, all := float64(e.Layers[mode.Temporal-1].BitsPerSecond), float64(e.Layers[n-1].BitsPerSecond)
			times := 1.0
			if mode.Kind == scalable.L {
				times = float64(mode.Spatial)
			}
			if all < one*times*0.8 || all > one*times*1.25 {
				t.Errorf("%v: the largest picture takes %.1f times the smallest, want %.1f", mode, all/one, times)
			}
		} else if mode.Spatial > 1 {
			t.Errorf("%v: no layers were told", mode)
		}
		for _, b := range bob.got("0") {
			b = bytes.Clone(b)
			b[1] &= 0x80
			packets = append(packets, b)
		}
		whole(t, packets)
		told = fmt.Sprintf("%+v %+v", small, e.Layers)
	})
	return packets, told
}

// Simulcast by RIDs whose streams have temporal layers: the smallest stream with one, two and all of them, then the others
// with all.
func TestSimulcastHasTemporalLayers(t *testing.T) {
	t.Parallel()
	for receive, want := range map[int64]int{90_000: 0, 170_000: 1, 300_000: 2, 700_000: 3, 2_000_000: 4} {
		t.Run(fmt.Sprint(receive), func(t *testing.T) {
			t.Parallel()
			inWorld(t, Config{}, func(w *world) {
				rids := []string{"q", "h", "f"}
				alice := w.join(1, speaker1, light.Section{Sends: true, RIDs: rids})
				bob := w.join(2, Grant{Receive: receive}, light.Section{})
				var senders []*sender
				shared := new(uint16)
				for i, rid := range rids {
					x := alice.camera("0", uint32(100+i))
					x.rid, x.packets, x.tseq, x.ts, x.mode = rid, 1+2*i, shared, uint32(i)*1e9, scalable.Mode{Spatial: 1, Temporal: 3}
					senders = append(senders, x)
				}
				members := []*member{alice, bob}
				must(t, bob.seat.Want(Wants{Subscriptions: []Subscription{{Mid: "0", Publisher: 1, Slot: Camera}}}))
				w.run(12*time.Second, members, senders...)
				if a := bob.allocated("0"); a.Layer != want || (a.Reason == ReasonBandwidth) != (want < 4) {
					t.Errorf("%+v, want quality %d", a, want)
				}
				bob.forget()
				w.run(time.Second, members, senders...)
				packets := bob.got("0")
				whole(t, packets)
				temporal, from := min(want, 2), max(want-2, 0)
				for i, b := range packets {
					var p wire.Packet
					if err := p.Parse(b); err != nil {
						t.Fatal(err)
					}
					if source := uint32(p.Payload()[2]); source != uint32(100+from) {
						t.Fatalf("packet %d is of source %d, want %s", i, source, rids[from])
					}
				}
				frames := map[uint16]bool{}
				for _, b := range packets {
					var p wire.Packet
					must(t, p.Parse(b))
					d, _ := p.Extension(light.Extensions.Descriptor)
					frames[binary.BigEndian.Uint16(d[1:])] = true
				}
				if n, all := len(frames), 25*(temporal+1)/3; n < all-1 || n > all+1 {
					t.Errorf("%d frames of 25 with %d temporal layers, want %d", n, temporal+1, all)
				}
			})
		})
	}
}
