// Package forward is a subscription: the packets of one published track on their way to one client. It chooses among
// the track's layers, gives packets numbers and times that run on whatever is chosen, and repeats what the client
// asks for. Payloads pass through it untouched.
package forward

import (
	"encoding/binary"

	"github.com/trunkline-net/trunkline/media/sfu/track"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

const (
	videoHistory = 512
	audioHistory = 64
	// A packet is repeated so often, and not again within this time (microseconds): the first copy is on its way.
	repeatMost  = 6
	repeatAfter = 10_000
	// blindly is how long a switch to a stream without descriptors waits for a frame that looks like a key frame.
	blindly = 1_000_000
	// replayMost is how many kept packets a joiner gets at once: more than these overflow the client's socket, and a
	// new key frame is there as soon.
	replayMost = 48
)

// Sink is the client.
type Sink interface {
	// Numbered is the transport-wide number of the packet that is sent next, if the client wants them.
	Numbered() (number uint16, ok bool)
	// Send sends one whole packet, and keeps nothing of it.
	Send(packet []byte)
}

// Config is what a receiving section of a client has been given.
type Config struct {
	SSRC, Repair uint32
	Audio        bool
	Descriptor   uint8 // the number of its extension at the client
	Transport    uint8
}

// Format is the client's payload type for a codec.
type Format struct{ PT, Repair uint8 }

// slot is one packet of the chosen stream: which number it has, or will have.
type slot struct {
	ext   int64
	out   uint16
	state slotState
}

type slotState uint8

const (
	pending slotState = iota + 1 // it did not come yet; its number is kept for it
	done
)

// past is one packet that was sent.
type past struct {
	ext    int64
	at     uint32 // when it was sent or repeated last, in milliseconds
	out    uint16
	source uint8
	tries  uint8
	marker bool
	valid  bool
}

// Forwarder is one subscription. It belongs to its room's goroutine.
type Forwarder struct {
	cfg    Config
	format Format
	sink   Sink

	source *track.Source // what is sent; nil: nothing
	target int           // the decode target of source that is sent; -1: all
	next   *track.Source // what is to be sent, at its next key frame
	wanted int           // decode target of next
	since  int64         // when next was set

	began    bool
	highest  int64  // Ext of source
	lead     int64  // Ext of the frame that it began with behind the one that has the structure; 0: they are one
	structed uint16 // number of the latter
	offset   int64  // Ext minus number, modulo 2^16
	lastOut  uint16 // number sent last
	lastTime uint32 // timestamp sent last, and when
	lastAt   int64
	times    [4]uint32 // what is added to the timestamps of each source
	clock    uint32
	lastIn   uint32

	frames    [4]uint16 // what is added to the frame numbers in descriptors of each source
	lastFrame uint16    // the newest one sent
	framed    bool      // there is one

	slots []slot
	past  []past

	header   wire.Header
	scratch  []byte
	narrowed []byte
	number   [2]byte
	repairs  uint16

	Packets, Octets uint32 // sent in all, for reports
	Repeated        uint64
	Unmet           uint64 // asked for and gone
}

// New makes a subscription that sends nothing yet.
func New(cfg Config, sink Sink) *Forwarder {
	n := videoHistory
	if cfg.Audio {
		n = audioHistory
	}
	return &Forwarder{cfg: cfg, sink: sink, target: -1, wanted: -1, slots: make([]slot, n), past: make([]past, n), scratch: make([]byte, 0, wire.MaxPacket)}
}

// SetFormat changes the payload types, for another codec.
func (f *Forwarder) SetFormat(x Format) {
	if f.format != x {
		f.format = x
		f.unrepeatable()
	}
}

// unrepeatable forgets what was sent, where a repeated packet would not be the same to the last bit any more: it is
// sealed under its number again, and two different packets under one nonce would give the seal's key away.
func (f *Forwarder) unrepeatable() {
	if f.cfg.Repair == 0 {
		for i := range f.past {
			f.past[i].valid = false
		}
	}
}

// Source is what is sent now; nil: nothing.
func (f *Forwarder) Source() *track.Source { return f.source }

// Waiting reports whether a key frame of some source is needed before anything, or anything better, can be sent.
func (f *Forwarder) Waiting() *track.Source {
	return f.next
}

// Select chooses a source and the decode target up to which it is sent; -1 is all. The choice takes effect at a frame
// from which the client can go on; until then what was sent is sent on. nil ends sending at once.
func (f *Forwarder) Select(s *track.Source, target int, now int64) {
	if s == nil {
		f.source, f.next = nil, nil
		return
	}
	if s == f.source {
		f.next = nil
		f.aim(target)
		if f.next != nil {
			f.since = now
		}
		return
	}
	if s == f.next {
		f.wanted = target
		return
	}
	f.next, f.wanted, f.since = s, target, now
	s.AskKey()
	f.replay(s, now)
}

// replay gives what is kept of the newest key frame's group, so that a joiner sees something at once.
func (f *Forwarder) replay(s *track.Source, now int64) {
	from, ok := s.KeyBegins()
	if !ok || f.source != nil || s.Highest-from >= replayMost {
		return
	}
	for ext := from; ext <= s.Highest; ext++ {
		if p := s.Get(ext); p != nil {
			f.Forward(s, p, now)
		}
	}
}

// aim changes the decode target within the source.
func (f *Forwarder) aim(target int) {
	f.wanted = target
	st := &f.source.Structure
	if !f.source.Described || target < 0 || f.target < 0 || target >= st.Targets || f.target >= st.Targets {
		f.target = target
		return
	}
	if st.TargetSpatial[target] != st.TargetSpatial[f.target] && !st.Within(target, f.target) {
		// A higher spatial layer begins with a key frame, and so does a lower one that was not sent along.
		f.next = f.source
		f.source.AskKey()
	}
}

// Forward sends a packet on if it is one of what was chosen. Packets come in the order in which they arrived.
func (f *Forwarder) Forward(s *track.Source, p *track.Packet, now int64) {
	if s == f.next && f.opens(s, p, now) {
		f.turn(s, p, now)
	}
	if s != f.source {
		return
	}
	if len(p.Payload()) == 0 && p.Ext > f.highest {
		f.skip(p.Ext) // padding: it only fills the sender's path
		return
	}
	if p.Ext <= f.highest {
		f.late(s, p, now)
		return
	}
	if !f.layered(p) {
		f.skip(p.Ext)
		return
	}
	f.gap(p.Ext)
	f.emit(s, p, uint16(p.Ext-f.offset), now)
}

// opens reports whether the client can begin to watch s with p.
func (f *Forwarder) opens(s *track.Source, p *track.Packet, now int64) bool {
	if s.Audio {
		return true
	}
	if s.Claims {
		if !p.Key && !p.Fresh || p.Ext < s.Highest-replayMost {
			return false
		}
		if f.wanted < 0 || f.wanted >= s.Structure.Targets {
			return p.Key
		}
		// Where layers are independent, a key frame of another one is none for this.
		at := p.D.Indication(&s.Structure, f.wanted)
		return p.Key && at != wire.NotPresent || at == wire.Switch
	}
	// Without descriptors nobody says what a key frame is. Who has nothing yet begins at any frame.
	if f.source == nil {
		return p.Begins
	}
	if from, ok := s.KeyBegins(); ok && from > s.Highest-replayMost && s.AskedKey() >= f.since-blindly {
		return p.Ext == s.Highest
	}
	return p.Begins && now-f.since > blindly
}

// turn makes s the source, beginning with p, or with the kept packets of its frame before p.
func (f *Forwarder) turn(s *track.Source, p *track.Packet, now int64) {
	f.next = nil
	begin := p.Ext
	blind := !s.Claims && !s.Audio
	if blind && f.source != nil {
		if from, ok := s.KeyBegins(); ok && from <= begin && begin-from < replayMost {
			begin = from
		} else {
			s.AskKey() // the one that was asked for went by unseen, if it came
		}
	}
	first := p
	if begin != p.Ext {
		if k := s.Get(begin); k != nil {
			first = k
		} else {
			begin = p.Ext
		}
	}
	f.lead = 0
	if p.Fresh {
		// The structure came with a frame that is not of this layer, and without it no frame can be read: that one goes
		// first. A decoder may need it as well, since a stream of AV1 begins there.
		if from, ok := s.KeyBegins(); ok && from < begin && begin-from < replayMost {
			begin, first = from, s.Get(from)
			f.lead, f.structed = p.Ext, first.D.Frame
		}
	}
	if f.source != s {
		f.retime(s, first, now)
		f.reframe(s, first)
		f.unrepeatable()
		for i := range f.past {
			if int(f.past[i].source) == s.Number {
				f.past[i].valid = false // sent before with another time and other frame numbers
			}
		}
	}
	f.source, f.target = s, f.wanted
	if f.began {
		f.offset = begin - int64(f.lastOut) - 1
		if blind {
			// Nothing was sent under one number: what may be no key frame must not look as if it went on from what the
			// client has, or it is shown on top of another picture until the next key frame.
			f.offset--
		}
	} else {
		// A number of its own to begin with; what the publisher's is says how long it has been there.
		f.offset = begin - 1
		f.began = true
	}
	f.highest = begin - 1
	for i := range f.slots {
		f.slots[i].state = 0
	}
	for ext := begin; ext < p.Ext; ext++ {
		if k := s.Get(ext); k != nil {
			f.Forward(s, k, now)
		}
	}
}

// retime finds what to add to timestamps of s so that time runs on.
func (f *Forwarder) retime(s *track.Source, first *track.Packet, now int64) {
	n := s.Number & 3
	if !f.began {
		f.times[n] = 0
		f.clock = s.Clock
		return
	}
	elapsed := uint32(max((now-f.lastAt)*int64(s.Clock)/1e6, 1))
	want := f.lastTime + elapsed
	// Two streams of one sender have one clock, which its reports give.
	if sr, ok := s.LastReport(); ok && f.source != nil && f.clock == s.Clock {
		ticks := func(r wire.SenderReport, ts uint32) int64 { // in ticks of the clock since NTP's epoch
			return int64(r.NTP>>32)*int64(s.Clock) + int64(r.NTP&0xffffffff)*int64(s.Clock)>>32 + int64(int32(ts-r.Timestamp))
		}
		before, told := f.source.LastReport()
		d := ticks(sr, first.Timestamp()) - ticks(before, f.lastIn)
		if told && d > 0 && d < int64(s.Clock)*2 {
			want = f.lastTime + uint32(d)
		}
	}
	f.times[n] = want - first.Timestamp()
	f.clock = s.Clock
}

// reframe finds what to add to the frame numbers of s so that they run on: a browser takes a key frame with an older number
// than another one for late, drops it, and shows what rests on it on top of the other one.
func (f *Forwarder) reframe(s *track.Source, first *track.Packet) {
	n := s.Number & 3
	f.frames[n] = 0
	if f.framed && first.Described {
		f.frames[n] = f.lastFrame + 1 - first.D.Frame
	}
}

// layered reports whether a new packet belongs to the chosen layers, and changes the target where a frame allows it.
func (f *Forwarder) layered(p *track.Packet) bool {
	if !p.Described {
		return true
	}
	if f.target < 0 {
		f.target = f.wanted
		if f.target < 0 {
			return true
		}
	}
	st := &f.source.Structure
	if f.target >= st.Targets {
		f.target = -1
		return true
	}
	if f.wanted != f.target && f.wanted >= 0 && f.wanted < st.Targets && p.D.First {
		ds, dt := st.TargetSpatial[f.wanted], st.TargetTemporal[f.wanted]
		cs := st.TargetSpatial[f.target]
		at := p.D.Indication(st, f.wanted)
		switch {
		case st.Within(f.wanted, f.target) && (ds == cs || p.D.Spatial == 0):
			// Less of what is sent: fewer frames at once, a smaller picture where one begins.
			f.target = f.wanted
		case at == wire.Switch && p.D.Indication(st, f.target) != wire.NotPresent:
			// The client can decode this frame, and with it everything of the target that follows.
			f.target = f.wanted
		case at == wire.Switch && ds == cs && p.D.Spatial == ds && p.D.Temporal == dt:
			// So says a frame of the layer itself that rests on the lower ones alone.
			f.target = f.wanted
		}
	} else if f.wanted < 0 {
		f.target = -1
		return true
	}
	return f.takes(p)
}

// takes reports whether a packet with a descriptor is of the chosen target, or has the structure of its key frame.
func (f *Forwarder) takes(p *track.Packet) bool {
	return p.D.Indication(&f.source.Structure, f.target) != wire.NotPresent || p.Ext < f.lead && p.D.Frame == f.structed
}

// gap keeps numbers for what has not come.
func (f *Forwarder) gap(ext int64) {
	if ext-f.highest > int64(len(f.slots)) {
		// Too much to wait for: the numbers run on as if it had been dropped here.
		f.offset += ext - f.highest - 1
		f.highest = ext - 1
	}
	for e := f.highest + 1; e < ext; e++ {
		f.slots[int(e)&(len(f.slots)-1)] = slot{ext: e, out: uint16(e - f.offset), state: pending}
	}
	f.slots[int(ext)&(len(f.slots)-1)] = slot{ext: ext, state: done}
	f.highest = ext
}

// skip leaves a packet out, so that the numbers of the others run on without it.
func (f *Forwarder) skip(ext int64) {
	f.gap(ext)
	f.offset++
}

// late sends what arrived behind newer packets under the number that was kept for it. What belongs to layers that are
// not sent leaves an empty packet in its place: the client would ask for the number again and again.
func (f *Forwarder) late(s *track.Source, p *track.Packet, now int64) {
	at := &f.slots[int(p.Ext)&(len(f.slots)-1)]
	if at.ext != p.Ext || at.state != pending {
		return
	}
	at.state = done
	if p.Described && f.target >= 0 && f.target < s.Structure.Targets && !f.takes(p) || len(p.Payload()) == 0 {
		f.header = wire.Header{PayloadType: f.format.PT, Sequence: at.out, Timestamp: p.Timestamp() + f.times[s.Number&3], SSRC: f.cfg.SSRC}
		f.numbered()
		f.scratch = f.header.Append(f.scratch[:0])
		f.sink.Send(f.scratch)
		return
	}
	f.emit(s, p, at.out, now)
}

func (f *Forwarder) emit(s *track.Source, p *track.Packet, out uint16, now int64) {
	marker := f.marker(s, p)
	ts := p.Timestamp() + f.times[s.Number&3]
	f.past[int(out)&(len(f.past)-1)] = past{ext: p.Ext, out: out, source: uint8(s.Number), at: uint32(now / 1000), marker: marker, valid: true}
	f.write(s, p, f.cfg.SSRC, f.format.PT, out, marker, nil)
	if wire.Newer(out, f.lastOut) || f.Packets == 0 {
		f.lastOut, f.lastTime, f.lastAt, f.lastIn = out, ts, now, p.Timestamp()
	}
	if frame := p.D.Frame + f.frames[s.Number&3]; p.Described && (!f.framed || wire.Newer(frame, f.lastFrame)) {
		f.lastFrame, f.framed = frame, true
	}
	f.Packets++
	f.Octets += uint32(len(p.Payload()))
}

// marker ends a picture where its highest layer that is sent ends.
func (f *Forwarder) marker(s *track.Source, p *track.Packet) bool {
	if p.Marker() {
		return true
	}
	st := &s.Structure
	return p.Described && f.target >= 0 && f.target < st.Targets && p.D.Last &&
		p.D.Spatial == st.TargetSpatial[f.target] && p.D.Spatial < st.MaxSpatial
}

// numbered puts the transport-wide number into the header's first extension.
func (f *Forwarder) numbered() {
	if f.cfg.Audio || f.cfg.Transport == 0 {
		// Sound has no repair stream: a repeated packet is the same one, to the last bit, since SRTP seals it under
		// the same nonce. It must therefore carry nothing that changes.
		return
	}
	if n, ok := f.sink.Numbered(); ok {
		binary.BigEndian.PutUint16(f.number[:], n)
		f.header.Extensions[0] = wire.Extension{ID: f.cfg.Transport, Value: f.number[:]}
	}
}

func (f *Forwarder) write(s *track.Source, p *track.Packet, ssrc uint32, pt uint8, seq uint16, marker bool, original []byte) {
	f.header = wire.Header{Marker: marker, PayloadType: pt, Sequence: seq, Timestamp: p.Timestamp() + f.times[s.Number&3], SSRC: ssrc}
	f.numbered()
	if f.cfg.Descriptor != 0 && p.Described {
		if b, ok := p.Extension(s.DescriptorID); ok {
			f.narrowed = p.D.Narrow(f.narrowed[:0], b, &s.Structure, f.target)
			wire.Renumber(f.narrowed, p.D.Frame+f.frames[s.Number&3])
			f.header.Extensions[1] = wire.Extension{ID: f.cfg.Descriptor, Value: f.narrowed}
		}
	}
	f.scratch = f.header.Append(f.scratch[:0])
	f.scratch = append(f.scratch, original...)
	f.scratch = append(f.scratch, p.Payload()...)
	f.sink.Send(f.scratch)
}

// Repeat sends a packet again that the client asked for, and reports how many bytes that took: 0 if it cannot or need
// not be.
func (f *Forwarder) Repeat(seq uint16, get func(source int) *track.Source, now int64) int {
	at := &f.past[int(seq)&(len(f.past)-1)]
	if !at.valid || at.out != seq {
		f.Unmet++
		return 0
	}
	if at.tries >= repeatMost || uint32(now/1000)-at.at < repeatAfter/1000 {
		return 0
	}
	s := get(int(at.source))
	if s == nil {
		f.Unmet++
		return 0
	}
	p := s.Get(at.ext)
	if p == nil {
		f.Unmet++
		return 0
	}
	if f.cfg.Repair == 0 || f.format.Repair == 0 {
		if !f.cfg.Audio {
			return 0 // a repeated packet under its own number would be sealed twice under one nonce with other bytes
		}
		f.write(s, p, f.cfg.SSRC, f.format.PT, seq, at.marker, nil)
	} else {
		var original [2]byte
		binary.BigEndian.PutUint16(original[:], seq)
		f.repairs++
		f.write(s, p, f.cfg.Repair, f.format.Repair, f.repairs, at.marker, original[:])
	}
	at.at = uint32(now / 1000)
	at.tries++
	f.Repeated++
	return len(f.scratch)
}

// Newest sends the last packet once more on the repair stream, to fill a probe, and returns its size; 0: there is none.
func (f *Forwarder) Newest(get func(source int) *track.Source) int {
	at := &f.past[int(f.lastOut)&(len(f.past)-1)]
	if f.cfg.Repair == 0 || f.format.Repair == 0 || !at.valid || at.out != f.lastOut {
		return 0
	}
	s := get(int(at.source))
	if s == nil {
		return 0
	}
	p := s.Get(at.ext)
	if p == nil {
		return 0
	}
	var original [2]byte
	binary.BigEndian.PutUint16(original[:], at.out)
	f.repairs++
	f.write(s, p, f.cfg.Repair, f.format.Repair, f.repairs, at.marker, original[:])
	return len(f.scratch)
}

// Pad sends nothing but padding on the repair stream, to fill a probe where nothing was sent yet, and returns its size;
// 0: the client does not repair.
func (f *Forwarder) Pad() int {
	const padding = 255
	if f.cfg.Repair == 0 || f.format.Repair == 0 || f.cfg.Transport == 0 {
		return 0
	}
	f.repairs++
	f.header = wire.Header{PayloadType: f.format.Repair, Sequence: f.repairs, Timestamp: f.lastTime, SSRC: f.cfg.Repair}
	f.numbered()
	f.scratch = f.header.Append(f.scratch[:0])
	f.scratch[0] |= 0x20
	for range padding {
		f.scratch = append(f.scratch, 0)
	}
	f.scratch[len(f.scratch)-1] = padding
	f.sink.Send(f.scratch)
	return len(f.scratch)
}

// Report is what the publisher's newest report says, in this subscription's numbers, for the client to keep sound and
// picture in step; false: there is none.
func (f *Forwarder) Report() (wire.SenderReport, bool) {
	if f.source == nil {
		return wire.SenderReport{}, false
	}
	r, ok := f.source.LastReport()
	if !ok {
		return r, false
	}
	return wire.SenderReport{
		SSRC: f.cfg.SSRC, NTP: r.NTP, Timestamp: r.Timestamp + f.times[f.source.Number&3], Packets: f.Packets, Octets: f.Octets,
	}, true
}

// Forget is called when the track has gone: its sources are no more.
func (f *Forwarder) Forget() {
	f.source, f.next = nil, nil
	for i := range f.past {
		f.past[i].valid = false
	}
}

// SSRC of what is sent.
func (f *Forwarder) SSRC() uint32 { return f.cfg.SSRC }

// Repair is the SSRC of what is repeated.
func (f *Forwarder) Repair() uint32 { return f.cfg.Repair }
