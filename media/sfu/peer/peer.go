// Package peer is one client's connection as the rest of the SFU sees it: packets come and packets go. Which library
// carries them is behind [Transport], and one conformance suite (peertest) holds every implementation to it, so that
// a faster one can take the place of the first.
//
// The package also reads offers ([ParseOffer]), which every implementation needs.
package peer

import "context"

// State of a transport.
type State uint8

// The states. Broken may become Connected again, Closed is the end.
const (
	New State = iota
	Connected
	Broken // nothing comes any more; an ICE restart can mend it
	Closed
)

func (s State) String() string { return [...]string{"new", "connected", "broken", "closed"}[s] }

// Receiver takes what comes. Its methods are called from goroutines of the transport, RTP and RTCP each from one, and
// must not block: what a receiver cannot take it drops. Slices are valid during the call only.
type Receiver interface {
	// RTP takes one decrypted packet, of any source whatsoever.
	RTP(packet []byte)
	// RTCP takes one or more decrypted RTCP packets.
	RTCP(packets []byte)
	// State is told each change once, in order.
	State(State)
	// Strange is told that the client does something that a client has no reason to do, and that it was cut off
	// for it.
	Strange(what string)
}

// Outgoing is where a receiving section of the client gets its packets from.
type Outgoing struct {
	Mid    string
	SSRC   uint32
	Repair uint32 // 0: the client does not repair here
}

// Transport is one client's connection. WriteRTP and WriteRTCP are for one goroutine; the other methods for any.
type Transport interface {
	// Answer answers an offer, the first one or a later one, and returns where to write. A later offer with other
	// ICE credentials restarts ICE; sources and keys stay.
	Answer(ctx context.Context, o *Offer) (answer string, out []Outgoing, err error)
	// WriteRTP seals and sends one whole packet with a source of Outgoing. It keeps nothing of it. What cannot be
	// sent is lost, as in any network; it never blocks and is never late.
	WriteRTP(packet []byte) error
	// WriteRTCP seals and sends a compound.
	WriteRTCP(compound []byte) error
	// Close ends the connection and returns when Receiver is called no more.
	Close() error
}
