package turn

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The data plane: what passes between a client's five-tuple and its relay socket.
//
// pion believes an allocation to be the net.PacketConn it reads peer datagrams from. Its reading goroutine runs
// ReadFrom, which never returns a datagram: it relays them itself until the socket is closed, and the error it then
// returns is what makes pion forget the allocation. So there is one goroutine per allocation, and closing the
// socket ends everything.

const (
	permissionLife = 300 * time.Second // RFC 8656 section 9
	channelLife    = 600 * time.Second // RFC 8656 section 12
)

// tuple is a client's side of the five-tuple.
type tuple struct {
	addr netip.AddrPort
	tcp  bool
}

// permission opens one peer address, in both directions, for all its ports.
type permission struct {
	granted []netip.AddrPort // what it was asked for with; the rules are asked again about these
	expires time.Time
}

type channel struct {
	number  uint16
	peer    netip.AddrPort
	expires time.Time
}

// table is what the data plane reads. It is never changed, only replaced, so that relaying takes no lock.
type table struct {
	permissions map[netip.Addr]permission
	channels    map[uint16]channel
	byPeer      map[netip.AddrPort]uint16
}

type allocation struct {
	s       *Server
	id      uint64 // also its invented client address towards pion
	client  tuple
	conn    *tcpConn // nil: UDP
	request [12]byte // transaction id of the Allocate, for its retransmissions
	name    string   // the user name it was made with
	key     [16]byte
	place   place
	socket  *net.UDPConn
	relayed netip.AddrPort
	// What the Allocate was answered with; a retransmission gets the same.
	lifetime time.Duration

	up, down meter
	tables   atomic.Pointer[table]

	mu       sync.Mutex // guards changes of tables, newPeers, requests
	newPeers bucket
	requests bucket

	once sync.Once
}

// Whoever asks after the expiry finds nothing, whether or not the sweep came by.

func (t *table) permitted(a netip.Addr, now time.Time) bool {
	return now.Before(t.permissions[a].expires)
}

// grantedTo says whether a permission was asked for with exactly this peer, and still stands.
func (t *table) grantedTo(peer netip.AddrPort, now time.Time) bool {
	return t.permitted(peer.Addr(), now) && slices.Contains(t.permissions[peer.Addr()].granted, peer)
}

// channel finds a usable channel. A channel outlives its permission, but is silent until the client renews it.
func (t *table) channel(number uint16, now time.Time) (netip.AddrPort, bool) {
	c := t.channels[number]
	return c.peer, now.Before(c.expires) && t.permitted(c.peer.Addr(), now)
}

// up: client to peer.

// sendChannel relays channel data of the client.
func (a *allocation) sendChannel(number uint16, payload []byte, now time.Time) {
	peer, ok := a.tables.Load().channel(number, now)
	if !ok {
		a.s.count.inc(droppedNoChannel)
		return
	}
	a.send(peer, payload, now)
}

// sendIndication relays the payload of a Send indication.
func (a *allocation) sendIndication(m *message, now time.Time) {
	// DONT-FRAGMENT is not supported; unlike a request an indication has no answer that could say so.
	if m.data == nil || len(m.peers) != 1 || m.badPeer || len(m.unknown) > 0 || m.dontFragment {
		a.s.count.inc(droppedMalformed)
		return
	}
	peer := m.peers[0]
	if !a.tables.Load().permitted(peer.Addr(), now) {
		a.s.count.inc(droppedNoPermission)
		return
	}
	// The permission is for an address, the rules also know ports.
	if v := a.s.judge(peer, a); !v.ok() {
		a.s.count.peer(v)
		a.s.count.inc(droppedPeer)
		return
	}
	a.send(peer, m.data, now)
}

func (a *allocation) send(peer netip.AddrPort, payload []byte, now time.Time) {
	if len(payload) > maxDatagram {
		a.s.count.inc(droppedOversize)
		return
	}
	if !a.up.take(now, len(payload)) {
		a.s.count.inc(droppedRate)
		return
	}
	a.s.count.inc(packetsUp)
	a.s.count.add(bytesUp, uint64(len(payload)))
	if a.s.relayHost(peer.Addr()) {
		if other := a.s.allocationAt(peer); other != nil && other != a {
			a.s.count.inc(packetsJoined)
			other.join(a.relayed, payload, now)
			return
		}
		// No allocation lives there (any more). Only an explicit rule opens the address itself.
		if v := a.s.rules.Load().decide(peer, false); !v.ok() {
			a.s.count.peer(v)
			a.s.count.inc(droppedPeer)
			return
		}
	}
	if _, err := a.socket.WriteToUDPAddrPort(payload, peer); err != nil {
		a.s.count.inc(droppedSocket)
	}
}

// down: peer to client.

var joinSpace = sync.Pool{New: func() any { return new([headroom + maxDatagram + 4]byte) }}

