package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/client/sdp"
	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/internal/link/pb"
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
		Role: rtc.Role(call.session.Role), RelayOnly: call.opts.RelayOnly, ICEServers: iceServers(overUDP(turn)),
		SendKey: sendKey, ReceiveKey: receiveKey, CallCode: code, Binding: call.session,
		OnLocalCandidate: call.onLocalCandidate, OnState: call.onState, OnBound: call.onBound,
		OnCallCode: call.onCallCode, OnRoute: call.onRoute,
		OnFileControl: call.onFileControl, OnFileData: call.onFileData,
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
		if err == nil { // the other side said goodbye on the control channel, or we closed
			call.urge(callEvent{CallEvent: envelope.CallEvent{Kind: envelope.CallBye, Reason: envelopepb.Reason_REASON_ENDED}})
		}
		return alarmOf(err)
	})
	call.start(ctx, engine.Run, nil)
	if call.session.Role == envelope.Initiator {
		call.start(ctx, call.widenLoop, nil)
	}
	call.start(ctx, media.run, nil)
	call.start(ctx, call.pathLoop, nil)
	return nil
}

// relayTime is how long a call waits for its own node's relay: the driver stands still
// meanwhile, and the other side waits.
const relayTime = 5 * time.Second

func (call *Call) relay(ctx context.Context) (*pb.TurnCredentials, error) {
	ctx, cancel := context.WithTimeout(ctx, relayTime)
	defer cancel()
	return call.c.turnCredentials(ctx)
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

func (c *Client) turnCredentials(ctx context.Context) (*pb.TurnCredentials, error) {
	answer, err := c.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_Turn{Turn: &pb.TurnRequest{Purpose: "call"}}})
	if err != nil {
		return nil, err
	}
	got := answer.GetTurn()
	if got == nil {
		return nil, errors.New("the node answered a request for a relay with something else")
	}
	if got.Code != "" {
		return nil, codeError(got.Code, 0)
	}
	return got, nil
}

func iceServers(t *pb.TurnCredentials) []rtc.ICEServer {
	if t == nil {
		return nil
	}
	return []rtc.ICEServer{{URLs: t.Urls, Username: t.Username, Credential: t.Credential}}
}

// overUDP leaves out the relay's TCP and TLS ports, unless it has no other. A path over TCP
// stalls with each lost packet, and ICE nominates whatever answers first: so it is offered
// only when no path was found without it.
func overUDP(t *pb.TurnCredentials) *pb.TurnCredentials {
	if t == nil {
		return nil
	}
	narrow := &pb.TurnCredentials{Username: t.Username, Credential: t.Credential, Handle: t.Handle}
	for _, u := range t.Urls {
		if !strings.HasPrefix(u, "turns:") && !strings.Contains(u, "transport=tcp") {
			narrow.Urls = append(narrow.Urls, u)
		}
	}
	if len(narrow.Urls) == 0 {
		return t
	}
	return narrow
}

// widenAfter is how long a path is looked for before the relay's other ports are tried too.
const widenAfter = 2 * time.Second

// widenLoop begins a new ICE generation with all ports of the relay when the first one, over
// UDP alone, has found nothing.
func (call *Call) widenLoop(ctx context.Context) error {
	tick := time.NewTicker(widenAfter)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-call.bound:
			return nil
		case <-tick.C:
		}
		call.mu.Lock()
		peer, described := call.peer, call.described
		call.mu.Unlock()
		if peer.Route().Path != "" {
			return nil // ICE has done its part; what is missing is DTLS or the binding
		}
		if described { // an offer that is not answered yet cannot be replaced
			return ignoreUnreachable(call.Restart(ctx))
		}
	}
}

