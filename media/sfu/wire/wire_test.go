package wire_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/trunkline-net/trunkline/media/sfu/wire"
	"github.com/trunkline-net/trunkline/media/sfu/wire/scalable"
)

// pion/rtp is the oracle for headers: what we write it reads, and the other way round.
func TestHeadersAreThoseOfAnotherImplementation(t *testing.T) {
	long := bytes.Repeat([]byte{7}, 40)
	for name, h := range map[string]wire.Header{
		"none":     {PayloadType: 96, Sequence: 65535, Timestamp: 1 << 31, SSRC: 0xfeedbeef},
		"one byte": {Marker: true, PayloadType: 111, SSRC: 1, Extensions: [4]wire.Extension{{ID: 3, Value: []byte{1, 2}}, {}, {ID: 14, Value: []byte{9}}}},
		"two byte": {PayloadType: 45, SSRC: 2, Extensions: [4]wire.Extension{{ID: 3, Value: []byte{1, 2}}, {ID: 8, Value: long}}},
		"high id":  {PayloadType: 45, SSRC: 2, Extensions: [4]wire.Extension{{ID: 200, Value: []byte{1}}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := append(h.Append(nil), "payload"...)
			var theirs rtp.Packet
			if err := theirs.Unmarshal(b); err != nil {
				t.Fatal(err)
			}
			if theirs.Marker != h.Marker || theirs.PayloadType != h.PayloadType || theirs.SequenceNumber != h.Sequence ||
				theirs.Timestamp != h.Timestamp || theirs.SSRC != h.SSRC || string(theirs.Payload) != "payload" {
				t.Fatalf("read back as %+v", theirs)
			}
			var ours wire.Packet
			if err := ours.Parse(b); err != nil {
				t.Fatal(err)
			}
			for _, e := range h.Extensions {
				if e.ID == 0 {
					continue
				}
				if got := theirs.GetExtension(e.ID); !bytes.Equal(got, e.Value) {
					t.Errorf("they read extension %d as %x, want %x", e.ID, got, e.Value)
				}
				if got, ok := ours.Extension(e.ID); !ok || !bytes.Equal(got, e.Value) {
					t.Errorf("extension %d is %x, want %x", e.ID, got, e.Value)
				}
			}
			if !ours.WellFormed() || string(ours.Payload()) != "payload" {
				t.Errorf("well formed %v, payload %q", ours.WellFormed(), ours.Payload())
			}
		})
	}
}

func TestPacketsThatAreCutShort(t *testing.T) {
	good := append((&wire.Header{PayloadType: 96, SSRC: 5, Extensions: [4]wire.Extension{{ID: 1, Value: []byte("mid0")}}}).Append(nil), 1, 2, 3)
	var p wire.Packet
	for n := range len(good) - 3 {
		if err := p.Parse(good[:n]); err == nil {
			t.Errorf("the first %d bytes are taken for a packet", n)
		}
	}
	lying := slices.Clone(good)
	lying[16] = 1<<4 | 15 // an extension of 16 bytes in a block of 8
	if err := p.Parse(lying); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Extension(1); ok || p.WellFormed() {
		t.Error("an extension longer than its block was found")
	}
	padded := slices.Clone(good)
	padded[0] |= 0x20
	padded[len(padded)-1] = 200
	if err := p.Parse(padded); err == nil {
		t.Error("padding longer than the packet was taken")
	}
}

