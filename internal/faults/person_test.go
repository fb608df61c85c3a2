//go:build linux

package faults

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
)

// person is a participant as people run one: the whole client, whose ledger is on its disk.
type person struct {
	*client.Client
	name string
	root *identity.Root
	end  context.CancelFunc
	wg   sync.WaitGroup
	why  error // what Run returned

	mu      sync.Mutex // guards all below
	cond    *sync.Cond
	got     map[string]int                         // texts, how often the application was told
	open    map[envelope.MessageID]bool            // sent, and not known to be stored
	ended   map[envelope.MessageID]client.NoteFate // expired or refused
	knocked map[identity.PublicKey]bool            // let in, or asked
}

// newPerson makes an identity, registers it at a node and runs it until the test is over.
func newPerson(t *testing.T, name string, at *server) *person {
	t.Helper()
	words, err := identity.GenerateMnemonic(12)
	if err != nil {
		t.Fatal(err)
	}
	p := &person{name: name, got: map[string]int{}, open: map[envelope.MessageID]bool{},
		ended: map[envelope.MessageID]client.NoteFate{}, knocked: map[identity.PublicKey]bool{}}
	p.cond = sync.NewCond(&p.mu)
	if p.root, err = identity.DeriveRoot(words, "", 0); err != nil {
		t.Fatal(err)
	}
	if p.Client, err = client.Create(client.Config{Dir: filepath.Join(t.TempDir(), name), Loopback: true}, p.root); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	_, http, _ := at.now()
	if _, err := p.Register(ctx, "http://"+http); err != nil {
		t.Fatalf("%s registers: %v", name, err)
	}
	run, end := context.WithCancel(context.Background())
	p.end = end
	p.wg.Go(func() { p.why = p.Run(run) })
	p.wg.Go(func() {
		for e := range p.Events() {
			p.happened(e)
		}
	})
	t.Cleanup(func() {
		end()
		p.mu.Lock()
		p.cond.Broadcast()
		p.mu.Unlock()
		p.wg.Wait()
		if err := p.Close(); err != nil {
			t.Errorf("close %s: %v", name, err)
		}
	})
	if err := p.Ready(ctx); err != nil {
		t.Fatalf("%s is not ready: %v", name, err)
	}
	return p
}

func (p *person) happened(e client.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := e.(type) {
	case client.NoteReceived:
		p.got[e.Text]++
	case client.NoteFate:
		switch e.State {
		case client.NoteStored, client.NoteDelivered, client.NoteRead:
			p.open[e.Message] = false
		case client.NoteExpired, client.NoteRefused:
			p.open[e.Message] = false
			p.ended[e.Message] = e
		}
	case client.KnockReceived:
		p.knocked[e.From] = true
	case client.KnockAccepted:
		p.knocked[e.From] = true
	}
	p.cond.Broadcast()
}

// await waits for what an event brings.
func (p *person) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	until(t, p.name+": "+what, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return ok()
	})
}

// meet makes two people contacts of each other.
func meet(t *testing.T, a, b *person) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	self, err := b.Self()
	if err != nil {
		t.Fatal(err)
	}
	to, err := identity.ParseAddress(self.Address)
	if err == nil {
		_, err = a.Knock(ctx, to, "hello", a.name)
	}
	if err != nil {
		t.Fatalf("%s knocks: %v", a.name, err)
	}
	b.await(t, "is knocked at", func() bool { return b.knocked[a.root.Public()] })
	if err := b.Accept(ctx, a.root.Public()); err != nil {
		t.Fatalf("%s accepts: %v", b.name, err)
	}
	a.await(t, "is let in", func() bool { return a.knocked[b.root.Public()] })
}

// writes sends so many notes, a few at a time, and returns when each is known to be stored.
func (p *person) writes(ctx context.Context, to *person, n int) error {
	const atOnce = 8
	waiting := func() (n int) {
		for _, open := range p.open {
			if open {
				n++
			}
		}
		return n
	}
	for i := range n {
		id, err := p.SendNote(ctx, to.root.Public(), fmt.Sprintf("%s's note %d", p.name, i))
		if err != nil {
			return fmt.Errorf("%s's note %d: %w", p.name, i, err)
		}
		p.mu.Lock()
		if _, told := p.open[id]; !told { // its fate may have come first
			p.open[id] = true
		}
		for waiting() >= atOnce && ctx.Err() == nil {
			p.cond.Wait()
		}
		p.mu.Unlock()
	}
	return ctx.Err()
}

// correspond lets two people write to each other while something happens to their nodes.
// The returned function waits for the end and holds both to their ledgers.
func correspond(t *testing.T, a, b *person, n int) (reckon func()) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	ended := make(chan error, 2)
	go func() { ended <- a.writes(ctx, b, n) }()
	go func() { ended <- b.writes(ctx, a, n) }()
	return func() {
		t.Helper()
		for range 2 {
			select {
			case err := <-ended:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(wait):
				t.Fatal("the notes of two people do not all get away")
			}
		}
		for _, x := range [][2]*person{{a, b}, {b, a}} {
			from, to := x[0], x[1]
			to.await(t, "has every note", func() bool { return len(to.got) >= n })
			within, cancel := context.WithTimeout(t.Context(), wait)
			sum, err := from.Flush(within)
			cancel()
			if err != nil || sum.Lost != 0 || sum.Sent == 0 {
				t.Errorf("the ledger of %s: %+v, %v", from.name, sum, err)
			}
			to.mu.Lock()
			for text, times := range to.got {
				if times != 1 {
					t.Errorf("%s was told %q %d times", to.name, text, times)
				}
			}
			to.mu.Unlock()
			from.mu.Lock()
			for _, fate := range from.ended {
				t.Errorf("%s was told that a note ended as %v %s", from.name, fate.State, fate.Code)
			}
			from.mu.Unlock()
		}
		t.Logf("%d notes of two people with the whole client, each way", n)
	}
}
