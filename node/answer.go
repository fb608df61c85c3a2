package node

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/policy"
)

// Answer answers an oblivious query of another node's client. It is the federation's door
// to the directory.
func (n *Node) Answer(ctx context.Context, from federation.Source, box []byte) (answer []byte, code string) {
	held, code := n.admitBytes(from.Domain, policy.ActionQuery, int64(len(box)))
	if code == "" && held.most > 0 {
		if n.atWork.Acquire(held.key, held.most) {
			defer n.atWork.Release(held.key)
		} else {
			code = link.CodeRate
		}
	}
	if code != "" {
		n.metrics.queries.WithLabelValues("federation", code).Inc()
		return nil, code
	}
	return n.answer(ctx, from, box)
}

// answer opens one query and seals one answer. No state is kept, and for each operation the
// answer has one size whatever it says.
func (n *Node) answer(ctx context.Context, from federation.Source, box []byte) ([]byte, string) {
	n.views.queries.Add(1)
	origin := "federation"
	if from.Peer == n.self {
		origin = "local"
	}
	q, err := n.routing.openQuery(box, n.self)
	if err != nil {
		// The routing key has gone, or was never ours: a fresh descriptor helps or nothing.
		n.metrics.queries.WithLabelValues(origin, link.CodeUnknownDestination).Inc()
		return nil, link.CodeUnknownDestination
	}
	a, err := n.answerQuery(ctx, q)
	if err != nil {
		n.metrics.queries.WithLabelValues(origin, link.CodeUnavailable).Inc()
		n.metrics.storeErrors.Inc()
		n.log.Error("query not answered", "error", err)
		return nil, link.CodeUnavailable
	}
	sealed, err := q.SealAnswer(a)
	for errors.Is(err, envelope.ErrTooLarge) && len(a.Bundles) > 0 {
		// Eight devices with the longest bundles do not fit; the last ones wait for the next
		// question, and the list names them all.
		a.Bundles = a.Bundles[:len(a.Bundles)-1]
		sealed, err = q.SealAnswer(a)
	}
	if err != nil {
		n.metrics.queries.WithLabelValues(origin, link.CodeInternal).Inc()
		n.log.Error("answer not sealed", "error", err)
		return nil, link.CodeInternal
	}
	n.metrics.queries.WithLabelValues(origin, "answered").Inc()
	return sealed, ""
}

func (n *Node) answerQuery(ctx context.Context, q *envelope.Query) (*envelopepb.Answer, error) {
	a := &envelopepb.Answer{Status: envelopepb.AnswerStatus_ANSWER_ABSENT}
	switch q.Operation {
	case envelopepb.Operation_OPERATION_LOOKUP:
		return a, n.lookup(ctx, identity.PublicKey(q.Argument), a)
	case envelopepb.Operation_OPERATION_DESCRIPTOR:
		a.Status, a.Descriptor_ = envelopepb.AnswerStatus_ANSWER_FOUND, n.routing.descriptor()
	case envelopepb.Operation_OPERATION_OUTCOME:
		fate, err := n.db.Fate(ctx, envelope.ID(q.Argument))
		if err != nil {
			return nil, err
		}
		if fate != store.FateUnknown {
			a.Status, a.Fate = envelopepb.AnswerStatus_ANSWER_FOUND, envelopepb.Fate(fate)
		}
	default:
		a.Status = envelopepb.AnswerStatus_ANSWER_UNSUPPORTED
	}
	return a, nil
}

// lookup fills in what a contact needs to reach an identity. It reads as many devices for
// an identity that is not here as for one that is: eight, the most a list can have.
func (n *Node) lookup(ctx context.Context, root identity.PublicKey, a *envelopepb.Answer) error {
	account, err := n.db.Account(ctx, root)
	found := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if found && n.deniedRoot(root) {
		found, account = false, store.Account{}
	}
	for i := range identity.MaxDevices {
		var id identity.DeviceID
		if i < len(account.Devices) {
			id = account.Devices[i]
		} else {
			rand.Read(id[:])
		}
		d, err := n.db.Device(ctx, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err == nil && len(d.Bundle) > 0 {
			a.Bundles = append(a.Bundles, d.Bundle)
		}
	}
	if found {
		a.Status, a.List, a.Descriptor_ = envelopepb.AnswerStatus_ANSWER_FOUND, account.List, n.routing.descriptor()
	}
	return nil
}
