package turn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/media"
)

// Server is one relay.
type Server struct {
	realm        string
	quotas       Quotas
	strictExpiry bool
	log          *slog.Logger
	now          func() time.Time
	ownAddrs     func() []netip.AddrPort
	interfaces   func() ([]netip.Addr, error)
	denyPorts    map[uint16]bool
	nat64        []netip.Prefix

	strangerTime, leastLifetime time.Duration

	external4, external6 netip.Addr // advertised; invalid: the family is not served
	bind4, bind6         netip.Addr

	udp     *net.UDPConn
	tcp     *tcpSide
	addr    netip.AddrPort
	control *control

	keys      *keyring
	nonces    *nonces
	strangers *strangers
	ledger    *ledger
	ports     *ports
	count     counters
	rules     atomic.Pointer[peerRules]
	reload    sync.Mutex // one builder of rules at a time; nothing else is locked before it

	draining atomic.Bool
	ran      atomic.Bool
	stopping chan struct{}
	running  sync.WaitGroup // goroutines of connections and relays
	lastID   atomic.Uint64

	mu       sync.RWMutex // guards what follows
	byClient map[tuple]*allocation
	byRelay  map[netip.AddrPort]*allocation
	stopped  bool
	empty    chan struct{} // closed when the last allocation has gone while draining; nil: nobody waits
}

// New checks the configuration and binds the sockets, so that Addr is known. Nothing is served before Run; a server
// that never runs is closed with Close.
func New(c Config) (*Server, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Interfaces == nil {
		c.Interfaces = systemInterfaces
	}
	if c.OwnAddrs == nil {
		c.OwnAddrs = func() []netip.AddrPort { return nil }
	}
	if c.PortMin == 0 {
		c.PortMin, c.PortMax = defaultPortMin, defaultPortMax
	}
	if c.DenyPorts == nil {
		c.DenyPorts = defaultDenyPorts
	}
	if c.strangerTime == 0 {
		c.strangerTime = strangerTime
	}
	if c.leastLifetime == 0 {
		c.leastLifetime = defaultLifetime
	}
	now := c.Clock()
	s := &Server{
		strangerTime: c.strangerTime, leastLifetime: c.leastLifetime,
		realm: c.Realm, quotas: c.Quotas.withDefaults(), strictExpiry: c.StrictExpiry, log: c.Logger, now: c.Clock,
		ownAddrs: c.OwnAddrs, interfaces: c.Interfaces, denyPorts: map[uint16]bool{}, nat64: slices.Clone(c.NAT64),
		control: newControl(), keys: newKeyring(now), nonces: newNonces(now), strangers: newStrangers(),
		ports: newPorts(c.PortMin, c.PortMax), stopping: make(chan struct{}),
		byClient: map[tuple]*allocation{}, byRelay: map[netip.AddrPort]*allocation{},
	}
	s.ledger = newLedger(s.quotas)
	for _, port := range c.DenyPorts {
		s.denyPorts[port] = true
	}
	local, err := c.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("read this machine's addresses: %w", err)
	}
	if err := s.choose(c, local); err != nil {
		return nil, err
	}
	if err := s.listen(c.Listen); err != nil {
		return nil, err
	}
	s.rules.Store(s.buildRules(slices.Clone(c.AllowPeers), local))
	return s, nil
}

// listen binds UDP and TCP to one port.
func (s *Server) listen(listen string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	suffix := ""
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is4() {
		suffix = "4" // 0.0.0.0 alone would also take IPv6
	}
	for attempt := 0; ; attempt++ {
		l, err := net.Listen("tcp"+suffix, listen)
		if err != nil {
			return fmt.Errorf("turn: %w", err)
		}
		bound := l.Addr().(*net.TCPAddr)
		u, err := net.ListenPacket("udp"+suffix, net.JoinHostPort(host, strconv.Itoa(bound.Port)))
		if err != nil {
			l.Close()
			if port == "0" && attempt < 16 { // that port was free for TCP only
				continue
			}
			return fmt.Errorf("turn: %w", err)
		}
		s.udp = u.(*net.UDPConn)
		s.tcp = newTCPSide(s, l.(*net.TCPListener))
		s.addr = netip.AddrPortFrom(bound.AddrPort().Addr().Unmap(), uint16(bound.Port))
		break
	}
	// All clients share one socket; a burst of theirs should wait in it rather than be lost. The system may grant
	// less, which is no error.
	if err := errors.Join(s.udp.SetReadBuffer(4<<20), s.udp.SetWriteBuffer(4<<20)); err != nil {
		s.log.Debug("turn: socket buffers stay at the system's default")
	}
	return nil
}

