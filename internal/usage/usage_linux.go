// Package usage reads what a process uses, from the kernel's own accounting: processor time and memory. Benchmarks
// measure other processes with it. [CPU] and [MemoryOf] are all there is; only Linux tells.
package usage

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Clock says where processor time comes from.
const Clock = "clock_gettime on the process's CPU clock: nanoseconds of all its threads, ended ones too"

// CPU is the processor time that a process has used, user and system. The kernel counts it
// at each switch of a thread, to the nanosecond; utime and stime in /proc/PID/stat are the same
// sum in hundredths of a second.
func CPU(pid int) (time.Duration, error) {
	// The clock of another process is its number, inverted, over three bits that ask for the
	// scheduler's count of a whole process (CPUCLOCK_SCHED); see clock_getcpuclockid(3).
	const scheduler = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|scheduler, &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// Memory is what a process holds in RAM, in bytes.
type Memory struct{ Resident, Anonymous int64 }

// MemoryOf reads VmRSS, and the part of it that is no file in the page cache.
func MemoryOf(pid int) (Memory, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	var m Memory
	for line := range strings.Lines(string(b)) {
		name, rest, _ := strings.Cut(line, ":")
		number, _ := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		into := map[string]*int64{"VmRSS": &m.Resident, "RssAnon": &m.Anonymous}[name]
		if into == nil {
			continue
		}
		kib, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return Memory{}, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		*into = kib << 10
	}
	if m.Resident == 0 {
		return Memory{}, fmt.Errorf("memory of process %d: none is told", pid)
	}
	return m, nil
}

// Supported says whether this system tells what the benchmark asks.
const Supported = true

// Load is the system's load average of the last minute; 0 if it does not tell.
func Load() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return v
}
