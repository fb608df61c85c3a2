package turn

import "sync/atomic"

// counter names one thing that is counted, without anybody's name on it.
type counter int

const (
	requestBinding counter = iota
	requestAllocate
	requestRefresh
	requestCreatePermission
	requestChannelBind

	refusedUnauthorized // 401: no, wrong or expired credentials
	refusedReleased     // 401: the handle was released
	refusedBadRequest   // 400
	refusedUnknown      // 420
	refusedStaleNonce   // 438
	refusedMismatch     // 437
	refusedCredentials  // 441
	refusedTransport    // 442
	refusedFamily       // 440
	refusedPeerFamily   // 443
	refusedQuotaHandle  // 486
	refusedQuotaOwner   // 486
	refusedQuotaPrefix  // 486
	refusedQuotaTotal   // 486
	refusedQuotaStarts  // 486
	refusedPeerQuota    // 508
	refusedCapacity     // 508: no port, no socket, draining
	refusedPeer         // 403, by reason in Stats.Peers

	droppedMalformed
	droppedUnexpected // well-formed, but nothing a client may send
	droppedFlood      // unauthenticated answer over the balance of its prefix
	droppedFailures   // too many wrong credentials
	droppedNoAllocation
	droppedNoChannel
	droppedNoPermission
	droppedOversize
	droppedRate
	droppedRequests // more requests than a client has reason to send
	droppedPeer     // the rules changed after the permission was given
	droppedSlowClient
	droppedSocket

	connectionsRefused // over a bound
	connectionsTimeout // no allocation in time
	connectionsBroken  // framing, or too slow

	endedByClient
	endedByExpiry
	endedByRelease
	endedByDisconnect
	endedByShutdown

	packetsUp
	bytesUp
	packetsDown
	bytesDown
	packetsJoined // of both directions, that never touched a socket

	counterCount
)

var counterNames = [counterCount]string{
	"request/binding", "request/allocate", "request/refresh", "request/create-permission", "request/channel-bind",
	"refused/unauthorized", "refused/released", "refused/bad-request", "refused/unknown-attribute", "refused/stale-nonce",
	"refused/mismatch", "refused/wrong-credentials", "refused/transport", "refused/family", "refused/peer-family",
	"refused/quota-handle", "refused/quota-owner", "refused/quota-prefix", "refused/quota-total", "refused/quota-starts", "refused/peer-quota",
	"refused/capacity", "refused/peer",
	"dropped/malformed", "dropped/unexpected", "dropped/flood", "dropped/failures", "dropped/no-allocation",
	"dropped/no-channel", "dropped/no-permission", "dropped/oversize", "dropped/rate", "dropped/requests", "dropped/peer", "dropped/slow-client",
	"dropped/socket",
	"connections/refused", "connections/timeout", "connections/broken",
	"ended/client", "ended/expiry", "ended/release", "ended/disconnect", "ended/shutdown",
	"relayed/packets-up", "relayed/bytes-up", "relayed/packets-down", "relayed/bytes-down", "relayed/packets-joined",
}

// counters are plain atomics; each sits on the writer's own path, so they are not padded.
type counters struct {
	n     [counterCount]atomic.Uint64
	peers [verdictCount]atomic.Uint64
}

func (c *counters) add(which counter, n uint64) { c.n[which].Add(n) }
func (c *counters) inc(which counter)           { c.n[which].Add(1) }
func (c *counters) get(which counter) uint64    { return c.n[which].Load() }
func (c *counters) peer(v verdict)              { c.peers[v].Add(1) }

// Stats is a snapshot. Names are "class/reason"; none carries an identity or an address.
type Stats struct {
	Allocations int
	Connections int // TCP
	Grants      int
	Counters    map[string]uint64
	Peers       map[string]uint64 // decisions on peer addresses, by reason
}

// Stats returns the counters since New.
func (s *Server) Stats() Stats {
	st := Stats{Counters: make(map[string]uint64, counterCount), Peers: make(map[string]uint64, verdictCount)}
	for i := range counterCount {
		st.Counters[counterNames[i]] = s.count.get(i)
	}
	for i := range verdictCount {
		st.Peers[i.String()] = s.count.peers[i].Load()
	}
	s.ledger.mu.Lock()
	st.Grants = len(s.ledger.grants)
	s.ledger.mu.Unlock()
	s.mu.RLock()
	st.Allocations = len(s.byClient)
	s.mu.RUnlock()
	st.Connections = s.tcp.open()
	return st
}
