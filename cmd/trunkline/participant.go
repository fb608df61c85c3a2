package main

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// How long the commands of a person wait, where nothing else is said.
const (
	// readyPatience is for the own node. A restart of it takes a few seconds.
	readyPatience = 10 * time.Second
	// leavePatience is for what is still on its way when a command ends. What does not make
	// it stays on the disk and goes out with the next command.
	leavePatience = 2 * time.Second
)

// openClient opens the identity of the data folder. With rootKey it asks for the passphrase
// of the root key where there is one.
func (a *app) openClient(unlockFile string, rootKey bool) (*client.Client, error) {
	dir, err := a.clientData()
	if err != nil {
		return nil, err
	}
	k, err := keep.Open(dir, a.keepOptions())
	if err != nil {
		return nil, keepError(err)
	}
	custody := k.Profile().Custody
	homes, err := k.Homes()
	if err = errors.Join(err, k.Close()); err != nil {
		return nil, keepError(err)
	}
	cfg := client.Config{Dir: dir, Logger: a.logger(levelSilent), Now: a.now}
	if cfg.RootCAs, err = trustedAuthorities(dir); err != nil {
		return nil, err
	}
	// An identity without a node has no link to keep, and meets people by cards.
	cfg.Alone, cfg.Loopback = len(homes) == 0, len(homes) == 0
	for _, h := range homes {
		// A node on this very machine means that others are here too, and on a machine
		// without a network loopback is the only way to them.
		cfg.Loopback = cfg.Loopback || loopbackURL(h.URL)
	}
	if rootKey {
		switch custody {
		case keep.CustodyCold:
			return nil, failed(nil, "this device does not keep the root key", "run this on the device that does, or recover the identity from its phrase into another folder")
		case keep.CustodyPassphrase:
			if cfg.Passphrase, err = a.unlock(unlockFile, true); err != nil {
				return nil, err
			}
		}
	}
	c, err := client.Open(cfg)
	if err != nil {
		return nil, keepError(err)
	}
	return c, nil
}

func loopbackURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// offline runs f on the identity of the data folder, without a network.
func (a *app) offline(f func(*client.Client) error) error {
	c, err := a.openClient("", false)
	if err != nil {
		return err
	}
	return clientError(errors.Join(f(c), c.Close()))
}

// online runs f on the identity of the data folder while it is connected to its node, and
// leaves in order: what f sent is out, or safe on the disk.
func (a *app) online(ctx context.Context, f func(context.Context, *client.Client) error) error {
	c, err := a.openClient("", false)
	if err != nil {
		return err
	}
	return a.connected(ctx, c, f)
}

// connected is online for a client that is open. It closes it.
func (a *app) connected(ctx context.Context, c *client.Client, f func(context.Context, *client.Client) error) error {
	self, err := c.Self()
	if err == nil && self.Address == "" {
		err = client.ErrNotRegistered
	}
	if err != nil {
		return clientError(errors.Join(err, c.Close()))
	}
	// The client outlives ctx: an interrupted call still says goodbye.
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() {
		err := c.Run(run)
		cancel(err)
		ended <- err
	}()
	err = a.ready(work, c)
	if err == nil {
		err = f(work, c)
		leaving, done := context.WithTimeout(context.WithoutCancel(ctx), leavePatience)
		// Whether all of it was taken is in the ledger, which the next command goes on with.
		if _, ferr := c.Flush(leaving); ferr != nil && leaving.Err() == nil && err == nil {
			err = ferr
		}
		done()
	}
	stop()
	if rerr := <-ended; !errors.Is(rerr, context.Canceled) && (err == nil || errors.Is(err, context.Canceled)) {
		err = rerr // the client ended before the command did
	}
	return clientError(errors.Join(err, c.Close()))
}

func (a *app) ready(ctx context.Context, c *client.Client) error {
	bounded, cancel := context.WithTimeout(ctx, a.patience)
	defer cancel()
	err := c.Ready(bounded)
	if err != nil && ctx.Err() == nil {
		return unreachable(nil, "your own node cannot be reached", "see that it runs and that this computer is online, then run this again; --log-level info tells more")
	}
	return err
}

// whoArgument explains how commands take a person.
const whoArgument = `WHO is the id (tl1…), the address (tl1…@domain) or the name of a contact.`

// contact finds the contact that a person means: by id, address or a name that only one has.
// Names are not proofs: a name that two contacts claim is refused.
func contact(c *client.Client, who string) (client.Contact, error) {
	all, err := c.Contacts()
	if err != nil {
		return client.Contact{}, err
	}
	self, err := c.Self()
	if err != nil {
		return client.Contact{}, err
	}
	var root identity.PublicKey
	switch {
	case strings.Contains(who, "@"):
		address, err := identity.ParseAddress(who)
		if err != nil {
			return client.Contact{}, usageError("this is not an address: "+err.Error(), "copy it whole, like tl1…@globex.example")
		}
		root = address.Root
	case strings.HasPrefix(who, "tl1"):
		if root, err = identity.ParseID(who); err != nil {
			return client.Contact{}, usageError("this is not an id: "+err.Error(), "copy it whole; it starts with tl1")
		}
	default:
		return byName(all, who)
	}
	if root == self.PublicKey {
		return client.Contact{}, usageError("this is yourself", "name somebody else")
	}
	for _, k := range all {
		if k.ID == root {
			return k, nil
		}
	}
	return client.Contact{}, usageError("this is not one of your contacts", "ask to become one: trunkline contact add ADDRESS")
}

func byName(all []client.Contact, name string) (client.Contact, error) {
	var found []client.Contact
	for _, k := range all {
		if name != "" && strings.EqualFold(k.Name, name) {
			found = append(found, k)
		}
	}
	switch len(found) {
	case 0:
		return client.Contact{}, usageError("no contact is called "+quoted(name), "see trunkline contact list, or give the id or address")
	case 1:
		return found[0], nil
	}
	return client.Contact{}, usageError("more than one contact is called "+quoted(name), "give the id instead; trunkline contact list shows them")
}

func quoted(s string) string { return `"` + s + `"` }

// called is what a contact is called towards the person.
func called(k client.Contact) string {
	if k.Name != "" {
		return k.Name
	}
	return shortID(k.ID)
}

func shortID(root identity.PublicKey) string {
	id := root.ID()
	return id[:12] + "…" + id[len(id)-4:]
}

// names answers by what somebody is called, for events that carry only the key.
func names(c *client.Client, root identity.PublicKey) string {
	all, err := c.Contacts()
	if err == nil {
		for _, k := range all {
			if k.ID == root {
				return called(k)
			}
		}
	}
	return shortID(root)
}
