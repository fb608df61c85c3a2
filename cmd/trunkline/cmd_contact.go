package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

func newContactCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "contact",
		Short: "Find people, let them in, keep them out, make sure of them",
		Long: `Nobody can ring or write to you before you have let them in, and the other way round:
you knock, and they accept. After that both can send notes, call and send files.

` + whoArgument,
	}
	cmd.AddCommand(newContactAddCommand(a), newContactListCommand(a), newContactShowCommand(a), newContactAcceptCommand(a),
		newContactDeclineCommand(a), newContactBlockCommand(a), newContactVerifyCommand(a))
	return cmd
}

// shownContact is a contact in JSON.
type shownContact struct {
	ID       string `json:"id"`
	Address  string `json:"address"`
	Name     string `json:"name"`
	State    string `json:"state"` // known, pending-out, pending-in, accepted, blocked
	Verified bool   `json:"verified"`
	Devices  int    `json:"devices"`
	Epoch    uint64 `json:"epoch"` // of the newest device list that was seen
	Changed  bool   `json:"changed"`
	Alarm    bool   `json:"alarm"`
	Knock    string `json:"knock,omitempty"` // what it said when it knocked
}

func showContact(k client.Contact) shownContact {
	return shownContact{
		ID: k.ID.ID(), Address: k.Address.String(), Name: k.Name, State: k.State.String(), Verified: k.Verified,
		Devices: k.Devices, Epoch: k.Epoch, Changed: k.Changed, Alarm: k.Alarm, Knock: k.Knock,
	}
}

// The limits of what a knock carries (docs/spec/envelope.md), checked before anything is sent.
const (
	maxKnockText = 512
	maxName      = 64
)

func checkText(flag, s string, limit int) error {
	if len(s) > limit {
		return usageError(fmt.Sprintf("%s has %d bytes", flag, len(s)), fmt.Sprintf("give it at most %d", limit))
	}
	if !utf8.ValidString(s) || strings.IndexFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) >= 0 {
		return usageError(flag+" is not plain text", "leave control characters out")
	}
	return nil
}

func newContactAddCommand(a *app) *cobra.Command {
	var text, name, as string
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "add ADDRESS",
		Short: "Knock: ask somebody to be a contact",
		Long: `Looks the address up at its own node, through yours, which does not learn whom you
look for, and knocks. The other person sees your address and what you say, and nothing
else of you gets through until they accept. Knocking again is allowed.

With --wait it ends when they have accepted, otherwise when the knock is on its way;
the answer comes with the next trunkline command.`,
		Example: `  trunkline contact add tl1…@globex.example --text "Alice from the trade fair" --name Alice
  trunkline contact add tl1…@globex.example --as bob --wait`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			address, err := identity.ParseAddress(strings.TrimSpace(args[0]))
			if err != nil {
				return usageError("this is not an address: "+err.Error(), "ask the person for it; it looks like tl1…@globex.example")
			}
			if err := errors.Join(checkText("--text", text, maxKnockText), checkText("--name", name, maxName), checkText("--as", as, maxName)); err != nil {
				return err
			}
			return a.online(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				self, err := c.Self()
				if err != nil {
					return err
				}
				if self.PublicKey == address.Root {
					return usageError("this is your own address", "give the address of somebody else")
				}
				return a.knock(ctx, c, address, text, name, as, wait, timeout)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&text, "text", "", "what the other person reads before they decide")
	f.StringVar(&name, "name", "", "what you call yourself towards them")
	f.StringVar(&as, "as", "", "your own name for the contact, for the other commands")
	f.BoolVar(&wait, "wait", false, "wait until they accept")
	f.DurationVar(&timeout, "timeout", 0, "wait at most so long, like 90s (0: no limit)")
	return cmd
}

func (a *app) knock(ctx context.Context, c *client.Client, address identity.Address, text, name, as string, wait bool, timeout time.Duration) error {
	k, err := c.Knock(ctx, address, text, name)
	if err != nil {
		return err
	}
	if as != "" {
		if err := c.Rename(k.ID, as); err != nil {
			return err
		}
	}
	if wait && k.State != keep.ContactAccepted {
		a.hint("Knocked. Waiting until they accept; Ctrl-C stops the waiting, not the knock.")
		if err := waitAccepted(ctx, c, k.ID, timeout); err != nil {
			return err
		}
	}
	if k, err = contact(c, k.ID.ID()); err != nil {
		return err
	}
	return a.result(showContact(k), func(w io.Writer) {
		if k.State == keep.ContactAccepted {
			fmt.Fprintf(w, "%s is a contact.\n", oneLine(called(k)))
			a.hint("Make sure of each other: trunkline contact verify %s%s", shellQuote(called(k)), a.dataFlag())
			return
		}
		fmt.Fprintln(w, "Knocked. When they have accepted, trunkline contact list shows it.")
	})
}

