//go:build unix

package bolt

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/trunkline-net/trunkline/internal/store"
)

// The real thing: the operating system refuses to let the file grow. The limit is of the
// process, so this runs in one of its own.
func TestAWriteThatTheSystemRefusesIsAnAnswer(t *testing.T) {
	if os.Getenv("TRUNKLINE_TEST_FILE_LIMIT") == "" {
		exe, err := os.Executable()
		mustDo(t, err)
		cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), "TRUNKLINE_TEST_FILE_LIMIT=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("refused and recovered")) {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	d := mustOpen(t, filepath.Join(t.TempDir(), "node.db"), Options{Quotas: wide})
	putOne(t, d, numbered(8, 1024))
	var old syscall.Rlimit
	mustDo(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
	mustDo(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 256 << 10, Max: old.Max}))
	refused := 0
	for n := 2; n < 40; n++ {
		if _, err := d.Put(t.Context(), []store.Envelope{numbered(8*n, 65536)}); errors.Is(err, store.ErrUnavailable) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if refused == 0 {
		t.Fatal("nothing was refused")
	}
	mustCheck(t, d)
	mustDo(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old))
	for n := 50; n < 60; n++ {
		putOne(t, d, numbered(8*n, 65536))
	}
	mustCheck(t, d)
	t.Log("refused and recovered")
}
