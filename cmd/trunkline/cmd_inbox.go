package main

import (
	"context"
	"encoding/hex"
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

func newInboxCommand(a *app) *cobra.Command {
	var follow, all bool
	cmd := &cobra.Command{
		Use:   "inbox",
		Short: "Fetch and show notes and knocks",
		Long: `Fetches what waits at your node and shows it: notes that you have not seen yet, people
who knocked or let you in, calls that you missed. Whoever wrote gets a sealed receipt.

With --follow it stays and shows what comes until Ctrl-C. Together with --json that is a
stream: one object per line, with "event" being note, knock, accepted, fate, missed,
ringing, devices, alarm, link-up or link-down.`,
		Example: `  trunkline inbox
  trunkline inbox --all
  trunkline inbox --follow --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.online(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				if follow {
					return a.follow(ctx, c, all)
				}
				return a.inbox(ctx, c, all)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&follow, "follow", false, "stay, and show what comes (with --json: a stream)")
	f.BoolVar(&all, "all", false, "also notes that were shown before, and your own")
	return cmd
}

// shownNote is a note in JSON.
type shownNote struct {
	ID      string    `json:"id"`
	With    string    `json:"with"` // the other person's id
	Name    string    `json:"name"`
	Out     bool      `json:"out"` // you wrote it
	Text    string    `json:"text"`
	Created time.Time `json:"created"`
	State   string    `json:"state"`
}

// quietFor is how long nothing must happen after the mailbox was fetched: receipts for what
// came go out in that time, and live answers come in.
const quietFor = 400 * time.Millisecond

// quiet waits until the mailbox is fetched and hands events to each until none comes for a
// while.
func quiet(ctx context.Context, c *client.Client, each func(client.Event)) error {
	bounded, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	if err := c.Fetched(bounded); err != nil {
		return err
	}
	timer := time.NewTimer(quietFor)
	defer timer.Stop()
	for {
		select {
		case e, open := <-c.Events():
			if !open {
				return context.Cause(ctx)
			}
			each(e)
			timer.Reset(quietFor)
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *app) inbox(ctx context.Context, c *client.Client, all bool) error {
	accepted, missed := []toldFrom{}, []toldFrom{}
	if err := quiet(ctx, c, func(e client.Event) {
		switch e := e.(type) {
		case client.KnockAccepted:
			accepted = append(accepted, toldFrom{From: e.From.ID(), Name: names(c, e.From)})
		case client.Missed:
			missed = append(missed, toldFrom{e.From.ID(), names(c, e.From), e.Reason})
		}
	}); err != nil {
		return err
	}
	contacts, err := c.Contacts()
	if err != nil {
		return err
	}
	knocks := []shownContact{}
	for _, k := range contacts {
		if k.State == keep.ContactPendingIn {
			knocks = append(knocks, showContact(k))
		}
	}
	notes, raw, err := unseen(c, contacts, all)
	if err != nil {
		return err
	}
	if err := a.result(struct {
		Notes    []shownNote    `json:"notes"`
		Knocks   []shownContact `json:"knocks"`
		Accepted []toldFrom     `json:"accepted"` // who let you in since the last time
		Missed   []toldFrom     `json:"missed"`
	}{notes, knocks, accepted, missed}, func(w io.Writer) {
		for _, k := range accepted {
			fmt.Fprintf(w, "%s let you in\n", oneLine(k.Name))
		}
		for _, n := range notes {
			printNote(w, n)
		}
		for _, k := range knocks {
			a.printKnock(w, k.Name, k.ID, k.Knock)
		}
		for _, m := range missed {
			fmt.Fprintf(w, "%s called: %s\n", oneLine(m.Name), m.Reason)
		}
		if len(notes)+len(knocks)+len(accepted)+len(missed) == 0 {
			fmt.Fprintln(w, "Nothing new.")
		}
	}); err != nil {
		return err
	}
	// Only what was really written out counts as shown.
	for _, n := range raw {
		if err := c.MarkShown(n.Contact, n.ID); err != nil {
			return err
		}
	}
	return nil
}

// unseen reads the history: what is to be shown, and which of it is new.
func unseen(c *client.Client, contacts []client.Contact, all bool) (shown []shownNote, fresh []keep.Note, err error) {
	shown = []shownNote{}
	for _, k := range contacts {
		for after, more := uint64(0), true; more; {
			page, err := c.Notes(k.ID, after, 256)
			if err != nil {
				return nil, nil, err
			}
			for _, n := range page {
				after = n.Seq
				isNew := !n.Out && n.State != client.NoteRead
				if isNew {
					fresh = append(fresh, n)
				}
				if isNew || all {
					shown = append(shown, showNote(k, n))
				}
			}
			more = len(page) == 256
		}
	}
	return shown, fresh, nil
}

func showNote(k client.Contact, n keep.Note) shownNote {
	return shownNote{
		ID: hex.EncodeToString(n.ID[:]), With: n.Contact.ID(), Name: k.Name, Out: n.Out, Text: n.Text,
		Created: n.Created.UTC(), State: n.State.String(),
	}
}

func printNote(w io.Writer, n shownNote) {
	who := n.Name
	if who == "" {
		who = n.With[:12] + "…"
	}
	if n.Out {
		who = "you to " + who + " (" + n.State + ")"
	}
	fmt.Fprintf(w, "%s  %s: %s\n", n.Created.Local().Format("2006-01-02 15:04"), oneLine(who), safeText(n.Text))
}

func (a *app) printKnock(w io.Writer, name, id, text string) {
	if name == "" {
		name = id[:12] + "…"
	}
	fmt.Fprintf(w, "%s knocked: %s\n", oneLine(name), quoted(oneLine(text)))
	a.hint("  let them in: trunkline contact accept %s%s", id, a.dataFlag())
}

// safeText keeps the lines of a text but nothing else that moves a cursor; further lines are
// set in, so that a note cannot look like another one.
func safeText(s string) string {
	lines := strings.Split(strings.TrimLeft(s, "\n"), "\n")
	for i, line := range lines {
		lines[i] = oneLine(line)
	}
	return strings.Join(lines, "\n    ")
}

// follow shows what comes until ctx ends.
func (a *app) follow(ctx context.Context, c *client.Client, all bool) error {
	told, err := a.tellWaiting(c, all)
	if err != nil {
		return err
	}
	a.hint("Waiting for what comes. Stop with Ctrl-C.")
	for {
		select {
		case e, open := <-c.Events():
			if !open {
				return context.Cause(ctx)
			}
			if seenAlready(told, e) {
				continue
			}
			if err := a.toldEvent(c, e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ended(ctx)
		}
	}
}

// ended is how a command ends that runs until the person stops it: well, unless the client
// ended before.
func ended(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// tellWaiting shows notes and knocks that nobody has seen yet, for commands that go on with
// events. It returns what it told, because the events of the same things are still unread.
func (a *app) tellWaiting(c *client.Client, all bool) (told map[string]bool, err error) {
	contacts, err := c.Contacts()
	if err != nil {
		return nil, err
	}
	notes, fresh, err := unseen(c, contacts, all)
	if err != nil {
		return nil, err
	}
	told = map[string]bool{}
	for _, n := range notes {
		told[n.With+n.ID] = true
		if err := a.told("note", n, func(w io.Writer) { printNote(w, n) }); err != nil {
			return nil, err
		}
	}
	for _, n := range fresh {
		if err := c.MarkShown(n.Contact, n.ID); err != nil {
			return nil, err
		}
	}
	for _, k := range contacts {
		if k.State == keep.ContactPendingIn {
			told[k.ID.ID()] = true
			if err := a.toldKnock(k); err != nil {
				return nil, err
			}
		}
	}
	return told, nil
}

// seenAlready: was this told from the history before its event was read?
func seenAlready(told map[string]bool, e client.Event) bool {
	key := ""
	switch e := e.(type) {
	case client.NoteReceived:
		key = e.From.ID() + hex.EncodeToString(e.ID[:])
	case client.KnockReceived:
		key = e.From.ID()
	}
	was := told[key]
	delete(told, key)
	return was
}

// told writes one event: a line of the stream, or what people writes.
func (a *app) told(event string, v any, people func(io.Writer)) error {
	if !a.json {
		people(a.out)
		return nil
	}
	return a.line(struct {
		Event string `json:"event"`
		What  any    `json:"what"`
	}{event, v})
}

func (a *app) toldKnock(k client.Contact) error {
	return a.told("knock", showContact(k), func(w io.Writer) { a.printKnock(w, k.Name, k.ID.ID(), k.Knock) })
}

type toldFrom struct {
	From   string `json:"from"`
	Name   string `json:"name"`
	Reason string `json:"reason,omitempty"`
}

// toldEvent writes an event of the client, and marks notes as shown.
func (a *app) toldEvent(c *client.Client, e client.Event) error {
	from := func(root identity.PublicKey, reason string) toldFrom {
		return toldFrom{root.ID(), names(c, root), reason}
	}
	line := func(event string, v toldFrom, format string) error {
		return a.told(event, v, func(w io.Writer) {
			text := fmt.Sprintf(format, v.Name)
			if v.Reason != "" {
				text += ": " + v.Reason
			}
			fmt.Fprintln(w, oneLine(text))
		})
	}
	switch e := e.(type) {
	case client.NoteReceived:
		n := shownNote{ID: hex.EncodeToString(e.ID[:]), With: e.From.ID(), Name: names(c, e.From), Text: e.Text, Created: a.now().UTC(), State: "delivered"}
		if err := a.told("note", n, func(w io.Writer) { printNote(w, n) }); err != nil {
			return err
		}
		return c.MarkShown(e.From, e.ID)
	case client.KnockReceived:
		k := client.Contact{ID: e.From, Name: e.Name, Knock: e.Text, State: keep.ContactPendingIn,
			Address: identity.Address{Root: e.From, Domain: e.Domain}}
		return a.toldKnock(k)
	case client.KnockAccepted:
		return line("accepted", from(e.From, ""), "%s let you in")
	case client.NoteFate:
		v := struct {
			To    string `json:"to"`
			ID    string `json:"id"`
			State string `json:"state"`
			Code  string `json:"code,omitempty"`
		}{e.To.ID(), hex.EncodeToString(e.Message[:]), e.State.String(), e.Code}
		return a.told("fate", v, func(w io.Writer) {
			fmt.Fprintf(w, "your note to %s is %s\n", oneLine(names(c, e.To)), v.State)
		})
	case client.Missed:
		return line("missed", from(e.From, e.Reason), "%s called")
	case client.Ringing:
		return line("ringing", from(e.From.ID, ""), "%s is calling: trunkline answer takes calls")
	case client.Compared:
		return line("compared", from(e.From, ""), "%s says that your code matched; if you see that on the other screen, compare with trunkline contact verify")
	case client.DevicesChanged:
		return line("devices", from(e.From, ""), "%s has other devices than before")
	case client.Alarm:
		return line("alarm", from(e.From, e.What), "ALARM about %s")
	case client.LinkUp:
		return a.told("link-up", struct{}{}, func(io.Writer) {})
	case client.LinkDown:
		return a.told("link-down", struct{}{}, func(io.Writer) { a.hint("The link to your node broke; trying again.") })
	}
	return nil
}
