package node

import (
	"context"
	"errors"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/policy"
)

// publish takes an identity's device list and this device's prekey bundles. Everything is
// checked before anything is written, an invitation last: a broken list costs no use of it.
func (l *clientLink) publish(id uint64, p *pb.Publish) {
	n := l.n
	if ok, wait := l.budget.publish.take(n.coarse.Load(), l.rates().publish, 1); !ok {
		l.rateLimited(id, wait)
		return
	}
	epoch, code := l.publishChecked(n.background, p)
	if code != "" {
		n.metrics.registrations.WithLabelValues(code).Inc()
		l.refuse(id, code, 0)
		return
	}
	n.metrics.registrations.WithLabelValues("ok").Inc()
	l.sendFrame(&pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_Published{Published: &pb.Published{Epoch: epoch}}})
}

func (l *clientLink) publishChecked(ctx context.Context, p *pb.Publish) (epoch uint64, code string) {
	n := l.n
	if !l.hasID {
		return 0, link.CodeNotRegistered
	}
	now := n.now()
	list, err := identity.ParseDeviceList(p.List)
	if err != nil || list.Root != l.root {
		return 0, link.CodeBadSignature
	}
	if _, err := list.Fresh(now); err != nil {
		return 0, link.CodeExpired
	}
	if _, listed := list.Device(l.device); !listed {
		return 0, link.CodeNotRegistered
	}
	bundles := make([]*envelope.Bundle, 0, len(p.Bundles))
	for _, b := range p.Bundles {
		bundle, err := envelope.ParseBundle(b, list, now)
		if err != nil || bundle.DeviceID() != l.device || bundle.Route.Home.PeerID != n.self {
			return 0, link.CodeBadSignature
		}
		bundles = append(bundles, bundle)
	}
	if code := n.mayPublish(ctx, list, p.Invitation); code != "" {
		return 0, code
	}
	published, err := n.db.PutAccount(ctx, list)
	if err != nil {
		return 0, n.directoryCode(err)
	}
	if len(published.Removed) > 0 {
		n.removeDevices(ctx, published.Removed)
	}
	for _, b := range bundles {
		if err := n.db.PutBundle(ctx, l.root, l.device, b.Bytes()); err != nil {
			return 0, n.directoryCode(err)
		}
	}
	l.member = true
	l.joined()
	return list.Epoch, ""
}

// mayPublish asks who may have a mailbox here, and uses up an invitation where one is
// wanted. Whoever has an account keeps it while the mode stays at anything but "listed".
func (n *Node) mayPublish(ctx context.Context, list *identity.DeviceList, invitation string) (code string) {
	account, err := n.db.Account(ctx, list.Root)
	known := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return n.directoryCode(err)
	}
	// Said before an invitation is spent, and said again by the store.
	if known && (list.Epoch < account.Epoch || list.Epoch == account.Epoch && list.Hash() != account.Hash) {
		return link.CodeEpochConflict
	}
	mode, listed := n.policy.Policy().Register()
	switch mode {
	case policy.RegisterOpen:
		return ""
	case policy.RegisterListed:
		if !listed(list.Root) {
			return link.CodeRegistrationClosed
		}
		return ""
	case policy.RegisterInvitation:
		if known {
			return ""
		}
		if _, err := n.db.Redeem(ctx, invitation, list.Root); err != nil {
			if errors.Is(err, store.ErrInvitation) {
				return link.CodeInvitationInvalid
			}
			return n.directoryCode(err)
		}
		return ""
	}
	if known {
		return ""
	}
	return link.CodeRegistrationClosed
}

func (n *Node) directoryCode(err error) string {
	switch {
	case errors.Is(err, store.ErrEpochLower), errors.Is(err, store.ErrEpochConflict):
		return link.CodeEpochConflict
	case errors.Is(err, store.ErrNotListed), errors.Is(err, store.ErrNotFound):
		return link.CodeNotRegistered
	case errors.Is(err, store.ErrTagTaken):
		return link.CodeRefused
	}
	n.storeError("directory write failed", err)
	return link.CodeUnavailable
}

// removeDevices ends what the devices that a new list leaves out had here.
func (n *Node) removeDevices(ctx context.Context, removed []identity.DeviceID) {
	n.mailboxes.forgetAll()
	for _, id := range removed {
		n.closeDevice(id, link.CodeNotRegistered)
		n.releaseTurn(id)
		if err := n.db.Remove(ctx, id); err != nil {
			n.metrics.storeErrors.Inc()
			n.log.Error("mailbox removal failed", "error", err)
		}
	}
}

// register opens the device's mailbox to this link. "Registered" is said only when an
// envelope for the device would be taken from every peer: the route is on disk, the cache
// knows it, and the federation is up.
func (l *clientLink) register(id uint64, r *pb.Register) {
	code := l.registerChecked(l.n.background, r)
	if code != "" {
		l.refuse(id, code, 0)
		return
	}
	usage, err := l.n.db.Stats(l.n.background, l.device)
	if err != nil {
		l.refuse(id, l.n.directoryCode(err), 0)
		return
	}
	// In one step for whoever delivers: an envelope that comes after Registered was said finds
	// the mailbox open, and none is delivered before it was said. (mu is taken before wmu.)
	l.mu.Lock()
	l.sendFrame(&pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_Registered{Registered: &pb.Registered{
		Waiting:      uint32(usage.Envelopes + usage.Knocks),
		MaxEnvelopes: uint32(usage.MaxEnvelopes),
		MaxBytes:     uint64(usage.MaxBytes),
	}}})
	if l.mail == nil {
		l.mail = &delivery{cursor: store.Seq(r.After)}
	}
	l.mu.Unlock()
	l.mailOpen = true
	l.wake()
}

func (l *clientLink) registerChecked(ctx context.Context, r *pb.Register) (code string) {
	n := l.n
	if !l.hasID || !l.member {
		return link.CodeNotRegistered
	}
	if len(r.RouteTag) != 16 || len(r.TokenHash) != 32 || len(r.PreviousHash) != 0 && len(r.PreviousHash) != 32 {
		return link.CodeBadFrame
	}
	route := store.Route{Tag: envelope.RouteTag(r.RouteTag), TokenHash: [32]byte(r.TokenHash), TokenEpoch: r.TokenEpoch}
	if len(r.PreviousHash) == 32 {
		route.PreviousHash = [32]byte(r.PreviousHash)
	}
	// The newest list may have changed since this link began.
	d, err := n.db.Device(ctx, l.device)
	if err != nil {
		l.member = false
		return n.directoryCode(err)
	}
	if d.Root != l.root {
		return link.CodeNotRegistered
	}
	select {
	case <-n.fed.Ready():
	case <-ctx.Done():
		return link.CodeDraining
	}
	// A reconnect that changes nothing writes nothing: a storm of them costs no disk.
	if d.Route == route {
		return ""
	}
	if err := n.db.SetRoute(ctx, l.root, l.device, route); err != nil {
		return n.directoryCode(err)
	}
	n.mailboxes.forget(d.Route.Tag, route.Tag)
	return ""
}