func waitAccepted(ctx context.Context, c *client.Client, root identity.PublicKey, timeout time.Duration) error {
	var end <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		end = timer.C
	}
	for {
		select {
		case e, open := <-c.Events():
			if !open {
				return context.Cause(ctx)
			}
			if accepted, ok := e.(client.KnockAccepted); ok && accepted.From == root {
				return nil
			}
		case <-end:
			return unreachable(nil, "they have not accepted in time", "the knock stays; look again with trunkline inbox")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func newContactListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List your contacts and who knocked",
		Long: `Lists everybody this identity knows, as of the last time it was online: contacts, people
you knocked at, people who knocked, and whom you blocked. Names are your own (--as) or
what people call themselves; only a verified contact is surely who you think.`,
		Example: "  trunkline contact list\n  trunkline contact list --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.offline(func(c *client.Client) error {
				all, err := c.Contacts()
				if err != nil {
					return err
				}
				shown := make([]shownContact, 0, len(all))
				for _, k := range all {
					shown = append(shown, showContact(k))
				}
				return a.result(struct {
					Contacts []shownContact `json:"contacts"`
				}{shown}, func(w io.Writer) { a.printContacts(w, all) })
			})
		},
	}
}

func (a *app) printContacts(w io.Writer, all []client.Contact) {
	if len(all) == 0 {
		fmt.Fprintln(w, "There are no contacts yet. Knock at somebody: trunkline contact add ADDRESS")
		return
	}
	rows := [][]string{{"NAME", "STATE", "VERIFIED", "ADDRESS"}}
	for _, k := range all {
		rows = append(rows, []string{k.Name, stateText(k), yesNo(k.Verified), k.Address.Root.ID() + "@" + k.Address.Domain})
	}
	table(w, rows...)
	for _, k := range all {
		if k.State == keep.ContactPendingIn {
			a.hint("%s knocked: %s\n  trunkline contact accept %s%s", oneLine(called(k)), quoted(oneLine(k.Knock)), k.ID.ID(), a.dataFlag())
		}
		if k.Alarm {
			a.warning("the keys of %s contradict what was seen before: nothing is sent to it", oneLine(called(k)))
		}
	}
}

func stateText(k client.Contact) string {
	if k.Alarm {
		return "ALARM"
	}
	return map[keep.ContactState]string{
		keep.ContactKnown: "looked up", keep.ContactPendingOut: "you knocked", keep.ContactPendingIn: "knocked",
		keep.ContactAccepted: "contact", keep.ContactBlocked: "blocked",
	}[k.State]
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func newContactShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "show WHO",
		Short:   "Show one contact",
		Long:    "Shows what is known of one contact, with the safety number that you both have.\n\n" + whoArgument,
		Example: "  trunkline contact show bob\n  trunkline contact show tl1… --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.offline(func(c *client.Client) error {
				k, err := contact(c, args[0])
				if err != nil {
					return err
				}
				number := c.SafetyNumber(k.ID)
				return a.result(struct {
					shownContact
					Fingerprint  string `json:"fingerprint"`
					SafetyNumber string `json:"safety_number"`
				}{showContact(k), k.ID.Fingerprint(), number}, func(w io.Writer) {
					rows := [][]string{
						{"name", k.Name}, {"state", stateText(k)}, {"address", k.Address.String()}, {"fingerprint", k.ID.Fingerprint()},
						{"verified", yesNo(k.Verified)}, {"devices", fmt.Sprint(k.Devices)}, {"safety number", number},
					}
					if k.Knock != "" {
						rows = append(rows, []string{"knocked with", k.Knock})
					}
					table(w, rows...)
				})
			})
		},
	}
}

func newContactAcceptCommand(a *app) *cobra.Command {
	var as string
	cmd := &cobra.Command{
		Use:   "accept WHO",
		Short: "Let somebody in who knocked",
		Long: `Lets somebody in who knocked: looks up their devices, checks that the knock came from
one of them, and exchanges leave to write and ring. It also unblocks.

` + whoArgument,
		Example: "  trunkline contact accept alice\n  trunkline contact accept tl1… --as alice",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkText("--as", as, maxName); err != nil {
				return err
			}
			return a.online(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				k, err := a.awaitContact(ctx, c, args[0])
				if err != nil {
					return err
				}
				if err := c.Accept(ctx, k.ID); err != nil {
					return err
				}
				if as != "" {
					if err := c.Rename(k.ID, as); err != nil {
						return err
					}
				}
				if k, err = contact(c, k.ID.ID()); err != nil {
					return err
				}
				return a.result(showContact(k), func(w io.Writer) {
					fmt.Fprintf(w, "%s is a contact.\n", oneLine(called(k)))
					a.hint("Make sure of each other: trunkline contact verify %s%s", shellQuote(called(k)), a.dataFlag())
				})
			})
		},
	}
	cmd.Flags().StringVar(&as, "as", "", "your own name for the contact, for the other commands")
	return cmd
}

