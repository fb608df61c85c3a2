//go:build linux || darwin

package bench

import "syscall"

// fileLimit is how many files this process may have open, and its children too.
func fileLimit() (limit uint64, known bool) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0, false
	}
	return r.Cur, true
}
