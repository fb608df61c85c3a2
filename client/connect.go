package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/client/sdp"
	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// openConnection makes the peer connection of a session and starts what belongs to it. The
// callee does so only after the caller's first frame has proved that it holds the keys.
func (call *Call) openConnection(ctx context.Context) error {
	turn, err := call.relay(ctx)
	if err != nil && call.opts.RelayOnly {
		return fmt.Errorf("relay only was asked for and the own node gives no relay: %w", err)
	}
	if err != nil {
		call.c.log.Info("the own node gives no relay; the call is tried without", "error", errorKind(err))
	}
	sendKey, receiveKey, err := call.session.MediaKeys()
	if err != nil {
		return err
	}
	code, err := envelope.NewCallCode(call.session)
	if err != nil {
		return err
	}
	fileKey, err := call.session.Export(envelope.LabelFile)
	if err != nil {
		return err
	}
	media := newMediaFlow(call)
	cfg := rtc.Config{
		Role: rtc.Role(call.session.Role), RelayOnly: call.opts.RelayOnly, ICEServers: iceServers(turn),
		SendKey: sendKey, ReceiveKey: receiveKey, CallCode: code, Binding: call.session,
		OnLocalCandidate: call.onLocalCandidate, OnState: call.onState, OnBound: call.onBound,
		OnFresh:    func() { call.onState(rtc.StateBound) },
		OnCallCode: call.onCallCode, OnRoute: call.onRoute,
		OnFileControl: call.onFileControl, OnNote: call.onNote, OnFileData: call.onFileData,
		IncludeLoopback: call.c.cfg.Loopback, Logger: call.c.log,
	}
	media.configure(&cfg)
	peer, err := rtc.New(cfg)
	if err != nil {
		return err
	}
	media.peer = peer
	engine, err := call.newEngine(fileKey, peer)
	if err != nil {
		return err
	}
	call.mu.Lock()
	call.peer, call.media, call.engine = peer, media, engine
	if turn != nil {
		call.turns = append(call.turns, turn)
	}
	call.mu.Unlock()
	call.start(ctx, peer.Run, func(err error) error {
		if err == nil { // the other side said goodbye on the control channel or closed it, or we did
			if !peer.SaidGoodbye() {
				call.awaitReason(ctx)
			}
			call.urge(callEvent{CallEvent: envelope.CallEvent{Kind: envelope.CallBye, Reason: envelopepb.Reason_REASON_ENDED}})
		}
		return alarmOf(err)
	})
	call.start(ctx, engine.Run, nil)
	if call.session.Role == envelope.Initiator {
		call.start(ctx, call.againLoop, nil)
	}
	call.start(ctx, media.run, nil)
	call.start(ctx, call.pathLoop, nil)
	return nil
}

// reasonTime is how long a call whose connection the other side has closed waits for the frame that
// says why: it goes over the nodes, and the end of the connection does not.
const reasonTime = 3 * time.Second

