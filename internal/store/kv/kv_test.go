package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

var bucket = []byte("values")

func options() Options {
	return Options{Format: 1, Buckets: [][]byte{bucket}, LockTimeout: 100 * time.Millisecond}
}

func mustOpen(t testing.TB, path string, o Options) *File {
	t.Helper()
	f, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

func mustClose(t testing.TB, f *File) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func put(f *File, k, v string) error {
	return f.Do(context.Background(), len(v), func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put([]byte(k), []byte(v)) })
}

func get(t testing.TB, f *File, k string) string {
	t.Helper()
	var v string
	if err := f.View(func(tx *bbolt.Tx) error { v = string(tx.Bucket(bucket).Get([]byte(k))); return nil }); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestASecondProcessIsToldSo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	mustOpen(t, path, options())
	if _, err := Open(path, options()); !errors.Is(err, ErrInUse) {
		t.Fatalf("got %v", err)
	}
}

func TestAClosedFileSaysSo(t *testing.T) {
	f := mustOpen(t, filepath.Join(t.TempDir(), "x.db"), options())
	mustClose(t, f)
	if err := put(f, "k", "v"); !errors.Is(err, ErrClosed) {
		t.Errorf("Do: %v", err)
	}
	if err := f.Ask(context.Background(), func() {}); !errors.Is(err, ErrClosed) {
		t.Errorf("Ask: %v", err)
	}
	if err := f.View(func(*bbolt.Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("View: %v", err)
	}
}

func TestFormatVersions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	f := mustOpen(t, path, options())
	if err := put(f, "k", "v1"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, f)

	broken := errors.New("no such luck")
	two := options()
	two.Format = 2
	two.Migrations = []Migration{func(tx *bbolt.Tx) error {
		if err := tx.Bucket(bucket).Put([]byte("k"), []byte("half")); err != nil {
			return err
		}
		return broken
	}}
	if _, err := Open(path, two); !errors.Is(err, broken) {
		t.Fatalf("a migration that fails: %v", err)
	}
	f = mustOpen(t, path, options()) // still format 1, still whole
	if v := get(t, f, "k"); v != "v1" {
		t.Fatalf("a failed migration left %q", v)
	}
	mustClose(t, f)

	two.Migrations = []Migration{func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		return b.Put([]byte("k"), append(b.Get([]byte("k")), "→v2"...))
	}}
	for range 2 { // the second time there is nothing to do
		f = mustOpen(t, path, two)
		if v := get(t, f, "k"); v != "v1→v2" {
			t.Fatalf("migrated to %q", v)
		}
		mustClose(t, f)
	}
	if _, err := Open(path, options()); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "format 2") {
		t.Fatalf("an older program: %v", err)
	}
	if _, err := Open(path, Options{Format: 3, Migrations: two.Migrations}); err == nil {
		t.Fatal("a format without its migrations was taken")
	}
}

func TestAFileThatIsNoStoreIsRefused(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("this is not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(garbage, options()); !errors.Is(err, ErrDamaged) {
		t.Errorf("garbage: %v", err)
	}
	if err := Walk(garbage); !errors.Is(err, ErrDamaged) {
		t.Errorf("garbage: %v", err)
	}
	foreign := filepath.Join(dir, "foreign.db")
	db, err := bbolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("other program")); return err })
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(foreign, options()); !errors.Is(err, ErrDamaged) {
		t.Errorf("another program's file: %v", err)
	}
}

func TestADamagedPageIsAnErrorAndNotACrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	f := mustOpen(t, path, options())
	for i := range 300 {
		if err := put(f, fmt.Sprint(i), strings.Repeat("v", 500)); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, f)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page, found := os.Getpagesize(), 0
	for at := 2 * page; at+page <= len(whole); at += page {
		bad := append([]byte(nil), whole...)
		for i := range page {
			bad[at+i] = 0xA5
		}
		file := filepath.Join(t.TempDir(), "bad.db")
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(file, options())
		if err == nil { // a free page
			mustClose(t, f)
			continue
		}
		if !errors.Is(err, ErrDamaged) {
			t.Fatalf("page %d: %v", at/page, err)
		}
		found++
	}
	if found < 10 {
		t.Fatalf("damage was found in %d of %d pages", found, len(whole)/page)
	}
}

