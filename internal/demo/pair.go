package demo

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// pairLimit is how long two nodes may take to be there.
const pairLimit = 30 * time.Second

// PairNode is one of two nodes that trust each other.
type PairNode struct {
	Domain string `json:"domain"`
	PeerID string `json:"peer_id"`
	HTTP   string `json:"http"`   // where it serves the app
	Invite string `json:"invite"` // the app with a place at this node for one person
}

// Pair runs two nodes of partners for whoever wants to try them, until ctx ends, which is no error. ready is called
// once both are there. Nothing is left behind unless o names a folder.
func Pair(ctx context.Context, o Options, ready func([]PairNode) error) error {
	d := &demo{}
	err := d.prepare(o)
	if err == nil {
		err = d.pair(ctx, ready)
	}
	return errors.Join(err, d.cleanUp(o.Keep == ""))
}

func (d *demo) pair(ctx context.Context, ready func([]PairNode) error) error {
	nodes, err := d.startPair(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	if err := ready(nodes); err != nil {
		return err
	}
	select {
	case <-d.acme.Done():
		return fmt.Errorf("the node of %s has ended", d.acme.domain)
	case <-d.globex.Done():
		return fmt.Errorf("the node of %s has ended", d.globex.domain)
	case <-ctx.Done():
		return nil
	}
}

func (d *demo) startPair(ctx context.Context) ([]PairNode, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, pairLimit, errPairTooSlow)
	defer cancel()
	var err error
	if d.acme, err = d.newExchange(ctx, "acme.example"); err == nil {
		d.globex, err = d.newExchange(ctx, "globex.example")
	}
	if err == nil {
		err = errors.Join(
			d.acme.configure(partnerPolicy(d.globex, "sfu"), d.globex),
			d.globex.configure(partnerPolicy(d.acme, "sfu"), d.acme),
		)
	}
	var nodes []PairNode
	for _, e := range []*exchange{d.acme, d.globex} {
		if err == nil {
			err = d.startExchange(ctx, e)
		}
		if err == nil {
			nodes = append(nodes, PairNode{Domain: e.domain, PeerID: e.peerID, HTTP: e.http, Invite: e.invite})
		}
	}
	if err == nil {
		err = errors.Join(introduce(ctx, d.acme, d.globex), introduce(ctx, d.globex, d.acme))
	}
	if err != nil && errors.Is(context.Cause(ctx), errPairTooSlow) {
		err = fmt.Errorf("%w (%w)", errPairTooSlow, err)
	}
	return nodes, err
}

// errPairTooSlow is a verdict about the machine.
var errPairTooSlow = fmt.Errorf("this machine is too busy or too slow: the nodes were not there after %s", pairLimit)