// join takes a datagram from another allocation of this relay, inside the process: no socket, no hairpin through a
// NAT, and no need to open the relay's own address to anybody.
func (a *allocation) join(from netip.AddrPort, payload []byte, now time.Time) {
	space := joinSpace.Get().(*[headroom + maxDatagram + 4]byte)
	n := copy(space[headroom:], payload)
	a.deliver(from, space[:], n, now)
	joinSpace.Put(space)
}

// ReadFrom relays what arrives at the relay socket until the allocation ends; see the top of this file.
func (a *allocation) ReadFrom([]byte) (int, net.Addr, error) {
	defer a.s.running.Done()
	// One byte more than may be relayed: a datagram that fills it was longer, and is dropped whole.
	space := make([]byte, headroom+maxDatagram+4)
	failures := 0
	for {
		n, from, err := a.socket.ReadFromUDPAddrPort(space[headroom : headroom+maxDatagram+1])
		switch {
		case errors.Is(err, net.ErrClosed):
			return 0, nil, net.ErrClosed
		case err != nil:
			// For example WSAEMSGSIZE, or an ICMP error that some systems hand to unconnected sockets. A socket
			// that does nothing but fail is given up.
			a.s.count.inc(droppedSocket)
			if failures++; failures > 1000 {
				a.end(endedByDisconnect)
				return 0, nil, err
			}
			continue
		case n > maxDatagram:
			a.s.count.inc(droppedOversize)
			continue
		}
		failures = 0
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if a.s.relayHost(from.Addr()) && !a.s.judge(from, a).ok() {
			// The permission was for an allocation on this address, not for everything else on this machine.
			a.s.count.inc(droppedPeer)
			continue
		}
		a.deliver(from, space, n, a.s.now())
	}
}

// deliver sends a peer's datagram, which lies in space[headroom:headroom+n], to the client. space has headroom in
// front and padding behind it, so nothing is copied over UDP.
func (a *allocation) deliver(from netip.AddrPort, space []byte, n int, now time.Time) {
	t := a.tables.Load()
	if !t.permitted(from.Addr(), now) {
		a.s.count.inc(droppedNoPermission)
		return
	}
	if !a.down.take(now, n) {
		a.s.count.inc(droppedRate)
		return
	}
	var frame []byte
	if number, bound := t.byPeer[from]; bound && now.Before(t.channels[number].expires) {
		frame = space[headroom-channelHead : headroom+n]
		binary.BigEndian.PutUint16(frame, number)
		binary.BigEndian.PutUint16(frame[2:], uint16(n))
		if a.client.tcp { // over a stream channel data is padded (RFC 8656 section 12.5)
			frame = pad(space, headroom-channelHead, len(frame))
		}
	} else {
		frame = dataIndication(space, from, n)
	}
	a.s.count.inc(packetsDown)
	a.s.count.add(bytesDown, uint64(n))
	if a.conn != nil {
		if !a.conn.enqueue(frame) {
			a.s.count.inc(droppedSlowClient)
		}
		return
	}
	if _, err := a.s.udp.WriteToUDPAddrPort(frame, a.client.addr); err != nil {
		a.s.count.inc(droppedSocket)
	}
}

func pad(space []byte, start, n int) []byte {
	for n%4 != 0 {
		space[start+n] = 0
		n++
	}
	return space[start : start+n]
}

// dataIndication writes header, XOR-PEER-ADDRESS and the head of DATA in front of the payload.
func dataIndication(space []byte, from netip.AddrPort, n int) []byte {
	head := stunHeader + 4 + 8 + 4
	if !from.Addr().Is4() {
		head = stunHeader + 4 + 20 + 4
	}
	start := headroom - head
	b := pad(space, start, head+n)
	binary.BigEndian.PutUint16(b, 0x0017) // Data indication
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-stunHeader))
	binary.BigEndian.PutUint32(b[4:], stunCookie)
	rand.Read(b[8:stunHeader])
	at := stunHeader
	binary.BigEndian.PutUint16(b[at:], attrXORPeerAddress)
	size := putXOR(b[at+4:], from, b[4:stunHeader])
	binary.BigEndian.PutUint16(b[at+2:], uint16(size))
	at += 4 + size
	binary.BigEndian.PutUint16(b[at:], attrData)
	binary.BigEndian.PutUint16(b[at+2:], uint16(n))
	return b
}

// Permissions and channels. The guard has already asked the rules.

var (
	errTooMany   = errors.New("too many permissions or channels")
	errBoundElse = errors.New("the channel or the peer is bound otherwise")
)

// mayAsk limits the requests of a client that has authenticated: each costs more than a packet.
func (a *allocation) mayAsk(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests.take(now, 1, requestRate, requestBurst)
}

// maxGranted bounds what one permission remembers; the oldest goes.
const maxGranted = 8

// permit installs or refreshes permissions, all of them or none.
func (a *allocation) permit(peers []netip.AddrPort, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := a.tables.Load().live(now)
	if err := a.permitLocked(next, peers, now); err != nil {
		return err
	}
	a.tables.Store(next)
	return nil
}

