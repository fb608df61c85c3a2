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

// hangupPatience is for saying goodbye.
const hangupPatience = 3 * time.Second

// lastWords is how long a call stays up after both sides have played what they have.
const lastWords = 500 * time.Millisecond

func newCallCommand(a *app) *cobra.Command {
	var seconds float64
	var withVideo bool
	cmd := &cobra.Command{
		Use:   "call WHO",
		Short: "Call a contact",
		Long: `Rings every device of a contact; the first that answers gets the call. This command has
no microphone: it sends the files of --audio and --video and records what comes.

The call ends when both sides have played what they have, after --seconds, when the
other side hangs up, or with Ctrl-C. What is said is sealed from end to end, and the
call only begins when both sides have proved that nobody stands between them.

` + whoArgument,
		Example: `  trunkline call bob --audio hello.ogg --record /tmp/call
  trunkline call tl1…@globex.example --audio a.ogg --video v.ivf --relay-only --json
  trunkline call bob --seconds 30`,
		Args: cobra.ExactArgs(1),
	}
	media := addMediaFlags(cmd)
	cmd.Flags().Float64Var(&seconds, "seconds", 0, "hang up after so many seconds of talking (0: see above)")
	cmd.Flags().BoolVar(&withVideo, "with-video", false, "make it a video call although this side sends no video")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if seconds < 0 || seconds > 7*24*3600 || seconds != seconds {
			return usageError(fmt.Sprintf("%v is not a number of seconds", seconds), "use --seconds with 0 or more")
		}
		if err := media.check(); err != nil {
			return err
		}
		return a.online(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			return a.call(ctx, c, args[0], media, withVideo, time.Duration(seconds*float64(time.Second)))
		})
	}
	return cmd
}

func (a *app) call(ctx context.Context, c *client.Client, who string, media *mediaFlags, withVideo bool, length time.Duration) error {
	k, err := contact(c, who)
	if err != nil {
		return err
	}
	o, err := media.options(1)
	if err != nil {
		return err
	}
	o.Media = client.Audio
	if media.video != "" || withVideo {
		o.Media = client.Video
	}
	a.hint("Ringing %s.", oneLine(called(k)))
	call, err := c.Ring(ctx, k.ID, o)
	if err != nil {
		return err
	}
	err = a.talk(ctx, call, length, media.sends())
	facts := factsOf(call, called(k), media.record, err)
	if err != nil && !facts.Connected {
		return err
	}
	return errors.Join(a.result(facts, func(w io.Writer) { printCall(w, facts) }), err)
}

// talk sees a call through to its end. With a length it is hung up after it; without, when
// both sides have played what they have, if this side has anything to play.
func (a *app) talk(ctx context.Context, call *client.Call, length time.Duration, plays bool) error {
	err := call.Connected(ctx)
	if err == nil {
		i := call.Info()
		a.hint("Connected in %d ms, %s.", i.Setup.Milliseconds(), i.Route.Path)
		err = a.untilOver(ctx, call, length, plays)
	}
	// An interrupted call still says goodbye, and the goodbye is not cut off.
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), hangupPatience)
	defer cancel()
	if herr := call.Hangup(bye); err == nil || errors.Is(err, context.Canceled) {
		err = herr // Ctrl-C is an ordinary end of a call
	}
	return err
}

func (a *app) untilOver(ctx context.Context, call *client.Call, length time.Duration, plays bool) error {
	if length == 0 && plays {
		if err := call.Played(ctx); err != nil {
			return err
		}
		// All of it is here; what this side sent last may still be on its way.
		length = lastWords
	}
	var end <-chan time.Time
	if length > 0 {
		timer := time.NewTimer(length)
		defer timer.Stop()
		end = timer.C
	}
	select {
	case <-end:
		return nil
	case <-call.Done():
		return call.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func printCall(w io.Writer, f callFacts) {
	if !f.Connected {
		fmt.Fprintf(w, "No connection with %s: %s\n", oneLine(f.Name), oneLine(f.Ended))
		return
	}
	fmt.Fprintf(w, "The call with %s is over.\n", oneLine(f.Name))
	rows := [][]string{
		{"  route", f.Route},
		{"  set up in", fmt.Sprintf("%d ms", f.SetupMS)},
		{"  sealed", "channel binding " + yesNo(f.ChannelBinding) + ", SFrame " + yesNo(f.SFrame)},
		{"  audio frames", fmt.Sprintf("%d sent, %d received", f.Audio.Sent, f.Audio.Received)},
		{"  video frames", fmt.Sprintf("%d sent, %d received", f.Video.Sent, f.Video.Received)},
	}
	if f.Record != "" {
		rows = append(rows, []string{"  recording", f.Record})
	}
	if f.Ended != "hangup" {
		rows = append(rows, []string{"  ended by", f.Ended})
	}
	table(w, rows...)
}
