package testnet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
)

// human is a real client: package client with its real disk, over its lives.
type human struct {
	w      *world
	name   string
	home   *station
	root   *identity.Root
	device identity.DeviceID
	dir    string
	power  *power

	// life is held while the client is used, stopped and started. It is a channel because
	// virtual time stands still while somebody waits for a mutex.
	life chan struct{}

	mu     sync.Mutex // guards all below
	rng    *rand.Rand
	c      *client.Client
	end    context.CancelFunc
	done   chan struct{}
	knocks chan identity.PublicKey
	yes    chan identity.PublicKey
	dark   bool
	busy   bool
	others []*human
	wrote  []*note
	tried  map[string]bool // texts that may or may not be on the disk
}

// note is one that its writer has safely on its disk.
type note struct {
	id   envelope.MessageID
	to   *human
	text string
}

func (w *world) bringHumans(ctx context.Context) error {
	for i := range w.plan.humans {
		h := &human{w: w, name: fmt.Sprintf("h%d", i+1), home: w.stations[i%len(w.stations)], rng: stream(w.seed, fmt.Sprint("human ", i)),
			knocks: make(chan identity.PublicKey, 16), yes: make(chan identity.PublicKey, 16), tried: map[string]bool{}, life: make(chan struct{}, 1)}
		h.dir = filepath.Join(w.dir, h.name)
		h.power = newPower(h.dir, "client.db", []string{"prekeys.keys", "records.keys"}, stream(w.seed, fmt.Sprint("power of human ", i)))
		h.power.lost = h.goDark
		h.power.cutAt = func(what string) { go h.afterPower(what) }
		var seed [32]byte
		for k := range seed {
			seed[k] = byte(h.rng.Uint32())
		}
		h.root = identity.RootFromSeed(seed)
		w.streams.roomy[h.name] = true
		c, err := client.Create(h.config(), h.root)
		if err != nil {
			return err
		}
		if _, err := c.Register(ctx, "http://"+h.home.at); err != nil {
			return fmt.Errorf("%s registers: %w", h.name, err)
		}
		self, err := c.Self()
		if err != nil {
			return err
		}
		h.device = self.Devices[0].ID
		h.run(c)
		if err := c.Ready(ctx); err != nil {
			return err
		}
		w.humans = append(w.humans, h)
	}
	for i, a := range w.humans {
		for _, b := range w.humans[i+1:] {
			if err := meet(ctx, a, b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *human) config() client.Config {
	return client.Config{Dir: h.dir, Loopback: true, Commit: h.power.commit,
		Dial: func(ctx context.Context, network, at string) (net.Conn, error) {
			h.mu.Lock()
			dark := h.dark
			h.mu.Unlock()
			if dark {
				return nil, errors.New("no power")
			}
			return h.w.streams.dial(ctx, h.name, network, at)
		}}
}

// run lets a client run and listens to it.
func (h *human) run(c *client.Client) {
	ctx, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	h.mu.Lock()
	h.c, h.end, h.done = c, end, done
	h.mu.Unlock()
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for e := range c.Events() {
			switch e := e.(type) {
			case client.KnockReceived:
				h.knocks <- e.From
			case client.KnockAccepted:
				h.yes <- e.From
			case client.Alarm:
				h.w.fail("%s sounds an alarm: %s", h.name, e.What)
			case client.NoteReceived:
				h.w.history.add(event{who: h.name, kind: shown, text: strings.TrimPrefix(e.Text, secretMark)})
			case client.LinkDown:
				h.w.history.add(event{who: h.name, kind: lineLost})
			}
		}
	}()
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil && ctx.Err() == nil {
			h.w.fail("the client of %s ended by itself: %v", h.name, err)
		}
		<-heard
	}()
}

// stop ends the client in good order.
func (h *human) stop() {
	h.mu.Lock()
	c, end, done := h.c, h.end, h.done
	h.c, h.end = nil, nil
	h.mu.Unlock()
	if end == nil {
		return
	}
	end()
	<-done
	if err := c.Close(); err != nil {
		h.w.fail("close %s: %v", h.name, err)
	}
}

func meet(ctx context.Context, a, b *human) error {
	self, err := b.c.Self()
	if err != nil {
		return err
	}
	at, err := identity.ParseAddress(self.Address)
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, 2*time.Minute)
	defer stop()
	if _, err := a.c.Knock(ctx, at, secretMark, secretMark+" "+a.name); err != nil {
		return fmt.Errorf("%s knocks at %s: %w", a.name, b.name, err)
	}
	for _, wait := range []struct {
		who  *human
		c    chan identity.PublicKey
		then func(identity.PublicKey) error
	}{
		{b, b.knocks, func(from identity.PublicKey) error { return b.c.Accept(ctx, from) }},
		{a, a.yes, func(identity.PublicKey) error { return nil }},
	} {
		select {
		case from := <-wait.c:
			if err := wait.then(from); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("%s and %s do not meet", a.name, b.name)
		}
	}
	a.others, b.others = append(a.others, b), append(b.others, a)
	return nil
}

// work writes notes.
func (h *human) work(ctx context.Context) {
	for n := 0; ; n++ {
		h.mu.Lock()
		pause := time.Duration(h.rng.ExpFloat64() * float64(4*time.Second))
		to := h.others[h.rng.IntN(len(h.others))]
		h.mu.Unlock()
		h.w.wait(ctx, pause)
		if ctx.Err() != nil {
			return
		}
		h.write(ctx, to, fmt.Sprintf("%s %s to %s, %d", secretMark, h.name, to.name, n))
	}
}

