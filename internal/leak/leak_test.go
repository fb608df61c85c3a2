package leak

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestASecretIsFoundWhereItLies(t *testing.T) {
	t.Parallel()
	needle := Needle{Name: "marker", Forms: [][]byte{[]byte("planted-marker-7c1")}}
	other := Needle{Name: "absent", Forms: [][]byte{[]byte("never-written-anywhere")}}
	s, err := New([]Needle{needle, other})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	body := append(bytes.Repeat([]byte{'x'}, 1<<20-5), []byte("planted-marker-7c1 tail")...)
	if err := os.WriteFile(filepath.Join(dir, "store"), body, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Dir("disk", dir); err != nil {
		t.Fatal(err)
	}
	s.Bytes("log", []byte("nothing here"))
	found := s.Found()
	if len(found) != 1 || len(found["marker"]) != 1 || found["marker"][0] != "disk" {
		t.Fatalf("found %v, want the marker on disk only", found)
	}
}

func TestMemoryOfAnotherProcessIsSearched(t *testing.T) {
	t.Parallel()
	if !MemorySearched {
		t.Log("memory is searched on Linux only")
		return
	}
	// The child's environment lies in its writable memory: a secret on purpose.
	child := exec.Command("sleep", "60")
	child.Env = append(os.Environ(), "MARKER=planted-in-a-child-52d0")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	s, err := New([]Needle{
		{Name: "planted", Forms: [][]byte{[]byte("planted-in-a-child-52d0")}},
		{Name: "absent", Forms: [][]byte{[]byte("was-never-in-that-child")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Memory("memory", child.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if found := s.Found(); len(found) != 1 || len(found["planted"]) != 1 {
		t.Fatalf("found %v, want only the planted marker", found)
	}
}

func TestShortOrMissingNeedlesAreRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range [][]Needle{nil, {{Name: "x"}}, {{Name: "x", Forms: [][]byte{[]byte("short")}}}} {
		if _, err := New(bad); err == nil {
			t.Errorf("New(%v) was accepted", bad)
		}
	}
}
