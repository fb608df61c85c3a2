package rtc

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/client/rtc/assemble"
	"github.com/trunkline-net/trunkline/client/rtc/pb"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// LegConfig is what a Leg needs.
type LegConfig struct {
	// Audio and Video are what is published.
	Audio, Video bool
	VideoCodec   sframe.Codec
	// Opener finds who opens the frames of a sender by its index, which is in the frame; nil: nobody
	// does. What the SFU says about whose they are counts for nothing.
	Opener func(index uint64) Opener
	// OnFrame gets what opened, with its sender's index; each stream has a goroutine of its own.
	OnFrame func(index uint64, f Frame)
	// OnCopy is told of a frame that had come another way already; nil: nobody is.
	OnCopy func(index uint64, slot sframe.Slot)
	// OnUnopened is told of a frame that the key of its sender did not open; nil: nobody is.
	OnUnopened func(index uint64)
	// OnState is called when the path changed; from a goroutine of the library.
	OnState         func(State)
	IncludeLoopback bool
	Logger          *slog.Logger
}

// Stream is one slot of one other member, as the SFU is asked for it.
type Stream struct {
	Publisher uint16
	Slot      sframe.Slot
}

// Leg is a member's connection to the SFU of a room's node: it sends what the room's sender has
// sealed, and hands out what the senders' keys open. The SFU's certificate is nobody's we know:
// what goes over it is sealed for others. Call NewLeg, Offer and Answer, and Close at the end.
//
// It needs no relay, also for who hides its address: nobody but its node sees where it is, and
// the SFU's port takes TCP as well, where UDP has not got through in a second.
type Leg struct {
	cfg   LegConfig
	log   *slog.Logger
	clock Clock
	audio *sending
	video *sending
	pc    *webrtc.PeerConnection
	loops sync.WaitGroup

	negotiating sync.Mutex                        // one offer at a time; guards free, on
	free        map[bool][]*webrtc.RTPTransceiver // receiving sections that nothing is on, by whether they are for sound
	on          map[Stream]*webrtc.RTPTransceiver

	counts counters
	mu     sync.Mutex // guards closed, later
	closed bool
	later  func() bool // stops waiting with the SFU's TCP candidates
	state  atomic.Uint32
}

// NewLeg makes the connection. It sends nothing before Answer.
func NewLeg(cfg LegConfig) (*Leg, error) {
	l := &Leg{
		cfg: cfg, log: cfg.Logger, clock: machineClock{},
		free: map[bool][]*webrtc.RTPTransceiver{}, on: map[Stream]*webrtc.RTPTransceiver{},
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	engine := &webrtc.MediaEngine{}
	registry := &interceptor.Registry{}
	if err := errors.Join(registerCodecs(engine), registerRepair(engine)); err != nil {
		return nil, err
	}
	// The SFU measures the path by what arrives.
	if err := webrtc.ConfigureTWCCSenderWithOptions(engine, registry, twcc.WithLoggerFactory(silent())); err != nil {
		return nil, fmt.Errorf("rtc: interceptors: %w", err)
	}
	if err := configureAgain(engine, registry, nil); err != nil {
		return nil, err
	}
	if err := webrtc.ConfigureRTCPReports(registry); err != nil {
		return nil, fmt.Errorf("rtc: interceptors: %w", err)
	}
	var s webrtc.SettingEngine
	s.LoggerFactory = silent()
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6, webrtc.NetworkTypeTCP4, webrtc.NetworkTypeTCP6})
	s.SetIncludeLoopbackCandidate(cfg.IncludeLoopback)
	s.SetSRTPReplayProtectionWindow(replayWindow)
	var err error
	l.pc, err = webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(s)).
		NewPeerConnection(webrtc.Configuration{BundlePolicy: webrtc.BundlePolicyMaxBundle})
	if err != nil {
		return nil, fmt.Errorf("rtc: %w", err)
	}
	if err := l.furnish(); err != nil {
		return nil, errors.Join(err, closeConnection(l.pc))
	}
	return l, nil
}

func (l *Leg) furnish() error {
	publish := func(codec sframe.Codec) (*sending, error) {
		s := &sending{codec: codec, rate: formats[codec].ClockRate}
		t, err := l.pc.AddTransceiverFromTrack(s, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		if err != nil {
			return nil, fmt.Errorf("rtc: %v: %w", codec, err)
		}
		l.loops.Go(func() {
			for {
				// The interceptors see the reports on the way.
				if _, _, err := t.Sender().ReadRTCP(); err != nil {
					return
				}
			}
		})
		return s, nil
	}
	var err error
	if l.cfg.Audio {
		if l.audio, err = publish(sframe.Opus); err != nil {
			return err
		}
	}
	if l.cfg.Video {
		if l.video, err = publish(l.cfg.VideoCodec); err != nil {
			return err
		}
	}
	l.pc.OnTrack(l.incoming)
	l.pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		state := StateConnecting
		switch s {
		case webrtc.PeerConnectionStateConnected:
			state = StateBound
		case webrtc.PeerConnectionStateDisconnected:
			state = StateDisconnected
		case webrtc.PeerConnectionStateFailed:
			state = StateFailed
		case webrtc.PeerConnectionStateClosed:
			state = StateClosed
		}
		l.state.Store(uint32(state))
		if l.cfg.OnState != nil {
			l.cfg.OnState(state)
		}
	})
	return nil
}

