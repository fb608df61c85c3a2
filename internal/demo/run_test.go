package demo

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWithoutAFolderNothingIsStarted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", file)
	r, err := Run(t.Context(), Options{Binary: file})
	if !errors.Is(err, ErrNoFolder) || r.OK || r.Error == "" {
		t.Errorf("a demo without a folder ended with %v and %+v", err, r)
	}
	out, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "null") {
		t.Errorf("a list of the report is null: %s", out)
	}
}

func TestAnInterruptedDemoLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(ctx, Options{Binary: binary})
	if !errors.Is(err, context.Canceled) || r.Error != "interrupted" {
		t.Errorf("it ended with %v, and the report says %q", err, r.Error)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("it left %v", left)
	}
}

func TestAFolderInUseIsNotTouched(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), Options{Keep: dir}); err == nil {
		t.Error("a folder that is not empty was taken")
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 {
		t.Errorf("the folder holds %v now", left)
	}
}
