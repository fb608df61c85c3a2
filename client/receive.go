package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// prepareOpening builds what opens sealed messages, from what is on disk.
func (c *Client) prepareOpening() error {
	prekeys, err := envelope.OpenPrekeys(prekeyStore{c.keep})
	if err != nil {
		return err
	}
	c.prekeys = prekeys
	if horizon := c.keep.Horizon(); !horizon.IsZero() {
		// The replay cache does not reach back: what was sealed before must not open again.
		if _, err := prekeys.DeleteBefore(horizon); err != nil {
			return err
		}
	}
	if prekeys.Current() == nil {
		if _, err := prekeys.RotateNow(c.keep.Now()); err != nil {
			return err
		}
	}
	return nil
}

// openerFor makes the opener of this device's mailbox at a home.
func (c *Client) openerFor(home keep.Home) (*envelope.Opener, error) {
	return envelope.NewOpener(envelope.OpenerConfig{
		Root: c.self, Device: c.device.ID(), Tag: home.Tag,
		Prekeys: c.prekeys, Contacts: standings{c}, Replay: c.replay, Now: c.keep.Now,
		OwnList: func() *identity.DeviceList {
			list, err := c.keep.OwnList()
			if err != nil {
				return nil
			}
			return list
		},
		Horizon: c.keep.Horizon(),
	})
}

// prekeyStore is keep as package envelope wants it.
type prekeyStore struct{ k *keep.Keep }

func (s prekeyStore) Prekeys() ([]envelope.PrekeySecret, error) {
	stored, err := s.k.Prekeys()
	if err != nil {
		return nil, err
	}
	var out []envelope.PrekeySecret
	for _, p := range stored {
		if len(p.Secret) != 32 {
			return nil, errors.New("a stored prekey has the wrong size")
		}
		out = append(out, envelope.PrekeySecret{ID: p.ID, Seed: [32]byte(p.Secret), Created: p.Created})
	}
	return out, nil
}

func (s prekeyStore) PutPrekey(p envelope.PrekeySecret) error {
	return s.k.PutPrekey(keep.Prekey{ID: p.ID, Created: p.Created, Secret: p.Seed[:]})
}

func (s prekeyStore) DeletePrekeys(ids ...envelope.PrekeyID) error {
	raw := make([][16]byte, len(ids))
	for i, id := range ids {
		raw[i] = id
	}
	return s.k.DeletePrekeys(raw...)
}

// standings says what a sender is to this person.
type standings struct{ c *Client }

func (s standings) Contact(root identity.PublicKey) (envelope.Contact, error) {
	k, err := s.c.keep.Contact(root)
	if errors.Is(err, keep.ErrNotFound) {
		return envelope.Contact{Standing: envelope.Stranger}, nil
	}
	if err != nil {
		return envelope.Contact{}, err
	}
	out := envelope.Contact{}
	switch k.State {
	case keep.ContactPendingOut:
		out.Standing = envelope.Knocked
	case keep.ContactAccepted:
		out.Standing = envelope.Accepted
	case keep.ContactBlocked:
		out.Standing = envelope.Blocked
	}
	if len(k.List) > 0 {
		if out.List, err = identity.ParseDeviceList(k.List); err != nil {
			return envelope.Contact{}, err
		}
	}
	return out, nil
}

// bundle is this device's current prekey and route, signed.
func (c *Client) bundle(list *identity.DeviceList, home keep.Home) (*envelope.Bundle, error) {
	return c.prekeys.Current().Bundle(c.device, c.self, list.Epoch, envelope.Route{
		Home: identity.Home{PeerID: home.PeerID, Domain: home.Domain}, Tag: home.Tag, TokenEpoch: home.TokenEpoch,
	})
}

// A stored envelope that came faster than envelopes are opened waits here and is tried again
// after a pause: it must not be acknowledged unread. A mailbox holds fewer than maxLate.
const (
	maxLate   = 512
	latePause = 500 * time.Millisecond
)

