package rtc

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/media/sframe"
)

// How long a nominated pair of each kind is held back for a better one. The library's defaults
// (0, 500, 1000 and 2000 ms) cost a second or more of every call's beginning.
const (
	hostWait  = 0
	srflxWait = 50 * time.Millisecond
	prflxWait = 50 * time.Millisecond
	relayWait = 100 * time.Millisecond
)

// When a path is taken for broken. The library's defaults (5 s, asked every 2 s) alone are all the time that
// there is until media have to be back; a path on which nobody speaks is asked often enough that two
// questions in a row have to be lost.
const (
	silence     = 2500 * time.Millisecond
	keepAlive   = 800 * time.Millisecond
	failedAfter = 25 * time.Second
)

// replayWindow is how far behind a retransmitted RTP packet may come. SFrame has a window of its
// own for what is replayed on purpose.
const replayWindow = 1024

// maxMessage is the largest data channel message: 65,536 is where browsers begin to differ.
const maxMessage = 65535

var formats = map[sframe.Codec]webrtc.RTPCodecParameters{
	sframe.Opus: {
		RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2,
			SDPFmtpLine: "minptime=10;useinbandfec=1",
			// Retransmission for audio too: sealed frames hold no redundancy to conceal with.
			RTCPFeedback: []webrtc.RTCPFeedback{{Type: "nack"}},
		},
		PayloadType: 111,
	},
	sframe.VP8: {
		RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeVP8, ClockRate: 90000, RTCPFeedback: videoFeedback,
		},
		PayloadType: 96,
	},
	sframe.VP9: {
		RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeVP9, ClockRate: 90000, SDPFmtpLine: "profile-id=0", RTCPFeedback: videoFeedback,
		},
		PayloadType: 98,
	},
}

var videoFeedback = []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "ccm", Parameter: "fir"}}

// build makes the PeerConnection with everything on it, ready for an offer either way.
func (p *Peer) build() error {
	engine := &webrtc.MediaEngine{}
	if err := registerCodecs(engine); err != nil {
		return err
	}
	registry := &interceptor.Registry{}
	if p.uplink != nil {
		// The other side tells what came, and is told.
		if err := webrtc.ConfigureTWCCSenderWithOptions(engine, registry, twcc.WithLoggerFactory(silent())); err != nil {
			return fmt.Errorf("rtc: interceptors: %w", err)
		}
	}
	var full func() bool
	if p.uplink != nil {
		full = func() bool { return p.uplink.full(p.clock.Now()) }
	}
	if err := configureAgain(engine, registry, full); err != nil {
		return err
	}
	if err := webrtc.ConfigureRTCPReports(registry); err != nil {
		return fmt.Errorf("rtc: interceptors: %w", err)
	}
	settings, err := p.settings()
	if err != nil {
		return err
	}
	api := webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(registry),
		webrtc.WithSettingEngine(settings))
	pc, err := api.NewPeerConnection(webrtc.Configuration{
		ICEServers:         iceServers(p.cfg.ICEServers),
		ICETransportPolicy: p.cfg.policy(),
		BundlePolicy:       webrtc.BundlePolicyMaxBundle,
		Certificates:       []webrtc.Certificate{p.certificate},
	})
	if err != nil {
		return fmt.Errorf("rtc: %w", err)
	}
	p.pc = pc
	if err := p.furnish(); err != nil {
		return errors.Join(err, closeConnection(pc))
	}
	return nil
}

// silent drops the library's log lines, which hold addresses and descriptions.
func silent() logging.LoggerFactory {
	return &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
}

// registerCodecs registers what can be sealed, and no header extension: the audio level of RFC
// 6464 would tell the path who speaks when. In rooms packets have numbers besides (uplink).
func registerCodecs(engine *webrtc.MediaEngine) error {
	for codec, parameters := range formats {
		kind := webrtc.RTPCodecTypeVideo
		if codec == sframe.Opus {
			kind = webrtc.RTPCodecTypeAudio
		}
		if err := engine.RegisterCodec(parameters, kind); err != nil {
			return fmt.Errorf("rtc: codec %v: %w", codec, err)
		}
	}
	return nil
}

// registerRepair adds what repeats of pictures come in (RFC 4588). Between two people a repeat is the same packet again;
// the SFU seals what it repeats under other bytes, and needs a stream for it.
func registerRepair(engine *webrtc.MediaEngine) error {
	for codec, parameters := range formats {
		if codec == sframe.Opus {
			continue
		}
		if err := engine.RegisterCodec(webrtc.RTPCodecParameters{
			RTPCodecCapability: webrtc.RTPCodecCapability{
				MimeType: webrtc.MimeTypeRTX, ClockRate: parameters.ClockRate, SDPFmtpLine: fmt.Sprintf("apt=%d", parameters.PayloadType),
			},
			PayloadType: parameters.PayloadType + 1,
		}, webrtc.RTPCodecTypeVideo); err != nil {
			return fmt.Errorf("rtc: repair of %v: %w", codec, err)
		}
	}
	return nil
}

