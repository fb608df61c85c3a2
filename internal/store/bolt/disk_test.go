package bolt

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

func TestAFullDiskIsAnAnswerAndWritingWorksAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	d := mustOpen(t, path, Options{Quotas: wide, MaxFile: 2 << 20})
	var seqs []store.Seq
	for n := 0; ; n++ {
		e := numbered(8*n, 32768)
		r, err := d.Put(t.Context(), []store.Envelope{e})
		if err != nil {
			if !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("got %v", err)
			}
			// Nothing of it was kept, in the file or in memory.
			if f, err := d.Fate(t.Context(), e.ID); err != nil || f != store.FateUnknown {
				t.Fatalf("fate of what was not stored: %v, %v", f, err)
			}
			break
		}
		seqs = append(seqs, r[0].Seq)
	}
	if len(seqs) < 8 {
		t.Fatalf("full after %d envelopes", len(seqs))
	}
	mustCheck(t, d)
	if u, err := d.Stats(t.Context(), store.MailboxID{0}); err != nil || u.Envelopes != len(seqs) {
		t.Fatalf("usage %+v, %v", u, err)
	}
	mustDo(t, d.Ack(t.Context(), store.MailboxID{0}, seqs))
	if r := putOne(t, d, numbered(800, 32768)); r.Status != store.StatusStored {
		t.Fatalf("after room was made: %v", r)
	}
	mustCheck(t, d)
}

// folder reads all files of a folder into one piece, for searching.
func folder(t *testing.T, dir string) []byte {
	t.Helper()
	var all []byte
	files, err := os.ReadDir(dir)
	mustDo(t, err)
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		mustDo(t, err)
		all = append(all, b...)
	}
	return all
}

func TestWhatIsDeletedCannotBeReadFromTheDisk(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, filepath.Join(dir, "node.db"), Options{})
	secret := []byte("a payload that somebody may break one day")
	e := numbered(8, 64)
	e.Payload = bytes.Repeat(secret, 20)
	copy(e.Source[:], "a source node's peer id is not shown")
	putOne(t, d, e)
	other := numbered(9, 64)
	putOne(t, d, other)
	mustDo(t, d.Blobs().Put(t.Context(), "routing/1", []byte("a routing key of last week")))
	mustDo(t, d.Blobs().Put(t.Context(), "routing/2", []byte("a routing key of today")))
	mustDo(t, d.Blobs().Put(t.Context(), "plain", []byte("marker")))

	disk := folder(t, dir)
	for _, s := range [][]byte{secret, e.Source[:20], []byte("a routing key of last week"), []byte("marker")} {
		if bytes.Contains(disk, s) {
			t.Fatalf("%q stands on the disk in clear", s)
		}
	}
	if !bytes.Contains(disk, []byte("routing/1")) {
		t.Fatal("the search finds nothing, not even what is there")
	}
	boxKey := d.sealers.get(e.Mailbox).key
	if !bytes.Contains(disk, boxKey[:]) {
		t.Fatal("the search does not find the mailbox's key")
	}
	blobKey := blobKeyOf(t, d, "routing/1")
	if !bytes.Contains(disk, blobKey[:]) {
		t.Fatal("the search does not find the blob's key")
	}

	mustDo(t, d.Remove(t.Context(), e.Mailbox))
	mustDo(t, d.Blobs().Delete(t.Context(), "routing/1"))
	disk = folder(t, dir)
	if bytes.Contains(disk, boxKey[:]) || bytes.Contains(disk, blobKey[:]) {
		t.Fatal("the key of something deleted is still there")
	}
	old := blobKeyOf(t, d, "routing/2")
	mustDo(t, d.Blobs().Put(t.Context(), "routing/2", []byte("a routing key of tomorrow")))
	if bytes.Contains(folder(t, dir), old[:]) {
		t.Fatal("the key of a value that was replaced is still there")
	}
	if all, err := d.Peek(t.Context(), other.Mailbox, 0, 10); err != nil || len(all) != 1 {
		t.Fatalf("another mailbox holds %d, %v", len(all), err)
	}
	mustCheck(t, d)
}

func blobKeyOf(t *testing.T, d *DB, name string) (k kv.Key) {
	t.Helper()
	mustDo(t, d.view(func(tx *bbolt.Tx) error {
		var ok bool
		if k, ok = d.ring.Get(kv.KeyID(tx.Bucket(bucketBlobs).Get([]byte(name))[:16])); !ok {
			return store.ErrNotFound
		}
		return nil
	}))
	return k
}

