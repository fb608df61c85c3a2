package sfu

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/peer"
	"github.com/trunkline-net/trunkline/media/sfu/peer/express"
	"github.com/trunkline-net/trunkline/media/sfu/track"
	"github.com/trunkline-net/trunkline/media/sfu/udp"
)

// Config of a server. Zero fields mean good defaults.
type Config struct {
	// Listen is the UDP and TCP address, host:port. Port 0 picks one that is free for both.
	Listen string
	// External are the addresses that clients reach the server under, if they are not its own.
	External []netip.Addr
	Limits   Limits
}

// Limits of the whole server. Zero fields mean the defaults.
type Limits struct {
	Rooms        int           // 1,000
	Seats        int           // 2,000
	SeatsPerRoom int           // 200
	RoomBitrate  int64         // what all publishers of a room may send together, 400 Mbit/s
	Publish      int64         // of a grant that names none, 8 Mbit/s
	Receive      int64         // of a grant that names none, 40 Mbit/s
	Resume       time.Duration // how long a seat waits for its broken path, 30 s
	// NewRooms and Joins are the parts of the measured capacity above which no room begins, and nobody joins
	// one: 0.6 and 0.8. The capacity is that of the goroutines that forward, measured while they do.
	NewRooms, Joins float64
}

func (l Limits) orDefaults() Limits {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set64 := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&l.Rooms, 1000)
	set(&l.Seats, 2000)
	set(&l.SeatsPerRoom, 200)
	set64(&l.RoomBitrate, 400_000_000)
	set64(&l.Publish, 8_000_000)
	set64(&l.Receive, 40_000_000)
	if l.Resume <= 0 {
		l.Resume = 30 * time.Second
	}
	if l.NewRooms <= 0 {
		l.NewRooms = 0.6
	}
	if l.Joins <= 0 {
		l.Joins = 0.8
	}
	return l
}

// carrier makes transports. Tests have one in memory.
type carrier interface {
	start()
	addr() netip.AddrPort
	lane() lane
	transport(l lane, r peer.Receiver, audioLevels bool) (peer.Transport, error)
	counts() express.Counts
	close() error
}

// lane is what one room's goroutine writes into, and flushes when it has nothing more to do.
type lane interface {
	Flush() error
	Release()
}

type portCarrier struct{ port *express.Port }

func (c portCarrier) start()                 { c.port.Start() }
func (c portCarrier) addr() netip.AddrPort   { return c.port.Addr() }
func (c portCarrier) lane() lane             { return c.port.Lane() }
func (c portCarrier) counts() express.Counts { return c.port.Counts() }
func (c portCarrier) close() error           { return c.port.Close() }
func (c portCarrier) transport(l lane, r peer.Receiver, audioLevels bool) (peer.Transport, error) {
	ul, ok := l.(*udp.Lane)
	if !ok {
		return nil, fmt.Errorf("sfu: a lane of type %T", l)
	}
	return c.port.New(ul, r, audioLevels), nil
}

// Server forwards. The zero value is of no use; see New.
type Server struct {
	cfg     Config
	carrier carrier
	pool    track.Pool
	counts  counters
	load    load
	ready   chan struct{} // closed when it runs

	mu      sync.Mutex // guards all below
	running bool
	ended   bool
	rooms   map[RoomKey]*room
	seats   int
	work    sync.WaitGroup // rooms and transports that are closing
}

// New validates, binds the sockets and starts nothing.
func New(cfg Config) (*Server, error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:7422"
	}
	port, err := express.Listen(express.Config{Listen: cfg.Listen, External: cfg.External})
	if err != nil {
		return nil, err
	}
	return newServer(cfg, portCarrier{port}), nil
}

func newServer(cfg Config, c carrier) *Server {
	cfg.Limits = cfg.Limits.orDefaults()
	return &Server{cfg: cfg, carrier: c, ready: make(chan struct{}), rooms: map[RoomKey]*room{}}
}

// Run serves until ctx ends, and returns when everything it started has ended.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.running || s.ended {
		s.mu.Unlock()
		return errors.New("sfu: a server runs once")
	}
	s.carrier.start()
	s.running = true
	close(s.ready)
	s.mu.Unlock()
	s.loadLoop(ctx)
	s.mu.Lock()
	s.running, s.ended = false, true
	var all []*room
	for _, r := range s.rooms {
		all = append(all, r)
	}
	s.mu.Unlock()
	for _, r := range all {
		r.post(func() { r.closeAll(ReasonShutdown) })
	}
	s.work.Wait()
	return s.carrier.close()
}

// Close releases the sockets of a server that was never run.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running || s.ended {
		return nil
	}
	s.ended = true
	return s.carrier.close()
}

