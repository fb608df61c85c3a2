package bolt

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// format1 unpacks a store that the program of format 1 wrote on 2026-11-01: mailbox 1 is full
// and closed by six notes, 2 holds three rings, 3 three knocks, 4 one note after one that was
// delivered; and a blob, an account and an envelope on its way out.
func format1(t *testing.T) (path string, now time.Time) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "node.db")
	f, err := os.Open("testdata/format1.db.gz")
	mustDo(t, err)
	z, err := gzip.NewReader(f)
	mustDo(t, err)
	b, err := io.ReadAll(z)
	mustDo(t, errors.Join(err, z.Close(), f.Close()))
	mustDo(t, os.WriteFile(path, b, 0o600))
	keys, err := os.ReadFile("testdata/format1.db.keys")
	mustDo(t, err)
	mustDo(t, os.WriteFile(path+".keys", keys, 0o600))
	return path, time.Date(2026, 11, 1, 12, 0, 30, 0, time.UTC)
}

func TestAStoreOfFormat1IsBroughtUpToDateWhole(t *testing.T) {
	path, now := format1(t)
	if _, err := Verify(path); !errors.Is(err, kv.ErrOlder) {
		t.Fatalf("looking at it before: %v", err)
	}
	o := Options{Now: func() time.Time { return now }, Quotas: store.Quotas{MaxEnvelopes: 8, RingReserve: 2}}
	for round := range 2 { // the second time there is nothing to do
		d := mustOpen(t, path, o)
		r := mustCheck(t, d)
		if r.Format != 2 || r.Mailboxes != 4 || r.Envelopes != 10 || r.Knocks != 3 || r.Bytes != 15790 || r.Outcomes != 1 ||
			r.Accounts != 1 || r.Devices != 1 || r.Blobs != 1 || r.Outgoing != 1 || r.Keys != 5 {
			t.Fatalf("round %d: %+v", round, r)
		}
		seen := 0
		for box, want := range []int{1: 6, 2: 3, 3: 3, 4: 1} {
			all, err := d.Peek(t.Context(), store.MailboxID{byte(box)}, 0, 100)
			mustDo(t, err)
			if len(all) != want {
				t.Fatalf("mailbox %d holds %d", box, len(all))
			}
			for _, e := range all {
				n := e.ID[0]
				payload := make([]byte, len(e.Payload))
				for i := range payload {
					payload[i] = n + byte(i)
				}
				if !bytes.Equal(e.Payload, payload) || e.Source != (identity.PeerID{n % 3, 1}) || e.Hint != [2]byte{n, 9} ||
					e.Collapse != (envelope.CollapseKey{n, 7}) || e.Knock != (box == 3) || !e.Received.Equal(now.Add(-30*time.Second)) {
					t.Fatalf("envelope %d of mailbox %d is another", n, box)
				}
				seen++
			}
		}
		if seen != 13 {
			t.Fatalf("%d envelopes", seen)
		}
		u, err := d.Stats(t.Context(), store.MailboxID{1})
		mustDo(t, err)
		if !u.Closed {
			t.Fatal("the full mailbox is open")
		}
		if b, err := d.Blobs().Get(t.Context(), "host"); err != nil || string(b) != "a secret of the node" {
			t.Fatalf("blob %q, %v", b, err)
		}
		mustDo(t, d.Close())
	}

	// It goes on: numbers ascend, what was delivered does not come back, the closed box opens
	// when it is drained, and the key of a mailbox goes with it.
	d := mustOpen(t, path, o)
	e := numbered(4, 64)
	e.Mailbox = store.MailboxID{4}
	if r := putOne(t, d, e); r.Status != store.StatusStored || r.Seq != 15 {
		t.Fatalf("put: %v", r)
	}
	delivered := numbered(4, 64)
	delivered.Mailbox, delivered.ID = store.MailboxID{4}, envelope.ID{14}
	if r := putOne(t, d, delivered); r.Status != store.StatusDuplicate {
		t.Fatalf("put again: %v", r)
	}
	mustDo(t, d.Ack(t.Context(), store.MailboxID{1}, []store.Seq{1, 2, 3, 4, 5, 6}))
	if u, err := d.Stats(t.Context(), store.MailboxID{1}); err != nil || u.Closed || u.Envelopes != 0 {
		t.Fatalf("drained: %+v, %v", u, err)
	}
	k, ok := d.ring.Get(kv.KeyID(store.MailboxID{2}))
	if !ok {
		t.Fatal("the key of a mailbox of format 1 has another id")
	}
	mustDo(t, d.Remove(t.Context(), store.MailboxID{2}))
	if bytes.Contains(folder(t, filepath.Dir(path)), k[:]) {
		t.Fatal("the key of a removed mailbox is still there")
	}
	mustCheck(t, d)
}

func TestADamagedEnvelopeOfFormat1KeepsNoOneFromStarting(t *testing.T) {
	path, now := format1(t)
	db, err := bbolt.Open(path, 0o600, nil)
	mustDo(t, err)
	mustDo(t, errors.Join(db.Update(func(tx *bbolt.Tx) error {
		log, index := tx.Bucket(bucketLog), tx.Bucket([]byte("index"))
		twelfth := bytes.Clone(log.Get(seqKey(12)))
		box := [16]byte{1}
		return errors.Join(log.Delete(seqKey(1)), log.Put(seqKey(2), twelfth), index.Delete(append(box[:], seqKey(3)...)))
	}), db.Close()))
	d := mustOpen(t, path, Options{Now: func() time.Time { return now }})
	if r := mustCheck(t, d); r.Envelopes != 7 || r.Knocks != 3 {
		t.Fatalf("%+v", r)
	}
}
