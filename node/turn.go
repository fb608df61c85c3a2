package node

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/media"
	"github.com/trunkline-net/trunkline/media/turn"
)

// turnGrant is one minted handle. It belongs to a device, not to a link: a client that
// comes back within the grace keeps its call.
type turnGrant struct {
	device identity.DeviceID
	root   identity.PublicKey
	lost   time.Time // when the device's link was lost; zero while it has one
}

// turnGrants knows whom to take a relay away from, and when.
type turnGrants struct {
	mu      sync.Mutex // guards grants
	grants  map[media.Handle]turnGrant
	release func(media.Handle)
}

func newTurnGrants(release func(media.Handle)) *turnGrants {
	return &turnGrants{grants: map[media.Handle]turnGrant{}, release: release}
}

func (t *turnGrants) add(h media.Handle, d identity.DeviceID, root identity.PublicKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.grants[h] = turnGrant{device: d, root: root}
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

// expire releases what has been without a link for the grace.
func (t *turnGrants) expire(now time.Time) {
	t.killIf(func(g turnGrant) bool { return !g.lost.IsZero() && now.Sub(g.lost) >= link.TurnGrace })
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
	answer := new(pb.TurnCredentials)
	switch {
	case !l.member:
		answer.Code = link.CodeNotRegistered
	default:
		if ok, wait := l.budget.other.take(n.coarse.Load(), l.rates().other, 1); !ok {
			l.rateLimited(id, wait)
			return
		}
		c, err := n.turn.Mint(n.turnOwner(l.root), media.Limits{})
		switch {
		case errors.Is(err, turn.ErrBusy):
			answer.Code = link.CodeQuota
		case err != nil:
			n.log.Error("relay credentials not minted", "error", err)
			answer.Code = link.CodeUnavailable
		default:
			n.turnGrants.add(c.Handle, l.device, l.root)
			answer.Urls = n.turn.URLs(n.turnHost)
			answer.Username, answer.Credential = c.Username, c.Password
			answer.TtlSeconds, answer.Handle = uint32(c.TTL.Seconds()), c.Handle[:]
		}
	}
	outcome := answer.Code
	if outcome == "" {
		outcome = "minted"
	}
	n.metrics.turnGrants.WithLabelValues(outcome).Inc()
	l.sendFrame(&pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_Turn{Turn: answer}})
}

// turnRelease gives a handle back before its time. It is answered with the same frame
// without credentials, because a call that ends wants to know that its relay has.
func (l *clientLink) turnRelease(id uint64, r *pb.TurnRelease) {
	if len(r.Handle) != 16 || !l.hasID {
		l.refuse(id, link.CodeBadFrame, 0)
		return
	}
	l.n.turnGrants.drop(media.Handle(r.Handle), l.device)
	if id != 0 {
		l.sendFrame(&pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_Turn{Turn: &pb.TurnCredentials{Handle: r.Handle}}})
	}
}
