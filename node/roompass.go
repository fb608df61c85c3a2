package node

import (
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/policy"
)

// People of other domains in rooms. Their own node says that the holder of a key is one of its
// people, and the node of the room decides on that domain by its policy (docs/spec/rooms.md,
// section 3). Neither says or learns who it is.

// roomPass gives one of our people this node's word for the node of a room.
func (l *clientLink) roomPass(id uint64, p *pb.RoomPass) {
	pass, code := l.makePass(p)
	l.n.metrics.roomPasses.WithLabelValues(resultOf(code)).Inc()
	if code != "" {
		l.refuse(id, code, 0)
		return
	}
	l.sendFrame(&pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_RoomPassed{RoomPassed: &pb.RoomPassed{Pass: pass}}})
}

func (l *clientLink) makePass(p *pb.RoomPass) (pass []byte, code string) {
	n := l.n
	if !l.hasID || !l.member {
		return nil, link.CodeNotRegistered
	}
	at, err := identity.PeerIDFromBytes(p.Node)
	if err != nil {
		return nil, link.CodeBadFrame
	}
	key, err := identity.CheckKey(p.Key)
	if err != nil {
		return nil, link.CodeBadSignature
	}
	if at == n.self {
		if _, ok := n.roomsFor(l.root); !ok {
			n.metrics.policyDenials.WithLabelValues(policy.ActionSFU.String()).Inc()
			return nil, link.CodePolicy
		}
		return link.SignPass(n.folder.hostKey, n.self, at, key, n.now()), ""
	}
	domain, known := n.fed.DomainOf(at)
	if !known {
		return nil, link.CodeUnknownDestination
	}
	d := n.policy.Decide(policy.Request{Domain: domain, Action: policy.ActionSFU, Direction: policy.Out, User: l.root.ID(), At: n.now()})
	if code := n.roomRate(domain, policy.Out, d); code != "" {
		return nil, code
	}
	return link.SignPass(n.folder.hostKey, n.self, at, key, n.now()), ""
}

// roomRate is what a decision on another domain's rooms says of one more.
func (n *Node) roomRate(domain string, dir policy.Direction, d policy.Decision) (code string) {
	if !d.Allow {
		n.metrics.policyDenials.WithLabelValues(policy.ActionSFU.String()).Inc()
		return link.CodePolicy
	}
	rate := policy.Limits{PerSecond: d.Limits.PerSecond, Total: d.Limits.Total}
	if rate == (policy.Limits{}) {
		return ""
	}
	if ok, _ := n.buckets.Take(n.now(), n.bucketKeys.key(domain, policy.ActionSFU, dir), rate, 1, 0); !ok {
		return link.CodeRate
	}
	return ""
}

// visitor is for whom a seat is.
type visitor struct {
	domain string // whose node has given its word; empty: a guest
	most   int    // how many of that domain may sit at one time; 0: any
}

// whose says for whom a join asks. The gate has opened already.
func (l *clientLink) whose(r *room, j *pb.RoomJoin) (v visitor, code string) {
	n := l.n
	if len(j.Pass) == 0 {
		if !n.policy.Guests() {
			return v, link.CodePass
		}
		return v, ""
	}
	own, key, err := link.OpenPass(j.Pass, n.self, n.now())
	if err != nil || !link.VerifyHolder(key, l.challenged(), r.id, [16]byte(j.JoinId), j.PassSignature) {
		return v, link.CodeBadSignature
	}
	if own == n.self {
		return visitor{domain: n.cfg.Domain}, ""
	}
	domain, known := n.fed.DomainOf(own)
	if !known {
		return v, link.CodePolicy
	}
	d := n.decide(domain, policy.ActionSFU, policy.In)
	return visitor{domain: domain, most: d.Limits.Concurrent}, n.roomRate(domain, policy.In, d)
}

// sfuForSeat decides on a seat in a room, by the domain that it is for.
func (n *Node) sfuForSeat(domain string) (d policy.Decision, ok bool) {
	if domain == "" && !n.policy.Guests() {
		return d, false
	}
	if domain != "" && domain != n.cfg.Domain {
		d = n.decide(domain, policy.ActionSFU, policy.In)
		return d, d.Allow
	}
	if own, named := n.policy.Domain(n.cfg.Domain); !named || own.Name != n.cfg.Domain {
		return policy.Decision{Allow: true}, true
	}
	d = n.decide(n.cfg.Domain, policy.ActionSFU, policy.In)
	return d, d.Allow
}

func (n *Node) seatAllowed(domain string) bool {
	_, ok := n.sfuForSeat(domain)
	return ok
}
