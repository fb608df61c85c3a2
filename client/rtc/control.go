package rtc

import (
	"context"
	"crypto/subtle"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/client/rtc/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
	"github.com/trunkline-net/trunkline/media/sframe"
)

const (
	// maxControl is the length limit of a message on the control channel.
	maxControl = 16384
	// MaxNote is the length limit of a note.
	MaxNote = 8192
	// maxPointer is the far edge of a shared screen.
	maxPointer = 1<<16 - 1
	// maxFileControl is the length limit of the file protocol's small messages in it.
	maxFileControl = 8192
	// bindingTime is how long both bindings may take after the DTLS handshake.
	bindingTime = 5 * time.Second
	// byeTime is how long the end waits for the goodbye to leave this machine.
	byeTime = 500 * time.Millisecond
)

// bindingState is the channel binding. But for verified it belongs to the Peer's goroutine.
//
//	opened    our Binding was sent
//	verified  the other side's Binding was right, our Ready was sent
//	ready     the other side's Ready came: it verified ours. Content may flow
type bindingState struct {
	mac      [32]byte // the one we sent
	opened   bool
	ready    bool
	verified atomic.Bool
	stop     func() bool
}

func (b *bindingState) startTimer(p *Peer) {
	if b.stop != nil || b.ready {
		return
	}
	b.stop = p.clock.AfterFunc(bindingTime, func() {
		p.post(func() {
			if !b.ready {
				p.end(fmt.Errorf("%w: none within %v", ErrBinding, bindingTime))
			}
		})
	})
}

func (b *bindingState) stopTimer() {
	if b.stop != nil {
		b.stop()
	}
}

// watchControl feeds the control channel to the Peer's goroutine.
func (p *Peer) watchControl() {
	dc := p.control.dc
	dc.OnOpen(func() { p.post(p.controlOpen) })
	dc.OnMessage(func(m webrtc.DataChannelMessage) {
		p.post(func() {
			p.controlOpen()
			if err := p.controlMessage(m); err != nil {
				p.end(err)
			}
		})
	})
}

// controlOpen sends our Binding, once the certificate is known to be the signed one. The
// library may report a message before it reports that the channel opened.
func (p *Peer) controlOpen() {
	if p.binding.opened {
		return
	}
	p.binding.opened = true
	if err := p.checkCertificate(); err != nil {
		p.end(err)
		return
	}
	peer, _ := p.peerFingerprint()
	mac, err := p.cfg.Binding.Binding(p.fingerprint, peer)
	if err != nil {
		p.end(fmt.Errorf("%w: %w", ErrBinding, err))
		return
	}
	p.binding.mac = mac
	p.tell(&pb.Control{Kind: &pb.Control_Binding{Binding: &pb.Binding{Mac: mac[:]}}})
}

// tell sends a control message from the Peer's goroutine; a failure ends the Peer.
func (p *Peer) tell(m *pb.Control) {
	b, err := canon.Marshal(m)
	if err == nil {
		err = p.control.out.send(b)
	}
	switch {
	case left(err):
		p.end(nil) // its goodbye may be in the queue
	case err != nil:
		p.end(fmt.Errorf("rtc: control channel: %w", err))
	}
}

// say sends a control message from anywhere, after binding.
func (p *Peer) say(ctx context.Context, m *pb.Control) error {
	if err := p.boundAndOpen(); err != nil {
		return err
	}
	b, err := canon.Marshal(m)
	if err != nil {
		return fmt.Errorf("rtc: control message: %w", err)
	}
	return p.send(ctx, p.control, b)
}

// controlMessage handles one message; an error ends the Peer.
func (p *Peer) controlMessage(raw webrtc.DataChannelMessage) error {
	b := &p.binding
	var m pb.Control
	err := canon.Unmarshal(raw.Data, maxControl, &m)
	if !b.verified.Load() {
		binding := m.GetBinding()
		if err != nil || raw.IsString || binding == nil {
			return fmt.Errorf("%w: something else came first", ErrBinding)
		}
		return p.checkBinding(binding.GetMac())
	}
	if err != nil || raw.IsString {
		return ErrControl
	}
	if !b.ready {
		if m.GetReady() == nil {
			return fmt.Errorf("%w: no confirmation", ErrBinding)
		}
		p.becomeBound()
		return nil
	}
	return p.dispatch(&m)
}

func (p *Peer) checkBinding(mac []byte) error {
	b := &p.binding
	if subtle.ConstantTimeCompare(mac, b.mac[:]) == 1 {
		return fmt.Errorf("%w: reflected", ErrBinding)
	}
	peer, _ := p.peerFingerprint()
	if err := p.cfg.Binding.CheckBinding(mac, p.fingerprint, peer); err != nil {
		return fmt.Errorf("%w: %w", ErrBinding, err)
	}
	// Before Ready leaves: what the other side sends after it may come on another channel.
	b.verified.Store(true)
	p.tell(&pb.Control{Kind: &pb.Control_Ready{Ready: &pb.Ready{}}})
	return nil
}

