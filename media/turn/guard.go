package turn

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

// The guard: every request is read, authenticated and judged here, in the order of RFC 8489 section 9.2.4 and
// RFC 8656, and every negative answer is given here. pion gets the good Allocates and Refreshes.

// answer is what goes back. No bytes: silence. A stranger's answer is subject to the balance of its prefix.
type answer struct {
	bytes    []byte
	stranger bool
	failed   bool // a wrong credential: too many of them end in silence, or in a closed connection
}

// asker is a client's side of the five-tuple and where answers are built.
type asker struct {
	tuple
	conn  *tcpConn // nil: UDP
	space []byte   // for the answer; reused after it was sent
}

// handleMessage takes one STUN message and returns what to answer.
func (s *Server) handleMessage(m *message, who asker, now time.Time) answer {
	switch m.class {
	case classIndication:
		if m.method == methodSend {
			if a := s.allocationOf(who.tuple); a != nil {
				a.sendIndication(m, now)
			} else {
				s.count.inc(droppedNoAllocation)
			}
		} else if m.method != methodBinding { // an indication that keeps a NAT binding alive (RFC 8489 section 3)
			s.count.inc(droppedUnexpected)
		}
		return answer{}
	case classRequest:
	default:
		s.count.inc(droppedUnexpected)
		return answer{}
	}
	switch m.method {
	case methodBinding:
		s.count.inc(requestBinding)
		return s.binding(m, who)
	case methodAllocate:
		s.count.inc(requestAllocate)
	case methodRefresh:
		s.count.inc(requestRefresh)
	case methodCreatePermission:
		s.count.inc(requestCreatePermission)
	case methodChannelBind:
		s.count.inc(requestChannelBind)
	default: // RFC 6062's methods too: TCP allocations are not offered
		s.count.inc(droppedUnexpected)
		return answer{}
	}

	r := &request{s: s, message: m, asker: who, now: now, live: s.allocationOf(who.tuple)}
	if refused := r.authenticate(); refused != nil {
		return *refused
	}
	if r.live != nil && !r.live.mayAsk(now) {
		s.count.inc(droppedRequests)
		return answer{}
	}
	if len(m.unknown) > 0 || (m.method == methodAllocate && m.dontFragment) {
		return r.unknownAttributes()
	}
	switch m.method {
	case methodAllocate:
		return r.allocate()
	case methodRefresh:
		return r.refresh()
	case methodCreatePermission:
		return r.createPermission()
	}
	return r.channelBind()
}

// binding answers a STUN Binding request: 32 bytes (44 for IPv6), without SOFTWARE and FINGERPRINT, which are
// optional and would only be amplification.
func (s *Server) binding(m *message, who asker) answer {
	w := newWriter(who.space, m.method, classSuccess, m.id)
	if len(m.unknown) > 0 {
		s.count.inc(refusedUnknown)
		w = newWriter(who.space, m.method, classError, m.id).code(420)
		return answer{bytes: unknownList(w, m).bytes(), stranger: true}
	}
	return answer{bytes: w.address(attrXORMappedAddress, who.addr).bytes(), stranger: true}
}

func unknownList(w *writer, m *message) *writer {
	list := m.unknown
	if m.method == methodAllocate && m.dontFragment {
		list = append(list, attrDontFragment)
	}
	value := make([]byte, 0, 2*len(list))
	for _, kind := range list {
		value = binary.BigEndian.AppendUint16(value, kind)
	}
	return w.attr(attrUnknownAttributes, value)
}

// request is one authenticated method on its way.
type request struct {
	*message
	asker
	s    *Server
	now  time.Time
	live *allocation // on this five-tuple, whoever's it is
	name username
	key  [16]byte
}