func TestAFileThatIsMostlyFreeIsCompactedAtTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	o := options()
	o.CompactFrom = 64 << 10
	f := mustOpen(t, path, o)
	fill := func(keep func(int) bool) {
		t.Helper()
		for i := range 64 {
			if err := put(f, fmt.Sprint(i), strings.Repeat("v", 16<<10)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 64 {
			if keep(i) {
				continue
			}
			if err := f.Do(context.Background(), 0, func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Delete([]byte(fmt.Sprint(i))) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	size := func() int64 {
		t.Helper()
		n, _, err := f.Size()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	fill(func(i int) bool { return i%4 != 0 })
	full := size()
	mustClose(t, f)
	f = mustOpen(t, path, o)
	if size() < full {
		t.Fatal("compacted although most of it was in use")
	}
	fill(func(i int) bool { return i == 5 })
	mustClose(t, f)
	if err := os.WriteFile(path+".compact", []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	f = mustOpen(t, path, o)
	if after := size(); after > full/4 {
		t.Fatalf("%d of %d bytes are left", after, full)
	}
	if v := get(t, f, "5"); len(v) != 16<<10 {
		t.Fatal("a value is gone")
	}
	if _, err := os.Stat(path + ".compact"); !os.IsNotExist(err) {
		t.Fatalf("the copy is still there: %v", err)
	}
	if _, err := Open(path, o); !errors.Is(err, ErrInUse) {
		t.Fatalf("the compacted file is not locked: %v", err)
	}
	if err := put(f, "new", "v"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
}

func TestInspectChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	f := mustOpen(t, path, options())
	if err := put(f, "k", "v"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, f)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	o := options()
	o.Inspect, o.CompactFrom = true, 1
	f = mustOpen(t, path, o)
	mustClose(t, f)
	if err := Walk(path); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Fatalf("the file has changed, %v", err)
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add([]byte{}, uint8(0))
	f.Add(NewEncoder(64).U8(1).Bool(true).U32(2).U64(3).Text("four").Blob([]byte{5}).Time(time.Unix(6, 0)).Bytes(), uint8(9))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255}, uint8(0b10101010))
	f.Fuzz(func(t *testing.T, b []byte, script uint8) {
		d := NewDecoder(b)
		read := 0
		for i := range 8 {
			if script>>i&1 == 0 {
				read += len(d.Blob())
			} else {
				read += len(d.Text())
			}
		}
		if read > len(b) {
			t.Fatalf("%d bytes out of %d", read, len(b))
		}
		if n := d.Count(); n > len(b) {
			t.Fatalf("%d elements in %d bytes", n, len(b))
		}
		at := d.Time()
		if d.Err() == nil && !at.IsZero() && Milli(at) != uint64(at.UnixMilli()) {
			t.Fatalf("a time that would not be written: %v", at)
		}
		d.Bool()
		d.Raw(make([]byte, 3))
		d.Rest()
		if err := d.Done(); err != nil && !errors.Is(err, ErrValue) {
			t.Fatal(err)
		}
	})
}

func TestTimesThatStrangersChooseCanBeReadAgain(t *testing.T) {
	for _, at := range []time.Time{{}, time.Unix(0, 0), time.Unix(-1e9, 0), time.Unix(1<<50, 0), time.UnixMilli(1763640000123)} {
		d := NewDecoder(NewEncoder(8).Time(at).Bytes())
		got := d.Time()
		if err := d.Done(); err != nil {
			t.Errorf("%v: %v", at, err)
		}
		if at.IsZero() != got.IsZero() {
			t.Errorf("%v became %v", at, got)
		}
	}
	if d := NewDecoder(binary.BigEndian.AppendUint64(nil, maxMilli+1)); !d.Time().IsZero() || d.Done() == nil {
		t.Error("a year beyond 9999 was taken")
	}
}
