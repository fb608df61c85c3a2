package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/policy"
)

const (
	// drainSubmits is how long the last submits of clients get to be answered, drainLinks how
	// long clients get to take what waits for them, and drainPeers the same for other nodes.
	drainSubmits = time.Second
	drainLinks   = 2 * time.Second
	drainPeers   = 5 * time.Second
	drainHTTP    = time.Second
	// reconnectJitter spreads the clients of a node that restarts.
	reconnectAfter  = time.Second
	reconnectJitter = 5 * time.Second

	// startInvite is how long the invitation lasts that a start hands out.
	startInvite     = 24 * time.Hour
	startInviteNote = "printed at the start of the node"
	hereInviteNote  = "printed for this computer"
	// hereUses is how many people may begin at this computer with the one that is printed.
	hereUses = 8
)

// Run serves until ctx ends or Shutdown is called, drains, and returns when everything has
// ended and the store is closed. It runs once.
func (n *Node) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	failed := make(chan error, 8)
	part := func(name string, f func() error) {
		parts.Go(func() {
			if err := f(); err != nil && n.background.Err() == nil {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	// The relay and the federation outlive ctx by the drain.
	part("federation", func() error { return n.fed.Run(n.background) })
	if !n.ground.NoRelay {
		part("relay", func() error { return n.turn.Run(n.background) })
	}
	if n.sfu != nil {
		part("sfu", func() error { return n.sfu.Run(n.background) })
	}
	part("clock", func() error { n.tickLoop(); return nil })

	web := newServer(n.handler())
	part("http", func() error { return serve(web, n.httpListener, n.cfg.HTTP.TLS != "off", n.tlsConfig()) })
	servers := []*http.Server{web}
	if n.metricsListener != nil {
		s := newServer(n.metricsHandler())
		servers = append(servers, s)
		part("metrics", func() error { return serve(s, n.metricsListener, false, nil) })
	}
	admin, err := n.listenAdmin()
	if err == nil {
		s := newServer(n.adminHandler())
		s.WriteTimeout = 0 // checking a large store takes its time
		servers = append(servers, s)
		part("admin", func() error { return serve(s, admin, false, nil) })
		err = n.becomeReady(ctx, failed)
	}
	if err == nil {
		select {
		case <-ctx.Done():
		case <-n.shutdown:
		case err = <-failed:
		}
	}
	if errors.Is(err, errStopped) {
		err = nil
	}
	n.drain()
	for _, s := range servers {
		err = errors.Join(err, finish(s))
	}
	n.stop()
	// The parts first: they may still start goroutines of links.
	parts.Wait()
	n.group.Wait()
	if admin != nil {
		if rm := os.Remove(n.folder.path(fileSocket)); rm != nil && !errors.Is(rm, os.ErrNotExist) {
			err = errors.Join(err, rm)
		}
	}
	n.turn.Close() // where it did not run
	err = errors.Join(err, n.db.Close())
	n.log.Info("stopped")
	return err
}

func serve(s *http.Server, l net.Listener, secure bool, cfg *tls.Config) error {
	if secure {
		l = tls.NewListener(l, cfg)
	}
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// finish lets answers that are being written out, such as the one to a shutdown, and cuts
// off what takes longer.
func finish(s *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainHTTP)
	defer cancel()
	err := s.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return s.Close()
	}
	return err
}

// errStopped means that the node was told to stop before it was ready.
var errStopped = errors.New("stopped before it was ready")

// becomeReady waits for the federation, signs the domain document for the addresses that
// it got, and says where everything is.
func (n *Node) becomeReady(ctx context.Context, failed <-chan error) error {
	select {
	case <-n.fed.Ready():
	case err := <-failed:
		return err
	case <-ctx.Done():
		return errStopped
	case <-n.shutdown:
		return errStopped
	}
	addresses := documentAddresses(n.fed.Addrs())
	if _, err := n.documents.renew(addresses); err != nil {
		return err
	}
	if !n.documents.names(addresses) {
		n.log.Warn("partners are told other addresses than those of this start, and "+fileDomainKey+" is not here to tell them",
			"document", n.folder.path(fileDocument))
	}
	// What waited for its time to end while the node was down is ended before anybody asks.
	n.expire(n.now())
	invite, err := n.startInvitation(ctx)
	if err != nil {
		return fmt.Errorf("make an invitation: %w", err)
	}
	scheme := "https://"
	if n.cfg.HTTP.TLS == "off" {
		scheme = "http://"
	}
	facts := Facts{
		Ready: true, Domain: n.cfg.Domain, PeerID: n.self.String(),
		HTTP: scheme + n.httpAddr, Federation: n.fed.Addrs(), TURN: n.turn.Addr().String(), Invite: invite,
		Authority: n.authorityFacts(n.publicURL),
	}
	if n.sfu != nil {
		facts.SFU = n.sfu.Addr().String()
	}
	if n.metricsListener != nil {
		facts.Metrics = "http://" + n.metricsListener.Addr().String() + "/metrics"
	}
	n.mu.Lock()
	n.facts = facts
	n.mu.Unlock()
	close(n.ready)
	n.log.Info("ready", "domain", n.cfg.Domain, "node", n.self.String())
	return nil
}

// startInvitation makes a one-time invitation for whoever started the node, and takes the
// one of the last start back.
func (n *Node) startInvitation(ctx context.Context) (string, error) {
	mode, _ := n.policy.Policy().Register()
	switch mode {
	case policy.RegisterOpen:
		return n.publicURL + "/", nil
	case policy.RegisterInvitation:
	default:
		return "", nil
	}
	return n.replaceInvitation(ctx, 1, startInviteNote)
}

// InviteHere makes an invitation for the people at this computer, so that a first call needs one
// address and two windows. It is "" where others could use it as well, or nobody needs one.
func (n *Node) InviteHere(ctx context.Context) (string, error) {
	mode, _ := n.policy.Policy().Register()
	if mode != policy.RegisterInvitation || n.cfg.HTTP.TLS != "off" || n.cfg.HTTP.PublicURL != "" {
		return "", nil
	}
	return n.replaceInvitation(ctx, hereUses, hereInviteNote)
}

// replaceInvitation takes back what an earlier start made for the same purpose.
func (n *Node) replaceInvitation(ctx context.Context, uses int, note string) (string, error) {
	old, err := n.db.List(ctx)
	if err != nil {
		return "", err
	}
	for _, i := range old {
		if i.Note == note {
			if err := n.db.Revoke(ctx, i.ID); err != nil {
				return "", err
			}
		}
	}
	token, _, err := n.db.Create(ctx, uses, n.now().Add(startInvite), note)
	if err != nil {
		return "", err
	}
	return n.inviteURL(token), nil
}

func (n *Node) inviteURL(token string) string { return n.publicURL + "/#invite=" + token }

// Shutdown makes Run drain and return, as the end of its context does.
func (n *Node) Shutdown() { n.stopOnce.Do(func() { close(n.shutdown) }) }

// drain says goodbye in the order in which others depend on us: clients first, so that
// nothing new comes, then the other nodes, which get what the clients left. The relay works
// until all of that is over.
func (n *Node) drain() {
	n.draining.Store(true)
	links := n.hub.close()
	waitFor(drainSubmits, func() bool { return n.answering.Load() == 0 })
	if len(links) > 0 {
		n.log.Info("draining", "links", len(links))
	}
	for _, l := range links {
		l.leave(&pb.NodeFrame{Kind: &pb.NodeFrame_Drain{Drain: &pb.Drain{
			ReconnectAfterMs: uint64(reconnectAfter.Milliseconds()), JitterMs: uint64(reconnectJitter.Milliseconds()), Reason: link.CodeDraining,
		}}})
	}
	waitFor(drainLinks, func() bool { open, _ := n.hub.count(); return open == 0 })
	for _, l := range links {
		l.close()
	}
	if n.fed != nil {
		ctx, cancel := context.WithTimeout(context.Background(), drainPeers)
		defer cancel()
		n.fed.Drain(ctx)
	}
}

// waitFor waits for what nothing announces, at most so long.
func waitFor(most time.Duration, done func() bool) {
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline.C:
			return
		case <-tick.C:
		}
	}
}

