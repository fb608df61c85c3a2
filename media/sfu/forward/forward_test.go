package forward_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	mrand "math/rand/v2"
	"slices"
	"testing"

	"github.com/trunkline-net/trunkline/media/sfu/forward"
	"github.com/trunkline-net/trunkline/media/sfu/track"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
	"github.com/trunkline-net/trunkline/media/sfu/wire/scalable"
)

const (
	descriptorIn, descriptorOut = 5, 9
	ssrc, repair                = 1000, 1001
)

// client keeps what it was sent.
type client struct {
	packets [][]byte
	number  uint16
	quiet   bool
}

func (c *client) Numbered() (uint16, bool) { c.number++; return c.number, true }
func (c *client) Send(b []byte) {
	if !c.quiet {
		c.packets = append(c.packets, bytes.Clone(b))
	}
}

// publisher sends one stream in one mode.
type publisher struct {
	s      *track.Source
	pool   *track.Pool
	mode   scalable.Mode
	seq    uint16
	frame  uint16 // number of the next one
	phase  int    // of the temporal layers
	ts     uint32
	now    int64
	plain  bool // no descriptors
	once   bool // an S mode whose structure comes with the first layer's key frame alone
	sent   map[string]layer
	of     map[string]int // frame of a payload
	rests  [][]int        // of each frame: the frames that it rests on
	newest [3][3]int      // frame of each layer
}

type layer struct{ spatial, temporal int }

func newPublisher(number int, mode scalable.Mode) *publisher {
	pool := &track.Pool{}
	s := track.NewSource(uint32(10+number), false, 90000, pool)
	s.Number, s.DescriptorID = number, descriptorIn
	return &publisher{s: s, pool: pool, mode: mode, seq: 65500, ts: uint32(number) * 1e9, now: 1_000_000, sent: map[string]layer{}, of: map[string]int{}}
}

// picture gives the packets of one picture, all layers, two packets each frame, with random payloads.
func (p *publisher) picture(key bool) (out [][]byte) {
	pattern := []int{0, 2, 1, 2}
	temporal := 0
	switch p.mode.Temporal {
	case 2:
		temporal = p.phase % 2
	case 3:
		temporal = pattern[p.phase%4]
	}
	if key {
		temporal = 0
		p.phase = 0
	}
	for spatial := range p.mode.Spatial {
		frame := p.encode(spatial, temporal, key)
		for part := range 2 {
			payload := make([]byte, 300+mrand.IntN(600))
			_, _ = rand.Read(payload)
			h := wire.Header{
				PayloadType: 96, Sequence: p.seq, Timestamp: p.ts, SSRC: p.s.SSRC, Marker: part == 1 && spatial == p.mode.Spatial-1,
			}
			if !p.plain {
				h.Extensions[0] = wire.Extension{ID: descriptorIn, Value: p.mode.Append(nil, scalable.Frame{
					Spatial: spatial, Temporal: temporal, Opens: key,
					Key: key && part == 0 && (spatial == 0 || p.mode.Kind == scalable.S && !p.once),
				}, part == 0, part == 1, p.frame)}
			}
			p.seq++
			p.sent[string(payload)], p.of[string(payload)] = layer{spatial, temporal}, frame
			out = append(out, append(h.Append(nil), payload...))
		}
		p.frame++
	}
	p.phase++
	p.ts += 3000
	p.now += 33_333
	return out
}

// encode notes what a frame rests on.
func (p *publisher) encode(spatial, temporal int, key bool) (frame int) {
	var on []int
	switch of := &p.newest[spatial]; {
	case key:
	case temporal == 0:
		on = append(on, of[0])
	default:
		on = append(on, slices.Max(of[:temporal]))
	}
	if spatial > 0 && (p.mode.Kind == scalable.L || p.mode.Kind == scalable.Key && key) {
		on = append(on, len(p.rests)-1) // the smaller picture of the same moment
	}
	p.rests = append(p.rests, on)
	frame = len(p.rests) - 1
	p.newest[spatial][temporal] = frame
	return frame
}

