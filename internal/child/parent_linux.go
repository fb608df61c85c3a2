package child

import (
	"os/exec"
	"syscall"
)

// dieWithParent: when the parent is killed, so that it cannot stop its children, the system does.
// The signal comes when the thread that starts the child ends; the runtime ends threads only
// with a goroutine that is locked to one, and this program locks none.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
