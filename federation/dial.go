package federation

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/policy"
)

// dial is one try to get a session: find the document, connect, shake hands, carry on. It
// returns when the session has ended.
func (l *link) dial(ctx context.Context) {
	s, err := l.tryDial(ctx)
	var refused *refusedError
	var own *refusal
	begun := err == nil && l.begin(s)
	l.mu.Lock()
	l.dialling = false // not before the session is there, or the loop would dial once more
	l.mu.Unlock()
	switch {
	case begun:
		s.run()
	case err == nil:
		s.abandon()
	case ctx.Err() != nil:
	case errors.Is(err, errGlare), errors.As(err, &refused) && refused.code == wire.CodeDuplicate:
		// The other side's dial is under way. If nothing comes of it, try again soon.
		l.mu.Lock()
		l.retryAt = time.Now().Add(glareRetry + time.Duration(rand.Int64N(int64(glareRetry))))
		if l.session == nil {
			l.setStateLocked(StateConnecting, l.why)
		}
		l.mu.Unlock()
	case errors.As(err, &refused):
		l.refusedBy(refused)
	case errors.As(err, &own):
		l.failed(StateRefused, own.code, own.retry)
	default:
		l.f.log.Debug("a node cannot be reached", "domain", l.f.domainName(l), "peer", l.peer.String(), "err", err)
		l.failed(StateWaiting, reason(err), 0)
	}
	l.poke()
}

func (l *link) tryDial(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	if len(l.f.cfg.Document()) == 0 || len(l.f.cfg.Descriptor()) == 0 {
		return nil, errors.New("the own document is not there yet")
	}
	domain := l.f.domainName(l)
	if d := l.f.decide(domain, policy.ActionFederate, policy.Out); !l.f.room(domain, l.peer, d.Limits.Concurrent) {
		return nil, &refusal{domain: domain, code: wire.CodeBusy, rule: d.Rule, retry: time.Minute}
	}
	l.mu.Lock()
	again := l.tries > 0
	l.mu.Unlock()
	addrs, err := l.addresses(ctx, again)
	if err != nil {
		return nil, err
	}
	h := l.f.host
	clearBackoff(h, l.id)
	// Exactly what the document says, and nothing that identify may have put in.
	h.Peerstore().ClearAddrs(l.id)
	h.Peerstore().AddAddrs(l.id, addrs, peerstore.TempAddrTTL)
	if err := h.Connect(ctx, peer.AddrInfo{ID: l.id}); err != nil {
		return nil, err
	}
	st, err := h.NewStream(network.WithNoDial(ctx, "connected"), l.id, protocol.ID(wire.Protocol))
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	there := l.session != nil
	l.mu.Unlock()
	if there { // the peer was faster
		st.Reset()
		return nil, errGlare
	}
	s, err := l.f.dialHello(ctx, st, l)
	if err != nil {
		st.Reset()
		return nil, err
	}
	return s, nil
}

// addresses looks the peer up in its domain's document. After a failed try the document is
// fetched again: the peer may have moved.
func (l *link) addresses(ctx context.Context, again bool) ([]ma.Multiaddr, error) {
	doc, err := l.f.domains.current(ctx, l.f.domainName(l), again)
	if err != nil {
		return nil, err
	}
	for _, n := range doc.Nodes {
		if n.PeerID != l.peer {
			continue
		}
		if addrs := dialable(n.Addresses); len(addrs) > 0 {
			return addrs, nil
		}
		return nil, errors.New("its domain document names no address that can be dialled")
	}
	return nil, errors.New("its domain document does not name it any more")
}
