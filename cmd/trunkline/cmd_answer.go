package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/client"
)

func newAnswerCommand(a *app) *cobra.Command {
	var auto, once bool
	var files string
	cmd := &cobra.Command{
		Use:   "answer",
		Short: "Wait for calls, and take them",
		Long: `Waits for calls. On a terminal it asks about each ring; with --auto it takes every one,
which only contacts can make. It sends the files of --audio and --video into each call
and records what comes; the first call is recorded in the folder itself, further ones in
2, 3, … below it. Notes and knocks that come meanwhile are shown, too.

With --files DIR it also takes files. With --json the output is a stream, one object per
line, with "event" being ringing, call (when it is over), file, and those of trunkline
inbox --follow.`,
		Example: `  trunkline answer
  trunkline answer --auto --audio welcome.ogg --record /tmp/calls --files ~/Downloads
  trunkline answer --auto --once --json`,
		Args: cobra.NoArgs,
	}
	media := addMediaFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&auto, "auto", false, "take every call without asking")
	f.BoolVar(&once, "once", false, "end after the first call or file")
	f.StringVar(&files, "files", "", "take files into this folder")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !auto && !a.inTerminal {
			return usageError("there is no terminal to ask on", "use --auto to take every call")
		}
		if err := media.check(); err != nil {
			return err
		}
		if err := checkFolder("--files", files); err != nil {
			return err
		}
		return a.online(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			s := &answering{a: a, c: c, media: media, files: files, auto: auto, once: once}
			return s.run(ctx)
		})
	}
	return cmd
}

// checkFolder says early that a folder for files cannot be one. One that is not there yet is
// made when it is needed.
func checkFolder(flag, dir string) error {
	if dir == "" {
		return nil
	}
	info, err := os.Stat(dir)
	switch {
	case os.IsNotExist(err):
		return nil
	case err != nil:
		return &exitError{code: exitUsage, what: withCause("cannot use the folder", err), do: "name one that can be written with " + flag, err: err}
	case !info.IsDir():
		return usageError(dir+" is not a folder", "name one with "+flag)
	}
	return nil
}
