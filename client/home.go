package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"

	crand "crypto/rand"

	"github.com/trunkline-net/trunkline/client/redial"
	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// Registration is what came of Register.
type Registration struct {
	Address identity.Address
	Domain  string
	Node    identity.PeerID
}

// certificate lifetime of a device, docs/spec/identity.md.
const certLifetime = 90 * 24 * time.Hour

// ParseInvite splits what a node prints for new users: the node's address, and behind
// "#invite=" the invitation, which the browser would not send anywhere either.
func ParseInvite(s string) (base, invitation string, err error) {
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil || u.Host == "" {
		return "", "", fmt.Errorf("%q is not an invitation: it looks like https://node.example/#invite=…", s)
	}
	fragment := u.Fragment
	u.Fragment, u.RawFragment = "", ""
	if _, _, err := linkURL(u.String()); err != nil {
		return "", "", err
	}
	if fragment == "" {
		return u.String(), "", nil
	}
	invitation, ok := strings.CutPrefix(fragment, "invite=")
	if !ok || invitation == "" {
		return "", "", errors.New("the part behind # is not an invitation: copy the whole line that the node printed")
	}
	return u.String(), invitation, nil
}

// Register makes the identity known at a node and opens a mailbox for this device. The
// identity's device list grows by one epoch and names the node as home; an identity that
// the node knows already (recovered from its phrase) keeps its other devices.
func (c *Client) Register(ctx context.Context, invite string) (Registration, error) {
	base, invitation, err := ParseInvite(invite)
	if err != nil {
		return Registration{}, err
	}
	c.mu.Lock()
	running := c.running != nil
	c.mu.Unlock()
	if running {
		return Registration{}, errors.New("register before the client runs: a second link of this device would end the first")
	}
	root, err := c.keep.Root(c.cfg.Passphrase)
	if err != nil {
		return Registration{}, err
	}
	now := c.keep.Now()
	cert, err := root.CertifyDevice(c.device.Public(), 1, now, now.Add(certLifetime))
	if err != nil {
		return Registration{}, err
	}
	w, err := dialWire(ctx, c.cfg.Dial, c.cfg.RootCAs, base, identity.PeerID{}, c.device, cert)
	if err != nil {
		return Registration{}, err
	}
	w.onDeliver = func(*pb.Deliver) bool { return false }
	w.onDrain = func(*pb.Drain) {}
	life, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.run(life) }()
	defer func() { stop(); <-ended }()

	home, err := c.newHome(w.node, base)
	if err != nil {
		return Registration{}, err
	}
	list, err := c.listFor(ctx, w, root, home)
	if err != nil {
		return Registration{}, err
	}
	if err := c.publish(ctx, w, list, home, invitation); err != nil {
		return Registration{}, err
	}
	// The home first: a list that names a home without a mailbox would be of no use.
	if err := c.keep.PutHome(home); err != nil {
		return Registration{}, err
	}
	if err := c.keep.SetOwnList(list); err != nil {
		return Registration{}, err
	}
	c.mu.Lock()
	c.opener = nil // the mailbox may be another one than before
	c.mu.Unlock()
	if _, err := c.registerMailbox(ctx, w, home); err != nil {
		return Registration{}, err
	}
	return Registration{Address: c.address(home), Domain: home.Domain, Node: home.PeerID}, nil
}

// newHome draws the mailbox's tag and secret, or takes up what was drawn before.
func (c *Client) newHome(node *link.Node, base string) (keep.Home, error) {
	if old, err := c.keep.Home(node.Domain); err == nil && old.PeerID == node.PeerID {
		old.URL = base
		return old, nil
	} else if err != nil && !errors.Is(err, keep.ErrNotFound) {
		return keep.Home{}, err
	}
	h := keep.Home{
		PeerID: node.PeerID, Domain: node.Domain, URL: base,
		Tag: envelope.NewRouteTag(), TokenEpoch: 1, Registered: c.keep.Now(),
	}
	_, _ = crand.Read(h.MailboxSecret[:]) // never fails on supported systems
	return h, nil
}

// listFor makes the next device list: after our own, after the one that the node has of
// this identity, or the first.
func (c *Client) listFor(ctx context.Context, w *wire, root *identity.Root, home keep.Home) (*identity.DeviceList, error) {
	homes := []identity.Home{{PeerID: home.PeerID, Domain: home.Domain}}
	now := c.keep.Now()
	own, err := c.keep.OwnList()
	if err != nil && !errors.Is(err, keep.ErrNotFound) {
		return nil, err
	}
	answer, err := askOver(ctx, w, w.node.Descriptor, envelopepb.Operation_OPERATION_LOOKUP, c.self[:])
	if err != nil {
		return nil, fmt.Errorf("ask the node what it knows of this identity: %w", err)
	}
	if answer.Status == envelopepb.AnswerStatus_ANSWER_FOUND {
		theirs, err := identity.ParseDeviceList(answer.List)
		if err != nil || theirs.Root != c.self {
			return nil, fmt.Errorf("%w: the node keeps a device list that is not ours", ErrVerification)
		}
		if own == nil || theirs.Epoch > own.Epoch {
			own = theirs
		}
	}
	if own == nil {
		return root.NewList(c.device.Public(), homes, [32]byte{}, now)
	}
	list := own
	if _, listed := list.Device(c.device.ID()); !listed {
		if list, err = root.AddDevice(list, c.device.Public(), now); err != nil {
			return nil, err
		}
	}
	if !list.HasHome(home.PeerID) {
		if list, err = root.SetHomes(list, homes, now); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// publish gives the node the list and this device's prekey bundle.
func (c *Client) publish(ctx context.Context, w *wire, list *identity.DeviceList, home keep.Home, invitation string) error {
	bundle, err := c.bundle(list, home)
	if err != nil {
		return err
	}
	if _, err = w.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_Publish{Publish: &pb.Publish{
		List: list.Bytes(), Bundles: [][]byte{bundle.Bytes()}, Invitation: invitation,
	}}}); err != nil {
		return err
	}
	c.mu.Lock()
	c.shown = published{prekey: bundle.PrekeyID, epoch: list.Epoch, token: home.TokenEpoch}
	c.mu.Unlock()
	return nil
}