func TestKeysThatNothingIsSealedUnderGoAtTheNextStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	d := mustOpen(t, path, Options{})
	seq := putOne(t, d, numbered(1, 8)).Seq
	putOne(t, d, numbered(2, 8))
	mustDo(t, d.Blobs().Put(t.Context(), "host", []byte("k")))
	mustDo(t, d.Ack(t.Context(), numbered(1, 8).Mailbox, []store.Seq{seq}))
	mustDo(t, d.Close())
	d = mustOpen(t, path, Options{})
	if r := mustCheck(t, d); r.Keys != 2 {
		t.Fatalf("%d keys, want one mailbox's and one blob's", r.Keys)
	}
}

func TestAMailboxThatWasRemovedBeginsWithAnotherKey(t *testing.T) {
	d := mustOpen(t, filepath.Join(t.TempDir(), "node.db"), Options{})
	putOne(t, d, numbered(1, 8))
	first := d.sealers.get(numbered(1, 8).Mailbox)
	mustDo(t, d.Remove(t.Context(), numbered(1, 8).Mailbox))
	putOne(t, d, numbered(9, 8))
	second := d.sealers.get(numbered(1, 8).Mailbox)
	if second == nil || second.id == first.id || second.key == first.key {
		t.Fatal("the key of a removed mailbox is used again")
	}
	mustCheck(t, d)
}

func TestARemovalAndAPutAtOnceLoseNothing(t *testing.T) {
	d := mustOpen(t, filepath.Join(t.TempDir(), "node.db"), Options{Quotas: wide})
	done := make(chan error)
	go func() {
		var err error
		for range 50 {
			err = errors.Join(err, d.Remove(t.Context(), store.MailboxID{0}))
		}
		done <- err
	}()
	for n := range 200 {
		if r := putOne(t, d, numbered(8*(n+1), 64)); r.Status != store.StatusStored {
			t.Fatalf("put %d: %v", n, r)
		}
	}
	mustDo(t, <-done)
	r := mustCheck(t, d) // every value opens under its mailbox's key
	all, err := d.Peek(t.Context(), store.MailboxID{0}, 0, 1000)
	mustDo(t, err)
	if len(all) != r.Envelopes {
		t.Fatalf("%d can be read, %d are there", len(all), r.Envelopes)
	}
}

func TestFilesOfAnotherKind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "node.db")
	d := mustOpen(t, path, Options{})
	putOne(t, d, numbered(1, 8))
	if _, err := Open(path, Options{LockTimeout: time.Millisecond}); !errors.Is(err, kv.ErrInUse) {
		t.Errorf("a second process: %v", err)
	}
	mustDo(t, d.Close())

	newer := filepath.Join(dir, "newer.db")
	copyStore(t, path, newer)
	f, err := kv.Open(newer, kv.Options{Format: Format + 1, Migrations: append(slices.Clone(migrations), func(*bbolt.Tx) error { return nil })})
	mustDo(t, err)
	mustDo(t, f.Close())
	if _, err := Open(newer, Options{}); !errors.Is(err, kv.ErrNewer) {
		t.Errorf("a newer format: %v", err)
	}

	mustDo(t, os.Rename(path+".keys", path+".elsewhere"))
	if _, err := Open(path, Options{}); !errors.Is(err, kv.ErrNoRing) || !strings.Contains(err.Error(), "node.db.keys") {
		t.Errorf("no key file: %v", err)
	}
	mustDo(t, os.Rename(path+".elsewhere", path+".keys"))
	d = mustOpen(t, path, Options{})
	mustCheck(t, d)

	mustDo(t, os.WriteFile(filepath.Join(dir, "lost.db.keys"), []byte(strings.Repeat("k", 500)), 0o600))
	if _, err := Open(filepath.Join(dir, "lost.db"), Options{}); !errors.Is(err, kv.ErrDamaged) {
		t.Errorf("a key file whose store is gone: %v", err)
	}
}

