package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// maxPayload bounds what is stored: the largest payload there is.
const maxPayload = envelope.MaxPayload

// Put implements store.Mailbox. The values are sealed here, on the caller's goroutine, so
// that the writer's has little to do for each.
func (d *DB) Put(ctx context.Context, envelopes []store.Envelope) ([]store.PutResult, error) {
	if len(envelopes) == 0 {
		return nil, nil
	}
	c := putCalls.Get().(*putCall)
	defer c.release()
	size := 0
	for i := range envelopes {
		e := &envelopes[i]
		if e.TTL == envelope.Live || !e.TTL.Valid() {
			return nil, store.ErrLive
		}
		if len(e.Payload) > maxPayload {
			return nil, fmt.Errorf("put: payload of %d bytes", len(e.Payload))
		}
		p := c.next()
		if err := d.seal(p, e); err != nil {
			return nil, err
		}
		size += len(p.value) + 64
	}
	results := make([]store.PutResult, len(envelopes))
	err := d.do(ctx, size, func(tx *bbolt.Tx) error {
		changed := false
		for i := range c.puts {
			wrote := false
			var err error
			if results[i], wrote, err = d.put(tx, &c.puts[i]); err != nil {
				return err
			}
			changed = changed || wrote
		}
		if !changed {
			return kv.NoChange
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// putCall is what one Put needs until it is answered: bbolt reads the values until its
// commit has ended, and nobody does after that. So they are used again.
type putCall struct{ puts []put }

var putCalls = sync.Pool{New: func() any { return new(putCall) }}

// keptValue is the largest buffer that is kept for the next call: that of a note.
const keptValue = 16 << 10

func (c *putCall) next() *put {
	if len(c.puts) < cap(c.puts) {
		c.puts = c.puts[:len(c.puts)+1]
	} else {
		c.puts = append(c.puts, put{})
	}
	return &c.puts[len(c.puts)-1]
}

func (c *putCall) release() {
	if cap(c.puts) > 16 {
		return
	}
	for i := range c.puts {
		p := &c.puts[i]
		if p.env, p.sealer = nil, nil; cap(p.value) > keptValue {
			p.value = nil
		}
	}
	c.puts = c.puts[:0]
	putCalls.Put(c)
}

// put is an envelope on its way to the writer.
type put struct {
	env    *store.Envelope
	sealer *sealer // that value is sealed with
	value  []byte
	entry  entry
}

func (d *DB) seal(p *put, e *store.Envelope) error {
	s, err := d.sealers.ensure(e.Mailbox)
	if err != nil {
		return err
	}
	p.env, p.sealer = e, s
	p.entry = entry{
		id: e.ID, collapse: e.Collapse, source: sourceTag(&s.key, &e.Source),
		expires: int64(kv.Milli(e.Expires)), size: uint32(len(e.Payload)), ttl: e.TTL, knock: e.Knock,
	}
	if n := logSize + len(e.Payload); cap(p.value) < n {
		p.value = make([]byte, 0, n)
	}
	p.value, err = sealEnvelope(p.value[:0], s, e, &p.entry)
	return err
}

// put decides about one envelope and writes it. wrote says whether the file changes.
func (d *DB) put(tx *bbolt.Tx, p *put) (r store.PutResult, wrote bool, err error) {
	id, e := p.env.Mailbox, p.entry
	b := d.st.boxes[id]
	if b == nil {
		b = &emptyBox
	}
	for i := range b.entries {
		if b.entries[i].id == e.id {
			return store.PutResult{Seq: b.entries[i].seq, Status: store.StatusDuplicate}, false, nil
		}
	}
	// One that was delivered, expired or replaced does not come back. One that was refused
	// may: the sender tries again.
	switch fate := d.st.outcome(tx, e.id); fate {
	case store.FateDelivered, store.FateExpired, fateKnock:
		return store.PutResult{Status: store.StatusDuplicate}, false, nil
	}
	earlier := b.collapses(e)
	status, closes := b.admit(d.quotas, e, earlier)
	if status == store.StatusQuota {
		if !closes {
			return store.PutResult{Status: status}, false, nil
		}
		d.st.close(id)
		return store.PutResult{Status: status}, true, tx.Bucket(bucketBoxes).Put(id[:], []byte{1})
	}
	// The mailbox may have been removed, and its key dropped, since the value was sealed.
	if d.sealers.get(id) != p.sealer {
		if err := d.seal(p, p.env); err != nil {
			return r, false, err
		}
		e = p.entry
	}
	if earlier >= 0 {
		if err := d.st.ended(tx, b.entries[earlier], store.FateExpired, d.now()); err != nil {
			return r, false, err
		}
		if err := d.st.delete(tx, b, earlier); err != nil {
			return r, false, err
		}
	}
	d.st.last++
	e.seq = d.st.last
	log := tx.Bucket(bucketLog)
	log.FillPercent = kv.AppendFill
	if err := log.Put(seqKey(e.seq), p.value); err != nil {
		return r, false, err
	}
	d.st.insert(id, e)
	return store.PutResult{Seq: e.seq, Status: status}, true, d.st.settle(tx, id, d.st.boxes[id])
}

// collapses returns the place of the envelope that e replaces, or -1.
func (b *box) collapses(e entry) int {
	if e.collapse.IsZero() {
		return -1
	}
	for i := range b.entries {
		if b.entries[i].collapse == e.collapse && b.entries[i].knock == e.knock {
			return i
		}
	}
	return -1
}

// admit applies the quotas to an envelope that would replace the one at earlier (or -1).
// closes says that the box closes by this refusal. store.Quotas has the rules in words.
func (b *box) admit(q store.Quotas, e entry, earlier int) (status store.Status, closes bool) {
	// What the box would hold beside e. Only the replacement of one by its like is exempt
	// from a closed box: a ring does not open the way for a note with its collapse key.
	rest, status, like := *b, store.StatusStored, false
	if earlier >= 0 {
		gone := b.entries[earlier]
		rest.count(gone, -1)
		status, like = store.StatusReplaced, (gone.ttl == envelope.Ring) == (e.ttl == envelope.Ring)
	}
	if e.knock {
		if int(e.size) > q.KnockBytes || rest.knocks >= q.MaxKnocks {
			return store.StatusQuota, false
		}
		return status, false
	}
	if e.ttl != envelope.Ring {
		switch {
		case b.closed && !like:
			return store.StatusQuota, false
		case rest.full(q, e):
			return store.StatusQuota, !b.closed
		}
	}
	// Together with the ring class, which is gone in a minute: no reason to close.
	if rest.ordinary+rest.rings >= q.MaxEnvelopes || rest.heldBytes+int64(e.size) > q.MaxBytes {
		return store.StatusQuota, false
	}
	source := 0
	for i := range b.entries {
		if i != earlier && !b.entries[i].knock && b.entries[i].source == e.source {
			source++
		}
	}
	if source >= q.PerSource {
		return store.StatusQuota, false
	}
	return status, false
}

// full says that an ordinary envelope does not fit beside the ordinary ones.
func (b *box) full(q store.Quotas, e entry) bool {
	limit := max(q.MaxBytes-int64(q.RingReserve)*store.RingReserveBytes, q.MaxBytes/2)
	return b.ordinary >= q.MaxEnvelopes-q.RingReserve || b.ordinaryBytes+int64(e.size) > limit
}

// Peek implements store.Mailbox.
func (d *DB) Peek(_ context.Context, id store.MailboxID, after store.Seq, max int) ([]store.Stored, error) {
	if max <= 0 {
		return nil, nil
	}
	var out []store.Stored
	now := d.now()
	err := d.view(func(tx *bbolt.Tx) error {
		log := tx.Bucket(bucketLog)
		for len(out) < max {
			seqs := d.waiting(id, after, now, max-len(out))
			if len(seqs) == 0 {
				break
			}
			after = seqs[len(seqs)-1]
			for _, seq := range seqs {
				v := log.Get(seqKey(seq))
				if v == nil {
					continue // not committed yet, or acknowledged a moment ago
				}
				e, err := d.open(id, v)
				if err != nil {
					// A damaged value must not keep the device from the others. It is counted, and
					// leaves with its time; verify store names it.
					d.corrupt.Add(1)
					continue
				}
				out = append(out, store.Stored{Seq: seq, Envelope: e})
			}
		}
		return nil
	})
	return out, err
}

// waiting returns the numbers of at most max envelopes that wait in a mailbox. It may name
// one that is in memory already and not in the file yet, or the other way round.
func (d *DB) waiting(id store.MailboxID, after store.Seq, now time.Time, max int) []store.Seq {
	d.mu.RLock()
	defer d.mu.RUnlock()
	b := d.st.boxes[id]
	if b == nil || after == ^store.Seq(0) {
		return nil
	}
	var out []store.Seq
	first, _ := b.find(after + 1)
	for i := first; i < len(b.entries) && len(out) < max; i++ {
		if e := &b.entries[i]; e.expires > now.UnixMilli() {
			out = append(out, e.seq)
		}
	}
	return out
}

// open reads a value of the log that stands in a mailbox.
func (d *DB) open(id store.MailboxID, v []byte) (e store.Envelope, err error) {
	box, keyID, _, err := decodeLogHeader(v)
	if err != nil {
		return e, err
	}
	s := d.sealers.under(id, keyID)
	if s == nil || box != id {
		return e, kv.ErrValue
	}
	return openEnvelope(s, v)
}

// Ack implements store.Mailbox.
func (d *DB) Ack(ctx context.Context, id store.MailboxID, seqs []store.Seq) error {
	return d.do(ctx, 64*len(seqs), func(tx *bbolt.Tx) error {
		b := d.st.boxes[id]
		if b == nil {
			return kv.NoChange
		}
		now := d.now()
		changed := false
		for _, seq := range seqs {
			i, ok := b.find(seq)
			if !ok {
				continue
			}
			changed = true
			if err := d.st.ended(tx, b.entries[i], store.FateDelivered, now); err != nil {
				return err
			}
			if err := d.st.delete(tx, b, i); err != nil {
				return err
			}
		}
		if !changed {
			return kv.NoChange
		}
		return d.st.settle(tx, id, b)
	})
}

// Stats implements store.Mailbox.
func (d *DB) Stats(ctx context.Context, id store.MailboxID) (store.Usage, error) {
	u := store.Usage{MaxEnvelopes: d.quotas.MaxEnvelopes, MaxBytes: d.quotas.MaxBytes}
	err := d.ask(ctx, func() {
		if b := d.st.boxes[id]; b != nil {
			u.Envelopes, u.Bytes = b.ordinary+b.rings, b.heldBytes
			u.Knocks, u.Closed = b.knocks, b.closed
		}
	})
	return u, err
}

// Expire implements store.Mailbox. It also forgets outcomes whose day is over.
func (d *DB) Expire(ctx context.Context, now time.Time, max int) (int, error) {
	n := 0
	err := d.do(ctx, 64*max, func(tx *bbolt.Tx) error {
		n = 0
		forgot, err := d.st.forget(tx, now)
		if err != nil {
			return err
		}
		for n < max && len(d.st.expiry) > 0 && d.st.expiry[0].at <= now.UnixMilli() {
			x := d.st.expiry.pop()
			b := d.st.boxes[x.box]
			if b == nil {
				continue
			}
			i, ok := b.find(x.seq)
			if !ok {
				continue // acknowledged or replaced before
			}
			n++
			if err := d.st.ended(tx, b.entries[i], store.FateExpired, now); err != nil {
				return err
			}
			if err := d.st.delete(tx, b, i); err != nil {
				return err
			}
			if err := d.st.settle(tx, x.box, b); err != nil {
				return err
			}
		}
		if n == 0 && !forgot {
			return kv.NoChange
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// Remove implements store.Mailbox.
func (d *DB) Remove(ctx context.Context, id store.MailboxID) error {
	err := d.do(ctx, 4096, func(tx *bbolt.Tx) error {
		b := d.st.boxes[id]
		if b == nil {
			return kv.NoChange
		}
		now := d.now()
		for len(b.entries) > 0 {
			last := len(b.entries) - 1
			if err := d.st.ended(tx, b.entries[last], store.FateRefused, now); err != nil {
				return err
			}
			if err := d.st.delete(tx, b, last); err != nil {
				return err
			}
		}
		return d.st.settle(tx, id, b)
	})
	if err != nil {
		return err
	}
	// The key goes while nobody writes and only if the box is still empty: a Put that
	// was sealed under it is either in the box by now, or seals again when its turn comes.
	var dropped error
	err = d.ask(ctx, func() {
		b := d.st.boxes[id]
		if b == nil || len(b.entries) == 0 {
			dropped = d.sealers.drop(id)
		}
	})
	return errors.Join(err, translate(dropped))
}

// day is the number of the UTC day that a time is in.
func day(t time.Time) uint32 { return uint32(max(t.Unix(), 0) / 86400) }

func dayKey(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
