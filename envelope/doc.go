// Package envelope is what travels between devices and the envelope around it: the hop
// that only the destination node opens, the sealed and signed message inside, the ring
// and its answer, the session frames that follow, and the oblivious query.
//
// A sender starts with [ParseBundle] and [SealMessage] and wraps the result with
// [NewEnvelope]; a device starts with [Opener.Open]. A node needs only [Parse],
// [RoutingKey.OpenHop] and [RoutingKey.OpenQuery]. A call starts with [NewRing] and
// [AnswerRing]; [OutgoingCall] and [IncomingCall] say what to do next.
//
// The package does no I/O, starts no goroutine and reads no clock that was not given to
// it. It never answers a bad message, never says to the outside why one was dropped, and
// never prints a key, a token, a tag or an id. The normative text is docs/spec/envelope.md
// and docs/spec/session.md.
package envelope
