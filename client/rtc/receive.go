package rtc

import (
	"bytes"
	"errors"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/client/rtc/assemble"
	"github.com/trunkline-net/trunkline/media/sframe"
)

const (
	// How long a missing packet is waited for. A retransmission is asked for every 100 ms and
	// takes one round trip.
	audioDelay = 500 * time.Millisecond
	videoDelay = time.Second

	// receiveSize is the largest RTP packet that is read, as the library's own limit.
	receiveSize = 1460

	// failingTime is how long frames fail to open before a key frame is asked for, and how
	// long nothing is asked for again.
	failingTime = time.Second
)

// receiving is one medium on its way in. It belongs to its track's goroutine.
type receiving struct {
	p      *Peer
	slot   sframe.Slot
	codec  sframe.Codec
	ssrc   uint32
	frames *assemble.Assembler
	open   func(dst []byte, c sframe.Codec, sealed []byte) (frame []byte, order uint64, err error)
	lost   uint64

	failing time.Time // since when no frame opened; zero: the last one did
	asked   time.Time
}

// incomingTrack is called by the library for each track of the other side. Of each slot one is
// read; a further one, and one of a slot that was not asked for, is left alone and nothing of it
// is handed out.
func (p *Peer) incomingTrack(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
	slot, wanted := p.slots[receiver]
	if !wanted || !p.receiving[slot].CompareAndSwap(false, true) {
		return
	}
	delay := audioDelay
	if track.Kind() == webrtc.RTPCodecTypeVideo {
		delay = videoDelay
	}
	r := &receiving{p: p, slot: slot, ssrc: uint32(track.SSRC()), frames: assemble.New(delay)}
	var err error
	if r.open, err = p.openerOf(slot); err != nil {
		p.end(err)
		return
	}
	p.begin(func() { r.readLoop(track) })
}

// openerOf opens frames of the other side and of this slot alone: one of another sender or
// source finds no key.
func (p *Peer) openerOf(slot sframe.Slot) (func(dst []byte, c sframe.Codec, sealed []byte) ([]byte, uint64, error), error) {
	if group := p.cfg.Group; group != nil {
		return func(dst []byte, c sframe.Codec, sealed []byte) ([]byte, uint64, error) {
			return group.Open(dst, slot, c, sealed)
		}, nil
	}
	o := sframe.NewReceiver()
	if err := o.AddKey(sframe.KID(1-uint32(p.cfg.Role), slot, 0), p.cfg.ReceiveKey); err != nil {
		return nil, err
	}
	return func(dst []byte, c sframe.Codec, sealed []byte) ([]byte, uint64, error) {
		frame, _, err := o.Open(dst, c, sealed)
		return frame, 0, err
	}, nil
}

// readLoop reads packets until the track ends. Before binding it reads none.
func (r *receiving) readLoop(track *webrtc.TrackRemote) {
	select {
	case <-r.p.bound:
	case <-r.p.closing:
		return
	}
	buf := make([]byte, receiveSize)
	for {
		n, _, err := track.Read(buf)
		if err != nil {
			return // the track was stopped: the end
		}
		// The payload is kept until its frame is complete. One bad packet of the other side
		// is dropped; it does not end the stream.
		packet := &rtp.Packet{}
		if err := packet.Unmarshal(bytes.Clone(buf[:n])); err != nil {
			continue
		}
		// The payload type may change between the negotiated codecs; the frame's codec must
		// be the packet's.
		codec, ok := codecOf(track.Codec().MimeType)
		if !ok || uint8(track.PayloadType()) != packet.PayloadType {
			continue
		}
		r.codec = codec
		r.packet(packet)
	}
}

func codecOf(mime string) (sframe.Codec, bool) {
	for codec, parameters := range formats {
		if parameters.MimeType == mime {
			return codec, true
		}
	}
	return 0, false
}

