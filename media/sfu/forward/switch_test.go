package forward_test

import (
	"encoding/binary"
	"testing"

	"github.com/trunkline-net/trunkline/media/sfu/forward"
	"github.com/trunkline-net/trunkline/media/sfu/track"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
	"github.com/trunkline-net/trunkline/media/sfu/wire/scalable"
)

// Changes of what is sent: of the layer, of the stream, of the publisher.

func TestLayersChangeOnlyWhereTheClientCanGoOn(t *testing.T) {
	p, c := newPublisher(0, scalable.Mode{Spatial: 3, Temporal: 3}), &client{}
	f := subscribe(c)
	f.Select(p.s, 0, p.now)
	p.push(p.picture(true), f)
	for range 8 {
		p.push(p.picture(false), f)
	}
	c.check(t, layer{0, 0}, p)
	f.Select(p.s, 8, p.now) // up: spatial layers wait for a key frame
	if f.Waiting() != p.s || !p.s.KeyDue(p.now+1e6) {
		t.Error("no key frame is asked for")
	}
	for range 8 {
		p.push(p.picture(false), f)
	}
	c.check(t, layer{0, 2}, p)
	p.push(p.picture(true), f)
	before := len(c.packets)
	for range 8 {
		p.push(p.picture(false), f)
	}
	if got := len(c.packets) - before; got != 48 {
		t.Errorf("%d packets of 48 after the key frame", got)
	}
	f.Select(p.s, 0, p.now) // down: at once
	before = len(c.packets)
	for range 8 {
		p.push(p.picture(false), f)
	}
	if got := len(c.packets) - before; got != 4 {
		t.Errorf("%d packets of 4 after going down", got)
	}
	c.check(t, layer{2, 2}, p)
	marked(t, c)
}

// From every decode target of every mode to every other one: everything that the client gets rests on what it has, and a
// key frame is asked for exactly where nothing else can bring the change.
func TestEveryChangeOfLayersCanBeDecoded(t *testing.T) {
	t.Parallel()
	for _, mode := range everyMode() {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			targets := mode.Spatial * mode.Temporal
			for pair := range targets * targets {
				from, to := pair/targets, pair%targets
				if mode.Spatial == 3 { // what the phase changes is the same with two layers
					changes(t, mode, from, to, pair%4)
					continue
				}
				for phase := range 4 {
					changes(t, mode, from, to, phase)
				}
			}
		})
	}
}

func changes(t *testing.T, mode scalable.Mode, from, to, phase int) {
	t.Helper()
	p, c := newPublisher(0, mode), &client{}
	f := subscribe(c)
	run := func(n int) {
		for range n {
			p.push(p.picture(false), f)
		}
	}
	f.Select(p.s, from, p.now)
	p.s.KeyDue(p.now)
	p.push(p.picture(true), f)
	run(4 + phase)
	f.Select(p.s, to, p.now)
	asked := p.s.KeyDue(p.now + 1_000_000)
	wide, deep := to/mode.Temporal-from/mode.Temporal, to%mode.Temporal-from%mode.Temporal
	needed := wide > 0 || wide < 0 && (mode.Kind != scalable.L || deep > 0)
	if asked != needed {
		t.Fatalf("%v, target %d to %d: a key frame is asked for: %v", mode, from, to, asked)
	}
	run(5)
	if asked {
		if f.Waiting() != p.s && wide > 0 {
			t.Fatalf("%v, target %d to %d: it did not wait for the key frame", mode, from, to)
		}
		p.push(p.picture(true), f)
	}
	before, sent := len(c.packets), len(p.rests)
	run(8)
	c.decodable(t, p)
	got := map[int]bool{}
	for _, b := range c.packets[before:] {
		got[p.of[string(payloadOf(t, b))]] = true
	}
	for payload, frame := range p.of {
		l := p.sent[payload]
		if want := mode.Has(to, scalable.Frame{Spatial: l.spatial, Temporal: l.temporal}); frame >= sent && got[frame] != want {
			t.Fatalf("%v, target %d to %d: a frame of layer %+v came: %v", mode, from, to, l, got[frame])
		}
	}
}

func TestSimulcastSwitchesAtAKeyFrameAndTimeRunsOn(t *testing.T) {
	mode := scalable.Mode{Spatial: 1, Temporal: 1}
	low, high, c := newPublisher(0, mode), newPublisher(1, mode), &client{}
	f := subscribe(c)
	f.Select(low.s, 0, low.now)
	low.push(low.picture(true), f)
	high.push(high.picture(true), f)
	both := func(key bool) {
		low.push(low.picture(false), f)
		high.push(high.picture(key), f)
	}
	for range 5 {
		both(false)
	}
	// Both streams have told which moment their clocks stand for.
	low.s.SenderReport(wire.SenderReport{NTP: 1000 << 32, Timestamp: low.ts}, low.now)
	high.s.SenderReport(wire.SenderReport{NTP: 1000 << 32, Timestamp: high.ts}, high.now)
	both(false)
	f.Select(high.s, 0, high.now)
	for range 5 {
		both(false)
	}
	if f.Source() != low.s {
		t.Fatal("it switched without a key frame")
	}
	both(true)
	if f.Source() != high.s {
		t.Fatal("it did not switch at the key frame")
	}
	for range 5 {
		both(false)
	}
	c.check(t, layer{}, low, high)
	// The publisher's frames are 3000 apart; across the switch the low frame of the same moment was sent already.
	var times []uint32
	for _, b := range c.packets {
		ts := binary.BigEndian.Uint32(b[4:])
		if len(times) == 0 || times[len(times)-1] != ts {
			times = append(times, ts)
		}
	}
	for i := 1; i < len(times); i++ {
		if d := times[i] - times[i-1]; d != 3000 && d > 6000 {
			t.Errorf("frame %d comes %d ticks after the one before", i, d)
		}
	}
}