// push gives packets to the source and what is new to the forwarders.
func (p *publisher) push(packets [][]byte, to ...*forward.Forwarder) {
	for _, b := range packets {
		k := p.pool.Get(b, p.now)
		if err := k.Parse(); err != nil {
			panic(err)
		}
		if p.s.Push(k) {
			for _, f := range to {
				f.Forward(p.s, k, p.now)
			}
		}
	}
}

func subscribe(c *client) *forward.Forwarder {
	f := forward.New(forward.Config{SSRC: ssrc, Repair: repair, Descriptor: descriptorOut, Transport: 4}, c)
	f.SetFormat(forward.Format{PT: 120, Repair: 121})
	return f
}

// check that what the client got is a stream without a hole, whose payloads are the publisher's.
func (c *client) check(t *testing.T, upTo layer, publishers ...*publisher) (got map[layer]int) {
	t.Helper()
	got = map[layer]int{}
	var last wire.Packet
	var lastTime uint32
	for i, b := range c.packets {
		var p wire.Packet
		if err := p.Parse(b); err != nil {
			t.Fatal(err)
		}
		if p.SSRC() != ssrc || p.PayloadType() != 120 {
			t.Fatalf("packet %d of source %d, type %d", i, p.SSRC(), p.PayloadType())
		}
		if i > 0 && p.Sequence() != last.Sequence()+1 {
			t.Fatalf("packet %d has the number %d after %d", i, p.Sequence(), last.Sequence())
		}
		if i > 0 && int32(p.Timestamp()-lastTime) < 0 {
			t.Fatalf("packet %d goes back in time", i)
		}
		lastTime = p.Timestamp()
		found := false
		for _, from := range publishers {
			if l, ok := from.sent[string(p.Payload())]; ok {
				got[l]++
				found = true
				if l.spatial > upTo.spatial || l.temporal > upTo.temporal {
					t.Fatalf("packet %d is of layer %+v, above %+v", i, l, upTo)
				}
			}
		}
		if !found {
			t.Fatalf("packet %d has a payload that nobody sent", i)
		}
		if n, ok := p.Extension(4); !ok || len(n) != 2 {
			t.Fatalf("packet %d has no transport-wide number", i)
		}
		last = p
	}
	return got
}

// decodable checks that everything which a frame rests on came before it.
func (c *client) decodable(t *testing.T, p *publisher) {
	t.Helper()
	came := map[int]bool{}
	for i, b := range c.packets {
		frame, is := p.of[string(payloadOf(t, b))]
		if !is {
			t.Fatalf("packet %d has a payload that nobody sent", i)
		}
		for _, on := range p.rests[frame] {
			if !came[on] {
				t.Fatalf("packet %d, of layer %+v: frame %d rests on %d, which did not come", i, p.sent[string(payloadOf(t, b))], frame, on)
			}
		}
		came[frame] = true
	}
}

// everyMode is the modes of the registry with up to three layers of each kind.
func everyMode() (all []scalable.Mode) {
	for spatial := 1; spatial <= 3; spatial++ {
		for temporal := 1; temporal <= 3; temporal++ {
			all = append(all, scalable.Mode{Spatial: spatial, Temporal: temporal})
			if spatial > 1 {
				all = append(all, scalable.Mode{Spatial: spatial, Temporal: temporal, Kind: scalable.Key},
					scalable.Mode{Spatial: spatial, Temporal: temporal, Kind: scalable.S})
			}
		}
	}
	return all
}

// Payloads are random for every mode and every decode target of it: what arrives is what was sent, of exactly the
// chosen layers, and nothing depended on a payload.
func TestPayloadBlindnessInEveryLayerMode(t *testing.T) {
	t.Parallel()
	for _, mode := range everyMode() {
		for target := range mode.Spatial * mode.Temporal {
			t.Run(fmt.Sprintf("%v target %d", mode, target), func(t *testing.T) {
				t.Parallel()
				everythingOf(t, newPublisher(0, mode), target)
			})
			if mode.Kind == scalable.S {
				t.Run(fmt.Sprintf("%v target %d, one structure", mode, target), func(t *testing.T) {
					t.Parallel()
					p := newPublisher(0, mode)
					p.once = true
					everythingOf(t, p, target)
				})
			}
		}
	}
}

