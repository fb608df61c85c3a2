package demo

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/identity"
)

// Person is the other end of a participant: the hidden command that the demo starts for
// Alice, Bob and Mallory. It does what it is told, line by line, with the Go SDK.
type person struct {
	dir string
	log *slog.Logger
	out io.Writer

	outMu sync.Mutex // guards out

	mu      sync.Mutex // guards client, stop, stopped
	client  *client.Client
	stop    context.CancelFunc
	stopped chan error

	events *mailboxOfEvents
	seen   seenSecrets
}

// Participate serves requests from in until it ends, and answers on out.
func Participate(ctx context.Context, dir string, in io.Reader, out io.Writer, log *slog.Logger) error {
	p := &person{dir: dir, log: log, out: out, events: newMailboxOfEvents()}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		running.Add(1)
		go func() {
			defer running.Done()
			p.answer(ctx, r)
		}()
	}
	cancel()
	running.Wait()
	return errors.Join(lines.Err(), p.leave())
}

func (p *person) answer(ctx context.Context, r request) {
	result, err := p.do(ctx, r)
	back := reply{ID: r.ID}
	if err != nil {
		back.Error = err.Error()
		var refused *client.RefusedError
		if errors.As(err, &refused) {
			back.Code = refused.Code
		}
	} else if back.Result, err = json.Marshal(result); err != nil {
		back.Error = err.Error()
	}
	line, err := json.Marshal(back)
	if err != nil {
		p.log.Error("encode a reply", "error", err)
		return
	}
	p.outMu.Lock()
	defer p.outMu.Unlock()
	if _, err := p.out.Write(append(line, '\n')); err != nil {
		p.log.Error("write a reply", "error", err)
	}
}

func (p *person) do(ctx context.Context, r request) (any, error) {
	verbs := map[string]func(context.Context, json.RawMessage) (any, error){
		"create":        p.create,
		"open":          p.open,
		"register":      verb(p.register),
		"start":         p.start,
		"leave":         func(context.Context, json.RawMessage) (any, error) { return struct{}{}, p.leave() },
		"find":          verb(p.find),
		"knock":         verb(p.knock),
		"wait-knock":    p.waitKnock,
		"accept":        verb(p.accept),
		"wait-accepted": verb(p.waitAccepted),
		"note":          verb(p.note),
		"wait-stored":   verb(p.waitStored),
		"wait-note":     verb(p.waitNote),
		"wait-read":     verb(p.waitRead),
		"call":          verb(p.call),
		"answer-next":   verb(p.answerNext),
		"send-file":     verb(p.sendFile),
		"receive-until": verb(p.receiveUntil),
		"receive":       verb(p.receive),
		"ledger":        p.ledger,
		"secrets":       p.secrets,
	}
	do, ok := verbs[r.Do]
	if !ok {
		return nil, fmt.Errorf("unknown request %q", r.Do)
	}
	return do(ctx, r.Args)
}

// verb decodes the arguments of one request.
func verb[A any](do func(context.Context, A) (any, error)) func(context.Context, json.RawMessage) (any, error) {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var args A
		if err := json.Unmarshal(raw, &args); err != nil {
			return nil, fmt.Errorf("read the arguments: %w", err)
		}
		return do(ctx, args)
	}
}

func (p *person) config() client.Config {
	return client.Config{Dir: p.dir, Logger: p.log, Loopback: true}
}

func (p *person) create(context.Context, json.RawMessage) (any, error) {
	words, err := identity.GenerateMnemonic(24)
	if err != nil {
		return nil, err
	}
	root, err := identity.DeriveRoot(words, "", 0)
	if err != nil {
		return nil, err
	}
	c, err := client.Create(p.config(), root)
	if err != nil {
		return nil, err
	}
	p.set(c)
	key := root.Public()
	return idResult{ID: key.ID(), PublicKey: key[:]}, nil
}

func (p *person) open(context.Context, json.RawMessage) (any, error) {
	c, err := client.Open(p.config())
	if err != nil {
		return nil, err
	}
	p.set(c)
	return struct{}{}, nil
}

func (p *person) set(c *client.Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.client = c
}

func (p *person) get() *client.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.client
}

