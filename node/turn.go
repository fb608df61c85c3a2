package node

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/media"
	"github.com/trunkline-net/trunkline/media/turn"
	"github.com/trunkline-net/trunkline/policy"
)

// turnGrant is one minted handle. It belongs to a device, not to a link: a client that
// comes back within the grace keeps its call.
type turnGrant struct {
	device identity.DeviceID
	root   identity.PublicKey
	guest  bool      // of a seat in a room: device names the seat, and there is no root
	lost   time.Time // when the device's link was lost; zero while it has one
}

// turnGrants knows whom to take a relay away from, and when.
type turnGrants struct {
	mu      sync.Mutex // guards grants
	grants  map[media.Handle]turnGrant
	release func(media.Handle)
	holds   func(media.Handle) bool // whether the relay still knows a handle
}

func newTurnGrants(release func(media.Handle), holds func(media.Handle) bool) *turnGrants {
	return &turnGrants{grants: map[media.Handle]turnGrant{}, release: release, holds: holds}
}

// add takes a handle in, unless there are as many as most says; zero is any number.
func (t *turnGrants) add(h media.Handle, g turnGrant, most int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if most > 0 && len(t.grants) >= most {
		return false
	}
	t.grants[h] = g
	return true
}

// drop releases one handle of a device. A handle of somebody else is left alone.
func (t *turnGrants) drop(h media.Handle, d identity.DeviceID) bool {
	t.mu.Lock()
	g, ok := t.grants[h]
	ok = ok && g.device == d
	if ok {
		delete(t.grants, h)
	}
	t.mu.Unlock()
	if ok {
		t.release(h)
	}
	return ok
}

// lost starts the grace of a device's handles.
func (t *turnGrants) lost(d identity.DeviceID, now time.Time) { t.mark(d, now) }

// found ends it.
func (t *turnGrants) found(d identity.DeviceID) { t.mark(d, time.Time{}) }

func (t *turnGrants) mark(d identity.DeviceID, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for h, g := range t.grants {
		if g.device == d {
			g.lost = at
			t.grants[h] = g
		}
	}
}

// expire releases what has been without a link for the grace, and forgets what the relay has
// ended by itself because nothing was started with it in time.
func (t *turnGrants) expire(now time.Time) {
	t.killIf(func(g turnGrant) bool { return !g.lost.IsZero() && now.Sub(g.lost) >= link.TurnGrace })
	t.mu.Lock()
	known := slices.Collect(maps.Keys(t.grants))
	t.mu.Unlock()
	known = slices.DeleteFunc(known, t.holds)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range known {
		delete(t.grants, h)
	}
}

// kill releases everything of a device at once.
func (t *turnGrants) kill(d identity.DeviceID) {
	t.killIf(func(g turnGrant) bool { return g.device == d })
}

// killIf releases everything that which picks.
func (t *turnGrants) killIf(which func(turnGrant) bool) {
	var ended []media.Handle
	t.mu.Lock()
	for h, g := range t.grants {
		if which(g) {
			ended = append(ended, h)
			delete(t.grants, h)
		}
	}
	t.mu.Unlock()
	for _, h := range ended {
		t.release(h)
	}
}

func (t *turnGrants) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.grants)
}

func (n *Node) releaseTurn(d identity.DeviceID) { n.turnGrants.kill(d) }

// turnOwner groups an account's handles for the relay's quotas. It is keyed with a secret
// of this process, so that it leads from the relay's memory to no identity.
func (n *Node) turnOwner(root identity.PublicKey) (owner [16]byte) {
	mac := hmac.New(sha256.New, n.turnSecret[:])
	mac.Write(root[:])
	copy(owner[:], mac.Sum(nil))
	return owner
}

