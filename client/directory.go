package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// directory finds nodes and people. It believes nobody: a domain document counts by its
// signature and its pin, a descriptor by the node's host key, a device list by the root key.
// The own node only carries them, and carries look-ups without being able to read them.
type directory struct {
	c *Client

	mu    sync.Mutex // guards nodes, found
	nodes map[identity.PeerID]*identity.NodeDescriptor
	found map[identity.PublicKey]*person
}

// person is what a look-up brought and how long it may be used without asking again.
type person struct {
	list    *identity.DeviceList
	bundles map[identity.DeviceID]*envelope.Bundle
	asked   time.Time
}

// personFresh is how long a look-up is used. A prekey is offered for days, a new device or
// a revocation should be seen soon; LIST_UPDATE makes it sooner.
const personFresh = 10 * time.Minute

// partFresh is the same while a listed device offers no prekey yet.
const partFresh = 15 * time.Second

func (p *person) fresh(now time.Time) bool {
	if len(p.bundles) < len(p.list.Devices) {
		return now.Sub(p.asked) < partFresh
	}
	return now.Sub(p.asked) < personFresh
}

func newDirectory(c *Client) *directory {
	return &directory{
		c:     c,
		nodes: make(map[identity.PeerID]*identity.NodeDescriptor),
		found: make(map[identity.PublicKey]*person),
	}
}

// Kinds of documents in keep.
const (
	kindDomain     = "domain"
	kindDescriptor = "descriptor"
)

// learnOwn takes the own node's descriptor from its challenge.
func (d *directory) learnOwn(n *link.Node) error { return d.learn(n.Descriptor) }

// learn checks a descriptor against the newest one seen of that node and remembers it.
func (d *directory) learn(n *identity.NodeDescriptor) error {
	if err := n.ValidAt(d.c.keep.Now()); err != nil {
		return fmt.Errorf("descriptor of a node: %w", err)
	}
	var last *identity.NodeDescriptor
	old, err := d.c.keep.Document(kindDescriptor, n.PeerID.String())
	switch {
	case err == nil:
		if last, err = identity.ParseDescriptor(old.Bytes); err != nil {
			return fmt.Errorf("stored descriptor: %w", err)
		}
	case !errors.Is(err, keep.ErrNotFound):
		return err
	}
	if err := n.Follows(last); err != nil {
		return fmt.Errorf("%w: descriptor of a node: %w", ErrVerification, err)
	}
	if last == nil || n.NotBefore.After(last.NotBefore) {
		if err := d.c.keep.Witness(keep.Document{
			Kind: kindDescriptor, Name: n.PeerID.String(), Epoch: uint64(n.NotBefore.Unix()), Bytes: n.Bytes(),
		}); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nodes[n.PeerID] = n
	return nil
}

// node returns a usable descriptor of one node, asking for its domain when none is known.
func (d *directory) node(ctx context.Context, domain string, peer identity.PeerID) (*identity.NodeDescriptor, error) {
	d.mu.Lock()
	n := d.nodes[peer]
	d.mu.Unlock()
	if n != nil && n.ValidAt(d.c.keep.Now()) == nil {
		return n, nil
	}
	if _, err := d.domain(ctx, domain); err != nil {
		return nil, err
	}
	d.mu.Lock()
	n = d.nodes[peer]
	d.mu.Unlock()
	if n == nil || n.Domain != domain {
		return nil, fmt.Errorf("%w: %s does not name the node that this identity calls its home", ErrVerification, domain)
	}
	return n, nil
}

// domain asks the own node for a domain and returns the descriptors of its nodes, verified.
func (d *directory) domain(ctx context.Context, name string) ([]*identity.NodeDescriptor, error) {
	answer, err := d.c.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_Domain{Domain: &pb.DomainRequest{Domain: name}}})
	if err != nil {
		return nil, err
	}
	got := answer.GetDomain()
	if got == nil {
		return nil, errors.New("the node answered a question for a domain with something else")
	}
	if got.Code != "" {
		return nil, codeError(got.Code, 0)
	}
	doc, err := d.admit(name, got.Document)
	if err != nil {
		return nil, err
	}
	var out []*identity.NodeDescriptor
	for _, raw := range got.Descriptors {
		n, err := identity.ParseDescriptor(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: a descriptor of %s: %w", ErrVerification, name, err)
		}
		if n.Domain != name || !doc.HasNode(n.PeerID) {
			return nil, fmt.Errorf("%w: a descriptor that is not of %s was given as its own", ErrVerification, name)
		}
		if err := d.learn(n); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	if len(out) == 0 {
		return nil, &UnreachableError{What: "no node of " + name + " can be reached now"}
	}
	return out, nil
}

