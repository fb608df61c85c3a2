package rtc

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/media/sframe"
)

const (
	// packetSize keeps RTP, SRTP, TURN and IPv6 headers together below 1,280 bytes.
	packetSize = 1200
	// maxSent is the largest frame that is sent; a receiver gives up on larger ones.
	maxSent = 1 << 20
	// padCount packets without content go before the first frame and behind the last.
	padCount = 3
)

// sending is one medium on its way out: a local track that seals each frame before it is cut
// into packets, or takes frames that a room's sender has sealed. Nothing else writes to the
// track, so nothing can leave in plain.
type sending struct {
	codec  sframe.Codec
	sealer *sframe.Sender // nil in a room
	uplink *uplink        // nil: the path is not measured
	frames atomic.Uint64

	section *webrtc.RTPTransceiver // carries it; of the negotiation, as is
	anew    bool                   // that is the second one, or is to be

	mu     sync.Mutex // guards all below; held while writing, so that packets keep their order
	writer webrtc.TrackLocalWriter
	id     string
	ssrc   uint32
	ptype  uint8
	number uint8 // header extension of the packets' numbers; 0: none
	cutter rtp.Packetizer
	order  rtp.Sequencer
	sealed []byte
	rest   time.Duration // of a duration that is no whole number of ticks
	rate   uint32
	led    bool // padding was sent before the first frame
	parted bool // one section was left and the next is not negotiated
}

func (p *Peer) newSending(codec sframe.Codec, slot sframe.Slot) (*sending, error) {
	s := &sending{codec: codec, rate: formats[codec].ClockRate}
	if p.cfg.Group != nil {
		s.uplink = p.uplink
		return s, nil
	}
	var err error
	s.sealer, err = sframe.NewSender(sframe.KID(uint32(p.cfg.Role), slot, 0), p.cfg.SendKey)
	return s, err
}

// payloader cuts sealed frames. VP9 must be in flexible mode: the other one reads the frame
// header, which is ciphertext here.
func payloader(c sframe.Codec) rtp.Payloader {
	switch c {
	case sframe.VP8:
		return &vp8Cutter{}
	case sframe.VP9:
		return &codecs.VP9Payloader{FlexibleMode: true}
	}
	return &codecs.OpusPayloader{}
}

// ID, RID, StreamID, Kind, Bind and Unbind make it a webrtc.TrackLocal. The ids say nothing.
func (s *sending) ID() string       { return s.codec.String() }
func (s *sending) RID() string      { return "" }
func (s *sending) StreamID() string { return "call" }
func (s *sending) Kind() webrtc.RTPCodecType {
	if s.codec == sframe.Opus {
		return webrtc.RTPCodecTypeAudio
	}
	return webrtc.RTPCodecTypeVideo
}

// Bind is called by the library when the codec is negotiated.
func (s *sending) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	for _, codec := range c.CodecParameters() {
		if codec.MimeType != formats[s.codec].MimeType {
			continue
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.writer, s.id = c.WriteStream(), c.ID()
		s.ssrc, s.ptype = uint32(c.SSRC()), uint8(codec.PayloadType)
		s.led, s.parted = false, false
		if s.uplink != nil {
			s.number = numberOf(c)
		}
		if s.cutter == nil {
			s.order = rtp.NewRandomSequencer()
			s.cutter = rtp.NewPacketizer(packetSize, s.ptype, s.ssrc, payloader(s.codec), s.order, s.rate)
		}
		return codec, nil
	}
	return webrtc.RTPCodecParameters{}, fmt.Errorf("%w: the other side takes no %v", ErrNotSending, s.codec)
}

// Unbind is called by the library when the track ends.
func (s *sending) Unbind(c webrtc.TrackLocalContext) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id != c.ID() {
		return fmt.Errorf("rtc: %v is not bound there", s.codec)
	}
	s.writer = nil
	return nil
}

// send seals and sends one frame and returns the sealed size.
func (s *sending) send(frame []byte, d time.Duration) (int, error) {
	if err := checkFrame(frame, d); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parted {
		return 0, nil // a moment's silence; no counter is spent on it
	}
	if s.writer == nil || s.sealer == nil {
		return 0, ErrNotSending
	}
	var err error
	if s.sealed, err = s.sealer.Seal(s.sealed[:0], s.codec, frame); err != nil {
		return 0, err
	}
	return s.cutLocked(s.sealed, d)
}

