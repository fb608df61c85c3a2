package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/node"
)

func newVerifyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check what a node keeps and serves",
		Long:  `Checks that what a node keeps is whole, and that it serves the app it should. It changes nothing.`,
	}
	cmd.AddCommand(newVerifyStoreCommand(a), newVerifyWebCommand(a))
	return cmd
}

func newVerifyStoreCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "store",
		Short: "Check the store of a node",
		Long: `Reads everything that the node keeps: mailboxes, queues, directory, invitations, and
checks that it fits together. A running node checks itself; the folder of a stopped one
is read directly. It changes nothing.

Ends with 0 if all is well and with 5 if something is damaged, and says what.`,
		Example: "  trunkline verify store\n  trunkline verify store --data /var/lib/trunkline --json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.verifyStore(cmd.Context()) },
	}
}

func (a *app) verifyStore(ctx context.Context) error {
	dir, err := a.nodeData()
	if err != nil {
		return err
	}
	var report node.StoreReport
	admin, err := node.Dial(dir)
	running := err == nil
	switch {
	case running:
		report, err = admin.VerifyStore(ctx)
		admin.Close()
		if err != nil {
			return adminError(err)
		}
	case !errors.Is(err, node.ErrNotRunning):
		return a.dialError(dir, err)
	default:
		if _, err := os.Stat(filepath.Join(dir, "node.db")); err != nil {
			return &exitError{code: exitUsage, what: "there is no store of a node in " + dir, do: "name the data folder of a node with --data DIR", err: err}
		}
		if report, err = node.VerifyStore(dir); err != nil {
			return failed(err, "cannot check the store", "check who owns the folder, and that nothing else uses it")
		}
	}
	if report.Problems == nil {
		report.Problems = []string{}
	}
	good := len(report.Problems) == 0
	if err := a.result(struct {
		OK      bool   `json:"ok"`
		Running bool   `json:"running"`
		Data    string `json:"data"`
		node.StoreReport
	}{good, running, dir, report}, func(w io.Writer) { printStore(w, report) }); err != nil {
		return err
	}
	if !good {
		return unverified(nil, "the store has "+count(len(report.Problems), "problem"), "keep a copy of the folder, then bring back the last good backup")
	}
	return nil
}

func printStore(w io.Writer, r node.StoreReport) {
	for _, p := range r.Problems {
		fmt.Fprintf(w, "problem: %s\n", oneLine(p))
	}
	table(w,
		[]string{"format", strconv.Itoa(r.Format)},
		[]string{"mailboxes", strconv.Itoa(r.Mailboxes)},
		[]string{"waiting envelopes", fmt.Sprintf("%d (%s)", r.Envelopes, bytesText(r.Bytes))},
		[]string{"waiting for other nodes", strconv.Itoa(r.Outgoing)},
		[]string{"fates kept", strconv.Itoa(r.Outcomes)},
		[]string{"accounts, devices", fmt.Sprintf("%d, %d", r.Accounts, r.Devices)},
		[]string{"invitations", strconv.Itoa(r.Invitations)},
		[]string{"size", fmt.Sprintf("%s, of it free %s", bytesText(r.FileBytes), bytesText(r.FreeBytes))},
	)
	if len(r.Problems) == 0 {
		fmt.Fprintln(w, "All of it fits together.")
	}
}
