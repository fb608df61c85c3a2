//go:build linux && race

package faults

// raced: the program under test is built with the race detector too, and what it reports
// fails the test.
const raced = true