func TestControlIsThatOfAnotherImplementation(t *testing.T) {
	b := wire.AppendRR(nil, 1, []wire.Report{{SSRC: 9, FractionLost: 12, Lost: 300, Highest: 70000, Jitter: 5, LastSR: 6, Delay: 7}})
	b = wire.AppendSR(b, wire.SenderReport{SSRC: 3, NTP: 1 << 40, Timestamp: 8, Packets: 2, Octets: 1})
	b = wire.AppendSDES(b, 3, "sfu")
	b = wire.AppendPLI(b, 1, 2)
	b = wire.AppendNACK(b, 1, 2, []uint16{65530, 65535, 3, 40})
	theirs, err := rtcp.Unmarshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(theirs) != 5 {
		t.Fatalf("they read %d packets", len(theirs))
	}
	rr := theirs[0].(*rtcp.ReceiverReport)
	if rr.Reports[0].TotalLost != 300 || rr.Reports[0].LastSequenceNumber != 70000 {
		t.Errorf("report is %+v", rr.Reports[0])
	}
	var named []uint16
	for _, pair := range theirs[4].(*rtcp.TransportLayerNack).Nacks {
		named = append(named, pair.PacketList()...)
	}
	if !slices.Equal(named, []uint16{65530, 65535, 3, 40}) {
		t.Errorf("they read the numbers %v", named)
	}
	c := wire.NewCompound(b)
	var kinds []uint8
	for p, ok := c.Next(); ok; p, ok = c.Next() {
		kinds = append(kinds, p.Type)
		if p.Type == wire.TypeTransport {
			_, fci, _ := p.Feedback()
			named = named[:0]
			wire.NACKs(fci, func(s uint16) { named = append(named, s) })
			if !slices.Equal(named, []uint16{65530, 65535, 3, 40}) {
				t.Errorf("the numbers are %v", named)
			}
		}
		if p.Type == wire.TypeRR {
			wire.Reports(p, func(r wire.Report) {
				if r.Lost != 300 || r.SSRC != 9 || r.Delay != 7 {
					t.Errorf("the report is %+v", r)
				}
			})
		}
	}
	if !slices.Equal(kinds, []uint8{201, 200, 202, 206, 205}) || c.Bad() {
		t.Errorf("packets %v, bad %v", kinds, c.Bad())
	}
}

func TestRembIsReadWithinReason(t *testing.T) {
	theirs := &rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: 1_500_000, SSRCs: []uint32{1}}
	b, err := theirs.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	c := wire.NewCompound(b)
	p, _ := c.Next()
	_, fci, _ := p.Feedback()
	if got, ok := wire.REMB(fci); !ok || got < 1_490_000 || got > 1_500_000 {
		t.Errorf("%d, %v", got, ok)
	}
	if _, ok := wire.REMB(fci[:7]); ok {
		t.Error("a REMB cut short was taken")
	}
	if _, ok := wire.REMB([]byte("REMB\x00\xff\xff\xff")); ok {
		t.Error("a rate beyond 64 bits was taken")
	}
}

// What AppendTWCC writes, pion reads alike, for random arrivals with losses, reordering and gaps.
func TestFeedbackGoesThereAndBack(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		at := make([]int64, 1+random.IntN(300))
		now := int64(random.IntN(1 << 30))
		for i := range at {
			now += int64(random.IntN(3000))
			switch random.IntN(6) {
			case 0:
				at[i] = -1
			case 1:
				at[i] = now - int64(random.IntN(20_000))
			default:
				at[i] = now
			}
			if random.IntN(80) == 0 {
				now += 500_000
			}
		}
		at[0] = max(at[0], 1<<20)
		b, n := wire.AppendTWCC(nil, 1, 2, 65500, at, 9)
		if n == 0 {
			t.Fatal("nothing was written")
		}
		var theirs rtcp.TransportLayerCC
		if err := theirs.Unmarshal(b); err != nil {
			t.Fatalf("they refuse it: %v", err)
		}
		c := wire.NewCompound(b)
		p, ok := c.Next()
		if !ok || p.Format != wire.FormatTWCC {
			t.Fatalf("%+v", p)
		}
		_, fci, _ := p.Feedback()
		i := 0
		if err := wire.ReadTWCC(fci, func(a wire.Arrival) {
			if a.Sequence != 65500+uint16(i) || a.Received != (at[i] >= 0) {
				t.Fatalf("packet %d is %+v, want %d", i, a, at[i])
			}
			// Quarters of a millisecond are what the format has; the clock of it does not drift.
			if d := a.At - at[i]; a.Received && (d < -250 || d > 250) {
				t.Fatalf("packet %d came %d us off", i, d)
			}
			i++
		}); err != nil || i != n {
			t.Fatalf("%v after %d of %d", err, i, n)
		}
		if int(theirs.PacketStatusCount) != n {
			t.Fatalf("they count %d, want %d", theirs.PacketStatusCount, n)
		}
	}
}

