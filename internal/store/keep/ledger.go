package keep

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// The outbound ledger: every envelope that was handed to the link is in it before it is, and
// ends as exactly one of delivered, expired, refused or lost. The totals are kept beside it
// in the same commits, so they outlive the entries.

const (
	// outcomeKept is how long a destination node can be asked for a fate.
	outcomeKept = 8 * 24 * time.Hour
	// liveGrace is how long the word on a live envelope may take.
	liveGrace = time.Minute
	// ledgerKept is how long an entry with a final fate stays for looking back.
	ledgerKept = 16 * 24 * time.Hour
)

// Submit writes an envelope down before it is sent. The same id again changes nothing: a
// retry is the same envelope.
func (k *Keep) Submit(s Submitted) error {
	if len(s.Envelope) == 0 || len(s.Envelope) > envelope.MaxEnvelope {
		return fmt.Errorf("submit: an envelope of %d bytes", len(s.Envelope))
	}
	if s.Fate == 0 {
		s.Fate = FateSubmitted
	}
	if s.Fate > FateStored {
		return errors.New("submit: the fate is final already")
	}
	if s.At.IsZero() {
		s.At = k.Now()
	}
	return translate(k.file.Do(context.Background(), len(s.Envelope)+256, func(tx *bbolt.Tx) error {
		ledger, ids := tx.Bucket(bucketLedger), tx.Bucket(bucketLedgerIDs)
		if ids.Get(s.ID[:]) != nil {
			return kv.NoChange
		}
		n, err := ledger.NextSequence()
		if err != nil {
			return err
		}
		seq := binary.BigEndian.AppendUint64(nil, n)
		ledger.FillPercent = kv.AppendFill
		if err := errors.Join(ledger.Put(seq, encodeSubmitted(s)), ids.Put(s.ID[:], seq), tx.Bucket(bucketOpen).Put(seq, nil)); err != nil {
			return err
		}
		return countFate(tx, 0, s.Fate)
	}))
}

// SetFate writes down what became of an envelope. A fate only goes forward, and a final one
// stays, except that a lost one may be found. False means that nothing changed, also
// because the id is unknown.
func (k *Keep) SetFate(id envelope.ID, f Fate, code string) (bool, error) {
	if f < FateSubmitted || f > FateLost {
		return false, fmt.Errorf("set fate: no such fate: %d", f)
	}
	changed := false
	err := k.do(func(tx *bbolt.Tx) error {
		changed = false
		seq := tx.Bucket(bucketLedgerIDs).Get(id[:])
		if seq == nil {
			return kv.NoChange
		}
		s, err := readSubmitted(tx, seq)
		if err != nil {
			return err
		}
		found := s.Fate == FateLost && f.Final() && f != FateLost
		if !found && (s.Fate.Final() || f <= s.Fate) {
			return kv.NoChange
		}
		changed = true
		return setFate(tx, seq, s, f, code)
	})
	return changed && err == nil, err
}

func setFate(tx *bbolt.Tx, seq []byte, s Submitted, f Fate, code string) error {
	old := s.Fate
	s.Fate, s.Code = f, code
	if f.Final() {
		s.Envelope = nil
		if err := tx.Bucket(bucketOpen).Delete(seq); err != nil {
			return err
		}
	}
	if err := tx.Bucket(bucketLedger).Put(seq, encodeSubmitted(s)); err != nil {
		return err
	}
	return countFate(tx, old, f)
}

func readSubmitted(tx *bbolt.Tx, seq []byte) (Submitted, error) {
	s, err := decodeSubmitted(tx.Bucket(bucketLedger).Get(seq))
	if err != nil {
		return s, fmt.Errorf("ledger: %w", err)
	}
	return s, nil
}

// Submitted returns an entry of the ledger.
func (k *Keep) Submitted(id envelope.ID) (s Submitted, err error) {
	err = k.view(func(tx *bbolt.Tx) error {
		seq := tx.Bucket(bucketLedgerIDs).Get(id[:])
		if seq == nil {
			return ErrNotFound
		}
		s, err = readSubmitted(tx, seq)
		return err
	})
	return s, err
}