// turnCredentials mints credentials for one call of a registered device.
func (l *clientLink) turnCredentials(id uint64) {
	n := l.n
	if ok, wait := l.budget.other.take(n.coarse.Load(), l.rates().other, 1); !ok {
		l.rateLimited(id, wait)
		return
	}
	answer := new(pb.TurnCredentials)
	c, code := l.mintTurn()
	if answer.Code = code; code == "" {
		answer.Urls = n.turn.URLs(n.turnHost)
		answer.Username, answer.Credential = c.Username, c.Password
		answer.TtlSeconds, answer.Handle = uint32(c.TTL.Seconds()), c.Handle[:]
	}
	outcome := answer.Code
	if outcome == "" {
		outcome = "minted"
	}
	n.metrics.turnGrants.WithLabelValues(outcome).Inc()
	l.sendFrame(&pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_Turn{Turn: answer}})
}

// turnHolder is whose relay handle a link asks for: its registered device's, or that of its seat
// in a room, which is how a guest gets a relay.
func (l *clientLink) turnHolder() (g turnGrant, owner [16]byte, ok bool) {
	if l.member {
		return turnGrant{device: l.device, root: l.root}, l.n.turnOwner(l.root), true
	}
	if s := l.seat.Load(); s != nil && !l.hasID && !s.isGone() {
		return turnGrant{device: s.device, guest: true}, l.n.roomOwner(s), true
	}
	return g, owner, false
}

// grantRelay decides on a relay for whoever holds a handle.
func (n *Node) grantRelay(g turnGrant) (policy.Decision, bool) {
	if g.guest {
		return n.relayForGuest()
	}
	return n.relayFor(g.root)
}

// mintTurn asks whether this link may have a relay now, or returns the code of the refusal.
func (l *clientLink) mintTurn() (c media.Credentials, code string) {
	n := l.n
	holder, owner, ok := l.turnHolder()
	if !ok {
		return c, link.CodeNotRegistered
	}
	d, ok := n.grantRelay(holder)
	if !ok {
		n.metrics.policyDenials.WithLabelValues(policy.ActionTURN.String()).Inc()
		return c, link.CodePolicy
	}
	if d.Limits != (policy.Limits{}) {
		rate := policy.Limits{PerSecond: d.Limits.PerSecond, Total: d.Limits.Total}
		if ok, _ := n.buckets.Take(n.now(), n.bucketKeys.key(n.cfg.Domain, policy.ActionTURN, policy.In), rate, 1, 0); !ok {
			return c, link.CodeRate
		}
	}
	c, err := n.turn.Mint(owner, relayLimits(d.Limits))
	switch {
	case errors.Is(err, turn.ErrBusy):
		return c, link.CodeQuota
	case err != nil:
		n.log.Error("relay credentials not minted", "error", err)
		return c, link.CodeUnavailable
	}
	if !n.turnGrants.add(c.Handle, holder, d.Limits.Concurrent) {
		n.turn.Release(c.Handle)
		return media.Credentials{}, link.CodeQuota
	}
	// A reload, or a removal of the device or of the seat, in between has not seen this handle.
	_, _, holds := l.turnHolder()
	if _, ok := n.grantRelay(holder); !ok || !holds || !l.alive() {
		n.turnGrants.drop(c.Handle, holder.device)
		return media.Credentials{}, link.CodePolicy
	}
	return c, ""
}

// turnRelease gives a handle back before its time. It is answered with the same frame
// without credentials, because a call that ends wants to know that its relay has.
func (l *clientLink) turnRelease(id uint64, r *pb.TurnRelease) {
	device := l.device
	s := l.seat.Load()
	if s != nil {
		device = s.device
	}
	if len(r.Handle) != 16 || !l.hasID && s == nil {
		l.refuse(id, link.CodeBadFrame, 0)
		return
	}
	l.n.turnGrants.drop(media.Handle(r.Handle), device)
	if id != 0 {
		l.sendFrame(&pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_Turn{Turn: &pb.TurnCredentials{Handle: r.Handle}}})
	}
}
