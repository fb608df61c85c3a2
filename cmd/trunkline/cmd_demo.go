package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/internal/demo"
)

func newDemoCommand(a *app) *cobra.Command {
	var keep string
	var browser bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See the whole thing work, in less than a minute",
		Long: `Starts two organisations' nodes on this machine and two people in processes of their
own, and tells what happens: Alice finds Bob without her node learning whom she looks
for, he lets her in, she leaves him a note while he is away, they talk through a relay,
a file crosses although Bob's process is killed in the middle, and a node that nobody
trusts is refused. In the end it searches the memory, disk, logs and traffic of the
nodes for what they must not know.

It ends by itself and leaves nothing behind, unless --keep names a folder for the data,
the logs and the recordings. It ends with 0 only if every step held. With --json the
result is one object and the story goes to standard error.

With --browser there is no story: the two nodes stay up until Ctrl-C and you are both
people. It prints an address for each; open both, and call from one node to the other.
With --json that is one line, {"ready":true,"nodes":[{"domain","peer_id","http","invite"}]}.`,
		Example: `  trunkline demo
  trunkline demo --browser
  trunkline demo --keep /tmp/trunkline-demo
  trunkline demo --json --quiet`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keep != "" {
				entries, err := os.ReadDir(keep)
				if err == nil && len(entries) > 0 {
					return usageError("the folder "+keep+" is not empty", "name a new or an empty one with --keep DIR")
				} else if err != nil && !errors.Is(err, os.ErrNotExist) {
					return &exitError{code: exitUsage, what: withCause("cannot use the folder of --keep", err), do: "name a new or an empty one", err: err}
				}
			}
			o := demo.Options{Keep: keep, Out: a.out, Color: a.color(a.outTerminal)}
			if browser {
				return a.demoPair(cmd.Context(), o)
			}
			if a.json {
				o.Out, o.Color = a.err, a.color(a.errTerminal)
			}
			if a.quiet {
				o.Out = nil
			}
			report, err := demo.Run(cmd.Context(), o)
			if a.json && report != nil {
				if werr := a.line(report); werr != nil {
					return werr
				}
			}
			if cause := cmd.Context().Err(); cause != nil {
				return cause
			}
			if errors.Is(err, demo.ErrNoFolder) {
				return noFolder(err)
			}
			if errors.Is(err, demo.ErrTooSlow) {
				return failed(err, "the demo did not come to its end", "run it again when less else runs on this machine")
			}
			if err != nil {
				return failed(err, "the demo did not hold", "run it with --keep DIR and look into the logs there")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "", "folder that keeps data, logs and recordings")
	cmd.Flags().BoolVar(&browser, "browser", false, "two nodes for you to try in a browser, until Ctrl-C")
	return cmd
}

func noFolder(err error) error {
	return &exitError{code: exitUsage, what: err.Error(), do: "name one that can be written with --keep DIR, or set TMPDIR", err: err}
}

// demoPair runs two nodes for whoever sits in front of them.
func (a *app) demoPair(ctx context.Context, o demo.Options) error {
	a.hint("Starting two nodes.")
	err := demo.Pair(ctx, o, func(nodes []demo.PairNode) error {
		ready := struct {
			Ready bool            `json:"ready"`
			Nodes []demo.PairNode `json:"nodes"`
		}{true, nodes}
		return a.result(ready, func(w io.Writer) {
			alice, bob := nodes[0], nodes[1]
			fmt.Fprint(w, "Two nodes run on this machine and trust each other as partners.\n\n")
			table(w, []string{"  Alice, at " + alice.Domain, alice.Invite}, []string{"  Bob, at " + bob.Domain, bob.Invite})
			fmt.Fprint(w, `
Open each address in a window of its own. At Alice's press New call and copy the link;
at Bob's press Join and paste it, then let Bob in at Alice's. Neither node learns that
the two talk.
`)
			if o.Keep == "" {
				fmt.Fprintln(w, "Ctrl-C ends the nodes and removes what they wrote.")
			} else {
				fmt.Fprintln(w, "Ctrl-C ends the nodes; what they wrote stays in the folder.")
			}
		})
	})
	switch {
	case errors.Is(err, demo.ErrNoFolder):
		return noFolder(err)
	case err != nil:
		return failed(err, "the two nodes did not stay up", "run it with --keep DIR and look into the logs there")
	}
	return nil
}

// newDemoParticipantCommand is one person of the demo: it does what it reads on standard
// input. It is hidden because nobody but the demo speaks to it.
func newDemoParticipantCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "demo-participant",
		Hidden: true,
		Short:  "Be one person of the demo",
		Long: `Reads requests as lines of JSON from standard input and answers on standard output,
for trunkline demo, which starts it.`,
		Example: "  trunkline demo-participant --data DIR",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.clientData()
			if err != nil {
				return err
			}
			return demo.Participate(cmd.Context(), dir, a.in, a.out, a.logger(slog.LevelInfo))
		},
	}
}