func everythingOf(t *testing.T, p *publisher, target int) {
	t.Helper()
	c := &client{}
	f := subscribe(c)
	f.Select(p.s, target, p.now)
	if !p.s.KeyDue(p.now) {
		t.Error("no key frame is asked for")
	}
	p.push(p.picture(false), f)
	if len(c.packets) != 0 {
		t.Fatal("the client got what it cannot show")
	}
	opened := len(p.rests)
	p.push(p.picture(true), f)
	for range 20 {
		p.push(p.picture(false), f)
	}
	top := layer{target / p.mode.Temporal, target % p.mode.Temporal}
	c.check(t, top, p)
	c.decodable(t, p)
	got := map[int]int{}
	for _, b := range c.packets {
		got[p.of[string(payloadOf(t, b))]]++
	}
	for payload, frame := range p.of {
		if frame < opened {
			continue
		}
		l, key := p.sent[payload], frame < opened+p.mode.Spatial
		want := 0
		if p.mode.Has(target, scalable.Frame{Spatial: l.spatial, Temporal: l.temporal, Opens: key}) || p.once && frame == opened {
			want = 2
		}
		if got[frame] != want {
			t.Fatalf("%d packets of frame %d of layer %+v, want %d", got[frame], frame, l, want)
		}
	}
	marked(t, c)
	// The client can read the descriptors: the structure is there first, and says what comes.
	var first wire.Packet
	if err := first.Parse(c.packets[0]); err != nil {
		t.Fatal(err)
	}
	b, _ := first.Extension(descriptorOut)
	var s wire.Structure
	d, err := wire.ParseDescriptor(b, nil, &s)
	if err != nil || !d.Key {
		t.Fatalf("the first packet has no structure: %v", err)
	}
	for other := range s.Targets {
		at := layer{other / p.mode.Temporal, other % p.mode.Temporal}
		want := at.temporal <= top.temporal && (at.spatial == top.spatial || at.spatial < top.spatial && p.mode.Kind == scalable.L)
		if is := d.Active>>other&1 == 1; is != want {
			t.Errorf("target %d is said to be active: %v", other, is)
		}
	}
}

// marked: each picture ends with the marker, though its higher layers are left out.
func marked(t *testing.T, c *client) {
	t.Helper()
	for i, b := range c.packets {
		var p, next wire.Packet
		if p.Parse(b) != nil {
			t.Fatal("parse")
		}
		last := i == len(c.packets)-1
		if !last && next.Parse(c.packets[i+1]) == nil {
			last = next.Timestamp() != p.Timestamp()
		}
		if p.Marker() != last {
			t.Fatalf("packet %d: marker %v, last of its picture %v", i, p.Marker(), last)
		}
	}
}

func TestStreamsWithoutDescriptorsGoThroughWhole(t *testing.T) {
	p, c := newPublisher(0, scalable.Mode{Spatial: 1, Temporal: 1}), &client{}
	p.plain = true
	f := subscribe(c)
	f.Select(p.s, -1, p.now)
	for range 10 {
		p.push(p.picture(false), f)
	}
	if got := c.check(t, layer{}, p); got[layer{}] != 20 {
		t.Errorf("%d packets of 20", got[layer{}])
	}
}

