package client

import (
	"context"
	"errors"
	"time"

	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// upkeepEvery is how often the client looks at what grows old. Everything it renews has
// days of margin.
const upkeepEvery = 10 * time.Minute

// upkeepLoop rotates prekeys, deletes dead ones for good, renews the device list and keeps
// the clock that never goes back.
func (c *Client) upkeepLoop(ctx context.Context) error {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	for {
		if err := c.upkeep(ctx); err != nil && ctx.Err() == nil {
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
	rotated, err := c.prekeys.Rotate(now)
	if err != nil {
		return err
	}
	renewed, err := c.renewList()
	if err != nil {
		return err
	}
	if rotated == nil && !renewed {
		return nil
	}
	w, err := c.link(ctx)
	if err != nil {
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
	if err := c.publish(ctx, w, list, home, ""); err != nil {
		return err
	}
	// Only now that the mailbox was reached, and so drained, may old secrets go.
	_, err = c.prekeys.DeleteExpired(now)
	return err
}

// renewList signs the own list anew at half its life, where the root key is at hand without
// a passphrase. Where it is not, the person is reminded by `id show`.
func (c *Client) renewList() (bool, error) {
	list, err := c.keep.OwnList()
	if err != nil {
		return false, err
	}
	now := c.keep.Now()
	if !list.RenewDue(now) {
		return false, nil
	}
	root, err := c.keep.Root(c.cfg.Passphrase)
	if errors.Is(err, keep.ErrNoRoot) || errors.Is(err, keep.ErrPassphrase) {
		c.log.Warn("the device list should be renewed: open this identity with its passphrase once")
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if list, err = root.Renew(list, now); err != nil {
		return false, err
	}
	return true, c.keep.SetOwnList(list)
}