// admit checks a domain document against the pin of that domain and moves the pin. The
// first document of a domain is believed on the own node's word (docs/THREAT-MODEL.md); an
// address that carries the home's peer id closes that.
func (d *directory) admit(name string, raw []byte) (*identity.DomainDocument, error) {
	doc, err := identity.ParseDomain(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: document of %s: %w", ErrVerification, name, err)
	}
	if doc.Domain != name {
		return nil, fmt.Errorf("%w: the document is of another domain than %s", ErrVerification, name)
	}
	pin := identity.DomainPin{Domain: name}
	old, err := d.c.keep.Document(kindDomain, name)
	switch {
	case err == nil:
		last, err := identity.ParseDomain(old.Bytes)
		if err != nil {
			return nil, fmt.Errorf("stored document of %s: %w", name, err)
		}
		pin = last.Pin()
	case errors.Is(err, keep.ErrNotFound):
		pin.Key = doc.Key
	default:
		return nil, err
	}
	verdict, err := pin.Check(doc, d.c.keep.Now())
	if err != nil {
		return nil, fmt.Errorf("%w: document of %s: %w", ErrVerification, name, err)
	}
	if verdict.Change != identity.ChangeNone {
		if err := d.c.keep.Witness(keep.Document{Kind: kindDomain, Name: name, Epoch: doc.Epoch, Hash: doc.Hash(), Bytes: raw}); err != nil {
			return nil, err
		}
	}
	return doc, nil
}

// ask seals a question to a node and opens its answer. The own node relays both.
func (d *directory) ask(ctx context.Context, n *identity.NodeDescriptor, op envelopepb.Operation, argument []byte) (*envelopepb.Answer, error) {
	w, err := d.c.link(ctx)
	if err != nil {
		return nil, err
	}
	return askOver(ctx, w, n, op, argument)
}

func askOver(ctx context.Context, w *wire, n *identity.NodeDescriptor, op envelopepb.Operation, argument []byte) (*envelopepb.Answer, error) {
	box, pending, err := envelope.SealQuery(n.RoutingKey, n.PeerID, op, argument)
	if err != nil {
		return nil, err
	}
	frame, err := w.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_Query{Query: &pb.Query{Destination: n.PeerID[:], Box: box}}})
	if err != nil {
		return nil, err
	}
	got := frame.GetAnswer()
	if got == nil {
		return nil, errors.New("the node answered a query with something else")
	}
	if got.Code != "" {
		return nil, codeError(got.Code, 0)
	}
	answer, err := pending.OpenAnswer(got.Box)
	if err != nil {
		return nil, fmt.Errorf("%w: the answer to a query: %w", ErrVerification, err)
	}
	switch answer.Status {
	case envelopepb.AnswerStatus_ANSWER_LIMITED:
		return nil, codeError(link.CodeRate, time.Duration(answer.RetryAfterMs)*time.Millisecond)
	case envelopepb.AnswerStatus_ANSWER_UNSUPPORTED:
		return nil, errors.New("the other node does not know this kind of question")
	}
	return answer, nil
}

// person returns the devices of an identity: the pinned list and a prekey bundle of each
// device that offers one, from memory when asked lately.
func (d *directory) person(ctx context.Context, root identity.PublicKey, domain string, home identity.PeerID) (*person, error) {
	d.mu.Lock()
	p := d.found[root]
	d.mu.Unlock()
	if p != nil && p.fresh(d.c.keep.Now()) {
		return p, nil
	}
	return d.lookup(ctx, root, domain, home)
}

// forgetNode makes the next use of a node ask its domain again.
func (d *directory) forgetNode(peer identity.PeerID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.nodes, peer)
}

// forget makes the next person ask again.
func (d *directory) forget(root identity.PublicKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.found, root)
}

