//go:build race

package client_test

// full is how many people are in the large room: with the race detector thirty people's media and keys need more
// processor time than a test may take, and it looks for races, which ten people have as well.
const full = 10