func TestReorderedAndRepeatedPacketsFindTheirNumbers(t *testing.T) {
	random := mrand.New(mrand.NewPCG(1, 2))
	for range 50 {
		p, c := newPublisher(0, scalable.Mode{Spatial: 2, Temporal: 1}), &client{}
		f := subscribe(c)
		f.Select(p.s, 0, p.now)
		p.push(p.picture(true), f)
		for range 10 {
			var group [][]byte
			for range 4 {
				group = append(group, p.picture(false)...)
			}
			random.Shuffle(len(group), func(i, j int) { group[i], group[j] = group[j], group[i] })
			p.push(append(group, group...), f) // and everything twice
		}
		seen := map[uint16][]byte{}
		for _, b := range c.packets {
			var k wire.Packet
			if err := k.Parse(b); err != nil {
				t.Fatal(err)
			}
			if seen[k.Sequence()] != nil {
				t.Fatalf("number %d was used twice", k.Sequence())
			}
			seen[k.Sequence()] = b
			if l, ok := p.sent[string(k.Payload())]; len(k.Payload()) > 0 && (!ok || l.spatial > 0) {
				t.Fatalf("number %d is of layer %+v", k.Sequence(), l)
			}
		}
		var first, last uint16 = 1, uint16(len(seen))
		for n := first; n != last; n++ {
			if seen[n] == nil {
				t.Fatalf("number %d of %d is missing", n, last)
			}
		}
	}
}

func TestWhatTheClientMissesIsRepeated(t *testing.T) {
	p, c := newPublisher(2, scalable.Mode{Spatial: 1, Temporal: 1}), &client{}
	f := subscribe(c)
	f.Select(p.s, 0, p.now)
	p.push(p.picture(true), f)
	for range 20 {
		p.push(p.picture(false), f)
	}
	get := func(n int) *track.Source {
		if n == 2 {
			return p.s
		}
		return nil
	}
	original := c.packets[7]
	seq := binary.BigEndian.Uint16(original[2:])
	later := p.now + 100_000
	before := len(c.packets)
	if f.Repeat(seq, get, later) == 0 {
		t.Fatal("it was not repeated")
	}
	var first, again wire.Packet
	if first.Parse(original) != nil || again.Parse(c.packets[before]) != nil {
		t.Fatal("parse")
	}
	if again.SSRC() != repair || again.PayloadType() != 121 || again.Timestamp() != first.Timestamp() || again.Marker() != first.Marker() ||
		binary.BigEndian.Uint16(again.Payload()) != seq || !bytes.Equal(again.Payload()[2:], first.Payload()) {
		t.Errorf("the repeated packet is %x", c.packets[before][:40])
	}
	if f.Repeat(seq, get, later+1000) != 0 {
		t.Error("it was repeated while the first copy is on its way")
	}
	n := 0
	for i := range int64(50) {
		if f.Repeat(seq, get, later+(i+1)*50_000) > 0 {
			n++
		}
	}
	if n != 5 {
		t.Errorf("it was repeated %d times more, want 5", n)
	}
	if f.Repeat(seq+5000, get, later) != 0 || f.Unmet != 1 {
		t.Error("a number that was never sent was repeated")
	}
}

// SRTP seals a packet under its number. Sound has no repair stream, so a repeated packet must be the same to the bit.
func TestRepeatedSoundIsTheSamePacket(t *testing.T) {
	pool := &track.Pool{}
	s := track.NewSource(5, true, 48000, pool)
	c := &client{}
	f := forward.New(forward.Config{SSRC: ssrc, Audio: true, Descriptor: 9, Transport: 4}, c)
	f.SetFormat(forward.Format{PT: 111})
	f.Select(s, -1, 1)
	for i := range uint16(10) {
		h := wire.Header{PayloadType: 96, Sequence: i, Timestamp: uint32(i) * 960, SSRC: 5, Marker: i == 3, Extensions: [4]wire.Extension{{ID: 7, Value: []byte{byte(i)}}}}
		k := pool.Get(append(h.Append(nil), 1, 2, 3, byte(i)), int64(i)*20_000)
		if k.Parse() != nil || !s.Push(k) {
			t.Fatal("push")
		}
		f.Forward(s, k, k.At)
	}
	for _, b := range c.packets[:10] {
		seq := binary.BigEndian.Uint16(b[2:])
		if f.Repeat(seq, func(int) *track.Source { return s }, 1_000_000) == 0 {
			t.Fatalf("%d was not repeated", seq)
		}
		if again := c.packets[len(c.packets)-1]; !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
		if b[0]&0x10 != 0 {
			t.Fatal("sound has extensions, which would change")
		}
	}
	// After a pause the times of the same source may be others, and what was sent before is not repeated.
	f.Select(nil, 0, 2_000_000)
	f.Select(s, -1, 3_000_000)
	h := wire.Header{PayloadType: 96, Sequence: 10, Timestamp: 10 * 960, SSRC: 5}
	k := pool.Get(append(h.Append(nil), 1), 3_000_000)
	if k.Parse() != nil || !s.Push(k) {
		t.Fatal("push")
	}
	f.Forward(s, k, k.At)
	for seq := range uint16(12) {
		if n := len(c.packets); f.Repeat(seq, func(int) *track.Source { return s }, 9_000_000) > 0 && !bytes.Equal(c.packets[n], c.packets[20]) {
			t.Fatalf("%d was repeated as another packet", seq)
		}
	}
}

