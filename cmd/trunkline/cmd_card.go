package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/envelope"
)

func newCardCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "card",
		Short: "Meet somebody without any node",
		Long: `Two people meet with two cards, by any road that they have: a chat, a letter, a file. One
makes an offer and gives it away, the other answers it and gives the answer back; then
their computers connect and talk as in any call. No node takes part. Who sees a card
learns who it is from and the addresses in it; nobody but the two can use it.

A card is good for ten minutes, and for as long as its command runs.`,
	}
	cmd.AddCommand(newCardOfferCommand(a), newCardAnswerCommand(a))
	return cmd
}

// cardFlags are what both sides of a meeting say.
type cardFlags struct {
	media   *mediaFlags
	name    string
	file    string // where the own card goes as well
	app     string // origin of the link
	files   string // folder for files
	send    string // a file for the other side
	seconds float64
	life    time.Duration
	unlock  string
	yes     bool
}

const cardTalk = `
Once connected, each line of standard input is a note to the other side, and theirs are
printed. It ends as trunkline call does, or when the file of --send is there.

Without a node this needs a network that carries packets between the two computers. A
relay helps where it does not, and --relay-only shows nothing but the relay's address;
both are your node's, so it has to run then. An identity is needed, but no node for it:
trunkline id new.

With --json it prints a stream, one object per line: {"event","what"} with "event" being
card (the own one), peer (whose the other one is), connected, note, file and call.`

func (f *cardFlags) add(cmd *cobra.Command) {
	f.media = addMediaFlags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.name, "name", "", "what you call yourself; it stands in the card")
	fl.StringVar(&f.file, "file", "", "write the own card into this file as well")
	fl.StringVar(&f.app, "app", "", "make it a link to the app at this address, like https://acme.example")
	fl.StringVar(&f.files, "files", "", "take files into this folder")
	fl.StringVar(&f.send, "send", "", "send this file once connected")
	fl.Float64Var(&f.seconds, "seconds", 0, "hang up after so many seconds of talking (0: see above)")
	fl.DurationVar(&f.life, "life", envelope.CardLifetime, "how long the card is good, 30m at most")
	fl.StringVar(&f.unlock, "passphrase-file", "", "file with the passphrase of the root key, for an identity that no node knows yet")
	fl.BoolVar(&f.yes, "yes", false, "do not ask before connecting")
}

func (f *cardFlags) check() error {
	if f.seconds < 0 || f.seconds > 7*24*3600 || f.seconds != f.seconds {
		return usageError(fmt.Sprintf("%v is not a number of seconds", f.seconds), "use --seconds with 0 or more")
	}
	if f.life < time.Second || f.life > envelope.MaxCardLifetime {
		return usageError(fmt.Sprintf("a card cannot live for %s", f.life), "use --life with 1s to 30m")
	}
	if f.app != "" && !strings.HasPrefix(f.app, "https://") && !strings.HasPrefix(f.app, "http://") {
		return usageError(quoted(f.app)+" is not the address of an app", "give --app like https://acme.example")
	}
	if f.send != "" {
		if info, err := os.Stat(f.send); err != nil || !info.Mode().IsRegular() {
			return usageError(f.send+" is not a file that can be sent", "check the path, or pack a folder into an archive")
		}
	}
	if err := f.media.check(); err != nil {
		return err
	}
	return checkFolder("--files", f.files)
}

func newCardOfferCommand(a *app) *cobra.Command {
	f := new(cardFlags)
	var withVideo bool
	cmd := &cobra.Command{
		Use:   "offer",
		Short: "Make an offer, and wait for its answer on standard input",
		Long: `Prints an offer, which you give to the other side. Their answer goes to standard input:
paste it, and see whose it is before anything connects.
` + cardTalk,
		Example: `  trunkline card offer --name Ada
  trunkline card offer --audio hello.ogg --record /tmp/call --file offer.txt
  trunkline card offer --app https://acme.example --json`,
		Args: cobra.NoArgs,
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&withVideo, "with-video", false, "make it a video call although this side sends no video")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(); err != nil {
			return err
		}
		return a.meeting(cmd.Context(), f, func(ctx context.Context, m *meeting) error {
			o := client.Audio
			if f.media.video != "" || withVideo {
				o = client.Video
			}
			return m.offer(ctx, o)
		})
	}
	return cmd
}

func newCardAnswerCommand(a *app) *cobra.Command {
	f := new(cardFlags)
	cmd := &cobra.Command{
		Use:   "answer CARD",
		Short: "Answer an offer",
		Long: `Shows whose an offer is, and prints the answer, which you give back to them; then it waits
until they have it. CARD is the link or text of the offer, or a file with it; "-" reads
it from standard input.
` + cardTalk,
		Example: `  trunkline card answer 'https://acme.example/#c1.…'
  trunkline card answer offer.txt --file answer.txt --files ~/Downloads
  trunkline card answer - --json < offer.txt`,
		Args: cobra.ExactArgs(1),
	}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(); err != nil {
			return err
		}
		text, err := a.cardArgument(args[0])
		if err != nil {
			return err
		}
		return a.meeting(cmd.Context(), f, func(ctx context.Context, m *meeting) error { return m.answer(ctx, text) })
	}
	return cmd
}

// cardArgument is the text of a card, or that of the file that has it. Of standard input only
// the first line is the card: the rest are notes.
func (a *app) cardArgument(arg string) (string, error) {
	if arg == "-" {
		return a.inputLine()
	}
	if _, err := envelope.ParseCardText(arg); err == nil || errors.Is(err, envelope.ErrCardVersion) {
		return arg, nil
	}
	if _, err := os.Stat(arg); err != nil {
		return arg, nil // whoever reads it says what is wrong with it
	}
	b, err := a.readInput(arg, envelope.MaxCardText)
	return string(b), err
}

// inputLine reads one line of standard input and nothing behind it.
func (a *app) inputLine() (string, error) {
	var line bytes.Buffer
	one := make([]byte, 1)
	for line.Len() <= envelope.MaxCardText {
		n, err := a.in.Read(one)
		if n == 1 {
			if one[0] == '\n' {
				if strings.TrimSpace(line.String()) != "" {
					break
				}
				line.Reset() // a blank line before the card
				continue
			}
			line.WriteByte(one[0])
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", failed(err, "cannot read standard input", "give the card as an argument or a file")
		}
	}
	return line.String(), nil
}
