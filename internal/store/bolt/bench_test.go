package bolt

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/store"
)

// BenchmarkPut measures durable puts of 1 KiB to ten thousand mailboxes, with all that a put
// does, by 1, 64 and 512 callers; and in the same run bbolt's own Batch, and for one caller
// Update, of a file opened with bbolt's defaults: the bare payload under ascending keys, which
// suit it best, and the same two fsyncs for each commit. Compare the two: the disk decides the
// rest.
//
//	go test ./internal/store/bolt -run '^$' -bench Put -benchtime 3s
func BenchmarkPut(b *testing.B) {
	const size = 1024
	for _, callers := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("store/callers=%d", callers), func(b *testing.B) {
			d := mustOpen(b, filepath.Join(b.TempDir(), "node.db"), Options{Quotas: wide})
			var n atomic.Uint64
			payload := make([]byte, size)
			each(b, callers, func() error {
				e := store.Envelope{TTL: envelope.Week, Payload: payload, Expires: time.Now().Add(time.Hour)}
				id := n.Add(1)
				binary.BigEndian.PutUint64(e.ID[:], id)
				binary.BigEndian.PutUint32(e.Mailbox[:], uint32(id%10_000)*2654435761)
				_, err := d.Put(b.Context(), []store.Envelope{e})
				return err
			})
		})
		b.Run(fmt.Sprintf("batch/callers=%d", callers), func(b *testing.B) {
			db, err := bbolt.Open(filepath.Join(b.TempDir(), "x.db"), 0o600, nil)
			mustDo(b, err)
			defer func() { mustDo(b, db.Close()) }()
			name := []byte("log")
			mustDo(b, db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket(name); return err }))
			write := db.Batch
			if callers == 1 {
				write = db.Update // Batch would wait for its timer each time
			}
			payload := make([]byte, size)
			each(b, callers, func() error {
				return write(func(tx *bbolt.Tx) error {
					bucket := tx.Bucket(name)
					seq, err := bucket.NextSequence()
					if err != nil {
						return err
					}
					return bucket.Put(binary.BigEndian.AppendUint64(nil, seq), payload)
				})
			})
		})
	}
}

// BenchmarkPeek reads sixteen envelopes of 1 KiB from a mailbox that holds 112, beside a
// thousand others.
func BenchmarkPeek(b *testing.B) {
	d := mustOpen(b, filepath.Join(b.TempDir(), "node.db"), Options{Quotas: wide})
	var batch []store.Envelope
	for n := range 112 * 8 {
		batch = append(batch, numbered(n, 1024))
	}
	_, err := d.Put(b.Context(), batch)
	mustDo(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if all, err := d.Peek(b.Context(), store.MailboxID{3}, 400, 16); err != nil || len(all) != 16 {
			b.Fatal(len(all), err)
		}
	}
}

// BenchmarkAck deletes durably what one Put has stored, one number at a time, by 1 and 64
// callers; storing it is not measured.
func BenchmarkAck(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			d := mustOpen(b, filepath.Join(b.TempDir(), "node.db"), Options{Quotas: wide})
			seqs := make([]store.Seq, 0, b.N)
			for len(seqs) < b.N {
				var batch []store.Envelope
				for n := range min(1000, b.N-len(seqs)) {
					batch = append(batch, numbered(len(seqs)+n, 1024))
				}
				r, err := d.Put(b.Context(), batch)
				mustDo(b, err)
				for i := range r {
					seqs = append(seqs, r[i].Seq)
				}
			}
			var n atomic.Int64
			each(b, callers, func() error {
				i := int(n.Add(1)) - 1
				return d.Ack(b.Context(), store.MailboxID{byte(i % 8)}, seqs[i:i+1])
			})
		})
	}
}

// each calls fn b.N times from a number of goroutines.
func each(b *testing.B, callers int, fn func() error) {
	b.ResetTimer()
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(b.N))
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := fn(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "per/s")
}
