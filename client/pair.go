package client

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	roompb "github.com/trunkline-net/trunkline/envelope/room/pb"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// pair is the connection with one other member in a mesh: the one of a call, whose binding and
// messages are the pair's session's, and whose media is sealed under the senders' keys.
type pair struct {
	m    *member
	s    *stay
	msgs chan []byte // of the other side; bounded, more is dropped
	stop context.CancelFunc
	done chan struct{}

	muted atomic.Bool // the member gets our media over the SFU
	sends atomic.Pointer[rtc.Peer]

	mu    sync.Mutex // guards began, since
	began time.Time  // since when it works
	since time.Time  // since when it should and does not; zero: it does, or the other side wants none

	// Of run alone.
	pending    []byte // an offer that ended the attempt before
	offer      []byte // the SDP of the offer that was taken
	peer       *rtc.Peer
	turn       *pb.TurnCredentials
	given      []func() // give the relays of this attempt free
	described  bool
	generation uint32 // the newest of the other side's descriptions
	early      []rtc.Candidate
	changed    chan struct{} // the path did
}

// mute stops sending over a connection of the mesh, or goes on.
func (p *pair) mute(on bool) { p.muted.Store(on) }

// SendSealed implements way.
func (p *pair) SendSealed(frame sframe.Sealed, d time.Duration) error {
	peer := p.sends.Load()
	if peer == nil || p.muted.Load() || frame.Codec != sframe.Opus && p.s.r.flow.soundAlone.Load() {
		return nil
	}
	return peer.SendSealed(frame, d)
}

// sayEnd tells the member over the connection how many frames it was sent.
func (p *pair) sayEnd(ctx context.Context) error {
	if peer := p.sends.Load(); peer != nil {
		return peer.SendMediaEnd(ctx)
	}
	return nil
}

// times say since when it works, and since when it should and does not.
func (p *pair) times() (began, since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.began, p.since
}

// wanting: it should work by now, and does not.
func (p *pair) wanting() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		p.began, p.since = time.Time{}, p.s.r.a.now()
	}
}

func (p *pair) works() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.began.IsZero() {
		p.began, p.since = p.s.r.a.now(), time.Time{}
	}
}

// connect begins the connection with a member.
func (s *stay) connect(m *member) {
	if s.r.opts.Media == DataOnly {
		return
	}
	ctx, stop := context.WithCancel(s.ctx)
	p := &pair{m: m, s: s, msgs: make(chan []byte, callEvents), stop: stop, done: make(chan struct{}), changed: make(chan struct{}, 1)}
	m.pair = p
	s.parts.Go(func() {
		defer close(p.done)
		p.run(ctx)
	})
}

// pairPause is between an attempt at a connection and the next. The side that offers begins.
const pairPause = time.Second