// registerMailbox opens the mailbox: from its answer on, envelopes are taken.
func (c *Client) registerMailbox(ctx context.Context, w *wire, home keep.Home) (*pb.Registered, error) {
	hash := home.TokenHash(home.TokenEpoch)
	register := &pb.Register{
		RouteTag: home.Tag[:], TokenHash: hash[:], TokenEpoch: home.TokenEpoch, After: home.After,
	}
	if home.Grace && home.TokenEpoch > 1 {
		previous := home.TokenHash(home.TokenEpoch - 1)
		register.PreviousHash = previous[:]
	}
	answer, err := w.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_Register{Register: register}})
	if err != nil {
		return nil, err
	}
	if answer.GetRegistered() == nil {
		return nil, errors.New("the node answered a registration with something else")
	}
	return answer.GetRegistered(), nil
}

// linkLoop keeps one link to the home.
func (c *Client) linkLoop(ctx context.Context) error {
	var pauses redial.Pauses
	for {
		began := time.Now()
		hint, err := c.serveLink(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var refused *RefusedError
		if errors.As(err, &refused) && refused.Code == link.CodeReplaced {
			return fmt.Errorf("this device connected from elsewhere: %w", err)
		}
		for _, end := range []error{ErrNotRegistered, ErrVerification, ErrAlarm, ErrRemoved} {
			if errors.Is(err, end) {
				return err
			}
		}
		wait := pauses.After(time.Since(began), max(hint, retryHint(err)))
		c.log.Info("the link to the own node ended; trying again", "in", wait.Round(time.Millisecond), "error", errorKind(err))
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// serveLink is one link from the dial to its end. It returns the node's hint of when to
// come back.
func (c *Client) serveLink(ctx context.Context) (time.Duration, error) {
	home, err := c.home()
	if err != nil {
		return 0, err
	}
	// A device that was away for weeks renews its list first: a node takes none that has ended.
	if err := c.renewEnded(); err != nil {
		return 0, err
	}
	cert, err := c.keep.OwnCert()
	if errors.Is(err, keep.ErrNotFound) {
		return 0, ErrRemoved
	}
	if err != nil {
		return 0, err
	}
	w, err := dialWire(ctx, c.cfg.Dial, c.cfg.RootCAs, home.URL, home.PeerID, c.device, cert)
	if err != nil {
		return 0, err
	}
	if skew := w.node.Time.Sub(c.keep.Now()).Abs(); skew > link.MaxClockSkew {
		c.log.Warn("this machine's clock and the node's differ: set the clock", "by", skew.Round(time.Second))
	}
	var hint time.Duration // of the read loop, until the wire has ended
	w.onDeliver = func(d *pb.Deliver) bool {
		select {
		case c.inbound <- delivery{d, w}:
			return true
		default:
			return false
		}
	}
	w.onDrain = func(d *pb.Drain) {
		hint = time.Duration(min(d.ReconnectAfterMs, maxHint)) * time.Millisecond
		if d.JitterMs > 0 {
			hint += time.Duration(rand.Int64N(int64(min(d.JitterMs, maxHint)))) * time.Millisecond
		}
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- w.run(running) }()
	err = c.joinNode(running, w, home)
	if err != nil {
		stop()
	}
	end := <-ended
	c.linkDown(w)
	// What the node said before it closed explains more than the closed connection that a
	// question ran into.
	var refused *RefusedError
	if err == nil || errors.As(end, &refused) {
		err = end
	}
	return hint, err
}

// maxHint bounds what a node can ask of those who come back, in milliseconds.
const maxHint = 600_000

// joinNode makes a new wire the link: list and bundle first, then the mailbox.
func (c *Client) joinNode(ctx context.Context, w *wire, home keep.Home) error {
	if err := c.directory.learnOwn(w.node); err != nil {
		return err
	}
	if err := c.publishOwn(ctx, w, home); err != nil {
		return err
	}
	registered, err := c.registerMailbox(ctx, w, home)
	if err != nil {
		return err
	}
	c.linkUp(w, int(min(registered.Waiting, 1<<20)))
	return nil
}

func (c *Client) linkUp(w *wire, waiting int) {
	c.mu.Lock()
	c.wire, c.backlog = w, waiting-w.early
	close(c.up)
	c.mu.Unlock()
	c.tell(LinkUp{})
	c.attempts.again()
	c.ledger.attempts.again()
	c.poke()
	c.later("catch up", c.catchUp)
}

// catchUp does what an end of the process, or of the link, left undone: own devices that do not
// know of this one, tokens that contacts do not have yet, and notes that were kept and not acknowledged.
func (c *Client) catchUp(ctx context.Context) error {
	return errors.Join(c.greetOwnDevices(ctx), c.giveTokens(ctx), c.acknowledgeOld())
}

func (c *Client) linkDown(w *wire) {
	c.mu.Lock()
	was := c.wire == w
	if was {
		c.wire = nil
		c.up = make(chan struct{})
	}
	c.mu.Unlock()
	if was {
		c.ledger.linkLost()
		c.tell(LinkDown{})
	}
}

// poke wakes the retry loop.
func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
