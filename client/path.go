package client

import (
	"context"
	"errors"
	"time"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// The way that a call's packets take: the own node's relay, and what is done when the way
// breaks.

// relayTime is how long a call waits for its own node's relay: the driver stands still
// meanwhile, and the other side waits.
const relayTime = 5 * time.Second

func (call *Call) relay(ctx context.Context) (*pb.TurnCredentials, error) {
	if call.card != nil && call.c.linked() == nil {
		return nil, errNoNode // a meeting without a node does not wait for one
	}
	ctx, cancel := context.WithTimeout(ctx, relayTime)
	defer cancel()
	return call.c.turnCredentials(ctx)
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

// againAfter is how long a path is looked for before it is looked for anew. All there is was
// tried at once; what this helps against is a network that changed, or a relay that came up,
// while the first description was on its way.
const againAfter = 4 * time.Second

// againLoop begins a new ICE generation when the one before has found nothing.
func (call *Call) againLoop(ctx context.Context) error {
	tick := time.NewTicker(againAfter)
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
			return call.tryRestart(ctx)
		}
	}
}

// releaseTurn gives the relay's allocations free at once; without a link the node's grace
// ends them.
func (call *Call) releaseTurn() {
	call.mu.Lock()
	turns := call.turns
	call.mu.Unlock()
	call.c.giveBack(turns)
}

func (c *Client) giveBack(turns []*pb.TurnCredentials) {
	w := c.linked()
	if w == nil {
		return
	}
	for _, turn := range turns {
		if err := w.send(&pb.ClientFrame{Kind: &pb.ClientFrame_TurnRelease{TurnRelease: &pb.TurnRelease{Handle: turn.Handle}}}); err != nil {
			c.log.Debug("a relay was not released", "error", errorKind(err))
			return
		}
	}
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

// pathLoop looks for a new path as long as the old one is broken, and offers the fresh sections
// that the other side has asked for. Only the initiator offers,
// so that two restarts do not cross; the other side asks it to.
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
	link := time.NewTicker(checkEvery)
	defer link.Stop()
	var broken, tried time.Time
	lostThere := false // the other side has none, whatever it looks like from here
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-call.pathChanged:
		case <-call.pathLost:
			lostThere = true
		case <-link.C:
			call.c.checkLink(ctx)
			continue
		case <-tick.C:
		}
		state, now := peer.State(), time.Now()
		switch {
		case !isClosed(call.bound):
			continue
		case state != rtc.StateFailed && state != rtc.StateDisconnected:
			broken = time.Time{}
		case broken.IsZero():
			broken = now
		case now.Sub(broken) > most:
			return &UnreachableError{What: "the connection broke and did not come back"}
		}
		if broken.IsZero() && !lostThere && !peer.Renewing() {
			continue
		}
		pause := restartEvery - now.Sub(tried)
		if pause <= 0 {
			tried, lostThere, pause = now, false, restartEvery
			if err := call.mend(ctx, !broken.IsZero()); err != nil {
				return err
			}
		}
		if !broken.IsZero() {
			pause = min(pause, time.Until(broken.Add(most))+time.Millisecond)
		}
		tick.Reset(pause)
	}
}

// mend does this side's part for a new path.
func (call *Call) mend(ctx context.Context, broken bool) error {
	if broken {
		call.c.checkLink(ctx)
	}
	if call.session.Role == envelope.Initiator {
		return call.tryRestart(ctx)
	}
	call.mu.Lock()
	generation := call.generation
	call.mu.Unlock()
	return ignoreUnreachable(call.send(ctx, &envelopepb.SessionMessage{Type: envelopepb.SessionType_SESSION_RESTART, Generation: generation}))
}

// onPathLost takes the other side's request for a new path. One that is about an older offer
// than the newest says nothing new, unless that has not arrived.
func (call *Call) onPathLost(generation uint32) {
	call.mu.Lock()
	due := call.session.Role == envelope.Initiator && (generation == call.offered || call.offered > call.generation)
	call.mu.Unlock()
	if !due {
		return
	}
	select {
	case call.pathLost <- struct{}{}:
	default:
	}
}

const (
	// checkEvery is how often a call asks whether its link still stands. A router that forgets
	// what it had mapped cuts the link and may leave the path in one direction: then this side
	// sees nothing amiss, and the other's request for a new path must reach it.
	checkEvery = 10 * time.Second
	// checkTime is how long the own node may take to answer.
	checkTime = 3 * time.Second
)

// checkLink ends the link if the own node does not answer on it, so that another is dialled.
// What breaks a call's path often breaks the link as well (another network, a router with a
// new address), and by itself the link would notice after two minutes.
func (c *Client) checkLink(ctx context.Context) {
	w := c.linked()
	if w == nil {
		return // one is being dialled
	}
	bounded, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	_, err := w.call(bounded, &pb.ClientFrame{Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: 1}}})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		c.log.Info("the own node does not answer; the link is made anew")
		w.close()
	}
}

// tryRestart is Restart where a failure does not end the call: its time limits do.
func (call *Call) tryRestart(ctx context.Context) error {
	err := call.Restart(ctx)
	if errors.Is(err, ErrVerification) {
		return err
	}
	if err != nil && !errors.Is(err, rtc.ErrClosed) && ctx.Err() == nil {
		call.c.log.Info("a new path could not be asked for yet", "error", errorKind(err))
	}
	return nil
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
