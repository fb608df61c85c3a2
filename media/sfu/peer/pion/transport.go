package pion

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/transport/v4/packetio"
	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/media/sfu/peer"
	"github.com/trunkline-net/trunkline/media/sfu/udp"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// sourcesMost bounds the sources of one client, of packets and of reports together. The library keeps something of
// each one until the connection ends, and an honest client has a few for every section.
const sourcesMost = 1024

// Transport is one client's PeerConnection.
type Transport struct {
	pc       *webrtc.PeerConnection
	receiver peer.Receiver

	// in holds the receiver off once the transport is closed.
	in      sync.RWMutex
	closed  bool // guarded by in
	sources atomic.Int32
	strange sync.Once

	mu     sync.Mutex // guards state, out; one answer at a time
	state  peer.State
	out    []peer.Outgoing
	tracks map[string]*outTrack

	// Of the writing goroutine.
	header rtp.Header
	raw    [1]rtcp.Packet
	writer atomic.Pointer[webrtc.TrackLocalWriter]
}

var formats = []struct {
	kind webrtc.RTPCodecType
	name string
	pt   webrtc.PayloadType
	fmtp string
}{
	{webrtc.RTPCodecTypeAudio, webrtc.MimeTypeOpus, 111, "minptime=10;useinbandfec=1"},
	{webrtc.RTPCodecTypeVideo, webrtc.MimeTypeVP8, 96, ""},
	{webrtc.RTPCodecTypeVideo, webrtc.MimeTypeVP9, 98, "profile-id=0"},
	{webrtc.RTPCodecTypeVideo, webrtc.MimeTypeAV1, 45, ""},
}

func engine(audioLevels bool) (*webrtc.MediaEngine, error) {
	m := &webrtc.MediaEngine{}
	for _, f := range formats {
		c := webrtc.RTPCodecParameters{
			RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: f.name, ClockRate: 48000, Channels: 2, SDPFmtpLine: f.fmtp},
			PayloadType:        f.pt,
		}
		c.RTCPFeedback = []webrtc.RTCPFeedback{{Type: "transport-cc"}, {Type: "nack"}}
		if f.kind == webrtc.RTPCodecTypeVideo {
			c.ClockRate, c.Channels = 90000, 0
			c.RTCPFeedback = append(c.RTCPFeedback, webrtc.RTCPFeedback{Type: "nack", Parameter: "pli"}, webrtc.RTCPFeedback{Type: "ccm", Parameter: "fir"})
		}
		if err := m.RegisterCodec(c, f.kind); err != nil {
			return nil, fmt.Errorf("sfu: codec %s: %w", f.name, err)
		}
		if f.kind == webrtc.RTPCodecTypeVideo {
			repair := webrtc.RTPCodecParameters{
				RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeRTX, ClockRate: 90000, SDPFmtpLine: fmt.Sprintf("apt=%d", f.pt)},
				PayloadType:        f.pt + 1,
			}
			if err := m.RegisterCodec(repair, f.kind); err != nil {
				return nil, fmt.Errorf("sfu: repair of %s: %w", f.name, err)
			}
		}
	}
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		uris := []string{peer.ExtMID, peer.ExtTransport}
		if kind == webrtc.RTPCodecTypeVideo {
			uris = append(uris, peer.ExtRID, peer.ExtRepairRID, peer.ExtDescriptor, peer.ExtAllocation)
		} else if audioLevels {
			uris = append(uris, peer.ExtAudioLevel)
		}
		for _, uri := range uris {
			if err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, kind); err != nil {
				return nil, fmt.Errorf("sfu: header extension: %w", err)
			}
		}
	}
	return m, nil
}

// New makes a peer whose media goes out through lane, and whose packets go to r.
func (p *Port) New(lane *udp.Lane, r peer.Receiver, audioLevels bool) (*Transport, error) {
	t := &Transport{receiver: r, tracks: map[string]*outTrack{}}
	m, err := engine(audioLevels)
	if err != nil {
		return nil, err
	}
	s, err := p.settings(lane)
	if err != nil {
		return nil, err
	}
	s.BufferFactory = t.buffer
	api := webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithInterceptorRegistry(&interceptor.Registry{}), webrtc.WithSettingEngine(s))
	t.pc, err = api.NewPeerConnection(webrtc.Configuration{
		BundlePolicy: webrtc.BundlePolicyMaxBundle, RTCPMuxPolicy: webrtc.RTCPMuxPolicyRequire, Certificates: []webrtc.Certificate{p.certificate},
	})
	if err != nil {
		return nil, fmt.Errorf("sfu: %w", err)
	}
	t.pc.OnConnectionStateChange(t.stateChanged)
	return t, nil
}

func (t *Transport) stateChanged(s webrtc.PeerConnectionState) {
	next := peer.New
	switch s {
	case webrtc.PeerConnectionStateConnected:
		next = peer.Connected
	case webrtc.PeerConnectionStateDisconnected, webrtc.PeerConnectionStateFailed:
		next = peer.Broken
	case webrtc.PeerConnectionStateClosed:
		next = peer.Closed
	default:
		return
	}
	t.mu.Lock()
	same := t.state == next
	t.state = next
	t.mu.Unlock()
	if !same {
		t.give(func(r peer.Receiver) { r.State(next) })
	}
}

// give calls the receiver unless the transport is closed, and so that Close waits for it.
func (t *Transport) give(f func(peer.Receiver)) {
	t.in.RLock()
	defer t.in.RUnlock()
	if !t.closed {
		f(t.receiver)
	}
}