// authenticate is the long-term mechanism (RFC 8489 section 9.2.4). nil: the request is its user's.
func (r *request) authenticate() *answer {
	challenge := func(code int, why counter, failed bool) *answer {
		r.s.count.inc(why)
		w := newWriter(r.space, r.method, classError, r.id).code(code).text(attrRealm, r.s.realm).
			text(attrNonce, r.s.nonces.make(r.tuple, r.now))
		return &answer{bytes: w.bytes(), stranger: true, failed: failed}
	}
	if !r.protected() {
		return challenge(401, refusedUnauthorized, false)
	}
	// PASSWORD-ALGORITHM is only for servers that offered a choice; ours did not, so somebody in between did.
	if r.username == nil || r.realm == nil || r.nonce == nil || r.passwordAlgorithm {
		r.s.count.inc(refusedBadRequest)
		w := newWriter(r.space, r.method, classError, r.id).code(400)
		return &answer{bytes: w.bytes(), stranger: true, failed: true}
	}
	if !r.s.nonces.valid(r.nonce, r.tuple, r.now) {
		return challenge(438, refusedStaleNonce, false)
	}

	// From here on every way costs the same, whatever is wrong with the name.
	var why counter = refusedUnauthorized
	name, ok := parseUsername(r.username)
	r.name = name
	if a := r.live; a != nil && a.name == string(r.username) {
		// Its own allocation outlives expiry and secret: expiry limits the start, the handle limits the life.
		r.key = a.key
		ok = ok && (!r.s.strictExpiry || name.startable(r.now))
	} else {
		secret, known := r.s.keys.lookup(name.keyID, r.now)
		r.key = longTermKey(r.username, r.s.realm, password(secret, r.username))
		ok = known && ok && name.startable(r.now)
	}
	if _, minted := r.s.ledger.lookup(name.handle); ok && !minted {
		ok, why = false, refusedReleased
	}
	ok = string(r.realm) == r.s.realm && ok
	if !r.verify(r.key[:]) || !ok {
		return challenge(401, why, true)
	}
	if r.method != methodAllocate && r.live != nil && r.live.name != string(r.username) {
		// RFC 8656 section 5: another user's allocation is not touched. (An Allocate is answered with 437.)
		refused := r.refuse(441, refusedCredentials)
		return &refused
	}
	return nil
}

// success and refuse answer an authenticated request; the answer is protected the way the request was.

func (r *request) writer(class uint8) *writer { return newWriter(r.space, r.method, class, r.id) }

func (r *request) signed(w *writer) answer {
	return answer{bytes: w.sign(r.key[:], r.integrity256 != 0).bytes()}
}

func (r *request) refuse(code int, why counter) answer {
	r.s.count.inc(why)
	return r.signed(r.writer(classError).code(code))
}

func (r *request) unknownAttributes() answer {
	r.s.count.inc(refusedUnknown)
	return r.signed(unknownList(r.writer(classError).code(420), r.message))
}

// allocate is RFC 8656 section 7.2.
func (r *request) allocate() answer {
	if a := r.live; a != nil {
		if a.request == r.id && a.name == string(r.username) {
			return r.allocated(a, a.lifetime) // the answer got lost
		}
		return r.refuse(437, refusedMismatch)
	}
	switch {
	case len(r.transport) != 4:
		return r.refuse(400, refusedBadRequest)
	case r.transport[0] == transportTCP && r.conn == nil: // RFC 6062 section 5.1
		return r.refuse(400, refusedBadRequest)
	case r.transport[0] != transportUDP:
		return r.refuse(442, refusedTransport)
	}
	if len(r.family) != 4 && r.family != nil {
		return r.refuse(400, refusedBadRequest)
	}
	if r.evenPort != nil && (len(r.evenPort) != 1 || r.token != nil) {
		return r.refuse(400, refusedBadRequest)
	}
	six, ok := r.wantedFamily()
	if !ok || !r.s.serves(six) {
		return r.refuse(440, refusedFamily)
	}
	lifetime, ok := r.wantedLifetime()
	if !ok {
		return r.refuse(400, refusedBadRequest)
	}
	lifetime = max(lifetime, r.s.leastLifetime)
	// A port pair cannot be reserved, so no token of ours exists either.
	if r.token != nil || (r.evenPort != nil && r.evenPort[0]&0x80 != 0) || r.s.draining.Load() {
		return r.refuse(508, refusedCapacity)
	}

	place, why, ok := r.s.ledger.reserve(r.name.handle, r.addr.Addr(), r.now)
	if !ok {
		return r.refuse(486, why)
	}
	socket, relayed, err := r.s.openRelay(six, r.evenPort != nil, r.now)
	if err != nil {
		r.s.ledger.giveBack(place, nil)
		return r.refuse(508, refusedCapacity)
	}
	a := r.s.newAllocation(r, place, socket, relayed, lifetime)
	if !r.s.register(a) {
		a.end(endedByRelease)
		return r.refuse(508, refusedCapacity)
	}
	code := r.s.control.do(a, methodAllocate, r.id, func(w *writer) {
		w.attr(attrTransport, []byte{transportUDP, 0, 0, 0}).uint32(attrLifetime, uint32(lifetime/time.Second))
	})
	if code != 0 {
		a.end(endedByShutdown)
		return r.refuse(508, refusedCapacity)
	}
	return r.allocated(a, lifetime)
}

func (r *request) allocated(a *allocation, lifetime time.Duration) answer {
	return r.signed(r.writer(classSuccess).address(attrXORRelayedAddress, a.relayed).
		uint32(attrLifetime, uint32(lifetime/time.Second)).address(attrXORMappedAddress, r.addr))
}

// wantedFamily reads REQUESTED-ADDRESS-FAMILY; without it IPv4 is meant. Not ok: a family nobody knows.
func (r *request) wantedFamily() (six, ok bool) {
	if r.family == nil {
		return false, true
	}
	return r.family[0] == family6, r.family[0] == family4 || r.family[0] == family6
}

