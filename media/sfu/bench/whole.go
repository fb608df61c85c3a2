package bench

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/media/sfu"
)

// full is a subscriber with a whole WebRTC stack and all of its defaults: it opens everything, and reports, asks and
// gives feedback as its library does.
type full struct {
	pc    *webrtc.PeerConnection
	reads sync.WaitGroup
}

func (s *server) whole(ctx context.Context, index uint16, publishers int) (*full, error) {
	m := &webrtc.MediaEngine{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	r := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(m, r); err != nil {
		return nil, err
	}
	var settings webrtc.SettingEngine
	settings.LoggerFactory = &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
	settings.SetIncludeLoopbackCandidate(true)
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithInterceptorRegistry(r), webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	f := &full{pc: pc}
	pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		f.reads.Go(func() {
			b := make([]byte, 1500)
			for {
				if _, _, err := t.Read(b); err != nil {
					return
				}
			}
		})
	})
	for range publishers {
		for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
			if _, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
				return nil, err
			}
		}
	}
	connected := make(chan struct{})
	var once sync.Once
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(connected) })
		}
	})
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return nil, err
	}
	if err := pc.SetLocalDescription(offer); err != nil {
		return nil, err
	}
	a, err := s.order(order{Op: "join", Room: 1, Grant: sfu.Grant{Index: index}, SDP: offer.SDP})
	if err != nil {
		return nil, err
	}
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: a.SDP}); err != nil {
		return nil, err
	}
	select {
	case <-connected:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	_, err = s.order(order{Op: "want", Index: index, Wants: wantsOf(publishers, func(i int) string { return fmt.Sprint(i) })})
	return f, err
}

func (f *full) close() error {
	err := f.pc.GracefulClose()
	f.reads.Wait()
	return err
}
