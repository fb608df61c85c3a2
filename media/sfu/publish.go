package sfu

import (
	"slices"

	"github.com/trunkline-net/trunkline/media/sfu/allocate"
	"github.com/trunkline-net/trunkline/media/sfu/peer"
	"github.com/trunkline-net/trunkline/media/sfu/track"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// published is one slot of one publisher. It belongs to the room's goroutine.
type published struct {
	r       *room
	seat    *Seat
	slot    Slot
	section peer.Section
	codec   peer.Codec
	began   bool
	sources []*track.Source // the smallest first
	lastAt  [3]int64
	subs    []*subscription

	intends wire.Allocation // what the sender says of its layers
	rungs   []rung
	told    []Layer
	lost    uint64
}

// incoming is one source of a seat: a stream, or what repairs one.
type incoming struct {
	t       *published
	source  *track.Source
	repairs *track.Source
}

// rung is one quality of a slot.
type rung struct {
	source   *track.Source
	target   int // decode target; -1: everything
	spatial  uint8
	temporal uint8
}

func (t *published) source(ssrc uint32, rid string, number int) *incoming {
	clock := uint32(90000)
	if t.section.Audio {
		clock = 48000
	}
	src := track.NewSource(ssrc, t.section.Audio, clock, &t.r.s.pool)
	src.RID, src.Number, src.DescriptorID = rid, number, t.seat.extensions.Descriptor
	t.sources = append(t.sources, src)
	slices.SortFunc(t.sources, func(a, b *track.Source) int { return a.Number - b.Number })
	in := &incoming{t: t, source: src}
	t.seat.sources[ssrc] = in
	for _, sub := range t.subs {
		sub.seat.dirty = true
	}
	return in
}

func (t *published) byNumber(n int) *track.Source {
	for _, s := range t.sources {
		if s.Number == n {
			return s
		}
	}
	return nil
}

// drop forgets a source that was replaced by another.
func (t *published) drop(s *track.Source) {
	for _, sub := range t.subs {
		if sub.f.Source() == s || sub.f.Waiting() == s {
			sub.f.Forget()
		}
	}
	for ssrc, in := range t.seat.sources {
		if in.source == s || in.repairs == s {
			delete(t.seat.sources, ssrc)
		}
	}
	t.sources = slices.DeleteFunc(t.sources, func(o *track.Source) bool { return o == s })
	s.Release()
}

// packet takes one packet of one of the sources, and sends it on.
func (t *published) packet(in *incoming, p *track.Packet) {
	pool, c := &t.r.s.pool, &t.r.s.counts
	codec, repair := t.section.Codec(p.PayloadType())
	if codec == nil || repair != (in.repairs != nil) {
		c.badPackets.Add(1)
		pool.Put(p)
		return
	}
	src := in.source
	if repair {
		src = in.repairs
		if !p.Repaired(src.SSRC, codec.PT) {
			pool.Put(p) // padding
			return
		}
	}
	if codec.PT != t.codec.PT {
		t.codec = *codec
		for _, sub := range t.subs {
			sub.format()
		}
	}
	t.extensions(p)
	t.lastAt[src.Number] = t.r.micro
	lies := src.Lies
	if !src.Push(p) {
		return
	}
	c.badDescriptors.Add(src.Lies - lies)
	if !t.began {
		t.began = true
		t.told = t.layers()
		t.r.tell(t.seat, t.event())
		for _, sub := range t.subs {
			sub.seat.dirty = true
			t.r.divide(sub.seat)
		}
	}
	for _, sub := range t.subs {
		sub.f.Forward(src, p, t.r.micro)
	}
}

// extensions reads what the sender says beside its packets.
func (t *published) extensions(p *track.Packet) {
	e := &t.seat.extensions
	if t.section.Audio {
		if t.slot == Microphone && t.seat.grant.AudioLevels {
			if b, ok := p.Extension(e.AudioLevel); ok {
				if quiet, _, ok := wire.AudioLevel(b); ok {
					t.r.speaker.Level(t.seat.grant.Index, quiet, t.r.now)
				}
			}
		}
		return
	}
	if b, ok := p.Extension(e.Allocation); ok {
		if a, err := wire.ParseAllocation(b); err == nil {
			t.intends = a
		} else {
			t.r.s.counts.badExtensions.Add(1)
		}
	}
}

// ask sends what the sources have to ask of their sender: what is missing, and key frames.
func (t *published) ask() {
	r := t.r
	r.control = r.control[:0]
	nack := t.codec.NACK
	for _, src := range t.sources {
		if r.seqs = src.Missing(r.micro, r.seqs[:0]); nack && len(r.seqs) > 0 {
			r.control = wire.AppendNACK(r.control, senderSSRC, src.SSRC, r.seqs)
		}
		if src.KeyDue(r.micro) && t.codec.PLI {
			r.control = wire.AppendPLI(r.control, senderSSRC, src.SSRC)
			r.s.counts.keyRequests.Add(1)
		}
	}
	if len(r.control) > 0 {
		r.write(t.seat, r.control)
	}
}

// roll measures.
func (t *published) roll() {
	var lost uint64
	for _, src := range t.sources {
		src.Roll(t.r.micro)
		lost += src.Lost()
	}
	if lost > t.lost {
		t.r.s.counts.lost.Add(lost - t.lost)
	}
	t.lost = lost
}

// ladder lists the qualities, the smallest first. Only the smallest picture is also offered with fewer frames: a larger
// one at half its frames looks worse than a smaller one with all of them.
func (t *published) ladder() []rung {
	t.rungs = t.rungs[:0]
	for i, src := range t.sources {
		st := &src.Structure
		if !src.Described {
			t.rungs = append(t.rungs, rung{source: src, target: -1})
			continue
		}
		for spatial := uint8(0); spatial <= st.MaxSpatial; spatial++ {
			from := st.MaxTemporal
			if i == 0 && spatial == 0 {
				from = 0
			}
			for temporal := from; temporal <= st.MaxTemporal; temporal++ {
				for target := range st.Targets {
					if st.TargetSpatial[target] == spatial && st.TargetTemporal[target] == temporal {
						t.rungs = append(t.rungs, rung{source: src, target: target, spatial: spatial, temporal: temporal})
						break
					}
				}
			}
		}
	}
	return t.rungs[:min(len(t.rungs), allocate.MaxLayers)]
}

func (x rung) rate(now int64) int64 {
	if x.target < 0 {
		return x.source.Total(now)
	}
	return x.source.Rate(x.spatial, x.temporal, now)
}

func (t *published) size(x rung) (width, height uint16) {
	if st := &x.source.Structure; x.source.Described && st.Height[x.spatial] != 0 {
		return st.Width[x.spatial], st.Height[x.spatial]
	}
	l := t.intends.Layers[x.source.Number&3][x.spatial]
	return l.Width, l.Height
}

func (t *published) layers() []Layer {
	var out []Layer
	for _, x := range t.ladder() {
		l := Layer{RID: x.source.RID, Spatial: x.spatial, Temporal: x.temporal, BitsPerSecond: x.rate(t.r.micro)}
		l.Width, l.Height = t.size(x)
		l.Paused = l.BitsPerSecond == 0
		out = append(out, l)
	}
	return out
}

func (t *published) event() Published {
	return Published{Publisher: t.seat.grant.Index, Slot: t.slot, Codec: t.codec.Name, Layers: slices.Clone(t.told)}
}

// tellLayers tells everybody what has changed, once in a second at most.
func (t *published) tellLayers() {
	if !t.began {
		return
	}
	now := t.layers()
	if slices.EqualFunc(now, t.told, alike) {
		return
	}
	t.told = now
	t.r.tell(t.seat, LayersChanged{Publisher: t.seat.grant.Index, Slot: t.slot, Layers: slices.Clone(now)})
}

// alike: a rate that wavers by a third is no news.
func alike(a, b Layer) bool {
	x, y := a.BitsPerSecond, b.BitsPerSecond
	a.BitsPerSecond, b.BitsPerSecond = 0, 0
	return a == b && x*3 >= y*2 && y*3 >= x*2
}
