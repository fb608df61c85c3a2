package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// clockSynchronised asks the kernel whether something keeps its clock right. known is false
// where it does not say.
func clockSynchronised() (synchronised, known bool) {
	var t syscall.Timex
	state, err := syscall.Adjtimex(&t)
	const timeError = 5 // TIME_ERROR: the clock is not synchronised
	return state != timeError, err == nil
}

// udpBuffer is how large a receive buffer the kernel lets a program have.
func udpBuffer() (bytes int64, known bool) {
	b, err := os.ReadFile("/proc/sys/net/core/rmem_max")
	if err != nil {
		return 0, false
	}
	bytes, err = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return bytes, err == nil
}