// becomeBound opens the gates: both bindings are right and both ends know it.
func (p *Peer) becomeBound() {
	p.binding.ready = true
	p.binding.stopTimer()
	close(p.bound) // before OnBound: whoever hears of it may send at once, from any goroutine
	if p.cfg.OnBound != nil {
		p.cfg.OnBound()
	}
	p.setState(StateBound)
	p.updateRoute()
	p.startCallCode()
}

// dispatch handles the messages of a bound call.
func (p *Peer) dispatch(m *pb.Control) error {
	switch k := m.GetKind().(type) {
	case *pb.Control_Leg:
		return p.peerLeg(k.Leg.GetKind())
	case *pb.Control_MediaStart:
		return p.peerMediaStart(k.MediaStart)
	case *pb.Control_MediaEnd:
		if p.cfg.OnMediaEnd != nil {
			p.cfg.OnMediaEnd(MediaEnd{AudioFrames: k.MediaEnd.GetAudioFrames(), VideoFrames: k.MediaEnd.GetVideoFrames()})
		}
		return nil
	case *pb.Control_CodeCommit:
		return p.codeCommit(k.CodeCommit.GetHash())
	case *pb.Control_CodeNonce:
		return p.codeNonce(k.CodeNonce.GetNonce())
	case *pb.Control_CodeReveal:
		return p.codeReveal(k.CodeReveal.GetNonce())
	case *pb.Control_File:
		msg := k.File.GetMessage()
		if len(msg) == 0 || len(msg) > maxFileControl {
			return fmt.Errorf("%w: file message", ErrControl)
		}
		if p.cfg.OnFileControl != nil {
			p.cfg.OnFileControl(msg)
		}
		return nil
	case *pb.Control_Sending:
		if p.cfg.OnSending != nil {
			m := k.Sending
			p.cfg.OnSending(Sending{Microphone: m.GetMicrophone(), Camera: m.GetCamera(), Screen: m.GetScreen(), ScreenAudio: m.GetScreenAudio(), Hand: m.GetHand()})
		}
		return nil
	case *pb.Control_Reaction:
		if kind := k.Reaction.GetKind(); kind < pb.ReactionKind_REACTION_YES || kind > pb.ReactionKind_REACTION_SURPRISE {
			return fmt.Errorf("%w: reaction", ErrControl)
		}
		if p.cfg.OnReaction != nil {
			p.cfg.OnReaction(Reaction(k.Reaction.GetKind()))
		}
		return nil
	case *pb.Control_Pointer:
		m := k.Pointer
		if m.GetX() > maxPointer || m.GetY() > maxPointer || !m.GetHere() && (m.GetX() != 0 || m.GetY() != 0) {
			return fmt.Errorf("%w: pointer", ErrControl)
		}
		if p.cfg.OnPointer != nil {
			p.cfg.OnPointer(Pointer{Own: m.GetOwn(), Here: m.GetHere(), X: uint16(m.GetX()), Y: uint16(m.GetY())})
		}
		return nil
	case *pb.Control_Note:
		text := k.Note.GetText()
		if len(k.Note.GetId()) != 16 || text == "" || len(text) > MaxNote {
			return fmt.Errorf("%w: note", ErrControl)
		}
		if p.cfg.OnNote != nil {
			p.cfg.OnNote(Note{ID: [16]byte(k.Note.GetId()), Text: text})
		}
		return nil
	case *pb.Control_Fresh:
		return p.peerFresh(k.Fresh.GetSlot())
	case *pb.Control_Bye:
		if p.cfg.OnBye != nil {
			p.cfg.OnBye()
		}
		p.heardBye = true
		p.end(nil)
		return nil
	}
	// Binding and Ready come once; an empty message says nothing.
	return fmt.Errorf("%w: out of turn", ErrControl)
}

func (p *Peer) peerMediaStart(m *pb.MediaStart) error {
	start := MediaStart{}
	switch m.GetAudio() {
	case pb.Codec_CODEC_UNSPECIFIED:
	case pb.Codec_CODEC_OPUS:
		start.Audio = true
	default:
		return fmt.Errorf("%w: audio codec", ErrControl)
	}
	switch m.GetVideo() {
	case pb.Codec_CODEC_UNSPECIFIED:
	case pb.Codec_CODEC_VP8:
		start.Video, start.VideoCodec = true, sframe.VP8
	case pb.Codec_CODEC_VP9:
		start.Video, start.VideoCodec = true, sframe.VP9
	default:
		return fmt.Errorf("%w: video codec", ErrControl)
	}
	if p.cfg.OnMediaStart != nil {
		p.cfg.OnMediaStart(start)
	}
	return nil
}

