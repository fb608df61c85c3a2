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
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// letter is one sealed message before it is sealed: the same for every device it goes to.
type letter struct {
	body      envelope.Body // nil for types without one
	kind      envelopepb.Type
	life      time.Duration
	ttl       envelope.TTL
	id        envelope.MessageID // zero: one is drawn for each device
	session   envelope.SessionID
	collapse  envelope.CollapseKey
	withGrant bool // carries the own grant: only to people we said yes to
	knock     bool // goes as a knock whatever grant there is
	fate      func(identity.DeviceID, keep.Fate, string)
}

// addressee is one device with what is needed to write to it.
type addressee struct {
	contact keep.Contact
	list    *identity.DeviceList
	bundle  *envelope.Bundle
	grant   *keep.Grant // nil: only a knock reaches it
}

// sent is what became of one letter to one device.
type sent struct {
	device identity.DeviceID
	signed []byte
	id     envelope.ID
}

// addressees returns the devices of a contact that can be written to. Only devices that the
// pinned, signed list names are among them, whatever bundles a node hands out.
func (c *Client) addressees(ctx context.Context, contact keep.Contact) ([]addressee, error) {
	if len(contact.Evidence) > 0 {
		return nil, ErrAlarm
	}
	p, err := c.directory.person(ctx, contact.Root, contact.Domain, contact.Home)
	if err != nil {
		return nil, err
	}
	var out []addressee
	for _, cert := range p.list.Devices {
		b := p.bundles[cert.DeviceID()]
		if b == nil || cert.DeviceID() == c.device.ID() {
			continue
		}
		a := addressee{contact: contact, list: p.list, bundle: b}
		for i := range contact.Grants {
			if g := &contact.Grants[i]; g.Device == cert.DeviceID() && g.Tag == b.Route.Tag && !c.refused.has(g) {
				a.grant = g
			}
		}
		out = append(out, a)
	}
	return out, nil
}

// deliver seals a letter to one device and posts it.
func (c *Client) deliver(ctx context.Context, a addressee, l letter) (sent, error) {
	m, cert, err := c.write(a, l)
	if err != nil {
		return sent{}, err
	}
	payload, signed, err := envelope.SealMessage(c.device, cert, a.bundle, m)
	if err != nil {
		return sent{}, err
	}
	id, err := c.dispatch(ctx, a, l, m.ID, payload)
	return sent{device: a.bundle.DeviceID(), signed: signed, id: id}, err
}

// write fills a message for one device.
func (c *Client) write(a addressee, l letter) (envelope.Message, *identity.DeviceCert, error) {
	own, err := c.keep.OwnList()
	if err != nil {
		return envelope.Message{}, nil, err
	}
	cert, err := c.keep.OwnCert()
	if err != nil {
		return envelope.Message{}, nil, err
	}
	now := c.keep.Now()
	m := envelope.Message{Type: l.kind, Created: now, Expires: now.Add(l.life)}
	if l.body != nil {
		if m, err = envelope.NewMessage(l.body, now, l.life); err != nil {
			return m, nil, err
		}
	}
	m.ID, m.SessionID = l.id, l.session
	if m.ID == (envelope.MessageID{}) {
		m.ID = envelope.NewMessageID()
	}
	m.OwnEpoch = own.Epoch
	m.BelievedEpoch, m.BelievedHash = a.list.Epoch, a.list.HashPrefix()
	if l.withGrant {
		home, err := c.home()
		if err != nil {
			return m, nil, err
		}
		m.Grant = c.ownGrant(home)
	}
	return m, cert, nil
}

// ownGrant is leave to write to this device's mailbox.
func (c *Client) ownGrant(h keep.Home) *envelope.Grant {
	return &envelope.Grant{
		Home: identity.Home{PeerID: h.PeerID, Domain: h.Domain}, Tag: h.Tag,
		Token: h.Token(h.TokenEpoch), TokenEpoch: h.TokenEpoch, Device: c.device.ID(),
	}
}

