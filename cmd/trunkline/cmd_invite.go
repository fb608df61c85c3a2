package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/node"
)

func newInviteCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "invite",
		Short: "Invite people to your node",
		Long: `An invitation is an address with a secret behind the "#". Whoever has it can open a
mailbox at your node with trunkline register, as often as the invitation allows.

These commands speak to the running node that serves the data folder.`,
	}
	cmd.AddCommand(newInviteCreateCommand(a), newInviteListCommand(a), newInviteRevokeCommand(a))
	return cmd
}

// The bounds that the node sets; checked here too, so that the error names the flag.
const (
	maxInviteUses   = 100_000
	maxInviteNote   = 200
	maxInviteExpiry = 10 * 365 * 24 * time.Hour
)

func newInviteCreateCommand(a *app) *cobra.Command {
	var uses int
	var expires, note string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make an invitation",
		Long: `Makes an invitation and prints it. It is shown this one time: the node keeps only a
hash of it. Send it over a channel that you trust; whoever reads it can use it.`,
		Example: `  trunkline invite create
  trunkline invite create --uses 20 --expires 30d --note "the new team"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if uses < 1 || uses > maxInviteUses {
				return usageError(fmt.Sprintf("%d is not a number of uses", uses), fmt.Sprintf("give --uses from 1 to %d", maxInviteUses))
			}
			if len(note) > maxInviteNote {
				return usageError(fmt.Sprintf("the note has %d bytes", len(note)), fmt.Sprintf("give --note at most %d", maxInviteNote))
			}
			seconds := int64(-1)
			if expires != "never" {
				d, err := parseSpan(expires)
				if err != nil || d < time.Minute || d > maxInviteExpiry {
					return usageError(fmt.Sprintf("%q is not how long an invitation can last", expires), "give --expires from 1m to 3650d, for example 12h or 30d, or never")
				}
				seconds = int64(d / time.Second)
			}
			return a.withAdmin(cmd.Context(), func(ctx context.Context, admin *node.Admin) error {
				made, err := admin.CreateInvite(ctx, node.InviteRequest{Uses: uses, ExpiresSeconds: seconds, Note: note})
				if err != nil {
					return err
				}
				return a.result(made, func(w io.Writer) {
					fmt.Fprintln(w, made.URL)
					a.hint("For %s, until %s. Whoever gets it runs:\n  trunkline register %s", count(made.Uses, "person"), until(made.Expires), shellQuote(made.URL))
				})
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&uses, "uses", 1, "how many people may use it")
	f.StringVar(&expires, "expires", "7d", "how long it lasts, like 12h or 30d, or never")
	f.StringVar(&note, "note", "", "what it is for; the node shows it to its administrator")
	return cmd
}

func newInviteListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the invitations",
		Long:  "Lists the invitations of the node, with how often each was used and may still be used.",
		Example: `  trunkline invite list
  trunkline invite list --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(cmd.Context(), func(ctx context.Context, admin *node.Admin) error {
				all, err := admin.Invites(ctx)
				if err != nil {
					return err
				}
				if all == nil {
					all = []node.Invite{}
				}
				return a.result(struct {
					Invites []node.Invite `json:"invites"`
				}{all}, func(w io.Writer) {
					if len(all) == 0 {
						fmt.Fprintln(w, "There are no invitations. Make one with: trunkline invite create")
						return
					}
					rows := [][]string{{"ID", "USED", "LEFT", "UNTIL", "NOTE"}}
					for _, i := range all {
						rows = append(rows, []string{i.ID, strconv.Itoa(i.Used), strconv.Itoa(i.Uses), until(i.Expires), i.Note})
					}
					table(w, rows...)
				})
			})
		},
	}
}

func newInviteRevokeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Take an invitation back",
		Long: `Takes an invitation back, by the id that trunkline invite list shows. Who has used it
before keeps the mailbox.`,
		Example: "  trunkline invite revoke 3f9c2a71",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAdmin(cmd.Context(), func(ctx context.Context, admin *node.Admin) error {
				if err := admin.RevokeInvite(ctx, args[0]); err != nil {
					return err
				}
				return a.result(struct {
					Revoked string `json:"revoked"`
				}{args[0]}, func(w io.Writer) { fmt.Fprintln(w, "The invitation is taken back.") })
			})
		},
	}
}

// parseSpan reads a span of time, also in days, which time.ParseDuration does not know.
func parseSpan(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}

func until(t *time.Time) string {
	if t == nil {
		return "the end of time"
	}
	return t.Local().Format("2006-01-02 15:04")
}