func TestDescriptorsOfAllModes(t *testing.T) {
	for spatial := 1; spatial <= 3; spatial++ {
		for temporal := 1; temporal <= 3; temporal++ {
			m := scalable.Mode{Spatial: spatial, Temporal: temporal}
			var s, fresh wire.Structure
			b := m.Append(nil, scalable.Frame{Key: true}, true, false, 77)
			d, err := wire.ParseDescriptor(b, nil, &fresh)
			if err != nil {
				t.Fatalf("L%dT%d: %v", spatial, temporal, err)
			}
			s = fresh
			if !d.Key || !d.First || d.Last || d.Frame != 77 || s.Targets != spatial*temporal ||
				int(s.MaxSpatial) != spatial-1 || int(s.MaxTemporal) != temporal-1 || s.Height[spatial-1] != 720 {
				t.Fatalf("L%dT%d: %+v of %+v", spatial, temporal, d, s)
			}
			for fs := range spatial {
				for ft := range temporal {
					d, err := wire.ParseDescriptor(m.Append(nil, scalable.Frame{Spatial: fs, Temporal: ft}, true, true, 78), &s, &fresh)
					if err != nil || int(d.Spatial) != fs || int(d.Temporal) != ft || d.Key {
						t.Fatalf("L%dT%d, frame of %d %d: %+v, %v", spatial, temporal, fs, ft, d, err)
					}
					for target := range s.Targets {
						want := int(s.TargetSpatial[target]) >= fs && int(s.TargetTemporal[target]) >= ft
						if got := d.Indication(&s, target) != wire.NotPresent; got != want {
							t.Errorf("L%dT%d, frame of %d %d in target %d: %v", spatial, temporal, fs, ft, target, got)
						}
					}
				}
			}
			// Narrowed to the lowest target, only that one is active.
			d, err = wire.ParseDescriptor(d.Narrow(nil, b, &s, 0), nil, &fresh)
			if err != nil || d.Active != 1 {
				t.Errorf("L%dT%d narrowed: %b, %v", spatial, temporal, d.Active, err)
			}
		}
	}
}

func TestDescriptorsThatLie(t *testing.T) {
	m := scalable.Mode{Spatial: 3, Temporal: 3}
	key := m.Append(nil, scalable.Frame{Key: true}, true, true, 1)
	var s, fresh wire.Structure
	for n := range len(key) {
		if d, err := wire.ParseDescriptor(key[:n], nil, &fresh); err == nil || d.Key {
			t.Errorf("%d bytes of %d are taken for a key frame", n, len(key))
		}
	}
	if _, err := wire.ParseDescriptor(key, nil, &s); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.ParseDescriptor([]byte{0xc0 | 12, 0, 1}, &s, &fresh); err == nil {
		t.Error("a template that the structure does not have was taken")
	}
	if _, err := wire.ParseDescriptor([]byte{0xc0, 0, 1}, nil, &fresh); err == nil {
		t.Error("a frame without any structure was taken")
	}
}

func TestAllocationsOfASender(t *testing.T) {
	// Two streams of one spatial layer, two and one temporal layers, with sizes.
	b := []byte{0b01_01_0001, 0b01_00_0000, 100, 0xac, 0x02, 0x90, 0x03}
	b = append(b, 0x01, 0x3f, 0x00, 0xb3, 30, 0x02, 0x7f, 0x01, 0x67, 30)
	a, err := wire.ParseAllocation(b)
	if err != nil {
		t.Fatal(err)
	}
	want := wire.AllocatedLayer{Active: true, Temporal: 2, Kilobits: 300, Width: 320, Height: 180, Rate: 30}
	if a.Stream != 1 || a.Streams != 2 || a.Layers[0][0] != want || a.Layers[1][0].Kilobits != 400 || a.Layers[1][0].Height != 360 {
		t.Errorf("%+v", a)
	}
	for n := 1; n < len(b); n++ {
		if _, err := wire.ParseAllocation(b[:n]); err == nil && n != 7 { // without sizes it is whole as well
			t.Errorf("%d bytes were taken", n)
		}
	}
}