func (p *person) register(ctx context.Context, a registerArgs) (any, error) {
	done, err := p.get().Register(ctx, a.Invite)
	if err != nil {
		return nil, err
	}
	return registerResult{Address: done.Address.String()}, nil
}

// start runs the client in the background until leave; it opens it again when needed.
func (p *person) start(ctx context.Context, _ json.RawMessage) (any, error) {
	c := p.get()
	if c == nil {
		if _, err := p.open(ctx, nil); err != nil {
			return nil, err
		}
		c = p.get()
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	stopped := make(chan error, 1)
	go p.events.pump(c.Events())
	go func() { stopped <- c.Run(run) }()
	p.mu.Lock()
	p.stop, p.stopped = stop, stopped
	p.mu.Unlock()
	return struct{}{}, c.Ready(ctx)
}

// leave ends the client in good order, as a closed application would.
func (p *person) leave() error {
	p.mu.Lock()
	c, stop, stopped := p.client, p.stop, p.stopped
	p.client, p.stop, p.stopped = nil, nil, nil
	p.mu.Unlock()
	if c == nil {
		return nil
	}
	var err error
	if stop != nil {
		stop()
		if err = <-stopped; errors.Is(err, context.Canceled) {
			err = nil
		}
	}
	return errors.Join(err, c.Close())
}

func (p *person) find(ctx context.Context, a addressArgs) (any, error) {
	address, err := identity.ParseAddress(a.Address)
	if err != nil {
		return nil, err
	}
	_, err = p.get().Find(ctx, address)
	return struct{}{}, err
}

func (p *person) knock(ctx context.Context, a addressArgs) (any, error) {
	address, err := identity.ParseAddress(a.Address)
	if err != nil {
		return nil, err
	}
	_, err = p.get().Knock(ctx, address, a.Text, a.Name)
	return struct{}{}, err
}

func (p *person) waitKnock(ctx context.Context, _ json.RawMessage) (any, error) {
	e, err := waitFor[client.KnockReceived](ctx, p.events, func(client.KnockReceived) bool { return true })
	if err != nil {
		return nil, err
	}
	return knockResult{ID: e.From.ID(), Text: e.Text}, nil
}

func (p *person) accept(ctx context.Context, a contactArgs) (any, error) {
	key, err := identity.ParseID(a.ID)
	if err != nil {
		return nil, err
	}
	return struct{}{}, p.get().Accept(ctx, key)
}

func (p *person) waitAccepted(ctx context.Context, a contactArgs) (any, error) {
	_, err := waitFor(ctx, p.events, func(e client.KnockAccepted) bool { return e.From.ID() == a.ID })
	return struct{}{}, err
}

func (p *person) note(ctx context.Context, a contactArgs) (any, error) {
	key, err := identity.ParseID(a.ID)
	if err != nil {
		return nil, err
	}
	id, err := p.get().SendNote(ctx, key, a.Text)
	if err != nil {
		return nil, err
	}
	return noteResult{Message: hex.EncodeToString(id[:])}, nil
}

func (p *person) waitStored(ctx context.Context, a messageArgs) (any, error) {
	_, err := waitFor(ctx, p.events, func(e client.NoteFate) bool {
		return hex.EncodeToString(e.Message[:]) == a.Message && e.State == client.NoteStored
	})
	return struct{}{}, err
}

func (p *person) waitNote(ctx context.Context, a contactArgs) (any, error) {
	e, err := waitFor(ctx, p.events, func(e client.NoteReceived) bool { return e.From.ID() == a.ID })
	if err != nil {
		return nil, err
	}
	return messageArgs{Message: e.Text}, nil
}

func (p *person) waitRead(ctx context.Context, a messageArgs) (any, error) {
	_, err := waitFor(ctx, p.events, func(e client.NoteFate) bool {
		return hex.EncodeToString(e.Message[:]) == a.Message && e.State == client.NoteRead
	})
	return struct{}{}, err
}

// ledger waits until the fate of what was sent is known as far as it can be.
func (p *person) ledger(ctx context.Context, _ json.RawMessage) (any, error) {
	bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := p.get().Flush(bounded)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	return EnvelopeReport{
		Sent: s.Sent, Delivered: s.Delivered, StoredPending: s.StoredPending,
		Expired: s.Expired, Refused: s.Refused, Lost: s.Lost,
	}, nil
}
