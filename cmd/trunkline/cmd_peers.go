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

func newPeersCommand(a *app) *cobra.Command {
	var views bool
	cmd := &cobra.Command{
		Use:   "peers",
		Short: "Show the links to other nodes, and who was refused",
		Long: `Shows each node that this one has a link to or wants one to: its state, when it was
heard last, how long an echo takes there and back, and what waits to be sent. Below
that: who was refused, how often, and by which rule of your policy; the other side is
told only the code.

With --views it shows instead what this node has seen of the envelopes it carried:
sizes, time classes and numbers. There is nothing else that it could see.`,
		Example: `  trunkline peers
  trunkline peers --json
  trunkline peers --views`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(cmd.Context(), func(ctx context.Context, admin *node.Admin) error {
				if views {
					v, err := admin.Views(ctx)
					if err != nil {
						return err
					}
					return a.result(v, func(w io.Writer) { printViews(w, v) })
				}
				p, err := admin.Peers(ctx)
				if err != nil {
					return err
				}
				return a.result(p, func(w io.Writer) { a.printPeers(w, p) })
			})
		},
	}
	cmd.Flags().BoolVar(&views, "views", false, "show what this node saw of what it carried")
	return cmd
}

func (a *app) printPeers(w io.Writer, p node.Peers) {
	if len(p.Peers) == 0 {
		fmt.Fprintln(w, "No other node is known. Partners stand in policy.toml; a link opens when somebody needs it.")
	} else {
		rows := [][]string{{"DOMAIN", "STATE", "HEARD", "ECHO", "WAITING", ""}}
		for _, peer := range p.Peers {
			rows = append(rows, []string{peer.Domain, peer.State, a.ago(peer.LastContact), echo(peer), waiting(peer), a.why(peer)})
		}
		table(w, rows...)
	}
	if len(p.Refusals) == 0 {
		return
	}
	fmt.Fprintln(w, "\nRefused:")
	rows := [][]string{{"DOMAIN", "CODE", "RULE", "TIMES", "LAST"}}
	for _, r := range p.Refusals {
		rows = append(rows, []string{r.Domain, r.Code, r.Rule, strconv.Itoa(r.Count), a.ago(&r.Last)})
	}
	table(w, rows...)
	a.hint("Ask why: trunkline policy explain --domain DOMAIN --action federate --direction in%s", a.dataFlag())
}

func echo(p node.Peer) string {
	if p.EchoMS == 0 {
		return "-"
	}
	s := fmt.Sprintf("%.1f ms", p.EchoMS)
	if p.EchoMissed > 0 {
		s += fmt.Sprintf(" (%d missed)", p.EchoMissed)
	}
	return s
}

func waiting(p node.Peer) string {
	if p.Queue == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", p.Queue, bytesText(p.QueueBytes))
}

func (a *app) why(p node.Peer) string {
	words := p.Why
	if p.RetryAt != nil {
		if in := p.RetryAt.Sub(a.now()); in > 0 {
			words = strings.TrimPrefix(words+", next try in "+in.Round(time.Second).String(), ", ")
		}
	}
	return words
}

// ago is a moment of the past for people.
func (a *app) ago(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "never"
	}
	d := a.now().Sub(*t)
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	}
	return t.Local().Format("2006-01-02 15:04")
}

// bytesText is a number of bytes for people.
func bytesText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, names := float64(n), "KMGTPE"
	i := -1
	for value >= unit && i < len(names)-1 {
		value /= unit
		i++
	}
	return fmt.Sprintf("%.1f %ciB", value, names[i])
}

func printViews(w io.Writer, v node.Views) {
	fmt.Fprintf(w, "%s has carried %d envelopes since it started.\n", oneLine(v.Domain), v.Envelopes)
	if len(v.Counts) > 0 {
		rows := [][]string{{"  SIZE", "CLASS", "CAME FROM", "NUMBER"}}
		for _, c := range v.Counts {
			from := "a client"
			if c.From == "federation" {
				from = "another node"
			}
			rows = append(rows, []string{fmt.Sprintf("  %d", c.Size), c.TTL, from, strconv.FormatUint(c.Count, 10)})
		}
		table(w, rows...)
	}
	table(w,
		[]string{"queries carried or answered", strconv.FormatUint(v.Queries, 10)},
		[]string{"links now", strconv.Itoa(v.Links)},
		[]string{"links since the start", strconv.FormatUint(v.LinksSeen, 10)},
		[]string{"relay grants now", strconv.Itoa(v.TurnGrant)},
	)
}