// sendSealed sends what a room's sender has sealed.
func (s *sending) sendSealed(frame sframe.Sealed, d time.Duration) (int, error) {
	if err := checkFrame(frame.Bytes(), d); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parted {
		return 0, nil
	}
	if s.writer == nil || s.sealer != nil || s.codec != frame.Codec {
		return 0, ErrNotSending
	}
	return s.cutLocked(frame.Bytes(), d)
}

func checkFrame(frame []byte, d time.Duration) error {
	if len(frame) == 0 || len(frame) > maxSent || d < 0 || d > time.Minute {
		return fmt.Errorf("rtc: frame of %d bytes and %v", len(frame), d)
	}
	return nil
}

// cutLocked sends a sealed frame in packets and returns its size.
func (s *sending) cutLocked(sealed []byte, d time.Duration) (int, error) {
	if !s.led {
		// A receiver cannot miss what came before the first packet it sees; so the first packet
		// is one that nobody needs.
		s.led = true
		if err := s.padLocked(); err != nil {
			return 0, err
		}
	}
	d += s.rest
	ticks := uint32(d * time.Duration(s.rate) / time.Second)
	s.rest = d - time.Duration(ticks)*time.Second/time.Duration(s.rate)
	for _, packet := range s.cutter.Packetize(sealed, ticks) {
		if err := s.writeLocked(packet); err != nil {
			return 0, fmt.Errorf("rtc: send %v: %w", s.codec, err)
		}
	}
	s.frames.Add(1)
	return len(sealed), nil
}

// pad sends packets without content behind the last frame.
func (s *sending) pad() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writer == nil {
		return nil
	}
	return s.padLocked()
}

func (s *sending) padLocked() error {
	for _, packet := range s.cutter.GeneratePadding(padCount) {
		if err := s.writeLocked(packet); err != nil {
			return fmt.Errorf("rtc: pad %v: %w", s.codec, err)
		}
	}
	return nil
}

func (s *sending) writeLocked(packet *rtp.Packet) error {
	packet.SSRC, packet.PayloadType = s.ssrc, s.ptype
	if s.number != 0 {
		if err := s.uplink.number(&packet.Header, s.number, len(packet.Payload)); err != nil {
			return err
		}
	}
	_, err := s.writer.WriteRTP(&packet.Header, packet.Payload)
	return err
}

// SendAudio seals and sends one Opus frame that lasts d. The caller paces.
func (p *Peer) SendAudio(frame []byte, d time.Duration) error { return p.sendFrame(p.audio, frame, d) }

// SendVideo seals and sends one frame of the configured codec that is shown for d.
func (p *Peer) SendVideo(frame []byte, d time.Duration) error { return p.sendFrame(p.video, frame, d) }

// SendScreen seals and sends one frame of the shared screen, of the configured codec.
func (p *Peer) SendScreen(frame []byte, d time.Duration) error {
	return p.sendFrame(p.screen, frame, d)
}

// SendSealed sends one frame of a room, sealed by the room's sender, to this one member.
func (p *Peer) SendSealed(frame sframe.Sealed, d time.Duration) error {
	s := map[sframe.Slot]*sending{sframe.Microphone: p.audio, sframe.Camera: p.video, sframe.Screen: p.screen}[frame.Slot]
	if s == nil {
		return ErrNotSending
	}
	if err := p.boundAndOpen(); err != nil {
		return err
	}
	n, err := s.sendSealed(frame, d)
	p.counts.bytesSent.Add(uint64(n))
	return err
}

func (p *Peer) sendFrame(s *sending, frame []byte, d time.Duration) error {
	if s == nil {
		return ErrNotSending
	}
	if err := p.boundAndOpen(); err != nil {
		return err
	}
	n, err := s.send(frame, d)
	p.counts.bytesSent.Add(uint64(n))
	return err
}

// rtcpLoop reads the other side's reports about one medium; the interceptors see them on the
// way. What remains for the application is the wish for a key frame.
func (p *Peer) rtcpLoop(sender *webrtc.RTPSender) {
	buf := make([]byte, receiveSize)
	for {
		n, _, err := sender.Read(buf)
		if err != nil {
			return // the sender was stopped: the end
		}
		if p.uplink != nil {
			p.uplink.report(buf[:n])
		}
		packets, err := rtcp.Unmarshal(buf[:n])
		if err != nil {
			continue // what cannot be read asks for nothing
		}
		for _, packet := range packets {
			switch packet.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				p.post(func() {
					if p.cfg.OnKeyframeRequest != nil {
						p.cfg.OnKeyframeRequest()
					}
				})
			}
		}
	}
}

var errNoTrack = errors.New("rtc: no video is received")