func (a *allocation) permitLocked(next *table, peers []netip.AddrPort, now time.Time) error {
	fresh := 0
	for _, peer := range peers {
		p, known := next.permissions[peer.Addr()]
		if !known {
			fresh++
		}
		if !slices.Contains(p.granted, peer) {
			p.granted = append(slices.Clone(p.granted), peer)
			p.granted = p.granted[max(0, len(p.granted)-maxGranted):]
		}
		p.expires = now.Add(permissionLife)
		next.permissions[peer.Addr()] = p
	}
	q := a.s.quotas
	if len(next.permissions) > q.Permissions {
		return errTooMany
	}
	if fresh > 0 && !a.newPeers.take(now, float64(fresh), q.NewPeersPerSec, float64(q.Permissions)) {
		return errTooMany
	}
	return nil
}

// bind installs or refreshes a channel and the permission that goes with it (RFC 8656 section 12.2).
func (a *allocation) bind(number uint16, peer netip.AddrPort, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := a.tables.Load().live(now)
	if c, bound := next.channels[number]; bound && c.peer != peer {
		return errBoundElse
	}
	if n, bound := next.byPeer[peer]; bound && n != number {
		return errBoundElse
	}
	next.channels[number] = channel{number: number, peer: peer, expires: now.Add(channelLife)}
	next.byPeer[peer] = number
	if len(next.channels) > a.s.quotas.Channels {
		return errTooMany
	}
	if err := a.permitLocked(next, []netip.AddrPort{peer}, now); err != nil {
		return err
	}
	a.tables.Store(next)
	return nil
}

// live copies the table without what has expired.
func (t *table) live(now time.Time) *table {
	next := newTable()
	for addr, p := range t.permissions {
		if now.Before(p.expires) {
			next.permissions[addr] = p
		}
	}
	for number, c := range t.channels {
		if now.Before(c.expires) {
			next.channels[number], next.byPeer[c.peer] = c, number
		}
	}
	return next
}

func newTable() *table {
	return &table{
		permissions: map[netip.Addr]permission{}, channels: map[uint16]channel{}, byPeer: map[netip.AddrPort]uint16{},
	}
}

// review takes back what the rules no longer allow. It runs when they have changed; what expires needs no sweep,
// since whoever looks also looks at the time.
//
// Other allocations of this relay come and go, so an address of the relay itself is reviewed only when the rules
// were changed on purpose; between that, every single datagram from and to it is judged anyway. Taking the
// permission because one of several peers there has gone would break those that stay.
func (a *allocation) review(now time.Time, reloaded bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	current := a.tables.Load()
	next := current.live(now)
	open := func(peer netip.AddrPort) bool { return a.s.judge(peer, a).ok() }
	for addr, p := range next.permissions {
		if !reloaded && a.s.relayHost(addr) {
			continue
		}
		granted := slices.DeleteFunc(slices.Clone(p.granted), func(peer netip.AddrPort) bool { return !open(peer) })
		if len(granted) == 0 {
			delete(next.permissions, addr)
			continue
		}
		p.granted = granted
		next.permissions[addr] = p
	}
	for number, c := range next.channels {
		if (reloaded || !a.s.relayHost(c.peer.Addr())) && !open(c.peer) {
			delete(next.channels, number)
			delete(next.byPeer, c.peer)
		}
	}
	if reloaded || len(next.permissions) != len(current.permissions) || len(next.channels) != len(current.channels) {
		a.tables.Store(next)
	}
}

// Ending. Every way leads here: the client's Refresh with lifetime 0 and the timer (through pion, which calls
// Close), a release or a kill, a closed TCP connection, the end of the server.

// end closes the allocation and returns everything it held. Only the first reason counts.
func (a *allocation) end(reason counter) {
	a.once.Do(func() {
		a.socket.Close()
		a.s.ports.free(a.relayed.Port(), a.s.now())
		a.s.ledger.giveBack(a.place, a)
		a.s.count.inc(reason)
		a.s.forget(a) // last: who waits for the last allocation finds everything given back
		if a.conn != nil {
			a.conn.allocationEnded(reason)
		}
	})
}

// Close is pion's way to say that the lifetime is over.
func (a *allocation) Close() error {
	a.end(endedByExpiry)
	return nil // an error would stop pion from closing the allocations behind this one
}

// The rest of net.PacketConn. pion relays nothing itself, so it never writes here.

func (a *allocation) WriteTo([]byte, net.Addr) (int, error) { return 0, net.ErrClosed }
func (a *allocation) LocalAddr() net.Addr                   { return net.UDPAddrFromAddrPort(a.relayed) }
func (a *allocation) SetDeadline(time.Time) error           { return nil }
func (a *allocation) SetReadDeadline(time.Time) error       { return nil }
func (a *allocation) SetWriteDeadline(time.Time) error      { return nil }
