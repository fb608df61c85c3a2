package kv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func mustRing(t *testing.T) (*Keyring, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.keys")
	r, err := NewRing(path)
	if err != nil {
		t.Fatal(err)
	}
	return r, path
}

func mustEnsure(t *testing.T, r *Keyring, id KeyID) Key {
	t.Helper()
	k, err := r.Ensure(id)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestADroppedKeyIsInNoFileAnyMore(t *testing.T) {
	r, path := mustRing(t)
	kept, gone := mustEnsure(t, r, KeyID{1}), mustEnsure(t, r, KeyID{2})
	mustDo(t, r.Flush())
	late := mustEnsure(t, r, KeyID{3})
	mustDo(t, r.Flush())
	old, err := os.Open(path) // a second name for the file that Drop replaces
	mustDo(t, err)
	mustDo(t, r.Drop(KeyID{2}, KeyID{9}))
	mustDo(t, r.Drop(KeyID{2}))

	files, err := os.ReadDir(filepath.Dir(path))
	mustDo(t, err)
	if len(files) != 1 {
		t.Fatalf("%d files", len(files))
	}
	b, err := os.ReadFile(path)
	mustDo(t, err)
	left := new(bytes.Buffer)
	_, err = left.ReadFrom(old)
	mustDo(t, errors.Join(err, old.Close()))
	if bytes.Contains(b, gone[:]) || bytes.Contains(left.Bytes(), gone[:]) {
		t.Fatal("the dropped key is still there")
	}
	if !bytes.Contains(b, kept[:]) {
		t.Fatal("the search finds nothing, not even what is there")
	}
	again, err := OpenRing(path, r.ID())
	mustDo(t, err)
	if k, ok := again.Get(KeyID{1}); !ok || k != kept {
		t.Error("a kept key is gone")
	}
	if k, ok := again.Get(KeyID{3}); !ok || k != late {
		t.Error("a late key is gone")
	}
	if _, ok := again.Get(KeyID{2}); ok || again.Len() != 2 {
		t.Error("the dropped key came back")
	}
	info, err := os.Stat(path)
	mustDo(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestATornAppendCostsOnlyWhatWasNeverAcknowledged(t *testing.T) {
	r, path := mustRing(t)
	kept := mustEnsure(t, r, KeyID{1})
	mustDo(t, r.Flush())
	whole, err := os.ReadFile(path)
	mustDo(t, err)
	mustEnsure(t, r, KeyID{2})
	mustEnsure(t, r, KeyID{3})
	mustDo(t, r.Flush())
	all, err := os.ReadFile(path)
	mustDo(t, err)
	for n := len(whole); n < len(all); n++ {
		mustDo(t, os.WriteFile(path, all[:n], 0o600))
		again, err := OpenRing(path, r.ID())
		mustDo(t, err)
		if k, ok := again.Get(KeyID{1}); !ok || k != kept {
			t.Fatalf("cut at %d: an earlier key is gone", n)
		}
		// Appending behind the torn end would lose what is appended.
		added := mustEnsure(t, again, KeyID{4})
		mustDo(t, again.Flush())
		third, err := OpenRing(path, r.ID())
		mustDo(t, err)
		if k, ok := third.Get(KeyID{4}); !ok || k != added {
			t.Fatalf("cut at %d: a key that was added later is gone", n)
		}
	}
}

func TestAKeyFileBelongsToItsStore(t *testing.T) {
	r, path := mustRing(t)
	if _, err := OpenRing(path, KeyID{1}); !errors.Is(err, ErrDamaged) {
		t.Errorf("of another store: %v", err)
	}
	if _, err := OpenRing(path+"x", r.ID()); !errors.Is(err, ErrNoRing) {
		t.Errorf("missing: %v", err)
	}
	mustEnsure(t, r, KeyID{1})
	mustDo(t, r.Flush())
	if _, err := NewRing(path); !errors.Is(err, ErrDamaged) {
		t.Errorf("a new store over somebody's keys: %v", err)
	}
	mustDo(t, os.WriteFile(path, []byte("something else, and long enough to be one"), 0o600))
	if _, err := OpenRing(path, r.ID()); !errors.Is(err, ErrDamaged) {
		t.Errorf("no key file: %v", err)
	}
}

func TestRetainDropsWhatNothingNeeds(t *testing.T) {
	r, path := mustRing(t)
	for i := range byte(10) {
		mustEnsure(t, r, KeyID{i})
	}
	mustDo(t, r.Retain(func(id KeyID) bool { return id[0] < 3 }))
	again, err := OpenRing(path, r.ID())
	mustDo(t, err)
	if again.Len() != 3 {
		t.Fatalf("%d keys", again.Len())
	}
}

func TestSpareKeysAreInTheFileBeforeAnyoneDrawsThem(t *testing.T) {
	r, path := mustRing(t)
	size := func() int64 {
		info, err := os.Stat(path)
		mustDo(t, err)
		return info.Size()
	}
	seen := make(map[Key]bool)
	writes, at := 0, size()
	for range 500 {
		id, k, err := r.Draw()
		mustDo(t, err)
		if seen[k] {
			t.Fatal("a key twice")
		}
		seen[k] = true
		mustDo(t, r.Flush())
		if n := size(); n != at {
			writes, at = writes+1, n
		}
		again, err := OpenRing(path, r.ID())
		mustDo(t, err)
		if got, ok := again.Get(id); !ok || got != k {
			t.Fatal("a key that was flushed is not in the file")
		}
	}
	if writes > 10 {
		t.Fatalf("the file was written %d times for 500 keys", writes)
	}
	before := r.Len()
	mustDo(t, r.Retain(func(KeyID) bool { return false }))
	if before <= 500 || r.Len() != 0 {
		t.Fatalf("%d keys, then %d", before, r.Len())
	}
	id, k, err := r.Draw() // none of those that have gone
	mustDo(t, err)
	if got, ok := r.Get(id); !ok || got != k || seen[k] {
		t.Fatal("a spare key that was dropped was handed out")
	}
}

func TestAFlushThatFailsHandsOutNoSpareKeys(t *testing.T) {
	r, path := mustRing(t)
	id, k, err := r.Draw()
	mustDo(t, err)
	away := filepath.Join(t.TempDir(), "away")
	mustDo(t, os.Rename(filepath.Dir(path), away))
	for range 5 {
		if err := r.Flush(); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
	}
	if r.Len() != 1 {
		t.Fatalf("%d keys are left of flushes that failed", r.Len())
	}
	mustDo(t, os.Rename(away, filepath.Dir(path)))
	mustDo(t, r.Flush())
	again, err := OpenRing(path, r.ID())
	mustDo(t, err)
	if got, ok := again.Get(id); !ok || got != k || again.Len() < minStock {
		t.Fatalf("%d keys after the flush that succeeded", again.Len())
	}
}

func TestSealAndUnseal(t *testing.T) {
	k := Key{1}
	box, err := Seal([]byte("head"), k, []byte("plain"), []byte("place"))
	mustDo(t, err)
	if !bytes.HasPrefix(box, []byte("head")) || bytes.Contains(box, []byte("plain")) || len(box) != 4+5+Overhead {
		t.Fatalf("box of %d bytes", len(box))
	}
	box = box[4:]
	plain, err := Unseal(k, box, []byte("place"))
	if err != nil || string(plain) != "plain" {
		t.Fatalf("%q, %v", plain, err)
	}
	flipped := bytes.Clone(box)
	flipped[30] ^= 1
	for name, try := range map[string]func() ([]byte, error){
		"another key":   func() ([]byte, error) { return Unseal(Key{2}, box, []byte("place")) },
		"another place": func() ([]byte, error) { return Unseal(k, box, []byte("elsewhere")) },
		"a flipped bit": func() ([]byte, error) { return Unseal(k, flipped, []byte("place")) },
		"cut":           func() ([]byte, error) { return Unseal(k, box[:Overhead-1], []byte("place")) },
	} {
		if _, err := try(); !errors.Is(err, ErrValue) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	k := Key{0xAB, 0xCD}
	for _, verb := range []string{"%v", "%s", "%+v", "%#v"} {
		if got := fmt.Sprintf(verb, k); got != "[redacted]" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}

func FuzzParseRing(f *testing.F) {
	header := append([]byte(ringMagic), make([]byte, 16)...)
	f.Add([]byte{})
	f.Add(header)
	one := appendRecord(bytes.Clone(header), KeyID{1}, Key{2})
	f.Add(one)
	f.Add(one[:len(one)-1])
	f.Add(appendRecord(one, KeyID{3}, Key{4}))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, keys, torn, err := parseRing(b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if len(keys)*ringRecord+ringHeader > len(b) {
			t.Fatal("more keys than fit")
		}
		again := append([]byte(ringMagic), id[:]...)
		for id, k := range keys {
			again = appendRecord(again, id, k)
		}
		_, keys2, torn2, err := parseRing(again)
		if err != nil || torn2 || len(keys2) != len(keys) {
			t.Fatalf("written again: %v", err)
		}
		if !torn && len(again) > len(b) {
			t.Fatal("a whole file grew")
		}
	})
}
