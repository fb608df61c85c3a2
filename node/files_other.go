//go:build !unix

package node

// fileLimit is how many descriptors this process may have; 0 when the system does not say.
func fileLimit() uint64 { return 0 }