// State is where the connection is; StateBound: media can flow.
func (l *Leg) State() State { return State(l.state.Load()) }

// Offer makes a description that has a section for each wanted stream. A section whose stream is wanted no more is used
// again, and the description is empty if those that were described already are enough. With restart it looks for a path
// anew, and everything that is on the leg stays.
func (l *Leg) Offer(streams []Stream, restart bool) (sdp string, err error) {
	l.negotiating.Lock()
	defer l.negotiating.Unlock()
	enough := l.pc.RemoteDescription() != nil && !restart
	for s, t := range l.on {
		if !slices.Contains(streams, s) {
			delete(l.on, s)
			sound := s.Slot == sframe.Microphone || s.Slot == sframe.ScreenAudio
			l.free[sound] = append(l.free[sound], t)
		}
	}
	for _, s := range streams {
		if l.on[s] != nil {
			continue
		}
		sound := s.Slot == sframe.Microphone || s.Slot == sframe.ScreenAudio
		if free := l.free[sound]; len(free) > 0 {
			l.on[s], l.free[sound] = free[0], free[1:]
			continue
		}
		kind := webrtc.RTPCodecTypeVideo
		if sound {
			kind = webrtc.RTPCodecTypeAudio
		}
		t, err := l.pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		if err != nil {
			return "", fmt.Errorf("rtc: %v: %w", kind, err)
		}
		l.on[s] = t
		enough = false
	}
	if enough {
		return "", nil
	}
	offer, err := l.pc.CreateOffer(&webrtc.OfferOptions{ICERestart: restart})
	if err != nil {
		return "", fmt.Errorf("rtc: create offer: %w", err)
	}
	if err := l.pc.SetLocalDescription(offer); err != nil {
		return "", fmt.Errorf("rtc: set offer: %w", err)
	}
	return offer.SDP, nil
}

// Answer takes the SFU's answer.
func (l *Leg) Answer(sdp string) error {
	l.negotiating.Lock()
	defer l.negotiating.Unlock()
	if len(sdp) > 128<<10 {
		return errors.New("rtc: answer too long")
	}
	sdp, tcp := withoutTCP(sdp)
	if err := l.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: sdp}); err != nil {
		return fmt.Errorf("rtc: set answer: %w", err)
	}
	l.offerTCP(tcp)
	return nil
}

// Sections says on which section each wanted stream is to come.
func (l *Leg) Sections() map[Stream]string {
	l.negotiating.Lock()
	defer l.negotiating.Unlock()
	mids := make(map[Stream]string, len(l.on))
	for s, t := range l.on {
		mids[s] = t.Mid()
	}
	return mids
}

// withoutTCP takes the candidates for TCP out of a description.
func withoutTCP(sdp string) (rest string, tcp []string) {
	var b strings.Builder
	for line := range strings.Lines(sdp) {
		candidate, is := strings.CutPrefix(line, "a=candidate:")
		if fields := strings.Fields(candidate); is && len(fields) > 2 && strings.EqualFold(fields[2], "tcp") {
			tcp = append(tcp, "candidate:"+strings.TrimSpace(candidate))
			continue
		}
		b.WriteString(line)
	}
	return b.String(), tcp
}

// offerTCP tells the library of the SFU's TCP candidates if no path is there after a while: it takes
// the first one that works, and on a busy machine that was TCP where UDP works as well.
func (l *Leg) offerTCP(candidates []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.later != nil {
		l.later()
	}
	if l.closed || len(candidates) == 0 {
		return
	}
	l.later = l.clock.AfterFunc(udpHeadStart, func() {
		if l.State() == StateBound {
			return
		}
		for _, c := range candidates {
			if err := l.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: c, SDPMLineIndex: new(uint16)}); err != nil {
				l.log.Debug("a TCP candidate of the SFU was not taken")
			}
		}
	})
}

// SendSealed publishes one frame that a room's sender has sealed.
func (l *Leg) SendSealed(frame sframe.Sealed, d time.Duration) error {
	s := map[sframe.Slot]*sending{sframe.Microphone: l.audio, sframe.Camera: l.video}[frame.Slot]
	if s == nil {
		return ErrNotSending
	}
	if l.State() != StateBound {
		return ErrNotBound
	}
	n, err := s.sendSealed(frame, d)
	l.counts.bytesSent.Add(uint64(n))
	return err
}

