//go:build !linux

package demo

// ownAddresses needs /proc, which only Linux has.
func ownAddresses() ([]string, error) { return nil, nil }