// furnish adds channels, transceivers and callbacks.
func (p *Peer) furnish() (err error) {
	if p.control, err = p.openChannel("control", 0); err != nil {
		return err
	}
	if p.file, err = p.openChannel("file", 1); err != nil {
		return err
	}
	for _, m := range []struct {
		slot  sframe.Slot
		kind  webrtc.RTPCodecType
		way   Direction
		track *sending
	}{
		{sframe.Microphone, webrtc.RTPCodecTypeAudio, p.cfg.Audio, p.audio},
		{sframe.Camera, webrtc.RTPCodecTypeVideo, p.cfg.Video, p.video},
		{sframe.Screen, webrtc.RTPCodecTypeVideo, p.cfg.Screen, p.screen},
		{sframe.ScreenAudio, webrtc.RTPCodecTypeAudio, p.cfg.Screen, nil},
	} {
		if err := p.addMedia(m.slot, m.kind, m.way, m.track); err != nil {
			return err
		}
	}
	p.pc.OnICECandidate(p.localCandidate)
	p.pc.OnTrack(p.incomingTrack)
	p.pc.OnDataChannel(func(*webrtc.DataChannel) {
		// Both channels are negotiated; there is no other.
		p.end(fmt.Errorf("%w: a third channel was opened", ErrControl))
	})
	p.pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		p.post(func() { p.connectionState(s) })
	})
	dtls := p.pc.SCTP().Transport()
	dtls.OnStateChange(func(s webrtc.DTLSTransportState) {
		p.post(func() { p.dtlsState(s) })
	})
	dtls.ICETransport().OnSelectedCandidatePairChange(func(*webrtc.ICECandidatePair) {
		p.post(p.updateRoute)
	})
	p.watchControl()
	p.watchFile()
	return nil
}

func (p *Peer) settings() (s webrtc.SettingEngine, err error) {
	if p.network, err = newNetwork(p.cfg.ICEServers, p.closing); err != nil {
		return s, err
	}
	s = p.cfg.settings(p.network)
	s.SetSCTPMaxMessageSize(maxMessage)
	// Retransmissions come late; the default of 64 packets would take them for replays.
	s.SetSRTPReplayProtectionWindow(replayWindow)
	if p.tune != nil {
		p.tune(&s)
	}
	return s, nil
}

// settings are those of every connection.
func (c *Config) settings(n *network) (s webrtc.SettingEngine) {
	s.SetNet(n)
	s.SetSTUNGatherTimeout(reflexiveWait)
	s.LoggerFactory = silent()
	s.SetHostAcceptanceMinWait(hostWait)
	s.SetSrflxAcceptanceMinWait(srflxWait)
	s.SetPrflxAcceptanceMinWait(prflxWait)
	s.SetRelayAcceptanceMinWait(relayWait)
	s.SetICETimeouts(silence, failedAfter, keepAlive)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6})
	s.SetIncludeLoopbackCandidate(c.IncludeLoopback)
	if c.InterfaceFilter != nil {
		s.SetInterfaceFilter(c.InterfaceFilter)
	}
	if c.IPFilter != nil {
		s.SetIPFilter(c.IPFilter)
	}
	return s
}

func (c *Config) policy() webrtc.ICETransportPolicy {
	if c.RelayOnly {
		return webrtc.ICETransportPolicyRelay
	}
	return webrtc.ICETransportPolicyAll
}

func iceServers(in []ICEServer) []webrtc.ICEServer {
	var out []webrtc.ICEServer
	for _, s := range in {
		out = append(out, webrtc.ICEServer{URLs: s.URLs, Username: s.Username, Credential: s.Credential})
	}
	return out
}

// addMedia adds the sections of one slot: one for what is sent and one for what is received.
// A section has one direction, because a browser ignores what is to open the frames of one that
// has two (docs/spec/media.md, section 3).
func (p *Peer) addMedia(slot sframe.Slot, kind webrtc.RTPCodecType, d Direction, track *sending) error {
	if track != nil {
		if err := p.addSending(track); err != nil {
			return err
		}
	}
	if d == SendReceive || d == ReceiveOnly {
		t, err := p.pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		if err != nil {
			return fmt.Errorf("rtc: %v: %w", kind, err)
		}
		p.slots[t.Receiver()] = slot
	}
	return nil
}

// closedGrace is how long a close before the handshake's end waits for a better reason.
const closedGrace = 250 * time.Millisecond

// connectionState follows ICE and DTLS together.
func (p *Peer) connectionState(s webrtc.PeerConnectionState) {
	switch s {
	case webrtc.PeerConnectionStateConnected:
		if p.isBound() {
			p.setState(StateBound)
		}
		p.updateRoute()
	case webrtc.PeerConnectionStateDisconnected:
		p.setState(StateDisconnected)
	case webrtc.PeerConnectionStateFailed:
		p.setState(StateFailed)
	case webrtc.PeerConnectionStateClosed:
		// The other side closed DTLS; our own close comes after the loop. The library reports
		// a failed handshake as failed and as closed, each from a goroutine of its own, or as
		// closed alone: the certificate tells, and the failure gets a moment to arrive.
		if !p.secured.Load() {
			if len(p.pc.SCTP().Transport().GetRemoteCertificate()) > 0 && p.checkCertificate() != nil {
				p.end(ErrFingerprint)
				return
			}
			p.clock.AfterFunc(closedGrace, func() { p.end(nil) })
			return
		}
		p.end(nil)
	}
}

// dtlsState watches for the handshake's end, good or bad.
func (p *Peer) dtlsState(s webrtc.DTLSTransportState) {
	switch s {
	case webrtc.DTLSTransportStateConnected:
		p.secured.Store(true)
		if err := p.checkCertificate(); err != nil {
			p.end(err)
			return
		}
		p.binding.startTimer(p)
	case webrtc.DTLSTransportStateFailed:
		// A handshake with another certificate than the signed one ends here as well.
		p.end(fmt.Errorf("%w: the DTLS handshake failed", ErrFingerprint))
	}
}