// dispatch posts a sealed payload, with the token where there is one. When the token is no
// longer taken (the other side blocked somebody and changed it) the same payload goes once
// more as a knock, which an accepted contact's device answers with a new token.
func (c *Client) dispatch(ctx context.Context, a addressee, l letter, message envelope.MessageID, payload []byte) (envelope.ID, error) {
	o := outgoing{
		to: a.contact.Root, device: a.bundle.DeviceID(), home: a.bundle.Route.Home,
		ttl: l.ttl, payload: payload, message: message,
		hop: envelope.Hop{Tag: a.bundle.Route.Tag, Collapse: l.collapse, Hint: a.bundle.PrekeyID.Hint()},
	}
	knock := l.knock || a.grant == nil
	if knock {
		o.hop.Knock = true
	} else {
		o.hop.Token = a.grant.Token
	}
	if o.hop.Knock && len(payload) != envelope.KnockSize {
		return envelope.ID{}, fmt.Errorf("%w: what is longer than a knock needs leave to deliver first", ErrNotAccepted)
	}
	device := a.bundle.DeviceID()
	o.fate = func(f keep.Fate, code string) {
		if f == keep.FateRefused && code == link.CodeRefused && !knock {
			c.refused.add(a.grant)
			again := l
			again.knock = true
			if l.ttl != envelope.Live && len(payload) == envelope.KnockSize && c.later("send as a knock", func(ctx context.Context) error {
				_, err := c.dispatch(ctx, a, again, message, payload)
				return err
			}) {
				return
			}
			c.askForToken(a)
		}
		if l.fate != nil {
			l.fate(device, f, code)
		}
		c.noteFate(a.contact.Root, message, f, code)
	}
	return c.ledger.post(ctx, o)
}

// askForToken knocks at a contact's device whose token is no longer taken: what is to be sent
// is too long for a knock itself.
func (c *Client) askForToken(a addressee) {
	if !c.knocking.allow(a.bundle.DeviceID(), c.keep.Now(), knockAgain) {
		return
	}
	c.later("ask for a delivery token", func(ctx context.Context) error {
		home, err := c.home()
		if err != nil {
			return err
		}
		body := &envelope.Knock{Home: identity.Home{PeerID: home.PeerID, Domain: home.Domain}}
		a.grant = nil
		_, err = c.deliver(ctx, a, letter{body: body, kind: body.Type(), life: knockLife, ttl: envelope.Week, withGrant: true, knock: true})
		return err
	})
}

// knockAgain is how often one device is asked for its token.
const knockAgain = time.Hour

// refusedGrants are grants that a node did not take, until the device gives another one. They
// are remembered in memory only: after a restart one try shows it again.
type refusedGrants struct {
	mu     sync.Mutex // guards tokens
	tokens map[identity.DeviceID]envelope.Token
}

func (r *refusedGrants) add(g *keep.Grant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tokens == nil {
		r.tokens = make(map[identity.DeviceID]envelope.Token)
	}
	r.tokens[g.Device] = g.Token // bounded by the devices of accepted contacts
}

func (r *refusedGrants) has(g *keep.Grant) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	token, ok := r.tokens[g.Device]
	return ok && token == g.Token
}

// contact is what is known of an identity, the own one included.
func (c *Client) contact(root identity.PublicKey) (keep.Contact, error) {
	if root == c.self {
		return c.ownContact()
	}
	return c.keep.Contact(root)
}

// toDevice sends a letter to one device of a contact, or to another own one.
func (c *Client) toDevice(ctx context.Context, root identity.PublicKey, device identity.DeviceID, l letter) error {
	k, err := c.contact(root)
	if err != nil {
		return err
	}
	to, err := c.addressees(ctx, k)
	if err != nil {
		return err
	}
	for _, a := range to {
		if a.bundle.DeviceID() == device {
			_, err := c.deliver(ctx, a, l)
			return err
		}
	}
	return &UnreachableError{What: "this device of a contact offers no key to write to"}
}

// deliverAll sends a letter to every device of a contact. It fails only when no device could
// be written to.
func (c *Client) deliverAll(ctx context.Context, contact keep.Contact, l letter) ([]sent, error) {
	to, err := c.addressees(ctx, contact)
	if err != nil {
		return nil, err
	}
	var out []sent
	var failed error
	for _, a := range to {
		s, err := c.deliver(ctx, a, l)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		if failed == nil {
			failed = &UnreachableError{What: "no device of this contact offers a key to write to"}
		}
		return nil, failed
	}
	if failed != nil {
		c.log.Warn("one of several devices could not be written to", "error", errorKind(failed))
	}
	return out, nil
}
