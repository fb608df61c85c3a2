//go:build !linux

package leak

import "errors"

// MemorySearched says whether [Search.Memory] works on this system.
const MemorySearched = false

// Memory needs /proc, which only Linux has.
func (s *Search) Memory(place string, pid int) error {
	return errors.New("leak: the memory of another process can be searched on Linux only")
}
