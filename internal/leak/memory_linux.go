package leak

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
)

// MemorySearched says whether [Search.Memory] works on this system.
const MemorySearched = true

// Memory searches every writable mapping of the process: heap, stacks, data. Code and
// read-only files cannot hold a secret that the process received. The process goes on
// running meanwhile; pages that vanish between listing and reading are passed over, and
// at least one page must have been read.
func (s *Search) Memory(place string, pid int) error {
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return err
	}
	defer maps.Close()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return err
	}
	defer mem.Close()

	var read int64
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		var start, end uint64
		var perms string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &start, &end, &perms); err != nil {
			return fmt.Errorf("read a line of the memory map: %w", err)
		}
		if !strings.HasPrefix(perms, "rw") {
			continue
		}
		counted := &counter{r: io.NewSectionReader(mem, int64(start), int64(end-start))}
		// An unreadable mapping (a guard page, a device) ends its own section only.
		_ = s.Reader(place, counted)
		read += counted.n
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if read == 0 {
		return fmt.Errorf("no memory of process %d could be read", pid)
	}
	return nil
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
