package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/client/transfer"
	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// What trunkline card offer and answer do, from the first card to the end of the call.

// meeting is one run of trunkline card.
type meeting struct {
	a     *app
	c     *client.Client
	f     *cardFlags
	say   chan func() error // what the call wants written
	gone  chan struct{}     // closed when nobody writes any more
	lines <-chan string     // of standard input, from the moment that it is asked for
	peer  *envelope.Card
}

// meeting opens the identity, with its node where it has one that answers, and runs f.
func (a *app) meeting(ctx context.Context, f *cardFlags, run func(context.Context, *meeting) error) error {
	c, err := a.openClient("", false)
	if err != nil {
		return err
	}
	self, err := c.Self()
	if err == nil && self.Address == "" && self.Custody != keep.CustodyCold {
		// No node has this device in a list, so the root key certifies it for the card.
		if err := c.Close(); err != nil {
			return clientError(err)
		}
		if c, err = a.openClient(f.unlock, true); err != nil {
			return err
		}
	}
	if err != nil {
		return clientError(errors.Join(err, c.Close()))
	}
	// The client outlives ctx: an interrupted call still says goodbye.
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() {
		err := c.Run(life)
		cancel(err)
		ended <- err
	}()
	m := &meeting{a: a, c: c, f: f, say: make(chan func() error), gone: make(chan struct{})}
	err = m.wait(work, self)
	if err == nil {
		err = run(work, m)
	}
	close(m.gone)
	stop()
	if rerr := <-ended; !errors.Is(rerr, context.Canceled) && (err == nil || errors.Is(err, context.Canceled)) {
		err = rerr
	}
	return cardError(errors.Join(err, c.Close()))
}

// wait gives the own node a moment, where there is one: its relay helps. Only --relay-only
// cannot do without.
func (m *meeting) wait(ctx context.Context, self client.Self) error {
	if self.Address == "" {
		if m.f.media.relayOnly {
			return failed(nil, "--relay-only needs the relay of a node, and this identity has no node", "register it with the invitation of a node, or leave --relay-only out")
		}
		return nil
	}
	patience := 3 * time.Second
	if m.f.media.relayOnly {
		patience = m.a.patience
	}
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := m.c.Ready(bounded); err != nil && ctx.Err() == nil {
		if m.f.media.relayOnly {
			return unreachable(nil, "--relay-only needs the relay of your node, which cannot be reached", "see that it runs, or leave --relay-only out")
		}
		m.a.hint("Your node does not answer; it is tried without.")
	}
	return ctx.Err()
}