func TestAJoinerSeesTheKeptKeyFrameAtOnce(t *testing.T) {
	p, c := newPublisher(0, scalable.Mode{Spatial: 1, Temporal: 2}), &client{}
	p.push(p.picture(true))
	for range 8 {
		p.push(p.picture(false))
	}
	f := subscribe(c)
	f.Select(p.s, 1, p.now)
	if got := c.check(t, layer{0, 1}, p); got[layer{0, 0}] == 0 {
		t.Fatal("nothing came before the publisher sent anything more")
	}
	p.push(p.picture(false), f)
	c.check(t, layer{0, 1}, p)
	// Too long ago: a new key frame is nearer than so many packets.
	for range 40 {
		p.push(p.picture(false))
	}
	late := &client{}
	g := subscribe(late)
	g.Select(p.s, 1, p.now)
	if len(late.packets) != 0 || g.Waiting() != p.s {
		t.Errorf("%d packets at once", len(late.packets))
	}
}

func TestAJoinerOfEveryModeSeesTheKeptKeyFrameAtOnce(t *testing.T) {
	t.Parallel()
	for _, mode := range everyMode() {
		for target := range mode.Spatial * mode.Temporal {
			for _, once := range []bool{false, true} {
				p, c := newPublisher(0, mode), &client{}
				p.once = once
				p.push(p.picture(true))
				for range 4 {
					p.push(p.picture(false))
				}
				f := subscribe(c)
				f.Select(p.s, target, p.now)
				if len(c.packets) == 0 || f.Waiting() != nil {
					t.Fatalf("%v, target %d: nothing came before the publisher sent anything more", mode, target)
				}
				for range 8 {
					p.push(p.picture(false), f)
				}
				c.check(t, layer{target / mode.Temporal, target % mode.Temporal}, p)
				c.decodable(t, p)
			}
		}
	}
}

func TestPaddingAndAPublisherThatBeginsAnewLeaveNoHole(t *testing.T) {
	p, c := newPublisher(0, scalable.Mode{Spatial: 1, Temporal: 1}), &client{}
	f := subscribe(c)
	f.Select(p.s, 0, p.now)
	p.push(p.picture(true), f)
	for i := range 30 {
		if i%5 == 0 {
			b := (&wire.Header{PayloadType: 96, Sequence: p.seq, Timestamp: p.ts, SSRC: p.s.SSRC}).Append(nil)
			b[0] |= 0x20
			p.seq++
			p.push([][]byte{append(b, 0, 0, 3)}, f)
		}
		if i == 17 {
			p.seq += 20_000
		}
		p.push(p.picture(i == 17), f)
	}
	c.check(t, layer{}, p)
	// Backwards as well: after a few packets it is followed.
	before := len(c.packets)
	p.seq -= 9_000
	for i := range 40 {
		p.push(p.picture(i%10 == 0), f)
	}
	if n := len(c.packets) - before; n < 55 {
		t.Errorf("%d packets of 80 after it began anew", n)
	}
	c.check(t, layer{}, p)
}
