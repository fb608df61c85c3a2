package storetest

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/store"
)

var mailboxCases = []testCase{
	{"an envelope comes back as it was put, in order, until it is acknowledged", func(f *fixture) {
		a, b, c := f.note(1, 1024), f.ring(1), f.knock(1)
		other := f.note(2, 2048)
		r, err := f.Put(f.Context(), []store.Envelope{a, other, b, c})
		f.ok(err)
		for i := range r {
			if r[i].Status != store.StatusStored || r[i].Seq == 0 {
				f.Fatalf("put %d: %v", i, r[i])
			}
		}
		got := f.holds(1, a, b, c)
		if got[0].Seq != r[0].Seq || got[2].Seq != r[3].Seq {
			f.Fatal("Put and Peek disagree about sequence numbers")
		}
		f.holds(2, other)
		f.ack(1, got[1].Seq)
		f.holds(1, a, c)
		f.ack(1, got[0].Seq, got[2].Seq)
		f.holds(1)
		f.holds(2, other)
	}},
	{"what Put has answered for is there after a restart, and so is what Ack has deleted", func(f *fixture) {
		a, b := f.note(1, 1024), f.note(1, 65536)
		f.put(a, store.StatusStored)
		seq := f.put(b, store.StatusStored)
		f.reopen()
		f.holds(1, a, b)
		f.ack(1, seq)
		f.reopen()
		f.holds(1, a)
		f.fate(b.ID, store.FateDelivered)
	}},
	{"Peek begins after a number and gives no more than asked for", func(f *fixture) {
		var all []store.Envelope
		for range 5 {
			all = append(all, f.note(1, 64))
			f.put(all[len(all)-1], store.StatusStored)
		}
		got := f.holds(1, all...)
		some, err := f.Peek(f.Context(), box(1), got[1].Seq, 2)
		f.ok(err)
		if len(some) != 2 || some[0].Seq != got[2].Seq || some[1].Seq != got[3].Seq {
			f.Fatalf("got %d envelopes after the second", len(some))
		}
		none, err := f.Peek(f.Context(), box(1), got[4].Seq, 2)
		f.ok(err)
		if len(none) != 0 {
			f.Fatal("something after the last")
		}
	}},
	{"the same envelope twice is stored once", func(f *fixture) {
		e := f.note(1, 1024)
		seq := f.put(e, store.StatusStored)
		if again := f.put(e, store.StatusDuplicate); again != seq {
			f.Fatalf("the duplicate has number %d, the envelope %d", again, seq)
		}
		r, err := f.Put(f.Context(), []store.Envelope{f.note(1, 1), e, e})
		f.ok(err)
		if r[0].Status != store.StatusStored || r[1].Status != store.StatusDuplicate || r[2].Status != store.StatusDuplicate {
			f.Fatalf("in one call: %v", r)
		}
		f.reopen()
		f.put(e, store.StatusDuplicate)
		if n := len(f.peek(1)); n != 2 {
			f.Fatalf("%d envelopes", n)
		}
	}},
	{"an envelope that was delivered or has expired does not come back", func(f *fixture) {
		e, x := f.note(1, 1024), f.ring(1)
		f.ack(1, f.put(e, store.StatusStored))
		f.put(e, store.StatusDuplicate)
		f.put(x, store.StatusStored)
		f.pass(2 * time.Minute)
		if n, err := f.Expire(f.Context(), f.o.Now(), 10); err != nil || n != 1 {
			f.Fatalf("expired %d, %v", n, err)
		}
		f.put(x, store.StatusDuplicate)
		f.reopen()
		f.put(e, store.StatusDuplicate)
		f.put(x, store.StatusDuplicate)
		f.holds(1)
	}},
	{"an envelope that was refused may come again", func(f *fixture) {
		e := f.note(1, 1024)
		f.ok(f.Record(f.Context(), e.ID, store.FateRefused, f.o.Now().Add(time.Hour)))
		f.put(e, store.StatusStored)
		f.fate(e.ID, store.FateStored)
		f.ack(1, f.peek(1)[0].Seq)
		f.fate(e.ID, store.FateDelivered)
	}},
	{"idempotence is per mailbox", func(f *fixture) {
		e := f.note(1, 1024)
		f.put(e, store.StatusStored)
		twin := e
		twin.Mailbox = box(2)
		f.put(twin, store.StatusStored)
		f.holds(1, e)
		f.holds(2, twin)
	}},
	{"a live envelope is never stored, and nothing else of its call", func(f *fixture) {
		live := f.note(1, 1024)
		live.TTL = envelope.Live
		_, err := f.Put(f.Context(), []store.Envelope{f.note(1, 1024), live})
		f.is(err, store.ErrLive)
		f.holds(1)
	}},
	{"Ack of what is not there, or not there any more, changes nothing", func(f *fixture) {
		e := f.note(1, 1024)
		seq := f.put(e, store.StatusStored)
		f.ack(2, seq)
		f.ack(1, seq+1, 0)
		f.holds(1, e)
		f.ack(1, seq)
		f.ack(1, seq)
		f.holds(1)
	}},
	{"sequence numbers ascend over restarts and are not used again", func(f *fixture) {
		seq := f.put(f.note(1, 10), store.StatusStored)
		f.ack(1, seq)
		f.reopen()
		if next := f.put(f.note(2, 10), store.StatusStored); next <= seq {
			f.Fatalf("%d after %d", next, seq)
		}
	}},
	{"a later envelope with the same collapse key takes the place of the first", func(f *fixture) {
		ring, other := f.ring(1), f.ring(1)
		f.put(ring, store.StatusStored)
		f.put(other, store.StatusStored)
		cancel := f.ring(1)
		cancel.Collapse = ring.Collapse
		f.put(cancel, store.StatusReplaced)
		f.holds(1, other, cancel)
		f.fate(ring.ID, store.FateExpired)
		f.fate(cancel.ID, store.FateStored)
		f.put(ring, store.StatusDuplicate) // a late retry does not ring again
		elsewhere := f.ring(2)
		elsewhere.Collapse = cancel.Collapse
		f.put(elsewhere, store.StatusStored)
		f.holds(1, other, cancel)
		f.reopen()
		third := f.ring(1)
		third.Collapse = ring.Collapse
		f.put(third, store.StatusReplaced)
		f.holds(1, other, third)
	}},
	{"what is over is not delivered, and Expire removes it, the oldest first", func(f *fixture) {
		ring1, week, ring2 := f.ring(1), f.note(1, 100), f.ring(2)
		ring1.Expires = ring1.Expires.Add(-30 * time.Second)
		for _, e := range []store.Envelope{ring2, week, ring1} {
			f.put(e, store.StatusStored)
		}
		f.pass(61 * time.Second)
		f.holds(1, week)
		f.holds(2)
		if n, err := f.Expire(f.Context(), f.o.Now(), 1); err != nil || n != 1 {
			f.Fatalf("expired %d, %v", n, err)
		}
		f.fate(ring1.ID, store.FateExpired)
		f.fate(ring2.ID, store.FateStored)
		f.reopen()
		if n, err := f.Expire(f.Context(), f.o.Now(), 100); err != nil || n != 1 {
			f.Fatalf("expired %d, %v", n, err)
		}
		f.fate(ring2.ID, store.FateExpired)
		if u := f.usage(2); u.Envelopes != 0 || u.Bytes != 0 {
			f.Fatalf("usage %+v", u)
		}
		f.pass(8 * 24 * time.Hour)
		if n, err := f.Expire(f.Context(), f.o.Now(), 100); err != nil || n != 1 {
			f.Fatalf("expired %d, %v", n, err)
		}
		f.fate(week.ID, store.FateExpired)
	}},
	{"a knock is stored, whatever became of it, for eight days from its coming", func(f *fixture) {
		// That it was fetched, replaced, removed, or that its time ended, would tell a stranger
		// when the person was there, or that it was not.
		fetched, replaced, removed, waits, dropped := f.knock(1), f.knock(1), f.knock(2), f.knock(1), f.knock(1)
		replaced.Collapse = f.draw()
		by := f.knock(1)
		by.Collapse = replaced.Collapse
		seq := f.put(fetched, store.StatusStored)
		f.put(replaced, store.StatusStored)
		f.put(removed, store.StatusStored)
		f.put(waits, store.StatusStored)
		f.ok(f.Record(f.Context(), dropped.ID, store.FateStored, f.o.Now().Add(store.OutcomeKept)))
		f.put(by, store.StatusReplaced)
		f.ok(f.Remove(f.Context(), box(2)))
		f.pass(3 * 24 * time.Hour)
		f.ack(1, seq)
		all := []store.Envelope{fetched, replaced, removed, waits, dropped}
		same := func(want store.Fate) {
			f.Helper()
			for _, e := range all {
				f.fate(e.ID, want)
			}
		}
		same(store.FateStored)
		// A mailbox recognises it all the same, also where its caller records it once more.
		f.ok(f.Record(f.Context(), fetched.ID, store.FateStored, f.o.Now().Add(store.OutcomeKept)))
		for _, e := range []store.Envelope{fetched, replaced} {
			f.put(e, store.StatusDuplicate)
		}
		f.reopen()
		f.put(fetched, store.StatusDuplicate)
		f.pass(4*24*time.Hour + time.Minute)
		_, err := f.Expire(f.Context(), f.o.Now(), 100)
		f.ok(err)
		f.holds(1)
		same(store.FateStored)
		f.pass(2 * 24 * time.Hour)
		_, err = f.Expire(f.Context(), f.o.Now(), 100)
		f.ok(err)
		same(store.FateUnknown)
	}},
	{"Remove empties a mailbox for good, and it can be used anew", func(f *fixture) {
		e, k, other := f.note(1, 100), f.knock(1), f.note(2, 100)
		for _, e := range []store.Envelope{e, k, other} {
			f.put(e, store.StatusStored)
		}
		f.ok(f.Remove(f.Context(), box(1)))
		f.ok(f.Remove(f.Context(), box(1)))
		f.holds(1)
		f.fate(e.ID, store.FateRefused)
		f.fate(k.ID, store.FateStored) // nobody learns from a knock what became of its mailbox
		if u := f.usage(1); u.Envelopes != 0 || u.Knocks != 0 || u.Bytes != 0 || u.Closed {
			f.Fatalf("usage %+v", u)
		}
		f.reopen()
		f.holds(1)
		f.holds(2, other)
		again := f.note(1, 100)
		f.put(again, store.StatusStored)
		f.reopen()
		f.holds(1, again)
	}},
	{"Stats counts what is there", func(f *fixture) {
		for _, e := range []store.Envelope{f.note(1, 1000), f.ring(1), f.knock(1)} {
			f.put(e, store.StatusStored)
		}
		want := store.Usage{Envelopes: 2, Bytes: 1000 + 4096, Knocks: 1, MaxEnvelopes: 128, MaxBytes: 4 << 20}
		if u := f.usage(1); u != want {
			f.Fatalf("usage %+v, want %+v", u, want)
		}
		f.reopen()
		if u := f.usage(1); u != want {
			f.Fatalf("after a restart: usage %+v, want %+v", u, want)
		}
		if u := f.usage(9); u.Envelopes != 0 || u.MaxEnvelopes != 128 {
			f.Fatalf("of an unknown mailbox: %+v", u)
		}
	}},
	{"512 callers at once lose nothing and see no number twice", func(f *fixture) {
		const callers, each = 512, 4
		var (
			wg   sync.WaitGroup
			mu   sync.Mutex // guards seqs, bad
			seqs = make(map[store.Seq]bool)
			bad  int
		)
		for i := range callers {
			wg.Go(func() {
				for j := range each {
					e := store.Envelope{Mailbox: box(byte(i)), TTL: envelope.Day, Payload: make([]byte, 64), Expires: f.o.Now().Add(time.Hour)}
					binary.BigEndian.PutUint32(e.Source[:], uint32(i))
					binary.BigEndian.PutUint32(e.ID[:], uint32(i*each+j+1))
					r, err := f.Put(f.Context(), []store.Envelope{e})
					mu.Lock()
					if err != nil || r[0].Status != store.StatusStored || seqs[r[0].Seq] {
						bad++
					} else {
						seqs[r[0].Seq] = true
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if bad > 0 || len(seqs) != callers*each {
			f.Fatalf("%d bad answers, %d numbers", bad, len(seqs))
		}
		f.reopen()
		total := 0
		for i := range 256 {
			for _, s := range f.peek(byte(i)) {
				if !seqs[s.Seq] {
					f.Fatalf("number %d was never given", s.Seq)
				}
				total++
			}
		}
		if total != callers*each {
			f.Fatalf("%d envelopes after a restart, want %d", total, callers*each)
		}
	}},
}