func (m *meeting) options(media client.Media) (client.CardOptions, error) {
	o, err := m.f.media.options(1)
	if err != nil {
		return client.CardOptions{}, err
	}
	o.Media = media
	o.Notes = func(n rtc.Note) {
		m.later(func() error {
			return m.a.told("note", struct {
				From string `json:"from"`
				Text string `json:"text"`
			}{m.peer.Root().ID(), n.Text}, func(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", oneLine(m.called()), oneLine(n.Text)) })
		})
	}
	if m.f.files != "" {
		if err := os.MkdirAll(m.f.files, 0o700); err != nil {
			return client.CardOptions{}, failed(err, "cannot make the folder for files", "name one that can be written")
		}
		o.Files = &client.FileOptions{Dir: m.f.files, Received: m.received}
	}
	return client.CardOptions{Call: o, Name: m.f.name, Life: m.f.life}, nil
}

func (m *meeting) received(r transfer.Received) {
	f := receivedFile{From: m.peer.Root().ID(), Name: r.Name, Path: r.Path, Bytes: r.Size, Resumed: r.Resumed}
	if r.Err != nil {
		f.Error = r.Err.Error()
	} else {
		f.SHA256 = hex.EncodeToString(r.SHA256[:])
	}
	m.later(func() error {
		return m.a.told("file", f, func(w io.Writer) {
			if f.Error != "" {
				fmt.Fprintf(w, "%s did not arrive: %s\n", oneLine(f.Name), oneLine(f.Error))
				return
			}
			fmt.Fprintf(w, "%s: %s in %s\n", oneLine(f.Name), bytesText(f.Bytes), oneLine(f.Path))
		})
	})
}

// later hands the loop something to write.
func (m *meeting) later(f func() error) {
	select {
	case m.say <- f:
	case <-m.gone:
	}
}

// called is what the other side is called towards the person.
func (m *meeting) called() string {
	if k, err := m.c.Contacts(); err == nil {
		for _, k := range k {
			if k.ID == m.peer.Root() {
				return called(k)
			}
		}
	}
	if m.peer.Name != "" {
		return m.peer.Name
	}
	return shortID(m.peer.Root())
}

func (m *meeting) show(kind string, signed []byte, c *envelope.Card) error {
	link := envelope.CardLink(m.f.app, signed)
	if m.f.file != "" {
		if err := os.WriteFile(m.f.file, []byte(link+"\n"), 0o600); err != nil {
			return failed(err, "the card cannot be written", "name another file with --file")
		}
	}
	return m.a.told("card", struct {
		Kind    string    `json:"kind"`
		Card    string    `json:"card"`
		Link    string    `json:"link"`
		QR      string    `json:"qr"`
		Expires time.Time `json:"expires"`
	}{kind, envelope.CardText(signed), link, envelope.CardQR(signed), c.Expires}, func(w io.Writer) { fmt.Fprintln(w, link) })
}

// agree shows whose a card is and asks the person, where one is there to ask.
func (m *meeting) agree(ctx context.Context, c *envelope.Card) (bool, error) {
	m.peer = c
	known := false
	all, err := m.c.Contacts()
	if err != nil {
		return false, err
	}
	for _, k := range all {
		known = known || k.ID == c.Root()
	}
	if err := m.a.told("peer", struct {
		ID          string `json:"id"`
		Name        string `json:"name"`
		Fingerprint string `json:"fingerprint"`
		Known       bool   `json:"known"`
	}{c.Root().ID(), c.Name, c.Root().Fingerprint(), known}, func(io.Writer) {}); err != nil {
		return false, err
	}
	who := m.called() + ", " + c.Root().ID()
	if known {
		m.a.hint("It is from your contact %s.", oneLine(who))
	} else {
		m.a.hint("It says it is from %s\n  Whether that is who you think is for you to compare: %s", oneLine(who), c.Root().Fingerprint())
	}
	if m.f.yes || !m.a.inTerminal {
		return true, nil
	}
	for {
		fmt.Fprint(m.a.err, "Connect? [y/n] ")
		line, open, err := m.typed(ctx)
		if err != nil || !open {
			return false, err
		}
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return true, nil
		case "n", "no":
			return false, nil
		}
	}
}

// typed is the next line of standard input; not open: there are no more.
func (m *meeting) typed(ctx context.Context) (line string, open bool, err error) {
	if m.lines == nil {
		m.lines = readLines(m.a.in)
	}
	select {
	case line, open = <-m.lines:
		return line, open, nil
	case <-ctx.Done():
		return "", false, ended(ctx)
	}
}

func (m *meeting) offer(ctx context.Context, media client.Media) error {
	o, err := m.options(media)
	if err != nil {
		return err
	}
	offer, err := m.c.OfferCard(ctx, o)
	if err != nil {
		return err
	}
	call, err := m.takeAnswer(ctx, offer)
	if err == nil {
		err = m.talk(ctx, call)
	}
	return errors.Join(err, offer.Close())
}

// takeAnswer reads cards until one is the answer and the person says yes.
func (m *meeting) takeAnswer(ctx context.Context, offer *client.CardOffer) (*client.Call, error) {
	if err := m.show("offer", offer.Signed(), offer.Card()); err != nil {
		return nil, err
	}
	m.a.hint("Give this to the other side before %s, and paste their answer here:", offer.Card().Expires.Local().Format("15:04:05"))
	waiting, cancel := context.WithTimeoutCause(ctx, offer.Card().Expires.Sub(m.a.now()), envelope.ErrCardExpired)
	defer cancel()
	for {
		line, open, err := m.typed(waiting)
		if errors.Is(context.Cause(waiting), envelope.ErrCardExpired) {
			return nil, fmt.Errorf("%w: no answer came", envelope.ErrCardExpired)
		}
		if err != nil {
			return nil, err
		}
		if !open {
			return nil, usageError("no answer came on standard input", "paste the answer of the other side while this runs")
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		signed, err := envelope.ParseCardText(line)
		var card *envelope.Card
		if err == nil {
			card, err = offer.Read(signed)
		}
		if err != nil {
			if !m.a.inTerminal {
				return nil, err
			}
			m.a.report(m.a.classify(cardError(err)))
			continue
		}
		switch yes, err := m.agree(waiting, card); {
		case err != nil:
			return nil, err
		case yes:
			return offer.Accept(ctx, signed)
		}
	}
}

func (m *meeting) answer(ctx context.Context, text string) error {
	signed, err := envelope.ParseCardText(text)
	if err != nil {
		return err
	}
	offer, err := m.c.ReadCard(signed, envelope.CardOffer)
	if err != nil {
		return err
	}
	if yes, err := m.agree(ctx, offer); err != nil || !yes {
		return err
	}
	o, err := m.options(offer.Media)
	if err != nil {
		return err
	}
	reply, err := m.c.AnswerCard(ctx, signed, o)
	if err != nil {
		return err
	}
	if err := m.show("answer", reply.Signed(), reply.Card()); err != nil {
		return errors.Join(err, reply.Close())
	}
	m.a.hint("Give this back to the other side before %s. Waiting for them.", reply.Card().Expires.Local().Format("15:04:05"))
	call, err := reply.Call(ctx)
	if err != nil {
		return err
	}
	return m.talk(ctx, call)
}

// talk sees the call through: what comes is written, what is typed goes out.
func (m *meeting) talk(ctx context.Context, call *client.Call) error {
	over := make(chan error, 1)
	talking, stop := context.WithCancel(ctx)
	defer stop()
	go func() { over <- m.untilOver(talking, call) }()
	var typed <-chan string
	connected := false
	for {
		if connected && typed == nil {
			if m.lines == nil {
				m.lines = readLines(m.a.in)
			}
			typed = m.lines
		}
		select {
		case f := <-m.say:
			if err := f(); err != nil {
				return err
			}
			connected = connected || call.Info().Connected
		case line, open := <-typed:
			if !open {
				typed, m.lines = nil, make(chan string) // the end of input is not the end of the call
				continue
			}
			if text := strings.TrimSpace(line); text != "" {
				if len(text) > rtc.MaxNote {
					m.a.hint("That was too long for a note.")
					continue
				}
				if err := call.Write(ctx, text); err != nil {
					m.a.hint("That did not go out: %s", oneLine(err.Error()))
				}
			}
		case err := <-over:
			return err
		}
	}
}

// untilOver is a call from its beginning to its end, with what is to be told of it.
func (m *meeting) untilOver(ctx context.Context, call *client.Call) error {
	err := call.Connected(ctx)
	if err == nil {
		i := call.Info()
		m.later(func() error {
			return m.a.told("connected", struct {
				With  string `json:"with"`
				Route string `json:"route"`
			}{call.Peer().ID(), i.Route.Path}, func(io.Writer) { m.a.hint("Connected, %s. Nobody was between you.", i.Route.Path) })
		})
		err = m.use(ctx, call)
	}
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), hangupPatience)
	defer cancel()
	if herr := call.Hangup(bye); err == nil || errors.Is(err, context.Canceled) {
		err = herr
	}
	facts := factsOf(call, m.called(), m.f.media.record, err)
	told := make(chan error, 1)
	m.later(func() error {
		werr := m.a.told("call", facts, func(w io.Writer) { printCall(w, facts) })
		told <- werr
		return werr
	})
	select {
	case werr := <-told:
		return errors.Join(err, werr)
	case <-m.gone:
		return err
	}
}

