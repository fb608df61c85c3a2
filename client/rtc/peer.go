// Package rtc is one call's connection: one WebRTC PeerConnection that speaks with exactly the
// other end of a sealed session and with nobody else.
//
// Call New, then Run in a goroutine of its own; exchange CreateOffer, AcceptOffer, AcceptAnswer
// and AddCandidate with the other side over the session's frames. When OnBound is called, the
// certificate is the signed one and both ends have proven the session's keys on the control
// channel; only then do SendAudio, SendVideo and the file channel work, and only then is
// anything that was received handed out.
//
// It never renders or passes on a frame that did not open under SFrame, never sends a frame
// in plain, and with RelayOnly never shows the other side an address of this machine.
package rtc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/client/sdp"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// eventQueue bounds the events that wait for the Peer's goroutine. A full queue blocks the
// network's goroutines, which is back-pressure on the other side.
const eventQueue = 256

// Peer is one end of a call's connection.
type Peer struct {
	cfg         Config
	log         *slog.Logger
	clock       Clock
	certificate webrtc.Certificate
	fingerprint [32]byte
	audio       *sending // nil where the medium is not sent
	video       *sending
	screen      *sending
	uplink      *uplink // nil but in a room
	// tune changes library settings; tests use it to play an attacker's part.
	tune func(*webrtc.SettingEngine)

	events  chan func()
	secured atomic.Bool // the DTLS handshake has succeeded
	running atomic.Bool
	started chan struct{} // closed when pc and the channels exist
	closing chan struct{} // closed when the end has begun
	ended   chan struct{} // closed when Run has returned
	bound   chan struct{} // closed when content may flow
	loops   sync.WaitGroup

	endOnce sync.Once
	err     error // why it ended; readable once closing is closed

	pc      *webrtc.PeerConnection // set before started is closed
	network *network               // the same
	control *channel
	file    *channel

	neg       negotiation
	binding   bindingState // of the Peer's goroutine
	heardBye  bool         // of the Peer's goroutine
	counts    counters
	slots     map[*webrtc.RTPReceiver]sframe.Slot // what is received where; complete before started is closed
	receiving [sframe.ScreenAudio + 1]atomic.Bool // by slot: a track is being read

	mu    sync.Mutex // guards state, route, last
	state State
	route Route
	last  bool // no further loop may begin
}

