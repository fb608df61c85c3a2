package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// published is what this device's node was last given: enough to see that it is out of date.
type published struct {
	prekey [16]byte
	epoch  uint64
	token  uint64
}

// publishTries bounds how often a list is made anew because another own device was faster.
const publishTries = 3

// publishOwn gives the node the own list and this device's bundle. Where the node holds a
// newer list, because another own device changed it, that one is taken over first.
func (c *Client) publishOwn(ctx context.Context, w *wire, home keep.Home) error {
	for try := 1; ; try++ {
		list, err := c.keep.OwnList()
		if err != nil {
			return err
		}
		if _, listed := list.Device(c.device.ID()); !listed {
			return ErrRemoved
		}
		err = c.publish(ctx, w, list, home, "")
		if !isConflict(err) || try == publishTries {
			return err
		}
		if err := c.adoptOwnList(ctx, w); err != nil {
			return err
		}
	}
}

// changeOwnList makes the next own list of the newest one, publishes it and keeps it. Kept is
// what the node has taken: a list that is only here would contradict the next one of another
// own device.
func (c *Client) changeOwnList(ctx context.Context, change func(*identity.DeviceList) (*identity.DeviceList, error)) (*identity.DeviceList, error) {
	home, err := c.home()
	if err != nil {
		return nil, err
	}
	w, err := c.link(ctx)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		own, err := c.keep.OwnList()
		if err != nil {
			return nil, err
		}
		next, err := change(own)
		if err != nil || next.Epoch == own.Epoch {
			return next, err
		}
		err = c.publish(ctx, w, next, home, "")
		if err == nil {
			return next, c.keep.SetOwnList(next)
		}
		if !isConflict(err) || try == publishTries {
			return nil, err
		}
		if err := c.adoptOwnList(ctx, w); err != nil {
			return nil, err
		}
	}
}

func isConflict(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused) && refused.Code == link.CodeEpochConflict
}

// adoptOwnList asks the own node for this identity's list and takes it over if it is the
// newer one. The node is believed nothing: the list counts by the root key and by what is
// kept here. An older list, or another one of the same epoch, is refused.
func (c *Client) adoptOwnList(ctx context.Context, w *wire) error {
	answer, err := askOver(ctx, w, w.node.Descriptor, envelopepb.Operation_OPERATION_LOOKUP, c.self[:])
	if err != nil {
		return fmt.Errorf("ask the node what it knows of this identity: %w", err)
	}
	if answer.Status != envelopepb.AnswerStatus_ANSWER_FOUND {
		return fmt.Errorf("%w: the own node says it has another device list and does not show it", ErrVerification)
	}
	list, err := identity.ParseDeviceList(answer.List)
	if err != nil || list.Root != c.self {
		return fmt.Errorf("%w: the own node keeps a device list that is not ours", ErrVerification)
	}
	return c.takeOwnList(list)
}

// takeOwnList keeps a newer own list, wherever it came from.
func (c *Client) takeOwnList(list *identity.DeviceList) error {
	own, err := c.keep.OwnList()
	if err != nil {
		return err
	}
	if own.Recovery != ([32]byte{}) && list.Recovery != own.Recovery && list.Epoch >= own.Epoch {
		c.alarm("a device list of yours names another recovery key: somebody else holds your root key")
		return fmt.Errorf("%w: the own device list names another recovery key", ErrAlarm)
	}
	news := slices.ContainsFunc(list.Devices, func(d *identity.DeviceCert) bool {
		_, known := own.Device(d.DeviceID())
		return !known
	})
	switch err := c.keep.SetOwnList(list); {
	case errors.Is(err, keep.ErrRollback):
		return fmt.Errorf("%w: a device list of this identity older than the one kept here was shown", ErrVerification)
	case errors.Is(err, keep.ErrConflict):
		c.alarm("there are two device lists of yours with one number: somebody else holds your root key, or two of your devices changed it at the same time")
		return fmt.Errorf("%w: two device lists of this identity have the same epoch", ErrAlarm)
	case err != nil:
		return err
	}
	if _, listed := list.Device(c.device.ID()); !listed {
		return ErrRemoved
	}
	if news {
		c.later("tell a new own device whom we know", c.greetOwnDevices)
		c.later("tell of the new device", c.announceList)
	}
	return nil
}

func (c *Client) alarm(what string) { c.tell(Alarm{From: c.self, What: what}) }
