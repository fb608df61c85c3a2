package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/client"
)

// registerPatience covers a slow line; there are four questions to the node.
const registerPatience = 30 * time.Second

func newRegisterCommand(a *app) *cobra.Command {
	var unlockFile, caFile string
	cmd := &cobra.Command{
		Use:   "register INVITE",
		Short: "Get a mailbox at a node",
		Long: `Registers the identity of the data folder at a node: from then on you have an address,
and what others send you waits there while you are offline. INVITE is what the node's
administrator gave you, https://node.example/#invite=…; a node that is open to everybody
needs only https://node.example.

"-" reads the invitation from standard input, so that it does not stand in the history
of the shell. Registering again renews what the node knows of you.

A node in a network of its own may have a certificate authority of its own. Give its
certificate with --ca, after comparing the fingerprint that is shown with the one that
the node prints: it is kept in the data folder, for this identity alone.`,
		Example: `  trunkline register 'https://acme.example/#invite=q83vEjRWeJA'
  trunkline register --ca acme.example.crt 'https://192.168.7.1:7420/#invite=q83vEjRWeJA'
  trunkline register - < invitation.txt`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			invite := args[0]
			if invite == "-" {
				data, err := a.readInput("-", 4096)
				if err != nil {
					return err
				}
				invite = string(data)
			}
			if _, _, err := client.ParseInvite(invite); err != nil {
				return &exitError{code: exitUsage, what: "this is not an invitation: " + err.Error(), do: "copy the whole line that the administrator gave you, in quotes", err: err}
			}
			if caFile != "" {
				if err := a.trustAuthority(caFile); err != nil {
					return err
				}
			}
			c, err := a.openClient(unlockFile, true)
			if err != nil {
				return err
			}
			bounded, cancel := context.WithTimeout(cmd.Context(), registerPatience)
			defer cancel()
			done, err := c.Register(bounded, invite)
			if err = errors.Join(err, c.Close()); err != nil {
				return clientError(err)
			}
			result := struct {
				ID      string `json:"id"`
				Address string `json:"address"`
				Domain  string `json:"domain"`
				PeerID  string `json:"peer_id"` // the node's
			}{done.Address.Root.ID(), done.Address.String(), done.Domain, done.Node.String()}
			return a.result(result, func(w io.Writer) {
				fmt.Fprintf(w, "You are registered at %s. Your address:\n  %s\n", oneLine(result.Domain), result.Address)
				a.hint("Give it to people. Next:\n  trunkline contact add ADDRESS%s   ask somebody to be a contact\n  trunkline answer%s                take calls and notes", a.dataFlag(), a.dataFlag())
			})
		},
	}
	unlockFlag(cmd, &unlockFile)
	cmd.Flags().StringVar(&caFile, "ca", "", "certificate of the node's own authority, its ca.crt")
	return cmd
}