// Route is the way to the SFU, "lan" or "direct"; empty while there is none.
func (l *Leg) Route() string {
	for _, t := range l.pc.GetTransceivers() {
		var transport *webrtc.DTLSTransport
		if s := t.Sender(); s != nil {
			transport = s.Transport()
		}
		if r := t.Receiver(); transport == nil && r != nil {
			transport = r.Transport()
		}
		if transport == nil {
			continue
		}
		pair, err := transport.ICETransport().GetSelectedCandidatePair()
		if err != nil || pair == nil {
			continue
		}
		if near(pair.Local.Address) && near(pair.Remote.Address) {
			return legs[pb.LegKind_LEG_LAN]
		}
		return legs[pb.LegKind_LEG_DIRECT]
	}
	return ""
}

// Stats counts what came.
func (l *Leg) Stats() Stats {
	return Stats{
		AudioReceived: l.counts.audioReceived.Load(), VideoReceived: l.counts.videoReceived.Load(), SFrameFailed: l.counts.sframeFailed.Load(),
		Duplicates: l.counts.duplicates.Load(), FramesLost: l.counts.framesLost.Load(), KeyframesAsked: l.counts.keyframesAsked.Load(),
		BytesSent: l.counts.bytesSent.Load(), BytesReceived: l.counts.bytesReceived.Load(),
	}
}

// Close ends the connection and returns when nothing of it is left.
func (l *Leg) Close() error {
	l.mu.Lock()
	l.closed = true
	if l.later != nil {
		l.later()
	}
	l.mu.Unlock()
	err := closeConnection(l.pc)
	l.loops.Wait()
	return err
}

// incoming reads one stream. Whose it is, its frames say.
func (l *Leg) incoming(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
	codec, ok := codecOf(track.Codec().MimeType)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !ok || l.closed {
		return
	}
	l.loops.Go(func() { l.readLoop(track, codec) })
}

func (l *Leg) readLoop(track *webrtc.TrackRemote, codec sframe.Codec) {
	delay := audioDelay
	if codec != sframe.Opus {
		delay = videoDelay
	}
	frames := assemble.New(delay)
	var lost uint64
	var failing, asked time.Time
	ask := func() {
		now := l.clock.Now()
		if codec == sframe.Opus || !asked.IsZero() && now.Sub(asked) < failingTime {
			return
		}
		asked = now
		if l.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(track.SSRC())}}) == nil {
			l.counts.keyframesAsked.Add(1)
		}
	}
	buf := make([]byte, receiveSize)
	for {
		n, _, err := track.Read(buf)
		if err != nil {
			return // the track was stopped: the end
		}
		packet := &rtp.Packet{}
		if err := packet.Unmarshal(bytes.Clone(buf[:n])); err != nil {
			continue
		}
		out, ok := unwrap(codec, packet)
		if !ok {
			continue
		}
		for _, f := range frames.Push(out, l.clock.Now()) {
			switch opened := l.frame(codec, f); {
			case opened:
				failing = time.Time{}
			case failing.IsZero():
				failing = l.clock.Now()
			case l.clock.Now().Sub(failing) >= failingTime:
				ask()
			}
		}
		if now := frames.Lost(); now != lost {
			l.counts.framesLost.Add(now - lost)
			lost = now
			ask()
		}
	}
}

// frame opens one sealed frame with the key of whoever it names. One that came another way
// already counts as opened.
func (l *Leg) frame(codec sframe.Codec, f assemble.Frame) (opened bool) {
	l.counts.bytesReceived.Add(uint64(len(f.Data)))
	kid, err := sframe.FrameKID(codec, f.Data)
	if err != nil {
		l.counts.sframeFailed.Add(1)
		return false
	}
	index, slot := sframe.Index(kid), sframe.SlotOf(kid)
	opener := l.cfg.Opener(index)
	if opener == nil {
		return false // of somebody whose keys we do not have yet, or any more
	}
	data, order, err := opener.Open(make([]byte, 0, len(f.Data)), slot, codec, f.Data)
	switch {
	case errors.Is(err, sframe.ErrReplay):
		l.counts.duplicates.Add(1)
		if l.cfg.OnCopy != nil {
			l.cfg.OnCopy(index, slot)
		}
		return true
	case err != nil:
		l.counts.sframeFailed.Add(1)
		if l.cfg.OnUnopened != nil {
			l.cfg.OnUnopened(index)
		}
		return false
	}
	if codec == sframe.Opus {
		l.counts.audioReceived.Add(1)
	} else {
		l.counts.videoReceived.Add(1)
	}
	l.cfg.OnFrame(index, Frame{Slot: slot, Codec: codec, Timestamp: f.Timestamp, Key: keyframe(codec, data), Order: order, Data: data})
	return true
}
