package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

func newDeviceCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "device",
		Short: "Use one identity on several devices",
		Long: `Each device has a key of its own, which the root key of the identity signs. All devices
ring, and all get notes. The root key stays on the device that has it.`,
	}
	cmd.AddCommand(newDeviceAddCommand(a), newDeviceListCommand(a), newDeviceRevokeCommand(a))
	return cmd
}

func newDeviceAddCommand(a *app) *cobra.Command {
	var unlockFile, caFile string
	cmd := &cobra.Command{
		Use:   "add [REQUEST]",
		Short: "Add a device to an identity",
		Long: `On the new device, without an argument and in an empty data folder: shows a request and
waits for the approval on standard input. On a device that has the root key, with the
request: signs the new device into the identity and shows the approval.

Carry both texts yourself, and look that the request is the same on both screens: whoever
you approve speaks for you. With --json the new device prints two objects: the request,
and then what it has become.`,
		Example: `  trunkline device add --data ~/laptop          on the new device
  trunkline device add tldr1-…                  on the one with the root key`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.joinDevice(cmd.Context(), caFile)
			}
			return a.approveDevice(cmd.Context(), args[0], unlockFile)
		},
	}
	unlockFlag(cmd, &unlockFile)
	cmd.Flags().StringVar(&caFile, "ca", "", "on the new device: certificate of the node's own authority, its ca.crt")
	return cmd
}

// maxApprovalText is a little more than the longest approval.
const maxApprovalText = 1 << 20

func (a *app) joinDevice(ctx context.Context, caFile string) error {
	dir, err := a.clientData()
	if err != nil {
		return err
	}
	k, err := keep.Open(dir, a.keepOptions())
	if err == nil {
		return errors.Join(usageError("there is an identity in the data folder already", "a new device begins in an empty folder: name one with --data DIR; to approve one, give its request"), k.Close())
	}
	if !errors.Is(err, keep.ErrNoProfile) {
		return keepError(err)
	}
	request, err := client.NewDeviceRequest()
	if err != nil {
		return failed(err, "cannot draw a key", "run it again")
	}
	if err := a.result(struct {
		Request string `json:"request"`
	}{request.Text}, func(w io.Writer) {
		fmt.Fprintf(w, "On the device that has the root key:\n  trunkline device add %s\n", request.Text)
		a.hint("Then give what it shows here, and press Enter:")
	}); err != nil {
		return err
	}
	approval, err := readLine(ctx, a.in, maxApprovalText)
	if err != nil {
		return &exitError{code: exitUsage, what: withCause("there was no approval on standard input", err), do: "run it again, and give it the line that the other device shows", err: err}
	}
	c, err := client.Join(client.Config{Dir: dir, Logger: a.logger(levelSilent), Now: a.now}, request, approval)
	if err != nil {
		return joinError(err)
	}
	self, err := c.Self()
	if err = errors.Join(err, c.Close()); err != nil {
		return keepError(err)
	}
	if caFile != "" {
		if err := a.trustAuthority(caFile); err != nil {
			return err
		}
	}
	result := struct {
		ID      string `json:"id"`
		Address string `json:"address"`
		Device  string `json:"device"`
	}{self.ID, self.Address, ""}
	for _, d := range self.Devices {
		if d.This {
			result.Device = d.ID.Hex()
		}
	}
	return a.result(result, func(w io.Writer) {
		fmt.Fprintf(w, "This device speaks for %s now.\n", result.Address)
		a.hint("It opens its mailbox with the first command, for example: trunkline inbox%s", a.dataFlag())
	})
}

func joinError(err error) error {
	if errors.Is(err, client.ErrVerification) {
		return unverified(nil, err.Error(), "make a new request and approve that one")
	}
	if errors.Is(err, keep.ErrExists) || errors.Is(err, keep.ErrUnavailable) {
		return keepError(err)
	}
	return &exitError{code: exitUsage, what: err.Error(), do: "run it again, and copy the approval whole", err: err}
}

