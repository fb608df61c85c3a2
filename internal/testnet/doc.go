// Package testnet is the simulation: real nodes with real clients in one process, in virtual
// time, on a network and on disks that fail as a seed says. It has no code of its own; all of
// it is tests. Start with TestSimulation, which "make sim" runs for as long as one likes.
//
// A run draws from its seed how many nodes and people there are, who sends what to whom and
// when, and which faults come when: packets that are lost, doubled, late or overtaken, lines
// that are cut in one or both directions, nodes and clients that lose their power in the
// middle of a write, clocks that jump, people who stop reading, and some who lie. Everything
// that people send, hear and get is written to a history outside of the nodes. When the faults
// have ended and time has passed, the checker reads the history: what was acknowledged has
// arrived at its device and no other, or has expired in its time, or its sender knows that it
// was refused; and what nobody but the two ends may read was nowhere to be read.
//
// # What a seed repeats
//
// The schedule of faults and of the work, every key and every random number that crypto/rand
// gives come from the seed, and time is virtual. What it cannot repeat is which of several
// goroutines goes first at one moment of virtual time, nor the random numbers that libraries
// take from the runtime itself (select, maps, math/rand): the first packet that goes another
// way than before leads elsewhere. So a seed that has failed fails again often, and not
// always; -sim.repeat runs it as often as wanted. Runs go on one processor for that reason,
// unless -sim.procs says otherwise.
//
// # What is not simulated
//
// The federation runs over QUIC only, because libp2p has no simulated TCP; the relay for media
// does not run, because its sockets are not in virtual time. The power is cut at a commit of
// the database or between two, not in the middle of the writes of other files, which are made
// once, when a node first starts. The pages of a commit arrive or do not arrive whole, except
// for the last one, which is also torn.
package testnet