// Addr is where the relay listens, for UDP and TCP.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// URLs are the addresses a client is given. host is a name or an address; empty: the advertised address.
func (s *Server) URLs(host string) []string {
	if host == "" {
		host = s.external4.String()
		if !s.external4.IsValid() {
			host = s.external6.String()
		}
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
		host = "[" + host + "]"
	}
	at := fmt.Sprintf("turn:%s:%d?transport=", host, s.addr.Port())
	return []string{at + "udp", at + "tcp"}
}

// Mint makes credentials for one session. limits may tighten the quotas, never widen them. ErrBusy: this owner, or
// everybody together, has too many outstanding.
func (s *Server) Mint(owner media.Owner, limits media.Limits) (media.Credentials, error) {
	if s.draining.Load() {
		return media.Credentials{}, ErrBusy
	}
	now := s.now()
	expiry := now.Add(startTTL)
	handle, err := s.ledger.mint(owner, limits, expiry)
	if err != nil {
		return media.Credentials{}, err
	}
	key := s.keys.signing()
	name := username{expiry: expiry.Unix(), keyID: key.id, handle: handle}.String()
	return media.Credentials{Username: name, Password: password(key, []byte(name)), Handle: handle, TTL: startTTL}, nil
}

// Release ends a session: its allocations are closed before Release returns, and its credentials are worth nothing.
func (s *Server) Release(h media.Handle) { s.endAll(s.ledger.dropHandle(h), endedByRelease) }

// Holds says whether a handle is still good for something: it was minted here, was not released, and may yet start
// an allocation or has one.
func (s *Server) Holds(h media.Handle) bool {
	_, ok := s.ledger.lookup(h)
	return ok
}

// ReleaseAfter is for a client link that was lost: the session ends after the grace, unless Keep is called.
func (s *Server) ReleaseAfter(h media.Handle, grace time.Duration) {
	s.ledger.setRelease(h, s.now().Add(grace))
}

// Grace is how long allocations outlive a lost client link (protocol.md 20.8, GG).
const Grace = 5 * time.Minute

// Keep takes a ReleaseAfter back: the client link has returned.
func (s *Server) Keep(h media.Handle) { s.ledger.setRelease(h, time.Time{}) }

// ReleaseOwner ends every session of one owner at once, because the policy says so.
func (s *Server) ReleaseOwner(owner media.Owner) {
	s.endAll(s.ledger.drop(func(g *grant) bool { return g.owner == owner }), endedByRelease)
}

func (s *Server) endAll(live []*allocation, reason counter) {
	for _, a := range live {
		a.end(reason)
	}
}

// Run serves until ctx ends, and returns when everything it started has ended. It runs once.
func (s *Server) Run(ctx context.Context) error {
	if s.ran.Swap(true) {
		return errors.New("turn: Run was called twice")
	}
	if _, err := s.control.serve(); err != nil {
		s.closeSockets()
		return fmt.Errorf("turn: %w", err)
	}
	s.log.Info("turn: relay is up")
	var loops sync.WaitGroup
	loops.Go(s.readLoop)
	loops.Go(s.tcp.acceptLoop)
	loops.Go(s.tickLoop)
	<-ctx.Done()

	s.draining.Store(true)
	close(s.stopping)
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.endAll(s.allocations(), endedByShutdown)
	s.closeSockets()
	s.control.stop()
	loops.Wait()
	<-s.control.ended
	s.endAll(s.allocations(), endedByShutdown)
	s.running.Wait()
	s.log.Info("turn: relay is down")
	return nil
}

// Close frees the sockets of a server that never ran.
func (s *Server) Close() {
	if !s.ran.Swap(true) {
		s.closeSockets()
	}
}

func (s *Server) closeSockets() {
	s.udp.Close()
	s.tcp.shut()
}

// Drain refuses new allocations and returns when the last one has ended, or with the context's error.
func (s *Server) Drain(ctx context.Context) error {
	s.draining.Store(true)
	s.mu.Lock()
	if len(s.byClient) == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	empty := s.empty
	s.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

const tickEvery = 500 * time.Millisecond

func (s *Server) tickLoop() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.tick()
		case <-s.stopping:
			return
		}
	}
}