// wantedLifetime reads LIFETIME and keeps it under the maximum; zero: none asked for, or an end of it.
func (r *request) wantedLifetime() (time.Duration, bool) {
	if r.lifetime == nil {
		return defaultLifetime, true
	}
	if len(r.lifetime) != 4 {
		return 0, false
	}
	return min(time.Duration(binary.BigEndian.Uint32(r.lifetime))*time.Second, maxLifetime), true
}

// refresh is RFC 8656 section 8.2.
func (r *request) refresh() answer {
	a := r.live
	if a == nil {
		return r.refuse(437, refusedMismatch)
	}
	lifetime, ok := r.wantedLifetime()
	if !ok {
		return r.refuse(400, refusedBadRequest)
	}
	if r.family != nil {
		if len(r.family) != 4 {
			return r.refuse(400, refusedBadRequest)
		}
		if six, ok := r.wantedFamily(); !ok || six == a.relayed.Addr().Is4() {
			return r.refuse(443, refusedPeerFamily)
		}
	}
	if lifetime > 0 {
		lifetime = max(lifetime, r.s.leastLifetime)
	} else {
		a.end(endedByClient)
	}
	code := r.s.control.do(a, methodRefresh, r.id, func(w *writer) {
		w.uint32(attrLifetime, uint32(lifetime/time.Second))
	})
	if code != 0 && lifetime > 0 {
		return r.refuse(437, refusedMismatch) // it ended in this very moment
	}
	return r.signed(r.writer(classSuccess).uint32(attrLifetime, uint32(lifetime/time.Second)))
}

// judgePeers asks the family and the rules about every peer of the request; 0: all may be reached.
func (r *request) judgePeers(a *allocation) (code int, why counter) {
	if len(r.peers) == 0 || r.badPeer {
		return 400, refusedBadRequest
	}
	for _, peer := range r.peers {
		if peer.Addr().Is4() != a.relayed.Addr().Is4() {
			return 443, refusedPeerFamily
		}
	}
	for _, peer := range r.peers {
		v := r.s.judge(peer, a)
		if v == peerOwnAddress && r.method == methodCreatePermission && a.tables.Load().grantedTo(peer, r.now) {
			// A refresh that still names an allocation of this relay that has gone. Each datagram to this address
			// is judged by itself, so nothing is opened, and the client's other permissions, which it refreshes
			// with the same request, do not die with that peer.
			v = peerAllowed
		}
		r.s.count.peer(v)
		if !v.ok() {
			return 403, refusedPeer
		}
	}
	return 0, 0
}

// createPermission is RFC 8656 section 10.2: all peers or none.
func (r *request) createPermission() answer {
	a := r.live
	if a == nil {
		return r.refuse(437, refusedMismatch)
	}
	if code, why := r.judgePeers(a); code != 0 {
		return r.refuse(code, why)
	}
	if err := a.permit(r.peers, r.now); err != nil {
		return r.refuse(508, refusedPeerQuota)
	}
	return r.signed(r.writer(classSuccess))
}

// channelBind is RFC 8656 section 12.2.
func (r *request) channelBind() answer {
	a := r.live
	if a == nil {
		return r.refuse(437, refusedMismatch)
	}
	if len(r.channel) != 4 {
		return r.refuse(400, refusedBadRequest)
	}
	number := binary.BigEndian.Uint16(r.channel)
	if number < channelFirst || number > channelLast || len(r.peers) > 1 {
		return r.refuse(400, refusedBadRequest)
	}
	if code, why := r.judgePeers(a); code != 0 {
		return r.refuse(code, why)
	}
	switch err := a.bind(number, r.peers[0], r.now); {
	case errors.Is(err, errBoundElse):
		return r.refuse(400, refusedBadRequest)
	case err != nil:
		return r.refuse(508, refusedPeerQuota)
	}
	return r.signed(r.writer(classSuccess))
}

// handleChannel takes channel data. Over UDP it need not be padded, over TCP it is; either way the length in its
// head rules, and what it promises must be there.
func (s *Server) handleChannel(b []byte, who tuple, now time.Time) {
	a := s.allocationOf(who)
	if a == nil {
		s.count.inc(droppedNoAllocation)
		return
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if len(b) < channelHead+n {
		s.count.inc(droppedMalformed)
		return
	}
	a.sendChannel(binary.BigEndian.Uint16(b), b[channelHead:channelHead+n], now)
}

// judge asks the rules about a peer on behalf of an allocation. Its own relayed address is never its peer.
func (s *Server) judge(peer netip.AddrPort, a *allocation) verdict {
	if peer == a.relayed {
		return peerOwnAddress
	}
	return s.rules.Load().decide(peer, s.allocationAt(peer) != nil)
}