func (h *human) write(ctx context.Context, to *human, text string) {
	h.life <- struct{}{}
	defer func() { <-h.life }()
	h.mu.Lock()
	c := h.c
	h.tried[text] = true
	h.mu.Unlock()
	if c == nil {
		return
	}
	id, err := c.SendNote(ctx, to.root.Public(), text)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dark || err != nil {
		return // what it says in the dark, nobody has heard
	}
	h.wrote = append(h.wrote, &note{id: id, to: to, text: text})
	h.w.history.add(event{who: h.name, kind: written, text: strings.TrimPrefix(text, secretMark)})
}

func (h *human) claim() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy {
		return false
	}
	h.busy = true
	h.w.repairs.Add(1)
	return true
}

func (h *human) release() {
	h.mu.Lock()
	h.busy = false
	h.mu.Unlock()
	h.w.repairs.Done()
}

func (h *human) goDark() {
	h.mu.Lock()
	h.dark = true
	h.mu.Unlock()
	h.w.streams.lose(h.name, 3*time.Second)
}

// losePower lets the power go at one of the next writes.
func (h *human) losePower(commits int) {
	if !h.claim() {
		return
	}
	h.power.arm(commits)
	h.w.after(30*time.Second, func() {
		if h.power.armed() && h.power.cutNow() {
			go h.afterPower("all, it was between two")
		}
	})
}

func (h *human) afterPower(what string) {
	defer h.release()
	h.w.history.fault("client's power lost", h.name+", of its last write arrived: "+what)
	h.mu.Lock()
	end := h.end
	h.mu.Unlock()
	end() // ends a SendNote that waits, too
	h.life <- struct{}{}
	defer func() { <-h.life }()
	h.mu.Lock()
	c, done := h.c, h.done
	h.mu.Unlock()
	<-done
	_ = c.Close() // into the dark
	h.w.pause(time.Duration(h.w.random(10_000)) * time.Millisecond)
	if err := h.power.restore(); err != nil {
		h.w.fail("%v", err)
		return
	}
	c, err := client.Open(h.config())
	if err != nil {
		h.w.fail("%s does not open its folder after a power loss (%s): %v", h.name, what, err)
		return
	}
	h.mu.Lock()
	h.dark = false
	h.mu.Unlock()
	h.run(c)
}

func (h *human) loseLine(long time.Duration, both bool) {
	h.w.history.fault(way("client cut off", both), fmt.Sprintf("%s for %v", h.name, long))
	h.w.streams.cut(h.name, h.home.name, true)
	if both {
		h.w.streams.cut(h.home.name, h.name, true)
	}
	h.w.after(long, func() {
		h.w.streams.cut(h.name, h.home.name, false)
		if both {
			h.w.streams.cut(h.home.name, h.name, false)
		}
	})
}

// unread are the notes of which the writer does not know that they were read.
func (h *human) unread() (out []string) {
	h.life <- struct{}{}
	defer func() { <-h.life }()
	h.mu.Lock()
	c, wrote := h.c, append([]*note(nil), h.wrote...)
	h.mu.Unlock()
	if c == nil {
		return []string{"its client does not run"}
	}
	for _, n := range wrote {
		kept, err := c.Note(n.to.root.Public(), n.id)
		switch {
		case err != nil:
			out = append(out, fmt.Sprintf("%q, safely written, is not in the writer's own history: %v", strings.TrimPrefix(n.text, secretMark), err))
		case kept.State != client.NoteRead:
			out = append(out, fmt.Sprintf("%q is in state %d, and its reader %s", strings.TrimPrefix(n.text, secretMark), kept.State, n.to.knows(h, n)))
		}
	}
	return out
}

// knows says what a reader has of a note.
func (h *human) knows(from *human, n *note) string {
	h.mu.Lock()
	c := h.c
	h.mu.Unlock()
	if c == nil {
		return "is away"
	}
	notes, err := c.Notes(from.root.Public(), 0, 10_000)
	if err != nil {
		return err.Error()
	}
	for _, k := range notes {
		if !k.Out && k.ID == n.id {
			t, err := c.Ledger()
			return fmt.Sprintf("has it (acknowledged: %v; ledger %+v %v)", k.Acked, t, err)
		}
	}
	return "does not have it"
}

// content says that nothing of its own is open.
func (h *human) content() bool {
	if len(h.unread()) > 0 {
		return false
	}
	t, err := h.c.Ledger()
	return err == nil && t.Open == 0
}

func (h *human) waitsFor() string {
	t, err := h.c.Ledger()
	return fmt.Sprintf("%d envelopes open (%v), notes: %s", t.Open, err, strings.Join(h.unread(), "; "))
}

// look reads the histories on the disks: every note that was written is there once.
func (h *human) look() {
	c, err := client.Open(client.Config{Dir: h.dir})
	if err != nil {
		h.w.fail("open %s: %v", h.name, err)
		return
	}
	defer func() {
		if err := c.Close(); err != nil {
			h.w.fail("close %s: %v", h.name, err)
		}
	}()
	for _, from := range h.others {
		times := map[string]int{}
		for after := uint64(0); ; {
			notes, err := c.Notes(from.root.Public(), after, 256)
			if err != nil {
				h.w.fail("the history of %s: %v", h.name, err)
				return
			}
			if len(notes) == 0 {
				break
			}
			for _, n := range notes {
				after = n.Seq
				if !n.Out {
					times[n.Text]++
				}
			}
		}
		for _, n := range from.wrote {
			if n.to == h && times[n.text] == 0 {
				h.w.fail("%s has no note %q", h.name, strings.TrimPrefix(n.text, secretMark))
			}
		}
		for text, n := range times {
			if n > 1 {
				h.w.fail("%s has %d times the note %q", h.name, n, strings.TrimPrefix(text, secretMark))
			}
			if !from.tried[text] {
				h.w.fail("%s has a note that %s never wrote", h.name, from.name)
			}
		}
	}
}
