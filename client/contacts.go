package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// Contact is somebody we know of.
type Contact struct {
	ID       identity.PublicKey
	Address  identity.Address
	Name     string // ours for it, else its own words; never a proof
	State    keep.ContactState
	Verified bool
	Knock    string // what it said when it knocked
	Epoch    uint64
	Devices  int
	Changed  bool // its devices changed over a gap, or contradict each other
	Alarm    bool // contradicting lists are kept as evidence; sending is stopped
}

func contactOf(k keep.Contact) Contact {
	c := Contact{
		ID: k.Root, Address: identity.Address{Root: k.Root, Domain: k.Domain, Home: k.Home},
		Name: k.Name, State: k.State, Verified: k.Verified, Knock: k.Text,
		Epoch: k.Pin.Epoch, Changed: k.Changed, Alarm: len(k.Evidence) > 0,
	}
	if k.Petname != "" {
		c.Name = k.Petname
	}
	if list, err := identity.ParseDeviceList(k.List); err == nil {
		c.Devices = len(list.Devices)
	}
	return c
}

// Rename gives a contact our own name for it, which stays on this device.
func (c *Client) Rename(root identity.PublicKey, petname string) error {
	_, err := c.keep.UpdateContact(root, func(k *keep.Contact) error {
		k.Petname = petname
		return nil
	})
	if errors.Is(err, keep.ErrNotFound) {
		return ErrNoContact
	}
	return err
}

// Contacts lists everybody we know of and the strangers who wait for an answer.
func (c *Client) Contacts() ([]Contact, error) {
	stored, err := c.keep.Contacts()
	if err != nil {
		return nil, err
	}
	knocks, err := c.keep.Knocks()
	if err != nil {
		return nil, err
	}
	var out []Contact
	for _, k := range stored {
		if k.Root != c.self { // see ownContact
			out = append(out, contactOf(k))
		}
	}
	for _, k := range knocks {
		out = append(out, Contact{
			ID: k.Root, Address: identity.Address{Root: k.Root, Domain: k.Domain, Home: k.Home},
			Name: k.Name, State: keep.ContactPendingIn, Knock: k.Text,
		})
	}
	return out, nil
}

// Find asks for an identity at its domain and pins its devices. Nobody on the way learns
// whom we asked for but the node that was asked, and it does not learn who asked.
func (c *Client) Find(ctx context.Context, address identity.Address) (Contact, error) {
	if address.Root == c.self {
		return Contact{}, errors.New("this is your own address")
	}
	k, err := c.keep.Contact(address.Root)
	known := err == nil
	if err != nil && !errors.Is(err, keep.ErrNotFound) {
		return Contact{}, err
	}
	p, err := c.directory.lookup(ctx, address.Root, address.Domain, address.Home)
	if err != nil {
		return Contact{}, err
	}
	home := address.Home
	if home.IsZero() {
		home = homeIn(p.list, address.Domain)
	}
	if !known {
		now := c.keep.Now()
		if _, err := (identity.Pin{}).Check(p.list, now); err != nil {
			return Contact{}, fmt.Errorf("%w: device list: %w", ErrVerification, err)
		}
		k = keep.Contact{
			Root: address.Root, Domain: address.Domain, Home: home, State: keep.ContactKnown,
			Pin: identity.Pin{}.Advance(p.list, now), List: p.list.Bytes(), Added: now,
		}
		if err := c.keep.PutContact(k); err != nil {
			return Contact{}, err
		}
		return contactOf(k), nil
	}
	k, err = c.keep.UpdateContact(address.Root, func(k *keep.Contact) error {
		k.Domain, k.Home = address.Domain, home
		return nil
	})
	return contactOf(k), err
}

func homeIn(list *identity.DeviceList, domain string) identity.PeerID {
	for _, h := range list.Homes {
		if h.Domain == domain {
			return h.PeerID
		}
	}
	return identity.PeerID{}
}

// knockLife is how long a knock may wait in a mailbox.
const knockLife = 7 * 24 * time.Hour

// Knock asks somebody to be a contact. It carries leave to answer us.
func (c *Client) Knock(ctx context.Context, address identity.Address, text, name string) (Contact, error) {
	if _, err := c.Find(ctx, address); err != nil {
		return Contact{}, err
	}
	home, err := c.home()
	if err != nil {
		return Contact{}, err
	}
	k, err := c.keep.UpdateContact(address.Root, func(k *keep.Contact) error {
		switch k.State {
		case keep.ContactAccepted:
			return nil // knocking again asks for a lost grant
		case keep.ContactBlocked:
			return errors.New("this contact is blocked: unblock it first with contact accept")
		}
		k.State = keep.ContactPendingOut
		return nil
	})
	if err != nil {
		return Contact{}, err
	}
	body := &envelope.Knock{Text: text, Name: name, Home: identity.Home{PeerID: home.PeerID, Domain: home.Domain}}
	_, err = c.deliverAll(ctx, k, letter{
		body: body, kind: body.Type(), life: knockLife, ttl: envelope.Week, withGrant: true, knock: true,
	})
	if err == nil {
		err = c.gave(k.Root, home)
	}
	return contactOf(k), err
}

