// Package faults does to real nodes what machines do to them: it kills them, stops them, fills
// their disk, breaks their writes, takes their descriptors and their memory away, cuts them
// off and restarts them, while clients exchange envelopes through them.
//
// It has nothing but tests. Each starts the program as people use it, in processes of its own,
// and keeps the ledger in the test's process: what was handed in, what was answered, what came
// out. Nothing that a node acknowledged may be missing, with the wrong device, or twice with
// the application. "make faults" runs the long campaign; the short one is part of every test
// run.
package faults
