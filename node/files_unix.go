//go:build unix

package node

import "syscall"

// fileLimit is how many descriptors this process may have; 0 when the system does not say.
func fileLimit() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return uint64(l.Cur)
}