// Accept says yes to somebody who knocked: only now its devices are looked up, the knock is
// held against them, and leave to deliver is exchanged. It also unblocks. Once it has
// returned without an error the yes is written down and is sent until it has left.
func (c *Client) Accept(ctx context.Context, root identity.PublicKey) error {
	knock, err := c.keep.Knock(root)
	if errors.Is(err, keep.ErrNotFound) {
		return c.unblock(ctx, root)
	}
	if err != nil {
		return err
	}
	if _, err := c.Find(ctx, identity.Address{Root: root, Domain: knock.Domain, Home: knock.Home}); err != nil {
		return err
	}
	k, err := c.keep.Contact(root)
	if err != nil {
		return err
	}
	list, err := identity.ParseDeviceList(k.List)
	if err != nil {
		return err
	}
	if _, listed := list.Device(knock.Device); !listed {
		return fmt.Errorf("%w: the device that knocked is not in the identity's own list", ErrVerification)
	}
	k, err = c.keep.UpdateContact(root, func(k *keep.Contact) error {
		k.State, k.Name, k.Text = keep.ContactAccepted, knock.Name, knock.Text
		if knock.Grant != nil {
			setGrant(k, *knock.Grant)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.keep.RemoveKnock(root); err != nil {
		return err
	}
	return c.sayYes(ctx, k)
}

// sayYes sends the yes that is written down already; what fails now for a while is done by
// giveTokens later.
func (c *Client) sayYes(ctx context.Context, k keep.Contact) error {
	err := passing(c.sendKnockAccept(ctx, k))
	c.syncContact(k.Root)
	return err
}

func (c *Client) sendKnockAccept(ctx context.Context, k keep.Contact) error {
	home, err := c.home()
	if err != nil {
		return err
	}
	body := &envelope.Knock{Accept: true, Home: identity.Home{PeerID: home.PeerID, Domain: home.Domain}}
	_, err = c.deliverAll(ctx, k, letter{
		body: body, kind: body.Type(), life: knockLife, ttl: envelope.Week, withGrant: true,
	})
	if err == nil {
		err = c.gave(k.Root, home)
	}
	return err
}

// gave remembers that the contact holds the current delivery token.
func (c *Client) gave(root identity.PublicKey, home keep.Home) error {
	_, err := c.keep.UpdateContact(root, func(k *keep.Contact) error {
		if k.Given == nil {
			k.Given = make(map[string]uint64)
		}
		k.Given[home.Domain] = home.TokenEpoch
		return nil
	})
	return err
}

func (c *Client) unblock(ctx context.Context, root identity.PublicKey) error {
	k, err := c.keep.Contact(root)
	if err != nil {
		return fmt.Errorf("%w: nobody with this id has knocked", ErrNoContact)
	}
	if k.State == keep.ContactAccepted {
		return nil
	}
	if k.State != keep.ContactBlocked {
		return fmt.Errorf("%w: it has not knocked; knock yourself with contact add", ErrNoContact)
	}
	if k, err = c.keep.UpdateContact(root, func(k *keep.Contact) error {
		k.State, k.Given = keep.ContactAccepted, nil
		return nil
	}); err != nil {
		return err
	}
	return c.sayYes(ctx, k)
}

// Decline drops a knock without an answer: the stranger learns nothing.
func (c *Client) Decline(root identity.PublicKey) error { return c.keep.RemoveKnock(root) }

// Block ends a contact's leave to deliver: the token changes at once, without grace, and all
// other accepted contacts get the new one. Without a link the block is written down, and the
// node learns of it first thing with the next one.
func (c *Client) Block(ctx context.Context, root identity.PublicKey) error {
	if err := c.keep.RemoveKnock(root); err != nil && !errors.Is(err, keep.ErrNotFound) {
		return err
	}
	_, err := c.keep.UpdateContact(root, func(k *keep.Contact) error {
		k.State, k.Given = keep.ContactBlocked, nil
		return nil
	})
	if errors.Is(err, keep.ErrNotFound) {
		return ErrNoContact
	}
	if err != nil {
		return err
	}
	c.calls.endWith(root)
	err = c.rotateToken(ctx, false)
	c.syncContact(root)
	return err
}

// rotateToken changes the delivery token of this device's mailbox. With grace the node takes
// the previous one too until the next change.
func (c *Client) rotateToken(ctx context.Context, grace bool) error {
	c.homeMu.Lock()
	home, err := c.home()
	if err == nil {
		home.TokenEpoch++
		home.Grace = grace
		err = c.keep.PutHome(home)
	}
	c.homeMu.Unlock()
	if err != nil {
		return err
	}
	// Written down: a link that begins from here on registers the new token.
	w, err := c.link(ctx)
	if err != nil {
		return err
	}
	// The mailbox first: it is what stops the old token.
	if _, err := c.registerMailbox(ctx, w, home); err != nil {
		return err
	}
	if err := c.publishOwn(ctx, w, home); err != nil {
		return err
	}
	c.later("hand out the new delivery token", c.giveTokens)
	return nil
}

// giveTokens gives every accepted contact leave to deliver that does not hold the current
// token: as a yes where it never had one, else as TOKEN_UPDATE.
func (c *Client) giveTokens(ctx context.Context) error {
	c.giveMu.Lock()
	defer c.giveMu.Unlock()
	home, err := c.home()
	if err != nil {
		return err
	}
	contacts, err := c.keep.Contacts()
	if err != nil {
		return err
	}
	var failed error
	for _, k := range contacts {
		if k.State != keep.ContactAccepted || len(k.Evidence) > 0 || k.Given[home.Domain] >= home.TokenEpoch {
			continue
		}
		if k.Given[home.Domain] == 0 {
			failed = errors.Join(failed, passing(c.sendKnockAccept(ctx, k)))
			continue
		}
		_, err := c.deliverAll(ctx, k, letter{
			kind: envelopepb.Type_TYPE_TOKEN_UPDATE, life: knockLife, ttl: envelope.Week, withGrant: true,
		})
		if err == nil {
			err = c.gave(k.Root, home)
		}
		failed = errors.Join(failed, passing(err))
	}
	return failed
}

// setGrant stores a grant, replacing an older one of the same device.
func setGrant(k *keep.Contact, g keep.Grant) {
	for i := range k.Grants {
		if k.Grants[i].Device == g.Device {
			if k.Grants[i].TokenEpoch <= g.TokenEpoch || k.Grants[i].Tag != g.Tag {
				k.Grants[i] = g
			}
			return
		}
	}
	if len(k.Grants) >= maxGrants { // devices come and go; the oldest grant is of one gone
		k.Grants = slices.Delete(k.Grants, 0, 1)
	}
	k.Grants = append(k.Grants, g)
}

const maxGrants = 8

func keepGrant(g *envelope.Grant) keep.Grant {
	return keep.Grant{
		Device: g.Device, PeerID: g.Home.PeerID, Domain: g.Home.Domain,
		Tag: g.Tag, Token: g.Token, TokenEpoch: g.TokenEpoch,
	}
}

// SafetyNumber is what two people compare to be sure of each other's root keys.
func (c *Client) SafetyNumber(root identity.PublicKey) string {
	return identity.SafetyNumber(c.self, root)
}

// Verify compares what the other person read out with the safety number.
func (c *Client) Verify(root identity.PublicKey, spoken string) error {
	digits := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, s)
	}
	if digits(spoken) != digits(c.SafetyNumber(root)) {
		return fmt.Errorf("%w: the numbers differ; somebody may stand between you, or one of you has another contact in mind", ErrVerification)
	}
	_, err := c.keep.UpdateContact(root, func(k *keep.Contact) error {
		k.Verified, k.Changed = true, false
		return nil
	})
	if errors.Is(err, keep.ErrNotFound) {
		return ErrNoContact
	}
	return err
}

// Resolve ends an alarm after the person decided to go on with the pinned devices.
func (c *Client) Resolve(root identity.PublicKey) error {
	_, err := c.keep.UpdateContact(root, func(k *keep.Contact) error {
		k.Evidence, k.Changed = nil, false
		return nil
	})
	return err
}

// writable returns a contact to whom something may be sent now.
func (c *Client) writable(root identity.PublicKey) (keep.Contact, error) {
	k, err := c.keep.Contact(root)
	switch {
	case errors.Is(err, keep.ErrNotFound):
		return k, ErrNoContact
	case err != nil:
		return k, err
	case k.State != keep.ContactAccepted:
		return k, ErrNotAccepted
	case len(k.Evidence) > 0:
		return k, ErrAlarm
	}
	return k, nil
}