// OpenEnvelopes returns at most max envelopes whose fate is not final, oldest first: to send
// them again, or to ask for them.
func (k *Keep) OpenEnvelopes(max int) (out []Submitted, err error) {
	err = k.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketOpen).Cursor()
		for seq, _ := c.First(); seq != nil && len(out) < max; seq, _ = c.Next() {
			s, err := readSubmitted(tx, seq)
			if err != nil {
				return err
			}
			out = append(out, s)
		}
		return nil
	})
	return out, err
}

// Settle calls lost what nobody can be asked about any more, and forgets old entries; the
// totals keep them. It says how many were lost by it.
//
// A live envelope is lost a minute after its deadline. Of a stored class the destination can
// be asked for eight days after its end; so it is lost after that.
func (k *Keep) Settle() (int, error) {
	lost := 0
	err := k.do(func(tx *bbolt.Tx) error {
		lost = 0
		now := k.Now()
		ledger := tx.Bucket(bucketLedger)
		changed := false
		for _, seq := range under(tx.Bucket(bucketOpen), nil) {
			s, err := readSubmitted(tx, seq)
			if err != nil {
				return err
			}
			over := s.Deadline.Add(outcomeKept)
			if s.TTL == envelope.Live {
				over = s.Deadline.Add(liveGrace)
			}
			if now.Before(over) {
				continue
			}
			lost++
			if err := setFate(tx, seq, s, FateLost, ""); err != nil {
				return err
			}
		}
		var old [][]byte
		c := ledger.Cursor()
		for seq, v := c.First(); seq != nil; seq, v = c.Next() {
			s, err := decodeSubmitted(v)
			if err != nil {
				return fmt.Errorf("ledger: %w", err)
			}
			if now.Before(s.At.Add(ledgerKept)) {
				break // they are in the order of time
			}
			if !s.Fate.Final() {
				continue
			}
			old = append(old, append([]byte(nil), seq...))
			if err := tx.Bucket(bucketLedgerIDs).Delete(s.ID[:]); err != nil {
				return err
			}
			changed = true
		}
		if lost == 0 && !changed {
			return kv.NoChange
		}
		return deleteAll(ledger, old)
	})
	if err != nil {
		return 0, err
	}
	return lost, nil
}

// fates is one counter for each Fate; place 0 is not used.
type fates [FateLost + 1]uint64

// countFate moves one envelope from a fate (0: none yet) to another.
func countFate(tx *bbolt.Tx, from, to Fate) error {
	meta := tx.Bucket(bucketMeta)
	t, err := decodeFates(meta.Get(keyTotals))
	if err != nil {
		return err
	}
	if from != 0 {
		t[from]--
	}
	t[to]++
	return meta.Put(keyTotals, t.encode())
}

func (t fates) encode() []byte {
	e := kv.NewEncoder(8 * len(t))
	for _, n := range t {
		e.U64(n)
	}
	return e.Bytes()
}

func decodeFates(b []byte) (t fates, err error) {
	if b == nil {
		return t, nil
	}
	d := kv.NewDecoder(b)
	for i := range t {
		t[i] = d.U64()
	}
	return t, d.Done()
}

// Totals counts every envelope since the profile was made.
func (k *Keep) Totals() (Totals, error) {
	var t fates
	err := k.view(func(tx *bbolt.Tx) (err error) {
		t, err = decodeFates(tx.Bucket(bucketMeta).Get(keyTotals))
		return err
	})
	out := Totals{
		Delivered: t[FateDelivered], StoredPending: t[FateStored], Expired: t[FateExpired],
		Refused: t[FateRefused], Lost: t[FateLost], Open: t[FateSubmitted] + t[FateAccepted],
	}
	out.Sent = out.Delivered + out.StoredPending + out.Expired + out.Refused + out.Lost + out.Open
	return out, err
}