// Addr is where the server listens, UDP and TCP alike.
func (s *Server) Addr() netip.AddrPort { return s.carrier.addr() }

// Join seats a participant in a room, which begins with its first one. It takes as long as an answer to the offer;
// ctx bounds that, and how long it waits for Run. The caller listens to the seat's Events from the first one on.
func (s *Server) Join(ctx context.Context, key RoomKey, g Grant, offer Description) (*Seat, Description, error) {
	o, err := parse(offer)
	if err != nil {
		return nil, Description{}, err
	}
	g = s.granted(g)
	if err := allowed(o, g); err != nil {
		return nil, Description{}, err
	}
	select {
	case <-s.ready:
	case <-ctx.Done():
		return nil, Description{}, refuse(ReasonNotRunning, "")
	}
	r, err := s.enter(key, g.Index)
	if err != nil {
		s.counts.refused.Add(1)
		return nil, Description{}, err
	}
	seat := newSeat(s, r, g)
	answer, err := seat.begin(ctx, o)
	if err != nil {
		s.counts.refused.Add(1)
		s.leave(r, g.Index)
		return nil, Description{}, err
	}
	s.counts.joins.Add(1)
	return seat, Description{SDP: answer}, nil
}

func parse(d Description) (*peer.Offer, error) {
	o, err := peer.ParseOffer(d.SDP)
	if err != nil {
		return nil, refuse(ReasonDescription, "%v", err)
	}
	return o, nil
}

func (s *Server) granted(g Grant) Grant {
	if g.MaxBitrate <= 0 {
		g.MaxBitrate = s.cfg.Limits.Publish
	}
	if g.MaxTracks <= 0 {
		g.MaxTracks = int(slots)
	}
	if g.Receive <= 0 {
		g.Receive = s.cfg.Limits.Receive
	}
	return g
}

// allowed holds an offer to its grant.
func allowed(o *peer.Offer, g Grant) error {
	sends, of := 0, [2]int{}
	for i := range o.Sections {
		sec := &o.Sections[i]
		if sec.Direction != peer.Sends {
			continue
		}
		sends++
		kind := 0
		if sec.Audio {
			kind = 1
		}
		if of[kind]++; of[kind] > 2 {
			return refuse(ReasonDescription, "more than two sending sections of one kind")
		}
		if len(sec.Codecs) == 0 {
			return refuse(ReasonDescription, "a sending section without a codec that is forwarded")
		}
	}
	if sends > 0 && !g.Publish || sends > g.MaxTracks {
		return refuse(ReasonGrant, "%d sending sections, %d are granted", sends, g.MaxTracks)
	}
	return nil
}

// enter counts a seat in a room, which begins if it has to.
func (s *Server) enter(key RoomKey, index uint16) (*room, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return nil, refuse(ReasonNotRunning, "")
	}
	r := s.rooms[key]
	limit := s.cfg.Limits.Joins
	if r == nil {
		limit = s.cfg.Limits.NewRooms
	}
	switch busy := s.load.busy(); {
	case s.seats >= s.cfg.Limits.Seats, r == nil && len(s.rooms) >= s.cfg.Limits.Rooms:
		return nil, refuse(ReasonFull, "%d seats in %d rooms", s.seats, len(s.rooms))
	case busy >= limit, r != nil && r.busy.share() >= limit:
		return nil, refuse(ReasonFull, "no head-room")
	case r != nil && r.seated >= s.cfg.Limits.SeatsPerRoom && r.taken[index] == 0: // who comes again takes its own place
		return nil, refuse(ReasonCeiling, "%d seats", r.seated)
	}
	if r == nil {
		r = newRoom(s, key)
		s.rooms[key] = r
		s.work.Go(r.loop)
	}
	r.seated++
	r.taken[index]++
	s.seats++
	return r, nil
}

// leave takes a seat out of the count; the room ends with its last one.
func (s *Server) leave(r *room, index uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seats--
	if r.taken[index]--; r.taken[index] == 0 {
		delete(r.taken, index)
	}
	if r.seated--; r.seated == 0 {
		delete(s.rooms, r.key)
		close(r.quit)
	}
}

// CloseRoom ends a room for all.
func (s *Server) CloseRoom(key RoomKey, why Reason) {
	s.mu.Lock()
	r := s.rooms[key]
	s.mu.Unlock()
	if r != nil {
		r.post(func() { r.closeAll(why) })
	}
}

// background runs f and lets Run wait for it.
func (s *Server) background(f func()) { s.work.Go(f) }

// load measures how busy the goroutines that forward are.
type load struct{ share atomic.Uint64 } // in millionths

func (l *load) busy() float64 { return float64(l.share.Load()) / 1e6 }