// awaitContact is contact for a command that is online: a knock may only now be coming in.
func (a *app) awaitContact(ctx context.Context, c *client.Client, who string) (client.Contact, error) {
	k, err := contact(c, who)
	if err == nil {
		return k, nil
	}
	if qerr := quiet(ctx, c, func(client.Event) {}); qerr != nil {
		return k, qerr
	}
	return contact(c, who)
}

func newContactDeclineCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "decline WHO",
		Short: "Drop a knock without an answer",
		Long: `Drops a knock. Whoever knocked gets no answer and does not learn that you saw it.

` + whoArgument,
		Example: "  trunkline contact decline tl1…",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.offline(func(c *client.Client) error {
				k, err := contact(c, args[0])
				if err != nil {
					return err
				}
				if k.State != keep.ContactPendingIn {
					return usageError(called(k)+" has not knocked", "to keep a contact out: trunkline contact block")
				}
				if err := c.Decline(k.ID); err != nil {
					return err
				}
				return a.result(struct {
					Declined string `json:"declined"`
				}{k.ID.ID()}, func(w io.Writer) { fmt.Fprintln(w, "Dropped. They get no answer.") })
			})
		},
	}
}

func newContactBlockCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "block WHO",
		Short: "Keep a contact out",
		Long: `Takes a contact's leave to write and ring away. What it sends does not reach you any
more, and it is not told so; your other contacts get new leave without noticing.
trunkline contact accept undoes it.

` + whoArgument,
		Example: "  trunkline contact block mallory",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.online(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				k, err := contact(c, args[0])
				if err != nil {
					return err
				}
				if k.State == keep.ContactPendingIn {
					return usageError(called(k)+" is not a contact", "drop the knock instead: trunkline contact decline "+k.ID.ID())
				}
				if err := c.Block(ctx, k.ID); err != nil {
					return err
				}
				if k, err = contact(c, k.ID.ID()); err != nil {
					return err
				}
				return a.result(showContact(k), func(w io.Writer) { fmt.Fprintf(w, "%s is blocked.\n", oneLine(called(k))) })
			})
		},
	}
}

func newContactVerifyCommand(a *app) *cobra.Command {
	var number string
	cmd := &cobra.Command{
		Use:   "verify WHO",
		Short: "Make sure that a contact is who you think",
		Long: `Shows the safety number that you and the contact have together. Read it to each other
over a way that you trust: face to face, or on the telephone if you know the voice. If
it is the same on both sides, nobody stands between you.

Then give what you heard with --number, and the contact counts as verified. If it
differs, the command ends with 5: do not go on.

` + whoArgument,
		Example: `  trunkline contact verify bob
  trunkline contact verify bob --number "12345 67890 …"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			given := cmd.Flags().Changed("number")
			if given && len(digits(number)) != 60 {
				return usageError(fmt.Sprintf("a safety number has 60 digits, this has %d", len(digits(number))), "type all of it, spaces do not matter")
			}
			return a.offline(func(c *client.Client) error {
				k, err := contact(c, args[0])
				if err != nil {
					return err
				}
				if given {
					if err := c.Verify(k.ID, number); errors.Is(err, client.ErrVerification) {
						return unverified(nil, "the numbers differ", "read it again; if it still differs do not go on: somebody stands between you, or one of you means another contact")
					} else if err != nil {
						return err
					}
					if k, err = contact(c, k.ID.ID()); err != nil {
						return err
					}
				}
				text := c.SafetyNumber(k.ID)
				return a.result(struct {
					ID           string `json:"id"`
					SafetyNumber string `json:"safety_number"`
					Verified     bool   `json:"verified"`
				}{k.ID.ID(), text, k.Verified}, func(w io.Writer) {
					if given {
						fmt.Fprintf(w, "%s is verified.\n", oneLine(called(k)))
						return
					}
					fmt.Fprintf(w, "The safety number with %s:\n\n", oneLine(called(k)))
					groups := strings.Fields(text)
					for i := 0; i < len(groups); i += 4 {
						fmt.Fprintf(w, "  %s\n", strings.Join(groups[i:min(i+4, len(groups))], " "))
					}
					a.hint("\nCompare it, then: trunkline contact verify %s --number '…'%s", shellQuote(args[0]), a.dataFlag())
				})
			})
		},
	}
	cmd.Flags().StringVar(&number, "number", "", "the number that the contact read to you")
	return cmd
}

func digits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}