func (call *Call) awaitReason(ctx context.Context) {
	timer := time.NewTimer(reasonTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// start runs a part of the call; an error of it ends the call.
func (call *Call) start(ctx context.Context, part func(context.Context) error, end func(error) error) {
	call.parts.Add(1)
	go func() {
		defer call.parts.Done()
		err := part(ctx)
		if end != nil {
			err = end(err)
		}
		if err != nil && ctx.Err() == nil {
			call.fail(err)
		}
	}()
}

func (call *Call) onBound() { call.happened(envelope.CallBound) }

func (call *Call) onCallCode(code string) {
	call.mu.Lock()
	defer call.mu.Unlock()
	call.code = code
}

func (call *Call) onRoute(r rtc.Route) {
	call.mu.Lock()
	defer call.mu.Unlock()
	call.route = r
}

// offer makes the initiator's first frame. It is kept: the same bytes go out again until the
// other side answers.
func (call *Call) offer(ctx context.Context) error {
	d, err := call.peer.CreateOffer(ctx)
	if err != nil {
		return err
	}
	call.remember(string(d.SDP))
	body, err := envelope.MarshalSessionMessage(descriptionMessage(envelopepb.SessionType_SESSION_OFFER, d))
	if err != nil {
		return err
	}
	if call.payload, err = call.session.Seal(body); err != nil {
		return err
	}
	return ignoreUnreachable(call.resend(ctx))
}

func descriptionMessage(kind envelopepb.SessionType, d rtc.Description) *envelopepb.SessionMessage {
	return &envelopepb.SessionMessage{
		Type: kind, Sdp: d.SDP, Fingerprint: d.Fingerprint[:], Ufrag: d.Ufrag,
		Setup: uint32(d.Setup), Generation: d.Generation,
	}
}

func (call *Call) sendDescription(ctx context.Context, kind envelopepb.SessionType, d rtc.Description) error {
	call.remember(string(d.SDP))
	return call.send(ctx, descriptionMessage(kind, d))
}

func (call *Call) onLocalCandidate(l rtc.Candidate) {
	m := &envelopepb.SessionMessage{Type: envelopepb.SessionType_SESSION_ICE_END, Generation: l.Generation}
	if l.Line != "" {
		call.remember(l.Line)
		m.Type, m.Candidates = envelopepb.SessionType_SESSION_ICE, []string{l.Line}
	}
	call.c.later("send a candidate", func(ctx context.Context) error { return call.send(ctx, m) })
}

// A frame that the other node could not hand over at this moment is sealed again a few
// times: the device may be reconnecting.
const (
	frameTries = 8
	framePause = 400 * time.Millisecond
)

// send seals a session message into a frame and posts it, live.
func (call *Call) send(ctx context.Context, m *envelopepb.SessionMessage) error {
	return call.sendTry(ctx, m, 0)
}

func (call *Call) sendTry(ctx context.Context, m *envelopepb.SessionMessage, try int) error {
	body, err := envelope.MarshalSessionMessage(m)
	if err != nil {
		return err
	}
	payload, err := call.session.Seal(body)
	if err != nil {
		return err
	}
	if call.card != nil {
		return call.card.Send(payload)
	}
	to := call.reply()
	_, err = call.c.ledger.post(ctx, outgoing{
		to: call.contact.Root, device: call.session.PeerDevice, home: to.Home, ttl: envelope.Live,
		hop: envelope.Hop{Tag: to.Tag, Token: to.Token}, payload: payload, shared: &call.hops,
		fate: func(f keep.Fate, _ string) {
			if f != keep.FateRefused && f != keep.FateExpired || try >= frameTries {
				return
			}
			call.c.later("send a frame again", func(life context.Context) error {
				timer := time.NewTimer(framePause)
				defer timer.Stop()
				select {
				case <-timer.C:
				case <-call.done:
					return nil
				case <-life.Done():
					return nil
				}
				return call.sendTry(life, m, try+1)
			})
		},
	})
	return err
}

// reply is where frames go: the address that the ring or its answer named, with the newest
// token that its owner has given since.
func (call *Call) reply() envelope.ReplyAddress {
	to := call.session.Reply
	contact, err := call.c.keep.Contact(call.contact.Root)
	if err != nil {
		return to
	}
	for _, g := range contact.Grants {
		if g.Device == call.session.PeerDevice && g.Tag == to.Tag {
			to.Token = g.Token
		}
	}
	return to
}

// negotiate feeds the connection with one message of the other side.
func (call *Call) negotiate(ctx context.Context, m *envelopepb.SessionMessage) error {
	switch m.Type {
	case envelopepb.SessionType_SESSION_OFFER:
		d, err := description(m)
		if err != nil {
			return err
		}
		stale, fresh := call.age(d)
		if stale {
			return nil
		}
		call.remember(string(d.SDP))
		if d.Generation > 0 && fresh {
			// The relay may be what broke the path. Without new credentials the old ones stay.
			if turn, err := call.renewRelay(ctx); err == nil {
				if err := call.peer.SetServers(ctx, iceServers(turn)); err != nil {
					return err
				}
			}
		}
		answer, err := call.peer.AcceptOffer(ctx, d)
		if err != nil {
			return alarmOf(err)
		}
		if err := call.sendDescription(ctx, envelopepb.SessionType_SESSION_ANSWER, answer); err != nil {
			return err
		}
		return call.addEarly(ctx)
	case envelopepb.SessionType_SESSION_ANSWER:
		d, err := description(m)
		if err != nil {
			return err
		}
		if stale, _ := call.age(d); stale {
			return nil
		}
		call.remember(string(d.SDP))
		if err := call.peer.AcceptAnswer(ctx, d); err != nil {
			if err = alarmOf(err); !errors.Is(err, ErrVerification) && call.outdated(d) {
				return nil // a second answer to an offer before the newest
			}
			return err
		}
		return call.addEarly(ctx)
	case envelopepb.SessionType_SESSION_ICE:
		for _, line := range m.Candidates {
			call.remember(line)
			if err := call.candidate(ctx, rtc.Candidate{Line: line, Generation: m.Generation}); err != nil {
				return err
			}
		}
	case envelopepb.SessionType_SESSION_RESTART:
		call.onPathLost(m.Generation)
	case envelopepb.SessionType_SESSION_ICE_END:
		return call.candidate(ctx, rtc.Candidate{Generation: m.Generation})
	}
	return nil
}

// age reports whether a newer description is in already, and whether this one begins a
// generation: frames are sent again and may overtake each other, and an old one must not end
// the call.
func (call *Call) age(d rtc.Description) (stale, fresh bool) {
	call.mu.Lock()
	defer call.mu.Unlock()
	if d.Generation < call.generation {
		return true, false
	}
	fresh = d.Generation > call.generation
	call.generation = d.Generation
	return false, fresh
}

// outdated reports whether we have offered anew since the offer that an answer is for.
func (call *Call) outdated(answer rtc.Description) bool {
	call.mu.Lock()
	defer call.mu.Unlock()
	return answer.Generation < call.offered
}

// candidate adds a line, or keeps it until the description is there: frames may overtake
// each other.
func (call *Call) candidate(ctx context.Context, c rtc.Candidate) error {
	call.mu.Lock()
	wait := !call.described
	if wait && len(call.early) < callEvents {
		call.early = append(call.early, c)
	}
	call.mu.Unlock()
	if wait {
		return nil
	}
	return call.peer.AddCandidate(ctx, c)
}

func (call *Call) addEarly(ctx context.Context) error {
	call.mu.Lock()
	early := call.early
	call.early, call.described = nil, true
	call.mu.Unlock()
	for _, c := range early {
		if err := call.peer.AddCandidate(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func description(m *envelopepb.SessionMessage) (rtc.Description, error) {
	if len(m.Fingerprint) != 32 {
		return rtc.Description{}, fmt.Errorf("%w: a description without a fingerprint", ErrVerification)
	}
	return rtc.Description{
		SDP: m.Sdp, Fingerprint: [32]byte(m.Fingerprint), Ufrag: m.Ufrag,
		Setup: sdp.Setup(m.Setup), Generation: m.Generation,
	}, nil
}

// alarmOf marks errors that mean that somebody stands in the middle.
func alarmOf(err error) error {
	if errors.Is(err, rtc.ErrFingerprint) || errors.Is(err, rtc.ErrBinding) || errors.Is(err, rtc.ErrCallCode) {
		return fmt.Errorf("%w: %w", ErrVerification, err)
	}
	return err
}