// unwrap takes the codec's payload header off.
func unwrap(c sframe.Codec, packet *rtp.Packet) (out assemble.Packet, ok bool) {
	out = assemble.Packet{Seq: packet.SequenceNumber, Timestamp: packet.Timestamp, End: packet.Marker}
	switch {
	case len(packet.Payload) == 0:
	case c == sframe.VP8:
		var h codecs.VP8Packet
		payload, err := h.Unmarshal(packet.Payload)
		if err != nil {
			return out, false
		}
		out.Payload, out.Start = payload, h.S == 1 && h.PID == 0
	case c == sframe.VP9:
		var h codecs.VP9Packet
		payload, err := h.Unmarshal(packet.Payload)
		if err != nil {
			return out, false
		}
		out.Payload, out.Start = payload, h.B
	default:
		out.Payload, out.Start, out.End = packet.Payload, true, true
	}
	return out, true
}

// packet takes the codec's payload header off and hands completed frames on.
func (r *receiving) packet(packet *rtp.Packet) {
	out, ok := unwrap(r.codec, packet)
	if !ok {
		return
	}
	for _, f := range r.frames.Push(out, r.p.clock.Now()) {
		r.frame(f)
	}
	if lost := r.frames.Lost(); lost != r.lost {
		r.p.counts.framesLost.Add(lost - r.lost)
		r.lost = lost
		r.askKeyframe()
	}
}

// frame opens one sealed frame. One that does not open is counted and dropped, never shown.
func (r *receiving) frame(f assemble.Frame) {
	r.p.counts.bytesReceived.Add(uint64(len(f.Data)))
	data, order, err := r.open(make([]byte, 0, len(f.Data)), r.codec, f.Data)
	if r.p.cfg.Group != nil && errors.Is(err, sframe.ErrReplay) {
		r.p.counts.duplicates.Add(1) // it came over the SFU first
		return
	}
	if err != nil {
		r.p.counts.sframeFailed.Add(1)
		now := r.p.clock.Now()
		if r.failing.IsZero() {
			r.failing = now
		} else if now.Sub(r.failing) >= failingTime {
			r.askKeyframe()
		}
		return
	}
	r.failing = time.Time{}
	out := Frame{Slot: r.slot, Codec: r.codec, Timestamp: f.Timestamp, Key: keyframe(r.codec, data), Order: order, Data: data}
	if r.slot == sframe.Screen || r.slot == sframe.ScreenAudio {
		r.p.counts.screenReceived.Add(1)
		if r.p.cfg.OnScreen != nil {
			r.p.cfg.OnScreen(out)
		}
		return
	}
	if r.codec == sframe.Opus {
		r.p.counts.audioReceived.Add(1)
		if r.p.cfg.OnAudio != nil {
			r.p.cfg.OnAudio(out)
		}
		return
	}
	r.p.counts.videoReceived.Add(1)
	if r.p.cfg.OnVideo != nil {
		r.p.cfg.OnVideo(out)
	}
}

// askKeyframe asks the other side for a picture that can be decoded alone, at most once in
// failingTime.
func (r *receiving) askKeyframe() {
	now := r.p.clock.Now()
	if r.codec == sframe.Opus || !r.asked.IsZero() && now.Sub(r.asked) < failingTime {
		return
	}
	r.asked = now
	if err := r.p.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: r.ssrc}}); err != nil {
		r.p.log.Info("could not ask for a key frame", "reason", err)
		return
	}
	r.p.counts.keyframesAsked.Add(1)
}

// RequestKeyframe asks the other side for a key frame: for a recorder that starts in mid-call.
func (p *Peer) RequestKeyframe() error {
	if err := p.boundAndOpen(); err != nil {
		return err
	}
	for _, t := range p.pc.GetTransceivers() {
		if slot, received := p.slots[t.Receiver()]; !received || slot != sframe.Camera || t.Receiver().Track() == nil {
			continue
		}
		p.counts.keyframesAsked.Add(1)
		return p.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(t.Receiver().Track().SSRC())}})
	}
	return errNoTrack
}

// keyframe reports whether a frame can be decoded without the ones before it.
func keyframe(c sframe.Codec, frame []byte) bool {
	if len(frame) == 0 {
		return false
	}
	switch c {
	case sframe.VP8:
		return frame[0]&1 == 0
	case sframe.VP9:
		// frame marker 2 bits, profile 2 (and one reserved bit if both are set),
		// show_existing_frame, frame_type: 0 is a key frame.
		b := frame[0] << 2
		if b&0xc0 == 0xc0 {
			b <<= 1
		}
		return b<<2&0xc0 == 0
	}
	return true
}
