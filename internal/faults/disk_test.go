//go:build linux

package faults

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// disk is a small file system that only some processes see. It goes when the test does, whatever
// becomes of that: it hangs on a process that dies with it.
type disk struct {
	pid int
	dir string
}

// smallDisk mounts so many MiB in a mount namespace of its own.
func smallDisk(t *testing.T, size int) *disk {
	t.Helper()
	needRoot(t, "mount a file system")
	d := &disk{dir: t.TempDir()}
	cmd := exec.Command(needTool(t, "unshare", "util-linux"), "--mount", "sh", "-c",
		fmt.Sprintf(`mount -t tmpfs -o size=%dm faults "$0" && echo mounted && exec cat`, size), d.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, out) // it ends with its input
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "mounted\n" {
		t.Fatalf("a small disk cannot be mounted here: %q, %v", line, err)
	}
	d.pid = cmd.Process.Pid
	return d
}

// on puts a node's folder on the disk.
func (d *disk) on(t *testing.T) option {
	enter := needTool(t, "nsenter", "util-linux")
	return func(s *server) {
		s.dir, s.root = filepath.Join(d.dir, s.domain), fmt.Sprintf("/proc/%d/root", d.pid)
		s.enter = []string{enter, "--mount=" + fmt.Sprintf("/proc/%d/ns/mnt", d.pid), "--"}
	}
}

// grow makes the disk larger, as an administrator does.
func (d *disk) grow(t *testing.T, size int) {
	t.Helper()
	out, err := exec.Command(needTool(t, "nsenter", "util-linux"), "--mount=/proc/"+strconv.Itoa(d.pid)+"/ns/mnt", "--",
		"mount", "-o", fmt.Sprintf("remount,size=%dm", size), d.dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func (d *disk) free(t *testing.T) int64 {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(filepath.Join(fmt.Sprintf("/proc/%d/root", d.pid), d.dir), &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// TestAFullDiskIsAnAnswer: the disk under one node fills with what waits in its mailboxes.
// Senders are told, what is live goes on, and with room again all is taken.
func TestAFullDiskIsAnAnswer(t *testing.T) {
	t.Parallel()
	dice := dice(t)
	d := smallDisk(t, 8)
	acme, globex := newServer(t, "acme.example"), newServer(t, "globex.example", d.on(t))
	acme.trust(globex)
	globex.trust(acme)
	acme.start()
	globex.start()
	befriend(t, acme, globex)
	tr := newTraffic(t, dice, 6, acme, globex)
	tr.exchange(100)
	tr.reckon(acme, globex)

	tr.keeps(globex)
	tr.large()
	tr.local = 50
	starts, _, _ := globex.now()
	tr.exchange(300)
	until(t, "senders are told that there is no room", func() bool { return tr.refusals(link.CodeUnavailable) >= 60 })
	t.Logf("%d bytes are free, %d MiB of notes are stored", d.free(t), tr.storedOf(globex, 100)/16)
	for _, from := range []*device{tr.at(globex)[0], tr.at(acme)[0]} {
		if r, err := tr.live(from, tr.at(globex)[1]); err != nil || r.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
			t.Errorf("live, from %s: %v, %v", from.name, r, err)
		}
	}
	if text, err := get(globex.facts.HTTP + "/readyz"); err != nil {
		t.Errorf("readyz: %s, %v", text, err)
	}
	if !globex.logged("store cannot be written") || globex.metric(t, "trunkline_store_errors_total") == 0 {
		t.Error("the administrator is not told")
	}
	// But not for each envelope: the log may be on the same disk.
	log, err := os.ReadFile(globex.stderr)
	if n := bytes.Count(log, []byte("level=ERROR")); err != nil || n > tr.refusals(link.CodeUnavailable)/6 {
		t.Errorf("the log has %d errors (%v):\n%s", n, err, globex.logTail())
	}
	// A power cut in the middle of it. A node does not start on a full disk, and says why.
	globex.kill()
	if err := globex.launch(nil); err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Fatalf("a start on the full disk: %v", err)
	}

	d.grow(t, 256)
	globex.start()
	tr.takes(globex)
	tr.reckon(acme, globex)
	if now, _, _ := globex.now(); now != starts+1 || !globex.alive() {
		t.Errorf("the node did not hold out: %d starts", now)
	}
	acme.checkStore()
	globex.checkStore()
}
