package storetest

import (
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/store"
)

var quotaCases = []testCase{
	{"a full mailbox closes and stays closed until drained, also over a restart", func(f *fixture) {
		var seqs []store.Seq
		for range 112 {
			seqs = append(seqs, f.put(f.note(1, 10), store.StatusStored))
		}
		refused := f.note(1, 10)
		f.put(refused, store.StatusQuota)
		f.fate(refused.ID, store.FateUnknown)
		if u := f.usage(1); !u.Closed || u.Envelopes != 112 {
			f.Fatalf("usage %+v", u)
		}
		f.ack(1, seqs[:111]...)
		f.put(refused, store.StatusQuota) // one is left: not drained
		f.reopen()
		if u := f.usage(1); !u.Closed {
			f.Fatal("a restart opened the box")
		}
		f.put(refused, store.StatusQuota)
		f.put(f.note(2, 10), store.StatusStored) // other boxes are open
		f.ack(1, seqs[111])
		if u := f.usage(1); u.Closed {
			f.Fatal("the drained box is closed")
		}
		f.put(refused, store.StatusStored)
		f.reopen()
		f.put(f.note(1, 10), store.StatusStored)
	}},
	{"expiry drains a closed mailbox as well", func(f *fixture) {
		f = f.with(Options{Quotas: store.Quotas{MaxEnvelopes: 4, RingReserve: 1}})
		for range 3 {
			f.put(f.note(1, 10), store.StatusStored)
		}
		f.put(f.note(1, 10), store.StatusQuota)
		f.pass(8 * 24 * time.Hour)
		_, err := f.Expire(f.Context(), f.o.Now(), 100)
		f.ok(err)
		f.put(f.note(1, 10), store.StatusStored)
	}},
	{"sixteen places are kept free for the ring class", func(f *fixture) {
		for range 112 {
			f.put(f.note(1, 10), store.StatusStored)
		}
		f.put(f.note(1, 10), store.StatusQuota)
		for range 16 {
			f.put(f.ring(1), store.StatusStored)
		}
		f.put(f.ring(1), store.StatusQuota)
		if u := f.usage(1); u.Envelopes != 128 {
			f.Fatalf("usage %+v", u)
		}
	}},
	{"rings that take ordinary places do not close the mailbox", func(f *fixture) {
		for range 100 {
			f.put(f.note(1, 10), store.StatusStored)
		}
		for range 28 {
			f.put(f.ring(1), store.StatusStored)
		}
		f.put(f.note(1, 10), store.StatusQuota)
		if f.usage(1).Closed {
			f.Fatal("closed by rings")
		}
		f.pass(2 * time.Minute)
		_, err := f.Expire(f.Context(), f.o.Now(), 100)
		f.ok(err)
		f.put(f.note(1, 10), store.StatusStored)
	}},
	{"bytes close a mailbox like numbers, and a smaller envelope does not slip in", func(f *fixture) {
		// 4 MiB less 16 reserved rings of 8 KiB hold 62 of 64 KiB.
		for range 62 {
			f.put(f.note(1, 65536), store.StatusStored)
		}
		f.put(f.note(1, 65536), store.StatusQuota)
		f.put(f.note(1, 1), store.StatusQuota)
		if u := f.usage(1); !u.Closed || u.Bytes != 62*65536 {
			f.Fatalf("usage %+v", u)
		}
		for range 16 {
			f.put(f.ring(1), store.StatusStored)
		}
	}},
	{"one source node cannot close a mailbox", func(f *fixture) {
		hostile := peer(200)
		from := func(e store.Envelope) store.Envelope { e.Source = hostile; return e }
		for range 32 {
			f.put(from(f.note(1, 10)), store.StatusStored)
		}
		f.put(from(f.note(1, 10)), store.StatusQuota)
		f.put(from(f.ring(1)), store.StatusQuota)
		f.reopen()
		f.put(from(f.note(1, 10)), store.StatusQuota)
		if f.usage(1).Closed {
			f.Fatal("closed")
		}
		f.put(f.note(1, 10), store.StatusStored)
		f.put(from(f.note(2, 10)), store.StatusStored)
		f.put(from(f.knock(1)), store.StatusStored) // knocks are not counted here
		f.ack(1, f.peek(1)[0].Seq)
		f.put(from(f.note(1, 10)), store.StatusStored)
	}},
	{"ten knocks wait apart from everything else; the eleventh, and a larger one, are refused", func(f *fixture) {
		large := f.knock(1)
		large.Payload = make([]byte, 4097)
		f.put(large, store.StatusQuota)
		for range 112 {
			f.put(f.note(1, 10), store.StatusStored)
		}
		f.put(f.note(1, 10), store.StatusQuota)
		var first store.Seq
		for i := range 10 {
			seq := f.put(f.knock(1), store.StatusStored)
			if i == 0 {
				first = seq
			}
		}
		f.put(f.knock(1), store.StatusQuota)
		if u := f.usage(1); u.Knocks != 10 || u.Envelopes != 112 {
			f.Fatalf("usage %+v", u)
		}
		f.ack(1, first)
		f.put(f.knock(1), store.StatusStored)
		f.put(f.knock(2), store.StatusStored)
	}},
	{"a full mailbox takes the cancel of a ring it holds, and no note in a ring's place", func(f *fixture) {
		ring := f.ring(1)
		f.put(ring, store.StatusStored)
		for range 112 {
			f.put(f.note(1, 10), store.StatusStored)
		}
		f.put(f.note(1, 10), store.StatusQuota)
		for range 15 {
			f.put(f.ring(1), store.StatusStored)
		}
		f.put(f.ring(1), store.StatusQuota)
		note := f.note(1, 10)
		note.Collapse = ring.Collapse
		f.put(note, store.StatusQuota)
		cancel := f.ring(1)
		cancel.Collapse = ring.Collapse
		f.put(cancel, store.StatusReplaced)
		f.fate(ring.ID, store.FateExpired)
	}},
	{"quotas are what they were set to", func(f *fixture) {
		f = f.with(Options{Quotas: store.Quotas{MaxEnvelopes: 8, MaxBytes: 1 << 20, PerSource: 2, RingReserve: 2, MaxKnocks: 1, KnockBytes: 100}})
		for range 6 {
			f.put(f.note(1, 10), store.StatusStored)
		}
		f.put(f.note(1, 10), store.StatusQuota)
		f.put(f.ring(1), store.StatusStored)
		small := f.knock(1)
		small.Payload = small.Payload[:100]
		f.put(small, store.StatusStored)
		f.put(f.knock(2), store.StatusQuota)
		e := f.note(3, 10)
		for range 2 {
			e.ID = f.draw()
			f.put(e, store.StatusStored)
		}
		e.ID = f.draw()
		f.put(e, store.StatusQuota)
		e.TTL = envelope.Day
		f.put(e, store.StatusQuota)
	}},
}
