//go:build !race

package client_test

// full is how many people are in the large room.
const full = 30
