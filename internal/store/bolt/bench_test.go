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

// BenchmarkPut measures durable puts of 512 bytes, with all that a put does, by 1, 64 and 512
// callers; and in the same run bbolt's own Batch, and for one caller Update, writing the
// same number of bytes to the same kind of bucket and nothing else. Compare the two: the
// disk decides the rest.
//
//	go test ./internal/store/bolt -bench Put -benchtime 3s
func BenchmarkPut(b *testing.B) {
	const size = 512
	for _, callers := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("store/callers=%d", callers), func(b *testing.B) {
			d := mustOpen(b, filepath.Join(b.TempDir(), "node.db"), Options{Quotas: wide})
			var n atomic.Uint64
			each(b, callers, func() error {
				e := store.Envelope{TTL: envelope.Week, Payload: make([]byte, size), Expires: time.Now().Add(time.Hour)}
				id := n.Add(1)
				binary.BigEndian.PutUint64(e.ID[:], id)
				binary.BigEndian.PutUint32(e.Mailbox[:], uint32(id%10_000)*2654435761)
				_, err := d.Put(b.Context(), []store.Envelope{e})
				return err
			})
		})
		b.Run(fmt.Sprintf("batch/callers=%d", callers), func(b *testing.B) {
			db, err := bbolt.Open(filepath.Join(b.TempDir(), "x.db"), 0o600, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
			mustDo(b, err)
			defer func() { mustDo(b, db.Close()) }()
			name := []byte("log")
			mustDo(b, db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket(name); return err }))
			write := db.Batch
			if callers == 1 {
				write = db.Update // Batch would wait for its timer each time
			}
			each(b, callers, func() error {
				return write(func(tx *bbolt.Tx) error {
					bucket := tx.Bucket(name)
					bucket.FillPercent = 0.95
					seq, err := bucket.NextSequence()
					if err != nil {
						return err
					}
					return bucket.Put(binary.BigEndian.AppendUint64(nil, seq), make([]byte, size))
				})
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
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
}
