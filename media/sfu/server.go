package sfu

import (
	"context"
	"net/netip"
)

// Config of a server. Zero fields mean good defaults.
type Config struct {
	// Listen is the UDP and TCP address, host:port. Port 0 picks one that is free for both.
	Listen string
	// External are the addresses that clients reach the server under, if they are not its own.
	External []netip.Addr
	// AudioLevels lets clients send the level of their sound in clear (RFC 6464), from which the server then
	// tells who speaks. In encrypted rooms clients say so themselves ([Seat.Speaking]).
	AudioLevels bool
	Limits      Limits
}

// Limits of the whole server. Zero fields mean the defaults.
type Limits struct {
	Rooms        int
	SeatsPerRoom int
	Seats        int
	RoomBitrate  int64 // bit/s of all publishers of one room
}

// Server forwards. The zero value is of no use; see New.
type Server struct{ cfg Config }

// New validates, binds the sockets and starts nothing.
func New(cfg Config) (*Server, error) { return &Server{cfg: cfg}, nil }

// Run serves until ctx ends, and returns when everything it started has ended.
func (s *Server) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Addrs is where the server listens, UDP and TCP alike.
func (s *Server) Addrs() []netip.AddrPort { return nil }

// Join seats a participant in a room, which begins with its first one.
func (s *Server) Join(ctx context.Context, room RoomKey, g Grant, offer Description) (*Seat, Description, error) {
	return nil, Description{}, refuse(ReasonNotRunning, "")
}

// CloseRoom ends a room for all.
func (s *Server) CloseRoom(room RoomKey, why Reason) {}

// Stats counts; it names nobody.
func (s *Server) Stats() Stats { return Stats{} }

// Stats are counts of the whole server.
type Stats struct{ Rooms, Seats int64 }

// Seat is one participant's leg. Its methods may be called from any goroutine.
type Seat struct{ id uint16 }

// ID is the participant's index in its room.
func (s *Seat) ID() uint16 { return s.id }

// Renegotiate answers another offer: more sections, fewer directions, or an ICE restart, which is how a client
// resumes after its path broke. Subscriptions stay.
func (s *Seat) Renegotiate(ctx context.Context, offer Description) (Description, error) {
	return Description{}, refuse(ReasonNotRunning, "")
}

// Want replaces what the participant receives.
func (s *Seat) Want(w Wants) error { return refuse(ReasonNotRunning, "") }

// Speaking is how clients of encrypted rooms say that their person speaks or has stopped.
func (s *Seat) Speaking(on bool) {}

// Events has everything that happens to the seat, Closed last; then it is closed. Whoever does not take 256
// events loses the seat.
func (s *Seat) Events() <-chan Event { return nil }

// Close ends the seat.
func (s *Seat) Close(why Reason) {}
