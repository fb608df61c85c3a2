//go:build linux

package faults

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/trunkline-net/trunkline/internal/link"
)

// breaks makes system calls of a running node fail until the returned function is called.
func (s *server) breaks(inject string) (mend func()) {
	s.t.Helper()
	strace := needTool(s.t, "strace", "strace")
	calls, _, _ := strings.Cut(inject, ":")
	cmd := exec.Command(strace, "-f", "-qqq", "-o", "/dev/null", "-p", fmt.Sprint(s.pid()), "-e", "trace="+calls, "-e", "inject="+inject)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	until(s.t, "every thread of the node is traced", func() bool {
		select {
		case err := <-ended:
			s.t.Fatalf("strace cannot hold the node: %v: %s", err, &said)
		default:
		}
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.pid()))
		if err != nil || len(tasks) == 0 {
			return false
		}
		for _, task := range tasks {
			status, err := os.ReadFile(task)
			if err == nil && !strings.Contains(string(status), fmt.Sprintf("TracerPid:\t%d\n", cmd.Process.Pid)) {
				return false
			}
		}
		return true
	})
	return func() {
		s.t.Helper()
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil { // it lets go and ends
			s.t.Fatal(err)
		}
		<-ended
	}
}

// TestWhatIsNotWrittenIsNotAcknowledged: writes and syncs of a node's disk fail for a while.
// Nothing is called stored meanwhile, the node goes on, and what it called stored before and
// after is there when it has been killed and started.
func TestWhatIsNotWrittenIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	needTool(t, "strace", "strace")
	tr, acme, globex := startTraffic(t, 6)
	tr.exchange(100)
	tr.reckon(acme, globex)

	for _, inject := range []string{"fdatasync:error=EIO", "pwrite64:error=EIO", "pwrite64:error=ENOSPC", "fdatasync:error=EIO:when=2+2"} {
		always := !strings.Contains(inject, "when")
		// What devices acknowledge while nothing can be written stays theirs to be had.
		tr.keeps(globex)
		tr.exchange(30)
		tr.settle()
		mend := globex.breaks(inject)
		tr.takes(globex)
		told := tr.refusals(link.CodeUnavailable)
		tr.exchange(30)
		if !always {
			// Every second one of each thread: how many notes that takes is the scheduler's.
			for range 100 {
				tr.settle()
				if tr.refusals(link.CodeUnavailable) > told {
					break
				}
				tr.exchange(30)
			}
		}
		until(t, inject+" is told to senders", func() bool { return tr.refusals(link.CodeUnavailable) > told })
		// Whatever is made from here on cannot be written.
		first := tr.made()
		told = tr.refusals(link.CodeUnavailable)
		tr.exchange(60)
		if always {
			until(t, inject+" is told to senders again", func() bool { return tr.refusals(link.CodeUnavailable) > told+10 })
		}
		if n := tr.storedOf(globex, first); always && n != 0 {
			t.Errorf("%s: %d notes were called stored", inject, n)
		}
		if !globex.alive() {
			t.Fatalf("%s ended the node: %s", inject, globex.logTail())
		}
		mend()
		tr.reckon(acme, globex)
	}

	// What waits on the disk now was written after all of that.
	tr.keeps(globex)
	first := tr.made()
	tr.exchange(60)
	tr.settle()
	want := tr.storedOf(globex, first)
	globex.kill()
	globex.start()
	tr.connected()
	have := 0
	for _, d := range tr.at(globex) {
		n, err := tr.waiting(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		have += n
	}
	if have != want || want == 0 {
		t.Errorf("%d notes wait after the restart, and %d were called stored", have, want)
	}
	tr.takes(globex)
	tr.reckon(acme, globex)
	if !globex.logged("store cannot be written") || !globex.logged("store can be written again") {
		t.Error("the administrator is not told")
	}
	acme.checkStore()
	globex.checkStore()
}