// Reload puts the policy file and the certificate files in force. If either is wrong,
// nothing changes and the error says where. Links, relays and peers that the new policy
// denies are closed before it returns, or by the federation within five seconds.
func (n *Node) Reload() error {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	err := n.reload()
	result := "ok"
	if err != nil {
		result = "failed"
		// The error names a file, a line and what stands there, never an identity's acts.
		n.log.Error("reload failed; the policy in force stays", "error", err)
	} else {
		n.log.Info("reloaded")
	}
	n.metrics.policyReloads.WithLabelValues(result).Inc()
	return err
}

func (n *Node) reload() error {
	cert, err := n.loadCertificate()
	if err != nil {
		return err
	}
	data, err := readLimited(n.folder.policyAt, maxConfig)
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	if err := n.policy.Reload(n.folder.policyAt, data); err != nil {
		return err
	}
	n.certificate.Store(cert)
	n.certified = n.certificateNames()
	n.closeDenied()
	n.fed.Reload()
	return nil
}

// closeDenied ends what the policy in force does not allow any more on this node's own
// side: links and relays of identities that lost their mailbox.
func (n *Node) closeDenied() {
	mode, listed := n.policy.Policy().Register()
	for _, l := range n.hub.all() {
		id, root, known := l.identity()
		switch {
		case !known && mode == policy.RegisterClosed && l.seat.Load() == nil,
			known && mode == policy.RegisterListed && !listed(root):
			l.goodbye(link.CodePolicy, 0)
			if known {
				n.turnGrants.kill(id)
			}
		}
	}
	// Also the calls of those who have no link at this moment, and of those whose mailbox stays
	// but whose relay is denied.
	n.endDenied()
}

// endDenied is asked after a reload, and each while because rules end by themselves, too.
func (n *Node) endDenied() {
	n.endDeniedRelays()
	n.keepRoomsToPolicy()
}

func (n *Node) endDeniedRelays() {
	n.turnGrants.killIf(func(g turnGrant) bool { _, ok := n.grantRelay(g); return !ok })
}
