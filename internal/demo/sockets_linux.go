package demo

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ownAddresses lists the addresses of this process's UDP sockets as text: where a person can
// be reached without a relay. The other side's node must never learn them.
func ownAddresses() ([]string, error) {
	mine := make(map[string]bool)
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		target, err := os.Readlink(l)
		if err != nil {
			continue // closed between listing and reading
		}
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			mine[strings.TrimSuffix(inode, "]")] = true
		}
	}
	table, err := os.Open("/proc/self/net/udp")
	if err != nil {
		return nil, err
	}
	defer table.Close()
	var out []string
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || !mine[fields[9]] {
			continue
		}
		_, hexPort, ok := strings.Cut(fields[1], ":")
		if !ok {
			continue
		}
		port, err := strconv.ParseUint(hexPort, 16, 16)
		if err != nil {
			return nil, err
		}
		out = append(out, fmt.Sprintf("127.0.0.1:%d", port))
	}
	return out, lines.Err()
}