// receiveLoop opens what arrives, one after the other, and acknowledges what is safely kept.
// A failure to open is counted and forgotten: an answer would tell a stranger how far it got.
func (c *Client) receiveLoop(ctx context.Context) error {
	var late []delivery
	pause := time.NewTimer(time.Hour)
	defer pause.Stop()
	var acks []uint64
	var over *wire // what acks came over
	flush := func() {
		for len(acks) > 0 {
			n := min(len(acks), link.MaxAcks)
			c.acknowledge(over, acks[:n])
			acks = acks[n:]
		}
	}
	take := func(d delivery) {
		err := c.handle(d.Deliver)
		switch {
		case errors.Is(err, envelope.ErrRate) && d.StoredId != 0:
			if len(late) == 0 {
				pause.Reset(latePause)
			}
			if len(late) < maxLate {
				late = append(late, d)
			}
			return // beyond the bound it stays at the node and comes with the next link
		case errors.Is(err, keep.ErrUnavailable):
			c.log.Error("a delivery could not be kept; it stays at the node", "error", errorKind(err))
			return
		case err != nil:
			c.log.Debug("a delivery was dropped", "reason", envelope.DropReason(err))
		}
		if d.StoredId != 0 {
			if over != d.over {
				flush()
				over = d.over
			}
			acks = append(acks, d.StoredId)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
			again := late
			late = nil
			for _, d := range again {
				take(d)
			}
		case d := <-c.inbound:
			take(d)
			for more := true; more && len(acks) < link.MaxAcks; {
				select {
				case d := <-c.inbound:
					take(d)
				default:
					more = false
				}
			}
		}
		flush()
	}
}

// acknowledge tells the node over the wire that brought them, which may be about to become
// the link: what waited in the mailbox comes right behind the registration. Where that wire
// has ended they come again with the next one, and are recognised.
func (c *Client) acknowledge(w *wire, ids []uint64) {
	if err := w.send(&pb.ClientFrame{Kind: &pb.ClientFrame_Ack{Ack: &pb.Ack{StoredIds: ids}}}); err != nil {
		c.log.Debug("an acknowledgement was not sent", "error", errorKind(err))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wire == w {
		c.backlog -= len(ids)
	} else {
		w.early += len(ids)
	}
}

// drained reports whether everything that waited in the mailbox when the link began has been
// taken.
func (c *Client) drained() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wire != nil && c.backlog <= 0
}

