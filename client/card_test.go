package client_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/client/transfer"
	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
)

// loner is a participant that no node knows.
type loner struct {
	t  *testing.T
	c  *client.Client
	id identity.PublicKey

	mu    sync.Mutex // guards skew
	skew  time.Duration
	notes chan string
	files string
	whole chan string
}

func newLoner(t *testing.T) *loner {
	t.Helper()
	var seed [32]byte
	_, _ = rand.Read(seed[:])
	root := identity.RootFromSeed(seed)
	l := &loner{t: t, id: root.Public(), notes: make(chan string, 8), files: t.TempDir(), whole: make(chan string, 8)}
	var err error
	l.c, err = client.Create(client.Config{Dir: t.TempDir(), Loopback: true, Alone: true, Now: l.now}, root)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	ran := make(chan struct{})
	go func() { close(ran); ended <- l.c.Run(ctx) }()
	<-ran
	t.Cleanup(func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := l.c.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func (l *loner) now() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Add(l.skew)
}

func (l *loner) pass(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.skew += d
}

func (l *loner) options(m client.Media) client.CardOptions {
	return client.CardOptions{Name: "somebody", Call: client.CallOptions{
		Media: m, Notes: func(n rtc.Note) { l.notes <- n.Text },
		Files: &client.FileOptions{Dir: l.files, Received: func(r transfer.Received) { l.whole <- r.Path }},
	}}
}

func cardTime(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (l *loner) offer(ctx context.Context, m client.Media) *client.CardOffer {
	l.t.Helper()
	o, err := l.c.OfferCard(ctx, l.options(m))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if err := o.Close(); err != nil {
			l.t.Error(err)
		}
	})
	return o
}

func (l *loner) answer(ctx context.Context, offer []byte) *client.CardReply {
	l.t.Helper()
	r, err := l.c.AnswerCard(ctx, offer, l.options(client.DataOnly))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if err := r.Close(); err != nil {
			l.t.Error(err)
		}
	})
	return r
}

// meeting brings two people together.
func meeting(ctx context.Context, t *testing.T, a, b *loner, m client.Media) (here, there *client.Call) {
	t.Helper()
	o := a.offer(ctx, m)
	r := b.answer(ctx, o.Signed())
	came := make(chan error, 1)
	go func() {
		var err error
		there, err = r.Call(ctx)
		came <- err
	}()
	here, err := o.Accept(ctx, r.Signed())
	if err = errors.Join(err, <-came); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(here.Connected(ctx), there.Connected(ctx)); err != nil {
		t.Fatal(err)
	}
	return here, there
}

func TestTwoPeopleMeetWithoutANode(t *testing.T) {
	ctx := cardTime(t)
	a, b := newLoner(t), newLoner(t)
	here, there := meeting(ctx, t, a, b, client.Audio)
	if here.Peer() != b.id || there.Peer() != a.id {
		t.Fatal("the call is with somebody else")
	}
	if i := here.Info(); !i.ChannelBinding || i.Route.Path == "" {
		t.Fatalf("not a call like any other: %+v", i)
	}
	if err := here.Write(ctx, "hello"); err != nil {
		t.Fatal(err)
	}
	if got := <-b.notes; got != "hello" {
		t.Fatalf("%q came", got)
	}
	path := filepath.Join(t.TempDir(), "small.txt")
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 100_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := there.SendFile(ctx, path, nil); err != nil {
		t.Fatal(err)
	}
	if got := filepath.Base(<-a.whole); got != "small.txt" {
		t.Fatalf("%q came", got)
	}
	if err := here.Hangup(ctx); err != nil {
		t.Fatal(err)
	}
	<-there.Done()
	if err := there.Err(); err != nil {
		t.Fatal(err)
	}
}

// Test 60, where it is about what happened before.
func Test14_60_ACardIsUsedOnce(t *testing.T) {
	ctx := cardTime(t)
	a, b, c := newLoner(t), newLoner(t), newLoner(t)
	o := a.offer(ctx, client.DataOnly)
	first, second := b.answer(ctx, o.Signed()), c.answer(ctx, o.Signed())
	if _, err := b.c.AnswerCard(ctx, o.Signed(), client.CardOptions{}); !errors.Is(err, envelope.ErrCardUsed) {
		t.Fatalf("the same offer again: %v", err)
	}
	if _, err := b.c.AnswerCard(ctx, first.Signed(), client.CardOptions{}); !errors.Is(err, envelope.ErrCardOwn) {
		t.Fatalf("an own card: %v", err)
	}
	if _, err := c.c.AnswerCard(ctx, first.Signed(), client.CardOptions{}); !errors.Is(err, envelope.ErrCardOrder) {
		t.Fatalf("an answer in place of an offer: %v", err)
	}
	if _, err := o.Read(b.offer(ctx, client.DataOnly).Signed()); !errors.Is(err, envelope.ErrCardOrder) {
		t.Fatalf("an offer in place of an answer: %v", err)
	}
	if _, err := a.offer(ctx, client.DataOnly).Read(first.Signed()); !errors.Is(err, envelope.ErrCardForeign) {
		t.Fatalf("an answer to another offer: %v", err)
	}
	came := make(chan error, 1)
	go func() { _, err := first.Call(ctx); came <- err }()
	if _, err := o.Accept(ctx, first.Signed()); err != nil {
		t.Fatal(err)
	}
	if err := <-came; err != nil {
		t.Fatal(err)
	}
	if _, err := o.Accept(ctx, second.Signed()); !errors.Is(err, client.ErrSecondAnswer) {
		t.Fatalf("a second answer: %v", err)
	}
	if _, err := o.Accept(ctx, first.Signed()); !errors.Is(err, envelope.ErrCardUsed) {
		t.Fatalf("the same answer again: %v", err)
	}
}

func TestACardThatHasExpiredLeadsNowhere(t *testing.T) {
	ctx := cardTime(t)
	a, b := newLoner(t), newLoner(t)
	o := a.offer(ctx, client.DataOnly)
	r := b.answer(ctx, o.Signed())
	b.pass(11 * time.Minute)
	if _, err := b.c.AnswerCard(ctx, o.Signed(), client.CardOptions{}); !errors.Is(err, envelope.ErrCardExpired) {
		t.Fatalf("an offer after its time: %v", err)
	}
	a.pass(11 * time.Minute)
	if _, err := o.Accept(ctx, r.Signed()); !errors.Is(err, envelope.ErrCardExpired) {
		t.Fatalf("an answer after its time: %v", err)
	}
}

func TestHidingNeedsANode(t *testing.T) {
	a := newLoner(t)
	_, err := a.c.OfferCard(cardTime(t), client.CardOptions{Call: client.CallOptions{RelayOnly: true}})
	var away *client.UnreachableError
	if !errors.As(err, &away) {
		t.Fatalf("a card without a relay that hides addresses: %v", err)
	}
}

func TestAMeetingThatIsGivenUpEndsAtOnce(t *testing.T) {
	a, b := newLoner(t), newLoner(t)
	ctx := cardTime(t)
	o := a.offer(ctx, client.DataOnly)
	r := b.answer(ctx, o.Signed())
	waiting, stop := context.WithCancel(ctx)
	came := make(chan error, 1)
	go func() { _, err := r.Call(waiting); came <- err }()
	stop()
	if err := <-came; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