// New checks cfg and makes the certificate. It starts nothing.
func New(cfg Config) (*Peer, error) {
	if cfg.Binding == nil {
		return nil, errors.New("rtc: config has no Binding")
	}
	if cfg.Role != Initiator && cfg.Role != Responder {
		return nil, fmt.Errorf("rtc: role %d", cfg.Role)
	}
	if cfg.Group == nil && cfg.SendKey == cfg.ReceiveKey {
		return nil, errors.New("rtc: both directions have the same media key")
	}
	if cfg.VideoCodec != sframe.VP8 && cfg.VideoCodec != sframe.VP9 {
		return nil, fmt.Errorf("rtc: %v is not a video codec", cfg.VideoCodec)
	}
	if cfg.RelayOnly && len(cfg.ICEServers) == 0 {
		return nil, errors.New("rtc: relay-only needs a TURN server")
	}
	p := &Peer{
		cfg:     cfg,
		log:     cfg.Logger,
		clock:   cfg.Clock,
		events:  make(chan func(), eventQueue),
		started: make(chan struct{}),
		closing: make(chan struct{}),
		ended:   make(chan struct{}),
		bound:   make(chan struct{}),
		slots:   make(map[*webrtc.RTPReceiver]sframe.Slot),
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.clock == nil {
		p.clock = machineClock{}
	}
	var err error
	if p.certificate, p.fingerprint, err = newCertificate(); err != nil {
		return nil, err
	}
	if cfg.Group != nil {
		p.uplink = newUplink(p.clock)
	}
	if cfg.Audio == SendReceive || cfg.Audio == SendOnly {
		p.audio, err = p.newSending(sframe.Opus, sframe.Microphone)
	}
	if err == nil && (cfg.Video == SendReceive || cfg.Video == SendOnly) {
		p.video, err = p.newSending(cfg.VideoCodec, sframe.Camera)
	}
	if err == nil && (cfg.Screen == SendReceive || cfg.Screen == SendOnly) {
		p.screen, err = p.newSending(cfg.VideoCodec, sframe.Screen)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// newCertificate draws a certificate and gives its fingerprint, which the session signs.
func newCertificate() (c webrtc.Certificate, fingerprint [32]byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, fingerprint, fmt.Errorf("rtc: certificate: %w", err)
	}
	cert, err := webrtc.GenerateCertificate(key)
	if err != nil {
		return c, fingerprint, fmt.Errorf("rtc: certificate: %w", err)
	}
	prints, err := cert.GetFingerprints()
	if err != nil || len(prints) == 0 {
		return c, fingerprint, fmt.Errorf("rtc: certificate: %w", err)
	}
	fingerprint, err = sdp.ParseFingerprint(prints[0].Algorithm + " " + prints[0].Value)
	if err != nil {
		return c, fingerprint, fmt.Errorf("rtc: certificate: %w", err)
	}
	return *cert, fingerprint, nil
}

// Run opens the connection and returns when all is over: nil after Close, after the other
// side's goodbye and when ctx ends, else the reason. Afterwards no goroutine of it is left.
func (p *Peer) Run(ctx context.Context) error {
	if !p.running.CompareAndSwap(false, true) {
		return errors.New("rtc: Run was called twice")
	}
	defer close(p.ended)
	if err := p.build(); err != nil {
		p.end(err)
		return err
	}
	close(p.started)
	p.setState(StateConnecting)
	stop := context.AfterFunc(ctx, p.Close)
	defer stop()
	for open := true; open; {
		select {
		case f := <-p.events:
			f()
		case <-p.closing:
			open = false
		}
	}
	p.sayBye()
	p.binding.stopTimer()
	err := closeConnection(p.pc)
	p.mu.Lock()
	p.last = true
	p.mu.Unlock()
	p.loops.Wait()
	p.setState(StateClosed)
	if p.err != nil {
		return p.err
	}
	if err != nil {
		return fmt.Errorf("rtc: close: %w", err)
	}
	return nil
}

// Close begins the end: a goodbye if possible, then everything is torn down. It does not wait;
// Run's return is the end. It may be called at any time, from a callback too.
func (p *Peer) Close() { p.end(nil) }

// Abort is Close without a goodbye, for an end that the session's frames tell the reason of: a
// goodbye here would overtake it.
func (p *Peer) Abort() { p.end(ErrAborted) }

// SaidGoodbye reports, once Run has returned, whether the other side said that this is the end. A
// connection that it closes without a word may have its reason on the way in the session's frames.
func (p *Peer) SaidGoodbye() bool { return p.heardBye }

// Done is closed when Run has returned.
func (p *Peer) Done() <-chan struct{} { return p.ended }

// Fingerprint is the SHA-256 of this side's DTLS certificate, which the session signs.
func (p *Peer) Fingerprint() [32]byte { return p.fingerprint }

// end begins the end; only the first reason counts.
func (p *Peer) end(err error) {
	p.endOnce.Do(func() {
		p.err = err
		if err != nil {
			p.log.Info("call connection ends", "reason", err)
		}
		close(p.closing)
	})
}

// post gives f to the Peer's goroutine. Once the end has begun, f is dropped.
func (p *Peer) post(f func()) {
	select {
	case p.events <- f:
	case <-p.closing:
	}
}

// begin starts a loop that Run waits for. The library may still report a track while it is
// being closed; then nothing is started.
func (p *Peer) begin(loop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last {
		return
	}
	p.loops.Go(loop)
}

// await waits until Run has built the connection.
func (p *Peer) await(ctx context.Context) error {
	select {
	case <-p.closing:
		return ErrClosed
	default:
	}
	select {
	case <-p.started:
		return nil
	case <-p.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isBound reports whether content may flow.
func (p *Peer) isBound() bool {
	select {
	case <-p.bound:
		return true
	default:
		return false
	}
}

// boundAndOpen is nil while content may flow.
func (p *Peer) boundAndOpen() error {
	select {
	case <-p.closing:
		return ErrClosed
	default:
	}
	if !p.isBound() {
		return ErrNotBound
	}
	return nil
}

// State is where the Peer is.
func (p *Peer) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// setState is called from the Peer's goroutine only, so callbacks come in order.
func (p *Peer) setState(s State) {
	p.mu.Lock()
	changed := p.state != s
	p.state = s
	p.mu.Unlock()
	if changed && p.cfg.OnState != nil {
		p.cfg.OnState(s)
	}
}