// readLine reads one line, and gives up when ctx ends; the read itself ends with the program.
func readLine(ctx context.Context, in io.Reader, limit int64) (string, error) {
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(io.LimitReader(in, limit)).ReadString('\n')
		if strings.TrimSpace(line) != "" {
			err = nil
		}
		got <- answer{line, err}
	}()
	select {
	case r := <-got:
		return strings.TrimSpace(r.line), r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (a *app) approveDevice(ctx context.Context, request, unlockFile string) error {
	if err := client.CheckDeviceRequest(request); err != nil {
		return usageError(err.Error(), "copy it whole from the new device")
	}
	c, err := a.openClient(unlockFile, true)
	if err != nil {
		return err
	}
	return a.connected(ctx, c, func(ctx context.Context, c *client.Client) error {
		approval, err := c.ApproveDevice(ctx, request)
		if err != nil {
			return err
		}
		return a.result(struct {
			Approval string `json:"approval"`
		}{approval}, func(w io.Writer) {
			fmt.Fprintln(w, approval)
			a.hint("Give this line to the new device, which waits for it.")
		})
	})
}

func newDeviceListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List your devices",
		Long:    "Lists the devices that speak for the identity, as this device knows them.",
		Example: "  trunkline device list\n  trunkline device list --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.offline(func(c *client.Client) error {
				self, err := c.Self()
				if err != nil {
					return err
				}
				type device struct {
					ID      string     `json:"id"`
					This    bool       `json:"this"`
					Expires *time.Time `json:"expires,omitempty"`
				}
				devices := []device{}
				rows := [][]string{{"ID", "UNTIL", ""}}
				for _, d := range self.Devices {
					one := device{ID: d.ID.Hex(), This: d.This}
					row := []string{one.ID, "not registered yet", ""}
					if !d.Expires.IsZero() {
						t := d.Expires.UTC()
						one.Expires, row[1] = &t, t.Format(time.DateOnly)
					}
					if d.This {
						row[2] = "this one"
					}
					devices, rows = append(devices, one), append(rows, row)
				}
				return a.result(struct {
					Devices []device `json:"devices"`
				}{devices}, func(w io.Writer) { table(w, rows...) })
			})
		},
	}
}

func newDeviceRevokeCommand(a *app) *cobra.Command {
	var unlockFile string
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "Take a device out of your identity",
		Long: `Takes a device out: a lost telephone, for example. Your node refuses it from then on, your
contacts are told, and everybody gets new leave to write to you, because the lost device
knew the old one. Run it on the device that has the root key.`,
		Example: "  trunkline device list\n  trunkline device revoke 5f0c…",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := identity.ParseDeviceID(args[0])
			if err != nil {
				return usageError("this is not the id of a device: "+err.Error(), "copy it from trunkline device list")
			}
			c, err := a.openClient(unlockFile, true)
			if err != nil {
				return err
			}
			self, err := c.Self()
			if err == nil {
				err = revocable(self, id)
			}
			if err != nil {
				return clientError(errors.Join(err, c.Close()))
			}
			return a.connected(cmd.Context(), c, func(ctx context.Context, c *client.Client) error {
				if err := c.RevokeDevice(ctx, id); err != nil {
					return err
				}
				return a.result(struct {
					Revoked string `json:"revoked"`
				}{id.Hex()}, func(w io.Writer) { fmt.Fprintln(w, "The device does not speak for you any more.") })
			})
		},
	}
	unlockFlag(cmd, &unlockFile)
	return cmd
}

func revocable(self client.Self, id identity.DeviceID) error {
	for _, d := range self.Devices {
		if d.ID == id && d.This {
			return usageError("this is the device you work on", "revoke it from another one that has the root key")
		}
		if d.ID == id {
			return nil
		}
	}
	return usageError("you have no such device", "copy its id from trunkline device list")
}
