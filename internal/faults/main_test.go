//go:build linux

package faults

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// What a run does. The defaults are the short form; "make faults" sets the long one.
var (
	kills = flag.Int("kills", short(12, 4), "how often a node is killed")
	notes = flag.Int("notes", short(2500, 500), "how many notes are exchanged meanwhile")
	seed  = flag.Uint64("seed", 0, "what is drawn from; 0 draws one and prints it")
	away  = flag.Duration("away", 10*time.Second, "how long a partner is down")
)

// short is the default of a short run, which is shorter with the race detector.
func short(plain, race int) int {
	if raced {
		return race
	}
	return plain
}

// program is the binary under test, built once for all tests.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "faults")
		if err == nil {
			defer os.RemoveAll(dir)
			program = filepath.Join(dir, "trunkline")
			err = build()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

func build() error {
	args := []string{"build", "-buildvcs=false", "-o", program}
	if raced {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "github.com/trunkline-net/trunkline/cmd/trunkline")...)
	cmd.Env = os.Environ()
	if !raced {
		cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("build the program: %w", err), errors.New(string(out)))
	}
	return nil
}

// wait is how long a test waits for something that must come. It is never a measure, and a
// machine that is busy with other things makes everything slow.
const wait = 90 * time.Second

// dice draws for one test, from the seed of the run.
func dice(t *testing.T) *rand.Rand {
	t.Helper()
	s := *seed
	if s == 0 {
		s = rand.Uint64N(1 << 32)
	}
	t.Logf("seed %d (again: go test ./internal/faults -run '^%s$' -seed %d)", s, t.Name(), s)
	return rand.New(rand.NewPCG(s, 1))
}

// needRoot skips what only root may do, and says what that is.
func needRoot(t *testing.T, what string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("only root may %s: run this as root to have it tested", what)
	}
}

// needTool finds a program. One that is missing is a failure and not a skip: a test that does
// not run would look like one that passed.
func needTool(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is needed and is not here; \"make test\" installs it where apt can (Debian: apt-get install %s)", name, pkg)
	}
	return path
}

// until asks again and again for what nothing announces.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(wait)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}
