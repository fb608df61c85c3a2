package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/store"
)

func mustOpen(t testing.TB, path string, o Options) *DB {
	t.Helper()
	d, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

func mustDo(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustCheck(t testing.TB, d *DB) Report {
	t.Helper()
	r, err := d.Check(context.Background())
	mustDo(t, err)
	if len(r.Problems) > 0 {
		t.Fatalf("check: %s", strings.Join(r.Problems, "; "))
	}
	return r
}

// numbered makes the n-th envelope, to one of eight mailboxes.
func numbered(n int, size int) store.Envelope {
	e := store.Envelope{Mailbox: store.MailboxID{byte(n % 8)}, TTL: envelope.Week, Payload: make([]byte, size), Expires: time.Now().Add(time.Hour)}
	binary.BigEndian.PutUint64(e.ID[:], uint64(n))
	e.Source[6] = byte(n / 8)
	binary.BigEndian.PutUint64(e.Payload, uint64(n))
	return e
}

func putOne(t testing.TB, d *DB, e store.Envelope) store.PutResult {
	t.Helper()
	r, err := d.Put(context.Background(), []store.Envelope{e})
	mustDo(t, err)
	return r[0]
}

// wide is a quota that these tests do not run into.
var wide = store.Quotas{MaxEnvelopes: 1 << 20, MaxBytes: 1 << 40, PerSource: 1 << 20}

// snapshot copies the files of a store as they are on the disk at this moment, between two
// batches, as a crash would leave them.
func snapshot(t testing.TB, d *DB, path, to string) {
	t.Helper()
	mustDo(t, d.ask(context.Background(), func() { copyStore(t, path, to) }))
}

func copyStore(t testing.TB, path, to string) {
	for _, suffix := range []string{"", ".keys"} {
		src, err := os.Open(path + suffix)
		if err != nil {
			t.Error(err)
			return
		}
		dst, err := os.Create(to + suffix)
		if err == nil {
			_, err = io.Copy(dst, src)
			err = errors.Join(err, dst.Close())
		}
		if err = errors.Join(err, src.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestACrashBetweenCommitsLosesNothingThatWasAcknowledged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "node.db")
	d := mustOpen(t, path, Options{Quotas: wide})
	const putters, crashes = 16, 8
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // guards acked, deleted
		acked = make(map[envelope.ID]bool)
		gone  = make(map[envelope.ID]bool)
		stop  = make(chan struct{})
		next  = make(chan int)
	)
	wg.Go(func() {
		defer close(next)
		for n := 1; ; n++ {
			select {
			case next <- n:
			case <-stop:
				return
			}
		}
	})
	for range putters {
		wg.Go(func() {
			for n := range next {
				e := numbered(n, 1024)
				r, err := d.Put(context.Background(), []store.Envelope{e})
				if err != nil || r[0].Status != store.StatusStored {
					t.Errorf("put %d: %v %v", n, r, err)
					return
				}
				if n%3 == 0 {
					mu.Lock()
					gone[e.ID] = true // from here on it may or may not be there
					mu.Unlock()
					if err := d.Ack(context.Background(), e.Mailbox, []store.Seq{r[0].Seq}); err != nil {
						t.Error(err)
						return
					}
				}
				mu.Lock()
				acked[e.ID] = true
				mu.Unlock()
			}
		})
	}
	for i := range crashes {
		mu.Lock()
		before := make(map[envelope.ID]bool, len(acked))
		for id := range acked {
			before[id] = !gone[id]
		}
		mu.Unlock()
		to := filepath.Join(dir, fmt.Sprint("crash", i, ".db"))
		snapshot(t, d, path, to)
		c := mustOpen(t, to, Options{Quotas: wide})
		mustCheck(t, c)
		there := make(map[envelope.ID]bool)
		for box := range byte(8) {
			all, err := c.Peek(context.Background(), store.MailboxID{box}, 0, 1<<20)
			mustDo(t, err)
			for _, s := range all {
				there[s.ID] = true
				if s.Payload == nil || binary.BigEndian.Uint64(s.Payload) != binary.BigEndian.Uint64(s.ID[:]) {
					t.Fatal("an envelope has another one's payload")
				}
			}
		}
		for id, waits := range before {
			if waits && !there[id] {
				t.Fatal("an acknowledged envelope is gone")
			}
			if !waits && there[id] {
				t.Fatal("an envelope that the device has acknowledged is back")
			}
		}
	}
	close(stop)
	wg.Wait()
}

// A crash in the middle of a commit leaves some of its pages written, and the meta page old
// or torn: bbolt writes that last. Whatever subset of the pages arrived, the store is what it
// was before the commit.
func TestACrashInTheMiddleOfACommitIsAsIfItHadNotBegun(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "node.db")
	d := mustOpen(t, path, Options{Quotas: wide})
	for n := 1; n <= 200; n++ {
		r := putOne(t, d, numbered(n, 2048))
		if n%2 == 0 {
			mustDo(t, d.Ack(t.Context(), numbered(n, 8).Mailbox, []store.Seq{r.Seq}))
		}
	}
	before, after := filepath.Join(dir, "before.db"), filepath.Join(dir, "after.db")
	snapshot(t, d, path, before)
	var batch []store.Envelope
	for n := 1000; n < 1100; n++ {
		batch = append(batch, numbered(n, 2048))
	}
	if _, err := d.Put(t.Context(), batch); err != nil { // one commit
		t.Fatal(err)
	}
	snapshot(t, d, path, after)

	a, err := os.ReadFile(before)
	mustDo(t, err)
	b, err := os.ReadFile(after)
	mustDo(t, err)
	keys, err := os.ReadFile(before + ".keys")
	mustDo(t, err)
	page := os.Getpagesize()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 24 {
		torn := append(bytes.Clone(a), make([]byte, max(0, len(b)-len(a)))...)
		for at := 2 * page; at+page <= len(b); at += page {
			switch {
			case i > 0 && random.IntN(3) > 0: // arrived; in the first round nothing did
				copy(torn[at:at+page], b[at:])
			case i > 0 && random.IntN(8) == 0: // half of it arrived
				copy(torn[at:at+page/2], b[at:])
			}
		}
		if i%3 == 2 {
			// The meta page arrived up to somewhere in the middle; its checksum tells.
			meta := page * (i % 2)
			if !bytes.Equal(a[meta:meta+page], b[meta:meta+page]) {
				copy(torn[meta:meta+16+40], b[meta:])
			}
		}
		crashed := filepath.Join(dir, fmt.Sprint("torn", i, ".db"))
		mustDo(t, os.WriteFile(crashed, torn, 0o600))
		mustDo(t, os.WriteFile(crashed+".keys", keys, 0o600))
		c := mustOpen(t, crashed, Options{Quotas: wide})
		if r := mustCheck(t, c); r.Envelopes != 100 || r.Outcomes != 100 {
			t.Fatalf("round %d: %d envelopes and %d outcomes, want 100 of each", i, r.Envelopes, r.Outcomes)
		}
		if _, err := c.Put(t.Context(), batch); err != nil { // and it goes on
			t.Fatal(err)
		}
		mustCheck(t, c)
		mustDo(t, c.Close())
	}
}
