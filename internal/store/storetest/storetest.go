// Package storetest is the conformance suite of package store: what every implementation
// has to do. Run it from the implementation's tests.
package storetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
)

// Store is everything that package store asks for.
type Store interface {
	store.Mailbox
	store.Outcomes
	store.Directory
	store.Invitations
	Blobs() store.Blobs
	Outbox() store.Outbox
	Close() error
}

// Options that a store is opened with.
type Options struct {
	Quotas store.Quotas
	Outbox store.OutboxLimits
	Now    func() time.Time
}

// Open opens the store in a folder, which may hold one that was closed before.
type Open func(dir string, o Options) (Store, error)

// Run runs the suite.
func Run(t *testing.T, open Open) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(newFixture(t, open, Options{}))
		})
	}
}

type testCase struct {
	name string
	run  func(f *fixture)
}

var cases = append(append(mailboxCases, quotaCases...), append(directoryCases, otherCases...)...)

// fixture is a store with a clock that only moves when told to.
type fixture struct {
	*testing.T
	Store
	open  Open
	dir   string
	o     Options
	mu    sync.Mutex // guards now
	now   time.Time
	drawn uint64
}

func newFixture(t *testing.T, open Open, o Options) *fixture {
	f := &fixture{T: t, open: open, dir: t.TempDir(), o: o, now: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
	f.o.Now = func() time.Time {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.now
	}
	f.reopen()
	t.Cleanup(func() {
		if err := f.Store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

// with opens another store with other options.
func (f *fixture) with(o Options) *fixture { return newFixture(f.T, f.open, o) }

func (f *fixture) reopen() {
	f.Helper()
	if f.Store != nil {
		f.ok(f.Store.Close())
	}
	s, err := f.open(f.dir, f.o)
	f.ok(err)
	f.Store = s
}

func (f *fixture) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) is(err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Fatalf("got error %v, want %v", err, want)
	}
}

// draw makes an id that this fixture has not made before.
func (f *fixture) draw() (b [16]byte) {
	f.drawn++
	binary.BigEndian.PutUint64(b[:], f.drawn)
	b[15] = 1
	return b
}

// peer makes a peer id; the store does not check keys.
func peer(n byte) (p identity.PeerID) {
	copy(p[:], []byte{0, 0x24, 8, 1, 0x12, 0x20})
	p[6], p[37] = n, 1
	return p
}

func box(n byte) (id store.MailboxID) { id[0], id[15] = n, 7; return id }

// note is an ordinary envelope of a week, ring one of the ring class, knock a knock.
func (f *fixture) note(to byte, size int) store.Envelope {
	f.drawn++
	return store.Envelope{
		Mailbox: box(to), ID: f.draw(), TTL: envelope.Week, Source: peer(byte(f.drawn)), Hint: [2]byte{1, byte(f.drawn)},
		Payload: bytes.Repeat([]byte{byte(f.drawn)}, size), Received: f.o.Now(), Expires: f.o.Now().Add(envelope.Week.Duration()),
	}
}

func (f *fixture) ring(to byte) store.Envelope {
	e := f.note(to, 4096)
	e.TTL, e.Expires, e.Collapse = envelope.Ring, f.o.Now().Add(time.Minute), f.draw()
	return e
}

func (f *fixture) knock(to byte) store.Envelope {
	e := f.note(to, 4096)
	e.Knock = true
	return e
}

// put stores one envelope and expects a status.
func (f *fixture) put(e store.Envelope, want store.Status) store.Seq {
	f.Helper()
	r, err := f.Put(f.Context(), []store.Envelope{e})
	f.ok(err)
	if len(r) != 1 || r[0].Status != want {
		f.Fatalf("put: got %v, want %v", r, want)
	}
	return r[0].Seq
}

func (f *fixture) peek(to byte) []store.Stored {
	f.Helper()
	s, err := f.Peek(f.Context(), box(to), 0, 1000)
	f.ok(err)
	return s
}

// holds expects a mailbox to hold exactly these, in this order.
func (f *fixture) holds(to byte, want ...store.Envelope) []store.Stored {
	f.Helper()
	got := f.peek(to)
	if len(got) != len(want) {
		f.Fatalf("mailbox holds %d envelopes, want %d", len(got), len(want))
	}
	for i, w := range want {
		g := got[i].Envelope
		if !g.Received.Equal(w.Received) || !g.Expires.Equal(w.Expires) {
			f.Fatalf("envelope %d: times %v %v, want %v %v", i, g.Received, g.Expires, w.Received, w.Expires)
		}
		if g.Mailbox != w.Mailbox || g.ID != w.ID || g.TTL != w.TTL || g.Source != w.Source || g.Collapse != w.Collapse ||
			g.Knock != w.Knock || g.Hint != w.Hint || !bytes.Equal(g.Payload, w.Payload) {
			f.Fatalf("envelope %d is not the one that was put", i)
		}
		if i > 0 && got[i].Seq <= got[i-1].Seq {
			f.Fatalf("envelope %d: sequence %d after %d", i, got[i].Seq, got[i-1].Seq)
		}
	}
	return got
}

func (f *fixture) ack(to byte, seqs ...store.Seq) {
	f.Helper()
	f.ok(f.Ack(f.Context(), box(to), seqs))
}

func (f *fixture) fate(id envelope.ID, want store.Fate) {
	f.Helper()
	got, err := f.Fate(f.Context(), id)
	f.ok(err)
	if got != want {
		f.Fatalf("fate %d, want %d", got, want)
	}
}

func (f *fixture) usage(to byte) store.Usage {
	f.Helper()
	u, err := f.Stats(f.Context(), box(to))
	f.ok(err)
	return u
}