// Fetched waits until everything that waited in the mailbox when the link began has been
// taken.
func (c *Client) Fetched(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !c.drained() {
		if _, err := c.link(ctx); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (c *Client) handle(d *pb.Deliver) error {
	if handle, sealed := envelope.PayloadHandle(d.Payload); !sealed {
		return c.calls.frame(handle, d.Payload)
	}
	home, err := c.home()
	if err != nil {
		return err
	}
	opener, err := c.currentOpener(home)
	if err != nil {
		return err
	}
	if len(d.Hint) != 2 {
		return envelope.ErrMalformed
	}
	opened, err := opener.Open(d.Payload, envelope.Hint(d.Hint), d.Knock)
	if again := new(envelope.ReplayError); errors.As(err, &again) {
		return c.again(again)
	}
	if err == nil {
		err = c.act(opened)
	}
	if errors.Is(err, keep.ErrUnavailable) {
		c.replay.unfinished()
		return err
	}
	return errors.Join(err, c.replay.finished())
}

func (c *Client) currentOpener(home keep.Home) (*envelope.Opener, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opener != nil {
		return c.opener, nil
	}
	o, err := c.openerFor(home)
	if err == nil {
		c.opener = o
	}
	return o, err
}

// How often at most something is answered that others can repeat at will.
const (
	answerAgain = time.Minute // a note that came again, a knock of a contact, a lost token
	askOwnAgain = time.Minute
)

// again answers a note that came twice with a second receipt: the first may be lost. A note
// that is not kept here is not acknowledged.
func (c *Client) again(r *envelope.ReplayError) error {
	if r.Type == envelopepb.Type_TYPE_NOTE && r.Standing == envelope.Accepted && c.acking.allow(r.ID, c.keep.Now(), answerAgain) {
		if _, err := c.keep.Note(r.Sender, false, r.ID); err == nil {
			c.acknowledgeNotes(r.Sender, r.ID)
		}
	}
	return r
}

// act does what an opened message asks for. What it must not lose it writes down first.
func (c *Client) act(o *envelope.Opened) error {
	known := o.Standing == envelope.Accepted || o.Standing == envelope.Own
	if o.Echo == envelope.EchoConflict && known {
		c.tell(Alarm{From: o.SenderRoot, What: "this contact was shown a device list of yours that you did not make"})
	}
	if o.Echo == envelope.EchoAhead && known {
		c.askOwnList()
	}
	if o.WantsList() {
		c.sendOwnList(o.SenderRoot, o.SenderCert.DeviceID())
	}
	if o.FetchList() && o.Standing != envelope.Stranger {
		c.directory.forget(o.SenderRoot)
	}
	if o.Grant != nil && (known || o.Standing == envelope.Knocked) {
		if err := c.takeGrant(o); err != nil {
			return err
		}
	}
	if o.Knock && known && o.Type != envelopepb.Type_TYPE_KNOCK {
		c.giveTokenAgain(o.SenderRoot, o.SenderCert.DeviceID())
	}
	switch body := o.Content.(type) {
	case *envelope.Knock:
		if body.Accept {
			return c.onKnockAccept(o, body)
		}
		return c.onKnock(o, body)
	case *envelope.Note:
		return c.onNote(o, body)
	case *envelope.Read:
		return c.onRead(o, body)
	case *envelope.RingBody:
		return c.calls.onRing(o, body)
	case *envelope.Cancel:
		return c.calls.onCancel(o, body)
	case *envelope.ListUpdate:
		return c.onListUpdate(o, body)
	case *envelope.ContactSync:
		return c.onContactSync(o, body)
	}
	if o.Type == envelopepb.Type_TYPE_COMPARED {
		c.tell(Compared{From: o.SenderRoot})
	}
	return nil
}

// takeGrant stores leave to deliver that an accepted contact or an own device gave. It counts for the device
// that signed the message only.
func (c *Client) takeGrant(o *envelope.Opened) error {
	if o.Grant.Device != o.SenderCert.DeviceID() {
		return envelope.ErrPolicy
	}
	grant := keepGrant(o.Grant)
	known, err := c.contact(o.SenderRoot)
	if err != nil || slices.Contains(known.Grants, grant) {
		return err
	}
	if _, err := c.keep.UpdateContact(o.SenderRoot, func(k *keep.Contact) error {
		setGrant(k, grant)
		return nil
	}); err != nil {
		return err
	}
	if o.Standing == envelope.Own {
		c.later("tell an own device whom we know", c.greetOwnDevices)
		return nil
	}
	c.attempts.again() // a note may have waited for it
	c.poke()
	return nil
}

// giveTokenAgain answers a device of an accepted contact, or an own one, that had to knock: its token is an old
// one, or lost.
func (c *Client) giveTokenAgain(root identity.PublicKey, device identity.DeviceID) {
	if !c.giving.allow(device, c.keep.Now(), answerAgain) {
		return
	}
	c.later("give a delivery token again", func(ctx context.Context) error {
		return c.toDevice(ctx, root, device, letter{
			kind: envelopepb.Type_TYPE_TOKEN_UPDATE, life: knockLife, ttl: envelope.Week, withGrant: true,
		})
	})
}

// askOwnList fetches the own list after somebody knew a later one.
func (c *Client) askOwnList() {
	if !c.asking.allow(c.self, c.keep.Now(), askOwnAgain) {
		return
	}
	c.later("ask for the own device list", func(ctx context.Context) error {
		w, err := c.link(ctx)
		if err != nil {
			return err
		}
		return c.endIfRemoved(w, c.adoptOwnList(ctx, w))
	})
}

// endIfRemoved ends the link of a device that its identity has removed, so that Run sees it.
func (c *Client) endIfRemoved(w *wire, err error) error {
	if errors.Is(err, ErrRemoved) && w != nil {
		w.close()
	}
	return err
}

func (c *Client) onKnock(o *envelope.Opened, body *envelope.Knock) error {
	if o.Standing == envelope.Accepted {
		// It has lost our answer, or its grant: answer again.
		if c.answering.allow(o.SenderRoot, c.keep.Now(), answerAgain) {
			c.later("answer a knock again", func(ctx context.Context) error {
				k, err := c.keep.Contact(o.SenderRoot)
				if err != nil {
					return err
				}
				return c.sendKnockAccept(ctx, k)
			})
		}
		return nil
	}
	if o.Standing == envelope.Knocked {
		// Both knocked: that is a yes on both sides.
		return c.becomeAccepted(o, body.Home)
	}
	var grant *keep.Grant
	if o.Grant != nil && o.Grant.Device == o.SenderCert.DeviceID() {
		g := keepGrant(o.Grant)
		grant = &g
	}
	if err := c.keep.PutKnock(keep.Knock{
		Root: o.SenderRoot, Device: o.SenderCert.DeviceID(), Message: o.ID, Name: body.Name, Text: body.Text,
		Domain: body.Home.Domain, Home: body.Home.PeerID, Received: c.keep.Now(), Grant: grant,
	}); err != nil {
		return err
	}
	c.tell(KnockReceived{From: o.SenderRoot, Name: body.Name, Text: body.Text, Domain: body.Home.Domain})
	return nil
}

func (c *Client) onKnockAccept(o *envelope.Opened, body *envelope.Knock) error {
	if o.Standing != envelope.Knocked {
		return nil // a second yes
	}
	return c.becomeAccepted(o, body.Home)
}

func (c *Client) becomeAccepted(o *envelope.Opened, home identity.Home) error {
	own, err := c.home()
	if err != nil {
		return err
	}
	k, err := c.keep.UpdateContact(o.SenderRoot, func(k *keep.Contact) error {
		k.State = keep.ContactAccepted
		// The signed list says which homes it has, the message which one it lives at now.
		if list, err := identity.ParseDeviceList(k.List); err == nil && list.HasHome(home.PeerID) {
			k.Domain, k.Home = home.Domain, home.PeerID
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.tell(KnockAccepted{From: o.SenderRoot})
	c.syncContact(o.SenderRoot)
	if k.Given[own.Domain] < own.TokenEpoch {
		// The knock carried the grant to the devices of that day; a token may have changed.
		c.later("hand out the delivery token", c.giveTokens)
	}
	return nil
}

// sendOwnList answers a message of somebody who was shown an old list of ours.
func (c *Client) sendOwnList(root identity.PublicKey, device identity.DeviceID) {
	now := c.keep.Now()
	due := false
	if _, err := c.keep.UpdateContact(root, func(k *keep.Contact) error {
		if due = now.Sub(k.Told[device]) >= envelope.UpdateInterval; due {
			if k.Told == nil {
				k.Told = make(map[identity.DeviceID]time.Time)
			}
			k.Told[device] = now
		}
		return nil
	}); err != nil || !due {
		return
	}
	c.later("send the device list", func(ctx context.Context) error {
		list, err := c.keep.OwnList()
		if err != nil {
			return err
		}
		body := &envelope.ListUpdate{List: list.Bytes()}
		return c.toDevice(ctx, root, device, letter{body: body, kind: body.Type(), life: knockLife, ttl: envelope.Week, withGrant: true})
	})
}

func (c *Client) onListUpdate(o *envelope.Opened, body *envelope.ListUpdate) error {
	list, err := identity.ParseDeviceList(body.List)
	if err != nil {
		return err
	}
	if list.Root != o.SenderRoot {
		return envelope.ErrSender
	}
	if o.Standing == envelope.Own {
		return c.endIfRemoved(c.linked(), c.takeOwnList(list))
	}
	c.directory.forget(list.Root)
	return c.pin(list)
}