// SendMediaStart announces what this side is about to send.
func (p *Peer) SendMediaStart(ctx context.Context, m MediaStart) error {
	start := &pb.MediaStart{}
	if m.Audio {
		start.Audio = pb.Codec_CODEC_OPUS
	}
	if m.Video {
		start.Video = pb.Codec_CODEC_VP8
		if m.VideoCodec == sframe.VP9 {
			start.Video = pb.Codec_CODEC_VP9
		}
	}
	return p.say(ctx, &pb.Control{Kind: &pb.Control_MediaStart{MediaStart: start}})
}

// SendMediaEnd tells how many frames this side sent. It also sends some padding behind the last
// frame of each medium: a receiver notices a lost packet only by the ones after it.
func (p *Peer) SendMediaEnd(ctx context.Context) error {
	for _, s := range []*sending{p.audio, p.video, p.screen} {
		if s != nil {
			if err := s.pad(); err != nil {
				return err
			}
		}
	}
	stats := p.Stats()
	return p.say(ctx, &pb.Control{Kind: &pb.Control_MediaEnd{MediaEnd: &pb.MediaEnd{
		AudioFrames: stats.AudioSent, VideoFrames: stats.VideoSent,
	}}})
}

// SendSending tells what this side sends now, when it has changed.
func (p *Peer) SendSending(ctx context.Context, s Sending) error {
	return p.say(ctx, &pb.Control{Kind: &pb.Control_Sending{Sending: &pb.Sending{
		Microphone: s.Microphone, Camera: s.Camera, Screen: s.Screen, ScreenAudio: s.ScreenAudio, Hand: s.Hand,
	}}})
}

// SendReaction shows the other side a reaction.
func (p *Peer) SendReaction(ctx context.Context, r Reaction) error {
	if r < ReactionYes || r > ReactionSurprise {
		return fmt.Errorf("rtc: reaction %d", r)
	}
	return p.say(ctx, &pb.Control{Kind: &pb.Control_Reaction{Reaction: &pb.Reaction{Kind: pb.ReactionKind(r)}}})
}

// SendPointer shows the other side where this one points.
func (p *Peer) SendPointer(ctx context.Context, at Pointer) error {
	m := &pb.Pointer{Own: at.Own, Here: at.Here}
	if at.Here {
		m.X, m.Y = uint32(at.X), uint32(at.Y)
	}
	return p.say(ctx, &pb.Control{Kind: &pb.Control_Pointer{Pointer: m}})
}

// SendNote writes to the other side, at most [MaxNote] bytes.
func (p *Peer) SendNote(ctx context.Context, n Note) error {
	if n.Text == "" || len(n.Text) > MaxNote {
		return fmt.Errorf("rtc: note of %d bytes", len(n.Text))
	}
	return p.say(ctx, &pb.Control{Kind: &pb.Control_Note{Note: &pb.Note{Id: n.ID[:], Text: n.Text}}})
}

// SendControl sends a small message of the file protocol, at most 8,192 bytes.
func (p *Peer) SendControl(ctx context.Context, msg []byte) error {
	if len(msg) == 0 || len(msg) > maxFileControl {
		return fmt.Errorf("rtc: file control message of %d bytes", len(msg))
	}
	return p.say(ctx, &pb.Control{Kind: &pb.Control_File{File: &pb.File{Message: msg}}})
}

// sayBye tells the other side that this is the end and not a broken path, and waits a moment
// for it to leave. It runs on the Peer's goroutine after the event loop.
func (p *Peer) sayBye() {
	if p.err != nil || p.heardBye || !p.isBound() || p.control.dc.ReadyState() != webrtc.DataChannelStateOpen {
		return
	}
	b, err := canon.Marshal(&pb.Control{Kind: &pb.Control_Bye{Bye: &pb.Bye{}}})
	if err != nil {
		return
	}
	// The signal comes when nothing is left to be acknowledged.
	gone := make(chan struct{}, 1)
	p.control.dc.SetBufferedAmountLowThreshold(0)
	p.control.dc.OnBufferedAmountLow(func() {
		select {
		case gone <- struct{}{}:
		default:
		}
	})
	if p.control.out.send(b) != nil {
		return // the path is gone; the other side will see that too
	}
	late := make(chan struct{})
	stop := p.clock.AfterFunc(byeTime, func() { close(late) })
	defer stop()
	select {
	case <-gone:
	case <-p.control.gone: // the other side left at the same moment
	case <-late:
	}
}
