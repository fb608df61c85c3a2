//go:build !linux

package child

import "os/exec"

// dieWithParent does nothing where the system offers nothing for it.
func dieWithParent(*exec.Cmd) {}
