//go:build !linux

package demo

import "os/exec"

// dieWithParent does nothing where the system offers nothing for it.
func dieWithParent(*exec.Cmd) {}
