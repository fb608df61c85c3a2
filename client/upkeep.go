package client

import (
	"context"
	"errors"
	"time"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// upkeepEvery is how often the client looks at what grows old, and how far its clock can fall
// behind what is on the disk. Everything it renews has days of margin.
const upkeepEvery = time.Minute

// upkeepLoop rotates prekeys, deletes dead ones for good, renews the device list and keeps
// the clock that never goes back.
func (c *Client) upkeepLoop(ctx context.Context) error {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	for {
		if err := passing(c.upkeep(ctx)); err != nil && ctx.Err() == nil {
			c.log.Warn("upkeep did not succeed; it will be tried again", "error", errorKind(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *Client) upkeep(ctx context.Context) error {
	now := c.keep.Now()
	if err := c.keep.Tick(); err != nil {
		return err
	}
	if _, err := c.prekeys.Rotate(now); err != nil {
		return err
	}
	w := c.linked()
	if w == nil {
		return nil // the next link begins with publishing
	}
	if err := c.renewList(ctx); err != nil {
		return err
	}
	home, err := c.home()
	if err != nil {
		return err
	}
	list, err := c.keep.OwnList()
	if err != nil {
		return err
	}
	c.mu.Lock()
	old := c.shown != published{prekey: c.prekeys.Current().ID(), epoch: list.Epoch, token: home.TokenEpoch}
	c.mu.Unlock()
	if old {
		if err := c.endIfRemoved(w, c.publishOwn(ctx, w, home)); err != nil {
			return err
		}
	}
	// What waited in the mailbox may be sealed to them.
	if !c.drained() {
		return nil
	}
	_, err = c.prekeys.DeleteExpired(now)
	return err
}

// renewList signs the own list anew at half its life, where the root key is at hand without
// a passphrase. Where it is not, the person is reminded by `id show`.
func (c *Client) renewList(ctx context.Context) error {
	list, err := c.keep.OwnList()
	if err != nil {
		return err
	}
	if !list.RenewDue(c.keep.Now()) {
		return nil
	}
	root, err := c.keep.Root(c.cfg.Passphrase)
	if errors.Is(err, keep.ErrNoRoot) || errors.Is(err, keep.ErrPassphrase) {
		if c.reminding.allow(c.self, c.keep.Now(), remindEvery) {
			c.log.Warn("the device list should be renewed: open this identity with its passphrase once")
		}
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := c.changeOwnList(ctx, func(own *identity.DeviceList) (*identity.DeviceList, error) {
		if !own.RenewDue(c.keep.Now()) {
			return own, nil // another own device has done it
		}
		return root.Renew(own, c.keep.Now())
	}); err != nil {
		return err
	}
	c.later("tell of the renewed list", c.announceList)
	return nil
}

// renewEnded signs a list anew that has ended while this device was away. It needs no link,
// because there is none to be had with such a list; the link publishes it. Where the root key
// is not at hand the node's refusal says the rest.
func (c *Client) renewEnded() error {
	list, err := c.keep.OwnList()
	if errors.Is(err, keep.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now := c.keep.Now()
	cert, listed := list.Device(c.device.ID())
	if !listed || now.Before(list.Expires) && cert.ValidAt(now) == nil {
		return nil
	}
	root, err := c.keep.Root(c.cfg.Passphrase)
	if errors.Is(err, keep.ErrNoRoot) || errors.Is(err, keep.ErrPassphrase) {
		return nil
	}
	if err != nil {
		return err
	}
	next, err := root.Renew(list, now)
	if err != nil {
		return err
	}
	return c.keep.SetOwnList(next)
}

// remindEvery is how often a list that cannot be renewed here is spoken of.
const remindEvery = 6 * time.Hour
