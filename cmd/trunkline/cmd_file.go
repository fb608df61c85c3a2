package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/transfer"
)

func newFileCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "file",
		Short: "Send and receive files",
		Long: `Files go straight from device to device, sealed, of any size. When the connection breaks
or either side is killed, they go on where they were.`,
	}
	cmd.AddCommand(newFileSendCommand(a), newFileReceiveCommand(a))
	return cmd
}

func newFileSendCommand(a *app) *cobra.Command {
	var relayOnly bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "send WHO PATH",
		Short: "Send a file to a contact",
		Long: `Rings a contact and sends a file. The other side has to be receiving: with trunkline file
receive, or trunkline answer --files DIR. While nobody answers or the connection breaks,
it rings again, until the file is there whole or --timeout is over.

` + whoArgument,
		Example: `  trunkline file send bob report.pdf
  trunkline file send bob disk.img --relay-only --timeout 1h`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if timeout < 0 {
				return usageError(fmt.Sprintf("%s is not how long to try", timeout), "use --timeout with 0 (no limit) or more, like 10m")
			}
			path := args[1]
			info, err := os.Stat(path)
			if err == nil && !info.Mode().IsRegular() {
				return usageError(path+" is not a file", "pack a folder into an archive first")
			}
			var f *os.File
			if err == nil {
				f, err = os.Open(path)
			}
			if err == nil {
				err = f.Close()
			}
			if err != nil {
				return &exitError{code: exitUsage, what: withCause("cannot read the file", err), do: "check the path and its permissions", err: err}
			}
			return a.online(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				if timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, timeout)
					defer cancel()
				}
				return a.sendFile(ctx, c, args[0], path, info.Size(), relayOnly)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&relayOnly, "relay-only", false, "go through your node's relay alone, so that the other side does not learn your addresses")
	f.DurationVar(&timeout, "timeout", 10*time.Minute, "give up after so long, like 10m or 2h (0: never)")
	return cmd
}

func (a *app) sendFile(ctx context.Context, c *client.Client, who, path string, size int64, relayOnly bool) error {
	k, err := contact(c, who)
	if err != nil {
		return err
	}
	a.hint("Ringing %s.", oneLine(called(k)))
	began := a.now()
	var bar *progress
	// Progress is told by one goroutine of the call at a time, and by none after SendFile.
	sent, err := c.SendFile(ctx, k.ID, path, client.CallOptions{RelayOnly: relayOnly}, func(p transfer.Progress) {
		if bar == nil {
			bar = a.bytesProgress(oneLine(filepath.Base(path)), p.Size)
		}
		bar.set(p.Done)
	})
	if bar != nil {
		bar.end("")
	}
	if err != nil {
		return err
	}
	took := a.now().Sub(began)
	return a.result(struct {
		To      string  `json:"to"`
		Path    string  `json:"path"`
		Bytes   int64   `json:"bytes"`
		SHA256  string  `json:"sha256"`
		Resumed int64   `json:"resumed"` // bytes that were there already
		Seconds float64 `json:"seconds"`
	}{k.ID.ID(), path, sent.Size, hex.EncodeToString(sent.SHA256[:]), sent.Resumed, took.Seconds()}, func(w io.Writer) {
		fmt.Fprintf(w, "%s has %s whole: %s in %.1f s.\n", oneLine(called(k)), oneLine(filepath.Base(path)), bytesText(size), took.Seconds())
	})
}

func newFileReceiveCommand(a *app) *cobra.Command {
	var dir string
	var once bool
	media := new(mediaFlags)
	cmd := &cobra.Command{
		Use:   "receive",
		Short: "Receive files",
		Long: `Waits for files of your contacts and puts them into a folder, under the name they have,
or with a number in it where that is taken. A file appears when all of it is there and
right; what came of it so far is kept when the connection breaks.

With --json it prints a stream, one object for each file.`,
		Example: `  trunkline file receive
  trunkline file receive --dir ~/Downloads --once --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usageError("the folder has no name", "name one with --dir")
			}
			if err := checkFolder("--dir", dir); err != nil {
				return err
			}
			return a.online(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				s := &answering{a: a, c: c, media: media, files: dir, auto: true, once: once, filesOnly: true}
				return s.run(ctx)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", ".", "folder to put files into")
	f.BoolVar(&once, "once", false, "end after the first file")
	f.BoolVar(&media.relayOnly, "relay-only", false, "go through your node's relay alone, so that the other side does not learn your addresses")
	return cmd
}
