// Package bench measures durable puts: by the node's store, with all that a put does there, and
// by bbolt alone, which writes as many bytes to the same kind of bucket and nothing else. The
// disk decides most of both, so only their ratio within one run means something.
//
// Open one with [Store] or [Batch], let callers write with [Writer.Run], and close it.
package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/bolt"
)

// Size of a payload.
const Size = 1024

// mailboxes is among how many the puts are spread.
const mailboxes = 10_000

// Writer is an open database that takes puts.
type Writer struct {
	put   func(context.Context) error
	close func() error
}

// Store opens the node's store in a folder.
func Store(dir string) (*Writer, error) {
	wide := store.Quotas{MaxEnvelopes: 1 << 20, MaxBytes: 1 << 40, PerSource: 1 << 20}
	db, err := bolt.Open(filepath.Join(dir, "node.db"), bolt.Options{Quotas: wide})
	if err != nil {
		return nil, err
	}
	var n atomic.Uint64
	return &Writer{close: db.Close, put: func(ctx context.Context) error {
		now := time.Now()
		e := store.Envelope{TTL: envelope.Week, Payload: make([]byte, Size), Received: now, Expires: now.Add(time.Hour)}
		id := n.Add(1)
		binary.BigEndian.PutUint64(e.ID[:], id)
		binary.BigEndian.PutUint32(e.Mailbox[:], uint32(id%mailboxes)*2654435761) // spread over the keys
		results, err := db.Put(ctx, []store.Envelope{e})
		if err == nil && results[0].Status != store.StatusStored {
			err = errors.New("a put was not stored")
		}
		return err
	}}, nil
}

// Batch opens bbolt alone in a folder: its Batch, and for a single caller its Update, because
// Batch would wait for its timer each time.
func Batch(dir string, single bool) (*Writer, error) {
	db, err := bbolt.Open(filepath.Join(dir, "bare.db"), 0o600, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	name := []byte("log")
	if err := db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket(name); return err }); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	write := db.Batch
	if single {
		write = db.Update
	}
	return &Writer{close: db.Close, put: func(context.Context) error {
		return write(func(tx *bbolt.Tx) error {
			bucket := tx.Bucket(name)
			bucket.FillPercent = 0.95
			seq, err := bucket.NextSequence()
			if err != nil {
				return err
			}
			return bucket.Put(binary.BigEndian.AppendUint64(nil, seq), make([]byte, Size))
		})
	}}, nil
}

// Run lets so many callers put one after the other for a time, and returns how many puts were
// durable.
func (w *Writer) Run(ctx context.Context, callers int, d time.Duration) (puts int64, took time.Duration, err error) {
	var done atomic.Int64
	var mu sync.Mutex // guards err
	var all sync.WaitGroup
	began := time.Now()
	end := began.Add(d)
	for range callers {
		all.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				if e := w.put(ctx); e != nil {
					mu.Lock()
					err = errors.Join(err, e)
					mu.Unlock()
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	if err == nil {
		err = ctx.Err()
	}
	return done.Load(), time.Since(began), err
}

// Close closes the database.
func (w *Writer) Close() error { return w.close() }
