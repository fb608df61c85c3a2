package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// maxNoteText is the limit of a note (docs/spec/envelope.md), checked before anything is sent.
const maxNoteText = 16384

func newSendCommand(a *app) *cobra.Command {
	var wait string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "send WHO TEXT...",
		Short: "Leave a note for a contact",
		Long: `Seals a note for every device of a contact and sends it. Nobody on the way can read it.
"-" as the text reads it from standard input.

It ends when the note has come as far as --wait says:
  accepted   your own node has it
  stored     it waits in the mailbox of the contact, or further (the default)
  read       the contact's device has it and said so, sealed
A note that has not come so far in time stays on its way: the command says how far it
is and ends with 4 only if you asked for more with --wait, or it is still on this disk.

` + whoArgument,
		Example: `  trunkline send bob "I will be ten minutes late"
  trunkline send tl1…@globex.example --wait read Hello
  trunkline send bob - < letter.txt`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			goal, ok := map[string]keep.NoteState{"accepted": client.NoteAccepted, "stored": client.NoteStored, "read": client.NoteRead}[wait]
			if !ok {
				return usageError(fmt.Sprintf("%q is not how far a note can come", wait), "use --wait accepted, stored or read")
			}
			if timeout <= 0 {
				return usageError(fmt.Sprintf("%s is not how long to wait", timeout), "use --timeout with more than 0, like 30s")
			}
			text, err := a.noteText(args[1:])
			if err != nil {
				return err
			}
			insist := cmd.Flags().Changed("wait")
			return a.online(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				return a.send(ctx, c, args[0], text, goal, timeout, insist)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&wait, "wait", "stored", "how far the note must come: accepted, stored or read")
	f.DurationVar(&timeout, "timeout", 20*time.Second, "how long to wait for that")
	completeWith(cmd, "wait", "accepted", "stored", "read")
	return cmd
}

func (a *app) noteText(words []string) (string, error) {
	text := strings.Join(words, " ")
	if len(words) == 1 && words[0] == "-" {
		data, err := a.readInput("-", maxNoteText+1)
		if err != nil {
			return "", err
		}
		text = strings.TrimSuffix(string(data), "\n")
	}
	switch {
	case strings.TrimSpace(text) == "":
		return "", usageError("the note is empty", "write something behind the name, or - to read it from standard input")
	case len(text) > maxNoteText:
		return "", usageError(fmt.Sprintf("the note has %d bytes, %d are the most", len(text), maxNoteText), "send it as a file: trunkline file send")
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return "", usageError("the note is not text in UTF-8", "send it as a file: trunkline file send")
	}
	return text, nil
}

func (a *app) send(ctx context.Context, c *client.Client, who, text string, goal keep.NoteState, timeout time.Duration, insist bool) error {
	k, err := contact(c, who)
	if err != nil {
		return err
	}
	// The note is on the disk at once; what takes time is to find the other node.
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	id, err := c.SendNote(bounded, k.ID, text)
	if err != nil {
		return err
	}
	note, err := c.Note(k.ID, id)
	if err != nil {
		return err
	}
	state, code := note.State, note.Code
	for waiting := true; waiting && !reached(state, goal); {
		select {
		case e, open := <-c.Events():
			if fate, ok := e.(client.NoteFate); ok && fate.To == k.ID && fate.Message == id {
				state, code = fate.State, fate.Code
			}
			waiting = open
		case <-bounded.Done():
			waiting = false
		}
	}
	result := struct {
		To    string `json:"to"`
		ID    string `json:"id"`
		State string `json:"state"` // queued, accepted, stored, delivered, read, refused, expired
	}{k.ID.ID(), hex.EncodeToString(id[:]), state.String()}
	err = sentError(state, code, goal, insist)
	var told *exitError
	if errors.As(err, &told) && !a.json {
		return err
	}
	return errors.Join(a.result(result, func(w io.Writer) {
		fmt.Fprintln(w, map[keep.NoteState]string{
			client.NoteAccepted: "Your node has it and passes it on.", client.NoteStored: "It waits in their mailbox.",
			client.NoteDelivered: "A device of theirs has fetched it.", client.NoteRead: "They have it.",
		}[state])
	}), err)
}

// reached: has a note come as far as it should, or to its end?
func reached(state, goal keep.NoteState) bool {
	if state == client.NoteRefused || state == client.NoteExpired {
		return true
	}
	return state >= goal
}

func sentError(state keep.NoteState, code string, goal keep.NoteState, insist bool) error {
	switch {
	case state == client.NoteRefused:
		return refusedByNode(&client.RefusedError{Code: code})
	case state == client.NoteExpired:
		return unreachable(nil, "the note ended before it arrived", "it is sent again when trunkline runs; or send a new one")
	case state == client.NoteQueued:
		return unreachable(nil, "the note could not be sent yet", "it is kept and goes out with the next trunkline command, or with trunkline inbox --follow")
	case insist && state < goal:
		return unreachable(nil, fmt.Sprintf("the note is %s, not yet %s", state, goal), "it goes on by itself; trunkline inbox --follow shows when")
	}
	return nil
}
