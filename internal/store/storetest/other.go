package storetest

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
)

var otherCases = []testCase{
	{"an outcome is kept eight days, no longer, and the later one of an id wins", func(f *fixture) {
		a, b := envelope.ID(f.draw()), envelope.ID(f.draw())
		f.fate(a, store.FateUnknown)
		f.ok(f.Record(f.Context(), a, store.FateRefused, f.o.Now().Add(100*24*time.Hour)))
		f.ok(f.Record(f.Context(), b, store.FateDelivered, f.o.Now().Add(time.Hour)))
		f.fate(a, store.FateRefused)
		f.pass(24 * time.Hour)
		f.ok(f.Record(f.Context(), a, store.FateDelivered, f.o.Now().Add(2*24*time.Hour))) // ends earlier, is later
		f.fate(a, store.FateDelivered)
		f.reopen()
		f.fate(a, store.FateDelivered)
		_, err := f.Expire(f.Context(), f.o.Now(), 10)
		f.ok(err)
		f.fate(a, store.FateDelivered)
		f.pass(9 * 24 * time.Hour)
		_, err = f.Expire(f.Context(), f.o.Now(), 10)
		f.ok(err)
		f.fate(a, store.FateUnknown)
		f.fate(b, store.FateUnknown)
		if err := f.Record(f.Context(), a, store.FateStored+100, f.o.Now()); err == nil {
			f.Fatal("a fate that does not exist was taken")
		}
	}},
	{"what was refused or expired is forgotten when it is on its way again, and nothing else is", func(f *fixture) {
		for fate, want := range map[store.Fate]store.Fate{
			store.FateRefused: store.FateUnknown, store.FateExpired: store.FateUnknown,
			store.FateDelivered: store.FateDelivered, store.FateStored: store.FateStored, store.FateUnknown: store.FateUnknown,
		} {
			id := envelope.ID(f.draw())
			if fate != store.FateUnknown {
				f.ok(f.Record(f.Context(), id, fate, f.o.Now().Add(store.OutcomeKept)))
			}
			f.ok(f.Withdraw(f.Context(), id))
			f.fate(id, want)
			f.reopen()
			f.fate(id, want)
		}
	}},
	{"an invitation is redeemed as often as it says, and by one identity once", func(f *fixture) {
		alice, bob, eve := identity.PublicKey{1}, identity.PublicKey{2}, identity.PublicKey{3}
		token, inv, err := f.Create(f.Context(), 2, time.Time{}, "for the board")
		f.ok(err)
		if inv.Uses != 2 || inv.Note != "for the board" || inv.ID == "" || strings.Contains(token, inv.ID) || !inv.Created.Equal(f.o.Now()) {
			f.Fatalf("%+v", inv)
		}
		for range 3 { // a registration that breaks off and comes again
			_, err = f.Redeem(f.Context(), token, alice)
			f.ok(err)
		}
		f.reopen()
		got, err := f.Redeem(f.Context(), token, bob)
		f.ok(err)
		if got.ID != inv.ID || got.Uses != 0 || got.Used != 2 {
			f.Fatalf("%+v", got)
		}
		_, err = f.Redeem(f.Context(), token, eve)
		f.is(err, store.ErrInvitation)
		_, err = f.Redeem(f.Context(), token, alice)
		f.ok(err)
		for _, bad := range []string{"", inv.ID, token + "A", strings.Repeat("x", 10000)} {
			_, err = f.Redeem(f.Context(), bad, eve)
			f.is(err, store.ErrInvitation)
		}
	}},
	{"an invitation ends with its time and with its revocation", func(f *fixture) {
		root := identity.PublicKey{1}
		timed, first, err := f.Create(f.Context(), 0, f.o.Now().Add(time.Hour), "")
		f.ok(err)
		f.pass(time.Minute)
		byID, second, err := f.Create(f.Context(), 5, time.Time{}, "")
		f.ok(err)
		f.pass(time.Minute)
		byToken, third, err := f.Create(f.Context(), 5, time.Time{}, "")
		f.ok(err)
		_, err = f.Redeem(f.Context(), byToken, root)
		f.ok(err)
		list, err := f.List(f.Context())
		f.ok(err)
		var ids []string
		for _, inv := range list {
			ids = append(ids, inv.ID)
		}
		if !slices.Equal(ids, []string{first.ID, second.ID, third.ID}) || list[0].Uses != 1 || list[2].Used != 1 {
			f.Fatalf("%+v", list)
		}
		f.pass(time.Hour)
		_, err = f.Redeem(f.Context(), timed, root)
		f.is(err, store.ErrInvitation)
		f.ok(f.Revoke(f.Context(), second.ID))
		f.ok(f.Revoke(f.Context(), byToken))
		f.is(f.Revoke(f.Context(), byToken), store.ErrNotFound)
		f.is(f.Revoke(f.Context(), "ff"), store.ErrNotFound)
		f.is(f.Revoke(f.Context(), "no such thing"), store.ErrNotFound)
		for _, token := range []string{byID, byToken} {
			_, err = f.Redeem(f.Context(), token, root)
			f.is(err, store.ErrInvitation)
		}
		if list, err = f.List(f.Context()); err != nil || len(list) != 1 {
			f.Fatalf("%d left, %v", len(list), err)
		}
	}},
	{"of many who redeem at once no more than the uses succeed", func(f *fixture) {
		token, _, err := f.Create(f.Context(), 3, time.Time{}, "")
		f.ok(err)
		var (
			wg     sync.WaitGroup
			mu     sync.Mutex // guards both
			taken  int
			failed error
		)
		for i := range 64 {
			wg.Go(func() {
				_, err := f.Redeem(f.Context(), token, identity.PublicKey{byte(i + 1)})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					taken++
				} else if !errors.Is(err, store.ErrInvitation) {
					failed = err
				}
			})
		}
		wg.Wait()
		f.ok(failed)
		if taken != 3 {
			f.Fatalf("%d of 3 uses were taken", taken)
		}
	}},
	{"a blob is what was last put, or nothing", func(f *fixture) {
		b := f.Blobs()
		_, err := b.Get(f.Context(), "host")
		f.is(err, store.ErrNotFound)
		f.ok(b.Delete(f.Context(), "host"))
		for _, v := range []string{"one", "", "three"} {
			f.ok(b.Put(f.Context(), "host", []byte(v)))
			got, err := b.Get(f.Context(), "host")
			f.ok(err)
			if string(got) != v {
				f.Fatalf("got %q, want %q", got, v)
			}
		}
		f.ok(b.Put(f.Context(), "pin/b", []byte("b")))
		f.ok(b.Put(f.Context(), "pin/a", []byte("a")))
		f.reopen()
		b = f.Blobs()
		if got, err := b.Get(f.Context(), "host"); err != nil || string(got) != "three" {
			f.Fatalf("got %q, %v", got, err)
		}
		if names, err := b.Names(f.Context(), "pin/"); err != nil || !slices.Equal(names, []string{"pin/a", "pin/b"}) {
			f.Fatalf("names %q, %v", names, err)
		}
		f.ok(b.Delete(f.Context(), "host"))
		_, err = b.Get(f.Context(), "host")
		f.is(err, store.ErrNotFound)
		if err := b.Put(f.Context(), "", nil); err == nil {
			f.Fatal("a blob without a name was taken")
		}
	}},
	{"the outbox is first in, first out for each destination, over restarts", func(f *fixture) {
		box, x, y := f.Outbox(), peer(1), peer(2)
		expires := f.o.Now().Add(time.Hour)
		var seqs []uint64
		var ids []envelope.ID
		for i := range byte(4) {
			id := envelope.ID(f.draw())
			seq, _, err := box.Enqueue(x, []byte{i, i}, id, expires)
			f.ok(err)
			seqs, ids = append(seqs, seq), append(ids, id)
		}
		_, _, err := box.Enqueue(y, []byte("y"), f.draw(), expires)
		f.ok(err)
		if seq, again, err := box.Enqueue(x, []byte{1, 1}, ids[1], expires); err != nil || seq != seqs[1] || !again {
			f.Fatalf("the same id again: %d, %t, %v", seq, again, err)
		}
		f.reopen()
		box = f.Outbox()
		got, err := box.Next(x, seqs[0], 2)
		f.ok(err)
		if len(got) != 2 || got[0].Seq != seqs[1] || got[1].Seq != seqs[2] || !bytes.Equal(got[0].Envelope, []byte{1, 1}) ||
			got[0].ID != ids[1] || !got[0].Expires.Equal(expires) {
			f.Fatalf("%+v", got)
		}
		if seq, again, err := box.Enqueue(x, []byte{1, 1}, ids[1], expires); err != nil || seq != seqs[1] || !again {
			f.Fatalf("the same id after a restart: %d, %t, %v", seq, again, err)
		}
		f.ok(box.Done(x, []uint64{seqs[0], seqs[1], seqs[1], 999}))
		if n, size, err := box.Usage(x); err != nil || n != 2 || size != 4 {
			f.Fatalf("usage %d, %d, %v", n, size, err)
		}
		dests, err := box.Destinations()
		f.ok(err)
		if !slices.Equal(dests, []identity.PeerID{x, y}) {
			f.Fatalf("%d destinations", len(dests))
		}
		f.ok(box.Done(x, seqs))
		if dests, err = box.Destinations(); err != nil || !slices.Equal(dests, []identity.PeerID{y}) {
			f.Fatalf("%d destinations, %v", len(dests), err)
		}
		f.reopen()
		if seq, again, err := f.Outbox().Enqueue(x, []byte("z"), f.draw(), expires); err != nil || seq <= seqs[3] || again {
			f.Fatalf("number %d after %d, %v", seq, seqs[3], err)
		}
	}},
	{"the outbox of one destination is bounded in bytes and in time", func(f *fixture) {
		f = f.with(Options{Outbox: store.OutboxLimits{MaxBytes: 100, MaxAge: time.Hour}})
		box := f.Outbox()
		first, _, err := box.Enqueue(peer(1), make([]byte, 60), f.draw(), f.o.Now().Add(48*time.Hour))
		f.ok(err)
		_, _, err = box.Enqueue(peer(1), make([]byte, 41), f.draw(), f.o.Now())
		f.is(err, store.ErrQueueFull)
		_, _, err = box.Enqueue(peer(2), make([]byte, 41), f.draw(), f.o.Now())
		f.ok(err)
		end := f.o.Now().Add(time.Hour)
		f.pass(2 * time.Hour)
		got, err := box.Next(peer(1), 0, 10)
		f.ok(err)
		if len(got) != 1 || !got[0].Expires.Equal(end) {
			f.Fatal("what has expired has to be told to its sender before it is done")
		}
		f.ok(box.Done(peer(1), []uint64{first}))
		_, _, err = box.Enqueue(peer(1), make([]byte, 41), f.draw(), f.o.Now())
		f.ok(err)
		for _, bad := range [][]byte{nil, make([]byte, envelope.MaxEnvelope+1)} {
			if _, _, err := box.Enqueue(peer(1), bad, f.draw(), f.o.Now()); err == nil {
				f.Fatalf("an envelope of %d bytes was taken", len(bad))
			}
		}
	}},
}