// releaseTurn gives the relay's allocations free at once; without a link the node's grace
// ends them.
func (call *Call) releaseTurn() {
	call.mu.Lock()
	turns := call.turns
	call.mu.Unlock()
	w := call.c.linked()
	if w == nil {
		return
	}
	for _, turn := range turns {
		if err := w.send(&pb.ClientFrame{Kind: &pb.ClientFrame_TurnRelease{TurnRelease: &pb.TurnRelease{Handle: turn.Handle}}}); err != nil {
			call.c.log.Debug("a relay was not released", "error", errorKind(err))
			return
		}
	}
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

// onState wakes pathLoop.
func (call *Call) onState(rtc.State) {
	select {
	case call.pathChanged <- struct{}{}:
	default:
	}
}

// Times of a broken path.
const (
	restartEvery = 4 * time.Second
	// pathGivenUp ends a call whose path does not come back; long enough for a node that
	// restarts or a laptop that changes networks.
	pathGivenUp = 45 * time.Second
	// filesGivenUp is the same for a call of files alone: whoever sends rings again and goes
	// on where it was.
	filesGivenUp = 6 * time.Second
)

// pathLoop looks for a new path as long as the old one is broken. Only the initiator offers,
// so that two restarts do not cross; the other side waits for its offer.
func (call *Call) pathLoop(ctx context.Context) error {
	call.mu.Lock()
	peer := call.peer
	call.mu.Unlock()
	most := pathGivenUp
	if call.kind == DataOnly {
		most = filesGivenUp
	}
	tick := time.NewTimer(time.Hour)
	defer tick.Stop()
	var broken time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-call.pathChanged:
		case <-tick.C:
		}
		state := peer.State()
		if state != rtc.StateFailed && state != rtc.StateDisconnected || !isClosed(call.bound) {
			broken = time.Time{}
			continue
		}
		if broken.IsZero() {
			broken = time.Now()
		}
		if time.Since(broken) > most {
			return &UnreachableError{What: "the connection broke and did not come back"}
		}
		tick.Reset(min(restartEvery, time.Until(broken.Add(most))+time.Millisecond))
		if call.session.Role != envelope.Initiator {
			continue
		}
		if err := call.Restart(ctx); err != nil && !errors.Is(err, rtc.ErrClosed) && ctx.Err() == nil {
			call.c.log.Info("a new path could not be asked for yet", "error", errorKind(err))
		}
	}
}

// Restart looks for a new path with fresh addresses and relay credentials. Certificates and
// keys stay; the new description travels in session frames. Only the side that rang does it.
func (call *Call) Restart(ctx context.Context) error {
	call.mu.Lock()
	peer, ended := call.peer, call.ended
	call.mu.Unlock()
	if peer == nil || ended {
		return errors.New("the call is not connected")
	}
	call.mu.Lock()
	pending := call.offered > call.generation
	call.mu.Unlock()
	var turn *pb.TurnCredentials
	if !pending { // else the same offer goes out again
		var err error
		if turn, err = call.renewRelay(ctx); err != nil && call.opts.RelayOnly {
			return err
		}
	}
	d, err := peer.Restart(ctx, iceServers(turn))
	if err != nil {
		return err
	}
	call.mu.Lock()
	call.offered = d.Generation
	call.mu.Unlock()
	return call.sendDescription(ctx, envelopepb.SessionType_SESSION_OFFER, d)
}

// renewRelay asks for new relay credentials: the node may have restarted, and its relay
// forgotten the old ones. Those may still carry the call and are given back at its end.
func (call *Call) renewRelay(ctx context.Context) (*pb.TurnCredentials, error) {
	turn, err := call.relay(ctx)
	if err != nil {
		return nil, err
	}
	call.mu.Lock()
	call.turns = append(call.turns, turn)
	call.mu.Unlock()
	return turn, nil
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
	to := call.reply()
	_, err = call.c.ledger.post(ctx, outgoing{
		to: call.contact.Root, device: call.session.PeerDevice, home: to.Home, ttl: envelope.Live,
		hop: envelope.Hop{Tag: to.Tag, Token: to.Token}, payload: payload,
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
	if errors.Is(err, rtc.ErrFingerprint) || errors.Is(err, rtc.ErrBinding) {
		return fmt.Errorf("%w: %w", ErrVerification, err)
	}
	return err
}