// lookup asks the node at a domain for an identity and holds what comes against the pin.
func (d *directory) lookup(ctx context.Context, root identity.PublicKey, domain string, home identity.PeerID) (*person, error) {
	nodes, err := d.nodesFor(ctx, domain, home)
	if err != nil {
		return nil, err
	}
	var failed error
	for _, n := range nodes {
		asked := d.c.keep.Now()
		answer, err := d.ask(ctx, n, envelopepb.Operation_OPERATION_LOOKUP, root[:])
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if answer.Status != envelopepb.AnswerStatus_ANSWER_FOUND {
			failed = errors.Join(failed, ErrNotFound)
			continue
		}
		return d.take(root, n, answer, asked)
	}
	return nil, failed
}

func (d *directory) nodesFor(ctx context.Context, domain string, home identity.PeerID) ([]*identity.NodeDescriptor, error) {
	if !home.IsZero() {
		n, err := d.node(ctx, domain, home)
		if err != nil {
			return nil, err
		}
		return []*identity.NodeDescriptor{n}, nil
	}
	return d.domain(ctx, domain)
}

// take verifies an answer and moves the pin of the contact, if there is one. What was asked for
// long ago is as old as the question.
func (d *directory) take(root identity.PublicKey, n *identity.NodeDescriptor, answer *envelopepb.Answer, asked time.Time) (*person, error) {
	list, err := identity.ParseDeviceList(answer.List)
	if err != nil {
		return nil, fmt.Errorf("%w: device list: %w", ErrVerification, err)
	}
	if list.Root != root {
		return nil, fmt.Errorf("%w: the node answered with another identity's devices", ErrVerification)
	}
	if !list.HasHome(n.PeerID) {
		// The owner says which nodes are its homes. A node that is not among them and still
		// answers may stand in the middle of this first look-up.
		d.c.tell(Alarm{From: root, What: "a node that is not among this person's homes answered for it: somebody may stand in the middle"})
		return nil, fmt.Errorf("%w: the node that answered is not a home of this identity", ErrAlarm)
	}
	if err := d.c.pin(list); err != nil {
		return nil, err
	}
	now := d.c.keep.Now()
	p := &person{list: list, bundles: make(map[identity.DeviceID]*envelope.Bundle), asked: asked}
	for _, raw := range answer.Bundles {
		// A bundle of a device that the signed list does not name is somebody else's idea.
		b, err := envelope.ParseBundle(raw, list, now)
		if err != nil {
			d.c.log.Debug("a prekey bundle was not taken", "error", errorKind(err))
			continue
		}
		p.bundles[b.DeviceID()] = b
	}
	d.mu.Lock()
	d.found[root] = p
	d.mu.Unlock()
	return p, nil
}

// pin holds a list against what is pinned for its identity and stores the newer one. A
// contradiction is an alarm: both lists are kept as evidence and nothing else changes.
func (c *Client) pin(list *identity.DeviceList) error {
	if list.Root == c.self {
		return nil // own lists have their own door, keep.SetOwnList
	}
	now := c.keep.Now()
	var alarm error
	var changed bool
	_, err := c.keep.UpdateContact(list.Root, func(k *keep.Contact) error {
		verdict, err := k.Pin.Check(list, now)
		if errors.Is(err, identity.ErrEquivocation) || errors.Is(err, identity.ErrRecoveryChanged) {
			alarm = fmt.Errorf("%w: %w", ErrAlarm, err)
			k.Changed = true
			k.Evidence = keepEvidence(k.Evidence, list.Bytes())
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: device list: %w", ErrVerification, err)
		}
		changed = verdict.Change == identity.ChangeNext || verdict.Change == identity.ChangeJumped
		k.Changed = k.Changed || verdict.Change == identity.ChangeJumped
		k.Pin = k.Pin.Advance(list, now)
		k.List = list.Bytes()
		return nil
	})
	if errors.Is(err, keep.ErrNotFound) {
		// Nobody we know: the caller decides whether it becomes a contact.
		_, err := identity.Pin{}.Check(list, now)
		return err
	}
	if err != nil {
		return err
	}
	if alarm != nil {
		c.tell(Alarm{From: list.Root, What: "two device lists of the same epoch, or a changed recovery key"})
		return alarm
	}
	if changed {
		c.tell(DevicesChanged{From: list.Root})
	}
	return nil
}

// maxEvidence lists are kept as proof; more of the same prove nothing new.
const maxEvidence = 4

func keepEvidence(have [][]byte, list []byte) [][]byte {
	for _, e := range have {
		if string(e) == string(list) {
			return have
		}
	}
	if len(have) >= maxEvidence {
		return have
	}
	return append(have, list)
}
