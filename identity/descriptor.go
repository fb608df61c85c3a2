package identity

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"github.com/trunkline-net/trunkline/identity/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// NodeDescriptor is a node's statement of the routing key that hops and queries to it are
// sealed to, signed by its libp2p host key. It comes from ParseDescriptor or
// SignDescriptor and is not changed afterwards.
//
// It proves that the node with that peer id wrote it, and nothing about the domain: the
// peer id must stand in the recipient's device list, or in a domain document that is
// pinned or proved.
type NodeDescriptor struct {
	PeerID              PeerID
	Domain              string
	RoutingKey          [32]byte // X25519
	NotBefore, NotAfter time.Time

	signed []byte
}

// SignDescriptor signs d with the node's host key. d.PeerID may be zero or must be that
// key's.
func SignDescriptor(hostKey ed25519.PrivateKey, d NodeDescriptor) (*NodeDescriptor, error) {
	id := publicOf(hostKey).PeerID()
	if !d.PeerID.IsZero() && d.PeerID != id {
		return nil, fmt.Errorf("node descriptor: %w", ErrOtherIdentity)
	}
	msg, err := canon.Marshal(&pb.NodeDescriptor{
		Version:    1,
		PeerId:     id[:],
		Domain:     d.Domain,
		RoutingKey: d.RoutingKey[:],
		NotBefore:  unix(d.NotBefore),
		NotAfter:   unix(d.NotAfter),
	})
	if err != nil {
		return nil, fmt.Errorf("node descriptor: %w", err)
	}
	return ParseDescriptor(SignObject(hostKey, ContextDescriptor, msg))
}

// ParseDescriptor reads a signed descriptor and checks everything but the clock: form,
// keys, lifetime, and the signature under the peer id inside.
func ParseDescriptor(signed []byte) (*NodeDescriptor, error) {
	d, err := parseDescriptor(signed)
	if err != nil {
		return nil, fmt.Errorf("node descriptor: %w", err)
	}
	return d, nil
}

func parseDescriptor(signed []byte) (*NodeDescriptor, error) {
	sig, msg, err := splitObject(signed, MaxDescriptor)
	if err != nil {
		return nil, err
	}
	var m pb.NodeDescriptor
	if err := canon.Unmarshal(msg, MaxDescriptor, &m); err != nil {
		return nil, err
	}
	if m.Version != 1 {
		return nil, fmt.Errorf("version %d is not known here", m.Version)
	}
	d := &NodeDescriptor{Domain: m.Domain, signed: slices.Clone(signed)}
	if d.PeerID, err = PeerIDFromBytes(m.PeerId); err != nil {
		return nil, err
	}
	if err := CheckDomain(m.Domain); err != nil {
		return nil, err
	}
	if d.NotBefore, d.NotAfter, err = span(m.NotBefore, m.NotAfter, DescriptorLifetime); err != nil {
		return nil, err
	}
	// A node shows the same descriptor to everyone, and to each of them with every link.
	if hash := objectHash(ContextDescriptor, signed); !goodObjects.has(hash) {
		if err := VerifySignature(d.PeerID.Key(), ContextDescriptor, msg, sig); err != nil {
			return nil, err
		}
		if err := CheckX25519(m.RoutingKey); err != nil {
			return nil, fmt.Errorf("routing key: %w", err)
		}
		goodObjects.add(hash)
	}
	d.RoutingKey = [32]byte(m.RoutingKey)
	return d, nil
}

// Bytes returns a copy of the signed descriptor.
func (d *NodeDescriptor) Bytes() []byte { return slices.Clone(d.signed) }

// ValidAt returns ErrNotYetValid or ErrExpired when now is outside the descriptor's time.
func (d *NodeDescriptor) ValidAt(now time.Time) error {
	if err := within(now, d.NotBefore, d.NotAfter); err != nil {
		return fmt.Errorf("node descriptor: %w", err)
	}
	return nil
}

// Follows decides whether d may replace last, the newest descriptor seen of the same node;
// last may be nil. An older one is ErrRollback: its routing secret may be lost or stolen.
// Another routing key from the same moment is ErrEquivocation.
func (d *NodeDescriptor) Follows(last *NodeDescriptor) error {
	if last == nil {
		return nil
	}
	var err error
	switch {
	case d.PeerID != last.PeerID:
		err = ErrOtherIdentity
	case d.NotBefore.Before(last.NotBefore):
		err = ErrRollback
	case d.NotBefore.Equal(last.NotBefore) && d.RoutingKey != last.RoutingKey:
		err = ErrEquivocation
	case d.NotBefore.Equal(last.NotBefore) && d.NotAfter.Before(last.NotAfter):
		err = ErrRollback
	default:
		return nil
	}
	return fmt.Errorf("node descriptor: %w", err)
}