// tick does what is due.
func (s *Server) tick() {
	now := s.now()
	s.keys.turn(now)
	s.endAll(s.ledger.drop(func(g *grant) bool { return g.due(now) }), endedByRelease)
	s.ledger.sweep(now)
	s.refreshRules(now)
}

// readLoop reads the UDP socket.
func (s *Server) readLoop() {
	var (
		buffer = make([]byte, maxFrame+1)
		sc     scratch
	)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.count.inc(droppedSocket)
			select { // whatever it is, it shall not spin
			case <-time.After(10 * time.Millisecond):
				continue
			case <-s.stopping:
				return
			}
		}
		who := tuple{addr: netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), from.Port())}
		if out := s.datagram(buffer[:n], who, &sc, s.now()); out != nil {
			if _, err := s.udp.WriteToUDPAddrPort(out, who.addr); err != nil {
				s.count.inc(droppedSocket)
			}
		}
	}
}

// datagram handles what came over UDP and returns what may be sent back.
func (s *Server) datagram(b []byte, who tuple, sc *scratch, now time.Time) []byte {
	switch {
	case len(b) > maxFrame:
		s.count.inc(droppedOversize)
		return nil
	case len(b) < channelHead || b[0] >= 0x50:
		s.count.inc(droppedMalformed)
		return nil
	case b[0] >= 0x40:
		s.handleChannel(b, who, now)
		return nil
	}
	if err := sc.m.parse(b); err != nil {
		s.count.inc(droppedMalformed)
		return nil
	}
	out := s.handleMessage(&sc.m, asker{tuple: who, space: sc.space[:]}, now)
	if len(out.bytes) == 0 || !out.stranger {
		return out.bytes
	}
	if out.failed && !s.strangers.failed(who.addr.Addr(), now) {
		s.count.inc(droppedFailures)
		return nil
	}
	if !s.strangers.mayAnswer(who.addr.Addr(), len(b), len(out.bytes), now) {
		s.count.inc(droppedFlood)
		return nil
	}
	return out.bytes
}

// The table of allocations.

func (s *Server) allocationOf(who tuple) *allocation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byClient[who]
}

func (s *Server) allocationAt(relayed netip.AddrPort) *allocation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byRelay[relayed]
}

func (s *Server) allocations() []*allocation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Values(s.byClient))
}

// relayHost says whether relayed addresses of this server have this address.
func (s *Server) relayHost(addr netip.Addr) bool { return addr == s.external4 || addr == s.external6 }

func (s *Server) serves(six bool) bool {
	if six {
		return s.external6.IsValid()
	}
	return s.external4.IsValid()
}

func (s *Server) newAllocation(r *request, p place, socket *net.UDPConn, relayed netip.AddrPort, life time.Duration) *allocation {
	limits := media.Limits{PacketsPerSecond: s.quotas.PacketsPerSecond, BytesPerSecond: s.quotas.BytesPerSecond}.
		Tighten(p.grant.limits)
	a := &allocation{
		s: s, id: s.lastID.Add(1), client: r.tuple, conn: r.conn, request: r.id, name: string(r.username), key: r.key,
		place: p, socket: socket, relayed: relayed, lifetime: life,
	}
	a.up.packetsPerSecond, a.up.bytesPerSecond = limits.PacketsPerSecond, float64(limits.BytesPerSecond)
	a.down.packetsPerSecond, a.down.bytesPerSecond = limits.PacketsPerSecond, float64(limits.BytesPerSecond)
	a.tables.Store(newTable())
	return a
}

// register puts the allocation into the tables. False: the handle was released, or the server stops; the caller
// ends the allocation.
func (s *Server) register(a *allocation) bool {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return false
	}
	s.byClient[a.client] = a
	s.byRelay[a.relayed] = a
	s.mu.Unlock()
	if a.conn != nil {
		a.conn.trust()
		a.conn.rearm()
	}
	return s.ledger.attach(a)
}

func (s *Server) forget(a *allocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byClient[a.client] == a {
		delete(s.byClient, a.client)
	}
	if s.byRelay[a.relayed] == a {
		delete(s.byRelay, a.relayed)
	}
	if s.empty != nil && len(s.byClient) == 0 {
		close(s.empty)
		s.empty = nil
	}
}