// run connects, and connects again, as long as the member is here: a handshake can take too
// long, and a path can end.
func (p *pair) run(ctx context.Context) {
	for {
		err := p.attempt(ctx)
		if ctx.Err() != nil {
			return
		}
		p.s.r.log.Info("the connection with a member of a room ended", "error", errorKind(err))
		if errors.Is(err, ErrVerification) || errors.Is(err, ErrPeerAlarm) {
			p.alarm(err)
			return // somebody may stand between us; nothing is tried again
		}
		if p.m.session.Role == envelope.Responder && p.pending == nil {
			if err := p.say(&envelopepb.SessionMessage{Type: envelopepb.SessionType_SESSION_BYE, Reason: envelopepb.Reason_REASON_FAILED}); err != nil {
				return // the link has ended, and the stay with it
			}
		}
		timer := time.NewTimer(pairPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// alarm tells of a connection that is not what it must be: the person, and the other side unless that said so.
func (p *pair) alarm(err error) {
	if errors.Is(err, ErrPeerAlarm) {
		p.s.r.tell(RoomAlarm{"a member ended its connection with us: it says that something there was not signed or sealed as it must be"})
		return
	}
	p.s.r.tell(RoomAlarm{"the connection with a member is not the one that it signed; nothing was shown over it"})
	if err := p.say(&envelopepb.SessionMessage{Type: envelopepb.SessionType_SESSION_BYE, Reason: envelopepb.Reason_REASON_ALARM}); err != nil {
		p.s.r.log.Debug("a member was not told of an alarm", "error", errorKind(err))
	}
}

// heard takes one message of the other side.
func (p *pair) heard(message []byte) {
	select {
	case p.msgs <- message:
	default:
		p.s.r.log.Warn("a message of a member's connection was dropped: too many at once")
	}
}

func (p *pair) say(m *envelopepb.SessionMessage) error {
	body, err := envelope.MarshalSessionMessage(m)
	if err != nil {
		return err
	}
	return p.s.say(p.m, &roompb.Message{Kind: &roompb.Message_Connection{Connection: &roompb.Connection{Message: body}}})
}

// relay is the room's node's, which whoever has a seat may ask for, or else one's own node's. Media may
// still go over the one of before.
func (p *pair) relay(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, relayTime)
	defer cancel()
	got, err := p.roomRelay(ctx)
	giveBack := func() {
		// Without a link the seat has gone, and the relay goes with it.
		_ = p.s.w.send(&pb.ClientFrame{Kind: &pb.ClientFrame_TurnRelease{TurnRelease: &pb.TurnRelease{Handle: got.Handle}}})
	}
	if own := p.s.r.a.turn; err != nil && own != nil {
		var oerr error
		if got, giveBack, oerr = own(ctx); oerr != nil {
			return errors.Join(err, oerr)
		}
		err = nil
	}
	if err != nil {
		return err
	}
	p.turn, p.given = got, append(p.given, giveBack)
	return nil
}

func (p *pair) roomRelay(ctx context.Context) (*pb.TurnCredentials, error) {
	answer, err := p.s.w.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_Turn{Turn: &pb.TurnRequest{Purpose: "call"}}})
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

// attempt is one connection from its making to its end.
func (p *pair) attempt(ctx context.Context) error {
	r := p.s.r
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.peer, p.offer, p.described, p.generation, p.early = nil, nil, false, 0, nil
	p.turn = nil
	err := p.relay(ctx)
	if err != nil && r.opts.RelayOnly {
		p.wanting()
		return err
	}
	cfg := rtc.Config{
		Role: rtc.Role(p.m.session.Role), RelayOnly: r.opts.RelayOnly, ICEServers: iceServers(p.turn),
		Group: p.m.receiver, Binding: p.m.session, IncludeLoopback: r.a.cfg.Loopback, Logger: r.log,
		OnLocalCandidate: p.onLocalCandidate, OnState: p.onState, OnRoute: p.onRoute,
	}
	r.flow.configure(&cfg, p.m.media)
	bound := make(chan struct{})
	cfg.OnBound = func() { close(bound) }
	if p.peer, err = rtc.New(cfg); err != nil {
		return err
	}
	p.m.media.over(p.peer)
	ended := make(chan error, 1)
	go func() { ended <- p.peer.Run(ctx) }()
	defer func() {
		p.peer.Close()
		<-p.peer.Done()
		r.flow.close(p)
		p.sends.Store(nil)
		p.show(false)
		p.release()
	}()
	if p.m.session.Role == envelope.Initiator {
		d, err := p.peer.CreateOffer(ctx)
		if err != nil {
			return err
		}
		if err := p.say(descriptionMessage(envelopepb.SessionType_SESSION_OFFER, d)); err != nil {
			return err
		}
	}
	return p.loop(ctx, bound, ended)
}

// loop feeds the connection until it ends, and looks for a new path where one breaks.
func (p *pair) loop(ctx context.Context, bound <-chan struct{}, ended <-chan error) error {
	tick := time.NewTicker(restartEvery)
	defer tick.Stop()
	var broken time.Time
	if raw := p.pending; raw != nil {
		p.pending = nil
		if err := p.hear(ctx, raw); err != nil {
			return err
		}
	}
	for {
		select {
		case raw := <-p.msgs:
			if err := p.hear(ctx, raw); err != nil {
				return err
			}
		case <-bound:
			bound = nil
			p.works()
			if err := p.s.r.flow.begin(ctx, p); err != nil {
				return err
			}
			p.show(true)
			p.s.r.tell(MemberConnected{p.m.facts()})
			p.s.onLoop(func() {
				if err := p.s.meshBound(p.m); err != nil {
					p.s.w.close() // the read loop reports the end
				}
			})
		case <-p.changed:
		case <-tick.C:
			switch state := p.peer.State(); {
			case bound == nil && state == rtc.StateBound:
				broken = time.Time{}
				p.works()
				continue
			case bound != nil && p.peer.Route().Path != "":
				continue // ICE has done its part
			case broken.IsZero():
				broken = time.Now()
				// Whoever has said nothing of a connection may have nothing to send.
				if p.described {
					p.wanting()
				}
				continue
			case time.Since(broken) > pathGivenUp:
				return &UnreachableError{What: "a member of the room could not be connected with"}
			}
			if err := p.mend(ctx); err != nil {
				return err
			}
		case err := <-ended:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// offersAnew reports whether a message begins a connection.
func offersAnew(raw []byte) bool {
	m, err := envelope.ParseSessionMessage(raw)
	return err == nil && m.Type == envelopepb.SessionType_SESSION_OFFER && m.Generation == 0
}

// errAnew ends an attempt because the other side has begun another one.
var errAnew = errors.New("the other side connects anew")

// hear is one message of the other side.
func (p *pair) hear(ctx context.Context, raw []byte) error {
	m, err := envelope.ParseSessionMessage(raw)
	if err != nil {
		return nil
	}
	switch {
	case m.Type == envelopepb.SessionType_SESSION_BYE && m.Reason == envelopepb.Reason_REASON_ALARM:
		return ErrPeerAlarm
	case m.Type == envelopepb.SessionType_SESSION_BYE:
		if p.m.session.Role == envelope.Initiator && p.described {
			return errAnew
		}
		return nil
	case m.Type == envelopepb.SessionType_SESSION_OFFER && m.Generation == 0 && p.described && !bytes.Equal(m.Sdp, p.offer):
		p.pending = raw
		return errAnew
	}
	return alarmOf(p.negotiate(ctx, m))
}

// mend asks for a new path, or the side that may offer one to do so.
func (p *pair) mend(ctx context.Context) error {
	if p.m.session.Role != envelope.Initiator {
		if !p.described {
			return nil
		}
		return p.say(&envelopepb.SessionMessage{Type: envelopepb.SessionType_SESSION_RESTART, Generation: p.generation})
	}
	if !p.described {
		return nil // the offer is not answered yet
	}
	return p.restart(ctx)
}

func (p *pair) restart(ctx context.Context) error {
	if err := p.relay(ctx); err != nil {
		p.s.r.log.Debug("a path is looked for over the relay of before", "error", errorKind(err))
	}
	d, err := p.peer.Restart(ctx, iceServers(p.turn))
	if err != nil {
		return err
	}
	return p.say(descriptionMessage(envelopepb.SessionType_SESSION_OFFER, d))
}

// negotiate is one message about the connection.
func (p *pair) negotiate(ctx context.Context, m *envelopepb.SessionMessage) error {
	switch m.Type {
	case envelopepb.SessionType_SESSION_OFFER:
		if p.m.session.Role != envelope.Responder {
			return nil
		}
		d, err := description(m)
		if err != nil || d.Generation < p.generation {
			return err
		}
		if d.Generation > p.generation && p.described {
			if err := p.relay(ctx); err == nil {
				if err := p.peer.SetServers(ctx, iceServers(p.turn)); err != nil {
					return err
				}
			}
		}
		answer, err := p.peer.AcceptOffer(ctx, d)
		if err != nil {
			return err
		}
		if p.generation = d.Generation; d.Generation == 0 {
			p.offer = d.SDP
		}
		if err := p.say(descriptionMessage(envelopepb.SessionType_SESSION_ANSWER, answer)); err != nil {
			return err
		}
		return p.addEarly(ctx)
	case envelopepb.SessionType_SESSION_ANSWER:
		if p.m.session.Role != envelope.Initiator {
			return nil
		}
		d, err := description(m)
		if err != nil || d.Generation < p.generation {
			return err
		}
		if err := p.peer.AcceptAnswer(ctx, d); err != nil {
			return err
		}
		p.generation = d.Generation
		return p.addEarly(ctx)
	case envelopepb.SessionType_SESSION_ICE:
		for _, line := range m.Candidates {
			if err := p.candidate(ctx, rtc.Candidate{Line: line, Generation: m.Generation}); err != nil {
				return err
			}
		}
	case envelopepb.SessionType_SESSION_RESTART:
		if p.m.session.Role == envelope.Initiator && p.described && m.Generation >= p.generation {
			return p.restart(ctx)
		}
	}
	return nil
}

// candidate adds a line, or keeps it until the description is there.
func (p *pair) candidate(ctx context.Context, c rtc.Candidate) error {
	if !p.described {
		if len(p.early) < callEvents {
			p.early = append(p.early, c)
		}
		return nil
	}
	return p.peer.AddCandidate(ctx, c)
}

func (p *pair) addEarly(ctx context.Context) error {
	early := p.early
	p.early, p.described = nil, true
	if p.sends.Load() == nil {
		p.wanting()
	}
	for _, c := range early {
		if err := p.peer.AddCandidate(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (p *pair) onLocalCandidate(c rtc.Candidate) {
	m := &envelopepb.SessionMessage{Type: envelopepb.SessionType_SESSION_ICE_END, Generation: c.Generation}
	if c.Line != "" {
		m.Type, m.Candidates = envelopepb.SessionType_SESSION_ICE, []string{c.Line}
	}
	if err := p.say(m); err != nil {
		p.s.r.log.Debug("a candidate was not sent", "error", errorKind(err))
	}
}

func (p *pair) onState(rtc.State) {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *pair) onRoute(route rtc.Route) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.m.route = route
}

func (p *pair) show(connected bool) {
	if !connected && p.m.overSFU.Load() {
		return // it is the SFU that counts now
	}
	p.m.mu.Lock()
	p.m.connected = connected
	p.m.mu.Unlock()
	if !connected {
		p.m.media.setLive(false)
	}
}

// release gives the relay's allocations free.
func (p *pair) release() {
	for _, f := range p.given {
		f()
	}
	p.turn, p.given = nil, nil
}
