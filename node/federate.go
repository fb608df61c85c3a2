package node

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/policy"
)

// outbox lends the store's outbox to the federation, which may not import the store.
type outbox struct{ store.Outbox }

func (o outbox) Enqueue(dest identity.PeerID, e []byte, id envelope.ID, expires time.Time) (uint64, error) {
	seq, err := o.Outbox.Enqueue(dest, e, id, expires)
	switch {
	case errors.Is(err, store.ErrQueueFull):
		return seq, errors.Join(federation.ErrQueueFull, err)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrClosed):
		return seq, errors.Join(federation.ErrUnavailable, err)
	}
	return seq, err
}

func (o outbox) Next(dest identity.PeerID, after uint64, max int) ([]federation.Queued, error) {
	waiting, err := o.Outbox.Next(dest, after, max)
	if err != nil {
		return nil, err
	}
	out := make([]federation.Queued, len(waiting))
	for i, q := range waiting {
		out[i] = federation.Queued{Seq: q.Seq, Envelope: q.Envelope, ID: q.ID, Expires: q.Expires}
	}
	return out, nil
}

// pins keeps the newest domain document seen of each domain in the store's Blobs.
type pins struct {
	ctx   context.Context
	blobs store.Blobs
}

const pinPrefix = "pin/"

func (p pins) Load() (map[string][]byte, error) {
	names, err := p.blobs.Names(p.ctx, pinPrefix)
	if err != nil {
		return nil, err
	}
	all := make(map[string][]byte, len(names))
	for _, name := range names {
		document, err := p.blobs.Get(p.ctx, name)
		if err != nil {
			return nil, err
		}
		all[strings.TrimPrefix(name, pinPrefix)] = document
	}
	return all, nil
}

func (p pins) Save(domain string, document []byte) error {
	return p.blobs.Put(p.ctx, pinPrefix+domain, document)
}

// admitOut asks the policy whether our people may send to the domain of a node, and returns
// the code of a refusal. The hop is sealed, so what is a knock and what is not cannot be
// told here: it is enough that one of them is allowed. The federation asks for itself
// whether there may be a link, and whether queries may go over it.
func (n *Node) admitOut(e *envelope.Envelope) string {
	domain, known := n.peers.domainOf(n, e.Destination)
	if !known {
		return "" // the federation will say so
	}
	now := n.now()
	ask := func(a policy.Action) policy.Decision {
		return n.policy.Decide(policy.Request{Domain: domain, Action: a, Direction: policy.Out, At: now})
	}
	knock, signal := ask(policy.ActionKnock), ask(policy.ActionSignal)
	if e.TTL != envelope.Live && signal.Allow {
		if kept := ask(policy.ActionStore); kept.Allow {
			signal.Limits = signal.Limits.Tightest(kept.Limits)
		} else {
			signal.Allow = false
		}
	}
	limits := signal.Limits
	switch {
	case !signal.Allow && (!knock.Allow || e.TTL == envelope.Live):
		n.metrics.policyDenials.WithLabelValues(policy.ActionSignal.String()).Inc()
		return link.CodePolicy
	case !signal.Allow:
		limits = knock.Limits
	}
	if limits == (policy.Limits{}) {
		return ""
	}
	if ok, _ := n.buckets.Take(now, "out "+domain, limits, 1, int64(len(e.Payload))); !ok {
		return link.CodeRate
	}
	return ""
}

// peerDomains remembers which domain a node speaks for.
type peerDomains struct {
	mu      sync.Mutex // guards byPeer, scanned
	byPeer  map[identity.PeerID]string
	scanned time.Time
}

// rescan is how often an unknown peer id makes the node look again.
const rescan = 2 * time.Second

func (p *peerDomains) domainOf(n *Node, peer identity.PeerID) (string, bool) {
	p.mu.Lock()
	domain, ok := p.byPeer[peer]
	scan := !ok && time.Since(p.scanned) >= rescan
	if scan {
		p.scanned = time.Now()
	}
	p.mu.Unlock()
	if !scan {
		return domain, ok
	}
	found := n.knownPeers()
	p.mu.Lock()
	p.byPeer = found
	p.mu.Unlock()
	domain, ok = found[peer]
	return domain, ok
}

// knownPeers reads which domain each node speaks for that this one has heard of.
func (n *Node) knownPeers() map[identity.PeerID]string {
	found := map[identity.PeerID]string{}
	saved, err := pins{n.background, n.db.Blobs()}.Load()
	if err != nil {
		n.metrics.storeErrors.Inc()
		n.log.Error("pins not read", "error", err)
	}
	for _, document := range saved {
		if doc, err := identity.ParseDomain(document); err == nil {
			for _, node := range doc.Nodes {
				found[node.PeerID] = doc.Domain
			}
		}
	}
	// What a link has proven counts more than what a document says.
	for _, status := range n.fed.Peers() {
		found[status.Peer] = status.Domain
	}
	return found
}

// lateOutcome keeps how an envelope ended that was taken up from the outbox after a
// restart: nobody remembers whose it was, so its sender asks by its id.
func (n *Node) lateOutcome(_ identity.PeerID, id envelope.ID, out federation.Outcome) {
	n.metrics.countDelivery("remote", out)
	if err := n.db.Record(n.background, id, store.Fate(out.Fate), n.now().Add(store.OutcomeKept)); err != nil {
		n.metrics.storeErrors.Inc()
		n.log.Error("outcome write failed", "error", err)
	}
}

// ownAddrs are the addresses that the relay must never relay to: this node's own doors.
func (n *Node) ownAddrs() []netip.AddrPort {
	var all []netip.AddrPort
	add := func(s string) {
		if ap, err := netip.ParseAddrPort(s); err == nil {
			all = append(all, ap)
		}
	}
	add(n.httpAddr)
	if n.metricsListener != nil {
		add(n.metricsListener.Addr().String())
	}
	add(n.cfg.SFU.Listen)
	for _, a := range n.cfg.Federation.Listen {
		add(a)
	}
	if n.fed != nil {
		for _, a := range n.fed.Addrs() {
			if ap, ok := multiaddrPort(a); ok {
				all = append(all, ap)
			}
		}
	}
	return all
}

// multiaddrPort reads /ip4/A/tcp/P… and its relatives.
func multiaddrPort(a string) (netip.AddrPort, bool) {
	parts := strings.Split(a, "/")
	if len(parts) < 5 || parts[1] != "ip4" && parts[1] != "ip6" {
		return netip.AddrPort{}, false
	}
	ip, err := netip.ParseAddr(parts[2])
	port, perr := strconv.ParseUint(parts[4], 10, 16)
	if err != nil || perr != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip, uint16(port)), true
}

// publicAddress is what people dial when the configuration does not say.
func (n *Node) publicAddress() string {
	scheme := "https"
	if n.cfg.HTTP.TLS == "off" {
		scheme = "http"
	}
	host, port, err := net.SplitHostPort(n.httpAddr)
	if err != nil {
		return scheme + "://" + n.httpAddr
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = n.cfg.Domain
	}
	if scheme == "https" && port == "443" {
		return "https://" + host
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