func TestVerifyFindsWhatDoesNotFit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "node.db")
	d := mustOpen(t, path, Options{})
	for n := 1; n < 20; n++ {
		putOne(t, d, numbered(n, 1024))
	}
	p := identity.RootFromSeed([32]byte{1})
	list, err := p.NewList(identity.DeviceFromSeed([32]byte{2}).Public(), []identity.Home{{PeerID: p.Public().PeerID(), Domain: "acme.example"}}, [32]byte{}, time.Now())
	mustDo(t, err)
	_, err = d.PutAccount(t.Context(), list)
	mustDo(t, err)
	mustDo(t, d.SetRoute(t.Context(), p.Public(), list.Devices[0].DeviceID(), store.Route{Tag: envelope.RouteTag{1}}))
	mustDo(t, d.Blobs().Put(t.Context(), "host", []byte("k")))
	mustDo(t, d.Close())

	r, err := Verify(path)
	mustDo(t, err)
	if len(r.Problems) != 0 || r.Envelopes != 19 || r.Accounts != 1 || r.Devices != 1 || r.Blobs != 1 || r.Mailboxes != 8 || r.FileBytes == 0 {
		t.Fatalf("%+v", r)
	}
	if _, err := Verify(filepath.Join(dir, "nothing.db")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("no store: %v", err)
	}

	lie := func(at int) func(tx *bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			v := bytes.Clone(tx.Bucket(bucketLog).Get(seqKey(5)))
			v[at] ^= 1
			return tx.Bucket(bucketLog).Put(seqKey(5), v)
		}
	}
	spoil := map[string]func(tx *bbolt.Tx) error{
		"a value is gone": func(tx *bbolt.Tx) error { return tx.Bucket(bucketLog).Delete(seqKey(3)) },
		"a value has changed": func(tx *bbolt.Tx) error {
			v := bytes.Clone(tx.Bucket(bucketLog).Get(seqKey(4)))
			v[len(v)-1] ^= 1
			return tx.Bucket(bucketLog).Put(seqKey(4), v)
		},
		"values have changed places": func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketLog).Put(seqKey(1), bytes.Clone(tx.Bucket(bucketLog).Get(seqKey(9))))
		},
		"a value has lost its head": func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketLog).Put(seqKey(5), bytes.Clone(tx.Bucket(bucketLog).Get(seqKey(5))[:logHeader-1]))
		},
		"a value names another size":        lie(43),
		"a value names another source":      lie(32),
		"a value names another expiry":      lie(46),
		"a value names another key":         lie(0),
		"a value names another mailbox":     lie(entrySize),
		"a value names another envelope id": lie(entrySize + 16),
		"a device is gone": func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketDevices).Delete(deviceKey(p.Public(), list.Devices[0].DeviceID()))
		},
		"a list has changed": func(tx *bbolt.Tx) error {
			root := p.Public()
			v := bytes.Clone(tx.Bucket(bucketAccounts).Get(root[:]))
			v[len(v)-1] ^= 1
			return tx.Bucket(bucketAccounts).Put(root[:], v)
		},
		"a blob has changed": func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketBlobs).Put([]byte("host"), make([]byte, 80))
		},
	}
	for what, change := range spoil {
		t.Run(what, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "node.db")
			copyStore(t, path, to)
			db, err := bbolt.Open(to, 0o600, nil)
			mustDo(t, err)
			mustDo(t, errors.Join(db.Update(change), db.Close()))
			r, err := Verify(to)
			if err != nil || len(r.Problems) == 0 {
				t.Fatalf("found nothing: %v", err)
			}
		})
	}
}

func TestADamagedFileIsReportedAndDoesNotEndTheProcess(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "node.db")
	d := mustOpen(t, path, Options{Quotas: wide})
	for n := 1; n < 300; n++ {
		putOne(t, d, numbered(n, 512))
	}
	mustDo(t, d.Close())
	whole, err := os.ReadFile(path)
	mustDo(t, err)
	page := os.Getpagesize()
	// Every page behind the two of the metadata, one after the other, becomes rubbish.
	found := 0
	for at := 2 * page; at+page <= len(whole); at += page {
		bad := bytes.Clone(whole)
		copy(bad[at:at+page], bytes.Repeat([]byte{0xA5}, page))
		to := filepath.Join(dir, "bad.db")
		copyStore(t, path, to)
		mustDo(t, os.WriteFile(to, bad, 0o600))
		r, err := Verify(to)
		if err != nil {
			t.Fatalf("page %d: %v", at/page, err)
		}
		if len(r.Problems) > 0 {
			found++
		}
	}
	if found < 10 {
		t.Fatalf("damage was found %d times in %d pages", found, len(whole)/page)
	}
}