// Answer implements peer.Transport.
func (t *Transport) Answer(ctx context.Context, o *peer.Offer) (string, []peer.Outgoing, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// One sender for each receiving section, in their order: the library matches them by kind and order.
	var fresh []*outTrack
	for i := range o.Sections {
		s := &o.Sections[i]
		if s.Direction != peer.Receives || t.tracks[s.Mid] != nil {
			continue
		}
		track := &outTrack{t: t, id: s.Mid, kind: webrtc.RTPCodecTypeVideo}
		if s.Audio {
			track.kind = webrtc.RTPCodecTypeAudio
		}
		v, err := t.pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		if err != nil {
			return "", nil, fmt.Errorf("sfu: %w", err)
		}
		track.transceiver = v
		fresh = append(fresh, track)
	}
	if err := t.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: o.SDP}); err != nil {
		return "", nil, fmt.Errorf("%w: %w", peer.ErrOffer, err)
	}
	answer, err := t.pc.CreateAnswer(nil)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %w", peer.ErrOffer, err)
	}
	gathered := webrtc.GatheringCompletePromise(t.pc)
	if err := t.pc.SetLocalDescription(answer); err != nil {
		return "", nil, fmt.Errorf("%w: %w", peer.ErrOffer, err)
	}
	select {
	case <-gathered:
	case <-ctx.Done():
		return "", nil, fmt.Errorf("sfu: answer: %w", ctx.Err())
	}
	for _, track := range fresh {
		if mid := track.transceiver.Mid(); mid != track.id {
			return "", nil, fmt.Errorf("%w: section %q came out as %q", peer.ErrOffer, track.id, mid)
		}
		t.tracks[track.id] = track
	}
	t.out = t.out[:0]
	for i := range o.Sections {
		s := &o.Sections[i]
		track := t.tracks[s.Mid]
		if s.Direction != peer.Receives || track == nil || track.ssrc == 0 {
			continue
		}
		t.out = append(t.out, peer.Outgoing{Mid: s.Mid, SSRC: track.ssrc, Repair: track.repair})
	}
	return t.pc.LocalDescription().SDP, append([]peer.Outgoing(nil), t.out...), nil
}

// WriteRTP implements peer.Transport.
func (t *Transport) WriteRTP(packet []byte) error {
	w := t.writer.Load()
	if w == nil {
		return nil // not connected: lost
	}
	n, err := t.header.Unmarshal(packet)
	if err != nil {
		return fmt.Errorf("sfu: %w", err)
	}
	end := len(packet)
	t.header.PaddingSize = 0
	if t.header.Padding {
		// The library writes the length anew and leaves the rest as it was in its buffer: sealed bytes of packets that
		// were sent before.
		t.header.PaddingSize = packet[end-1]
		if end -= int(t.header.PaddingSize); end < n {
			return fmt.Errorf("sfu: padding: %w", wire.ErrFormat)
		}
	}
	if _, err = (*w).WriteRTP(&t.header, packet[n:end]); errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

// WriteRTCP implements peer.Transport.
func (t *Transport) WriteRTCP(compound []byte) error {
	raw := rtcp.RawPacket(compound)
	t.raw[0] = &raw
	if err := t.pc.WriteRTCP(t.raw[:]); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	return nil
}

// Close implements peer.Transport.
func (t *Transport) Close() error {
	t.in.Lock()
	t.closed = true
	t.in.Unlock()
	if err := t.pc.GracefulClose(); err != nil {
		return fmt.Errorf("sfu: %w", err)
	}
	return nil
}

// outTrack is what the library binds to a section that the client receives on. It learns the sources there; packets
// are written by WriteRTP.
type outTrack struct {
	t            *Transport
	id           string
	kind         webrtc.RTPCodecType
	transceiver  *webrtc.RTPTransceiver
	ssrc, repair uint32
}

func (o *outTrack) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	// Called by SetLocalDescription, within Answer.
	o.ssrc, o.repair = uint32(c.SSRC()), uint32(c.SSRCRetransmission())
	w := c.WriteStream()
	// Any section's stream seals for any source; the first one serves all.
	o.t.writer.CompareAndSwap(nil, &w)
	for _, p := range c.CodecParameters() {
		if !strings.EqualFold(p.MimeType, webrtc.MimeTypeRTX) {
			return p, nil
		}
	}
	return webrtc.RTPCodecParameters{}, webrtc.ErrUnsupportedCodec
}

func (o *outTrack) Unbind(webrtc.TrackLocalContext) error { return nil }
func (o *outTrack) ID() string                            { return "t" + o.id }
func (o *outTrack) RID() string                           { return "" }

// StreamID is its own for each section, so that no browser keeps two sections in step: which sound belongs to which
// picture changes with the subscriptions.
func (o *outTrack) StreamID() string          { return "s" + o.id }
func (o *outTrack) Kind() webrtc.RTPCodecType { return o.kind }

// buffer is where the SRTP session writes what it has opened, for each source its own. It hands packets on and keeps
// none; the library's readers wait until the end.
func (t *Transport) buffer(kind packetio.BufferPacketType, _ uint32) io.ReadWriteCloser {
	if t.sources.Add(1) > sourcesMost {
		// The connection ends, since the library would go on to remember sources.
		t.strange.Do(func() { t.give(func(r peer.Receiver) { r.Strange("sources") }) })
	}
	if kind == packetio.RTCPBufferPacket {
		return &tap{done: make(chan struct{}), give: func(b []byte) { t.give(func(r peer.Receiver) { r.RTCP(b) }) }}
	}
	return &tap{done: make(chan struct{}), give: func(b []byte) { t.give(func(r peer.Receiver) { r.RTP(b) }) }}
}

type tap struct {
	give func([]byte)
	done chan struct{}
	once sync.Once
}

func (p *tap) Write(b []byte) (int, error) {
	p.give(b)
	return len(b), nil
}

func (p *tap) Read([]byte) (int, error) {
	<-p.done
	return 0, io.EOF
}

func (p *tap) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}