// Frame numbers in descriptors run on over every change: a browser drops a key frame whose number is older than that of
// another one, and shows what rests on it on top of another picture.
func TestFrameNumbersRunOnOverEveryChange(t *testing.T) {
	mode := scalable.Mode{Spatial: 1, Temporal: 1}
	a, b, c := newPublisher(0, mode), newPublisher(1, mode), &client{}
	a.frame = 40_000 // the other one has only just begun
	f := subscribe(c)
	watch := func(p *publisher) {
		f.Select(p.s, 0, p.now)
		p.push(p.picture(true), f)
		for range 20 {
			p.push(p.picture(false), f)
		}
	}
	watch(a)
	watch(b) // another size
	f.Forget()
	watch(a) // another publisher
	f.Forget()
	watch(b)
	c.check(t, layer{}, a, b)
	var last uint16
	for i, packet := range c.packets {
		var p wire.Packet
		if err := p.Parse(packet); err != nil {
			t.Fatal(err)
		}
		d, ok := p.Extension(descriptorOut)
		if !ok {
			t.Fatalf("packet %d has no descriptor", i)
		}
		frame := binary.BigEndian.Uint16(d[1:])
		if step := frame - last; i > 0 && step != uint16(1-i%2) { // each picture has two packets
			t.Fatalf("packet %d is of frame %d after %d", i, frame, last)
		}
		last = frame
	}
	if n := f.Repeat(binary.BigEndian.Uint16(c.packets[0][2:]), func(int) *track.Source { return b.s }, b.now+1_000_000); n != 0 {
		t.Error("a packet from before a change was repeated with the numbers from after it")
	}
}

// Where nobody says what a key frame is, the client must not take the first frame of another stream for one that rests
// on what it has: a number is left out, and a key frame is asked for.
func TestAnotherStreamWithoutDescriptorsBeginsBehindAHole(t *testing.T) {
	mode := scalable.Mode{Spatial: 1, Temporal: 1}
	stream := func(number int) *publisher {
		p := newPublisher(number, mode)
		p.plain = true
		return p
	}
	numbers := func(c *client) (holes []int) {
		for i := 1; i < len(c.packets); i++ {
			if d := binary.BigEndian.Uint16(c.packets[i][2:]) - binary.BigEndian.Uint16(c.packets[i-1][2:]); d != 1 {
				holes = append(holes, i)
			}
		}
		return holes
	}
	for name, leave := range map[string]func(*forward.Forwarder){
		"another publisher": (*forward.Forwarder).Forget,
		"another size":      func(*forward.Forwarder) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, c := stream(0), stream(1), &client{}
			f := subscribe(c)
			f.Select(a.s, -1, a.now)
			for range 5 {
				a.push(a.picture(false), f)
				b.push(b.picture(false), f)
			}
			first := len(c.packets)
			if first != 10 || len(numbers(c)) != 0 {
				t.Fatalf("%d packets of 10, holes at %v", first, numbers(c))
			}
			leave(f)
			f.Select(b.s, -1, b.now)
			b.s.KeyDue(b.now) // it is asked for once
			for range 40 {
				a.push(a.picture(false), f)
				b.push(b.picture(false), f)
			}
			if f.Source() != b.s {
				t.Fatal("it did not switch")
			}
			holes := numbers(c)
			if len(holes) != 1 || binary.BigEndian.Uint16(c.packets[holes[0]][2:]) != binary.BigEndian.Uint16(c.packets[holes[0]-1][2:])+2 {
				t.Fatalf("holes at %v of %d packets, one number is to be left out", holes, len(c.packets))
			}
			if _, is := b.sent[string(payloadOf(t, c.packets[holes[0]]))]; !is {
				t.Error("the hole is not where the other stream begins")
			}
			if name == "another size" && !b.s.KeyDue(b.now+1_000_000) {
				t.Error("no key frame is asked for after the switch, though the one before it was missed")
			}
		})
	}
}

func payloadOf(t *testing.T, b []byte) []byte {
	t.Helper()
	var p wire.Packet
	if err := p.Parse(b); err != nil {
		t.Fatal(err)
	}
	return p.Payload()
}
