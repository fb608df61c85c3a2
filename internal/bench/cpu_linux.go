package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuClock says where processor time comes from.
const cpuClock = "clock_gettime on the process's CPU clock: nanoseconds of all its threads, ended ones too"

// cpuOf is the processor time that a process has used, user and system. The kernel counts it
// at each switch of a thread, to the nanosecond; utime and stime in /proc/PID/stat are the same
// sum in hundredths of a second.
func cpuOf(pid int) (time.Duration, error) {
	// The clock of another process is its number, inverted, over three bits that ask for the
	// scheduler's count of a whole process (CPUCLOCK_SCHED); see clock_getcpuclockid(3).
	const scheduler = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|scheduler, &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// memory is what a process holds in RAM, in bytes.
type memory struct{ resident, anonymous int64 }

// memoryOf reads VmRSS, and the part of it that is no file in the page cache.
func memoryOf(pid int) (memory, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	var m memory
	for line := range strings.Lines(string(b)) {
		name, rest, _ := strings.Cut(line, ":")
		number, _ := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		into := map[string]*int64{"VmRSS": &m.resident, "RssAnon": &m.anonymous}[name]
		if into == nil {
			continue
		}
		kib, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return memory{}, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		*into = kib << 10
	}
	if m.resident == 0 {
		return memory{}, fmt.Errorf("memory of process %d: none is told", pid)
	}
	return m, nil
}

// supported says whether this system tells what the benchmark asks.
const supported = true

// load is the system's load average of the last minute; 0 if it does not tell.
func load() float64 {
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