func FuzzPacket(f *testing.F) {
	h := wire.Header{PayloadType: 96, Extensions: [4]wire.Extension{{ID: 3, Value: []byte{1, 2}}, {ID: 20, Value: make([]byte, 30)}}}
	f.Add(append(h.Append(nil), 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p wire.Packet
		if p.Parse(b) != nil {
			return
		}
		found := 0
		for id := range 256 {
			if v, ok := p.Extension(uint8(id)); ok {
				found += len(v)
			}
		}
		if found > len(b) || len(p.Payload())+p.PayloadOffset() > len(b) {
			t.Fatal("more was found than came")
		}
		p.WellFormed()
	})
}

func FuzzControl(f *testing.F) {
	b := wire.AppendRR(nil, 1, []wire.Report{{SSRC: 9}})
	b = wire.AppendNACK(b, 1, 2, []uint16{1, 5, 9})
	b, _ = wire.AppendTWCC(b, 1, 2, 3, []int64{5000, 6000, -1, 9000}, 1)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		c := wire.NewCompound(b)
		for p, ok := c.Next(); ok; p, ok = c.Next() {
			_, fci, _ := p.Feedback()
			n := 0
			wire.NACKs(fci, func(uint16) { n++ })
			if n > len(fci)/4*17 {
				t.Fatal("more numbers than there is room for")
			}
			wire.FIRs(fci, func(uint32) {})
			wire.REMB(fci)
			wire.Reports(p, func(wire.Report) {})
			wire.Sender(p)
			told := 0
			_ = wire.ReadTWCC(fci, func(wire.Arrival) { told++ })
			if told > wire.TWCCMost {
				t.Fatal("more packets than a feedback may tell of")
			}
		}
	})
}

func FuzzDescriptor(f *testing.F) {
	m := scalable.Mode{Spatial: 3, Temporal: 3}
	f.Add(m.Append(nil, scalable.Frame{Key: true}, true, true, 1), m.Append(nil, scalable.Frame{Spatial: 1}, true, true, 2))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var s, fresh wire.Structure
		if _, err := wire.ParseDescriptor(first, nil, &s); err != nil {
			return
		}
		for _, b := range [][]byte{first, second} {
			d, err := wire.ParseDescriptor(b, &s, &fresh)
			if err != nil {
				continue
			}
			if d.Key {
				s = fresh
			}
			for target := range s.Targets {
				d.Indication(&s, target)
				if out := d.Narrow(nil, b, &s, target); len(out) != len(b) {
					t.Fatal("narrowing changed the length")
				}
			}
		}
	})
}

func FuzzAllocation(f *testing.F) {
	f.Add([]byte{0b01_01_0001, 0b01_00_0000, 100, 0xac, 0x02, 0x90, 0x03})
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := wire.ParseAllocation(b); err == nil && a.Streams > 4 {
			t.Fatal("more streams than the format has")
		}
		wire.AudioLevel(b)
	})
}

func TestRequestsAreUrgentAndReportsAreNot(t *testing.T) {
	for name, c := range map[string]struct {
		b    []byte
		want bool
	}{
		"a report":              {wire.AppendRR(nil, 1, nil), false},
		"a key frame":           {wire.AppendPLI(nil, 1, 2), true},
		"a report and a repeat": {wire.AppendNACK(wire.AppendRR(nil, 1, nil), 1, 2, []uint16{3}), true},
		"nothing":               {nil, false},
		"what ends too early":   {wire.AppendPLI(nil, 1, 2)[:5], false},
	} {
		if got := wire.Urgent(c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	feedback, _ := wire.AppendTWCC(nil, 1, 2, 0, []int64{1000, 2000}, 0)
	if wire.Urgent(feedback) {
		t.Error("transport-wide feedback is urgent")
	}
}
