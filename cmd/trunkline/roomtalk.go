package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/rtc"
)

// What is said in the room that "trunkline room join" is in, from another terminal.

// signs are the reactions, the first of them rtc.ReactionYes.
var signs = []string{"yes", "no", "applause", "heart", "laugh", "surprise"}

func signWord(r rtc.Reaction) string {
	if i := int(r - rtc.ReactionYes); i >= 0 && i < len(signs) {
		return signs[i]
	}
	return ""
}

func newRoomSayCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "say TEXT",
		Short: "Write a line to everybody in the room that you are in",
		Long: `Writes a line of chat to everybody in the room that "trunkline room join" is in, in another
terminal. It is sealed for each of them; who comes later does not get it, and nobody says
that it came. What others write is printed by "room join".`,
		Example: `  trunkline room say "The plans are on page 7"
  trunkline room say "Back in five minutes" --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args[0]) > maxRoomOrder/8 { // a byte of text is six of JSON at most
				return usageError(client.ErrNoText.Error(), "write less")
			}
			if _, err := a.order(cmd.Context(), roomOrder{Do: "say", Text: args[0]}); err != nil {
				return err
			}
			return a.result(map[string]string{"said": args[0]}, func(out io.Writer) { fmt.Fprintln(out, "Said.") })
		},
	}
}

func newRoomReactCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "react SIGN",
		Short: "Give a sign to everybody in the room that you are in",
		Long: `Gives a sign to everybody in the room that "trunkline room join" is in, in another terminal.

SIGN is ` + strings.Join(signs, ", ") + `.`,
		Example: `  trunkline room react applause
  trunkline room react yes --json`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: signs,
		RunE: func(cmd *cobra.Command, args []string) error {
			i := slices.Index(signs, args[0])
			if i < 0 {
				return usageError("there is no such sign", "give one of "+strings.Join(signs, ", "))
			}
			if _, err := a.order(cmd.Context(), roomOrder{Do: "react", Sign: rtc.ReactionYes + rtc.Reaction(i)}); err != nil {
				return err
			}
			return a.result(map[string]string{"reacted": args[0]}, func(out io.Writer) { fmt.Fprintln(out, "Given.") })
		},
	}
}

func newRoomHandCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "hand up|down",
		Short: "Raise your hand in the room that you are in, or take it down",
		Long: `Raises your hand in the room that "trunkline room join" is in, in another terminal, or takes
it down. Everybody sees it, whoever comes later too.`,
		Example: `  trunkline room hand up
  trunkline room hand down --json`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"up", "down"},
		RunE: func(cmd *cobra.Command, args []string) error {
			up := args[0] == "up"
			if !up && args[0] != "down" {
				return usageError("a hand goes up or down", "trunkline room hand up")
			}
			if _, err := a.order(cmd.Context(), roomOrder{Do: "hand", Up: up}); err != nil {
				return err
			}
			return a.result(map[string]bool{"hand": up}, func(out io.Writer) { fmt.Fprintf(out, "Your hand is %s.\n", args[0]) })
		},
	}
}
