package node

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
)

// outbox lends the store's outbox to the federation, which may not import the store.
type outbox struct {
	store.Outbox
	failed func(what string, err error)
}

func (o outbox) Enqueue(dest identity.PeerID, e []byte, id envelope.ID, expires time.Time) (uint64, bool, error) {
	seq, again, err := o.Outbox.Enqueue(dest, e, id, expires)
	switch {
	case errors.Is(err, store.ErrQueueFull):
		return seq, again, errors.Join(federation.ErrQueueFull, err)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrClosed):
		o.failed("outbox write failed", err)
		return seq, again, errors.Join(federation.ErrUnavailable, err)
	}
	return seq, again, err
}

func (o outbox) Done(dest identity.PeerID, seqs []uint64) error {
	err := o.Outbox.Done(dest, seqs)
	if errors.Is(err, store.ErrUnavailable) {
		o.failed("outbox removal failed", err)
		return errors.Join(federation.ErrUnavailable, err)
	}
	return err
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

// lateOutcome keeps how an envelope ended that was taken up from the outbox after a
// restart: nobody remembers whose it was, so its sender asks by its id.
func (n *Node) lateOutcome(_ identity.PeerID, id envelope.ID, out federation.Outcome) {
	n.metrics.countDelivery("remote", out)
	n.keepOutcome(id, out)
}

// keepOutcome writes down how an envelope ended, for whoever asks by its id.
func (n *Node) keepOutcome(id envelope.ID, out federation.Outcome) {
	if err := n.db.Record(n.background, id, store.Fate(out.Fate), n.now().Add(store.OutcomeKept)); err != nil {
		n.storeError("outcome write failed", err)
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
	if n.sfu != nil {
		all = append(all, n.sfu.Addr())
	}
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
