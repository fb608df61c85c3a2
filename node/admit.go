package node

import (
	"context"
	"sync"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/media"
	"github.com/trunkline-net/trunkline/policy"
)

// What the node asks its policy, and how it keeps to the limits of the answers
// (docs/spec/policy.md, section 7). The federation asks for itself about links and queries.

func (n *Node) decide(domain string, a policy.Action, dir policy.Direction) policy.Decision {
	return n.policy.Decide(policy.Request{Domain: domain, Action: a, Direction: dir, At: n.now()})
}

// admit asks the policy whether a domain may do something to us at all.
func (n *Node) admit(domain string, a policy.Action) bool {
	return n.decide(domain, a, policy.In).Allow
}

// admitted is what the policy lets a request do beyond being made: how many of its kind may
// be at work at once.
type admitted struct {
	key  string
	most int // 0: any number
}

// admitBytes asks the policy about one request of so many bytes from another domain, and
// takes it from the rate that the policy gives the domain. The code is that of a refusal, or
// "".
func (n *Node) admitBytes(domain string, a policy.Action, bytes int64) (admitted, string) {
	d := n.decide(domain, a, policy.In)
	if !d.Allow {
		n.metrics.policyDenials.WithLabelValues(a.String()).Inc()
		return admitted{}, link.CodePolicy
	}
	if d.Limits == (policy.Limits{}) {
		return admitted{}, ""
	}
	key := n.bucketKeys.key(domain, a, policy.In)
	if ok, _ := n.buckets.Take(n.now(), key, d.Limits, 1, bytes); !ok {
		return admitted{}, link.CodeRate
	}
	return admitted{key: key, most: d.Limits.Concurrent}, ""
}

// admitHop applies the actions that the hop shows to be meant.
func (n *Node) admitHop(domain string, hop envelope.Hop, e *envelope.Envelope) (admitted, string) {
	action := policy.ActionSignal
	if hop.Knock {
		action = policy.ActionKnock
	}
	held, code := n.admitBytes(domain, action, int64(len(e.Payload)))
	// A knock is stored by its nature: the permission to knock is the permission to leave
	// one of the ten.
	if code != "" || e.TTL == envelope.Live || hop.Knock {
		return held, code
	}
	kept, code := n.admitBytes(domain, policy.ActionStore, int64(len(e.Payload)))
	if held.most == 0 || kept.most != 0 && kept.most < held.most {
		held = kept
	}
	return held, code
}

// hold waits for a place among the requests of a domain that are at work, and release gives
// it back. What waits here holds back its acknowledgement and with it the other node's credit.
func (n *Node) hold(ctx context.Context, a admitted) error {
	if a.most <= 0 || n.atWork.Acquire(a.key, a.most) {
		return nil
	}
	n.Flush() // those that hold the places may wait for it
	return n.atWork.Wait(ctx, a.key, a.most)
}

func (n *Node) release(a admitted) {
	if a.most > 0 {
		n.atWork.Release(a.key)
	}
}

// admitOut asks the policy whether our people may send to the domain of a node, and returns
// the code of a refusal. The hop is sealed, so what is a knock and what is not cannot be
// told here: it is enough that one of them is allowed. The federation asks for itself
// whether there may be a link.
func (n *Node) admitOut(e *envelope.Envelope) string {
	domain, known := n.fed.DomainOf(e.Destination)
	if !known {
		return "" // the federation will say so
	}
	knock, signal := n.decide(domain, policy.ActionKnock, policy.Out), n.decide(domain, policy.ActionSignal, policy.Out)
	if e.TTL != envelope.Live && signal.Allow {
		if kept := n.decide(domain, policy.ActionStore, policy.Out); kept.Allow {
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
	if ok, _ := n.buckets.Take(n.now(), n.bucketKeys.key(domain, policy.ActionSignal, policy.Out), limits, 1, int64(len(e.Payload))); !ok {
		return link.CodeRate
	}
	return ""
}

// queryOut asks another node within the limits that the policy sets our people.
func (n *Node) queryOut(ctx context.Context, dest identity.PeerID, box []byte) (answer []byte, code string) {
	if domain, known := n.fed.DomainOf(dest); known {
		d := n.decide(domain, policy.ActionQuery, policy.Out)
		if !d.Allow {
			n.metrics.policyDenials.WithLabelValues(policy.ActionQuery.String()).Inc()
			return nil, link.CodePolicy
		}
		if d.Limits != (policy.Limits{}) {
			key := n.bucketKeys.key(domain, policy.ActionQuery, policy.Out)
			if ok, _ := n.buckets.Take(n.now(), key, d.Limits, 1, int64(len(box))); !ok {
				return nil, link.CodeRate
			}
			if !n.atWork.Acquire(key, d.Limits.Concurrent) {
				return nil, link.CodeRate
			}
			defer n.atWork.Release(key)
		}
	}
	answer, err := n.fed.Query(ctx, dest, box)
	if err != nil {
		return nil, federation.Code(err)
	}
	return answer, ""
}

// relayFor decides on relay credentials for somebody with a mailbox here. That is the
// decision on the mailbox itself, [register], so that a call's relay is never denied to whom
// its signaling is allowed. Where an entry of the policy names this node's own domain, the
// rules for it decide as well, and set limits.
func (n *Node) relayFor(root identity.PublicKey) (d policy.Decision, ok bool) {
	if n.deniedRoot(root) {
		return d, false
	}
	if own, named := n.policy.Domain(n.cfg.Domain); !named || own.Name != n.cfg.Domain {
		return policy.Decision{Allow: true}, true
	}
	d = n.policy.Decide(policy.Request{Domain: n.cfg.Domain, Action: policy.ActionTURN, Direction: policy.In, User: root.ID(), At: n.now()})
	return d, d.Allow
}

// relayForGuest is relayFor for a seat in a room, of whose holder nothing is known.
func (n *Node) relayForGuest() (d policy.Decision, ok bool) {
	if own, named := n.policy.Domain(n.cfg.Domain); !named || own.Name != n.cfg.Domain {
		return policy.Decision{Allow: true}, true
	}
	d = n.policy.Decide(policy.Request{Domain: n.cfg.Domain, Action: policy.ActionTURN, Direction: policy.In, At: n.now()})
	return d, d.Allow
}

// relayLimits are those of a decision that one allocation has to keep to.
func relayLimits(l policy.Limits) media.Limits { return media.Limits{BytesPerSecond: l.BytesPerSecond} }

// bucketKeys makes the keys of the policy's buckets once per domain and action, so that
// admitting an envelope builds no string.
type bucketKeys struct {
	mu   sync.RWMutex // guards keys
	keys map[bucketKey]string
}

type bucketKey struct {
	domain string
	action policy.Action
	dir    policy.Direction
}

func (b *bucketKeys) key(domain string, a policy.Action, d policy.Direction) string {
	k := bucketKey{domain, a, d}
	b.mu.RLock()
	s, ok := b.keys[k]
	b.mu.RUnlock()
	if ok {
		return s
	}
	s = a.String() + " " + d.String() + " " + domain
	b.mu.Lock()
	defer b.mu.Unlock()
	// Domains are proven before they get here, and there are few; this only stops a leak.
	if b.keys == nil || len(b.keys) >= 1<<14 {
		b.keys = map[bucketKey]string{}
	}
	b.keys[k] = s
	return s
}