// use is what there is to do in a call: a file, what is to be played, and waiting.
func (m *meeting) use(ctx context.Context, call *client.Call) error {
	length, plays := time.Duration(m.f.seconds*float64(time.Second)), m.f.media.sends()
	if m.f.send == "" {
		return m.a.untilOver(ctx, call, length, plays)
	}
	sent, err := call.SendFile(ctx, m.f.send, nil)
	if err != nil {
		return err
	}
	m.a.hint("They have %s whole: %s.", oneLine(filepath.Base(m.f.send)), bytesText(sent.Size))
	if plays || length > 0 {
		return m.a.untilOver(ctx, call, length, plays)
	}
	return nil
}

// cardError gives what went wrong with a card its exit code and says what to do.
func cardError(err error) error {
	reason := envelope.CardReason(err)
	var told *exitError
	switch {
	case err == nil, errors.As(err, &told):
		return err
	case errors.Is(err, client.ErrSecondAnswer):
		return refused("card_second", "this offer has been answered already, by another card", "somebody else has your offer: make a new one and give it to one person")
	}
	switch reason {
	case "card_malformed":
		return usageError("this is not a card, or not all of it", "copy it whole, from the beginning of the link to its end")
	case "card_version":
		return usageError("this card is of a newer version", "update this program, or ask for a card of this one's version")
	case "card_order":
		return usageError("this is the other kind of card", "an offer is answered with trunkline card answer; its answer goes to the trunkline card offer that made the offer")
	case "card_own":
		return usageError("this is your own card", "give it to the other side, and take theirs")
	case "card_expired":
		return refused(reason, "the card has expired", "make a new one: trunkline card offer")
	case "card_not_yet":
		return refused(reason, "the card is from the future", "set the clock of both computers")
	case "card_foreign":
		return refused(reason, "this answers another offer", "answer the offer that this command has printed; an offer ends with its command")
	case "card_replayed":
		return refused(reason, "this card was used before", "ask for a new one")
	case "card_device":
		return unverified(nil, "the card is from a device that its owner has taken away or never had", "do not go on; ask the person over another way")
	case "card_tampered":
		return unverified(nil, "the card was changed on its way, or is not its sender's", "do not go on; ask for it again, over another way")
	}
	return clientError(err)
}
